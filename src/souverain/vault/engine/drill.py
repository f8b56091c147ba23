"""Restore drills: what is drawn, within which bounds, and the report that a machine signs.

A report is a signed note (C2SP signed-note) of two lines, the domain and canonical JSON (sorted keys,
no spaces, UTF-8, whole numbers only). No checkpoint has such a second line and no cosignature begins
so: one can never be taken for another, although a machine signs all of them with one key. It says
counts, never the name of a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from souverain.vault.engine.tlog.note import ED25519, Key, Note, NoteError, Signature

VERSION = 1
DOMAIN = "souverain-drill/v1"
REPORT_MAX_BYTES = 16 << 10
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_COMMUNE = re.compile(r"[0-9][0-9AB][0-9]{3}")
_SET = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PROGRAM = re.compile(r"[0-9A-Za-z.+-]{0,40}")
_ROOT = re.compile(r"(?:[0-9A-Za-z+/]{43}=)?")
_COUNT_MAX = 1 << 62


class ReportError(ValueError):
    """What was read is not a report, or says what no drill can say."""


class Place(StrEnum):
    """Where a drill ran: on a machine of the commune, or at the département's console."""

    MACHINE = "machine"
    DEPARTEMENT = "departement"


class Verdict(StrEnum):
    """`unfinished`: nothing wrong was found, and too little was read to say more."""

    PASSED = "passed"
    FAILED = "failed"
    UNFINISHED = "unfinished"


class Fault(StrEnum):
    """What is wrong, by kind."""

    PASSWORD = "password"  # opens no key of the repository # noqa: S105
    REPOSITORY = "repository"  # its config, index or snapshots cannot be read
    EMPTY = "empty"  # the backup holds no file
    LISTING = "listing"  # a directory of the backup cannot be read
    RESTIC = "restic"  # the stock program says that it failed
    MISSING = "missing"  # it did not restore a file
    CONTENT = "content"  # it restored other bytes than the backup's hashes say
    READER = "reader"  # our own reader did not restore a file, or not with these bytes
    DISK = "disk"  # the machine's file differs, and neither size nor dates say why


class Limit(StrEnum):
    """What ended a drill before its end."""

    NONE = ""
    BUDGET = "budget"  # the day's reads of a device that only backs up
    NETWORK = "network"


# In the words of pages and commands.
FAULTS: dict[str, str] = {
    Fault.PASSWORD: "le mot de passe n'ouvre pas le dépôt",
    Fault.REPOSITORY: "des fichiers du dépôt lui-même sont illisibles",
    Fault.EMPTY: "la dernière sauvegarde ne contient aucun fichier",
    Fault.LISTING: "des dossiers de la sauvegarde sont illisibles",
    Fault.RESTIC: "restic dit qu'il n'a pas pu tout restaurer",
    Fault.MISSING: "des fichiers n'ont pas été restaurés",
    Fault.CONTENT: "des fichiers restaurés n'ont pas le contenu sauvegardé",
    Fault.READER: "le second lecteur n'a pas pu restaurer des fichiers",
    Fault.DISK: "des fichiers du poste diffèrent de leur copie sans que leur date ait changé",
}
LIMITS: dict[str, str] = {
    Limit.BUDGET: "l'appareil ne fait que sauvegarder, et sa lecture du jour est épuisée : "
    "recommencez demain, ou avec un appareil qui peut relire",
    Limit.NETWORK: "le coffre-fort ne répondait plus",
}


def instant(at: datetime) -> str:
    """RFC 3339, UTC, microseconds: the one writing that a report takes."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Report:
    """What one drill did. Sizes in bytes, instants as RFC 3339.

    `at`: when it ended, by the clock of where it ran; `moment`: the server's instant whose state was
    read; `snapshot_at`: when the client made the backup that was drawn from, empty when none was
    opened; `whole_listing`: every directory was listed, so that the counts of the snapshot are whole;
    `restic_version`: of the program that restored, empty when it is not there; `log_size` and
    `log_root`: the log's last checkpoint that the machine had audited; `key`: whose signature it is.
    """

    commune: str
    set: str
    where: str
    key: str
    at: str
    moment: str
    snapshot_at: str = ""
    snapshots: int = 0
    files_in_snapshot: int = 0
    bytes_in_snapshot: int = 0
    whole_listing: bool = False
    files_restored: int = 0
    bytes_restored: int = 0
    compared_with_disk: int = 0
    changed_since: int = 0
    faults: Sequence[tuple[str, int]] = ()
    limit: str = ""
    restic_version: str = ""
    log_size: int = 0
    log_root: str = ""
    seconds: int = 0
    verdict: str = Verdict.UNFINISHED
    v: int = VERSION

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.at)

    @property
    def fault_count(self) -> int:
        return sum(count for _, count in self.faults)

    def __bytes__(self) -> bytes:
        told = {**asdict(self), "faults": [list(fault) for fault in self.faults]}
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises ReportError for anything but the one canonical writing of a sound report."""
        try:
            told = json.loads(content)
            told["faults"] = tuple((kind, count) for kind, count in told["faults"])
            report = cls(**told)
            if bytes(report) != content or not report._is_sound():
                raise ReportError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ReportError("not a report that a drill writes") from None
        return report

    def _is_sound(self) -> bool:
        """Raises ValueError, TypeError or AttributeError for what is none at all."""
        texts = (
            *((self.commune, _COMMUNE), (self.set, _SET), (self.at, _AT), (self.moment, _AT)),
            *((self.restic_version, _PROGRAM), (self.log_root, _ROOT)),
        )
        counts = (
            *(self.snapshots, self.files_in_snapshot, self.bytes_in_snapshot),
            *(self.files_restored, self.bytes_restored, self.compared_with_disk),
            *(self.changed_since, self.log_size, self.seconds),
            *(count for _, count in self.faults),
        )
        kinds = [kind for kind, _ in self.faults]
        for at in (self.at, self.moment, self.snapshot_at or self.at):
            datetime.fromisoformat(at)
        Key.parse(self.key)
        return (
            (self.v, type(self.v)) == (VERSION, int)
            and all(isinstance(text, str) and form.fullmatch(text) for text, form in texts)
            and (not self.snapshot_at or bool(_AT.fullmatch(self.snapshot_at)))
            and all(type(count) is int and 0 <= count < _COUNT_MAX for count in counts)
            and type(self.whole_listing) is bool
            and self.where in list(Place)
            and self.limit in list(Limit)
            and kinds == sorted(set(kinds))
            and set(kinds) <= set(Fault)
            and all(count for _, count in self.faults)
            and self.files_restored <= self.files_in_snapshot
            and self.verdict == verdict(self.faults, self.limit, self.files_restored)
        )


