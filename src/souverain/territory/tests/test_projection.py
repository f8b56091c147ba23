"""Between degrees and metres, and between true and grid north."""

from __future__ import annotations

import math

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
