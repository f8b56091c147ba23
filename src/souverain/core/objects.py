"""Objects: write-once, durable, read by ranges, in a local folder or on any S3.

`Store` and `Incoming` say what both promise; the folder is here, S3 in `core.s3`. In the folder, a
put goes to a temporary file of the same file system, is hashed while it streams, then: fsync of
the file, `link` to its final name (atomic, never over an existing name), fsync of the folder.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from souverain.core import rooms
from souverain.core.rooms import Destination

if TYPE_CHECKING:
    from souverain.core.s3_versions import Versions

PURPOSE = "objects"

CHUNK = 1 << 20
TEMPORARY = ".tmp"
"""Where puts under way live: no key can begin so."""


class AlreadyThere(Exception):
    """The final name is taken; what holds it was not touched."""


class WrongContent(Exception):
    """The content does not have the SHA-256 that was promised."""


class StoreUnavailable(OSError):
    """The store does not answer, or refuses us. The message is in French; trying again may help."""


class Incoming(Protocol):
    """A put under way. Ends with `commit`, `mend` or `abort`; `abort` after an end does nothing."""

    size: int

    @property
    def sha256(self) -> str: ...

    def write(self, chunk: bytes) -> None: ...

    def seal(self) -> None:
        """Make the bytes durable. `commit` does it too; before taking a lock, do it first."""

    def commit(self, key: str, sha256: str | None = None) -> None:
        """Give the content its name, durably. Raises `WrongContent`, or `AlreadyThere` once the
        name that holds the place is durable itself."""

    def mend(self, key: str, sha256: str) -> None:
        """Put verified content in the place of a damaged object of the same name."""

    def abort(self) -> None:
        """Forget the bytes that have no name."""


class Store(Protocol):
    """Objects by relative POSIX keys such as `vault/21231/general/config`. Every method raises
    ValueError for a key that could leave the store, and `StoreUnavailable` when S3 does not
    answer."""

    def incoming(self) -> Incoming: ...

    def size(self, key: str) -> int | None:
        """Bytes, or None when there is no such object."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from `start`, at most `length` of them, in chunks of at most 1 MiB.
        Raises FileNotFoundError at the first chunk."""

    def names(self, prefix: str) -> list[str]:
        """The names directly under a prefix, sorted."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key under a prefix, at any depth, in no order."""

    def remove(self, key: str) -> bool:
        """Remove an object for good; False when there was none. Bytes that the store itself still
        locks are hidden, and stay."""

    def hide(self, key: str) -> bool:
        """Free an ephemeral name, quickly: a store that keeps versions keeps the bytes."""
        return self.remove(key)

    def versions(self) -> AbstractContextManager[Versions | None]:
        """The versions behind the names, for as long as the block lasts; None in a store that
        keeps none."""
        return nullcontext()

    def tidy(self, prefix: str) -> None:
        """Remove the folders under a prefix, itself included, that hold nothing."""

    def sweep(self, before: datetime) -> int:
        """Forget the puts that a crash cut short before that instant; returns how many."""

    def check(self) -> None:
        """Raise OSError, with a French sentence, unless objects can be written now."""

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.read(key):
            digest.update(chunk)
        return digest.hexdigest()


def safe_parts(key: str) -> list[str]:
    """The parts of a key. Raises ValueError for a key that could leave the store."""
    parts = key.split("/")
    if any(part.startswith(".") or not part or "\0" in part or "\\" in part for part in parts):
        raise ValueError(f"unsafe object key {key!r}")
    return parts


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


class FolderIncoming(Incoming):
    """A temporary file of the same file system, until it has its name."""

    def __init__(self, store: FolderStore) -> None:
        self._store, self._files = store, store.files
        self._folder(store.root / TEMPORARY)
        self._temporary = store.root / TEMPORARY / secrets.token_hex(16)
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
        if self._descriptor is not None:
            self._files.fsync(self._descriptor)
            self._files.close(self._descriptor)
            self._descriptor = None

    def commit(self, key: str, sha256: str | None = None) -> None:
        target = self._ready(key, sha256)
        try:
            self._files.link(self._temporary, target)
        except FileExistsError:
            self._files.fsync_folder(target.parent)
            raise AlreadyThere(key) from None
        self._files.fsync_folder(target.parent)
        self.abort()

    def mend(self, key: str, sha256: str) -> None:
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


class FolderStore(Store):
    """Objects as plain files under `root`."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root = root
        self.files = files or Files()

    def path(self, key: str) -> Path:
        """Where a key lives. Raises ValueError for a key that could leave the store."""
        return self.root.joinpath(*safe_parts(key))

    def incoming(self) -> Incoming:
        return FolderIncoming(self)

    def size(self, key: str) -> int | None:
        try:
            found = self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        with self.path(key).open("rb", buffering=0) as file:
            file.seek(start)
            left = length
            while left is None or left > 0:
                chunk = file.read(CHUNK if left is None else min(CHUNK, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    def names(self, prefix: str) -> list[str]:
        folder = self.path(prefix)
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []

    def remove(self, key: str) -> bool:
        try:
            self.files.unlink(self.path(key))
        except (FileNotFoundError, NotADirectoryError):
            return False
        self.files.fsync_folder(self.path(key).parent)
        return True

    def keys(self, prefix: str) -> Iterator[str]:
        for folder, _, names in os.walk(self.path(prefix)):
            for name in names:
                yield Path(folder, name).relative_to(self.root).as_posix()

    def tidy(self, prefix: str) -> None:
        for folder, _, _ in os.walk(self.path(prefix), topdown=False):
            with suppress(OSError):  # it holds something
                Path(folder).rmdir()

    def sweep(self, before: datetime) -> int:
        folder, swept = self.root / TEMPORARY, 0
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    self.files.unlink(path)
                    swept += 1
        return swept

    def check(self) -> None:
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise PermissionError("Le dossier des objets refuse les écritures.")


def goes_to(address: str = "") -> Destination | None:
    """The S3 server of an address, by default SOUVERAIN_OBJECTS_URL, if it names one."""
    from django.conf import settings

    parts = urlsplit(address or settings.OBJECTS_URL)
    endpoint = urlsplit(parse_qs(parts.query).get("endpoint", [""])[0])
    if parts.scheme != "s3" or not endpoint.hostname:
        return None
    port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
    return Destination(endpoint.hostname, port, rooms.held_classes())


def open_store(address: str, setting: str = "SOUVERAIN_OBJECTS_URL") -> Store:
    """The store at the `file:///…` or `s3://bucket/prefix?endpoint=…&region=…` address that a
    setting gives. Raises ValueError, in French, for any other."""
    parts = urlsplit(address)
    if parts.scheme == "s3":
        from souverain.core.s3 import S3Store  # native code that only this store needs

        return S3Store.at(address, setting)
    if parts.scheme != "file" or parts.netloc or not parts.path:
        raise ValueError(
            f"{setting} : adresse attendue, file:///chemin ou "
            "s3://compartiment/prefixe?endpoint=https://hote&region=nom."
        )
    return FolderStore(Path(unquote(parts.path)))
