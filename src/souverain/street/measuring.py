"""Measuring on panoramas: from clicks to points, from points to a distance, a width, a height, an
area, each with its sigma; and measurements that are kept. The geometry is `engine.triangulation`'s
and `engine.quantities`'; how a panorama is a camera, `positioning`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.db import transaction
from django.db.models import QuerySet

from souverain.core import journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.street import positioning, viewing
from souverain.street.engine import quantities, triangulation
from souverain.street.engine.quantities import Quantity, Unmeasurable
from souverain.street.engine.triangulation import Camera, Point, Prospect, Ray, Refused, Road
from souverain.street.models import Datum, Item, Measurement, Panorama
from souverain.street.positioning import Pointed, PositionError
from souverain.territory.engine import projection

Floats = npt.NDArray[np.float64]
Kind = Measurement.Kind

MAX_POINTS, MAX_CLICKS, MAX_KEPT = 60, 12, 5_000
REACH_M = 80.0
"""How far off a point may be, and a better second view from the first one."""
SIGMA_CROSSFALL = 0.025
"""Of the road's slope across its axis, which no trajectory tells: roads shed water at 2 to 2.5 %."""
SIGMA_AXIS_DEG = 2.0
_CANDIDATES = 200
_DRIVE_M = 40.0
_AHEAD_M = 10.0


class MeasureError(ValueError):
    """It cannot be measured; the message is a French sentence."""


@dataclass(frozen=True)
class Sight:
    """The clicks that look at one point. `on_road`: one click suffices, the point lies on the
    road, whose surface is `camera_height_m` beneath the camera."""

    clicks: Sequence[Pointed]
    on_road: bool = False
    camera_height_m: float = positioning.CAMERA_HEIGHT_M
    sigma_camera_height_m: float = positioning.SIGMA_CAMERA_HEIGHT_M


@dataclass(frozen=True)
class Sighted:
    """A point, or why there is none and which second views would give one."""

    point: Point | None
    refusal: str = ""
    prospects: list[Prospect] = field(default_factory=list)


@dataclass(frozen=True)
class Measured:
    """The points and, when all are there, the quantity; `refusal` says why not."""

    kind: Kind
    sighted: list[Sighted]
    quantity: Quantity | None
    datum: str
    method: str
    refusal: str = ""

    @property
    def complete(self) -> bool:
        return not self.refusal and all(one.point is not None for one in self.sighted)


def visible_panoramas(actor: Actor, identifiers: Sequence[UUID]) -> dict[UUID, Panorama]:
    """Those that the actor may look at. Raises MeasureError for another."""
    found = viewing.visible(actor).in_bulk(list(identifiers))
    if len(found) < len(set(identifiers)):
        raise MeasureError("Une des vues n'existe pas, ou n'est pas ouverte.")
    return found


def measure(
    actor: Actor, kind: Kind, sights: Sequence[Sight], axis_deg: float | None = None
) -> Measured:
    """Points from their clicks, then the quantity between them. `axis_deg`: the road's, from grid
    north, for a width; by default the way along which the views were taken. Raises MeasureError."""
    if not sights or len(sights) > MAX_POINTS:
        raise MeasureError(f"Il faut de 1 à {MAX_POINTS} points.")
    clicks = [click for sight in sights for click in sight.clicks]
    if any(not 1 <= len(sight.clicks) <= MAX_CLICKS for sight in sights):
        raise MeasureError(f"Chaque point est visé de 1 à {MAX_CLICKS} fois.")
    try:
        datum = positioning.datum_of([click.panorama for click in clicks])
        if any(click.panorama.z_m is None for click in clicks):
            raise MeasureError("L'altitude d'une des vues n'est pas connue : on n'y mesure pas.")
        sighted = [_sighted(actor, sight) for sight in sights]
    except PositionError as error:
        raise MeasureError(str(error)) from error
    on_road = any(sight.on_road and len(sight.clicks) == 1 for sight in sights)
    method = Item.Method.ROAD if on_road else Item.Method.RAYS
    points = [one.point for one in sighted if one.point is not None]
    quantity, refusal = None, ""
    if len(points) == len(sights):
        try:
            quantity = _quantity(kind, points, clicks[0].panorama, axis_deg)
        except Unmeasurable as error:
            refusal = str(error)
    return Measured(kind, sighted, quantity, datum, method, refusal)


