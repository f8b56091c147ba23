"""Write-once, durable, safe: what the store promises, with and without power."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest

from souverain.core import clock, egress, s3
from souverain.core.access import SYSTEM
from souverain.core.models import JournalEntry
from souverain.core.objects import (
    CHUNK,
    TEMPORARY,
    AlreadyThere,
    Files,
    FolderStore,
    Store,
    StoreUnavailable,
    WrongContent,
    open_store,
)
from souverain.core.rooms import DataClass
from souverain.core.tests.seaweedfs import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS


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


def put(store: Store, key: str, content: bytes) -> None:
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


# What both stores promise -------------------------------------------------------------------------

LARGE = 9 << 20
"""Sent in two parts on S3."""


@pytest.fixture
def bucket(
    seaweedfs: SeaweedFS, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The address of an empty place in a bucket, with the keys in the environment."""
    monkeypatch.setenv(s3.ACCESS_KEY, ACCESS_KEY)
    monkeypatch.setenv(s3.SECRET_KEY, SECRET_KEY)
    # A prefix and not a bucket each: SeaweedFS sets volumes aside for every bucket.
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    return seaweedfs.address(prefix)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[Store]:
    settings.HOME = tmp_path
    address = request.getfixturevalue("bucket") if request.param == "s3" else f"file://{tmp_path}/o"
    yield open_store(address)


def temporaries(store: Store) -> list[str]:
    """What a put has left outside of every name."""
    if isinstance(store, FolderStore):
        folder = store.root / TEMPORARY
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return []


@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_what_is_put_is_read_back_whole_and_by_ranges(store: Store, size: int) -> None:
    content = os.urandom(size)
    put(store, "vault/a/config", content)
    assert store.size("vault/a/config") == size and store.exists("vault/a/config")
    chunks = list(store.read("vault/a/config"))
    assert b"".join(chunks) == content and all(len(chunk) <= CHUNK for chunk in chunks)
    assert store.sha256("vault/a/config") == hashlib.sha256(content).hexdigest()
    for start, length in [(3, 4), (size - 2, 100), (size, 5), (size + 5, 5), (2, 0)]:
        if start >= 0:
            read = b"".join(store.read("vault/a/config", start, length))
            assert read == content[start : start + length]
    assert b"".join(store.read("vault/a/config", 5)) == content[5:]
    assert temporaries(store) == []


@pytest.mark.parametrize("size", [2, LARGE])
def test_a_name_is_never_written_twice(store: Store, size: int) -> None:
    first = os.urandom(size)
    put(store, "a/b", first)
    for second in (b"deux", os.urandom(LARGE)):
        incoming = store.incoming()
        incoming.write(second)
        with pytest.raises(AlreadyThere):
            incoming.commit("a/b")
        incoming.abort()
    assert b"".join(store.read("a/b")) == first
    assert temporaries(store) == []


@pytest.mark.parametrize("size", [1000, LARGE])
def test_of_many_writers_of_one_name_one_wins(store: Store, size: int) -> None:
    contents = [os.urandom(size) for _ in range(4)]
    start = threading.Barrier(len(contents))

    def write(content: bytes) -> bytes | None:
        start.wait(30)
        incoming = store.incoming()
        try:
            incoming.write(content)
            incoming.commit("course/un")
        except AlreadyThere:
            return None
        finally:
            incoming.abort()
        return content

    with ThreadPoolExecutor(len(contents)) as pool:
        won = [content for content in pool.map(write, contents) if content]
    assert [b"".join(store.read("course/un"))] == won
    assert temporaries(store) == []


@pytest.mark.parametrize("size", [2, LARGE])
def test_wrong_or_aborted_content_leaves_nothing(store: Store, size: int) -> None:
    incoming = store.incoming()
    incoming.write(bytes(size))
    with pytest.raises(WrongContent):
        incoming.commit("a/b", "0" * 64)
    incoming.seal()
    incoming.abort()
    incoming.abort()
    assert not store.exists("a/b") and store.names("a") == [] and temporaries(store) == []


