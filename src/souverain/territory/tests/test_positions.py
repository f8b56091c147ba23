"""The shipped points and areas, and the cells drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.territory.engine.cells import approximate_cells
from souverain.territory.engine.decoupage import Departement
from souverain.territory.engine.positions import (
    Position,
    PositionsError,
    dissolve,
    positions_from_outlines,
    read_positions,
    write_positions,
)
from souverain.territory.engine.projection import (
    geometries_to_metres,
    lonlat_to_metres,
    metres_to_lonlat,
)


def cells_of(positions: dict[str, Position]) -> tuple[list[Any], Any]:
    places = list(positions.values())
    longitude, latitude, area = (
        np.array([getattr(place, name) for place in places])
        for name in ("longitude_deg", "latitude_deg", "area_km2")
    )
    return approximate_cells(longitude, latitude, area), shapely.points(longitude, latitude)


def test_every_commune_has_its_point(lists: Departement, positions: dict[str, Position]) -> None:
    assert list(positions) == [commune.code for commune in lists.communes]
    # In Lambert-93. INSEE's 8,763 km² is the land registry's area, which is another measure.
    assert sum(place.area_km2 for place in positions.values()) == pytest.approx(8787.2, abs=0.1)


def test_the_shipped_figures_are_those_of_the_real_outlines(
    real: Any, lists: Departement, positions: dict[str, Position]
) -> None:
    outlines = dissolve(real.codes, list(real.polygons), lists.successors)
    assert positions_from_outlines(outlines) == list(positions.values())
    for code, place in positions.items():
        point = shapely.points(place.longitude_deg, place.latitude_deg)
        assert shapely.contains(outlines[code], point)


def test_lambert_93_of_ign() -> None:
    """IGN's published check point of the projection: 3° E, 46.5° N is (700 000, 6 600 000)."""
    assert lonlat_to_metres([3.0], [46.5])[0] == pytest.approx([700_000, 6_600_000], abs=1e-3)
    assert metres_to_lonlat(np.array([[700_000.0, 6_600_000.0]]))[0] == pytest.approx([3, 46.5])


def test_a_point_lies_in_a_commune_bent_around_another() -> None:
    ring = shapely.box(4.0, 47.0, 4.3, 47.3) - shapely.box(4.05, 46.9, 4.25, 47.25)
    (place,) = positions_from_outlines({"21001": ring})
    assert shapely.contains(ring, shapely.points(place.longitude_deg, place.latitude_deg))


def test_positions_are_read_as_written(tmp_path: Path, positions: dict[str, Position]) -> None:
    write_positions(tmp_path / "p.csv", list(positions.values()))
    assert read_positions(tmp_path / "p.csv") == positions


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("21001,x,47,1", "ligne 2, colonne longitude_deg"),
        ("21001,4,nan,1", "ligne 2, colonne latitude_deg"),
        ("21001,4,47", "ligne 2, colonne area_km2"),
        ("21001,4,47,-1", "ligne 2, colonne area_km2"),
        ("21001,4,47,1\n21001,4,47,1", "ligne 3 : 21001 figure deux fois"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"code,longitude_deg,latitude_deg,area_km2\n{row}\n")
    with pytest.raises(PositionsError, match=message):
        read_positions(path)


def test_the_cells_are_a_whole_map(positions: dict[str, Position]) -> None:
    cells, points = cells_of(positions)
    assert shapely.is_valid(cells).all()
    assert {cell.geom_type for cell in cells} == {"Polygon"}
    assert shapely.contains(cells, points).all()
    assert shapely.coverage_is_valid(cells)
    total_km2 = shapely.area(geometries_to_metres(np.array(cells))).sum() / 1e6
    assert total_km2 == pytest.approx(8787.2, rel=0.01)
    assert shapely.equals_exact(cells, cells_of(positions)[0]).all()
    rounded = shapely.get_coordinates(cells)
    assert (rounded == np.round(rounded, 5)).all()


def test_the_cells_resemble_the_departement(
    real: Any, lists: Departement, positions: dict[str, Position]
) -> None:
    whole = geometries_to_metres(shapely.union_all(real.polygons))
    drawn = geometries_to_metres(shapely.union_all(cells_of(positions)[0]))
    common = shapely.area(shapely.intersection(whole, drawn))
    assert common / shapely.area(shapely.union(whole, drawn)) > 0.95


places = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=25, unique=True
)


@settings(max_examples=60, deadline=None)
@given(places, st.floats(0.5, 60))
def test_any_points_get_a_cell_each(spots: list[tuple[int, int]], area_km2: float) -> None:
    longitude = np.array([4.5 + x / 300 for x, _ in spots])
    latitude = np.array([47.0 + y / 300 for _, y in spots])
    cells = approximate_cells(longitude, latitude, np.full(len(spots), area_km2))
    assert shapely.contains(cells, shapely.points(longitude, latitude)).all()
    metric = geometries_to_metres(np.array(cells))
    tree = shapely.STRtree(metric)
    for one, other in tree.query(metric, predicate="overlaps").T:
        slivers_m2 = shapely.area(shapely.intersection(metric[one], metric[other]))
        assert slivers_m2 < 1e-4 * shapely.area(metric[one])


def test_two_communes_at_one_place_share_their_cell() -> None:
    longitude, latitude = np.array([5.1, 5.0, 5.0]), np.array([47.0, 47.0, 47.0])
    apart, one, other = approximate_cells(longitude, latitude, np.full(3, 20.0))
    assert one.equals(other)
    assert not one.overlaps(apart)
    assert apart.contains(shapely.points(5.1, 47.0))


def test_cells_need_areas() -> None:
    assert approximate_cells(np.array([]), np.array([]), np.array([])) == []
    with pytest.raises(ValueError, match="positive"):
        approximate_cells(np.array([5.0]), np.array([47.0]), np.zeros(1))
