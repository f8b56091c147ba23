"""A repository, read: its key, its snapshots, its index, its blobs."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import zstandard

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.crypto import Key, Opener
from souverain.vault.engine.restic.files import (
    MAX_UNPACKED,
    Config,
    Snapshot,
    inflate,
    open_key_file,
    parse_config,
    parse_name,
    parse_snapshot,
    unpack,
)
from souverain.vault.engine.restic.index import DATA, MAX_BLOB, TREE, Blob, Index, parse_index
from souverain.vault.engine.restic.trees import Node, parse_tree

MAX_KEYS = 20  # restic tries no more
MAX_KEY_FILE = 1 << 20


class WrongPassword(FormatError):
    """None of the key files opens with the password."""


@dataclass(frozen=True)
class Source:
    """Where the files are. `read(kind, name, offset, length)` gives exactly that, or raises OSError
    (FileNotFoundError when absent) or FormatError (when the file is shorter); a negative offset
    counts from the end. `names(kind)` gives each file's name and size. Kinds: `config` (its name is
    empty), `keys`, `index`, `snapshots`, `data`."""

    read: Callable[[str, str, int, int], bytes]
    names: Callable[[str], Iterable[tuple[str, int]]]


def folder(root: Path) -> Source:
    """A repository in a folder. Only plain files count: opening a pipe would wait for ever."""

    def path(kind: str, name: str) -> str:
        return f"{root}/data/{name[:2]}/{name}" if kind == "data" else f"{root}/{kind}/{name}"

    def read(kind: str, name: str, offset: int, length: int) -> bytes:
        file = os.open(path(kind, name).rstrip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            about = os.fstat(file)
            start = offset if offset >= 0 else about.st_size + offset
            if not stat.S_ISREG(about.st_mode) or not 0 <= start <= about.st_size - length:
                raise FormatError("Le fichier est trop court")
            found = os.pread(file, length, start)
        finally:
            os.close(file)
        if len(found) != length:
            raise FormatError("Le fichier est trop court")
        return found

    def files(folder: Path) -> Iterator[tuple[str, int]]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    yield entry.name, entry.stat().st_size

    def names(kind: str) -> Iterator[tuple[str, int]]:
        if kind == "config":
            with suppress(FileNotFoundError):
                yield "", (root / kind).stat().st_size
        elif kind == "data":
            with os.scandir(root / kind) as entries:
                folders = sorted(entry.path for entry in entries if entry.is_dir())
            for found in folders:
                yield from files(Path(found))
        elif (root / kind).is_dir():
            yield from sorted(files(root / kind))

    return Source(read, names)


class Repository:
    """What the key opens. Its methods may be called by several threads, once the index is read."""

    def __init__(self, source: Source, key: Key, config: Config) -> None:
        self.source, self.config = source, config
        self.index = Index()
        self._key = key
        self._of_thread = threading.local()

    @classmethod
    def open(cls, source: Source, password: bytes) -> Repository:
        key = _find_key(source, password)
        sizes = [size for _, size in source.names("config")]
        if not sizes or sizes[0] > MAX_KEY_FILE:
            raise FormatError("Ce dossier n'est pas un dépôt restic : son fichier config manque")
        sealed = source.read("config", "", 0, sizes[0])
        return cls(source, key, parse_config(Opener(key).open(sealed)))

    def named(self, kind: str) -> list[tuple[bytes, int]]:
        """The files of a kind whose name is one, with their size. restic ignores the others too."""
        found = []
        for text, size in self.source.names(kind):
            with suppress(FormatError):
                name = parse_name(text)
                if name.hex() == text:
                    found.append((name, size))
        return found

    def load(self, kind: str, name: bytes, size: int) -> bytes:
        """The JSON of an index or a snapshot, its name checked."""
        if size > MAX_UNPACKED:
            raise FormatError("Le fichier est démesuré")
        sealed = self.source.read(kind, name.hex(), 0, size)
        if sha256(sealed).digest() != name:
            raise FormatError("Le contenu n'a pas l'empreinte de son nom")
        return unpack(self._opener.open(sealed), self.config.version)

    def snapshots(self) -> list[Snapshot]:
        """Oldest first."""
        found = [
            parse_snapshot(name, self.load("snapshots", name, size))
            for name, size in self.named("snapshots")
        ]
        return sorted(found, key=lambda snapshot: (snapshot.time_ns, snapshot.id))

    def snapshot(self, wanted: str) -> Snapshot:
        """The latest, or the one whose name begins so."""
        every = self.snapshots()
        if not every:
            raise FormatError("Ce dépôt ne contient aucune sauvegarde")
        if wanted == "latest":
            return every[-1]
        found = [item for item in every if wanted and item.id.hex().startswith(wanted)]
        if len(found) != 1:
            several = f"Plusieurs sauvegardes commencent par {wanted}"
            raise FormatError(several if found else f"La sauvegarde {wanted} n'existe pas")
        return found[0]

    def read_index(self) -> Iterator[tuple[bytes, FormatError | OSError | None]]:
        """Fill the index, file by file; gives each file's name, and what is wrong with it."""
        for name, size in self.named("index"):
            try:
                for pack, blobs in parse_index(self.load("index", name, size)):
                    self.index.add(pack, blobs)
            except (FormatError, OSError) as error:
                yield name, error
            else:
                yield name, None

    def load_index(self) -> None:
        """Fill the index with all that can be read of it."""
        for _ in self.read_index():
            pass

    def open_blob(self, blob: Blob, sealed: bytes) -> bytes:
        """The content of a blob, decompressed, its name checked."""
        plain = self._opener.open(sealed)
        if blob.uncompressed:
            if blob.uncompressed > MAX_BLOB:
                raise FormatError("La longueur annoncée est démesurée")
            plain = inflate(self._decompressor, plain, blob.uncompressed)
        if sha256(plain).digest() != blob.id:
            raise FormatError("Le contenu n'a pas l'empreinte de son nom")
        return plain

    def open_sealed(self, sealed: bytes) -> bytes:
        return self._opener.open(sealed)

    def read_sealed(self, blob: Blob) -> bytes:
        if blob.length > MAX_BLOB:
            raise FormatError("La longueur annoncée est démesurée")
        return self.source.read("data", blob.pack.hex(), blob.offset, blob.length)

    def blob(self, kind: int, name: bytes) -> bytes:
        """The content of a blob, from the first of its copies that is whole."""
        fault: FormatError | OSError = FormatError(f"Le blob {name.hex()} manque dans l'index")
        for copy in self.index.find(kind, name):
            try:
                return self.open_blob(copy, self.read_sealed(copy))
            except (FormatError, OSError) as error:
                fault = FormatError(f"Paquet data/{copy.pack.hex()} : {reason(error)}")
        raise fault

    def size_of(self, kind: int, name: bytes) -> int:
        """Bytes of a blob's content, as the index says; a content of another size is refused."""
        for copy in self.index.find(kind, name):
            return copy.size
        raise FormatError(f"Le blob {name.hex()} manque dans l'index")

    def data(self, name: bytes) -> bytes:
        return self.blob(DATA, name)

    def tree(self, name: bytes) -> Iterator[Node]:
        return parse_tree(self.blob(TREE, name))

    @property
    def _opener(self) -> Opener:
        mine: Opener | None = getattr(self._of_thread, "opener", None)
        if mine is None:
            mine = self._of_thread.opener = Opener(self._key)
        return mine

    @property
    def _decompressor(self) -> zstandard.ZstdDecompressor:
        mine: zstandard.ZstdDecompressor | None = getattr(self._of_thread, "zstd", None)
        if mine is None:
            mine = self._of_thread.zstd = zstandard.ZstdDecompressor()
        return mine


def reason(error: FormatError | OSError) -> str:
    """In French, without its final stop."""
    if isinstance(error, FileNotFoundError):
        return "Le fichier manque"
    if isinstance(error, OSError):
        return f"Lecture impossible ({error.strerror})"
    return str(error)


def _find_key(source: Source, password: bytes) -> Key:
    """From the first key file that the password opens; a broken one hides none of the others."""
    fault: FormatError | OSError = WrongPassword("Mot de passe faux, ou aucune clé dans ce dépôt")
    files = [(name, size) for name, size in source.names("keys") if _is_name(name)]
    for name, size in files[:MAX_KEYS]:
        try:
            if size > MAX_KEY_FILE:
                raise FormatError("Le fichier est démesuré")
            key = open_key_file(source.read("keys", name, 0, size), password)
        except (FormatError, OSError) as error:
            fault = FormatError(f"Clé keys/{name} : {reason(error)}")
            continue
        if key:
            return key
    raise fault


def _is_name(text: str) -> bool:
    try:
        return parse_name(text).hex() == text
    except FormatError:
        return False
