"""Pictures in the order of the drive: cut where the drive stopped, jumped or turned back, and a
heading from the course where nobody gave one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GAP_S = 60.0
GAP_M = 100.0
TURN_DEG = 135.0
_MOVE_M = 2.0
COURSE_SIGMA_DEG = 10.0
"""What the vehicle's course tells of the camera's heading at best: nobody said how it is mounted
in the bend."""
_POSITION_SIGMA_M = 3.0  # of a receiver that states none
_TOO_VAGUE_DEG = 60.0


def cut(time_s: Floats, xy_m: Floats) -> list[Ints]:
    """Indices, in order of time, of each sequence. `time_s` shape (n,), `xy_m` shape (n, 2). A new
    one begins after GAP_S or GAP_M, or where the course turns by more than TURN_DEG at once."""
    if not len(time_s):
        return []
    order = np.argsort(time_s, kind="stable")
    steps = np.diff(xy_m[order], axis=0)
    moved = np.hypot(steps[:, 0], steps[:, 1])
    breaks = (np.diff(time_s[order]) > GAP_S) | (moved > GAP_M)
    course = np.degrees(np.arctan2(steps[:, 0], steps[:, 1]))
    turn = np.abs((np.diff(course) + 180.0) % 360.0 - 180.0)
    real = (moved[1:] > _MOVE_M) & (moved[:-1] > _MOVE_M)
    breaks[1:] |= (turn > TURN_DEG) & real & ~breaks[:-1]
    return np.split(order, np.flatnonzero(breaks) + 1)


def courses(xy_m: Floats, sigma_xy_m: Floats) -> tuple[Floats, Floats]:
    """The course at each place of one sequence, clockwise from grid north, and its sigma, in
    degrees; NaN where the neighbours are too close to tell. From the one before to the one after;
    sigma is the course's own as a heading, and what the positions' sigma (NaN: unknown) adds over
    that base. Shapes: (n, 2), (n,) → (n,), (n,)."""
    count = len(xy_m)
    course, sigma = np.full(count, np.nan), np.full(count, np.nan)
    if count < 2:
        return course, sigma
    before = np.maximum(np.arange(count) - 1, 0)
    after = np.minimum(np.arange(count) + 1, count - 1)
    base = xy_m[after] - xy_m[before]
    length = np.hypot(base[:, 0], base[:, 1])
    known = np.where(np.isnan(sigma_xy_m), _POSITION_SIGMA_M, sigma_xy_m)
    # Neighbours of one receiver share most of its error; a third is taken as their own.
    across = np.hypot(known[before], known[after]) / 3.0
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.hypot(COURSE_SIGMA_DEG, np.degrees(np.arctan2(across, length)))
    usable = (length > 0) & (spread < _TOO_VAGUE_DEG)
    course[usable] = np.degrees(np.arctan2(base[usable, 0], base[usable, 1])) % 360.0
    sigma[usable] = spread[usable]
    return course, sigma
