"""What a picture says of itself: every digit of it, or the reason why not."""

from __future__ import annotations

import struct
import time
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.street.engine import pose
from souverain.street.engine.picture import PictureError
from souverain.street.tests.pictures import gpano, panorama_jpeg

AT = datetime(2026, 6, 1, 12, 0, 0, 225_000, tzinfo=timezone(timedelta(hours=2)))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-179.9, 179.9),
    st.floats(-89.9, 89.9),
    st.floats(0, 359.999),
    st.integers(0, 999_999),
    st.integers(-14 * 4, 14 * 4),
)
def test_what_another_library_wrote_is_read_back(
    longitude: float, latitude: float, heading: float, microsecond: int, quarters: int
) -> None:
    zone = timezone(timedelta(minutes=15 * quarters))
    at = datetime(2026, 6, 1, 12, 0, 0, microsecond, tzinfo=zone)
    found = pose.read(panorama_jpeg(longitude, latitude, at, heading, size=(32, 16)))
    if found.longitude_deg is None:
        assert round(longitude, 7) == round(latitude, 7) == 0
        return
    assert found.longitude_deg == pytest.approx(longitude, abs=6e-8)
    assert found.latitude_deg == pytest.approx(latitude, abs=6e-8)
    assert found.heading_deg == pytest.approx(heading, abs=1e-6)
    assert found.taken_at == at


def test_a_heading_of_zero_is_zero_and_none_is_none() -> None:
    assert pose.read(panorama_jpeg(heading=0.0)).heading_deg == 0.0
    assert pose.read(panorama_jpeg(PoseHeadingDegrees="0.0")).heading_deg == 0.0
    assert pose.read(panorama_jpeg()).heading_deg is None
    # A camera's PoseHeading of 0 does not hide the direction that it measured.
    both = panorama_jpeg(heading=349.25, PoseHeadingDegrees="0.0")
    assert pose.read(both).heading_deg == pytest.approx(349.25, abs=1e-6)
    assert pose.read(panorama_jpeg(PoseHeadingDegrees="-0.031")).heading_deg == 359.969


def with_segments(jpeg: bytes, *contents: bytes) -> bytes:
    """After the EXIF, where it stands, and without the XMP that was there."""
    made = b"".join(b"\xff\xe1" + (len(c) + 2).to_bytes(2, "big") + c for c in contents)
    return jpeg[:2] + made + jpeg[2:]


def test_xmp_is_found_in_any_segment_and_in_its_extension() -> None:
    plain = panorama_jpeg().replace(b"GPano:ProjectionType", b"GPano:ProjectionNone")
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    main = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
        b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="' + guid + b'"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    more = gpano(PoseHeadingDegrees="12.3456789", PosePitchDegrees="-1.5")
    half = len(more) // 2

    def extension(start: int, part: bytes) -> bytes:
        sizes = len(more).to_bytes(4, "big") + start.to_bytes(4, "big")
        return b"http://ns.adobe.com/xmp/extension/\0" + guid + sizes + part

    parts = [extension(half, more[half:]), extension(0, more[:half])]
    packet = b"http://ns.adobe.com/xap/1.0/\0" + main
    found = pose.read(with_segments(plain, b"Other\0", *parts, packet))
    assert (found.heading_deg, found.pitch_deg) == (12.3456789, -1.5)
    with pytest.raises(PictureError, match="incomplètes"):
        pose.read(with_segments(plain, parts[0], packet))
    with pytest.raises(PictureError, match="XMP"):
        pose.read(with_segments(plain, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"))


def test_no_entity_is_followed() -> None:
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
        b'<x xmlns:GPano="http://ns.google.com/photos/1.0/panorama/">'
        b"<GPano:ProjectionType>&a;</GPano:ProjectionType></x>"
    )
    read = with_segments(panorama_jpeg(), b"http://ns.adobe.com/xap/1.0/\0" + bomb)
    assert "root" not in pose.read(read).projection


def test_a_reduced_crop_is_counted_in_the_picture_s_own_pixels() -> None:
    jpeg = panorama_jpeg(
        size=(128, 21), FullPanoWidthPixels=15872, FullPanoHeightPixels=7936,
        CroppedAreaImageWidthPixels=15872, CroppedAreaImageHeightPixels=2606,
        CroppedAreaLeftPixels=0, CroppedAreaTopPixels=2538,
    )  # fmt: skip
    found = pose.read(jpeg)
    assert (found.width, found.height) == (128, 64)
    assert found.crop == {"left": 0, "top": 20, "width": 128, "height": 21}
    whole = panorama_jpeg(
        FullPanoWidthPixels=5760, FullPanoHeightPixels=2880, CroppedAreaImageWidthPixels=5760,
        CroppedAreaImageHeightPixels=2880, CroppedAreaLeftPixels=0, CroppedAreaTopPixels=0,
    )  # fmt: skip
    assert pose.read(whole).crop is None
    outside = panorama_jpeg(
        FullPanoWidthPixels=500, FullPanoHeightPixels=250, CroppedAreaImageWidthPixels=256,
        CroppedAreaImageHeightPixels=128, CroppedAreaLeftPixels=400, CroppedAreaTopPixels=0,
    )  # fmt: skip
    with pytest.raises(PictureError, match="sort de la sphère"):
        pose.read(outside)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"longitude": None}, "pas de position"),
        ({"longitude": 0.0, "latitude": 0.0}, "0°, 0°"),
        ({"datum": "ED50"}, "référentiel « ED50 »"),
    ],
)
def test_a_place_that_cannot_be_says_why(fields: dict, said: str) -> None:  # type: ignore[type-arg]
    found = pose.read(panorama_jpeg(taken_at=AT, **fields))
    assert found.longitude_deg is None and said in found.missing
    assert found.taken_at == AT  # what can be read is


