"""Items are recorded, judged, undone, ordered to be repaired; and who sees them."""

from __future__ import annotations

import csv
import io
import json
import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import pyvips
import simplejpeg
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from souverain.core import clock, objects
from souverain.core.access import SYSTEM, of_user
from souverain.core.models import Event, JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import derivation, inventory, item_lists, photos, work_orders
from souverain.street.engine import sphere
from souverain.street.inventory import TRANSITIONS, InventoryError
from souverain.street.item_lists import Filter
from souverain.street.models import Campaign, Item, ItemEvent, Panorama, WorkOrder
from souverain.street.positioning import Pointed
from souverain.street.tests.conftest import DIJON
from souverain.territory.engine.projection import grid_heading
from souverain.territory.models import Asset, Commune

Make = Callable[..., Panorama]
State = Item.State
POSED = {
    "z_m": 250.0,
    "datum": "NGF-IGN69",
    "sigma_xy_m": 0.02,
    "sigma_z_m": 0.03,
    "sigma_heading_deg": 0.05,
    "sigma_tilt_deg": 0.05,
}


@pytest.fixture
def posed(panorama: Make) -> Make:
    """Panoramas whose pose is known."""
    return lambda east_m=0.0, north_m=0.0, **fields: panorama(
        east_m, north_m, **{**POSED, **fields}
    )


def look(panorama: Panorama, target: np.ndarray) -> Pointed:
    """The click that points at a place of the world."""
    z = panorama.z_m if panorama.z_m is not None else 250.0
    towards = target - np.array([panorama.x_m, panorama.y_m, z])
    heading = grid_heading(panorama.heading_deg, panorama.longitude_deg, panorama.latitude_deg)
    camera = sphere.to_camera(towards[None], heading, panorama.pitch_deg, panorama.roll_deg)
    yaw, elevation = sphere.direction_to_angles(camera)
    return Pointed(panorama, float(yaw[0]), float(elevation[0]))


def target(first: Panorama, east: float, north: float, up: float = 0.0) -> np.ndarray:
    return np.array([first.x_m + east, first.y_m + north, 250.0 + up])


def sign(posed: Make, east: float = 4.0, **fields: Any) -> Item:
    first, second = posed(0, 0), posed(0, 12)
    where = target(first, east, 6.0)
    return inventory.record(
        SYSTEM, "panneau", pointed=[look(first, where), look(second, where)], **fields
    )


def hand(kind: str = "panneau", **fields: Any) -> Item:
    place = inventory.by_hand(*DIJON, sigma_xy_m=1.0)
    return inventory.record(SYSTEM, kind, place=place, **fields)


def test_two_rays_place_an_item_with_its_sigma(posed: Make, campaign: Campaign) -> None:
    item = sign(posed, attributes={"code": "AB4", "hauteur": "2,2"})
    first = Panorama.objects.earliest("rank")
    assert (item.x_m, item.y_m, item.z_m) == pytest.approx(tuple(target(first, 4.0, 6.0)), abs=1e-4)
    assert item.datum == "NGF-IGN69" and item.method == "rays" and item.campaign == campaign
    assert 0.01 < (item_lists.sigma_xy_m(item) or 0) < 0.1
    assert item.attributes == {"code": "AB4", "hauteur": 2.2}
    assert item.state == "draft" and item.sightings.count() == 2 and item.asset is None
    assert [line.state for line in item.history.all()] == ["draft"]
    assert JournalEntry.objects.filter(verb="street.item_recorded").count() == 1


def test_one_ray_places_what_lies_on_the_road_and_nothing_else(posed: Make) -> None:
    view = posed()
    where = target(view, 1.0, 6.0, -2.5)
    item = inventory.record(SYSTEM, "nid-de-poule", pointed=[look(view, where)])
    assert item.method == "road"
    assert (item.x_m, item.y_m) == pytest.approx((where[0], where[1]), abs=0.02)
    with pytest.raises(InventoryError, match="deux vues"):
        inventory.record(SYSTEM, "panneau", pointed=[look(view, where)])


