"""What the records promise whatever the clock and the caller do."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction

from souverain.core import access, clock
from souverain.core.models import Device, Event, JournalEntry, Organisation
from souverain.core.objects import FolderStore
from souverain.vault import services
from souverain.vault.models import DepositSet, StoredObject

pytestmark = pytest.mark.django_db
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
