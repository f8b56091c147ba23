"""Each role walks every link that its pages show: none leads to a refusal, or nowhere."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import urldefrag, urljoin

import pytest
from django.http import HttpResponse
from django.test import Client

from souverain.core import clock, notifications
from souverain.core.access import SYSTEM
from souverain.core.models import User
from souverain.core.roles import Role
from souverain.portal import services
from souverain.portal.engine.members_file import Contact
from souverain.portal.tests.conftest import Town
from souverain.vault import services as vault
from souverain.vault.models import DepositSet

pytestmark = pytest.mark.django_db
DIJON, VAULT = "/communes/21231/", "/vault/communes/21231/"
_LINK = re.compile(r"<a [^>]*href=\"([^\"]+)\"")
_TITLE = re.compile(r"<title>(.*?) · Cloud Côte-d&#x27;Or</title>", re.S)
_WALK_MAX = 400


def sign_in(user: User) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def text_of(answer: HttpResponse) -> str:
    """A page as its reader sees it, with plain spaces."""
    found = unescape(re.sub(r"<[^>]+>", " ", answer.content.decode()))
    return re.sub(r"\s+", " ", found)


def walk(client: Client, *starts: str) -> dict[str, str]:
    """Every page that links lead to, from some pages that may be opened or not: address → HTML."""
    pages: dict[str, str] = {}
    todo = [(start, "") for start in starts if client.get(start).status_code == 200]
    while todo:
        address, seen_on = todo.pop()
        if address in pages:
            continue
        answer = client.get(address)
        assert answer.status_code < 400, f"{answer.status_code}: {address}, on {seen_on}"
        html = "" if answer.streaming else answer.content.decode()
        pages[address] = html if answer["Content-Type"].startswith("text/html") else ""
        assert len(pages) < _WALK_MAX
        for link in _LINK.findall(pages[address]):
            target, _ = urldefrag(urljoin(address, unescape(link)))
            if target.startswith("/"):
                todo.append((target, address))
    return pages


@pytest.fixture
def busy(town: Town) -> Town:
    """Dijon asked to join and has a device, an open set and a late one; Beaune has joined."""
    services.ask(SYSTEM, town.dijon, ["vault"], [Contact("elected", "Éva")])
    asked = services.ask(SYSTEM, town.beaune, ["vault"], [Contact("elected", "Luc")])
    services.join(SYSTEM, asked, clock.today())
    vault.add_device(SYSTEM, town.dijon, "poste", ["backup"])
    vault.create_set(SYSTEM, town.dijon, "comptes", kind="accounts")
    DepositSet.objects.filter(code="comptes").update(
        last_deposit_at=clock.now() - timedelta(days=3)
    )
    return town


@pytest.mark.parametrize("role", list(Role))
def test_no_link_leads_to_a_refusal(busy: Town, role: Role) -> None:
    pages = walk(sign_in(busy.people[role]), "/", DIJON, VAULT)
    assert len(pages) > 5


def test_no_link_leads_a_visitor_to_a_refusal(busy: Town) -> None:
    assert len(walk(Client(headers={"host": "localhost"}), "/")) > 5


def test_each_page_has_a_title_of_its_own_and_one_heading(busy: Town) -> None:
    pages = walk(sign_in(busy.people[Role.OPERATOR]), "/", DIJON, VAULT)
    titles: dict[str, str] = {}
    for address, html in pages.items():
        if not html:
            continue
        assert html.count("<h1") == 1, address
        found = _TITLE.search(html)
        assert found and found[1].strip(), address
        path = address.partition("?")[0]
        assert titles.setdefault(found[1], path) == path, (found[1], titles[found[1]], path)


def test_an_operator_s_home_begins_with_what_needs_her(busy: Town) -> None:
    client = sign_in(busy.people[Role.OPERATOR])
    notifications.notify([busy.people[Role.COMMUNE_ADMIN]], "Essai", "Un message.")
    answer = client.get("/")
    said = text_of(answer)
    late, mail, sign = (
        said.find(words)
        for words in (
            "1 commune en retard de sauvegarde",
            "aucun serveur de courrier",
            "convention à signer",
        )
    )
    assert -1 < late < mail < sign < said.find("Ce que vous pouvez faire")
    assert f'href="{VAULT}"' in answer.content.decode()
    DepositSet.objects.filter(code="comptes").update(last_deposit_at=clock.now())
    assert "en retard de sauvegarde" not in text_of(client.get("/"))
    for role in (Role.COMMUNE_ADMIN, Role.COMMUNE_MEMBER, Role.AUDITOR):
        assert "retard de sauvegarde" not in text_of(sign_in(busy.people[role]).get("/"))


def test_a_commune_s_people_see_their_commune_first(busy: Town) -> None:
    for role in (Role.COMMUNE_ADMIN, Role.COMMUNE_MEMBER):
        said = text_of(sign_in(busy.people[role]).get("/"))
        assert -1 < said.find("Ma commune") < said.find("Ce que vous pouvez faire")
        assert "Ce qui vous attend" not in said
