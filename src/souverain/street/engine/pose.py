"""Where a picture was taken, as the picture itself says: EXIF and XMP, at full precision.

Sources: Exif 2.32 (JEITA CP-3451) on TIFF 6.0; XMP part 3 (ISO 16684) for packets in APP1 and
their extensions; Google's GPano schema. Headings are clockwise from true north; a heading of 0 is
0, and one that is absent is None. Where GPSImgDirection and GPano's PoseHeadingDegrees differ, the
first is kept: cameras write a PoseHeading of 0 that means nothing.
"""

from __future__ import annotations

import math
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from lxml import etree

from souverain.street.engine.crop import Crop
from souverain.street.engine.picture import MAX_PIXELS, Header, PictureError, header, segments

PARIS = ZoneInfo("Europe/Paris")
NGF, ELLIPSOID, UNKNOWN = "NGF-IGN69", "ellipsoid", "unknown"
"""Vertical datums. Exif's « sea level » is none of them by name: unknown."""

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_XMP_MAX = 8 << 20
_GPANO = "{http://ns.google.com/photos/1.0/panorama/}"
_XMP_EXIF = "{http://ns.adobe.com/exif/1.0/}"
_GUID = re.compile(rb"(?<![0-9A-Fa-f])[0-9A-Fa-f]{32}(?![0-9A-Fa-f])")
_ENTRIES_MAX = 1000
_VALUES_MAX, _TEXT_MAX = 64, 1024
"""Of one entry; what is read here has 3 numbers, or a short text. Entries may share their bytes: a
block of 64 KiB could otherwise stand for 64 million numbers."""
_FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i",
            10: "ii", 11: "f", 12: "d"}  # fmt: skip
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_ORIENTATION = 0x0112
_TIMES = ((0x9003, 0x9291, 0x9011), (0x9004, 0x9292, 0x9012), (0x0132, 0x9290, 0x9010))
"""Original, digitized, modified: date and time, fraction of the second, offset from UTC."""
_DATUMS = ("WGS84", "RGF93", "ETRS89")


class PoseError(PictureError):
    """What a picture says of itself cannot be read; the message is a French sentence."""


@dataclass(frozen=True)
class Pose:
    """What was read. `width` × `height` is the full sphere, in the picture's own pixels; `crop`
    the part of it that the picture covers. `missing` says why there is no position."""

    longitude_deg: float | None
    latitude_deg: float | None
    altitude_m: float | None
    datum: str
    heading_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None
    taken_at: datetime | None
    width: int
    height: int
    crop: Crop | None
    sigma_xy_m: float | None = None
    orientation: int = 1
    projection: str = ""
    missing: str = ""

    @property
    def is_sphere(self) -> bool:
        """Whether it is an equirectangular panorama, by its own word or by its shape."""
        if self.projection:
            return self.projection == "equirectangular"
        return self.width == 2 * self.height


def read(jpeg: bytes, zone: tzinfo = PARIS) -> Pose:
    """Read a JPEG, of which the scan may be missing. `zone`: of times that name none. Raises
    PictureError."""
    frame = header(jpeg)
    exif, xmp = _application_segments(jpeg)
    main, photo, gps = _directories(exif) if exif else ({}, {}, {})
    pano, xmp_exif = _properties(xmp)
    width, height, crop = _sphere(frame, pano)
    missing = ""
    longitude: float | None = None
    latitude: float | None = None
    try:
        longitude, latitude = _position(gps, xmp_exif)
    except PoseError as error:
        missing = str(error)
    altitude, datum = _altitude(gps)
    taken_at: datetime | None = None
    with suppress(OverflowError):  # before the year 1 or after 9999: a clock that was never set
        taken_at = _time({**main, **photo}, gps, zone)
    return Pose(
        longitude_deg=longitude,
        latitude_deg=latitude,
        altitude_m=altitude,
        datum=datum,
        heading_deg=_heading(gps, pano),
        pitch_deg=_of_pano(pano, "PosePitchDegrees"),
        roll_deg=_of_pano(pano, "PoseRollDegrees"),
        taken_at=taken_at,
        width=width,
        height=height,
        crop=crop,
        sigma_xy_m=_positive(_number(gps.get(0x1F))),
        orientation=int(_number(main.get(_ORIENTATION)) or 1),
        projection=pano.get("ProjectionType", "").strip().lower(),
        missing=missing,
    )


