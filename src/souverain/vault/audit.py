"""What a commune checks by itself: that its vault holds what the log says, and that the log goes on
from the checkpoint that the commune kept. Needs no Django and no database.

What is compared is the state at the log's last instant of each set, so that deposits under way are
no fault: the records row by row, the listings that restic reads, each object's size on the disk and,
for a sample or for all, its bytes. Everything believed is signed by a key that the commune was given.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import unquote, urlsplit

import orjson
import requests

from souverain.vault.engine import stamp
from souverain.vault.engine.tlog import tiles, tree
from souverain.vault.engine.tlog.leaves import BIRTH, DEATH, REAPED, Leaf, LeafError, Name, replay
from souverain.vault.engine.tlog.note import Checkpoint, Key, Note, NoteError

TYPES = ("keys", "snapshots", "index", "data")
SETTLING = timedelta(minutes=10)  # for an event to have its leaf: the worker adds them each minute
SKEW = timedelta(hours=1)  # between this machine's clock and the server's
_TIMEOUT_S = 60
_AGAIN = 5  # times that a busy server is asked
_PAUSE_MAX_S = 30
_ANSWER_MAX_BYTES = 256 << 20  # the records of a million objects
V2 = "application/vnd.x.restic.rest.v2"


class AuditError(Exception):
    """The audit could not be made. The message is in French."""


class Refused(AuditError):
    """The server answered no, with a status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Finding(NamedTuple):
    """Something that is not as it must be: of a kind, about an object or a file of the log."""

    kind: str
    object: str
    message: str


class Row(NamedTuple):
    """One life of an object, as the server's records say it. Instants as RFC 3339, or empty."""

    object: Name
    size: int
    born: str
    died: str
    reaped: str


class Source(Protocol):
    """Where the audited vault is read."""

    code: str
    sets: Sequence[str]

    def log(self, path: str) -> bytes | None: ...

    def records(self, set_code: str) -> list[Row] | None:
        """Every life of a set's objects; None where there are no records."""

    def listing(self, set_code: str, type: str, at: str) -> dict[str, int] | None:
        """The sizes of the objects of a type at an instant, by name; None when it is refused."""

    def keeps_the_dead(self) -> bool:
        """Whether a listing has also what clients deleted."""

    def size(self, name: Name, at: str) -> int | None:
        """The bytes on the disk; None when they are not there, or not as many as recorded."""

    def content(self, name: Name, at: str) -> Iterator[bytes] | None: ...


# What one keeps ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """The last checkpoint that was found right, when, and the log's key."""

    key: Key
    note: Note | None = None
    audited_at: datetime | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        return Checkpoint.parse(self.note.text) if self.note else None

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises AuditError."""
        try:
            told = json.loads(content)
            kept = cls(
                Key.parse(told["key"]),
                Note.parse(told["checkpoint"].encode()),
                datetime.fromisoformat(told["audited_at"]),
            )
            if kept.note is None or not kept.note.is_signed_by(kept.key):
                raise NoteError
            Checkpoint.parse(kept.note.text)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AuditError("ce n'est pas un point de contrôle gardé par un audit") from None
        return kept

    def __bytes__(self) -> bytes:
        assert self.audited_at is not None
        told = {
            "key": str(self.key),
            "checkpoint": str(self.note),
            "audited_at": self.audited_at.isoformat(),
        }
        return (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode()


@dataclass
class Report:
    """The outcome. `seen` is what to keep when nothing was found."""

    findings: list[Finding] = field(default_factory=list)
    seen: Note | None = None
    size: int = 0
    living: int = 0
    read_bytes: int = 0
    stamps: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings

    def add(self, kind: str, object: object, message: str) -> None:
        self.findings.append(Finding(kind, str(object), message))


# The audit ---------------------------------------------------------------------------------------

Chooser = Callable[[list[Leaf]], Iterable[Leaf]]
"""Which of the living objects are read whole."""


def audit(
    source: Source,
    kept: Kept,
    others: Sequence[Note] = (),
    *,
    now: datetime,
    chosen: Chooser,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Check the vault against its log, and the log against what was kept here and by others."""
    report = Report()
    signed = _signed(source, kept.key, report)
    if signed is None:
        return report
    report.seen, checkpoint = signed, Checkpoint.parse(signed.text)
    report.size = checkpoint.size
    known = ([kept.note] if kept.note else []) + list(others)
    found = _tiles(source, checkpoint, report)
    if found is None or not _continues(found, checkpoint, kept.key, known, report):
        return report
    leaves = _leaves(source, checkpoint, found, report)
    if leaves is None:
        return report
    for odd in replay(leaves).odd:
        report.add("log", odd.leaf.object, f"{odd.leaf.object} : {_ODD[odd.why]}.")
    _check_clock(leaves, kept, now, report)
    _check_stamps(source, leaves, checkpoint, kept.key, report)
    for set_code in source.sets:
        own = [leaf for leaf in leaves if leaf.object.set == set_code]
        _check_set(source, set_code, own, now, chosen, progress, report)
    return report


