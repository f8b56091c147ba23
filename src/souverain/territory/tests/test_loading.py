"""The département as it is loaded from the real package, and as anybody may read it."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from souverain.core.access import SYSTEM
from souverain.territory.engine.search import Entry, fold, search
from souverain.territory.models import Commune, FormerCommune
from souverain.territory.services import load_departement


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


NAMES = ["L'Étang-Vergy", "Is-sur-Tille", "Saint-Jean-de-Losne", "Dijon", "Cœuvre-le-Bœuf"]
ENTRIES = [Entry(f"2100{n}", name, (f"21{n}00",), n) for n, name in enumerate(NAMES)]


@given(st.sampled_from(ENTRIES), st.randoms(use_true_random=False))
def test_a_commune_is_found_however_its_name_is_typed(entry: Entry, random: object) -> None:
    typed = "".join(
        random.choice([letter.upper(), letter.lower()])  # type: ignore[attr-defined]
        for letter in " ".join(fold(entry.name))
    )
    assert search(ENTRIES, typed)[0] == entry


@given(st.text(max_size=200))
def test_any_text_is_searched_without_error(text: str) -> None:
    assert len(search(ENTRIES, text)) <= len(ENTRIES)


def test_a_postcode_finds_its_communes() -> None:
    assert [entry.name for entry in search(ENTRIES, "21300")] == ["Dijon"]
