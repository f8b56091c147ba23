"""Vector tiles say where panoramas are, as the reference decoder reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mapbox_vector_tile
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from souverain.street.engine import packed, vector_tiles
from souverain.street.engine.vector_tiles import EXTENT, Drives

LON, LAT = 5.0415, 47.3220


def decoded(tile: bytes) -> Any:
    """By the reference implementation, y downwards as in the file."""
    return mapbox_vector_tile.decode(tile, default_options={"y_coord_down": True})


def drives(
    east_m: Any, north_m: Any, sequence: Any = None, campaign: Any = None, rank: Any = None
) -> Drives:
    east, north = np.asarray(east_m, float), np.asarray(north_m, float)
    longitude = LON + east / (111_320 * np.cos(np.radians(LAT)))
    x, y = vector_tiles.mercator(longitude, LAT + north / 111_320)
    count = len(east)
    return Drives(
        x,
        y,
        np.zeros(count, int) if sequence is None else np.asarray(sequence),
        np.arange(count) if rank is None else np.asarray(rank),
        np.zeros(count, int) if campaign is None else np.asarray(campaign),
        east,
        north,
    )


def tile_of(z: int, x: float, y: float) -> tuple[int, int, int]:
    return z, int(x * 2**z), int(y * 2**z)


@given(st.lists(st.integers(0, 2**35 - 1)))
def test_varints_are_those_of_protobuf(values: list[int]) -> None:
    def slow(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    content, lengths = vector_tiles.varints(values)
    assert content == b"".join(map(slow, values))
    assert list(lengths) == [len(slow(value)) for value in values]


coordinate = st.integers(-200, EXTENT + 200)
line = st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=8, unique=True)


@given(st.lists(line, min_size=1, max_size=5))
def test_lines_come_back_as_they_went(lines: list[Any]) -> None:
    starts = np.cumsum([0] + [len(one) for one in lines[:-1]])
    geometry = vector_tiles.line_geometry(np.concatenate(lines), starts)
    layer = decoded(vector_tiles.line_layer([(0, geometry)], ["essai"]))["sequences"]
    assert layer["extent"] == EXTENT and layer["version"] == 2
    (feature,) = layer["features"]
    assert feature["properties"] == {"campaign": "essai"}
    told = feature["geometry"]["coordinates"]
    told = [told] if feature["geometry"]["type"] == "LineString" else told
    assert [[tuple(point) for point in one] for one in told] == lines


@given(st.lists(st.tuples(coordinate, coordinate, st.integers(0, 2)), min_size=1, max_size=300))
def test_points_come_back_with_their_names(rows: list[Any]) -> None:
    table = np.array(rows)
    names = [f"{number:036}" for number in range(len(rows))]
    tile = vector_tiles.point_layer(table[:, :2], table[:, 2], names, ["a", "b", "c"])
    features = decoded(tile)["pictures"]["features"]
    assert [
        (*feature["geometry"]["coordinates"], "abc".index(feature["properties"]["campaign"]))
        for feature in features
    ] == [tuple(row) for row in rows]
    assert [feature["properties"]["id"] for feature in features] == names


def covers(tile: bytes, z: int, x: int, y: int) -> Any:
    """The lines of a tile, in web Mercator [0, 1)."""
    layers = decoded(tile) if tile else {}
    shapes = [
        shapely.geometry.shape(feature["geometry"])
        for feature in layers.get("sequences", {}).get("features", [])
    ]
    merged = shapely.union_all(shapes)
    return shapely.transform(merged, lambda c: (c / EXTENT + (x, y)) / 2**z)


@pytest.mark.parametrize("z", range(vector_tiles.LOWEST, 17))
def test_every_panorama_lies_on_the_lines_of_its_tile(z: int) -> None:
    """At each zoom, within a pixel of a 512-pixel tile (8 units of 4,096)."""
    turn = np.linspace(0, 12 * np.pi, 4000)
    every = drives(turn * 250 * np.cos(turn), turn * 250 * np.sin(turn), np.arange(4000) // 700)
    pack = vector_tiles.prepare(every)
    tiles = {tile_of(z, x, y) for x, y in zip(every.x, every.y, strict=True)}
    ordered, starts = vector_tiles.in_order(every)
    single = np.zeros(4000, bool)
    lengths = np.diff(np.append(starts, 4000))
    single[starts[lengths == 1]] = True
    for _, tile_x, tile_y in sorted(tiles)[:40]:
        if z <= vector_tiles.PREPARED_TO:
            parts = pack.tile(z, tile_x, tile_y)
        else:
            parts = vector_tiles.lines_of_tile(ordered, z, tile_x, tile_y)
        lines = covers(vector_tiles.line_layer(parts, ["essai"]), z, tile_x, tile_y)
        mine = (
            (np.floor(ordered.x * 2**z) == tile_x)
            & (np.floor(ordered.y * 2**z) == tile_y)
            & ~single
        )
        points = shapely.points(ordered.x[mine], ordered.y[mine])
        assert (shapely.distance(points, lines) * 2**z * EXTENT < 8).all()


def test_what_is_far_apart_is_not_joined() -> None:
    apart = drives([0, 5, 10, 500, 505], [0, 0, 0, 0, 0])
    z, x, y = tile_of(14, apart.x[0], apart.y[0])
    tile = vector_tiles.line_layer(vector_tiles.lines_of_tile(apart, z, x, y), ["a"])
    (feature,) = decoded(tile)["sequences"]["features"]
    assert feature["geometry"]["type"] == "MultiLineString"


def test_each_campaign_has_its_own_part() -> None:
    two = drives([0, 50, 0, 50], [0, 0, 9, 9], [0, 0, 1, 1], [0, 0, 1, 1])
    pack = vector_tiles.prepare(two)
    for z in range(vector_tiles.LOWEST, vector_tiles.PREPARED_TO + 1):
        parts = pack.tile(*tile_of(z, two.x[0], two.y[0]))
        assert [number for number, _ in parts] == [0, 1]


def test_a_pack_is_saved_and_read(tmp_path: Path) -> None:
    pack = vector_tiles.prepare(drives(np.arange(0, 900, 5), np.zeros(180)), "état")
    pack.save(tmp_path / "lines")
    read = vector_tiles.load(tmp_path / "lines")
    key = tile_of(
        11, *(value[0] for value in vector_tiles.mercator(np.array([LON]), np.array([LAT])))
    )
    assert read.stamp == "état" and read.tile(*key) == pack.tile(*key) != []
    content = (tmp_path / "lines").read_bytes()
    (tmp_path / "lines").write_bytes(content[:-1] + b"\xff")
    with pytest.raises(packed.DamagedFile):
        vector_tiles.load(tmp_path / "lines")


def test_nothing_makes_an_empty_tile() -> None:
    nothing = drives([], [])
    assert vector_tiles.prepare(nothing).tile(6, 32, 22) == []
    assert vector_tiles.lines_of_tile(nothing, 14, 1, 1) == []
    assert vector_tiles.line_layer([], []) == b""
