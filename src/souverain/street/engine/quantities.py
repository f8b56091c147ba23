"""What is measured between points, with its sigma: distance, width, height, area.

Each figure f of k points is propagated to first order, sigma² = g Σ gᵀ, g being its gradient and Σ the
joint covariance of the coordinates (`triangulation.joint_covariance`): errors that the points share,
because they were seen from the same cameras, cancel as far as they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from souverain.street.engine.triangulation import Point, joint_covariance

Floats = npt.NDArray[np.float64]


class Unmeasurable(ValueError):
    """These points have no such quantity; the message is a French sentence."""


@dataclass(frozen=True)
class Quantity:
    """Metres (square metres for an area), and one sigma."""

    value: float
    sigma: float


def _propagated(value: float, gradient: Floats, points: Sequence[Point]) -> Quantity:
    """`gradient`, shape (k, 3)."""
    flat = gradient.ravel()
    variance = float(flat @ joint_covariance(points) @ flat)
    return Quantity(value, max(0.0, variance) ** 0.5)


def _two(points: Sequence[Point]) -> Floats:
    if len(points) != 2:
        raise Unmeasurable("Il faut deux points.")
    way: Floats = points[1].position - points[0].position
    return way


def distance(points: Sequence[Point]) -> Quantity:
    """Between two points, in space."""
    way = _two(points)
    length = float(np.linalg.norm(way))
    if length == 0.0:
        raise Unmeasurable("Les deux points sont le même.")
    return _propagated(length, np.stack([-way, way]) / length, points)


def height(points: Sequence[Point]) -> Quantity:
    """Of the higher point over the lower one."""
    rise = float(_two(points)[2])
    up = np.array([0.0, 0.0, 1.0 if rise >= 0 else -1.0])
    return _propagated(abs(rise), np.stack([-up, up]), points)


def width(points: Sequence[Point], axis_deg: float, sigma_axis_deg: float) -> Quantity:
    """Between two points at right angles to the road's axis, on the level. `axis_deg` is clockwise
    from grid north; an error of it counts by how far apart along the road the points are."""
    way = _two(points)
    axis = np.radians(axis_deg)
    across = np.array([np.cos(axis), -np.sin(axis), 0.0])
    along = np.array([np.sin(axis), np.cos(axis), 0.0])
    wide = float(across @ way)
    sign = 1.0 if wide >= 0 else -1.0
    found = _propagated(abs(wide), np.stack([-across, across]) * sign, points)
    skew = float(along @ way) * np.radians(sigma_axis_deg)
    return Quantity(found.value, float(np.hypot(found.sigma, skew)))


def area(points: Sequence[Point]) -> Quantity:
    """Inside three points or more in their order, in their mean plane: half the length of
    S = Σ Xᵢ x Xᵢ₊₁ (Newell), whose derivative by Xᵢ is half n x (Xᵢ₋₁ - Xᵢ₊₁), n = S / |S|."""
    if len(points) < 3:
        raise Unmeasurable("Il faut trois points au moins pour une surface.")
    corners = np.stack([point.position for point in points])
    corners = corners - corners.mean(0)
    _, spread, axes = np.linalg.svd(corners)
    if spread[1] < 1e-6:
        raise Unmeasurable("Ces points sont sur une même ligne : ils n'ont pas de surface.")
    if not shapely.Polygon(corners @ axes[:2].T).is_valid:
        raise Unmeasurable("Le tour se croise lui-même : cliquez les points dans l'ordre du tour.")
    after, before = np.roll(corners, -1, 0), np.roll(corners, 1, 0)
    total = np.cross(corners, after).sum(0)
    size = float(np.linalg.norm(total))
    normal = total / size
    gradient = -0.5 * np.cross(normal, before - after)
    return _propagated(size / 2, gradient, points)
