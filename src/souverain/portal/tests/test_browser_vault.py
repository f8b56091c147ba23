"""A real Chromium and the stock restic: a commune's first deposit, ransomware, and the way back.

Every command typed here is read from the page that shows it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from souverain.portal.tests.test_browser import PASSWORD, Cloud, assert_sound, browser, cloud
from souverain.vault.tests.test_guide import Machine

__all__ = ["browser", "cloud"]
pytestmark = pytest.mark.browser
SMALL_BUTTONS = """[...document.querySelectorAll('main button, main a.btn, main summary')]
    .filter(it => it.offsetHeight && it.offsetHeight < 44 && !it.closest('th'))
    .map(it => it.textContent.trim() + ' ' + it.offsetHeight)"""
CUT_TABLES = """[...document.querySelectorAll('.table-scroll')]
    .filter(it => it.scrollWidth > it.clientWidth).map(it => it.ariaLabel)"""
ROWS_OF_FIGURES = "new Set([...document.querySelectorAll('.stat')].map(it => it.offsetTop)).size"
COMMUNE = "/vault/communes/21231/"


class Secretary(Machine):
    """The secretary's computer, and a shell in which she types."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.documents, self.folder = home / "Documents", home / "coffre-fort/etat-civil"
        for number in range(40):
            (self.documents / f"acte {number}.txt").write_text(f"acte {number}\n" * 500)

    def same_as_documents(self, copy: Path) -> bool:
        compared = subprocess.run(["diff", "-r", self.documents, copy], capture_output=True)
        return compared.returncode == 0


def sign_in(page: Page, cloud: Cloud) -> None:
    page.goto(cloud.sign_in_link)
    page.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    page.get_by_role("button", name="Accepter").click()
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()


def look(page: Page, cloud: Cloud, name: str) -> None:
    """Sound at both widths; pictures for the guide when they are asked for."""
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert_sound(page, cloud, width)
        if width < 600:
            assert page.evaluate(SMALL_BUTTONS) == [], page.url
        folder = os.environ.get("SOUVERAIN_SCREENSHOTS")
        if folder:
            page.screenshot(path=f"{folder}/{name}-{width}.png")


def test_first_deposit_ransomware_and_the_way_back(
    cloud: Cloud, browser: Browser, tmp_path: Path
) -> None:
    machine = Secretary(tmp_path / "secretaire")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if line.type == "error" else None)
    sign_in(page, cloud)

    page.goto(cloud.url + COMMUNE)
    assert "Aucune sauvegarde n'est encore arrivée." in (page.text_content("main") or "")
    page.get_by_role("link", name="Ouvrir un autre dépôt").click()
    page.get_by_label("Nom du dépôt").fill("Registres d'état civil")
    page.get_by_label("Nom court").fill("etat-civil")
    page.get_by_label("Ce qu'il contient").select_option("civil-status")
    look(page, cloud, "coffre-fort-depot")
    page.get_by_role("button", name="Ouvrir le dépôt").click()
    page.get_by_text("est ouvert").wait_for()

    page.get_by_label("Nom de l'appareil").fill("poste de l'état civil")
    page.get_by_label("Dépôt", exact=True).select_option("etat-civil")
    page.get_by_label("Relire et restaurer").check()
    page.get_by_role("button", name="Ajouter", exact=True).dblclick()
    waiting = page.get_by_text("En attente de la première sauvegarde")
    expect(waiting).to_be_visible()
    look(page, cloud, "coffre-fort-appareil")
    machine.types_into("depot.txt", (page.text_content("#depot") or "").strip() + "\n")
    for step in range(1, 5):
        machine.types(page.text_content(f"#debian-{step}") or "")
    expect(page.get_by_text("La première sauvegarde est arrivée")).to_be_visible(timeout=30_000)
    expect(waiting).to_have_count(0)
    backup = page.text_content("#debian-4") or ""
    page.reload()
    expect(page.get_by_text("L'adresse a été montrée une fois")).to_be_visible()
    look(page, cloud, "coffre-fort-appareil-relu")

    kept = tmp_path / "gardé"
    shutil.copytree(machine.documents, kept)
    for file in machine.documents.iterdir():
        file.write_bytes(os.urandom(file.stat().st_size))
    machine.types(backup)

    page.goto(cloud.url + COMMUNE)
    said = (page.text_content("main") or "").replace("\u00a0", " ")
    assert "vient d'être sauvegardée" in said and "Reçue" not in said
    moments = page.locator("details summary").filter(has_text="sauvegarde")
    expect(moments).to_have_count(2)
    moments.nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#moment-2")).to_be_visible()
    look(page, cloud, "coffre-fort")
    machine.types(f"cd {machine.folder} && " + (page.text_content("#moment-2") or ""))
    [target] = machine.folder.glob("RETOUR-*")
    back = next(path for path in target.rglob("Documents") if path.is_dir())
    assert not machine.same_as_documents(back)
    shutil.rmtree(machine.documents)
    shutil.copytree(back, machine.documents)
    assert machine.same_as_documents(kept)

    # A moment of one's own, by keyboard alone: day, month, year, hour, minute, in their order.
    page.get_by_label("Un autre moment").focus()
    page.keyboard.type("01012020")
    page.keyboard.press("Tab")
    page.keyboard.type("0800AM")  # the last two keys do nothing in French
    page.get_by_role("button", name="Montrer ce moment").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("précède la première sauvegarde")).to_be_visible()
    look(page, cloud, "coffre-fort-moment")

    page.get_by_role("button", name="Révoquer").focus()
    page.keyboard.press("Enter")
    look(page, cloud, "coffre-fort-revoquer")
    page.locator("dialog[open] button[type=submit]").click()
    page.get_by_text("est révoqué").wait_for()
    assert "401" in machine.types(backup, fails=True)
    page.goto(cloud.url + "/vault/")
    assert "Appareil" not in (page.text_content("h1") or "")
    assert "appareil inconnu ou révoqué" in (page.text_content("main") or "")
    look(page, cloud, "coffre-fort-communes")
    assert page.evaluate(CUT_TABLES) == []
    assert page.evaluate(ROWS_OF_FIGURES) == 1
    assert refused == []
