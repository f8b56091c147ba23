"""Boxes around what must not be recognised, in pixels of the picture as received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Box:
    """`x`, `y` is the first pixel of the upper left corner. `score` is the detector's, in 0–1, or
    None where a person drew the box."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    score: float | None = None

    def grown(self, by: float) -> Box:
        """With a margin on every side, as a share of its longer side."""
        margin = round(by * max(self.width, self.height))
        return replace(
            self,
            x=self.x - margin,
            y=self.y - margin,
            width=self.width + 2 * margin,
            height=self.height + 2 * margin,
        )

    def pieces(self, width: int, height: int, *, wraps: bool) -> list[Box]:
        """Its parts inside a `width` × `height` picture: none when it is outside, two when it
        passes the ±180° seam of a picture that `wraps` around."""
        turns = (-width, 0, width) if wraps else (0,)
        parts = (self._clipped(turn, width, height) for turn in turns)
        return [part for part in parts if part is not None]

    def _clipped(self, shift: int, width: int, height: int) -> Box | None:
        left, top = max(self.x + shift, 0), max(self.y, 0)
        right = min(self.x + shift + self.width, width)
        bottom = min(self.y + self.height, height)
        if right <= left or bottom <= top:
            return None
        return replace(self, x=left, y=top, width=right - left, height=bottom - top)


def best_of_overlapping(
    boxes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], overlap: float
) -> npt.NDArray[np.intp]:
    """Non-maximum suppression: indices of the boxes to keep, best score first.

    `boxes` is (n, 4): left, top, right, bottom. A box goes when it shares more than `overlap` of
    the smaller of the two areas with a better one (not of their union: a half face cut by a tile's
    border lies inside the whole one, and is the same face)."""
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        smaller = np.maximum(np.minimum(areas[best], areas[order]), 1e-9)
        order = order[shared / smaller <= overlap]
    return np.array(kept, dtype=np.intp)


def covered_share(boxes: Sequence[Box], width: int, height: int) -> float:
    """The share of a picture's pixels that lie in at least one box."""
    mask = np.zeros((height, width), bool)
    for box in boxes:
        mask[box.y : box.y + box.height, box.x : box.x + box.width] = True
    return float(mask.mean())
