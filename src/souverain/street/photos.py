"""Photos that people join to an item: bounded, checked, turned upright, written anew without what
the camera added (place, serial number, thumbnail)."""

from __future__ import annotations

MAX_BYTES = 20_000_000
MAX_PIXELS = 80_000_000
SIDE = 2400
_QUALITY = 85


class PhotoError(ValueError):
    """The file is not a photo that can be kept; the message is a French sentence."""


def clean(content: bytes) -> bytes:
    """A JPEG or PNG as received → a JPEG of at most 2,400 pixels a side, without metadata, alpha
    or colour profile. Raises PhotoError."""
    if len(content) > MAX_BYTES:
        raise PhotoError(f"Cette photo dépasse {MAX_BYTES // 1_000_000} Mo.")
    if not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        raise PhotoError("Cette photo n'est ni un JPEG ni un PNG.")
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(content, "", fail_on="error")
        if image.width * image.height > MAX_PIXELS:  # of the header: nothing is decoded yet
            raise PhotoError(f"Cette photo dépasse {MAX_PIXELS // 1_000_000} millions de pixels.")
        # Not `thumbnail_buffer`, which takes a cut file as it comes.
        small = image.autorot().thumbnail_image(
            SIDE, height=SIDE, size="down", export_profile="srgb"
        )
        if small.hasalpha():
            small = small.flatten(background=255)
        return bytes(small.jpegsave_buffer(Q=_QUALITY, keep="none"))
    except pyvips.Error as error:
        raise PhotoError("Cette photo est abîmée : elle ne se lit pas en entier.") from error
