"""Côte-d'Or Street's viewer beside Photo Sphere Viewer's stock tiles adapter, in one Chromium.

Both show the same panorama from the same server (our tiles): first pixels, the moment when the
middle is at full resolution once zoomed in, requests and bytes, and how far a mark is from where
the geometry says. `python benchmarks/street_viewer.py [WIDTH]` (12288 by default). The stock page
is built for the run with the Vite of `web/`.
"""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).parents[1]
sys.path[:0] = [str(PROJECT / "src"), str(PROJECT)]
import conftest  # noqa: F401 - a home of its own before Django starts
from souverain.portal.tests import test_browser_street as street
from souverain.portal.tests.test_membership_browser import SETUP
from souverain.street.engine import sphere
from souverain.street.tests import viewer_scene
from souverain.vault.tests.conftest import Server

RUNS, VIEWS = 3, 40
CLOSE_FOV_DEG = 20.0
STOCK_PAGE = """<!doctype html><html lang="fr"><title>stock</title>
<style>body{margin:0}#v{width:1134px;height:610px}</style><div id="v"></div>
<script type="module" src="/stock.ts"></script></html>"""
STOCK = """
import '@photo-sphere-viewer/core/index.css'
import { Viewer } from '@photo-sphere-viewer/core'
import { EquirectangularTilesAdapter } from '@photo-sphere-viewer/equirectangular-tiles-adapter'
const told = await (await fetch('/api/street/panoramas/' + location.hash.slice(1))).json()
const levels = [...told.levels].reverse().filter((level: any) => level.columns > 1)
const last = told.levels.length - 1
const url = (level: number, column: number, row: number) => told.tiles
  .replace('{level}', level).replace('{column}', column).replace('{row}', row)
;(window as any).viewer = new Viewer({
  container: 'v', navbar: false, minFov: 6, maxFov: 90, defaultZoomLvl: 20,
  adapter: EquirectangularTilesAdapter.withConfig({ resolution: 64 }),
  panorama: {
    levels: levels.map((l: any) => ({ width: l.width, cols: l.columns, rows: l.rows })),
    baseUrl: url(last, 0, 0),
    tileUrl: (column: number, row: number, level: number) =>
      url(told.levels.length - 2 - level, column, row),
  },
  panoData: { poseHeading: told.grid_heading_deg, posePitch: told.pitch_deg, poseRoll: told.roll_deg } as any,
  sphereCorrection: { pan: -told.grid_heading_deg * Math.PI / 180,
    tilt: -told.pitch_deg * Math.PI / 180, roll: told.roll_deg * Math.PI / 180 },
})
;(window as any).viewer.addEventListener('ready', () => ((window as any).ready = performance.now()))
"""


@contextmanager
def cloud(width: int) -> Iterator[street.Street]:
    with tempfile.TemporaryDirectory(prefix="street-viewer-") as folder:
        home = Path(folder, "home")
        home.mkdir()
        server = Server(home)
        server.python(SETUP)
        told = server.enter(sys.executable, "-m", "souverain.street.tests.viewer_scene", str(width))
        server.start()
        try:
            yield street.Street(server, json.loads(told))
        finally:
            server.kill()


