"""The log follows the records, whoever runs it, and never signs a fork."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction

from souverain.core import access, clock
from souverain.core.models import Device, Organisation
from souverain.core.objects import FolderStore
from souverain.vault import log, log_export, retention, services, stamps
from souverain.vault.engine.tlog import note, tiles, tree
from souverain.vault.engine.tlog.leaves import Leaf, replay
from souverain.vault.models import DepositSet, Log, LogLeaf, StoredObject
from souverain.vault.tests.conftest import PRELUDE, Client, Server
from souverain.vault.tests.tsa import authority

CODE = "21231"
PROVING = os.environ.get("SOUVERAIN_PROVE") == "1"
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    made = FolderStore(tmp_path / "objects")
    monkeypatch.setattr(services, "store", lambda: made)
    return made


@pytest.fixture
def device(store: FolderStore) -> Device:
    organisation = Organisation.objects.create(kind="commune", code=CODE, name="Dijon")
    return services.add_device(access.SYSTEM, organisation, "poste", ["backup", "prune"])[0]


def deposit(device: Device, content: bytes, kind: str = "data") -> str:
    name = "config" if kind == "config" else hashlib.sha256(content).hexdigest()
    incoming = services.store().incoming()
    incoming.write(content)
    services.record_object(services.set_of(device), kind, name, incoming, device)
    incoming.abort()
    return name


def deposits(device: Device, count: int) -> None:
    """Many births at once, as rows alone: the log reads no bytes but a config's."""
    found, now = services.set_of(device), clock.now()
    first = StoredObject.objects.count()
    StoredObject.objects.bulk_create(
        StoredObject(
            deposit_set=found,
            type="data",
            name=hashlib.sha256(b"%d" % (first + number)).hexdigest(),
            size=number,
            received_at=now + timedelta(microseconds=number),
            device=device,
        )
        for number in range(count)
    )
    found.last_instant = now + timedelta(microseconds=count)
    found.save()


def served() -> tuple[note.Checkpoint, list[bytes]]:
    """The checkpoint and the leaves that anybody reads from the files, all of it verified."""
    signed = note.Note.parse(log.read(CODE, log.CHECKPOINT) or b"")
    assert signed.is_signed_by(log.public_key(CODE))
    checkpoint = note.Checkpoint.parse(signed.text)
    entries: list[bytes] = []
    for tile in tiles.entry_tiles(checkpoint.size):
        entries += tiles.unpack_entries(log.read(CODE, tile.path) or b"", tile.width)
    frontier = tree.Frontier()
    frontier.add(map(tree.leaf_hash, entries))
    node = log.nodes(CODE, checkpoint.size)
    assert frontier.root() == checkpoint.root == tree.root(node, checkpoint.size)
    return checkpoint, entries


def test_births_and_deaths_become_leaves_in_order(device: Device) -> None:
    config = b"a config that no name proves"
    deposit(device, config, "config")
    kept, lost = deposit(device, b"kept"), deposit(device, b"lost")
    log.keep_up()
    assert services.bury_object(services.set_of(device), "data", lost, device)
    log.keep_up()
    checkpoint, entries = served()
    leaves = [Leaf.parse(entry) for entry in entries]
    assert checkpoint.size == 4
    assert checkpoint.origin == "cotedor.invalid/vault/21231"
    assert [leaf.event for leaf in leaves] == ["birth", "birth", "birth", "death"]
    assert leaves[0].digest == hashlib.sha256(config).hexdigest()
    state = replay(leaves)
    assert {name.name for name in state.living} == {"config", kept} and not state.odd
    assert {name.name for name in state.deleted} == {lost}


