"""A real Chromium: how long a deposit set is kept, and the decisions that people take there."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from souverain.portal.tests.test_browser import Cloud, browser, cloud
from souverain.portal.tests.test_browser_vault import COMMUNE, look, sign_in

__all__ = ["browser", "cloud"]
pytestmark = pytest.mark.browser


def test_a_lock_a_hold_a_freeze_and_a_destruction_to_approve(
    cloud: Cloud, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    sign_in(page, cloud)
    page.goto(f"{cloud.url}{COMMUNE}depots/ajouter/")
    page.get_by_label("Nom du dépôt").fill("Dossiers d'urbanisme")
    page.get_by_label("Nom court").fill("urbanisme")
    page.get_by_role("button", name="Ouvrir le dépôt").click()
    expect(page.get_by_role("heading", name="Combien de temps")).to_be_visible()
    look(page, cloud, "coffre-fort-combien-de-temps")
    page.get_by_role("link", name="Allonger, geler, exiger").click()
    look(page, cloud, "coffre-fort-conservation")

    page.get_by_label("Nombre de jours").fill("365")
    page.get_by_role("button", name="Allonger").click()
    expect(page.get_by_text("restent maintenant 365 jours")).to_be_visible()
    page.locator("#exiger_reason").fill("Enquête du procureur")
    page.get_by_role("button", name="Exiger").click()
    expect(page.get_by_text("Vous avez posé cette conservation")).to_be_visible()
    page.locator("#geler_reason").fill("Rançongiciel soupçonné")
    page.get_by_role("button", name="Geler").click()
    expect(page.get_by_text("Rien ne quitte ce dépôt")).to_be_visible()
    look(page, cloud, "coffre-fort-conservation-gel")
    page.get_by_role("button", name="Lever le gel").click()
    look(page, cloud, "coffre-fort-degel")
    page.locator("dialog[open] button[type=submit]").click()
    expect(page.get_by_text("Le gel est levé")).to_be_visible()

    page.get_by_label("Pour confirmer").fill("autre chose")
    page.locator("#detruire_reason").fill("Fin de la mission")
    page.locator("#detruire_reference").fill("VISA 2026-12")
    page.get_by_role("button", name="Demander la destruction").click()
    expect(page.get_by_text("Ce n'est pas « Dossiers d'urbanisme »").first).to_be_visible()
    look(page, cloud, "coffre-fort-destruction-refusee")
