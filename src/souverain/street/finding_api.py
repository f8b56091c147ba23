"""Finding panoramas, as data."""

from __future__ import annotations

from typing import Any, Self

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from souverain.core import access, clock
from souverain.core.api import Moment, problem
from souverain.street import finding
from souverain.street.models import Panorama

router = Router(tags=["street"])


class FoundPanorama(Schema):
    """A panorama: where and when. RGF93 degrees, metres of the département's projection, heading
    from true north; `published`: whether everybody may see it."""

    id: str
    campaign: str
    published: bool
    file: str
    url: str
    taken_at: Moment
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    datum: str
    heading_deg: float
    road: str | None
    pr: int | None
    abscissa_m: float | None
    side: str | None
    commune: str | None

    @classmethod
    def of(cls, panorama: Panorama, **more: Any) -> Self:
        return cls(
            id=str(panorama.pk),
            campaign=panorama.campaign.name,
            published=panorama.campaign.state == panorama.campaign.State.PUBLISHED,
            file=panorama.file_name,
            url=finding.view_url(panorama),
            taken_at=clock.rfc3339(panorama.taken_at),
            longitude_deg=panorama.longitude_deg,
            latitude_deg=panorama.latitude_deg,
            x_m=panorama.x_m,
            y_m=panorama.y_m,
            z_m=panorama.z_m,
            datum=panorama.datum,
            heading_deg=panorama.heading_deg,
            road=panorama.road or None,
            pr=panorama.pr,
            abscissa_m=panorama.abscissa_m,
            side=panorama.side or None,
            commune=panorama.commune or None,
            **more,
        )


class NearestPanorama(FoundPanorama):
    """`facing_deg`: the heading from true north that looks at the place."""

    distance_m: float
    facing_deg: float

    @classmethod
    def near(cls, found: finding.Found, x_m: float, y_m: float) -> Self:
        facing = finding.facing_deg(found.panorama, x_m, y_m)
        return cls.of(found.panorama, distance_m=found.distance_m, facing_deg=facing)


class FoundPanoramas(Schema):
    """`count` items of `total`; the next ones begin at `next_offset`, null after the last."""

    count: int
    total: int
    next_offset: int | None
    items: list[FoundPanorama]


def _everything(request: HttpRequest, unpublished: bool) -> bool:
    """Whether unpublished panoramas are asked for, by somebody who may see them."""
    if unpublished:
        access.require(request.actor, "street.desk", **access.of_departement())  # type: ignore[attr-defined]
    return unpublished


@router.get("/nearest", response=NearestPanorama)
@access.requires("street.stroll")
def nearest(
    request: HttpRequest,
    lon: float = Query(..., ge=-180, le=180),
    lat: float = Query(..., ge=-90, le=90),
    at: str = Query("", max_length=40),
    campaign: str = Query("", max_length=60),
    unpublished: bool = False,
) -> NearestPanorama | HttpResponse:
    """The nearest panorama to a place; with `at` (RFC 3339), of those taken by then. Where
    several campaigns went by, the last. `unpublished` needs the right to the desk."""
    everything = _everything(request, unpublished)
    try:
        found = finding.nearest(
            lon, lat, finding.read_instant(at), campaign=campaign, everything=everything
        )
        x, y = finding.metres(lon, lat)
    except finding.PlaceError as error:
        return problem(422, str(error))
    except finding.NotReady as error:
        return problem(503, str(error))
    if found is None:
        return problem(404, "Aucune image ne répond à cette demande.")
    return NearestPanorama.near(found, x, y)


@router.get("/panoramas", response=FoundPanoramas)
@access.requires("street.stroll")
def panoramas(
    request: HttpRequest,
    bbox: str = Query("", max_length=120),
    commune: str = Query("", pattern="^([0-9AB]{5})?$"),
    since: str = Query("", max_length=40),
    until: str = Query("", max_length=40),
    unpublished: bool = False,
    offset: int = Query(0, ge=0, le=100_000_000),
    limit: int = Query(100, ge=1, le=1000),
) -> FoundPanoramas | HttpResponse:
    """The panoramas of a box (`west,south,east,north`, degrees) or of a commune, in a steady
    order; `since` and `until` (RFC 3339) bound when they were taken."""
    everything = _everything(request, unpublished)
    try:
        terms: dict[str, Any] = {
            "since": finding.read_instant(since),
            "until": finding.read_instant(until),
            "everything": everything,
            "offset": offset,
            "limit": limit,
        }
        if bool(bbox) == bool(commune):
            raise finding.PlaceError("Donnez bbox=ouest,sud,est,nord, ou commune=code INSEE.")
        if bbox:
            page = finding.in_box(*finding.read_box(bbox), **terms)
        else:
            page = finding.of_commune(commune, **terms)
    except finding.PlaceError as error:
        return problem(422, str(error))
    except finding.NotReady as error:
        return problem(503, str(error))
    end = offset + limit
    return FoundPanoramas(
        count=len(page.items),
        total=page.total,
        next_offset=end if end < page.total else None,
        items=[FoundPanorama.of(panorama) for panorama in page.items],
    )