def test_a_pose_without_a_sigma_measures_nothing(panorama: Make) -> None:
    first, second = panorama(), panorama(0, 10)
    where = target(first, 4.0, 5.0)
    with pytest.raises(InventoryError, match="précision connue"):
        inventory.record(SYSTEM, "panneau", pointed=[look(first, where), look(second, where)])
    assert not Item.objects.exists() and not ItemEvent.objects.exists()


def test_heights_of_two_datums_are_never_mixed(posed: Make) -> None:
    first, second = posed(), posed(0, 10, datum="ellipsoid")
    where = target(first, 4.0, 5.0)
    with pytest.raises(InventoryError, match="références différentes"):
        inventory.record(SYSTEM, "panneau", pointed=[look(first, where), look(second, where)])


def test_without_heights_an_item_has_none(posed: Make) -> None:
    flat = {"z_m": None, "sigma_z_m": None, "datum": "unknown"}
    first, second = posed(0, 0, **flat), posed(0, 12, **flat)
    where = target(first, 4.0, 6.0)
    item = inventory.record(SYSTEM, "panneau", pointed=[look(first, where), look(second, where)])
    assert item.z_m is None and item.datum == "unknown"


def test_a_third_view_makes_it_surer_and_a_wrong_one_changes_nothing(posed: Make) -> None:
    item = sign(posed)
    before = item_lists.sigma_xy_m(item) or 0
    first = Panorama.objects.earliest("rank")
    third = posed(-1, 6)
    better = inventory.add_sighting(SYSTEM, item, look(third, target(first, 4.0, 6.0)))
    assert (item_lists.sigma_xy_m(better) or 0) < before and better.sightings.count() == 3
    fourth = posed(0, 3)
    with pytest.raises(InventoryError, match="même point"):
        inventory.add_sighting(SYSTEM, better, look(fourth, target(first, -5.0, 6.0)))
    item.refresh_from_db()
    assert item.sightings.count() == 3 and item.x_m == better.x_m


def test_pointing_again_in_one_view_replaces_the_ray(posed: Make) -> None:
    item = sign(posed)
    first = Panorama.objects.earliest("rank")
    inventory.add_sighting(SYSTEM, item, look(first, target(first, 4.01, 6.0)))
    assert item.sightings.count() == 2


def test_confirmed_it_is_an_asset_of_the_territory(posed: Make) -> None:
    item = sign(posed, attributes={"code": "B14"})
    inventory.change_state(SYSTEM, item, State.CONFIRMED)
    item.refresh_from_db()
    asset = Asset.objects.get(pk=item.asset)
    assert (asset.kind, asset.x_m, asset.z_m, asset.datum) == (
        *("panneau", item.x_m, item.z_m, "NGF-IGN69"),
    )
    assert asset.sigma_xy_m == pytest.approx(item_lists.sigma_xy_m(item))
    assert asset.surveyed_at == item.surveyed_at and asset.provenance == "measured"
    assert asset.attributes == {"code": "B14"}
    event = Event.objects.get(name="street.asset_confirmed")
    assert event.payload == {"asset": str(asset.pk), "item": str(item.pk)}
    (link,) = inventory.asset_links(str(asset.pk))
    assert link.url == f"/street/inventaire/{item.pk}/"
    assert inventory.asset_links("rien") == inventory.asset_links(str(uuid.uuid4())) == ()

    third, first = posed(-1, 6), Panorama.objects.earliest("rank")
    inventory.add_sighting(SYSTEM, item, look(third, target(first, 4.0, 6.0)))
    item.refresh_from_db()
    asset.refresh_from_db()
    assert item.asset != asset.pk and asset.state == "superseded"
    assert Asset.objects.get(pk=item.asset).supersedes == asset

    inventory.change_state(SYSTEM, item, State.GONE)
    assert not Asset.objects.filter(state="in-service").exists()
    inventory.undo(SYSTEM, item)
    item.refresh_from_db()
    assert item.state == "confirmed"
    assert Asset.objects.get(state="in-service").pk == item.asset


