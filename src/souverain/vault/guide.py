"""The exact commands that the pages show: setting a machine up, and going back in time.

Each deposit set has a folder of its own on the machine, where the address and the password lie in
two files, never on a command line: other accounts of the machine can read those. The password of a
set is drawn once, by its first machine; nothing here ever writes over it. The others bring it.
"""

from __future__ import annotations

from dataclasses import dataclass

_RESTIC = "restic --repository-file depot.txt --password-file motdepasse.txt"
_PAST = "restic --repository-file passe.txt --password-file motdepasse.txt"
_KEPT = "motdepasse.txt est déjà là : il est gardé tel quel."


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


@dataclass(frozen=True)
class _Words:
    """What is typed on one kind of machine. `enter` goes to the set's folder."""

    enter: str
    prepare: str
    prepare_why: str
    draw: str
    bring: str
    documents: str
    evening: str
    evening_why: str

    def steps(self, first: bool) -> tuple[Step, ...]:
        """Five steps: the first machine of a set draws the password, the others bring it."""
        password = self._draw_it() if first else self._bring_it()
        return (
            Step("Préparer un dossier", self.prepare_why, self.prepare),
            *password,
            Step(
                "Sauvegarder une première fois",
                "Cette page dira d'elle-même quand la sauvegarde sera arrivée.",
                f"{self.enter}{_RESTIC} backup {self.documents}",
            ),
            Step("Recommencer chaque soir", self.evening_why, self.evening),
        )

    def _draw_it(self) -> tuple[Step, ...]:
        return (
            Step(
                "Tirer un mot de passe",
                "Avant d'aller plus loin, gardez-le en deux endroits : imprimé, au coffre de la "
                "mairie, et dans une enveloppe cachetée, ailleurs. Sans lui, personne ne peut "
                "relire vos sauvegardes, pas même le département.",
                self.draw,
            ),
            Step(
                "Préparer le dépôt, une seule fois",
                "Si la réponse dit que le dépôt existe déjà (« config file already exists »), un "
                "autre appareil l'a préparé : rechargez cette page et reprenez à l'étape 2.",
                f"{self.enter}{_RESTIC} init",
            ),
        )

    def _bring_it(self) -> tuple[Step, ...]:
        return (
            Step(
                "Apporter le mot de passe du dépôt",
                "Copiez le fichier motdepasse.txt d'un appareil qui sauvegarde déjà ici. Ou bien "
                "ouvrez l'enveloppe et tapez le mot de passe dans l'éditeur que lance cette "
                "commande. N'en tirez pas un autre : il n'ouvrirait rien.",
                self.bring,
            ),
            Step(
                "Vérifier le mot de passe",
                "Les sauvegardes déjà gardées s'affichent. « wrong password » veut dire que le "
                "mot de passe n'est pas celui de ce dépôt : rien n'est abîmé, reprenez à "
                "l'étape 2.",
                f"{self.enter}{_RESTIC} snapshots",
            ),
        )


def _on_unix(folder: str, prepare: str, why: str, editor: str, documents: str) -> dict[str, str]:
    """What is typed in a Unix shell. Each line waits for the one before: nothing is written in
    another folder."""
    enter = f"cd {folder} &&\n"
    return {
        "enter": enter,
        "prepare": f"{prepare}(umask 077 && mkdir -p {folder}) &&\n{enter}"
        f"(umask 077 && {editor} depot.txt)",
        "prepare_why": why,
        "draw": f'{enter}if [ -s motdepasse.txt ]; then echo "{_KEPT}"; else\n'
        "(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' ' > motdepasse.txt); fi &&\n"
        "cat motdepasse.txt",
        "bring": f"{enter}(umask 077 && {editor} motdepasse.txt)",
        "documents": documents,
    }


def _debian(code: str) -> _Words:
    folder = f"coffre-fort/{code}"
    line = f'0 20 * * * cd "$HOME/{folder}" && {_RESTIC} backup "$HOME/Documents"'
    return _Words(
        **_on_unix(
            f"~/{folder}",
            "sudo apt install restic &&\n",
            "Dans l'éditeur qui s'ouvre, collez l'adresse du dépôt, seule, enregistrez, fermez.",
            "nano",
            '"$HOME/Documents"',
        ),
        evening=f"(crontab -l 2>/dev/null | sed '\\,{folder}\",d'; echo '{line}') | crontab -",
        evening_why="Tous les jours à 20 h, tant que l'appareil est allumé.",
    )


