"""A real Chromium joins a commune, imports two hundred, leaves, and prints what has to be signed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from souverain.vault.tests.conftest import Server

pytestmark = pytest.mark.browser
AXE = Path(__file__).resolve().parents[4] / "web/node_modules/axe-core/axe.min.js"
WIDTHS = (1280, 360)
SETUP = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createcachetable", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
from souverain.portal.tests.conftest import make_town
make_town()
"""
SESSION = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from souverain.core.models import User
user = User.objects.get(email="{email}")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server and a worker, with two communes and a person for each role."""
    made = Server(tmp_path_factory.mktemp("home"))
    made.python(SETUP)
    made.start()
    with (made.home / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "souverain", "worker"],
            env=made.environment,
            stdout=log,
            stderr=log,
        )
    yield made
    worker.terminate()
    worker.wait(30)
    made.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        yield chromium
        chromium.close()


def signed_in(browser: Browser, town: Server, name: str) -> BrowserContext:
    context = browser.new_context(locale="fr-FR", accept_downloads=True)
    if name:
        key = town.python(SESSION.format(email=f"{name}@exemple.fr"))
        context.add_cookies(
            [{"name": "sessionid", "value": key, "url": f"http://localhost:{town.port}"}]
        )
    return context


class Visitor:
    """Somebody at a screen; every page that is looked at is checked, wide and narrow."""

    def __init__(self, context: BrowserContext, town: Server) -> None:
        self.url = f"http://localhost:{town.port}"
        self.page: Page = context.new_page()
        self.refused: list[str] = []
        self.page.on(
            "console", lambda line: self.refused.append(line.text) if line.type == "error" else None
        )

    def open(self, path: str) -> Page:
        answer = self.page.goto(self.url + path)
        assert answer is not None and answer.status == 200, path
        return self.page

    def look(self, name: str) -> str:
        """No accessibility fault, no overflow, nothing refused by the content policy."""
        for width in WIDTHS:
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.evaluate(AXE.read_text())
            found = self.page.evaluate(
                "async () => (await axe.run()).violations.map(v => [v.id, v.nodes.map(n => n.html)])"
            )
            assert found == [], (name, width)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, name
            folder = os.environ.get("SOUVERAIN_SCREENSHOTS")
            if folder:
                self.page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)
        assert self.refused == [], name
        self.page.set_viewport_size({"width": 1280, "height": 900})
        return self.page.text_content("main") or ""


def printed(page: Page, folder: Path, name: str) -> list[str]:
    """The page as Chromium prints it on A4: the text of each sheet."""
    path = folder / f"{name}.pdf"
    page.pdf(path=str(path), format="A4", prefer_css_page_size=True)
    shown = os.environ.get("SOUVERAIN_SCREENSHOTS")
    if shown:
        (Path(shown) / path.name).write_bytes(path.read_bytes())
    text = subprocess.run(
        ["pdftotext", "-layout", str(path), "-"], capture_output=True, text=True, check=True
    ).stdout
    return text.rstrip("\f").split("\f")


def wait_for_text(page: Page, text: str) -> None:
    """Look at the page again until the work that it shows is done."""
    for _ in range(240):
        if page.get_by_text(text).count():
            return
        page.wait_for_timeout(250)
        page.reload()
    raise AssertionError(f"« {text} » never came: {page.text_content('main')}")


def test_a_commune_joins_and_leaves(town: Server, browser: Browser, tmp_path: Path) -> None:
    stranger = Visitor(signed_in(browser, town, ""), town)
    stranger.open("/")
    assert "Comment rejoindre" in stranger.look("accueil-anonyme")

    admin = Visitor(signed_in(browser, town, "commune-admin"), town)
    operator = Visitor(signed_in(browser, town, "operator"), town)
    admin.open("/")
    assert "demander à rejoindre le Cloud" in admin.look("accueil-commune")
    operator.open("/")
    operator.look("accueil-operateur-vide")
    operator.open("/adhesions/")
    assert "Aucune commune" in operator.look("adhesions-vides")
    admin.open("/communes/21231/adhesion/")
    admin.look("adhesion-aucune")

    page = admin.open("/communes/21231/adhesion/demander/")
    admin.look("demande")
    page.get_by_role("button", name="Envoyer la demande").click()
    assert "Ce champ est obligatoire" in admin.look("demande-refusee")
    page.locator("#id_elected-name").fill("Claire Fontaine")
    page.locator("#id_secretary-name").fill("Jeanne Martin")
    page.locator("#id_secretary-email").fill("jeanne@dijon.example")
    page.get_by_label("Le boîtier de protection").check()
    page.get_by_role("button", name="Envoyer la demande").click()
    page.get_by_text("La demande est enregistrée").wait_for()
    assert "Pas encore en service" in admin.look("adhesion-demandee")

    page.get_by_role("link", name="Ouvrir la convention").click()
    admin.look("convention")
    sheets = printed(page, tmp_path, "convention")
    whole = " ".join(" ".join(sheets).split())
    assert len(sheets) <= 4
    for asked in (
        "Article 11. Contrôle",
        "48 heures",
        "Claire Fontaine",
        "Pour la commune de Dijon",
    ):
        assert asked in whole
    assert "Adhésion de Dijon" not in whole, "what only helps on screen is not printed"

    operator.open("/")
    assert "1 convention à signer" in operator.look("accueil-operateur")
    page = operator.open("/communes/21231/adhesion/")
    operator.look("adhesion-a-signer")
    page.get_by_role("button", name="La commune a rejoint le Cloud").click()
    page.get_by_text("a rejoint le Cloud Côte-d'Or.").first.wait_for()
    stranger.open("/")
    assert "1 commune sur 2 a rejoint" in (stranger.page.text_content("main") or "")
    admin.open("/communes/21231/adhesion/")
    admin.look("adhesion-faite")
    admin.open("/communes/21231/")
    assert "A rejoint le Cloud" in admin.look("commune")
    admin.open("/communes/21231/adhesion/modifier/")
    admin.look("modifier")

    page = admin.open("/communes/21231/depart/")
    admin.look("depart-comment")
    page.get_by_role("textbox").fill("Beaune")
    page.get_by_role("button", name="Demander à partir").click()
    assert "Ce n'est pas « Dijon »" in admin.look("depart-mal-confirme")
    page.get_by_role("textbox").fill("dijon")
    page.get_by_role("button", name="Demander à partir").click()
    wait_for_text(page, "Télécharger l'export")
    admin.look("depart-pret")
    with page.expect_download() as started:
        page.get_by_role("link", name="Télécharger l'export").click()
    saved = tmp_path / "export.zip"
    started.value.save_as(saved)
    assert started.value.suggested_filename == "export-21231.zip"
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None
    page.get_by_role("button", name="Nous avons bien reçu l'export").click()
    page.get_by_role("button", name="Oui, il est reçu et lisible").click()
    page.get_by_text("L'accusé de réception est enregistré").wait_for()

    operator.open("/")
    assert "1 effacement à exécuter" in (operator.page.text_content("main") or "")
    page = operator.open("/communes/21231/depart/")
    operator.look("depart-a-effacer")
    page.get_by_role("textbox").fill("Dijon")
    page.get_by_role("button", name="Effacer pour toujours").click()
    wait_for_text(page, "Ouvrir la preuve d'effacement")
    page.get_by_role("link", name="Ouvrir la preuve d'effacement").click()
    told = operator.look("preuve")
    assert "Preuve conforme à l’entrée scellée du journal" in told
    sheets = printed(page, tmp_path, "preuve")
    assert len(sheets) == 1
    assert "Pour le Département de la Côte-d'Or" in sheets[0]
    gone = admin.page.goto(f"{admin.url}/communes/21231/adhesion/")
    assert gone is not None and "/compte/" in gone.url, "the account is closed"


def test_an_operator_imports_the_communes_that_have_joined(
    town: Server, browser: Browser, tmp_path: Path
) -> None:
    operator = Visitor(signed_in(browser, town, "operator"), town)
    page = operator.open("/adhesions/importer/")
    operator.look("import")
    file = tmp_path / "communes.csv"
    file.write_bytes(
        "Code INSEE;Commune;Date adhésion;Élu_nom\r\n"
        "21054;beaune;12/01/2026;=Évil\r\n"
        "21231;Beaune;31/02/2026;\r\n".encode("cp1252")
    )
    page.get_by_label("Fichier CSV").set_input_files(file)
    page.get_by_role("button", name="Vérifier le fichier").click()
    told = operator.look("import-verifie")
    assert "Lu en Windows-1252" in told
    assert "Le code 21231 est celui de Dijon" in told
    assert "Rien n'est encore enregistré" in told
    page.get_by_role("button", name="Enregistrer 1 commune").click()
    page.get_by_text("Ajoutées : 1.").wait_for()
    operator.look("adhesions")
    with page.expect_download() as started:
        page.get_by_role("link", name="Télécharger la liste (CSV)").click()
    started.value.save_as(tmp_path / "liste.csv")
    lines = (tmp_path / "liste.csv").read_text("utf-8-sig").splitlines()
    assert any(line.startswith("21054;Beaune;12/01/2026;;'=Évil") for line in lines)


@pytest.mark.parametrize(
    "path",
    [
        "/mentions-legales/",
        "/accessibilite/",
        "/donnees-personnelles/",
        "/documentation-technique/",
    ],
)
def test_what_has_to_be_published_is_readable(town: Server, browser: Browser, path: str) -> None:
    stranger = Visitor(signed_in(browser, town, ""), town)
    stranger.open(path)
    stranger.look(path.strip("/"))
