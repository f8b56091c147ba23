"""A campaign on synthetic roads is linked and put on them; places are located both ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from django.test import Client

from souverain.core import access
from souverain.core.models import JournalEntry, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import campaigns, finding
from souverain.street import links as linking
from souverain.street.cli import cli
from souverain.street.models import Campaign, Panorama, PanoramaLink, Sequence
from souverain.street.tests.conftest import NOON
from souverain.street.tests.drives import Driven, drive
from souverain.territory import roads
from souverain.territory.engine import projection
from souverain.territory.engine.synthetic_roads import SyntheticRoads, sample_roads


@pytest.fixture(scope="module")
def lattice() -> SyntheticRoads:
    return sample_roads(3, 2, spacing_m=400.0)


@pytest.fixture(autouse=True)
def known_roads(lattice: SyntheticRoads, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The lattice as the roads of the territory, labelled synthetic."""

    class Source:
        provenance = "synthetic"
        departement = "21"

    known = roads.Roads((), lattice.network, lattice.classes, lattice.posts, Source())  # type: ignore[arg-type]
    monkeypatch.setattr(roads, "roads", lambda: known)
    finding.index_path().unlink(missing_ok=True)
    yield


def deliver(campaign: Campaign, driven: Driven) -> list[Panorama]:
    lonlat = projection.metres_to_lonlat(driven.xy_m)
    sequences = {
        number: Sequence.objects.create(campaign=campaign, ordinal=number)
        for number in np.unique(driven.sequence).tolist()
    }
    turn = projection.convergence_deg(*lonlat[0])
    return Panorama.objects.bulk_create(
        Panorama(
            campaign=campaign,
            sequence=sequences[int(driven.sequence[i])],
            rank=i,
            state=Panorama.State.READY,
            detector="essai",
            file_name=f"{i:06}.jpg",
            sha256=f"{i:064x}",
            taken_at=NOON + timedelta(seconds=0.4 * i),
            longitude_deg=lonlat[i, 0],
            latitude_deg=lonlat[i, 1],
            x_m=driven.xy_m[i, 0],
            y_m=driven.xy_m[i, 1],
            z_m=driven.z_m[i],
            datum="NGF-IGN69",
            heading_deg=(driven.heading_deg[i] + turn) % 360,
            sigma_xy_m=0.02,
            sigma_heading_deg=0.02,
            width=12288,
            height=6144,
        )
        for i in range(len(driven.xy_m))
    )


@pytest.fixture
def synthetic(campaign: Campaign) -> Campaign:
    campaign.provenance = Campaign.Provenance.SYNTHETIC
    campaign.state = Campaign.State.READY
    campaign.save()
    return campaign


def run(*arguments: str) -> Any:
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_links_are_written_once_and_again(synthetic: Campaign, lattice: SyntheticRoads) -> None:
    rows = deliver(synthetic, drive(lattice.network))
    first = run("links", synthetic.name)
    assert first["basis"] == "roads" and first["on_roads"] == len(rows)
    assert first["count"] == len(first["items"]) == PanoramaLink.objects.count() > len(rows)
    assert any(not item["along"] for item in first["items"])
    assert run("links", synthetic.name)["items"] == first["items"]
    assert JournalEntry.objects.filter(verb="street.panoramas_linked").count() == 2


def test_each_panorama_says_its_road(synthetic: Campaign, lattice: SyntheticRoads) -> None:
    driven = drive(lattice.network)
    rows = deliver(synthetic, driven)
    linking.relink(access.SYSTEM, synthetic)
    told = Panorama.objects.in_bulk([row.pk for row in rows])
    lengths = np.diff(lattice.network.starts)
    assert lengths.all()
    right = [
        told[row.pk].road == lattice.network.numbers[driven.link[i]] for i, row in enumerate(rows)
    ]
    assert np.mean(right) > 0.999
    two_way = [row for i, row in enumerate(rows) if lattice.network.one_way[driven.link[i]] == 0]
    assert {told[row.pk].side for row in two_way} == {"D", "G"}


