"""The map shows what was driven; the public's, what is published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mapbox_vector_tile
import numpy as np
import pytest
from django.test import Client

from souverain.core import access
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import campaigns, finding, map_tiles
from souverain.street.engine import vector_tiles
from souverain.street.models import Campaign, Panorama, Sequence
from souverain.street.tests.conftest import DIJON

Make = Callable[..., Panorama]


@pytest.fixture
def street(campaign: Campaign, panorama: Make) -> list[Panorama]:
    drive = Sequence.objects.create(campaign=campaign, ordinal=0)
    Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.PUBLISHED)
    return [panorama(east_m=5.0 * rank, sequence=drive, rank=rank) for rank in range(60)]


def url(z: int) -> str:
    x, y = (
        value[0] * 2**z
        for value in vector_tiles.mercator(np.array([DIJON[0]]), np.array([DIJON[1]]))
    )
    return f"/street/map/{z}/{int(x)}/{int(y)}.mvt"


def layers(client: Client, z: int, **asked: str) -> dict[str, Any]:
    answer = client.get(url(z), asked)
    assert answer.status_code in (200, 204), answer
    return mapbox_vector_tile.decode(answer.content) if answer.content else {}


@pytest.mark.parametrize("z", [6, 9, 12, 13, 14])
def test_a_drive_is_a_line(street: list[Panorama], client: Client, z: int) -> None:
    shown = layers(client, z)
    assert set(shown) == {"sequences"}
    (feature,) = shown["sequences"]["features"]
    assert feature["properties"] == {"campaign": "essai-2026"}


def test_each_panorama_is_a_point_that_can_be_opened(
    street: list[Panorama], client: Client
) -> None:
    shown = layers(client, 15)
    told = {feature["properties"]["id"] for feature in shown["pictures"]["features"]}
    assert told and told <= {str(row.pk) for row in street}
    assert str(street[0].pk) in told


@pytest.mark.parametrize("z", [8, 14, 16])
def test_the_public_sees_published_campaigns_and_the_desk_all(
    street: list[Panorama], campaign: Campaign, client: Client, z: int
) -> None:
    assert layers(client, z)
    campaigns.withdraw(access.SYSTEM, campaign)
    assert client.get(url(z)).status_code == 204
    assert client.get(url(z), {"unpublished": "1"}).status_code in (302, 403)
    user = User.objects.create_user("a@cotedor.fr", password="x")
    owner = Organisation.objects.get(code="21")
    RoleAssignment.objects.create(user=user, organisation=owner, role=Role.AGENT)
    client.force_login(user)
    assert layers(client, z, unpublished="1")
    assert client.get(url(z), {"unpublished": "1"}).headers["Cache-Control"].startswith("private")


def test_an_unchanged_tile_is_not_sent_again_and_a_changed_one_is(
    street: list[Panorama], client: Client
) -> None:
    first = client.get(url(12))
    etag = first.headers["ETag"]
    assert client.get(url(12), headers={"if-none-match": etag}).status_code == 304
    street[0].delete()
    assert client.get(url(12), headers={"if-none-match": etag}).status_code == 200


@pytest.mark.parametrize("bad", ["5/16/11", "21/0/0", "12/4096/0", "12/0/4096"])
def test_a_tile_that_is_not_is_not_found(db: None, client: Client, bad: str) -> None:
    assert client.get(f"/street/map/{bad}.mvt").status_code == 404


def test_a_damaged_pack_is_made_again(street: list[Panorama], client: Client) -> None:
    layers(client, 10)
    map_tiles.pack_path().write_bytes(b"SVLINE01 and nothing else")
    map_tiles._held.pack = None
    assert layers(client, 10)


def test_a_large_pack_is_asked_of_the_job(
    street: list[Panorama], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding.index()
    map_tiles.pack_path().unlink(missing_ok=True)
    monkeypatch.setattr(finding, "SMALL", 10)
    monkeypatch.setattr(map_tiles._held, "pack", None)
    assert client.get(url(10)).status_code == 503
    finding.build_job(lambda done, total=None, message="": None)
    assert client.get(url(10)).status_code == 200


def test_a_crowded_tile_is_bounded(
    street: list[Panorama], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_tiles, "POINTS_MAX", 10)
    assert 5 <= len(layers(client, 15)["pictures"]["features"]) <= 10