@pytest.mark.parametrize("size", [2, LARGE])
def test_a_damaged_object_is_mended(store: Store, size: int) -> None:
    put(store, "a/b", b"abime")
    whole = os.urandom(size)
    incoming = store.incoming()
    incoming.write(whole)
    incoming.mend("a/b", hashlib.sha256(whole).hexdigest())
    assert b"".join(store.read("a/b")) == whole and temporaries(store) == []


def test_listing_removing_and_what_is_not_there(store: Store) -> None:
    for key in ("a/z", "a/b/c", "a/d", "ab/e"):
        put(store, key, b"x")
    assert store.names("a") == ["b", "d", "z"]
    assert store.size("a") is None and store.size("a/none") is None
    with pytest.raises(FileNotFoundError):
        next(store.read("a/none"))
    assert store.remove("a/d") and not store.remove("a/d") and not store.remove("a/none")
    assert store.names("a") == ["b", "z"] and store.names("none") == []
    store.check()


def test_every_key_under_a_prefix_is_found_and_empty_folders_go(store: Store) -> None:
    keys = {"vault/21231/general/config", "vault/21231/general/data/ab/abcd", "vault/21054/x"}
    for key in keys:
        incoming = store.incoming()
        incoming.write(b"x")
        incoming.commit(key)
    assert set(store.keys("vault")) == keys
    assert set(store.keys("vault/21054")) == {"vault/21054/x"}
    assert list(store.keys("nothing")) == []
    for key in keys - {"vault/21054/x"}:
        store.remove(key)
    store.tidy("vault")
    assert set(store.keys("vault")) == {"vault/21054/x"}
    if isinstance(store, FolderStore):  # SeaweedFS keeps its own folders, which hold nothing
        assert store.names("vault") == ["21054"]


def test_what_a_crash_left_is_swept_a_day_later(
    store: Store, request: pytest.FixtureRequest
) -> None:
    """A put that never ended: in the folder its temporary file, on S3 the parts of an upload."""
    if isinstance(store, s3.S3Store):
        judge, key = request.getfixturevalue("seaweedfs").judge(), f"{store.prefix}a/c"
        upload = judge.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        judge.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=bytes(LARGE))
    else:
        incoming = store.incoming()
        incoming.write(bytes(LARGE))
        incoming.seal()
    put(store, "a/b", b"x")
    assert store.sweep(clock.now() - timedelta(days=1)) == 0
    assert store.sweep(clock.now() + timedelta(days=1)) == 1
    assert store.sweep(clock.now() + timedelta(days=1)) == 0
    assert temporaries(store) == [] and store.exists("a/b")


