"""What the records promise whatever the clock and the caller do."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from souverain.core import access, clock
from souverain.core.devices import Revoked
from souverain.core.models import (
    Device,
    Event,
    JournalEntry,
    Notification,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.objects import FolderStore
from souverain.vault import services
from souverain.vault.models import DepositSet, Session, StoredObject

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    store = FolderStore(tmp_path)
    monkeypatch.setattr(services, "store", lambda: store)
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    return services.add_device(access.SYSTEM, dijon, "poste", ["backup", "prune"])[0]


def put(device: Device, kind: str, content: bytes) -> StoredObject:
    incoming = services.store().incoming()
    incoming.write(content)
    name = hashlib.sha256(content).hexdigest()
    stored = services.record_object(services.set_of(device), kind, name, incoming, device)
    incoming.abort()
    return stored


def test_a_clock_set_back_never_reorders(device: Device) -> None:
    with clock.frozen(NOON):
        first = put(device, "data", b"un")
    with clock.frozen(NOON - timedelta(hours=2)):
        second = put(device, "data", b"deux")
    assert first.received_at < second.received_at
    assert JournalEntry.objects.filter(verb="vault.clock_went_back").count() == 1


def test_a_view_holds_what_lived_at_that_instant_inclusive(device: Device) -> None:
    deposit_set = services.set_of(device)
    with clock.frozen(NOON):
        stored = put(device, "data", b"un")
    with clock.frozen(NOON + timedelta(hours=1)):
        assert services.bury_object(deposit_set, "data", stored.name, device)
        assert not services.bury_object(deposit_set, "data", stored.name, device)
    tick = timedelta(microseconds=1)
    assert not services.alive(deposit_set, NOON - tick).exists()
    assert services.alive(deposit_set, NOON).exists()
    assert services.alive(deposit_set, NOON + timedelta(hours=1) - tick).exists()
    assert not services.alive(deposit_set, NOON + timedelta(hours=1)).exists()
    assert services.store().exists(services.object_key(deposit_set, "data", stored.name))
    assert put(device, "data", b"un").pk != stored.pk
    assert DepositSet.objects.get().stored_bytes == 2


def test_a_moment_once_shown_never_changes_even_when_the_clock_goes_back(device: Device) -> None:
    with clock.frozen(NOON - timedelta(hours=2)):
        put(device, "data", b"un")
    services.settle(services.set_of(device), NOON)
    shown = names_at(services.set_of(device), NOON)
    with clock.frozen(NOON - timedelta(hours=1)):
        put(device, "data", b"deux")
        services.bury_object(
            services.set_of(device), "data", hashlib.sha256(b"un").hexdigest(), device
        )
    assert names_at(services.set_of(device), NOON) == shown


def test_nothing_of_a_revoked_device_is_recorded_or_left(device: Device) -> None:
    kept = put(device, "data", b"un")
    services.revoke_device(access.SYSTEM, device)
    deposit_set = services.set_of(device)
    with pytest.raises(Revoked):
        put(device, "data", b"deux")
    with pytest.raises(Revoked):
        services.bury_object(deposit_set, "data", kept.name, device)
    incoming = services.store().incoming()
    incoming.write(b"verrou")
    with pytest.raises(Revoked):
        services.keep_lock(deposit_set, incoming.sha256, incoming, device)
    incoming.abort()
    assert list(services.store().keys("vault")) == [
        services.object_key(deposit_set, "data", kept.name)
    ]
    assert names_at(deposit_set, clock.now()) == {kept.name}


def test_no_row_takes_the_place_of_another(device: Device) -> None:
    row = put(device, "data", b"un")
    columns = "deposit_set_id, type, name, size, received_at, device_id"
    same_name = f"INSERT OR REPLACE INTO vault_storedobject (id, {columns}) SELECT 9999, {columns} FROM vault_storedobject"
    same_row = f"INSERT OR REPLACE INTO vault_storedobject (id, {columns}) SELECT id, deposit_set_id, type, 'x', size, received_at, device_id FROM vault_storedobject"
    on_postgresql = connection.vendor == "postgresql"
    ways = ["TRUNCATE vault_storedobject CASCADE"] if on_postgresql else [same_name, same_row]
    for way in ways:
        with (
            pytest.raises(DatabaseError),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(way)
    assert StoredObject.objects.get().name == row.name


def test_the_database_refuses_deletes_and_rewrites(device: Device) -> None:
    row = StoredObject.objects.filter(pk=put(device, "data", b"un").pk)
    for change in (row.delete, lambda: row.update(received_at=NOON), lambda: row.update(size=9)):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    row.update(died_at=clock.now())
    with pytest.raises(DatabaseError), transaction.atomic():
        row.update(died_at=None)


def test_a_snapshot_is_journalled_and_told_with_its_counts(device: Device) -> None:
    put(device, "data", b"abcd")
    put(device, "snapshots", b"efg")
    told = Event.objects.get(name="vault.deposit_received")
    assert (told.payload["objects"], told.payload["bytes"]) == (2, 7)
    assert JournalEntry.objects.filter(verb="vault.deposit_received").count() == 1


def test_a_damaged_file_is_mended_by_the_next_upload(device: Device) -> None:
    stored = put(device, "data", b"un")
    path = services.store().path(services.object_key(stored.deposit_set, "data", stored.name))
    path.write_bytes(b"xx")
    put(device, "data", b"un")
    assert path.read_bytes() == b"un"
    assert JournalEntry.objects.filter(verb="vault.object_mended").exists()


def test_objects_of_one_run_share_a_session_that_its_snapshot_ends(device: Device) -> None:
    with clock.frozen(NOON):
        rows = [
            put(device, "data", b"a"),
            put(device, "index", b"b"),
            put(device, "snapshots", b"c"),
        ]
    with clock.frozen(NOON + timedelta(minutes=1)):
        after = put(device, "data", b"d")
    with clock.frozen(NOON + timedelta(hours=3)):
        much_later = put(device, "data", b"e")
    sessions = [row.session_id for row in rows]
    assert len({*sessions}) == 1
    assert len({sessions[0], after.session_id, much_later.session_id}) == 3
    ended = Session.objects.get(pk=sessions[0])
    assert ended.ended_at == rows[-1].received_at
    assert (ended.objects_received, ended.bytes_received) == (3, 3)


def test_over_the_quota_nothing_is_left_on_disk(device: Device) -> None:
    services.set_quota(access.SYSTEM, device.organisation, 10)
    put(device, "data", b"x" * 8)
    with pytest.raises(services.QuotaExceeded):
        put(device, "data", b"y" * 8)
    name = hashlib.sha256(b"y" * 8).hexdigest()
    deposit_set = services.set_of(device)
    assert services.store().size(services.object_key(deposit_set, "data", name)) is None
    assert services.bury_object(deposit_set, "data", hashlib.sha256(b"x" * 8).hexdigest(), device)
    assert put(device, "data", b"x" * 8).size == 8, "what is on disk takes no more room"
    assert DepositSet.objects.get().stored_bytes == 8


def test_a_file_taken_back_meanwhile_is_placed_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client that placed the file went over the quota and took it back before our row."""
    key = services.object_key(services.set_of(device), "data", hashlib.sha256(b"un").hexdigest())
    first = services.store().incoming()
    first.write(b"un")
    first.commit(key)
    lives = services._lives

    def taken_back(*arguments: Any) -> Any:
        services.store().remove(key)
        return lives(*arguments)

    monkeypatch.setattr(services, "_lives", taken_back)
    put(device, "data", b"un")
    assert services.store().size(key) == 2


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(-90, 90)), max_size=25))
def test_any_history_keeps_its_figures_and_its_past(
    device: Device, steps: list[tuple[bool, int, int]]
) -> None:
    """Births and deaths under a clock that jumps both ways: running figures equal the sums over
    the rows, instants only grow, and what a moment showed it shows for ever."""
    DepositSet.objects.filter(code="general").update(code=f"ancien-{time.monotonic_ns()}")
    services.create_set(access.SYSTEM, device.organisation)
    deposit_set, now = services.set_of(device), NOON
    frozen_views: list[tuple[datetime, set[str]]] = []
    contents = [f"{deposit_set.pk} {number}".encode() for number in range(5)]
    for born, number, minutes in steps:
        now += timedelta(minutes=minutes)
        content = contents[number]
        with clock.frozen(now):
            if born:
                put(device, "data", content)
            else:
                name = hashlib.sha256(content).hexdigest()
                services.bury_object(deposit_set, "data", name, device)
        last = services.set_of(device).last_instant
        if last is not None:
            frozen_views.append((last, names_at(deposit_set, last)))
    instants = [instant for instant, _ in frozen_views]
    assert instants == sorted(instants)
    seen = dict(frozen_views)
    for instant, names in seen.items():
        assert names_at(deposit_set, instant) == names
    found = services.set_of(device)
    rows = list(StoredObject.objects.filter(deposit_set=found))
    assert found.live_bytes == sum(row.size for row in rows if row.died_at is None)
    assert found.stored_bytes == sum({row.name: row.size for row in rows}.values())


