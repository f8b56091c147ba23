"""Find files in a backup, and take them back. Nothing that exists is ever written over: restic
restores into a folder of its own, from which each thing takes its place when its name is free."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from souverain.core.format import PARIS, datetime_fr
from souverain.vault.agent import AgentError, stock
from souverain.vault.agent.backup import escaped, silent
from souverain.vault.agent.place import Address, Place, shown
from souverain.vault.agent.receipts import Progress, ask

MAX_FOUND = 200
_MAX_SNAPSHOTS = 100_000
_STAGING = ".restauration"
_ID = re.compile(r"[0-9a-f]{64}")
_WINDOWS = re.compile(r"([A-Za-z]):[\\/](.*)", re.DOTALL)
_FRENCH = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ àT]+(.*))?")
_CLOCK = re.compile(r"([01]?\d|2[0-3])\s*[:hH]\s*([0-5]\d)?")
NO_ROLE = (
    "Cet appareil ne fait que sauvegarder : il n'a pas le droit de tout relire. Sur la page "
    "« Coffre-fort » de la commune, ajoutez un appareil qui peut « Relire et restaurer », mettez son "
    "adresse dans le depot.txt d'un autre dossier, avec le même motdepasse.txt, et recommencez avec "
    "--home ; puis révoquez-le."
)
_REFUSED = {
    401: "Le coffre-fort ne connaît pas cet appareil, ou il a été révoqué : ajoutez-en un sur la "
    "page « Coffre-fort » de la commune.",
    403: NO_ROLE,
}


# The moment --------------------------------------------------------------------------------------


def parse_moment(text: str, now: datetime) -> str | None:
    """RFC 3339 in UTC of what somebody types: `23/11/2026`, `23/11/2026 18:00`, `2026-11-23 18:00`,
    or RFC 3339 itself. A day alone is its end; without an offset, it is Paris's time. None for
    today, whose end is not there yet."""
    at = _moment(text.strip())
    if at is None:
        raise AgentError(
            f"« {shown(text, 60)} » n'est pas un moment : écrivez-le comme « 23/11/2026 18:00 »."
        )
    if at > now:
        if at - now > timedelta(days=1):
            raise AgentError(f"Ce moment ({datetime_fr(at)}) n'est pas encore arrivé.")
        return None
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(text: str) -> datetime | None:
    french = _FRENCH.fullmatch(text)
    if french:
        day, month, year, clock = french.groups()
        text = f"{year}-{int(month):02}-{int(day):02}"
        if clock:
            told = _CLOCK.fullmatch(clock.strip())
            if told is None:
                return None
            text += f"T{int(told[1]):02}:{told[2] or '00'}"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=PARIS)
        if len(text) == 10:
            at = at.replace(hour=23, minute=59, second=59)
    return at


# The backup --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    id: str
    at: datetime
    machine: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A file or a folder of a backup; its path is the one in the backup, with slashes."""

    path: str
    kind: str
    size: int
    modified: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class Reader:
    """A backup read by the stock restic, at a moment."""

    def __init__(self, place: Place, repository: Path, moment: str | None) -> None:
        self.place, self.moment = place, moment
        self.address: Address = place.address()
        self._program, self._repository = stock.find(), repository

    def run(self, *arguments: str, on_message: Callable[[Any], None]) -> stock.Done:
        """Raises AgentError when it was refused, or read nothing at all."""
        done = stock.run(
            self._program,
            self.place,
            self.address,
            arguments,
            repository=self._repository,
            on_message=on_message,
        )
        if done.refused in _REFUSED:
            raise AgentError(_REFUSED[done.refused])
        return done

    def must(self, *arguments: str, on_message: Callable[[Any], None]) -> None:
        done = self.run(*arguments, on_message=on_message)
        if done.status:
            raise AgentError(self.why(done))

    def why(self, done: stock.Done) -> str:
        answer = ask(self.address, self.moment)
        if answer.status is None:
            return f"{silent(answer, self.address)} Vérifiez la connexion à Internet, puis recommencez."
        if answer.status != 200:
            return f"Le coffre-fort refuse : {answer.sentence or answer.status}"
        if done.says("config/> does not exist", "config file does not exist"):
            return "Rien n'était encore sauvegardé à ce moment-là."
        if done.status == 12 or done.says("wrong password"):
            return "Le mot de passe (motdepasse.txt) n'ouvre pas ce dépôt."
        last = done.said[-1] if done.said else "rien"
        return f"restic s'est arrêté (code {done.status}) en disant « {last} »."

    def snapshots(self) -> list[Snapshot]:
        """Oldest first, by the clocks of the machines that made them."""
        found: list[Snapshot] = []

        def take(message: Any) -> None:
            for each in message[:_MAX_SNAPSHOTS] if isinstance(message, list) else ():
                with suppress(KeyError, TypeError, ValueError):
                    if not _ID.fullmatch(each["id"]):
                        continue
                    at = datetime.fromisoformat(_seconds(each["time"]))
                    paths = tuple(map(str, each["paths"]))
                    found.append(Snapshot(each["id"], at, str(each["hostname"]), paths))

        self.must("snapshots", "--no-lock", on_message=take)
        return sorted(found, key=lambda snapshot: (snapshot.at, snapshot.id))

    def entries(self, snapshot: Snapshot, take: Callable[[Entry], None]) -> None:
        """Hand over everything in a backup, one at a time."""

        def heard(message: Any) -> None:
            if isinstance(message, dict) and message.get("struct_type") == "node":
                path, kind = message.get("path"), message.get("type")
                if isinstance(path, str) and path.startswith("/") and isinstance(kind, str):
                    size = stock.number(message, "size")
                    take(Entry(path, kind, size, str(message.get("mtime"))[:40]))

        self.must("ls", "--no-lock", snapshot.id, on_message=heard)


