"""The integrity pass: whatever happens to the stored files, what is mended is right, and what
cannot be is said."""

from __future__ import annotations

import hashlib
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from souverain.core import clock
from souverain.core.access import SYSTEM
from souverain.core.models import Device, Event, JournalEntry, Notification
from souverain.core.objects import FolderStore
from souverain.vault import integrity, parity, scrub, services
from souverain.vault.models import Damage, DepositSet, ScrubPass, StoredObject, Stripe, StripeMember
from souverain.vault.tests.test_records import device, put

__all__ = ["device"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
KINDS = ("keys", "index", "snapshots", "data")
OPEN_PARITY = parity.store.__wrapped__


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
    if not StoredObject.objects.filter(type="config", reaped_at=None).exists():
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


def test_a_wrong_address_of_the_parity_is_told_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(parity, "store", OPEN_PARITY)
    for address in ("http://127.0.0.1/parite", "s3://parite"):
        settings.PARITY_URL = address
        told = scrub.health().message
        assert "SOUVERAIN_PARITY : " in told and "SOUVERAIN_OBJECTS_URL" not in told
        assert integrity.of_all()["parity_is_apart"], "the operator's page still opens"


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


def test_many_flips_in_objects_parity_and_manifests_come_back(
    device: Device, apart: Path, proving: bool
) -> None:
    fill(device, 200 if proving else 60)
    check(device)
    dice = random.Random(4)
    whole = contents(device)
    of_parity = {file: file.read_bytes() for file in apart.rglob("*") if file.is_file()}
    everything = [path(device, row) for row in StoredObject.objects.all()] + list(of_parity)
    sizes = [file.stat().st_size for file in everything]
    for _ in range(1000 if proving else 150):
        (file,) = dice.choices(everything, weights=sizes)
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
    for file in everything[:5]:
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
    made = check(device)
    assert made.found == made.mended > 0 and made.lost == 0
    assert contents(device) == whole
    assert {file: file.read_bytes() for file in apart.rglob("*") if file.is_file()} == of_parity


def test_parity_that_is_lost_whole_is_made_again(device: Device, apart: Path) -> None:
    fill(device)
    check(device)
    for file in apart.rglob("parity-*"):
        file.unlink()
    for copy in apart.rglob("manifest-0"):
        copy.write_bytes(b"ruine")
    made = check(device)
    assert figures(made) == (1, 1, 0)
    for copy in apart.rglob("manifest-*"):
        copy.write_bytes(b"ruine" + os.urandom(20))
    made = check(device)
    assert figures(made) == (1, 1, 0), "no copy says what the stripe was: it gets another"
    whole = contents(device)
    path(device, StoredObject.objects.filter(type="data").first()).unlink()
    assert figures(check(device)) == (1, 1, 0) and contents(device) == whole


def lose(device: Device, bins: int) -> list[StoredObject]:
    """Remove the largest object of each of that many bins of a set's one stripe."""
    manifest, _ = parity.manifest_of(stripe(device))
    assert manifest is not None
    gone = []
    fullest = sorted(manifest.bins, key=lambda some: -some[0].size)
    for some in fullest[:bins]:
        row = StoredObject.objects.get(type=some[0].kind, name=some[0].name)
        path(device, row).unlink()
        gone.append(row)
    return gone


def stripe(device: Device) -> Stripe:
    found = Stripe.objects.get()
    found.deposit_set = services.set_of(device)
    return found


def test_what_cannot_be_mended_is_lost_told_once_and_found_again_by_a_new_upload(
    device: Device, operator_of_the_departement: None
) -> None:
    # As large as their bins, so that no byte has three others to be made of.
    for number in range(8):
        put(device, "data", random.Random(number).randbytes(300_000))
    check(device)
    gone = lose(device, 3)
    made = check(device)
    assert figures(made) == (3, 0, 3)
    (event,) = Event.objects.filter(name="vault.objects_lost")
    assert event.payload["objects"] == 3
    assert f"data/{gone[0].name}" in event.payload["names"]
    assert JournalEntry.objects.filter(verb="vault.objects_lost").count() == 1
    told = Notification.objects.filter(title__startswith="Objets abîmés sans réparation")
    assert told.count() == 2, "the commune's administrator and the operator"
    assert not scrub.health().ok and "21231" in scrub.health().message
    assert figures(check(device)) == (3, 0, 3)
    assert told.count() == 2 and Event.objects.filter(name="vault.objects_lost").count() == 1

    # The client sends one of them again: the two others can be rebuilt from it.
    content = next(
        random.Random(number).randbytes(300_000)
        for number in range(8)
        if named(random.Random(number).randbytes(300_000)) == gone[0].name
    )
    target = path(device, gone[0])
    target.write_bytes(content)
    assert figures(check(device)) == (2, 2, 0)
    assert scrub.health().ok
    assert not Damage.objects.filter(mended_at=None).exists()


@pytest.fixture
def operator_of_the_departement() -> None:
    from souverain.core.models import Organisation, RoleAssignment, User

    cote_dor = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    for email, role, organisation in (
        ("op@cotedor.fr", "operator", cote_dor),
        ("maire@dijon.fr", "commune-admin", Organisation.objects.get(code="21231")),
    ):
        user = User.objects.create(email=email)
        RoleAssignment.objects.create(user=user, role=role, organisation=organisation)


def test_a_new_object_that_is_damaged_before_it_has_parity_is_lost_and_holds_up_nothing(
    device: Device,
) -> None:
    fill(device)
    row = StoredObject.objects.filter(type="data").first()
    path(device, row).write_bytes(b"autre chose")
    assert figures(check(device)) == (1, 0, 1)
    assert StripeMember.objects.count() == StoredObject.objects.count() - 1
    made = set(Stripe.objects.values_list("name", flat=True))
    assert figures(check(device)) == (1, 0, 1)
    assert set(Stripe.objects.values_list("name", flat=True)) == made


def test_new_objects_join_what_is_not_full(device: Device) -> None:
    fill(device, 10)
    check(device)
    for night in range(3):
        fill(device, 10, seed=100 + night)
        check(device)
        assert StripeMember.objects.count() == StoredObject.objects.count()
        assert Stripe.objects.count() == 1, "one stripe for a small set, never one a night"
    assert len(list(parity.store().keys("parity"))) == 5


def test_a_good_file_is_never_written_over(device: Device) -> None:
    fill(device)
    check(device)
    before = {key: path_of(key).stat().st_ino for key in contents(device)}
    row = StoredObject.objects.filter(type="index").first()
    path(device, row).write_bytes(b"")
    assert figures(check(device)) == (1, 1, 0)
    after = {key: path_of(key).stat().st_ino for key in contents(device)}
    mended = services.object_key(services.set_of(device), row.type, row.name)
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {mended}


def path_of(key: str) -> Path:
    store = services.store()
    assert isinstance(store, FolderStore)
    return store.path(key)


def test_a_damaged_config_is_known_by_its_leaf(device: Device) -> None:
    """Before there is any parity, and although its name proves nothing."""
    from souverain.vault import log

    fill(device, 4)
    log.keep_up()
    row = StoredObject.objects.get(type="config")
    path(device, row).write_bytes(bytes(row.size))
    assert figures(check(device)) == (1, 0, 1)
    assert Damage.objects.get().type == "config"


# Interrupted -------------------------------------------------------------------------------------


def test_the_worker_goes_on_where_it_stopped_and_begins_anew_each_legal_day(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(device, 40)
    monkeypatch.setattr(scrub, "_BATCH", 5)
    monkeypatch.setattr(scrub, "TURN_S", 0.0001)
    with clock.frozen(NOON):
        turns = 0
        while not ScrubPass.objects.exclude(ended_at=None).exists():
            scrub.turn()
            turns += 1
        assert turns > 5
        (made,) = ScrubPass.objects.all()
        assert made.objects_read == StoredObject.objects.count()
        scrub.turn()
        assert ScrubPass.objects.count() == 1
    with clock.frozen(NOON + timedelta(hours=11)):  # 00:00 in Paris
        scrub.turn()
        assert ScrubPass.objects.count() == 2


def test_a_turn_with_nothing_to_do_costs_nothing_that_grows_with_time(device: Device) -> None:
    """The worker asks every five seconds, for years."""
    fill(device, 4)
    with clock.frozen(NOON):
        scrub.turn()
        with CaptureQueriesContext(connection) as asked:
            scrub.turn()
    assert len(asked) == 2, "neither the stores are listed, nor the passes of former days read"
    assert not any("GROUP BY" in query["sql"] for query in asked)


def test_a_clock_moved_by_a_year_neither_stops_nor_floods(device: Device) -> None:
    fill(device, 4)
    for at in (NOON, NOON + timedelta(days=365), NOON + timedelta(days=1), NOON):
        with clock.frozen(at):
            for _ in range(4):
                scrub.turn()
    assert ScrubPass.objects.count() == 4
    assert not ScrubPass.objects.filter(ended_at=None).exists()


def test_two_passes_never_run_at_once(device: Device) -> None:
    fill(device, 4)
    with scrub._alone() as first:
        assert first
        scrub.turn()
        assert not ScrubPass.objects.exists()
        with pytest.raises(scrub.ScrubError, match="en cours"):
            check(device)


def test_a_disk_that_is_not_mounted_loses_nothing(device: Device, apart: Path) -> None:
    fill(device, 8)
    check(device)
    ScrubPass.objects.all().delete()
    away = apart.with_name("ailleurs")
    apart.rename(away)
    with pytest.raises(scrub.ScrubError, match="monté"):
        scrub.turn()
    assert not scrub.health().ok
    away.rename(apart) if not apart.exists() else None
    store = services.store()
    assert isinstance(store, FolderStore)
    hidden = store.root.with_name("cachées")
    store.root.rename(hidden)
    for run in (scrub.turn, lambda: check(device)):
        with pytest.raises(scrub.ScrubError, match="copies ne sont plus là"):
            run()
    hidden.rename(store.root)
    assert not Damage.objects.exists()


def test_the_rate_is_bounded() -> None:
    slept: list[float] = []
    pace, now = scrub.Pace(10), [100.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])

        @staticmethod
        def sleep(seconds: float) -> None:
            slept.append(seconds)
            now[0] += seconds

    real, parity.time = parity.time, Time  # type: ignore[assignment]
    try:
        for _ in range(100):
            pace(1_000_000)
    finally:
        parity.time = real
    assert now[0] - 100 == pytest.approx(10, rel=0.02)


# What leaves --------------------------------------------------------------------------------------


def kept_names() -> set[tuple[str, str]]:
    return set(StoredObject.objects.filter(reaped_at=None).values_list("type", "name"))


def protected(device: Device) -> set[tuple[str, str]]:
    """What the files of the parity hold, by their own manifests."""
    found: set[tuple[str, str]] = set()
    for folder in {key.rpartition("/")[0] for key in parity.store().keys("parity")}:
        name = folder.rpartition("/")[2]
        row = Stripe(deposit_set=services.set_of(device), name=name)
        manifest, bad = parity.manifest_of(row)
        assert manifest is not None and not bad
        found |= {(each.kind, each.name) for each in manifest.members}
    return found


def test_the_parity_of_what_the_reaper_takes_leaves_with_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from souverain.vault import retention
    from souverain.vault.tests.test_retention import days_pass, first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 40)
    check(device)
    leaving = list(StoredObject.objects.filter(type="data")[:4])
    with clock.frozen(NOON + timedelta(days=2)):
        for row in leaving:
            services.bury_object(services.set_of(device), row.type, row.name, device)
    gone = {(row.type, row.name) for row in leaving}
    assert protected(device) == kept_names()
    real, looked = retention._mark, []

    def mark(*arguments: object) -> None:
        looked.append(1)
        # Before a byte leaves, what stays has other parity.
        rows = set(StripeMember.objects.values_list("type", "name"))
        assert rows == kept_names() - gone == protected(device)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "_mark", mark)
    days_pass(NOON + timedelta(days=95))
    assert looked and not gone & kept_names()
    assert protected(device) == kept_names()
    for row in StoredObject.objects.filter(type="index", reaped_at=None)[:2]:
        path(device, row).unlink()
    assert figures(check(device)) == (2, 2, 0)