_ODD = {
    "born-twice": "le registre le fait naître deux fois",
    "never-born": "le registre le fait mourir sans qu'il vive",
    "earlier": "le registre recule dans le temps",
}


def _signed(source: Source, key: Key, report: Report) -> Note | None:
    content = source.log("checkpoint")
    if content is None:
        report.add("rewound", "checkpoint", "Le registre n'a aucun point de contrôle.")
        return None
    try:
        found = Note.parse(content)
        checkpoint = Checkpoint.parse(found.text)
    except NoteError:
        report.add("log", "checkpoint", "Le point de contrôle du registre est illisible.")
        return None
    if checkpoint.origin != key.name or not found.is_signed_by(key):
        report.add(
            "forged", "checkpoint", "Le point de contrôle n'est pas signé par la clé attendue."
        )
        return None
    return found


def _continues(
    found: Tiles, checkpoint: Checkpoint, key: Key, known: Sequence[Note], report: Report
) -> bool:
    """Whether the tree that the log signed begins with each one known."""
    node = tiles.nodes(found.__getitem__, checkpoint.size)
    for each in known:
        old = Checkpoint.parse(each.text)
        if old.origin != checkpoint.origin or not each.is_signed_by(key):
            report.add(
                "forged", "checkpoint", "Un point de contrôle gardé n'est pas de ce registre."
            )
        elif old.size > checkpoint.size:
            report.add(
                "rewound",
                "checkpoint",
                f"Le registre a reculé : {checkpoint.size} lignes, il en avait {old.size}.",
            )
        else:
            proof = tree.consistency_proof(node, old.size, checkpoint.size)
            if not tree.continues(old.size, checkpoint.size, proof, old.root, checkpoint.root):
                report.add(
                    "forked",
                    "checkpoint",
                    f"Le registre a été réécrit : ses {old.size} premières lignes "
                    "ne sont plus celles d'un point de contrôle qu'il avait signé.",
                )
    return report.ok


Tiles = dict[tiles.Tile, list[bytes]]


def _tiles(source: Source, checkpoint: Checkpoint, report: Report) -> Tiles | None:
    """The log's tree, every tile checked against the root that was signed."""
    found: Tiles = {}
    for tile in tiles.hash_tiles(checkpoint.size):
        try:
            found[tile] = tiles.unpack(_tile(source, tile, tree.HASH_BYTES), tile.width)
        except (ValueError, FileNotFoundError):
            report.add("log", tile.path, f"Le fichier {tile.path} du registre manque ou est abîmé.")
    if not report.ok:
        return None
    signed = tree.root(tiles.nodes(found.__getitem__, checkpoint.size), checkpoint.size)
    if signed != checkpoint.root:
        report.add("log", "tile", "Les fichiers du registre ne donnent pas la racine signée.")
        return None
    for tile, hashes in found.items():
        below = [] if tile.level == 0 else range(tile.index * 256, tile.index * 256 + tile.width)
        for number, index in enumerate(below):
            if tiles.subtree(found[tiles.Tile(tile.level - 1, index)]) != hashes[number]:
                report.add("log", tile.path, f"Le fichier {tile.path} du registre a été changé.")
    return found if report.ok else None


