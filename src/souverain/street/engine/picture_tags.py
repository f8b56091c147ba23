"""Writes what a panorama says about itself into its JPEG: EXIF (GPS, times) and XMP (GPano).

Sources: EXIF 2.32 (CIPA DC-008) for the tags and their types, the photo sphere XMP description for
GPano. Positions are written to 1e-7 second of arc (3 µm), headings to 1e-6 degree.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_ASCII, _SHORT, _LONG, _RATIONAL, _BYTE = 2, 3, 4, 5, 1
_UNIT = {_ASCII: 1, _BYTE: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8}
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"

Entry = tuple[int, int, int, bytes]
"""Tag, type, count, value."""


@dataclass(frozen=True)
class PictureTags:
    """Longitude and latitude in RGF93 degrees, altitude in metres above the sea, heading clockwise
    from true north, pitch and roll as in `sphere`; `taken_at` is aware, kept to the microsecond."""

    taken_at: datetime
    longitude_deg: float
    latitude_deg: float
    altitude_m: float
    heading_deg: float
    pitch_deg: float
    roll_deg: float
    sigma_m: float
    width: int
    height: int
    model: str
    description: str


def tagged(jpeg: bytes, tags: PictureTags) -> bytes:
    """The same picture with its EXIF and XMP segments in front. Raises ValueError when it does not
    begin as a JPEG does."""
    if jpeg[:2] != b"\xff\xd8":
        raise ValueError("tagged: not a JPEG")
    return jpeg[:2] + _segment(_exif(tags)) + _segment(_xmp(tags)) + jpeg[2:]


def _segment(content: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def _text(tag: int, text: str) -> Entry:
    value = text.encode("ascii") + b"\0"
    return tag, _ASCII, len(value), value


def _rationals(tag: int, values: Sequence[tuple[float, int]]) -> Entry:
    packed = b"".join(struct.pack("<II", round(value * unit), unit) for value, unit in values)
    return tag, _RATIONAL, len(values), packed


def _angle(tag: int, degrees: float) -> Entry:
    """Degrees, minutes and seconds; the seconds to 1e-7, in a whole number of them."""
    ticks = round(abs(degrees) * 3600 * 10**7)
    minutes, seconds = divmod(ticks, 60 * 10**7)
    whole, minutes = divmod(minutes, 60)
    return _rationals(tag, [(whole, 1), (minutes, 1), (seconds / 10**7, 10**7)])


def _directory(entries: Sequence[Entry], start: int) -> bytes:
    """An IFD that begins at the byte `start` of the TIFF block, with its values after it."""
    heap_start = start + 2 + 12 * len(entries) + 4
    table, heap = struct.pack("<H", len(entries)), b""
    for tag, kind, count, value in sorted(entries):
        if len(value) <= 4:
            place = value.ljust(4, b"\0")
        else:
            place = struct.pack("<I", heap_start + len(heap))
            heap += value + b"\0" * (len(value) % 2)
        table += struct.pack("<HHI", tag, kind, count) + place
    return table + b"\0\0\0\0" + heap


def _exif(tags: PictureTags) -> bytes:
    at = tags.taken_at.astimezone(UTC)
    moment = at.strftime("%Y:%m:%d %H:%M:%S")
    times = [
        _text(0x9003, moment),
        _text(0x9011, "+00:00"),
        _text(0x9291, f"{at.microsecond:06}"),
    ]
    second = at.second + at.microsecond / 1e6
    gps: list[Entry] = [
        (0x00, _BYTE, 4, bytes([2, 3, 0, 0])),
        _text(0x01, "N" if tags.latitude_deg >= 0 else "S"),
        _angle(0x02, tags.latitude_deg),
        _text(0x03, "E" if tags.longitude_deg >= 0 else "W"),
        _angle(0x04, tags.longitude_deg),
        (0x05, _BYTE, 1, bytes([tags.altitude_m < 0])),
        _rationals(0x06, [(abs(tags.altitude_m), 10**5)]),
        _rationals(0x07, [(at.hour, 1), (at.minute, 1), (second, 10**6)]),
        _text(0x10, "T"),
        _rationals(0x11, [(tags.heading_deg % 360.0, 10**6)]),
        _text(0x1D, at.strftime("%Y:%m:%d")),
        _rationals(0x1F, [(tags.sigma_m, 10**4)]),
    ]
    main = [
        _text(0x010E, tags.description),
        _text(0x010F, "souverain"),
        _text(0x0110, tags.model),
        _text(0x0131, "souverain"),
        _text(0x0132, moment),
        (0x8769, _LONG, 1, bytes(4)),
        (0x8825, _LONG, 1, bytes(4)),
    ]
    times_at = 8 + len(_directory(main, 8))
    gps_at = times_at + len(_directory(times, times_at))
    main[-2] = (0x8769, _LONG, 1, struct.pack("<I", times_at))
    main[-1] = (0x8825, _LONG, 1, struct.pack("<I", gps_at))
    block = _directory(main, 8) + _directory(times, times_at) + _directory(gps, gps_at)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + block


def _xmp(tags: PictureTags) -> bytes:
    values = {
        "ProjectionType": "equirectangular",
        "UsePanoramaViewer": "True",
        "FullPanoWidthPixels": tags.width,
        "FullPanoHeightPixels": tags.height,
        "CroppedAreaImageWidthPixels": tags.width,
        "CroppedAreaImageHeightPixels": tags.height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
        "PoseHeadingDegrees": f"{tags.heading_deg % 360.0:.6f}",
        "PosePitchDegrees": f"{tags.pitch_deg:.6f}",
        "PoseRollDegrees": f"{tags.roll_deg:.6f}",
    }
    attributes = " ".join(f'GPano:{name}="{value}"' for name, value in values.items())
    packet = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
        f"{attributes}/></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )
    return _XMP_HEAD + packet.encode()
