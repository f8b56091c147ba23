"""Detections become items only with a detector that says its F1; campaigns are compared."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from souverain.core.access import SYSTEM
from souverain.street import campaigns, changes, detections, inventory
from souverain.street.cli import cli
from souverain.street.detections import DetectionsError
from souverain.street.inventory import InventoryError
from souverain.street.models import Campaign, Item, Panorama
from souverain.street.tests.test_inventory import POSED, hand, look, target

Make = Callable[..., Panorama]
SCHEMA = Path(__file__).resolve().parents[4] / "docs/schemas/street-detections.schema.json"
DETECTOR = {"name": "essai", "version": "1", "f1": 0.83, "f1_on": "200 images annotées"}


@pytest.fixture
def street(panorama: Make) -> list[Panorama]:
    return [panorama(0, 5.0 * i, **POSED) for i in range(6)]


def seen(views: list[Panorama], kind: str, where: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    clicks = [look(view, where) for view in views]
    return [
        {
            "panorama": click.panorama.file_name,
            "kind": kind,
            "yaw_deg": click.yaw_deg,
            "elevation_deg": click.elevation_deg,
            "score": 0.9,
            **more,
        }
        for click in clicks
    ]


def file_of(found: list[dict[str, Any]], **more: Any) -> bytes:
    told = {"detector": DETECTOR, "campaign": "essai-2026", "detections": found, **more}
    return json.dumps(told).encode()


def test_detections_of_one_thing_are_one_item_that_names_its_detector(
    street: list[Panorama],
) -> None:
    sign, hole = target(street[0], 4, 12, 1.0), target(street[0], 1.0, 8.0, -2.5)
    found = [
        *seen(street[1:5], "panneau", sign),
        *seen(street[:1], "nid-de-poule", hole),
        *seen(street[:1], "arbre", target(street[0], -6, 6)),
    ]
    content = file_of(found)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(content))
    done = detections.take(SYSTEM, detections.parse(content))
    assert [item.kind for item in done.items] == ["nid-de-poule", "panneau"]
    assert done.unplaced == [5] and not done.doubts
    item = done.items[1]
    assert (item.x_m, item.y_m, item.z_m) == pytest.approx(tuple(sign), abs=1e-3)
    assert item.state == "draft" and item.method == "detected"
    assert item.detector == "essai 1, F1 0,83" and item.sightings.count() == 4
    with pytest.raises(DetectionsError, match="déjà dans la campagne"):
        detections.take(SYSTEM, detections.parse(content))
    assert Item.objects.count() == 2


def test_what_an_agent_recorded_is_seen_again_and_not_doubled(street: list[Panorama]) -> None:
    sign = target(street[0], 4, 12, 1.0)
    clicks = [look(view, sign) for view in street[1:4:2]]
    item = inventory.record(SYSTEM, "panneau", pointed=clicks)
    done = detections.take(
        SYSTEM, detections.parse(file_of(seen([street[0], street[2]], "panneau", sign)))
    )
    assert done.items == [] and done.seen_again == [0, 1]
    assert item.sightings.count() == 4 and Item.objects.get().method == "rays"


def test_two_like_things_side_by_side_are_said_to_be_in_doubt(street: list[Panorama]) -> None:
    first, second = target(street[0], 4, 12, 1.0), target(street[0], 4.01, 12.01, 1.0)
    found = [
        *seen(street[1:5], "panneau", first, sigma_deg=0.5),
        *seen(street[1:5], "panneau", second, sigma_deg=0.5),
    ]
    done = detections.take(SYSTEM, detections.parse(file_of(found)))
    assert (len(done.items) == 2 and len(done.doubts) == 1) or done.unplaced


def test_nothing_is_written_when_one_view_is_unknown(street: list[Panorama]) -> None:
    found = seen(street[:3], "panneau", target(street[0], 4, 12, 1.0))
    found[2]["panorama"] = "perdue.jpg"
    with pytest.raises(DetectionsError, match=r"detections\[2\]\.panorama : « perdue\.jpg »"):
        detections.take(SYSTEM, detections.parse(file_of(found)))
    with pytest.raises(DetectionsError, match="Il n'y a pas de campagne"):
        detections.take(SYSTEM, detections.parse(file_of([], campaign="autre")))
    assert not Item.objects.exists()


GOOD = json.loads(
    file_of([{"panorama": "a", "kind": "arbre", "yaw_deg": 1, "elevation_deg": 1, "score": 1}])
)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("detector",), "essai", "detector : un objet JSON"),
        (("detector", "f1"), None, r"detector\.f1 : un nombre de 0"),
        (("detector", "f1"), 1.2, r"detector\.f1"),
        (("detector", "f1_on"), "", r"detector\.f1_on"),
        (("detections", 0, "kind"), "licorne", r"detections\[0\]\.kind : « licorne »"),
        (("detections", 0, "yaw_deg"), True, r"detections\[0\]\.yaw_deg"),
        (("detections", 0, "elevation_deg"), float("nan"), r"elevation_deg"),
        (("detections", 0, "panorama"), "a\x00", r"detections\[0\]\.panorama"),
        (("campaign",), "\ud800", "campaign"),
        pytest.param(("detections", 0, "yaw_deg"), 10**400, r"detections\[0\]\.yaw_deg", id="huge"),
        (("detections", 0, "couleur"), "x", r"detections\[0\] : « couleur » n'est pas prévu"),
        (("detections",), {}, "une liste"),
        (("campaign",), "x" * 61, "campaign"),
    ],
)
def test_a_wrong_file_is_refused_with_its_key(path: tuple[Any, ...], value: Any, told: str) -> None:
    broken = copy.deepcopy(GOOD)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(DetectionsError, match=told):
        detections.parse(json.dumps(broken).encode())
    detections.parse(json.dumps(GOOD).encode())
    del broken
    without = {**GOOD, "detector": {k: v for k, v in DETECTOR.items() if k != "f1"}}
    with pytest.raises(DetectionsError, match="detector : il manque « f1 »"):
        detections.parse(json.dumps(without).encode())


@given(st.one_of(st.binary(max_size=60), st.recursive(
    st.one_of(st.none(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["detector", "campaign", "detections", "f1"]), inner),
    ),
).map(lambda told: json.dumps(told).encode())))  # fmt: skip
def test_any_other_content_is_a_sentence(content: bytes) -> None:
    with pytest.raises(DetectionsError):
        detections.parse(content)
    with pytest.raises(DetectionsError):
        detections.parse(b"[" * 100_000)


# Two campaigns -----------------------------------------------------------------------------------


@pytest.fixture
def later(street: list[Panorama], panorama: Make) -> Campaign:
    """A second campaign, three years on, that drove the first half of the street."""
    again = campaigns.create(SYSTEM, "essai-2029", "Essai 2029")
    for i in range(4):
        panorama(
            *(0, 1.0 + 5.0 * i),
            campaign=again,
            file_name=f"b{i}.jpg",
            taken_at=street[0].taken_at + timedelta(days=1096),
            **POSED,
        )
    return again


def put(
    campaign: Campaign, first: Panorama, east: float, north: float, kind: str = "panneau"
) -> Item:
    where = target(first, east, north, 1.0)
    views = campaign.panoramas.order_by("y_m")
    near = sorted(views, key=lambda view: abs(view.y_m - where[1]))[:2]
    return inventory.record(SYSTEM, kind, pointed=[look(view, where) for view in near])


def test_two_campaigns_say_what_changed_and_where_nobody_looked(
    campaign: Campaign, street: list[Panorama], later: Campaign
) -> None:
    first = street[0]
    kept = put(campaign, first, 4, 3), put(later, first, 4, 3)
    gone = put(campaign, first, -5, 8)
    moved = put(campaign, first, 5, 12), put(later, first, 5, 14)
    come = put(later, first, -4, 2)
    beyond = inventory.record(
        SYSTEM,
        "panneau",
        place=inventory.by_hand(
            first.longitude_deg, first.latitude_deg + 60 / 111_000, sigma_xy_m=0.1
        ),
        campaign=campaign,
    )
    tree = put(campaign, first, 4, 6, "arbre")
    found = changes.between(campaign, later, Item.objects.all())
    assert [(p.before, p.after) for p in found.unchanged] == [kept]
    assert [(p.before, p.after) for p in found.moved] == [moved]
    assert found.moved[0].distance_m == pytest.approx(2.0, abs=0.01)
    assert found.vanished == (gone,) and found.appeared == (come,)
    assert dict(found.not_seen_after) == {beyond: "place", tree: "kind"}
    with pytest.raises(InventoryError, match="différentes"):
        changes.between(campaign, campaign, Item.objects.all())

    ran = CliRunner().invoke(cli, ["compare", "essai-2026", "essai-2029", "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.output)
    assert [item["id"] for item in told["vanished"]] == [str(gone.pk)]
    assert told["moved"][0]["distance_m"] == pytest.approx(2.0, abs=0.01)
    words = CliRunner().invoke(cli, ["compare", "essai-2026", "essai-2029"]).output
    assert "1 apparus, 1 disparus, 1 déplacés, 1 inchangés." in words
    wrong = CliRunner().invoke(cli, ["compare", "essai-2026", "rien"])
    assert wrong.exit_code == 1 and "Il n'y a pas de campagne « rien »" in wrong.output


def test_what_has_no_precision_is_left_aside_and_counted(
    campaign: Campaign, street: list[Panorama], later: Campaign
) -> None:
    item = hand(campaign=campaign)
    Item.objects.filter(pk=item.pk).update(covariance_m2=None)
    assert changes.between(campaign, later, Item.objects.all()).unlike == 1


def test_commands_import_and_export(street: list[Panorama], tmp_path: Path) -> None:
    path = tmp_path / "trouvé.json"
    path.write_bytes(file_of(seen(street[1:4], "panneau", target(street[0], 4, 12, 1.0))))
    ran = CliRunner().invoke(cli, ["items", "import", str(path), "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.output)["count"] == 1
    assert "déjà" in CliRunner().invoke(cli, ["items", "import", str(path)]).output
    for form in ("geojson", "csv", "gpkg"):
        out = tmp_path / f"objets.{form}"
        ran = CliRunner().invoke(cli, ["items", "export", str(out), "--json"])
        assert json.loads(ran.output) == {
            **{"file": out.name, "count": 1, "bytes": out.stat().st_size}
        }
    ran = CliRunner().invoke(cli, ["items", "export", str(tmp_path / "objets.pdf")])
    assert ran.exit_code == 1 and ".gpkg" in ran.output
