"""The integrity pass: whatever happens to the stored files, what is mended is right, and what
cannot be is said."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from souverain.core import access, clock
from souverain.core.access import SYSTEM
from souverain.core.models import Device, Event, JournalEntry, Notification
from souverain.core.objects import FolderStore
from souverain.vault import parity, scrub, services
from souverain.vault.models import Damage, DepositSet, ScrubPass, StoredObject, Stripe, StripeMember
from souverain.vault.tests.test_records import device, put

__all__ = ["device"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KINDS = ("keys", "index", "snapshots", "data")


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parity of one test, on a disk of its own."""
    folder = tmp_path.with_name(f"{tmp_path.name}-parity")
    store = FolderStore(folder)
    monkeypatch.setattr(parity, "store", lambda: store)
    return folder


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fill(device: Device, count: int = 30, seed: int = 21, largest: int = 200_000) -> None:
    """A repository's worth of objects of all kinds."""
    dice = random.Random(seed)
    incoming = services.store().incoming()
    incoming.write(dice.randbytes(155))
    if not StoredObject.objects.filter(type="config").exists():
        services.record_object(services.set_of(device), "config", "config", incoming, device)
    incoming.abort()
    for number in range(count):
        put(device, KINDS[number % 4], dice.randbytes(int(10 ** dice.uniform(1.5, 5.3))))


def check(device: Device, *, repair: bool = True) -> ScrubPass:
    (made,) = scrub.scrub(SYSTEM, [services.set_of(device)], repair=repair, rate=0)
    assert made.ended_at is not None
    return made


def contents(device: Device) -> dict[str, bytes]:
    """Every file of the set, by its key."""
    store = services.store()
    return {key: b"".join(store.read(key)) for key in store.keys("vault")}


def path(device: Device, row: StoredObject) -> Path:
    store = services.store()
    assert isinstance(store, FolderStore)
    return store.path(services.object_key(services.set_of(device), row.type, row.name))


def figures(made: ScrubPass) -> tuple[int, int, int]:
    return made.found, made.mended, made.lost


def test_a_whole_set_is_read_and_gets_parity_once(device: Device, apart: Path) -> None:
    fill(device)
    first = check(device)
    assert figures(first) == (0, 0, 0)
    assert first.objects_read == StoredObject.objects.count()
    assert first.bytes_read == DepositSet.objects.get().stored_bytes
    assert StripeMember.objects.count() == StoredObject.objects.count()
    made = set(Stripe.objects.values_list("name", flat=True))
    check(device)
    assert set(Stripe.objects.values_list("name", flat=True)) == made
    assert not list((apart / ".tmp").iterdir())


def test_every_kind_of_object_comes_back(device: Device) -> None:
    fill(device)
    check(device)
    whole = contents(device)
    dice = random.Random(1)
    for kind in ("config", *KINDS):
        row = dice.choice(list(StoredObject.objects.filter(type=kind)))
        for hurt in (
            lambda p: p.unlink(),
            lambda p: p.write_bytes(b""),
            lambda p: p.write_bytes(p.read_bytes()[:-1]),
            lambda p: p.write_bytes(p.read_bytes() + b"x"),
            lambda p: p.write_bytes(bytes(len(p.read_bytes()))),
            lambda p: p.write_bytes(p.read_bytes()[:-1] + bytes([p.read_bytes()[-1] ^ 1])),
        ):
            hurt(path(device, row))
            seen = check(device, repair=False)
            assert figures(seen) == (1, 0, 0), "it is found, and nothing is touched"
            assert contents(device) != whole
            assert figures(check(device)) == (1, 1, 0)
            assert contents(device) == whole
    assert not Damage.objects.filter(mended_at=None).exists()