def _seconds(text: str) -> str:
    """restic's time without its nine decimals."""
    return re.sub(r"\.\d+", "", text)


@contextmanager
def reading(place: Place, moment: str | None) -> Iterator[Reader]:
    with place.at(place.address(), moment) as repository:
        yield Reader(place, repository, moment)


def choose(
    found: Sequence[Snapshot], machine: str | None, here: str, own: str | None, now: datetime
) -> Snapshot:
    """The latest backup: of a machine; otherwise the one that this machine knows it made last
    (`own`), or the latest of this machine, or of any. One from the future says that a clock was
    wrong, and comes last."""
    if machine is not None:
        names = sorted({each.machine for each in found})
        found = [each for each in found if each.machine.casefold() == machine.casefold()]
        if not found:
            raise AgentError(
                f"Aucune sauvegarde de {shown(machine, 60)} ; il y en a de : "
                f"{', '.join(shown(each, 60) for each in names) or 'personne'}."
            )
    elif own:
        mine = [each for each in found if each.id.startswith(own)]
        if mine:
            return mine[0]
    found = [each for each in found if each.machine == here] or list(found)
    found = [each for each in found if each.at <= now + timedelta(days=1)] or found
    if not found:
        raise AgentError("Aucune sauvegarde n'était là à ce moment.")
    return found[-1]


# What is looked for ------------------------------------------------------------------------------


def folded(text: str) -> str:
    """Without case or accents: nobody remembers them."""
    plain = unicodedata.normalize("NFKD", text)
    return "".join(each for each in plain if not unicodedata.combining(each)).casefold()


def in_backup(path: str) -> str:
    """A path of this machine as a backup writes it: `C:\\a` is `/C/a`."""
    windows = _WINDOWS.fullmatch(path)
    if windows:
        path = f"/{windows[1]}/{windows[2]}".replace("\\", "/")
    return path.rstrip("/") or "/"


