"""What leaves the disk, when, and what no clock, no client and no record can make leave earlier."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from souverain.core import access, clock
from souverain.core.access import SYSTEM, Actor
from souverain.core.models import Device, JournalEntry
from souverain.vault import history, retention, services
from souverain.vault.engine.retention import STEP_MAX, Doubt, Life, Seen, free_from, removable
from souverain.vault.models import DepositSet, Hold, Lock, ReaperPass, StoredObject
from souverain.vault.tests.conftest import Client, Server, restic, same
from souverain.vault.tests.test_records import device, put

__all__ = ["device"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
SOMEBODY = Actor("user", "7")


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bury(device: Device, content: bytes) -> None:
    assert services.bury_object(services.set_of(device), "data", named(content), device)


def is_there(device: Device, content: bytes) -> bool:
    key = services.object_key(services.set_of(device), "data", named(content))
    return services.store().size(key) == len(content)


def days_pass(until: datetime, since: datetime = NOON) -> None:
    """The worker's daily passes, seen every third day."""
    at = since
    while at < until:
        at = min(at + STEP_MAX, until)
        with clock.frozen(at):
            retention.reap(SYSTEM)


def first_pass() -> None:
    with clock.frozen(NOON):
        retention.reap(SYSTEM)


# The engine --------------------------------------------------------------------------------------

instants = st.integers(0, 400).map(lambda hours: NOON + timedelta(hours=hours * 7))


@given(
    st.lists(st.tuples(instants, st.none() | instants), min_size=1, max_size=4),
    st.lists(instants, max_size=8),
    instants,
    st.integers(0, 60),
    st.booleans(),
)
def test_removable_is_never_before_the_lock_and_never_what_lives(
    lives: list[tuple[datetime, datetime | None]],
    passes: list[datetime],
    now: datetime,
    days: int,
    held: bool,
) -> None:
    given_lives = [Life(born, died) for born, died in lives]
    seen, lock = Seen((*passes, now)), timedelta(days=days)
    if removable(given_lives, lock, seen, now, held=held):
        assert not held
        for life in given_lives:
            assert life.died_at is not None
            assert max(life.received_at, life.died_at) + lock <= now
            assert lock <= now - seen.passes[0], "no time counts before the first pass"
        longer = lock + DAY
        if not removable(given_lives, longer, seen, now, held=held):
            end = free_from(given_lives, longer, seen)
            assert end is not None and end > now
    assert not removable(given_lives, lock, Seen(), now, held=held)


def test_a_leap_counts_for_nothing() -> None:
    year = 365 * DAY
    seen = Seen((NOON, NOON + DAY, NOON + year, NOON + year + DAY))
    assert seen.after(NOON, 90 * DAY) == NOON + 90 * DAY + year - DAY
    assert seen.after(NOON + year, 90 * DAY) == NOON + year + 90 * DAY
    assert seen.doubt(NOON + year + 5 * DAY) is Doubt.LEAPT
    assert seen.doubt(NOON + year) is Doubt.WENT_BACK
    assert seen.doubt(NOON + year + DAY + STEP_MAX) is None


# The reaper --------------------------------------------------------------------------------------


def test_bytes_leave_at_the_instant_the_lock_ends_and_not_before(device: Device) -> None:
    first_pass()
    with clock.frozen(NOON + DAY):
        put(device, "data", b"vivant")
        put(device, "data", b"mort")
    with clock.frozen(NOON + 2 * DAY):
        bury(device, b"mort")
    died = StoredObject.objects.get(name=named(b"mort")).died_at
    assert died is not None
    end = died + 90 * DAY
    days_pass(end - TICK)
    assert is_there(device, b"mort")
    assert services.stored_bytes(device.organisation) == 10
    with clock.frozen(end):
        assert retention.reap(SYSTEM, dry_run=True).objects == 1
        assert is_there(device, b"mort")
        report = retention.reap(SYSTEM)
    assert (report.objects, report.bytes, report.sets) == (1, 4, 1)
    assert not is_there(device, b"mort") and is_there(device, b"vivant")
    assert services.stored_bytes(device.organisation) == 6, "reaped bytes no longer count"
    assert services.set_of(device).complete_since == died
    assert JournalEntry.objects.filter(verb="vault.reaped").count() == 1
    with clock.frozen(end + DAY):
        assert retention.reap(SYSTEM).objects == 0
        stored, _ = history.sizes(services.set_of(device))
    assert [size for _, size in stored] == [0, 10, 10, 6]


