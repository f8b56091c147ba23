"""A commune leaves: all it has is given back, then erased, and the erasure is proved."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction

from souverain.core import access, clock, journal, queries
from souverain.core.access import SYSTEM, Actor, of_user
from souverain.core.models import (
    Event,
    Invitation,
    Job,
    JournalDetail,
    Message,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.notifications import notify
from souverain.core.roles import Role
from souverain.core.services import invite
from souverain.portal import leaving, services
from souverain.portal.engine.members_file import Contact
from souverain.portal.models import Departure, Membership
from souverain.portal.tests.conftest import Town, let_the_locks_run, make_town
from souverain.vault import announcements, retention
from souverain.vault import departure as vault_departure
from souverain.vault import services as vault
from souverain.vault.models import Announcement, DepositSet, Hold, StoredObject

pytestmark = [pytest.mark.db_both, pytest.mark.django_db]
SECRETARY = Contact("secretary", "Jeanne Martin", "jeanne@dijon.example", "03 80 00 00 00")


@pytest.fixture
def town(db: None) -> Iterator[Town]:
    made = make_town()
    yield made
    shutil.rmtree(settings.HOME / "departures", ignore_errors=True)
    for code in ("21231", "21054"):
        for path in sorted(vault.store().path(f"vault/{code}").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def silent(done: int, total: int | None = None, message: str = "") -> None:
    """Nobody watches this job."""


def deposit(organisation: Organisation, *contents: bytes) -> list[StoredObject]:
    """What a device of the town hall deposits."""
    device, _ = vault.add_device(SYSTEM, organisation, "poste de Jeanne", ["backup", "prune"])
    kept = []
    for content in contents:
        incoming = vault.store().incoming()
        incoming.write(content)
        found = vault.set_of(device)
        kept.append(vault.record_object(found, "data", incoming.sha256, incoming, device))
    return kept


def member(organisation: Organisation) -> Membership:
    membership = services.ask(SYSTEM, organisation, ["vault"], [SECRETARY])
    services.join(SYSTEM, membership, clock.today())
    return membership


def exported(town: Town, membership: Membership) -> Departure:
    departure = services.leave(of_user(town.people["commune-admin"]), membership)
    leaving.export_commune(silent, departure=departure.pk)
    finish(departure.export_job)
    departure.refresh_from_db()
    return departure


def finish(job: Job | None) -> None:
    assert job is not None
    Job.objects.filter(pk=job.pk).update(state=Job.State.DONE)


def erased(town: Town, departure: Departure) -> Departure:
    """The whole way, the locks of what was deposited included."""
    operator = of_user(town.people["operator"])
    services.acknowledge(of_user(town.people["commune-admin"]), departure)
    if services.erase(operator, departure) is None:
        with clock.frozen(let_the_locks_run()):
            assert services.erase(operator, departure) is not None
            leaving.erase_commune(silent, departure=departure.pk)
    else:
        leaving.erase_commune(silent, departure=departure.pk)
    departure.refresh_from_db()
    departure.membership.refresh_from_db()
    return departure


def everything_about(organisation: Organisation) -> dict[str, Any]:
    """Every record that leads to a commune, and every byte it has on disk."""
    found: dict[str, Any] = {}
    for relation in Organisation._meta.related_objects:
        rows = relation.related_model._default_manager.filter(**{relation.field.name: organisation})
        found[relation.related_model.__name__] = sorted(map(str, rows.values()))
    sets = DepositSet.objects.filter(organisation=organisation)
    found["objects"] = list(StoredObject.objects.filter(deposit_set__in=sets).values())
    root = vault.store().path(f"vault/{organisation.code}")
    found["files"] = {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    found["people"] = list(
        User.objects.filter(role_assignments__organisation=organisation).values().order_by("pk")
    )
    return found


def test_the_export_holds_everything_and_its_manifest_is_true(town: Town) -> None:
    membership = member(town.dijon)
    living, dead = deposit(town.dijon, b"l" * 70_000, b"dead" * 9)
    vault.bury_object(dead.deposit_set, "data", dead.name, dead.device)
    deposit(town.beaune, b"of another commune")
    invite(SYSTEM, email="paul@dijon.example", role=Role.COMMUNE_MEMBER, organisation=town.dijon)
    departure = exported(town, membership)
    archive = leaving.archive_of(departure)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == departure.export_sha256
    assert archive.stat().st_size == departure.export_bytes
    assert archive.stat().st_mode & 0o077 == 0, "only the service's own account reads it"

    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        files = {name: opened.read(name) for name in opened.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["commune"] == {"code": "21231", "name": "Dijon"}
    assert manifest["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    folder = f"data/{living.name[:2]}/{living.name}"
    assert files[f"vault/general/repository/{folder}"] == b"l" * 70_000
    assert files[f"vault/general/deleted/data/{dead.name[:2]}/{dead.name}"] == b"dead" * 9

    def table(name: str) -> list[Any]:
        return [orjson.loads(line) for line in files[name].splitlines()]

    assert {row["email"] for row in table("portal/members.jsonl")} == {
        "commune-admin@exemple.fr",
        "commune-member@exemple.fr",
    }
    assert table("portal/invitations.jsonl")[0]["email"] == "paul@dijon.example"
    assert table("portal/memberships.jsonl")[0]["contacts"][0]["name"] == "Jeanne Martin"
    sent = [row for row in table("portal/journal.jsonl") if row["detail"]]
    assert sent[0]["detail"] == {"email": "paul@dijon.example"}
    assert len(table("vault/objects.jsonl")) == 2
    assert b"another commune" not in archive.read_bytes()
    assert "restic" in files["LISEZ-MOI.txt"].decode()


def test_the_erasure_leaves_nothing_and_harms_nobody_else(town: Town) -> None:
    membership = member(town.dijon)
    kept = deposit(town.dijon, b"one", b"two", b"three")
    member(town.beaune)
    deposit(town.beaune, b"one", b"beaune's own")
    both = town.person("deux-mairies", Role.COMMUNE_MEMBER, town.dijon)
    RoleAssignment.objects.create(user=both, role=Role.COMMUNE_MEMBER, organisation=town.beaune)
    notify([town.people["commune-member"]], "Bonjour")
    invite(SYSTEM, email="paul@dijon.example", role=Role.COMMUNE_MEMBER, organisation=town.dijon)
    held = retention.hold(of_user(town.people["operator"]), kept[0].deposit_set, "Enquête")
    retention.lift(SYSTEM, held)
    announcements.announce(kept[0].deposit_set, kept[0].device, "restored")
    beaune = everything_about(town.beaune)

    departure = erased(town, exported(town, membership))

    assert departure.membership.state == "left"
    assert not vault.store().path("vault/21231").exists()
    assert not leaving.folder_of(departure).exists()
    assert not StoredObject.objects.filter(deposit_set__organisation=town.dijon).exists()
    assert not DepositSet.objects.filter(organisation=town.dijon).exists()
    assert not Hold.objects.exists() and not Announcement.objects.exists()
    assert not RoleAssignment.objects.filter(organisation=town.dijon).exists()
    assert not Invitation.objects.exists()
    assert not departure.membership.contacts.exists()
    assert not JournalDetail.objects.filter(entry__organisation="21231").exists()
    assert not Message.objects.filter(recipient="commune-member@exemple.fr").exists()
    gone = User.objects.get(pk=town.people["commune-member"].pk)
    assert (gone.is_active, gone.full_name, gone.has_usable_password()) == (False, "", False)
    assert "commune" not in gone.email
    devices = list(town.dijon.devices.all())
    assert devices and all(device.revoked_at for device in devices)
    assert {device.name for device in devices} == {"Appareil effacé"}
    assert queries.membership.ask("21231") is None
    assert Event.objects.filter(name="membership.left", organisation="21231").count() == 1

    assert everything_about(town.beaune) == beaune, "bit for bit"
    both.refresh_from_db()
    assert both.is_active and both.email == "deux-mairies@exemple.fr"

    proof = departure.proof
    assert proof is not None
    assert leaving.fault_in_proof(proof) is None
    items = {item["title"]: item for answer in proof["erased"] for item in answer["items"]}
    objects = items["Objets chiffrés"]
    keys = sorted(f"vault/21231/general/data/{row.name[:2]}/{row.name}" for row in kept)
    assert (objects["count"], objects["bytes"]) == (3, len(b"onetwothree"))
    assert objects["sha256"] == hashlib.sha256("\n".join(keys).encode()).hexdigest()
    assert items["Rôles de membres"]["count"] == 3
    assert items["Comptes de personnes"]["count"] == 2
    assert items["Contacts"]["count"] == 1
    assert items["Invitations"]["count"] == 1
    assert proof["erased_by"] == f"user:{town.people['operator'].pk}"
    told = json.dumps(proof)
    assert "Martin" not in told and "@" not in told
    assert journal.verify().whole


def test_a_commune_that_left_can_come_back_and_deposit_again(town: Town) -> None:
    membership = member(town.dijon)
    deposit(town.dijon, b"one")
    departure = erased(town, exported(town, membership))
    again = member(town.dijon)
    assert again.pk != membership.pk
    (kept,) = deposit(town.dijon, b"one")
    assert vault.store().sha256(vault.object_key(kept.deposit_set, "data", kept.name)) == kept.name
    assert vault_departure.sweep("21231") == 0, "what was received since is nobody's to destroy"
    assert vault.store().exists(vault.object_key(kept.deposit_set, "data", kept.name))
    assert departure.proof is not None
    assert leaving.fault_in_proof(departure.proof) is None


def test_the_database_guards_its_records_again_after_an_erasure(town: Town) -> None:
    erased(town, exported(town, member(town.dijon)))
    (kept,) = deposit(town.beaune, b"one")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM vault_storedobject")
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE vault_storedobject SET size = 0")
    kept.refresh_from_db()
    assert kept.size == 3


def test_an_erasure_needs_an_export_an_acknowledgement_and_somebody_else(town: Town) -> None:
    membership = member(town.dijon)
    operator, other = of_user(town.people["operator"]), Actor("user", "999")
    departure = services.leave(operator, membership)
    with pytest.raises(ValidationError, match="pas prêt"):
        services.erase(other, departure)
    leaving.export_commune(silent, departure=departure.pk)
    with pytest.raises(ValidationError, match="accusé réception"):
        services.erase(other, departure)
    services.acknowledge(operator, departure)
    with pytest.raises(ValidationError, match="autre personne"):
        services.erase(operator, departure)
    membership.refresh_from_db()
    assert membership.state == "leaving"
    assert services.erase(other, departure) is not None, "there is nothing to keep"
    with pytest.raises(ValidationError, match="déjà en cours"):
        services.erase(other, departure)


def test_nothing_is_erased_that_arrived_after_the_export(town: Town) -> None:
    membership = member(town.dijon)
    departure = exported(town, membership)
    services.acknowledge(of_user(town.people["commune-admin"]), departure)
    deposit(town.dijon, b"last minute")
    with pytest.raises(ValidationError, match="après l'export"):
        services.erase(of_user(town.people["operator"]), departure)
    services.export(SYSTEM, departure)
    departure.refresh_from_db()
    assert departure.acknowledged_at is None, "what was acknowledged is not what will be exported"
    leaving.export_commune(silent, departure=departure.pk)
    erased(town, departure)


def test_a_departure_can_be_cancelled_until_the_erasure(
    town: Town, django_capture_on_commit_callbacks: Any
) -> None:
    membership = member(town.dijon)
    (kept,) = deposit(town.dijon, b"one")
    departure = exported(town, membership)
    with django_capture_on_commit_callbacks(execute=True):
        services.stay(SYSTEM, departure)
    membership.refresh_from_db()
    assert membership.state == "joined"
    assert not leaving.folder_of(departure).exists(), "the archive does not outlive its purpose"
    assert vault.store().exists(vault.object_key(kept.deposit_set, "data", kept.name))
    with pytest.raises(leaving.DepartureError, match="annulé"):
        leaving.export_commune(silent, departure=departure.pk)
    assert not leaving.folder_of(departure).exists()

    second = exported(town, membership)
    services.acknowledge(SYSTEM, second)
    services.erase(of_user(town.people["operator"]), second)
    with pytest.raises(ValidationError, match="effacement est en cours"):
        services.stay(SYSTEM, second)


def test_no_departure_destroys_what_a_lock_or_a_hold_keeps(town: Town) -> None:
    membership = member(town.dijon)
    kept, dead = deposit(town.dijon, b"one", b"two")
    vault.bury_object(dead.deposit_set, "data", dead.name, dead.device)
    departure = exported(town, membership)
    operator = of_user(town.people["operator"])
    services.acknowledge(SYSTEM, departure)
    hold = retention.hold(operator, kept.deposit_set, "Enquête")
    files = everything_about(town.dijon)["files"]
    assert services.erase(operator, departure) is None
    membership.refresh_from_db()
    assert membership.state == "erasing"
    assert not town.dijon.devices.filter(revoked_at=None).exists()
    assert not StoredObject.objects.filter(died_at=None).exists(), "the locks run"

    def kept_whole() -> None:
        assert services.erase(operator, departure) is None
        with pytest.raises(leaving.DepartureError, match="Rien n'est effacé"):
            leaving.erase_commune(silent, departure=departure.pk)
        vault_departure.sweep("21231")
        assert everything_about(town.dijon)["files"] == files
        assert RoleAssignment.objects.filter(organisation=town.dijon).exists()

    kept_whole()
    later = let_the_locks_run()
    with clock.frozen(later):
        kept_whole()
        retention.lift(SYSTEM, hold)
        retention.freeze(SYSTEM, kept.deposit_set, "à voir")
        kept_whole()
        retention.thaw(SYSTEM, kept.deposit_set)
    with clock.frozen(later + timedelta(days=400)):
        kept_whole()  # the clock leapt, and nobody confirmed it
        retention.reap(SYSTEM, confirm_clock=True)
        kept_whole()
    with clock.frozen(later):
        kept_whole()  # it came back: not before it shows again what it had shown
        retention.reap(SYSTEM, confirm_clock=True)
        kept_whole()
    with clock.frozen(later + timedelta(days=401)):
        retention.reap(SYSTEM, confirm_clock=True)
        kept_whole()


def test_a_full_disk_stops_the_export_before_it_begins(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = member(town.dijon)
    departure = services.leave(SYSTEM, membership)
    monkeypatch.setattr(leaving, "RESERVE_BYTES", 1 << 60)
    with pytest.raises(leaving.DepartureError, match="libres"):
        leaving.export_commune(silent, departure=departure.pk)
    assert not leaving.folder_of(departure).exists()
    departure.refresh_from_db()
    assert departure.exported_at is None


def test_a_damaged_object_is_told_not_exported(town: Town) -> None:
    membership = member(town.dijon)
    (kept,) = deposit(town.dijon, b"whole")
    path = vault.store().path(vault.object_key(kept.deposit_set, "data", kept.name))
    path.write_bytes(b"cut")
    departure = services.leave(SYSTEM, membership)
    with pytest.raises(leaving.DepartureError, match="3 octets lus au lieu de 5"):
        leaving.export_commune(silent, departure=departure.pk)
    assert not leaving.folder_of(departure).exists()


def test_a_room_that_gave_files_and_is_off_stops_the_erasure(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = member(town.dijon)
    deposit(town.dijon, b"one")
    departure = exported(town, membership)
    services.acknowledge(SYSTEM, departure)
    services.erase(of_user(town.people["operator"]), departure)
    monkeypatch.setattr(queries.Query, "ask_all", lambda query, code: [leaving.forget(code)])
    with pytest.raises(leaving.DepartureError, match="vault ne répond plus"):
        leaving.erase_commune(silent, departure=departure.pk)
    assert RoleAssignment.objects.filter(organisation=town.dijon).exists(), "nothing was erased"


@pytest.mark.parametrize(
    "tamper",
    [
        lambda proof: proof["erased"][0]["items"][0].update(count=1000),
        lambda proof: proof.update(erased_by="user:999"),
        lambda proof: proof["journal"].update(seq=1),
        lambda proof: proof["journal"].update(hash="00" * 32),
        lambda proof: proof.pop("journal"),
        lambda proof: proof.update(sha256="00" * 32),
    ],
)
def test_a_forged_proof_is_seen(town: Town, tamper: Any) -> None:
    departure = erased(town, exported(town, member(town.dijon)))
    assert departure.proof is not None
    assert leaving.fault_in_proof(departure.proof) is None
    tamper(departure.proof)
    assert leaving.fault_in_proof(departure.proof) is not None


def test_the_job_of_an_erasure_that_nobody_decided_does_nothing(town: Town) -> None:
    departure = exported(town, member(town.dijon))
    with pytest.raises(leaving.DepartureError, match="pas été décidé"):
        leaving.erase_commune(silent, departure=departure.pk)
    assert town.dijon.role_assignments.exists()
    assert access.permits(of_user(town.people["commune-admin"]), "portal.leave")


def test_a_file_of_a_sudden_crash_is_swept_too(town: Town) -> None:
    deposit(town.beaune, b"kept")
    orphan: Path = vault.store().path("vault/21054/general/data/00") / ("0" * 64)
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"no row vouches for me")
    assert vault_departure.sweep("21054") == 1
    assert not orphan.exists()
    assert everything_about(town.beaune)["files"].keys()


def test_what_a_killed_job_left_of_an_export_does_not_stay(town: Town) -> None:
    kept = exported(town, member(town.dijon))
    killed = services.leave(SYSTEM, member(town.beaune))
    for departure in (killed, Departure(pk=999)):
        leaving.folder_of(departure).mkdir(parents=True)
        (leaving.folder_of(departure) / "export.partial").write_bytes(b"names")
    leaving.remove_stale_exports()
    assert leaving.archive_of(kept).exists()
    assert leaving.folder_of(killed).exists(), "its job may be writing"
    assert not leaving.folder_of(Departure(pk=999)).exists()
    Job.objects.filter(pk=killed.export_job_id).update(finished_at=clock.now())
    leaving.remove_stale_exports()
    assert leaving.archive_of(kept).exists()
    assert not leaving.folder_of(killed).exists()
    leaving.destroy_export(kept)
