"""Real outlines in the formats and projections that an operator may hold, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from souverain.territory.engine.decoupage import Departement
from souverain.territory.engine.outlines import (
    Outlines,
    read_outlines,
    simplify_for_display,
)
from souverain.territory.engine.positions import Position
from souverain.territory.engine.vector_files import VectorFileError

MERGED_SINCE = {"21073", "21213", "21486", "21507", "21513", "21621"}


class Reader:
    def __init__(self, lists: Departement, positions: dict[str, Position]) -> None:
        self.codes = {commune.code for commune in lists.communes}
        self.successors = lists.successors
        self.positions = positions

    def __call__(self, path: Path, departement: str = "21") -> Outlines:
        return read_outlines(path, departement, self.codes, self.successors, self.positions)


@pytest.fixture
def read(lists: Departement, positions: dict[str, Position]) -> Reader:
    return Reader(lists, positions)


def projected(polygons: Any, crs: int) -> Any:
    transformer = pyproj.Transformer.from_crs(4171, crs, always_xy=True)
    return shapely.transform(
        polygons, lambda c: np.column_stack(transformer.transform(c[:, 0], c[:, 1]))
    )


@pytest.mark.parametrize("name", ["communes.gpkg", "COMMUNE.shp", "c.geojson", "c.json"])
def test_each_format(real: Any, read: Reader, tmp_path: Path, name: str) -> None:
    driver = {"driver": "GeoJSON"} if name.endswith("json") else {}
    outlines = read(real.write(tmp_path / name, "EPSG:4326", **driver))
    assert len(outlines.outlines) == 698
    assert (outlines.faults, outlines.missing, outlines.elsewhere) == ((), (), 0)
    assert outlines.merged.keys() == MERGED_SINCE


@pytest.mark.parametrize("crs", [2154, 4171, 4326, 3857, 32631, 27572, 3947, 9794])
def test_a_declared_projection_is_transformed(
    real: Any, read: Reader, tmp_path: Path, crs: int
) -> None:
    polygons = projected(real.polygons, crs)
    path = real.write(tmp_path / "c.gpkg", f"EPSG:{crs}", polygons=polygons)
    outlines = read(path).outlines
    for code, polygon in zip(real.codes, real.polygons, strict=True):
        if code in outlines and code not in read.successors.values():
            assert shapely.hausdorff_distance(outlines[code], polygon) < 3e-6  # degrees: 0.3 m


@pytest.mark.parametrize(
    ("true", "declared", "message"),
    [
        (27572, "EPSG:2154", "ne sont pas où sont les communes"),
        (2154, "EPSG:4326", "ne sont pas où sont les communes|aucun contour utilisable"),
        (4171, "EPSG:2154", "ne sont pas où sont les communes|aucun contour utilisable"),
        (3947, "EPSG:3948", "ne sont pas où sont les communes"),
        (23031, "EPSG:32631", r"tous décalés d'environ 2\d\d m"),
        (4275, "EPSG:4326", r"tous décalés d'environ \d\d m"),
        (2154, None, "projection non déclarée"),
        (2154, "EPSG:4978", "inutilisable"),
        (2154, 'LOCAL_CS["plan",UNIT["metre",1]]', "inutilisable"),
    ],
)
def test_a_wrong_projection_is_never_misplaced(
    real: Any, read: Reader, tmp_path: Path, true: int, declared: str | None, message: str
) -> None:
    path = real.write(tmp_path / "c.gpkg", declared, polygons=projected(real.polygons, true))
    with pytest.raises(VectorFileError, match=message):
        read(path)


def test_a_shapefile_without_prj_says_so(real: Any, read: Reader, tmp_path: Path) -> None:
    path = real.write(tmp_path / "c.shp", None)
    with pytest.raises(VectorFileError, match=r"le fichier \.prj manque"):
        read(path)


def test_longitude_and_latitude_swapped_are_refused(
    real: Any, read: Reader, tmp_path: Path
) -> None:
    swapped = shapely.transform(real.polygons, lambda c: c[:, ::-1])
    with pytest.raises(VectorFileError, match="ne sont pas où sont les communes"):
        read(real.write(tmp_path / "c.gpkg", "EPSG:4326", polygons=swapped))


@pytest.mark.parametrize("name", ["c.gpkg", "c.geojson"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.95])
def test_a_truncated_file_is_refused(
    real: Any, read: Reader, tmp_path: Path, name: str, share: float
) -> None:
    path = real.write(tmp_path / name, "EPSG:4326")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(VectorFileError, match=r"illisible|contenu"):
        read(path)


def test_a_truncated_shapefile_keeps_its_whole_rows(
    real: Any, read: Reader, tmp_path: Path
) -> None:
    path = real.write(tmp_path / "c.shp", "EPSG:4326")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    outlines = read(path)
    assert outlines.faults
    lost = {fault.row for fault in outlines.faults}
    assert lost == set(range(min(lost), 704)), "the rows after the cut, each named"
    assert set(outlines.outlines) | set(outlines.missing) == read.codes


def test_a_shapefile_without_its_index_is_refused(real: Any, read: Reader, tmp_path: Path) -> None:
    path = real.write(tmp_path / "c.shp", "EPSG:4326")
    path.with_suffix(".shx").unlink()
    with pytest.raises(VectorFileError, match="illisible"):
        read(path)


def geojson(real: Any, path: Path, change: Any) -> Path:
    content = json.loads(real.path.read_bytes())
    change(content["features"])
    path.write_text(json.dumps(content))
    return path


def test_good_rows_beside_bad_ones_are_kept(real: Any, read: Reader, tmp_path: Path) -> None:
    def damage(features: list[Any]) -> None:
        for number, geometry in enumerate(
            [
                {"type": "Polygon", "coordinates": "x"},
                None,
                {"type": "Polygon", "coordinates": [[[5, 47], [5.1, 47]]]},
                {"type": "Point", "coordinates": [5, 47]},
                {"type": "Polygon", "coordinates": [[[5, 47], [5, 47], [5, 47], [5, 47]]]},
                {"type": "Polygon", "coordinates": [[[0, 45], [0, 46], [1, 46], [0, 45]]]},
            ]
        ):
            features[number]["geometry"] = geometry
        for number, code in enumerate([None, "Dijon", 21, "", "21999"], start=6):
            features[number]["properties"]["code"] = code
        features[11]["properties"]["code"] = "71073"

    outlines = read(geojson(real, tmp_path / "c.geojson", damage))
    assert [fault.row for fault in outlines.faults] == list(range(11))
    reasons = [fault.reason for fault in outlines.faults]
    assert reasons[3] == "Point au lieu d'un polygone"
    assert "à" in reasons[5] and "km de la commune" in reasons[5]
    assert reasons[6].endswith("vide : ce n'est pas un code INSEE")
    assert reasons[10] == "code inconnu dans le département"
    assert outlines.elsewhere == 1
    assert len(outlines.outlines) + len(outlines.missing) == 698
    assert 12 >= len(outlines.missing) >= 10


def test_a_merged_commune_without_one_of_its_parts_gets_no_outline(
    real: Any, read: Reader, tmp_path: Path
) -> None:
    def damage(features: list[Any]) -> None:
        part = next(f for f in features if f["properties"]["code"] == "21213")
        part["geometry"] = None

    assert read(geojson(real, tmp_path / "c.geojson", damage)).missing == ("21452",)


def test_a_bow_tie_is_mended(real: Any, read: Reader, tmp_path: Path) -> None:
    """A self-crossing ring keeps both of its loops, and the row is kept."""
    number = real.codes.index("21231")
    west, south, east, north = shapely.bounds(real.polygons[number])
    polygons = real.polygons.copy()
    polygons[number] = shapely.Polygon([(west, south), (east, north), (east, south), (west, north)])
    outlines = read(real.write(tmp_path / "c.gpkg", "EPSG:4326", polygons=polygons))
    assert outlines.faults == ()
    assert outlines.outlines["21231"].is_valid
    assert shapely.area(outlines.outlines["21231"]) == pytest.approx(
        (east - west) * (north - south) / 2, rel=1e-3
    )


def test_the_layer_of_communes_is_found_among_others(
    real: Any, read: Reader, tmp_path: Path
) -> None:
    path = tmp_path / "admin.gpkg"
    for layer in ("canton", "commune", "commune_associee_ou_deleguee"):
        real.write(path, "EPSG:4326", layer=layer, append=path.exists())
    outlines = read(path)
    assert (outlines.layer, len(outlines.outlines)) == ("commune", 698)


def test_a_layer_in_doubt_is_refused(real: Any, read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "admin.gpkg"
    for layer in ("a", "b"):
        real.write(path, "EPSG:4326", layer=layer, append=path.exists())
    with pytest.raises(VectorFileError, match="plusieurs couches"):
        read(path)


def test_a_file_without_codes_is_refused(real: Any, read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "c.gpkg"
    names = np.array(real.codes, dtype=object)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(real.polygons),
        [names],
        ["nom"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    with pytest.raises(VectorFileError, match="aucune couche n'a de champ de codes INSEE"):
        read(path)


def test_another_departement_is_refused(real: Any, read: Reader, tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match="aucune commune connue du département 71"):
        read(real.write(tmp_path / "c.gpkg", "EPSG:4326"), "71")


def test_a_disguised_file_never_reaches_the_reader(read: Reader, tmp_path: Path) -> None:
    """A virtual format could name other files or hosts: only the three real ones are opened."""
    for name in ("c.geojson", "c.gpkg", "c.shp"):
        path = tmp_path / name
        path.write_text("<OGRVRTDataSource><SrcDataSource>/etc/passwd</SrcDataSource>")
        with pytest.raises(VectorFileError, match="le contenu n'est pas celui"):
            read(path)
    with pytest.raises(VectorFileError, match="format inconnu"):
        read(tmp_path / "c.vrt")


def test_lighter_outlines_still_share_their_borders(
    real: Any, read: Reader, tmp_path: Path
) -> None:
    outlines = read(real.write(tmp_path / "c.gpkg", "EPSG:4326")).outlines
    lighter = simplify_for_display(outlines, "21", 300.0)
    assert list(lighter) == list(outlines)
    assert shapely.coverage_is_valid(list(lighter.values()))
    before, after = (
        shapely.get_num_coordinates(list(drawn.values())).sum() for drawn in (outlines, lighter)
    )
    assert after < 0.5 * before