def test_a_check_that_does_not_rely_on_the_server_keeps_names(
    bucket: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ceph RGW 16.2, which ignores If-None-Match: every put is made an overwriting one."""
    settings.HOME = tmp_path
    store = open_store(bucket)
    put_as_it_is = obstore.put

    def put_over(*arguments: Any, mode: str = "", **named: Any) -> Any:
        return put_as_it_is(*arguments, mode="overwrite", **named)

    monkeypatch.setattr(obstore, "put", put_over)
    test_of_many_writers_of_one_name_one_wins(store, 1000)
    store.remove("course/un")
    test_of_many_writers_of_one_name_one_wins(store, LARGE)


# S3 that fails ------------------------------------------------------------------------------------


def test_an_s3_that_stops_in_the_middle_loses_nothing_and_a_retry_works(
    bucket: str, seaweedfs: SeaweedFS, tmp_path: Path, settings: Any
) -> None:
    settings.HOME = tmp_path
    store, content = open_store(bucket), os.urandom(LARGE)
    put(store, "a/avant", b"avant")
    again, fresh = store.incoming(), store.incoming()
    for incoming in (again, fresh):
        incoming.write(content)
    seaweedfs.stop()
    try:
        for incoming in (again, fresh):
            with pytest.raises(StoreUnavailable, match=r"ne répond pas\. Rien n'a été pris"):
                incoming.commit("a/pendant")
        with pytest.raises(StoreUnavailable):
            store.check()
        with pytest.raises(StoreUnavailable):
            next(store.read("a/avant"))
        fresh.abort()
    finally:
        seaweedfs.start()
    assert not store.exists("a/pendant") and b"".join(store.read("a/avant")) == b"avant"
    again.commit("a/pendant")
    assert b"".join(store.read("a/pendant")) == content


def test_wrong_keys_are_said_in_french_without_the_secret(
    bucket: str, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME = tmp_path
    monkeypatch.setenv(s3.SECRET_KEY, "faux-secret")
    with pytest.raises(StoreUnavailable, match="refuse nos clés") as refused:
        open_store(bucket).check()
    assert "faux-secret" not in str(refused.value) and refused.value.__cause__ is None
    monkeypatch.setenv(s3.SECRET_KEY, "")
    with pytest.raises(ValueError, match="SOUVERAIN_S3_SECRET_KEY doivent être donnés"):
        open_store(bucket)


@pytest.mark.django_db
def test_an_s3_beyond_this_machine_needs_a_rule_for_every_class_it_would_hold(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HOME = tmp_path
    monkeypatch.setenv(s3.ACCESS_KEY, "a")
    monkeypatch.setenv(s3.SECRET_KEY, "b")
    store = open_store("s3://seau?endpoint=https://s3.exemple.invalid")
    with pytest.raises(egress.EgressRefused, match=r"s3.exemple.invalid:443 \(objects"):
        store.size("a")
    assert JournalEntry.objects.filter(verb="egress.refused").exists()
    egress.allow(SYSTEM, "s3.exemple.invalid", 443, "objects", [DataClass.PERSONAL])
    with pytest.raises(egress.EgressRefused):
        store.size("a")
    egress.allow(SYSTEM, "s3.exemple.invalid", 443, "objects", list(DataClass))
    with pytest.raises(StoreUnavailable):
        store.check()


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3://seau",
        "s3://seau?endpoint=s3.exemple.fr",
        "s3://seau?endpoint=https://a:b@s3.exemple.fr",
        "s3://seau?endpoint=http://s3.exemple.fr",
        "s3://seau?endpoint=http://127.0.0.1:99999999",
        "s3://seau?endpoint=http://127.0.0.1&secret=x",
        "s3://cle:secret@seau?endpoint=http://127.0.0.1",
        "s3://seau/../autre?endpoint=http://127.0.0.1",
        "http://127.0.0.1/objets",
        "file://ailleurs/objets",
        "file:",
    ],
)
def test_a_wrong_address_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(s3.ACCESS_KEY, "a")
    monkeypatch.setenv(s3.SECRET_KEY, "b")
    with pytest.raises(ValueError) as refused:
        open_store(address)
    assert "secret@" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/objets",
        "s3://seau",
        "s3://seau?endpoint=http://s3.exemple.fr",
        "s3://seau/../autre?endpoint=http://127.0.0.1",
    ],
)
def test_a_wrong_address_is_refused_by_the_name_of_its_setting(address: str) -> None:
    for setting in ("SOUVERAIN_OBJECTS_URL", "SOUVERAIN_PARITY"):
        with pytest.raises(ValueError, match=f"^{setting} : "):
            open_store(address, setting)


def test_a_folder_that_takes_no_write_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root, everything is writable
    with pytest.raises(OSError, match="refuse les écritures"):
        FolderStore(tmp_path).check()


@pytest.mark.parametrize("key", ["", "/a", "../a", "a/../b", "a//b", ".tmp/x", "a\0", "a\\b", "a/"])
def test_no_key_leaves_the_store(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError):
        FolderStore(tmp_path).path(key)


def test_an_address_names_a_folder() -> None:
    store = open_store("file:///var/lib/un%20nom")
    assert isinstance(store, FolderStore) and store.root == Path("/var/lib/un nom")