# JPEG --------------------------------------------------------------------------------------------


def _application_segments(jpeg: bytes) -> tuple[bytes, list[bytes]]:
    """The EXIF block, and the XMP packets: the main one, then its extension put together."""
    exif, packets, more = b"", [], dict[bytes, list[tuple[int, bytes]]]()
    for marker, content in segments(jpeg):
        if marker != 0xE1:
            continue
        if content.startswith(_EXIF):
            exif = exif or content[len(_EXIF) :]
        elif content.startswith(_XMP):
            packets.append(content[len(_XMP) :])
        elif content.startswith(_XMP_MORE) and len(content) > len(_XMP_MORE) + 40:
            at = len(_XMP_MORE)
            guid, start = content[at : at + 32], int.from_bytes(content[at + 36 : at + 40], "big")
            more.setdefault(guid, []).append((start, content[at + 40 :]))
    # XMP part 3, 1.1.3.1: an extension that the packet does not name is no part.
    named = {guid for packet in packets for guid in _GUID.findall(packet)}
    for guid in more.keys() & named:
        whole, length = [], 0
        for start, part in sorted(more[guid]):
            if start != length or start > _XMP_MAX:
                raise PoseError("Les métadonnées XMP étendues de cette image sont incomplètes.")
            whole.append(part)
            length += len(part)
        packets.append(b"".join(whole))
    return exif, packets


# EXIF --------------------------------------------------------------------------------------------

Directory = dict[int, Any]


def _directories(block: bytes) -> tuple[Directory, Directory, Directory]:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        raise PoseError("Les métadonnées EXIF de cette image sont abîmées (en-tête).")
    main = _directory(block, order, struct.unpack_from(f"{order}I", block, 4)[0], "principal")
    photo = _inner(block, order, main.get(_EXIF_IFD), "Exif")
    return main, photo, _inner(block, order, main.get(_GPS_IFD), "GPS")


def _inner(block: bytes, order: str, offset: Any, name: str) -> Directory:
    return _directory(block, order, int(offset[0]), name) if offset else {}


def _directory(block: bytes, order: str, offset: int, name: str) -> Directory:
    """The entries of one directory, by tag: numbers, pairs for rationals, or bytes. An entry that
    cannot be is left out; a directory that cannot be is an error."""
    damaged = PoseError(f"Les métadonnées EXIF de cette image sont abîmées (répertoire {name}).")
    if offset + 2 > len(block):
        raise damaged
    (count,) = struct.unpack_from(f"{order}H", block, offset)
    if count > _ENTRIES_MAX or offset + 2 + 12 * count > len(block):
        raise damaged
    found: Directory = {}
    for number in range(count):
        at = offset + 2 + 12 * number
        tag, kind, length = struct.unpack_from(f"{order}HHI", block, at)
        code = _FORMATS.get(kind)
        if code is None:
            continue
        size = struct.calcsize(f"{order}{code}") * length
        if size > 4:
            (at,) = struct.unpack_from(f"{order}I", block, at + 8)
        else:
            at += 8
        if at + size > len(block) or tag in found:
            continue
        if code == "s":
            found[tag] = block[at : at + min(size, _TEXT_MAX)]
            continue
        if length > _VALUES_MAX:
            continue
        values = struct.unpack_from(f"{order}{code * length}", block, at)
        pairs = len(code) == 2
        found[tag] = list(zip(values[::2], values[1::2], strict=True)) if pairs else list(values)
    return found


def _number(value: Any, index: int = 0) -> float | None:
    """One number of an entry; None for what is none: 0/0, infinity, text."""
    if not isinstance(value, list) or index >= len(value):
        return None
    one = value[index]
    if isinstance(one, tuple):
        return one[0] / one[1] if one[1] else None
    return float(one) if math.isfinite(one) else None


def _text(value: Any) -> str:
    if isinstance(value, list):  # cameras write a letter as a number
        value = bytes(one for one in value if isinstance(one, int) and 0 <= one < 256)
    if not isinstance(value, bytes):
        return ""
    return value.split(b"\0")[0].decode("utf-8", "replace").strip()


# XMP ---------------------------------------------------------------------------------------------


