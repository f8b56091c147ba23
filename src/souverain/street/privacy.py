"""Privacy: faces and plates found and made unrecognisable, boxes drawn by hand, and what a
resident asks, replayed over every copy with a receipt."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from django.conf import settings
from django.core.cache import cache
from django.db import transaction

from souverain.core import journal
from souverain.core.access import Actor
from souverain.street import derivation
from souverain.street.derivation import Replaced
from souverain.street.engine import jpeg_blocks, sphere
from souverain.street.engine.boxes import Box
from souverain.street.engine.detection import Detector, LocalDetector
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.engine.windows import Pixels
from souverain.street.models import BlurredBox, BlurRequest, Panorama
from souverain.street.remote_detector import RemoteDetector


@dataclass(frozen=True)
class Anonymised:
    """A picture at full resolution whose `boxes` (whole blocks, sorted from the top) were
    replaced, and by what they were found."""

    jpeg: bytes
    boxes: list[Box]
    detector: str


def anonymise(jpeg: bytes) -> Anonymised:
    """Find faces and plates and replace them. Raises JpegError, or DetectorUnavailable: no picture
    goes on without having been looked at."""
    found = detector()
    grid = jpeg_blocks.grid(jpeg)
    pixels = _pixels(jpeg)
    boxes = in_blocks(grid, found.find(jpeg, pixels))
    del pixels
    return Anonymised(jpeg_blocks.replace_boxes(jpeg, boxes), boxes, found.name)


def in_blocks(grid: jpeg_blocks.Grid, boxes: Sequence[Box]) -> list[Box]:
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


@functools.cache
def _local(folder: Path) -> LocalDetector:
    return LocalDetector(folder)


def detector() -> Detector:
    """The one that SOUVERAIN_STREET_DETECTOR_URL names, by default this machine's processor.
    Raises DetectorUnavailable."""
    if settings.STREET_DETECTOR_URL:
        return RemoteDetector()
    return _local(settings.STREET_MODELS)


# ------------------------------------------------------------------------- a panorama, by hand


class PrivacyError(ValueError):
    """What was asked cannot be done; the message is a French sentence."""


_HELD_S = 600
"""After this, a blur that was killed no longer keeps others away."""


def box_at(
    panorama: Panorama,
    yaw_deg: float,
    elevation_deg: float,
    width_deg: float,
    height_deg: float,
    kind: str,
) -> Box:
    """The box around a direction, in pixels of the picture; it may pass the seam. Raises
    PrivacyError when it lies wholly outside a cropped picture."""
    columns, rows = sphere.angles_to_pixel(
        [yaw_deg], [elevation_deg], panorama.width, panorama.height
    )
    width = max(round(width_deg / 360 * panorama.width), 1)
    height = max(round(height_deg / 180 * panorama.height), 1)
    left, top = _offset(panorama)
    x, y = round(float(columns[0]) - width / 2) - left, round(float(rows[0]) - height / 2) - top
    return Box(x, y, width, height, kind)


def _offset(panorama: Panorama) -> tuple[int, int]:
    crop = panorama.crop or {"left": 0, "top": 0}
    return crop["left"], crop["top"]


@contextmanager
def _alone(panorama: Panorama) -> Iterator[None]:
    """One blur of a panorama at a time: the second would bring back what the first hid."""
    key = f"street-blur-{panorama.pk}"
    if not cache.add(key, 1, _HELD_S):
        raise PrivacyError("Cette image est déjà en train d'être floutée : réessayez ensuite.")
    try:
        yield
    finally:
        cache.delete(key)


def reblur(
    actor: Actor,
    panorama: Panorama,
    boxes: Sequence[Box],
    *,
    request: BlurRequest | None = None,
    originals: bool = True,
) -> list[Replaced]:
    """Replace boxes in the blurred picture, in everything derived from it and, with `originals`,
    in the kept original. Returns every object that is no more, with the digest of what stands in
    its place. Raises PrivacyError, JpegError, PictureError, OSError; it can be called again."""
    if not boxes:
        raise PrivacyError("Aucune zone n'est donnée.")
    if not panorama.picture_key:
        raise PrivacyError("Cette image n'a pas encore de copie floutée.")
    with _alone(panorama):
        panorama.refresh_from_db()
        jpeg = b"".join(derivation.store().read(panorama.picture_key))
        whole = in_blocks(jpeg_blocks.grid(jpeg), boxes)
        if not whole:
            raise PrivacyError("La zone est en dehors de l'image.")
        replaced = []
        if originals and panorama.original_key:
            # First: a new detector would otherwise bring back from it what was hidden.
            replaced += _replace_original(panorama, whole)
        replaced += derivation.replace(panorama, jpeg_blocks.replace_boxes(jpeg, whole))
        with transaction.atomic():
            BlurredBox.objects.bulk_create(
                BlurredBox(
                    panorama=panorama,
                    kind=box.kind,
                    x=box.x,
                    y=box.y,
                    width=box.width,
                    height=box.height,
                    score=box.score,
                    request=request,
                )
                for box in whole
            )
            journal.append(
                actor,
                "street.reblurred",
                object=f"panorama:{panorama.pk}",
                data={"boxes": len(whole), "version": panorama.version, "objects": len(replaced)},
            )
    return replaced


def _replace_original(panorama: Panorama, boxes: Sequence[Box]) -> list[Replaced]:
    """Under a new name, which the record takes before the old objects go, those that a crash left
    included: a crash loses nothing, and the next blur leaves no copy."""
    store, where = derivation.store(), derivation.folder(panorama)
    jpeg = jpeg_blocks.replace_boxes(b"".join(store.read(panorama.original_key)), boxes)
    key = f"{where}/original-{panorama.version + 1}.jpg"
    older = [f"{where}/{name}" for name in store.names(where) if name.startswith("original")]
    before = {name: store.sha256(name) for name in older}
    after = derivation.put(store, key, jpeg)
    panorama.original_key, panorama.original_bytes = key, len(jpeg)
    panorama.save(update_fields=["original_key", "original_bytes"])
    for name in older:
        if name != key:
            store.remove(name)
    return [Replaced(name, digest, after) for name, digest in before.items()]


def read_original(actor: Actor, panorama: Panorama) -> Iterator[bytes]:
    """The picture as it was received, in chunks; the reading is journalled. Raises PrivacyError
    when it was not kept."""
    if not panorama.original_key:
        raise PrivacyError("L'image d'origine n'a pas été gardée.")
    journal.append(actor, "street.original_read", object=f"panorama:{panorama.pk}")
    return derivation.store().read(panorama.original_key)


_AROUND = 3.0
_SHOWN_PX = 1000


def outlined(panorama: Panorama, box: Box) -> bytes:
    """A JPEG of what is published around a box, at most 1000 pixels wide, with the box drawn.
    Raises PrivacyError, JpegError, FileNotFoundError."""
    if not panorama.picture_key:
        raise PrivacyError("Cette image n'a pas encore de copie floutée.")
    pixels = _pixels(b"".join(derivation.store().read(panorama.picture_key)))
    height, width = pixels.shape[:2]
    side = min(max(round(_AROUND * max(box.width, box.height)), 200), height)
    middle_x, middle_y = box.x + box.width // 2, box.y + box.height // 2
    top = min(max(middle_y - side // 2, 0), height - side)
    left = middle_x - side // 2
    columns = np.arange(left, left + min(side, width)) % width
    reduction = max(-(-side // _SHOWN_PX), 1)
    part = pixels[top : top + side : reduction, columns[::reduction]]
    enlarged = max(_SHOWN_PX // max(part.shape[:2]), 1)
    part = np.ascontiguousarray(part.repeat(enlarged, axis=0).repeat(enlarged, axis=1))
    x0, y0 = box.x - left, box.y - top
    corners = (x0, y0, x0 + box.width, y0 + box.height)
    _draw(part, *(n * enlarged // reduction for n in corners))
    return bytes(simplejpeg.encode_jpeg(part, 85))


def _draw(pixels: Pixels, left: int, top: int, right: int, bottom: int) -> None:
    """A white frame within a black one: seen on any ground."""
    for grow, colour in ((3, 0), (2, 0), (1, 255), (0, 255)):
        x0, y0 = max(left - grow, 0), max(top - grow, 0)
        x1 = min(right + grow, pixels.shape[1] - 1)
        y1 = min(bottom + grow, pixels.shape[0] - 1)
        if x1 > x0 and y1 > y0:
            pixels[[y0, y1], x0 : x1 + 1] = colour
            pixels[y0 : y1 + 1, [x0, x1]] = colour
