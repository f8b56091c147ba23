"""The report of a delivery, looked at in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from souverain.portal.tests.test_membership_browser import SETUP, Visitor, browser, signed_in
from souverain.vault.tests.conftest import Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("home"))
    server.python(SETUP)
    server.python("from souverain.street.tests.control_scene import make\nmake()")
    server.start()
    yield server
    server.kill()


def test_an_operator_reads_and_takes_the_report(
    audited: Server, browser: Browser, tmp_path: Path
) -> None:
    visitor = Visitor(signed_in(browser, audited, "operator"), audited)
    page = visitor.open("/street/campagnes/essai-2026/controle/")
    assert page.locator("svg circle").count() > 5
    assert "Données d'exemple" in page.locator("main").inner_text()
    visitor.look("street-control")
    for link, start in (
        ("Rapport en PDF", b"%PDF-"),
        ("Tous les défauts en CSV", b"\xef\xbb\xbfkind"),
    ):
        with page.expect_download() as taken:
            page.get_by_role("link", name=link).click()
        taken.value.save_as(tmp_path / "report")
        assert (tmp_path / "report").read_bytes().startswith(start)
    page.get_by_label("Routes commandées").fill("D1, rue")
    page.get_by_role("button", name="Contrôler la livraison").click()
    page.get_by_text("n'est pas un numéro de route").first.wait_for()
    page.get_by_label("Routes commandées").fill("D1")
    page.get_by_role("button", name="Contrôler la livraison").click()
    page.get_by_text("Un contrôle est en cours").wait_for()
