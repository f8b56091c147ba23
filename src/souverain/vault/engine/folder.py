"""A folder on the disk, as what is put into a package: always in the same order, nothing followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 1 << 20
MAX_DEPTH = 100
"""Folders in one another: SEDA nests as many units, and parsers of XML stop at 256 elements."""

Progress = Callable[[int, int], None]


class FolderError(ValueError):
    """Why a folder cannot be exported, in French."""


@dataclass(frozen=True)
class Item:
    """A file or a folder."""

    parts: tuple[str, ...]
    """Names from the exported folder down; empty for that folder itself."""
    is_folder: bool
    size: int = 0
    """Bytes."""
    modified_s: int = 0
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        return shown("/".join(self.parts))


@dataclass
class Listing:
    source: Path
    items: list[Item] = field(default_factory=list)
    """Each folder before what is in it; names in the order of their code points."""
    left_out: list[str] = field(default_factory=list)
    """Links and special files: they are not content."""

    @property
    def bytes(self) -> int:
        return sum(item.size for item in self.items)

    def is_empty(self, at: int) -> bool:
        """Whether the folder at an index of `items` holds none of them."""
        parts = self.items[at].parts
        following = self.items[at + 1].parts if at + 1 < len(self.items) else ()
        return following[: len(parts)] != parts or not following


def shown(name: str) -> str:
    """A name from the disk as text that can be printed: Linux has names that are not UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")


def list_folder(source: Path) -> Listing:
    """What a folder holds. Raises FolderError when it is nested too deep."""
    listing = Listing(source, [Item((), is_folder=True)])
    todo = [iter(_entries(source))]
    parts: list[str] = []
    while todo:
        entry = next(todo[-1], None)
        if entry is None:
            todo.pop()
            del parts[-1:]
            continue
        status = entry.stat(follow_symlinks=False)
        path = (*parts, entry.name)
        if stat.S_ISDIR(status.st_mode):
            if len(path) > MAX_DEPTH:
                raise FolderError(
                    f"Plus de {MAX_DEPTH} dossiers les uns dans les autres : {shown(path[0])}."
                )
            listing.items.append(Item(path, is_folder=True))
            todo.append(iter(_entries(Path(entry.path))))
            parts.append(entry.name)
        elif stat.S_ISREG(status.st_mode):
            modified_s = status.st_mtime_ns // 10**9
            listing.items.append(Item(path, False, status.st_size, modified_s))
        else:
            listing.left_out.append(shown("/".join(path)))
    return listing


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def read_file(listing: Listing, item: Item) -> Iterator[bytes]:
    """The content of a file, in pieces. Raises FolderError when it is not what was listed."""
    path = listing.source.joinpath(*item.parts)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    size = 0
    with os.fdopen(descriptor, "rb") as file:
        while piece := file.read(CHUNK):
            size += len(piece)
            yield piece
    if size != item.size:
        raise FolderError(f"{item.name} a changé pendant l'export ; recommencez.")
