"""What the S3 store itself refuses, for how long, and the way back from what was hidden there.

boto3, with every right on the server, plays the thief of the keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import clock, s3
from souverain.core.access import SYSTEM
from souverain.core.models import Device, Event, JournalEntry, Organisation
from souverain.core.objects import open_store
from souverain.core.queries import StillKept
from souverain.core.s3 import S3Store
from souverain.core.s3_versions import Kept, Versions
from souverain.core.tests.seaweedfs import (
    ACCESS_KEY,
    BUCKET,
    LOCK_DAYS,
    LOCKED_BUCKET,
    SECRET_KEY,
    S3Server,
)
from souverain.core.tests.test_s3_versions import until
from souverain.vault import departure, log, object_lock, retention, services
from souverain.vault.engine.object_lock import AHEAD, MARGIN, reach
from souverain.vault.engine.retention import Life, Seen
from souverain.vault.models import (
    CheckedVersion,
    DepositSet,
    LockPass,
    ReaperPass,
    Replicated,
    StoredObject,
)
from souverain.vault.tests.test_records import put

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
DAY = timedelta(days=1)
BARE_BUCKET = "essai-sans-duree"
"""It can lock, and locks nothing by itself: a test says until when, in seconds."""


@dataclass
class Site:
    """A vault on S3, and who holds the root keys there."""

    bucket: str
    device: Device
    store: S3Store
    judge: Any

    @property
    def deposit_set(self) -> DepositSet:
        return services.set_of(self.device)

    def put(self, content: bytes, kind: str = "data") -> str:
        """Returns the key of what was recorded."""
        return services.object_key(self.deposit_set, kind, put(self.device, kind, content).name)

    def bury(self, key: str) -> None:
        kind, name = ("data", key.rpartition("/")[2])
        assert services.bury_object(self.deposit_set, kind, name, self.device)

    def content(self, key: str) -> bytes:
        return b"".join(self.store.read(key))

    def versions(self, key: str) -> list[tuple[str, bool]]:
        """What the judge sees: ids, and whether each is a marker."""
        answer = self.judge.list_object_versions(Bucket=self.bucket, Prefix=self.store.key(key))
        found = [(item["VersionId"], False) for item in answer.get("Versions", [])]
        return found + [(item["VersionId"], True) for item in answer.get("DeleteMarkers", [])]

    def data(self, key: str) -> list[str]:
        return [version for version, is_marker in self.versions(key) if not is_marker]

    def kept(self, key: str) -> Kept:
        with self.store.versions() as versions:
            assert versions is not None
            (found,) = (each for each in versions.of(key) if not each.is_marker)
            return versions.kept(found)

    def hide(self, key: str) -> None:
        self.judge.delete_object(Bucket=self.bucket, Key=self.store.key(key))

    def overwrite(self, key: str, content: bytes) -> None:
        self.judge.put_object(Bucket=self.bucket, Key=self.store.key(key), Body=content)

    def lock_for(self, key: str, seconds: float) -> None:
        """Lock the only version of a name for some seconds of the store's own time."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        retention = {"Mode": "COMPLIANCE", "RetainUntilDate": end}
        (version,) = self.data(key)
        self.judge.put_object_retention(
            Bucket=self.bucket, Key=self.store.key(key), VersionId=version, Retention=retention
        )

    def deletes(self, key: str) -> bool:
        """Whether the root keys delete every version of a name."""
        for version in self.data(key):
            named = {"Key": self.store.key(key), "VersionId": version}
            try:
                self.judge.delete_object(
                    Bucket=self.bucket, **named, BypassGovernanceRetention=True
                )
            except ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDenied"
                return False
        return True


Sites = Callable[[str], Site]