def _properties(packets: list[bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """The GPano properties, and the EXIF ones that XMP repeats; as attributes or elements."""
    pano: dict[str, str] = {}
    exif: dict[str, str] = {}
    # Nothing outside the packet is read, and no entity grows.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    for packet in packets:
        try:
            root = etree.fromstring(packet.strip(b"\0 \r\n\t"), parser)
        except (etree.XMLSyntaxError, ValueError):
            raise PoseError("Les métadonnées XMP de cette image sont illisibles.") from None
        for element in root.iter("*"):
            named = [*element.attrib.items(), (element.tag, element.text or "")]
            for name, value in named:
                for space, into in ((_GPANO, pano), (_XMP_EXIF, exif)):
                    if isinstance(name, str) and name.startswith(space):
                        into.setdefault(name.removeprefix(space), str(value))
    return pano, exif


def _of_pano(pano: dict[str, str], name: str) -> float | None:
    """A number of GPano; absent is None. Raises PoseError for what is not a number."""
    said = pano.get(name)
    if said is None or not said.strip():
        return None
    try:
        number = float(said)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise PoseError(f"GPano:{name} n'est pas un nombre (« {said[:40]} »).")
    return number


def _sphere(frame: Header, pano: dict[str, str]) -> tuple[int, int, Crop | None]:
    """The full sphere and the crop, in the picture's pixels: GPano counts those of the picture as
    it was stitched, which may have been reduced since."""
    names = (
        "FullPanoWidthPixels", "FullPanoHeightPixels", "CroppedAreaImageWidthPixels",
        "CroppedAreaImageHeightPixels", "CroppedAreaLeftPixels", "CroppedAreaTopPixels",
    )  # fmt: skip
    said = [_of_pano(pano, name) for name in names]
    if any(number is None for number in said):
        return frame.width, frame.height, None
    full_width, full_height, width, height, left, top = (float(number or 0) for number in said)
    if min(full_width, full_height, width, height) <= 0:
        raise PoseError("Le cadre GPano de cette image est vide.")
    if left < 0 or top < 0 or left + width > full_width + 1 or top + height > full_height + 1:
        raise PoseError("Le cadre GPano de cette image sort de la sphère.")
    scale = frame.width / width
    if abs(frame.height - height * scale) > max(2.0, 0.02 * frame.height):
        raise PoseError(
            f"Le cadre GPano ({width:.0f} × {height:.0f}) n'a pas les proportions de l'image "
            f"({frame.width} × {frame.height})."
        )
    if full_width * scale * full_height * scale > MAX_PIXELS:
        raise PoseError(
            f"La sphère GPano de cette image dépasse {MAX_PIXELS / 1e6:.0f} mégapixels."
        )
    sphere_width = max(round(full_width * scale), frame.width)
    sphere_height = max(round(full_height * scale), frame.height)
    if (sphere_width, sphere_height) == (frame.width, frame.height):
        return frame.width, frame.height, None
    return (
        sphere_width,
        sphere_height,
        Crop(
            left=min(round(left * scale), sphere_width - frame.width),
            top=min(round(top * scale), sphere_height - frame.height),
            width=frame.width,
            height=frame.height,
        ),
    )


# What they mean ----------------------------------------------------------------------------------


def _position(gps: Directory, xmp: dict[str, str]) -> tuple[float, float]:
    """Longitude and latitude. Raises PoseError, which says why there is none."""
    datum = _text(gps.get(0x12))
    if datum and not re.sub(r"[^A-Z0-9]", "", datum.upper()).startswith(_DATUMS):
        raise PoseError(
            f"La position est dans le référentiel « {datum[:40]} » : il faut WGS 84 ou RGF93."
        )
    latitude = _angle(gps.get(2), _text(gps.get(1)), "NS", "latitude")
    longitude = _angle(gps.get(4), _text(gps.get(3)), "EW", "longitude")
    if latitude is None or longitude is None:
        latitude = _xmp_angle(xmp.get("GPSLatitude", ""), "NS")
        longitude = _xmp_angle(xmp.get("GPSLongitude", ""), "EW")
    if latitude is None or longitude is None:
        raise PoseError("Cette image n'a pas de position GPS.")
    if abs(latitude) > 90 or abs(longitude) > 180:
        raise PoseError("La position GPS de cette image est hors du globe.")
    if latitude == longitude == 0:
        raise PoseError("La position GPS est 0°, 0° : le récepteur n'en avait pas.")
    return longitude, latitude


def _angle(value: Any, side: str, sides: str, name: str) -> float | None:
    """Degrees, minutes, seconds and a hemisphere → signed degrees; None when it is absent."""
    if value is None:
        return None
    parts = [_number(value, index) for index in range(3)]
    if parts[0] is None or any(part is not None and part < 0 for part in parts):
        raise PoseError(f"La {name} GPS de cette image est illisible.")
    if side.upper()[:1] not in tuple(sides):
        raise PoseError(f"La {name} GPS de cette image ne dit pas son hémisphère.")
    degrees = parts[0] + (parts[1] or 0.0) / 60 + (parts[2] or 0.0) / 3600
    return -degrees if side.upper()[0] == sides[1] else degrees


_XMP_ANGLE = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")


def _xmp_angle(text: str, sides: str) -> float | None:
    """`47,19.32N` or `47,19,12N` (XMP part 2, GPSCoordinate) → signed degrees."""
    found = _XMP_ANGLE.fullmatch(text.strip())
    if found is None or found[4] not in sides:
        return None
    degrees = float(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    return -degrees if found[4] == sides[1] else degrees


def _altitude(gps: Directory) -> tuple[float | None, str]:
    """Metres and their datum. Exif 3.0: reference 0 and 1 are above and below « sea level », which
    no receiver names further; 2 and 3 above and below the ellipsoid."""
    metres = _number(gps.get(6))
    if metres is None:
        return None, UNKNOWN
    reference = gps.get(5)
    number = reference[0] if isinstance(reference, bytes) and reference else _number(reference) or 0
    datum = ELLIPSOID if number in (2, 3) else UNKNOWN
    return (-metres if number in (1, 3) else metres), datum


def _heading(gps: Directory, pano: dict[str, str]) -> float | None:
    """From true north, in [0, 360). A magnetic direction is not a heading here: nobody knows the
    declination that the camera saw."""
    if _text(gps.get(0x10)).upper()[:1] != "M":
        direction = _number(gps.get(0x11))
        if direction is not None:
            return direction % 360.0
    pose = _of_pano(pano, "PoseHeadingDegrees")
    return None if pose is None else pose % 360.0


def _positive(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None


_DATE = re.compile(r"(\d{4})[:-](\d{2})[:-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})")
_DAY = re.compile(r"(\d{4})[:-](\d{2})[:-](\d{2})")
_OFFSET = re.compile(r"([+-])(\d{2}):(\d{2})")


def _time(photo: Directory, gps: Directory, zone: tzinfo) -> datetime | None:
    """The instant, to the microsecond. A clock that names its offset is believed first; then the
    receiver's, which is UTC; then the clock in `zone`."""
    clock: datetime | None = None
    for tag, fraction_tag, offset_tag in _TIMES:
        naive = _naive(_text(photo.get(tag)))
        if naive is None:
            continue
        fraction = re.match(r"\d+", _text(photo.get(fraction_tag)))
        if fraction:
            naive += timedelta(seconds=float(f"0.{fraction[0]}"))
        offset = _OFFSET.fullmatch(_text(photo.get(offset_tag)))
        if offset and int(offset[2]) < 24 and int(offset[3]) < 60:
            minutes = int(f"{offset[1]}1") * (60 * int(offset[2]) + int(offset[3]))
            return naive.replace(tzinfo=timezone(timedelta(minutes=minutes))).astimezone(UTC)
        clock = naive
        break
    receiver = _receiver_time(gps)
    if receiver is None:
        return clock.replace(tzinfo=zone).astimezone(UTC) if clock else None
    if clock is not None and receiver.microsecond == 0:
        # A receiver that counts whole seconds; the same second on the clock says which part of it.
        apart = clock.replace(tzinfo=UTC, microsecond=0) - receiver
        if apart % timedelta(minutes=15) == timedelta(0) and abs(apart) <= timedelta(hours=14):
            return receiver.replace(microsecond=clock.microsecond)
    return receiver


def _naive(text: str) -> datetime | None:
    found = _DATE.match(text)
    try:
        return datetime(*map(int, found.groups())) if found else None  # type: ignore[arg-type]  # noqa: DTZ001
    except ValueError:
        return None


def _receiver_time(gps: Directory) -> datetime | None:
    day = _DAY.match(_text(gps.get(0x1D)))
    parts = [_number(gps.get(7), index) for index in range(3)]
    if day is None or any(part is None or not 0 <= part < 61 for part in parts):
        return None
    hours, minutes, seconds = (float(part or 0) for part in parts)
    try:
        midnight = datetime(*map(int, day.groups()), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)
