"""The journal as data: the entries of the organisations in reach, newest first."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpRequest
from ninja import Query, Router, Schema

from souverain.core import journal_reader
from souverain.core.access import requires
from souverain.core.api import Moment
from souverain.core.journal_reader import Filters
from souverain.core.models import JournalEntry

router = Router(tags=["journal"])


class EntryItem(Schema):
    """One entry. `data`: identifiers, counts and digests; names and addresses are not given."""

    seq: int
    at: Moment
    actor: str
    verb: str
    organisation: str | None
    object: str | None
    data: dict[str, Any]
    hash: str


class Entries(Schema):
    """A page, newest first. `older`: pass it as `before` to have the next; null at the end."""

    count: int
    items: list[EntryItem]
    older: int | None


def _item(entry: JournalEntry) -> EntryItem:
    return EntryItem(
        seq=entry.seq,
        at=entry.at,
        actor=entry.actor,
        verb=entry.verb,
        organisation=entry.organisation or None,
        object=entry.object or None,
        data=orjson.loads(bytes(entry.body))["data"] or {},
        hash=bytes(entry.hash).hex(),
    )


@router.get("/journal", response=Entries)
@requires("core.journal")
def journal(
    request: HttpRequest,
    before: int | None = Query(None, ge=1, le=2**53),
    after: int | None = Query(None, ge=0, le=2**53),
    limit: int = Query(50, ge=1, le=500),
    organisation: str = Query("", max_length=40),
    verb: str = Query("", max_length=60),
) -> Entries:
    """The journal of the organisations within reach, newest first, `limit` entries a page.
    `before` and `after` are numbers of entries: with `after`, the entries that follow it."""
    reach = journal_reader.in_reach(request.actor)  # type: ignore[attr-defined]
    filters = journal_reader.narrowed(Filters(organisations=reach, verb=verb), organisation)
    page = journal_reader.page(filters, limit, before=before, after=after, sealed=True)
    return Entries(
        count=len(page.entries), items=[_item(entry) for entry in page.entries], older=page.older
    )
