"""The journal's page: what is looked for is found, everything is reached, nothing else is shown."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime

import pytest
from django.test import Client

from souverain.core import access, clock, journal
from souverain.core.models import JournalEntry, RoleAssignment, User
from souverain.core.roles import Role
from souverain.core.tests.conftest import Cast, cast

__all__ = ["cast"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


def signed_in(user: User) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


@pytest.fixture
def operator(cast: Cast) -> Client:
    return signed_in(cast.people[Role.OPERATOR])


@pytest.fixture
def secretary(cast: Cast) -> Client:
    return signed_in(cast.people[Role.COMMUNE_ADMIN])


@pytest.fixture
def entries(cast: Cast) -> list[int]:
    """120 entries, an hour and a half apart, around the night when clocks go back in Paris."""
    actor = access.of_user(cast.people[Role.COMMUNE_MEMBER])
    made = []
    for n in range(120):
        at = datetime.fromtimestamp(1792800000 + n * 5400, UTC)
        with clock.frozen(at):
            made.append(
                journal.append(
                    access.SYSTEM if n % 3 else actor,
                    "vault.quota_set" if n % 2 else "vault.set_created",
                    organisation="21231" if n % 4 else "21054",
                    object=f"=objet-{n}",
                    detail={"nom": f"Élise {n}"},
                ).seq
            )
    return made


def numbers(client: Client, question: str = "") -> list[int]:
    page = client.get(f"/journal/{question}")
    assert page.status_code == 200
    return [int(n) for n in re.findall(r'href="/journal/(\d+)/"', page.content.decode())]


def link(client: Client, question: str, relation: str) -> str | None:
    content = client.get(f"/journal/{question}").content.decode()
    found = re.search(rf'href="/journal/([^"]*)" rel="{relation}"', content)
    return found and found[1].replace("&amp;", "&")


def test_going_back_page_by_page_reaches_every_entry_once(
    operator: Client, entries: list[int]
) -> None:
    seen, question = [], ""
    while True:
        seen += numbers(operator, question)
        older = link(operator, question, "next")
        if older is None:
            break
        question = older
    assert [n for n in seen if n in entries] == entries[::-1]
    assert len(seen) == len(set(seen))
    newer = link(operator, question, "prev")
    assert newer is not None
    assert min(numbers(operator, newer)) == max(numbers(operator, question)) + 1


def test_a_commune_sees_its_own_entries_only(secretary: Client, entries: list[int]) -> None:
    shown = numbers(secretary)
    codes = JournalEntry.objects.filter(seq__in=shown).values_list("organisation", flat=True)
    assert shown and set(codes) == {"21231"}
    assert numbers(secretary, "?organisation=21054") == []


def test_verb_and_person_narrow_the_list(cast: Cast, operator: Client, entries: list[int]) -> None:
    shown = numbers(operator, "?fait=vault.set_created")
    assert shown == [n for i, n in reversed(list(enumerate(entries))) if i % 2 == 0][:50]
    email = cast.people[Role.COMMUNE_MEMBER].email
    shown = numbers(operator, f"?qui={email}&fait=vault.quota_set")
    assert shown == [n for i, n in reversed(list(enumerate(entries))) if i % 3 == 0 and i % 2][:50]


@pytest.mark.parametrize("day", ["2026-10-24", "2026-10-25", "2026-10-26"])
def test_a_day_is_the_legal_day_even_of_25_hours(cast: Cast, entries: list[int], day: str) -> None:
    operator = signed_in(cast.people[Role.OPERATOR])
    start, end = clock.day_bounds(datetime.fromisoformat(day).date())
    inside = [
        entry.seq
        for entry in JournalEntry.objects.filter(seq__in=entries)
        if start <= entry.happened_at < end
    ]
    assert inside
    assert numbers(operator, f"?du={day}&au={day}") == sorted(inside, reverse=True)


def test_jsonl_holds_the_sealed_bytes_and_the_export_is_journalled(
    operator: Client, entries: list[int]
) -> None:
    answer = operator.get("/journal/export/?format=jsonl&fait=vault.quota_set")
    lines = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert [line["body"]["seq"] for line in lines] == [
        n for n in reversed(entries) if n % 2 == entries[1] % 2
    ]
    newest = lines[0]["body"]["seq"]
    body = bytes(JournalEntry.objects.get(seq=newest).body)
    before = bytes(JournalEntry.objects.get(seq=newest - 1).hash)
    assert hashlib.sha256(before + body).hexdigest() == lines[0]["hash"]
    assert journal.verify().whole
    assert JournalEntry.objects.order_by("-seq")[0].verb == "journal.exported"


def test_csv_has_french_words_and_no_formula(secretary: Client, entries: list[int]) -> None:
    answer = secretary.get("/journal/export/?format=csv")
    lines = b"".join(answer).decode("utf-8-sig").splitlines()
    assert lines[0].split(";")[:3] == ["seq", "at", "actor"]
    assert len(lines) == 1 + 90 + 1  # head, Dijon's entries, and the export itself
    assert "Place accordée au coffre-fort" in lines[2]
    assert all(line.split(";")[6].startswith("'=objet") for line in lines[2:])
    assert not any(";21054;" in line for line in lines)


def test_an_entry_shows_its_bytes_and_its_detail_to_whom_may(
    cast: Cast, operator: Client, entries: list[int]
) -> None:
    content = operator.get(f"/journal/{entries[1]}/").content.decode()
    assert "Scellée" in content and "Élise 1" in content and "vault.quota_set" in content
    auditor = signed_in(cast.people[Role.AUDITOR])
    content = auditor.get(f"/journal/{entries[1]}/").content.decode()
    assert "Scellée" in content and "Élise" not in content
    journal.erase_detail(access.SYSTEM, entries[1])
    assert "effacé" in operator.get(f"/journal/{entries[1]}/").content.decode()
    assert journal.verify().whole


def test_a_name_is_shown_only_to_whom_may_know_it(cast: Cast, entries: list[int]) -> None:
    person = cast.people[Role.COMMUNE_MEMBER]
    User.objects.filter(pk=person.pk).update(full_name="Élise Moreau")
    assert "Élise Moreau" in signed_in(cast.people[Role.OPERATOR]).get("/journal/").content.decode()
    content = signed_in(cast.people[Role.AUDITOR]).get("/journal/").content.decode()
    assert "Élise Moreau" not in content and f"Personne n° {person.pk}" in content


def test_nothing_found_says_what_to_do(operator: Client, entries: list[int]) -> None:
    content = operator.get("/journal/?fait=vault.refused").content.decode()
    assert "Aucune entrée ne répond" in content and "Tout montrer" in content


@pytest.mark.parametrize(
    "question",
    [
        "?avant=99999999999999999999999",
        "?avant=-1",
        "?apres=18446744073709551616",
        "?apres=x&avant=y",
        "?fait=inconnu",
        "?organisation=" + "9" * 5000,
        "?du=9999-12-31&au=9999-12-31",
        "?du=0001-01-01",
        "?du=demain",
        "?au=0001-01-01",
    ],
)
def test_a_hostile_question_is_answered(
    operator: Client, entries: list[int], question: str
) -> None:
    assert operator.get(f"/journal/{question}").status_code == 200
    assert operator.get(f"/journal/export/{question}").status_code == 200


def test_an_entry_that_does_not_exist_is_not_found(operator: Client) -> None:
    for number in (999, 10**30):
        assert operator.get(f"/journal/{number}/").status_code == 404


def test_who_reads_nothing_is_refused(cast: Cast, entries: list[int]) -> None:
    member = signed_in(cast.people[Role.COMMUNE_MEMBER])
    for path in ("/journal/", "/journal/export/", f"/journal/{entries[0]}/"):
        assert member.get(path).status_code == 403


def test_several_organisations_are_read_together(cast: Cast, entries: list[int]) -> None:
    person = cast.people[Role.COMMUNE_ADMIN]
    RoleAssignment.objects.create(user=person, role=Role.COMMUNE_ADMIN, organisation=cast.beaune)
    shown = numbers(signed_in(person))
    assert shown == entries[::-1][:50]


def test_a_search_keeps_what_was_asked_and_says_what_is_wrong(
    operator: Client, entries: list[int]
) -> None:
    question = "?organisation=21231&fait=vault.quota_set&qui=system&du=2026-10-24&au=2026-10-30"
    page = operator.get(f"/journal/{question}").content.decode()
    for kept in (
        'value="2026-10-24"',
        'value="2026-10-30"',
        'value="system"',
        '<option value="vault.quota_set" selected>',
        'name="organisation" value="21231"',
        'value="Dijon"',
    ):
        assert kept in page, kept
    backwards = operator.get("/journal/?du=2026-10-30&au=2026-10-24").content.decode()
    assert "1 erreur à corriger" in backwards and "précède le premier" in backwards
    assert 'href="#id_au"' in backwards and "rien n&#x27;a été cherché" in backwards
    assert "Aucune entrée ne répond" in operator.get("/journal/?qui=personne").content.decode()
