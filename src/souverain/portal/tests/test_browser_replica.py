"""A real Chromium on the page of the second site: first site, late copy, promoted, replaced."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import Browser

from souverain.portal.tests.test_browser import Cloud, browser, cloud
from souverain.portal.tests.test_browser_vault import look, sign_in

__all__ = ["browser", "cloud"]
pytestmark = pytest.mark.browser
PAGE = "/vault/second-site/"
LATE = """
from datetime import timedelta
from souverain.core import access, clock
from souverain.core.models import Organisation
from souverain.vault import services
from souverain.vault.models import ReplicaFault, ReplicaSet, ReplicaSource, ReplicaTurn, Site
now = clock.now()
dijon = Organisation.objects.get(code='21231')
general = services.create_set(access.SYSTEM, dijon)
Site.objects.create(name='a' * 16, role='copy', epoch=1)
source = ReplicaSource.objects.create(
    address='http://127.0.0.1:9', site='b' * 16, epoch=1, tried_at=now + timedelta(seconds=-50),
    answered_at=now - timedelta(minutes=41), heard_at=now - timedelta(minutes=40),
    complete_at=now - timedelta(minutes=43), complete_to=now - timedelta(minutes=42),
    missing_objects=1204, missing_bytes=3_400_000_000,
    troubles=["L'autre site ne répond pas : rien n'écoute à son adresse."],
)
ReplicaSet.objects.create(deposit_set=general, site='b' * 16, destroyed_at=None, gone_at=now)
ReplicaFault.objects.create(
    deposit_set=general, event={'type': 'data', 'name': 'c' * 64}, first_at=now,
    reason="ce n'est pas le contenu que dit son nom",
)
for minute in range(1400, 41, -7):
    lag = 20 if minute % 200 > 30 else 900
    ReplicaTurn.objects.create(source=source, at=now - timedelta(minutes=minute), lag_s=lag)
for minute in range(40, 0, -2):
    ReplicaTurn.objects.create(
        source=source, at=now - timedelta(minutes=minute), lag_s=60 * (43 - minute), ok=False)
"""
PROMOTED = """
from souverain.core import clock
from souverain.vault.models import ReplicaSource, Site
Site.objects.update(role='first')
ReplicaSource.objects.update(
    promoted_at=clock.now(), fenced_at=clock.now(), only_there_objects=12, only_there_deaths=0,
    troubles=[], missing_objects=0)
"""
REPLACED = "from souverain.vault.models import Site\nSite.objects.update(role='fenced')"


def records(cloud: Cloud, code: str) -> None:
    prelude = "import django; django.setup()\n"
    environment = {**cloud.environment, "DJANGO_SETTINGS_MODULE": "souverain.config.settings"}
    subprocess.run([sys.executable, "-c", prelude + code], env=environment, check=True, timeout=60)


def test_the_page_says_how_late_the_copy_is_and_what_to_type(
    cloud: Cloud, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    sign_in(page, cloud)

    def said() -> str:
        page.goto(cloud.url + PAGE)
        return " ".join((page.text_content("main") or "").replace("\u00a0", " ").split())

    assert "aucun autre ne le copie" in said()
    assert "replica authorize" in (page.text_content("#autoriser") or "")
    look(page, cloud, "second-site-premier")
    records(cloud, LATE)
    told = said()
    for words in ("1 204", "3,4 Go", "Retard 43 min", "rien n'écoute", "À décider ici"):
        assert words in told, told
    assert "replica promote" in (page.text_content("#promouvoir") or "")
    assert page.locator("#retard, svg").count()
    look(page, cloud, "second-site-copie")
    page.goto(cloud.url + "/vault/communes/21231/")
    assert "Ceci est la seconde copie, à jour du" in (page.text_content("main") or "")
    look(page, cloud, "second-site-commune")
    records(cloud, PROMOTED)
    assert "12 objets" in said() and "replica recover" in (page.text_content("#reprendre") or "")
    look(page, cloud, "second-site-promu")
    records(cloud, REPLACED)
    assert "ne prend plus rien" in said()
    assert "replica add" in (page.text_content("#ajouter") or "")
