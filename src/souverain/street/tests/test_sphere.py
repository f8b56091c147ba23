"""The geometry that everything else of the room stands on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from souverain.street.engine import sphere

ANGLES = st.floats(-179.9, 179.9)


@pytest.mark.parametrize(
    ("column", "row", "yaw", "elevation"),
    [(0, 0, -180, 90), (2880, 1440, 0, 0), (4320, 720, 90, 45), (5760, 2880, -180, -90)],
)
def test_where_pixels_are(column: float, row: float, yaw: float, elevation: float) -> None:
    assert sphere.pixel_to_angles(column, row, 5760, 2880) == (yaw, elevation)


@given(ANGLES, st.floats(-89.9, 89.9))
def test_there_and_back(yaw: float, elevation: float) -> None:
    columns, rows = sphere.angles_to_pixel(yaw, elevation, 12288, 6144)
    back = sphere.pixel_to_angles(columns, rows, 12288, 6144)
    assert np.allclose(back, (yaw, elevation), atol=1e-9)
    directions = sphere.angles_to_direction([yaw], [elevation])
    assert np.allclose(np.ravel(sphere.direction_to_angles(directions)), (yaw, elevation))


@given(ANGLES, ANGLES, ANGLES)
def test_rotation_is_that_of_scipy(heading: float, pitch: float, roll: float) -> None:
    theirs = Rotation.from_euler("ZXY", [-heading, pitch, roll], degrees=True).as_matrix()
    assert np.allclose(sphere.rotation(heading, pitch, roll), theirs)


def test_what_one_sees_with_a_camera_that_leans() -> None:
    forward, right = np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    east = sphere.to_world(forward, 90.0)
    assert np.allclose(east, [[1, 0, 0]])
    assert sphere.to_world(forward, 0.0, pitch_deg=10.0)[0, 2] > 0  # nose up
    assert sphere.to_world(right, 0.0, roll_deg=10.0)[0, 2] < 0  # right side down


@given(ANGLES, ANGLES, ANGLES, ANGLES, st.floats(-89.0, 89.0))
def test_into_the_world_and_back(
    heading: float, pitch: float, roll: float, yaw: float, elevation: float
) -> None:
    directions = sphere.angles_to_direction([yaw], [elevation])
    world = sphere.to_world(directions, heading, pitch, roll)
    assert np.allclose(sphere.to_camera(world, heading, pitch, roll), directions)
