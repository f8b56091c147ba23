"""Road positions, for anybody; the département's road assets, for those who keep its roads."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from souverain.core import clock
from souverain.core.access import of_departement, requires
from souverain.core.api import Moment, problem
from souverain.territory import roads
from souverain.territory.engine.projection import lonlat_to_metres, metres_to_lonlat, metric_crs
from souverain.territory.engine.roads import RoadNameError, RoadPosition, parse_reference
from souverain.territory.models import Asset

router = Router(tags=["territory"])
_UUID_OR_NONE = "^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$"


class RoadPlace(Schema):
    """A position on a road. `longitude_deg`, `latitude_deg` (RGF93), `x_m`, `y_m` (the
    département's metric projection) and `z_m` are on the road's axis; `distance_m` is from there
    to the place asked. `provenance`: `synthetic` roads do not exist."""

    text: str
    road: str
    departement: str
    pr: int | None
    abscissa_m: float
    side: str
    distance_m: float
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    provenance: str
    source: str


class AssetItem(Schema):
    """Something of the road. Position: RGF93 degrees and metres, one sigma, height in `datum`."""

    id: UUID
    kind: str
    state: str
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    sigma_xy_m: float | None
    sigma_z_m: float | None
    datum: str
    road: str | None
    pr: int | None
    abscissa_m: float | None
    side: str | None
    distance_m: float | None
    source: str
    provenance: str
    surveyed_at: Moment
    recorded_at: Moment
    ended_at: Moment | None
    attributes: dict[str, Any]
    supersedes: UUID | None


class Assets(Schema):
    """`next`: give it as `after` for the following items; null at the end."""

    count: int
    items: list[AssetItem]
    next: UUID | None


@router.get("/roads/position", response=RoadPlace)
@requires("territory.view")
def road_position(
    request: HttpRequest,
    lon: float | None = Query(None, ge=-180, le=180),
    lat: float | None = Query(None, ge=-90, le=90),
    at: str = Query("", max_length=80),
) -> RoadPlace | HttpResponse:
    """From a place (`lon`, `lat`) to the position on the nearest road within 50 m; or from a
    position (`at`, such as `D971 PR 12+350 G`) to its place."""
    if at:
        return _place_of(at)
    if lon is None or lat is None:
        raise ValidationError("Donnez « lon » et « lat », ou « at » (« D971 PR 12+350 »).")
    found = roads.roads()
    xy_m = lonlat_to_metres([lon], [lat], metric_crs(found.departement))
    position = found.referencing.positions(xy_m)[0]
    if position is None:
        return problem(404, "Aucune route à moins de 50 m de cette place.")
    return _answer(found, position)


def _place_of(at: str) -> RoadPlace | HttpResponse:
    try:
        asked = parse_reference(at)
    except RoadNameError as error:
        raise ValidationError(str(error)) from error
    found = roads.roads()
    side = asked.side or "C"
    try:
        point = roads.point_at(asked.road, asked.pr, asked.abscissa_m, side)
    except roads.UnknownPosition as error:
        return problem(404, str(error))
    position = RoadPosition(
        asked.road,
        found.departement,
        asked.pr,
        asked.abscissa_m,
        side,
        0.0,
        point.x_m,
        point.y_m,
    )
    return _answer(found, position)


def _answer(found: roads.Roads, position: RoadPosition) -> RoadPlace:
    pr = position.pr
    point = found.referencing.points([position.road], [pr], [position.abscissa_m], [position.side])[
        0
    ]
    xy_m = np.array([[position.x_m, position.y_m]])
    longitude, latitude = metres_to_lonlat(xy_m, metric_crs(found.departement))[0].tolist()
    return RoadPlace(
        text=str(position),
        road=position.road,
        departement=position.departement,
        pr=pr,
        abscissa_m=position.abscissa_m,
        side=position.side,
        distance_m=position.distance_m,
        longitude_deg=longitude,
        latitude_deg=latitude,
        x_m=position.x_m,
        y_m=position.y_m,
        z_m=None if np.isnan(point[2]) else float(point[2]),
        provenance=found.source.provenance if found.source else "",
        source=found.source.name if found.source else "",
    )


@router.get("/assets", response=Assets)
@requires("territory.assets", of=of_departement)
def assets(
    request: HttpRequest,
    kind: str = Query("", max_length=40),
    road: str = Query("", max_length=40),
    state: str = Query("in-service", max_length=10),
    after: str = Query("", pattern=_UUID_OR_NONE),
    limit: int = Query(100, ge=1, le=1000),
) -> Assets:
    """The assets in order of id: of a kind, of a road (`D971`), in a state (`all` for any)."""
    rows = Asset.objects.order_by("id")
    if kind:
        rows = rows.filter(kind=kind)
    if road:
        rows = rows.filter(road=road)
    if state != "all":
        rows = rows.filter(state=state)
    if after:
        rows = rows.filter(id__gt=after)
    found = list(rows[: limit + 1])
    items = _asset_items(found[:limit])
    return Assets(
        count=len(items), items=items, next=found[limit - 1].pk if len(found) > limit else None
    )


def _asset_items(found: list[Asset]) -> list[AssetItem]:
    if not found:
        return []
    crs = metric_crs(roads.roads().departement)
    degrees = metres_to_lonlat(np.array([[asset.x_m, asset.y_m] for asset in found]), crs)
    return [
        AssetItem(
            id=asset.pk,
            kind=asset.kind,
            state=asset.state,
            longitude_deg=longitude,
            latitude_deg=latitude,
            x_m=asset.x_m,
            y_m=asset.y_m,
            z_m=asset.z_m,
            sigma_xy_m=asset.sigma_xy_m,
            sigma_z_m=asset.sigma_z_m,
            datum=asset.datum,
            road=asset.road or None,
            pr=asset.pr,
            abscissa_m=asset.abscissa_m,
            side=asset.side or None,
            distance_m=asset.distance_m,
            source=asset.source,
            provenance=asset.provenance,
            surveyed_at=clock.rfc3339(asset.surveyed_at),
            recorded_at=clock.rfc3339(asset.recorded_at),
            ended_at=clock.rfc3339(asset.ended_at) if asset.ended_at else None,
            attributes=asset.attributes,
            supersedes=asset.supersedes_id,
        )
        for asset, (longitude, latitude) in zip(found, degrees.tolist(), strict=True)
    ]
