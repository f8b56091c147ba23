"""Figures between points: their value, and a sigma that knows what the points share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from souverain.street.engine import quantities
from souverain.street.engine.triangulation import Point

COORDINATE = st.floats(-50.0, 50.0)
PLACE = st.tuples(COORDINATE, COORDINATE, COORDINATE)


def point(x: float, y: float, z: float, own: float = 0.0, shared: float = 0.0) -> Point:
    """Its own errors of `own` on each axis, and `shared` with every other point."""
    position = np.array([x, y, z])
    errors = {("own", x, y, z): own * np.eye(3), "shared": shared * np.eye(3)}
    return Point(position, (own**2 + shared**2) * np.eye(3), errors)


def test_what_two_points_share_cancels_in_their_distance() -> None:
    apart = quantities.distance([point(0, 0, 0, 0.01, 0.5), point(3, 4, 0, 0.01, 0.5)])
    assert apart.value == pytest.approx(5.0)
    assert apart.sigma == pytest.approx(0.01 * 2**0.5)


def test_the_skew_of_the_axis_counts_by_the_way_along() -> None:
    wide = quantities.width([point(0, 0, 0), point(4, 10, 1)], 0.0, 1.0)
    assert wide.value == pytest.approx(4.0)
    assert wide.sigma == pytest.approx(10 * np.radians(1.0))
    assert quantities.width([point(4, 10, 1), point(0, 0, 0)], 180.0, 0.0).value == pytest.approx(4)


def test_a_height_is_upright() -> None:
    rise = quantities.height([point(0, 0, 5, 0.02), point(9, 9, 2, 0.02)])
    assert rise.value == pytest.approx(3.0)
    assert rise.sigma == pytest.approx(0.02 * 2**0.5)


@given(st.lists(PLACE, min_size=2, max_size=2, unique=True))
def test_gradients_are_those_of_small_steps(places: list[tuple[float, float, float]]) -> None:
    one, two = (np.array(place) for place in places)
    if np.linalg.norm(one - two) < 0.1 or abs(one[2] - two[2]) < 0.1:
        return
    stepped(quantities.distance, [one, two])
    stepped(quantities.height, [one, two])


@given(st.lists(st.floats(0.5, 9.0), min_size=3, max_size=8), st.integers(0, 99))
def test_an_area_and_its_gradient(radii: list[float], seed: int) -> None:
    """A star around its middle, in a plane turned at random and a little bumpy."""
    draw = np.random.default_rng(seed)
    turns = np.arange(len(radii)) / len(radii) * 2 * np.pi
    flat = np.stack([radii * np.cos(turns), radii * np.sin(turns), 0 * turns], -1)
    axes = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    places = [*(flat @ axes.T + [10, 20, 30])]
    found = stepped(quantities.area, places)
    following = np.roll(turns, -1) - turns
    truth = 0.5 * abs(np.sum(np.array(radii) * np.roll(radii, -1) * np.sin(following)))
    assert found == pytest.approx(truth, rel=1e-9)


def stepped(measure: object, places: list[np.ndarray]) -> float:
    """Compare the stated sigma of one uncertain coordinate at a time with a small step of it."""
    value = float(measure([point(*place) for place in places]).value)  # type: ignore[operator]
    for index in range(len(places)):
        for axis in range(3):
            points = [point(*place) for place in places]
            errors = {("own", index, axis): 1e-3 * np.eye(3)[:, axis : axis + 1]}
            points[index] = Point(places[index], np.zeros((3, 3)), errors)
            moved = [place.copy() for place in places]
            moved[index][axis] += 1e-5
            after = measure([point(*place) for place in moved]).value  # type: ignore[operator]
            stated = measure(points).sigma  # type: ignore[operator]
            assert stated == pytest.approx(abs(after - value) * 100, abs=1e-6, rel=1e-3)
    return value


def test_what_has_no_area_is_refused() -> None:
    line = [point(k, 2 * k, 3 * k) for k in range(3)]
    with pytest.raises(quantities.Unmeasurable, match="même ligne"):
        quantities.area(line)
    bow = [point(0, 0, 0), point(2, 2, 0), point(2, 0, 0), point(0, 2, 0)]
    with pytest.raises(quantities.Unmeasurable, match="se croise"):
        quantities.area(bow)
    with pytest.raises(quantities.Unmeasurable, match="le même"):
        quantities.distance([point(1, 1, 1), point(1, 1, 1)])
