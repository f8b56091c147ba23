"""Privacy: faces and plates found and made unrecognisable, boxes drawn by hand, and what a
resident asks, replayed over every copy with a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import simplejpeg
from django.conf import settings

from souverain.street.engine import jpeg_blocks
from souverain.street.engine.boxes import Box
from souverain.street.engine.detection import Detector, LocalDetector
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.engine.windows import Pixels


@dataclass(frozen=True)
class Anonymised:
    """A picture at full resolution whose `boxes` (whole blocks, sorted from the top) were
    replaced, and by what they were found."""

    jpeg: bytes
    boxes: list[Box]
    detector: str


def anonymise(jpeg: bytes) -> Anonymised:
    """Find faces and plates and replace them. Raises JpegError, or ModelsMissing: no picture goes
    on without having been looked at."""
    found = detector()
    grid = jpeg_blocks.grid(jpeg)
    pixels = _pixels(jpeg)
    boxes = _in_blocks(grid, found.find(jpeg, pixels))
    del pixels
    return Anonymised(jpeg_blocks.replace_boxes(jpeg, boxes), boxes, found.name)


def _in_blocks(grid: jpeg_blocks.Grid, boxes: Sequence[Box]) -> list[Box]:
    """The pixels that are replaced for these boxes, cut at the seam."""
    wraps = grid.width == 2 * grid.height
    pieces = (
        grid.aligned(piece)
        for box in boxes
        for piece in box.pieces(grid.width, grid.height, wraps=wraps)
    )
    return sorted(pieces, key=lambda box: (box.y, box.x, box.kind))


def _pixels(jpeg: bytes) -> Pixels:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(jpeg, colorspace="RGB")
    except ValueError as error:
        raise JpegError("L'image est abîmée ou tronquée.") from error
    return pixels


@cache
def _local(folder: Path) -> LocalDetector:
    return LocalDetector(folder)


def detector() -> Detector:
    """Raises ModelsMissing."""
    return _local(settings.STREET_MODELS)
