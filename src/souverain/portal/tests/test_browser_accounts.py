"""A real Chromium: second factors, passkeys, tokens, invitations, and a real provider."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from souverain.core.tests import glewlwyd
from souverain.portal.tests.test_browser import AXE, wait_for_health

pytestmark = pytest.mark.browser
PASSWORD = "vignes-et-climats-2026"


class Cloud(NamedTuple):
    url: str
    sign_in_link: str
    home: Path
    provider: glewlwyd.Glewlwyd


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The whole program, with glewlwyd as its provider."""
    if shutil.which("glewlwyd") is None and not os.environ.get("CI"):
        pytest.skip("Debian's glewlwyd is not installed")
    home = tmp_path_factory.mktemp("home")
    port = glewlwyd.free_port()
    url = f"http://localhost:{port}"
    provider = glewlwyd.Glewlwyd(
        tmp_path_factory.mktemp("glewlwyd"),
        f"{url}/compte/openid/retour/",
        f"{url}/compte/openid/deconnecte/",
    )
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(home),
        "PORT": str(port),
        "SOUVERAIN_OIDC_DISCOVERY_URL": provider.discovery_url,
        "SOUVERAIN_OIDC_CLIENT_ID": glewlwyd.CLIENT,
        "SOUVERAIN_OIDC_CLIENT_SECRET": glewlwyd.SECRET,
        "SOUVERAIN_OIDC_NAME": "le compte du département",
    }
    command = [sys.executable, "-m", "souverain"]
    server = None
    try:
        made = subprocess.run(
            [*command, "init", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        with (home / "serve.log").open("wb") as log:
            server = subprocess.Popen([*command, "serve"], env=environment, stdout=log, stderr=log)
        wait_for_health(f"{url}/health", server, home / "serve.log")
        yield Cloud(url, json.loads(made.stdout)["sign_in_link"], home, provider)
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        provider.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking", "--disable-sync"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def operator(cloud: Cloud, browser: Browser) -> Page:
    """The first operator's browser, signed in with a password."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(20_000)
    page.goto(cloud.sign_in_link)
    page.get_by_label("Votre prénom et votre nom").fill("Jeanne Martin")
    page.get_by_role("button", name="Accepter et se connecter").click()
    choose_password(page)
    return page


def choose_password(page: Page) -> None:
    page.locator("input[name=password1]").fill(PASSWORD)
    page.locator("input[name=password2]").fill(PASSWORD)
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()


ENGLISH = re.compile(
    r"\b(Activate|Deactivate|Recovery|Authenticator|Security Key|Sign In|Password|Back|Add|Remove"
    r"|Edit|Name|Code:|View|Generate|Download|Passkey|Cancel|Confirm|Are you sure|You|Your)\b"
)


def assert_sound(page: Page, name: str) -> None:
    """French, no accessibility fault, no overflow, at both widths; pictures when asked for."""
    folder = os.environ.get("SOUVERAIN_SCREENSHOTS")
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate(AXE.read_text())
        found = page.evaluate("async () => (await axe.run()).violations.map(v => v.id)")
        assert found == [], f"{page.url}: {found}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
        if folder:
            page.screenshot(path=f"{folder}/{name}-{width}.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    words = page.locator("main").inner_text()
    assert not ENGLISH.search(words), f"{page.url}: {words}"


def totp(secret: str) -> str:
    """RFC 6238, SHA-1, 30 s, 6 digits, computed apart from the library that checks it. A code
    about to end is left alone, as a person does: the next one comes within seconds."""
    while time.time() % 30 > 22:
        time.sleep(0.2)
    key = base64.b32decode(secret)
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    value = struct.unpack(">I", digest[start : start + 4])[0] & 0x7FFFFFFF
    return f"{value % 1_000_000:06d}"


def sign_out(page: Page) -> None:
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Se déconnecter").click()
    page.get_by_role("link", name="Se connecter").first.wait_for()


def give_password(page: Page, cloud: Cloud, email: str) -> None:
    page.goto(f"{cloud.url}/compte/login/")
    page.locator("input[name=login]").fill(email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Se connecter", exact=True).click()


def confirm_password(page: Page, then: str) -> None:
    """An open session is not enough to change how one signs in."""
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Confirmer").click()
    page.wait_for_url(then)


def test_second_factors_and_passkeys(cloud: Cloud, operator: Page) -> None:
    page, email = operator, "operateur@cotedor.invalid"
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)

    page.goto(cloud.url)
    expect(page.get_by_text("Protégez votre compte")).to_be_visible()
    assert_sound(page, "accueil-sans-second-facteur")
    page.get_by_role("link", name="Ajoutez un téléphone ou une clé de sécurité").click()
    assert_sound(page, "second-facteur")

    page.goto(f"{cloud.url}/compte/2fa/totp/activate/")
    assert_sound(page, "reauthentification")
    confirm_password(page, "**/totp/activate/**")
    assert_sound(page, "totp-activer")
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("input[name=code]").fill("000000")
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()
    assert_sound(page, "totp-mauvais-code")
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("input[name=code]").fill(totp(secret))
    page.locator("main button[type=submit]").first.click()
    page.wait_for_load_state()
    page.goto(f"{cloud.url}/compte/2fa/recovery-codes/")
    assert_sound(page, "codes-de-secours")
    codes = page.locator("textarea").input_value().split()
    assert len(codes) == 10

    page.goto(cloud.url)
    expect(page.get_by_text("Protégez votre compte")).to_have_count(0)
    sign_out(page)
    give_password(page, cloud, email)
    page.wait_for_url("**/2fa/authenticate/**")
    assert_sound(page, "second-facteur-demande")
    page.goto(f"{cloud.url}/profil/")
    assert "/2fa/authenticate/" in page.url, "a password alone must open nothing"
    page.locator("input[name=code]").fill(totp(secret))
    page.get_by_role("button", name="Se connecter", exact=True).click()
    page.locator(".menu summary").wait_for()

    sign_out(page)
    give_password(page, cloud, email)
    page.locator("input[name=code]").fill(codes[0])
    page.get_by_role("button", name="Se connecter", exact=True).click()
    page.locator(".menu summary").wait_for()

    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    authenticator = devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )["authenticatorId"]
    page.goto(f"{cloud.url}/compte/2fa/webauthn/add/")
    confirm_password(page, "**/webauthn/add/**")
    assert_sound(page, "cle-ajouter")
    page.locator("input[name=name]").fill("Clé du bureau")
    page.locator("input[name=passwordless]").check()
    page.get_by_role("button", name="Ajouter").click()
    page.get_by_text("Clé de sécurité ajoutée").wait_for()
    held = devtools.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})
    assert len(held["credentials"]) == 1
    page.goto(f"{cloud.url}/compte/2fa/webauthn/")
    assert "Clé du bureau" in page.locator("main").inner_text()
    assert_sound(page, "cles")

    sign_out(page)
    page.goto(f"{cloud.url}/compte/login/")
    assert_sound(page, "connexion")
    page.get_by_role("button", name="Se connecter avec une clé d'accès").click()
    page.wait_for_url(f"{cloud.url}/")
    page.goto(f"{cloud.url}/profil/")
    assert email in page.locator("main").inner_text()
    assert_sound(page, "profil")

    page.goto(f"{cloud.url}/compte/2fa/webauthn/")
    page.locator("main a[href*='/remove/']").click()
    confirm_password(page, "**/remove/**")
    assert_sound(page, "cle-retirer")
    page.locator("main button[type=submit]").last.click()
    page.get_by_text("Clé de sécurité enlevée").wait_for()
    page.goto(f"{cloud.url}/compte/2fa/webauthn/")
    assert "Clé du bureau" not in page.locator("main").inner_text()
    devtools.detach()
    assert complaints == []


PROBE = """
import sys, django
django.setup()
from souverain.core import access
for line in sys.stdin:
    print("live" if access.of_token(line.strip()) else "dead", flush=True)
"""


def test_a_token_dies_at_once_in_another_process(cloud: Cloud, operator: Page) -> None:
    page = operator
    page.goto(f"{cloud.url}/profil/jetons/")
    assert_sound(page, "jetons-aucun")
    page.get_by_label("À quoi sert ce jeton").fill("export du vendredi")
    page.get_by_label("Lire le journal").check()
    page.get_by_role("button", name="Créer le jeton").click()
    secret = (page.locator("#jeton").text_content() or "").strip()
    assert secret.startswith("souv_")
    assert_sound(page, "jetons-nouveau")
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(cloud.home),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    with subprocess.Popen(
        [sys.executable, "-c", PROBE],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        asking, answering = process.stdin, process.stdout
        assert asking is not None and answering is not None

        def ask() -> str:
            asking.write(secret + "\n")
            asking.flush()
            return answering.readline().strip()

        assert ask() == "live"
        page.goto(f"{cloud.url}/profil/jetons/")
        assert secret not in page.content()
        page.get_by_role("button", name="Révoquer").click()
        page.locator("dialog[open] button[type=submit]").click()
        page.get_by_text("est révoqué").wait_for()
        assert ask() == "dead"
        asking.close()
    assert secret not in (cloud.home / "serve.log").read_text()


def test_members_groups_and_people(cloud: Cloud, operator: Page, browser: Browser) -> None:
    page = operator
    page.goto(f"{cloud.url}/administration/21231/membres/")
    assert_sound(page, "membres-vide")
    page.get_by_label("Adresse électronique").fill("maire@dijon.example")
    page.get_by_label("Nom et prénom").fill("Anne Morel")
    page.get_by_label("Rôle").select_option("commune-admin")
    page.get_by_role("button", name="Inviter").click()
    assert_sound(page, "invitation-lien")
    link = (page.locator("#lien").text_content() or "").strip()
    page.goto(f"{cloud.url}/administration/21231/membres/")
    assert_sound(page, "membres-invitation")

    guest = browser.new_context().new_page()
    guest.goto(link)
    assert_sound(guest, "invitation")
    expect(guest.get_by_label("Votre prénom et votre nom")).to_have_value("Anne Morel")
    guest.get_by_role("button", name="Accepter et se connecter").click()
    assert_sound(guest, "choisir-mot-de-passe")
    choose_password(guest)
    guest.goto(f"{cloud.url}/communes/21231/")
    guest.get_by_role("link", name="Inviter et gérer les membres").click()
    guest.get_by_label("Nom du groupe").fill("Service technique")
    guest.get_by_role("button", name="Créer le groupe").click()
    guest.get_by_label("Personne").select_option(label="Anne Morel")
    guest.get_by_role("button", name="Ajouter").click()
    guest.get_by_text("fait partie du groupe").wait_for()
    assert_sound(guest, "groupe")

    page.goto(f"{cloud.url}/administration/21231/membres/")
    page.get_by_role("button", name="Retirer").click()
    page.locator("dialog[open]").get_by_text("dernier administrateur").wait_for()
    assert_sound(page, "membres-dernier-administrateur")
    page.goto(f"{cloud.url}/administration/personnes/?q=morel")
    assert_sound(page, "personnes")
    page.get_by_role("link", name="Anne Morel").click()
    assert_sound(page, "personne")
    page.get_by_role("button", name="Désactiver ce compte").click()
    page.locator("dialog[open] button[type=submit]").click()
    page.get_by_text("est désactivé").wait_for()
    guest.goto(f"{cloud.url}/profil/")
    assert "/compte/login/" in guest.url
    guest.context.close()


def test_an_invited_person_comes_through_a_real_provider(
    cloud: Cloud, operator: Page, browser: Browser
) -> None:
    cloud.provider.add_person("agnes", "agnes@beaune.example")
    cloud.provider.add_person("inconnu", "inconnu@ailleurs.example")
    operator.goto(f"{cloud.url}/administration/21054/membres/")
    operator.get_by_label("Adresse électronique").fill("agnes@beaune.example")
    operator.get_by_role("button", name="Inviter").click()
    operator.locator("#lien").wait_for()

    page = browser.new_context().new_page()
    complaints: list[str] = []
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    go_through_glewlwyd(page, cloud, "agnes")
    page.wait_for_url(f"{cloud.url}/")
    page.goto(f"{cloud.url}/communes/21054/")
    assert "agnes" in page.locator("main").inner_text().lower()
    assert_sound(page, "commune-du-membre")
    own = [line for line in complaints if "Content Security Policy" in line]
    assert own == []

    page.goto(cloud.url)
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Se déconnecter").click()
    page.wait_for_url(re.compile(re.escape(cloud.provider.url)))
    page.goto(f"{cloud.url}/profil/")
    assert "/compte/login/" in page.url
    page.context.close()

    stranger = browser.new_context().new_page()
    go_through_glewlwyd(stranger, cloud, "inconnu")
    stranger.get_by_text("Les comptes se créent sur invitation").wait_for()
    assert_sound(stranger, "openid-refus")
    stranger.context.close()


def go_through_glewlwyd(page: Page, cloud: Cloud, username: str) -> None:
    """Click as a person does: our button, the provider's own page, its button."""
    page.set_default_timeout(20_000)
    page.goto(f"{cloud.url}/compte/login/")
    page.get_by_role("button", name="Se connecter avec le compte du département").click()
    page.wait_for_url(re.compile(re.escape(cloud.provider.url)))
    page.locator("#username").fill(username)
    page.locator("#password").fill(glewlwyd.PASSWORD)
    page.locator("#loginbut").click()
    page.get_by_role("button", name="Continue").click()
