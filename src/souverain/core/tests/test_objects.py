"""Write-once, durable, safe: what the store promises, with and without power."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from souverain.core.objects import AlreadyThere, Files, FolderStore, WrongContent, open_store


class PowerCut(Exception):
    """The machine stops here."""


class Volatile(Files):
    """Remembers what was fsynced; `cut` drops the rest. Stops at call number `stop`."""

    def __init__(self, stop: int = 10**9) -> None:
        self.stop, self.calls = stop, 0
        self.paths: dict[int, Path] = {}
        self.durable_bytes: set[int] = set()
        self.pending_names: set[Path] = set()

    def _count(self) -> None:
        self.calls += 1
        if self.calls > self.stop:
            raise PowerCut

    def open(self, path: Path) -> int:
        self._count()
        descriptor = super().open(path)
        self.paths[descriptor] = path
        self.pending_names.add(path)
        return descriptor

    def write(self, descriptor: int, chunk: bytes) -> None:
        self._count()
        super().write(descriptor, chunk)

    def fsync(self, descriptor: int) -> None:
        self._count()
        self.durable_bytes.add(os.fstat(descriptor).st_ino)

    def mkdir(self, path: Path) -> None:
        self._count()
        super().mkdir(path)
        self.pending_names.add(path)

    def link(self, source: Path, target: Path) -> None:
        self._count()
        super().link(source, target)
        self.pending_names.add(target)

    def fsync_folder(self, path: Path) -> None:
        self._count()
        self.pending_names = {name for name in self.pending_names if name.parent != path}

    def cut(self, root: Path) -> None:
        """Empty every file that was not fsynced, then remove every name that was not."""
        for path in [path for path in root.rglob("*") if path.is_file()]:
            if path.stat().st_ino not in self.durable_bytes:
                path.write_bytes(b"")
        for name in sorted(self.pending_names, key=lambda path: -len(path.parts)):
            if name.is_dir():
                for path in sorted(name.rglob("*"), key=lambda path: -len(path.parts)):
                    path.rmdir() if path.is_dir() else path.unlink()
                name.rmdir()
            elif name.exists():
                name.unlink()


def put(store: FolderStore, key: str, content: bytes) -> None:
    incoming = store.incoming()
    incoming.write(content)
    incoming.commit(key, hashlib.sha256(content).hexdigest())


def test_a_power_cut_at_any_call_leaves_a_whole_object_or_none(tmp_path: Path) -> None:
    acknowledged = 0
    for stop in range(1, 30):
        root = tmp_path / str(stop)
        root.mkdir()
        files = Volatile(stop)
        try:
            put(FolderStore(root, files), "vault/a/config", b"contenu")
            done = True
        except PowerCut:
            done = False
        files.cut(root)
        store = FolderStore(root)
        if done:
            acknowledged += 1
            assert b"".join(store.read("vault/a/config")) == b"contenu"
        elif store.exists("vault/a/config"):
            assert b"".join(store.read("vault/a/config")) == b"contenu"
    assert 0 < acknowledged < 29


def test_a_name_is_never_written_twice(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, "a/b", b"un")
    with pytest.raises(AlreadyThere):
        put(store, "a/b", b"deux")
    assert b"".join(store.read("a/b")) == b"un"


def test_wrong_content_is_not_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    incoming = store.incoming()
    incoming.write(b"un")
    with pytest.raises(WrongContent):
        incoming.commit("a/b", "0" * 64)
    incoming.abort()
    assert not store.exists("a/b") and not list((tmp_path / ".tmp").iterdir())


def test_ranges(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    put(store, "a", b"0123456789")
    assert b"".join(store.read("a", 3, 4)) == b"3456"
    assert b"".join(store.read("a", 8)) == b"89"
    assert store.size("a") == 10 and store.size("b") is None


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", ".tmp/x", "a\0", "a\\b", "a/"])
def test_no_key_leaves_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError):
        FolderStore(tmp_path).path(key)


def test_only_folders_are_served_today() -> None:
    assert open_store("file:///var/lib/souverain").root == Path("/var/lib/souverain")
    with pytest.raises(ValueError):
        open_store("s3://bucket")