def test_a_reaping_becomes_leaves_whatever_comes_meanwhile(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two lives leaves once; a deposit between the pass and the mark hides nothing."""
    start = clock.now()
    with clock.frozen(start):
        retention.reap(access.SYSTEM)
        kept, twice, once = (
            deposit(device, b"kept"),
            deposit(device, b"twice"),
            deposit(device, b"o"),
        )
        services.bury_object(services.set_of(device), "data", twice, device)
        deposit(device, b"twice")
        services.bury_object(services.set_of(device), "data", twice, device)
        services.bury_object(services.set_of(device), "data", once, device)
    log.keep_up()
    before, mark = served()[0].size, retention._mark

    def late(*arguments: Any) -> None:
        with clock.frozen(clock.now() + timedelta(seconds=9)):
            deposit(device, b"meanwhile")
            log.keep_up()
        mark(*arguments)

    monkeypatch.setattr(retention, "_mark", late)
    for days in range(3, 94, 3):
        with clock.frozen(start + timedelta(days=days)):
            retention.reap(access.SYSTEM)
            log.keep_up()
    _, entries = served()
    leaves = [Leaf.parse(entry) for entry in entries][before:]
    assert [leaf.event for leaf in leaves] == ["birth", "reaped", "reaped"]
    assert {leaf.object.name for leaf in leaves[1:]} == {twice, once}
    state = replay(map(Leaf.parse, entries))
    assert not state.odd and not state.deleted
    assert kept in {name.name for name in state.living}


def test_a_set_that_dies_at_one_instant_is_logged_whole(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BATCH", 4)
    deposits(device, 11)
    with transaction.atomic():
        assert retention.bury_all(services.set_of(device)) == 11
    log.keep_up()
    _, entries = served()
    state = replay(map(Leaf.parse, entries))
    assert len(entries) == 22 and len(state.deleted) == 11 and not state.odd


def test_nothing_new_signs_nothing(device: Device) -> None:
    deposit(device, b"one")
    log.keep_up()
    before = log.read(CODE, log.CHECKPOINT), Log.objects.get().signed_at
    log.keep_up()
    assert (log.read(CODE, log.CHECKPOINT), Log.objects.get().signed_at) == before


MANY = pytest.param((70_000,), marks=pytest.mark.skipif(not PROVING, reason="make prove"))


@pytest.mark.parametrize("steps", [(1, 254, 1, 1), (300, 212, 600), MANY])
def test_tiles_are_those_of_the_leaves_however_they_come(
    device: Device, store: FolderStore, steps: tuple[int, ...]
) -> None:
    for count in steps:
        deposits(device, count)
        log.keep_up()
        checkpoint, _ = served()
    assert checkpoint.size == sum(steps)
    whole = [
        store.path(f"log/{CODE}/{tile.path}").exists() for tile in tiles.hash_tiles(sum(steps))
    ]
    assert all(whole)
    partial = store.path(f"log/{CODE}/tile/0/000.p")
    assert not partial.exists() or not list(partial.iterdir()), "left beside the whole tile"


SEQUENCE = """
from souverain.core.models import Organisation
from souverain.vault import log
found = Organisation.objects.get(code='21054')
print(log.sequence(found))
log.publish(found)
"""
READ_BACK = """
from souverain.vault import log
from souverain.vault.engine.tlog import note
from souverain.vault.models import LogLeaf
rows = LogLeaf.objects.filter(organisation__code='21054').order_by('index')
signed = note.Checkpoint.parse(note.Note.parse(log.read('21054', 'checkpoint')).text)
assert list(rows.values_list('index', flat=True)) == list(range(signed.size))
assert rows.values('data').distinct().count() == signed.size
print(signed.size)
"""


def test_sequencers_side_by_side_add_each_leaf_once(server: Server) -> None:
    client = Client(server.device("21054", scope="preuves"))
    for number in range(40):
        assert client.put(b"object %d" % number) == 200
    command = [sys.executable, "-c", PRELUDE + SEQUENCE]
    run = [
        subprocess.Popen(command, env=server.environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    added = sorted(int(each.communicate(timeout=60)[0]) for each in run)
    assert added == [0, 0, 0, 40]
    assert server.python(READ_BACK) == "40"


def test_the_database_only_adds_leaves(device: Device) -> None:
    deposit(device, b"one")
    log.keep_up()
    leaf = LogLeaf.objects.get()
    for change in (
        lambda: LogLeaf.objects.all().delete(),
        lambda: LogLeaf.objects.update(data="{}"),
        lambda: LogLeaf.objects.create(
            organisation=leaf.organisation,
            index=leaf.index,
            deposit_set=leaf.deposit_set,
            at=leaf.at,
            data="{}",
        ),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()


def test_a_damaged_file_is_written_again_and_nothing_forks(
    device: Device, store: FolderStore
) -> None:
    deposits(device, 700)
    log.keep_up()
    old, _ = served()
    for name in ("tile/1/000.p/2", "tile/0/001"):
        store.path(f"log/{CODE}/{name}").write_bytes(b"\0" * 64)
    deposits(device, 100)
    log.keep_up()
    new, _ = served()
    proof = tree.consistency_proof(log.nodes(CODE, new.size), old.size, new.size)
    assert tree.continues(old.size, new.size, proof, old.root, new.root)


def lift_guards() -> None:
    """What root can do to the database."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for table in ("vault_logleaf", "vault_storedobject"):
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        else:
            cursor.execute("DROP TRIGGER log_leaf_no_delete")
            cursor.execute("DROP TRIGGER stored_object_no_delete")


def test_an_old_copy_of_the_database_signs_nothing(device: Device) -> None:
    deposit(device, b"one")
    log.keep_up()
    old = Log.objects.get()
    two = deposit(device, b"two")
    log.keep_up()
    published = log.read(CODE, log.CHECKPOINT)
    lift_guards()
    LogLeaf.objects.filter(index=1).delete()
    StoredObject.objects.filter(name=two).delete()
    old.save()  # as if the copy of before the second deposit had been put back
    deposit(device, b"three")
    log.keep_up()
    assert log.read(CODE, log.CHECKPOINT) == published
    with pytest.raises(log.LogForked):
        log.publish(device.organisation)
    with clock.frozen(clock.now() + timedelta(hours=1)):
        assert log.unsigned() == [CODE]


def test_a_crash_between_the_file_and_the_record_loses_nothing(device: Device) -> None:
    deposit(device, b"one")
    log.keep_up()
    before = Log.objects.get()
    deposit(device, b"two")
    log.keep_up()
    published = log.read(CODE, log.CHECKPOINT)
    for column in ("checkpoint", "signature", "signed_size", "signed_at"):
        Log.objects.update(**{column: getattr(before, column)})
    log.keep_up()
    assert log.read(CODE, log.CHECKPOINT) == published
    deposit(device, b"three")
    log.keep_up()
    assert served()[0].size == 3


@pytest.mark.parametrize("days", [365, -365])
def test_a_clock_moved_a_year_stops_no_log(device: Device, days: int) -> None:
    deposit(device, b"one")
    log.keep_up()
    with clock.frozen(clock.now() + timedelta(days=days)):
        deposit(device, b"two")
        log.keep_up()
    deposit(device, b"three")
    log.keep_up()
    checkpoint, entries = served()
    assert checkpoint.size == 3
    assert replay(map(Leaf.parse, entries)).odd == []


def test_no_set_takes_the_address_of_the_log(device: Device) -> None:
    with pytest.raises(ValidationError):
        services.create_set(access.SYSTEM, device.organisation, "log")
    assert not DepositSet.objects.filter(code="log").exists()


def test_an_object_has_its_proof(device: Device) -> None:
    deposits(device, 300)
    name = deposit(device, b"mine")
    log.keep_up()
    (proof,) = log.proofs(services.set_of(device), "data", name)
    checkpoint = note.Checkpoint.parse(proof.checkpoint.text)
    leaf = tree.leaf_hash(proof.extra)
    assert tree.includes(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    assert Leaf.parse(proof.extra).object.name == name
    assert len(str(proof).encode()) <= 2048


def test_each_day_an_authority_stamps_what_has_grown(
    device: Device, store: FolderStore, tmp_path: Path, settings: Any
) -> None:
    with authority(tmp_path / "tsa") as tsa:
        settings.TSA_URL = tsa.url
        deposit(device, b"one")
        log.keep_up()
        tsa.bad = b"0"
        stamps.stamp_logs()
        assert Log.objects.get().stamped_at is None, "a bad answer is no stamp"
        tsa.bad = None
        stamps.stamp_logs()
        stamps.stamp_logs()
        assert tsa.asked == 2
        folder = store.path(f"log/{CODE}/timestamps")
        tokens = sorted(folder.glob("*.tsr"))
        assert [tsa.says_yes(each, each.with_suffix(".checkpoint")) for each in tokens] == [True]
        with clock.frozen(clock.now() + timedelta(days=1)):
            stamps.stamp_logs()
            assert tsa.asked == 2, "nothing new to stamp"
            deposit(device, b"two")
            log.keep_up()
            stamps.stamp_logs()
        assert tsa.asked == 3
        assert len((log.read(CODE, "timestamps/") or b"").split()) == 4


def test_no_authority_is_asked_without_a_rule(device: Device, settings: Any) -> None:
    settings.TSA_URL = "http://tsa.exemple.fr/"
    deposit(device, b"one")
    log.keep_up()
    with pytest.raises(stamps.NoStamp, match="autoriser"):
        stamps.ask(b"content")


FIVE = {
    "data.txt",
    "merkleTree.json",
    "token.tsp",
    "computing_information.txt",
    "additional_information.txt",
}


def told(archive: zipfile.ZipFile, name: str) -> dict[str, str]:
    lines = archive.read(f"{name}_information.txt").decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_exports_have_vitam_s_five_files_and_are_chained(
    device: Device, tmp_path: Path, vault_data: Path, settings: Any
) -> None:
    theirs = zipfile.ZipFile(vault_data / "vitam-storage-traceability.zip")
    with authority(tmp_path / "tsa") as tsa:
        settings.TSA_URL = tsa.url
        archives = []
        for number, days in enumerate((0, 40, 400)):
            with clock.frozen(clock.now() + timedelta(days=days)):
                deposit(device, b"object %d" % number)
                log.keep_up()
                file = tmp_path / f"export-{number}.zip"
                log_export.export(access.SYSTEM, device.organisation, file)
                with pytest.raises(ValidationError):
                    log_export.export(access.SYSTEM, device.organisation, tmp_path / "again.zip")
                assert not (tmp_path / "again.zip").exists()
            archives.append(zipfile.ZipFile(file))
        tokens = [base64.b64encode(each.read("token.tsp")).decode() for each in archives]
        for number, archive in enumerate(archives):
            assert set(archive.namelist()) == set(theirs.namelist()) == FIVE
            for name in ("computing", "additional"):
                assert told(theirs, name).keys() <= told(archive, name).keys()
            archive.extractall(tmp_path / str(number))
            stamped = tmp_path / str(number) / "computing_information.txt"
            assert tsa.says_yes(tmp_path / str(number) / "token.tsp", stamped)
            frontier = tree.Frontier()
            frontier.add(map(tree.leaf_hash, archive.read("data.txt").splitlines()))
            root = base64.b64encode(frontier.root()).decode()
            assert root == json.loads(archive.read("merkleTree.json"))["Root"]
            assert root == told(archive, "computing")["currentHash"]
            assert told(archive, "additional")["firstElement"] == str(number)
        chain = [list(told(archive, "computing").values())[1:] for archive in archives]
        assert chain == [
            ["null", "null", "null"],
            [tokens[0], tokens[0], "null"],
            [tokens[1], tokens[1], tokens[0]],
        ]
        with pytest.raises(FileExistsError), clock.frozen(clock.now() + timedelta(days=500)):
            deposit(device, b"more")
            log.keep_up()
            log_export.export(access.SYSTEM, device.organisation, file)
