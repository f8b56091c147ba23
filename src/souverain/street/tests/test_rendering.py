"""The drawn street is where it says, so that what is measured on it can be judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from souverain.street.engine import rendering, sphere
from souverain.street.engine import triangulation as tri

WIDTH = 4096
PIXEL_DEG = 360.0 / WIDTH


def seen_at(
    picture: rendering.Picture, stop: rendering.Stop, fiducial: rendering.Fiducial
) -> tuple[float, float] | None:
    """Yaw and elevation of a fiducial, found by its colour in the pixels around where it should be,
    as the mean direction of the pixels, each by how much of it is the fiducial's."""
    height, width, _ = picture.pixels.shape
    toward = sphere.to_camera(
        (np.array(fiducial.place) - stop.place)[None],
        stop.heading_deg,
        stop.pitch_deg,
        stop.roll_deg,
    )
    columns, rows = sphere.angles_to_pixel(*sphere.direction_to_angles(toward), width, height)
    way = float(np.linalg.norm(toward))
    reach = int(1.5 * np.arcsin(fiducial.radius_m / way) / (2 * np.pi / width)) + 3
    row, column = int(rows[0]), int(columns[0])
    box_rows = np.arange(max(0, row - reach), min(height, row + reach))
    box_columns = np.arange(column - reach, column + reach)
    patch = picture.pixels[np.ix_(box_rows, box_columns % width)].astype(float)
    # A pixel is a mix of magenta and of what is behind, which is greener.
    share = (np.minimum(patch[..., 0], patch[..., 2]) - patch[..., 1]).clip(0.0) / 255.0
    if share.sum() < 4:
        return None
    yaw, elevation = sphere.pixel_to_angles(
        *(grid.ravel() + 0.5 for grid in np.meshgrid(box_columns, box_rows)), width, height
    )
    area = share.ravel() * np.cos(np.radians(elevation))
    mean = (sphere.angles_to_direction(yaw, elevation) * area[:, None]).sum(0)
    found = sphere.direction_to_angles(mean[None])
    return float(found[0][0]), float(found[1][0])


def apart(street: rendering.Street, stop: rendering.Stop, fiducial: rendering.Fiducial) -> bool:
    """Whether no other fiducial is seen beside this one."""
    ways = np.array([other.place for other in street.fiducials]) - stop.place
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    own = street.fiducials.index(fiducial)
    cosines = np.delete(ways @ ways[own], own)
    return bool(np.degrees(np.arccos(cosines.max())) > 1.5)


@pytest.fixture(scope="module")
def street() -> rendering.Street:
    return rendering.street()


@pytest.fixture(scope="module")
def pictures(street: rendering.Street) -> dict[int, rendering.Picture]:
    return {index: rendering.render(street, street.main[index], WIDTH) for index in (2, 3, 4)}


def test_each_fiducial_is_within_a_fraction_of_a_pixel_of_theory(
    street: rendering.Street, pictures: dict[int, rendering.Picture]
) -> None:
    looked = 0
    for index, picture in pictures.items():
        stop = street.main[index]
        for fiducial, shown in zip(street.fiducials, picture.shown, strict=True):
            if shown < 0.95 or fiducial.on_road or not apart(street, stop, fiducial):
                continue
            found = seen_at(picture, stop, fiducial)
            assert found is not None, fiducial.name
            way = np.array(fiducial.place) - stop.place
            toward = sphere.to_camera(way[None], stop.heading_deg, stop.pitch_deg, stop.roll_deg)
            seen = sphere.angles_to_direction([found[0]], [found[1]])[0]
            off = np.degrees(np.linalg.norm(np.cross(seen, toward[0] / np.linalg.norm(toward))))
            assert off < 0.25 * PIXEL_DEG, (fiducial.name, off / PIXEL_DEG)
            looked += 1
    assert looked > 20


def camera(stop: rendering.Stop, key: int, draw: np.random.Generator | None = None) -> tri.Camera:
    """The stop as a camera: its pose as it is, or wrong as its sigmas say."""
    sigmas = {
        "sigma_xy_m": 0.01,
        "sigma_z_m": 0.01,
        "sigma_heading_deg": 0.03,
        "sigma_tilt_deg": 0.02,
    }
    exact = tri.Camera(key, stop.place, stop.heading_deg, stop.pitch_deg, stop.roll_deg, **sigmas)
    if draw is None:
        return exact
    east, north, up, heading, pitch, roll = draw.standard_normal(6)
    x, y, z = stop.place
    return replace(
        exact,
        position_m=(x + 0.01 * east, y + 0.01 * north, z + 0.01 * up),
        heading_deg=stop.heading_deg + 0.03 * heading,
        pitch_deg=stop.pitch_deg + 0.02 * pitch,
        roll_deg=stop.roll_deg + 0.02 * roll,
    )


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_measuring_the_fiducials_in_the_pixels_gives_their_true_places(
    street: rendering.Street, pictures: dict[int, rendering.Picture], seed: int | None
) -> None:
    """Seed None: poses without error, so the millimetre; otherwise poses drawn by their sigmas, and
    the truth is where the stated covariance says (chi-square of 3, far beyond its 0.01 % tail)."""
    draw = None if seed is None else np.random.default_rng(seed)
    cameras = {index: camera(street.main[index], index, draw) for index in pictures}
    squares = []
    for place, fiducial in enumerate(street.fiducials):
        rays = []
        for index, picture in pictures.items():
            stop = street.main[index]
            if picture.shown[place] < 0.95 or fiducial.on_road or not apart(street, stop, fiducial):
                continue
            found = seen_at(picture, stop, fiducial)
            if found is not None:
                rays.append(tri.Ray(cameras[index], *found, 0.1 * PIXEL_DEG))
        try:
            point = tri.triangulate(rays)
        except tri.Refused:
            continue
        error = point.position - fiducial.place
        squares.append(float(error @ np.linalg.solve(point.covariance, error)))
        if seed is None and point.sigma_m < 0.1:
            assert np.linalg.norm(error) < 0.012, fiducial.name
    assert len(squares) >= 6
    assert max(squares) < 25.0
    if seed is None:
        assert np.mean(squares) < 0.5


def test_a_mark_on_the_road_is_measured_with_one_ray(
    street: rendering.Street, pictures: dict[int, rendering.Picture]
) -> None:
    looked = 0
    for index, picture in pictures.items():
        stop = street.main[index]
        for fiducial, shown in zip(street.fiducials, picture.shown, strict=True):
            if not fiducial.on_road or shown < 0.95:
                continue
            found = seen_at(picture, stop, fiducial)
            assert found is not None
            road = tri.Road("plane", 2.5, 0.01)
            try:
                point = tri.on_road(tri.Ray(camera(stop, index), *found, 0.2 * PIXEL_DEG), road)
            except tri.Refused:
                continue
            error = point.position - fiducial.place
            assert np.abs(error).max() < max(0.02, 2 * point.sigma_m)
            looked += 1
    assert looked >= 2


def test_the_same_street_is_drawn_each_time(street: rendering.Street) -> None:
    first = rendering.render(street, street.crossing[0], 512).pixels
    assert np.array_equal(first, rendering.render(street, street.crossing[0], 512).pixels)
    assert first.std() > 30


def test_the_seam_does_not_show(pictures: dict[int, rendering.Picture]) -> None:
    """The last column goes on in the first as any column in the next."""
    pixels = pictures[3].pixels.astype(float)
    steps = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
    seam = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    assert seam < np.percentile(steps, 99.5)
