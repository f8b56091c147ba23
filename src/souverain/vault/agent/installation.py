"""Setting a machine up: everything is checked beforehand, and nothing is written over."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from datetime import time
from pathlib import Path

from souverain.vault import witness
from souverain.vault.agent import AgentError, backup, settings, stock
from souverain.vault.agent.place import Place, parse_address, read_secret, shown
from souverain.vault.agent.receipts import ask, kept_in, parse_key
from souverain.vault.agent.settings import Settings
from souverain.vault.audit import AuditError
from souverain.vault.whole import write_whole

_USUAL = ("Documents", "Bureau", "Desktop", "OneDrive/Documents", "OneDrive/Bureau")
_HOUR = time(20, 0)


@dataclass(frozen=True)
class Done:
    """What was set up. `drew_password`: a new one, to be kept elsewhere before anything else."""

    settings: Settings
    drew_password: bool
    made_repository: bool
    witness: str
    """The line to register on the commune's page."""


def set_up(
    place: Place, folders: tuple[Path, ...], log_key: str | None, hour: time | None, replaces: bool
) -> Done:
    """Raises AgentError at the first thing that is not as it must be."""
    chosen = _chosen(place, folders, log_key, hour, replaces)
    for each in chosen.folders:
        if not Path(each).is_dir():
            raise AgentError(f"{shown(each)} n'est pas un dossier de ce poste : corrigez son nom.")
    program = stock.find()
    drew, made = _repository(place, program)
    address = place.address()
    _must_open(place, program)
    if chosen.log_key:
        try:
            kept_in(place, chosen.log_key, address.code)
        except (AuditError, OSError) as error:
            raise AgentError(f"--key : {error}.") from None
    signer = witness.key_of(address.code, witness.secret_in(place.witness))
    if not place.settings.exists() or settings.parse(_text(place)) != chosen:
        write_whole(place.settings, settings.written(chosen).encode())
    return Done(chosen, drew, made, str(signer))


def _text(place: Place) -> str:
    return place.settings.read_text("utf-8-sig")


# What to protect ---------------------------------------------------------------------------------


def _chosen(
    place: Place, folders: tuple[Path, ...], log_key: str | None, hour: time | None, replaces: bool
) -> Settings:
    if log_key:
        try:
            parse_key(log_key)
        except AuditError as error:
            raise AgentError(f"--key : {error}.") from None
    if place.settings.exists() and not replaces:
        if folders:
            raise AgentError(
                "agent.toml est déjà là : changez-y « dossiers », puis relancez cette commande sans "
                "dossier ; ou bien ajoutez --replace, qui le refait."
            )
        found = backup.load_settings(place)
        changed = replace(found, log_key=log_key or found.log_key, hour=hour or found.hour)
        return changed
    named = folders or tuple(folder for each in _USUAL if (folder := Path.home() / each).is_dir())
    if not named:
        raise AgentError("Nommez les dossiers à protéger, par exemple : agent setup Documents.")
    exclusions = tuple(each for group in settings.EXCLUSIONS.values() for each in group)
    paths = tuple(dict.fromkeys(os.path.abspath(each) for each in named))  # noqa: PTH100
    for each in paths:
        if not each.isprintable():
            raise AgentError(
                f"« {shown(each)} » : un nom pareil ne s'écrit pas dans agent.toml ; protégez le "
                "dossier qui le contient."
            )
    return Settings(paths, exclusions, hour or _HOUR, log_key or "")


# The repository ----------------------------------------------------------------------------------


def _repository(place: Place, program: str) -> tuple[bool, bool]:
    """Make the repository when this is its first machine; whether a password was drawn for it, and
    whether it was made."""
    address = parse_address(read_secret(place.repository))
    answer = ask(address)
    if answer.status is None:
        raise AgentError(
            f"{backup.silent(answer, address)} Vérifiez la connexion à Internet, et l'adresse dans "
            "depot.txt."
        )
    if answer.status in backup.REFUSED:
        raise AgentError(backup.REFUSED[answer.status])
    if answer.status not in (200, 404):
        raise AgentError(f"{backup.silent(answer, address)} Recommencez plus tard.")
    new, drew = answer.status == 404, False
    if not place.password.exists():
        if not new:
            raise AgentError(
                "Un autre poste a déjà préparé ce dépôt : apportez son mot de passe. Copiez le "
                f"fichier motdepasse.txt d'un autre poste dans {place.folder}, ou tapez-y le mot de "
                "passe de l'enveloppe."
            )
        write_whole(place.password, f"{secrets.token_hex(16)}\n".encode())
        drew = True
    if new:
        done = stock.run(program, place, place.address(), ["init"])
        if done.status and ask(address).status != 200:
            raise AgentError(backup.explained(done))
    return drew, new


def _must_open(place: Place, program: str) -> None:
    done = stock.run(program, place, place.address(), ["cat", "config", "--no-lock"])
    if done.status:
        raise AgentError(backup.explained(done))
