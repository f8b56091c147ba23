"""The pages show a commune's own vault, to its own members."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client

from souverain.core import access, clock, journal
from souverain.core.models import Device, JournalEntry, Organisation, RoleAssignment, User
from souverain.vault import log, retention, server, services, views
from souverain.vault.card import commune_card
from souverain.vault.cli import cli
from souverain.vault.engine.tlog import note
from souverain.vault.models import DepositSet, Session, StoredObject, Witness
from souverain.vault.tests.test_tlog import NEUMANN

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


def test_an_admin_sees_and_revokes_her_own_devices_only() -> None:
    Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    beaune = Organisation.objects.create(kind="commune", code="21054", name="Beaune")
    device, _ = services.add_device(access.SYSTEM, dijon, "poste du secrétariat", ["backup"])
    other, _ = services.add_device(access.SYSTEM, beaune, "autre", ["backup"])
    user = User.objects.create_user("a@dijon.invalid")
    RoleAssignment.objects.create(user=user, role="commune-admin", organisation=dijon)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = client.get("/vault/communes/21231/")
    assert page.status_code == 200 and "poste du secrétariat" in page.content.decode()
    assert client.get("/vault/communes/21054/").status_code == 403
    assert client.get("/vault/").status_code == 403
    assert client.post(f"/vault/communes/21231/appareils/{other.pk}/revoquer/").status_code == 404
    assert client.post(f"/vault/communes/21231/appareils/{device.pk}/revoquer/").status_code == 302
    assert (
        Device.objects.get(pk=device.pk).revoked_at
        and not Device.objects.get(pk=other.pk).revoked_at
    )


def test_the_operator_sees_every_vault() -> None:
    departement = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    services.create_set(access.SYSTEM, dijon)
    user = User.objects.create_user("o@cotedor.invalid")
    RoleAssignment.objects.create(user=user, role="operator", organisation=departement)
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = client.get("/vault/")
    assert page.status_code == 200 and "/vault/communes/21231/" in page.content.decode()


@pytest.fixture
def signed_in() -> Callable[[str, str], Client]:
    """A client for a person with a role on an organisation."""

    def sign_in(role: str, code: str) -> Client:
        organisation = Organisation.objects.get(code=code)
        user = User.objects.create_user(f"{role}@{code}.invalid")
        RoleAssignment.objects.create(user=user, role=role, organisation=organisation)
        client = Client()
        client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
        return client

    return sign_in


@pytest.fixture
def places() -> dict[str, Organisation]:
    made = (
        ("commune", "21231", "Dijon"),
        ("commune", "21054", "Beaune"),
        ("departement", "21", "21"),
    )
    return {
        code: Organisation.objects.create(kind=kind, code=code, name=name)
        for kind, code, name in made
    }


SignIn = Callable[[str, str], Client]
NEW_SET = {"title": "Registres", "code": "etat-civil", "kind": "civil-status"}


def test_a_set_is_declared_and_a_device_chooses_it(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")
    page = "/vault/communes/21231/depots/ajouter/"
    assert admin.get(page).status_code == 200
    assert member.get(page).status_code == member.post(page, NEW_SET).status_code == 403
    assert admin.post(page, {**NEW_SET, "fresh_within_hours": 30}).status_code == 422
    assert admin.post(page, {**NEW_SET, "code": "État"}).status_code == 422
    assert admin.post(page, NEW_SET).status_code == 302
    again = admin.post(page, NEW_SET)
    assert again.status_code == 422 and "existe déjà" in again.content.decode()
    made = DepositSet.objects.get()
    assert (made.fresh_within_hours, made.retention_class) == (24, "forever")
    add = "/vault/communes/21231/appareils/ajouter/"
    answer = admin.post(add, {"name": "poste", "deposit_set": "etat-civil", "roles": ["backup"]})
    assert answer.status_code == 302
    assert "/vault/21231/etat-civil/" in admin.get(answer["Location"]).content.decode()
    wrong = admin.post(add, {"name": "", "deposit_set": "inconnu", "roles": []})
    assert wrong.status_code == 422 and Device.objects.count() == 1
    assert JournalEntry.objects.filter(verb="vault.set_created").count() == 1


def test_the_quota_is_the_operator_s_alone(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    page = "/vault/communes/21231/place/"
    admin, operator = signed_in("commune-admin", "21231"), signed_in("operator", "21")
    assert admin.post(page, {"gigabytes": 900}).status_code == 403
    assert "Changer la place" not in admin.get("/vault/communes/21231/").content.decode()
    assert operator.post(page, {"gigabytes": 900}).status_code == 302
    assert services.quota_bytes(places["21231"]) == 900 * 10**9
    assert operator.post(page, {"gigabytes": "beaucoup"}).status_code == 302
    assert services.quota_bytes(places["21231"]) == 900 * 10**9


def test_each_state_is_said_on_the_page_the_card_and_the_overview(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, operator = signed_in("commune-admin", "21231"), signed_in("operator", "21")
    made = services.create_set(access.SYSTEM, places["21231"])

    def pages() -> tuple[str, str, str]:
        own = admin.get("/vault/communes/21231/").content.decode()
        everything = operator.get("/vault/").content.decode()
        return own, commune_card("21231").state, everything

    own, card, everything = pages()
    assert "Aucune sauvegarde n&#x27;est encore arrivée." in own and card == "neutral"
    assert "Jamais sauvegardé" in everything
    made.last_deposit_at = clock.now() - timedelta(hours=6, minutes=12)
    made.save()
    own, card, everything = pages()
    assert "Votre commune est sauvegardée depuis" in own and card == "ok"
    made.last_deposit_at = clock.now() - timedelta(hours=27)
    made.save()
    own, card, everything = pages()
    assert "est en retard" in own and card == "danger"
    assert "1 commune en retard" in everything
    # An operator looks at a commune that is not hers.
    assert "Votre commune" not in operator.get("/vault/communes/21231/").content.decode()


def test_refusals_of_the_day_are_shown_in_words(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    operator = signed_in("operator", "21")
    with clock.frozen(clock.now() - timedelta(hours=25)):
        journal.refuse(access.SYSTEM, "vault.refused", organisation="21054", reason="quota")
    journal.refuse(access.SYSTEM, "vault.refused", organisation="21231", reason="hash")
    page = operator.get("/vault/").content.decode()
    assert "l&#x27;empreinte de son nom" in page and "place épuisée" not in page


def test_every_reason_that_the_server_gives_has_its_words() -> None:
    place = {"Refused": 2, "_need": 1}
    given = {
        node.args[place[node.func.id]].value
        for node in ast.walk(ast.parse(inspect.getsource(server)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and len(node.args) > place.get(node.func.id, 9)
        and isinstance(node.args[place[node.func.id]], ast.Constant)
    }
    assert given | {"credential", server._REVOKED} == set(views._REASONS)


def test_waiting_says_when_the_first_deposit_came(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, other = signed_in("commune-admin", "21231"), signed_in("commune-admin", "21054")
    device, _ = services.add_device(access.SYSTEM, places["21231"], "poste", ["backup"])
    page = f"/vault/communes/21231/appareils/{device.pk}/attente/"
    assert other.get(page).status_code == 403
    assert other.get(page.replace("21231", "21054")).status_code == 404
    waits = admin.get(page).content.decode()
    assert "En attente de la première sauvegarde" in waits and "every 3s" in waits
    now = clock.now()
    Session.objects.create(
        deposit_set=services.set_of(device),
        device=device,
        started_at=now,
        last_at=now,
        ended_at=now,
        bytes_received=2_000_000,
    )
    came = admin.get(page).content.decode()
    assert "Reçue" in came and "every 3s" not in came


def test_the_console_declares_sets_and_quotas(places: dict[str, Organisation]) -> None:
    def run(*arguments: str, fails: bool = False) -> Any:
        done = CliRunner().invoke(cli, [*arguments, "--json"])
        assert (done.exit_code != 0) == fails, done.output
        return None if fails else orjson.loads(done.stdout)

    add = ("set", "add", "--commune", "21231", "--set")
    made = run(*add, "comptes", "--kind", "accounts", "--fresh-hours", "200")
    assert (made["retention"], made["fresh_within_hours"]) == ("ten-years", 200)
    assert made["state"] == "never"
    run(*add, "comptes", fails=True)
    run("set", "add", "--commune", "99999", "--set", "x", fails=True)
    assert run("set", "list", "--commune", "21231")["count"] == 1
    assert run("quota", "--commune", "21231", "--bytes", "1000")["quota_bytes"] == 1000
    assert run("quota", "--commune", "21231")["quota_bytes"] == 1000
    run("quota", "--commune", "21231", "--bytes", "0", fails=True)
    assert run("status")["items"][0]["set"] == "comptes"


def test_the_console_says_hours_and_sizes_in_french(places: dict[str, Organisation]) -> None:
    def told(*arguments: str) -> str:
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        return done.output.replace("\xa0", " ")

    assert told("status") == "Aucun dépôt n'est ouvert.\n"
    made = services.create_set(access.SYSTEM, places["21231"])
    assert "Jamais sauvegardé" in told("set", "list")
    assert told("status") == "21231/general  Jamais sauvegardé  aucune sauvegarde  0 octet\n"
    made.last_deposit_at = datetime(2026, 11, 27, 20, 58, tzinfo=UTC)
    made.stored_bytes = 2_345_522
    made.save()
    with clock.frozen(made.last_deposit_at + timedelta(hours=1)):
        assert "À jour  vendredi 27 novembre 2026, 21 h 58  2,35 Mo" in told("status")
        retention.hold(access.SYSTEM, made, "litige")
        assert "vendredi 27 novembre 2026, 22 h 58" in told("hold", "list")
    assert "2,35 Mo gardés sur 50 Go" in told("quota", "--commune", "21231")


ADD = "/vault/communes/21231/appareils/ajouter/"


def _form(client: Client, **said: Any) -> dict[str, Any]:
    """What the page's own form sends."""
    page = client.get("/vault/communes/21231/").content.decode()
    found = re.search(r'name="page" value="([^"]+)"', page)
    assert found
    return {
        "page": found[1],
        "name": "poste",
        "deposit_set": "general",
        "roles": ["backup"],
        **said,
    }


