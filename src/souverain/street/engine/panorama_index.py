"""Where panoramas are: a packed index in one file, read in place (mmap).

Panoramas lie in square cells of `CELL_M`, sorted by row then column of cells, so that the cells of
one row are neighbours in the file: a box is one range for each row that holds anything. Nothing
but sorted arrays: the answers are exact (ties go to the first in the file), and every filter
(campaigns, time) is applied before the nearest is chosen, never after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from souverain.street.engine import packed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAGIC = b"SVPANO01"
CELL_M = 64.0
FARTHEST_M = 1e8
_HALF = 1 << 30
_ROW_BITS = 31

COLUMNS: dict[str, Any] = {
    "cells": np.dtype("<i8"),
    "x_m": np.dtype("<f8"),
    "y_m": np.dtype("<f8"),
    "longitude_deg": np.dtype("<f8"),
    "latitude_deg": np.dtype("<f8"),
    "taken_us": np.dtype("<i8"),
    "sequence": np.dtype("<i4"),
    "rank": np.dtype("<i4"),
    "campaign": np.dtype("<i4"),
    "identifiers": np.dtype("V16"),
}


@dataclass(frozen=True)
class Chosen:
    """What may be found: `campaigns` says for each campaign of the index whether it may (shape
    (c,), bool), the instants are microseconds since 1970, both inclusive."""

    campaigns: npt.NDArray[np.bool_] | None = None
    since_us: int | None = None
    until_us: int | None = None
    without: frozenset[int] = frozenset()
    """Places in the index that are passed over."""


EVERYTHING = Chosen()


@dataclass(frozen=True)
class PanoramaIndex:
    """`n` panoramas, each column of shape (n,), in the order of cells."""

    columns: dict[str, npt.NDArray[Any]]
    campaigns: tuple[str, ...]
    """Their names; the column `campaign` holds places in this list."""
    stamp: str
    """What the records were when it was built."""
    rows: Ints
    """Rows of cells that hold something, in growing order."""
    bounds_m: tuple[float, float, float, float]
    """Smallest x and y, greatest x and y."""

    def __len__(self) -> int:
        return len(self.columns["cells"])

    @property
    def x_m(self) -> Floats:
        return self.columns["x_m"]

    @property
    def y_m(self) -> Floats:
        return self.columns["y_m"]

    def identifier(self, place: int) -> bytes:
        """The 16 bytes of a panorama's UUID."""
        return bytes(self.columns["identifiers"][place])

    def box(
        self, west_m: float, south_m: float, east_m: float, north_m: float,
        chosen: Chosen = EVERYTHING,
    ) -> Ints:  # fmt: skip
        """Places of the panoramas in a box, its edges included, in the order of the index."""
        if not (west_m <= east_m and south_m <= north_m):
            return np.empty(0, np.int64)
        places = self._ranges(west_m, south_m, east_m, north_m)
        x, y = self.x_m[places], self.y_m[places]
        inside = (x >= west_m) & (x <= east_m) & (y >= south_m) & (y <= north_m)
        return self._kept(places[inside], chosen)

    def radius(
        self, x_m: float, y_m: float, radius_m: float, chosen: Chosen = EVERYTHING
    ) -> tuple[Ints, Floats]:
        """Places of the panoramas within `radius_m`, and their distances, the nearest first."""
        places = self.box(x_m - radius_m, y_m - radius_m, x_m + radius_m, y_m + radius_m, chosen)
        distance = np.hypot(self.x_m[places] - x_m, self.y_m[places] - y_m)
        near = distance <= radius_m
        places, distance = places[near], distance[near]
        order = np.lexsort((places, distance))
        return places[order], distance[order]

    def nearest(
        self, x_m: float, y_m: float, chosen: Chosen = EVERYTHING
    ) -> tuple[int, float] | None:
        """The place of the nearest panorama and its distance; None when nothing may be found.

        A disc grows around the point until it touches a cell that holds one; then a disc of that
        one's distance holds every nearer one."""
        if not len(self):
            return None
        west, south, east, north = self.bounds_m
        reach = np.hypot(
            max(abs(x_m - west), abs(x_m - east)), max(abs(y_m - south), abs(y_m - north))
        )
        # Far from everything, growing from nothing would only find nothing: begin at the nearest
        # edge, and grow from there, or the last step could take in everything.
        aside = max(west - x_m, x_m - east, 0.0), max(south - y_m, y_m - north, 0.0)
        edge, beyond = float(np.hypot(*aside)), CELL_M / 2
        while True:
            found = self._nearest_in_disc(x_m, y_m, edge + beyond, chosen)
            if found is not None:
                break
            if edge + beyond >= reach:
                return None
            beyond *= 2
        if found[1] > edge + beyond:
            found = self._nearest_in_disc(x_m, y_m, found[1], chosen) or found
        return found

    def _nearest_in_disc(
        self, x_m: float, y_m: float, radius_m: float, chosen: Chosen
    ) -> tuple[int, float] | None:
        """The nearest of what is in the cells that a disc touches."""
        radius_m *= 1 + 1e-9  # more than what rounding takes from the widths below
        low, high = _cell_number([y_m - radius_m, y_m + radius_m])
        first, last = np.searchsorted(self.rows, [low, high + 1])
        rows = self.rows[first:last]
        south = (rows - _HALF) * CELL_M
        away = np.maximum(np.maximum(south - y_m, y_m - south - CELL_M), 0.0)
        half = np.sqrt(np.maximum(radius_m**2 - away**2, 0.0))
        places = self._kept(self._of_rows(rows, x_m - half, x_m + half), chosen)
        if not len(places):
            return None
        distance = np.hypot(self.x_m[places] - x_m, self.y_m[places] - y_m)
        best = int(np.argmin(distance))
        return int(places[best]), float(distance[best])

    def _ranges(self, west_m: float, south_m: float, east_m: float, north_m: float) -> Ints:
        """Places of everything in the cells that a box touches."""
        low, high = _cell_number([south_m, north_m])
        first, last = np.searchsorted(self.rows, [low, high + 1])
        return self._of_rows(self.rows[first:last], west_m, east_m)

    def _of_rows(self, rows: Ints, west_m: npt.ArrayLike, east_m: npt.ArrayLike) -> Ints:
        """Places of everything in the cells of some rows, each from a west to an east."""
        base = rows << _ROW_BITS
        cells = self.columns["cells"]
        starts = np.searchsorted(cells, base + _cell_number(west_m))
        lengths = np.searchsorted(cells, base + (_cell_number(east_m) + 1)) - starts
        before = np.cumsum(lengths) - lengths
        total = int(lengths.sum())
        return np.repeat(starts - before, lengths) + np.arange(total)

    def _kept(self, places: Ints, chosen: Chosen) -> Ints:
        if chosen.campaigns is not None:
            places = places[chosen.campaigns[self.columns["campaign"][places]]]
        if chosen.since_us is not None:
            places = places[self.columns["taken_us"][places] >= chosen.since_us]
        if chosen.until_us is not None:
            places = places[self.columns["taken_us"][places] <= chosen.until_us]
        if chosen.without:
            places = places[~np.isin(places, list(chosen.without))]
        return places

    def save(self, path: Path) -> None:
        """Put the file in place of the former one, whole or not at all. Raises OSError."""
        words = {"campaigns": self.campaigns, "stamp": self.stamp, "bounds_m": self.bounds_m}
        packed.save(path, MAGIC, words, self.columns)


