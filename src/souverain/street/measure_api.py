"""Measuring as data: clicks in, points and figures with their sigma out; measurements kept.

Annotations are evaluated: ninja does not find `UUID` behind `requires` when they are words."""

from typing import Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Path, Router, Schema
from pydantic import Field

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.api import Moment, problem
from souverain.core.format import number_fr
from souverain.street import measure_files, measuring, positioning
from souverain.street.engine.triangulation import Prospect
from souverain.street.measuring import MeasureError, Sight, Sighted
from souverain.street.models import Measurement, Panorama
from souverain.street.positioning import Pointed

router = Router(tags=["street"])
Kind = Literal["point", "distance", "width", "height", "area"]


class Click(Schema):
    """A click in a panorama: yaw 0 in the middle of the picture, growing to the right; elevation 0
    on its horizon."""

    panorama: UUID
    yaw_deg: float = Field(ge=-360, le=360, allow_inf_nan=False)
    elevation_deg: float = Field(ge=-90, le=90, allow_inf_nan=False)


class SightIn(Schema):
    """The clicks that look at one point. With `on_road`, one is enough: the point lies on the road,
    `camera_height_m` beneath the camera."""

    rays: list[Click] = Field(min_length=1, max_length=measuring.MAX_CLICKS)
    on_road: bool = False
    camera_height_m: float = Field(positioning.CAMERA_HEIGHT_M, gt=0.2, lt=10.0)
    sigma_camera_height_m: float = Field(positioning.SIGMA_CAMERA_HEIGHT_M, ge=0.0, le=2.0)


class MeasureIn(Schema):
    """`axis_deg`: the road's axis from grid north, for a width; null: as the views were taken."""

    kind: Kind
    points: list[SightIn] = Field(min_length=1, max_length=measuring.MAX_POINTS)
    axis_deg: float | None = Field(None, ge=-360, le=360)
    label: str = Field("", max_length=160)


class ProspectItem(Schema):
    """A view that would situate the point, and how well: `sigma_m` along its least sure axis."""

    panorama: str
    base_m: float
    distance_m: float
    angle_deg: float
    sigma_m: float
    yaw_deg: float
    elevation_deg: float
    text: str


class PointItem(Schema):
    """A point: RGF93 degrees, Lambert-93 metres, its covariance (3 x 3, square metres) and one
    sigma along its least sure axis; or, all null, the reason in `error` and better views."""

    longitude_deg: float | None = None
    latitude_deg: float | None = None
    x_m: float | None = None
    y_m: float | None = None
    z_m: float | None = None
    covariance_m2: list[list[float]] | None = None
    sigma_m: float | None = None
    angle_deg: float | None = None
    distances_m: list[float] = []
    p_value: float | None = None
    error: str | None = None
    proposals: list[ProspectItem] = []


class MeasureItem(Schema):
    """What was measured. `value` and `sigma`: metres, or square metres for an area; null for a
    position, or when `error` says why. `text` is the figure in French. `provenance`: synthetic when
    the views are."""

    id: UUID | None = None
    kind: str
    label: str | None = None
    value: float | None
    sigma: float | None
    text: str | None
    method: str
    datum: str
    provenance: str
    error: str | None
    points: list[PointItem]


class KeptItem(Schema):
    """A kept measurement; the points as they were found."""

    id: UUID
    kind: str
    label: str | None
    value: float | None
    sigma: float | None
    text: str
    method: str
    datum: str
    provenance: str
    at: Moment
    points: list[dict[str, Any]]


class KeptItems(Schema):
    count: int
    items: list[KeptItem]


def figure(kind: str, value: float | None, sigma: float | None) -> str:
    """« 3,42 m ± 4 cm », « 12,5 m² ± 0,3 m² », « ± 4 cm » for a position."""
    doubt = f"± {_centimetres(sigma or 0.0)}"
    if value is None:
        return doubt
    if kind == Measurement.Kind.AREA:
        return f"{number_fr(value, 2)}\u00a0m² ± {number_fr(sigma or 0.0, 2)}\u00a0m²"
    return f"{number_fr(value, 2 if (sigma or 0.0) >= 0.005 else 3)}\u00a0m {doubt}"


def _centimetres(sigma_m: float) -> str:
    centimetres = sigma_m * 100
    if centimetres < 1:
        return f"{number_fr(max(centimetres, 0.1), 1)}\u00a0cm"
    return f"{number_fr(centimetres, 0)}\u00a0cm"


def _sights(request: HttpRequest, told: MeasureIn) -> list[Sight]:
    actor = request.actor  # type: ignore[attr-defined]
    wanted = [ray.panorama for point in told.points for ray in point.rays]
    panoramas = measuring.visible_panoramas(actor, wanted)
    return [
        Sight(
            [Pointed(panoramas[r.panorama], r.yaw_deg, r.elevation_deg) for r in point.rays],
            point.on_road,
            point.camera_height_m,
            point.sigma_camera_height_m,
        )
        for point in told.points
    ]


