"""A bucket with object lock, on a real S3; boto3, with every right there, is the judge."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from souverain.core import clock, egress, s3, s3_versions
from souverain.core.objects import StoreUnavailable, open_store
from souverain.core.rooms import DataClass
from souverain.core.s3 import S3Store
from souverain.core.s3_versions import COMPLIANCE, BucketLock, Versions
from souverain.core.tests.seaweedfs import (
    ACCESS_KEY,
    BUCKET,
    LOCK_DAYS,
    LOCKED_BUCKET,
    SECRET_KEY,
    S3Server,
)


@pytest.fixture
def store(
    locked_s3: S3Server,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> S3Store:
    """An empty place in a bucket that locks."""
    monkeypatch.setenv(s3.ACCESS_KEY, ACCESS_KEY)
    monkeypatch.setenv(s3.SECRET_KEY, SECRET_KEY)
    settings.HOME = tmp_path
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    made = open_store(locked_s3.address(prefix, LOCKED_BUCKET))
    assert isinstance(made, S3Store)
    return made


def put(store: S3Store, key: str, content: bytes, *, again: bool = False) -> None:
    incoming = store.incoming()
    incoming.write(content)
    if again:
        incoming.mend(key, incoming.sha256)
    else:
        incoming.commit(key)


def refused(act: Callable[..., Any], **arguments: Any) -> bool:
    """Whether the judge, with the root keys, is denied."""
    try:
        act(Bucket=LOCKED_BUCKET, **arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"]) == "AccessDenied"
    return False


def until(condition: Callable[[], bool], within: float = 30) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


@pytest.mark.parametrize("size", [10, 9 << 20])
def test_what_arrives_is_locked_at_once_and_nobody_deletes_or_shortens(
    store: S3Store, locked_s3: S3Server, size: int
) -> None:
    content, judge = os.urandom(size), locked_s3.judge()
    put(store, "a/b", content)
    with store.versions() as versions:
        assert versions is not None
        (version,) = versions.of("a/b")
        kept = versions.kept(version)
        assert (version.size, kept.mode, kept.lets_go) == (size, COMPLIANCE, False)
        assert kept.until == kept.sure_until
        assert kept.until is not None and kept.until - kept.now > timedelta(days=LOCK_DAYS - 1)
        assert not versions.keep(version, kept.until - timedelta(days=1))
        assert not versions.delete(version)
        assert versions.keep(version, kept.until + timedelta(days=50))
        longer = versions.kept(version).until
        assert longer is not None  # Ceph counts in microseconds, a request in whole seconds
        assert timedelta() <= longer - kept.until - timedelta(days=50) < timedelta(seconds=1)
        assert versions.sha256(version) == hashlib.sha256(content).hexdigest()
    named = {"Key": store.key("a/b"), "VersionId": version.id}
    assert refused(judge.delete_object, **named)
    assert refused(judge.delete_object, **named, BypassGovernanceRetention=True)
    for mode in (COMPLIANCE, "GOVERNANCE"):
        retention = {"Mode": mode, "RetainUntilDate": kept.now + timedelta(days=1)}
        assert refused(judge.put_object_retention, **named, Retention=retention)
    assert b"".join(store.read("a/b")) == content


def test_a_removal_hides_what_is_locked_and_frees_what_is_not(
    store: S3Store, locked_s3: S3Server
) -> None:
    judge = locked_s3.judge()
    put(store, "a/b", b"verrou")
    assert store.remove("a/b") and not store.exists("a/b")
    put(store, "a/b", b"nouvelle vie")
    assert b"".join(store.read("a/b")) == b"nouvelle vie"
    with store.versions() as versions:
        assert versions is not None
        found = sorted((each.is_marker, each.size) for each in versions.of("a/b"))
    assert found == [(False, len(b"verrou")), (False, len(b"nouvelle vie")), (True, 0)]
    short = judge.put_object(
        Bucket=LOCKED_BUCKET,
        Key=store.key("a/court"),
        Body=b"court",
        ObjectLockMode=COMPLIANCE,
        ObjectLockRetainUntilDate=clock.now() + timedelta(seconds=3),
    )
    assert store.remove("a/court") and not store.exists("a/court")
    named = {"Key": store.key("a/court"), "VersionId": short["VersionId"]}
    assert judge.get_object(Bucket=LOCKED_BUCKET, **named)["Body"].read() == b"court"
    with store.versions() as versions:
        assert versions is not None
        (version,) = (each for each in versions.of("a/court") if not each.is_marker)
        until(lambda: versions.kept(version).lets_go)
    assert store.remove("a/court")
    with store.versions() as versions:
        assert versions is not None and versions.of("a/court") == []


def test_the_bytes_of_a_plain_bucket_leave_and_it_has_no_lock(
    locked_s3: S3Server, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(s3.ACCESS_KEY, ACCESS_KEY)
    monkeypatch.setenv(s3.SECRET_KEY, SECRET_KEY)
    settings.HOME = tmp_path
    plain = open_store(locked_s3.address("sans-verrou"))
    assert isinstance(plain, S3Store)
    put(plain, "a/b", b"x")
    with plain.versions() as versions:
        assert versions is None
        assert Versions(plain).bucket_lock() is None
    assert plain.remove("a/b") and not plain.remove("a/b")
    assert "Versions" not in locked_s3.judge().list_object_versions(
        Bucket=BUCKET, Prefix="sans-verrou/"
    )


def test_every_version_and_marker_is_listed_across_pages(
    store: S3Store, locked_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = locked_s3.judge()
    for key in ("a/1", "a/2", "b é&<+/3", "c"):
        for _ in range(3):
            judge.put_object(Bucket=LOCKED_BUCKET, Key=store.prefix + key, Body=b"x")
    for key in ("a/2", "c"):
        judge.delete_object(Bucket=LOCKED_BUCKET, Key=store.prefix + key)
    answer = judge.list_object_versions(Bucket=LOCKED_BUCKET, Prefix=store.prefix)
    expected = {
        (item["Key"].removeprefix(store.prefix), item["VersionId"])
        for item in answer["Versions"] + answer["DeleteMarkers"]
    }
    assert len(expected) == 14
    for size in (1, 2, 3, 5, 1000):
        monkeypatch.setattr(s3_versions, "_PAGE", size)
        with store.versions() as versions:
            assert versions is not None
            groups = list(versions.named())
            assert [name for name, _ in groups] == sorted({key for key, _ in expected})
            found = [(each.key, each.id) for _, group in groups for each in group]
            assert len(found) == 14 and set(found) == expected
            assert all(sum(each.is_latest for each in group) == 1 for _, group in groups)
            after = versions.named(after="a/2")
            assert [name for name, _ in after] == [name for name, _ in groups[2:]]
            assert len(versions.of("a/1")) == 3


def test_a_hidden_version_comes_back_on_top(store: S3Store, locked_s3: S3Server) -> None:
    judge, good = locked_s3.judge(), os.urandom(3 << 20)
    put(store, "a/b", good)
    judge.put_object(Bucket=LOCKED_BUCKET, Key=store.key("a/b"), Body=b"autre")
    judge.delete_object(Bucket=LOCKED_BUCKET, Key=store.key("a/b"))
    assert not store.exists("a/b")
    with store.versions() as versions:
        assert versions is not None
        (version,) = (each for each in versions.of("a/b") if each.size == len(good))
        versions.put_on_top(version)
    assert b"".join(store.read("a/b")) == good


def test_the_check_of_health_leaves_one_probe_an_hour(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probes() -> int:
        with store.versions() as versions:
            assert versions is not None
            return len(versions.of(".tmp/controle"))

    for _ in range(3):
        store.check()
    assert probes() == 1
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    store.check()
    assert probes() == 2


def test_a_bucket_says_what_it_locks_and_is_set(locked_s3: S3Server, store: S3Store) -> None:
    with store.versions() as versions:
        assert versions is not None
        assert versions.bucket_lock() == BucketLock(COMPLIANCE, LOCK_DAYS)
    locked_s3.lock("essai-nu", days=None)
    bare = S3Store(
        "essai-nu",
        "",
        store.endpoint,
        store.region,
        store.keys_given,
        store.spool,
        frozenset({DataClass.PUBLIC}),
    )
    with bare.versions() as versions:
        assert versions is not None
        assert versions.bucket_lock() == BucketLock()
        versions.lock_bucket(120)
        assert versions.bucket_lock() == BucketLock(COMPLIANCE, 120)


def test_wrong_keys_and_a_silent_store_are_said_in_french(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.versions() as versions:
        assert versions is not None
    monkeypatch.setattr(store, "keys_given", (ACCESS_KEY, "faux-secret"))
    with pytest.raises(StoreUnavailable, match="refuse nos clés") as said:
        Versions(store).of("a")
    assert "faux-secret" not in str(said.value)
    monkeypatch.setattr(store, "endpoint", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match="ne répond pas"):
        Versions(store).of("a")


@pytest.mark.django_db
def test_versions_leave_by_the_one_door_too(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(s3.ACCESS_KEY, "a")
    monkeypatch.setenv(s3.SECRET_KEY, "b")
    settings.HOME = tmp_path
    far = open_store("s3://seau?endpoint=https://s3.exemple.invalid")
    for act in (far.remove, far.sweep):
        with pytest.raises(egress.EgressRefused, match=r"s3.exemple.invalid:443"):
            act("a")  # type: ignore[operator]
