"""The journal against concurrent writers, kills, and whoever holds the database in their hands."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from souverain.cli import main
from souverain.core import clock, journal, worker
from souverain.core.access import SYSTEM
from souverain.core.models import JournalDetail, JournalEntry
from souverain.core.tests import chain

pytestmark = [pytest.mark.db_both]
SOURCE = Path(__file__).resolve().parents[3]
PROVING = os.environ.get("SOUVERAIN_PROVE") == "1"
PRELUDE = """
import django; django.setup()
from django.db import connection, transaction
from souverain.core import journal
from souverain.core.access import SYSTEM
from souverain.core.tests import chain
"""
WRITER = """
import sys
name, count = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    with transaction.atomic():
        entry = journal.append(SYSTEM, "test.done", object=f"{name}:{n}")
        if n % 5 == 0:
            entry = journal.append(SYSTEM, "test.done", object=f"{name}:{n}:again")
        if n % 7 == 6:
            transaction.set_rollback(True)
    if n % 7 != 6:
        print(entry.seq, flush=True)
"""


class House:
    """A database of its own, and real processes that write in it."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "DATABASE_URL": database_url,
            "PYTHONPATH": str(SOURCE),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }
        self.file = home / "souverain.sqlite3"

    def command(self, code: str, *arguments: object) -> list[str]:
        return [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]

    def python(self, code: str, *arguments: object) -> str:
        done = subprocess.run(
            self.command(code, *arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def writers(self, count: int, each: int) -> list[subprocess.Popen[str]]:
        """Processes that are ready to write, and wait for one line."""
        started = [
            subprocess.Popen(
                self.command(WRITER, f"w{n}", each),
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(count)
        ]
        for process in started:
            assert process.stdout and process.stdout.readline() == "ready\n"
        return started

    def verify(self) -> tuple[int, str | None]:
        code = "import json; o = journal.verify(); print(json.dumps([o.entries, o.fault]))"
        entries, fault = json.loads(self.python(code))
        return entries, fault


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("home")
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith("postgres"):
        made = House(home, "")
        made.python(
            "from django.core.management import call_command; call_command('migrate', verbosity=0)"
        )
        yield made
        return
    name = f"proofs_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    made = House(home, url.rpartition("/")[0] + f"/{name}")
    made.python(
        "from django.core.management import call_command; call_command('migrate', verbosity=0)"
    )
    yield made
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


# Writers that race or die ------------------------------------------------------------------------


def test_processes_that_write_at_once_leave_one_chain_without_a_gap(house: House) -> None:
    before, _ = house.verify()
    each = 1000 if PROVING else 35
    writers = house.writers(4, each)
    for writer in writers:
        go(writer)
    told = [int(line) for writer in writers for line in writer.communicate(timeout=600)[0].split()]
    assert all(writer.returncode == 0 for writer in writers)
    assert len(told) == len(set(told))
    kept = [n for n in range(each) if n % 7 != 6]
    written = 4 * (len(kept) + sum(n % 5 == 0 for n in kept))
    assert house.verify() == (before + written, None)
    assert house.python("print(journal.head().seq)") == str(before + written)


def test_a_writer_killed_at_any_moment_leaves_a_whole_chain(house: House) -> None:
    for _ in range(34 if PROVING else 1):
        writers = house.writers(3, 100_000)
        for writer in writers:
            go(writer)
        last = 0
        for writer in writers:
            assert writer.stdout
            for _ in range(random.randint(1, 40)):
                last = max(last, int(writer.stdout.readline()))
            writer.send_signal(signal.SIGKILL)
            # Through the same reader: `communicate` would lose what it already holds.
            last = max([last, *map(int, _whole_lines(writer.stdout.read()))])
            writer.wait()
        entries, fault = house.verify()
        assert fault is None
        assert entries >= last, "an entry that was acknowledged is gone"


def _whole_lines(text: str) -> list[str]:
    return text.split("\n")[:-1]


# One byte among many -----------------------------------------------------------------------------

ONE_BYTE = """
import random, json, sys
from datetime import datetime, timedelta, UTC
count = int(sys.argv[1])
chain.fill(count, since=datetime(2026, 1, 1, tzinfo=UTC))
assert journal.verify().whole
wounded = random.randint(journal.head().seq - count + 1, journal.head().seq)
with transaction.atomic(), connection.cursor() as cursor:
    cursor.execute("SELECT body FROM core_journalentry WHERE seq = %s", [wounded])
    body = bytearray(cursor.fetchone()[0])
    body[random.randrange(len(body))] ^= 1 << random.randrange(8)
    if connection.vendor == "postgresql":
        cursor.execute("ALTER TABLE core_journalentry DISABLE TRIGGER USER")
    else:
        cursor.execute("DROP TRIGGER journal_no_update")
    cursor.execute("UPDATE core_journalentry SET body = %s WHERE seq = %s", [bytes(body), wounded])
    outcome = journal.verify()
    transaction.set_rollback(True)
print(json.dumps([wounded, outcome.fault, journal.verify().whole]))
"""


def test_one_bit_changed_among_many_entries_is_named(house: House, proving: bool) -> None:
    count = 1_000_000 if proving else 25_000
    wounded, fault, whole_again = json.loads(house.python(ONE_BYTE, count))
    assert fault and f"entrée {wounded} " in fault
    assert whole_again


# Every kind of harm, on small chains -------------------------------------------------------------

SMALL = 6
TEXTS = ("at", "actor", "verb", "organisation", "object")


def harm(draw: Any) -> list[tuple[str, list[Any]]]:
    """Statements that change the chain in one way."""
    n = draw(st.integers(1, SMALL))
    entry = JournalEntry.objects.get(seq=n)
    kind = draw(
        st.sampled_from(
            [
                "body",
                "hash",
                "text",
                "seq",
                "remove",
                "swap",
                "cut body",
                "grow body",
                "add",
                "detail",
            ]
        )
    )
    change = "UPDATE core_journalentry SET {} = %s WHERE seq = %s"
    match kind:
        case "body" | "hash":
            content = bytearray(bytes(getattr(entry, kind)))
            content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
            return [(change.format(kind), [bytes(content), n])]
        case "cut body":
            kept = draw(st.integers(0, len(entry.body) - 1))
            return [(change.format("body"), [bytes(entry.body)[:kept], n])]
        case "grow body":
            return [(change.format("body"), [bytes(entry.body) + draw(st.binary(min_size=1)), n])]
        case "text":
            column = draw(st.sampled_from(TEXTS))
            text = draw(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20))
            return [(change.format(column), [text + "x" + getattr(entry, column)[:5], n])]
        case "seq":
            return [(change.format("seq"), [draw(st.integers(SMALL + 2, 10**12)), n])]
        case "swap":
            other = draw(st.integers(1, SMALL).filter(lambda m: m != n))
            return [(change.format("seq"), pair) for pair in ([99, n], [n, other], [other, 99])]
        case "remove":
            # A cut tail is another test: it needs a head kept elsewhere.
            return [("DELETE FROM core_journalentry WHERE seq = %s", [min(n, SMALL - 1)])]
        case "add":
            row = [
                SMALL + 1,
                *(getattr(entry, c) for c in TEXTS),
                bytes(entry.body),
                bytes(entry.hash),
            ]
            return [(journal.INSERT, row)]
        case _:
            forged = draw(st.sampled_from(["content", "salt"]))
            value = '{"nom":"x"}' if forged == "content" else bytes(16)
            return [
                (f"UPDATE core_journaldetail SET {forged} = %s WHERE entry_id = %s", [value, n])
            ]


@pytest.mark.django_db
@settings(
    max_examples=1000 if PROVING else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_single_harm_is_found(data: st.DataObject) -> None:
    with transaction.atomic():
        for n in range(1, SMALL + 1):
            journal.append(SYSTEM, "test.done", object=f"thing:{n}", detail={"nom": f"Élise {n}"})
        assert journal.verify().whole
        statements = harm(data.draw)
        with connection.cursor() as cursor:
            _unguard(cursor)
            if "DELETE" in statements[0][0] or "seq" in statements[0][0]:
                cursor.execute("DELETE FROM core_journaldetail")
                assert journal.verify().whole
            for statement, parameters in statements:
                cursor.execute(statement, parameters)
        assert not journal.verify().whole, statements
        transaction.set_rollback(True)


def _unguard(cursor: Any) -> None:
    """What the owner of the database can do, and the database cannot refuse."""
    if connection.vendor == "postgresql":
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE core_journalentry DISABLE TRIGGER USER")
    else:
        for action in ("update", "delete", "replace"):
            cursor.execute(f"DROP TRIGGER journal_no_{action}")
        cursor.execute("PRAGMA defer_foreign_keys=ON")


@pytest.mark.django_db
def test_a_chain_rewritten_whole_is_found_with_a_head_kept_elsewhere() -> None:
    import hashlib

    for n in range(SMALL):
        journal.append(SYSTEM, "test.done", object=f"thing:{n}")
    kept = journal.head()
    with transaction.atomic(), connection.cursor() as cursor:
        _unguard(cursor)
        previous = journal.GENESIS
        for entry in JournalEntry.objects.order_by("seq"):
            body = bytes(entry.body).replace(b"thing:2", b"thing:9")
            previous = hashlib.sha256(previous + body).digest()
            cursor.execute(
                "UPDATE core_journalentry SET object = replace(object, 'thing:2', 'thing:9'),"
                " body = %s, hash = %s WHERE seq = %s",
                [body, previous, entry.seq],
            )
        assert journal.verify().whole
        outcome = journal.verify(kept)
        assert outcome.fault and "empreinte conservée" in outcome.fault
        transaction.set_rollback(True)


# What the database refuses by itself -------------------------------------------------------------

_ROW = "(2, '', '', '', '', '', '', '')"
_INSERT = "INTO core_journalentry (seq, at, actor, verb, organisation, object, body, hash) VALUES"
REFUSED = {
    "sqlite": [
        "UPDATE core_journalentry SET verb = 'x' WHERE seq = 2",
        "UPDATE OR REPLACE core_journalentry SET seq = 3 WHERE seq = 2",
        "DELETE FROM core_journalentry WHERE seq = 2",
        "DELETE FROM core_journalentry",
        f"INSERT OR REPLACE {_INSERT} {_ROW}",
        f"REPLACE {_INSERT} {_ROW}",
        f"INSERT {_INSERT} {_ROW} ON CONFLICT (seq) DO UPDATE SET verb = 'x'",
    ],
    "postgresql": [
        "UPDATE core_journalentry SET verb = 'x' WHERE seq = 2",
        "DELETE FROM core_journalentry WHERE seq = 2",
        "TRUNCATE core_journalentry CASCADE",
        "TRUNCATE core_journalentry, core_journaldetail",
        "WITH gone AS (DELETE FROM core_journalentry RETURNING 1) SELECT * FROM gone",
        f"INSERT {_INSERT} {_ROW} ON CONFLICT (seq) DO UPDATE SET verb = 'x'",
        "MERGE INTO core_journalentry j USING (SELECT 2) s(n) ON j.seq = s.n"
        " WHEN MATCHED THEN DELETE",
    ],
}


@pytest.mark.django_db
def test_the_database_refuses_every_statement_that_changes_the_past() -> None:
    for n in range(3):
        journal.append(SYSTEM, "test.done", object=f"thing:{n}")
    for statement in REFUSED[connection.vendor]:
        with (
            pytest.raises(DatabaseError, match="append-only"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert journal.verify().entries == 3


def _wound(file: Path) -> None:
    with sqlite3.connect(file) as stranger:
        stranger.execute("UPDATE core_journalentry SET verb = 'test.forged' WHERE seq = 2")


def test_tricks_on_the_file_are_refused_or_found(tmp_path: Path) -> None:
    """SQLite's own: ATTACH keeps the triggers; a rewritten schema and an edited file do not, and
    `verify` finds what was changed."""
    if os.environ.get("DATABASE_URL", "").startswith("postgres"):
        return  # one file of SQLite is the subject
    house = House(tmp_path, "")
    house.python(
        "from django.core.management import call_command; call_command('migrate', verbosity=0)\n"
        "for n in range(5): journal.append(SYSTEM, 'test.done', object=f'thing:{n}')\n"
        "connection.cursor().execute('PRAGMA wal_checkpoint(TRUNCATE)')"
    )
    outside = sqlite3.connect(":memory:")
    outside.execute("ATTACH ? AS j", [str(house.file)])
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        outside.execute("UPDATE j.core_journalentry SET verb = 'test.forged'")
    outside.close()

    content = house.file.read_bytes()
    assert b"thing:3" in content
    house.file.write_bytes(content.replace(b'"object":"thing:3"', b'"object":"thing:8"'))
    entries, fault = house.verify()
    assert (entries, fault is not None and "entrée 4" in fault) == (3, True)
    house.file.write_bytes(content)
    assert house.verify() == (5, None)

    with sqlite3.connect(house.file) as stranger:
        stranger.execute("PRAGMA writable_schema=ON")
        stranger.execute("DELETE FROM sqlite_master WHERE name LIKE 'journal_no_%'")
    _wound(house.file)
    _, fault = house.verify()
    assert fault and "entrée 2" in fault


@pytest.mark.django_db
def test_the_owner_of_postgresql_can_pass_the_triggers_and_is_found() -> None:
    if connection.vendor != "postgresql":
        return  # SQLite's tricks are above
    for n in range(3):
        journal.append(SYSTEM, "test.done", object=f"thing:{n}")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE core_journalentry SET verb = 'test.forged' WHERE seq = 2")
        cursor.execute("SET LOCAL session_replication_role = origin")
    outcome = journal.verify()
    assert outcome.fault and "entrée 2" in outcome.fault


# What may be sealed ------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "data",
    [
        {"n": 0.5},
        {"n": float("nan")},
        {"n": [1, {"x": float("inf")}]},
        {"n": 2**70},
        {"n": b"octets"},
        {"n": datetime(2026, 1, 1, tzinfo=UTC)},
        {"n": {1, 2}},
        {"n": "x" * 20_000},
        {1: "x"},
    ],
    ids=str,
)
def test_only_what_has_one_writing_is_sealed(data: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        journal.append(SYSTEM, "test.done", data=data)
    assert JournalEntry.objects.count() == 0
    journal.append(SYSTEM, "test.done", data={"n": 2**63 - 1, "list": [True, None, "é"]})
    assert journal.verify().whole


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 5000, "é\0" * 300])
def test_a_hostile_object_or_reason_is_still_journalled(text: str) -> None:
    journal.append(SYSTEM, "test.done", object=text)
    for _ in range(3):
        journal.refuse(SYSTEM, "test.refused", object=text, reason=text)
    assert JournalEntry.objects.count() == 2
    assert journal.verify().whole


@pytest.mark.django_db
def test_a_verb_whose_entry_cannot_be_written_did_not_happen() -> None:
    with pytest.raises(ValueError), transaction.atomic():
        entry = journal.append(SYSTEM, "test.done")
        journal.append(SYSTEM, "test.done", data={"n": 0.1})
    assert not JournalEntry.objects.filter(pk=entry.pk).exists()


@pytest.mark.django_db
def test_erasing_the_detail_leaves_the_chain_whole_and_a_trace() -> None:
    entry = journal.append(SYSTEM, "test.done", detail={"nom": "Élise Moreau"})
    journal.erase_detail(SYSTEM, entry.seq)
    journal.erase_detail(SYSTEM, entry.seq)
    assert not JournalDetail.objects.exists()
    assert journal.verify().whole
    verbs = list(JournalEntry.objects.order_by("seq").values_list("verb", flat=True))
    assert verbs == ["test.done", "journal.detail_erased"]


# The head, day after day -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("night", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_the_head_is_exported_once_each_legal_day(
    night: date, hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(django_settings, "HOME", tmp_path)
    start, _ = clock.day_bounds(night - timedelta(days=1))
    _, end = clock.day_bounds(night + timedelta(days=1))
    now, turns = start, 0
    while now < end:
        with clock.frozen(now):
            journal.append(SYSTEM, "test.done", object=f"turn:{turns}")
            worker.export_journal_head()
        now, turns = now + timedelta(minutes=10), turns + 1
    files = sorted((tmp_path / "journal-heads").glob("*.json"))
    days = [(night + timedelta(days=n)).isoformat() for n in (-1, 0, 1)]
    assert [file.stem for file in files] == days
    heads = [json.loads(file.read_text()) for file in files]
    assert heads[2]["seq"] - heads[1]["seq"] == hours * 6
    for head in heads:
        assert journal.verify(journal.Head(head["seq"], head["hash"])).whole


@pytest.mark.django_db
def test_verify_at_the_command_line_ends_with_the_truth(tmp_path: Path) -> None:
    for n in range(5):
        journal.append(SYSTEM, "test.done", object=f"thing:{n}")
    run = CliRunner().invoke
    kept = run(main, ["journal", "head", "--json"])
    file = tmp_path / "head.json"
    file.write_text(kept.stdout)
    assert run(main, ["journal", "verify", "--head", str(file)]).exit_code == 0
    answer = run(main, ["journal", "verify", "--json"])
    assert json.loads(answer.stdout)["entries"] == 5

    file.write_text("{}")
    answer = run(main, ["journal", "verify", "--head", str(file)])
    assert answer.exit_code == 1 and "clé « seq »" in answer.output
    assert run(main, ["journal", "verify", "--head", "absent.json"]).exit_code == 2

    file.write_text(kept.stdout)
    with connection.cursor() as cursor:
        _unguard(cursor)
        cursor.execute("DELETE FROM core_journalentry WHERE seq > 3")
    assert run(main, ["journal", "verify"]).exit_code == 0
    answer = run(main, ["journal", "verify", "--head", str(file)])
    assert answer.exit_code == 1 and "coupée" in answer.output


@pytest.mark.django_db
def test_a_long_chain_made_at_once_is_as_appended() -> None:
    """What the large tests and the benchmark stand on."""
    chain.fill(50, since=datetime(2026, 1, 1, tzinfo=UTC))
    journal.append(SYSTEM, "test.done")
    assert journal.verify().entries == 51