def _quantity(
    kind: Kind, points: Sequence[Point], near: Panorama, axis_deg: float | None
) -> Quantity | None:
    if kind == Kind.POINT:
        if len(points) != 1:
            raise Unmeasurable("Une position n'a qu'un point.")
        return None
    if kind == Kind.WIDTH:
        axis = road_axis(near) if axis_deg is None else (axis_deg, 0.0)
        return quantities.width(points, *axis)
    of = {
        Kind.DISTANCE: quantities.distance,
        Kind.HEIGHT: quantities.height,
        Kind.AREA: quantities.area,
    }
    return of[kind](points)


def _sighted(actor: Actor, sight: Sight) -> Sighted:
    cameras = {click.panorama.pk for click in sight.clicks}
    if len(cameras) < len(sight.clicks):
        raise MeasureError("Une même vue ne donne qu'une visée par point.")
    rays = [positioning.ray_of(click) for click in sight.clicks]
    try:
        if len(rays) == 1 and sight.on_road:
            return Sighted(triangulation.on_road(rays[0], road_surface(sight, rays[0].camera)))
        point = triangulation.triangulate(rays)
    except Refused as refused:
        return Sighted(None, refused.sentence, prospects(actor, sight, rays, refused))
    if point.disagreeing:
        return Sighted(None, "Une des visées ne désigne pas le même point que les autres.")
    return Sighted(point)


def prospects(actor: Actor, sight: Sight, rays: Sequence[Ray], refused: Refused) -> list[Prospect]:
    """Second views that would situate what the first click looks at, best first."""
    first = sight.clicks[0].panorama
    near = viewing.visible(actor).filter(
        campaign=first.campaign_id,
        datum=first.datum,
        x_m__range=(first.x_m - REACH_M, first.x_m + REACH_M),
        y_m__range=(first.y_m - REACH_M, first.y_m + REACH_M),
        z_m__range=(rays[0].camera.position_m[2] - 8.0, rays[0].camera.position_m[2] + 8.0),
    )
    cameras = []
    for panorama in near.order_by("rank")[:_CANDIDATES]:
        try:
            cameras.append(positioning.camera_of(panorama))
        except PositionError:
            continue
    return triangulation.better_views(rays[0], _guess(rays[0], refused), cameras)


def _guess(ray: Ray, refused: Refused) -> Floats:
    """Where along the ray the point may be: as far as a refused triangle says if that is near,
    else where the ray would meet a level road, else ten metres off."""
    start = ray.camera.position
    reach = _AHEAD_M
    if refused.guess is not None and np.isfinite(refused.guess).all():
        along = float(ray.direction @ (refused.guess - start))
        reach = along if 2.0 < along < REACH_M else reach
    elif ray.direction[2] < -0.05:
        reach = min(positioning.CAMERA_HEIGHT_M / -float(ray.direction[2]), _DRIVE_M)
    guess: Floats = start + reach * ray.direction
    return guess


def _around(panorama: Panorama) -> list[Panorama]:
    """The views taken just before and after on the same drive, this one included, in order."""
    if panorama.sequence_id is None:
        return [panorama]
    ranks = (max(0, panorama.rank - 3), panorama.rank + 3)
    drive = Panorama.objects.filter(
        sequence=panorama.sequence_id, state=Panorama.State.READY, rank__range=ranks
    ).order_by("rank")
    return [other for other in drive if _apart(panorama, other) < _DRIVE_M]


def _apart(one: Panorama, other: Panorama) -> float:
    return float(np.hypot(one.x_m - other.x_m, one.y_m - other.y_m))


def road_axis(panorama: Panorama) -> tuple[float, float]:
    """The road's axis there, degrees from grid north, and its sigma: the way from the view before
    to the one after, else where the camera heads."""
    drive = _around(panorama)
    here = drive.index(panorama) if panorama in drive else 0
    before, after = drive[max(0, here - 1)], drive[min(len(drive) - 1, here + 1)]
    base = _apart(before, after)
    if base < 1.0:
        camera = positioning.camera_of(panorama)
        return camera.heading_deg, SIGMA_AXIS_DEG
    east, north = after.x_m - before.x_m, after.y_m - before.y_m
    sigma = np.degrees(1.5 * (panorama.sigma_xy_m or 0.0) / base)
    return float(np.degrees(np.arctan2(east, north)) % 360.0), float(np.hypot(sigma, 0.5))


