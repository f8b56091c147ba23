"""Poses from the vehicle's trajectory: interpolated where it is known, refused where it is not."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.street.engine import sequences, sphere, trajectory
from souverain.street.engine.trajectory import Mounting, Trajectory, TrajectoryError
from souverain.territory.engine import projection

START = datetime(2026, 6, 1, 12, tzinfo=UTC)
HEAD = "time,x_m,y_m,altitude_m,datum,heading_deg,pitch_deg,roll_deg,sigma_xy_m,sigma_heading_deg"


def line(second: float, y: float = 0.0, heading: float = 0.0, **changed: str) -> str:
    at = (START + timedelta(seconds=second)).isoformat()
    told = {
        "time": at, "x_m": "854000.0", "y_m": str(6_692_000.0 + y), "altitude_m": "245.5",
        "datum": "NGF-IGN69", "heading_deg": str(heading), "pitch_deg": "1.5", "roll_deg": "-0.5",
        "sigma_xy_m": "0.02", "sigma_heading_deg": "0.03", **changed,
    }  # fmt: skip
    return ",".join(told[name] for name in HEAD.split(","))


def written(tmp_path: Path, *lines: str, head: str = HEAD) -> Path:
    file = tmp_path / "t.csv"
    file.write_text("\n".join([head, *lines]) + "\n")
    return file


def test_between_two_rows_a_place_is_linear_and_a_heading_takes_the_short_way(
    tmp_path: Path,
) -> None:
    read = trajectory.read(written(tmp_path, line(0, 0, 350), line(1, 20, 10)))
    fix = read.at(START + timedelta(seconds=0.225))
    assert fix.y_m == pytest.approx(6_692_004.5, abs=1e-4)
    assert fix.heading_deg == pytest.approx(354.5, abs=1e-5)
    assert (fix.z_m, fix.datum, fix.pitch_deg, fix.roll_deg) == pytest.approx(
        (245.5, "NGF-IGN69", 1.5, -0.5)
    )
    assert (fix.sigma_xy_m, fix.sigma_heading_deg, fix.sigma_z_m) == (0.02, 0.03, None)
    for second in (0, 1):  # at its ends too
        assert read.at(START + timedelta(seconds=second)).y_m == 6_692_000 + 20 * second


def test_grid_north_is_told_from_true_north(tmp_path: Path) -> None:
    turn = projection.convergence_deg(
        *projection.metres_to_lonlat(np.array([[854000, 6692000]]))[0]
    )
    assert turn > 1.3
    head = HEAD.replace("heading_deg,pitch", "heading_grid_deg,pitch")
    grid = trajectory.read(written(tmp_path, line(0, 0, 90), head=head)).at(START)
    true = trajectory.read(written(tmp_path, line(0, 0, 90))).at(START)
    assert grid.heading_deg == pytest.approx(90 + turn, abs=1e-6)
    assert true.heading_deg == pytest.approx(90, abs=1e-9)


def test_nothing_is_made_up_across_a_hole(tmp_path: Path) -> None:
    read = trajectory.read(written(tmp_path, line(0), line(1, 20), line(9, 180), line(10, 400)))
    with pytest.raises(TrajectoryError, match=r"trou .* lignes 3 et 4"):
        read.at(START + timedelta(seconds=5))
    with pytest.raises(TrajectoryError, match="220 m entre les lignes 4 et 5"):
        read.at(START + timedelta(seconds=9.5))
    with pytest.raises(TrajectoryError, match="avant le début"):
        read.at(START - timedelta(seconds=1))
    with pytest.raises(TrajectoryError, match="après la fin"):
        read.at(START + timedelta(seconds=11))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (line(1, x_m="abc"), "ligne 3 : x_m « abc »"),
        (line(1, x_m="5.04", y_m="47.3"), "ligne 3 : x_m et y_m ne sont pas en Lambert-93"),
        (line(0), "ligne 3 : time est le même qu'à la ligne 2"),
        (line(1, datum="NAVD88"), "ligne 3 : datum « NAVD88 »"),
        (line(1, datum=""), "ligne 3 : altitude_m sans datum"),
        (line(1, datum="ellipsoid"), "mêle des datums"),
        (line(1, time="2026-06-01T12:00:01"), "ligne 3 : time « .* ne dit pas son décalage"),
        (line(1, time="hier"), "ligne 3 : time « hier »"),
        (line(1, time="0001-01-01T00:00:00+14:00"), "ligne 3 : time « .* est hors du calendrier"),
        (line(1, time=""), "ligne 3 : time manque"),
        (line(1, sigma_xy_m="-1"), "ligne 3 : sigma_xy_m vaut -1"),
        (line(1, heading_deg="inf"), "ligne 3 : heading_deg"),
        (line(1, x_m=""), "ligne 3 : il faut lon et lat"),
        (line(1, sigma_heading_deg="0"), "ligne 3 : sigma_heading_deg vaut 0"),
        (line(1, sigma_xy_m="0.0"), "ligne 3 : sigma_xy_m vaut 0.0"),
        (line(1, x_m="854_000"), "ligne 3 : x_m « 854_000 » n'est pas un nombre"),
        (line(1, sigma_heading_deg="0,03"), "ligne 3 : 11 valeurs au lieu de 10"),
    ],
)
def test_a_wrong_row_refuses_the_file_with_its_line_and_key(
    tmp_path: Path, bad: str, said: str
) -> None:
    with pytest.raises(TrajectoryError, match=said):
        trajectory.read(written(tmp_path, line(0), bad))


def test_what_claims_centimetres_names_its_frame(tmp_path: Path) -> None:
    head = HEAD + ",frame"
    with pytest.raises(TrajectoryError, match="ligne 2 : frame « WGS84 »"):
        trajectory.read(written(tmp_path, line(0) + ",WGS84", head=head))
    assert trajectory.read(written(tmp_path, line(0) + ",RGF93", head=head)).at(START)
    vague = line(0, sigma_xy_m="2") + ",WGS84"
    assert trajectory.read(written(tmp_path, vague, head=head)).at(START)


def test_pictures_by_name_a_semicolon_and_decimal_commas(tmp_path: Path) -> None:
    file = written(tmp_path, "a.jpg;5,04;47,32;12,5", head="file;lon;lat;heading_deg")
    read = trajectory.read(file)
    fix = read.at_file("dossier/a.jpg")
    assert fix is not None and fix.heading_deg == pytest.approx(12.5)
    assert read.at_file("b.jpg") is None
    with pytest.raises(TrajectoryError, match="n'a pas d'heures"):
        read.at(START)
    with pytest.raises(TrajectoryError, match="déjà à la ligne 2"):
        trajectory.read(written(tmp_path, "a.jpg,5,47", "a.jpg,5,47", head="file,lon,lat"))


@pytest.mark.parametrize("crs", ["EPSG:2154", "EPSG:4171"])
def test_a_geopackage_says_the_same(tmp_path: Path, crs: str) -> None:
    places = np.array([[854000.0, 6692000.0], [854000.0, 6692010.0]])
    if crs == "EPSG:4171":
        places = projection.metres_to_lonlat(places)
    points = shapely.points(np.column_stack([places, [245.0, 247.0]]))
    file = tmp_path / "t.gpkg"
    pyogrio.raw.write(
        file, shapely.to_wkb(points), [
            np.array([START.isoformat(), (START + timedelta(seconds=1)).isoformat()], object),
            np.array([0.0, 0.0]), np.array(["NGF-IGN69"] * 2, object),
        ],
        ["time", "heading_deg", "datum"], geometry_type="Point Z", crs=crs,
    )  # fmt: skip
    fix = trajectory.read(file).at(START + timedelta(seconds=0.5))
    assert (fix.x_m, fix.y_m, fix.z_m) == pytest.approx((854000, 6692005, 246), abs=1e-3)


def test_another_projection_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.gpkg"
    pyogrio.raw.write(
        file, shapely.to_wkb(shapely.points([[1.0, 2.0]])), [np.array(["a.jpg"], object)],
        ["file"], geometry_type="Point", crs="EPSG:27572",
    )  # fmt: skip
    with pytest.raises(TrajectoryError, match="EPSG:27572"):
        trajectory.read(file)
    (tmp_path / "x.gpkg").write_bytes(b"not a database")
    with pytest.raises(TrajectoryError, match="GeoPackage lisible"):
        trajectory.read(tmp_path / "x.gpkg")


ANGLE = st.tuples(st.floats(0, 359.9), st.floats(-60, 60), st.floats(-60, 60))
ARM = st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))


@settings(max_examples=60, deadline=None)
@given(ANGLE, ANGLE, ARM)
def test_the_lever_arm_and_the_boresight_compose_as_rotations(
    vehicle: tuple[float, float, float],
    boresight: tuple[float, float, float],
    arm: tuple[float, float, float],
) -> None:
    """Against OpenCV's axis-angle rotations, composed by hand."""

    def turned(angles: tuple[float, float, float]) -> np.ndarray:  # type: ignore[type-arg]
        about = [(2, -angles[0]), (0, angles[1]), (1, angles[2])]
        made = np.eye(3)
        for axis, angle in about:
            made = made @ cv2.Rodrigues(np.eye(3)[axis] * math.radians(angle))[0]
        return made

    place, *camera = trajectory.carried(np.zeros(3), vehicle, Mounting(arm, boresight))
    assert place == pytest.approx(turned(vehicle) @ np.array(arm), abs=1e-9)
    expected = turned(vehicle) @ turned(boresight)
    assert sphere.rotation(*camera) == pytest.approx(expected, abs=1e-7)


