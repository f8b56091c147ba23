"""Approximate cells of communes from one point each, for maps drawn before real outlines are
imported: the Voronoi diagram of the points, cut by an outline grown around them.

The outline is the union of a disc around each point, whose area is in proportion to the
commune's, closed by a buffer out and back; the discs are scaled so that the outline has the sum
of the areas. These cells are *not* boundaries: whoever shows them says « limites approximatives ».
"""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from souverain.territory.engine.projection import (
    LAMBERT_93,
    Floats,
    geometries_to_lonlat,
    lonlat_to_metres,
)

CLOSING_M = 4_000.0
DECIMALS = 5


def approximate_cells(
    longitude_deg: Floats, latitude_deg: Floats, area_km2: Floats, crs: int = LAMBERT_93
) -> list[BaseGeometry]:
    """Cells in RGF93 degrees (5 decimals), in the order of the points, shape (n,) each.

    Every cell is one polygon that contains its point; cells do not overlap, but points of the same
    metre share one. Raises ValueError when an area is not positive.
    """
    metres = np.asarray(lonlat_to_metres(longitude_deg, latitude_deg, crs))
    if len(metres) == 0:
        return []
    if not np.all(np.asarray(area_km2) > 0):
        raise ValueError("areas must be positive")
    _, first, own = np.unique(np.round(metres), axis=0, return_index=True, return_inverse=True)
    points = shapely.points(metres[first])
    outline = _outline(shapely.points(metres), np.sqrt(np.asarray(area_km2) * 1e6 / np.pi))
    cells = shapely.intersection(_voronoi(points, outline), outline)
    cells = [_part_with(point, cell) for point, cell in zip(points, cells, strict=True)]
    drawn = shapely.transform(geometries_to_lonlat(cells, crs), lambda c: np.round(c, DECIMALS))
    return [drawn[index] for index in own.reshape(-1)]


def _voronoi(points: Floats, outline: BaseGeometry) -> Floats:
    if len(points) == 1:
        return np.array([outline])
    diagram = shapely.voronoi_polygons(
        shapely.multipoints(points), extend_to=shapely.envelope(outline), ordered=True
    )
    return np.asarray(shapely.get_parts(diagram))


def _outline(points: Floats, radius_m: Floats) -> BaseGeometry:
    """Discs united and closed, scaled by bisection until they cover the sum of their areas."""
    wanted = float(np.sum(np.pi * radius_m**2))
    low, high = 0.5, 2.0
    for _ in range(8):
        scale = (low + high) / 2
        grown = shapely.union_all(shapely.buffer(points, radius_m * scale + CLOSING_M, quad_segs=8))
        outline = shapely.buffer(_filled(grown), -CLOSING_M, quad_segs=8)
        low, high = (low, scale) if shapely.area(outline) > wanted else (scale, high)
    return outline


def _filled(geometry: BaseGeometry) -> BaseGeometry:
    """The geometry without its holes."""
    return shapely.union_all([shapely.polygons(p.exterior) for p in shapely.get_parts(geometry)])


def _part_with(point: BaseGeometry, cell: BaseGeometry) -> BaseGeometry:
    parts = shapely.get_parts(cell)
    return parts[int(np.argmin(shapely.distance(parts, point)))]
