"""The journal: whole or proved broken."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from django.db import DatabaseError, connection, transaction

from souverain.core import clock, journal
from souverain.core.access import SYSTEM, Actor
from souverain.core.models import JournalDetail, JournalEntry, Refusal

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


@pytest.fixture
def five() -> list[JournalEntry]:
    return [
        journal.append(SYSTEM, "test.done", object=f"thing:{n}", detail={"nom": f"Élise {n}"})
        for n in range(5)
    ]


def unguarded(statement: str, parameters: list[object]) -> None:
    """What somebody with the database in their hands would do."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE core_journalentry DISABLE TRIGGER USER")
        else:
            cursor.execute("DROP TRIGGER IF EXISTS journal_no_update")
            for name in ("no_delete", "no_replace", "in_sequence"):
                cursor.execute(f"DROP TRIGGER IF EXISTS journal_{name}")
            cursor.execute("PRAGMA defer_foreign_keys=ON")
        cursor.execute(statement, parameters)


def forget_details() -> None:
    JournalDetail.objects.all().delete()


def test_a_chain_as_written_is_whole(five: list[JournalEntry]) -> None:
    outcome = journal.verify()
    assert outcome.whole
    assert (outcome.entries, outcome.head) == (5, journal.head())
    assert [entry.seq for entry in five] == [1, 2, 3, 4, 5]


def test_the_database_refuses_updates_and_deletes(five: list[JournalEntry]) -> None:
    for attempt in (
        lambda: JournalEntry.objects.filter(seq=3).update(verb="test.forged"),
        lambda: JournalEntry.objects.filter(seq=3).delete(),
    ):
        forget_details()
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            attempt()
    assert journal.verify().entries == 5


_COPY = (
    "INSERT INTO core_journalentry (seq, at, actor, verb, organisation, object, body, hash)"
    " SELECT %s, at, actor, verb, organisation, object, body, hash FROM core_journalentry"
    " WHERE seq = 2"
)


@pytest.mark.parametrize("seq", [-5, 0, 3, 7])
def test_the_database_takes_the_next_entry_only(five: list[JournalEntry], seq: int) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_COPY, [seq])
    assert journal.verify().entries == 5


@pytest.mark.parametrize("seq", [-5, 0])
def test_an_entry_slipped_in_before_the_first_is_found(five: list[JournalEntry], seq: int) -> None:
    unguarded(_COPY, [seq])
    outcome = journal.verify()
    assert outcome.fault and "entrée 1 manque ou a été déplacée" in outcome.fault


@pytest.mark.parametrize("body", [b"not json", b"[1]", b'{"seq":6}'])
def test_an_entry_that_no_one_can_read_is_found(five: list[JournalEntry], body: bytes) -> None:
    digest = hashlib.sha256(bytes(five[-1].hash) + body).digest()
    columns = "seq, at, actor, verb, organisation, object, body, hash"
    unguarded(
        f"INSERT INTO core_journalentry ({columns}) VALUES (6, '', '', '', '', '', %s, %s)",
        [body, digest],
    )
    outcome = journal.verify()
    assert outcome.fault and "entrée 6 est illisible" in outcome.fault


def test_a_column_turned_to_text_is_found(five: list[JournalEntry]) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite holds any type in any column")
    unguarded("UPDATE core_journalentry SET body = CAST(body AS TEXT) WHERE seq = %s", [3])
    outcome = journal.verify()
    assert outcome.fault and "entrée 3" in outcome.fault


def test_one_changed_byte_is_found(five: list[JournalEntry]) -> None:
    body = bytearray(bytes(JournalEntry.objects.get(seq=3).body))
    body[10] ^= 1
    unguarded("UPDATE core_journalentry SET body = %s WHERE seq = 3", [bytes(body)])
    outcome = journal.verify()
    assert outcome.fault and "entrée 3" in outcome.fault


@pytest.mark.parametrize("column", ["at", "actor", "verb", "organisation", "object"])
def test_a_changed_column_is_found(five: list[JournalEntry], column: str) -> None:
    unguarded(f"UPDATE core_journalentry SET {column} = %s WHERE seq = 2", ["forged"])
    outcome = journal.verify()
    assert outcome.fault and "entrée 2" in outcome.fault


def test_a_removed_entry_is_found(five: list[JournalEntry]) -> None:
    forget_details()
    unguarded("DELETE FROM core_journalentry WHERE seq = %s", [2])
    outcome = journal.verify()
    assert outcome.fault and "entrée 2" in outcome.fault


def test_two_swapped_entries_are_found(five: list[JournalEntry]) -> None:
    forget_details()
    for old, new in ((2, 99), (3, 2), (99, 3)):
        unguarded("UPDATE core_journalentry SET seq = %s WHERE seq = %s", [new, old])
    assert not journal.verify().whole


def test_a_cut_tail_is_found_with_a_head_kept_elsewhere(five: list[JournalEntry]) -> None:
    kept = journal.head()
    forget_details()
    unguarded("DELETE FROM core_journalentry WHERE seq > %s", [3])
    assert journal.verify().whole
    outcome = journal.verify(kept)
    assert outcome.fault and "coupée" in outcome.fault


def test_a_rewritten_chain_is_found_with_a_head_kept_elsewhere(five: list[JournalEntry]) -> None:
    forged = journal.Head(4, "00" * 32)
    outcome = journal.verify(forged)
    assert outcome.fault and "entrée 4" in outcome.fault


def test_a_changed_detail_is_found_and_an_erased_one_is_not_a_fault(
    five: list[JournalEntry],
) -> None:
    journal.erase_detail(SYSTEM, 2)
    assert journal.verify().whole
    JournalDetail.objects.filter(pk=4).update(content='{"nom":"Quelqu\'un d\'autre"}')
    outcome = journal.verify()
    assert outcome.fault and "entrée 4" in outcome.fault


def test_names_never_enter_the_sealed_bytes(five: list[JournalEntry]) -> None:
    assert all("Élise".encode() not in body for body in journal.bodies())


def test_identical_refusals_of_a_minute_become_two_entries() -> None:
    device = Actor("device", "abc")
    with clock.frozen(datetime(2026, 11, 24, 8, 0, 30, tzinfo=UTC)):
        for _ in range(10):
            journal.refuse(device, "vault.refused", object="21231/general", reason="role")
        journal.close_refusals()
        assert JournalEntry.objects.count() == 1
    with clock.frozen(datetime(2026, 11, 24, 8, 2, tzinfo=UTC)):
        journal.close_refusals()
    assert JournalEntry.objects.count() == 2
    assert b'"repeats":9' in list(journal.bodies())[1]
    assert not Refusal.objects.exists()