def test_a_name_that_lives_again_keeps_its_bytes_and_once_reaped_gets_a_new_life(
    device: Device,
) -> None:
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"deux vies")
        bury(device, b"deux vies")
    with clock.frozen(NOON + 80 * DAY):
        put(device, "data", b"deux vies")
    days_pass(NOON + 200 * DAY)
    assert is_there(device, b"deux vies"), "one of its lives goes on"
    with clock.frozen(NOON + 200 * DAY):
        bury(device, b"deux vies")
    days_pass(NOON + 291 * DAY, NOON + 200 * DAY)
    assert not is_there(device, b"deux vies")
    assert services.stored_bytes(device.organisation) == 0
    with clock.frozen(NOON + 300 * DAY):
        put(device, "data", b"deux vies")
    assert is_there(device, b"deux vies")
    assert services.stored_bytes(device.organisation) == 9
    assert StoredObject.objects.filter(name=named(b"deux vies")).count() == 3


def test_a_reaped_object_needs_room_in_the_quota_to_come_back(device: Device) -> None:
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"x" * 8)
        bury(device, b"x" * 8)
    days_pass(NOON + 91 * DAY)
    services.set_quota(SYSTEM, device.organisation, 4)
    with pytest.raises(services.QuotaExceeded):
        put(device, "data", b"x" * 8)
    assert not is_there(device, b"x" * 8)


def test_a_lock_is_lengthened_and_never_shortened(device: Device) -> None:
    deposit_set = services.set_of(device)
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"mort")
        bury(device, b"mort")
    retention.lengthen(SOMEBODY, deposit_set, 200)
    for days in (89, 90, 199, 200, 3651, 0, -1):
        with pytest.raises(ValidationError):
            retention.lengthen(SOMEBODY, deposit_set, days)
    rows = Lock.objects.filter(deposit_set=deposit_set)
    for change in (rows.delete, lambda: rows.update(days=1)):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    Lock.objects.create(deposit_set=deposit_set, days=1, set_by="x", set_at=NOON)
    assert retention.lock_days(deposit_set) == 200, "a shorter row beside changes nothing"
    days_pass(NOON + 199 * DAY)
    assert is_there(device, b"mort")
    days_pass(NOON + 200 * DAY, NOON + 199 * DAY)
    assert is_there(device, b"mort"), "it died a little after noon"
    days_pass(NOON + 201 * DAY, NOON + 200 * DAY)
    assert not is_there(device, b"mort")


def test_the_database_itself_refuses_a_reaping_before_its_time(device: Device) -> None:
    deposit_set = services.set_of(device)
    with clock.frozen(NOON):
        put(device, "data", b"vivant")
        put(device, "data", b"mort")
        bury(device, b"mort")
    living = StoredObject.objects.filter(name=named(b"vivant"))
    dead = StoredObject.objects.filter(name=named(b"mort"))
    died = dead.get().died_at
    assert died is not None
    end = died + 90 * DAY

    def refused(rows: object, **change: object) -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            rows.update(**change)  # type: ignore[attr-defined]

    refused(living, reaped_at=end + 900 * DAY)
    refused(living, died_at=NOON - 100 * DAY)
    refused(dead, reaped_at=end - TICK)
    refused(dead, died_at=died - 90 * DAY)
    refused(dead, reaped_at=end, size=1)
    placed = retention.freeze(SOMEBODY, deposit_set, "à voir")
    refused(dead, reaped_at=end)
    refused(Hold.objects.filter(pk=placed.pk), reason="autre")
    with pytest.raises(DatabaseError), transaction.atomic():
        placed.delete()
    retention.thaw(SYSTEM, deposit_set)
    retention.lengthen(SOMEBODY, deposit_set, 100)
    refused(dead, reaped_at=end)
    with clock.frozen(died + 30 * DAY):
        put(device, "data", b"mort")
    refused(dead.exclude(died_at=None), reaped_at=end + 10 * DAY)
    with clock.frozen(died + 31 * DAY):
        bury(device, b"mort")
    refused(dead.filter(died_at=died), reaped_at=end + 10 * DAY)
    latest = max(row.died_at for row in dead if row.died_at is not None)
    assert dead.update(reaped_at=latest + 100 * DAY) == 2
    refused(dead, reaped_at=None)
    refused(dead, reaped_at=latest + 900 * DAY)
    ReaperPass.objects.create(at=NOON)
    passes = ReaperPass.objects.all()
    for change in (passes.delete, lambda: passes.update(at=NOON - 900 * DAY)):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    if connection.vendor == "sqlite":
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT OR REPLACE INTO vault_reaperpass (id, at, confirmed_by)"
                " SELECT id, '2020-01-01', '' FROM vault_reaperpass"
            )


