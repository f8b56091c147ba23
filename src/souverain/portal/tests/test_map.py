"""The map of communes and the search in a real Chromium, judged on pixels."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect, sync_playwright

from souverain.portal.tests.test_browser import PASSWORD, Cloud, assert_sound, cloud

__all__ = ["cloud"]  # the fixture: a portal that really runs
pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

GROUND = (0xEF, 0xE9, 0xDD)
OUTLINE = (255, 255, 255)
COLOURS = {
    "vigne": (0x8C, 0x2F, 0x4E),
    "or": (0xD9, 0xA6, 0x32),
    "pierre": (0xD8, 0xCD, 0xB9),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser that draws WebGL without a graphics card."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-sync",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
            ],
        )
        yield browser
        browser.close()


@dataclass
class Picture:
    """The pixels of an element as the browser shows it."""

    width: int
    height: int
    pixels: bytes  # RGBA

    def at(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour at a share of the width and of the height."""
        start = 4 * (int(y * self.height) * self.width + int(x * self.width))
        red, green, blue = self.pixels[start : start + 3]
        return red, green, blue

    def share(self, colour: tuple[int, int, int]) -> float:
        """The share of the pixels within 6 levels of a colour."""
        low, high = ([level + step for level in colour] for step in (-6, 6))
        count = sum(
            all(low[n] <= self.pixels[start + n] <= high[n] for n in range(3))
            for start in range(0, len(self.pixels), 4)
        )
        return count / (self.width * self.height)


DECODE = """async (png) => {
  const bytes = Uint8Array.from(atob(png), c => c.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  let text = '';
  for (let at = 0; at < pixels.length; at += 32768)
    text += String.fromCharCode(...pixels.subarray(at, at + 32768));
  return [image.width, image.height, btoa(text)];
}"""


def picture(page: Page) -> Picture:
    shot = base64.b64encode(page.locator(".map-frame canvas").screenshot()).decode()
    width, height, pixels = page.evaluate(DECODE, shot)
    return Picture(width, height, base64.b64decode(pixels))


def drawn(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("[data-drawn=yes]").wait_for(timeout=60_000)


@pytest.fixture
def page(chromium: Browser, cloud: Cloud) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    yield page
    context.close()
    assert faults == []
    assert all(url.startswith((cloud.url, "data:", "blob:")) for url in asked)


@pytest.mark.parametrize("width", [1280, 360])
def test_the_communes_are_really_drawn(page: Page, cloud: Cloud, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    drawn(page, f"{cloud.url}/communes/")
    seen = picture(page)
    legend = page.locator(".legend .swatch")
    colours = [str(one.get_attribute("data-color")) for one in legend.all()]
    filled = sum(seen.share(COLOURS[colour]) for colour in colours)
    assert 0.08 < filled < 0.6, "the communes fill a part of the frame"
    assert seen.share(OUTLINE) > 0.005, "their limits are drawn"
    assert seen.at(0.01, 0.5) == GROUND, "outside is the pale ground"
    assert seen.at(0.5, 0.5) != GROUND
    expect(page.locator(".map-note")).to_contain_text("Limites approximatives")
    expect(page.locator(".map-source").first).to_contain_text("IGN, Admin Express 2018")
    assert_sound(page, cloud, width)


def test_a_visitor_reads_a_name_and_is_led_nowhere(page: Page, cloud: Cloud) -> None:
    drawn(page, f"{cloud.url}/communes/")
    page.locator(".map-frame canvas").click(position={"x": 568, "y": 280})
    expect(page.locator(".map-name")).not_to_be_empty()
    assert page.url == f"{cloud.url}/communes/"


def test_the_map_is_read_with_the_keyboard(page: Page, cloud: Cloud) -> None:
    drawn(page, f"{cloud.url}/communes/")
    name = page.locator(".map-name")
    page.locator("#recherche").focus()
    page.keyboard.press("Tab")  # the button
    page.keyboard.press("Tab")
    expect(page.locator(".map-frame canvas")).to_be_focused()
    expect(name).not_to_be_empty()
    first = name.text_content() or ""
    page.keyboard.press("ArrowRight")
    expect(name).not_to_have_text(first)
    assert_sound(page, cloud, 1280)


def test_the_table_sorts_and_exports(page: Page, cloud: Cloud) -> None:
    page.goto(f"{cloud.url}/communes/")
    habitants = page.get_by_role("button", name="Habitants")
    habitants.click()
    habitants.click()
    assert page.locator("tbody tr").first.locator("th").text_content() == "Dijon"
    with page.expect_download() as told:
        page.get_by_role("button", name="Exporter ce tableau").click()
    lines = Path(told.value.path()).read_text("utf-8-sig").splitlines()
    assert len(lines) == 699
    assert lines[1].startswith("Dijon;21231;21000;16")


def typed(page: Page, text: str) -> Any:
    field = page.get_by_role("combobox")
    field.fill("")
    field.press_sequentially(text)
    page.get_by_role("option").first.wait_for()
    return field


def test_the_search_by_keyboard(page: Page, cloud: Cloud) -> None:
    page.goto(f"{cloud.url}/communes/")
    field = typed(page, "chatillon s")
    assert field.get_attribute("aria-expanded") == "true"
    page.evaluate("document.querySelector('.map-figure')?.remove()")
    assert_sound(page, cloud, 1280)
    field.press("ArrowDown")
    chosen = page.locator("[role=option][aria-selected=true]")
    expect(chosen).to_have_count(1)
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    field.press("ArrowUp")
    last = page.get_by_role("option").last
    expect(last).to_have_attribute("aria-selected", "true")
    field.press("Escape")
    expect(page.get_by_role("listbox")).to_be_hidden()
    assert field.get_attribute("aria-expanded") == "false"
    assert field.get_attribute("aria-activedescendant") is None
    assert field.input_value() == "chatillon s"
    typed(page, "bierre les semu").press("Enter")
    page.wait_for_url("**/communes/?q=21272")
    expect(page.locator("tbody tr")).to_contain_text(["Le Val-Larrey"])


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("dijno", "Dijon"),
        ("21200", "Beaune"),
        ("st apo", "Saint-Apollinaire"),
        ("l etang v", "L'Étang-Vergy"),
        ("bierre-lès", "Le Val-Larrey"),
    ],
)
def test_the_search_forgives(page: Page, cloud: Cloud, text: str, first: str) -> None:
    page.goto(f"{cloud.url}/communes/")
    typed(page, text)
    expect(page.get_by_role("option").first).to_contain_text(first)


