"""A panorama seen through overlapping windows, the way detectors look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Band:
    """Rows between two elevations, in degrees."""

    highest_deg: float
    lowest_deg: float

    def rows(self, height: int) -> tuple[int, int]:
        top = int((90.0 - self.highest_deg) / 180.0 * height)
        bottom = int(np.ceil((90.0 - self.lowest_deg) / 180.0 * height))
        return max(top, 0), min(bottom, height)


def windows(
    pixels: Pixels, band: tuple[int, int], size: int, overlap: int, *, wraps: bool
) -> Iterator[tuple[int, int, Pixels]]:
    """Left column, top row and pixels of each window of at most `size` × `size`, with `overlap`
    shared with its neighbours. When the picture wraps around, the last ones pass its right edge
    and go on at the left."""
    width = pixels.shape[1]
    top, bottom = band
    across = width + overlap if wraps and width > size else width
    for y in _starts(bottom - top, size, overlap):
        for x in _starts(across, size, overlap):
            rows = pixels[top + y : min(top + y + size, bottom)]
            end = min(x + size, across)
            part = rows[:, x : min(end, width)]
            if end > width:
                part = np.concatenate([part, rows[:, : end - width]], axis=1)
            yield x, top + y, part


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """Evenly spread, so that every window is full and no overlap is less than asked."""
    if length <= size:
        return [0]
    count = -(-(length - overlap) // (size - overlap))
    return [round(n * (length - size) / (count - 1)) for n in range(count)]


def resized(pixels: Pixels, height: int, width: int) -> npt.NDArray[np.float32]:
    """Bilinear, (h, w, 3) → (height, width, 3); pixel centres at halves."""
    rows, row_share = _between(pixels.shape[0], height)
    columns, column_share = _between(pixels.shape[1], width)
    across = _blend(pixels[:, columns], pixels[:, columns + (pixels.shape[1] > 1)], column_share)
    return _blend(across[rows], across[rows + (pixels.shape[0] > 1)], row_share[:, None])


def _between(length: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    at = np.clip((np.arange(wanted) + 0.5) * length / wanted - 0.5, 0, length - 1)
    first = np.minimum(at.astype(np.intp), max(length - 2, 0))
    return first, (at - first).astype(np.float32)[:, None]


def _blend(
    first: npt.NDArray[np.generic], second: npt.NDArray[np.generic], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    first = first.astype(np.float32)
    return first + (second.astype(np.float32) - first) * share
