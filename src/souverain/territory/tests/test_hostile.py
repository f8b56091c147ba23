"""Files made to harm: each is refused or its bad rows are, and nothing leaves the process."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from souverain.territory.engine import outlines as engine
from souverain.territory.engine.decoupage import Departement
from souverain.territory.engine.outlines import Outlines, read_outlines
from souverain.territory.engine.positions import Position
from souverain.territory.engine.vector_files import VectorFileError

Read = Callable[[Path], Outlines]


@pytest.fixture
def read(lists: Departement, positions: dict[str, Position]) -> Read:
    codes = {commune.code for commune in lists.communes}
    return lambda path: read_outlines(path, "21", codes, lists.successors, positions)


def geojson(real: Any, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(real.path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    return path


def with_geometry(geometry: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["features"][0]["geometry"] = geometry

    return change


def polygon(*ring: list[float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(ring)]}


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (polygon([1e308, 1e308], [1e308, -1e308], [-1e308, 1e308], [1e308, 1e308]), "hors de la"),
        (polygon([1e30, 1e30], [1e30, 0], [0, 1e30], [1e30, 1e30]), "hors de la projection"),
        (polygon([float("nan"), 47], [5, 47], [5, 48], [float("nan"), 47]), "illisible|vide"),
        (polygon([float("inf"), 47], [5, 47], [5, 48], [float("inf"), 47]), "illisible|vide"),
        (polygon([179, 47], [-179, 47], [-179, 48], [179, 48], [179, 47]), "hors du pays"),
        (
            {
                "type": "GeometryCollection",
                "geometries": [polygon([5, 47], [5, 48], [6, 47], [5, 47])],
            },
            "au lieu",
        ),
        ({"type": "LineString", "coordinates": [[5, 47], [5.1, 47.1]]}, "LineString au lieu"),
        ({"type": "Polygon", "coordinates": []}, "vide"),
        (polygon(["5", "47"], ["5.1", "47"], ["5.1", "47.1"], ["5", "47"]), "illisible"),  # type: ignore[list-item]
    ],
)
def test_a_row_that_is_no_outline_is_left_out(
    real: Any, read: Read, tmp_path: Path, geometry: Any, reason: str
) -> None:
    found = read(geojson(real, tmp_path / "c.geojson", with_geometry(geometry)))
    (fault,) = found.faults
    assert (fault.row, fault.code) == (0, real.codes[0])
    assert any(part in fault.reason for part in reason.split("|")), fault.reason
    assert len(found.outlines) == 697


def test_a_tangle_too_long_to_mend_is_left_out(real: Any, read: Read, tmp_path: Path) -> None:
    """Mending takes the square of the vertices: a ring of 100,000 crossings would take hours."""
    ring = [
        [5 + (i * 7919 % 100_003) / 1e6, 47 + (i * 104_729 % 99_991) / 1e6] for i in range(6000)
    ]
    found = read(geojson(real, tmp_path / "c.geojson", with_geometry(polygon(*ring, ring[0]))))
    assert [fault.row for fault in found.faults] == [0]
    assert "se croise" in found.faults[0].reason


def test_codes_are_digits_with_or_without_spaces_around(
    real: Any, read: Read, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        for feature, wrap in zip(
            content["features"], [" {}", "{}\u00a0", "\t{}\n", "{} x", "²{}"], strict=False
        ):
            feature["properties"]["code"] = wrap.format(feature["properties"]["code"])
        content["features"][5]["properties"]["code"] = "2123１"  # a full-width digit

    found = read(geojson(real, tmp_path / "c.geojson", change))
    assert [(fault.row, fault.code) for fault in found.faults] == [(3, None), (4, None), (5, None)]
    assert len(found.outlines) == 695


def test_a_byte_order_mark_loses_no_row(real: Any, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "c.geojson"
    path.write_bytes(b"\xef\xbb\xbf" + real.path.read_bytes())
    assert len(read(path).outlines) == 698


@pytest.mark.parametrize("key", ["coordinates", "properties", "geometries"])
def test_nesting_without_end_is_refused(read: Read, tmp_path: Path, key: str) -> None:
    deep = {
        "coordinates": '"geometry":{"type":"Polygon","coordinates":' + "[" * 90_000 + "]" * 90_000,
        "properties": '"geometry":null,"x":' + '{"a":' * 90_000 + "1" + "}" * 90_000,
        "geometries": '"geometry":'
        + '{"type":"GeometryCollection","geometries":[' * 9_000
        + "]}" * 9_000,
    }[key]
    path = tmp_path / "c.geojson"
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"code":"21231"},'
        + deep
        + "}]}"
    )
    with pytest.raises(VectorFileError, match="illisible"):
        read(path)


def test_too_many_rows_are_refused(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proving: bool
) -> None:
    rows = 2_000_000
    if not proving:
        rows = 20_000
        monkeypatch.setattr(engine, "MAX_FEATURES", 10_000)
    row = '{"type":"Feature","properties":{"code":"21231"},"geometry":null}'
    path = tmp_path / "c.geojson"
    path.write_text('{"type":"FeatureCollection","features":[' + ",".join([row] * rows) + "]}")
    with pytest.raises(VectorFileError, match="lignes, refusé"):
        read(path)


def test_a_shapefile_that_names_one_shape_many_times_is_refused(
    real: Any, read: Read, tmp_path: Path
) -> None:
    """4 MB on disk, 24 GB if every row were read before the vertices are counted."""
    angles = np.linspace(0, 2 * np.pi, 250_000)
    disc = shapely.Polygon(
        np.column_stack([5.04 + np.cos(angles) / 50, 47.3 + np.sin(angles) / 50])
    )
    path = tmp_path / "c.shp"
    type(real)(real.path, ["21231"], np.array([disc])).write(path, "EPSG:4326")
    rows = 6_000
    index, table = path.with_suffix(".shx"), path.with_suffix(".dbf")
    entries = index.read_bytes()[:100] + index.read_bytes()[100:108] * rows
    index.write_bytes(entries[:24] + struct.pack(">i", len(entries) // 2) + entries[28:])
    stored = table.read_bytes()
    head, length = struct.unpack("<HH", stored[8:12])
    table.write_bytes(
        stored[:4]
        + struct.pack("<I", rows)
        + stored[8:head]
        + stored[head : head + length] * rows
        + b"\x1a"
    )
    with pytest.raises(VectorFileError, match="sommets, refusé"):
        read(path)


def geopackage(real: Any, path: Path, *statements: str, layer: str = "commune") -> Path:
    real.write(path, "EPSG:4326", layer=layer)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in database.execute(triggers).fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            database.execute(statement)
    return path


@pytest.mark.parametrize(
    "statements",
    [
        (
            "CREATE VIEW communes AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
            " SELECT i AS fid, geom, INSEE_COM FROM n, commune",
            "UPDATE gpkg_contents SET table_name = 'communes'",
            "UPDATE gpkg_geometry_columns SET table_name = 'communes'",
        ),
        (
            "ALTER TABLE gpkg_contents RENAME TO c",
            "CREATE VIEW gpkg_contents AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
            " FROM n) SELECT c.* FROM n, c",
        ),
    ],
    ids=["a layer without end", "a list of layers without end"],
)
def test_a_view_in_a_geopackage_is_never_computed(
    real: Any, read: Read, tmp_path: Path, statements: tuple[str, ...]
) -> None:
    with pytest.raises(VectorFileError, match="est une vue"):
        read(geopackage(real, tmp_path / "c.gpkg", *statements))


@pytest.mark.parametrize("count", [0, 350, 5_000_000_000])
def test_a_geopackage_that_lies_about_its_rows_is_counted(
    real: Any, read: Read, tmp_path: Path, count: int
) -> None:
    lie = f"UPDATE gpkg_ogr_contents SET feature_count = {count}"
    assert len(read(geopackage(real, tmp_path / "c.gpkg", lie)).outlines) == 698


def test_damaged_rows_of_a_geopackage_are_left_out(real: Any, read: Read, tmp_path: Path) -> None:
    path = geopackage(
        real,
        tmp_path / "c.gpkg",
        "UPDATE commune SET geom = substr(geom, 1, 60) WHERE fid = 1",
        "UPDATE commune SET geom = 'text' WHERE fid = 2",
        "UPDATE commune SET geom = x'4750' WHERE fid = 3",
        "UPDATE commune SET geom = NULL WHERE fid = 4",
        "UPDATE commune SET geom = substr(geom, 1, 40) || x'0103000000FFFFFF7F' WHERE fid = 5",
        "UPDATE commune SET INSEE_COM = zeroblob(100000) WHERE fid = 6",
    )
    found = read(path)
    assert [fault.row for fault in found.faults] == [1, 2, 3, 4, 5, 6]
    assert len(found.outlines) == 698 - 6


def test_text_that_is_not_utf_8_is_refused(real: Any, read: Read, tmp_path: Path) -> None:
    bad = "UPDATE commune SET INSEE_COM = CAST(x'FFFE' AS TEXT) WHERE fid = 1"
    with pytest.raises(VectorFileError, match="illisible"):
        read(geopackage(real, tmp_path / "c.gpkg", bad))


@pytest.mark.parametrize("layer", ['commune"; DROP TABLE gpkg_contents; --', "commune'); --"])
def test_a_layer_named_like_a_command_is_a_name(
    real: Any, read: Read, tmp_path: Path, layer: str
) -> None:
    path = real.write(tmp_path / "c.gpkg", "EPSG:4326", layer=layer)
    before = path.read_bytes()
    assert read(path).layer == layer
    assert path.read_bytes() == before, "the operator's file is only read"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["link", "url"])
def test_a_projection_that_is_an_address_is_never_asked_for(
    real: Any, read: Read, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/crs"
        crs = {"type": kind, "properties": {"href": address, "url": address}}
        path = geojson(real, tmp_path / "c.geojson", lambda content: content.update(crs=crs))
        assert len(read(path).outlines) == 698
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert os.environ["no_proxy"] == "*"


def test_what_is_not_an_ordinary_file_is_refused(read: Read, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.geojson")
    (tmp_path / "folder.gpkg").mkdir()
    (tmp_path / "link.geojson").symlink_to("/etc/passwd")
    (tmp_path / "nowhere.shp").symlink_to(tmp_path / "absent")
    for name, reason in (
        ("pipe.geojson", "pas un fichier ordinaire"),
        ("folder.gpkg", "pas un fichier ordinaire"),
        ("link.geojson", "le contenu n'est pas celui"),
        ("nowhere.shp", "lecture impossible"),
    ):
        with pytest.raises(VectorFileError, match=reason):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["c#1.geojson", "c?x=1.geojson", "c 100%25.geojson", "é.geojson"])
def test_odd_names_are_names(real: Any, read: Read, tmp_path: Path, name: str) -> None:
    assert len(read(geojson(real, tmp_path / name, lambda content: None)).outlines) == 698


@pytest.mark.parametrize("name", ["c;d.geojson", "c!d.geojson", "c\nd.geojson"])
def test_a_name_that_the_reader_would_misread_is_told(
    real: Any, read: Read, tmp_path: Path, name: str
) -> None:
    with pytest.raises(VectorFileError, match="renommez"):
        read(geojson(real, tmp_path / name, lambda content: None))
