"""Between degrees and metres, and between true and grid north."""

from __future__ import annotations

import math

import numpy as np
import pytest

from souverain.territory.engine import projection


def test_true_and_grid_north() -> None:
    """1.38° apart at 4.9° E: found again from two points on one meridian."""
    south, north = projection.lonlat_to_metres([4.9, 4.9], [47.4, 47.4001])
    east, up = north - south
    assert math.degrees(math.atan2(east, up)) % 360.0 == pytest.approx(
        projection.grid_heading(0.0, 4.9, 47.4), abs=1e-4
    )
    assert projection.convergence_deg(4.9, 47.4) == pytest.approx(1.3787, abs=1e-4)
    assert projection.grid_heading(0.5, 4.9, 47.4) > 359


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_convergence_of_many_places_is_that_of_each(count: int) -> None:
    places = np.random.default_rng(count).uniform([4, 46.9], [5.6, 48.1], (count, 2))
    each = [projection.convergence_deg(*place) for place in places.tolist()]
    assert projection.convergences_deg(places[:, 0], places[:, 1]).tolist() == each
