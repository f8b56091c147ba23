"""The API as a program with a token meets it: what it reads, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from django.http import HttpResponse
from django.test import Client

from souverain.cli import main
from souverain.core import access, journal, services
from souverain.core.models import Organisation, User
from souverain.core.models import RoleAssignment as Assignment
from souverain.core.roles import Role
from souverain.portal.models import Membership
from souverain.vault import services as vault

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
Ask = Callable[..., HttpResponse]


@pytest.fixture
def places() -> dict[str, Organisation]:
    kinds = Organisation.Kind
    return {
        "21": Organisation.objects.create(kind=kinds.DEPARTEMENT, code="21", name="Côte-d'Or"),
        "21231": Organisation.objects.create(kind=kinds.COMMUNE, code="21231", name="Dijon"),
        "21054": Organisation.objects.create(kind=kinds.COMMUNE, code="21054", name="Beaune"),
    }


def token(role: Role, place: Organisation, *scopes: str) -> Ask:
    """A program with a token of somebody who holds a role."""
    user = User.objects.create_user(f"{role}-{place.code}-{len(scopes)}@exemple.fr")
    Assignment.objects.create(user=user, role=role, organisation=place)
    _, secret = services.create_token(
        access.of_user(user), user, name="essai", scopes=scopes, life=timedelta(days=1)
    )
    return caller({"authorization": f"Bearer {secret}"})


def caller(headers: dict[str, str]) -> Ask:
    client = Client(raise_request_exception=False, headers={"host": "localhost", **headers})

    def ask(path: str, method: str = "GET", **query: Any) -> HttpResponse:
        return client.generic(method, path, query_params=query)

    return ask


def read(answer: HttpResponse) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def problem(answer: HttpResponse, status: int) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    )
    told: dict[str, Any] = json.loads(answer.content)
    assert {"type", "title", "status", "detail"} <= set(told) and told["status"] == status
    return told


# What a token reads ------------------------------------------------------------------------------


def test_a_communes_vault_is_what_the_console_says(places: dict[str, Organisation]) -> None:
    dijon = places["21231"]
    _, repository = vault.add_device(access.SYSTEM, dijon, "Serveur", ["backup"], "general")
    ask = token(Role.COMMUNE_MEMBER, dijon, "vault.view")
    found = read(ask("/api/vault/communes/21231"))
    told = CliRunner().invoke(main, ["vault", "status", "--commune", "21231", "--json"])
    assert found["sets"] == json.loads(told.stdout)["items"] and len(found["sets"]) == 1
    told = CliRunner().invoke(main, ["vault", "device", "list", "--json"])
    assert found["devices"] == json.loads(told.stdout)["items"] and len(found["devices"]) == 1
    assert (found["commune"], found["stored_bytes"]) == ("21231", 0)
    assert found["quota_bytes"] == vault.quota_bytes(dijon) and found["last_deposit_at"] is None
    secret = repository.partition("://")[2].partition("@")[0].partition(":")[2]
    assert secret and secret not in json.dumps(found)


def test_the_journal_is_read_page_after_page_within_reach(
    places: dict[str, Organisation],
) -> None:
    for number in range(5):
        for code in ("21231", "21054"):
            journal.append(
                access.SYSTEM,
                "vault.quota_set",
                organisation=code,
                data={"number": number},
                detail={"nom": "Personne de la mairie"},
            )
    ask = token(Role.COMMUNE_ADMIN, places["21231"], "core.journal")
    mine: list[dict[str, Any]] = []
    older: int | None = 2**53
    while older is not None:
        page = read(ask("/api/journal", before=older, limit=2))
        assert page["count"] == len(page["items"]) <= 2
        mine, older = mine + page["items"], page["older"]
    assert [entry["data"]["number"] for entry in mine] == [4, 3, 2, 1, 0]
    assert {entry["organisation"] for entry in mine} == {"21231"}
    assert "Personne de la mairie" not in json.dumps(mine)
    newer = read(ask("/api/journal", after=mine[-1]["seq"]))["items"]
    assert [entry["seq"] for entry in newer] == [entry["seq"] for entry in mine[:-1]]
    assert read(ask("/api/journal", organisation="21054"))["items"] == []
    whole = read(token(Role.AUDITOR, places["21"], "core.journal")("/api/journal", limit=500))
    assert whole["items"][0]["seq"] == journal.head().seq
    assert whole["items"][0]["hash"] == journal.head().hash


def test_a_membership_is_what_the_console_says(places: dict[str, Organisation]) -> None:
    ask = token(Role.COMMUNE_MEMBER, places["21231"], "portal.membership")
    problem(ask("/api/portal/communes/21231/membership"), 404)
    Membership.objects.create(
        organisation=places["21231"], state="joined", tools=["vault"], joined_on=date(2024, 11, 23)
    )
    found = read(ask("/api/portal/communes/21231/membership"))
    told = json.loads(CliRunner().invoke(main, ["membership", "show", "21231", "--json"]).stdout)
    assert found == {key: told[key] for key in found} and found["joined_on"] == "2024-11-23"


@pytest.mark.parametrize(
    "path", ["/api/journal", "/api/vault/communes/21231", "/api/portal/communes/21231/membership"]
)
def test_a_token_without_the_right_reads_nothing(
    places: dict[str, Organisation], path: str
) -> None:
    ask = token(Role.OPERATOR, places["21"], "core.people")
    assert "droit" in problem(ask(path), 403)["detail"]
    assert caller({})(path).headers["WWW-Authenticate"] == "Bearer"
    assert "jeton" in problem(caller({})(path), 401)["detail"]
    assert problem(caller({"authorization": "Bearer souv_faux"})(path), 401)


def test_the_page_of_tokens_says_what_each_right_opens(places: dict[str, Organisation]) -> None:
    user = User.objects.create_user("operateur@exemple.fr")
    Assignment.objects.create(user=user, role=Role.OPERATOR, organisation=places["21"])
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    page = client.get("/profil/jetons/").content.decode()
    assert "GET /api/journal" in page and "GET /api/vault/communes/{code}" in page


# How it is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/", 404),
        ("/api/inconnu", 404),
        ("/api/territory/communes/99999", 404),
        ("/api/vault/communes/99999", 404),
        ("/api/territory/communes/dijon", 422),
    ],
)
def test_an_address_that_names_nothing_is_a_problem(
    places: dict[str, Organisation], path: str, status: int
) -> None:
    problem(token(Role.OPERATOR, places["21"], "vault.view")(path), status)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("limit", "0", "limit : un nombre d'au moins 1 est attendu."),
        ("limit", "501", "limit : un nombre d'au plus 500 est attendu."),
        ("limit", "mille", "limit : un nombre entier est attendu."),
        ("before", "-1", "before : un nombre d'au moins 1 est attendu."),
        ("after", "9" * 30, "after : un nombre d'au plus 9007199254740992 est attendu."),
        ("verb", "x" * 61, "verb : 60 caractères au plus."),
    ],
)
def test_a_wrong_argument_is_named_in_french(
    places: dict[str, Organisation], name: str, value: str, said: str
) -> None:
    ask = token(Role.OPERATOR, places["21"], "core.journal")
    told = problem(ask("/api/journal", **{name: value}), 422)
    assert told["detail"] == said
    assert told["errors"] == [{"where": f"query.{name}", "what": said.partition(" : ")[2][:-1]}]


def test_methods(places: dict[str, Organisation]) -> None:
    ask = token(Role.OPERATOR, places["21"], "core.journal")
    refused = ask("/api/journal", "DELETE")
    problem(refused, 405)
    assert refused.headers["Allow"] == "GET, HEAD, OPTIONS"
    options = ask("/api/journal", "OPTIONS")
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["Allow"] == "GET, HEAD, OPTIONS"
    whole, head = ask("/api/journal"), ask("/api/journal", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    assert ask("/api/inconnu", "OPTIONS").status_code == 404


def test_a_fault_of_the_program_is_a_problem_without_its_secrets(
    places: dict[str, Organisation], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("un secret")

    monkeypatch.setattr("souverain.core.journal_reader.page", fail)
    answer = token(Role.OPERATOR, places["21"], "core.journal")("/api/journal")
    assert "secret" not in json.dumps(problem(answer, 500))
    assert answer.headers["X-Frame-Options"] == "DENY", "the protective headers stay"


def test_a_foreign_host_is_a_problem() -> None:
    problem(caller({"host": "pirate.example"})("/api/territory/communes"), 400)