@pytest.mark.parametrize("datum", ["WGS-84", "WGS 84", "RGF93", "wgs84"])
def test_a_known_datum_is_one_however_it_is_written(datum: str) -> None:
    assert pose.read(panorama_jpeg(datum=datum)).longitude_deg is not None


def test_damaged_exif_says_so() -> None:
    jpeg = panorama_jpeg(taken_at=AT)
    at = jpeg.index(b"Exif\0\0") + 6
    for broken in (
        jpeg[:at] + b"XX*\0" + jpeg[at + 4 :],
        jpeg[: at + 4] + b"\xff\xff\xff\x7f" + jpeg[at + 8 :],
    ):
        with pytest.raises(PictureError, match="EXIF"):
            pose.read(broken)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_is_a_pose_or_a_reason(data: st.DataObject) -> None:
    jpeg = bytearray(panorama_jpeg(taken_at=AT, heading=1.0, size=(32, 16)))
    for _ in range(data.draw(st.integers(1, 4))):
        jpeg[data.draw(st.integers(0, len(jpeg) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(jpeg)))
    for content in (bytes(jpeg), bytes(jpeg[:cut])):
        try:
            pose.read(content)
        except PictureError as error:
            assert str(error).endswith(".")


def test_the_real_pictures_are_read_as_another_reader_reads_them(street_data: Path) -> None:
    """The values of exiv2 (through geopic-tag-reader 1.10.1, which rounds the heading)."""
    of = {file.stem: pose.read(file.read_bytes()) for file in street_data.glob("*.jpg")}
    first = of["pano_gopromax_seq_1"]
    assert (first.longitude_deg, first.latitude_deg) == (1.9191854417991367, 49.00688961988304)
    assert first.heading_deg == pytest.approx(1163411 / 3333, abs=1e-12)
    assert first.altitude_m == 464303 / 5000 and first.datum == "unknown"
    assert first.taken_at == datetime(2021, 7, 29, 9, 16, 54, tzinfo=UTC)
    assert (first.pitch_deg, first.roll_deg, first.crop) == (0.0, 0.0, None)
    headings = [round(of[f"pano_gopromax_seq_{n}"].heading_deg or 0) for n in range(1, 6)]
    assert headings == [349, 11, 1, 350, 356]
    cropped = of["pano_cropped_gpano_pixel6a"]
    assert (cropped.width, cropped.height, cropped.heading_deg) == (128, 64, 144.0)
    assert cropped.taken_at == datetime(2023, 12, 18, 13, 32, 47, 497_000, tzinfo=UTC)
    assert of["pano_dji_xpcomment"].altitude_m == 202.044
    assert of["pano_dji_xpcomment"].heading_deg is None
    assert of["exif_corrupt_mapillary"].longitude_deg == pytest.approx(-1.6678410999974154)
    assert of["exif_corrupt_mapillary"].altitude_m is None
    assert of["flat_sony_e1"].taken_at == datetime(2022, 10, 19, 7, 56, 34, tzinfo=UTC)
    assert not of["flat_sony_e1"].is_sphere and of["pano_d1_pixel3_gpano"].is_sphere


@pytest.mark.parametrize(
    ("wrong", "right"),
    [(b"2026:06:01 12:00:00", b"0001:01:01 00:00:00"), (b"2026:06:01", b"9999:12:31")],
)
def test_a_clock_beyond_the_calendar_is_no_time(wrong: bytes, right: bytes) -> None:
    """One such picture must not stop the delivery that it is in."""
    at = AT.replace(hour=23 if b"9999" in right else 12, tzinfo=timezone(timedelta(hours=2)))
    if b"9999" in right:
        at = at.replace(tzinfo=timezone(timedelta(hours=-2)))
    jpeg = panorama_jpeg(taken_at=at)
    assert wrong in jpeg
    assert pose.read(jpeg.replace(wrong, right)).taken_at is None


@pytest.mark.parametrize(
    ("full", "part"), [("1000000", "256"), ("1e300", "256"), ("1e300", "1e-300")]
)
def test_a_sphere_larger_than_any_picture_is_refused(full: str, part: str) -> None:
    """Its pyramid would be built of black tiles until memory and disk are full."""
    told = {
        "FullPanoWidthPixels": full,
        "FullPanoHeightPixels": f"{float(full) / 2}",
        "CroppedAreaImageWidthPixels": part,
        "CroppedAreaImageHeightPixels": f"{float(part) / 2}",
        "CroppedAreaLeftPixels": "0",
        "CroppedAreaTopPixels": "0",
    }
    with pytest.raises(PictureError, match="dépasse 134 mégapixels"):
        pose.read(panorama_jpeg(**told))


def test_entries_that_share_their_bytes_are_not_a_thousand_lists() -> None:
    count, length = 1000, 50_000
    heap = 8 + 2 + 12 * count + 4
    entries = b"".join(struct.pack("<HHII", tag, 1, length, heap) for tag in range(count))
    block = b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4 + length)
    jpeg = with_segments(panorama_jpeg(), b"Exif\0\0" + block)
    tracemalloc.start()
    try:
        pose.read(jpeg)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_many_extensions_that_nobody_names_cost_little() -> None:
    named = b"http://ns.adobe.com/xap/1.0/\0" + gpano(Note="y" * 60_000)
    more = [
        b"http://ns.adobe.com/xmp/extension/\0" + b"%032d" % number + bytes(8) + b"x"
        for number in range(10_000)
    ]
    jpeg = with_segments(panorama_jpeg(), *[named] * 40, *more)
    began = time.process_time()
    pose.read(jpeg)
    assert (
        time.process_time() - began < 5
    )  # a search of every packet for each took a minute and more
