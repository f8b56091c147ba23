"""`souverain user` and `souverain organisation`, as a person or a script meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
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


def link_in(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return str(json.loads(result.stdout)["sign_in_link"])


def opened(link: str) -> str:
    client = Client(headers={"host": "localhost"})
    return client.get("/invitation/" + link.partition("/invitation/")[2]).content.decode()


def test_a_second_link_to_the_same_role_replaces_the_first() -> None:
    first = link_in(create("maire@dijon.fr", "21231", "commune-admin", "--json"))
    second = link_in(create("Maire@Dijon.fr", "21231", "commune-admin", "--json"))
    assert "n'est plus valable" in opened(first) and "Vous êtes invité" in opened(second)
    link_in(create("maire@dijon.fr", "21231", "commune-member", "--json"))
    assert "Vous êtes invité" in opened(second), "another role is another invitation"


def test_user_create_says_that_the_person_has_the_role_already() -> None:
    user = User.objects.create_user("maire@dijon.fr")
    user.role_assignments.create(
        role="commune-admin", organisation=Organisation.objects.get(code="21231")
    )
    told = create("maire@dijon.fr", "21231", "commune-admin")
    assert told.exit_code == 0 and "maire@dijon.fr a déjà ce rôle pour Dijon" in told.stdout
    assert "déjà" not in create("maire@dijon.fr", "21231", "commune-member").stdout
    user.is_active = False
    user.save()
    closed = create("maire@dijon.fr", "21231", "commune-member")
    assert (closed.exit_code, closed.stdout) == (1, "")
    assert "désactivé" in closed.stderr


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str | None]:
    """`souverain init` on a database that is there; its link."""
    monkeypatch.setattr(console, "call_command", lambda *words, **options: None)
    return lambda: json.loads(run(console.initialise, "--json").stdout)["sign_in_link"]


def test_init_again_replaces_the_link_that_nobody_used(init: Callable[[], str | None]) -> None:
    first, second = init(), init()
    assert first and second
    assert "n'est plus valable" in opened(first)
    page = opened(second)
    assert "operateur@cotedor.invalid" in page, "by which address one signs in again"
    assert Invitation.objects.filter(accepted_at=None, revoked_at=None).count() == 1


def test_the_first_operator_gives_a_name_and_a_password_and_signs_in_again(
    init: Callable[[], str | None],
) -> None:
    link = init()
    assert link
    path = "/invitation/" + link.partition("/invitation/")[2]
    client = Client(headers={"host": "localhost"})
    assert 'name="full_name"' in client.get(path).content.decode()
    answer = client.post(path, {"full_name": "  Jeanne   Martin "})
    assert answer.headers["Location"] == "/compte/password/set/"
    assert init(), "who leaves before a password is chosen would be locked out"
    password = "vignes-et-climats-2026"
    client.post("/compte/password/set/", {"password1": password, "password2": password})
    assert User.objects.get().full_name == "Jeanne Martin"
    again = Client(headers={"host": "localhost"})
    again.post("/compte/login/", {"login": "operateur@cotedor.invalid", "password": password})
    assert "Jeanne Martin" in again.get("/profil/").content.decode()
    sent = Invitation.objects.count()
    assert init() is None and Invitation.objects.count() == sent