def test_synthetic_pictures_make_synthetic_assets(posed: Make, campaign: Campaign) -> None:
    campaign.provenance = Campaign.Provenance.SYNTHETIC
    campaign.save()
    item = sign(posed, state=State.CONFIRMED)
    assert Asset.objects.get(pk=item.asset).provenance == "synthetic"
    assert Asset.objects.get(pk=hand(state=State.CONFIRMED).asset).provenance == "declared"


def test_a_repaired_hole_is_no_more_and_a_repaired_sign_still_stands(campaign: Campaign) -> None:
    hole, post = hand("nid-de-poule", state=State.CONFIRMED), hand(state=State.CONFIRMED)
    for item in (hole, post):
        inventory.change_state(SYSTEM, item, State.REPAIRED)
        item.refresh_from_db()
    assert hole.asset is None and post.asset is not None
    assert set(Asset.objects.values_list("kind", "state")) == {
        ("nid-de-poule", "retired"),
        ("panneau", "in-service"),
    }


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(steps=st.lists(st.sampled_from([*State, "undo"]), max_size=10))
def test_states_follow_the_table_and_undo_walks_back(campaign: Campaign, steps: list) -> None:
    """A model beside: the stack of what held."""
    item, stack = hand("nid-de-poule"), [State.DRAFT]
    for step in steps:
        lines = list(item.history.order_by("pk").values_list("pk", "state", "note"))
        if step == "undo" and len(stack) > 1:
            stack.pop()
            inventory.undo(SYSTEM, item)
        elif step != "undo" and step in TRANSITIONS[stack[-1]]:
            stack.append(step)
            inventory.change_state(SYSTEM, item, step)
        else:
            with pytest.raises(InventoryError):
                if step == "undo":
                    inventory.undo(SYSTEM, item)
                else:
                    inventory.change_state(SYSTEM, item, step)
        item.refresh_from_db()
        assert item.state == stack[-1]
        after = list(item.history.order_by("pk").values_list("pk", "state", "note"))
        assert after[: len(lines)] == lines
        live = Asset.objects.filter(pk=item.asset, state="in-service").exists()
        assert live == (item.state in ("confirmed", "planned"))


def test_the_history_is_never_changed(campaign: Campaign) -> None:
    line = hand().history.get()
    line.note = "autre chose"
    with pytest.raises(TypeError, match="never changed"):
        line.save()


@pytest.mark.parametrize(
    ("kind", "attributes", "told"),
    [
        ("licorne", {}, "« licorne » n'est pas"),
        ("panneau", {"couleur": "bleu"}, "« couleur » n'est pas prévu"),
        ("panneau", {"hauteur": "haut"}, "un nombre de 0 à 50 m"),
        ("panneau", {"hauteur": "nan"}, "un nombre de 0 à 50 m"),
        ("panneau", {"etat": "neuf"}, "bon, moyen, mauvais"),
        ("panneau", {"code": "x" * 201}, "200 caractères"),
        ("nid-de-poule", {"gravite": "4"}, "1, 2, 3"),
    ],
)
def test_what_the_table_of_kinds_does_not_have_is_refused(
    campaign: Campaign, kind: str, attributes: dict[str, str], told: str
) -> None:
    with pytest.raises(InventoryError, match=told):
        hand(kind, attributes=attributes)
    assert not Item.objects.exists()


