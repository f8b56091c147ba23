"""Panoramax's own photo viewer, unmodified, in a real Chromium: it shows our picture, from our
addresses alone, and walks to the next one."""

from __future__ import annotations

import io
import json
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.conf import settings
from PIL import Image
from playwright.sync_api import Browser, Page, Route

from souverain.portal.tests.test_membership_browser import browser
from souverain.street.tests.cloud import Cloud

__all__ = ["browser"]
pytestmark = pytest.mark.browser
VIEWER = Path(settings.PROJECT, "build", "peers", "web-viewer", "build")
WITHIN_MS = 90_000
AUTHORS = {"presets.panoramax.fr", "panoramax.openstreetmap.fr"}
PAGE = """<!doctype html><html lang="fr"><meta charset="utf-8"><title>Essai</title>
<link rel="stylesheet" href="photoviewer.css"><script defer src="photoviewer.js"></script>
<style>html, body, pnx-photo-viewer { margin: 0; width: 100%; height: 100%; display: block }</style>
<pnx-photo-viewer endpoint="SITE/street/api" picture="PICTURE" sequence="SEQUENCE" widgets="false">
</pnx-photo-viewer></html>"""


class Scene(NamedTuple):
    server: Cloud
    sequence: str
    pictures: list[str]

    @property
    def site(self) -> str:
        return f"http://localhost:{self.server.port}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    if not (VIEWER / "photoviewer.js").is_file():
        reason = f"{VIEWER} is missing: make install"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = Cloud(tmp_path_factory.mktemp("home"))
    told = json.loads(
        server.python(
            "import json\nfrom souverain.street.tests import stac_scene\n"
            "print(json.dumps(stac_scene.make()))"
        )
    )
    server.start()
    yield Scene(server, told["sequence"], told["pictures"])
    server.stop()


def opened(scene: Scene, browser: Browser, asked: list[str]) -> Page:
    """The viewer on a page of the same origin; every address that it asks for is kept, and any
    other host's is cut."""
    page = browser.new_page(viewport={"width": 900, "height": 600})

    def serve(route: Route) -> None:
        address = route.request.url
        asked.append(address)
        if not address.startswith(f"{scene.site}/"):
            route.abort()
        elif not address.startswith(f"{scene.site}/pnx/"):
            route.continue_()
        elif (name := address.removeprefix(f"{scene.site}/pnx/").partition("?")[0]) == "":
            text = PAGE.replace("SITE", scene.site).replace("PICTURE", scene.pictures[0])
            route.fulfill(body=text.replace("SEQUENCE", scene.sequence), content_type="text/html")
        elif (VIEWER / name).is_file():
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            route.fulfill(body=(VIEWER / name).read_bytes(), content_type=kind)
        else:
            route.fulfill(status=404, body="")

    page.route("**/*", serve)
    page.goto(f"{scene.site}/pnx/")
    return page


def colours(page: Page) -> tuple[Any, Any]:
    """The mean colour left and right of the middle of the screen."""
    screen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), float)
    height, width = screen.shape[:2]
    band = screen[height // 2 - 40 : height // 2 + 40]
    left, right = band[:, width // 2 - 160 : width // 2 - 40], band[:, width // 2 + 40 :][:, :120]
    return left.mean((0, 1)), right.mean((0, 1))


def until_seen(page: Page, left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    """Look until both sides have their colour; JPEG and the projection blur it a little."""
    seen: tuple[Any, Any] = (None, None)
    for _ in range(WITHIN_MS // 500):
        seen = colours(page)
        if all(
            np.abs(a - np.array(b)).max() < 25 for a, b in zip(seen, (left, right), strict=True)
        ):
            return
        page.wait_for_timeout(500)
    raise AssertionError(f"left and right are {seen}, expected {left}, {right}")


def test_panoramaxs_viewer_shows_our_picture_and_walks_on(scene: Scene, browser: Browser) -> None:
    asked: list[str] = []
    page = opened(scene, browser, asked)
    # The middle of the first picture: red on its left, blue on its right.
    until_seen(page, (220, 20, 20), (20, 20, 220))
    tiles = f"{scene.site}/street/tiles/{scene.pictures[0]}/1/0/"
    assert any(address.startswith(tiles) for address in asked), asked
    assert any(f"{scene.pictures[0]}/sd.jpg" in address for address in asked)
    page.evaluate("document.querySelector('pnx-photo-viewer').psv.goToNextPicture()")
    until_seen(page, (20, 180, 20), (230, 200, 20))
    # It calls its authors' hosts by itself; they are cut here, and nothing of ours leads elsewhere.
    hosts = {urlsplit(address).netloc for address in asked if address.startswith("http")}
    assert hosts - {urlsplit(scene.site).netloc} <= AUTHORS
