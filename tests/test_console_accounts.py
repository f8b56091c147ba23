"""`souverain user` and `souverain organisation`, as a person or a script meets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from django.test import Client

from souverain import console
from souverain.core.models import Invitation, JournalEntry, Organisation, User

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


@pytest.fixture(autouse=True)
def communes(db: None) -> None:
    kinds = Organisation.Kind
    Organisation.objects.create(kind=kinds.DEPARTEMENT, code="21", name="Côte-d'Or")
    Organisation.objects.create(kind=kinds.COMMUNE, code="21231", name="Dijon", siren="212102313")


def run(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def create(email: str, code: str, role: str, *more: str) -> Result:
    options = ("--email", email, "--organisation", code, "--role", role)
    return run(console.user, "create", *options, *more)


def test_user_create_gives_one_object_and_a_link_that_works_once() -> None:
    result = create("maire@dijon.fr", "21231", "commune-admin", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    made = json.loads(result.stdout)
    assert set(made) == {"email", "organisation", "role", "sign_in_link"}
    path = "/invitation/" + made["sign_in_link"].partition("/invitation/")[2]
    client = Client(headers={"host": "localhost"})
    assert client.post(path).headers["Location"] == "/compte/password/set/"
    assert User.objects.get().email == "maire@dijon.fr"
    assert Client(headers={"host": "localhost"}).post(path, follow=True).redirect_chain[0][0] == (
        "/compte/login/"
    )
    entry = JournalEntry.objects.get(verb="invitation.sent")
    assert entry.actor.startswith("console:")


@pytest.mark.parametrize(
    ("email", "code", "role", "said"),
    [
        ("maire@dijon.fr", "99999", "commune-admin", "Aucune organisation n'a le code 99999."),
        ("pas une adresse", "21231", "commune-admin", "n'est pas valable"),
        ("maire@dijon.fr", "21231", "operator", "ne se donne pas sur Dijon"),
        ("maire@dijon.fr", "21", "commune-admin", "ne se donne pas sur Côte-d'Or"),
    ],
)
def test_user_create_refuses_in_french_on_stderr(
    email: str, code: str, role: str, said: str
) -> None:
    for more in ((), ("--json",)):
        result = create(email, code, role, *more)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr
    assert not Invitation.objects.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "--email", "a@b.fr", "--organisation", "21231", "--role", "roi"),
        ("create", "--inconnu"),
    ],
)
def test_wrong_usage_of_user_is_exit_2(arguments: tuple[str, ...]) -> None:
    result = run(console.user, *arguments)
    assert result.exit_code == 2 and result.stdout == ""


def test_organisation_list_and_show() -> None:
    listed = json.loads(run(console.organisation, "list", "--json").stdout)
    dijon = {"code": "21231", "kind": "commune", "name": "Dijon", "siren": "212102313"}
    assert listed["count"] == 2 and listed["items"][1] == dijon
    assert listed["items"][0]["siren"] is None
    shown = run(console.organisation, "show", "21231", "--json")
    assert shown.exit_code == 0 and json.loads(shown.stdout) == dijon
    assert "Dijon" in run(console.organisation, "list").stdout


def test_an_unknown_organisation_is_exit_1_and_no_code_is_exit_2() -> None:
    result = run(console.organisation, "show", "99999", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Aucune organisation n'a le code 99999." in result.stderr
    assert run(console.organisation, "show").exit_code == 2