def test_a_parity_that_cannot_make_way_never_holds_the_reaper_and_goes_at_the_next_pass(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from souverain.vault.tests.test_retention import days_pass, first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 20)
    check(device)
    row = StoredObject.objects.filter(type="data").first()
    with clock.frozen(NOON + timedelta(days=2)):
        services.bury_object(services.set_of(device), row.type, row.name, device)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(parity, "_write", full)
        days_pass(NOON + timedelta(days=95))
    assert (row.type, row.name) not in kept_names()
    assert (row.type, row.name) in protected(device)
    assert figures(check(device)) == (0, 0, 0), "what was reaped is not missing"
    assert protected(device) == kept_names()
    assert not path(device, row).exists()


def test_a_reap_that_takes_nothing_takes_no_parity(device: Device) -> None:
    """Dead for long by the clock, but of a time that nobody saw pass: it stays, and can be mended."""
    from souverain.vault import retention
    from souverain.vault.tests.test_retention import first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 20)
        retention.bury_all(services.set_of(device))
        check(device)
    with clock.frozen(NOON + timedelta(days=200)):
        assert retention.reap(SYSTEM, confirm_clock=True).objects == 0
    path(device, StoredObject.objects.filter(type="data")[0]).unlink()
    assert figures(check(device)) == (1, 1, 0)