def find(reader: Reader, snapshot: Snapshot, name: str) -> tuple[list[Entry], int]:
    """The files whose name has that in it, and how many there are."""
    wanted, count = folded(name), 0
    found: list[Entry] = []

    def take(entry: Entry) -> None:
        nonlocal count
        if wanted in folded(entry.name):
            count += 1
            if len(found) < MAX_FOUND:
                found.append(entry)

    reader.entries(snapshot, take)
    return found, count


@dataclass(frozen=True)
class Wanted:
    """What to take back: paths of a backup (the root is all of it), and their bytes."""

    paths: tuple[str, ...]
    bytes: int
    files: int


def select(reader: Reader, snapshot: Snapshot, names: Sequence[str]) -> Wanted:
    """Each name is a whole path, the end of one, or a part of a file's name, and must mean one thing.
    Without names: all that the backup was asked to keep."""
    asked = [_Asked(each) for each in names or snapshot.paths]

    def take(entry: Entry) -> None:
        for each in asked:
            each.hear(entry)

    reader.entries(snapshot, take)
    if not names and not all(each.exact for each in asked):
        paths: tuple[str, ...] = ("/",)  # a backup made by hand, of a relative path
    else:
        paths = tuple(dict.fromkeys(each.only() for each in asked))
    paths = tuple(each for each in paths if not any(_is_below(each, other) for other in paths))
    total, files = 0, 0

    def weigh(entry: Entry) -> None:
        nonlocal total, files
        if any(entry.path == each or _is_below(entry.path, each) for each in paths):
            total += entry.size
            files += entry.kind != "dir"

    reader.entries(snapshot, weigh)
    return Wanted(paths, total, files)


def _is_below(path: str, folder: str) -> bool:
    return path != folder and path.startswith(f"{folder.rstrip('/')}/")


class _Asked:
    """A name that somebody typed, and what it may mean."""

    def __init__(self, name: str) -> None:
        self.name, self._path = name, in_backup(name)
        self._end = folded("/" + self._path.strip("/"))
        self.exact: str | None = None
        self._ends: list[str] = []
        self._parts: list[str] = []
        self._count = 0

    def hear(self, entry: Entry) -> None:
        if entry.path == self._path:
            self.exact = entry.path
        elif folded(entry.path).endswith(self._end):
            self._note(self._ends, entry)
        elif folded(self.name) in folded(entry.name):
            self._note(self._parts, entry)

    def _note(self, into: list[str], entry: Entry) -> None:
        self._count += 1
        if len(into) < MAX_FOUND:
            into.append(entry.path)

    def only(self) -> str:
        """Raises AgentError when it means nothing, or several things."""
        found = [self.exact] if self.exact else self._ends or self._parts
        if not found:
            raise AgentError(
                f"« {shown(self.name)} » n'est pas dans cette sauvegarde : cherchez avec "
                "« souverain vault agent find », ou un autre moment avec --at."
            )
        if len(found) > 1:
            named = "\n".join(f"  {shown(each)}" for each in found[:20])
            raise AgentError(
                f"« {shown(self.name)} » peut être plusieurs choses ; donnez le chemin entier :\n{named}"
            )
        return found[0]


