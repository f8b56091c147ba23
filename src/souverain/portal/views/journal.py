"""The journal: filtered, exported, and one entry with its sealed bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

import orjson
from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from souverain.core import clock, journal, journal_reader, rooms
from souverain.core.access import of_departement, permits, requires
from souverain.core.format import day_short, number_fr, time_fr
from souverain.core.journal_reader import Filters
from souverain.core.models import JournalDetail, JournalEntry, Organisation, User
from souverain.portal.forms import JournalForm

PAGE = 50
EXPORT_LIMIT = 100_000
_BATCH = 2_000
_ACTORS = {"system": "Le programme", "anonymous": "Personne inconnue"}
_KINDS = {"console": "Console", "device": "Appareil", "user": "Personne n°"}


@require_GET
@requires("core.journal")
def journal_page(request: HttpRequest) -> HttpResponse:
    """The journal of the organisations in reach, newest first."""
    form = JournalForm(request.GET)
    reach = journal_reader.in_reach(request.actor)  # type: ignore[attr-defined]
    filters = _filters(form, reach)
    found = journal_reader.page(
        filters,
        PAGE,
        before=_cursor(request.GET.get("avant")),
        after=_cursor(request.GET.get("apres")),
    )
    head = journal.head()
    context = {
        "form": form,
        "everywhere": reach is None,
        "place": _name_of(request.GET.get("organisation", "")),
        "nothing_found": "Aucune entrée ne répond à cette recherche."
        if form.is_valid()
        else "La recherche a une erreur, signalée plus haut : rien n'a été cherché.",
        "filtered": any(request.GET.get(name) for name in form.fields),
        "head": head if permits(request.actor, "core.operate", **of_departement()) else None,  # type: ignore[attr-defined]
        "count": head.seq,
        "rows": _rows(request, found.entries),
        "columns": [
            {"title": "N°", "kind": "number"},
            {"title": "Quand"},
            {"title": "Fait"},
            {"title": "Par qui"},
            {"title": "Organisation"},
            {"title": "Objet"},
        ],
        "older": _address(request, avant=found.older),
        "newer": _address(request, apres=found.newer),
        "newest": _address(request) if request.GET.get("avant") or request.GET.get("apres") else "",
        "csv": _address(request, "portal:journal_export", format="csv"),
        "jsonl": _address(request, "portal:journal_export", format="jsonl"),
        "export_limit": EXPORT_LIMIT,
    }
    return render(request, "portal/journal.html", context)


@require_GET
@requires("core.journal")
def export(request: HttpRequest) -> StreamingHttpResponse:
    """The filtered journal as CSV, or as JSON lines with the sealed bodies; streamed."""
    form = JournalForm(request.GET)
    filters = _filters(form, journal_reader.in_reach(request.actor))  # type: ignore[attr-defined]
    as_csv = request.GET.get("format") != "jsonl"
    journal.append(
        request.actor,  # type: ignore[attr-defined]
        "journal.exported",
        organisation=(filters.organisations or [""])[0],
        data={"format": "csv" if as_csv else "jsonl"},
    )
    batches = journal_reader.batches(filters, _BATCH, EXPORT_LIMIT)
    lines = map(_csv, batches) if as_csv else map(_jsonl, batches)
    response = StreamingHttpResponse(
        _streamed(_CSV_HEAD if as_csv else b"", lines),
        content_type="text/csv; charset=utf-8" if as_csv else "application/jsonl",
    )
    name = "journal.csv" if as_csv else "journal.jsonl"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _of_entry(seq: int, **_: Any) -> dict[str, Any]:
    """The organisation of an entry; the département when it names none."""
    entry = get_object_or_404(JournalEntry.objects.defer("body"), seq=seq)
    found = Organisation.objects.filter(code=entry.organisation).first()
    return {"organisation": found} if found else of_departement()


@require_GET
@requires("core.journal", of=_of_entry)
def journal_entry(request: HttpRequest, seq: int) -> HttpResponse:
    """One entry: what it seals, whether it follows the one before, and its personal detail."""
    entry = get_object_or_404(JournalEntry, seq=seq)
    body, digest = bytes(entry.body), bytes(entry.hash)
    before = JournalEntry.objects.filter(seq=seq - 1).values_list("hash", flat=True).first()
    previous = bytes(before) if before is not None else journal.GENESIS
    sealed = orjson.loads(body)
    may_see = permits(request.actor, "core.journal_detail", **_of_entry(seq=seq))  # type: ignore[attr-defined]
    detail = JournalDetail.objects.filter(entry=entry).first() if may_see else None
    [row] = _rows(request, [entry])
    context = {
        "entry": entry,
        "trail": [
            {"title": "Journal", "url": reverse("portal:journal")},
            {"title": f"Entrée {number_fr(entry.seq)}"},
        ],
        "what": rooms.verbs().get(entry.verb, entry.verb),
        "who": row[3]["text"],
        "where": row[4]["text"],
        "whole": hashlib.sha256(previous + body).digest() == digest,
        "previous": previous.hex(),
        "hash": digest.hex(),
        "body": body.decode(),
        "data": sealed["data"],
        "has_detail": sealed["detail"] is not None,
        "may_see": may_see,
        "detail": json.loads(detail.content) if detail else None,
    }
    return render(request, "portal/journal_entry.html", context)


# What is looked for ------------------------------------------------------------------------------


def _filters(form: JournalForm, reach: list[str] | None) -> Filters:
    """What the form asks, within the organisations in reach; a form with a fault finds nothing."""
    if not form.is_valid():
        return Filters(organisations=[])
    asked = form.cleaned_data
    filters = Filters(
        organisations=reach,
        actor=_actor_asked(asked["qui"]),
        verb=asked["fait"],
        first_day=asked["du"],
        last_day=asked["au"],
    )
    return journal_reader.narrowed(filters, asked["organisation"])


def _name_of(code: str) -> str:
    """What was typed to find the commune of this code."""
    found = Organisation.objects.filter(code=code[:40]).values_list("name", flat=True).first()
    return found or code


def _actor_asked(text: str) -> str:
    """An actor as the journal names it; an e-mail address stands for its person."""
    if "@" not in text:
        return text
    found = User.objects.filter(email=text.lower()).values_list("pk", flat=True).first()
    return f"user:{found}" if found else text


def _cursor(text: str | None) -> int | None:
    fits = text is not None and text.isascii() and text.isdigit() and len(text) <= 18
    return int(text or 0) if fits else None


def _address(request: HttpRequest, route: str = "portal:journal", **more: Any) -> str:
    """This view's filters on a route, with other cursors; empty when a cursor is None."""
    if None in more.values():
        return ""
    kept = {name: request.GET[name] for name in JournalForm.base_fields if request.GET.get(name)}
    query = urlencode(kept | {name: str(value) for name, value in more.items()})
    return f"{reverse(route)}?{query}" if query else reverse(route)


