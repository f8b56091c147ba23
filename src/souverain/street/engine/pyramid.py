"""One packed file per panorama: every level cut into JPEG tiles that byte ranges reach.

The file is a head, then the tiles. The head, in little-endian: the magic `PANOPYR1`, the number
of levels (u32), then for each level width, height, columns, rows (u32 each), then for each level,
row after row, the length of each tile (u32; 0 where a cropped panorama shows nothing). The tiles
follow in that order, so that lengths alone place them.

Levels halve (2 × 2 mean) from the full sphere to a single tile. Column `c` of `columns` begins at
pixel `c · width // columns`: no pixel is lost, and a tile is where a viewer that divides the
sphere evenly puts it, to less than a pixel. The mean looks at no neighbour, so that nothing
crosses the ±180° seam: its two sides are cut from the picture as any other two neighbours.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg

from souverain.street.engine.crop import Crop
from souverain.street.engine.picture import PictureError, Pixels, bands, header

MAGIC = b"PANOPYR1"
HEAD_MAX = 1 << 14
"""Bytes of the largest head (64 × 32 tiles at the largest level), rounded up."""
QUALITY = 85
_LONGEST_TILE = 1024
_COLUMNS_MIN, _COLUMNS_MAX = 4, 64  # what Photo Sphere Viewer's tiles take
_LEVELS_MAX = 12
_BLACK_ROWS = 256


@dataclass(frozen=True)
class Level:
    """`width` × `height` pixels in `columns` × `rows` tiles."""

    width: int
    height: int
    columns: int
    rows: int

    def box(self, column: int, row: int) -> tuple[int, int, int, int]:
        """left, top, right, bottom of a tile, in pixels of this level."""
        return (
            column * self.width // self.columns,
            row * self.height // self.rows,
            (column + 1) * self.width // self.columns,
            (row + 1) * self.height // self.rows,
        )


def plan(width: int, height: int) -> list[Level]:
    """The levels of a full sphere of `width` × `height` pixels, largest first."""
    columns = _COLUMNS_MIN
    while columns < _COLUMNS_MAX and width > columns * _LONGEST_TILE:
        columns *= 2
    levels = [Level(width, height, columns, columns // 2)]
    while columns > 1:
        columns, width, height = columns // 2, (width + 1) // 2, (height + 1) // 2
        levels.append(Level(width, height, columns, max(1, columns // 2)))
    return levels


@dataclass(frozen=True)
class Pyramid:
    """Where each tile of a packed file is."""

    levels: tuple[Level, ...]
    starts: tuple[tuple[int, ...], ...]
    lengths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, levels: list[Level], lengths: list[list[int]]) -> Pyramid:
        at = _head_bytes(levels)
        starts = []
        for of_level in lengths:
            ends = list(itertools.accumulate(of_level, initial=at))
            starts.append(tuple(ends[:-1]))
            at = ends[-1]
        return cls(tuple(levels), tuple(starts), tuple(map(tuple, lengths)))

    @classmethod
    def parse(cls, head: bytes) -> Pyramid:
        """Read the first HEAD_MAX bytes of a packed file. Raises ValueError."""
        try:
            magic, count = struct.unpack_from("<8sI", head)
            if magic != MAGIC or not 0 < count <= _LEVELS_MAX:
                raise ValueError("not a packed pyramid")
            levels = [Level(*struct.unpack_from("<4I", head, 12 + 16 * i)) for i in range(count)]
            at, lengths = 12 + 16 * count, []
            for level in levels:
                tiles = level.columns * level.rows
                if not 0 < tiles <= _COLUMNS_MAX * _COLUMNS_MAX // 2:
                    raise ValueError("not a packed pyramid")
                lengths.append(list(struct.unpack_from(f"<{tiles}I", head, at)))
                at += 4 * tiles
        except struct.error:
            raise ValueError("a packed pyramid's head was cut") from None
        return cls.of(levels, lengths)

    def head(self) -> bytes:
        """The bytes that `parse` reads."""
        levels = (struct.pack("<4I", v.width, v.height, v.columns, v.rows) for v in self.levels)
        lengths = (struct.pack(f"<{len(of)}I", *of) for of in self.lengths)
        return struct.pack("<8sI", MAGIC, len(self.levels)) + b"".join((*levels, *lengths))

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.starts[-1][-1] + self.lengths[-1][-1]

    def tile(self, level: int, column: int, row: int) -> tuple[int, int] | None:
        """(start, length) in the file; None outside the levels and where a crop shows nothing."""
        if not 0 <= level < len(self.levels):
            return None
        of = self.levels[level]
        if not (0 <= column < of.columns and 0 <= row < of.rows):
            return None
        number = row * of.columns + column
        length = self.lengths[level][number]
        return (self.starts[level][number], length) if length else None


def _head_bytes(levels: list[Level]) -> int:
    return 12 + sum(16 + 4 * level.columns * level.rows for level in levels)


def build(jpeg: bytes, target: Path, *, width: int, height: int, crop: Crop | None) -> Pyramid:
    """Cut a picture into a packed file. `width` × `height` is the full sphere; a crop's pixels
    are the picture's own, and tiles on its edge are black outside it. Raises PictureError."""
    levels = plan(width, height)
    found = header(jpeg)
    covered = (crop["width"], crop["height"]) if crop else (width, height)
    if (found.width, found.height) != covered:
        raise PictureError(
            f"Cette image a {found.width} × {found.height} pixels, et non "
            f"{covered[0]} × {covered[1]}."
        )
    with target.open("wb") as file:
        file.seek(_head_bytes(levels))
        cutter = _Cutter(levels, 0, crop, file)
        for rows in _sphere_rows(jpeg, levels[0], crop):
            cutter.take(rows)
        cutter.end()
        lengths = []
        for each in cutter.chain():
            file.writelines(each.kept)
            lengths.append(each.lengths)
        pyramid = Pyramid.of(levels, lengths)
        file.seek(0)
        file.write(pyramid.head())
    return pyramid


