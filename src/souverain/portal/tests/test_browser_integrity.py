"""What people read of the integrity pass, in a real Chromium, after the command found damage."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from souverain.portal.tests.test_browser import Cloud, browser, cloud
from souverain.portal.tests.test_browser_vault import COMMUNE, look, sign_in

__all__ = ["browser", "cloud"]
pytestmark = pytest.mark.browser
DEPOSIT = """
import django; django.setup()
import hashlib, random
from souverain.core import access
from souverain.core.models import Organisation
from souverain.vault import services
dijon, dice = Organisation.objects.get(code='21231'), random.Random(1)
device, _ = services.add_device(access.SYSTEM, dijon, 'poste', ['backup'])
for number in range(8):
    content = dice.randbytes(100_000)
    incoming = services.store().incoming()
    incoming.write(content)
    name = hashlib.sha256(content).hexdigest()
    services.record_object(services.set_of(device), 'data', name, incoming, device)
"""


def test_the_pages_say_found_mended_and_lost(cloud: Cloud, browser: Browser) -> None:
    def run(*command: str, code: int = 0) -> None:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True)
        assert done.returncode == code, done.stderr

    environment = {**cloud.environment, "DJANGO_SETTINGS_MODULE": "souverain.config.settings"}
    scrub = ("-m", "souverain", "vault", "scrub", "--repair", "--commune", "21231")
    run("-c", DEPOSIT)
    run(*scrub)
    packs = sorted(Path(environment["SOUVERAIN_HOME"]).glob("objects/vault/21231/general/data/*/*"))
    assert len(packs) == 8
    packs[0].write_bytes(b"")
    run(*scrub)

    page = browser.new_page(viewport={"width": 1280, "height": 900})
    sign_in(page, cloud)
    page.goto(f"{cloud.url}{COMMUNE}#integrite")
    section = page.locator("section[aria-labelledby=integrite]")
    expect(section.get_by_text("Intact", exact=True)).to_be_visible()
    expect(section).to_contain_text("trouvés : 1 ; réparés : 1 ; perdus : 0")
    expect(section).to_contain_text("8 fichiers")
    assert "restauration" not in (section.locator("dl").text_content() or "").lower()
    look(page, cloud, "integrite-intact")

    for pack in packs[:3]:
        pack.write_bytes(os.urandom(7))
    run(*scrub, code=1)
    page.reload()
    expect(section.get_by_text("Objets perdus", exact=True)).to_be_visible()
    expect(section).to_contain_text("trouvés : 3 ; réparés : 0 ; perdus : 3")
    expect(section).to_contain_text("Lancez une sauvegarde")
    section.locator("summary").click()
    section.scroll_into_view_if_needed()
    for pack in packs[:3]:
        expect(section).to_contain_text(pack.name)
    look(page, cloud, "integrite-perdus")
    page.goto(f"{cloud.url}/vault/")
    row = page.locator("table").filter(has_text="Dernier passage complet").locator("tbody tr")
    expect(row).to_contain_text("Objets perdus")
    expect(page.locator("main")).to_contain_text("La parité est sur le même disque")
    look(page, cloud, "integrite-operateur")
