"""A JPEG from outside, checked before anything trusts it, and read by bands of rows.

Decoder: libvips, sequentially, so that 75 megapixels never stand whole in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

logging.getLogger("pyvips").setLevel(logging.ERROR)  # what matters is raised

Pixels = npt.NDArray[np.uint8]

MAX_BYTES = 256 << 20
MAX_PIXELS = 16384 * 8192
"""Nearly twice what the order asks (12288 × 6144); what is larger was not tried."""
MIN_HEIGHT = 16
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class PictureError(ValueError):
    """A picture that cannot be taken; the message is a French sentence."""


@dataclass(frozen=True)
class Header:
    """What the frame header says: pixels, colour components, and whether it is progressive."""

    width: int
    height: int
    components: int
    progressive: bool


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The (marker, content) of each segment before the scan. Source: ITU-T T.81, annex B.
    Raises PictureError."""
    if jpeg[:2] != b"\xff\xd8":
        raise PictureError("Ce fichier n'est pas un JPEG.")
    at = 2
    while True:
        while jpeg[at : at + 2] == b"\xff\xff":  # fill bytes, B.1.1.2
            at += 1
        if len(jpeg) < at + 4:
            raise PictureError("Ce JPEG est coupé avant son image.")
        if jpeg[at] != 0xFF:
            raise PictureError(f"Ce JPEG est abîmé à l'octet {at}.")
        marker = jpeg[at + 1]
        if marker in _MARKERS_WITHOUT_LENGTH:
            at += 2
            continue
        if marker == 0xD9:
            raise PictureError("Ce JPEG ne contient pas d'image.")
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if length < 2 or len(jpeg) < at + 2 + length:
            raise PictureError("Ce JPEG est coupé avant son image.")
        yield marker, jpeg[at + 4 : at + 2 + length]
        if marker == 0xDA:
            return
        at += 2 + length


def header(jpeg: bytes) -> Header:
    """Raises PictureError for what is not a JPEG of this room's sizes and colours."""
    if len(jpeg) > MAX_BYTES:
        raise PictureError(f"Ce fichier dépasse {MAX_BYTES >> 20} Mio.")
    for marker, content in segments(jpeg):
        if marker in _FRAMES:
            if len(content) < 6:
                raise PictureError("L'en-tête de ce JPEG est abîmé.")
            height = int.from_bytes(content[1:3], "big")
            width = int.from_bytes(content[3:5], "big")
            found = Header(width, height, content[5], marker in (0xC2, 0xC6, 0xCA, 0xCE))
            _check(found)
            return found
    raise PictureError("Ce JPEG ne contient pas d'image.")


def _check(found: Header) -> None:
    if found.components == 4:
        raise PictureError("Ce JPEG est en CMJN : il faut des couleurs RVB.")
    if found.components not in (1, 3):
        raise PictureError(f"Ce JPEG a {found.components} composantes : il en faut 1 ou 3.")
    if found.width * found.height > MAX_PIXELS:
        raise PictureError(
            f"Cette image a {found.width * found.height / 1e6:.0f} mégapixels "
            f"({found.width} × {found.height}) : {MAX_PIXELS / 1e6:.0f} au plus."
        )
    if found.height < MIN_HEIGHT or found.width < MIN_HEIGHT:
        raise PictureError(f"Cette image est trop petite ({found.width} × {found.height} pixels).")


def bands(jpeg: bytes, rows: int = 256) -> Iterator[Pixels]:
    """All the rows, top to bottom, at most `rows` (a multiple of 8: libvips reads by eights) at a
    time, shape (rows, width, 3). Raises PictureError for a picture that is cut or damaged: every
    byte was promised."""
    assert rows % 8 == 0
    found = header(jpeg)
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(jpeg, "", access="sequential", fail_on="warning")
        if found.components == 1:
            image = image.bandjoin([image, image])
        for top in range(0, found.height, rows):
            count = min(rows, found.height - top)
            band = image.crop(0, top, found.width, count).write_to_memory()
            yield np.frombuffer(band, np.uint8).reshape(count, found.width, 3)
    except pyvips.Error as error:
        said = str(error).lower()
        cut = "premature" in said or "end of" in said or "truncated" in said
        raise PictureError(
            "Ce JPEG est coupé : la fin de l'image manque." if cut else "Ce JPEG est abîmé."
        ) from error
