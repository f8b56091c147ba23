"""The alarm on the real records: raised while the upload is under way, told, ended by people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from django.core.exceptions import ValidationError
from django.test import Client

from souverain.core import access, clock, rooms
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
from souverain.vault import alarm, card, retention, services
from souverain.vault.cli import cli
from souverain.vault.models import Alarm, BulkAnnouncement, Hold, StoredObject, Watch
from souverain.vault.tests.conftest import Server, restic

MIB = 1 << 20
MONDAY = datetime(2026, 3, 2, 21, tzinfo=UTC)  # the evening of the first backup


class Sized:
    """What `record_object` needs of an upload, of any size, without its bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.sha256, self.size = name, size

    def commit(self, key: str, sha256: str = "") -> None: ...

    def abort(self) -> None: ...


class Sizes(FolderStore):
    """A folder that believes every object to be there, as large as it was last said."""

    said = 0

    def size(self, key: str) -> int:
        return self.said


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    store = Sizes(tmp_path)
    monkeypatch.setattr(services, "store", lambda: store)
    Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    return services.add_device(access.SYSTEM, dijon, "poste", ["backup", "prune"])[0]


def put(device: Device, kind: str, size: int, at: datetime) -> str:
    """Record an object that nobody sent."""
    name = os.urandom(32).hex()
    Sizes.said = size
    with clock.frozen(at):
        services.record_object(services.set_of(device), kind, name, Sized(name, size), device)  # type: ignore[arg-type]
    return name


def back_up(device: Device, size: int, at: datetime) -> str:
    """One run: packs of 16 MiB, then the index and the snapshot."""
    for start in range(0, size, 16 * MIB):
        put(device, "data", min(16 * MIB, size - start), at)
    put(device, "index", 1000, at)
    return put(device, "snapshots", 300, at)


@pytest.fixture
def quiet(device: Device) -> Device:
    """Forty nights of a set of 2 GiB."""
    back_up(device, 2048 * MIB, MONDAY)
    for number in range(1, 41):
        back_up(device, 6 * MIB + number * 1000, MONDAY + timedelta(days=number))
    assert not Alarm.objects.exists()
    return device


NIGHT = MONDAY + timedelta(days=41)


