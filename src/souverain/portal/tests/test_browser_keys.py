"""A key that somebody added, in a real Chromium: told, then recognised."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import Browser, expect

from souverain.portal.tests.test_browser import Cloud, browser, cloud
from souverain.portal.tests.test_browser_vault import COMMUNE, look, sign_in

__all__ = ["browser", "cloud"]
pytestmark = pytest.mark.browser
TWO_KEYS = """
import django; django.setup()
import hashlib
from souverain.core import access
from souverain.core.models import Organisation
from souverain.vault import services
dijon = Organisation.objects.get(code='21231')
device, _ = services.add_device(access.SYSTEM, dijon, 'portable du maire', ['backup'])
for content in (b'la cle de la mairie', b'une autre'):
    incoming = services.store().incoming()
    incoming.write(content)
    name = hashlib.sha256(content).hexdigest()
    services.record_object(services.set_of(device), 'keys', name, incoming, device)
"""


def test_a_key_that_was_added_is_told_until_somebody_meant_it(
    cloud: Cloud, browser: Browser
) -> None:
    environment = {**cloud.environment, "DJANGO_SETTINGS_MODULE": "souverain.config.settings"}
    subprocess.run([sys.executable, "-c", TWO_KEYS], env=environment, check=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    sign_in(page, cloud)
    page.goto(f"{cloud.url}{COMMUNE}")
    told = page.get_by_role("alert").filter(has_text="Clé ajoutée")
    expect(told).to_contain_text("portable du maire")
    look(page, cloud, "cle-ajoutee")
    told.get_by_role("button", name="C'était voulu").click()
    expect(page.get_by_text("C'est noté dans le journal")).to_be_visible()
    expect(told).to_have_count(0)