@pytest.mark.parametrize(
    "place",
    [
        {"longitude_deg": math.nan, "latitude_deg": 47, "sigma_xy_m": 1},
        {"longitude_deg": 500, "latitude_deg": 47, "sigma_xy_m": 1},
        {"longitude_deg": 5, "latitude_deg": 47, "sigma_xy_m": 0},
        {"longitude_deg": 5, "latitude_deg": 47, "sigma_xy_m": 1, "z_m": 200},
        {"longitude_deg": 5, "latitude_deg": -90, "sigma_xy_m": 1},
    ],
)
def test_no_place_is_no_item(place: dict[str, float]) -> None:
    with pytest.raises(InventoryError):
        inventory.by_hand(**place)


# Photos ------------------------------------------------------------------------------------------


def _jpeg(**more: Any) -> bytes:
    image = pyvips.Image.black(300, 200).bandjoin([0, 0]).copy(interpretation="srgb")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "Mouchard")
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    return bytes(image.jpegsave_buffer(**more))


def test_a_photo_is_written_anew_upright_and_without_metadata(
    campaign: Campaign, settings: Any, tmp_path: Path
) -> None:
    settings.OBJECTS_URL = f"file://{tmp_path}/objets"
    item = hand()
    sent = _jpeg()
    assert b"Mouchard" in sent
    line = inventory.add_photo(SYSTEM, item, sent, "vue d'en face")
    kept = b"".join(objects.open_store(settings.OBJECTS_URL).read(line.photo_key))
    image = pyvips.Image.new_from_buffer(kept, "")
    assert (image.width, image.height) == (200, 300)
    assert b"Mouchard" not in kept and "exif-data" not in image.get_fields()
    inventory.add_photo(SYSTEM, item, sent)
    assert item.history.exclude(photo_key="").count() == 2