def test_the_search_says_that_nothing_is_found(page: Page, cloud: Cloud) -> None:
    page.goto(f"{cloud.url}/communes/")
    page.get_by_role("combobox").press_sequentially("zzzzzz")
    expect(page.get_by_text("Aucune commune trouvée")).to_be_visible()
    page.get_by_role("combobox").press("Enter")
    page.wait_for_url("**/communes/?q=zzzzzz")
    expect(page.locator("main")).to_contain_text("Vérifiez l’orthographe")
    assert_sound(page, cloud, 1280)


def test_the_search_without_scripts(chromium: Browser, cloud: Cloud) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{cloud.url}/communes/")
    page.locator("#recherche").fill("beaune")
    page.get_by_role("button", name="Chercher").click()
    page.wait_for_url("**/communes/?q=beaune")
    expect(page.locator("tbody tr").first).to_contain_text("Beaune")
    context.close()


def test_an_operator_opens_communes_and_real_outlines_replace_the_cells(
    page: Page,
    cloud: Cloud,
) -> None:
    page.goto(cloud.sign_in_link)
    page.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    page.get_by_role("button", name="Accepter").click()
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()

    drawn(page, f"{cloud.url}/communes/")
    before = picture(page)
    page.locator(".map-frame canvas").click(position={"x": 568, "y": 280})
    page.wait_for_url("**/communes/21*/")
    drawn(page, f"{cloud.url}/communes/")
    page.locator("#recherche").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator(".map-name")).not_to_be_empty()
    page.keyboard.press("Enter")
    page.wait_for_url("**/communes/21*/")

    import_outlines(cloud)
    drawn(page, f"{cloud.url}/communes/")
    expect(page.locator(".map-note")).to_be_hidden()
    expect(page.locator(".map-source").first).to_contain_text("IGN, essai")
    after = picture(page)
    changed = sum(
        before.pixels[at : at + 3] != after.pixels[at : at + 3]
        for at in range(0, len(before.pixels), 4)
    )
    assert changed > 0.05 * before.width * before.height

    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        drawn(page, f"{cloud.url}/communes/21231/")
        close = picture(page)
        assert close.share((0x1F, 0x29, 0x37)) > 0.002, "the commune's own limit, in dark"
        assert_sound(page, cloud, width)


def import_outlines(cloud: Cloud) -> None:
    folder = Path(os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data")
    file = folder / "twin/admin/communes-21.geojson"
    if not file.exists():
        message = f"SOUVERAIN_TEST_DATA: {file} is missing"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    command = ["-m", "souverain", "territory", "import", "outlines", str(file)]
    subprocess.run(
        [sys.executable, *command, "--source", "IGN, essai"],
        env=cloud.environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