def _tile(source: Source, tile: tiles.Tile, unit_bytes: int = 0) -> bytes:
    """A tile; a partial one may have given way to the whole one meanwhile, which begins with it."""
    content = source.log(tile.path)
    if content is None and tile.width < tiles.WIDTH:
        content = source.log(replace(tile, width=tiles.WIDTH).path)
        if content is not None and unit_bytes:
            content = content[: tile.width * unit_bytes]
        elif content is not None:
            whole = tiles.unpack_entries(content, tiles.WIDTH)
            content = tiles.pack_entries(whole[: tile.width])
    if content is None:
        raise FileNotFoundError(tile.path)
    return content


def _leaves(
    source: Source, checkpoint: Checkpoint, found: Tiles, report: Report
) -> list[Leaf] | None:
    """What the log says, each line of it proved by the tree that was signed."""
    leaves: list[Leaf] = []
    for bundle in tiles.entry_tiles(checkpoint.size):
        try:
            entries = tiles.unpack_entries(_tile(source, bundle), bundle.width)
            if list(map(tree.leaf_hash, entries)) != found[replace(bundle, level=0)]:
                raise ValueError
            leaves += map(Leaf.parse, entries)
        except (ValueError, LeafError, FileNotFoundError):
            report.add(
                "log", bundle.path, f"Le fichier {bundle.path} du registre manque ou a été changé."
            )
    return leaves if report.ok else None


def _check_clock(leaves: Sequence[Leaf], kept: Kept, now: datetime, report: Report) -> None:
    """Receipt times are the server's word: they may not be after now, nor, for what was added
    since the last audit, before it."""
    for leaf in leaves:
        if leaf.instant > now + SKEW:
            report.add(
                "clock",
                leaf.object,
                f"{leaf.object} : le registre le date du {leaf.at}, dans l'avenir. L'horloge du "
                "serveur ou celle de ce poste est fausse.",
            )
            return
    if kept.audited_at is None or kept.checkpoint is None:
        return
    for leaf in leaves[kept.checkpoint.size :]:
        if leaf.instant < kept.audited_at - SKEW:
            report.add(
                "clock",
                leaf.object,
                f"{leaf.object} : ajouté au registre depuis le dernier audit, mais daté d'avant "
                f"lui ({leaf.at}). L'horloge du serveur a reculé, ou la date est fausse.",
            )
            return


def _check_stamps(
    source: Source, leaves: Sequence[Leaf], checkpoint: Checkpoint, key: Key, report: Report
) -> None:
    """What an outside authority stamped must be in the log still, and its times must agree."""
    names = (source.log("timestamps/") or b"").decode("ascii", "replace").split()
    days = sorted({name.partition(".")[0] for name in names})
    frontier, added = tree.Frontier(), 0
    for day in days:
        where = f"timestamps/{day}"
        signed, token = source.log(f"{where}.checkpoint"), source.log(f"{where}.tsr")
        if token is None and day == days[-1]:
            continue  # on its way
        try:
            if signed is None or token is None:
                raise NoteError
            at = stamp.read(token, signed).at
            found = Note.parse(signed)
            old = Checkpoint.parse(found.text)
            if not found.is_signed_by(key) or old.origin != key.name:
                raise NoteError
        except (NoteError, stamp.StampError):
            report.add("stamp", where, f"L'horodatage du {day} manque, ou n'est pas valable.")
            continue
        if old.size < added or old.size > checkpoint.size:
            report.add("rewound", where, f"Le registre a reculé depuis l'horodatage du {day}.")
            continue
        frontier.add(tree.leaf_hash(bytes(leaf)) for leaf in leaves[added : old.size])
        added = old.size
        if frontier.root() != old.root:
            report.add("forked", where, f"Le registre a été réécrit depuis l'horodatage du {day}.")
        before, after = leaves[: old.size], leaves[old.size :]
        late = any(leaf.instant > at + SKEW for leaf in before)
        if late or any(leaf.instant < at - SKEW for leaf in after):
            report.add(
                "clock", where, f"Les dates du registre contredisent l'horodatage du {day} ({at})."
            )
        report.stamps += 1


# One deposit set ---------------------------------------------------------------------------------


