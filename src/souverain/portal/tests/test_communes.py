"""The communes' pages: what anybody reads, and what only some may."""

from __future__ import annotations

import gzip
import json
from datetime import date
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from souverain.core import queries
from souverain.core.access import SYSTEM
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.queries import Membership
from souverain.core.roles import Role
from souverain.territory.services import load_departement

pytestmark = pytest.mark.django_db
MAP = "/communes/carte.geojson"


@pytest.fixture(autouse=True)
def loaded(db: None) -> None:
    load_departement(SYSTEM, "21", settings.DECOUPAGE)


def signed_in(role: Role, code: str) -> Client:
    user = User.objects.create_user(f"{role}-{code}@exemple.fr", "un mot de passe long")
    RoleAssignment.objects.create(
        user=user, role=role, organisation=Organisation.objects.get(code=code)
    )
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, path: str, **query: str) -> str:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return answer.content.decode()


def properties(client: Client) -> dict[str, Any]:
    return {f["id"]: f["properties"] for f in json.loads(client.get(MAP).content)["features"]}


def links(client: Client) -> set[str]:
    return {code for code, told in properties(client).items() if "href" in told}


@pytest.fixture
def dijon_has_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = {"21231": Membership("21231", date(2026, 9, 1), frozenset({"vault"}))}
    monkeypatch.setattr(type(queries.members), "ask", lambda query: joined)


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(queries.members), "ask", lambda query: None)


@pytest.mark.usefixtures("dijon_has_joined")
def test_anybody_sees_who_has_joined_and_no_private_link(client: Client) -> None:
    shown = page(client, "/communes/")
    assert "1 commune sur 698 a rejoint le cloud du département" in shown
    assert 'href="/communes/21231/"' not in shown
    told = properties(client)
    assert (len(told), links(client)) == (698, set())
    assert {code for code, one in told.items() if one["state"] == "joined"} == {"21231"}
    assert set(told["21231"]) == {"code", "name", "approximate", "state"}, "open data only"


@pytest.mark.usefixtures("nobody_answers")
def test_without_a_room_that_knows_members_the_map_has_one_category(client: Client) -> None:
    shown = page(client, "/communes/")
    assert "698 communes, 540\u202f100 habitants" in shown
    assert "rejoint" not in shown
    assert {one["state"] for one in properties(client).values()} == {"commune"}


def test_links_lead_where_this_person_may_go() -> None:
    secretary = signed_in(Role.COMMUNE_MEMBER, "21054")
    assert links(secretary) == {"21054"}
    shown = page(secretary, "/communes/")
    assert 'href="/communes/21054/"' in shown and 'href="/communes/21231/"' not in shown
    assert len(links(signed_in(Role.OPERATOR, "21"))) == 698
    assert links(signed_in(Role.AUDITOR, "21")) == set()


def test_the_map_is_asked_again_but_not_sent_twice(client: Client) -> None:
    first = client.get(MAP)
    assert first["Cache-Control"] == "private, no-cache"
    again = client.get(MAP, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    small = client.get(MAP, headers={"accept-encoding": "gzip"})
    assert gzip.decompress(small.content) == first.content
    operator = signed_in(Role.OPERATOR, "21").get(MAP, headers={"if-none-match": first["ETag"]})
    assert operator.status_code == 200, "another person's map is another map"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("chatillon s/ seine", "Châtillon-sur-Seine"),
        ("21 000", "Dijon"),
        ("dijno", "Dijon"),
        ("letang vergy", "L&#x27;Étang-Vergy"),
        ("bierre les semur", "Le Val-Larrey (anciennement Bierre-lès-Semur)"),
        ("21231", "Dijon"),
    ],
)
def test_a_search_works_without_scripts(client: Client, typed: str, found: str) -> None:
    shown = page(client, "/communes/", q=typed)
    assert f"« {typed} »" in shown
    assert found in shown
    assert "data-map" not in shown


def test_a_search_that_finds_nothing_says_what_to_do(client: Client) -> None:
    shown = page(client, "/communes/", q="<script>alert(1)</script>")
    assert "Aucune commune ne répond à « &lt;script&gt;" in shown
    assert "Voir toutes les communes" in shown
    assert "<script>alert" not in shown


def test_a_code_leads_to_the_page_of_who_may_open_it(client: Client) -> None:
    secretary = signed_in(Role.COMMUNE_MEMBER, "21054")
    assert secretary.get("/communes/", {"q": "21054"}).headers["Location"] == "/communes/21054/"
    for other, code in ((secretary, "21231"), (client, "21054"), (secretary, "21")):
        assert other.get("/communes/", {"q": code}).status_code == 200


@pytest.mark.parametrize("text", ["é" * 5000, "%FF", "' OR 1=1 --", "{code}"])
@pytest.mark.db_both
def test_hostile_searches_are_answered(client: Client, text: str) -> None:
    assert client.get("/communes/", {"q": text}).status_code == 200


@pytest.mark.db_both
@pytest.mark.parametrize("code", ["99999", "é", "2123-", "21 31"])
def test_a_page_of_no_commune_is_not_found(code: str) -> None:
    assert signed_in(Role.OPERATOR, "21").get(f"/communes/{code}/").status_code == 404


def test_the_page_of_a_commune_is_for_those_who_may_see_it(client: Client) -> None:
    assert client.get("/communes/21272/").status_code == 302
    assert signed_in(Role.COMMUNE_ADMIN, "21231").get("/communes/21272/").status_code == 403
    own = page(signed_in(Role.COMMUNE_ADMIN, "21272"), "/communes/21272/")
    for fact in (
        "CC des Terres d&#x27;Auxois",
        "Montbard",
        "21140, 21390",
        "200085413",
        "Bierre-lès-Semur, Flée",
        "275 habitants",
        'data-focus-code="21272"',
    ):
        assert fact in own


@pytest.mark.usefixtures("dijon_has_joined")
def test_the_table_says_the_same_as_the_map(client: Client) -> None:
    shown = page(client, "/communes/", q="dijon")
    assert "A rejoint le cloud" in shown
    assert "Pas encore" in page(client, "/communes/", q="beaune")
