"""A real Chromium walks the portal: first operator, a commune's members, the journal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

pytestmark = pytest.mark.browser
AXE = Path(__file__).resolve().parents[4] / "web/node_modules/axe-core/axe.min.js"
PASSWORD = "vignes-et-climats-2026"


class Cloud(NamedTuple):
    url: str
    sign_in_link: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """`souverain init` and `souverain serve`, as a newcomer runs them."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "SOUVERAIN_HOME": str(home), "PORT": str(port)}
    command = [sys.executable, "-m", "souverain"]
    made = subprocess.run(
        [*command, "init", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    link = json.loads(made.stdout)["sign_in_link"]
    with (home / "serve.log").open("wb") as log:
        server = subprocess.Popen([*command, "serve"], env=environment, stdout=log, stderr=log)
    try:
        wait_for_health(f"http://localhost:{port}/health", server, home / "serve.log")
        yield Cloud(f"http://localhost:{port}", link, environment)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for_health(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert json.load(answer)["status"] == "ok"
                return
        except (OSError, urllib.error.HTTPError):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


TWICE = """() => [...document.querySelectorAll("[id]")].map(e => e.id)
    .filter((id, at, all) => all.indexOf(id) !== at)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        yield chromium
        chromium.close()


def assert_sound(page: Page, cloud: Cloud, width: int) -> None:
    """No accessibility fault, no id twice (a label would name another form's field), no overflow."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("async () => (await axe.run()).violations.map(v => v.id)")
    assert found == [], page.url
    assert page.evaluate(TWICE) == [], page.url
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


def restic(repository: str, folder: Path, *arguments: str) -> None:
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": repository,
        "RESTIC_PASSWORD": "mairie",
        "RESTIC_CACHE_DIR": str(folder / "cache"),
    }
    subprocess.run(
        ["restic", *arguments], env=environment, check=True, capture_output=True, timeout=120
    )


def back_up(repository: str, folder: Path) -> None:
    """What the page says to type, on a folder with a register in it."""
    registers = folder / "registres"
    registers.mkdir()
    (registers / "naissances-2026.txt").write_text("acte 1\n" * 1000)
    restic(repository, folder, "init")
    restic(repository, folder, "backup", str(registers))


def test_a_newcomer_becomes_operator_and_invites_a_secretary(
    cloud: Cloud, browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)

    page.goto(cloud.sign_in_link)
    page.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    page.get_by_role("button", name="Accepter").click()
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()

    for path in (
        "/",
        "/communes/",
        "/communes/21231/",
        "/vault/",
        "/vault/communes/21231/",
        "/journal/",
        "/supervision/",
        "/travaux/",
        "/profil/",
        "/profil/jetons/",
        "/administration/personnes/",
        "/administration/21231/membres/",
        "/notifications/",
        "/documentation-technique/",
        "/mentions-legales/",
        "/accessibilite/",
        "/donnees-personnelles/",
    ):
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 900})
            answer = page.goto(cloud.url + path)
            assert answer is not None and answer.status == 200, path
            assert page.url == cloud.url + path
            assert_sound(page, cloud, width)
            folder = os.environ.get("SOUVERAIN_SCREENSHOTS")
            if folder:
                name = path.strip("/").replace("/", "-") or "accueil"
                page.screenshot(path=f"{folder}/{name}-{width}.png")

    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{cloud.url}/administration/21231/membres/")
    page.get_by_label("Adresse électronique").fill("secretaire@dijon.example")
    page.get_by_role("button", name="Inviter").click()
    link = page.locator("#lien").text_content() or ""
    assert "/invitation/" in link

    page.goto(f"{cloud.url}/vault/communes/21231/")
    page.get_by_label("Nom de l'appareil").fill("poste du secrétariat")
    page.get_by_role("button", name="Ajouter").click()
    repository = (page.locator("#depot").text_content() or "").strip()
    assert_sound(page, cloud, 1280)
    back_up(repository, tmp_path)
    page.goto(f"{cloud.url}/communes/21231/")
    assert "Dernière sauvegarde reçue" in (page.text_content("main") or "")
    page.goto(f"{cloud.url}/vault/communes/21231/")
    assert_sound(page, cloud, 1280)
    page.get_by_role("button", name="Révoquer").first.click()
    page.locator("dialog[open] button[type=submit]").click()
    page.get_by_text("est révoqué").wait_for()
    with pytest.raises(subprocess.CalledProcessError):
        restic(repository, tmp_path, "snapshots")

    secretary = browser.new_context().new_page()
    secretary.goto(link.strip())
    secretary.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    secretary.get_by_role("button", name="Accepter").click()
    secretary.locator("input[name=password1]").fill(PASSWORD + "-bis")
    secretary.locator("input[name=password2]").fill(PASSWORD + "-bis")
    secretary.locator("main button[type=submit]").first.click()
    secretary.wait_for_load_state()
    own = secretary.goto(f"{cloud.url}/communes/21231/")
    other = secretary.goto(f"{cloud.url}/communes/21054/")
    assert own is not None and other is not None
    assert (own.status, other.status) == (200, 403)

    again = secretary.goto(link.strip())
    assert again is not None
    assert "déjà servi" in (secretary.text_content("main") or "")

    assert all(url.startswith((cloud.url, "data:", "blob:")) for url in asked)
    assert refused == []