def _check_set(
    source: Source,
    set_code: str,
    leaves: Sequence[Leaf],
    now: datetime,
    chosen: Chooser,
    progress: Callable[[int, int], None],
    report: Report,
) -> None:
    last = leaves[-1].at if leaves else ""
    rows = source.records(set_code)
    if rows is not None:
        _check_rows(rows, leaves, last, now, report)
    if not leaves:
        return
    state = replay(leaves)
    ever = {leaf.object for leaf in leaves}
    _check_listings(source, set_code, state.living, ever, last, report)
    report.living += len(state.living)
    # A deleted object is read as it was at its birth: its bytes are kept, for who goes back.
    there = [(leaf, last) for leaf in state.living.values()]
    there += [(leaf, leaf.at) for leaf in state.deleted.values()]
    wanted = {leaf.object for leaf in chosen([leaf for leaf, _ in there]) if leaf.digest}
    total, done = sum(leaf.size for leaf, _ in there if leaf.object in wanted), 0
    missing = []
    for leaf, at in there:
        name = leaf.object
        if name not in wanted:
            if source.size(name, at) != leaf.size:
                missing.append(name)
            continue
        digest = _digest(source, leaf, at)
        if digest is None:
            missing.append(name)
        elif digest != leaf.digest:
            report.add("swapped", name, f"{name} n'a plus les octets qui ont été déposés.")
        done += leaf.size
        progress(done, total)
    report.read_bytes += done
    left = _left_since(source, set_code, last) if state.deleted.keys() & missing else set()
    for name in missing:
        if name not in state.deleted or name not in left:
            report.add("missing", name, f"{name} manque sur le disque, ou n'y est plus entier.")


def _left_since(source: Source, set_code: str, last: str) -> set[Name]:
    """What was destroyed since the log's last instant, as the records say now. When they lie, the
    next audit misses the leaves."""
    rows = source.records(set_code) or []
    return {row.object for row in rows if row.reaped > last}


def _digest(source: Source, leaf: Leaf, at: str) -> str | None:
    content = source.content(leaf.object, at)
    if content is None:
        return None
    digest = hashlib.sha256()
    for chunk in content:
        digest.update(chunk)
    return digest.hexdigest()


def _check_rows(
    rows: Sequence[Row], leaves: Sequence[Leaf], last: str, now: datetime, report: Report
) -> None:
    """Each event that the records tell has its leaf, and each leaf its record."""
    told: dict[tuple[str, Name, str], int] = {}
    for row in rows:
        for event, at in ((BIRTH, row.born), (DEATH, row.died), (REAPED, row.reaped)):
            if at:
                told[event, row.object, at] = row.size
    logged = {(leaf.event, leaf.object, leaf.at): leaf.size for leaf in leaves}
    for (event, name, at), size in logged.items():
        recorded = told.get((event, name, at))
        if recorded is None:
            report.add(
                "missing" if event == BIRTH else "revived",
                name,
                f"{name} : {_EVENT[event]} du {at} n'est plus dans les enregistrements du serveur.",
            )
        elif recorded != size:
            report.add("swapped", name, f"{name} : {recorded} octets enregistrés, {size} reçus.")
    for event, name, at in told.keys() - logged.keys():
        if at <= last or datetime.fromisoformat(at) < now - SETTLING:
            report.add(
                "unlogged", name, f"{name} : {_EVENT[event]} du {at} n'est pas dans le registre."
            )


_EVENT = {BIRTH: "le dépôt", DEATH: "l'effacement", REAPED: "la destruction"}


