"""The communes: the map and the list for anybody, and one page each for those who may see it."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from django.db.models import F, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page, require_GET

from souverain.core import queries
from souverain.core.access import organisations_in_reach, permits, requires
from souverain.territory.atlas import atlas
from souverain.territory.engine.search import Entry
from souverain.territory.models import Commune

SHOWN_FOUND = 50
JOINED = {"value": "joined", "label": "A rejoint le cloud", "color": "vigne"}
NOT_JOINED = {"value": "not-joined", "label": "Pas encore", "color": "pierre"}
COMMUNE = {"value": "commune", "label": "Commune", "color": "or"}
COLUMNS = [
    {"title": "Commune"},
    {"title": "Code INSEE"},
    {"title": "Codes postaux"},
    {"title": "Habitants", "kind": "number"},
    {"title": "Intercommunalité"},
]


def commune_of(request: HttpRequest, code: str, **_: Any) -> dict[str, Any]:
    """The access target of a commune's pages."""
    if not (code.isascii() and code.isalnum()):
        raise Http404  # PostgreSQL refuses some characters with an error of its own
    commune = get_object_or_404(Commune.objects.select_related("organisation"), code=code)
    return {"organisation": commune.organisation}


def _in_reach(request: HttpRequest) -> set[str]:
    """The codes of the organisations whose page this person may open."""
    actor = request.actor  # type: ignore[attr-defined]
    return set(organisations_in_reach(actor, "portal.commune").values_list("code", flat=True))


def _joined() -> Collection[str] | None:
    """The communes that have joined; None when no room answers."""
    return queries.members.ask()


@require_GET
@requires("core.public")
def communes(request: HttpRequest) -> HttpResponse:
    """The map and the list of all the communes; with `q`, those that a search finds. The code of
    a commune that this person may open leads straight to its page."""
    text = request.GET.get("q", "")[:100].strip()
    reach, joined = _in_reach(request), _joined()
    if text in reach and Commune.objects.filter(code=text).exists():
        return redirect("portal:commune", code=text)
    found = [item.entry for item in atlas().index.search(text, SHOWN_FOUND)] if text else []
    context = {
        "text": text,
        "columns": [*COLUMNS, *([] if joined is None else [{"title": "Cloud"}])],
        "rows": _found_rows(found, reach, joined) if text else _all_rows(reach, joined),
        "count": Commune.objects.count(),
        "population": Commune.objects.aggregate(all=Sum("population"))["all"],
        "joined_count": None if joined is None else len(joined),
        "map": _map(joined),
    }
    return render(request, "portal/communes.html", context)


def _map(joined: Collection[str] | None) -> dict[str, Any]:
    """What the map component is told."""
    return {
        "source": " ; ".join(atlas().sources) + ", Licence Ouverte 2.0",
        "legend": [COMMUNE] if joined is None else [JOINED, NOT_JOINED],
    }


def _state(code: str, joined: Collection[str] | None) -> dict[str, str]:
    if joined is None:
        return COMMUNE
    return JOINED if code in joined else NOT_JOINED


def _all_rows(reach: set[str], joined: Collection[str] | None) -> list[list[dict[str, Any]]]:
    return [_row(facts, reach, joined) for facts in _facts().order_by("name", "code")]


def _found_rows(
    found: list[Entry], reach: set[str], joined: Collection[str] | None
) -> list[list[dict[str, Any]]]:
    listed = _facts().filter(code__in=[entry.code for entry in found])
    rows = {facts.code: facts for facts in listed}
    return [
        _row(rows[entry.code], reach, joined, entry.name if entry.former_code else "")
        for entry in found
        if entry.code in rows
    ]


@cache
def _page_of(code: str) -> str:
    """The address of a commune's page: it never changes while the program runs."""
    return reverse("portal:commune", args=[code])


def _facts() -> QuerySet[Commune, Any]:
    """What the list tells of each commune, as plain rows: models would take most of the time."""
    return Commune.objects.annotate(intercommunality=F("epci__organisation__name")).values_list(
        "code", "name", "postcodes", "population", "intercommunality", named=True
    )


def _row(
    facts: Any, reach: set[str], joined: Collection[str] | None, former_name: str = ""
) -> list[dict[str, Any]]:
    link = _page_of(facts.code) if facts.code in reach else ""
    cells: list[dict[str, Any]] = [
        {
            "text": f"{facts.name} (anciennement {former_name})" if former_name else facts.name,
            "url": link,
        },
        {"text": facts.code},
        {"text": ", ".join(facts.postcodes)},
        {"text": facts.population, "value": facts.population, "kind": "number"},
        {"text": facts.intercommunality or "—"},
    ]
    if joined is not None:
        state = _state(facts.code, joined)
        kind = "ok" if state is JOINED else "neutral"
        cells.append({"text": state["label"], "state": kind})
    return cells


@gzip_page
@conditional_page
@require_GET
@requires("core.public")
def communes_map(request: HttpRequest) -> HttpResponse:
    """The map's surfaces: names and states for anybody, links only to the pages that this person
    may open."""
    reach, joined = _in_reach(request), _joined()
    content = atlas().geojson(
        {
            area.code: {
                "state": _state(area.code, joined)["value"],
                **({"href": _page_of(area.code)} if area.code in reach else {}),
            }
            for area in atlas().areas
        }
    )
    response = HttpResponse(content, content_type="application/geo+json")
    response.headers["Cache-Control"] = "private, no-cache"
    return response


@require_GET
@requires("portal.commune", of=commune_of)
def commune(request: HttpRequest, code: str) -> HttpResponse:
    """One commune: what each room does for it, who its members are, and what is known of it."""
    found = Commune.objects.select_related("organisation", "epci__organisation").get(code=code)
    actor, joined = request.actor, _joined()  # type: ignore[attr-defined]
    context = {
        "commune": found,
        "trail": [
            {"title": "Communes", "url": reverse("portal:communes")},
            {"title": found.name},
        ],
        "membership": queries.membership.ask(code),
        "former": found.former_communes.order_by("name", "code"),
        "cards": queries.commune_card.ask_all(code),
        "members": found.organisation.role_assignments.filter(group=None).select_related("user"),
        "may_manage": permits(actor, "core.members", organisation=found.organisation),
        "map": _map(joined),
    }
    return render(request, "portal/commune.html", context)
