"""A flat picture of what one looks at in a panorama, from the few tiles that show it.

A pinhole camera looks at (yaw, elevation) without roll; each of its pixels is looked up in the
pyramid's level that is just finer than the picture, between its four neighbours (bilinear)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import simplejpeg

from souverain.street.engine import sphere
from souverain.street.engine.pyramid import Level, Pyramid

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Read = Callable[[int, int], bytes]
"""Bytes of the packed file: start, length."""

_RING, _RING_WIDTH = 14.0, 1.6


def close_up(
    pyramid: Pyramid,
    read: Read,
    yaw_deg: float,
    elevation_deg: float,
    *,
    field_deg: float = 30.0,
    width: int = 480,
    height: int = 360,
) -> Pixels:
    """Shape (height, width, 3); grey where the picture shows nothing. A ring is drawn round the
    middle, white on black, so that it is seen on anything."""
    focal = width / 2 / np.tan(np.radians(field_deg) / 2)
    across, down = np.meshgrid(
        np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
    )
    seen = np.stack([across, np.full_like(across, focal), -down], -1).reshape(-1, 3)
    directions = sphere.to_world(seen, yaw_deg, elevation_deg)
    yaw, elevation = sphere.direction_to_angles(directions)
    number = _level(pyramid.levels, width / field_deg)
    level = pyramid.levels[number]
    columns, rows = sphere.angles_to_pixel(yaw, elevation, level.width, level.height)
    pixels = _sample(pyramid, read, number, columns - 0.5, rows - 0.5)
    picture = pixels.reshape(height, width, 3).round().astype(np.uint8)
    return _ringed(picture, np.hypot(across, down))


def _level(levels: tuple[Level, ...], pixels_per_deg: float) -> int:
    """The coarsest level that is as fine as the picture; the finest one if none is."""
    fine = [i for i, level in enumerate(levels) if level.width / 360.0 >= pixels_per_deg]
    return fine[-1] if fine else 0


def _sample(pyramid: Pyramid, read: Read, number: int, columns: Floats, rows: Floats) -> Floats:
    """Between the four pixels round each place, shape (n, 3)."""
    level = pyramid.levels[number]
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    aside, beneath = (columns - left)[:, None], (rows - top)[:, None]
    tiles: dict[tuple[int, int], Pixels] = {}

    def at(column: npt.NDArray[np.int_], row: npt.NDArray[np.int_]) -> Floats:
        return _pixels(
            pyramid, read, number, tiles, column % level.width, row.clip(0, level.height - 1)
        )

    upper = at(left, top) * (1 - aside) + at(left + 1, top) * aside
    lower = at(left, top + 1) * (1 - aside) + at(left + 1, top + 1) * aside
    found: Floats = upper * (1 - beneath) + lower * beneath
    return found


def _pixels(
    pyramid: Pyramid,
    read: Read,
    number: int,
    tiles: dict[tuple[int, int], Pixels],
    columns: npt.NDArray[np.int_],
    rows: npt.NDArray[np.int_],
) -> Floats:
    level = pyramid.levels[number]
    # Tile c begins at c · width // columns: the last one that begins at or before the pixel.
    tile_columns = ((columns + 1) * level.columns - 1) // level.width
    tile_rows = ((rows + 1) * level.rows - 1) // level.height
    found = np.full((len(columns), 3), 128.0)
    for column, row in set(zip(tile_columns.tolist(), tile_rows.tolist(), strict=True)):
        here = (tile_columns == column) & (tile_rows == row)
        if (column, row) not in tiles:
            place = pyramid.tile(number, column, row)
            jpeg = read(*place) if place else b""
            tiles[column, row] = simplejpeg.decode_jpeg(jpeg) if jpeg else np.empty((0, 0, 3), "u1")
        tile = tiles[column, row]
        if tile.size:
            x0, y0, _, _ = level.box(column, row)
            found[here] = tile[rows[here] - y0, columns[here] - x0]
    return found


def _ringed(picture: Pixels, radius: Floats) -> Pixels:
    off = np.abs(radius - _RING)
    picture[off < 2 * _RING_WIDTH] = 0
    picture[off < _RING_WIDTH] = 255
    return picture