def test_the_address_is_shown_once_and_a_reload_makes_nothing(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin = signed_in("commune-admin", "21231")
    page = admin.post(ADD, _form(admin))["Location"]
    first = admin.get(page)
    assert "no-store" in first["Cache-Control"]
    address = "/vault/21231/general/"
    assert address in first.content.decode() and "montrée une fois" not in first.content.decode()
    again = admin.get(page).content.decode()
    assert address not in again and "montrée une fois" in again
    assert "/vault/communes/21231/#ajouter" in again
    assert Device.objects.count() == 1


def test_the_guide_names_the_agent_instead_of_the_evening_step_and_the_audit(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin = signed_in("commune-admin", "21231")
    page = unescape(admin.get(admin.post(ADD, _form(admin))["Location"]).content.decode())
    named = re.findall(r"<code>souverain vault ([^<]+)</code>", page)
    assert named == ["agent setup", "agent schedule --install", "audit"]
    for command in named:
        typed = [sys.executable, "-m", "souverain", "vault", *command.split(), "--help"]
        subprocess.run(typed, check=True, capture_output=True)
    assert (
        "ne faites pas les deux" in page
        and 'id="preuves"' in admin.get("/vault/communes/21231/").content.decode()
    )


def test_the_same_page_sent_twice_adds_one_device(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, other = signed_in("commune-admin", "21231"), signed_in("commune-admin", "21054")
    form = _form(admin)
    answers = [admin.post(ADD, form) for _ in range(2)]
    assert answers[0]["Location"] == answers[1]["Location"]
    assert "Adresse du dépôt" in admin.get(answers[1]["Location"]).content.decode()
    assert JournalEntry.objects.filter(verb="vault.device_added").count() == 1
    # Another request from the same page (one went back to it) is another device.
    assert admin.post(ADD, {**form, "name": "portable"})["Location"] != answers[0]["Location"]
    assert Device.objects.count() == 2
    # Nobody reaches the device of another commune with the token of its page.
    beaune = other.post(ADD.replace("21231", "21054"), form)["Location"]
    assert "/21054/" in beaune and Device.objects.filter(organisation__code="21054").count() == 1


def test_the_address_waits_a_few_minutes_for_whoever_made_it(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")
    operator = signed_in("operator", "21")
    page = admin.post(ADD, _form(admin))["Location"]
    assert member.get(page).status_code == 403
    assert "Adresse du dépôt" not in operator.get(page).content.decode()
    sealed = "".join(map(str, admin.session.values()))
    assert "rest:" not in sealed and "localhost" not in sealed
    with clock.frozen(clock.now() + timedelta(minutes=6)):
        assert "montrée une fois" in admin.get(page).content.decode()


def test_the_guide_never_draws_a_second_password_for_a_set(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin = signed_in("commune-admin", "21231")
    pages = [admin.post(ADD, _form(admin, name=name))["Location"] for name in ("poste", "portable")]
    assert all("/dev/urandom" in admin.get(page).content.decode() for page in pages)
    made_by = Device.objects.get(name="poste")
    Device.objects.filter(pk=made_by.pk).update(last_seen_at=clock.now())
    deposit_set = services.set_of(made_by)
    StoredObject.objects.create(
        deposit_set=deposit_set,
        type="config",
        name="config",
        size=1,
        received_at=clock.now(),
        device=made_by,
    )
    first, second = (admin.get(page).content.decode() for page in pages)
    assert "/dev/urandom" in first
    assert (
        "urandom" not in second
        and "RandomNumber" not in second
        and "motdepasse.txt init" not in second
    )
    assert "«&nbsp;poste&nbsp;»" in second and "/depots/ajouter/" in second
    # Another set of the commune is still to be begun.
    other = admin.post("/vault/communes/21231/depots/ajouter/", NEW_SET)
    assert other.status_code == 302
    page = admin.post(ADD, _form(admin, deposit_set="etat-civil"))["Location"]
    assert "/dev/urandom" in admin.get(page).content.decode()


def test_the_guide_of_a_revoked_device_leads_to_a_new_one(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin = signed_in("commune-admin", "21231")
    page = admin.post(ADD, _form(admin))["Location"]
    services.revoke_device(access.SYSTEM, Device.objects.get())
    said = admin.get(page).content.decode()
    assert "révoqué" in said and "Adresse du dépôt" not in said and "#ajouter" in said


def _said(client: Client, path: str = "/vault/communes/21231/") -> str:
    found = unescape(re.sub(r"<[^>]+>", " ", client.get(path).content.decode()))
    return re.sub(r"\s+", " ", found)


def test_each_state_says_what_to_do_next_with_its_button(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")

    def button() -> str:
        html = admin.get("/vault/communes/21231/").content.decode()
        found = re.search(r'class="btn btn-primary" href="([^"]+)"', html)
        return found[1] if found else ""

    assert "Ajoutez l'appareil qui garde les dossiers" in _said(admin)
    assert button() == "/vault/communes/21231/#ajouter"
    assert "Demandez-le à l'administrateur" in _said(member)
    assert "Ajouter un appareil" not in _said(member)

    device, _ = services.add_device(access.SYSTEM, places["21231"], "poste", ["backup"])
    guide = f"/vault/communes/21231/appareils/{device.pk}/"
    assert "« poste » n'a encore rien envoyé" in _said(admin) and button() == guide

    made = services.set_of(device)
    made.last_deposit_at = clock.now() - timedelta(days=3)
    made.save()
    assert "est allumé et relié à Internet" in _said(admin) and button() == guide
    # Of two machines of a set, the one that was there last is the one to look at.
    old, _ = services.add_device(access.SYSTEM, places["21231"], "autre", ["backup"])
    Device.objects.filter(pk=old.pk).update(created_at=clock.now() - timedelta(days=9))
    assert button() == guide
    services.revoke_device(access.SYSTEM, old)
    made.last_deposit_at = clock.now()
    made.save()
    said = _said(admin)
    assert "À faire maintenant" not in said and "vient d'être sauvegardée" in said

    services.create_set(access.SYSTEM, places["21231"], "comptes", kind="accounts")
    assert "Aucun appareil ne sauvegarde encore « Comptes »" in _said(admin)
    assert button() == "/vault/communes/21231/?depot=comptes#ajouter"
    default = admin.get("/vault/communes/21231/").content.decode()
    assert '<option value="general" selected>' in default, "an empty set does not hide the moments"
    chosen = admin.get(button()).content.decode()
    assert '<option value="comptes" selected>' in chosen

    services.revoke_device(access.SYSTEM, device)
    assert "Tous les appareils sont révoqués" in _said(admin)
    assert button() == "/vault/communes/21231/#ajouter"


def test_a_moment_chosen_by_hand_gives_its_commands(
    places: dict[str, Organisation], signed_in: SignIn
) -> None:
    admin = signed_in("commune-admin", "21231")
    device, _ = services.add_device(access.SYSTEM, places["21231"], "poste", ["backup"])
    noon = datetime(2026, 11, 23, 12, 0, tzinfo=clock.PARIS)
    for hours in (0, 24):
        StoredObject.objects.create(
            deposit_set=services.set_of(device),
            type="snapshots",
            name=f"{hours:064}",
            size=1,
            received_at=noon + timedelta(hours=hours),
            device=device,
        )
    page = "/vault/communes/21231/?depot=general&moment="
    with clock.frozen(noon + timedelta(days=3)):
        said = _said(admin, page + "2026-11-23T18:05")
        assert "1 sauvegarde à ce moment-là" in said and "@2026-11-23T17:05:00" in said
        assert "--target RETOUR-2026-11-23-18h05m00" in said
        before = _said(admin, page + "2026-11-23T08:00")
        assert "précède la première sauvegarde, arrivée le lundi 23 novembre 2026" in before
        assert "pas encore venu" in _said(admin, page + "2027-01-01T00:00")
        assert "Choisissez une date et une heure" in _said(admin, page + "hier")
        assert "Choisissez une date et une heure" not in _said(admin)
        assert "Aucun appareil n'a le droit de relire" in _said(admin)
        device.roles = ["backup", "restore"]
        device.save()
        assert "Sur « poste », allez dans le dossier" in _said(admin)


def test_the_page_shows_the_evidence_and_registers_witnesses(
    signed_in: Callable[[str, str], Client], places: dict[str, Organisation]
) -> None:
    admin, member = signed_in("commune-admin", "21231"), signed_in("commune-member", "21231")
    secret = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key = str(note.Key.of("21231-poste", secret, note.COSIGNATURE))
    page = unescape(admin.get("/vault/communes/21231/").content.decode())
    assert "Aucun témoin ne signe encore" in page and "--cosign" in page
    assert log.public_key("21231").fingerprint in page
    url = "/vault/communes/21231/temoins/ajouter/"
    refused = admin.post(url, {"name": "Mairie", "key": NEUMANN})
    assert refused.status_code == 422 and "clé publique" in unescape(refused.content.decode())
    assert member.post(url, {"name": "Mairie", "key": key}).status_code == 403
    assert admin.post(url, {"name": "Mairie", "key": key}).status_code == 302
    assert admin.post(url, {"name": "Mairie", "key": key}).status_code == 422
    assert "pas encore signé" in admin.get("/vault/communes/21231/").content.decode()
    with clock.frozen(clock.now() + timedelta(days=31)):
        page = signed_in("auditor", "21231").get("/vault/communes/21231/").content.decode()
    assert "Silencieux" in page and "31 jours" in page
    witness = Witness.objects.get()
    assert admin.post(f"/vault/communes/21231/temoins/{witness.pk}/retirer/").status_code == 302
    assert "Aucun témoin" in admin.get("/vault/communes/21231/").content.decode()
    assert member.get("/vault/communes/21231/preuves/checkpoint").status_code == 404
    assert member.get("/vault/communes/21231/preuves/timestamps/").status_code == 200