def test_a_repository_made_again_is_not_written_over_with_the_former_one(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk being away, the parity of a destroyed set stayed; its config has the same size."""
    from souverain.vault import retention
    from souverain.vault.tests.test_retention import days_pass, first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 8)
        check(device)
        retention.bury_all(services.set_of(device))
    with monkeypatch.context() as away:
        away.setattr(parity, "make_way", lambda *_: None)
        days_pass(NOON + timedelta(days=95))
    assert not kept_names() and Stripe.objects.exists()
    with clock.frozen(NOON + timedelta(days=96)):
        fill(device, 4, seed=22)
        config = path(device, StoredObject.objects.get(type="config", reaped_at=None))
        content = config.read_bytes()
        assert figures(check(device)) == (0, 0, 0)
    assert config.read_bytes() == content


def test_a_destroyed_set_leaves_no_parity(device: Device, apart: Path) -> None:
    from souverain.vault import retention
    from souverain.vault.tests.test_retention import days_pass, first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 20)
        check(device)
        retention.bury_all(services.set_of(device))
    days_pass(NOON + timedelta(days=95))
    assert not kept_names()
    assert not Stripe.objects.exists() and not StripeMember.objects.exists()
    assert not [file for file in apart.rglob("*") if file.is_file()]


def test_a_commune_that_is_erased_leaves_no_parity(device: Device, apart: Path) -> None:
    from django.db import transaction

    from souverain.core import devices
    from souverain.vault import departure
    from souverain.vault.tests.test_retention import days_pass, first_pass

    first_pass()
    with clock.frozen(NOON + timedelta(days=1)):
        fill(device, 20)
        check(device)
        path(device, StoredObject.objects.filter(type="data").first()).unlink()
        check(device)
        departure.end("21231")
    days_pass(NOON + timedelta(days=95))
    # Even if a crash had left some of it.
    left = parity.store().incoming()
    left.write(b"reste")
    left.commit(f"parity/21231/general/{'0' * 64}/parity-0")
    devices.revoke(device)
    with clock.frozen(NOON + timedelta(days=95)), transaction.atomic():
        departure.forget("21231")
    departure.sweep("21231")
    assert not [file for file in apart.rglob("*") if file.is_file()]
    assert not ScrubPass.objects.exists() and not Damage.objects.exists()


def test_what_is_reaped_meanwhile_is_never_written_back(device: Device) -> None:
    """The record says that the bytes left: repair gives nothing back, and no parity keeps it."""
    fill(device, 20)
    check(device)
    row = StoredObject.objects.filter(type="data").first()
    found = parity.files(services.set_of(device))[row.type, row.name]
    with clock.frozen(NOON + timedelta(days=1)):
        services.bury_object(services.set_of(device), row.type, row.name, device)
    from souverain.vault import retention
    from souverain.vault.tests.test_retention import days_pass

    content = path(device, row).read_bytes()
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(parity, "make_way", lambda *_: None)
        with clock.frozen(NOON):
            retention.reap(SYSTEM)
        days_pass(NOON + timedelta(days=95))
    assert (row.type, row.name) not in kept_names()
    parity.repair(stripe(device), {found}, scrub.Pace(0))
    assert not path(device, row).exists()
    path(device, row).write_bytes(content)
    with pytest.raises(parity.Changed):
        parity._write(services.set_of(device), [[found], *[[]] * 7], scrub.Pace(0))
