"""The part of the sphere that a picture covers."""

from __future__ import annotations

from typing import TypedDict


class Crop(TypedDict):
    """In pixels of the full sphere: what `Panorama.crop` keeps."""

    left: int
    top: int
    width: int
    height: int
