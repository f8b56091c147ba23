"""Small panoramas with the metadata that a camera writes, made by another library (Pillow)."""

from __future__ import annotations

from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

GPANO = "http://ns.google.com/photos/1.0/panorama/"


def rational(number: float, per: int = 10_000_000) -> TiffImagePlugin.IFDRational:
    return TiffImagePlugin.IFDRational(round(number * per), per)


def degrees(number: float) -> tuple[Any, ...]:
    return (rational(abs(number)), rational(0), rational(0))


def gpano(**properties: Any) -> bytes:
    told = " ".join(f'GPano:{name}="{value}"' for name, value in properties.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:GPano="{GPANO}" {told}/></rdf:RDF></x:xmpmeta>'
    ).encode()


def panorama_jpeg(
    longitude: float | None = 5.04,
    latitude: float = 47.32,
    taken_at: datetime | None = None,
    heading: float | None = None,
    *,
    size: tuple[int, int] = (256, 128),
    orientation: int | None = None,
    datum: str = "",
    mode: str = "RGB",
    **properties: Any,
) -> bytes:
    """A gradient with a place, an instant (its offset and microseconds told) and a heading."""
    width, height = size
    yaw = np.linspace(0, 2 * np.pi, width, endpoint=False)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = (128 + 100 * np.sin(yaw)).astype(np.uint8)
    pixels[..., 2] = np.linspace(20, 235, height).astype(np.uint8)[:, None]
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    if taken_at is not None:
        photo = exif.get_ifd(0x8769)
        photo[0x9003] = taken_at.strftime("%Y:%m:%d %H:%M:%S")
        photo[0x9291] = f"{taken_at.microsecond:06}"
        offset = taken_at.utcoffset()
        assert offset is not None
        minutes = int(offset / timedelta(minutes=1))
        photo[0x9011] = (
            f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        )
    if longitude is not None:
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N" if latitude >= 0 else "S", degrees(latitude)
        gps[3], gps[4] = "E" if longitude >= 0 else "W", degrees(longitude)
        if heading is not None:
            gps[0x10], gps[0x11] = "T", rational(heading, 1_000_000)
        if datum:
            gps[0x12] = datum
    told = BytesIO()
    xmp = gpano(ProjectionType="equirectangular", **properties)
    Image.fromarray(pixels).convert(mode).save(told, "JPEG", exif=exif, xmp=xmp, quality=92)
    return told.getvalue()


def drive(folder: Path, start: datetime, count: int = 5, step_s: float = 0.225) -> list[Path]:
    """A delivery of pictures every 5 m towards the north, at 80 km/h."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        made.append(folder / f"{number:06}.jpg")
        made[-1].write_bytes(
            panorama_jpeg(
                latitude=47.32 + number * 5 / 111_200,
                taken_at=start + timedelta(seconds=number * step_s),
                heading=0.0,
            )
        )
    return made
