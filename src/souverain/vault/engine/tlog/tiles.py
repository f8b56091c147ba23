"""The log's files, as C2SP tlog-tiles names them: tiles of 256 hashes, bundles of 256 entries.

A tile of level L holds the hashes of complete subtrees of 256^L leaves; the last one of a level is
partial, under a name that says its width, and it never changes either: a wider one has another name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from souverain.vault.engine.tlog.tree import HASH_BYTES, Node, node_hash

WIDTH = 256
_HEIGHT = 8
ENTRIES = -1
"""The level of the bundles of entries: leaf data in place of hashes."""
ENTRY_MAX_BYTES = 0xFFFF


@dataclass(frozen=True)
class Tile:
    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """`tile/0/x001/067` or, when it is partial, `tile/0/x001/067.p/12`."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        groups = [f"{self.index % 1000:03}"]
        rest = self.index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(groups)}{partial}"


def entry_tiles(size: int, level: int = ENTRIES) -> Iterator[Tile]:
    """The bundles of a log of `size` leaves; or the tiles of one level with so many hashes."""
    for index in range(size // WIDTH):
        yield Tile(level, index)
    if size % WIDTH:
        yield Tile(level, size // WIDTH, size % WIDTH)


def hash_tiles(size: int) -> Iterator[Tile]:
    """Every tile of a log of `size` leaves, the lowest level first."""
    level, count = 0, size
    while count:
        yield from entry_tiles(count, level)
        level, count = level + 1, count // WIDTH


def pack(hashes: Iterable[bytes]) -> bytes:
    return b"".join(hashes)


def unpack(content: bytes, width: int) -> list[bytes]:
    """The hashes of a tile. Raises ValueError when it has not that many."""
    if len(content) != width * HASH_BYTES:
        raise ValueError(f"a tile of {len(content)} bytes for {width} hashes")
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


def pack_entries(entries: Iterable[bytes]) -> bytes:
    """Each entry after its length, two bytes, big-endian."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def unpack_entries(content: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. Raises ValueError when it has not that many, whole."""
    entries, at = [], 0
    while at + 2 <= len(content):
        (length,) = struct.unpack_from(">H", content, at)
        entries.append(content[at + 2 : at + 2 + length])
        at += 2 + length
    if at != len(content) or len(entries) != width:
        raise ValueError(f"not a bundle of {width} entries")
    return entries


def subtree(hashes: Sequence[bytes]) -> bytes:
    """The hash over a power of two of sibling hashes."""
    level = list(hashes)
    while len(level) > 1:
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


def nodes(read: Callable[[Tile], Sequence[bytes]], size: int) -> Node:
    """A reader of the nodes of a log of `size` leaves from its tiles."""

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, _HEIGHT)
        first = index << height
        count = size >> (_HEIGHT * tile_level)
        tile = first // WIDTH
        width = min(WIDTH, count - tile * WIDTH)
        at = first % WIDTH
        return subtree(read(Tile(tile_level, tile, width))[at : at + (1 << height)])

    return node
