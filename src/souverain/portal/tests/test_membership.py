"""A commune asks, signs, joins; two hundred join from a file; the journal names nobody."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import orjson
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from souverain.core import clock, journal, queries
from souverain.core.access import SYSTEM, of_user
from souverain.core.models import Event, JournalEntry
from souverain.portal import services
from souverain.portal.engine.members_file import Contact, UnreadableFile
from souverain.portal.models import Agreement, Membership

pytestmark = [pytest.mark.db_both, pytest.mark.django_db]
SECRETARY = Contact("secretary", "Jeanne Martin", "jeanne@dijon.example", "03 80 00 00 00")
TITLES = "code_insee;commune;date_adhesion;outils;secretaire_nom;secretaire_courriel\n"


def verbs(code: str) -> list[str]:
    return list(
        JournalEntry.objects.filter(organisation=code)
        .order_by("seq")
        .values_list("verb", flat=True)
    )


def test_a_commune_asks_then_joins_when_the_agreement_comes_back_signed(town: Any) -> None:
    admin = of_user(town.people["commune-admin"])
    membership = services.ask(admin, town.dijon, ["mail", "vault"], [SECRETARY])
    assert membership.tools == ["vault", "mail"]
    assert queries.membership.ask("21231") is None, "asking is not joining"
    assert queries.members.ask() == {}

    services.join(of_user(town.people["operator"]), membership, clock.today())
    told = queries.membership.ask("21231")
    assert told is not None
    assert (told.joined_on, told.tools) == (clock.today(), {"vault", "mail"})
    assert list(queries.members.ask() or {}) == ["21231"]
    assert verbs("21231") == ["membership.asked", "membership.joined"]
    assert Event.objects.get().name == "membership.joined"


def test_what_was_signed_can_be_read_again_whatever_is_signed_later(
    town: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = services.ask(SYSTEM, town.dijon, ["vault"]).agreement
    assert signed is not None
    monkeypatch.setattr("souverain.portal.engine.agreement.BREACH_NOTICE_H", 24)
    later = services.ask(SYSTEM, town.beaune, ["vault"]).agreement
    assert later is not None and later.sha256 != signed.sha256
    assert "48 heures" in Agreement.objects.get(pk=signed.pk).text
    assert "24 heures" in later.text


def test_the_journal_and_the_events_hold_no_name_and_no_address(town: Any) -> None:
    membership = services.ask(SYSTEM, town.dijon, ["vault"], [SECRETARY])
    services.describe(SYSTEM, membership, ["box"], [SECRETARY])
    services.join(SYSTEM, membership, clock.today())
    line = "21054;Beaune;01/02/2026;coffre-fort;Paul Durand;paul@beaune.example\n"
    services.import_members(SYSTEM, (TITLES + line).encode())
    told = b"".join(bytes(body) for body in JournalEntry.objects.values_list("body", flat=True))
    told += orjson.dumps(list(Event.objects.values_list("payload", flat=True)))
    for secret in (b"Martin", b"jeanne", b"03 80", b"Durand", b"paul"):
        assert secret not in told
    assert journal.verify().whole


def test_a_commune_is_in_once(town: Any) -> None:
    services.ask(SYSTEM, town.dijon, ["vault"])
    with pytest.raises(ValidationError, match="attend la signature"):
        services.ask(SYSTEM, town.dijon, ["vault"])
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(organisation=town.dijon, asked_by="system")


def test_only_a_commune_joins_and_with_a_tool(town: Any) -> None:
    with pytest.raises(ValidationError, match="Seule une commune"):
        services.ask(SYSTEM, town.departement, ["vault"])
    with pytest.raises(ValidationError, match="au moins un outil"):
        services.ask(SYSTEM, town.dijon, [])
    with pytest.raises(ValidationError, match="Outil inconnu"):
        services.ask(SYSTEM, town.dijon, ["fax"])
    assert not Membership.objects.exists()
    assert not JournalEntry.objects.exists()


@pytest.mark.parametrize("days", [-1, 1])
def test_the_signature_is_neither_before_the_request_nor_to_come(town: Any, days: int) -> None:
    membership = services.ask(SYSTEM, town.dijon, ["vault"])
    with pytest.raises(ValidationError, match="signature"):
        services.join(SYSTEM, membership, clock.today() + timedelta(days=days))
    membership.refresh_from_db()
    assert membership.state == "asked"


def test_a_request_can_be_taken_back_and_made_again(town: Any) -> None:
    membership = services.ask(SYSTEM, town.dijon, ["vault"], [SECRETARY])
    services.withdraw(SYSTEM, membership)
    assert membership.contacts.count() == 0
    with pytest.raises(ValidationError, match="retirée"):
        services.join(SYSTEM, membership, clock.today())
    again = services.ask(SYSTEM, town.dijon, ["vault"])
    assert services.current(town.dijon) == again
    assert town.dijon.memberships.count() == 2


GOOD = (
    TITLES
    + "21231;Dijon;12/01/2026;coffre-fort + boîtier;Jeanne Martin;jeanne@dijon.example\n"
    + "21054;BEAUNE;2026-02-01;;;\n"
)


def test_the_communes_of_a_file_have_joined(town: Any) -> None:
    done = services.import_members(SYSTEM, GOOD.encode("cp1252"))
    assert (done.created, done.updated, done.unchanged, done.faults) == (
        ("21231", "21054"),
        (),
        (),
        (),
    )
    dijon = services.current(town.dijon)
    assert dijon is not None
    assert (dijon.joined_on, dijon.tools) == (date(2026, 1, 12), ["vault", "box"])
    assert dijon.agreement is None, "nobody knows which text was signed before the portal"
    assert [contact.name for contact in dijon.contacts.all()] == ["Jeanne Martin"]
    assert Event.objects.filter(name="membership.joined").count() == 2


def test_the_same_file_again_changes_nothing(town: Any) -> None:
    services.import_members(SYSTEM, GOOD.encode())
    before = list(Membership.objects.values())
    again = services.import_members(SYSTEM, GOOD.encode())
    assert again.unchanged == ("21231", "21054")
    assert list(Membership.objects.values()) == before
    assert Event.objects.count() == 2


def test_a_corrected_file_corrects_and_empty_cells_erase_nothing(town: Any) -> None:
    services.import_members(SYSTEM, GOOD.encode())
    corrected = GOOD.replace(
        "12/01/2026;coffre-fort + boîtier;Jeanne Martin;jeanne@dijon.example", "13/01/2026;;;"
    )
    assert services.import_members(SYSTEM, corrected.encode()).updated == ("21231",)
    dijon = services.current(town.dijon)
    assert dijon is not None
    assert (dijon.joined_on, dijon.tools) == (date(2026, 1, 13), ["vault", "box"])
    assert dijon.contacts.get().name == "Jeanne Martin"


def test_a_dry_run_writes_nothing_at_all(town: Any) -> None:
    said = services.import_members(SYSTEM, GOOD.encode(), dry_run=True)
    assert said.created == ("21231", "21054")
    assert not Membership.objects.exists()
    assert not JournalEntry.objects.exists()


def test_good_lines_are_kept_beside_bad_ones(town: Any) -> None:
    bad = GOOD + "99999;Nulle-Part;01/01/2026;;;\n"
    done = services.import_members(SYSTEM, bad.encode())
    assert len(done.created) == 2
    assert [(fault.line, fault.column) for fault in done.faults] == [(4, "code_insee")]


def test_a_commune_that_leaves_is_not_brought_back_by_a_file(town: Any) -> None:
    services.import_members(SYSTEM, GOOD.encode())
    dijon = services.current(town.dijon)
    assert dijon is not None
    services.leave(SYSTEM, dijon)
    done = services.import_members(SYSTEM, GOOD.encode())
    assert done.unchanged == ("21054",)
    assert "cette commune part" in done.faults[0].message
    dijon.refresh_from_db()
    assert dijon.state == "leaving"


def test_an_unusable_file_is_refused_and_journalled(town: Any) -> None:
    with pytest.raises(UnreadableFile):
        services.import_members(SYSTEM, b"\x00\x01")
    assert not Membership.objects.exists()
    assert JournalEntry.objects.get().verb == "membership.import_refused"
