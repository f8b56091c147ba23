"""What the viewer is told of a panorama: where it leads, its other dates, and to whom."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
from django.test import Client

from souverain.core import access
from souverain.core.access import ANONYMOUS, SYSTEM
from souverain.street import campaigns, finding, tours, viewing
from souverain.street.models import Campaign, Panorama, PanoramaLink, Tour
from souverain.street.tests.conftest import NOON

pytestmark = pytest.mark.django_db
Make = Callable[..., Panorama]


@pytest.fixture
def published(campaign: Campaign, panorama: Make) -> list[Panorama]:
    """A street of three, published; each linked to the next."""
    made = [panorama(north_m=5.0 * i, z_m=245.0, datum="NGF-IGN69") for i in range(3)]
    for one, other in pairwise(made):
        PanoramaLink.objects.create(origin=one, target=other, along=True)
    campaign.state = Campaign.State.PUBLISHED
    campaign.save()
    return made


def another(state: str, name: str, make: Make, **fields: object) -> Panorama:
    other = campaigns.create(access.SYSTEM, name, name.title(), state=state)
    return make(campaign=other, taken_at=NOON - timedelta(days=365), **fields)


def test_a_link_says_where_it_leads(published: list[Panorama]) -> None:
    (link,) = viewing.description(published[0], ANONYMOUS)["links"]
    assert link["id"] == str(published[1].pk)
    assert link["distance_m"] == pytest.approx(5.0)
    assert link["grid_heading_deg"] % 360 == pytest.approx(0.0, abs=1e-6)
    assert link["rise_m"] == 0.0


def test_a_heading_is_told_from_both_norths(published: list[Panorama]) -> None:
    told = viewing.description(published[0], ANONYMOUS)
    turn = (told["heading_deg"] - told["grid_heading_deg"]) % 360
    assert turn == pytest.approx(told["convergence_deg"])
    assert told["convergence_deg"] == pytest.approx(1.48, abs=0.05)


def test_the_same_place_at_other_dates_is_never_under_the_bridge(
    published: list[Panorama], panorama: Make
) -> None:
    here = published[1]
    place = {"north_m": 5.5, "datum": "NGF-IGN69"}
    older = another("published", "plus-ancienne", panorama, z_m=245.4, **place)
    another("published", "sous-le-pont", panorama, z_m=238.0, **place)
    another("ready", "non-publiee", panorama, z_m=245.0, **place)
    another("published", "plus-loin", panorama, north_m=15.0, z_m=245.0, datum="NGF-IGN69")
    told = viewing.description(here, ANONYMOUS)["dates"]
    assert [other["id"] for other in told] == [str(older.pk)]
    everything = viewing.description(here, SYSTEM)["dates"]
    assert {other["campaign"] for other in everything} == {"plus-ancienne", "non-publiee"}


def test_a_hidden_view_is_nowhere(published: list[Panorama], client: Client) -> None:
    published[1].state = Panorama.State.HIDDEN
    published[1].save()
    assert viewing.description(published[0], ANONYMOUS)["links"] == []
    assert client.get(f"/api/street/panoramas/{published[1].pk}").status_code == 404
    assert client.get(f"/street/embed/{published[1].pk}/").status_code == 404


def test_the_embedded_page_is_the_only_one_that_may_be_framed(
    published: list[Panorama], client: Client
) -> None:
    key = published[0].pk
    embedded = client.get(f"/street/embed/{key}/")
    assert embedded.status_code == 200
    assert "frame-ancestors *" in embedded.headers["Content-Security-Policy"]
    assert "script-src 'self'" in embedded.headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in embedded.headers
    for path in (f"/street/vue/{key}/", "/street/"):
        page = client.get(path)
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert page.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("state", ["receiving", "ready", "withdrawn"])
def test_a_tour_loses_the_stops_of_a_withdrawn_campaign(
    published: list[Panorama], campaign: Campaign, client: Client, state: str
) -> None:
    tour = tours.create(SYSTEM, "Le canal à Dijon")
    tours.add_stop(SYSTEM, tour, published[0].pk, "Port du canal", "")
    tours.publish(SYSTEM, tour)
    assert client.get("/street/promenades/le-canal-a-dijon/").status_code == 200
    campaign.state = state
    campaign.save()
    assert client.get("/street/promenades/le-canal-a-dijon/").status_code == 404
    assert client.get("/street/embed/le-canal-a-dijon/").status_code == 404
    assert "Le canal" not in client.get("/street/").content.decode()


def test_a_tour_is_not_published_before_its_views(campaign: Campaign, panorama: Make) -> None:
    tour = tours.create(SYSTEM, "Trop tôt")
    with pytest.raises(tours.TourError, match="aucune étape"):
        tours.publish(SYSTEM, tour)
    tours.add_stop(SYSTEM, tour, panorama().pk, "Une vue", "")
    with pytest.raises(tours.TourError, match="« Une vue » montre une vue qui n'est pas publiée"):
        tours.publish(SYSTEM, tour)
    assert not Tour.objects.get().published


def test_stops_change_places_and_the_ends_stay(published: list[Panorama]) -> None:
    tour = tours.create(SYSTEM, "Ordre")
    stops = [tours.add_stop(SYSTEM, tour, item.pk, f"{n}", "") for n, item in enumerate(published)]

    def order() -> str:
        return "".join(tour.stops.order_by("rank").values_list("title", flat=True))

    tours.move_stop(SYSTEM, stops[2], up=True)
    assert order() == "021"
    tours.move_stop(SYSTEM, stops[0], up=True)
    assert order() == "021"
    tours.move_stop(SYSTEM, stops[0], up=False)
    assert order() == "201"
    tours.remove_stop(SYSTEM, stops[0])
    tours.add_stop(SYSTEM, tour, published[0].pk, "3", "")
    assert order() == "213"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "canal",
        "/street/vue/42/",
        "/street/vue/{key}/?yaw=nan",
        "/street/vue/{key}/?elevation=91",
    ],
)
def test_an_address_that_is_no_view_is_refused(text: str) -> None:
    key = "0b0e7a3e-58a4-4d49-9f0c-4c29d7b7e1f1"
    with pytest.raises(ValueError, match="adresse"):
        viewing.read_address(text.format(key=key))
    read = viewing.read_address(f"https://cloud.fr/street/vue/{key}/?yaw=-12.5&elevation=3&zoom=1")
    assert (str(read["panorama"]), read["yaw_deg"], read["elevation_deg"]) == (key, -12.5, 3.0)
    assert str(viewing.read_address(f"/street/bureau/?panorama={key}")["panorama"]) == key


def test_a_search_answers_in_words(published: list[Panorama], client: Client) -> None:
    Panorama.objects.update(commune="21231")
    found = client.get("/street/?commune=21231")
    assert found.status_code == 302
    assert found.headers["Location"] == f"/street/vue/{published[0].pk}/"
    nothing = client.get("/street/?q=Nulle-Part-sur-Rien").content.decode()
    assert "Aucune commune ne s&#x27;appelle" in nothing


def test_the_stroll_is_empty_before_the_first_campaign(campaign: Campaign, client: Client) -> None:
    assert "Aucune image n’est publiée pour l’instant" in client.get("/street/").content.decode()


def test_the_stroll_says_which_pictures_are_computed(
    published: list[Panorama], campaign: Campaign, panorama: Make, client: Client
) -> None:
    def read() -> str:
        return re.sub(r"<[^>]+>", "", client.get("/street/").content.decode())

    finding.rebuild()
    assert "3 vues publiées. Un clic" in read()
    assert "de synthèse" not in read()
    another("published", "calculee", panorama, north_m=50.0)
    Campaign.objects.filter(name="calculee").update(provenance=Campaign.Provenance.SYNTHETIC)
    finding.rebuild()
    assert "4 vues publiées, dont 1 image de synthèse. Un clic" in read()
    campaign.provenance = Campaign.Provenance.SYNTHETIC
    campaign.save()
    text = read()
    assert "4 vues publiées (images de synthèse). Un clic" in text
    assert "Commencer par la dernière image reçue (image de synthèse)" in text
    assert "ouvrez la dernière image reçue (image de synthèse)" in text


def test_each_link_names_where_it_goes(published: list[Panorama], client: Client) -> None:
    PanoramaLink.objects.create(origin=published[1], target=published[0], along=True)
    Panorama.objects.filter(pk=published[0].pk).update(road="D971")
    links = viewing.description(published[1], ANONYMOUS)["links"]
    assert {link["label_fr"] for link in links} == {"Vers le nord", "Vers le sud par la D971"}
    page = client.get(f"/street/vue/{published[1].pk}/").content.decode()
    assert "Vers le sud par la D971, à 5 m" in page
    assert viewing.towards_fr(89.0) == "Vers l’est" and viewing.towards_fr(359.0) == "Vers le nord"
