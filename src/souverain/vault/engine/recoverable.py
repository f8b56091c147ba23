"""« Pourrions-nous tout récupérer aujourd'hui ? »: the answer for one deposit set, from what is known.

One pure function of the facts and the instant. Nothing is claimed without evidence: without a drill
that passed, nobody can say yes. That the password is kept in two places is known to no program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from souverain.vault.engine.drill import Verdict

RECENT = timedelta(days=35)  # a drill a month, and some days to make it up
OLD = timedelta(days=95)  # older than a quarter, it says nothing of today


class Word(StrEnum):
    """The answer, in the words of the page."""

    YES = "Oui"
    YES_BUT = "Oui, mais…"
    CANNOT_SAY = "Nous ne pouvons pas l'affirmer"
    NO = "Non"


class Reason(StrEnum):
    """Why the answer is not a plain yes."""

    NOTHING = "nothing"  # no backup is there
    LOST = "lost"  # the integrity pass found data damaged for good
    DRILL_FAILED = "drill-failed"
    NO_DRILL = "no-drill"
    DRILL_OLD = "drill-old"
    DRILL_UNFINISHED = "drill-unfinished"  # and none passed within `OLD`
    LATE = "late"
    ALARM = "alarm"
    DRILL_AGEING = "drill-ageing"
    UNKNOWN_KEY = "unknown-key"  # the drill's report is signed by a key that nobody registered
    NO_RESTIC = "no-restic"  # the drill ran without the stock program


_WORDS: dict[Reason, Word] = {
    Reason.NOTHING: Word.NO,
    Reason.LOST: Word.NO,
    Reason.DRILL_FAILED: Word.NO,
    Reason.NO_DRILL: Word.CANNOT_SAY,
    Reason.DRILL_OLD: Word.CANNOT_SAY,
    Reason.DRILL_UNFINISHED: Word.CANNOT_SAY,
    Reason.LATE: Word.YES_BUT,
    Reason.ALARM: Word.YES_BUT,
    Reason.DRILL_AGEING: Word.YES_BUT,
    Reason.UNKNOWN_KEY: Word.YES_BUT,
    Reason.NO_RESTIC: Word.YES_BUT,
}
_GRAVITY = (Word.NO, Word.CANNOT_SAY, Word.YES_BUT)


@dataclass(frozen=True)
class Drilled:
    """What counts of a drill. `known_key`: registered by the commune, or the département's own."""

    at: datetime
    verdict: Verdict
    known_key: bool = True
    with_restic: bool = True


@dataclass(frozen=True)
class Facts:
    """What is known of a set. `drills`: the latest that passed or failed, and the latest that did
    not finish, in any order. `lost_objects`: what an integrity pass found damaged beyond mending;
    None as long as no such pass told."""

    last_deposit_at: datetime | None
    is_late: bool
    alarm_open: bool
    drills: Sequence[Drilled] = ()
    lost_objects: int | None = None


@dataclass(frozen=True)
class Answer:
    """The word, and every reason, the gravest first."""

    word: Word
    reasons: tuple[Reason, ...]
    drill: Drilled | None
    """The one that the answer rests on."""


def answer(facts: Facts, now: datetime) -> Answer:
    """The gravest reason decides."""
    drill, reasons = _of_drills(facts.drills, now)
    if facts.last_deposit_at is None:
        reasons = [Reason.NOTHING]
    else:
        if facts.lost_objects:
            reasons.append(Reason.LOST)
        if facts.is_late:
            reasons.append(Reason.LATE)
        if facts.alarm_open:
            reasons.append(Reason.ALARM)
    order = list(Reason)
    ranked = tuple(sorted(reasons, key=order.index))
    words = {_WORDS[reason] for reason in ranked}
    word = next((each for each in _GRAVITY if each in words), Word.YES)
    return Answer(word, ranked, drill)


def _of_drills(drills: Sequence[Drilled], now: datetime) -> tuple[Drilled | None, list[Reason]]:
    judged = [each for each in drills if each.verdict is not Verdict.UNFINISHED]
    last = max(judged, key=lambda each: each.at, default=None)
    if last is None:
        return None, [Reason.DRILL_UNFINISHED if drills else Reason.NO_DRILL]
    if last.verdict is Verdict.FAILED:
        return last, [Reason.DRILL_FAILED]
    age, reasons = now - last.at, []
    if age > OLD:
        reasons.append(Reason.DRILL_OLD)
    elif age > RECENT:
        reasons.append(Reason.DRILL_AGEING)
    if not last.known_key:
        reasons.append(Reason.UNKNOWN_KEY)
    if not last.with_restic:
        reasons.append(Reason.NO_RESTIC)
    return last, reasons


# The 24-hour evidence ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """The time between two complete deposits; `until` is None when the next has not come."""

    since: datetime
    until: datetime | None
    length: timedelta


@dataclass(frozen=True)
class Receipts:
    """What the receipts of a period say. `first`: where they begin, when that is within it."""

    deposits: int
    gaps: tuple[Gap, ...]
    first: datetime | None

    @property
    def longest(self) -> Gap | None:
        return max(self.gaps, key=lambda gap: gap.length, default=None)

    def over(self, allowed: timedelta) -> tuple[Gap, ...]:
        """Those that are not below what is allowed."""
        return tuple(gap for gap in self.gaps if gap.length >= allowed)


def receipts(
    instants: Sequence[datetime],
    before: datetime | None,
    after: datetime | None,
    now: datetime,
) -> Receipts:
    """The gaps that touch a period, from the instants of its complete deposits, in order, and those
    of the last one `before` it and the first one `after`. Each is told whole, also where it goes
    beyond the period; without one after, the last is open. Without any deposit there is none."""
    known = [each for each in (before, *instants, after) if each is not None]
    gaps = [Gap(a, b, b - a) for a, b in pairwise(known)]
    if known and after is None:
        gaps.append(Gap(known[-1], None, now - known[-1]))
    return Receipts(len(instants), tuple(gaps), None if before else next(iter(instants), None))
