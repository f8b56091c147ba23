"""A packed pyramid: every pixel of the picture is in a tile, at every level."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.street.engine import pyramid
from souverain.street.engine.crop import Crop
from souverain.street.engine.picture import PictureError
from souverain.street.engine.pyramid import HEAD_MAX, Pyramid

Pixels = npt.NDArray[np.uint8]


def smooth(width: int, height: int) -> Pixels:
    """Colours that say where they are, without the fine detail that JPEG loses; the two edges of
    the sphere meet."""
    yaw = np.linspace(0, 2 * np.pi, width, endpoint=False)
    red = 128 + 100 * np.sin(yaw)[None, :] + 0 * np.arange(height)[:, None]
    green = 128 + 100 * np.cos(yaw)[None, :] + 0 * np.arange(height)[:, None]
    blue = np.linspace(20, 235, height)[:, None] + 0 * yaw[None, :]
    return np.stack([red, green, blue], -1).astype(np.uint8)


def jpeg(pixels: Pixels) -> bytes:
    return bytes(simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="444"))


def read(file: Path, packed: Pyramid, level: int) -> Pixels:
    """A level put together again from its tiles; black where there is none."""
    of = packed.levels[level]
    content = file.read_bytes()
    whole = np.zeros((of.height, of.width, 3), np.uint8)
    for row, column in itertools.product(range(of.rows), range(of.columns)):
        left, top, right, bottom = of.box(column, row)
        part = packed.tile(level, column, row)
        if part is None:
            continue
        tile = simplejpeg.decode_jpeg(content[part[0] : sum(part)])
        assert tile.shape == (bottom - top, right - left, 3)
        whole[top:bottom, left:right] = tile
    return whole


def reduced(pixels: Pixels, times: int) -> Pixels:
    for _ in range(times):
        pixels = pixels[: len(pixels), :]
        if len(pixels) % 2:
            pixels = np.concatenate([pixels, pixels[-1:]])
        if pixels.shape[1] % 2:
            pixels = np.concatenate([pixels, pixels[:, -1:]], 1)
        height, width = len(pixels) // 2, pixels.shape[1] // 2
        mean = pixels.reshape(height, 2, width, 2, 3).astype(float).mean((1, 3))
        pixels = np.floor(mean + 0.5).astype(np.uint8)
    return pixels


def close(one: Pixels, other: Pixels) -> bool:
    return bool(np.abs(one.astype(int) - other.astype(int)).mean() < 3)


@settings(max_examples=15, deadline=None)
@given(width=st.integers(512, 900), data=st.data())
def test_every_level_holds_the_whole_sphere(
    tmp_path_factory: pytest.TempPathFactory, width: int, data: st.DataObject
) -> None:
    height = data.draw(st.sampled_from([width // 2, (width + 1) // 2]))
    pixels = smooth(width, height)
    file = tmp_path_factory.mktemp("p") / "pyramid"
    packed = pyramid.build(jpeg(pixels), file, width=width, height=height, crop=None)
    assert Pyramid.parse(file.read_bytes()[:HEAD_MAX]) == packed
    assert packed.size == file.stat().st_size
    for level in range(len(packed.levels)):
        assert close(read(file, packed, level), reduced(pixels, level))


@pytest.mark.parametrize("width", [12288, 5760, 5761, 1024, 128, 65535, 8193])
def test_columns_are_what_the_viewer_takes(width: int) -> None:
    levels = pyramid.plan(width, width // 2)
    assert 4 <= levels[0].columns <= 64
    for level in levels:
        assert level.columns.bit_count() == level.rows.bit_count() == 1
        edges = [level.box(column, 0)[0] for column in range(level.columns)]
        assert all(
            abs(edge - column * level.width / level.columns) < 1
            for column, edge in enumerate(edges)
        )
        assert level.box(level.columns - 1, level.rows - 1)[2:] == (level.width, level.height)
    assert (levels[-1].columns, levels[-1].rows) == (1, 1)


def test_the_two_sides_of_the_seam_meet(tmp_path: Path) -> None:
    """Nothing of one edge's own is on the other: a step of one pixel, as anywhere else."""
    pixels = smooth(1000, 500)
    packed = pyramid.build(jpeg(pixels), tmp_path / "p", width=1000, height=500, crop=None)
    for level in range(len(packed.levels)):
        seen = read(tmp_path / "p", packed, level).astype(int)
        step = np.abs(seen[:, 0] - seen[:, -1]).mean()
        inside = np.abs(np.diff(seen, axis=1)).mean(axis=(0, 2)).max()
        assert step <= inside + 2


def test_a_crop_lies_where_it_says_and_nothing_is_made_up_around_it(tmp_path: Path) -> None:
    crop = Crop(left=300, top=160, width=421, height=133)
    whole = smooth(1200, 600)
    inside = whole[160:293, 300:721]
    packed = pyramid.build(jpeg(inside), tmp_path / "p", width=1200, height=600, crop=crop)
    expected = np.zeros_like(whole)
    expected[160:293, 300:721] = inside
    assert close(read(tmp_path / "p", packed, 0), expected)
    assert close(read(tmp_path / "p", packed, 1), reduced(expected, 1))
    top = packed.levels[0]
    for row, column in itertools.product(range(top.rows), range(top.columns)):
        left, up, right, down = top.box(column, row)
        shows = left < 721 and right > 300 and up < 293 and down > 160
        assert (packed.tile(0, column, row) is not None) == shows


def test_asked_beyond_the_levels_there_is_nothing(tmp_path: Path) -> None:
    packed = pyramid.build(jpeg(smooth(256, 128)), tmp_path / "p", width=256, height=128, crop=None)
    assert packed.tile(0, 4, 0) is None and packed.tile(0, 0, 2) is None
    assert packed.tile(len(packed.levels), 0, 0) is None and packed.tile(0, -1, 0) is None


def test_a_damaged_picture_is_refused_in_words(tmp_path: Path) -> None:
    good = jpeg(smooth(256, 128))
    for bad, said in ((good[: len(good) // 2], "coupé"), (b"GIF89a" + good, "pas un JPEG")):
        with pytest.raises(PictureError, match=said):
            pyramid.build(bad, tmp_path / "p", width=256, height=128, crop=None)
    with pytest.raises(PictureError, match="et non 512"):
        pyramid.build(good, tmp_path / "p", width=512, height=256, crop=None)
    crop = Crop(left=200, top=0, width=256, height=128)
    with pytest.raises(PictureError, match="sort de la sphère"):
        pyramid.build(good, tmp_path / "p", width=400, height=200, crop=crop)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_an_error(head: bytes) -> None:
    for content in (head, pyramid.MAGIC + head):
        with contextlib.suppress(ValueError):
            Pyramid.parse(content)
