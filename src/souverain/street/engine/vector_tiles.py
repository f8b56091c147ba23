"""Mapbox Vector Tiles (specification 2.1) of where panoramas were taken.

Two layers: `sequences`, one feature for each campaign with all its drives as lines, and, from
`POINTS_FROM` on, `pictures`, one point each. Lines of low zooms are prepared (`LinePack`),
simplified to half a pixel; those of high zooms are made from the index when asked.

A tile is put together from parts by campaign, so that one prepared file serves who may see all
campaigns and who may not. Tile coordinates are web Mercator's (EPSG:3857), 4,096 to a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from souverain.street.engine import packed

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAGIC = b"SVLINE01"
EXTENT = 4096
BUFFER = 64
LOWEST, PREPARED_TO, HIGHEST = 6, 12, 20
POINTS_FROM = 15
POINTS_MAX = 5_000
"""Of a tile that has more, so many are shown, evenly chosen."""
GAP_M = 100.0
"""Two panoramas of one drive that are farther apart are not joined."""
_TOLERANCE = 4.0
_LATITUDE_MAX = 85.05112878


@dataclass(frozen=True)
class Drives:
    """Panoramas as lines, each column of shape (n,), in any order: web Mercator in [0, 1), the
    sequence, the place in it, and the campaign."""

    x: Floats
    y: Floats
    sequence: npt.NDArray[Any]
    rank: npt.NDArray[Any]
    campaign: npt.NDArray[Any]
    x_m: Floats
    y_m: Floats


def mercator(longitude_deg: Floats, latitude_deg: Floats) -> tuple[Floats, Floats]:
    """Degrees → web Mercator, [0, 1) from west to east and from north to south."""
    latitude = np.radians(np.clip(latitude_deg, -_LATITUDE_MAX, _LATITUDE_MAX))
    return (longitude_deg + 180.0) / 360.0, 0.5 - np.arcsinh(np.tan(latitude)) / (2 * np.pi)


def degrees_of(x: float, y: float) -> tuple[float, float]:
    """The reverse of `mercator`, for one point."""
    return x * 360.0 - 180.0, float(np.degrees(np.arctan(np.sinh((0.5 - y) * 2 * np.pi))))


def bounds_deg(z: int, x: int, y: int, margin: float) -> tuple[float, float, float, float]:
    """West, south, east, north of a tile grown by `margin` tiles on each side."""
    side = 2.0**-z
    west, north = degrees_of((x - margin) * side, (y - margin) * side)
    east, south = degrees_of((x + 1 + margin) * side, (y + 1 + margin) * side)
    return max(west, -180.0), south, min(east, 180.0), north


# The format ---------------------------------------------------------------------------------------


def varints(values: npt.ArrayLike) -> tuple[bytes, Ints]:
    """Non-negative integers below 2^35 as protobuf varints: the bytes of all, and the length of
    each."""
    rest = np.asarray(values, np.uint64)
    lengths = np.ones(len(rest), np.int64)
    for bits in (7, 14, 21, 28):
        lengths += rest >= np.uint64(1 << bits)
    digits = (rest[:, None] >> np.arange(0, 35, 7, dtype=np.uint64)) & np.uint64(127)
    place = np.arange(5)
    digits |= np.where(place < lengths[:, None] - 1, 128, 0).astype(np.uint64)
    return digits[place < lengths[:, None]].astype(np.uint8).tobytes(), lengths


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def line_geometry(points: Ints, starts: Ints) -> bytes:
    """Lines as one geometry: tile coordinates, shape (p, 2); line `i` begins at `starts[i]` and has
    two points at least."""
    count, lines = len(points), len(starts)
    if not lines:
        return b""
    line = np.zeros(count, np.int64)
    line[starts[1:]] = 1
    line = np.cumsum(line)
    first = np.zeros(count, bool)
    first[starts] = True
    commands = np.zeros(2 * count + 2 * lines, np.int64)
    steps = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64))
    where = 2 * np.arange(count) + 2 * line + np.where(first, 1, 2)
    zigzag = (steps << 1) ^ (steps >> 63)
    commands[where], commands[where + 1] = zigzag[:, 0], zigzag[:, 1]
    heads = 2 * starts + 2 * np.arange(lines)
    lengths = np.diff(np.append(starts, count))
    commands[heads] = 9  # MoveTo, once
    commands[heads + 3] = (lengths - 1) << 3 | 2  # LineTo
    return varints(commands)[0]


def line_layer(parts: Sequence[tuple[int, bytes]], campaigns: Sequence[str]) -> bytes:
    """The layer `sequences`: one feature for each campaign, from its geometry."""
    features = b"".join(
        _field(2, _field(2, b"\0" + _varint(value)) + b"\x18\x02" + _field(4, geometry))
        for value, (_, geometry) in enumerate(parts)
    )
    values = [campaigns[campaign] for campaign, _ in parts]
    return _layer("sequences", features, ["campaign"], values) if parts else b""


def point_layer(
    points: Ints, campaign: Ints, identifiers: Sequence[str], campaigns: Sequence[str]
) -> bytes:
    """The layer `pictures`: tile coordinates, shape (n, 2), with the panorama's id and its
    campaign."""
    if not len(points):
        return b""
    named, value = np.unique(campaign, return_inverse=True)
    zigzag = (points << 1) ^ (points >> 63)
    count = len(points)
    tags, tag_lengths = varints(
        np.column_stack(
            [np.zeros(count), value, np.ones(count), len(named) + np.arange(count)]
        ).reshape(-1)
    )
    moves, move_lengths = varints(np.column_stack([np.full(count, 9), zigzag]).reshape(-1))
    tag_ends = np.cumsum(tag_lengths.reshape(-1, 4).sum(1)).tolist()
    move_ends = np.cumsum(move_lengths.reshape(-1, 3).sum(1)).tolist()
    features, tag, move = [], 0, 0
    for tag_end, move_end in zip(tag_ends, move_ends, strict=True):
        # Every length is below 128: one byte.
        body = (
            b"\x12" + bytes([tag_end - tag]) + tags[tag:tag_end]
            + b"\x18\x01\x22" + bytes([move_end - move]) + moves[move:move_end]
        )  # fmt: skip
        features.append(b"\x12" + bytes([len(body)]) + body)
        tag, move = tag_end, move_end
    values = [*(campaigns[number] for number in named), *identifiers]
    return _layer("pictures", b"".join(features), ["campaign", "id"], values)


def _layer(name: str, features: bytes, keys: Sequence[str], values: Sequence[str]) -> bytes:
    return _field(
        3,
        _field(1, name.encode())
        + features
        + b"".join(_field(3, key.encode()) for key in keys)
        + b"".join(_field(4, _field(1, value.encode())) for value in values)
        + b"\x28" + _varint(EXTENT) + b"\x78\x02",
    )  # fmt: skip


# Lines --------------------------------------------------------------------------------------------


def in_order(drives: Drives) -> tuple[Drives, Ints]:
    """The same panoramas along each drive, and where each unbroken line of them begins."""
    order = np.lexsort((drives.rank, drives.sequence, drives.campaign))
    ordered = Drives(**{name: column[order] for name, column in vars(drives).items()})
    if not len(order):
        return ordered, np.empty(0, np.int64)
    apart = np.hypot(np.diff(ordered.x_m), np.diff(ordered.y_m)) > GAP_M
    apart |= np.diff(ordered.sequence) != 0
    apart |= np.diff(ordered.campaign) != 0
    return ordered, np.concatenate([[0], np.flatnonzero(apart) + 1])


def lines_of_tile(drives: Drives, z: int, x: int, y: int) -> list[tuple[int, bytes]]:
    """For each campaign, in growing order, the geometry of what it drove in a tile; the panoramas
    given are those in it or a little beyond."""
    ordered, starts = in_order(drives)
    lengths = np.diff(np.append(starts, len(ordered.x)))
    points = np.column_stack([ordered.x, ordered.y]) * 2.0**z - (x, y)
    quantised = np.rint(points * EXTENT).astype(np.int64)
    kept = np.repeat(lengths > 1, lengths)
    line = np.repeat(np.arange(len(starts)), lengths)
    # What falls on the point before it adds nothing; a line keeps its two ends.
    same = np.zeros(len(line), bool)
    same[1:] = (np.diff(quantised, axis=0) == 0).all(1) & (np.diff(line) == 0)
    ends = np.zeros(len(line), bool)
    ends[starts + lengths - 1] = True
    kept &= ~same | ends
    quantised, line = quantised[kept], line[kept]
    campaign = ordered.campaign[kept]
    return list(_by_campaign(quantised, line, campaign))


def _by_campaign(
    points: Ints, line: Ints, campaign: npt.NDArray[Any]
) -> Iterator[tuple[int, bytes]]:
    """Lines in order, those of a campaign side by side → a geometry for each campaign."""
    for number in np.unique(campaign):
        mine = campaign == number
        of_line = line[mine]
        starts = np.flatnonzero(np.concatenate([[True], np.diff(of_line) != 0]))
        yield int(number), line_geometry(points[mine], starts)


@dataclass(frozen=True)
class LinePack:
    """Prepared geometries of the low zooms, in the order of `keys`, shape (k,): tile, then
    campaign. Geometry `i` is `content[ends[i - 1]:ends[i]]`."""

    keys: Ints
    campaign: npt.NDArray[np.int32]
    ends: Ints
    content: npt.NDArray[np.uint8]
    stamp: str

    def tile(self, z: int, x: int, y: int) -> list[tuple[int, bytes]]:
        """For each campaign, in growing order, its geometry in the tile."""
        first, last = np.searchsorted(self.keys, [_key(z, x, y), _key(z, x, y) + 1])
        return [
            (
                int(self.campaign[place]),
                self.content[self.ends[place - 1] if place else 0 : self.ends[place]].tobytes(),
            )
            for place in range(first, last)
        ]

    def save(self, path: Path) -> None:
        """Raises OSError."""
        arrays: dict[str, packed.Array] = {
            "keys": self.keys, "campaign": self.campaign, "ends": self.ends,
            "content": self.content,
        }  # fmt: skip
        packed.save(path, MAGIC, {"stamp": self.stamp}, arrays)


def load(path: Path) -> LinePack:
    """Raises packed.DamagedFile, OSError."""
    words, arrays = packed.load(path, MAGIC)
    return LinePack(**arrays, stamp=words["stamp"])


def _key(z: int, x: int, y: int) -> int:
    return (z << 48) + (x << 24) + y


def prepare(drives: Drives, stamp: str = "") -> LinePack:
    """All tiles of zooms `LOWEST` to `PREPARED_TO` that have a line."""
    ordered, starts = in_order(drives)
    lengths = np.diff(np.append(starts, len(ordered.x)))
    long_enough = np.repeat(lengths > 1, lengths)
    line = np.repeat(np.arange(len(starts)), lengths)[long_enough]
    _, line = np.unique(line, return_inverse=True)
    points = np.column_stack([ordered.x, ordered.y])[long_enough]
    campaign = ordered.campaign[starts[lengths > 1]]
    parts: list[tuple[int, int, bytes]] = []
    # From the finest on, each zoom simplifies what the one before it left.
    for z in range(PREPARED_TO, LOWEST - 1, -1):
        scale = EXTENT * 2.0**z
        lines = shapely.linestrings(points * scale, indices=line) if len(points) else np.array([])
        lines = shapely.simplify(lines, _TOLERANCE, preserve_topology=False)
        for tile_x, tile_y, geometries in _tiles(lines, campaign):
            parts += [(_key(z, tile_x, tile_y), number, part) for number, part in geometries]
        coordinates, line = shapely.get_coordinates(lines, return_index=True)
        points = coordinates / scale
    parts.sort(key=lambda part: part[:2])
    return LinePack(
        np.array([part[0] for part in parts], np.int64),
        np.array([part[1] for part in parts], np.int32),
        np.cumsum([len(part[2]) for part in parts], dtype=np.int64),
        np.frombuffer(b"".join(part[2] for part in parts), np.uint8),
        stamp,
    )


def _tiles(
    lines: npt.NDArray[Any], campaign: npt.NDArray[Any]
) -> Iterator[tuple[int, int, list[tuple[int, bytes]]]]:
    """The tiles that lines (in units of tiles × 4,096) cross, and what is in each."""
    if not len(lines):
        return
    tree = shapely.STRtree(lines)
    for tile_x, tile_y in _crossed(lines):
        box = np.array([tile_x, tile_y, tile_x + 1, tile_y + 1]) * EXTENT + np.array(
            [-BUFFER, -BUFFER, BUFFER, BUFFER]
        )
        hits = np.sort(tree.query(shapely.box(*box)))
        inside = shapely.clip_by_rect(lines[hits], *box)
        pieces, of_hit = shapely.get_parts(inside, return_index=True)
        is_line = shapely.get_type_id(pieces) == 1
        pieces, of_hit = pieces[is_line], of_hit[is_line]
        coordinates, of_piece = shapely.get_coordinates(pieces, return_index=True)
        if not len(coordinates):
            continue
        points = np.rint(coordinates - np.array([tile_x, tile_y]) * EXTENT).astype(np.int64)
        number = campaign[hits[of_hit[of_piece]]]
        yield tile_x, tile_y, list(_by_campaign(points, of_piece, number))


def _crossed(lines: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """Tiles whose buffered square a segment's box touches: a few too many, none too few."""
    coordinates, of_line = shapely.get_coordinates(lines, return_index=True)
    joined = np.diff(of_line) == 0
    low = np.minimum(coordinates[:-1], coordinates[1:])[joined] - BUFFER
    high = np.maximum(coordinates[:-1], coordinates[1:])[joined] + BUFFER
    corners = np.floor(np.concatenate([low, high], 1) / EXTENT).astype(np.int64)
    found: set[tuple[int, int]] = set()
    for west, north, east, south in np.unique(corners, axis=0).tolist():
        found |= {(x, y) for x in range(west, east + 1) for y in range(north, south + 1)}
    return sorted(found)
