"""From what was pointed at in panoramas to a place with its covariance, a road and a commune."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from souverain.street.engine import triangulation
from souverain.street.engine.triangulation import Camera, Point, Ray, Refused, Road
from souverain.street.models import Datum, Item, Panorama
from souverain.territory import roads
from souverain.territory.atlas import atlas
from souverain.territory.engine import projection

Floats = npt.NDArray[np.float64]

CLICK_PIXELS = 1.5
"""One sigma of a click at full resolution."""
CAMERA_HEIGHT_M, SIGMA_CAMERA_HEIGHT_M = 2.5, 0.15
"""Above the road, and what the vehicle's suspension and the road's shape add."""
SIGMA_SLOPE = 0.02
_LEVEL_M = 0.01


class PositionError(ValueError):
    """The place cannot be known; the message is a French sentence."""


@dataclass(frozen=True)
class Pointed:
    """A click in a panorama: angles as `engine.sphere` has them."""

    panorama: Panorama
    yaw_deg: float
    elevation_deg: float


@dataclass(frozen=True, eq=False)
class Place:
    """Where something is. `position_m` (3,) has a NaN height where none is known."""

    position_m: Floats
    covariance_m2: Floats | None
    datum: str
    method: str


def camera_of(panorama: Panorama) -> Camera:
    """A panorama as the triangulation wants it. Raises PositionError when nobody said how sure its
    pose is: a sigma is not invented."""
    sigmas = (panorama.sigma_xy_m, panorama.sigma_heading_deg, panorama.sigma_tilt_deg)
    if None in sigmas or (panorama.z_m is not None and panorama.sigma_z_m is None):
        raise PositionError(
            "La pose de cette vue n'a pas de précision connue : on ne peut pas mesurer avec elle. "
            "Saisissez la position à la main."
        )
    sigma_xy, sigma_heading, sigma_tilt = (float(sigma or 0.0) for sigma in sigmas)
    return Camera(
        str(panorama.pk),
        (panorama.x_m, panorama.y_m, panorama.z_m or 0.0),
        projection.grid_heading(
            panorama.heading_deg, panorama.longitude_deg, panorama.latitude_deg
        ),
        panorama.pitch_deg,
        panorama.roll_deg,
        sigma_xy,
        panorama.sigma_z_m if panorama.sigma_z_m is not None else _LEVEL_M,
        sigma_heading,
        sigma_tilt,
    )


def ray_of(pointed: Pointed, sigma_click_deg: float | None = None) -> Ray:
    """Raises PositionError."""
    own = 360.0 / pointed.panorama.width * CLICK_PIXELS
    sigma = sigma_click_deg or own
    return Ray(camera_of(pointed.panorama), pointed.yaw_deg, pointed.elevation_deg, sigma)


def levelled(ray: Ray) -> Ray:
    """The ray on the map alone: its azimuth, at no height. Where cameras have no height, azimuths
    still meet in a place."""
    camera = ray.camera
    east, north, _ = ray.direction
    azimuth = float(np.degrees(np.arctan2(east, north)))
    flat = replace(
        camera,
        position_m=(*camera.position_m[:2], 0.0),
        pitch_deg=0.0,
        roll_deg=0.0,
        sigma_z_m=_LEVEL_M,
    )
    return Ray(flat, azimuth - camera.heading_deg, 0.0, ray.sigma_click_deg)


def datum_of(panoramas: Sequence[Panorama]) -> str:
    """The one datum of their heights, unknown when any has none. Raises PositionError."""
    known = {panorama.datum for panorama in panoramas if panorama.z_m is not None}
    if len(known) > 1:
        raise PositionError("Ces vues ont leurs hauteurs dans des références différentes.")
    if not known or any(panorama.z_m is None for panorama in panoramas):
        return Datum.UNKNOWN
    return known.pop()


def place(pointed: Sequence[Pointed], on_road: bool) -> Place:
    """Where clicks in different panoramas meet; one click meets the road's surface if the thing
    lies on it. Raises PositionError."""
    panoramas = [click.panorama for click in pointed]
    if len({panorama.pk for panorama in panoramas}) < len(panoramas):
        raise PositionError("Une même vue ne donne qu'une visée par objet.")
    datum = datum_of(panoramas)
    rays = [ray_of(click) for click in pointed]
    heightless = any(panorama.z_m is None for panorama in panoramas)
    if heightless and len(rays) > 1:
        rays = [levelled(ray) for ray in rays]
    try:
        point, method = _meet(rays, on_road)
    except Refused as refusal:
        raise PositionError(refusal.sentence) from refusal
    if point.disagreeing:
        raise PositionError("Une des visées ne désigne pas le même point que les autres.")
    position, covariance = point.position.copy(), point.covariance
    if heightless:
        position[2] = np.nan
    return Place(position, covariance, datum, method)


def road_under(camera: Camera) -> Road:
    """The road's surface beneath a camera: level, to what `SIGMA_SLOPE` allows."""
    slopes = np.eye(2) * SIGMA_SLOPE**2
    return Road(camera.key, CAMERA_HEIGHT_M, SIGMA_CAMERA_HEIGHT_M, slope_m2=slopes)


def _meet(rays: list[Ray], on_road: bool) -> tuple[Point, str]:
    if len(rays) > 1:
        return triangulation.triangulate(rays), Item.Method.RAYS
    if len(rays) == 1 and on_road:
        camera = rays[0].camera
        return triangulation.on_road(rays[0], road_under(camera)), Item.Method.ROAD
    raise PositionError(
        "Visez cet objet depuis deux vues : une seule ne dit pas à quelle distance."
    )


def matrix(covariance: Sequence[float] | None) -> Floats | None:
    """Six numbers xx, xy, xz, yy, yz, zz → shape (3, 3)."""
    if covariance is None:
        return None
    xx, xy, xz, yy, yz, zz = covariance
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def six(covariance: Floats | None) -> list[float] | None:
    """Shape (3, 3) → xx, xy, xz, yy, yz, zz; zero where there is no height."""
    if covariance is None:
        return None
    upper = np.nan_to_num(covariance[np.triu_indices(3)])
    return [float(number) for number in upper]


def fields_of(found: Place, near: Panorama | None = None) -> dict[str, Any]:
    """The columns of an item that stands there: coordinates, road, commune. `near` is a panorama
    that shows it, whose road it takes when the roads do not tell."""
    x, y, z = (float(number) for number in found.position_m)
    longitude, latitude = projection.metres_to_lonlat(np.array([[x, y]]))[0]
    commune = atlas().commune_at(float(longitude), float(latitude))
    return {
        "longitude_deg": float(longitude),
        "latitude_deg": float(latitude),
        "x_m": x,
        "y_m": y,
        "z_m": None if np.isnan(z) else z,
        "datum": Datum.UNKNOWN if np.isnan(z) else found.datum,
        "covariance_m2": six(found.covariance_m2),
        "method": found.method,
        "commune": commune.code if commune else "",
        **_road_of(x, y, near),
    }


def _road_of(x_m: float, y_m: float, near: Panorama | None) -> dict[str, Any]:
    (position,) = roads.positions_of(np.array([[x_m, y_m]]))
    told = position or near
    if told is None:
        return {"road": "", "pr": None, "abscissa_m": None, "side": ""}
    return {
        "road": told.road,
        "pr": told.pr,
        "abscissa_m": told.abscissa_m,
        "side": told.side,
    }
