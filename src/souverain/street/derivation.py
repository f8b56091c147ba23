"""What is served of a panorama, derived from its blurred picture: the picture and its pyramid.

Objects of a panorama live under `street/<campaign>/<id>/`: `<version>.jpg`, `<version>.pyramid`
and, where the campaign keeps it, `original.jpg`. Pixels never change under a version: a new blur
writes the next one, then the record points to it, then every older object is removed. A crash
leaves the record on objects that are whole; `derive` and `replace` can be called again.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from souverain.core import objects
from souverain.core.objects import CHUNK, AlreadyThere, Store
from souverain.street.engine import pyramid
from souverain.street.models import Campaign, Panorama

_DERIVED = re.compile(r"[0-9]+\.(?:jpg|pyramid)")
_FIELDS = ("version", "picture_key", "pyramid_key", "derived_bytes")


@dataclass(frozen=True)
class Replaced:
    """An object that is no more, with its digest and that of what stands in its place."""

    key: str
    sha256_before: str
    sha256_after: str


def store() -> Store:
    """Where pictures live. Raises ValueError for a setting that names no store."""
    return objects.open_store(settings.OBJECTS_URL)


def folder(panorama: Panorama) -> str:
    return f"{folder_of(panorama.campaign)}/{panorama.pk}"


def folder_of(campaign: Campaign) -> str:
    return f"street/{campaign.name}"


def keep_original(panorama: Panorama, jpeg: bytes) -> None:
    """Keep the picture as it was received; the caller saves the record."""
    panorama.original_key = f"{folder(panorama)}/original.jpg"
    panorama.original_bytes = len(jpeg)
    put(store(), panorama.original_key, jpeg)


def derive(panorama: Panorama, jpeg: bytes) -> None:
    """Write the objects of the panorama's present version from its blurred picture; the record is
    not saved when it is new. Raises PictureError, OSError."""
    _write(panorama, jpeg, panorama.version)
    if not panorama._state.adding:
        panorama.save(update_fields=_FIELDS)


def replace(panorama: Panorama, jpeg: bytes) -> list[Replaced]:
    """Write the next version from a new blur, show it, then remove every older object, those that
    a crash left included. Raises PictureError, OSError: the record then shows what it did."""
    after = _write(panorama, jpeg, panorama.version + 1)
    panorama.version += 1
    panorama.save(update_fields=_FIELDS)
    return remove_older(panorama, after)


def remove_older(panorama: Panorama, after: dict[str, str] | None = None) -> list[Replaced]:
    """Remove the derived objects that the record does not name. `after`: digests of those that it
    names, by suffix."""
    kept, removed, where = store(), [], folder(panorama)
    current = {panorama.picture_key, panorama.pyramid_key}
    for name in kept.names(where):
        key = f"{where}/{name}"
        if key in current or not _DERIVED.fullmatch(name):
            continue
        suffix = name.rpartition(".")[2]
        before = kept.sha256(key)
        kept.remove(key)
        stands = after[suffix] if after else kept.sha256(f"{where}/{panorama.version}.{suffix}")
        removed.append(Replaced(key, before, stands))
    return removed


def forget(panorama: Panorama) -> None:
    """Remove every object of a panorama."""
    kept, where = store(), folder(panorama)
    for key in list(kept.keys(where)):
        kept.remove(key)
    kept.tidy(where)


def _write(panorama: Panorama, jpeg: bytes, version: int) -> dict[str, str]:
    """Both objects of a version, and the record's fields; returns their digests by suffix."""
    kept, where = store(), folder(panorama)
    picture, packed = f"{where}/{version}.jpg", f"{where}/{version}.pyramid"
    with tempfile.TemporaryDirectory(prefix="pyramid-") as scratch:
        file = Path(scratch, "pyramid")
        pyramid.build(jpeg, file, width=panorama.width, height=panorama.height, crop=panorama.crop)
        digests = {"jpg": put(kept, picture, jpeg), "pyramid": put(kept, packed, file)}
        panorama.derived_bytes = len(jpeg) + file.stat().st_size
    panorama.picture_key, panorama.pyramid_key = picture, packed
    return digests


def put(kept: Store, key: str, content: bytes | Path) -> str:
    """Store content under a key, in the place of what a crash may have left there; its digest."""
    incoming = kept.incoming()
    try:
        if isinstance(content, bytes):
            incoming.write(content)
        else:
            with content.open("rb") as file:
                while chunk := file.read(CHUNK):
                    incoming.write(chunk)
        digest = incoming.sha256
        try:
            incoming.commit(key)
        except AlreadyThere:
            if kept.sha256(key) != digest:
                incoming.mend(key, digest)
    finally:
        with suppress(OSError):
            incoming.abort()
    return digest
