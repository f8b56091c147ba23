"""Drawn configurations for the tests and the benchmark of triangulation: a drive along a road, a
point beside it, and the errors of every kind drawn as the stated sigmas say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from souverain.street.engine import sphere
from souverain.street.engine.triangulation import Bundles

Floats = npt.NDArray[np.float64]
DIJON = np.array([853_000.0, 6_692_000.0, 245.0])


@dataclass(frozen=True)
class Scene:
    """`bundles` as they are observed, `truth` (m, 3) where the points are."""

    bundles: Bundles
    truth: Floats


def attitude_axes(heading_deg: Floats, pitch_deg: Floats) -> Floats:
    """The world axes about which heading, pitch and roll turn, as columns; (…,) → (…, 3, 3)."""
    down = np.broadcast_to([0.0, 0.0, -1.0], (*heading_deg.shape, 3))
    nose = sphere.rotation(heading_deg)[..., :, 0]
    along = sphere.rotation(heading_deg, pitch_deg)[..., :, 1]
    return np.stack([down, nose, along], -1)


def drive(
    count: int,
    seed: int,
    *,
    rays: int = 2,
    ahead_m: tuple[float, float] = (2.0, 15.0),
    base_m: tuple[float, float] = (5.0, 15.0),
    sigma_position_m: tuple[float, float] = (0.01, 0.05),
    sigma_attitude_deg: tuple[float, float] = (0.01, 0.2),
    sigma_click_deg: float = 0.03,
) -> Scene:
    """`count` cameras' drives: `rays` stops in a row, a point up to 6 m aside. What is drawn are
    real errors of position, heading, pitch, roll and click; the rays are re-made from the wrong
    pose, not to first order."""
    draw = np.random.default_rng(seed)
    ways = draw.uniform(0.0, 360.0, count)
    step = draw.uniform(*base_m, count)
    truth = np.stack(
        [
            draw.choice([-1.0, 1.0], count) * draw.uniform(2.0, 6.0, count),
            draw.uniform(*ahead_m, count),
            draw.uniform(-2.5, 3.0, count),
        ],
        -1,
    )
    back = np.arange(rays) * -step[:, None]
    places = np.stack([draw.normal(0, 0.3, back.shape), back, draw.normal(0, 0.1, back.shape)], -1)
    turn = sphere.rotation(ways)
    truth = np.einsum("mij,mj->mi", turn, truth) + DIJON
    places = np.einsum("mij,mnj->mni", turn, places) + DIJON

    shape = back.shape
    heading = ways[:, None] + draw.normal(0, 3.0, shape)
    pitch, roll = draw.normal(0, 2.0, shape), draw.normal(0, 2.0, shape)
    sigma_c = np.broadcast_to(draw.uniform(*sigma_position_m, (count, 1)), shape)
    sigma_a = np.broadcast_to(draw.uniform(*sigma_attitude_deg, (count, 1)), shape)
    seen = sphere.to_camera(truth[:, None] - places, heading, pitch, roll)
    yaw, elevation = sphere.direction_to_angles(seen)

    yaw = yaw + draw.normal(0, sigma_click_deg, shape)
    elevation = elevation + draw.normal(0, sigma_click_deg, shape)
    heading, pitch, roll = (
        angle + sigma_a * draw.standard_normal(shape) for angle in (heading, pitch, roll)
    )
    places = places + sigma_c[..., None] * draw.standard_normal((*shape, 3))
    directions = sphere.to_world(sphere.angles_to_direction(yaw, elevation), heading, pitch, roll)

    axes = attitude_axes(heading, pitch) * np.radians(sigma_a)[..., None, None]
    right = np.stack([np.cos(np.radians(yaw)), -np.sin(np.radians(yaw)), np.zeros(shape)], -1)
    up = np.broadcast_to([0.0, 0.0, -1.0], right.shape)
    click = sphere.rotation(heading, pitch, roll) @ np.stack([up, right], -1)
    click = click * np.radians(sigma_click_deg)
    turns = np.concatenate([axes, click], -1)
    bundles = Bundles(
        places,
        directions,
        np.eye(3) * (sigma_c**2)[..., None, None],
        turns @ np.swapaxes(turns, -1, -2),
    )
    return Scene(bundles, truth)


def whitened(errors: Floats, covariances: Floats) -> Floats:
    """L⁻¹ e with L Lᵀ the covariance; shape (m, 3): unit normal if the sigmas are true."""
    white: Floats = np.linalg.solve(np.linalg.cholesky(covariances), errors[..., None])[..., 0]
    return white


def coverage(white: Floats) -> tuple[Floats, Floats]:
    """Shares within 1 sigma (68.27 % expected) and 1.96 sigma (95 %), each axis: shape (3,)."""
    return (np.abs(white) < 1.0).mean(0), (np.abs(white) < 1.959964).mean(0)