def road_surface(sight: Sight, camera: Camera) -> Road:
    """The road beneath a view as a plane: along the drive it rises as the views before and after
    do (their cameras are all as high over it), across it is level to `SIGMA_CROSSFALL`."""
    panorama = sight.clicks[0].panorama
    drive = [view for view in _around(panorama) if view.z_m is not None]
    axis = np.radians(road_axis(panorama)[0])
    along, across = np.array([np.sin(axis), np.cos(axis)]), np.array([np.cos(axis), -np.sin(axis)])
    reach = np.array([[view.x_m - panorama.x_m, view.y_m - panorama.y_m] for view in drive]) @ along
    rise = np.array([float(view.z_m or 0.0) for view in drive])
    slope, sigma = 0.0, positioning.SIGMA_SLOPE
    spread = float(((reach - reach.mean()) ** 2).sum()) if len(drive) else 0.0
    if spread > 4.0:
        slope = float((reach - reach.mean()) @ (rise - rise.mean())) / spread
        sigma = float(np.hypot(camera.sigma_z_m / np.sqrt(spread), 0.005))
    covariance = sigma**2 * np.outer(along, along) + SIGMA_CROSSFALL**2 * np.outer(across, across)
    return Road(
        camera.key,
        sight.camera_height_m / float(np.sqrt(1.0 + slope**2)),
        sight.sigma_camera_height_m,
        (float(slope * along[0]), float(slope * along[1])),
        covariance,
    )


# Kept measurements ----------------------------------------------------------------------------


def kept(actor: Actor) -> QuerySet[Measurement]:
    """One's own measurements, latest first."""
    return Measurement.objects.filter(by=actor.user, by__isnull=False).order_by("-at", "pk")


@transaction.atomic
def keep(actor: Actor, found: Measured, sights: Sequence[Sight], label: str = "") -> Measurement:
    """Keep a whole measurement under its author. Raises MeasureError."""
    if not found.complete:
        raise MeasureError(found.refusal or "Tous les points ne sont pas situés.")
    if kept(actor).count() >= MAX_KEPT:
        raise MeasureError(f"Vous gardez déjà {MAX_KEPT} mesures : effacez-en d'abord.")
    quantity = found.quantity
    saved = Measurement.objects.create(
        kind=found.kind,
        label=" ".join(label.split())[:160],
        value=quantity.value if quantity else None,
        sigma=quantity.sigma if quantity else _point_of(found.sighted[0]).sigma_m,
        points=[
            _as_json(_point_of(one), sight)
            for one, sight in zip(found.sighted, sights, strict=True)
        ],
        method=found.method,
        datum=found.datum or Datum.UNKNOWN,
        by=actor.user,
    )
    _journal(actor, "street.measurement_saved", saved)
    return saved


@transaction.atomic
def erase(actor: Actor, identifier: UUID) -> None:
    """Raises MeasureError when it is not one of the actor's."""
    found = kept(actor).filter(pk=identifier).first()
    if found is None:
        raise MeasureError("Cette mesure n'existe pas, ou n'est pas la vôtre.")
    _journal(actor, "street.measurement_deleted", found)
    found.delete()


def _journal(actor: Actor, verb: str, measurement: Measurement) -> None:
    owner = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    journal.append(
        actor,
        verb,
        organisation=owner.code,
        object=f"measurement:{measurement.pk}",
        data={"kind": measurement.kind, "points": len(measurement.points)},
    )


def _point_of(one: Sighted) -> Point:
    if one.point is None:
        raise MeasureError(one.refusal)
    return one.point


def _as_json(point: Point, sight: Sight) -> Mapping[str, Any]:
    x, y, z = (float(number) for number in point.position)
    campaign = sight.clicks[0].panorama.campaign
    return {
        "x_m": x,
        "y_m": y,
        "z_m": z,
        "covariance_m2": positioning.six(point.covariance),
        "provenance": campaign.provenance,
        "rays": [
            {
                "panorama": str(click.panorama.pk),
                "yaw_deg": click.yaw_deg,
                "elevation_deg": click.elevation_deg,
            }
            for click in sight.clicks
        ],
    }


def lonlat(position_m: Floats) -> tuple[float, float]:
    longitude, latitude = projection.metres_to_lonlat(np.asarray(position_m, float)[None, :2])[0]
    return float(longitude), float(latitude)
