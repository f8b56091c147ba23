"""Roads, posts and assets as the operator and the rooms above meet them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from click.testing import CliRunner
from django.conf import settings
from django.test import Client

from souverain.core import access
from souverain.core.models import JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.territory import roads, services
from souverain.territory.cli import cli
from souverain.territory.engine.reference_post_files import read_posts
from souverain.territory.engine.referencing import Referencing
from souverain.territory.engine.road_files import read_roads
from souverain.territory.engine.vector_files import VectorFileError
from souverain.territory.models import Asset, ReferencePost, RoadLink

DIJON = np.array([854_000.0, 6_693_000.0])
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
FIELDS = ("ID", "NATURE", "SENS", "POS_SOL", "NUMERO", "CL_ADMIN", "ETAT")
GPKG_FIELDS = (
    "cleabs", "nature", "sens_de_circulation", "position_par_rapport_au_sol", "cpx_numero",
    "cpx_classement_administratif", "etat_de_l_objet",
)  # fmt: skip
Link = tuple[list[tuple[float, float, float]], tuple[str, ...]]


@pytest.fixture(scope="session")
def samples() -> Path:
    folder = Path(os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data")
    path = folder / "samples/roads"
    if not path.exists():
        message = f"SOUVERAIN_TEST_DATA: {path} is missing"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture
def departement(db: None) -> None:
    services.load_departement(access.SYSTEM, "21", settings.DECOUPAGE)


def link(
    identifier: str,
    *points: tuple[float, float],
    nature: str = "Route à 1 chaussée",
    way: str = "Double sens",
    level: str = "0",
    number: str = "D971",
    rank: str = "Départementale",
    state: str = "En service",
    height: float = 250.0,
) -> Link:
    line = [(DIJON[0] + x, DIJON[1] + y, height) for x, y in points]
    return line, (identifier, nature, way, level, number, rank, state)


def write(path: Path, links: list[Link], crs: str = "EPSG:2154", layer: str | None = None) -> Path:
    lines = [shapely.linestrings(line) if line else None for line, _ in links]
    columns = [
        np.array(column, object) for column in zip(*(told for _, told in links), strict=True)
    ]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(lines, object)),
        columns,
        list(GPKG_FIELDS if path.suffix == ".gpkg" else FIELDS),
        layer=layer or ("troncon_de_route" if path.suffix == ".gpkg" else None),
        geometry_type="LineString Z",
        crs=crs,
    )
    return path


def crossroads() -> list[Link]:
    return [
        link("TRONROUT1", (0, 0), (500, 0), (1000, 0)),
        link("TRONROUT2", (1000, 0), (2000, 0)),
        link("TRONROUT3", (1000, 0), (1000, 600), number="", rank="Voie communale"),
        link("TRONROUT4", (700, -300), (700, 300), number="D5", level="1", height=258.0),
        link("TRONROUT5", (1000, 600), (1400, 600), way="Sens inverse", number="", rank=""),
    ]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_bd_topo_is_read_with_its_directions_levels_and_nodes(tmp_path: Path, suffix: str) -> None:
    read = read_roads(write(tmp_path / f"routes{suffix}", crossroads()), "21")
    network = read.network
    assert network.numbers.tolist() == ["D971", "D971", "", "D5", ""]
    assert network.levels.tolist() == [0, 0, 0, 1, 0]
    assert network.one_way.tolist() == [0, 0, 0, 0, -1]
    assert read.classes.tolist()[:4] == ["departmental", "departmental", "communal", "departmental"]
    (_, a), (b, _), (c, d) = network.nodes[:3].tolist()
    assert a == b == c and d == network.nodes[4, 0]
    assert not set(network.nodes[3].tolist()) & set(network.nodes[[0, 1, 2, 4]].ravel().tolist())
    assert network.vertices_m[:, 2].tolist()[:2] == [250.0, 250.0]
    assert read.faults == () and read.elsewhere == 0


def test_a_bad_row_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    bad = [
        link("", (0, 0), (9, 0)),
        link("TRONROUT1", (0, 9), (9, 9)),
        link("T7", (0, 0), (9, 0), way="Vers la mairie"),
        link("T8", (0, 0), (9, 0), level="dessus"),
        ([], link("T9", (0, 0), (9, 0))[1]),
        link("T10", (5, 5), (5, 5)),
        link("T11", (9e9, 0), (9e9, 9)),
        link("T12", (0, 0), (0, 50), state="En projet"),
    ]
    read = read_roads(write(tmp_path / "routes.gpkg", crossroads() + bad), "21")
    assert len(read.network.numbers) == 5 and read.ignored == 1
    reasons = {fault.code or "": fault.reason for fault in read.faults}
    assert "sans identifiant" in reasons[""]
    assert "double" in reasons["TRONROUT1"]
    assert "Vers la mairie" in reasons["T7"]
    assert "dessus" in reasons["T8"]
    assert "sans tracé" in reasons["T9"]
    assert "longueur nulle" in reasons["T10"]
    assert "hors du pays" in reasons["T11"]
    assert [fault.row for fault in read.faults] == sorted(fault.row for fault in read.faults)


def test_other_projections_land_at_the_same_place(tmp_path: Path) -> None:
    plain = read_roads(write(tmp_path / "a.gpkg", crossroads()), "21").network.vertices_m
    to = pyproj.Transformer.from_crs(2154, 3857, always_xy=True)
    moved = [([(*to.transform(x, y), z) for x, y, z in line], told) for line, told in crossroads()]
    other = read_roads(write(tmp_path / "b.gpkg", moved, crs="EPSG:3857"), "21").network
    assert np.abs(other.vertices_m - plain).max() < 0.01


def test_a_wrong_projection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match="projection déclarée"):
        read_roads(write(tmp_path / "routes.gpkg", crossroads(), crs="EPSG:4326"), "21")


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("vide.gpkg", b"", "contenu"),
        ("faux.osm.pbf", b"PK\x03\x04" + bytes(100), "contenu"),
        ("coupe.osm.pbf", b"\x00\x00\x00\x0d\n\tOSMHeader\x18\x7c", "illisible|aucune route"),
        ("coupe.osm", b"<?xml version='1.0'?><osm version='0.6'><node id='1'", "illisible|aucune"),
        ("faux.osm.gz", b"\x1f\x8b\x08\x00 not really", "archive"),
        ("routes.xlsx", b"PK", "format inconnu"),
        ("routes.csv", b"a;b\n1;2\n", "aucune couche|champs"),
    ],
)
def test_a_file_that_is_none_is_refused_in_french(
    tmp_path: Path, name: str, content: bytes, match: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VectorFileError, match=match):
        read_roads(path, "21")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_truncated_geopackage_is_refused_or_whole(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "routes.gpkg", crossroads())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    try:
        assert len(read_roads(path, "21").network.numbers) == 5
    except VectorFileError as error:
        assert "routes.gpkg" in str(error)


# --- real files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "departement", "roads_there"),
    [
        ("osm_overpass_pont_de_veyle.osm.gz", "01", {"D933", "D51B", "D28", "D2"}),
        ("osm_pont_de_veyle_derived.osm.pbf", "01", {"D933", "D51B", "D28", "D2"}),
        ("osm_overpass_redon.osm.gz", "35", {"D775", "D164", "D67", "D65"}),
        ("osm_lemans.osm.pbf", "72", set()),
        ("osm_geneve.osm.pbf", "74", {"A1"}),
    ],
)
def test_real_osm_files_are_read_and_referenced(
    samples: Path, name: str, departement: str, roads_there: set[str]
) -> None:
    read = read_roads(samples / name, departement)
    network = read.network
    assert roads_there <= set(network.numbers.tolist())
    assert not read.faults and read.ignored > 0
    # Ways were cut where they meet: most links share their ends.
    degrees = np.bincount(network.nodes.ravel())
    assert (degrees >= 3).sum() > 0.2 * len(degrees)
    found = Referencing(network, departement=departement)
    vertices = network.vertices_m[:, :2]
    positions = [position for position in found.positions(vertices) if position]
    back = found.points(
        [p.road for p in positions],
        [p.pr for p in positions],
        [p.abscissa_m for p in positions],
        [p.side for p in positions],
    )
    assert np.hypot(*(back[:, :2] - [[p.x_m, p.y_m] for p in positions]).T).max() < 0.01


def test_real_bridges_meet_nothing_beneath(samples: Path) -> None:
    """In Geneva: where a link on one level crosses one on another, they share no node."""
    network = read_roads(samples / "osm_geneve.osm.pbf", "74").network
    parts = np.split(network.vertices_m[:, :2], network.starts[1:-1])
    lines = np.array([shapely.linestrings(part) for part in parts])
    pairs = shapely.STRtree(lines).query(lines, predicate="crosses").T
    apart = [(a, b) for a, b in pairs if network.levels[a] != network.levels[b]]
    assert len(apart) > 20
    met = [
        (a, b) for a, b in apart if set(network.nodes[a].tolist()) & set(network.nodes[b].tolist())
    ]
    assert len(met) <= 0.1 * len(apart)  # a ramp may cross the bridge that it comes from


def test_the_real_bd_topo_attributes_are_read(samples: Path) -> None:
    read = read_roads(samples / "bdtopo_v3_TRONCON_DE_ROUTE_idf.csv", "75")
    assert len(read.network.numbers) == 9 and not read.faults
    assert set(read.classes.tolist()) == {"motorway", "national"}
    assert {"A30086", "N30013"} <= set(read.network.numbers.tolist())
    assert sorted(set(read.network.levels.tolist())) == [0, 1]


def test_a_shapefile_without_its_table_is_refused(samples: Path) -> None:
    folder = samples / "bdtopo_v3_12174_TRONCON_DE_ROUTE_geometry_only"
    with pytest.raises(VectorFileError, match=r"TRONCON_DE_ROUTE\.dbf manque"):
        read_roads(folder / "TRONCON_DE_ROUTE.shp", "12")


def test_real_posts_with_a_place_are_read(samples: Path) -> None:
    file = samples / "reseau_national_aires_stockage_PR.csv"
    read = read_posts(file, "21", everywhere=True)
    assert len(read.posts.prs) == 13 + 1
    assert set(read.departements) == {"16", "79", "86", "03", "18", "23", "36", "87"}
    reasons = [fault.reason for fault in read.faults]
    assert reasons.count("sans coordonnées") == 253
    # Two rows repeat x as y, one names a post twice.
    assert [f.code for f in read.faults if "hors du pays" in f.reason] == ["36PR60D", "03PR2D"]
    with pytest.raises(VectorFileError, match="266 d'autres départements"):
        read_posts(file, "21")


# --- posts ---------------------------------------------------------------------------------------


def test_posts_are_read_from_any_of_their_spellings(tmp_path: Path) -> None:
    path = tmp_path / "pr.csv"
    path.write_bytes(
        "route;plo;x;y;cumul\n"
        "D 971;21PR12D;854000,5;6693000;12100\n"
        "RD971;21PR12G;854000;6693010;\n"
        "D971;21PR13U;855000;6693000;\n"
        "D971;21PR14GC;856000;6693000;\n"
        "D971;52PR1U;857000;6693000;\n"
        "Côte;21PR1U;857000;6693000;\n"
        "D971;PR douze;857000;6693000;\n"
        "D971;21PR15U;;;\n"
        "D971;21PR13U;855000;6693000;\n".encode("latin-1")
    )
    read = read_posts(path, "21")
    told = list(
        zip(
            read.posts.roads.tolist(), read.posts.prs.tolist(), read.posts.sides.tolist(),
            strict=True,
        )
    )  # fmt: skip
    assert told == [("D971", 12, "D"), ("D971", 12, "G"), ("D971", 13, "C"), ("D971", 14, "G")]
    assert read.posts.xy_m[0].tolist() == [854000.5, 6693000.0]
    assert read.cumulated_m[0] == 12100.0
    assert read.elsewhere == 1
    assert [fault.row for fault in read.faults] == [7, 8, 9, 10]


def test_bd_topo_posts_are_read_and_their_other_marks_ignored(tmp_path: Path) -> None:
    path = tmp_path / "pr.gpkg"
    rows = [("D971", "3", "U", "PR"), ("D971", "4", "U", "DS"), ("D971", "0", "D", "PR0")]
    columns = [np.array(column, object) for column in zip(*rows, strict=True)]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(shapely.points([DIJON, DIJON + 9, DIJON + 99])),
        [*columns, np.array([300, 400, 0])],
        ["route", "numero", "cote", "type_de_pr", "abscisse"],
        layer="point_de_repere",
        geometry_type="Point",
        crs="EPSG:2154",
    )
    read = read_posts(path, "21")
    assert read.posts.prs.tolist() == [3, 0] and read.ignored == 1
    assert read.cumulated_m == (300.0, 0.0)
    assert read.posts.abscissas_m is not None and not read.posts.abscissas_m.any()


# --- into the records ----------------------------------------------------------------------------


def test_synthetic_roads_give_way_to_real_ones(departement: None, tmp_path: Path) -> None:
    made = services.synthesise_roads(access.SYSTEM, "21", 7)
    assert made.length_m == pytest.approx(8_489_000, rel=0.02)
    assert roads.roads().is_synthetic
    point = roads.point_at("D971", 3, 250.0, "D")
    position = roads.positions_of(np.array([[point.x_m, point.y_m]]))[0]
    assert position and str(position) == "D971 PR 3+250"
    with pytest.raises(roads.UnknownPosition, match="n'a pas de PR 5000"):
        roads.point_at("D971", 5000, 0.0)
    again = services.synthesise_roads(access.SYSTEM, "21", 7)
    assert again.links == made.links == RoadLink.objects.count()

    file = write(tmp_path / "routes.gpkg", crossroads())
    done = services.import_roads(access.SYSTEM, file, "21")
    assert done.rows == 5 == RoadLink.objects.count()
    assert not ReferencePost.objects.exists()
    assert not roads.roads().is_synthetic
    with pytest.raises(services.RoadsError, match="vraies routes"):
        services.synthesise_roads(access.SYSTEM, "21", 7)
    before = JournalEntry.objects.count()
    assert services.import_roads(access.SYSTEM, file, "21").unchanged
    assert JournalEntry.objects.count() == before

    posts = tmp_path / "pr.csv"
    x, y = DIJON
    posts.write_text(f"route,plo,x,y\nD971,21PR4U,{x + 100},{y}\nD971,21PR5U,{x + 1150},{y + 3}\n")
    services.import_reference_posts(access.SYSTEM, posts, "21")
    position = roads.positions_of(np.array([[x + 900, y - 2]]))[0]
    assert position and (str(position), position.side) == ("D971 PR 4+800", "D")


def test_roads_elsewhere_are_left_out_or_refused(departement: None, tmp_path: Path) -> None:
    far = [link("T1", (0, 400_000), (900, 400_000)), link("T2", (0, 0), (900, 0))]
    done = services.import_roads(access.SYSTEM, write(tmp_path / "a.gpkg", far), "21")
    assert (done.rows, done.elsewhere) == (1, 1)
    only = write(tmp_path / "b.gpkg", far[:1])
    with pytest.raises(VectorFileError, match="aucun des 1 tronçons n'est dans le département 21"):
        services.import_roads(access.SYSTEM, only, "21")
    assert RoadLink.objects.get().identifier == "T2"
    assert services.import_roads(access.SYSTEM, only, "21", everywhere=True).rows == 1


def test_the_commands_answer_in_json(departement: None, tmp_path: Path) -> None:
    file = write(tmp_path / "routes.gpkg", [*crossroads(), link("", (0, 0), (9, 0))])
    ran = CliRunner().invoke(cli, ["import", "roads", str(file), "--json"])
    told = json.loads(ran.stdout)
    assert (told["links"], told["unchanged"]) == (5, False)
    assert told["faults"][0]["reason"] == "sans identifiant"
    ran = CliRunner().invoke(cli, ["import", "roads", str(tmp_path / "routes.gpkg")])
    assert ran.exit_code == 0 and "déjà en place" in ran.output
    (tmp_path / "pr.csv").write_text("route,plo\nD971,21PR4U\n")
    ran = CliRunner().invoke(cli, ["import", "reference-posts", str(tmp_path / "pr.csv"), "--json"])
    assert ran.exit_code == 1 and "il faut les colonnes" in ran.output
    refused = JournalEntry.objects.filter(verb="territory.roads_refused")
    assert refused.exists()


# --- assets and the API --------------------------------------------------------------------------


def put(**fields: Any) -> Asset:
    return services.put_asset(
        access.SYSTEM,
        **{
            "kind": "sign", "x_m": DIJON[0] + 400.0, "y_m": DIJON[1] + 3.0, "z_m": 251.0,
            "sigma_xy_m": 0.04, "source": "campagne 2026", "surveyed_at": NOON, **fields,
        },
    )  # fmt: skip


def test_an_asset_knows_its_road_and_is_superseded_by_a_newer_survey(
    departement: None, tmp_path: Path
) -> None:
    services.import_roads(access.SYSTEM, write(tmp_path / "a.gpkg", crossroads()), "21")
    first = put(identifier=uuid4(), attributes={"code": "B14", "vitesse": 70})
    assert (first.road, first.side, first.distance_m) == ("D971", "G", pytest.approx(3.0))
    assert put(identifier=first.pk, attributes={"code": "B14", "vitesse": 70}).pk == first.pk
    with pytest.raises(services.RoadsError, match="autre contenu"):
        put(identifier=first.pk, attributes={"code": "B14", "vitesse": 50})
    second = put(supersedes=first.pk, attributes={"code": "B14", "vitesse": 50})
    first.refresh_from_db()
    assert (first.state, second.supersedes_id) == ("superseded", first.pk)
    with pytest.raises(services.RoadsError, match="n'est plus en service"):
        put(supersedes=first.pk)
    services.retire_asset(access.SYSTEM, second.pk)
    with pytest.raises(services.RoadsError, match="déposé"):
        services.retire_asset(access.SYSTEM, second.pk)
    assert Asset.objects.filter(state="in-service").count() == 0
    verbs = [verb for (verb,) in JournalEntry.objects.order_by("seq").values_list("verb")]
    assert verbs[-3:] == [
        "territory.asset_recorded", "territory.asset_recorded", "territory.asset_retired",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "Panneau !"}, {"x_m": float("nan")}, {"sigma_xy_m": -1.0}, {"datum": "mer"},
        {"source": ""}, {"surveyed_at": NOON.replace(tzinfo=None)},
        {"surveyed_at": datetime.now(UTC) + timedelta(days=9)},
        {"attributes": {"note": "x" * 20_000}}, {"attributes": {"note": object()}},
        {"supersedes": uuid4()}, {"provenance": "devinée"}, {"z_m": 99_999.0},
    ],
)  # fmt: skip
def test_an_impossible_asset_is_refused(db: None, wrong: dict[str, Any]) -> None:
    with pytest.raises(services.RoadsError):
        put(**wrong)
    assert not Asset.objects.exists()


def test_the_api_goes_both_ways(departement: None, tmp_path: Path, client: Client) -> None:
    services.import_roads(access.SYSTEM, write(tmp_path / "a.gpkg", crossroads()), "21")
    there = client.get("/api/territory/roads/position", {"at": "RD 971 +400 m"}).json()
    assert there["text"] == "D971 +400 m" and there["z_m"] == 250.0
    assert there["x_m"] == pytest.approx(DIJON[0] + 400)
    back = client.get(
        "/api/territory/roads/position",
        {"lon": there["longitude_deg"], "lat": there["latitude_deg"]},
    ).json()
    assert (back["text"], back["provenance"]) == ("D971 +400 m", "declared")
    for asked, status, word in (
        ({"at": "D971 PR 3"}, 404, "points de repère"),
        ({"at": "D1 +3 m"}, 404, "pas dans le réseau"),
        ({"at": "chez moi"}, 422, "numéro de route"),
        ({}, 422, "Donnez"),
        ({"lon": 5.0, "lat": 40.0}, 404, "Aucune route"),
    ):
        answer = client.get("/api/territory/roads/position", asked)
        assert answer.status_code == status and word in answer.json()["detail"]


def test_assets_are_for_those_who_keep_the_roads(departement: None, client: Client) -> None:
    put()
    put(kind="drain")
    assert client.get("/api/territory/assets").status_code == 401
    agent = User.objects.create_user("agent@exemple.fr")
    here = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=agent, role=Role.AGENT, organisation=here)
    client.force_login(agent)
    first = client.get("/api/territory/assets", {"limit": 1}).json()
    assert first["count"] == 1 and first["next"] == first["items"][0]["id"]
    rest = client.get("/api/territory/assets", {"after": first["next"]}).json()
    assert rest["count"] == 1 and rest["next"] is None
    drains = client.get("/api/territory/assets", {"kind": "drain"}).json()["items"]
    assert [item["kind"] for item in drains] == ["drain"]
    assert drains[0]["x_m"] == DIJON[0] + 400.0


def test_a_killed_import_leaves_the_roads_that_were_there(tmp_path: Path) -> None:
    """kill -9 between the first rows and the end of the transaction, on a home of its own."""
    home = tmp_path / "home"
    environment = {**os.environ, "SOUVERAIN_HOME": str(home)}
    environment.pop("SOUVERAIN_DATABASE_URL", None)
    script = (
        "import django; django.setup()\n"
        "import os, signal\n"
        "from pathlib import Path\n"
        "from django.core.management import call_command\n"
        "from souverain.core import access\n"
        "from souverain.territory import services\n"
        "from souverain.territory.models import RoadLink\n"
        "import sys\n"
        "file, step = Path(sys.argv[1]), sys.argv[2]\n"
        "if step == 'first':\n"
        "    call_command('migrate', verbosity=0)\n"
        "if step == 'killed':\n"
        "    services._put_links, real = (lambda *a: (real(*a), os.kill(os.getpid(), 9))), "
        "services._put_links\n"
        "if step != 'count':\n"
        "    services.import_roads(access.SYSTEM, file, '21', everywhere=True)\n"
        "print(sorted(RoadLink.objects.values_list('identifier', flat=True)))\n"
    )
    old = write(tmp_path / "old.gpkg", crossroads()[:2])
    new = write(tmp_path / "new.gpkg", crossroads())

    def run(file: Path, step: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, str(file), step],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    first = run(old, "first")
    assert first.returncode == 0, first.stderr
    killed = run(new, "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert run(old, "count").stdout.split() == first.stdout.split()
    assert "TRONROUT5" in run(new, "again").stdout
