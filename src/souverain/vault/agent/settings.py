"""`agent.toml`: what to protect, what to leave out, when. Its keys are French: the town hall edits it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import time
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from souverain.vault.agent import AgentError
from souverain.vault.agent.place import shown

MAX_BYTES = 64 << 10
_MAX_FOLDERS, _MAX_EXCLUSIONS, _MAX_TEXT = 100, 500, 4096
_HOUR = re.compile(r"([01]?\d|2[0-3])\s*[:hH]\s*([0-5]\d)")
# Too little is left out rather than too much: what is kept for nothing costs little.
EXCLUSIONS = {
    "Corbeilles": ("$RECYCLE.BIN", "System Volume Information", ".Trash", ".Trash-*"),
    "Fichiers que Windows recrée ou garde ouverts": (
        "pagefile.sys",
        "hiberfil.sys",
        "swapfile.sys",
        "Thumbs.db",
        "AppData/Local/Temp",
        "AppData/Local/Microsoft/Windows/INetCache",
    ),
    "Témoins d'un document ouvert (le document lui-même est sauvegardé)": ("~$*", ".~lock.*#"),
    "Mémoires des navigateurs": (".cache", "cache2", "Code Cache", "GPUCache"),
}


@dataclass(frozen=True)
class Settings:
    """`folders` are absolute; `exclusions` are restic's patterns, whatever their case."""

    folders: tuple[str, ...]
    exclusions: tuple[str, ...]
    hour: time
    log_key: str = ""


def parse(text: str) -> Settings:
    """Raises AgentError, which names the line."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        # At the end of the file it says no line.
        line = int(found[1]) if found else len(text.splitlines())
        hint = " Un chemin de Windows s'écrit entre apostrophes : 'C:\\Users\\mairie\\Documents'."
        raise _fault(line, "n'est pas du TOML.", hint if "\\" in text else "") from None
    known = ("dossiers", "exclusions", "heure", "cle_du_registre")
    for key in told:
        if key not in known:
            what = f"la clé « {shown(key)} » n'existe pas ({', '.join(known)})."
            raise _fault(_line(text, key), what)
    folders = _texts(text, told, "dossiers", _MAX_FOLDERS)
    for folder in folders:
        if not (PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).is_absolute()):
            raise _fault(
                _line(text, "dossiers"),
                f"« {shown(folder)} » doit être un chemin entier, sans raccourci.",
            )
    if not folders:
        raise _fault(_line(text, "dossiers"), "« dossiers » doit nommer au moins un dossier.")
    key = told.get("cle_du_registre", "")
    if not isinstance(key, str) or len(key) > _MAX_TEXT:
        raise _fault(_line(text, "cle_du_registre"), "« cle_du_registre » doit être un texte.")
    try:
        hour = parse_hour(str(told.get("heure", "20:00"))[:5])  # TOML's own 20:00:00 as well
    except AgentError as error:
        raise _fault(_line(text, "heure"), str(error)) from None
    exclusions = _texts(text, told, "exclusions", _MAX_EXCLUSIONS)
    return Settings(folders, exclusions, hour, key.strip())


def parse_hour(text: str) -> time:
    """`20:00`, `20h00`."""
    found = _HOUR.fullmatch(text.strip())
    if found is None:
        raise AgentError("« heure » s'écrit comme 20:00.")
    return time(int(found[1]), int(found[2]))


def _texts(text: str, told: dict[str, Any], key: str, limit: int) -> tuple[str, ...]:
    found = told.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _fault(_line(text, key), f"« {key} » doit être une liste de textes entre crochets.")
    if len(found) > limit:
        raise _fault(_line(text, key), f"« {key} » : {limit} au plus.")
    if any(not each.strip() or len(each) > _MAX_TEXT or _controls(each) for each in found):
        raise _fault(_line(text, key), f"« {key} » : un des textes est vide, ou illisible.")
    return tuple(found)


def _controls(text: str) -> bool:
    return any(ord(each) < 32 or ord(each) == 127 for each in text)


def _line(text: str, key: str) -> int:
    """Of a key; the last one when it is nowhere."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if re.match(rf"\s*\[?[\"']?{re.escape(key)}[\"']?\s*[\].=]", line):
            return number
    return max(len(lines), 1)


def _fault(line: int, what: str, hint: str = "") -> AgentError:
    return AgentError(f"agent.toml, ligne {line} : {what}{hint} Corrigez ce fichier.")


def written(settings: Settings) -> str:
    """The file, with what one may want to know in it."""
    folders = "".join(f"    {_toml(each)},\n" for each in settings.folders)
    groups = []
    left = list(settings.exclusions)
    for title, patterns in EXCLUSIONS.items():
        own = [each for each in patterns if each in left]
        left = [each for each in left if each not in own]
        groups.append(f"    # {title}\n    {', '.join(map(_toml, own))},\n" if own else "")
    rest = "".join(f"    {_toml(each)},\n" for each in left)
    return f"""\
# L'agent du coffre-fort sur ce poste. Après un changement :
# souverain vault agent setup

# Ce qui est protégé, avec tout ce qui est dedans. Un chemin entier, entre apostrophes.
dossiers = [
{folders}]

# Ce qui n'est pas sauvegardé : un nom de fichier ou de dossier, * pour n'importe quelles lettres.
exclusions = [
{"".join(groups)}{rest}]

# L'heure de la sauvegarde. Si elle change : souverain vault agent schedule --install
heure = "{settings.hour:%H:%M}"

# La clé du registre de la commune, donnée sur papier par le département. Avec elle, ce poste
# vérifie chaque soir que le coffre-fort n'a rien perdu ni réécrit.
cle_du_registre = {_toml(settings.log_key)}
"""


def _toml(text: str) -> str:
    """A string as TOML writes it; between apostrophes when it can be, as Windows paths need."""
    if "'" not in text and not _controls(text):
        return f"'{text}'"
    escaped = "".join(
        f"\\u{ord(c):04x}" if _controls(c) else f"\\{c}" if c in '"\\' else c for c in text
    )
    return f'"{escaped}"'
