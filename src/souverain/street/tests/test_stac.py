"""The STAC API in Panoramax's shape: what is shown to whom, and what a search finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import simplejpeg
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from souverain.core import access, services
from souverain.core.models import Organisation, User
from souverain.core.roles import Role
from souverain.street import campaigns, derivation, stac_search, stac_views
from souverain.street.models import Campaign, Panorama, PanoramaLink, Sequence
from souverain.street.tests.data import street_file

HERE = {"host": "localhost"}
Make = Callable[..., Panorama]


@pytest.fixture
def drives(campaign: Campaign, panorama: Make) -> list[Sequence]:
    """Two published sequences of ten panoramas, the second 100 m north of the first."""
    made = []
    for ordinal in range(2):
        drive = Sequence.objects.create(campaign=campaign, ordinal=ordinal)
        for rank in range(10):
            panorama(5.0 * rank, 100.0 * ordinal, sequence=drive, rank=rank, sigma_xy_m=0.02,
                     heading_deg=87.625, road="D971", pr=12, abscissa_m=5.0 * rank,
                     datum="NGF-IGN69", z_m=251.25)  # fmt: skip
        made.append(drive)
    publish(campaign)
    return made


def publish(campaign: Campaign) -> None:
    campaign.state = Campaign.State.READY
    campaign.save()
    campaigns.publish(access.SYSTEM, campaign)


def get(client: Client, path: str, token: str = "", status: int = 200) -> Any:
    headers = {**HERE, **({"authorization": f"Bearer {token}"} if token else {})}
    answer = client.get(f"/street/api/{path}", headers=headers)
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)


def post(client: Client, path: str, body: Any, status: int = 200) -> Any:
    answer = client.post(
        f"/street/api/{path}", json.dumps(body), content_type="application/json", headers=HERE
    )
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)


def ids(collection: Any) -> list[str]:
    return [feature["id"] for feature in collection["features"]]


def pages(client: Client, first: str) -> Iterator[Any]:
    """Every page, following the links as a client does."""
    address = first
    for _ in range(50):
        page = get(client, address)
        yield page
        following = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not following:
            return
        address = following[0].removeprefix("http://localhost/street/api/")
    raise AssertionError("the pages never end")


# What is shown to whom ---------------------------------------------------------------------------


def token_of(role: Role, scopes: list[str], code: str = "21") -> str:
    user = User.objects.create_user(f"{role}-{code}@cotedor.test", "un mot de passe long")
    organisation = Organisation.objects.get(code=code)
    user.role_assignments.create(role=role, organisation=organisation)
    return services.create_token(
        access.of_user(user), user, name="essai", scopes=scopes, life=timedelta(days=1)
    )[1]


def test_an_unpublished_campaign_is_shown_to_a_token_of_the_desk_alone(
    client: Client, campaign: Campaign, drives: list[Sequence]
) -> None:
    one = str(drives[0].panoramas.first().pk)  # type: ignore[union-attr]
    campaigns.withdraw(access.SYSTEM, campaign)
    desk = token_of(Role.AGENT, ["street.desk"])
    narrowed = token_of(Role.SUPERVISOR, ["street.record"])
    Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    elsewhere = token_of(Role.COMMUNE_MEMBER, ["street.desk"], "21231")
    for path in (f"collections/{drives[0].pk}", f"pictures/{one}", f"pictures/{one}/hd.jpg",
                 f"collections/{drives[0].pk}/items"):  # fmt: skip
        for token in ("", narrowed, elsewhere, "souv_inconnu"):
            get(client, path, token, status=404)
    for token in ("", narrowed, elsewhere):
        assert ids(get(client, f"search?ids={one}", token)) == []
        assert get(client, "collections", token)["collections"] == []
    assert ids(get(client, f"search?ids={one}", desk)) == [one]
    item = get(client, f"pictures/{one}", desk)
    assert item["properties"]["geovisio:visibility"] == "logged-only"


def test_a_hidden_panorama_is_not_shown_and_its_neighbours_meet(
    client: Client, drives: list[Sequence]
) -> None:
    first, hidden, third = drives[0].panoramas.order_by("rank")[:3]
    hidden.state = Panorama.State.HIDDEN
    hidden.save()
    get(client, f"pictures/{hidden.pk}", status=404)
    item = get(client, f"collections/{drives[0].pk}/items/{third.pk}")
    before = [link["id"] for link in item["links"] if link["rel"] == "prev"]
    assert before == [str(first.pk)]
    assert get(client, f"collections/{drives[0].pk}")["stats:items"]["count"] == 9


def test_a_panorama_that_belongs_to_no_sequence_yet_is_not_shown(
    client: Client, drives: list[Sequence], panorama: Make
) -> None:
    alone = panorama()
    assert ids(get(client, f"search?ids={alone.pk}")) == []


# An item -----------------------------------------------------------------------------------------


def test_an_item_says_what_is_precise_beside_what_panoramax_rounds(
    client: Client, drives: list[Sequence]
) -> None:
    middle = drives[0].panoramas.get(rank=4)
    said = get(client, f"collections/{drives[0].pk}/items/{middle.pk}")["properties"]
    assert said["view:azimuth"] == 87.625
    assert said["souverain:sigma_xy_m"] == 0.02
    # 95 % of a round Gaussian are within 2.4477 sigmas (chi-squared, two degrees of freedom).
    assert said["quality:horizontal_accuracy"] == pytest.approx(2.4477 * 0.02, abs=1e-4)
    assert (said["souverain:z_m"], said["souverain:datum"]) == (251.25, "NGF-IGN69")
    assert (said["souverain:road"], said["souverain:pr"]) == ("D971", 12)
    assert said["datetime"].endswith("Z") and said["datetimetz"].endswith("+02:00")


def test_a_viewer_walks_a_sequence_by_its_links(client: Client, drives: list[Sequence]) -> None:
    turn = drives[1].panoramas.get(rank=0)
    first = drives[0].panoramas.get(rank=0)
    PanoramaLink.objects.create(origin=first, target=turn, along=False)
    seen, here = [], str(first.pk)
    while here:
        item = get(client, f"search?ids={here}")["features"][0]
        seen.append(item["properties"]["geovisio:rank_in_collection"])
        onward = {link["rel"]: link for link in item["links"]}
        if here == str(first.pk):
            assert "prev" not in onward
            assert onward["related"]["id"] == str(turn.pk)
            assert onward["related"]["geometry"]["coordinates"] == [
                turn.longitude_deg,
                turn.latitude_deg,
            ]
        here = onward["next"]["id"] if "next" in onward else ""
    assert seen == list(range(1, 11))


def test_a_cropped_panorama_gives_its_margins_and_no_tiles(
    client: Client, campaign: Campaign, panorama: Make
) -> None:
    drive = Sequence.objects.create(campaign=campaign, ordinal=0)
    crop = {"left": 0, "top": 700, "width": 5760, "height": 1500}
    panorama(sequence=drive, crop=crop)
    publish(campaign)
    item = get(client, "search")["features"][0]
    orientation = item["properties"]["pers:interior_orientation"]
    assert orientation["sensor_array_dimensions"] == [5760, 2880]
    assert orientation["visible_area"] == [0, 700, 0, 2880 - 700 - 1500]
    assert "asset_templates" not in item
    assert "tiles:tile_matrix_sets" not in item["properties"]


# Pictures ----------------------------------------------------------------------------------------


@pytest.fixture
def pictured(campaign: Campaign, panorama: Make) -> Panorama:
    """A published panorama of 2048 × 1024: red on its left half, blue on its right one."""
    drive = Sequence.objects.create(campaign=campaign, ordinal=0)
    made = panorama(sequence=drive, width=2048, height=1024)
    pixels = np.zeros((1024, 2048, 3), np.uint8)
    pixels[:, :1024, 0], pixels[:, 1024:, 2] = 220, 220
    derivation.derive(made, simplejpeg.encode_jpeg(pixels, 95))
    publish(campaign)
    return made


@pytest.mark.parametrize(("size", "width"), [("sd", 2048), ("thumb", 500)])
def test_a_reduced_picture_is_the_picture(
    client: Client, pictured: Panorama, size: str, width: int
) -> None:
    answer = client.get(f"/street/api/pictures/{pictured.pk}/{size}.jpg?v=1", headers=HERE)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "public, max-age=86400, immutable"
    pixels = simplejpeg.decode_jpeg(answer.content)
    assert pixels.shape == (width // 2, width, 3)
    left, right = pixels[:, : width // 2 - 8], pixels[:, width // 2 + 8 :]
    assert left[..., 0].min() > 200 and left[..., 2].max() < 20
    assert right[..., 2].min() > 200 and right[..., 0].max() < 20


def test_a_cropped_picture_is_reduced_to_what_it_covers(
    client: Client, campaign: Campaign, panorama: Make
) -> None:
    drive = Sequence.objects.create(campaign=campaign, ordinal=0)
    crop = {"left": 300, "top": 100, "width": 1200, "height": 600}
    made = panorama(sequence=drive, width=2048, height=1024, crop=crop)
    derivation.derive(made, simplejpeg.encode_jpeg(np.full((600, 1200, 3), 180, np.uint8), 95))
    publish(campaign)
    answer = client.get(f"/street/api/pictures/{made.pk}/thumb.jpg", headers=HERE)
    pixels = simplejpeg.decode_jpeg(answer.content)
    assert pixels.shape == (250, 500, 3)
    assert abs(pixels[5:-5, 5:-5].astype(int) - 180).max() < 8  # none of the black around it


def test_the_whole_picture_and_its_tiles_are_the_byte_servers(
    client: Client, pictured: Panorama
) -> None:
    whole = client.get(f"/street/api/pictures/{pictured.pk}/hd.jpg", headers=HERE)
    assert (whole.status_code, whole.headers["Location"]) == (
        302,
        f"/street/pictures/{pictured.pk}/1.jpg",
    )
    item = get(client, f"pictures/{pictured.pk}")
    (matrix,) = item["properties"]["tiles:tile_matrix_sets"]["geovisio"]["tileMatrix"]
    assert matrix["matrixWidth"] * matrix["tileWidth"] == 2048
    assert matrix["matrixHeight"] * matrix["tileHeight"] == 1024
    last = f"{matrix['matrixWidth'] - 1}_{matrix['matrixHeight'] - 1}"
    tile = client.get(f"/street/api/pictures/{pictured.pk}/tiled/{last}.jpg", headers=HERE)
    assert tile.headers["Location"] == f"/street/tiles/{pictured.pk}/1/0/{last}.jpg"
    get(client, f"pictures/{pictured.pk}/tiled/{matrix['matrixWidth']}_0.jpg", status=404)


# Search ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["", "&sortby=-ts", "&sortby=%2Bts", "&sortby=-id"])
@pytest.mark.parametrize("limit", [1, 3, 7, 20])
def test_the_pages_of_a_search_hold_everything_once(
    client: Client, drives: list[Sequence], sort: str, limit: int
) -> None:
    found = [one for page in pages(client, f"search?limit={limit}{sort}") for one in ids(page)]
    assert len(found) == 20
    assert set(found) == {str(key) for key in Panorama.objects.values_list("pk", flat=True)}


def test_a_posted_search_has_the_same_pages(client: Client, drives: list[Sequence]) -> None:
    body: Any = {"limit": 6, "collections": [str(drives[0].pk)]}
    found: list[str] = []
    while body:
        page = post(client, "search", body)
        found += ids(page)
        body = next((link["body"] for link in page["links"] if link["rel"] == "next"), None)
    assert found == sorted(str(one.pk) for one in drives[0].panoramas.all())


def test_the_pages_of_a_sequence_follow_its_order(client: Client, drives: list[Sequence]) -> None:
    found = [one for page in pages(client, f"collections/{drives[0].pk}/items?limit=4")
             for one in ids(page)]  # fmt: skip
    assert found == [str(one.pk) for one in drives[0].panoramas.order_by("rank")]
    seventh = drives[0].panoramas.get(rank=6)
    page = get(client, f"collections/{drives[0].pk}/items?limit=4&withPicture={seventh.pk}")
    assert str(seventh.pk) in ids(page)


def test_a_box_and_a_shape_find_what_is_in_them(client: Client, drives: list[Sequence]) -> None:
    inside = drives[1].panoramas.order_by("rank")[2:5]
    longitudes = [one.longitude_deg for one in inside]
    latitudes = [one.latitude_deg for one in inside]
    margin = 1e-5
    west, east = min(longitudes) - margin, max(longitudes) + margin
    south, north = min(latitudes) - margin, max(latitudes) + margin
    wanted = {str(one.pk) for one in inside}
    assert set(ids(get(client, f"search?bbox={west},{south},{east},{north}"))) == wanted
    assert set(ids(post(client, "search", {"bbox": [west, south, 0, east, north, 900]}))) == wanted
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    assert set(ids(post(client, "search", {"intersects": shape}))) == wanted
    # A triangle whose box holds them all holds the ones below its slope alone.
    triangle = {"type": "Polygon", "coordinates": [[[west, south], [east, south], [west, north],
                                                    [west, south]]]}  # fmt: skip
    below = {str(one.pk) for one in inside
             if (one.longitude_deg - west) / (east - west)
             + (one.latitude_deg - south) / (north - south) <= 1}  # fmt: skip
    assert set(ids(post(client, "search", {"intersects": triangle}))) == below
    assert below < wanted


def test_a_place_is_seen_from_between_two_distances(client: Client, drives: list[Sequence]) -> None:
    middle = drives[0].panoramas.get(rank=5)
    at = f"{middle.longitude_deg:.9f},{middle.latitude_deg:.9f}"
    found = get(client, f"search?place_position={at}&place_distance=4-11&limit=10")["features"]
    distances = [abs(one["properties"]["geovisio:rank_in_collection"] - 6) * 5 for one in found]
    assert distances == [5, 5, 10, 10]


def test_a_search_by_time_takes_both_ends(client: Client, drives: list[Sequence]) -> None:
    times = sorted(Panorama.objects.values_list("taken_at", flat=True))
    since, until = times[3].isoformat(), times[8].isoformat()
    body = {"datetime": f"{since}/{until}", "limit": 20}
    assert len(ids(post(client, "search", body))) == 6
    assert len(ids(post(client, "search", {"datetime": f"../{until}", "limit": 20}))) == 9
    assert len(ids(post(client, "search", {"datetime": since}))) == 1


@pytest.mark.parametrize(
    "query",
    [
        "bbox=1,2,3", "bbox=a,b,c,d", "bbox=5,48,6,47", "bbox=500,0,501,1", "bbox=nan,0,1,1",
        "limit=0", "limit=-1", "limit=x", "limit=1.5", "datetime=hier", "datetime=2026-06-01",
        "datetime=../..", "datetime=2026-13-01T00:00:00Z", "datetime=a/b/c", "sortby=nom",
        "datetime=2026-06-02T00:00:00Z/2026-06-01T00:00:00Z", "token=x", "place_position=5",
        "place_position=5.0,47.0&place_distance=9-1", "intersects={", "intersects=[]",
        "intersects=%7B%22type%22:%22Point%22,%22coordinates%22:[]%7D",
        "bbox=1,2,3,4&intersects=%7B%22type%22:%22Point%22,%22coordinates%22:[1,2]%7D",
    ],
)  # fmt: skip
def test_a_search_that_means_nothing_is_refused_in_french(
    client: Client, db: None, query: str
) -> None:
    said = get(client, f"search?{query}", status=400)
    assert re.search(r"[éàêè:]", said["detail"]) and said["message"] == said["detail"]


@pytest.mark.parametrize("box", [[10**400, 0, 1, 1], [0, 0, -(10**400), 1, 1, 1]])
def test_a_number_that_no_float_holds_is_refused(client: Client, db: None, box: list[int]) -> None:
    said = post(client, "search", {"bbox": box}, status=400)
    assert said["detail"].startswith("bbox")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(sorted(stac_search._KNOWN)), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_no_posted_body_breaks_the_reading(body: Any) -> None:
    try:
        stac_search.of_body(json.dumps(body).encode())
    except stac_search.Refused as refusal:
        assert refusal.status == 400


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - naive on purpose
       st.integers(-14 * 60, 14 * 60))  # fmt: skip
def test_any_rfc_3339_instant_is_read(instant: datetime, offset_min: int) -> None:
    from datetime import timezone

    there = instant.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    text = there.isoformat(timespec="microseconds")
    assert stac_search._instant(text) == there
    assert stac_search._instant(text.replace("T", "t")) == there.astimezone(UTC)


# Panoramax's contract ----------------------------------------------------------------------------


def test_every_get_of_panoramax_is_answered_or_refused_with_its_reason(
    client: Client, pictured: Panorama
) -> None:
    """Walks Panoramax's OpenAPI: nothing is missing by mistake."""
    drive = pictured.sequence
    assert drive is not None
    values = {
        "pictureId": pictured.pk, "itemId": pictured.pk, "collectionId": drive.pk, "format": "jpg",
        "col": 0, "row": 0, "z": 14, "x": 8420, "y": 5751, "lang": "fr", "page": "terms-of-service",
        "userId": get(client, "users/")["users"][0]["id"], "token_id": drive.pk,
        "upload_set_id": drive.pk, "report_id": drive.pk, "areaId": drive.pk,
        "annotationId": drive.pk, "transfer_id": drive.pk,
    }  # fmt: skip
    contract = json.loads(street_file("panoramax_open_api_2.15.1.json").read_text())
    answered, refused, signed_in = [], [], []
    for template, methods in contract["paths"].items():
        if "get" not in methods:
            continue
        tile = "/map/" in template and "{format}" in template
        path = template.format(**{**values, **({"format": "mvt"} if tile else {})})
        answer = client.get(f"/street{path}", headers=HERE)
        if answer.status_code in (200, 302):
            answered.append(template)
            continue
        assert answer.headers["Content-Type"] == "application/problem+json", template
        said = json.loads(answer.content)
        if answer.status_code == 401:
            signed_in.append(template)
            continue
        assert answer.status_code == 404, (template, answer.content)
        assert said["detail"] not in ("", "Cette adresse ne désigne rien."), template
        refused.append(template)
    assert len(answered) + len(refused) + len(signed_in) == sum(
        "get" in methods for methods in contract["paths"].values()
    )
    assert {"/api/search", "/api/collections", "/api/map/{z}/{x}/{y}.{format}"} <= set(answered)
    assert {"/api/users/me", "/api/users/me/upload_sets"} <= set(signed_in)
    assert len(answered) >= 22


