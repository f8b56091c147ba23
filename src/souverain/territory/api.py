"""Open data about the communes, for anybody."""

from __future__ import annotations

from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.cache import get_conditional_response
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import conditional_page
from ninja import Path, Query, Router, Schema
from ninja.decorators import decorate_view

from souverain.core.access import requires
from souverain.territory.atlas import atlas
from souverain.territory.engine.search import Found
from souverain.territory.models import Commune, Epci, FormerCommune
from souverain.territory.roads_api import router as roads_router

router = Router(tags=["territory"])
router.add_router("", roads_router)


class FoundAs(Schema):
    """The merged commune by whose name or code a search found its successor."""

    code: str
    name: str | None


class FormerCommuneItem(FoundAs):
    """A commune merged into the one of today."""

    kind: str


class CommuneItem(Schema):
    """A commune of today. Positions: RGF93 (EPSG:4171), a point inside the commune."""

    code: str
    name: str
    population: int | None
    siren: str | None
    postcodes: list[str]
    arrondissement: str | None
    epci_code: str | None
    epci_name: str | None
    longitude_deg: float | None
    latitude_deg: float | None
    area_km2: float | None
    former_communes: list[FormerCommuneItem]
    found_as: FoundAs | None


class Communes(Schema):
    count: int
    items: list[CommuneItem]


class EpciItem(Schema):
    """An intercommunalité. `population` counts all its members, `communes` those of here."""

    code: str
    name: str
    kind: str
    population: int
    communes: list[str]


class Epcis(Schema):
    count: int
    items: list[EpciItem]


def _communes() -> QuerySet[Commune]:
    return Commune.objects.select_related("epci__organisation").prefetch_related(
        Prefetch("former_communes", FormerCommune.objects.order_by("code"))
    )


def _item(commune: Commune, found: Found | None = None) -> CommuneItem:
    epci = commune.epci
    former = found.entry if found and found.entry.former_code else None
    return CommuneItem(
        code=commune.code,
        name=commune.name,
        population=commune.population,
        siren=commune.siren or None,
        postcodes=commune.postcodes,
        arrondissement=commune.arrondissement or None,
        epci_code=epci.organisation.code if epci else None,
        epci_name=epci.organisation.name if epci else None,
        longitude_deg=commune.longitude_deg,
        latitude_deg=commune.latitude_deg,
        area_km2=commune.area_km2,
        former_communes=[
            FormerCommuneItem(code=merged.code, name=merged.name or None, kind=merged.kind)
            for merged in commune.former_communes.all()
        ],
        found_as=FoundAs(code=former.former_code, name=former.name or None) if former else None,
    )


@router.get("/communes", response=Communes)
@decorate_view(gzip_page, conditional_page)
@requires("territory.view")
def communes(
    request: HttpRequest, q: str = Query("", max_length=100), limit: int = Query(20, ge=1, le=1000)
) -> Communes:
    """All the communes in order of code; with `q`, the best matches first, at most `limit`.
    `found_as` is the merged commune by whose name or code the search found its successor."""
    if not q:
        rows = list(_communes().order_by("code"))
        return Communes(count=len(rows), items=[_item(row) for row in rows])
    found = atlas().index.search(q, limit)
    by_code = {row.code: row for row in _communes().filter(code__in=[f.entry.code for f in found])}
    items = [_item(by_code[f.entry.code], f) for f in found if f.entry.code in by_code]
    return Communes(count=len(items), items=items)


@router.get("/communes.geojson")
@decorate_view(gzip_page)
@requires("territory.view")
def communes_geojson(request: HttpRequest) -> HttpResponse:
    """The communes' surfaces, RGF93: real outlines if the operator imported them, otherwise
    approximate cells (`approximate: true`, on the collection and on each feature)."""
    content, etag = atlas().plain_geojson
    response = HttpResponse(content, content_type="application/geo+json")
    response.headers["Cache-Control"] = "public, max-age=300"
    response.headers["ETag"] = etag
    return get_conditional_response(request, etag=etag, response=response) or response


@router.get("/communes/{code}", response=CommuneItem)
@requires("territory.view")
def commune(request: HttpRequest, code: str = Path(..., pattern="^[0-9AB]{5}$")) -> CommuneItem:
    """One commune of today, by its INSEE code."""
    return _item(get_object_or_404(_communes(), code=code))


@router.get("/epci", response=Epcis)
@requires("territory.view")
def epci(request: HttpRequest) -> Epcis:
    """The intercommunalités, by SIREN."""
    rows = (
        Epci.objects.select_related("organisation")
        .prefetch_related(Prefetch("communes", Commune.objects.order_by("code")))
        .order_by("organisation__code")
    )
    items = [
        EpciItem(
            code=row.organisation.code,
            name=row.organisation.name,
            kind=row.kind,
            population=row.population,
            communes=[commune.code for commune in row.communes.all()],
        )
        for row in rows
    ]
    return Epcis(count=len(items), items=items)
