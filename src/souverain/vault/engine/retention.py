"""When the bytes of an object may leave the disk, and when the clock that says so is to be doubted.

Every instant is the server's own: neither a client's time nor a file's date is an argument here.
A lock is a span that the reaper must have *seen* pass: it notes the instant of each of its passes,
and what lies between two passes further apart than `STEP_MAX` counts for nothing (a clock set
forward, or a server that was off). So a clock moved by a year shortens no lock, whoever confirms it.

Why `Seen.after` never promises too early: let d be the recorded death, and t the last true instant
at or after the death at which the clock showed d or less. Since t the clock showed more than d, so
each leap forward made since leads beyond d and is added; leaps backward only add to the wait. Hence
the true time since t, and so since the death, is at least the lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

LOCK_DAYS, LOCK_DAYS_MAX = 90, 3650
STEP_MAX = timedelta(days=3)


class Doubt(StrEnum):
    """Why the clock is not believed."""

    LEAPT = "leapt"
    WENT_BACK = "went-back"


@dataclass(frozen=True)
class Life:
    """One life of an object's name: received, and perhaps deleted by a client."""

    received_at: datetime
    died_at: datetime | None


@dataclass(frozen=True)
class Seen:
    """The time that the reaper saw pass: the instants of its passes, in the order they were made."""

    passes: tuple[datetime, ...] = ()

    @property
    def leaps(self) -> list[tuple[datetime, datetime]]:
        """(from, to) of the spans between two passes that nobody saw pass."""
        return [(a, b) for a, b in pairwise(self.passes) if b - a > STEP_MAX]

    def doubt(self, now: datetime) -> Doubt | None:
        """Whether the clock leapt, or went back, since the last pass."""
        if not self.passes:
            return None
        if now < self.passes[-1]:
            return Doubt.WENT_BACK
        return Doubt.LEAPT if now - self.passes[-1] > STEP_MAX else None

    def after(self, start: datetime, wait: timedelta) -> datetime | None:
        """The first instant at which `wait` was seen to pass since `start`; None before any pass.

        >>> from datetime import UTC
        >>> day = [datetime(2026, 1, d, tzinfo=UTC) for d in (1, 2, 3, 13, 14)]
        >>> Seen((day[0], day[2], day[3])).after(day[1], timedelta(days=5)).day
        17
        """
        if not self.passes:
            return None
        unseen = sum(((b - a) for a, b in self.leaps if b > start), timedelta())
        return max(start, self.passes[0]) + wait + unseen


def free_from(lives: Iterable[Life], lock: timedelta, seen: Seen) -> datetime | None:
    """The instant from which the bytes that these lives share may leave, as things stand; None
    while one of them lives, or before the reaper's first pass."""
    found: list[datetime] = []
    for life in lives:
        if life.died_at is None:
            return None
        end = seen.after(max(life.received_at, life.died_at), lock)
        if end is None:
            return None
        found.append(end)
    return max(found, default=None)


def removable(
    lives: Iterable[Life], lock: timedelta, seen: Seen, now: datetime, *, held: bool
) -> bool:
    """Whether the bytes that these lives share may leave the disk now: nobody holds their set, the
    clock is believed, all are dead, and the lock of each was seen to pass."""
    if held or seen.doubt(now) is not None:
        return False
    end = free_from(lives, lock, seen)
    return end is not None and end <= now
