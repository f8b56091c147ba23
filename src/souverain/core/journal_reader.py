"""Reading the journal at any size: by filters, newest first, a page at a time after a cursor.

Nothing counts rows: the numbering has no gap. Days become numbers by bisection of the chain, so
that no index on the time is needed; if the server's clock was once set back, the limit of a day is
where the chain passes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from django.db.models import QuerySet

from souverain.core import clock, journal
from souverain.core.access import Actor, of_departement, organisations_in_reach, permits
from souverain.core.models import JournalEntry


@dataclass(frozen=True)
class Filters:
    """What somebody looks for. `organisations`: None for all. Days are legal days, inclusive."""

    organisations: Sequence[str] | None = None
    actor: str = ""
    verb: str = ""
    first_day: date | None = None
    last_day: date | None = None


@dataclass(frozen=True)
class Page:
    """Entries newest first, and the cursors of the pages beside it."""

    entries: list[JournalEntry]
    older: int | None
    """Pass as `before` to see what comes before these entries."""
    newer: int | None
    """Pass as `after` to see what comes after these entries."""


def _seq_at(day: date) -> int:
    """The number of the first entry at or after the start of a legal day."""
    start = clock.rfc3339(clock.day_bounds(day)[0])
    low, high = 1, journal.head().seq + 1
    while low < high:
        middle = (low + high) // 2
        at = JournalEntry.objects.values_list("at", flat=True).get(seq=middle)
        low, high = (middle + 1, high) if at < start else (low, middle)
    return low


def _matching(filters: Filters) -> QuerySet[JournalEntry]:
    entries = JournalEntry.objects.all()
    if filters.organisations is not None:
        codes = list(filters.organisations)
        one = {"organisation": codes[0]} if len(codes) == 1 else {"organisation__in": codes}
        entries = entries.filter(**one)
    if filters.actor:
        entries = entries.filter(actor=filters.actor)
    if filters.verb:
        entries = entries.filter(verb=filters.verb)
    if filters.first_day:
        entries = entries.filter(seq__gte=_seq_at(filters.first_day))
    if filters.last_day:
        entries = entries.filter(seq__lt=_seq_at(filters.last_day + timedelta(days=1)))
    return entries


def in_reach(actor: Actor) -> list[str] | None:
    """The organisations whose entries the actor may read, by code; None for all."""
    if permits(actor, "core.journal", **of_departement()):
        return None
    return list(organisations_in_reach(actor, "core.journal").values_list("code", flat=True))


def page(
    filters: Filters,
    size: int,
    *,
    before: int | None = None,
    after: int | None = None,
    sealed: bool = False,
) -> Page:
    """The newest entries, or those just before or just after a number; `sealed`: with their bodies
    and hashes."""
    entries = _matching(filters)
    entries = entries if sealed else entries.defer("body", "hash")
    if after is not None:
        found = list(entries.filter(seq__gt=after).order_by("seq")[: size + 1])
        more, found = len(found) > size, found[:size][::-1]
        return Page(
            found, after + 1 if not found else found[-1].seq, found[0].seq if more else None
        )
    if before is not None:
        entries = entries.filter(seq__lt=before)
    found = list(entries.order_by("-seq")[: size + 1])
    more, found = len(found) > size, found[:size]
    newer = (found[0].seq if found else before - 1) if before is not None else None
    return Page(found, found[-1].seq if more else None, newer)


def batches(filters: Filters, size: int, limit: int) -> Iterator[list[JournalEntry]]:
    """The newest entries with their sealed bodies, in batches, at most `limit` in all."""
    entries = _matching(filters).order_by("-seq")
    before: int | None = None
    while limit > 0:
        wanted = min(size, limit)
        found = list((entries.filter(seq__lt=before) if before else entries)[:wanted])
        if found:
            yield found
        if len(found) < wanted:
            return
        before, limit = found[-1].seq, limit - wanted


def narrowed(filters: Filters, code: str) -> Filters:
    """The filters on one organisation, which must be among those allowed."""
    allowed = filters.organisations
    if not code:
        return filters
    return replace(filters, organisations=[code] if allowed is None or code in allowed else [])
