"""What a drill's report is, what the answer follows from, and the gaps between deposits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from souverain.vault import witness
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import Budget, Piece, Report, ReportError, Verdict
from souverain.vault.engine.recoverable import (
    Drilled,
    Facts,
    Reason,
    Word,
    answer,
    receipts,
)
from souverain.vault.engine.tlog import note

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = witness.key_of("21231", SECRET)
REPORT = Report(
    commune="21231",
    set="general",
    where="machine",
    key=str(KEY),
    at=reports.instant(NOW),
    moment=reports.instant(NOW),
    snapshot_at=reports.instant(NOW),
    snapshots=3,
    files_in_snapshot=10,
    bytes_in_snapshot=1000,
    whole_listing=True,
    files_restored=4,
    bytes_restored=400,
    restic_version="0.14.0",
    verdict="passed",
)

# The report ---------------------------------------------------------------------------------------


def test_a_report_is_read_back_and_nothing_else_is() -> None:
    signed = str(reports.sign(REPORT, SECRET)).encode()
    assert reports.read(signed) == REPORT
    for at in range(0, len(signed)):
        changed = bytearray(signed)
        changed[at] ^= 1
        with pytest.raises(ReportError):
            reports.read(bytes(changed))


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(content: bytes) -> None:
    for bad in (content, b"souverain-drill/v1\n" + content):
        with pytest.raises(ReportError):
            reports.read(bad)
    with pytest.raises(ReportError):
        Report.parse(content)


def test_a_report_is_never_taken_for_a_checkpoint_nor_for_a_cosignature() -> None:
    """One key signs all three: what it signed as one proves nothing as another."""
    signed = reports.sign(REPORT, SECRET)
    with pytest.raises(note.NoteError):
        note.Checkpoint.parse(signed.text)
    [line] = signed.signatures
    assert note.cosigned_at(signed.text, line, KEY) is None
    checkpoint = str(note.Checkpoint("cotedor.invalid/vault/21231", 7, bytes(32)))
    cosignature = note.cosign(checkpoint, KEY.name, SECRET, 1)
    as_note = note.Signature(KEY.name, line.key_id, cosignature.content[8:])
    for text in (signed.text, checkpoint):
        with pytest.raises(ReportError):
            reports.read(str(note.Note(text, (as_note,))).encode())
    # The log's own key signs the console's reports: they are no checkpoints either.
    log_key = note.Key.of("cotedor.invalid/vault/21231", SECRET)
    console = reports.sign(replace(REPORT, where="departement", key=str(log_key)), SECRET)
    assert console.is_signed_by(log_key)
    with pytest.raises(note.NoteError):
        note.Checkpoint.parse(console.text)
    log_signed = note.Note(checkpoint, (note.sign(checkpoint, log_key.name, SECRET),))
    with pytest.raises(ReportError):
        reports.read(str(log_signed).encode())


@pytest.mark.parametrize(
    ("faults", "limit", "files", "expected"),
    [
        ((), "", 3, Verdict.PASSED),
        ((), "", 0, Verdict.UNFINISHED),
        ((), "budget", 3, Verdict.UNFINISHED),
        ((("content", 1),), "", 3, Verdict.FAILED),
        ((("content", 1),), "budget", 0, Verdict.FAILED),
    ],
)
def test_the_verdict(
    faults: tuple[tuple[str, int], ...], limit: str, files: int, expected: Verdict
) -> None:
    assert reports.verdict(faults, limit, files) is expected


def test_a_sample_stays_within_its_reads() -> None:
    budget = Budget(files=9, size=10_000, reads=1000)
    pack, other = b"a" * 32, b"b" * 32
    assert budget.takes(100, [Piece(pack, 0, 100)], 50)  # 100 ours, 100 theirs, 2 x 50
    assert budget.takes(100, [Piece(pack, 0, 100)], 0)  # ours alone: restic has the stretch
    assert not budget.takes(100, [Piece(pack, 900, 1000)], 0)  # restic would fetch all between
    assert budget.takes(100, [Piece(other, 900, 1000)], 0)
    assert not budget.takes(10_000, [], 0), "more bytes than are left"
    few = Budget(files=1, size=10)
    assert few.takes(5, [], 0) and not few.takes(5, [], 0)


@pytest.mark.parametrize(
    ("path", "roots", "expected"),
    [
        (b"/home/x/Documents/a", [b"/home/x/Documents"], [b"/home/x/Documents/a"]),
        (b"/mairie/a/b", [b"/tmp/x/mairie"], [b"/tmp/x/mairie/a/b"]),
        (b"/mairie/a", [b"/srv/autre", b"/srv/mairie"], [b"/srv/mairie/a"]),
        (b"/a", [b"/srv/mairie"], []),
        (b"/y/x/f", [b"/y/x", b"/z/y"], [b"/y/x/f", b"/z/y/x/f"]),
    ],
)
def test_where_a_file_of_a_backup_is_on_the_disk(
    path: bytes, roots: list[bytes], expected: list[bytes]
) -> None:
    assert list(reports.on_disk(path, roots)) == expected


# The answer ---------------------------------------------------------------------------------------


def ago(days: int, verdict: Verdict = Verdict.PASSED, **more: bool) -> Drilled:
    return Drilled(NOW - timedelta(days=days), verdict, **more)


FINE = Facts(last_deposit_at=NOW, is_late=False, alarm_open=False, drills=(ago(3),))
FAILED, UNFINISHED = Verdict.FAILED, Verdict.UNFINISHED
TABLE: list[tuple[str, dict[str, object], Word, list[Reason]]] = [
    ("all is well", {}, Word.YES, []),
    ("nothing lost", {"lost_objects": 0}, Word.YES, []),
    ("nothing there", {"last_deposit_at": None}, Word.NO, [Reason.NOTHING]),
    ("nothing there, late", {"last_deposit_at": None, "is_late": True}, Word.NO, [Reason.NOTHING]),
    ("data lost", {"lost_objects": 1}, Word.NO, [Reason.LOST]),
    ("failed", {"drills": (ago(1, FAILED),)}, Word.NO, [Reason.DRILL_FAILED]),
    ("failed long ago", {"drills": (ago(900, FAILED),)}, Word.NO, [Reason.DRILL_FAILED]),
    ("failed, then passed", {"drills": (ago(9, FAILED), ago(1))}, Word.YES, []),
    ("passed, then failed", {"drills": (ago(9), ago(1, FAILED))}, Word.NO, [Reason.DRILL_FAILED]),
    (
        "failed, then unfinished",
        {"drills": (ago(9, FAILED), ago(1, UNFINISHED))},
        Word.NO,
        [Reason.DRILL_FAILED],
    ),
    ("no drill", {"drills": ()}, Word.CANNOT_SAY, [Reason.NO_DRILL]),
    (
        "unfinished only",
        {"drills": (ago(1, UNFINISHED),)},
        Word.CANNOT_SAY,
        [Reason.DRILL_UNFINISHED],
    ),
    ("passed, then unfinished", {"drills": (ago(9), ago(1, UNFINISHED))}, Word.YES, []),
    ("35 days", {"drills": (ago(35),)}, Word.YES, []),
    ("36 days", {"drills": (ago(36),)}, Word.YES_BUT, [Reason.DRILL_AGEING]),
    ("95 days", {"drills": (ago(95),)}, Word.YES_BUT, [Reason.DRILL_AGEING]),
    ("96 days", {"drills": (ago(96),)}, Word.CANNOT_SAY, [Reason.DRILL_OLD]),
    ("late", {"is_late": True}, Word.YES_BUT, [Reason.LATE]),
    ("alarm", {"alarm_open": True}, Word.YES_BUT, [Reason.ALARM]),
    (
        "unknown key",
        {"drills": (ago(3, known_key=False),)},
        Word.YES_BUT,
        [Reason.UNKNOWN_KEY],
    ),
    ("no restic", {"drills": (ago(3, with_restic=False),)}, Word.YES_BUT, [Reason.NO_RESTIC]),
    (
        "failed, by an unknown key",
        {"drills": (ago(3, FAILED, known_key=False),)},
        Word.NO,
        [Reason.DRILL_FAILED],
    ),
    (
        "all at once",
        {"is_late": True, "alarm_open": True, "lost_objects": 2, "drills": ()},
        Word.NO,
        [Reason.LOST, Reason.NO_DRILL, Reason.LATE, Reason.ALARM],
    ),
]


@pytest.mark.parametrize(
    ("changes", "word", "reasons"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_answer(changes: dict[str, object], word: Word, reasons: list[Reason]) -> None:
    found = answer(replace(FINE, **changes), NOW)  # type: ignore[arg-type]
    assert (found.word, list(found.reasons)) == (word, reasons)


_drilled = st.builds(
    ago,
    st.integers(0, 400),
    st.sampled_from(list(Verdict)),
    known_key=st.booleans(),
    with_restic=st.booleans(),
)


@given(
    st.builds(
        Facts,
        last_deposit_at=st.sampled_from([None, NOW]),
        is_late=st.booleans(),
        alarm_open=st.booleans(),
        drills=st.lists(_drilled, max_size=3),
        lost_objects=st.sampled_from([None, 0, 3]),
    )
)
def test_nobody_ever_hears_yes_without_a_drill_that_passed(facts: Facts) -> None:
    found = answer(facts, NOW)
    if found.word in (Word.YES, Word.YES_BUT):
        assert found.drill is not None and found.drill.verdict is Verdict.PASSED
        assert not facts.lost_objects and facts.last_deposit_at
    assert (found.word is Word.YES) == (not found.reasons)


# The 24 hours -------------------------------------------------------------------------------------

DAY = timedelta(hours=24)


def test_the_gaps_of_a_period() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    at = [start + timedelta(hours=hours) for hours in (3, 26, 51)]
    told = receipts(at, start - timedelta(hours=22), None, start + timedelta(hours=60))
    assert [gap.length for gap in told.gaps] == [timedelta(hours=h) for h in (25, 23, 25, 9)]
    assert told.deposits == 3 and told.first is None and told.gaps[-1].until is None
    assert [gap.length for gap in told.over(DAY)] == [timedelta(hours=25)] * 2
    assert told.longest == told.gaps[0]


def test_a_period_in_which_nothing_came() -> None:
    start = datetime(2026, 11, 1, tzinfo=UTC)
    told = receipts([], start, start + 9 * DAY, start + 20 * DAY)
    assert told.deposits == 0 and [gap.length for gap in told.gaps] == [9 * DAY]
    silent = receipts([], start, None, start + 20 * DAY)
    assert silent.gaps[0].until is None and silent.gaps[0].length == 20 * DAY
    assert receipts([], None, None, start).longest is None
    first = receipts([start], None, start + DAY, start + 9 * DAY)
    assert first.first == start and [gap.length for gap in first.over(DAY)] == [DAY]


def test_a_backup_every_evening_at_eight_in_october_has_a_day_of_25_hours() -> None:
    paris = ZoneInfo("Europe/Paris")
    at = [datetime(2026, 10, day, 20, tzinfo=paris).astimezone(UTC) for day in (23, 24, 25, 26)]
    told = receipts(at, None, None, at[-1])
    assert [gap.length for gap in told.gaps[:3]] == [DAY, timedelta(hours=25), DAY]
