"""The pages about restore drills: what they claim, on what evidence, and to whom."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, connection, transaction
from django.test import Client

from souverain.core import access, clock
from souverain.core.models import Device, Event, JournalEntry, Notification, Organisation
from souverain.vault import departure, drills, log, services, witness
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import Report
from souverain.vault.models import DepositSet, Drill, Session
from souverain.vault.tests.test_pages import SignIn, places, signed_in

__all__ = ["places", "signed_in"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = datetime(2026, 11, 27, 10, tzinfo=UTC)
PAGE = "/vault/communes/21231/recuperer/"
HOURS = "/vault/communes/21231/depots/etat-civil/24-heures"


@pytest.fixture
def registers(places: dict[str, Organisation]) -> DepositSet:
    """Dijon's civil status, with a machine."""
    made = services.create_set(
        access.SYSTEM, places["21231"], "etat-civil", title="Registres", kind="civil-status"
    )
    services.add_device(access.SYSTEM, places["21231"], "poste", ["backup"], "etat-civil")
    return made


def deposit(found: DepositSet, *at: datetime) -> None:
    """Complete deposits, as the server records them."""
    device = Device.objects.get(scope=found.code)
    for instant in at:
        Session.objects.create(
            deposit_set=found,
            device=device,
            started_at=instant,
            last_at=instant,
            ended_at=instant,
        )
    DepositSet.objects.filter(pk=found.pk).update(last_deposit_at=max(at))


def report(found: DepositSet, at: datetime, **changes: Any) -> bytes:
    told: dict[str, Any] = {
        **{"commune": found.organisation.code, "set": found.code, "where": "machine"},
        **{"key": str(witness.key_of("21231", SECRET)), "at": reports.instant(at)},
        **{"moment": reports.instant(at), "files_in_snapshot": 40, "bytes_in_snapshot": 4000},
        **{"whole_listing": True, "files_restored": 12, "bytes_restored": 1200},
        **{"restic_version": "0.14.0", "verdict": "passed"},
    }
    return str(reports.sign(Report(**told | changes), SECRET)).encode()


def send(found: DepositSet, at: datetime, **changes: Any) -> Drill:
    return drills.take(found, Device.objects.get(scope=found.code), report(found, at, **changes))


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return unescape(answer.content.decode()).replace("\u00a0", " ").replace("\u202f", " ")


def test_no_answer_without_a_drill_then_yes_but_then_yes(
    registers: DepositSet, signed_in: SignIn
) -> None:
    member = signed_in("commune-member", "21231")
    with clock.frozen(NOW):
        assert "Non</p>" in text(member, PAGE)
        deposit(registers, NOW - timedelta(hours=2))
        said = text(member, PAGE)
        assert "Nous ne pouvons pas l'affirmer : aucun essai de restauration" in said
        assert "souverain vault drill --repository-file depot.txt" in said
        assert "Oui" not in said.split("<main")[1].split("Derniers essais")[0]
        send(registers, NOW - timedelta(hours=1))
        said = text(member, PAGE)
        assert "Oui, mais…" in said and "clé non enregistrée" in said
        assert str(witness.key_of("21231", SECRET)) in said
        assert "12 fichiers restaurés et comparés" in said
        log.add_witness(
            access.SYSTEM, registers.organisation, "Mairie", str(witness.key_of("21231", SECRET))
        )
        said = text(member, PAGE)
        assert "Oui</p>" in said and "témoin inscrit" in said
        assert "gardé en deux endroits" in said
        assert "Registres : <strong>Oui</strong>" in text(member, "/vault/communes/21231/")
    with clock.frozen(NOW + timedelta(days=40)):
        said = text(member, PAGE)
        assert "Oui, mais…" in said and "il en faut un par mois" in said
        assert "rien de plus récent ne reviendrait" in said


def test_a_failed_drill_says_no_and_what_to_do(registers: DepositSet, signed_in: SignIn) -> None:
    member = signed_in("commune-member", "21231")
    with clock.frozen(NOW):
        deposit(registers, NOW)
        send(registers, NOW - timedelta(days=2))
        failed = {"faults": (("content", 2),), "verdict": "failed"}
        send(registers, NOW - timedelta(days=1), **failed)
        said = text(member, PAGE)
        assert "Non</p>" in said and "n'ont pas le contenu sauvegardé" in said
        assert "N'effacez rien" in said
        faults = (("password", 1),)
        send(registers, NOW, faults=faults, verdict="failed", files_restored=0)
        assert "Reprenez le mot de passe de l'enveloppe" in text(member, PAGE)
    assert Notification.objects.count() == 1
    verbs = ["vault.drill_passed", "vault.drill_failed", "vault.drill_failed"]
    found = JournalEntry.objects.filter(verb__startswith="vault.drill").order_by("seq")
    assert list(found.values_list("verb", flat=True)) == verbs
    told = Event.objects.filter(name__startswith="vault.drill").order_by("id")
    assert list(told.values_list("name", flat=True)) == verbs


def test_the_rows_are_only_added_and_a_changed_one_is_no_evidence(
    registers: DepositSet, signed_in: SignIn
) -> None:
    with clock.frozen(NOW):
        deposit(registers, NOW)
        kept = send(registers, NOW)
        for change in (kept.delete, lambda: Drill.objects.update(verdict="failed")):
            with pytest.raises(DatabaseError), transaction.atomic():
                change()
        with pytest.raises(drills.AlreadyThere):
            drills.take(registers, Device.objects.get(scope="etat-civil"), kept.report.encode())
        told = departure.export("21231")
        assert told is not None
        assert list(told.records["drills"]) == [{"set": "etat-civil", "report": kept.report}]
        with connection.cursor() as cursor, departure._guards_lifted():
            changed = kept.report.replace('"files_restored":12', '"files_restored":39')
            cursor.execute("UPDATE vault_drill SET report = %s", [changed])
        said = text(signed_in("commune-member", "21231"), PAGE)
        assert "Nous ne pouvons pas l'affirmer" in said and "Rapport changé" in said


