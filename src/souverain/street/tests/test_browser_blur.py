"""The pages of a blur request in a real Chromium, wide and on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connections
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, Page, sync_playwright

from souverain.street.models import Panorama
from souverain.street.tests.test_blur_requests import operator, shown  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.django_db]
AXE = Path(__file__).resolve().parents[4] / "web/node_modules/axe-core/axe.min.js"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Started last: under Playwright's loop Django would open another connection."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield found
        found.close()


@pytest.fixture
def root(db: None) -> Iterator[str]:
    """The pages, served from a thread inside the test's own transaction: the journal lets nobody
    empty it afterwards."""
    connection = connections["default"]
    connection.inc_thread_sharing()
    server = LiveServerThread(
        "localhost", StaticFilesHandler, connections_override={"default": connection}
    )
    server.daemon = True
    server.start()
    server.is_ready.wait()
    assert server.error is None
    yield f"http://localhost:{server.port}"
    server.terminate()
    connection.dec_thread_sharing()


def look(page: Page, name: str) -> None:
    """axe-core finds nothing, nothing is wider than the screen, no other host was asked."""
    for size, suffix in ((WIDE, "large"), (PHONE, "telephone")):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        if folder := os.environ.get("SOUVERAIN_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}-{suffix}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"), suffix
        page.evaluate(AXE.read_text())
        found = page.evaluate(
            "axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))"
        )
        assert found == [], (name, suffix, found)


def test_from_the_form_to_the_receipt(
    shown: Panorama,  # noqa: F811
    operator: Client,  # noqa: F811
    root: str,
    browser: Browser,
) -> None:
    resident = browser.new_page()
    asked: list[str] = []
    resident.on("request", lambda request: asked.append(request.url))
    resident.goto(f"{root}/street/floutage/")
    look(resident, "floutage")
    resident.get_by_label("Précisions").fill("La maison bleue, à l'entrée de Beaune.")
    resident.get_by_role("button", name="Envoyer la demande").focus()
    resident.keyboard.press("Enter")
    resident.wait_for_url("**/floutage/*-*-*/")
    look(resident, "floutage-suivi")

    code = resident.url.rstrip("/").rpartition("/")[2]
    desk = browser.new_context()
    session = operator.cookies[django_settings.SESSION_COOKIE_NAME]
    desk.add_cookies([{"name": session.key, "value": session.value, "url": root}])
    page = desk.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{root}/street/demandes/")
    look(page, "demandes")
    page.get_by_role("link", name=code).click()
    for label, value in (
        ("Image", str(shown.pk)),
        ("Direction (degrés)", "20"),
        ("Hauteur (degrés)", "0"),
        ("Largeur (degrés)", "20"),
        ("Hauteur de la zone (degrés)", "15"),
    ):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Montrer cette zone").click()
    frame = page.locator("figure img")
    assert frame.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    look(page, "demande")
    page.get_by_role("button", name="Flouter partout").click()
    page.get_by_role("dialog").get_by_role("button", name="Flouter").click()
    page.get_by_text("C'est flouté").wait_for()
    look(page, "demande-faite")
    resident.reload()
    resident.get_by_text("C'est flouté depuis").wait_for()
    with resident.expect_download() as download:
        resident.get_by_role("link", name="Reçu en PDF").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")
    look(resident, "floutage-fait")
    assert all(url.startswith((root, "blob:", "data:")) for url in asked)