def _nas(code: str) -> _Words:
    folder = f"/volume1/coffre-fort/{code}"
    return _Words(
        **_on_unix(
            folder,
            "",
            "En SSH, avec le programme restic de Linux dans le chemin. Dans l'éditeur qui s'ouvre, "
            "collez l'adresse du dépôt, seule, enregistrez, fermez.",
            "vi",
            "/volume1/mairie",
        ),
        evening=f"cd {folder} && {_RESTIC} backup /volume1/mairie",
        evening_why="Dans le planificateur de tâches du NAS, un script défini par l'utilisateur, "
        "tous les jours à 20 h :",
    )


def _windows(code: str) -> _Words:
    folder = f"coffre-fort\\{code}"
    enter = f'cd "$HOME\\{folder}"\n'
    return _Words(
        enter=enter,
        prepare="winget install --exact --id restic.restic\n"
        f'mkdir -Force "$HOME\\{folder}" | Out-Null\n{enter}'
        'icacls . /inheritance:r /grant:r "${env:USERNAME}:(OI)(CI)F"\n'
        "notepad depot.txt",
        prepare_why="Dans le bloc-notes qui s'ouvre, collez l'adresse du dépôt, seule, "
        "enregistrez, fermez.",
        draw=f"{enter}if (Test-Path motdepasse.txt) {{ '{_KEPT}' }} else {{ "
        "$b = New-Object byte[] 16; "
        "[Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($b); "
        "-join ($b | ForEach-Object { $_.ToString('x2') }) | Set-Content motdepasse.txt }\n"
        "type motdepasse.txt",
        bring=f"{enter}notepad motdepasse.txt",
        documents='"$HOME\\Documents"',
        evening=f'{enter}Set-Content soir.cmd \'cd /d "%USERPROFILE%\\{folder}" && {_RESTIC} '
        'backup "%USERPROFILE%\\Documents"\'\n'
        f'schtasks /Create /F /SC DAILY /ST 20:00 /TN "Coffre-fort {code}" '
        f"/TR \"'$HOME\\{folder}\\soir.cmd'\"",
        evening_why="Le planificateur de tâches lance la sauvegarde tous les jours à 20 h.",
    )


def systems(code: str, first: bool) -> tuple[System, ...]:
    """How to set up a machine of a deposit set, by kind of machine. `first`: no other machine made
    the repository, so that its password is still to be drawn."""
    debian, windows, nas = _debian(code), _windows(code), _nas(code)
    return (
        System("debian", "Debian ou Ubuntu", "sur Debian ou Ubuntu", debian.steps(first)),
        System("windows", "Windows (PowerShell)", "sur Windows", windows.steps(first)),
        System("nas", "Serveur de fichiers (NAS)", "sur un NAS", nas.steps(first)),
    )


def timer(code: str) -> str:
    """The same evening backup for systemd."""
    return f"""\
# ~/.config/systemd/user/coffre-fort-{code}.service
[Service]
Type=oneshot
WorkingDirectory=%h/coffre-fort/{code}
ExecStart={_RESTIC} backup %h/Documents

# ~/.config/systemd/user/coffre-fort-{code}.timer
[Timer]
OnCalendar=20:00
Persistent=true
[Install]
WantedBy=timers.target

# puis : systemctl --user enable --now coffre-fort-{code}.timer"""


def back_in_time(moment: str, target: str) -> str:
    """What to type, in the folder of depot.txt, to see and take back the state of a moment."""
    return (
        f"(umask 077; sed 's,/*$,@{moment}/,' depot.txt > passe.txt)\n"
        f"{_PAST} snapshots\n"
        f"{_PAST} restore latest --target {target}\n"
        "rm passe.txt"
    )


def back_in_time_on_windows(moment: str, target: str) -> str:
    """The same, in PowerShell."""
    return (
        f"(Get-Content depot.txt -Raw).Trim().TrimEnd('/') + '@{moment}/' | Set-Content passe.txt\n"
        f"{_PAST} snapshots\n"
        f"{_PAST} restore latest --target {target}\n"
        "Remove-Item passe.txt"
    )