def test_real_pictures_are_not_put_on_synthetic_roads(
    campaign: Campaign, lattice: SyntheticRoads
) -> None:
    deliver(campaign, drive(lattice.network))
    made = run("links", campaign.name)
    assert made["basis"] == "geometry" and made["on_roads"] == 0
    assert not Panorama.objects.exclude(road="").exists()


def test_a_place_is_located_and_a_road_position_leads_back(
    synthetic: Campaign, lattice: SyntheticRoads, client: Client
) -> None:
    driven = drive(lattice.network)
    deliver(synthetic, driven)
    linking.relink(access.SYSTEM, synthetic)
    campaigns.publish(access.SYSTEM, synthetic)
    # On its half of a two-way road: in a ring one drives on the axis.
    two_way = [
        i
        for i in range(len(driven.xy_m))
        if lattice.network.one_way[driven.link[i]] == 0 and 20 < driven.along_m[i] < 60
    ]
    row = Panorama.objects.filter(side="D", pr__isnull=False, rank__in=two_way).order_by("rank")[3]
    told = run("locate", "--at", f"{row.longitude_deg},{row.latitude_deg}")
    assert told["panorama"]["id"] == str(row.pk) and told["panorama"]["distance_m"] < 0.001
    assert told["road"] == row.road and told["position"].startswith(f"{row.road} PR ")
    asked = ("--pr", f"{row.pr}{row.abscissa_m:+.2f}".replace(".", ","))
    for road in (row.road, f"RD {row.road[1:]}"):
        back = run("locate", "--road", road, *asked, "--side", "D")
        assert back["panorama"]["id"] == str(row.pk)
        assert back["panorama"]["distance_m"] == pytest.approx(1.75, abs=0.1)
    other = run("locate", "--road", row.road, *asked, "--side", "G")
    assert Panorama.objects.get(pk=other["panorama"]["id"]).side == "G"


def test_the_desk_goes_to_a_road_position(
    synthetic: Campaign, lattice: SyntheticRoads, client: Client
) -> None:
    deliver(synthetic, drive(lattice.network))
    linking.relink(access.SYSTEM, synthetic)
    row = Panorama.objects.filter(side="D", pr__isnull=False).order_by("rank")[3]
    department = Organisation.objects.get(kind="departement")
    agent = User.objects.create_user("a@cotedor.fr", password="x")
    RoleAssignment.objects.create(user=agent, organisation=department, role=Role.AGENT)
    client.force_login(agent)
    asked = {"road": f"RD {row.road[1:]}", "pr": f"{row.pr}+{row.abscissa_m:.0f}", "side": "D"}
    assert f"panorama={row.pk}" in client.get("/street/bureau/", asked).headers["Location"]
    for wrong, said in (({"pr": "abc"}, "pas une position"), ({"road": "rue"}, "numéro de route")):
        page = client.get("/street/bureau/", asked | wrong)
        assert page.status_code == 200 and said in page.content.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "Donnez --at"),
        (["--at", "5,47", "--road", "D1", "--pr", "1"], 2, "Donnez --at"),
        (["--road", "D1"], 2, "donnez --pr"),
        (["--at", "dijon"], 1, "n'est pas un lieu"),
        (["--at", "5,97"], 1, "latitude"),
        (["--road", "D1", "--pr", "abc"], 1, "n'est pas une position"),
        (["--road", "D99999", "--pr", "1+0"], 1, "n'est pas dans le réseau"),
        (["--at", "5,47", "--when", "hier"], 1, "n'est pas un instant"),
    ],
)
def test_what_is_badly_asked_is_said(
    db: None, arguments: list[str], code: int, sentence: str
) -> None:
    result = CliRunner().invoke(cli, ["locate", *arguments])
    assert result.exit_code == code and sentence in result.output


def test_where_there_is_nothing_the_place_is_still_told(db: None) -> None:
    told = run("locate", "--at", "5.04,47.32")
    assert told["panorama"] is None and told["x_m"] > 800_000
    assert "aucune image" in CliRunner().invoke(cli, ["locate", "--at", "5.04,47.32"]).output


def test_an_unknown_campaign_is_said(db: None) -> None:
    result = CliRunner().invoke(cli, ["links", "rien"])
    assert result.exit_code == 1 and "« rien »" in result.output
