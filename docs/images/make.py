"""Make the guides' pictures of the communes' pages from a real browser:
`PYTHONPATH=src .venv/bin/python docs/images/make.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
PORT = os.environ.get("PORT", "8123")
URL = f"http://localhost:{PORT}"
COMMAND = [sys.executable, "-m", "souverain"]


def wait_for_health() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{URL}/health", timeout=5):  # noqa: S310 — our own
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the portal does not answer")


def take(page: Page, path: str, name: str, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(URL + path)
    page.locator("[data-drawn=yes]").wait_for(timeout=60_000)
    page.screenshot(path=HERE / f"{name}.png")


def become_operator(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    page.get_by_role("button", name="Accepter").click()
    for name in ("password1", "password2"):
        page.locator(f"input[name={name}]").fill("vignes-et-climats-2026")
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()


def main() -> None:
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": tempfile.mkdtemp(),
        "PORT": PORT,
        "DATABASE_URL": "",
    }
    made = subprocess.run([*COMMAND, "init", "--json"], env=environment, check=True, stdout=-1)
    server = subprocess.Popen([*COMMAND, "serve"], env=environment)
    try:
        wait_for_health()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium",
                args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
            )
            page = browser.new_page()
            take(page, "/communes/", "communes", 720, 760)
            page.set_viewport_size({"width": 960, "height": 460})
            page.locator("#recherche").press_sequentially("bierre les sem")
            page.get_by_role("option").first.wait_for()
            page.screenshot(path=HERE / "recherche.png")
            become_operator(page, json.loads(made.stdout)["sign_in_link"])
            take(page, "/communes/21272/", "commune", 960, 960)
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