def verdict(faults: Iterable[tuple[str, int]], limit: str, files_restored: int) -> Verdict:
    """A fault outweighs all; what was not done, or cut, proves nothing."""
    if any(count for _, count in faults):
        return Verdict.FAILED
    return Verdict.UNFINISHED if limit or not files_restored else Verdict.PASSED


def _signing(key: Key) -> Key:
    """The same public key, as one that signs notes: its number is another than a cosigner's."""
    return Key(key.name, key.public, ED25519)


def sign(report: Report, secret: Ed25519PrivateKey) -> Note:
    """The report, signed by the key that it names."""
    text = f"{DOMAIN}\n{bytes(report).decode()}\n"
    key = _signing(Key.parse(report.key))
    return Note(text, (Signature(key.name, key.id, secret.sign(text.encode())),))


def read(content: bytes) -> Report:
    """The report of a note that the key in it signed. Raises ReportError."""
    if len(content) > REPORT_MAX_BYTES:
        raise ReportError("a report too long")
    try:
        note = Note.parse(content)
        domain, _, body = note.text.partition("\n")
        if str(note).encode() != content or len(note.signatures) != 1 or domain != DOMAIN:
            raise ReportError("not a signed report")
        report = Report.parse(body.removesuffix("\n").encode())
        signed = note.is_signed_by(_signing(Key.parse(report.key)))
    except NoteError:
        raise ReportError("not a signed report") from None
    if not signed:
        raise ReportError("not signed by the key that it names")
    return report


# The sample --------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A blob in its pack: bytes from `start` to before `end`."""

    pack: bytes
    start: int
    end: int


@dataclass
class Budget:
    """How much a sample may take: `files`, their `size`, and `reads`, the bytes that the two readers
    together fetch, when those are counted. Ours fetches each blob; restic one stretch of each
    pack, from the first blob that it wants there to the last, and each directory twice: ours are
    remembered from the listing."""

    files: int
    size: int
    reads: int | None = None
    _wanted: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _spent: int = 0

    def takes(self, size: int, blobs: Sequence[Piece], new_trees: int) -> bool:
        """Whether a file fits too; then its part is taken. `new_trees`: the bytes of the
        directories on its path that no file taken before has on its own."""
        if self.files < 1 or size > self.size:
            return False
        wanted = dict(self._wanted)
        cost = sum(piece.end - piece.start for piece in blobs) + 2 * new_trees
        for pack, start, end in blobs:
            known = wanted.get(pack)
            low, high = (
                (start, end) if known is None else (min(known[0], start), max(known[1], end))
            )
            cost += (high - low) - (known[1] - known[0] if known else 0)
            wanted[pack] = (low, high)
        if self.reads is not None and self._spent + cost > self.reads:
            return False
        self.files, self.size = self.files - 1, self.size - size
        self._wanted, self._spent = wanted, self._spent + cost
        return True


def on_disk(path: bytes, roots: Iterable[bytes]) -> Iterator[bytes]:
    """Where a file of a backup may be on the machine that made it, likeliest first. restic keeps
    an absolute argument's whole path, and of a relative one what was typed: `roots`, the absolute
    paths, end with the beginning of the path in the backup (`/mairie/a` from `/home/x/mairie`)."""
    steps = path.strip(b"/").split(b"/")
    found = []
    for root in roots:
        known = root.rstrip(b"/").split(b"/")
        for shared in range(min(len(steps), len(known)), 0, -1):
            if known[-shared:] == steps[:shared]:
                found.append((shared, b"/".join([*known, *steps[shared:]])))
                break
    for _, candidate in sorted(found, reverse=True):
        yield candidate


def count_faults(kinds: Iterable[Fault]) -> list[tuple[str, int]]:
    """Each kind once, with its count, in order."""
    counts: dict[str, int] = {}
    for kind in kinds:
        counts[str(kind)] = counts.get(str(kind), 0) + 1
    return sorted(counts.items())


def as_json(report: Report) -> dict[str, Any]:
    return dict(json.loads(bytes(report)))
