"""The operator imports real outlines: from the command, into the records, onto the map."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shapely
from django.conf import settings
from django.test import Client

from souverain.core.access import SYSTEM
from souverain.core.models import JournalEntry
from souverain.territory.atlas import atlas
from souverain.territory.engine.vector_files import VectorFileError
from souverain.territory.models import Commune, CommuneOutline
from souverain.territory.services import import_outlines, load_departement

DIJON, BEAUNE = (5.0415, 47.3220), (4.8386, 47.0260)
MAP = "/api/territory/communes.geojson"


@pytest.fixture
def loaded(db: None) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)


def the_map(client: Client) -> dict[str, Any]:
    answer = client.get(MAP)
    assert answer.headers["Content-Type"] == "application/geo+json"
    content: dict[str, Any] = json.loads(answer.content)
    return content


@pytest.mark.usefixtures("loaded")
def test_until_then_the_map_says_that_it_is_approximate(client: Client) -> None:
    drawn = the_map(client)
    assert drawn["approximate"] is True
    assert "approchées" in drawn["source"]
    assert len(drawn["features"]) == 698
    assert all(feature["properties"]["approximate"] for feature in drawn["features"])
    located = atlas().commune_at(*DIJON)
    assert located is not None
    assert (located.code, located.approximate) == ("21231", True)


@pytest.mark.db_both
@pytest.mark.usefixtures("loaded")
def test_after_an_import_the_map_is_real(real: Any, client: Client) -> None:
    seen: list[tuple[int, int]] = []
    imported = import_outlines(SYSTEM, real.path, "21", "IGN, 2018", lambda *at: seen.append(at))
    assert (imported.outlines, imported.merged, imported.missing) == (698, 6, ())
    assert seen == [(done, 704) for done in range(1, 705)]
    drawn = the_map(client)
    assert (drawn["approximate"], drawn["source"]) == (False, "IGN, 2018")
    assert shapely.is_valid(
        [shapely.from_geojson(json.dumps(f["geometry"])) for f in drawn["features"]]
    ).all()
    for place, code in ((DIJON, "21231"), (BEAUNE, "21054")):
        located = atlas().commune_at(*place)
        assert located is not None
        assert (located.code, located.approximate) == (code, False)
    assert atlas().commune_at(2.35, 48.85) is None


@pytest.mark.usefixtures("loaded")
def test_importing_again_changes_nothing(real: Any) -> None:
    columns = ("pk", "geometry", "display", "area_km2", "source", "file_sha256")
    first, second = (
        (
            import_outlines(SYSTEM, real.path, "21"),
            [tuple(map(bytes_of, row)) for row in CommuneOutline.objects.values_list(*columns)],
        )
        for _ in range(2)
    )
    assert first == second
    entries = JournalEntry.objects.filter(verb="territory.outlines_imported")
    assert entries.count() == 2, "one entry for each time that the verb was done"


def bytes_of(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.mark.usefixtures("loaded")
def test_loading_the_lists_again_keeps_the_outlines(real: Any) -> None:
    import_outlines(SYSTEM, real.path, "21")
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    assert CommuneOutline.objects.count() == 698


@pytest.mark.usefixtures("loaded")
def test_a_refused_file_writes_the_refusal_and_nothing_else(real: Any, tmp_path: Path) -> None:
    path = tmp_path / "c.geojson"
    path.write_bytes(real.path.read_bytes()[:100_000])
    with pytest.raises(VectorFileError):
        import_outlines(SYSTEM, path, "21")
    assert not CommuneOutline.objects.exists()
    assert JournalEntry.objects.latest("seq").verb == "territory.outlines_refused"


@pytest.mark.usefixtures("loaded")
def test_a_part_of_the_communes_leaves_the_others_approximate(
    real: Any, tmp_path: Path, client: Client
) -> None:
    content = json.loads(real.path.read_bytes())
    content["features"] = [
        f for f in content["features"] if f["properties"]["code"] in ("21231", "21054")
    ]
    path = tmp_path / "c.geojson"
    path.write_text(json.dumps(content))
    imported = import_outlines(SYSTEM, path, "21")
    assert (imported.outlines, len(imported.missing)) == (2, 696)
    drawn = the_map(client)
    assert drawn["approximate"] is True
    assert sum(not f["properties"]["approximate"] for f in drawn["features"]) == 2


@pytest.mark.usefixtures("loaded")
def test_a_departement_without_shipped_points_takes_them_from_the_outlines(real: Any) -> None:
    Commune.objects.update(longitude_deg=None, latitude_deg=None, area_km2=None)
    import_outlines(SYSTEM, real.path, "21")
    dijon = Commune.objects.get(code="21231")
    assert dijon.longitude_deg == pytest.approx(5.04, abs=0.05)
    assert dijon.area_km2 == pytest.approx(41, abs=1.5)


@pytest.mark.usefixtures("loaded")
def test_the_map_is_not_sent_twice(client: Client) -> None:
    first = client.get(MAP)
    assert "max-age" in first.headers["Cache-Control"]
    again = client.get(MAP, headers={"if-none-match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = client.get(MAP, headers={"accept-encoding": "gzip"})
    assert gzip.decompress(small.content) == first.content


@pytest.mark.usefixtures("loaded")
def test_another_room_colours_the_map() -> None:
    drawn = json.loads(atlas().geojson({"21231": {"state": "joined", "href": "/communes/21231"}}))
    properties = {f["id"]: f["properties"] for f in drawn["features"]}
    assert properties["21231"]["state"] == "joined"
    assert "state" not in properties["21054"]


def souverain(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "souverain", *map(str, arguments)],
        env={**os.environ, "SOUVERAIN_HOME": str(home), "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_on_a_real_home(real: Any, tmp_path: Path) -> None:
    home, bad = tmp_path / "home", tmp_path / "c.gpkg"
    assert souverain(home, "init", "--json").returncode == 0
    answer = souverain(home, "territory", "import", "outlines", real.path, "--json")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["outlines"] == 698
    told = souverain(home, "territory", "import", "outlines", real.path)
    assert "698 contours importés" in told.stdout
    bad.write_bytes(b"SQLite format 3\0" + bytes(100))
    refused = souverain(home, "territory", "import", "outlines", bad)
    assert refused.returncode == 1
    assert "illisible" in refused.stderr
    assert souverain(home, "territory", "import", "outlines", "absent.shp").returncode == 2
    other = souverain(home, "territory", "load", "--departement", "2A", "--json")
    assert (other.returncode, other.stdout) == (1, "")
    assert "celui du département 21" in json.loads(other.stderr)["detail"]
    assert souverain(home, "territory", "load", "--departement", "20").returncode == 1