# Holds -------------------------------------------------------------------------------------------


def test_a_hold_is_lifted_by_somebody_else_and_a_freeze_by_an_operator(device: Device) -> None:
    deposit_set = services.set_of(device)
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"mort")
        bury(device, b"mort")
    hold = retention.hold(SOMEBODY, deposit_set, "Enquête", "PV 12/2026")
    with pytest.raises(ValidationError, match="autre personne"):
        retention.lift(SOMEBODY, hold)
    retention.freeze(SYSTEM, deposit_set, "Rançongiciel soupçonné")
    with pytest.raises(ValidationError, match="opérateur"):
        retention.thaw(SOMEBODY, deposit_set)
    with pytest.raises(ValidationError):
        retention.hold(SOMEBODY, deposit_set, "  ")
    days_pass(NOON + 100 * DAY)
    assert is_there(device, b"mort")
    retention.lift(Actor("user", "8"), hold)
    with pytest.raises(ValidationError, match="déjà levée"):
        retention.lift(Actor("user", "8"), hold)
    days_pass(NOON + 101 * DAY, NOON + 100 * DAY)
    assert is_there(device, b"mort"), "the freeze is on"
    retention.thaw(access.SYSTEM, deposit_set)
    days_pass(NOON + 102 * DAY, NOON + 101 * DAY)
    assert not is_there(device, b"mort")
    verbs = set(JournalEntry.objects.values_list("verb", flat=True))
    assert verbs >= {"vault.hold_placed", "vault.hold_lifted", "vault.frozen", "vault.thawed"}


# The clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("leap", [365 * DAY, -365 * DAY])
def test_a_clock_moved_by_a_year_takes_nothing_away(device: Device, leap: timedelta) -> None:
    first_pass()
    with clock.frozen(NOON):
        put(device, "data", b"mort")
        bury(device, b"mort")
    days_pass(NOON + 10 * DAY)
    wrong = NOON + 11 * DAY + leap
    with clock.frozen(wrong):
        for dry_run in (True, False):
            with pytest.raises(retention.ClockInDoubt, match="confirm-clock"):
                retention.reap(SYSTEM, dry_run=dry_run)
        assert not retention.health().ok
        assert JournalEntry.objects.filter(verb="vault.clock_doubted").count() == 1
        assert retention.reap(SOMEBODY, confirm_clock=True).objects == 0
        assert retention.health().ok
        assert JournalEntry.objects.filter(verb="vault.clock_confirmed").count() == 1
    assert ReaperPass.objects.exclude(confirmed_by="").get().confirmed_by == "user:7"
    days_pass(wrong + 79 * DAY, wrong)
    assert is_there(device, b"mort"), "79 days after, and 10 before: not yet 90 seen"
    later = wrong + (81 if leap > timedelta() else 365 + 81) * DAY
    days_pass(later, wrong + 79 * DAY)
    assert not is_there(device, b"mort")


