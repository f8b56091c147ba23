"""How far ahead the store itself must lock the bytes of a name.

The store knows no death: it locks a version until an instant, which nobody can bring nearer. What
must stay is therefore locked a set's lock ahead of now, again and again, so that whoever stops the
program leaves every byte locked for about a lock. `MARGIN` lets a pass be late; each lengthening
reaches `AHEAD`, so that it is done for each version about once a week and not every day. Once all
lives of the name ended, nothing is locked beyond the end that the records give.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from souverain.vault.engine.retention import LOCK_DAYS, Life, Seen, free_from

MARGIN, AHEAD = timedelta(days=3), timedelta(days=10)
BUCKET_DAYS = LOCK_DAYS + AHEAD.days
"""For how long a bucket should lock by itself what arrives."""


@dataclass(frozen=True)
class Reach:
    """Until when the store must lock a version at least, and until when to lock it if it does not."""

    least: datetime
    aim: datetime


def reach(
    lives: Iterable[Life], lock: timedelta, seen: Seen, now: datetime, *, held: bool
) -> Reach:
    """The reach for the bytes that these lives share; `now` is the store's own time, so that a
    false clock of ours locks nothing for years.

    >>> from datetime import UTC
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> found = reach([Life(now, None)], timedelta(days=90), Seen((now,)), now, held=False)
    >>> (found.least - now).days, (found.aim - now).days
    (93, 100)
    """
    end = None if held else free_from(lives, lock, seen)
    least, aim = now + lock + MARGIN, now + lock + AHEAD
    return Reach(least, aim) if end is None else Reach(min(least, end), min(aim, end))