def test_the_camera_ahead_of_the_antenna_is_ahead_on_the_map(tmp_path: Path) -> None:
    head = HEAD.replace("heading_deg,pitch", "heading_grid_deg,pitch")
    read = trajectory.read(
        written(tmp_path, line(0, 0, 90, pitch_deg="0", roll_deg="0"), head=head)
    )
    fix = read.at(START, Mounting((0.0, 1.2, -0.3)))
    assert (fix.x_m, fix.y_m, fix.z_m) == pytest.approx((854001.2, 6692000.0, 245.2))
    bare = trajectory.read(written(tmp_path, "a.jpg,5,47", head="file,lon,lat"))
    with pytest.raises(TrajectoryError, match="doit dire le cap"):
        bare.at_file("a.jpg", Mounting((0.0, 1.2, -0.3)))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet=',;"\n0123456789abc.é', max_size=40), max_size=6))
def test_any_text_is_a_trajectory_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    file = tmp_path_factory.mktemp("t") / "t.csv"
    file.write_text("\n".join([HEAD, *lines]))
    try:
        assert isinstance(trajectory.read(file), Trajectory)
    except TrajectoryError as error:
        assert "t.csv" in str(error)


# Sequences ---------------------------------------------------------------------------------------


def test_a_drive_is_cut_where_it_stopped_jumped_or_turned_back() -> None:
    y = [0, 5, 10, 15, 20, 15, 10, 5, 500, 505, 510, 515]
    seconds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 200, 201]
    xy = np.array([[0.0, float(at)] for at in y])
    groups = sequences.cut(np.array(seconds, float), xy)
    assert [group.tolist() for group in groups] == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9], [10, 11]]
    shuffled = np.random.default_rng(3).permutation(len(y))
    again = sequences.cut(np.array(seconds, float)[shuffled], xy[shuffled])
    assert [shuffled[group].tolist() for group in again] == [group.tolist() for group in groups]
    assert sequences.cut(np.zeros(0), np.zeros((0, 2))) == []