@dataclass
class World:
    """True time, and what the server's clock shows."""

    true: datetime
    shown: timedelta

    @property
    def wall(self) -> datetime:
        return self.true + self.shown


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 1)),
        st.tuples(st.just("bury"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.integers(1, 200)),
        st.tuples(st.just("reap"), st.integers(0, 1)),
        st.tuples(st.just("months"), st.integers(1, 3)),
        st.tuples(st.just("clock"), st.sampled_from([365, 200, -200, -365, 2])),
        st.tuples(st.just("lengthen"), st.sampled_from([95, 120])),
        st.tuples(st.just("hold"), st.integers(0, 1)),
    ),
    min_size=15,
    max_size=40,
)


@settings(
    max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(steps)
def test_every_state_of_the_lock_s_days_stays_whole_whatever_happens(
    device: Device, steps: list[tuple[str, int]]
) -> None:
    """Births, deaths, passes, holds and longer locks under a clock that leaps both ways, confirmed
    by an operator each time. In true time: what lived within the lock is on disk to the byte, and
    no record is without its bytes. A clock set forward by less than a pass's step is the one thing
    that the reaper cannot tell from time; it shortens the lock by that much at most, each time."""
    DepositSet.objects.filter(code="general").update(code=f"ancien-{time.monotonic_ns()}")
    services.create_set(SYSTEM, device.organisation)
    deposit_set = services.set_of(device)
    world = World(NOON, timedelta())
    with clock.frozen(max([world.wall, *retention.seen().passes])):
        world.shown = clock.now() - world.true  # each example goes on after the former one
        retention.reap(SYSTEM, confirm_clock=True)
    slack, days = timedelta(), 90
    deaths: dict[int, datetime] = {}
    for what, number in steps:
        content = f"{deposit_set.pk} {number}".encode()
        match what:
            case "wait":
                world.true += timedelta(hours=number)
            case "clock":
                world.shown += number * DAY
                slack += max(timedelta(), min(number * DAY, STEP_MAX))
            case "months":
                for _ in range(number * 10):
                    world.true += STEP_MAX
                    with clock.frozen(world.wall):
                        retention.reap(SYSTEM, confirm_clock=True)
        with clock.frozen(world.wall):
            match what:
                case "put":
                    put(device, "data", content)
                case "bury":
                    living = services.alive(deposit_set).filter(name=named(content)).first()
                    if living is not None:
                        bury(device, content)
                        deaths[living.pk] = world.true
                case "reap":
                    known = retention.seen()
                    if number or known.doubt(world.wall) is None:
                        retention.reap(SYSTEM, confirm_clock=True)
                    else:
                        with pytest.raises(retention.ClockInDoubt):
                            retention.reap(SYSTEM)
                case "lengthen":
                    if number > days:
                        retention.lengthen(SYSTEM, deposit_set, number)
                        days = number
                case "hold" if number:
                    retention.hold(SOMEBODY, deposit_set, "enquête")
                case "hold":
                    for held in retention.holds(deposit_set):
                        retention.lift(SYSTEM, held)
        on_disk = 0
        for row in StoredObject.objects.filter(deposit_set=deposit_set):
            size = services.store().size(services.object_key(deposit_set, "data", row.name))
            died = deaths.get(row.pk)
            if died is None or world.true < died + days * DAY - slack:
                assert row.reaped_at is None
            if row.reaped_at is None:
                assert size == row.size
        rows = StoredObject.objects.filter(deposit_set=deposit_set, reaped_at=None)
        on_disk = sum({row.name: row.size for row in rows}.values())
        assert DepositSet.objects.get(pk=deposit_set.pk).stored_bytes == on_disk


# Crashes -----------------------------------------------------------------------------------------


def test_a_pass_cut_at_any_point_is_finished_by_the_next(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_pass()
    contents = [b"%d" % number for number in range(6)]
    with clock.frozen(NOON):
        for content in contents:
            put(device, "data", content)
            bury(device, content)
    days_pass(NOON + 88 * DAY)
    monkeypatch.setattr(retention, "_BATCH", 2)
    remove = services.store().remove
    calls: list[str] = []

    class Cut(BaseException):
        pass

    def cut(key: str) -> bool:
        calls.append(key)
        if len(calls) in (1, 3, 4):
            raise Cut
        return remove(key)

    monkeypatch.setattr(services.store(), "remove", cut)
    for day in (91, 92, 93):
        with clock.frozen(NOON + day * DAY), pytest.raises(Cut):
            retention.reap(SYSTEM)
        for row in StoredObject.objects.filter(reaped_at=None):
            key = services.object_key(row.deposit_set, "data", row.name)
            assert services.store().size(key) == row.size, "no record without its bytes"
    with clock.frozen(NOON + 94 * DAY):
        retention.reap(SYSTEM)
    assert list(services.store().keys("vault")) == []
    assert services.stored_bytes(device.organisation) == 0
    assert not ReaperPass.objects.filter(ended_at=None).exists()


KILLED = """
import os, signal
from souverain.core import access, clock
from souverain.vault import retention, services
from souverain.vault.models import StoredObject
from datetime import timedelta
store = services.store()
remove, calls = store.remove, [0]
def cut(key):
    calls[0] += 1
    if calls[0] == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    return remove(key)
store.remove = cut
start = clock.now()
first = retention.seen().passes[0] if retention.seen().passes else start
for step in range(0, 34):
    with clock.frozen(max([first + timedelta(days=3 * step), *retention.seen().passes])):
        retention.reap(access.SYSTEM)
"""


@pytest.fixture
def own_server(tmp_path: Path) -> Server:
    """One of its own, whose database is SQLite whatever the run's is."""
    server = Server(tmp_path / "home")
    server.home.mkdir()
    server.prepare()
    return server


@pytest.mark.parametrize("nth", [1, 2])
def test_a_reaper_killed_leaves_records_and_bytes_in_step(own_server: Server, nth: int) -> None:
    own_server.start()
    try:
        client = Client(own_server.device(roles="backup restore prune"))
        kept, gone = [os.urandom(99) for _ in range(2)], [os.urandom(99) for _ in range(3)]
        for content in kept + gone:
            assert client.put(content) == 200
        for content in gone:
            assert client.ask("DELETE", f"data/{named(content)}")[0] == 200
        with pytest.raises(AssertionError):
            own_server.python(KILLED.format(nth=nth))
        left = len([p for p in own_server.folder().rglob("*") if p.is_file()])
        assert left == len(kept) + len(gone) - (nth - 1)
        own_server.python(KILLED.format(nth=0))
        client.assert_whole(kept)
        assert len([p for p in own_server.folder().rglob("*") if p.is_file()]) == len(kept)
        for content in gone:
            assert client.put(content) == 200, "a reaped name gets a new life"
        client.assert_whole(kept + gone)
    finally:
        own_server.kill()


def test_a_moment_that_is_not_complete_any_more_is_told_so(
    device: Device, own_server: Server
) -> None:
    first_pass()
    with clock.frozen(NOON + DAY):
        put(device, "snapshots", b"une")
    with clock.frozen(NOON + 2 * DAY):
        put(device, "snapshots", b"deux")
        services.bury_object(services.set_of(device), "snapshots", named(b"une"), device)
    days_pass(NOON + 93 * DAY)
    deposit_set = services.set_of(device)
    assert deposit_set.complete_since is not None
    assert [moment.snapshots for moment in history.moments(deposit_set)] == []
    assert history.is_complete(deposit_set, deposit_set.complete_since)
    assert not history.is_complete(deposit_set, deposit_set.complete_since - TICK)
    own_server.start()
    try:
        client = Client(own_server.device())
        assert client.put(b"quelque chose") == 200
        past = client.path.rstrip("/") + "@2026-11-24T12:00:00Z/snapshots/"
        assert client.ask("GET", past) == (200, b"[]")
        own_server.python(
            "from souverain.vault.models import DepositSet\nfrom souverain.core import clock\n"
            "DepositSet.objects.update(complete_since=clock.now())"
        )
        status, message = client.ask("GET", past)
        assert status == 410 and "complets depuis le" in message.decode()
        assert client.ask("GET", "data/")[0] == 200
    finally:
        own_server.kill()


def test_nothing_else_in_the_room_removes_objects() -> None:
    """`services.discard` alone, which asks the records; a client's own lock files aside. The log's
    files and the parity's are no bytes of a set: `log` removes only what is under `log/`, `parity`
    from its own store what is under `parity/`. `object_lock` deletes markers, and versions beside
    the one that records vouch for."""
    room = Path(services.__file__).parent
    found = {
        f"{path.name}: {line.strip()}"
        for path in room.rglob("*.py")
        if not {"tests", "agent"} & set(path.parts)  # the agent runs on the commune's machine
        for line in path.read_text().splitlines()
        if re.search(r"store(\(\))?\.(remove|hide)\b|versions\.delete\(|\.unlink\(|rmtree\(", line)
    }
    # Files of their own making.
    own = ("restoration", "export.py", "drill", "Path(partial).unlink()", "_secret_path().unlink(")
    told = [line for line in found if not any(name in line for name in own)]
    assert sorted(told) == [
        "log.py: return not is_kept and services.store().remove(key)",
        'log.py: services.store().remove(f"{folder}/{width}")',
        "object_lock.py: if not latest.is_marker or not self.versions.delete(latest):",
        "object_lock.py: if self._lets_go(each) and self.versions.delete(each):",
        "object_lock.py: self.versions.delete(each)",
        "parity.py: return store().remove(key)",
        "server.py: await _thread(services.store().hide, key)",
        "services.py: return not _is_vouched_for(key) and store().remove(key)",
    ]
    assert 'folder = _key(code, f"{tile.path}.p")' in (room / "log.py").read_text()
    delete = (room / "server.py").read_text().split('if request.kind == "locks":')[-1]
    assert delete.index("services.store().hide") < delete.index("return")


# The stock client --------------------------------------------------------------------------------


def test_forged_times_shorten_nothing(own_server: Server, tree: Path, tmp_path: Path) -> None:
    """A thief of the credentials floods the set with snapshots of the future, forgets, prunes, and
    the reaper passes every day: each real state of the last 90 days restores to the byte."""
    own_server.start()
    try:
        repository = own_server.device(roles="backup restore prune")
        states: list[tuple[str, Path]] = []
        restic(repository, tmp_path, "init")
        for number in range(3):
            (tree / f"registre-{number}.bin").write_bytes(os.urandom(200_000))
            restic(repository, tmp_path, "backup", "mairie")
            kept = tmp_path / f"etat-{number}"
            shutil.copytree(tree, kept)
            states.append((clock.rfc3339(clock.now()), kept))
        for file in (path for path in tree.rglob("*") if path.is_file()):
            file.write_bytes(b"chiffre")
        for year in (1990, 2027, 2060, 2100):
            restic(repository, tmp_path, "backup", "mairie", "--time", f"{year}-01-01 00:00:00")
        restic(repository, tmp_path, "forget", "--keep-last", "1", "--prune")
        assert restic(repository, tmp_path, "snapshots", "--json").count('"short_id"') == 1
        passes = (
            "from souverain.core import access, clock\nfrom souverain.vault import retention\n"
            "from datetime import timedelta\nstart = clock.now()\n"
            "for day in (*range({first}, {last}, 3), {last}):\n"
            "    with clock.frozen(max([start + timedelta(days=day), *retention.seen().passes])):\n"
            "        print(retention.reap(access.SYSTEM).objects)\n"
        )
        told = own_server.python(passes.format(first=0, last=89))
        assert set(told.split()) == {"0"}
        for number, (moment, kept) in enumerate(states):
            past = f"{repository.removesuffix('/')}@{moment}/"
            restic(past, tmp_path, "restore", "latest", "--target", f"rendu-{number}")
            assert same(kept, tmp_path / f"rendu-{number}" / "mairie")
        told = own_server.python(passes.format(first=90, last=91))
        assert sum(map(int, told.split())) > 5
        restic(repository, tmp_path, "check", "--read-data")
        past = f"{repository.removesuffix('/')}@{states[0][0]}/"
        assert "410" in restic(past, tmp_path, "snapshots", fails=True)
    finally:
        own_server.kill()
