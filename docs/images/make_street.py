"""Make the guide's pictures of Côte-d'Or Street from a real browser, on the drawn street:
`PYTHONPATH=src .venv/bin/python docs/images/make_street.py URL PANORAMA SESSION`, where the street
was made by `souverain init` and SESSION is the session of somebody who may open the desk."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent


def main(url: str, panorama: str, session: str) -> None:
    pages = {
        "street-viewer": f"/street/vue/{panorama}/",
        "street-stroll": "/street/",
        "street-desk": f"/street/bureau/?panorama={panorama}",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        tour = page.goto(f"{url}/street/") and page.locator(".street-cards a").first
        if tour and tour.count():
            pages["street-tour"] = tour.get_attribute("href") or "/street/"
        context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
        for name, path in pages.items():
            page.goto(url + path)
            if name == "street-stroll":
                page.locator("[data-drawn=yes]").first.wait_for(timeout=60_000)
            else:
                page.locator("street-viewer[data-state=sharp]").wait_for(timeout=60_000)
                page.locator(".street-minimap[data-drawn=yes]").wait_for(timeout=60_000)
            page.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