@pytest.fixture
def sites(
    locked_s3: S3Server,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Sites:
    """A vault in an empty place of a bucket."""
    monkeypatch.setenv(s3.ACCESS_KEY, ACCESS_KEY)
    monkeypatch.setenv(s3.SECRET_KEY, SECRET_KEY)
    settings.HOME = tmp_path

    def made(bucket: str) -> Site:
        judge = locked_s3.judge()
        prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
        settings.OBJECTS_URL = locked_s3.address(prefix, bucket)
        store = open_store(settings.OBJECTS_URL)
        assert isinstance(store, S3Store)
        monkeypatch.setattr(services, "store", lambda: store)
        dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
        device, _ = services.add_device(SYSTEM, dijon, "poste", ["backup", "prune"])
        return Site(bucket, device, store, judge)

    return made


@pytest.fixture
def site(sites: Sites) -> Site:
    """In a bucket that locks by itself what arrives."""
    return sites(LOCKED_BUCKET)


@pytest.fixture
def bare(sites: Sites, locked_s3: S3Server) -> Site:
    """In a bucket that can lock, and does not by itself."""
    known = [item["Name"] for item in locked_s3.judge().list_buckets()["Buckets"]]
    if BARE_BUCKET not in known:
        locked_s3.lock(BARE_BUCKET, days=None)
    return sites(BARE_BUCKET)


def walk() -> LockPass:
    found = object_lock.walk(SYSTEM, anew=True)
    assert found is not None and found.ended_at is not None
    return found


def forged_passes(days: int) -> retention.Reaped:
    """The reaper's passes, every third day, under a clock that somebody moves on."""
    start, report = clock.now(), retention.Reaped()
    for ahead in range(0, days + 1, 3):
        with clock.frozen(start + timedelta(days=ahead)):
            report = retention.reap(SYSTEM)
    return report


# How far ahead -----------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_reach_of_what_lives_what_is_held_and_what_is_dead() -> None:
    lock, seen = 90 * DAY, Seen((NOW - 100 * DAY, *(NOW - n * DAY for n in range(99, -1, -1))))
    living, dead = Life(NOW - 95 * DAY, None), Life(NOW - 95 * DAY, NOW - 80 * DAY)
    ahead = reach([living], lock, seen, NOW, held=False)
    assert (ahead.least, ahead.aim) == (NOW + lock + MARGIN, NOW + lock + AHEAD)
    assert reach([dead, living], lock, seen, NOW, held=False) == ahead
    assert reach([dead], lock, seen, NOW, held=True) == ahead
    end = NOW + 10 * DAY
    found = reach([dead], lock, seen, NOW, held=False)
    assert (found.least, found.aim) == (end, end)
    # Before any pass of the reaper nothing was seen to pass; a death to come locks no longer.
    assert reach([dead], lock, Seen(), NOW, held=False) == ahead
    to_come = Life(NOW, NOW + 900 * DAY)
    assert reach([to_come], lock, seen, NOW, held=False) == ahead


# What the store refuses --------------------------------------------------------------------------


def test_no_root_key_and_no_forged_clock_take_a_byte_before_the_lock_is_over(site: Site) -> None:
    living, dead = site.put(b"vivant"), site.put(b"mort")
    site.bury(dead)
    report = forged_passes(120)
    assert (report.objects, report.locked) == (0, 1)
    assert site.content(dead) == b"mort"
    assert StoredObject.objects.filter(reaped_at=None).count() == 2
    assert services.stored_bytes(site.device.organisation) == len(b"vivantmort")
    for key in (living, dead):
        assert not site.deletes(key)
        kept = site.kept(key)
        assert kept.until is not None and kept.until - kept.now > (LOCK_DAYS - 1) * DAY
    assert retention.reap(SYSTEM, dry_run=True, confirm_clock=True).objects == 0


def test_the_bytes_really_leave_once_the_store_lets_go(bare: Site) -> None:
    living, dead = bare.put(b"vivant"), bare.put(b"mort")
    bare.bury(dead)
    bare.lock_for(dead, 5)
    assert not bare.deletes(dead)
    report = forged_passes(93)
    assert (report.objects, report.locked) == (0, 1) and len(bare.data(dead)) == 1
    until(lambda: bare.kept(dead).lets_go)
    last = ReaperPass.objects.order_by("-pk").values_list("at", flat=True)[0]
    with clock.frozen(last + DAY):
        report = retention.reap(SYSTEM)
    assert (report.objects, report.bytes, report.locked) == (1, 4, 0)
    assert bare.versions(dead) == [], "neither a version nor a marker is left"
    assert bare.content(living) == b"vivant"
    assert services.stored_bytes(bare.device.organisation) == len(b"vivant")


def test_the_walk_locks_what_must_stay_and_lengthens_about_once_a_week(bare: Site) -> None:
    key = bare.put(b"vivant")
    assert bare.kept(key).until is None
    first = walk()
    assert (first.versions, first.extended, first.refused, first.lost) == (1, 1, 0, 0)
    kept = bare.kept(key)
    assert kept.sure_until is not None
    assert abs(kept.sure_until - kept.now - (90 * DAY + AHEAD)) < timedelta(minutes=1)
    assert not bare.deletes(key)
    assert walk().extended == 0
    retention.lengthen(SYSTEM, bare.deposit_set, 400)
    assert walk().extended == 1
    assert bare.kept(key).until - bare.kept(key).now > 400 * DAY  # type: ignore[operator]
    assert JournalEntry.objects.filter(verb="vault.locks_extended").count() == 3


def test_what_is_dead_is_locked_until_its_end_and_what_is_held_goes_on(bare: Site) -> None:
    dead, other = bare.put(b"mort"), bare.put(b"autre mort")
    retention.reap(SYSTEM)
    for key in (dead, other):
        bare.bury(key)
    assert walk().extended == 2
    died = StoredObject.objects.get(name=dead.rpartition("/")[2]).died_at
    assert died is not None
    found = bare.kept(dead).sure_until
    assert found is not None and timedelta() <= found - died - 90 * DAY < timedelta(seconds=2)
    assert walk().extended == 0
    retention.hold(SYSTEM, bare.deposit_set, "Enquête")
    assert walk().extended == 2
    assert bare.kept(dead).until - bare.kept(dead).now > 99 * DAY  # type: ignore[operator]


def test_a_death_that_a_copy_learns_of_late_is_locked_from_then_in_the_store_too(
    bare: Site,
) -> None:
    died = clock.now() - 80 * DAY
    with clock.frozen(died - DAY):
        retention.reap(SYSTEM)
        key = bare.put(b"mort")
    name = key.rpartition("/")[2]
    StoredObject.objects.filter(name=name).update(died_at=died)
    Replicated.objects.create(
        deposit_set=bare.deposit_set,
        first_at=died,
        last_at=died,
        learnt_at=clock.now(),
        births=0,
        deaths=1,
    )
    assert walk().extended == 1
    kept = bare.kept(key)
    assert kept.sure_until is not None and kept.sure_until - kept.now > 89 * DAY


# The way back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("logged", [True, False])
def test_what_was_hidden_or_covered_comes_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    contents = [os.urandom(1000) for _ in range(5)]
    hidden, twice, same_size, other_size, both = keys = [site.put(each) for each in contents]
    incoming = services.store().incoming()
    incoming.write(b"config")
    services.record_object(site.deposit_set, "config", "config", incoming, site.device)
    config = services.object_key(site.deposit_set, "config", "config")
    if logged:  # the log says what a config's bytes are
        log.keep_up()
    site.hide(hidden)
    site.hide(twice)
    site.hide(twice)
    site.overwrite(same_size, os.urandom(1000))
    site.overwrite(other_size, b"court")
    site.overwrite(both, os.urandom(1000))
    site.hide(both)
    site.overwrite(config, b"CONFIG")
    walked = walk()
    assert (walked.brought_back, walked.lost) == (6, 0)
    assert [site.content(key) for key in keys] == contents and site.content(config) == b"config"
    told = Event.objects.get(name="vault.copies_hidden")
    assert told.payload["objects"] == 6
    assert JournalEntry.objects.filter(verb="vault.copies_hidden").count() == 1
    assert walk().brought_back == 0

    read: list[str] = []
    as_it_is = Versions.sha256

    def counted(versions: Versions, version: Any) -> str:
        read.append(version.key)
        return as_it_is(versions, version)

    monkeypatch.setattr(Versions, "sha256", counted)
    assert walk().brought_back == 0
    assert read == [], "what was read and found right is not read each day"
    assert CheckedVersion.objects.count() == 4
    site.overwrite(same_size, os.urandom(1000))
    assert walk().brought_back == 1 and site.content(same_size) == contents[2]


def test_a_name_without_its_bytes_is_said_and_nothing_is_deleted(site: Site) -> None:
    key = services.object_key(site.deposit_set, "data", "0" * 64)
    StoredObject.objects.create(
        deposit_set=site.deposit_set,
        type="data",
        name="0" * 64,
        size=8,
        received_at=clock.now(),
        device=site.device,
    )
    for content in (b"sans nom", b"pas mieux", b"ni la"):
        site.overwrite(key, content)
    walked = walk()
    assert (walked.lost, walked.brought_back, walked.freed) == (1, 0, 0)
    assert len(site.data(key)) == 3
    assert not object_lock.health().ok
    assert "bonne version" in object_lock.health().message


# What nobody vouches for -------------------------------------------------------------------------


def test_locks_of_restic_orphans_and_covered_bytes_are_freed_and_nothing_else(
    bare: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    living = bare.put(b"vivant")
    bare.overwrite(living, b"couvert")
    prefix = bare.deposit_set.prefix
    ended, held = f"{prefix}/locks/{'a' * 64}", f"{prefix}/locks/{'b' * 64}"
    orphan = f"{prefix}/data/cc/{'c' * 64}"
    foreign = ["vault/x", "ailleurs/y", f"{prefix}/data/.z", "vault/99999/general/data/dd/dd"]
    for key in (ended, held, orphan):
        bare.overwrite(key, b"verrou")
    for key in foreign:
        bare.judge.put_object(Bucket=bare.bucket, Key=bare.store.prefix + key, Body=b"pas a nous")
    assert bare.store.hide(ended)
    assert len(bare.versions(ended)) == 2
    young = walk()
    assert (young.freed, young.brought_back) == (0, 1), "too young to be sure"
    bare.lock_for(orphan, 4)
    monkeypatch.setattr(object_lock, "FRESH", timedelta(days=-1))
    walked = walk()
    # The restic lock that ended, the bytes that covered a living name, what no commune has.
    assert walked.freed == 3
    walk()
    assert bare.versions(ended) == [], "the marker went once it hid nothing"
    assert bare.content(held) == b"verrou" and bare.content(living) == b"vivant"
    assert len(bare.data(orphan)) == 1, "its own lock is not over"
    until(lambda: bare.kept(orphan).lets_go)
    assert walk().freed == 1
    assert bare.versions(orphan) == []
    for key in foreign[:3]:
        assert bare.judge.get_object(Bucket=bare.bucket, Key=bare.store.prefix + key)


def test_a_departure_waits_for_the_store_and_then_leaves_nothing(bare: Site) -> None:
    key = bare.put(b"vivant")
    log.keep_up()
    retention.reap(SYSTEM)
    walk()
    departure.end("21231")
    died = StoredObject.objects.get().died_at
    kept = departure.erasable_on("21231")
    assert kept is not None and kept.until is not None and died is not None
    assert kept.until >= bare.kept(key).until  # type: ignore[operator]
    assert kept.until - died >= 90 * DAY + AHEAD


def test_nothing_is_said_erased_while_the_store_still_locks_it(bare: Site) -> None:
    """Its own clock decides, and not ours; a hold may have locked it for longer."""
    key = bare.put(b"vivant")
    retention.reap(SYSTEM)
    walk()
    departure.end("21231")
    forged_passes(120)
    last = ReaperPass.objects.order_by("-pk").values_list("at", flat=True)[0]
    with clock.frozen(last):
        kept = departure.erasable_on("21231")
        assert kept is not None and "S3" in kept.sentence
        with pytest.raises(StillKept), transaction.atomic():
            departure.forget("21231")
    assert len(bare.data(key)) == 1 and StoredObject.objects.exists()


# The walk itself ---------------------------------------------------------------------------------


def test_a_walk_that_was_cut_goes_on_from_its_last_batch(
    bare: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = sorted(bare.put(os.urandom(20)) for _ in range(9))
    monkeypatch.setattr(object_lock, "_BATCH", 2)
    as_it_is, seen = object_lock._Batch.tend, list[str]()

    def cut(batch: object_lock._Batch) -> None:
        if len(seen) == 4:
            raise ConnectionError
        as_it_is(batch)
        seen.extend(name for name, _ in batch.named)

    monkeypatch.setattr(object_lock._Batch, "tend", cut)
    with pytest.raises(ConnectionError):
        walk()
    monkeypatch.setattr(object_lock._Batch, "tend", as_it_is)
    left = object_lock.walk(SYSTEM, within=timedelta())
    assert left is not None and left.ended_at is None and left.extended == 6
    object_lock.keep_up()
    last = LockPass.objects.get()
    assert last.ended_at is not None
    assert (last.versions, last.extended) == (9, 9)
    assert all(bare.kept(key).sure_until for key in keys)
    object_lock.keep_up()
    assert LockPass.objects.count() == 1, "one walk a day"
    with clock.frozen(clock.now() + DAY):
        object_lock.keep_up()
    assert LockPass.objects.count() == 2


def test_somebody_who_asks_has_everything_looked_at_even_behind_a_walk_under_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lock, "_BATCH", 1)
    first, *_ = sorted(site.put(os.urandom(20)) for _ in range(3))
    begun = object_lock.walk(SYSTEM, within=timedelta())
    assert begun is not None and begun.after == first
    site.hide(first)
    assert walk().brought_back == 1
    assert site.store.exists(first)


def test_health_says_what_the_bucket_does_not_do(bare: Site) -> None:
    assert object_lock.health().ok, "nothing was looked at yet"
    walk()
    assert not object_lock.health().ok
    assert "verrouille ce qui arrive 0 jours" in object_lock.health().message
    assert "souverain vault store lock --days 100" in object_lock.health().message


def test_health_of_a_walk_that_stopped_and_of_a_bucket_that_locks(site: Site) -> None:
    site.put(b"x")
    walk()
    assert object_lock.health().message == "Le stockage S3 verrouille les copies."
    with clock.frozen(clock.now() + 4 * DAY):
        assert "ne s'allongent plus" in object_lock.health().message
    with pytest.raises(ValidationError, match=f"de {LOCK_DAYS} à"):
        object_lock.lock_bucket(SYSTEM, LOCK_DAYS - 1)


def test_a_bucket_is_set_once_and_only_for_longer(sites: Sites, locked_s3: S3Server) -> None:
    locked_s3.lock("essai-a-regler", days=None)
    sites("essai-a-regler")
    object_lock.lock_bucket(SYSTEM, 100)
    assert object_lock.state().days == 100
    with pytest.raises(ValidationError, match="de 100 à"):
        object_lock.lock_bucket(SYSTEM, 99)
    entry = JournalEntry.objects.get(verb="vault.bucket_locked")
    assert entry.actor == str(SYSTEM)


def test_a_bucket_without_lock_is_said_once_and_cannot_be_locked(sites: Sites) -> None:
    plain = sites(BUCKET)
    key = plain.put(b"x")
    for _ in range(2):
        assert object_lock.walk(SYSTEM) is None
    assert LockPass.objects.count() == 1
    assert not object_lock.health().ok
    assert "n'a pas de verrou d'objets" in object_lock.health().message
    with pytest.raises(ValidationError, match="object lock"):
        object_lock.lock_bucket(SYSTEM, 100)
    assert plain.content(key) == b"x"