def names_at(deposit_set: DepositSet, at: datetime) -> set[str]:
    return set(services.alive(deposit_set, at).values_list("name", flat=True))


def test_a_set_takes_the_delay_and_the_retention_of_its_kind(device: Device) -> None:
    dijon = device.organisation
    made = services.create_set(access.SYSTEM, dijon, "etat-civil", kind="civil-status")
    assert (made.fresh_within_hours, made.retention_class) == (24, "forever")
    with pytest.raises(ValidationError, match="24"):
        services.create_set(
            access.SYSTEM, dijon, "registres", kind="civil-status", fresh_within_hours=25
        )
    for wrong in ({"code": "É"}, {"code": "x", "kind": "rien"}, {"code": "etat-civil"}):
        with pytest.raises(ValidationError):
            services.create_set(access.SYSTEM, dijon, **wrong)
    with pytest.raises(ValidationError):
        services.create_set(access.SYSTEM, dijon, "x", fresh_within_hours=0)


def test_lateness_is_told_once_to_the_members_until_the_next_deposit(device: Device) -> None:
    dijon = device.organisation
    member = User.objects.create_user("maire@dijon.invalid")
    RoleAssignment.objects.create(user=member, role="commune-admin", organisation=dijon)
    stranger = User.objects.create_user("maire@beaune.invalid")
    beaune = Organisation.objects.create(kind="commune", code="21054", name="Beaune")
    RoleAssignment.objects.create(user=stranger, role="commune-admin", organisation=beaune)

    def told() -> int:
        services.tell_late_sets()
        services.tell_late_sets()
        assert not Notification.objects.filter(user=stranger).exists()
        entries = JournalEntry.objects.filter(verb="vault.deposit_late").count()
        assert entries == Event.objects.filter(name="vault.deposit_late").count()
        assert entries == Notification.objects.filter(user=member).count()
        return entries

    with clock.frozen(NOON):
        put(device, "snapshots", b"un")
    with clock.frozen(NOON + timedelta(hours=26)):
        assert services.set_of(device).state(clock.now()) == "fresh" and told() == 0
    with clock.frozen(NOON + timedelta(hours=26, seconds=1)):
        assert services.set_of(device).state(clock.now()) == "late" and told() == 1
    with clock.frozen(NOON + timedelta(days=9)):
        assert told() == 1
        put(device, "snapshots", b"deux")
        assert services.set_of(device).state(clock.now()) == "fresh" and told() == 1
    with clock.frozen(NOON + timedelta(days=12)):
        assert told() == 2


def test_a_set_that_nobody_feeds_is_not_late(device: Device) -> None:
    services.create_set(access.SYSTEM, device.organisation, "vide")
    with clock.frozen(clock.now() + timedelta(days=3)):
        services.tell_late_sets()
        assert DepositSet.objects.get(code="vide").late_told_at is None
        assert DepositSet.objects.get(code="general").late_told_at is not None


def test_deleting_the_newest_snapshot_takes_the_freshness_back(device: Device) -> None:
    with clock.frozen(NOON):
        first = put(device, "snapshots", b"un")
    with clock.frozen(NOON + timedelta(hours=1)):
        second = put(device, "snapshots", b"deux")
    with clock.frozen(NOON + timedelta(hours=2)):
        services.bury_object(first.deposit_set, "snapshots", second.name, device)
    assert services.set_of(device).last_deposit_at == first.received_at
