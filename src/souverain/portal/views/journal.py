"""The journal."""

from __future__ import annotations

from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from souverain.core.access import organisations_in_reach, permits, requires
from souverain.core.format import datetime_fr
from souverain.core.models import JournalEntry, Organisation


@require_GET
@requires("core.journal")
def journal_page(request: HttpRequest) -> HttpResponse:
    """The journal of the organisations in reach, newest first."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = organisations_in_reach(actor, "core.journal")
    entries = JournalEntry.objects.order_by("-seq").defer("body", "hash")
    if not permits(actor, "core.journal", organisation=_departement()):
        entries = entries.filter(organisation__in=reach.values_list("code", flat=True))
    page = Paginator(entries, 50).get_page(request.GET.get("page"))
    rows = [
        [
            {"text": entry.seq, "value": entry.seq, "kind": "number"},
            {"text": datetime_fr(entry.happened_at), "value": entry.at},
            {"text": entry.actor},
            {"text": entry.verb},
            {"text": entry.organisation or "—"},
            {"text": entry.object or "—"},
        ]
        for entry in page
    ]
    columns = [
        {"title": "N°", "kind": "number"},
        {"title": "Quand"},
        {"title": "Qui"},
        {"title": "Fait"},
        {"title": "Organisation"},
        {"title": "Objet"},
    ]
    return render(request, "portal/journal.html", {"page": page, "rows": rows, "columns": columns})


def _departement() -> Organisation:
    return Organisation.objects.get(code=settings.DEPARTEMENT)
