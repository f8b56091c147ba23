"""The exact commands that the pages show: setting a machine up, and going back in time.

The address and the password live in two files of one folder, never on a command line: other
accounts of the machine can read those.
"""

from __future__ import annotations

from dataclasses import dataclass

_RESTIC = "restic --repository-file depot.txt --password-file motdepasse.txt"
_PAST = "restic --repository-file passe.txt --password-file motdepasse.txt"


@dataclass(frozen=True)
class Step:
    """One thing to do: what for, and what to type."""

    title: str
    why: str
    commands: str


@dataclass(frozen=True)
class System:
    """A kind of machine, and how to set it up."""

    code: str
    title: str
    name: str
    """As one says it after a step."""
    steps: tuple[Step, ...]


_KEEP_IT_SAFE = (
    "Imprimez-le et gardez-le au coffre de la mairie : sans lui, personne ne peut relire vos "
    "sauvegardes, pas même le département."
)
_CHECK = "La première fois, « init » prépare le dépôt ; ensuite seul « backup » sert."

DEBIAN = System(
    "debian",
    "Debian ou Ubuntu",
    "sur Debian ou Ubuntu",
    (
        Step(
            "Préparer un dossier",
            "Dans l'éditeur qui s'ouvre, collez l'adresse du dépôt, enregistrez, fermez.",
            "sudo apt install restic\n"
            "mkdir -m 700 -p ~/coffre-fort && cd ~/coffre-fort && umask 077\n"
            "nano depot.txt",
        ),
        Step(
            "Tirer un mot de passe",
            _KEEP_IT_SAFE,
            "head -c 24 /dev/urandom | base64 > motdepasse.txt\ncat motdepasse.txt",
        ),
        Step(
            "Sauvegarder une première fois",
            _CHECK,
            f'{_RESTIC} init\n{_RESTIC} backup "$HOME/Documents"',
        ),
        Step(
            "Recommencer chaque soir",
            "À ajouter à la fin du fichier qu'ouvre la première ligne (ici, tous les jours à 20 h).",
            f'crontab -e\n0 20 * * * cd "$HOME/coffre-fort" && {_RESTIC} backup "$HOME/Documents"',
        ),
    ),
)
WINDOWS = System(
    "windows",
    "Windows (PowerShell)",
    "sur Windows",
    (
        Step(
            "Préparer un dossier",
            "Dans le bloc-notes qui s'ouvre, collez l'adresse du dépôt, enregistrez, fermez.",
            "winget install --exact --id restic.restic\n"
            "mkdir $HOME\\coffre-fort; cd $HOME\\coffre-fort\n"
            'icacls . /inheritance:r /grant:r "${env:USERNAME}:(OI)(CI)F"\n'
            "notepad depot.txt",
        ),
        Step(
            "Tirer un mot de passe",
            _KEEP_IT_SAFE,
            "$b = New-Object byte[] 24\n"
            "[Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($b)\n"
            "[Convert]::ToBase64String($b) | Set-Content motdepasse.txt\n"
            "type motdepasse.txt",
        ),
        Step(
            "Sauvegarder une première fois",
            _CHECK,
            f'{_RESTIC} init\n{_RESTIC} backup "$HOME\\Documents"',
        ),
        Step(
            "Recommencer chaque soir",
            "Le planificateur de tâches lance la sauvegarde tous les jours à 20 h.",
            f'Set-Content soir.cmd \'cd /d "%USERPROFILE%\\coffre-fort" && {_RESTIC} backup '
            '"%USERPROFILE%\\Documents"\'\n'
            'schtasks /Create /F /SC DAILY /ST 20:00 /TN "Coffre-fort" '
            '/TR "$HOME\\coffre-fort\\soir.cmd"',
        ),
    ),
)
NAS = System(
    "nas",
    "Serveur de fichiers (NAS)",
    "sur un NAS",
    (
        Step(
            "Préparer un dossier",
            "En SSH, avec le programme restic de Linux dans le chemin. Collez l'adresse du dépôt "
            "dans depot.txt.",
            "mkdir -m 700 -p /volume1/coffre-fort && cd /volume1/coffre-fort && umask 077\n"
            "vi depot.txt",
        ),
        Step(
            "Tirer un mot de passe",
            _KEEP_IT_SAFE,
            "head -c 24 /dev/urandom | base64 > motdepasse.txt\ncat motdepasse.txt",
        ),
        Step(
            "Sauvegarder une première fois",
            _CHECK,
            f"{_RESTIC} init\n{_RESTIC} backup /volume1/mairie",
        ),
        Step(
            "Recommencer chaque soir",
            "Dans le planificateur de tâches du NAS, un script défini par l'utilisateur, tous les "
            "jours à 20 h :",
            f"cd /volume1/coffre-fort && {_RESTIC} backup /volume1/mairie",
        ),
    ),
)
SYSTEMS = (DEBIAN, WINDOWS, NAS)

TIMER = """\
# ~/.config/systemd/user/coffre-fort.service
[Service]
Type=oneshot
WorkingDirectory=%h/coffre-fort
ExecStart=restic --repository-file depot.txt --password-file motdepasse.txt backup %h/Documents

# ~/.config/systemd/user/coffre-fort.timer
[Timer]
OnCalendar=20:00
Persistent=true
[Install]
WantedBy=timers.target

# puis : systemctl --user enable --now coffre-fort.timer"""


def back_in_time(moment: str) -> str:
    """What to type, in the folder of depot.txt, to see and take back the state of a moment."""
    return (
        f"(umask 077; sed 's,/*$,@{moment}/,' depot.txt > passe.txt)\n"
        f"{_PAST} snapshots\n"
        f"{_PAST} restore latest --target RETOUR\n"
        "rm passe.txt"
    )


def back_in_time_on_windows(moment: str) -> str:
    """The same, in PowerShell."""
    return (
        f"(Get-Content depot.txt -Raw).Trim().TrimEnd('/') + '@{moment}/' | Set-Content passe.txt\n"
        f"{_PAST} snapshots\n"
        f"{_PAST} restore latest --target RETOUR\n"
        "Remove-Item passe.txt"
    )