# Taking back -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """What took its place; what did not come back, and where the rest lies then: a file is at its
    place whole, or not there."""

    places: tuple[Path, ...]
    faults: tuple[str, ...]
    left_in: Path | None = None


def restore(
    reader: Reader, snapshot: Snapshot, wanted: Wanted, target: Path, progress: Progress
) -> Restored:
    """Everything comes under its own name into `target`. Raises AgentError when a name is taken, or
    nothing came."""
    names = _names(wanted.paths)
    for name in names.values():
        if os.path.lexists(target / name):
            raise AgentError(
                f"{shown(str(target / name))} existe déjà ; rien n'est jamais écrit par-dessus : "
                "choisissez un autre dossier avec --to."
            )
    target.mkdir(parents=True, exist_ok=True)
    staging = target / f"{_STAGING}-{secrets.token_hex(6)}"
    staging.mkdir(mode=0o700)
    includes = [f"--include={_include(each)}" for each in wanted.paths if each != "/"]
    try:
        with _watched(staging, wanted.bytes, progress):
            done = reader.run(
                *("restore", snapshot.id, "--verify", *includes, "--target", str(staging)),
                on_message=lambda message: None,
            )
        faults = _faults(done)
        if done.status and not any(each.is_file() for each in staging.rglob("*")):
            raise AgentError(faults[0] if faults else reader.why(done))
        if done.status:
            return Restored((), faults or (reader.why(done),), _apart(staging))
        places = _placed(staging, target, names)
    except BaseException:
        _remove(staging)
        raise
    if None in places:
        fault = "un nom a été pris entre-temps, ou le dossier n'est pas permis"
        return Restored(_some(places), (fault,), _apart(staging))
    _remove(staging)
    return Restored(_some(places), ())


def _apart(staging: Path) -> Path:
    """Keep what came, under a name that says what it is: some of it may be cut short."""
    return staging.rename(staging.with_name(f"INCOMPLET{staging.name.removeprefix(_STAGING)}"))


def _some(places: list[Path | None]) -> tuple[Path, ...]:
    return tuple(each for each in places if each is not None)


def _names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each path; the root has none: what is in it takes its place."""
    named: dict[str, str] = {}
    for path in paths:
        name = path.rpartition("/")[2]
        if path == "/":
            continue
        number = 2
        while name in named.values():
            name = f"{path.rpartition('/')[2]} ({number})"
            number += 1
        named[path] = name
    return named


def _include(path: str) -> str:
    """A pattern for this path alone. JSON cannot say a byte that is no text: one letter stands for it."""
    return escaped(path).replace("\ufffd", "?")


def _faults(done: stock.Done) -> tuple[str, ...]:
    return tuple(each for each in done.said if "error" in each and "retrying" not in each)


@contextmanager
def _watched(staging: Path, total: int, progress: Progress) -> Iterator[None]:
    """Tell the bytes that are there, each second: an old restic says nothing of it."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            progress(min(_bytes_in(staging), total), max(total, 1))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
        progress(max(total, 1), max(total, 1))
    finally:
        over.set()
        watching.join()


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118
    return total


def _placed(staging: Path, target: Path, names: dict[str, str]) -> list[Path | None]:
    """Give each thing its name; None for what could not take it."""
    if not names:
        names = {f"/{each}": each for each in sorted(file.name for file in staging.iterdir())}
    return [_moved(_landed(staging, path), target / name) for path, name in names.items()]


def _landed(staging: Path, path: str) -> Path | None:
    """Where restic put it. A name that JSON cannot say is the only one there."""
    here = staging
    for part in path.strip("/").split("/"):
        step = here / part
        if not os.path.lexists(step):
            inside = list(here.iterdir()) if here.is_dir() else []
            if len(inside) != 1 or "\ufffd" not in part:
                return None
            step = inside[0]
        here = step
    return here


def _moved(source: Path | None, place: Path) -> Path | None:
    """Without ever replacing what came there meanwhile."""
    if source is None:
        return None
    if source.name != place.name and "\ufffd" in place.name:
        place = place.with_name(source.name)
    try:
        if os.name != "posix":
            source.rename(place)  # which fails there when the name is taken
        elif source.is_dir() and not source.is_symlink():
            _move_folder(source, place)
        else:
            _move_file(source, place)
    except OSError:
        return None
    return place


def _move_folder(source: Path, place: Path) -> None:
    place.mkdir()  # a folder takes the place of an empty one alone: of this one
    try:
        source.rename(place)
    except OSError:
        place.rmdir()
        raise


def _move_file(source: Path, place: Path) -> None:
    try:
        os.link(source, place, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        if os.path.lexists(place):
            raise
        source.rename(place)


def _remove(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