def build_stock(folder: Path) -> Path:
    """The stock page, bundled; returns the folder to serve."""
    (folder / "index.html").write_text(STOCK_PAGE)
    (folder / "stock.ts").write_text(STOCK)
    (folder / "node_modules").symlink_to(PROJECT / "web/node_modules")
    vite = PROJECT / "web/node_modules/vite/bin/vite.js"
    command = [shutil.which("node") or "node", str(vite), "build", "--target", "es2022"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "dist"


class Counted:
    """What a page asks for."""

    def __init__(self, page: Page) -> None:
        self.tiles, self.requests, self.bytes = 0, 0, 0
        page.on("response", self._take)

    def _take(self, response: Any) -> None:
        self.requests += 1
        self.tiles += "/street/tiles/" in response.url
        self.bytes += int(response.headers.get("content-length") or 0)


def ours(browser: Browser, town: street.Street) -> dict[str, float]:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    counted = Counted(page)
    page.goto(f"{town.url}/street/vue/{town.ids['leaning']}/", wait_until="commit")
    street.sharp(page)
    shown, whole = page.evaluate(
        "['street-shown', 'street-sharp']"
        ".map(name => performance.getEntriesByName(name)[0].startTime)"
    )
    tiles = counted.tiles
    start = page.evaluate("performance.now()")
    zoom = (CLOSE_FOV_DEG - 90) / (6 - 90) * 100
    page.evaluate("zoom => document.querySelector('street-viewer').look(40, 5, zoom)", zoom)
    street.sharp(page)
    close = page.evaluate("performance.now()") - start
    result = {
        "first pixels, ms": shown,
        "screen sharp, ms": whole,
        "zoomed in and sharp, ms": close,
        "tiles at first": tiles,
        "tiles in all": counted.tiles,
        "requests": counted.requests,
        "kilobytes": counted.bytes / 1000,
    }
    page.context.close()
    return result


def stock(browser: Browser, town: street.Street, dist: Path) -> dict[str, float]:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    _serve(page, town, dist)
    counted = Counted(page)
    page.goto(f"{town.url}/stock/#{town.ids['leaning']}", wait_until="commit")
    page.wait_for_function("window.ready")
    shown = page.evaluate("window.ready")
    _idle(page)
    whole = page.evaluate("performance.now()")
    tiles = counted.tiles
    start = page.evaluate("performance.now()")
    _look_stock(page, town, 40, 5, CLOSE_FOV_DEG)
    _idle(page)
    close = page.evaluate("performance.now()") - start
    result = {
        "first pixels, ms": shown,
        "screen sharp, ms": whole,
        "zoomed in and sharp, ms": close,
        "tiles at first": tiles,
        "tiles in all": counted.tiles,
        "requests": counted.requests,
        "kilobytes": counted.bytes / 1000,
    }
    page.context.close()
    return result


def _serve(page: Page, town: street.Street, dist: Path) -> None:
    """The stock page under our own origin, so that both read the same server."""

    def answer(route: Any) -> None:
        name = route.request.url.split("#")[0].removeprefix(f"{town.url}/stock/") or "index.html"
        route.fulfill(path=str(dist / name))

    text = (dist / "index.html").read_text()
    (dist / "index.html").write_text(text.replace('"/assets/', '"/stock/assets/'))
    page.route(f"{town.url}/stock/**", answer)


def _idle(page: Page) -> None:
    """Nothing waits in the stock adapter's queue, and what came is drawn."""
    page.wait_for_function(
        "() => { const queue = viewer.adapter.queue;"
        " return viewer.adapter.state.tileConfig && !Object.keys(queue.runningTasks).length"
        " && !Object.values(queue.tasks).some(task => task.status === 1) }"
    )
    page.evaluate(street.AFTER_TWO_FRAMES)


def _look_stock(page: Page, town: street.Street, yaw: float, elevation: float, fov: float) -> None:
    looked = sphere.to_world(sphere.angles_to_direction([yaw], [elevation]), *_pose(town))
    heading, height = sphere.direction_to_angles(looked)
    page.evaluate(
        "([yaw, pitch, zoom]) => { viewer.rotate({yaw, pitch}); viewer.zoom(zoom) }",
        [
            float(np.radians(heading[0])),
            float(np.radians(height[0])),
            (fov - 90) / (6 - 90) * 100,
        ],
    )


def _pose(town: street.Street) -> tuple[float, float, float]:
    leaning = viewer_scene.LEANING
    return town.ids["grid_heading_deg"], leaning["pitch_deg"], leaning["roll_deg"]


def main() -> None:
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 12288
    with (
        cloud(width) as town,
        tempfile.TemporaryDirectory(prefix="street-stock-") as folder,
        sync_playwright() as playwright,
    ):
        dist = build_stock(Path(folder))
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        ran = [(ours(browser, town), stock(browser, town, dist)) for _ in range(RUNS)]
        errors = street.marks_off(browser, town, VIEWS)
        version = browser.version
        browser.close()
    print(f"{width} × {width // 2}, Chromium {version}, SwiftShader, {platform.machine()}")
    print(f"{'median of ' + str(RUNS):28}{'ours':>12}{'stock 5.15.1':>14}")
    for name in ran[0][0]:
        middle = [statistics.median(pair[side][name] for pair in ran) for side in (0, 1)]
        print(f"{name:28}{middle[0]:12.0f}{middle[1]:14.0f}")
    print(f"marks: {len(errors)} in {VIEWS} views, worst {max(errors):.2f} px (ours)")


if __name__ == "__main__":
    main()
