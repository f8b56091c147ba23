"""A real Chromium, a real server and the stock restic: a drill, the answer it gives, and what is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from souverain.portal.tests.test_membership_browser import (
    SETUP,
    Visitor,
    browser,
    printed,
    signed_in,
)
from souverain.vault.tests.conftest import Server, restic

__all__ = ["browser"]
pytestmark = pytest.mark.browser
PAGE = "/vault/communes/21231/recuperer/"
HOURS = "/vault/communes/21231/depots/etat-civil/24-heures/"
SET = """
from souverain.core import access
from souverain.core.models import Organisation
from souverain.vault import services
dijon = Organisation.objects.get(code="21231")
services.create_set(access.SYSTEM, dijon, "etat-civil", title="Registres d'état civil", kind="civil-status")
services.create_set(access.SYSTEM, dijon)
"""
YEAR = """
from datetime import datetime, timedelta
from souverain.core.models import Device
from souverain.vault.models import DepositSet, Session
found, device = DepositSet.objects.get(code="etat-civil"), Device.objects.get(scope="etat-civil")
now = found.last_deposit_at
for night in range(1, 365):
    if night % 90:
        at = now - timedelta(hours=23.8) * night
        Session.objects.create(deposit_set=found, device=device, started_at=at, last_at=at, ended_at=at)
"""
KEEP_UP = "from souverain.vault import log\nlog.keep_up()"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("home"))
    made.python(SETUP + SET)
    made.start()
    yield made
    made.kill()


def drill(folder: Path, passes: bool = True) -> None:
    line = [sys.executable, "-m", "souverain", "vault", "drill"]
    line += ["--repository-file", "depot.txt", "--password-file", "motdepasse.txt"]
    source = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        line,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == passes, done.stdout + done.stderr


def test_the_answer_follows_the_drills_and_the_evidence_is_printed(
    town: Server, browser: Browser, tmp_path: Path
) -> None:
    admin = Visitor(signed_in(browser, town, "commune-admin"), town)
    admin.open("/vault/communes/21231/")
    admin.page.get_by_role("link", name="Pourquoi, et que faire").click()
    assert "Aucune sauvegarde n'est là." in admin.look("recuperer-vide")

    address = town.device(roles="backup restore", scope="etat-civil")
    (tmp_path / "depot.txt").write_text(address)
    (tmp_path / "motdepasse.txt").write_text("mot de passe\n")
    (tmp_path / "registres").mkdir()
    for number in range(20):
        (tmp_path / "registres" / f"acte {number}.txt").write_text(f"acte {number}\n" * 500)
    restic(address, tmp_path, "init")
    restic(address, tmp_path, "backup", "registres")
    admin.open(PAGE)
    said = admin.look("recuperer-sans-essai")
    assert "Nous ne pouvons pas l'affirmer : aucun essai de restauration" in said

    drill(tmp_path)
    admin.open(PAGE)
    assert "clé non enregistrée" in admin.look("recuperer-cle")
    key = admin.page.locator("#etat-civil-1").text_content() or ""
    admin.page.get_by_role("link", name="Inscrire un témoin").click()
    admin.page.get_by_label("Nom du témoin").fill("Mairie")
    admin.page.get_by_label("Sa clé").fill(key)
    admin.page.get_by_role("button", name="Inscrire").click()
    admin.page.get_by_text("est inscrit").first.wait_for()
    admin.open(PAGE)
    assert "Oui" in admin.look("recuperer-oui")
    answer = admin.page.locator(".answer").first
    assert (answer.text_content() or "").strip() == "Oui"
    colours = answer.evaluate("it => [getComputedStyle(it).backgroundColor, it.offsetHeight]")
    assert colours[0] == "rgb(233, 242, 234)" and colours[1] > 40

    town.python(YEAR)
    town.python(KEEP_UP)
    admin.page.get_by_role("link", name="Preuve des 24 heures").click()
    said = admin.look("preuve-24-heures")
    assert "4 délais de 24 heures ou plus" in said and "47" in said
    admin.page.evaluate("window.sheets = 0; window.print = () => { window.sheets += 1 }; 0")
    admin.page.get_by_role("button", name="Imprimer").click()
    assert admin.page.evaluate("window.sheets") == 1
    with admin.page.expect_download() as waiting:
        admin.page.get_by_role("link", name="Tous les délais (CSV)").click()
    rows = Path(waiting.value.path()).read_text("utf-8-sig").splitlines()
    assert len(rows) > 350 and sum(row.endswith(";oui") for row in rows) == 4
    sheets = printed(admin.page, tmp_path, "preuve-24-heures")
    whole = " ".join(" ".join(sheets).split())
    assert len(sheets) <= 3, len(sheets)
    for asked in ("Ce qu'elle ne prouve pas", "Pour la commune de Dijon", "Registre des preuves"):
        assert asked in whole
    for only_on_screen in ("Imprimer", "Une autre période", "Pourrions-nous"):
        assert only_on_screen not in whole

    for file in (town.folder(scope="etat-civil") / "data").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(bytes(file.stat().st_size))
    drill(tmp_path, passes=False)
    admin.open(PAGE)
    assert "N'effacez rien" in admin.look("recuperer-non")
    operator = Visitor(signed_in(browser, town, "operator"), town)
    operator.open("/vault/")
    assert "Preuve" in operator.look("coffres-forts-essais")
