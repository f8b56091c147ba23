"""An agent measures at the desk, in a real Chromium, on the drawn street whose truth is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from souverain.portal.tests.test_membership_browser import SETUP, Visitor, browser, signed_in
from souverain.street import demo
from souverain.vault.tests.conftest import Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser
STOPS = ("synthese-1-02.jpg", "synthese-1-03.jpg", "synthese-1-05.jpg")
DRAW = f"""
import json
from souverain.core import access
from souverain.street import campaigns, demo
from souverain.street.models import Campaign
campaign = campaigns.create(access.SYSTEM, demo.NAME, demo.TITLE,
    provenance=Campaign.Provenance.SYNTHETIC)
views = [view for view in demo.views() if view.file_name in {STOPS!r}]
for view in views:
    demo._record(campaign, view, demo.picture(view, 2048), 2048)
demo._finish(access.SYSTEM, campaign)
print(json.dumps({{p.file_name: str(p.pk) for p in campaign.panoramas.all()}}))
"""


class Street(NamedTuple):
    server: Server
    ids: dict[str, str]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    server = Server(tmp_path_factory.mktemp("home"))
    server.python(SETUP)
    told = server.python(DRAW)
    server.start()
    yield Street(server, json.loads(told))
    server.kill()


def mark(name: str) -> dict[str, Any]:
    return next(item for item in demo.fiducials() if item["name"] == name)


def point_at(page: Page, street: Street, file: str, item: dict[str, Any]) -> None:
    """Go to a view, look at a mark, and point at the middle of the screen."""
    seen = next(view for view in item["seen"] if view["file"] == file)
    look_at(page, street.ids[file], seen["yaw_deg"], seen["elevation_deg"])
    click_the_middle(page)


def click_the_middle(page: Page) -> None:
    screen = page.locator(".street-screen")
    screen.scroll_into_view_if_needed()
    box = screen.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def look_at(page: Page, panorama: str, yaw_deg: float, elevation_deg: float) -> None:
    page.evaluate(
        """async ([id, yaw_deg, elevation_deg]) => {
            const viewer = document.querySelector('street-viewer')
            await viewer.show(id, { yaw_deg, elevation_deg, zoom: 80 })
        }""",
        [panorama, yaw_deg, elevation_deg],
    )
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)


def figure(page: Page) -> tuple[float, float]:
    """« Distance : 9,40 m ± 4 cm » → metres."""
    text = page.locator("[data-measure-answer]").inner_text()
    found = re.search(r"([\d,]+)\s*m ± ([\d,]+)\s*cm", text)
    assert found, text
    value, sigma = (float(number.replace(",", ".")) for number in found.groups())
    return value, sigma / 100


def test_an_agent_measures_a_distance_and_keeps_it(street: Street, browser: Browser) -> None:
    visitor = Visitor(signed_in(browser, street.server, "agent"), street.server)
    page = visitor.open(f"/street/bureau/?panorama={street.ids[STOPS[0]]}")
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
    near, far = mark("R07"), mark("R08")
    page.get_by_label("Distance", exact=True).check()
    point_at(page, street, STOPS[0], near)
    step = page.locator("[data-measure-step]")
    expect(step).to_contain_text("autre vue", timeout=20_000)
    point_at(page, street, STOPS[2], near)
    expect(page.locator("[data-measure-answer]")).to_contain_text("Position : ±", timeout=20_000)
    expect(page.locator("[data-measure-answer]")).to_contain_text("image de synthèse")
    page.get_by_role("button", name="Point suivant").click()
    for file in (STOPS[0], STOPS[2]):
        point_at(page, street, file, far)
    expect(page.locator("[data-measure-answer]")).to_contain_text("Distance :", timeout=20_000)
    value, sigma = figure(page)
    places = [np.array([m["x_m"], m["y_m"], m["z_m"]]) for m in (near, far)]
    truth = float(np.linalg.norm(places[0] - places[1]))
    assert abs(value - truth) < max(3 * sigma, 0.02), (value, sigma, truth)
    assert 0.002 < sigma < 0.5
    page.locator(".street-desk-side").scroll_into_view_if_needed()
    visitor.look("street-mesurer")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_label("Nom de la mesure").fill("De mât à mât")
    page.get_by_role("button", name="Garder la mesure").click()
    kept = page.locator("[data-measure-kept]")
    expect(kept).to_contain_text("Distance, De mât à mât", timeout=20_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="GeoJSON").click()
    assert download.value.suggested_filename == "mesures.geojson"
    page.get_by_role("button", name="Effacer Distance, De mât à mât").click()
    expect(kept).to_contain_text("Aucune mesure", timeout=20_000)


def test_a_thin_triangle_proposes_another_view(street: Street, browser: Browser) -> None:
    visitor = Visitor(signed_in(browser, street.server, "agent"), street.server)
    page = visitor.open(f"/street/bureau/?panorama={street.ids[STOPS[0]]}")
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
    # Straight along the street, the two views look almost the same way.
    for file in STOPS[:2]:
        look_at(page, street.ids[file], 4.0, 1.0)
        click_the_middle(page)
    answer = page.locator("[data-measure-answer]")
    expect(answer).to_be_visible(timeout=20_000)
    expect(answer).to_have_class(re.compile("answer-warn"))
    page.get_by_role("button", name="Annuler la visée").click()
    expect(page.locator("[data-measure-points] li")).to_have_text(["1 visée"])
    # Undone to one view: the others that would do are proposed as buttons, and lead there.
    proposal = page.locator("[data-measure-views] button").first
    expect(proposal).to_contain_text("Vue à", timeout=20_000)
    before = page.locator("street-viewer").get_attribute("panorama")
    proposal.click()
    expect(page.locator("street-viewer")).not_to_have_attribute(
        "panorama", before or "", timeout=20_000
    )
    visitor.look("street-mesurer-refus")


def test_one_view_is_enough_on_the_road(street: Street, browser: Browser) -> None:
    visitor = Visitor(signed_in(browser, street.server, "agent"), street.server)
    page = visitor.open(f"/street/bureau/?panorama={street.ids[STOPS[0]]}")
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
    page.get_by_role("checkbox", name="Sur la chaussée").check()
    point_at(page, street, STOPS[0], mark("C21"))
    expect(page.locator("[data-measure-answer]")).to_contain_text("Position : ±", timeout=20_000)
