"""Number plates: text found and read by PP-OCRv4 (Baidu, Apache-2.0), on windows at full resolution.

No freely licensed plate detector comes in a package; a plate is a line of text. Text is found by
differentiable binarisation (Liao et al. 2020, arXiv 1911.08947), read (CTC), and judged."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from souverain.street.engine.faces import session
from souverain.street.engine.windows import Pixels, resized

_MULTIPLE = 32
_INSIDE = 0.3
"""The probability above which a pixel is text."""
_UNCLIP = 1.6
"""How far the shrunken region of a text grows back: area × ratio / perimeter."""
_SMALLEST = 3.0
_READ_HEIGHT, _READ_WIDTH = 48, 320


def _normalised(pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """(h, w, 3) RGB 0–255 → (3, h, w) BGR in -1–1, as PP-OCR was trained."""
    floats: npt.NDArray[np.float32] = pixels.astype(np.float32)[..., ::-1].transpose(2, 0, 1)
    return floats / 127.5 - 1.0


class TextFinder:
    def __init__(self, path: Path) -> None:
        self._session = session(path.read_bytes())

    def __call__(
        self, pixels: Pixels, threshold: float, scale: float = 1.0
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Boxes (n, 4): left, top, right, bottom in the window's pixels, and their scores (n,)."""
        from scipy import ndimage

        height, width = (round(n * scale) for n in pixels.shape[:2])
        seen = _normalised(pixels if scale == 1.0 else resized(pixels, height, width))
        rows, columns = (-(-n // _MULTIPLE) * _MULTIPLE for n in (height, width))
        batch = np.full((1, 3, rows, columns), -1.0, np.float32)
        batch[0, :, :height, :width] = seen
        heat = self._session.run(None, {"x": batch})[0][0, 0]
        labels = ndimage.label(heat > _INSIDE)[0]
        found = []
        for label, (ys, xs) in enumerate(ndimage.find_objects(labels), start=1):
            tall, wide = ys.stop - ys.start, xs.stop - xs.start
            score = float(heat[ys, xs][labels[ys, xs] == label].mean())
            if score < threshold or min(tall, wide) < _SMALLEST:
                continue
            grow = tall * wide * _UNCLIP / (2 * (tall + wide))
            found.append((xs.start - grow, ys.start - grow, xs.stop + grow, ys.stop + grow, score))
        table = np.array(found, dtype=np.float64).reshape(-1, 5)
        return table[:, :4] / scale, table[:, 4]


class TextReader:
    def __init__(self, path: Path) -> None:
        self._session = session(path.read_bytes())
        characters = self._session.get_modelmeta().custom_metadata_map["character"]
        self._alphabet = ["", *characters.splitlines(), " "]

    def __call__(self, pixels: Pixels) -> tuple[str, float]:
        """The text of a cut-out line, (h, w, 3), and the mean probability of its characters."""
        wide = max(round(pixels.shape[1] / pixels.shape[0] * _READ_HEIGHT), 8)
        batch = np.zeros((1, 3, _READ_HEIGHT, max(wide, _READ_WIDTH)), np.float32)
        batch[0, :, :, :wide] = _normalised(resized(pixels, _READ_HEIGHT, wide))
        steps = self._session.run(None, {"x": batch})[0][0]
        best = steps.argmax(1)
        new = np.concatenate([[True], best[1:] != best[:-1]]) & (best != 0)
        if not new.any():
            return "", 0.0
        return "".join(self._alphabet[n] for n in best[new]), float(steps.max(1)[new].mean())


_ROAD = re.compile(r"(RN|RD|VC|[ADNECM])\d{1,4}[A-Z]?")
_SURE = 0.85


def may_be_plate(aspect: float, text: str, probability: float) -> bool:
    """Whether a line of text `aspect` times as wide as high may be a plate. When in doubt it is
    one: only what is surely read as something else (words, a road's number) is left.

    Current French plates read AA-123-AA, old ones 123 ABC 21; foreign ones mix letters and digits
    too, or are digits alone."""
    letters = re.sub(r"[^A-Z0-9]", "", text.upper())
    if not 1.2 <= aspect <= 10 or len(letters) > 12:
        return False
    digits = sum(c.isdigit() for c in letters)
    if probability >= _SURE and _ROAD.fullmatch(letters):
        return False
    if len(letters) >= 4 and digits >= 2:
        return True
    # A plate too small, blurred or dark to be read; a word is read surely.
    return probability < _SURE and digits >= 1 and len(letters) >= 2
