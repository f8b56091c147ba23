"""What the rows of a deposit set tell of its past: moments to go back to, size over time."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from souverain.core import clock
from souverain.vault import guide
from souverain.vault.models import DepositSet, StoredObject


@dataclass(frozen=True)
class Moment:
    """An instant at which a deposit was received, and how many snapshots lived then."""

    at: datetime
    snapshots: int

    @property
    def text(self) -> str:
        """As a repository address takes it."""
        return clock.rfc3339(self.at)

    @property
    def target(self) -> str:
        """A folder of its own for what comes back: two moments are never mixed."""
        return f"RETOUR-{self.at.astimezone(clock.PARIS):%Y-%m-%d-%Hh%Mm%S}"

    @property
    def commands(self) -> str:
        return guide.back_in_time(self.text, self.target)

    @property
    def windows_commands(self) -> str:
        return guide.back_in_time_on_windows(self.text, self.target)


def moments(deposit_set: DepositSet) -> list[Moment]:
    """Every complete moment with a state of its own to restore, newest first. What a client
    deleted since is there too: the state of a moment never changes while its bytes are kept."""
    births, deaths = _lives(deposit_set)
    return [
        Moment(at, number - bisect_right(deaths, at))
        for number, at in reversed(list(enumerate(births, 1)))
        if is_complete(deposit_set, at)
    ]


def is_complete(deposit_set: DepositSet, at: datetime) -> bool:
    """Whether all that lived at an instant is still on disk."""
    return deposit_set.complete_since is None or at >= deposit_set.complete_since


def moment(deposit_set: DepositSet, at: datetime) -> Moment:
    """The state of any instant."""
    births, deaths = _lives(deposit_set)
    return Moment(at, bisect_right(births, at) - bisect_right(deaths, at))


def first_deposit_at(deposit_set: DepositSet) -> datetime | None:
    births, _ = _lives(deposit_set)
    return next(iter(births), None)


def _lives(deposit_set: DepositSet) -> tuple[list[datetime], list[datetime]]:
    """When the set's snapshots came, and when clients deleted some, each in order of time."""
    snapshots = StoredObject.objects.filter(deposit_set=deposit_set, type="snapshots")
    lives = list(snapshots.values_list("received_at", "died_at"))
    return sorted(born for born, _ in lives), sorted(died for _, died in lives if died is not None)


Series = list[tuple[datetime, float]]


def sizes(deposit_set: DepositSet) -> tuple[Series, Series]:
    """(stored, live) bytes at the end of each legal day on which one of them changed. Stored
    bytes shrink by a reaping alone: deleted objects stay on disk until then, and one that comes
    back meanwhile takes no more."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    before = rows.filter(
        Q(reaped_at=None) | Q(reaped_at__gt=OuterRef("received_at")),
        type=OuterRef("type"),
        name=OuterRef("name"),
        received_at__lt=OuterRef("received_at"),
    )
    stored: dict[date, int] = defaultdict(int)
    live: dict[date, int] = defaultdict(int)
    for day, total in _by_day(rows, "received_at"):
        stored[day] += total
        live[day] += total
    for day, total in _by_day(rows.filter(Exists(before)), "received_at"):
        stored[day] -= total
    # The lives of a name share one file, and are reaped at one instant.
    earlier = rows.filter(
        type=OuterRef("type"),
        name=OuterRef("name"),
        reaped_at=OuterRef("reaped_at"),
        pk__lt=OuterRef("pk"),
    )
    for day, total in _by_day(rows.exclude(reaped_at=None).exclude(Exists(earlier)), "reaped_at"):
        stored[day] -= total
    for day, total in _by_day(rows.exclude(died_at=None), "died_at"):
        live[day] -= total
    days = sorted(set(stored) | set(live))
    return _running(days, stored), _running(days, live)


def _by_day(rows: QuerySet[StoredObject], instant: str) -> list[tuple[date, int]]:
    days = rows.annotate(day=TruncDate(instant, tzinfo=clock.PARIS))
    return list(days.values_list("day").annotate(total=Sum("size")))


def _running(days: list[date], changes: dict[date, int]) -> Series:
    """Sums since the start of the first day, each at the end of its day, or now."""
    total = 0
    # A single day is one value, not a slope.
    points: Series = [(clock.day_bounds(days[0])[0], 0)] if len(days) > 1 else []
    for day in days:
        total += changes[day]
        points.append((min(clock.day_bounds(day)[1], clock.now()), total))
    return points
