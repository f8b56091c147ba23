"""Between longitude/latitude (RGF93, EPSG:4171) and metres (Lambert-93, EPSG:2154; the official
UTM zone of each overseas département). Source: pyproj (PROJ's EPSG database), network off."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

RGF93 = 4171
LAMBERT_93 = 2154
_OVERSEAS = {
    "971": 5490, "972": 5490, "973": 2972, "974": 2975, "975": 4467, "976": 4471,
    "977": 5490, "978": 5490,
}  # fmt: skip

Floats = npt.NDArray[np.float64]


def metric_crs(departement: str) -> int:
    """EPSG code of the official metric projection of a département."""
    return _OVERSEAS.get(departement, LAMBERT_93)


@lru_cache(maxsize=32)
def _transformer(source: int, target: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def lonlat_to_metres(
    longitude_deg: npt.ArrayLike, latitude_deg: npt.ArrayLike, crs: int = LAMBERT_93
) -> Floats:
    """RGF93 degrees, shape (n,) each → metres, shape (n, 2): easting, northing."""
    x, y = _transformer(RGF93, crs).transform(
        np.asarray(longitude_deg, float), np.asarray(latitude_deg, float)
    )
    return np.column_stack([x, y])


def metres_to_lonlat(xy_m: Floats, crs: int = LAMBERT_93) -> Floats:
    """Metres, shape (n, 2) → RGF93 degrees, shape (n, 2): longitude, latitude."""
    longitude, latitude = _transformer(crs, RGF93).transform(xy_m[:, 0], xy_m[:, 1])
    return np.column_stack([longitude, latitude])


def in_area_of_use(xy_m: Floats, crs: int, margin_deg: float = 0.5) -> npt.NDArray[np.bool_]:
    """Whether each place, shape (n, 2), lies where its projection is meant for."""
    area = pyproj.CRS.from_epsg(crs).area_of_use
    finite = np.isfinite(xy_m).all(axis=1)
    if area is None:
        return np.asarray(finite)
    lonlat = metres_to_lonlat(xy_m, crs)
    low = np.array([area.west, area.south]) - margin_deg
    high = np.array([area.east, area.north]) + margin_deg
    return np.asarray(finite & (lonlat >= low).all(axis=1) & (lonlat <= high).all(axis=1))


def geometries_to_metres(geometries: Any, crs: int = LAMBERT_93) -> Any:
    """Shapely geometries in RGF93 degrees → metres; same shape."""
    return shapely.transform(geometries, lambda c: lonlat_to_metres(c[:, 0], c[:, 1], crs))


def geometries_to_lonlat(geometries: Any, crs: int = LAMBERT_93) -> Any:
    """Shapely geometries in metres → RGF93 degrees; same shape."""
    return shapely.transform(geometries, lambda c: metres_to_lonlat(c, crs))


def convergence_deg(longitude_deg: float, latitude_deg: float, crs: int = LAMBERT_93) -> float:
    """From true north to grid north there, clockwise: +1.379° at 4.9° E, 47.4° N in Lambert-93."""
    factors = _projection(crs).get_factors(longitude_deg, latitude_deg)
    return float(factors.meridian_convergence)


def convergences_deg(longitude_deg: Floats, latitude_deg: Floats, crs: int = LAMBERT_93) -> Floats:
    """`convergence_deg` of many places, shape (n,) each → (n,)."""
    if not len(longitude_deg):
        return np.empty(0)  # PROJ refuses nothing at all
    factors = _projection(crs).get_factors(longitude_deg, latitude_deg)
    return np.asarray(factors.meridian_convergence, float)


def grid_heading(
    true_heading_deg: float, longitude_deg: float, latitude_deg: float, crs: int = LAMBERT_93
) -> float:
    """A heading from true north → from grid north, both clockwise, in [0, 360)."""
    return (true_heading_deg - convergence_deg(longitude_deg, latitude_deg, crs)) % 360.0


@lru_cache(maxsize=8)
def _projection(crs: int) -> pyproj.Proj:
    return pyproj.Proj(crs)