def test_what_is_no_photo_is_refused(campaign: Campaign) -> None:
    noise = pyvips.Image.gaussnoise(400, 300).cast("uchar")
    whole = bytes(noise.jpegsave_buffer(Q=90))
    wide = bytes(pyvips.Image.black(40_000, 4_000).pngsave_buffer(compression=9))
    for broken, told in (
        (b"GIF89a" + bytes(100), "ni un JPEG"),
        (whole[: len(whole) // 2], "abîmée"),
        (whole[:40], "abîmée"),
        (b"\xff\xd8\xff" + bytes(range(256)), "abîmée"),
        (wide, "millions de pixels"),
        (b"\xff\xd8\xff" + bytes(photos.MAX_BYTES), "20 Mo"),
    ):
        with pytest.raises(photos.PhotoError, match=told):
            photos.clean(broken)


# Work orders -------------------------------------------------------------------------------------


def test_work_is_ordered_done_and_cancelled(campaign: Campaign) -> None:
    items = [hand("nid-de-poule", state=State.CONFIRMED) for _ in range(3)]
    order = work_orders.order(SYSTEM, "Boucher", items[:2], assignee="Régie")
    assert {i.state for i in order.items.all()} == {"planned"}
    with pytest.raises(InventoryError, match="ne peut pas suivre"):
        work_orders.order(SYSTEM, "Encore", items)
    assert WorkOrder.objects.count() == 1 and Item.objects.get(pk=items[2].pk).state == "confirmed"
    work_orders.close(SYSTEM, order, WorkOrder.State.DONE)
    assert {i.state for i in order.items.all()} == {"repaired"}
    with pytest.raises(InventoryError, match="déjà clos"):
        work_orders.close(SYSTEM, order, WorkOrder.State.CANCELLED)
    other = work_orders.order(SYSTEM, "Boucher", items[2:])
    work_orders.close(SYSTEM, other, WorkOrder.State.CANCELLED)
    assert Item.objects.get(pk=items[2].pk).state == "confirmed"
    for title, due in (("", None), ("x" * 161, None), ("Bon", clock.today() - timedelta(1))):
        with pytest.raises(InventoryError):
            work_orders.order(SYSTEM, title, items[2:], due_on=due)


# Lists and files ---------------------------------------------------------------------------------


def test_filters_and_files_give_the_same_items(campaign: Campaign, tmp_path: Path) -> None:
    near = hand(attributes={"code": "=cmd()", "hauteur": 2.2})
    far = hand("arbre", state=State.CONFIRMED)
    Item.objects.filter(pk=near.pk).update(road="D971", pr=12, abscissa_m=350.0, side="D")
    Item.objects.filter(pk=far.pk).update(road="D971", pr=40, abscissa_m=-3.0)

    def asked(**told: str) -> list[str]:
        return [row["id"] for row in item_lists.rows_of(Filter.read(told).of(Item.objects.all()))]

    both = [str(near.pk), str(far.pk)]
    assert asked() == both and asked(road="RD 971") == both
    assert asked(road="D971", pr_from="12", pr_to="39") == both[:1]
    assert asked(kind="arbre") == asked(state="confirmed") == both[1:]
    assert asked(family="Défaut de chaussée") == asked(campaign="aucune") == []
    for wrong in ({"kind": "x"}, {"state": "x"}, {"pr_from": "douze"}, {"family": "x"}):
        with pytest.raises(InventoryError):
            Filter.read(wrong)

    rows = item_lists.rows_of(Filter().of(Item.objects.all()))
    features = json.loads(item_lists.geojson(rows))["features"]
    assert [feature["id"] for feature in features] == both
    assert features[0]["geometry"]["coordinates"] == pytest.approx(DIJON, abs=1e-8)
    read = list(csv.DictReader(io.StringIO(item_lists.as_csv(rows).decode("utf-8-sig"))))
    assert [row["id"] for row in read] == both
    assert read[0]["attr_code"] == "'=cmd()" and read[0]["attr_hauteur"] == "2.2"
    path = tmp_path / "objets.gpkg"
    path.write_bytes(item_lists.geopackage(rows))
    meta, _, geometry, fields = pyogrio.raw.read(path, layer="objets")
    assert meta["crs"] == "EPSG:2154" and len(geometry) == 2
    told = dict(zip(meta["fields"].tolist(), fields, strict=True))
    assert told["identifiant"].tolist() == both
    assert told["attr_hauteur"][0] == 2.2 and np.isnan(told["attr_hauteur"][1])
    for write in (item_lists.geojson, item_lists.as_csv, item_lists.geopackage):
        assert write([])


def test_position_words(campaign: Campaign) -> None:
    item = Item(road="D971", pr=12, abscissa_m=350.4, side="D")
    assert item_lists.position_words(item) == "D971 PR 12+350, côté droit"
    assert item_lists.position_words(Item(road="D5", abscissa_m=12.0)) == "D5 +12 m"
    assert item_lists.position_words(Item()) == ""


# Who sees what -----------------------------------------------------------------------------------


@pytest.fixture
def two_towns(campaign: Campaign) -> dict[str, User]:
    """An agent of the département, and a member of each of two communes; an item in each."""
    people = {}
    departement = Organisation.objects.get(code="21")
    for code, name in (("21231", "Dijon"), ("21054", "Beaune")):
        town = Organisation.objects.create(kind=Organisation.Kind.COMMUNE, code=code, name=name)
        Commune.objects.create(organisation=town, code=code, name=name, population=1)
        people[code] = User.objects.create_user(f"{code}@exemple.fr", full_name=name)
        RoleAssignment.objects.create(
            user=people[code], role=Role.COMMUNE_MEMBER, organisation=town
        )
        item = hand()
        Item.objects.filter(pk=item.pk).update(commune=code)
    people["agent"] = User.objects.create_user("agent@exemple.fr", full_name="Agent")
    RoleAssignment.objects.create(user=people["agent"], role=Role.AGENT, organisation=departement)
    hand()
    return people


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def test_a_commune_sees_its_own_items_alone(two_towns: dict[str, User]) -> None:
    assert inventory.visible(of_user(two_towns["agent"])).count() == 3
    own, other = Item.objects.get(commune="21231"), Item.objects.get(commune="21054")
    member = signed_in(two_towns["21231"])
    listed = member.get("/api/street/items").json()
    assert listed["count"] == 1 and listed["items"][0]["id"] == str(own.pk)
    exported = member.get("/api/street/items.geojson").json()["features"]
    assert [feature["id"] for feature in exported] == [str(own.pk)]
    for route in ("/api/street/items/{}", "/api/street/items/{}/history", "/street/inventaire/{}/"):
        assert member.get(route.format(own.pk)).status_code == 200
        assert member.get(route.format(other.pk)).status_code == 404
    page = member.get("/street/inventaire/").content.decode()
    assert str(own.pk) in page and str(other.pk) not in page
    drawn = member.get("/street/inventaire/carte.geojson").content.decode()
    assert str(own.pk) in drawn and str(other.pk) not in drawn
    refused = member.post(
        f"/api/street/items/{own.pk}/state", {"state": "confirmed"}, "application/json"
    )
    assert refused.status_code == 403
    assert Client().get("/api/street/items").status_code == 401
    agent = signed_in(two_towns["agent"])
    order = work_orders.order(
        SYSTEM,
        "Boucher",
        [inventory.change_state(SYSTEM, one, State.CONFIRMED) for one in (own, other)],
    )
    seen = member.get(f"/api/street/work-orders/{order.number}").json()
    assert seen["items"] == [str(own.pk)]
    assert len(agent.get(f"/api/street/work-orders/{order.number}").json()["items"]) == 2


def test_a_commune_sees_its_item_in_published_views_alone(
    two_towns: dict[str, User], posed: Make, campaign: Campaign, settings: Any, tmp_path: Path
) -> None:
    """The item is its own; the picture of a campaign that is not published, or hidden, is not."""
    settings.OBJECTS_URL = f"file://{tmp_path}/objets"
    item = sign(posed, state=State.CONFIRMED)
    Item.objects.filter(pk=item.pk).update(commune="21231")
    sighting = item.sightings.select_related("panorama__campaign").first()
    assert sighting is not None
    panorama = sighting.panorama
    shade = np.zeros((panorama.height, panorama.width, 3), np.uint8)
    derivation.derive(panorama, bytes(simplejpeg.encode_jpeg(shade, quality=50)))
    page = f"/street/inventaire/{item.pk}/"
    close_up = f"{page}vues/{sighting.pk}.jpg"
    member, agent = signed_in(two_towns["21231"]), signed_in(two_towns["agent"])
    assert agent.get(close_up).status_code == 200
    assert member.get(close_up).status_code == 404
    told = member.get(page).content.decode()
    assert str(panorama.pk) not in told and close_up not in told
    campaign.state = Campaign.State.PUBLISHED
    campaign.save()
    assert member.get(close_up).status_code == 200
    assert close_up in member.get(page).content.decode()
    Panorama.objects.filter(pk=panorama.pk).update(state=Panorama.State.HIDDEN)
    assert member.get(close_up).status_code == 404


def test_an_item_through_the_api(two_towns: dict[str, User], posed: Make) -> None:
    client = signed_in(two_towns["agent"])

    def post(path: str, told: dict[str, Any]) -> Any:
        return client.post(f"/api/street/{path}", told, "application/json")

    first, second = posed(0, 0), posed(0, 12)
    where = target(first, 4.0, 6.0)
    clicks = [
        {"panorama": str(c.panorama.pk), "yaw_deg": c.yaw_deg, "elevation_deg": c.elevation_deg}
        for c in (look(first, where), look(second, where))
    ]
    made = post("items", {"kind": "panneau", "sightings": clicks, "attributes": {"code": "AB4"}})
    assert made.status_code == 201, made.content
    item = made.json()
    assert item["x_m"] == pytest.approx(where[0], abs=1e-3) and item["state"] == "draft"
    alone = post("items", {"kind": "panneau", "sightings": clicks[:1]})
    assert alone.status_code == 422 and "deux vues" in alone.json()["detail"]
    nowhere = post("items", {"kind": "panneau"})
    assert nowhere.status_code == 422
    unknown = {**clicks[0], "panorama": str(uuid.uuid4())}
    assert post("items", {"kind": "panneau", "sightings": [unknown]}).status_code == 422

    address = f"items/{item['id']}"
    assert post(f"{address}/state", {"state": "repaired"}).status_code == 422
    assert post(f"{address}/state", {"state": "confirmed"}).json()["asset"]
    order = post("work-orders", {"title": "Redresser", "items": [item["id"]]})
    assert order.status_code == 201 and order.json()["items"] == [item["id"]]
    number = order.json()["number"]
    assert post(f"work-orders/{number}/state", {"state": "done"}).json()["state"] == "done"
    assert client.get(f"/api/street/{address}").json()["state"] == "repaired"
    assert post(f"{address}/undo", {}).json()["state"] == "planned"
    lines = client.get(f"/api/street/{address}/history").json()
    states = [line["state"] for line in lines["items"]]
    assert states == ["draft", "confirmed", "planned", "repaired", "planned"]
    assert lines["items"][-1]["undoes"] == lines["items"][-2]["id"]


def test_the_pages_answer(
    two_towns: dict[str, User], posed: Make, settings: Any, tmp_path: Path
) -> None:
    settings.OBJECTS_URL = f"file://{tmp_path}/objets"
    client = signed_in(two_towns["agent"])
    item = sign(posed, state=State.CONFIRMED)
    page = client.get("/street/inventaire/").content.decode()
    assert "4 objets relevés sur les routes" in page.replace("\u202f", " ")
    assert "n&#x27;est pas un état" in client.get("/street/inventaire/?state=x").content.decode()
    address = f"/street/inventaire/{item.pk}/"
    assert "± 3 cm" in client.get(address).content.decode().replace("\xa0", " ")
    photo = io.BytesIO(_jpeg())
    photo.name = "photo.jpg"
    client.post(f"{address}photos/", {"photo": photo, "note": "de près"})
    line = item.history.exclude(photo_key="").get()
    shown = client.get(f"{address}photos/{line.pk}.jpg")
    assert shown["Content-Type"] == "image/jpeg" and shown.content.startswith(b"\xff\xd8")
    client.post(f"{address}decrire/", {"code": "AB4"})
    asked = {"title": "Redresser", "items": [str(item.pk)], "due_on": "2100-01-02"}
    sent = client.post("/street/travaux/demander/", asked)
    assert sent.status_code == 302, sent.content.decode()
    order = WorkOrder.objects.get()
    printed = client.get(sent["Location"]).content.decode()
    assert "Panneau AB4" in printed and "2 janvier 2100" in printed.replace("\xa0", " ")
    client.post(f"/street/travaux/{order.number}/clore/?etat=cancelled")
    client.post(f"{address}etat/?etat=gone", {"note": "arraché"})
    item.refresh_from_db()
    assert item.state == "gone" and item.history.last().note == "arraché"
    client.post(f"{address}annuler/", {})
    item.refresh_from_db()
    assert item.state == "confirmed"
    new = {
        **{"kind": "arbre", "longitude_deg": "5.04", "latitude_deg": "47.32"},
        **{"sigma_xy_m": "3", "datum": "unknown"},
    }
    assert client.post("/street/inventaire/nouveau/", new).status_code == 302
    for form, start in (("csv", b"\xef\xbb\xbfid"), ("gpkg", b"SQLite"), ("geojson", b"{")):
        assert client.get(f"/street/inventaire/export.{form}").content.startswith(start)
    assert client.get("/street/inventaire/export.exe").status_code == 404
    member = signed_in(two_towns["21231"])
    assert member.post(f"{address}etat/?etat=gone").status_code == 403
    assert member.post("/street/travaux/demander/", asked).status_code == 403
