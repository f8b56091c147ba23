"""Objects in a local folder: write-once, durable, read by ranges.

A put goes to a temporary file of the same file system, is hashed while it streams, then: fsync of
the file, `link` to its final name (atomic, never over an existing name), fsync of the folder.
S3 will be a second store with the same methods; only `file://` addresses are served today.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

CHUNK = 1 << 20
_TEMPORARY = ".tmp"


class AlreadyThere(Exception):
    """The final name is taken; what holds it was not touched."""


class WrongContent(Exception):
    """The content does not have the SHA-256 that was promised."""


class Files:
    """The store's file calls. Tests put beneath them a layer that forgets what was not fsynced."""

    def open(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def mkdir(self, path: Path) -> None:
        path.mkdir(mode=0o700)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def fsync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Incoming:
    """A put under way. Ends with `commit`, `mend` or `abort`; `abort` after an end does nothing."""

    def __init__(self, store: FolderStore) -> None:
        self._store, self._files = store, store.files
        self._folder(store.root / _TEMPORARY)
        self._temporary = store.root / _TEMPORARY / secrets.token_hex(16)
        self._descriptor: int | None = self._files.open(self._temporary)
        self._open = True
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        assert self._descriptor is not None
        self._files.write(self._descriptor, chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def seal(self) -> None:
        """Make the bytes durable. `commit` does it too; before taking a lock, do it first."""
        if self._descriptor is not None:
            self._files.fsync(self._descriptor)
            self._files.close(self._descriptor)
            self._descriptor = None

    def commit(self, key: str, sha256: str | None = None) -> None:
        """Give the content its name, durably. Raises `WrongContent`, or `AlreadyThere` once the
        name that holds the place is durable itself."""
        target = self._ready(key, sha256)
        try:
            self._files.link(self._temporary, target)
        except FileExistsError:
            self._files.fsync_folder(target.parent)
            raise AlreadyThere(key) from None
        self._files.fsync_folder(target.parent)
        self.abort()

    def mend(self, key: str, sha256: str) -> None:
        """Put verified content in the place of a damaged object of the same name."""
        target = self._ready(key, sha256)
        self._files.replace(self._temporary, target)
        self._open = False
        self._files.fsync_folder(target.parent)

    def _ready(self, key: str, sha256: str | None) -> Path:
        if sha256 is not None and sha256 != self.sha256:
            raise WrongContent(key)
        self.seal()
        target = self._store.path(key)
        self._folder(target.parent)
        return target

    def abort(self) -> None:
        """Forget the temporary file."""
        if self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None
        if self._open:
            self._open = False
            with suppress(FileNotFoundError):
                self._files.unlink(self._temporary)

    def _folder(self, folder: Path) -> None:
        """Create a folder and its parents, each one durable in its own parent."""
        if folder.is_dir():
            return
        self._folder(folder.parent)
        with suppress(FileExistsError):
            self._files.mkdir(folder)
        self._files.fsync_folder(folder.parent)


class FolderStore:
    """Objects under `root`, by relative POSIX keys such as `vault/21231/general/config`."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root = root
        self.files = files or Files()

    def path(self, key: str) -> Path:
        """Where a key lives. Raises ValueError for a key that could leave the store."""
        parts = key.split("/")
        if any(part.startswith(".") or not part or "\0" in part or "\\" in part for part in parts):
            raise ValueError(f"unsafe object key {key!r}")
        return self.root.joinpath(*parts)

    def incoming(self) -> Incoming:
        return Incoming(self)

    def size(self, key: str) -> int | None:
        """Bytes, or None when there is no such object."""
        try:
            return self.path(key).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, at most `length` of them, in chunks of at most 1 MiB.
        Raises FileNotFoundError at the first chunk."""
        with self.path(key).open("rb", buffering=0) as file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                chunk = file.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.read(key):
            digest.update(chunk)
        return digest.hexdigest()

    def names(self, prefix: str) -> list[str]:
        """The names of the objects directly under a prefix, sorted."""
        folder = self.path(prefix)
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def remove(self, key: str) -> bool:
        """Remove an object for good; False when there was none."""
        try:
            self.files.unlink(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.files.fsync_folder(self.path(key).parent)
        return True


def open_store(address: str) -> FolderStore:
    """The store at a `file://` address (`SOUVERAIN_OBJECTS_URL`). ValueError for another scheme."""
    parts = urlsplit(address)
    if parts.scheme != "file" or parts.netloc:
        raise ValueError(f"SOUVERAIN_OBJECTS_URL : {address} n'est pas une adresse file:///…")
    return FolderStore(Path(unquote(parts.path)))