# What is shown -----------------------------------------------------------------------------------


def _rows(request: HttpRequest, entries: Sequence[JournalEntry]) -> list[list[dict[str, Any]]]:
    codes = {entry.organisation for entry in entries}
    places = {found.code: found for found in Organisation.objects.filter(code__in=codes)}
    people = _people(request, entries, places)
    words, listing = rooms.verbs(), reverse("portal:journal")
    return [
        [
            {
                "text": number_fr(entry.seq),
                "value": entry.seq,
                "kind": "number",
                "url": f"{listing}{entry.seq}/",
            },
            {"text": _when(entry), "value": entry.at},
            {"text": words.get(entry.verb, entry.verb)},
            {"text": people.get((entry.actor, entry.organisation)) or _actor(entry.actor)},
            {"text": str(places.get(entry.organisation) or entry.organisation or "—")},
            {"text": entry.object or "—"},
        ]
        for entry in entries
    ]


def _when(entry: JournalEntry) -> str:
    at = entry.happened_at.astimezone(clock.PARIS)
    return f"{day_short(at.date())}, {time_fr(at)}"


def _people(
    request: HttpRequest, entries: Sequence[JournalEntry], places: dict[str, Organisation]
) -> dict[tuple[str, str], str]:
    """Names of the persons who acted, where the reader may know them."""
    whole = of_departement()["organisation"]
    allowed = {
        code
        for code in {entry.organisation for entry in entries}
        if permits(
            request.actor,  # type: ignore[attr-defined]
            "core.journal_detail",
            organisation=places.get(code, whole),
        )
    }
    asked = {
        (entry.actor, entry.organisation)
        for entry in entries
        if entry.organisation in allowed and entry.actor.startswith("user:")
    }
    found = User.objects.in_bulk([int(actor[5:]) for actor, _ in asked if actor[5:].isdigit()])
    return {
        (actor, code): found[int(actor[5:])].display_name
        for actor, code in asked
        if int(actor[5:]) in found
    }


def _actor(actor: str) -> str:
    """`user:12` as a person reads it."""
    kind, _, identity = actor.partition(":")
    return _ACTORS.get(actor) or f"{_KINDS.get(kind, kind)} {identity}"


# What is exported --------------------------------------------------------------------------------

_COLUMNS = ("seq", "at", "actor", "verb", "fait", "organisation", "object", "hash")
_CSV_HEAD = "\ufeff".encode() + ";".join(_COLUMNS).encode() + b"\r\n"


def _cell(text: str) -> str:
    """A spreadsheet must never take a cell for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(entries: list[JournalEntry]) -> bytes:
    words = rooms.verbs()
    lines = io.StringIO()
    csv.writer(lines, delimiter=";").writerows(
        [
            entry.seq,
            entry.at,
            *map(_cell, (entry.actor, entry.verb, words.get(entry.verb, ""))),
            *map(_cell, (entry.organisation, entry.object)),
            bytes(entry.hash).hex(),
        ]
        for entry in entries
    )
    return lines.getvalue().encode()


def _jsonl(entries: list[JournalEntry]) -> bytes:
    """The bodies as they are sealed: `hash` can be computed again from the file."""
    return b"".join(
        b'{"hash":"' + bytes(entry.hash).hex().encode() + b'","body":' + bytes(entry.body) + b"}\n"
        for entry in entries
    )


async def _streamed(head: bytes, lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Under ASGI only an asynchronous iterator is sent piece by piece."""
    if head:
        yield head
    following = sync_to_async(partial(next, lines, b""))
    while piece := await following():
        yield piece