def _check_listings(
    source: Source,
    set_code: str,
    living: Mapping[Name, Leaf],
    ever: set[Name],
    at: str,
    report: Report,
) -> None:
    """What a client sees is what the log says that it must."""
    told = {finding.object for finding in report.findings}
    for type in TYPES:
        listed = source.listing(set_code, type, at)
        if listed is None:
            message = f"Le serveur refuse de montrer {set_code}/{type} comme c'était le {at}."
            report.add("missing", f"{set_code}/{type}", message)
            continue
        expected = {name.name: leaf.size for name, leaf in living.items() if name.type == type}
        for name in sorted(expected.keys() | listed.keys()):
            full = Name(set_code, type, name)
            if str(full) in told or expected.get(name) == listed.get(name):
                continue
            if name not in listed:
                report.add("missing", full, f"{full} manque : le serveur ne le montre plus.")
            elif name in expected:
                report.add(
                    "swapped", full, f"{full} : {listed[name]} octets, {expected[name]} déposés."
                )
            elif full not in ever:
                report.add("unlogged", full, f"{full} est là sans être dans le registre.")
            elif not source.keeps_the_dead():
                report.add("revived", full, f"{full} est montré, alors qu'il a été effacé.")


# Where it is read --------------------------------------------------------------------------------


class Server:
    """A commune's vault through the addresses of its devices, one for each set."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Takes what `restic -r` takes. Raises AuditError."""
        self._urls: dict[str, str] = {}
        self._sessions: dict[str, requests.Session] = {}
        codes = set()
        for address in addresses:
            parts = urlsplit(address.strip().removeprefix("rest:"))
            steps = parts.path.strip("/").split("/")
            if not parts.hostname or not parts.username or len(steps) != 3 or steps[0] != "vault":
                raise AuditError("ce n'est pas l'adresse d'un dépôt du coffre-fort")
            codes.add(steps[1])
            port = f":{parts.port}" if parts.port else ""
            self._urls[steps[2]] = f"{parts.scheme}://{parts.hostname}{port}/vault/{steps[1]}/"
            session = requests.Session()
            session.auth = (unquote(parts.username), unquote(parts.password or ""))
            self._sessions[steps[2]] = session
        if len(codes) != 1:
            raise AuditError("les adresses sont de plusieurs communes")
        (self.code,) = codes
        self.sets: Sequence[str] = tuple(self._urls)

    def keeps_the_dead(self) -> bool:
        return False

    def ask(
        self, method: str, set_code: str, path: str, *, known: Sequence[int] = (), **extra: Any
    ) -> requests.Response:
        """One request, below `/vault/<INSEE>/`: an answer whose body is still to be read (`whole`), so
        that its length is bounded. Raises AuditError without an answer, Refused for 401, 403 and a
        server that stays busy, unless the status is `known` to the caller."""
        session, url = self._sessions[set_code], self._urls[set_code] + path
        extra |= {"timeout": _TIMEOUT_S, "allow_redirects": False, "stream": method != "HEAD"}
        try:
            for turn in range(_AGAIN):
                answer = session.request(method, url, **extra)
                if answer.status_code not in (429, 503) or turn == _AGAIN - 1:
                    break
                answer.close()
                time.sleep(_pause_s(answer))
        except (requests.RequestException, OSError) as error:
            host = urlsplit(url).netloc
            raise AuditError(f"le coffre-fort ({host}) ne répond pas") from error
        if answer.status_code in {401, 403, 429, 503} - set(known):
            told = "accès refusé" if method == "HEAD" else sentence(answer)
            status = answer.status_code
            raise Refused(f"le coffre-fort refuse : {told} ({status})", status)
        return answer

    def _get(self, set_code: str, path: str, **extra: Any) -> bytes | None:
        answer = self.ask("GET", set_code, path, **extra)
        if answer.status_code != 200:
            answer.close()
            return None
        return whole(answer)

    def log(self, path: str) -> bytes | None:
        return self._get(self.sets[0], f"log/{path}")

    def records(self, set_code: str) -> list[Row] | None:
        content = self._get(set_code, f"log/records/{set_code}")
        if content is None:
            raise AuditError(f"le coffre-fort ne montre pas les enregistrements de {set_code}")
        with understood():
            return [
                Row(Name(set_code, _text(type), _text(name)), int(size), *map(_text, instants))
                for type, name, size, *instants in orjson.loads(content)
            ]

    def listing(self, set_code: str, type: str, at: str) -> dict[str, int] | None:
        """At an instant, or with an empty one now."""
        path = f"{set_code}@{at}/{type}/" if at else f"{set_code}/{type}/"
        content = self._get(set_code, path, headers={"accept": V2})
        if content is None:
            return None
        with understood():
            return {_text(item["name"]): int(item["size"]) for item in orjson.loads(content)}

    def size(self, name: Name, at: str) -> int | None:
        answer = self.ask("HEAD", name.set, _past(name, at))
        with understood():
            return int(answer.headers["content-length"]) if answer.status_code == 200 else None

    def content(self, name: Name, at: str) -> Iterator[bytes] | None:
        answer = self.ask("GET", name.set, _past(name, at))
        if answer.status_code != 200:
            answer.close()
            return None
        return _chunks(answer)

    def file(self, set_code: str, path: str) -> bytes | None:
        """A small file of a repository as it is now: `config`, or below `keys`, `index`,
        `snapshots`."""
        return self._get(set_code, f"{set_code}/{path}")

    def cosign(self, line: str) -> bool:
        """Send a witness's signature; False when it is not, or no longer, of the current
        checkpoint by a registered key."""
        answer = self.ask("POST", self.sets[0], "log/cosignature", data=line.encode())
        answer.close()
        return answer.status_code == 200