def _point(one: Sighted) -> PointItem:
    if one.point is None:
        return PointItem(error=one.refusal, proposals=[_prospect(p) for p in one.prospects])
    x, y, z = (float(number) for number in one.point.position)
    longitude, latitude = measuring.lonlat(one.point.position)
    return PointItem(
        longitude_deg=longitude,
        latitude_deg=latitude,
        x_m=x,
        y_m=y,
        z_m=z,
        covariance_m2=one.point.covariance.tolist(),
        sigma_m=one.point.sigma_m,
        angle_deg=one.point.angle_deg or None,
        distances_m=list(one.point.distances_m),
        p_value=one.point.p_value,
    )


def _prospect(better: Prospect) -> ProspectItem:
    return ProspectItem(
        panorama=str(better.camera.key),
        base_m=better.base_m,
        distance_m=better.distance_m,
        angle_deg=better.angle_deg,
        sigma_m=better.sigma_m,
        yaw_deg=better.yaw_deg,
        elevation_deg=better.elevation_deg,
        text=f"Vue à {number_fr(better.base_m, 0)}\u00a0m d'ici : ± {_centimetres(better.sigma_m)}",
    )


def _provenance(sights: list[Sight]) -> str:
    found: list[Panorama] = [click.panorama for sight in sights for click in sight.clicks]
    kinds = {panorama.campaign.provenance for panorama in found}
    return "synthetic" if "synthetic" in kinds else "measured"


def _measured(request: HttpRequest, told: MeasureIn, keep: bool) -> MeasureItem:
    actor = request.actor  # type: ignore[attr-defined]
    sights = _sights(request, told)
    kind = Measurement.Kind(told.kind)
    found = measuring.measure(actor, kind, sights, told.axis_deg)
    saved = measuring.keep(actor, found, sights, told.label) if keep else None
    error = found.refusal or next((one.refusal for one in found.sighted if one.refusal), None)
    text = None
    if found.quantity:
        text = figure(kind, found.quantity.value, found.quantity.sigma)
    elif found.complete and found.sighted[0].point is not None:
        text = figure(kind, None, found.sighted[0].point.sigma_m)
    return MeasureItem(
        id=saved.pk if saved else None,
        kind=kind,
        label=saved.label or None if saved else None,
        value=found.quantity.value if found.quantity else None,
        sigma=found.quantity.sigma if found.quantity else None,
        text=text,
        method=found.method,
        datum=found.datum,
        provenance=_provenance(sights),
        error=error,
        points=[_point(one) for one in found.sighted],
    )


@router.post("/measure", response=MeasureItem)
@requires("street.desk")
def measure(request: HttpRequest, told: MeasureIn) -> Any:
    """Situate points from clicks in panoramas, and measure between them; nothing is kept. A thin
    triangle gives no point, but better second views."""
    try:
        return _measured(request, told, keep=False)
    except MeasureError as error:
        return problem(422, str(error))


@router.get("/measurements", response=KeptItems)
@requires("street.desk")
def measurements(request: HttpRequest) -> KeptItems:
    """One's own measurements, latest first."""
    items = [_kept(found) for found in measuring.kept(request.actor)]  # type: ignore[attr-defined]
    return KeptItems(count=len(items), items=items)


def _kept(found: Measurement) -> KeptItem:
    row = measure_files.as_row(found)
    return KeptItem(
        id=found.pk,
        kind=found.kind,
        label=found.label or None,
        value=found.value,
        sigma=found.sigma,
        text=figure(found.kind, found.value, found.sigma),
        method=found.method,
        datum=found.datum,
        provenance=row["provenance"],
        at=clock.rfc3339(found.at),
        points=found.points,
    )


@router.post("/measurements", response={201: MeasureItem})
@requires("street.desk")
def keep(request: HttpRequest, told: MeasureIn) -> Any:
    """Measure as `/measure` does and keep it; what is not whole is refused."""
    try:
        return 201, _measured(request, told, keep=True)
    except MeasureError as error:
        return problem(422, str(error))


@router.get("/measurements.{form}")
@requires("street.desk")
def measurements_file(
    request: HttpRequest, form: str = Path(..., pattern="^(geojson|gpkg|csv)$")
) -> HttpResponse:
    """One's own measurements as a file."""
    kind, write = measure_files.FORMATS[form]
    found = list(measuring.kept(request.actor))  # type: ignore[attr-defined]
    response = HttpResponse(write(found), content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="mesures.{form}"'
    return response


@router.delete("/measurements/{identifier}", response={204: None})
@requires("street.desk")
def erase(request: HttpRequest, identifier: UUID) -> Any:
    """Erase one of one's own measurements."""
    try:
        measuring.erase(request.actor, identifier)  # type: ignore[attr-defined]
    except MeasureError as error:
        return problem(404, str(error))
    return 204, None
