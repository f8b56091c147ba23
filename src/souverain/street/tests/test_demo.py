"""The drawn street becomes a campaign, once; its pictures say where they are, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from souverain.cli import main
from souverain.core import access
from souverain.core.models import Job, Organisation
from souverain.street import campaigns, demo, derivation
from souverain.street.engine import pose, trajectory
from souverain.street.models import Campaign, Panorama, PanoramaLink
from souverain.territory.engine import projection

WIDTH = 2048


@pytest.fixture
def departement(db: None, settings: Any, tmp_path: Path) -> None:
    settings.OBJECTS_URL = (tmp_path / "objects").as_uri()
    Organisation.objects.get_or_create(
        code="21", defaults={"kind": Organisation.Kind.DEPARTEMENT, "name": "Côte-d'Or"}
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[demo.View]:
    """The two streets where they cross, for a test's time."""
    every = demo.views()
    kept = [v for v in every if (v.line, v.rank) in {(1, 5), (1, 6), (2, 2), (2, 3)}]
    monkeypatch.setattr(demo, "views", lambda: kept)
    return kept


def test_the_street_is_made_once_and_mended(departement: None, few: list[demo.View]) -> None:
    campaign, drawn = demo.make(access.SYSTEM, width=WIDTH)
    assert drawn == 4
    assert campaign.provenance == Campaign.Provenance.SYNTHETIC
    assert campaign.state == Campaign.State.PUBLISHED
    assert demo.make(access.SYSTEM, width=WIDTH)[1] == 0
    panorama = Panorama.objects.get(file_name="synthese-1-07.jpg")
    assert derivation.store().size(panorama.pyramid_key)
    # Walking goes along each street, and from one to the other where they cross.
    links = PanoramaLink.objects.filter(origin=panorama)
    assert {(link.target.file_name, link.along) for link in links} == {
        ("synthese-1-06.jpg", True),
        ("synthese-2-03.jpg", False),
        ("synthese-2-04.jpg", False),
    }
    panorama.delete()
    assert demo.make(access.SYSTEM, width=WIDTH)[1] == 1
    assert Panorama.objects.filter(campaign=campaign).count() == 4


def test_a_real_campaign_of_that_name_is_left_alone(departement: None) -> None:
    campaigns.create(access.SYSTEM, demo.NAME)
    with pytest.raises(campaigns.CampaignError, match="vraie campagne"):
        demo.make(access.SYSTEM, width=WIDTH)


def test_an_empty_installation_is_offered_it_once(departement: None) -> None:
    demo.offer(access.SYSTEM)
    demo.offer(access.SYSTEM)
    assert Job.objects.filter(name="street.demo").count() == 1
    Job.objects.all().delete()
    campaigns.create(access.SYSTEM, "route-2026")
    demo.offer(access.SYSTEM)
    assert not Job.objects.filter(name="street.demo").exists()


def test_a_picture_tells_its_pose(few: list[demo.View]) -> None:
    view = few[1]
    read = pose.read(demo.picture(view, WIDTH))
    assert read.longitude_deg is not None and read.latitude_deg is not None
    told = projection.lonlat_to_metres([read.longitude_deg], [read.latitude_deg])[0]
    assert np.abs(told - [view.x_m, view.y_m]).max() < 1e-4
    assert read.altitude_m == pytest.approx(view.z_m, abs=1e-4)
    assert read.heading_deg == pytest.approx(view.heading_deg, abs=1e-5)
    assert (read.pitch_deg, read.roll_deg) == pytest.approx(
        (view.stop.pitch_deg, view.stop.roll_deg), abs=1e-5
    )
    assert read.taken_at == view.taken_at
    assert (read.width, read.height, read.crop) == (WIDTH, WIDTH // 2, None)


def test_the_folder_is_a_delivery(few: list[demo.View], tmp_path: Path) -> None:
    assert demo.write(tmp_path / "livraison", 512) == 4
    path = trajectory.read(tmp_path / "livraison" / "trajectory.csv")
    assert set(path.files) == {view.file_name for view in few}
    assert len(list((tmp_path / "livraison").glob("*.jpg"))) == 4


def test_the_marks_are_listed_with_their_places() -> None:
    ran = CliRunner().invoke(main, ["street", "demo", "fiducials", "--json"])
    told = json.loads(ran.stdout)
    assert told["count"] == len(told["items"]) == 24
    assert sum(item["on_road"] for item in told["items"]) == 4
    first = told["items"][0]
    assert {"x_m", "y_m", "z_m", "seen", "datum"} <= set(first)
    assert all(view["distance_m"] <= 25 for item in told["items"] for view in item["seen"])