def _pause_s(answer: requests.Response) -> float:
    told = answer.headers.get("retry-after", "")
    return min(int(told), _PAUSE_MAX_S) if told.isascii() and told.isdigit() else 1


def whole(answer: requests.Response) -> bytes:
    """The body, bounded. Raises AuditError."""
    content = bytearray()
    try:
        for chunk in answer.iter_content(1 << 20):
            content += chunk
            if len(content) > _ANSWER_MAX_BYTES:
                raise AuditError("une réponse du coffre-fort est démesurée")
    except requests.RequestException as error:
        raise AuditError("la ligne a été coupée") from error
    finally:
        answer.close()
    return bytes(content)


def sentence(answer: requests.Response) -> str:
    """What the server says of a refusal, as what can be printed."""
    start = next(_chunks(answer), b"")[:1000].decode(errors="replace")
    answer.close()
    return "".join(each if each.isprintable() else " " for each in start).strip().rstrip(".")


@contextmanager
def understood() -> Iterator[None]:
    """What a server answers may be anything."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise AuditError("une réponse du coffre-fort est illisible") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    """The body; one that is cut short is not the whole, and its hash says so."""
    try:
        yield from answer.iter_content(1 << 20)
    except requests.RequestException:
        return


def _past(name: Name, at: str) -> str:
    path = "config" if name.type == "config" else f"{name.type}/{name.name}"
    return f"{name.set}@{at}/{path}"


class Folder:
    """A copy of the département's object folder: `vault/<INSEE>/…` and `log/<INSEE>/…`."""

    def __init__(self, root: Path, code: str) -> None:
        self.code, self._root = code, root
        vault = root / "vault" / code
        if not vault.is_dir() or not (root / "log" / code).is_dir():
            raise AuditError(f"{root} n'a pas les dossiers vault/{code} et log/{code}")
        self.sets: Sequence[str] = sorted(each.name for each in vault.iterdir() if each.is_dir())

    def keeps_the_dead(self) -> bool:
        return True

    def log(self, path: str) -> bytes | None:
        here = self._root / "log" / self.code / path
        if path.endswith("/"):
            names = sorted(each.name for each in here.iterdir()) if here.is_dir() else []
            return "".join(f"{name}\n" for name in names).encode()
        return here.read_bytes() if here.is_file() else None

    def records(self, set_code: str) -> list[Row] | None:
        return None

    def _path(self, name: Name) -> Path:
        here = self._root / "vault" / self.code / name.set
        if name.type == "config":
            return here / "config"
        folder = here / "data" / name.name[:2] if name.type == "data" else here / name.type
        return folder / name.name

    def listing(self, set_code: str, type: str, at: str) -> dict[str, int]:
        found = (self._root / "vault" / self.code / set_code / type).rglob("*")
        return {path.name: path.stat().st_size for path in found if path.is_file()}

    def size(self, name: Name, at: str) -> int | None:
        path = self._path(name)
        return path.stat().st_size if path.is_file() else None

    def content(self, name: Name, at: str) -> Iterator[bytes] | None:
        path = self._path(name)
        return _pieces(path) if path.is_file() else None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
