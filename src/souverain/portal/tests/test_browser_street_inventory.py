"""A real Chromium reads the inventory, prints an order, compares, and records from the desk."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from souverain.portal.tests.test_membership_browser import (
    SETUP,
    Visitor,
    browser,
    printed,
    signed_in,
)
from souverain.vault.tests.conftest import Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser


class Street(NamedTuple):
    server: Server
    ids: dict[str, Any]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    server = Server(tmp_path_factory.mktemp("home"))
    server.python(SETUP)
    told = server.enter(sys.executable, "-m", "souverain.street.tests.inventory_scene")
    server.start()
    yield Street(server, json.loads(told))
    server.kill()


@pytest.fixture
def agent(street: Street, browser: Browser) -> Visitor:
    return Visitor(signed_in(browser, street.server, "agent"), street.server)


def test_the_list_says_it_in_a_sentence_and_draws_it(agent: Visitor) -> None:
    page = agent.open("/street/inventaire/")
    page.locator("[data-map][data-drawn=yes]").wait_for(timeout=60_000)
    text = agent.look("inventaire")
    assert "6 objets relevés sur les routes" in text and "images de synthèse" in text
    drawn = cv2.imdecode(
        np.frombuffer(page.locator(".map-canvas").screenshot(), np.uint8), cv2.IMREAD_COLOR
    )
    colours = page.evaluate(
        "() => [...document.querySelectorAll('.legend li')]"
        ".map(it => [it.dataset.value, getComputedStyle(it.querySelector('.swatch')).backgroundColor])"
    )
    red, green, blue = (int(n) for n in dict(colours)["draft"][4:-1].split(","))
    close = np.abs(drawn.astype(int) - [blue, green, red]).max(2) < 12
    assert close.sum() > 60, "no point of the colour of « À vérifier » on the map"
    page.locator("main summary").first.click()
    page.locator("#id_state").select_option("planned")
    page.get_by_role("button", name="Filtrer").click()
    expect(page.locator("main table tbody tr")).to_have_count(1)
    assert "1 objet répond à ces filtres" in (page.text_content("main") or "")


def test_an_item_is_shown_as_the_views_show_it(agent: Visitor, street: Street) -> None:
    page = agent.open(f"/street/inventaire/{street.ids['rue-2026:come']}/")
    pictures = page.locator(".street-sightings img")
    expect(pictures).to_have_count(3)
    for i in range(3):
        pictures.nth(i).scroll_into_view_if_needed()
        pictures.nth(i).evaluate("picture => picture.decode()")
        shot = cv2.imdecode(np.frombuffer(pictures.nth(i).screenshot(), np.uint8), cv2.IMREAD_COLOR)
        height, width = shot.shape[:2]
        blue, green, red = shot[
            height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2
        ].mean((0, 1))
        assert red > 180 and blue > 180 and green < 110, "the sign is not in the middle"
    agent.look("inventaire-objet")
    page.get_by_role("button", name="Confirmer").first.click()
    page.locator("dialog[open] button[type=submit]").click()
    page.wait_for_load_state()
    assert "État : confirmé." in (page.text_content("main") or "")
    page.get_by_role("button", name="Annuler le dernier changement").click()
    page.locator("dialog[open] button[type=submit]").click()
    page.wait_for_load_state()
    assert "Annulé. État : à vérifier." in (page.text_content("main") or "")
    agent.open("/street/inventaire/nouveau/")
    agent.look("inventaire-nouveau")


def test_an_order_is_printed(agent: Visitor, street: Street, tmp_path: Path) -> None:
    agent.open("/street/travaux/")
    assert "1 ordre de travaux à faire" in agent.look("travaux")
    page = agent.open(f"/street/travaux/{street.ids['order']}/")
    agent.look("travaux-ordre")
    (sheet,) = printed(page, tmp_path, "travaux-ordre")
    assert "Redresser le panneau" in sheet and "Panneau AB4" in sheet and "Fait le" in sheet
    assert "Déclarer fait" not in sheet


def test_two_campaigns_are_compared(agent: Visitor) -> None:
    page = agent.open("/street/comparer/")
    page.get_by_label("Campagne ancienne").select_option("rue-2023")
    page.get_by_label("Campagne récente").select_option("rue-2026")
    page.get_by_role("button", name="Comparer").click()
    page.wait_for_load_state()
    text = agent.look("comparer")
    assert "1 apparu, 1 disparu, 1 déplacé, 1 inchangé." in text.replace("\u202f", " ")
    page.get_by_role("region", name="Objets disparus").get_by_role("link", name="Voir").last.click()
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)


def _aim(page: Page, street: Street, view: str, by_click: bool) -> None:
    yaw, elevation = street.ids["aims"][view]
    page.locator(f'street-viewer[panorama="{street.ids[view]}"]').wait_for()
    page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
    page.evaluate(
        "([yaw, elevation]) => document.querySelector('street-viewer').look(yaw, elevation, 60)",
        [yaw, elevation],
    )
    if by_click:
        page.get_by_role("button", name="Viser d'un clic").click()
        page.locator(".street-screen").click()
    else:
        page.get_by_role("button", name="Viser au milieu").click()


def test_an_agent_records_from_the_desk(agent: Visitor, street: Street) -> None:
    first, second = "rue-2026-0", "rue-2026-2"
    page = agent.open(f"/street/bureau/?panorama={street.ids[first]}")
    page.locator("#relever-sorte option[value=panneau]").wait_for(state="attached")
    page.locator("summary", has_text="Relever").click()
    page.get_by_label("Sorte d'objet").select_option("panneau")
    _aim(page, street, first, by_click=True)
    expect(page.locator(".street-rays li")).to_have_count(1)
    # The click was for this tool alone.
    expect(page.locator("[data-measure-points] li")).to_have_count(0)
    page.get_by_role("button", name="Relever l'objet").click()
    expect(page.locator(".street-told")).to_contain_text("Visez cet objet depuis deux vues")
    page.evaluate("id => document.querySelector('street-viewer').show(id)", street.ids[second])
    _aim(page, street, second, by_click=False)
    expect(page.locator(".street-rays li")).to_have_count(2)
    agent.refused = [line for line in agent.refused if "422" not in line]
    agent.look("bureau-relever")
    page.get_by_role("button", name="Relever l'objet").click()
    expect(page.locator(".street-told")).to_contain_text("Relevé : Panneau (±")
    link = page.locator(".street-told a").get_attribute("href") or ""
    told = page.evaluate(
        "url => fetch(url).then(r => r.json())", f"/api/street/items/{link[19:-1]}"
    )
    known = page.evaluate(
        "url => fetch(url).then(r => r.json())",
        f"/api/street/items/{street.ids['rue-2026:come']}",
    )
    assert abs(told["x_m"] - known["x_m"]) < 0.1 and abs(told["y_m"] - known["y_m"]) < 0.1
    expect(page.locator(".street-near li")).not_to_have_count(1)