def test_a_report_of_the_console_counts_as_the_département_s(
    registers: DepositSet, signed_in: SignIn
) -> None:
    secret, key = log.signing_key(), log.public_key("21231")
    with clock.frozen(NOW):
        deposit(registers, NOW)
        told = Report(
            **{"commune": "21231", "set": "etat-civil", "where": "departement", "key": str(key)},
            **{"at": reports.instant(NOW), "moment": reports.instant(NOW), "verdict": "passed"},
            **{"files_in_snapshot": 1, "files_restored": 1, "restic_version": "0.14.0"},
        )
        content = str(reports.sign(told, secret)).encode()
        with pytest.raises(drills.Refused):
            drills.take(registers, Device.objects.get(scope="etat-civil"), content)
        drills.take_from_console(access.SYSTEM, registers, content)
        said = text(signed_in("commune-member", "21231"), PAGE)
    assert "Oui</p>" in said and "console du Département" in said


def test_the_operator_sees_how_many_communes_tried_lately(
    registers: DepositSet, places: dict[str, Organisation], signed_in: SignIn
) -> None:
    operator = signed_in("operator", "21")
    beaune = services.create_set(access.SYSTEM, places["21054"])
    services.add_device(access.SYSTEM, places["21054"], "poste", ["backup"])
    with clock.frozen(NOW):
        deposit(registers, NOW)
        deposit(beaune, NOW)

        def drilled() -> str:
            page = text(operator, "/vault/")
            return page.split("Restauration essayée")[1].split('stat-value">')[1].split("<")[0]

        assert drilled() == "0"
        send(registers, NOW)
        assert drilled() == "1"
        send(beaune, NOW)
        assert drilled() == "2"
        services.create_set(access.SYSTEM, places["21231"], "autre")
        assert drilled() == "2", "a set without a backup has nothing to try"
        send(beaune, NOW, faults=(("content", 1),), verdict="failed")
        assert drilled() == "1"
        page = text(operator, "/vault/")
        assert PAGE in page and f"{HOURS}/" in page
    with clock.frozen(NOW + timedelta(days=36)):
        assert drilled() == "0"


def evenings(first: datetime, count: int) -> list[datetime]:
    return [first + timedelta(hours=23) * number for number in range(count)]


def test_the_evidence_names_each_day_that_was_missed(
    registers: DepositSet, signed_in: SignIn
) -> None:
    member = signed_in("commune-member", "21231")
    with clock.frozen(NOW):
        assert "rien ne peut être prouvé" in text(member, f"{HOURS}/")
        first = NOW - timedelta(days=20)
        regular = evenings(first, 10)
        deposit(registers, *regular, regular[-1] + timedelta(hours=49), NOW - timedelta(hours=1))
        send(registers, NOW)
        said = text(member, f"{HOURS}/")
        assert "2 délais de 24 heures ou plus" in said
        assert "depuis la première, le " in said, "the answer is not of the whole year"
        assert "12, à partir du" in said
        assert "49 h 00" in said and "novembre 2026" in said.split("Mois par mois")[1]
        assert "Ce qu'elle ne prouve pas" in said and "essais.csv" not in said
        assert "12 fichiers restaurés" in said
        rows = list(
            csv.reader(
                io.StringIO(member.get(f"{HOURS}.csv").content.decode("utf-8-sig")), delimiter=";"
            )
        )
        assert len(rows) == 1 + 12 and [row[3] for row in rows[1:]].count("oui") == 2
        assert rows[-1][1] == "" and rows[1][2] == str(23 * 3600)
        early = "?du=2026-11-08&au=2026-11-10"
        said = text(member, f"{HOURS}/{early}")
        assert "Aucun délai de 24 heures ou plus entre deux sauvegardes complètes." in said


@pytest.mark.parametrize(
    "asked", ["du=2026-11-10&au=2026-11-01", "du=2020-01-01&au=2026-11-01", "du=x&au=y", "du=1"]
)
def test_a_bad_period_is_refused_with_its_reason(
    registers: DepositSet, signed_in: SignIn, asked: str
) -> None:
    with clock.frozen(NOW):
        answer = signed_in("commune-member", "21231").get(f"{HOURS}/?{asked}")
    assert answer.status_code == 422 and "form-" in answer.content.decode()


def test_only_the_civil_status_has_the_evidence_and_only_for_its_own(
    registers: DepositSet, places: dict[str, Organisation], signed_in: SignIn
) -> None:
    services.create_set(access.SYSTEM, places["21231"])
    member, other = signed_in("commune-member", "21231"), signed_in("commune-admin", "21054")
    assert member.get("/vault/communes/21231/depots/general/24-heures/").status_code == 404
    for path in (PAGE, f"{HOURS}/", f"{HOURS}.csv"):
        assert other.get(path).status_code == 403


def test_what_is_left_of_a_day_s_reads(registers: DepositSet) -> None:
    device = Device.objects.get(scope="etat-civil")
    assert drills.left_bytes(registers, device) == 16 << 20
    services.charge_read(registers, device, 1000)
    assert drills.left_bytes(registers, device) == (16 << 20) - 1000
    device.roles = ["restore"]
    assert drills.left_bytes(registers, device) is None