@pytest.mark.django_db
@pytest.mark.db_both
class TestOnTheRecords:
    def test_an_attack_raises_before_30_percent_and_is_told_once(self, quiet: Device) -> None:
        dijon = quiet.organisation
        people = {}
        for email, role, where in (
            ("maire@dijon.invalid", "commune-admin", dijon),
            ("operateur@cotedor.invalid", "operator", Organisation.objects.get(code="21")),
            (
                "maire@beaune.invalid",
                "commune-admin",
                Organisation.objects.create(kind="commune", code="21054", name="Beaune"),
            ),
        ):
            people[email] = User.objects.create_user(email)
            RoleAssignment.objects.create(user=people[email], role=role, organisation=where)
        arrived = 0
        while not Alarm.objects.exists():
            put(quiet, "data", 16 * MIB, NIGHT)
            arrived += 16 * MIB
            assert arrived < 0.3 * 2048 * MIB
        assert arrived > 0.05 * 2048 * MIB, "it raises on what an ordinary night may bring"
        for _ in range(40):
            put(quiet, "data", 16 * MIB, NIGHT)
        raised = Alarm.objects.get()
        assert (raised.state, raised.cause) == ("open", "fast")
        assert raised.safe_at is not None
        assert raised.safe_at - MONDAY - timedelta(days=40) < timedelta(seconds=1)
        assert JournalEntry.objects.filter(verb="vault.ransomware_suspected").count() == 1
        told = Event.objects.get(name="vault.ransomware_suspected")
        assert told.payload["alarm"] == raised.pk
        assert told.name in {kind.name for kind in rooms.every("events") if kind.safety}
        notices = list(Notification.objects.filter(title__startswith="Rançongiciel"))
        assert {notice.user.email for notice in notices} == {
            "maire@dijon.invalid",
            "operateur@cotedor.invalid",
        }
        assert (
            "« poste »" in notices[0].body.replace("\u00a0", " ")
            and "11 avril 2026" in notices[0].body
        )
        assert card.commune_card("21231").state == "danger"

    def test_an_alarm_freezes_the_set_until_an_operator_thaws_it(self, quiet: Device) -> None:
        """What was deleted before the attack stays past its lock, the alarm closed or not."""
        gone = put(quiet, "data", 1000, MONDAY + timedelta(days=40, hours=1))
        with clock.frozen(MONDAY + timedelta(days=40, hours=2)):
            retention.reap(access.SYSTEM)
            services.bury_object(services.set_of(quiet), "data", gone, quiet)
        while not Alarm.objects.exists():
            put(quiet, "data", 16 * MIB, NIGHT)
        found, raised = services.set_of(quiet), Alarm.objects.get()
        assert [hold.kind for hold in retention.holds(found)] == [Hold.Kind.FREEZE]
        with clock.frozen(NIGHT + timedelta(hours=1)):
            alarm.close(access.SYSTEM, raised, legitimate=False, reason="machine nettoyée")
        row = StoredObject.objects.get(name=gone)
        for days in range(42, 139, 3):
            with clock.frozen(MONDAY + timedelta(days=days)):
                assert retention.reap(access.SYSTEM).held_sets == 1
                row.refresh_from_db()
                assert row.reaped_at is None
        with clock.frozen(MONDAY + timedelta(days=139)):
            retention.thaw(access.SYSTEM, found)
            assert retention.reap(access.SYSTEM).objects == 1
        row.refresh_from_db()
        assert row.reaped_at is not None

    def test_the_memory_kept_night_by_night_is_the_one_computed_from_the_rows(
        self, quiet: Device
    ) -> None:
        deposit_set = services.set_of(quiet)
        with clock.frozen(NIGHT):
            alarm.look(deposit_set, quiet, NIGHT)
        kept = Watch.objects.get()
        Watch.objects.all().delete()
        alarm.look(deposit_set, quiet, NIGHT)
        anew = Watch.objects.get()
        assert (anew.closed_night, anew.memory) == (kept.closed_night, kept.memory)
        assert len(anew.memory["shares"]) + len(anew.memory["recent"]) >= 30

    def test_an_announced_deposit_raises_nothing_up_to_what_was_said(self, quiet: Device) -> None:
        with clock.frozen(NIGHT - timedelta(hours=4)):
            alarm.announce(
                access.SYSTEM,
                services.set_of(quiet),
                600 * MIB,
                NIGHT + timedelta(days=3),
                "numérisation des registres",
            )
        back_up(quiet, 700 * MIB, NIGHT)
        assert not Alarm.objects.exists()
        back_up(quiet, 20 * MIB, NIGHT + timedelta(days=1))
        assert not Alarm.objects.exists()
        back_up(quiet, 900 * MIB, NIGHT + timedelta(days=2))
        assert Alarm.objects.exists(), "what was announced was used up"

    def test_an_unannounced_import_raises_and_once_said_legitimate_no_more(
        self, quiet: Device
    ) -> None:
        back_up(quiet, 400 * MIB, NIGHT)
        raised = Alarm.objects.get()
        with clock.frozen(NIGHT + timedelta(minutes=5)):
            alarm.acknowledge(access.SYSTEM, raised)
            with pytest.raises(ValidationError):
                alarm.close(access.SYSTEM, raised, legitimate=True, reason=" ")
            alarm.close(access.SYSTEM, raised, legitimate=True, reason="photos de la fête")
            alarm.close(access.SYSTEM, raised, legitimate=False, reason="encore")
        raised.refresh_from_db()
        assert (raised.state, raised.legitimate) == ("closed", True)
        assert Event.objects.filter(name="vault.alarm_closed").count() == 1
        back_up(quiet, 16 * MIB, NIGHT + timedelta(minutes=10))
        back_up(quiet, 400 * MIB, NIGHT + timedelta(days=1))
        assert Alarm.objects.count() == 1
        back_up(quiet, 1200 * MIB, NIGHT + timedelta(days=2))
        assert Alarm.objects.count() == 2, "a whole set is seen whatever was accepted"

    def test_an_attack_dealt_with_teaches_nothing(self, quiet: Device) -> None:
        back_up(quiet, 1000 * MIB, NIGHT)
        with clock.frozen(NIGHT + timedelta(minutes=5)):
            alarm.close(access.SYSTEM, Alarm.objects.get(), legitimate=False, reason="traitée")
        back_up(quiet, 16 * MIB, NIGHT + timedelta(minutes=10))
        assert Alarm.objects.count() == 1
        back_up(quiet, 400 * MIB, NIGHT + timedelta(days=1))
        assert Alarm.objects.count() == 2

    def test_deleting_nearly_every_backup_raises(self, quiet: Device) -> None:
        deposit_set = services.set_of(quiet)
        names = list(
            services.alive(deposit_set).filter(type="snapshots").values_list("name", flat=True)
        )
        with clock.frozen(NIGHT):
            for name in names[:-3]:
                services.bury_object(deposit_set, "snapshots", name, quiet)
            assert not Alarm.objects.exists()
            for name in names[-3:-1]:
                services.bury_object(deposit_set, "snapshots", name, quiet)
        assert Alarm.objects.get().cause == "deletions"

    def test_a_fault_of_the_alarm_never_refuses_a_deposit(
        self, quiet: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(alarm.ransomware, "assess", broken)
        back_up(quiet, 32 * MIB, NIGHT)
        deposited = services.set_of(quiet).last_deposit_at
        assert deposited is not None and deposited >= NIGHT
        assert "the ransomware alarm failed" in caplog.text

    def test_a_night_runs_from_noon_to_noon_in_paris_also_when_the_clocks_change(self) -> None:
        for day in (datetime(2026, 3, 28, 11, tzinfo=UTC), datetime(2026, 10, 24, 10, tzinfo=UTC)):
            night = alarm.night_of(day)
            start, end = alarm.beginning_of(night), alarm.beginning_of(night + 1)
            assert start == day
            assert end - start in (timedelta(hours=23), timedelta(hours=25))
            assert alarm.night_of(end) == night + 1
            assert alarm.night_of(end - timedelta(microseconds=1)) == night

    def test_looking_is_seldom_and_cheap(self, quiet: Device) -> None:
        """Less than 0.3 ms of CPU a PUT on average, on a set of 2 GiB."""
        deposit_set = services.set_of(quiet)
        alarm.look(deposit_set, quiet, NIGHT)
        start, count = time.process_time(), 50
        for _ in range(count):
            alarm.look(deposit_set, quiet, NIGHT)
        each = (time.process_time() - start) / count

        assert each < 0.004


@pytest.mark.django_db
@pytest.mark.db_both
class TestOnThePages:
    @pytest.fixture
    def signed_in(self, device: Device) -> Callable[[str, str], Client]:
        def sign_in(role: str, code: str) -> Client:
            user = User.objects.create_user(f"{role}@{code}.invalid")
            organisation = Organisation.objects.get(code=code)
            RoleAssignment.objects.create(user=user, role=role, organisation=organisation)
            client = Client()
            client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
            return client

        return sign_in

    def test_the_page_says_what_to_do_and_the_alarm_is_ended_there(
        self, device: Device, signed_in: Callable[[str, str], Client]
    ) -> None:
        deposit_set = services.set_of(device)
        now = clock.now()
        raised = Alarm.objects.create(
            deposit_set=deposit_set,
            device=device,
            raised_at=now,
            since=now,
            cause="fast",
            score=1.2,
            raised_bytes=1,
            new_bytes=1,
            reason="En une nuit, 20 % des dossiers sont arrivés comme neufs.",
        )
        admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")
        operator = signed_in("operator", "21")
        page = "/vault/communes/21231/"
        shown = admin.get(page).content.decode()
        assert "Rançongiciel possible" in shown and "Débranchez du réseau" in shown
        assert "Le dépôt est gelé" not in shown
        retention.freeze(access.SYSTEM, services.set_of(device), "à vérifier")
        assert "Le dépôt est gelé" in admin.get(page).content.decode()
        assert "Clore l'alerte" not in member.get(page).content.decode()
        assert "Rançongiciels possibles" in operator.get("/vault/").content.decode()
        assert "Rançongiciel possible dans 1 coffre-fort" in operator.get("/").content.decode()
        take, close = f"{page}alertes/{raised.pk}/prendre/", f"{page}alertes/{raised.pk}/clore/"
        assert member.post(take).status_code == member.post(close).status_code == 403
        assert admin.post(take).status_code == 302
        raised.refresh_from_db()
        assert raised.state == "acknowledged" and raised.acknowledged_by.startswith("user:")
        admin.post(close, {"legitimate": "yes", "reason": ""})
        raised.refresh_from_db()
        assert raised.state == "acknowledged"
        admin.post(close, {"legitimate": "yes", "reason": "numérisation"})
        raised.refresh_from_db()
        assert (raised.state, raised.closing_reason) == ("closed", "numérisation")
        assert "Rançongiciel possible" not in admin.get(page).content.decode()
        other = admin.post(f"/vault/communes/21231/alertes/{raised.pk + 1}/clore/")
        assert other.status_code == 404

    def test_a_large_deposit_is_announced_on_the_page_and_at_the_console(
        self, device: Device, signed_in: Callable[[str, str], Client]
    ) -> None:
        admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")
        page = "/vault/communes/21231/envois/annoncer/"
        days = {
            number: (clock.now() + timedelta(days=number)).astimezone(clock.PARIS).date()
            for number in (-1, 14, 16)
        }
        asked = {
            "deposit_set": services.set_of(device).pk,
            "gigabytes": 40,
            "until": days[14].isoformat(),
            "reason": "registres numérisés",
        }
        assert admin.get(page).status_code == 200 and member.get(page).status_code == 403
        for wrong in ({"until": days[16]}, {"until": days[-1]}, {"gigabytes": 0}, {"reason": ""}):
            assert admin.post(page, {**asked, **wrong}).status_code == 422
        assert not BulkAnnouncement.objects.exists()
        assert admin.post(page, asked).status_code == 302
        assert BulkAnnouncement.objects.get().bytes == 40 * 10**9
        assert "registres numérisés" in admin.get("/vault/communes/21231/").content.decode()
        assert JournalEntry.objects.filter(verb="vault.bulk_announced").count() == 1
        said = ["announce", "--commune", "21231", "--bytes", "1000", "--reason", "ménage"]
        done = CliRunner().invoke(cli, [*said, "--deletions", "--json"])
        assert done.exit_code == 0 and '"deletions":true' in done.output
        assert CliRunner().invoke(cli, [*said, "--set", "rien"]).exit_code == 1


def looked(server: Server, code: str) -> str:
    return server.python(
        "from souverain.vault import alarm, services\n"
        "from souverain.vault.models import *\n"
        "from django.db.models import Sum\n" + code
    )


def nights(server: Server) -> list[tuple[int, int]]:
    """(bytes, objects) of data that each session of the set brought."""
    found = looked(
        server,
        "for s in Session.objects.filter(deposit_set__code='alarme').order_by('id'):\n"
        "    rows = StoredObject.objects.filter(session=s, type='data')\n"
        "    print(rows.aggregate(t=Sum('size'))['t'] or 0, rows.count())",
    )
    return [(int(line.split()[0]), int(line.split()[1])) for line in found.splitlines()]


@pytest.mark.db_both
def test_the_stock_restic_sends_what_the_synthetic_nights_assume(
    server: Server, tmp_path: Path
) -> None:
    """Ordinary, renamed and encrypted content; and the alarm on the last, before 30 % of it."""
    root = tmp_path / "mairie"
    root.mkdir()
    sizes = [1 * MIB] * 120
    for number, size in enumerate(sizes):
        (root / f"{number:03}.pdf").write_bytes(os.urandom(size))
    whole = sum(sizes)
    repository = server.device(scope="alarme")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    restic(repository, tmp_path, "backup", "mairie")
    (root / "000.pdf").write_bytes(os.urandom(MIB))
    restic(repository, tmp_path, "backup", "mairie")
    for file in sorted(root.iterdir()):
        file.rename(file.with_suffix(".renommé"))
        os.utime(root / file.with_suffix(".renommé").name, (1, 1))
    restic(repository, tmp_path, "backup", "mairie")
    first, unchanged, one_file, renamed = nights(server)
    assert first[0] > whole
    assert unchanged[0] < 0.01 * whole
    assert MIB <= one_file[0] < 1.2 * MIB
    assert renamed[0] < 0.01 * whole, "restic sends no content twice, whatever its name"
    put_back(server, days=40)
    for file in root.iterdir():
        file.write_bytes(encrypted(file.read_bytes()))
    restic(repository, tmp_path, "backup", "mairie")
    attacked = nights(server)[-1]
    assert whole < attacked[0] < 1.05 * whole, "encrypted content costs its whole size"
    found = looked(
        server,
        "found = Alarm.objects.get(deposit_set__code='alarme')\n"
        "last = Session.objects.filter(deposit_set__code='alarme').order_by('id').last()\n"
        "print(found.raised_bytes, found.cause, found.raised_at < last.ended_at)",
    ).split()
    assert int(found[0]) < 0.3 * attacked[0]
    assert found[1:] == ["fast", "True"], "raised while the upload was under way"


def encrypted(content: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(os.urandom(16))).encryptor()
    return cipher.update(content) + cipher.finalize()


def put_back(server: Server, days: int) -> None:
    """Make what was received belong to the past: the database's guards allow it to nobody else."""
    looked(
        server,
        "from datetime import timedelta\nfrom django.db import transaction\n"
        "from django.db.models import F\nfrom souverain.vault import departure\n"
        f"by = timedelta(days={days})\n"
        "found = DepositSet.objects.get(code='alarme')\n"
        "with transaction.atomic(), departure._guards_lifted():\n"
        "    rows = StoredObject.objects.filter(deposit_set=found)\n"
        "    rows.update(received_at=F('received_at') - by)\n"
        "    Watch.objects.filter(deposit_set=found).delete()",
    )
