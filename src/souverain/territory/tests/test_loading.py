"""The département as it is loaded from the real package, and as anybody may read it."""

from __future__ import annotations

import gzip
from pathlib import Path
from shutil import copy

import pytest
from django.conf import settings
from django.test import Client

from souverain.core.access import SYSTEM
from souverain.core.models import JournalEntry, Organisation
from souverain.territory import services
from souverain.territory.atlas import atlas
from souverain.territory.engine.decoupage import LISTS, DecoupageError
from souverain.territory.models import Commune, FormerCommune
from souverain.territory.services import ensure_departement, load_departement


@pytest.mark.django_db
@pytest.mark.db_both
def test_the_departement_loads_and_loads_again() -> None:
    for _ in range(2):
        loaded = load_departement(SYSTEM, "21", settings.DECOUPAGE)
        assert (loaded.communes, loaded.epcis, loaded.population) == (698, 19, 540_100)
    assert Commune.objects.count() == 698
    assert Commune.objects.filter(longitude_deg=None).count() == 0
    assert 8_700 < sum(Commune.objects.values_list("area_km2", flat=True)) < 8_800
    merged = FormerCommune.objects.filter(code__in=["21073", "21213", "21486", "21507"])
    assert merged.count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "some"), [("2A", 100), ("69", 200), ("75", 1), ("971", 30)])
def test_another_departement_loads_by_its_number(number: str, some: int) -> None:
    assert load_departement(SYSTEM, number, settings.DECOUPAGE).communes >= some


@pytest.mark.django_db
def test_anybody_reads_the_communes(client: Client) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    answer = client.get("/api/territory/communes", headers={"host": "localhost"}).json()
    assert answer["count"] == 698 == len(answer["items"])
    assert {"code", "name", "population"} <= answer["items"][0].keys()
    found = client.get(
        "/api/territory/communes", {"q": "st apollinaire"}, headers={"host": "localhost"}
    ).json()
    assert found["items"][0]["name"] == "Saint-Apollinaire"
    missing = client.get("/api/territory/communes/99999", headers={"host": "localhost"})
    assert missing.status_code == 404
    assert missing.headers["Content-Type"] == "application/problem+json"


@pytest.mark.django_db
def test_the_search_says_by_which_former_name_it_found(client: Client) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    found = client.get("/api/territory/communes", {"q": "bierre les semur", "limit": "1"}).json()
    assert found["count"] == 1
    assert found["items"][0]["name"] == "Le Val-Larrey"
    assert found["items"][0]["found_as"] == {"code": "21073", "name": "Bierre-lès-Semur"}


@pytest.mark.django_db
@pytest.mark.db_both
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("communes?q=" + "x" * 101, 422),
        ("communes?limit=0&q=a", 422),
        ("communes?limit=1001&q=a", 422),
        ("communes?limit=1e9&q=a", 422),
        ("communes?limit=&q=a", 422),
        ("communes?q=%00", 400),
        ("communes?q=%FF%FE", 200),
        ("communes?q=%F0%9F%99%82", 200),
        ("communes?q=a&q=dijon&limit=2", 200),
        ("communes?q=' OR 1=1 --", 200),
        ("communes?unknown=1", 200),
        ("communes/21231%00", 400),
        ("communes/2123", 422),
        ("communes/%F0%9F%99%82", 422),
        ("communes/21999", 404),
        ("communes/21231/", 404),
        ("nothing", 404),
    ],
)
def test_hostile_parameters_are_answered(path: str, status: int, client: Client) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    answer = client.get(f"/api/territory/{path}")
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["count"] == len(answer.json()["items"])


@pytest.mark.django_db
def test_nobody_writes_there(client: Client) -> None:
    for method in (client.post, client.put, client.patch, client.delete):
        assert method("/api/territory/communes").status_code == 405


@pytest.mark.django_db
def test_the_list_is_sent_small_and_once(client: Client) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    first = client.get("/api/territory/communes")
    again = client.get("/api/territory/communes", headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = client.get("/api/territory/communes", headers={"accept-encoding": "gzip"})
    assert gzip.decompress(small.content) == first.content
    assert len(small.content) < len(first.content) / 3


@pytest.mark.django_db
def test_the_description_of_the_api_types_a_commune(client: Client) -> None:
    described = client.get("/api/openapi.json").json()
    answer = described["paths"]["/api/territory/communes"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/Communes")
    commune = described["components"]["schemas"]["CommuneItem"]["properties"]
    assert commune["code"]["type"] == "string"
    assert {"type": "integer"} in commune["population"]["anyOf"]


@pytest.mark.django_db
def test_anybody_reads_the_epci_with_their_communes(client: Client) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    answer = client.get("/api/territory/epci").json()
    assert answer["count"] == 19
    assert sum(len(item["communes"]) for item in answer["items"]) == 698


@pytest.mark.django_db
def test_a_new_load_is_seen_by_the_search_at_once() -> None:
    assert atlas().index.search("dijon") == []
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    assert atlas().index.search("dijon")[0].entry.code == "21231"


@pytest.mark.django_db
def test_another_departement_beside_the_first_is_refused() -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    with pytest.raises(DecoupageError, match=r"celui du département 21 .*SOUVERAIN_HOME"):
        load_departement(SYSTEM, "971", settings.DECOUPAGE)
    assert Organisation.objects.filter(kind="departement").count() == 1
    assert Commune.objects.count() == 698


@pytest.mark.django_db
def test_a_bad_list_writes_nothing(tmp_path: Path) -> None:
    for name in ("communes", "epci", "arrondissements", "departements"):
        copy(settings.DECOUPAGE / f"{name}.json", tmp_path)
    (tmp_path / "communes.json").write_text("[{}]")
    with pytest.raises(DecoupageError, match=r"communes.json, entrée 1"):
        load_departement(SYSTEM, "21", tmp_path)
    assert not Commune.objects.exists()
    assert not Organisation.objects.exists()


@pytest.mark.django_db
@pytest.mark.db_both
def test_lists_that_are_loaded_are_not_read_again_unless_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start reads nothing; other lists, another program or a lost row load them again."""
    loaded = ensure_departement(SYSTEM, "21", settings.DECOUPAGE)
    journalled = JournalEntry.objects.count()
    assert ensure_departement(SYSTEM, "21", settings.DECOUPAGE) == loaded
    assert JournalEntry.objects.count() == journalled
    for name in LISTS:
        copy(settings.DECOUPAGE / name, tmp_path / name)
    with (tmp_path / "epci.json").open("a") as file:
        file.write("\n")
    assert ensure_departement(SYSTEM, "21", tmp_path) == loaded
    assert JournalEntry.objects.count() == journalled + 1
    monkeypatch.setattr(services, "__version__", "0.2.0")
    assert ensure_departement(SYSTEM, "21", tmp_path) == loaded
    assert JournalEntry.objects.count() == journalled + 2
    (tmp_path / "communes.json").write_text("[")
    with pytest.raises(DecoupageError, match=r"communes\.json"):
        ensure_departement(SYSTEM, "21", tmp_path)
