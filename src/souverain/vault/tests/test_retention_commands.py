"""`souverain vault lock|hold|destruction|store`: the rules of the pages, from the console."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from souverain.cli import main
from souverain.core import access
from souverain.core.access import SYSTEM, Actor, of_user
from souverain.core.models import Device, JournalEntry, RoleAssignment, User
from souverain.core.roles import Role
from souverain.vault import destruction, retention, services
from souverain.vault.engine.retention import LOCK_DAYS
from souverain.vault.models import DepositSet
from souverain.vault.tests.test_object_lock import Site, bare, site, sites
from souverain.vault.tests.test_records import device

__all__ = ["bare", "device", "site", "sites"]
pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
OF_DIJON = ("--commune", "21231")


def run(*words: str, code: int = 0) -> Any:
    """The JSON of a command, or the French detail of its refusal."""
    done = CliRunner().invoke(main, ["vault", *words, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else json.loads(done.stderr)["detail"]


def said(*words: str) -> str:
    done = CliRunner().invoke(main, ["vault", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def deposit_set(device: Device) -> DepositSet:
    return services.set_of(device)


@pytest.fixture
def mayor(device: Device) -> Actor:
    user = User.objects.create_user("maire@exemple.fr", full_name="maire")
    RoleAssignment.objects.create(
        user=user, role=Role.COMMUNE_ADMIN, organisation=device.organisation
    )
    return of_user(user)


def test_a_lock_only_lengthens(deposit_set: DepositSet) -> None:
    assert run("lock", "show") == {
        "count": 1,
        "items": [{"commune": "21231", "set": "general", "days": LOCK_DAYS}],
    }
    assert run("lock", "lengthen", *OF_DIJON, "--days", "400")["days"] == 400
    assert "personne ne peut" in run("lock", "lengthen", *OF_DIJON, "--days", "90", code=1)
    assert retention.lock_days(deposit_set) == 400
    assert said("lock", "show", *OF_DIJON) == "21231/general  400 jours\n"
    assert "n'existe pas" in run("lock", "show", "--commune", "99999", code=1)
    assert "n'existe pas" in run("lock", "lengthen", *OF_DIJON, "--set", "x", "--days", "1", code=1)


@pytest.mark.parametrize(
    "words",
    [
        ("device", "list"),
        ("set", "list"),
        ("lock", "show"),
        ("hold", "list"),
        ("destruction", "list"),
    ],
)
def test_an_empty_list_says_so(words: tuple[str, str]) -> None:
    assert said(*words).startswith(("Aucun", "Rien"))


def test_the_console_is_one_person_whatever_name_it_takes(
    deposit_set: DepositSet, mayor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = run("hold", "place", *OF_DIJON, "--reason", "enquête", "--reference", "P-1")
    assert (placed["kind"], placed["placed_by"]) == ("legal", str(access.of_console()))
    assert "Vous l'avez posée" in run("hold", "lift", str(placed["id"]), code=1)
    monkeypatch.setenv("LOGNAME", "quelquun-d-autre")
    assert str(access.of_console()) == "console:quelquun-d-autre"
    assert "Vous l'avez posée" in run("hold", "lift", str(placed["id"]), code=1)
    assert run("hold", "list")["items"] == [placed]
    retention.lift(mayor, retention.holds(deposit_set)[0])
    assert run("hold", "list")["count"] == 0
    assert run("hold", "list", "--all")["items"][0]["lifted_by"] == str(mayor)

    other = retention.hold(mayor, deposit_set, "litige")
    assert "litige" in said("hold", "list", *OF_DIJON)
    assert run("hold", "lift", str(other.pk))["lifted_by"] == "console:quelquun-d-autre"
    assert "déjà levée" in run("hold", "lift", str(other.pk), code=1)
    assert "n'existe pas" in run("hold", "lift", "0", code=1)


def test_the_console_asks_or_approves_a_destruction_and_never_both(
    deposit_set: DepositSet, mayor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = ("--reason", "fin de mission", "--reference", "visa 12")
    asked = run("destruction", "ask", *OF_DIJON, *why)
    assert (asked["approved_at"], asked["due_at"]) == (None, None)
    assert "deux personnes" in run("destruction", "approve", *OF_DIJON, code=1)
    monkeypatch.setenv("LOGNAME", "quelquun-d-autre")
    assert "deux personnes" in run("destruction", "approve", *OF_DIJON, code=1)
    assert "à approuver" in said("destruction", "list")
    assert run("destruction", "cancel", *OF_DIJON)["cancelled_by"].startswith("console:")
    assert "en attente" in run("destruction", "cancel", *OF_DIJON, code=1)

    destruction.ask(mayor, deposit_set, "fin de mission", "visa 13")
    approved = run("destruction", "approve", *OF_DIJON)
    assert approved["asked_by"] == str(mayor) and approved["due_at"] is not None
    listed = run("destruction", "list", *OF_DIJON)
    assert [item["approved_by"] for item in listed["items"]] == [None, approved["approved_by"]]
    services.create_set(SYSTEM, deposit_set.organisation, "etat-civil", kind="civil-status")
    refused = run("destruction", "ask", *OF_DIJON, "--set", "etat-civil", *why, code=1)
    assert "conservation définitive" in refused


def test_the_store_of_a_folder_has_nothing_to_lock(deposit_set: DepositSet) -> None:
    found = run("store", "show")
    assert found == {"keeps_versions": False, "lock_days": None, "ok": True, "last": None}
    assert "dossier" in run("store", "keep", code=1)
    assert "pas de verrou d'objets" in run("store", "lock", code=1)


def test_the_store_on_s3_is_locked_kept_and_shown(bare: Site) -> None:
    bare.put(b"vivant")
    assert run("store", "show")["lock_days"] == 0
    walked = run("store", "keep")
    assert (walked["versions"], walked["extended"]) == (1, 1)
    assert "1 versions : 0 verrous allongés" in said("store", "keep")
    assert not run("store", "show")["ok"]
    refused = run("store", "lock", "--days", "30", code=1)
    assert "va de 90" in refused
    assert "store lock --days 100" in said("store", "show")
    told = list(JournalEntry.objects.filter(verb="vault.locks_extended"))
    assert {entry.actor for entry in told} == {str(access.of_console())}


def test_a_store_that_does_not_answer_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.store, "endpoint", "http://127.0.0.1:9")
    for command in ("show", "lock", "keep"):
        assert "ne répond pas" in run("store", command, code=1)