def build(
    *,
    x_m: Floats,
    y_m: Floats,
    longitude_deg: Floats,
    latitude_deg: Floats,
    taken_us: Ints,
    sequence: Ints,
    rank: Ints,
    campaign: Ints,
    identifiers: npt.NDArray[np.void],
    campaigns: Sequence[str],
    stamp: str = "",
) -> PanoramaIndex:
    """An index of columns of shape (n,); `identifiers` are 16 bytes each. Raises ValueError for a
    position that is not finite or not on the Earth."""
    place = np.stack([x_m, y_m])
    if not (np.isfinite(place).all() and (np.abs(place) < FARTHEST_M).all()):
        raise ValueError("positions must be finite metres on the Earth")
    row, column = _cell_number(y_m), _cell_number(x_m)
    cells = (row << _ROW_BITS) + column
    order = np.lexsort((rank, sequence, campaign, cells))
    given = {
        "cells": cells, "x_m": x_m, "y_m": y_m, "longitude_deg": longitude_deg,
        "latitude_deg": latitude_deg, "taken_us": taken_us, "sequence": sequence, "rank": rank,
        "campaign": campaign, "identifiers": identifiers,
    }  # fmt: skip
    columns = {
        name: np.ascontiguousarray(np.asarray(given[name])[order].astype(dtype, copy=False))
        for name, dtype in COLUMNS.items()
    }
    bounds = (
        (float(x_m.min()), float(y_m.min()), float(x_m.max()), float(y_m.max()))
        if len(x_m)
        else (0.0, 0.0, 0.0, 0.0)
    )
    return PanoramaIndex(columns, tuple(campaigns), stamp, _rows(columns["cells"]), bounds)


def load(path: Path) -> PanoramaIndex:
    """Read an index in place. Raises packed.DamagedFile, or OSError when it cannot be read."""
    words, columns = packed.load(path, MAGIC)
    west, south, east, north = words["bounds_m"]
    return PanoramaIndex(
        columns,
        tuple(words["campaigns"]),
        words["stamp"],
        _rows(columns["cells"]),
        (west, south, east, north),
    )


def _cell_number(metres: npt.ArrayLike) -> Ints:
    """Of the row or column that holds a coordinate; what is out of the Earth, at its end."""
    bounded = np.clip(np.asarray(metres, float), -FARTHEST_M, FARTHEST_M)
    number: Ints = np.floor(bounded / CELL_M).astype(np.int64) + _HALF
    return number


def _rows(cells: npt.NDArray[np.int64]) -> Ints:
    rows = cells >> _ROW_BITS
    return rows[np.concatenate([[True], np.diff(rows) != 0])] if len(rows) else rows
