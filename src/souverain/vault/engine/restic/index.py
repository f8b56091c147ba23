"""Where each blob is: a table of some 60 bytes a blob, filled from the index files.

Format: restic `doc/design.rst`, "Indexing". As in restic, every index file that is present counts:
`supersedes` only says which ones their writer was about to remove.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.crypto import OVERHEAD
from souverain.vault.engine.restic.files import list_of, parse_json, parse_name, whole

DATA, TREE = 0, 1
MAX_BLOB = 512 << 20  # the tree of a folder of a million files; restic's data blobs end at 8 MiB
MAX_COPIES = 1000
_TYPES = {"data": DATA, "tree": TREE}
_FIELD = 1 << 32  # a pack's header holds lengths on four bytes


class Blob(NamedTuple):
    """A piece of a pack. `length`: sealed; `uncompressed`: of its content, 0 when not compressed."""

    id: bytes
    type: int
    pack: bytes
    offset: int
    length: int
    uncompressed: int

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.uncompressed or self.length - OVERHEAD


def parse_index(plain: bytes) -> Iterator[tuple[bytes, list[Blob]]]:
    """The packs of an index file, each with its blobs. A bare list is the format of 2014."""
    found = parse_json(plain)
    packs = found.get("packs") if isinstance(found, dict) else found
    for entry in list_of(packs):
        if not isinstance(entry, dict):
            raise FormatError("Un paquet de l'index n'est pas un objet")
        pack = parse_name(entry.get("id"))
        yield pack, [_parse_blob(pack, blob) for blob in list_of(entry.get("blobs"))]


def _parse_blob(pack: bytes, entry: object) -> Blob:
    if not isinstance(entry, dict):
        raise FormatError("Un blob de l'index n'est pas un objet")
    kind = _TYPES.get(str(entry.get("type")))
    if kind is None:
        raise FormatError("Type de blob inconnu dans l'index")
    return Blob(
        parse_name(entry.get("id")),
        kind,
        pack,
        whole(entry.get("offset", 0), _FIELD),
        whole(entry.get("length", 0), _FIELD),
        whole(entry.get("uncompressed_length", 0), _FIELD),
    )


class Index:
    """A hash table with open addressing over columns. Python's own hash of bytes is keyed by the
    process: nobody can prepare names that collide."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._types = bytearray()
        self._offsets, self._lengths, self._sizes = array("I"), array("I"), array("I")
        self._pack_of = array("I")
        self._slots = array("I", bytes(4 << 10))  # row + 1; 0 is free
        self._packs: dict[bytes, int] = {}
        self._names: list[bytes] = []
        self._runs: list[list[range]] = []

    def __len__(self) -> int:
        return len(self._types)

    @property
    def packs(self) -> Iterable[bytes]:
        return self._packs.keys()

    def add(self, pack: bytes, blobs: Iterable[Blob]) -> None:
        """Add a pack's blobs; what is already there, exactly so, is not added again."""
        number = self._packs.setdefault(pack, len(self._packs))
        if number == len(self._names):
            self._names.append(pack)
            self._runs.append([])
        start = len(self)
        for blob in blobs:
            copies = self.find(blob.type, blob.id)
            if len(copies) >= MAX_COPIES:
                raise FormatError("Trop de copies d'un même blob dans l'index")
            if blob not in copies:
                self._append(number, blob)
        if start < len(self):
            self._runs[number].append(range(start, len(self)))

    def _append(self, pack: int, blob: Blob) -> None:
        if len(self) * 3 > len(self._slots) * 2:
            self._grow()
        self._ids += blob.id
        self._types.append(blob.type)
        self._offsets.append(blob.offset)
        self._lengths.append(blob.length)
        self._sizes.append(blob.uncompressed)
        self._pack_of.append(pack)
        self._place(blob.id, len(self))

    def _grow(self) -> None:
        self._slots = array("I", bytes(8 * len(self._slots)))
        for row in range(len(self)):
            self._place(bytes(self._ids[32 * row : 32 * row + 32]), row + 1)

    def _place(self, name: bytes, value: int) -> None:
        slots, mask = self._slots, len(self._slots) - 1
        slot = hash(name) & mask
        while slots[slot]:
            slot = slot + 1 & mask
        slots[slot] = value

    def rows(self, kind: int, name: bytes) -> Iterator[int]:
        """The rows of a blob, one for each copy of it, the first that was added first."""
        slots, mask = self._slots, len(self._slots) - 1
        slot = hash(name) & mask
        while value := slots[slot]:
            row = value - 1
            if self._ids[32 * row : 32 * value] == name and self._types[row] == kind:
                yield row
            slot = slot + 1 & mask

    def find(self, kind: int, name: bytes) -> list[Blob]:
        """Every copy of a blob."""
        return [self._blob(row) for row in self.rows(kind, name)]

    def blobs_of(self, pack: bytes) -> list[Blob]:
        """What the index says of a pack, by offset."""
        runs = self._runs[self._packs[pack]]
        return sorted(
            (self._blob(row) for run in runs for row in run), key=lambda blob: blob.offset
        )

    def _blob(self, row: int) -> Blob:
        return Blob(
            bytes(self._ids[32 * row : 32 * row + 32]),
            self._types[row],
            self._names[self._pack_of[row]],
            self._offsets[row],
            self._lengths[row],
            self._sizes[row],
        )