def _sphere_rows(jpeg: bytes, level: Level, crop: Crop | None) -> Iterator[Pixels]:
    """The rows of the full sphere, some at a time; black where the crop has none."""
    tall = level.height // level.rows  # a row of tiles, without a copy, where the reader allows
    pieces = bands(jpeg, tall) if tall % 8 == 0 and level.height % tall == 0 else bands(jpeg)
    if crop is None:
        yield from pieces
        return
    left, right = crop["left"], crop["left"] + crop["width"]
    bottom = crop["top"] + crop["height"]
    if left < 0 or crop["top"] < 0 or right > level.width or bottom > level.height:
        raise PictureError("Le cadre de cette image (GPano) sort de la sphère.")
    yield from _black(crop["top"], level.width)
    for piece in pieces:
        band = np.zeros((len(piece), level.width, 3), np.uint8)
        band[:, left:right] = piece
        yield band
    yield from _black(level.height - bottom, level.width)


def _black(rows: int, width: int) -> Iterator[Pixels]:
    for top in range(0, rows, _BLACK_ROWS):
        yield np.zeros((min(_BLACK_ROWS, rows - top), width, 3), np.uint8)


class _Cutter:
    """Takes one level's rows from the top, writes or keeps its tiles, and feeds the next level."""

    def __init__(self, levels: list[Level], depth: int, crop: Crop | None, file: BinaryIO) -> None:
        self.level, self.depth, self.crop, self.file = levels[depth], depth, crop, file
        self.lengths: list[int] = []
        self.kept: list[bytes] = []
        """The tiles of the lower levels, a third of the whole, until the largest is written."""
        self.row = 0
        self.waiting: list[Pixels] = []
        self.odd: Pixels | None = None
        below = depth + 1 < len(levels)
        self.below = _Cutter(levels, depth + 1, crop, file) if below else None

    def chain(self) -> Iterator[_Cutter]:
        cutter: _Cutter | None = self
        while cutter is not None:
            yield cutter
            cutter = cutter.below

    def take(self, rows: Pixels) -> None:
        while len(rows):
            _, top, _, bottom = self.level.box(0, self.row)
            wanted = bottom - top - sum(map(len, self.waiting))
            self.waiting.append(rows[:wanted])
            rows = rows[wanted:]
            if len(self.waiting[-1]) == wanted:
                whole = self.waiting
                self.waiting = []
                self._cut(whole[0] if len(whole) == 1 else np.concatenate(whole))

    def _cut(self, band: Pixels) -> None:
        for column in range(self.level.columns):
            left, top, right, bottom = self.level.box(column, self.row)
            tile = b""
            if self._shows(left, top, right, bottom):
                tile = simplejpeg.encode_jpeg(
                    np.ascontiguousarray(band[:, left:right]),
                    quality=QUALITY,
                    colorsubsampling="420",
                    fastdct=False,
                )
            self.lengths.append(len(tile))
            if self.depth:
                self.kept.append(tile)
            else:
                self.file.write(tile)
        self.row += 1
        if self.below is not None:
            if self.odd is not None:
                band = np.concatenate([self.odd, band])
            even = len(band) // 2 * 2
            self.odd = band[even:].copy() if even < len(band) else None
            self.below.take(halved(band[:even]))

    def _shows(self, left: int, top: int, right: int, bottom: int) -> bool:
        if self.crop is None:
            return True
        scale = 1 << self.depth
        return (
            left * scale < self.crop["left"] + self.crop["width"]
            and right * scale > self.crop["left"]
            and top * scale < self.crop["top"] + self.crop["height"]
            and bottom * scale > self.crop["top"]
        )

    def end(self) -> None:
        """The last row of an odd height stands for two."""
        if self.below is not None:
            if self.odd is not None:
                self.below.take(halved(np.concatenate([self.odd, self.odd])))
            self.below.end()


def halved(rows: Pixels) -> Pixels:
    """The 2 × 2 mean, rounded, of an even number of rows; the last column of an odd width stands
    for two. Shape (2n, m, 3) → (n, ⌈m/2⌉, 3)."""
    from souverain.street.engine.halving import halve  # numba: not to read a pyramid

    half = np.empty((len(rows) // 2, (rows.shape[1] + 1) // 2, 3), np.uint8)
    halve(rows, half)
    return half
