"""Only the blocks of the boxes change: proven on coefficients, which libjpeg reads for us, and on
decoded pixels."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path

import jpeglib
import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from souverain.street.engine import jpeg_blocks
from souverain.street.engine.boxes import Box
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.tests.planting import DATA

Coefficients = list[npt.NDArray[np.int16]]
FORMS = ("444", "422", "420", "gray", "progressive", "progressive-gray", "optimised", "restart")


def scene(width: int, height: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Smooth shapes and texture, as photographs have."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(smooth + random.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def encoded(form: str, width: int = 203, height: int = 117, seed: int = 1) -> bytes:
    image = Image.fromarray(scene(width, height, seed))
    options: dict[str, object] = {"quality": 88, "subsampling": "4:2:0"}
    if form in ("444", "422", "420"):
        options["subsampling"] = ":".join(form)
    if form.endswith("gray"):
        image = image.convert("L")
    options["progressive"] = form.startswith("progressive")
    options["optimize"] = form == "optimised"
    if form == "restart":
        options["restart_marker_blocks"] = 5
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def coefficients(jpeg: bytes, folder: Path) -> Coefficients:
    path = folder / "picture.jpg"
    path.write_bytes(jpeg)
    read = jpeglib.read_dct(path)
    planes = [read.Y, read.Cb, read.Cr] if read.has_chrominance else [read.Y]
    return [plane.copy() for plane in planes]


def outside(planes: Coefficients, grid: jpeg_blocks.Grid, boxes: list[Box]) -> list[npt.NDArray]:
    """For each plane, which of its blocks belong to no box."""
    across = -(-grid.width // grid.mcu_width)
    down = -(-grid.height // grid.mcu_height)
    touched = np.zeros((down, across), bool)
    for box in boxes:
        for piece in box.pieces(grid.width, grid.height, wraps=False):
            touched[
                piece.y // grid.mcu_height : -(-(piece.y + piece.height) // grid.mcu_height),
                piece.x // grid.mcu_width : -(-(piece.x + piece.width) // grid.mcu_width),
            ] = True
    masks = []
    for plane in planes:
        rows = np.arange(plane.shape[0]) * down // _padded(plane.shape[0], down)
        columns = np.arange(plane.shape[1]) * across // _padded(plane.shape[1], across)
        masks.append(~touched[np.ix_(rows, columns)])
    return masks


def _padded(blocks: int, mcus: int) -> int:
    """Blocks that the MCUs hold, padding included."""
    return -(-blocks // mcus) * mcus


@pytest.mark.parametrize("form", FORMS)
def test_every_coefficient_outside_the_boxes_is_as_it_was(form: str, tmp_path: Path) -> None:
    jpeg = encoded(form)
    boxes = [Box(20, 30, 17, 9, "face"), Box(190, 100, 40, 40, "plate"), Box(0, 0, 3, 3, "manual")]
    before = coefficients(jpeg, tmp_path)
    after = coefficients(jpeg_blocks.replace_boxes(jpeg, boxes), tmp_path)
    grid = jpeg_blocks.grid(jpeg)
    for old, new, mask in zip(before, after, outside(before, grid, boxes), strict=True):
        assert mask.any() and not mask.all()
        assert np.array_equal(old[mask], new[mask])
        inside = new[~mask].reshape(-1, 64)
        assert not inside[:, 1:].any(), "a detail is left in a box"


@pytest.mark.parametrize("form", FORMS)
def test_without_a_box_no_coefficient_changes(form: str, tmp_path: Path) -> None:
    jpeg = encoded(form)
    before = coefficients(jpeg, tmp_path)
    after = coefficients(jpeg_blocks.replace_boxes(jpeg, []), tmp_path)
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


boxes_anywhere = st.lists(
    st.builds(
        Box,
        st.integers(-30, 150),
        st.integers(-30, 110),
        st.integers(1, 90),
        st.integers(1, 90),
        st.sampled_from(["face", "plate", "manual"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(
    st.sampled_from(FORMS),
    st.integers(1, 130),
    st.integers(1, 90),
    st.integers(0, 9),
    boxes_anywhere,
)
def test_pixels_outside_are_the_same_whatever_the_picture(
    form: str, width: int, height: int, seed: int, boxes: list[Box]
) -> None:
    jpeg = encoded(form, width, height, seed)
    out = jpeg_blocks.replace_boxes(jpeg, boxes)
    grid = jpeg_blocks.grid(jpeg)
    # Without the smoothing of colours across blocks, which reaches one pixel over an edge.
    before, after = (simplejpeg.decode_jpeg(j, fastupsample=True) for j in (jpeg, out))
    same = np.ones((height, width), bool)
    for box in boxes:
        for piece in box.pieces(width, height, wraps=False):
            whole = grid.aligned(piece)
            same[whole.y : whole.y + whole.height, whole.x : whole.x + whole.width] = False
    assert np.array_equal(before[same], after[same])


def test_a_plate_becomes_one_colour_and_a_face_nine_at_most() -> None:
    jpeg = encoded("444", 240, 160)
    for kind, most in (("plate", 1), ("face", 9)):
        box = Box(48, 40, 96, 64, kind)
        out = simplejpeg.decode_jpeg(jpeg_blocks.replace_boxes(jpeg, [box]))
        inside = out[40:104, 48:144].reshape(-1, 3)
        assert len(np.unique(inside, axis=0)) <= most


def test_two_faces_of_the_same_means_leave_the_same_file() -> None:
    """Nothing else of the box is in the file: what differs in detail alone cannot be told apart."""
    flat = np.full((64, 64, 3), 120, np.uint8)
    checked = flat.copy()
    checked[16:32, 16:32] = np.where(np.indices((16, 16)).sum(0)[..., None] % 2, 90, 150)
    files = [simplejpeg.encode_jpeg(p, 95, colorsubsampling="444") for p in (flat, checked)]
    assert files[0] != files[1]
    box = Box(16, 16, 16, 16, "plate")
    assert jpeg_blocks.replace_boxes(files[0], [box]) == jpeg_blocks.replace_boxes(files[1], [box])


def test_a_real_panorama_keeps_its_metadata_and_its_restored_blocks(tmp_path: Path) -> None:
    jpeg = (DATA / "pano_gopromax_seq_1.jpg").read_bytes()
    out = jpeg_blocks.replace_boxes(jpeg, [Box(4400, 1400, 100, 120, "face")])
    assert b"GPano" in out and out.count(b"Exif\0\0") == 1
    with Image.open(io.BytesIO(jpeg)) as old, Image.open(io.BytesIO(out)) as new:
        assert dict(old.getexif()) == dict(new.getexif())
        assert dict(old.getexif().get_ifd(0x8825)) == dict(new.getexif().get_ifd(0x8825))
    before, after = (coefficients(j, tmp_path) for j in (jpeg, out))
    masks = outside(before, jpeg_blocks.grid(jpeg), [Box(4400, 1400, 100, 120, "face")])
    for old_plane, new_plane, mask in zip(before, after, masks, strict=True):
        assert np.array_equal(old_plane[mask], new_plane[mask])


def _exif_with_thumbnail(thumbnail: bytes) -> bytes:
    first = 8
    second = first + 2 + 12 + 4
    at = second + 2 + 24 + 4
    tiff = b"II*\0" + struct.pack("<I", first)
    tiff += struct.pack("<HHHIIII", 1, 0x0112, 3, 1, 1, second, 2)[:-4]
    tiff += struct.pack("<H", 2)
    tiff += struct.pack("<HHII", 0x0201, 4, 1, at) + struct.pack(
        "<HHII", 0x0202, 4, 1, len(thumbnail)
    )
    return b"Exif\0\0" + tiff + struct.pack("<I", 0) + thumbnail


def _with_segment(jpeg: bytes, marker: int, payload: bytes) -> bytes:
    return (
        jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]
    )


def test_pictures_hidden_in_the_file_go() -> None:
    small = encoded("420", 40, 30, seed=5)
    secret = small[-60:-2]
    hidden = _with_segment(encoded("420"), 0xE1, _exif_with_thumbnail(small))
    hidden = _with_segment(
        hidden, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x a='" + b"QUJD" * 200 + b"'/>"
    )
    hidden = _with_segment(hidden, 0xED, b"Photoshop 3.0\0" + small)
    hidden = _with_segment(hidden, 0xE2, b"MPF\0" + small)
    hidden = _with_segment(hidden, 0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(range(200)))
    hidden += small
    assert secret in hidden
    out = jpeg_blocks.replace_boxes(hidden, [Box(0, 0, 8, 8, "face")])
    assert secret not in out and b"QUJDQUJD" not in out
    assert out.count(b"\xff\xd8\xff") == 1 and out.endswith(b"\xff\xd9")
    assert bytes(range(200)) in out, "the colour profile stays"
    with Image.open(io.BytesIO(out)) as image:
        assert image.getexif()[0x0112] == 1
        assert not image.getexif().get_ifd(1)


@pytest.mark.parametrize("form", ["420", "progressive", "restart"])
@given(st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_refused_in_french_or_edited_never_worse(
    form: str, data: st.DataObject
) -> None:
    jpeg = bytearray(encoded(form, 64, 48))
    if data.draw(st.booleans()):
        jpeg = jpeg[: data.draw(st.integers(0, len(jpeg) - 3))]
    else:
        for _ in range(3):
            jpeg[data.draw(st.integers(0, len(jpeg) - 1))] = data.draw(st.integers(0, 255))
    try:
        out = jpeg_blocks.replace_boxes(bytes(jpeg), [Box(8, 8, 20, 20, "face")])
    except JpegError as error:
        assert str(error).endswith(".")
    else:
        assert jpeg_blocks.replace_boxes(out, [])


@pytest.mark.parametrize(
    ("jpeg", "said"),
    [
        (b"", "pas un JPEG"),
        (b"\x89PNG\r\n", "pas un JPEG"),
        (encoded("420")[:3000], "tronqué"),
        (b"\xff\xd8\xff\xd9", "aucune image"),
    ],
)
def test_what_is_no_picture_is_refused(jpeg: bytes, said: str) -> None:
    with pytest.raises(JpegError, match=said):
        jpeg_blocks.replace_boxes(jpeg, [])


def test_a_whole_panorama_takes_little_memory() -> None:
    """12288 × 6144 made of the five real ones: the codec holds the file and one number a block."""
    script = """
import resource, sys
import numpy as np, simplejpeg
from souverain.street.engine import jpeg_blocks
from souverain.street.engine.boxes import Box
jpeg = open(sys.argv[1], "rb").read()
jpeg_blocks.replace_boxes(jpeg, [Box(0, 0, 9, 9, "face")])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
whole = open(sys.argv[2], "rb").read()
jpeg_blocks.replace_boxes(whole, [Box(6000, 3000, 200, 200, "face")])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    one = simplejpeg.decode_jpeg((DATA / "pano_gopromax_seq_1.jpg").read_bytes())
    whole = np.tile(one, (3, 3, 1))[:6144, :12288]
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "small.jpg"), Path(folder, "whole.jpg")]
        paths[0].write_bytes(encoded("420"))
        paths[1].write_bytes(simplejpeg.encode_jpeg(whole, 90, colorsubsampling="420"))
        size_mb = paths[1].stat().st_size / 1e6
        run = subprocess.run(
            [sys.executable, "-c", script, *map(str, paths)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert float(run.stdout) < 8 * size_mb
