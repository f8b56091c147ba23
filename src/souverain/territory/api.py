"""Open data about the communes, for anybody."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Query, Router

from souverain.core.access import requires
from souverain.territory.engine.search import Entry, search
from souverain.territory.models import Commune, Epci, FormerCommune

router = Router(tags=["territory"])


def _communes() -> QuerySet[Commune]:
    return Commune.objects.select_related("epci__organisation").prefetch_related(
        Prefetch("former_communes", FormerCommune.objects.order_by("code"))
    )


def _item(commune: Commune) -> dict[str, Any]:
    epci = commune.epci
    return {
        "code": commune.code,
        "name": commune.name,
        "population": commune.population,
        "siren": commune.siren or None,
        "postcodes": commune.postcodes,
        "arrondissement": commune.arrondissement or None,
        "epci_code": epci.organisation.code if epci else None,
        "epci_name": epci.organisation.name if epci else None,
        "longitude_deg": commune.longitude_deg,
        "latitude_deg": commune.latitude_deg,
        "area_km2": commune.area_km2,
        "former_communes": [
            {"code": former.code, "name": former.name or None}
            for former in commune.former_communes.all()
        ],
    }


@router.get("/communes")
@requires("territory.view")
def communes(
    request: HttpRequest, q: str = Query("", max_length=100), limit: int = Query(20, ge=1, le=1000)
) -> dict[str, Any]:
    """All the communes in order of code; with `q`, the best matches first."""
    rows = list(_communes())
    if q:
        by_code = {row.code: row for row in rows}
        rows = [by_code[entry.code] for entry in search(_entries(rows), q, limit)]
    return {"count": len(rows), "items": [_item(row) for row in rows]}


def _entries(rows: list[Commune]) -> list[Entry]:
    """Each commune under its name, and under the names of the communes that it took in."""
    entries = []
    for row in rows:
        names = [row.name, *(former.name for former in row.former_communes.all() if former.name)]
        entries += [
            Entry(row.code, name, tuple(row.postcodes), row.population or 0) for name in names
        ]
    return entries


@router.get("/communes/{code}")
@requires("territory.view")
def commune(request: HttpRequest, code: str) -> dict[str, Any]:
    """One commune of today, by its INSEE code."""
    return _item(get_object_or_404(_communes(), code=code))


@router.get("/epci")
@requires("territory.view")
def epci(request: HttpRequest) -> dict[str, Any]:
    """The intercommunalités, by SIREN."""
    rows = Epci.objects.select_related("organisation").order_by("organisation__code")
    items = [
        {
            "code": row.organisation.code,
            "name": row.organisation.name,
            "kind": row.kind,
            "population": row.population,
        }
        for row in rows
    ]
    return {"count": len(items), "items": items}
