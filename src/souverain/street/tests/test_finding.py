"""Panoramas are found where they are, and the public never finds one that is not published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from souverain.core import access, queries
from souverain.core.models import Job, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import campaigns, finding
from souverain.street.engine import panorama_index
from souverain.street.models import Campaign, Panorama
from souverain.street.tests.conftest import DIJON, NOON
from souverain.territory.engine import projection

Make = Callable[..., Panorama]
NEAREST = "/api/street/nearest"
PANORAMAS = "/api/street/panoramas"


@pytest.fixture(autouse=True)
def no_index() -> Iterator[None]:
    finding.index_path().unlink(missing_ok=True)
    yield


@pytest.fixture
def street(campaign: Campaign, panorama: Make) -> list[Panorama]:
    """A hundred panoramas on a line of 5 m, published."""
    campaign.state = Campaign.State.READY
    campaign.save()
    taken = [panorama(east_m=5.0 * rank, commune="21231") for rank in range(100)]
    campaigns.publish(access.SYSTEM, campaign)
    return taken


def at(east_m: float, north_m: float = 0.0) -> tuple[float, float]:
    import numpy as np

    x0, y0 = projection.lonlat_to_metres([DIJON[0]], [DIJON[1]])[0]
    longitude, latitude = projection.metres_to_lonlat(np.array([[x0 + east_m, y0 + north_m]]))[0]
    return float(longitude), float(latitude)


def later(campaign: Campaign, make: Make, name: str, days: int, **fields: Any) -> Panorama:
    """A panorama of another campaign, `days` later."""
    other = campaigns.create(access.SYSTEM, name)
    Campaign.objects.filter(pk=other.pk).update(state=Campaign.State.PUBLISHED)
    return make(campaign=other, taken_at=NOON + timedelta(days=days), **fields)


def test_the_nearest_is_found_and_its_distance_told(street: list[Panorama]) -> None:
    found = finding.nearest(*at(52.0, 3.0))
    assert found is not None
    assert found.panorama == street[10]
    assert found.distance_m == pytest.approx((2.0**2 + 3.0**2) ** 0.5, abs=1e-6)


def test_a_campaign_that_is_not_published_is_for_the_desk_alone(
    campaign: Campaign, panorama: Make
) -> None:
    panorama()
    assert finding.nearest(*DIJON) is None
    assert queries.nearest_view.ask(*DIJON, None) is None
    assert finding.nearest(*DIJON, everything=True) is not None


def test_a_withdrawn_campaign_is_gone_at_once_even_from_a_stale_index(
    street: list[Panorama], campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding.nearest(*DIJON) is not None
    monkeypatch.setattr(finding, "SMALL", 10)  # the file is no longer compared with the records
    campaigns.withdraw(access.SYSTEM, campaign)
    assert finding.nearest(*DIJON) is None
    assert finding.in_box(4, 47, 6, 48).total == 0


def test_a_panorama_that_was_hidden_is_passed_over_even_in_a_stale_index(
    street: list[Panorama], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding.index()
    monkeypatch.setattr(finding, "SMALL", 10)
    Panorama.objects.filter(pk=street[0].pk).update(state=Panorama.State.HIDDEN)
    street[1].delete()
    found = finding.nearest(*DIJON)
    assert found is not None and found.panorama == street[2]
    assert [row.pk for row in finding.in_box(4, 47, 6, 48).items] != []
    assert street[0] not in finding.in_box(4, 47, 6, 48).items


def test_the_last_campaign_is_shown_and_an_earlier_date_shows_the_former(
    street: list[Panorama], campaign: Campaign, panorama: Make
) -> None:
    newer = later(campaign, panorama, "essai-2028", 700, east_m=53.0)
    last = finding.nearest(*at(50.0))
    assert last is not None and last.panorama == newer
    then = finding.nearest(*at(50.0), NOON + timedelta(days=30))
    assert then is not None and then.panorama == street[10]
    assert finding.nearest(*at(50.0), NOON - timedelta(days=1)) is None
    # What is clearly farther does not win because it is newer.
    near = finding.nearest(*at(60.0))
    assert near is not None and near.panorama == street[12]


def test_one_campaign_can_be_asked_for(
    street: list[Panorama], campaign: Campaign, panorama: Make
) -> None:
    later(campaign, panorama, "essai-2028", 700, east_m=53.0)
    found = finding.nearest(*at(50.0), campaign=campaign.name)
    assert found is not None and found.panorama == street[10]


def test_the_index_follows_the_records(street: list[Panorama], panorama: Make) -> None:
    assert finding.nearest(*at(0, 200))
    moved = street[50]
    Panorama.objects.filter(pk=moved.pk).update(y_m=moved.y_m + 200, x_m=street[0].x_m)
    found = finding.nearest(*at(0, 200))
    assert found is not None and found.panorama == moved


def test_a_damaged_file_is_refused_and_built_again(street: list[Panorama]) -> None:
    finding.index()
    path = finding.index_path()
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    found = finding.nearest(*at(50))
    assert found is not None and found.panorama == street[10]
    assert len(panorama_index.load(path)) == 100


def test_a_large_missing_index_is_asked_of_a_job_once(
    street: list[Panorama], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "SMALL", 10)
    for _ in range(2):
        answer = client.get(NEAREST, {"lon": DIJON[0], "lat": DIJON[1]})
        assert answer.status_code == 503 and "se construit" in answer.json()["detail"]
    assert Job.objects.filter(name="street.index").count() == 1
    finding.build_job(lambda done, total=None, message="": None)
    assert client.get(NEAREST, {"lon": DIJON[0], "lat": DIJON[1]}).status_code == 200


def test_the_worker_builds_what_changed(street: list[Panorama]) -> None:
    finding.keep_up()
    first = finding.index_path().stat().st_ino
    finding.keep_up()
    assert finding.index_path().stat().st_ino == first
    street[3].delete()
    finding.keep_up()
    assert len(panorama_index.load(finding.index_path())) == 99


def test_a_view_looks_at_the_place(street: list[Panorama]) -> None:
    view = queries.nearest_view.ask(*at(50, 20), None)
    assert view is not None
    assert view.url == f"/street/vue/{street[10].pk}/"
    # Grid north, seen from true north: the convergence of Lambert-93 in Dijon.
    assert view.heading_deg == pytest.approx(projection.convergence_deg(*DIJON), abs=0.01)
    assert queries.nearest_view.ask(*at(50, 400), None) is None


@pytest.mark.parametrize("place", [(200.0, 47.0), (5.0, 91.0), (float("nan"), 47.0)])
def test_a_place_off_the_earth_is_refused(db: None, place: tuple[float, float]) -> None:
    with pytest.raises(finding.PlaceError):
        finding.nearest(*place)


# Over HTTP ----------------------------------------------------------------------------------------


def test_the_nearest_over_http(street: list[Panorama], client: Client) -> None:
    longitude, latitude = at(52.0)
    answer = client.get(NEAREST, {"lon": longitude, "lat": latitude}).json()
    assert answer["id"] == str(street[10].pk)
    assert answer["distance_m"] == pytest.approx(2.0, abs=1e-4)
    assert answer["published"] is True


def test_unpublished_needs_the_desk(campaign: Campaign, panorama: Make, client: Client) -> None:
    panorama()
    asked = {"lon": DIJON[0], "lat": DIJON[1], "unpublished": "true"}
    assert client.get(NEAREST, asked).status_code == 401
    user = User.objects.create_user("a@cotedor.fr", password="x")
    owner = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, organisation=owner, role=Role.AGENT)
    client.force_login(user)
    assert client.get(NEAREST, asked).json()["published"] is False
    assert client.get(NEAREST, {**asked, "unpublished": "false"}).status_code == 404


def test_a_box_is_read_page_by_page(street: list[Panorama], client: Client) -> None:
    west, south = at(-1, -1)
    east, north = at(251, 1)
    box = f"{min(west, east)},{south - 1e-4},{max(west, east)},{north + 1e-4}"
    told, offset = [], 0
    while offset is not None:
        page = client.get(PANORAMAS, {"bbox": box, "limit": 20, "offset": offset}).json()
        assert page["count"] == len(page["items"]) and page["total"] == 51
        told += [item["id"] for item in page["items"]]
        offset = page["next_offset"]
    assert sorted(told) == sorted(str(row.pk) for row in street[:51])


def test_a_commune_and_dates_are_asked_for(street: list[Panorama], client: Client) -> None:
    asked = {"commune": "21231", "since": "2026-06-01T12:00:10Z", "until": "2026-06-01T12:00:19Z"}
    page = client.get(PANORAMAS, asked).json()
    assert [item["id"] for item in page["items"]] == [str(row.pk) for row in street[10:20]]
    whole = {**asked, "bbox": "-180,-90,180,90"}
    del whole["commune"]
    assert client.get(PANORAMAS, whole).json()["total"] == 10
    assert client.get(PANORAMAS, {"commune": "21999"}).json()["total"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"bbox": "1,2,3"},
        {"bbox": "a,b,c,d"},
        {"bbox": "6,47,5,48"},
        {"bbox": "nan,47,5,48"},
        {"bbox": "4,47,5,48", "commune": "21231"},
        {"bbox": "4,47,5,48", "since": "hier"},
        {"bbox": "4,47,5,48", "since": "0001-01-01T00:00:00+14:00"},
        {"bbox": "4,47,5,48", "until": "9999-12-31T23:59:59-14:00"},
        {"bbox": "4,47,5,48", "limit": 5000},
        {"bbox": "4,47,5,48", "offset": -1},
        {"commune": "21231' OR 1"},
    ],
)
def test_what_is_badly_asked_is_refused_with_a_reason(
    db: None, client: Client, bad: dict[str, Any]
) -> None:
    answer = client.get(PANORAMAS, bad)
    assert answer.status_code == 422 and answer.json()["detail"]


def test_the_file_is_where_the_program_keeps_its_things(settings: Any) -> None:
    assert Path(settings.HOME) in finding.index_path().parents
