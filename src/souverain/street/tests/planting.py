"""Faces and plates planted in real panoramas, where one knows what has to be found.

The faces are cut from one real street photograph; those used to choose thresholds (`TUNING`) are
not those that recall is counted on (`PROOF`). Plates are rendered, and say nobody's number."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
DATA = Path(os.environ.get("SOUVERAIN_TEST_DATA") or "../shared/data") / "street"
# Left, top, right, bottom in the photograph, each looked at.
TUNING = ((222, 107, 254, 146), (478, 157, 502, 190), (57, 128, 89, 173), (605, 157, 638, 199),
          (326, 130, 348, 161), (369, 134, 388, 157), (428, 140, 443, 159))  # fmt: skip
PROOF = ((182, 115, 211, 153), (763, 113, 794, 156), (101, 132, 118, 159), (634, 160, 656, 193),
         (586, 110, 607, 135), (533, 133, 555, 159), (654, 136, 670, 156))  # fmt: skip
CONDITIONS = ("plain", "perspective", "motion", "night")


@dataclass(frozen=True)
class Planted:
    """Where it is, in pixels; `x` may pass the right edge of a panorama that wraps around."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    condition: str


@functools.cache
def photograph() -> Pixels:
    return read(DATA / "faces_city_deface.jpg")


def read(path: Path) -> Pixels:
    return simplejpeg.decode_jpeg(path.read_bytes())


def face(
    box: tuple[int, int, int, int], height_px: float
) -> tuple[Pixels, Pixels, tuple[float, ...]]:
    """A head with its shoulders, its opacity 0–255, and the face in it: x, y, width, height."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x0, x1 = left - 1.0 * width, right + 1.0 * width
    y0, y1 = top - 0.7 * height, bottom + 1.3 * height
    image = photograph()[max(int(y0), 0) : int(y1), max(int(x0), 0) : int(x1)]
    x0, y0 = max(int(x0), 0), max(int(y0), 0)
    scale = height_px / height
    size = (max(round(image.shape[1] * scale), 3), max(round(image.shape[0] * scale), 3))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    inner = ((left - x0) * scale, (top - y0) * scale, width * scale, height * scale)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]]
    centre = (inner[0] + inner[2] / 2, inner[1] + inner[3] * 0.6)
    away = np.hypot((xs - centre[0]) / (inner[2] * 0.95), (ys - centre[1]) / (inner[3] * 1.15))
    opacity = np.clip((1.25 - away) / 0.3, 0, 1) * 255
    return image, opacity.astype(np.uint8), inner


def plate(
    text: str, height_px: float, *, old: bool = False
) -> tuple[Pixels, Pixels, tuple[float, ...]]:
    """A French plate of 520 × 110 mm on a dark bumper, drawn large and reduced."""
    tall = 110
    image = Image.new("RGB", (760, 230), (38, 40, 44))
    draw = ImageDraw.Draw(image)
    x0, y0 = 120, 60
    draw.rectangle(
        (x0, y0, x0 + 520, y0 + tall), fill=(238, 238, 232), outline=(20, 20, 20), width=3
    )
    if not old:
        draw.rectangle((x0 + 3, y0 + 3, x0 + 45, y0 + tall - 3), fill=(20, 50, 150))
        draw.rectangle((x0 + 475, y0 + 3, x0 + 517, y0 + tall - 3), fill=(20, 50, 150))
    draw.text(
        (x0 + 260, y0 + 57), text, fill=(15, 15, 15), anchor="mm", font=ImageFont.load_default(84)
    )
    scale = height_px / tall
    size = (max(round(760 * scale), 3), max(round(230 * scale), 3))
    small = cv2.resize(
        np.asarray(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    inner = (x0 * scale, y0 * scale, 520 * scale, tall * scale)
    return small, np.full(small.shape[:2], 255, np.uint8), inner


def plate_text(random: np.random.Generator, *, old: bool = False) -> str:
    letters = [str(c) for c in random.choice(list("ABCDEFGHJKLMNPQRSTVWXYZ"), 4)]
    number = int(random.integers(100, 999))
    if old:
        return f"{number} {letters[0]}{letters[1]} 21"
    return f"{letters[0]}{letters[1]}-{number}-{letters[2]}{letters[3]}"


def under(
    condition: str,
    image: Pixels,
    opacity: Pixels,
    inner: tuple[float, ...],
    random: np.random.Generator,
) -> tuple[Pixels, Pixels, tuple[float, ...]]:
    """The same seen from the side, moving, or at night."""
    if condition == "perspective":
        height, width = image.shape[:2]
        near = random.uniform(0.08, 0.16) * height
        narrow = random.uniform(0.72, 0.9)
        far = (0, near, height - near, height)
        corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        right = width * narrow
        seen = np.float32([[0, far[0]], [right, far[1]], [right, far[2]], [0, far[3]]])
        if random.random() < 0.5:
            seen = np.float32([[0, far[1]], [right, far[0]], [right, far[3]], [0, far[2]]])
        matrix = cv2.getPerspectiveTransform(corners, seen)
        size = (max(math.ceil(right), 3), height)
        image = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_AREA)
        opacity = cv2.warpPerspective(opacity, matrix, size, flags=cv2.INTER_AREA)
        x, y, w, h = inner
        points = np.float32([[[x, y], [x + w, y], [x + w, y + h], [x, y + h]]])
        moved = cv2.perspectiveTransform(points, matrix)[0]
        low, high = moved.min(0), moved.max(0)
        inner = (*low, *(high - low))
    elif condition == "motion":
        length = max(3, round(inner[3] * 0.15))
        kernel = np.full((1, length), 1 / length, np.float32)
        image = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    elif condition == "night":
        dark = image.astype(float) * 0.3
        image = np.clip(dark + random.normal(0, 5, dark.shape), 0, 255).astype(np.uint8)
    return image, opacity, inner


def paste(
    panorama: Pixels, thing: tuple[Pixels, Pixels, tuple[float, ...]], x: int, y: int
) -> tuple[float, ...]:
    """Put a thing with its upper left corner at a pixel, over the seam when it must, and say
    where its inner box came to be."""
    image, opacity, inner = thing
    columns = (x + np.arange(image.shape[1])) % panorama.shape[1]
    rows = slice(y, y + image.shape[0])
    share = opacity[..., None] / 255
    panorama[rows, columns] = np.rint(panorama[rows, columns] * (1 - share) + image * share)
    return (x + inner[0], y + inner[1], inner[2], inner[3])


def covered(planted: Planted, mask: npt.NDArray[np.bool_]) -> float:
    """The share of a planted box that a mask of replaced pixels hides."""
    rows = slice(int(planted.y), math.ceil(planted.y + planted.height))
    columns = np.arange(int(planted.x), math.ceil(planted.x + planted.width)) % mask.shape[1]
    return float(mask[rows, columns].mean())


def wilson(found: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    z, p = 1.959964, found / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)