def test_what_the_api_says_of_itself_is_there(client: Client, pictured: Panorama) -> None:
    said = get(client, "docs/specs.json")
    for path, methods in said["paths"].items():
        if "get" in methods and "{" not in path:
            answer = client.get(f"/street/api{path}", headers=HERE)
            assert answer.status_code in (200, 302, 401), path


def test_a_head_and_another_method_are_answered_as_http_says(
    client: Client, drives: list[Sequence]
) -> None:
    head = client.head("/street/api/collections", headers=HERE)
    assert head.status_code == 200 and not head.content
    assert int(head.headers["Content-Length"]) > 100
    deleted = client.delete(f"/street/api/collections/{drives[0].pk}", headers=HERE)
    assert deleted.status_code == 405 and "GET" in deleted.headers["Allow"]


def test_a_page_of_collections_follows_the_one_before(
    client: Client, drives: list[Sequence]
) -> None:
    found = [one["id"] for page in pages(client, "collections?limit=1")
             for one in page["collections"]]  # fmt: skip
    assert found == sorted(str(drive.pk) for drive in drives)


def test_a_page_costs_the_same_queries_however_long(
    client: Client, drives: list[Sequence], django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(6):
        assert len(ids(get(client, "search?limit=20"))) == 20


def test_the_reason_of_each_refusal_is_written(client: Client, db: None) -> None:
    said = get(client, "reports", status=404)
    assert "floutage" in said["message"]
    assert stac_views.stac_openapi.reason_for("nulle/part") == "Cette adresse ne désigne rien."