def test_standing_still_does_not_cut() -> None:
    xy = np.array([[0.0, 0.0], [0.1, 5.0], [0.1, 5.1], [0.1, 4.9], [0.1, 10.0]])
    assert len(sequences.cut(np.arange(5.0), xy)) == 1


def test_a_course_stands_for_a_heading_with_a_sigma_that_says_so() -> None:
    xy = np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0], [10.0, -5.0]])
    course, sigma = sequences.courses(xy, np.full(4, 0.02))
    assert course == pytest.approx([90, 90, 135, 180])
    assert (sigma >= sequences.COURSE_SIGMA_DEG).all()
    _, vague = sequences.courses(xy, np.full(4, np.nan))
    assert (vague > sigma).all()
    still, _ = sequences.courses(np.zeros((3, 2)), np.full(3, 0.02))
    assert np.isnan(still).all()
    assert np.isnan(sequences.courses(np.zeros((1, 2)), np.full(1, 0.02))[0]).all()


@pytest.mark.parametrize(("lon", "lat"), [("47.32", "5.04"), ("5.04", "-90"), ("180", "0")])
def test_degrees_far_from_the_roads_are_refused_with_their_line(
    tmp_path: Path, lon: str, lat: str
) -> None:
    rows = ["a.jpg,5.04,47.32", f"b.jpg,{lon},{lat}"]
    with pytest.raises(TrajectoryError, match="ligne 3 : lon et lat sont hors de la métropole"):
        trajectory.read(written(tmp_path, *rows, head="file,lon,lat"))
