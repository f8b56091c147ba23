"""Clicks in panoramas give figures with their sigma; what is kept can be taken away as files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely
from django.test import Client

from souverain.core.models import JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import demo
from souverain.street.engine import sphere
from souverain.street.measure_api import figure
from souverain.street.models import Campaign, Datum, Measurement, Panorama, Sequence

Place = tuple[float, float, float]


@pytest.fixture
def drive(campaign: Campaign) -> dict[str, Panorama]:
    """The stops of the drawn street as records, without pixels, by file name."""
    Campaign.objects.filter(pk=campaign.pk).update(
        state=Campaign.State.PUBLISHED, provenance=Campaign.Provenance.SYNTHETIC
    )
    made = {}
    for view in demo.views():
        sequence, _ = Sequence.objects.get_or_create(campaign=campaign, ordinal=view.line)
        made[view.file_name] = Panorama.objects.create(
            campaign=campaign, sequence=sequence, rank=view.rank, state=Panorama.State.READY,
            file_name=view.file_name, sha256="0" * 64, taken_at=view.taken_at, x_m=view.x_m,
            y_m=view.y_m, z_m=view.z_m, datum=Datum.NGF, longitude_deg=view.longitude_deg,
            latitude_deg=view.latitude_deg, heading_deg=view.heading_deg,
            pitch_deg=view.stop.pitch_deg, roll_deg=view.stop.roll_deg, sigma_xy_m=0.01,
            sigma_z_m=0.01, sigma_heading_deg=0.02, sigma_tilt_deg=0.02, width=8192, height=4096,
            detector="aucun",
        )  # fmt: skip
    return made


@pytest.fixture
def marks() -> dict[str, Any]:
    return {mark["name"]: mark for mark in demo.fiducials()}


def person(name: str, role: Role = Role.AGENT) -> Client:
    user = User.objects.create_user(f"{name}@exemple.fr", full_name=name)
    place = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, role=role, organisation=place)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def click(panorama: Panorama, place: Place) -> dict[str, Any]:
    """The click of somebody who points exactly at a place of the world."""
    view = next(view for view in demo.views() if view.file_name == panorama.file_name)
    way = np.array(place) - [view.x_m, view.y_m, view.z_m]
    stop = view.stop
    toward = sphere.to_camera(way[None], stop.heading_deg, stop.pitch_deg, stop.roll_deg)
    yaw, elevation = sphere.direction_to_angles(toward)
    angles = {"yaw_deg": float(yaw[0]), "elevation_deg": float(elevation[0])}
    return {"panorama": str(panorama.pk), **angles}


def xyz(mark: dict[str, Any]) -> Place:
    return mark["x_m"], mark["y_m"], mark["z_m"]


def ask(
    client: Client, kind: str, *points: list[dict[str, Any]], path: str = "measure", **more: Any
) -> Any:
    sights = [{"rays": rays} for rays in points]
    for sight in sights:
        sight.update(more.pop("on", {}) or {})
    body = {"kind": kind, "points": sights, **more}
    return client.post(f"/api/street/{path}", json.dumps(body), content_type="application/json")


def test_two_clicks_situate_a_mark(drive: dict[str, Panorama], marks: dict[str, Any]) -> None:
    mark = marks["R05"]
    rays = [click(drive[f"synthese-1-0{k}.jpg"], xyz(mark)) for k in (3, 5)]
    answer = ask(person("agent"), "point", rays).json()
    [point] = answer["points"]
    assert answer["error"] is None and answer["provenance"] == "synthetic"
    assert answer["datum"] == "NGF-IGN69" and answer["method"] == "rays"
    found = [point["x_m"], point["y_m"], point["z_m"]]
    # Headings went from the grid to true north and back: a tenth of a millimetre.
    assert np.allclose(found, xyz(mark), atol=1e-3)
    assert 0.005 < point["sigma_m"] < 0.05
    assert answer["text"].startswith("± ") and answer["text"].endswith("cm")
    assert abs(point["longitude_deg"] - mark["longitude_deg"]) < 1e-8


def test_the_distance_between_two_marks(drive: dict[str, Panorama], marks: dict[str, Any]) -> None:
    near, far = marks["R05"], marks["R06"]
    views = [drive[f"synthese-1-0{k}.jpg"] for k in (3, 5)]
    points = [[click(view, xyz(mark)) for view in views] for mark in (near, far)]
    client = person("agent")
    distance = ask(client, "distance", *points).json()
    truth = float(np.linalg.norm(np.subtract(xyz(near), xyz(far))))
    assert distance["value"] == pytest.approx(truth, abs=1e-3)
    # Both are seen from the same cameras: surer than two points that share nothing would be.
    alone = np.hypot(*(point["sigma_m"] for point in distance["points"]))
    assert distance["sigma"] < alone
    height = ask(client, "height", *points).json()
    assert height["value"] == pytest.approx(abs(near["z_m"] - far["z_m"]), abs=1e-3)
    # The marks stand 4.7 m to each side of the street's middle, at right angles to it.
    width = ask(client, "width", *points).json()
    assert width["value"] == pytest.approx(9.4, abs=0.02)
    assert "\u00a0m ± " in width["text"]


def test_one_click_measures_the_road(drive: dict[str, Panorama], marks: dict[str, Any]) -> None:
    mark = marks["C21"]
    view = drive["synthese-1-01.jpg"]
    client = person("agent")
    alone = ask(client, "point", [click(view, xyz(mark))]).json()
    assert "deux vues" in alone["error"]
    on_road = {"on_road": True, "camera_height_m": 2.5, "sigma_camera_height_m": 0.02}
    answer = ask(client, "point", [click(view, xyz(mark))], on=on_road).json()
    [point] = answer["points"]
    assert answer["method"] == "road"
    assert np.allclose([point["x_m"], point["y_m"], point["z_m"]], xyz(mark), atol=0.01)
    assert 0.02 < point["sigma_m"] < 0.6, "the crossfall that nobody measured counts"


def test_an_area_and_its_errors(drive: dict[str, Panorama], marks: dict[str, Any]) -> None:
    views = [drive[f"synthese-1-0{k}.jpg"] for k in (3, 5)]
    corner = np.array(xyz(marks["R05"]))
    square = [corner + off for off in ([0, 0, 0], [0, 2, 0], [0, 2, 2], [0, 0, 2])]
    client = person("agent")
    points = [[click(view, tuple(place)) for view in views] for place in square]  # type: ignore[arg-type]
    answer = ask(client, "area", *points).json()
    assert answer["value"] == pytest.approx(4.0, abs=2e-3)
    assert 0.0 < answer["sigma"] < 0.3
    crossed = [points[0], points[2], points[1], points[3]]
    assert "se croise" in ask(client, "area", *crossed).json()["error"]
    assert "trois points" in ask(client, "area", points[0]).json()["error"]


def test_a_thin_triangle_is_refused_with_a_better_view(
    drive: dict[str, Panorama], marks: dict[str, Any]
) -> None:
    mark = marks["R15"]
    rays = [click(drive[f"synthese-1-0{k}.jpg"], xyz(mark)) for k in (1, 2)]
    client = person("agent")
    answer = ask(client, "point", rays).json()
    [point] = answer["points"]
    assert point["error"] and point["x_m"] is None
    best = point["proposals"][0]
    assert best["sigma_m"] <= point["proposals"][-1]["sigma_m"]
    other = Panorama.objects.get(pk=best["panorama"])
    assert best["base_m"] > 5
    again = ask(client, "point", [rays[0], click(other, xyz(mark))]).json()
    assert again["error"] is None
    assert np.allclose(
        [again["points"][0]["x_m"], again["points"][0]["y_m"]], xyz(mark)[:2], atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"z_m": None}, "altitude"),
        ({"sigma_heading_deg": None}, "précision"),
        ({"datum": Datum.ELLIPSOID}, "références différentes"),
    ],
)
def test_what_a_view_does_not_tell_is_not_made_up(
    drive: dict[str, Panorama], marks: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    views = [drive[f"synthese-1-0{k}.jpg"] for k in (3, 5)]
    rays = [click(view, xyz(marks["R05"])) for view in views]
    Panorama.objects.filter(pk=views[0].pk).update(**change)
    answer = ask(person("agent"), "point", rays)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_view_that_is_not_open_is_not_measured_on(
    drive: dict[str, Panorama], marks: dict[str, Any], campaign: Campaign
) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.READY)
    commune, _ = Organisation.objects.get_or_create(
        code="21231", defaults={"kind": Organisation.Kind.COMMUNE, "name": "Dijon"}
    )
    user = User.objects.create_user("mairie@exemple.fr", full_name="Mairie")
    RoleAssignment.objects.create(user=user, role=Role.COMMUNE_MEMBER, organisation=commune)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    rays = [click(drive[f"synthese-1-0{k}.jpg"], xyz(marks["R05"])) for k in (3, 5)]
    assert ask(client, "point", rays).status_code == 422
    assert ask(person("agent"), "point", rays).status_code == 200


def test_a_measurement_is_kept_listed_exported_and_erased(
    drive: dict[str, Panorama], marks: dict[str, Any], tmp_path: Path
) -> None:
    views = [drive[f"synthese-1-0{k}.jpg"] for k in (3, 5)]
    points = [[click(view, xyz(marks[name])) for view in views] for name in ("R05", "R06")]
    client, other = person("agent"), person("autre")
    kept = ask(client, "distance", *points, path="measurements", label="=Mât à mât")
    assert kept.status_code == 201, kept.content
    thin = [[click(drive[f"synthese-1-0{k}.jpg"], xyz(marks["R15"])) for k in (1, 2)]]
    assert ask(client, "point", *thin, path="measurements").status_code == 422
    [item] = client.get("/api/street/measurements").json()["items"]
    assert item["value"] == pytest.approx(kept.json()["value"])
    assert item["provenance"] == "synthetic"
    assert other.get("/api/street/measurements").json()["count"] == 0

    feature = client.get("/api/street/measurements.geojson").json()["features"][0]
    assert feature["geometry"]["type"] == "LineString"
    assert feature["geometry"]["coordinates"][0][0] == pytest.approx(marks["R05"]["longitude_deg"])
    [row] = csv.DictReader(
        io.StringIO(client.get("/api/street/measurements.csv").content.decode("utf-8-sig"))
    )
    assert row["label"] == "'=Mât à mât" and row["unit"] == "m"
    path = tmp_path / "mesures.gpkg"
    path.write_bytes(client.get("/api/street/measurements.gpkg").content)
    meta, _, geometry, _values = pyogrio.raw.read(path)
    assert "2154" in meta["crs"]
    line = shapely.from_wkb(geometry[0])
    assert line.has_z and np.allclose(line.coords[0], xyz(marks["R05"]), atol=1e-3)

    where = f"/api/street/measurements/{item['id']}"
    assert other.delete(where).status_code == 404
    assert client.delete(where).status_code == 204
    assert not Measurement.objects.exists()
    verbs = [entry.verb for entry in JournalEntry.objects.all()]
    assert "street.measurement_saved" in verbs and "street.measurement_deleted" in verbs
    assert client.get("/api/street/measurements.gpkg").status_code == 200, "an empty file is a file"


@pytest.mark.parametrize(
    ("kind", "value", "sigma", "text"),
    [
        ("distance", 3.4213, 0.041, "3,42\u00a0m ± 4\u00a0cm"),
        ("height", 2.05, 0.0042, "2,050\u00a0m ± 0,4\u00a0cm"),
        ("area", 12.5, 0.3, "12,50\u00a0m² ± 0,30\u00a0m²"),
        ("point", None, 0.126, "± 13\u00a0cm"),
    ],
)
def test_figures_are_french(kind: str, value: float | None, sigma: float, text: str) -> None:
    assert figure(kind, value, sigma).replace("\u202f", "\u00a0") == text
