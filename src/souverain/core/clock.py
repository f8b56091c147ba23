"""The program's only source of time: UTC instants, and the legal day in Europe/Paris."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")

_frozen: ContextVar[datetime | None] = ContextVar("frozen_clock", default=None)


def now() -> datetime:
    """The current instant, in UTC."""
    return _frozen.get() or datetime.now(UTC)


def today() -> date:
    """The legal day, in Europe/Paris."""
    return now().astimezone(PARIS).date()


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """Start (inclusive) and end (exclusive) of a legal day, in UTC: 23, 24 or 25 hours apart."""
    start = datetime(day.year, day.month, day.day, tzinfo=PARIS)
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=PARIS)
    return start.astimezone(UTC), end.astimezone(UTC)


def rfc3339(instant: datetime) -> str:
    """UTC, microseconds, `Z`: `2026-11-23T18:00:00.000000Z`."""
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> datetime:
    """Read an RFC 3339 instant; raises ValueError when it has no offset or is not a date."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError("an instant needs an offset, e.g. Z")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC, before the year 1 or after 9999") from error


@contextmanager
def frozen(instant: datetime) -> Iterator[None]:
    """Hold the clock at one instant, for replays and tests."""
    token = _frozen.set(instant.astimezone(UTC))
    try:
        yield
    finally:
        _frozen.reset(token)
