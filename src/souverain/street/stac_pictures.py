"""The pictures that Panoramax's clients ask for: addresses of the byte server, and reduced ones."""

from __future__ import annotations

import numpy as np
import simplejpeg

from souverain.street import derivation
from souverain.street.engine import pyramid
from souverain.street.engine.pyramid import Pyramid
from souverain.street.models import Panorama
from souverain.street.stac import Tiling

WIDTHS = {"sd": 2048, "thumb": 500}
_QUALITY = 80


def tiling(panorama: Panorama) -> Tiling:
    """The largest level, as `engine.pyramid` cuts every picture of that size."""
    whole = pyramid.plan(panorama.width, panorama.height)[0]
    return Tiling(
        whole.columns,
        whole.rows,
        -(-whole.width // whole.columns),
        -(-whole.height // whole.rows),
    )


def whole_address(panorama: Panorama) -> str:
    return f"/street/pictures/{panorama.pk}/{panorama.version}.jpg"


def tile_address(panorama: Panorama, column: int, row: int) -> str:
    return f"/street/tiles/{panorama.pk}/{panorama.version}/0/{column}_{row}.jpg"


def reduced(panorama: Panorama, size: str) -> bytes:
    """A JPEG of the part that the picture covers, `WIDTHS[size]` pixels wide or less, made of the
    smallest level of the pyramid that is as wide. Raises OSError."""
    store, key = derivation.store(), panorama.pyramid_key
    packed = Pyramid.parse(b"".join(store.read(key, 0, pyramid.HEAD_MAX)))
    crop = panorama.crop or {
        "left": 0,
        "top": 0,
        "width": panorama.width,
        "height": panorama.height,
    }
    wanted = min(WIDTHS[size], crop["width"])
    number = max(
        number
        for number, level in enumerate(packed.levels)
        if number == 0 or crop["width"] * level.width >= wanted * panorama.width
    )
    level = packed.levels[number]
    first = packed.starts[number][0]
    content = b"".join(store.read(key, first, sum(packed.lengths[number])))
    canvas = np.zeros((level.height, level.width, 3), np.uint8)
    for row in range(level.rows):
        for column in range(level.columns):
            if (part := packed.tile(number, column, row)) is not None:
                start, length = part[0] - first, part[1]
                left, top, right, bottom = level.box(column, row)
                canvas[top:bottom, left:right] = simplejpeg.decode_jpeg(
                    content[start : start + length]
                )
    scale = level.width / panorama.width
    left, top = round(crop["left"] * scale), round(crop["top"] * scale)
    width, height = max(1, round(crop["width"] * scale)), max(1, round(crop["height"] * scale))
    shown = np.ascontiguousarray(canvas[top : top + height, left : left + width])
    import pyvips

    image = pyvips.Image.new_from_memory(
        shown.data, shown.shape[1], shown.shape[0], 3, "uchar"
    ).copy(interpretation="srgb")
    if shown.shape[1] > wanted:
        image = image.thumbnail_image(wanted, height=10_000, size="down")
    made: bytes = image.jpegsave_buffer(Q=_QUALITY, keep="none", optimize_coding=True)
    return made
