"""A file of rays gives points with their covariance; a wrong row is told by its line and key."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from souverain.cli import main
from souverain.street import rays_file
from souverain.street.engine import sphere
from souverain.street.tests import triangulation_scenes as scenes

SCHEMA = Path(__file__).parents[4] / "docs/schemas/street-ray.schema.json"
HEAD = ",".join(rays_file.COLUMNS)
GOOD = [
    "mat,0,0,2.5,26.565051,0,0.02,0.05",
    "mat,0,10,2.5,116.565051,0,0.02,0.05",
]


def write(path: Path, *lines: str, head: str = HEAD) -> Path:
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def run(path: Path, code: int = 0) -> tuple[dict[str, Any], str]:
    ran = CliRunner().invoke(main, ["street", "triangulate", str(path), "--json"])
    assert ran.exit_code == code, ran.output
    answer: dict[str, Any] = json.loads(ran.stdout) if ran.stdout else {}
    return answer, ran.stderr


def test_two_rays_make_a_point(tmp_path: Path) -> None:
    answer, _ = run(write(tmp_path / "rays.csv", *GOOD))
    [item] = answer["items"]
    assert answer["count"] == 1 and answer["faults"] == []
    # The lines y = 2x and y = 10 - x/2 meet at (4, 8).
    assert np.allclose([item["x_m"], item["y_m"], item["z_m"]], [4.0, 8.0, 2.5], atol=1e-6)
    covariance = np.array(item["covariance_m2"])
    assert covariance.shape == (3, 3) and np.allclose(covariance, covariance.T)
    assert item["sigma_x_m"] == pytest.approx(covariance[0, 0] ** 0.5)
    assert item["error"] is None and item["consistent"] is True
    # At right angles each ray holds its own direction: 2 cm and 0.05° at its distance.
    sigma = np.hypot(0.02, np.radians(0.05) * np.hypot(4, 8))
    assert item["sigma_m"] == pytest.approx(sigma, rel=1e-3)


def test_simulated_rays_are_covered_by_what_is_stated(tmp_path: Path, proving: bool) -> None:
    """Through the file and the command, errors drawn on what the columns say."""
    count = 10_000 if proving else 2_000
    draw = np.random.default_rng(31)
    truth = draw.uniform([-8, 3, -2], [8, 12, 4], (count, 3)) + np.array([853_000, 6_692_000, 240])
    names, rows = [f"p{index}" for index in range(count)], []
    for rank in range(2):
        place = truth * 0 + [853_000, 6_692_000 + 14 * rank, 241]
        sigma, blur = draw.uniform(0.01, 0.04, count), draw.uniform(0.02, 0.1, count)
        heading, pitch = sphere.direction_to_angles(truth - place)
        heading, pitch = (a + blur * draw.standard_normal(count) for a in (heading, pitch))
        place = place + sigma[:, None] * draw.standard_normal((count, 3))
        rows += list(zip(names, *place.T, heading, pitch, sigma, blur, strict=True))
    path = tmp_path / "rays.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rays_file.COLUMNS)
        writer.writerows(rows)
    answer, _ = run(path)
    assert [item["id"] for item in answer["items"]] == names
    taken = [k for k, item in enumerate(answer["items"]) if item["error"] is None]
    assert len(taken) > 0.8 * count
    found = np.array([[answer["items"][k][axis] for axis in ("x_m", "y_m", "z_m")] for k in taken])
    stated = np.array([answer["items"][k]["covariance_m2"] for k in taken])
    one, two = scenes.coverage(scenes.whitened(found - truth[taken], stated))
    assert np.abs(one - 0.6827).max() < (0.03 if proving else 0.045)
    assert np.abs(two - 0.95).max() < (0.02 if proving else 0.025)


def test_rows_of_a_point_may_be_anywhere_and_refusals_are_told(tmp_path: Path) -> None:
    answer, _ = run(
        write(
            tmp_path / "rays.csv",
            GOOD[0],
            "seul,0,0,0,10,0,0.02,0.05",
            "mince,0,0,0,10,0,0.02,0.05",
            GOOD[1],
            "mince,0,1,0,10.5,0,0.02,0.05",
            "dos,0,0,2.5,206.565051,0,0.02,0.05",
            "dos,0,10,2.5,116.565051,0,0.02,0.05",
        )
    )
    errors = {item["id"]: item["error"] for item in answer["items"]}
    assert list(errors) == ["mat", "seul", "mince", "dos"]
    assert errors["mat"] is None
    assert "deux vues" in errors["seul"]
    assert "parallèles" in errors["mince"] and "0,5°" in errors["mince"]
    assert "derrière" in errors["dos"]


def test_a_bad_ray_is_left_out_by_its_line(tmp_path: Path) -> None:
    answer, _ = run(
        write(
            tmp_path / "rays.csv",
            *GOOD,
            "mat,0,4,2.5,47,0,0.02,0.05",
            "mat,-2,12,2.5,123.690068,0,0.02,0.05",
        )
    )
    [item] = answer["items"]
    assert item["rejected_lines"] == [4]
    assert item["consistent"] and item["degrees_of_freedom"] == 3


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ("x,a,0,0,0,0,0.02,0.05", "x_m"),
        ("x,0,nan,0,0,0,0.02,0.05", "y_m"),
        ("x,0,0,inf,0,0,0.02,0.05", "z_m"),
        ("x,0,0,0,361,0,0.02,0.05", "heading_deg"),
        ("x,0,0,0,0,91,0.02,0.05", "pitch_deg"),
        ("x,0,0,0,0,0,-1,0.05", "sigma_xyz_m"),
        ("x,0,0,0,0,0,0.02,", "sigma_deg"),
        (",0,0,0,0,0,0.02,0.05", "id"),
    ],
)
def test_a_wrong_row_is_told_by_line_and_key_and_the_others_go_on(
    tmp_path: Path, row: str, key: str
) -> None:
    answer, told = run(write(tmp_path / "rays.csv", GOOD[0], row, GOOD[1]), code=1)
    assert f"ligne 3, clé « {key} »" in told
    assert answer["faults"][0]["line"] == 3 and answer["faults"][0]["key"] == key
    assert answer["items"][0]["id"] == "mat" and answer["items"][0]["error"] is None
    assert "ligne 3" in answer["items"][1]["error"]
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    values = dict(zip(rays_file.COLUMNS, row.split(","), strict=True))
    assert list(schema.iter_errors(_as_schema(values)))


def test_the_good_rows_follow_the_schema() -> None:
    schema = Draft202012Validator(json.loads(SCHEMA.read_text()))
    for row in GOOD:
        values = dict(zip(rays_file.COLUMNS, row.split(","), strict=True))
        assert not list(schema.iter_errors(_as_schema(values)))


def _as_schema(values: dict[str, str]) -> dict[str, Any]:
    read: dict[str, Any] = {"id": values.pop("id")}
    for key, text in values.items():
        try:
            number = float(text)
            read[key] = number if np.isfinite(number) else text
        except ValueError:
            read[key] = text
    return read


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "clé « id »"),
        (b"id,x_m\n", "clé « y_m »"),
        (f"{HEAD},id\n".encode(), "clé « id »"),
        ("é".encode("latin-1"), "UTF-8"),
        (f'{HEAD}\n"a\n'.encode(), "ligne 2"),
    ],
)
def test_what_is_no_file_of_rays_is_refused(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "rays.csv"
    path.write_bytes(content)
    _, told = run(path, code=1)
    assert named in told


def test_a_short_row_is_told(tmp_path: Path) -> None:
    _, told = run(write(tmp_path / "rays.csv", *GOOD, "x,1,2"), code=1)
    assert "ligne 4" in told and "3 valeurs au lieu de 8" in told
