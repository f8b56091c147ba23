"""The header at the end of a pack: what the pack says that it holds.

Format: restic `doc/design.rst`, "Pack Format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.crypto import OVERHEAD
from souverain.vault.engine.restic.index import Blob

LENGTH_FIELD = 4
MAX_HEADER = 16 << 20  # restic's own bound
_PLAIN = struct.Struct("<I32s")
_COMPRESSED = struct.Struct("<II32s")


def header_size(blobs: list[Blob]) -> int:
    """Bytes after the blobs: the sealed header and its length field."""
    entries = (1 + (_COMPRESSED if b.uncompressed else _PLAIN).size for b in blobs)
    return LENGTH_FIELD + OVERHEAD + sum(entries)


def sealed_header_size(field: bytes, pack_size: int) -> int:
    """Length of the sealed header, from the last four bytes of a pack of `pack_size` bytes."""
    if len(field) != LENGTH_FIELD:
        raise FormatError("Le paquet est trop court pour avoir un en-tête")
    size = int.from_bytes(field, "little")
    if not OVERHEAD < size <= min(MAX_HEADER, pack_size - LENGTH_FIELD):
        raise FormatError("La longueur de l'en-tête du paquet est fausse")
    return size


def parse_header(plain: bytes, pack: bytes) -> Iterator[Blob]:
    """The blobs of a pack, from its opened header, in their order."""
    at = offset = 0
    while at < len(plain):
        kind, at = plain[at], at + 1
        if kind > 3:
            raise FormatError("Type de blob inconnu dans l'en-tête du paquet")
        layout = _COMPRESSED if kind & 2 else _PLAIN
        if at + layout.size > len(plain):
            raise FormatError("L'en-tête du paquet est coupé")
        length, *middle, name = layout.unpack_from(plain, at)
        at += layout.size
        if kind & 2 and not middle[0]:
            raise FormatError("Longueur décompressée nulle dans l'en-tête du paquet")
        yield Blob(name, kind & 1, pack, offset, length, middle[0] if middle else 0)
        offset += length
