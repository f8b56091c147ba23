"""The geometry of a panorama: pixels, angles on the sphere, directions in the world.

Frames. *Camera*: x to the right, y forward, z up. *World*: x east and y north on the map grid
(Lambert-93), z up, all in metres. Angles are degrees. *Yaw* is 0 in the middle of the picture and
grows to the right; *elevation* is 0 on the horizon and grows upwards. A camera's *heading* is
clockwise from **grid** north (`territory.engine.projection.grid_heading` brings a true heading
there), its *pitch* is positive nose up, its *roll* is positive with the right side down; they are
applied in that order, which is GPano's (PoseHeading, PosePitch, PoseRoll).

Pixels are continuous: the centre of the first pixel is (0.5, 0.5), the left edge is column 0. The
full sphere is `width` × `height` with `width = 2 height`; a cropped picture is shifted into it by
its GPano offsets before anything here sees it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def pixel_to_angles(
    columns: npt.ArrayLike, rows: npt.ArrayLike, width: int, height: int
) -> tuple[Floats, Floats]:
    """Continuous pixels of the full sphere, shape (n,) → yaw in [-180, 180), elevation."""
    yaw = (np.asarray(columns, float) / width * 360.0) % 360.0 - 180.0
    elevation = 90.0 - np.asarray(rows, float) / height * 180.0
    return yaw, elevation


def angles_to_pixel(
    yaw_deg: npt.ArrayLike, elevation_deg: npt.ArrayLike, width: int, height: int
) -> tuple[Floats, Floats]:
    """Yaw (any turn) and elevation, shape (n,) → continuous column in [0, width), row."""
    columns = ((np.asarray(yaw_deg, float) + 180.0) % 360.0) / 360.0 * width
    rows = (90.0 - np.asarray(elevation_deg, float)) / 180.0 * height
    return columns, rows


def angles_to_direction(yaw_deg: npt.ArrayLike, elevation_deg: npt.ArrayLike) -> Floats:
    """Unit vectors of the camera frame, shape (n, 3)."""
    yaw, elevation = np.radians(yaw_deg), np.radians(elevation_deg)
    return np.stack(
        [np.cos(elevation) * np.sin(yaw), np.cos(elevation) * np.cos(yaw), np.sin(elevation)], -1
    )


def direction_to_angles(directions: Floats) -> tuple[Floats, Floats]:
    """Vectors of the camera frame, shape (n, 3), of any length → yaw, elevation."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.degrees(np.arctan2(x, y)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def rotation(
    heading_deg: npt.ArrayLike, pitch_deg: npt.ArrayLike = 0.0, roll_deg: npt.ArrayLike = 0.0
) -> Floats:
    """Camera-to-world matrices, shape (…, 3, 3): Rz(-heading) · Rx(pitch) · Ry(roll)."""
    h, p, r = (
        np.radians(a) for a in np.broadcast_arrays(heading_deg, pitch_deg, roll_deg)
    )  # each shape (…,)
    sh, ch, sp, cp, sr, cr = np.sin(h), np.cos(h), np.sin(p), np.cos(p), np.sin(r), np.cos(r)
    rows = [
        [ch * cr + sh * sp * sr, sh * cp, ch * sr - sh * sp * cr],
        [-sh * cr + ch * sp * sr, ch * cp, -sh * sr - ch * sp * cr],
        [-cp * sr, sp, cp * cr],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def to_world(
    directions: Floats,
    heading_deg: npt.ArrayLike,
    pitch_deg: npt.ArrayLike = 0.0,
    roll_deg: npt.ArrayLike = 0.0,
) -> Floats:
    """Directions of the camera frame, shape (n, 3), turned into the world; one pose, or n."""
    turned: Floats = np.einsum(
        "...ij,...j->...i", rotation(heading_deg, pitch_deg, roll_deg), directions
    )
    return turned


def to_camera(
    directions: Floats,
    heading_deg: npt.ArrayLike,
    pitch_deg: npt.ArrayLike = 0.0,
    roll_deg: npt.ArrayLike = 0.0,
) -> Floats:
    """Directions of the world, shape (n, 3), as the camera sees them; one pose, or n."""
    turned: Floats = np.einsum(
        "...ji,...j->...i", rotation(heading_deg, pitch_deg, roll_deg), directions
    )
    return turned
