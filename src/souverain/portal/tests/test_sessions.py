"""Sessions and cookies, as somebody on the same network, on another site or after us meets them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from souverain.core import access, services
from souverain.core.roles import Role
from souverain.core.tests import conftest
from souverain.core.tests.conftest import Cast
from souverain.portal.tests.test_members import PASSWORD, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
cast = conftest.cast
ELSEWHERE = [
    *("https://pirate.example/", "//pirate.example/", "/\\pirate.example", "javascript:alert(1)"),
    *(
        "http:///pirate.example",
        "https:pirate.example",
        "\thttps://pirate.example",
        "///pirate.example",
    ),
]


def sign_in(client: Client, cast: Cast, **form: str) -> Any:
    address = cast.people[Role.COMMUNE_ADMIN].email
    return client.post("/compte/login/", {"login": address, "password": PASSWORD, **form})


def test_a_session_that_was_planted_is_not_the_one_that_is_opened(cast: Cast) -> None:
    client = Client(headers={"host": "localhost"})
    session = client.session
    session["chosen"] = "by the attacker"
    session.save()
    planted = session.session_key
    assert sign_in(client, cast).status_code == 302
    assert client.session.session_key != planted
    assert not Session.objects.filter(pk=planted).exists()


def test_another_site_does_not_sign_anybody_out(cast: Cast) -> None:
    client = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    client.force_login(cast.people[Role.COMMUNE_ADMIN])
    assert client.post("/compte/logout/").status_code == 403
    assert client.get("/compte/logout/").status_code == 200
    assert client.get("/profil/").status_code == 200


@pytest.mark.parametrize("where", ELSEWHERE)
def test_no_sign_in_and_no_sign_out_leads_to_another_site(cast: Cast, where: str) -> None:
    client = Client(headers={"host": "localhost"})
    assert sign_in(client, cast, next=where).headers["Location"] == "/"
    client = Client(headers={"host": "localhost"})
    client.get("/compte/login/", {"next": where})
    assert sign_in(client, cast).headers["Location"] == "/"
    again = client.post("/compte/reauthenticate/", {"password": PASSWORD, "next": where})
    assert again.headers["Location"].startswith("/") and "pirate" not in again.headers["Location"]
    assert client.post("/compte/logout/", {"next": where}).headers["Location"] == "/"


def test_the_cookie_of_a_session_is_out_of_reach_of_scripts_and_other_sites(cast: Cast) -> None:
    client = Client(headers={"host": "localhost"})
    sign_in(client, cast)
    client.get("/profil/")
    cookie = client.cookies["sessionid"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and not cookie["domain"]
    assert all(cookie["samesite"] == "Lax" for cookie in client.cookies.values())


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/profil/", "/profil/jetons/", "/notifications/", "/administration/personnes/"),
        *("/compte/2fa/", "/compte/2fa/totp/activate/", "/journal/", "/adhesions/"),
        *("/administration/21/membres/", "/vault/communes/21231/"),
    ],
)
def test_nothing_personal_stays_in_a_browser_or_a_proxy(cast: Cast, path: str) -> None:
    client = signed_in(cast.people[Role.OPERATOR])
    answer = client.get(path)
    assert answer.status_code in (200, 302), path
    assert "no-store" in answer.headers["Cache-Control"]


def test_what_the_api_says_to_a_token_is_not_kept_either(cast: Cast) -> None:
    user = cast.people[Role.OPERATOR]
    _, secret = services.create_token(
        access.of_user(user), user, name="x", scopes=["core.members"], life=timedelta(days=1)
    )
    client = Client(headers={"host": "localhost", "authorization": f"Bearer {secret}"})
    assert "no-store" in client.get("/api/territory/epci").headers["Cache-Control"]
