"""Members, invitations, groups, people and tokens, as a person or an attacker meets them."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied, ValidationError
from django.test import Client

from souverain.core import access, clock, devices, notifications, services
from souverain.core.api import authenticated
from souverain.core.logs import WithoutSecrets
from souverain.core.models import (
    ApiToken,
    Group,
    Invitation,
    JournalEntry,
    Message,
    RoleAssignment,
    User,
)
from souverain.core.roles import Role
from souverain.core.tests import conftest
from souverain.core.tests.conftest import Cast
from souverain.core.tests.glewlwyd import free_port
from souverain.vault.services import add_device, revoke_device

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
cast = conftest.cast
PASSWORD = "un mot de passe long"
TOKEN = re.compile(r"/invitation/([\w-]{43})/")


def signed_in(user: User) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    return client


@pytest.fixture
def anybody() -> Client:
    return Client(headers={"host": "localhost"})


@pytest.fixture
def admin(cast: Cast) -> Client:
    """The administrator of Dijon."""
    return signed_in(cast.people[Role.COMMUNE_ADMIN])


@pytest.fixture
def operator(cast: Cast) -> Client:
    return signed_in(cast.people[Role.OPERATOR])


def invite(client: Client, code: str, **form: str) -> Any:
    """The answer to the form: the page that it leads to, unless it is refused."""
    given = {"email": "secretaire@dijon.fr", "role": "commune-member", **form}
    return client.post(f"/administration/{code}/membres/inviter/", given, follow=True)


# Invitations -------------------------------------------------------------------------------------
def test_without_a_mail_server_the_link_is_shown_once_and_kept_nowhere(
    admin: Client, anybody: Client, settings: Any
) -> None:
    settings.SMTP_URL = ""
    answer = invite(admin, "21231")
    [token] = set(TOKEN.findall(answer.content.decode()))
    assert answer.headers["Cache-Control"].find("no-store") >= 0
    assert not Message.objects.exists()
    page = admin.get("/administration/21231/membres/").content.decode()
    assert "secretaire@dijon.fr" in page and "main propre" in page and token not in page
    [(shown, _)] = answer.redirect_chain
    again = admin.get(shown)
    assert "montré une fois" in again.content.decode() and token not in again.content.decode()
    assert Invitation.objects.count() == 1

    assert "Vous êtes invité" in anybody.get(f"/invitation/{token}/").content.decode()
    assert not User.objects.filter(email="secretaire@dijon.fr").exists()
    answer = anybody.post(f"/invitation/{token}/")
    assert answer.headers["Location"] == "/compte/password/set/"
    assert User.objects.get(email="secretaire@dijon.fr").role_assignments.count() == 1


class Inbox:
    """What a real SMTP server on loopback received."""

    def __init__(self) -> None:
        self.letters: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.letters.append(letter.get_content())
        return "250 OK"


def test_the_letter_is_in_the_outbox_and_its_secret_goes_with_it(
    admin: Client, anybody: Client, settings: Any
) -> None:
    port = free_port()
    settings.SMTP_URL = f"smtp://127.0.0.1:{port}"
    assert invite(admin, "21231").redirect_chain
    letter = Message.objects.get()
    assert letter.recipient == "secretaire@dijon.fr" and "Dijon" in letter.subject
    [token] = TOKEN.findall(letter.body)
    page = admin.get("/administration/21231/membres/").content.decode()
    assert token not in page and "cours d’envoi" in page

    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        assert notifications.send_pending() == 1
    finally:
        server.stop()
    assert TOKEN.findall(inbox.letters[0]) == [token]
    letter.refresh_from_db()
    assert letter.sent_at is not None and letter.body == ""
    assert "Envoyé" in admin.get("/administration/21231/membres/").content.decode()
    assert anybody.post(f"/invitation/{token}/").headers["Location"] == "/compte/password/set/"


def test_a_letter_that_cannot_leave_is_forgotten_too(admin: Client, settings: Any) -> None:
    settings.SMTP_URL = "smtp://127.0.0.1:9"
    invite(admin, "21231")
    with clock.frozen(clock.now() + timedelta(days=1)):
        notifications.send_pending()
    letter = Message.objects.get()
    assert letter.given_up_at is not None and letter.body == ""
    assert "Non remis" in admin.get("/administration/21231/membres/").content.decode()


def test_the_invitation_and_its_letter_are_written_together(cast: Cast, settings: Any) -> None:
    settings.SMTP_URL = "smtp://127.0.0.1:9"

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(services.journal, "append", broken)
        services.invite(
            access.SYSTEM, email="a@b.fr", role=Role.COMMUNE_MEMBER, organisation=cast.dijon
        )
    assert not Invitation.objects.exists() and not Message.objects.exists()


def test_a_new_link_kills_the_old_one_and_a_withdrawn_one_opens_nothing(
    admin: Client, anybody: Client, settings: Any
) -> None:
    settings.SMTP_URL = "smtp://127.0.0.1:9"
    invite(admin, "21231")
    [old] = TOKEN.findall(Message.objects.get().body)
    pk = Invitation.objects.get().pk
    admin.post(f"/administration/21231/invitations/{pk}/renvoyer/")
    first, second = Message.objects.order_by("pk")
    assert first.body == "" and first.given_up_at is not None
    [new] = TOKEN.findall(second.body)
    assert "n'est plus valable" in anybody.get(f"/invitation/{old}/").content.decode()
    assert "Vous êtes invité" in anybody.get(f"/invitation/{new}/").content.decode()

    admin.post(f"/administration/21231/invitations/{pk}/annuler/")
    second.refresh_from_db()
    assert second.body == "" and second.given_up_at is not None
    anybody.post(f"/invitation/{new}/")
    assert not User.objects.filter(email="secretaire@dijon.fr").exists()
    answer = admin.post(f"/administration/21231/invitations/{pk}/renvoyer/", follow=True)
    assert "en attente" in answer.content.decode() and services.open_invitation(new) is None
    verbs = JournalEntry.objects.filter(verb__startswith="invitation.").values_list(
        "verb", flat=True
    )
    assert list(verbs.order_by("seq")) == [
        "invitation.sent",
        "invitation.resent",
        "invitation.revoked",
    ]


def test_a_link_is_in_no_log_and_no_referer_and_looking_at_it_changes_nothing(
    admin: Client, cast: Cast, caplog: Any
) -> None:
    [token] = set(TOKEN.findall(invite(admin, "21231").content.decode()))
    anybody = Client(headers={"host": "localhost"}, enforce_csrf_checks=True)
    before = Invitation.objects.values().get()
    path = f"/invitation/{token}/"
    for method in ("head", "get", "options", "put", "post"):
        answer = getattr(anybody, method)(path)
        assert method != "get" or answer.headers["Referrer-Policy"] == "strict-origin"
    assert anybody.get(f"/api{path}").status_code == 404
    assert anybody.post(f"/compte/password/reset/key/1-{token}/").status_code == 403
    assert Invitation.objects.values().get() == before and not anybody.session.keys()
    [console] = [h for h in logging.getLogger().handlers if isinstance(h.formatter, WithoutSecrets)]
    written = "\n".join(map(console.format, caplog.records))
    assert token in caplog.text, "the path is logged as it was asked"
    assert "/invitation/…/" in written and "reset/key/…" in written and token not in written


def test_the_journal_holds_no_address_outside_its_erasable_detail(admin: Client) -> None:
    invite(admin, "21231")
    entry = JournalEntry.objects.get(verb="invitation.sent")
    assert b"secretaire" not in bytes(entry.body) and "secretaire" in entry.detail.content


# What an attacker tries --------------------------------------------------------------------------
@pytest.mark.parametrize("role", ["operator", "agent", "auditor", "supervisor", "x"])
def test_a_commune_administrator_gives_no_role_of_the_departement(admin: Client, role: str) -> None:
    assert invite(admin, "21231", role=role).status_code == 422
    assert not Invitation.objects.exists()


@pytest.mark.parametrize("code", ["21054", "21"])
def test_a_commune_administrator_invites_nowhere_else(admin: Client, code: str) -> None:
    assert invite(admin, code).status_code == 403
    assert admin.get(f"/administration/{code}/membres/").status_code == 403
    assert not Invitation.objects.exists()


def test_an_invitation_of_another_commune_is_not_in_reach_by_its_number(
    admin: Client, cast: Cast
) -> None:
    theirs, _ = services.invite(
        access.SYSTEM, email="x@beaune.fr", role=Role.COMMUNE_ADMIN, organisation=cast.beaune
    )
    for verb in ("renvoyer", "annuler"):
        answer = admin.post(f"/administration/21231/invitations/{theirs.pk}/{verb}/")
        assert answer.status_code == 404
    assert theirs.is_open
    operator = cast.people[Role.OPERATOR].role_assignments.get()
    assert admin.post(f"/administration/21231/membres/{operator.pk}/retirer/").status_code == 404


def test_an_operator_of_one_commune_does_not_close_the_accounts_of_all(cast: Cast) -> None:
    member = cast.people[Role.COMMUNE_MEMBER]
    RoleAssignment.objects.create(user=member, role=Role.OPERATOR, organisation=cast.dijon)
    client = signed_in(member)
    other = cast.people[Role.AUDITOR]
    assert client.get("/administration/personnes/").status_code == 403
    assert client.post(f"/administration/personnes/{other.pk}/desactiver/").status_code == 403
    other.refresh_from_db()
    assert other.is_active


def test_a_link_never_opens_the_account_of_somebody_else(
    admin: Client, anybody: Client, cast: Cast
) -> None:
    """The inviter sees the link when there is no mail: it must not open an account in use, also
    one without a password (a person who signs in with ProConnect or a key)."""
    victim = cast.people[Role.OPERATOR]
    victim.set_unusable_password()
    victim.last_login = clock.now()
    victim.save()
    [token] = set(TOKEN.findall(invite(admin, "21231", email=victim.email).content.decode()))
    for client in (anybody, admin):
        answer = client.post(f"/invitation/{token}/")
        assert answer.headers["Location"] == f"/compte/login/?next=/invitation/{token}/"
        assert client.session.get("_auth_user_id") != str(victim.pk)
    assert victim.role_assignments.count() == 1
    owner = signed_in(victim)
    assert owner.post(f"/invitation/{token}/").headers["Location"] == "/"
    assert victim.role_assignments.count() == 2


def test_nobody_changes_their_address_for_one_that_was_not_verified(admin: Client) -> None:
    answer = admin.post("/compte/email/", {"email": "maire@dijon.fr", "action_add": ""})
    assert answer.headers["Location"] == "/profil/"
    from allauth.account.models import EmailAddress

    assert not EmailAddress.objects.filter(email="maire@dijon.fr").exists()


@pytest.mark.parametrize("spelling", ["Agent@Exemple.FR", " agent@exemple.fr ", "agent@EXEMPLE.fr"])
def test_one_address_is_one_person(cast: Cast, spelling: str) -> None:
    _, token = services.invite(
        access.SYSTEM, email=spelling, role=Role.COMMUNE_MEMBER, organisation=cast.dijon
    )
    agent = cast.people[Role.AGENT]
    agent.last_login = clock.now()
    agent.save()
    assert services.accept_invitation(token, agent) == agent


@pytest.mark.parametrize(
    "address", ["agenт@exemple.fr", "ａgent@exemple.fr", "agent@", "a b@c.fr", ""]
)
def test_look_alike_letters_are_not_an_address(cast: Cast, address: str) -> None:
    with pytest.raises(ValidationError):
        services.invite(
            access.SYSTEM, email=address, role=Role.COMMUNE_MEMBER, organisation=cast.dijon
        )


def test_full_width_letters_in_the_domain_are_the_same_domain(cast: Cast) -> None:
    invitation, _ = services.invite(
        access.SYSTEM, email="a@ｅxemple.fr", role=Role.COMMUNE_MEMBER, organisation=cast.dijon
    )
    assert invitation.email == "a@exemple.fr"


def test_the_session_changes_when_an_invitation_signs_in(admin: Client, anybody: Client) -> None:
    [token] = set(TOKEN.findall(invite(admin, "21231").content.decode()))
    anybody.get(f"/invitation/{token}/")
    session = anybody.session
    session["chosen"] = "by the attacker"
    session.save()
    before = session.session_key
    anybody.post(f"/invitation/{token}/")
    assert anybody.session.session_key != before
    assert not Session.objects.filter(pk=before).exists()


def test_a_foreign_host_is_refused_and_links_keep_our_address(
    admin: Client, cast: Cast, settings: Any
) -> None:
    assert admin.get("/profil/", headers={"host": "pirate.example"}).status_code == 400
    settings.PUBLIC_URL = "https://cloud.cotedor.fr"
    page = invite(admin, "21231").content.decode()
    assert "https://cloud.cotedor.fr/invitation/" in page


def test_a_letter_leads_to_our_address_whatever_host_was_asked(
    anybody: Client, cast: Cast, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "souverain.core.notifications.OutboxBackend"
    settings.PUBLIC_URL = "https://cloud.cotedor.fr"
    settings.ALLOWED_HOSTS = ["cloud.cotedor.fr", "127.0.0.1"]
    asked = {"email": cast.people[Role.OPERATOR].email}
    anybody.post("/compte/password/reset/", asked, headers={"host": "127.0.0.1:666"})
    letter = Message.objects.get()
    assert "https://cloud.cotedor.fr/compte/password/reset/key/" in letter.body
    assert "127.0.0.1" not in letter.subject + letter.body
    anybody.post(
        "/compte/password/reset/", {"email": "inconnu@ailleurs.fr"}, headers={"host": "127.0.0.1"}
    )
    assert Message.objects.count() == 1, "nobody makes us write to strangers"


def test_a_page_posted_from_another_site_does_nothing(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    client.force_login(cast.people[Role.COMMUNE_ADMIN])
    assert invite(client, "21231").status_code == 403 and not Invitation.objects.exists()


def test_the_api_refuses_a_forged_write_on_somebodys_session(cast: Cast, rf: Any) -> None:
    request = rf.post("/api/ailleurs")
    request.actor = access.of_user(cast.people[Role.OPERATOR])
    with pytest.raises(PermissionDenied, match="CSRF"):
        authenticated(request)


def test_no_more_than_a_bounded_number_of_invitations_wait(admin: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(services, "OPEN_INVITATIONS_MAX", 2)
    for number in range(2):
        assert invite(admin, "21231", email=f"p{number}@dijon.fr").status_code == 200
    assert invite(admin, "21231", email="p3@dijon.fr").status_code == 422


# Roles -------------------------------------------------------------------------------------------
def test_the_last_administrator_leaves_only_knowingly(operator: Client, cast: Cast) -> None:
    role = cast.people[Role.COMMUNE_ADMIN].role_assignments.get()
    page = operator.get("/administration/21231/membres/").content.decode()
    assert "dernier administrateur" in page
    url = f"/administration/21231/membres/{role.pk}/retirer/"
    answer = operator.post(url, follow=True).content.decode()
    assert "confirmez" in answer and RoleAssignment.objects.filter(pk=role.pk).exists()
    operator.post(url, {"knowingly": "on"})
    assert not RoleAssignment.objects.filter(pk=role.pk).exists()


def test_a_removed_member_has_no_page_any_more(admin: Client, cast: Cast) -> None:
    second = User.objects.create_user("autre@dijon.fr")
    role = RoleAssignment.objects.create(
        user=second, role=Role.COMMUNE_ADMIN, organisation=cast.dijon
    )
    client = signed_in(second)
    assert client.get("/administration/21231/membres/").status_code == 200
    admin.post(f"/administration/21231/membres/{role.pk}/retirer/")
    assert client.get("/administration/21231/membres/").status_code == 403


# Groups ------------------------------------------------------------------------------------------
def test_a_commune_makes_a_group_of_its_own_people(admin: Client, cast: Cast) -> None:
    answer = admin.post("/administration/21231/groupes/", {"name": "Service technique"})
    group = Group.objects.get()
    url = f"/administration/groupes/{group.pk}/"
    assert answer.headers["Location"] == url and group.code == "service-technique"
    member, stranger = cast.people[Role.COMMUNE_MEMBER], cast.people[Role.AGENT]
    answer = admin.post(url, {"user": member.pk, "role": "commune-member"})
    assert answer.status_code == 302
    given = RoleAssignment.objects.get(group=group)
    assert given.user == member
    assert admin.post(url, {"user": stranger.pk, "role": "commune-member"}).status_code == 422
    assert admin.post(url, {"user": member.pk, "role": "operator"}).status_code == 422
    admin.post(f"{url}renommer/", {"nom-name": "Ateliers"})
    group.refresh_from_db()
    assert (group.name, group.code) == ("Ateliers", "service-technique")
    again = admin.post("/administration/21231/groupes/", {"name": "service  Technique"})
    assert again.status_code == 422 and Group.objects.count() == 1
    admin.post(f"/administration/21231/membres/{given.pk}/retirer/")
    assert not RoleAssignment.objects.filter(group=group).exists()
    assert member.role_assignments.count() == 1


def test_a_role_in_a_group_does_not_administer_the_commune(cast: Cast) -> None:
    member = cast.people[Role.COMMUNE_MEMBER]
    group = services.create_group(access.SYSTEM, cast.dijon, "Accueil")
    services.add_to_group(access.SYSTEM, group, member, Role.COMMUNE_ADMIN)
    client = signed_in(member)
    assert client.get("/administration/21231/membres/").status_code == 403
    assert client.get(f"/administration/groupes/{group.pk}/").status_code == 403


def test_the_group_of_another_commune_is_out_of_reach(admin: Client, cast: Cast) -> None:
    theirs = services.create_group(access.SYSTEM, cast.beaune, "Accueil")
    url = f"/administration/groupes/{theirs.pk}/"
    assert admin.get(url).status_code == 403
    assert admin.post(f"{url}renommer/", {"nom-name": "x"}).status_code == 403


# People ------------------------------------------------------------------------------------------
def test_an_operator_finds_people_and_closes_an_account_at_once(
    operator: Client, cast: Cast
) -> None:
    victim = cast.people[Role.COMMUNE_ADMIN]
    theirs = signed_in(victim)
    _, secret = services.create_token(
        access.of_user(victim), victim, name="x", scopes=["core.members"], life=timedelta(days=9)
    )
    page = operator.get("/administration/personnes/?q=commune-admin").content.decode()
    assert victim.email in page and cast.people[Role.AGENT].email not in page
    assert "Administrateur de la commune, Dijon" in page
    assert theirs.get("/profil/").status_code == 200

    operator.post(f"/administration/personnes/{victim.pk}/desactiver/")
    assert theirs.get("/profil/").status_code == 302
    assert access.of_token(secret) is None
    fresh = Client(headers={"host": "localhost"})
    fresh.post("/compte/login/", {"login": victim.email, "password": PASSWORD})
    assert "_auth_user_id" not in fresh.session

    operator.post(f"/administration/personnes/{victim.pk}/reactiver/")
    assert theirs.get("/profil/").status_code == 302, "an old session must stay dead"
    assert access.of_token(secret) is None
    fresh.post("/compte/login/", {"login": victim.email, "password": PASSWORD})
    assert "_auth_user_id" in fresh.session
    assert JournalEntry.objects.filter(verb="user.deactivated", object=f"user:{victim.pk}").exists()


def test_the_page_of_a_closed_account_names_the_devices_that_go_on(
    operator: Client, cast: Cast
) -> None:
    leaver, other = cast.people[Role.COMMUNE_ADMIN], cast.people[Role.OPERATOR]
    made = [
        add_device(access.of_user(who), cast.dijon, name, ["backup"])
        for who, name in ((leaver, "Serveur"), (leaver, "Ancien poste"), (other, "Annexe"))
    ]
    revoke_device(access.SYSTEM, made[1][0])
    operator.post(f"/administration/personnes/{leaver.pk}/desactiver/")
    page = operator.get(f"/administration/personnes/{leaver.pk}/").content.decode()
    assert "Serveur" in page and "Ancien poste" not in page and "Annexe" not in page
    assert "/vault/communes/21231/" in page
    assert devices.live(made[0][0].pk, made[0][0].credential_sha256) is not None


def test_an_operator_helps_somebody_who_lost_the_phone(operator: Client, cast: Cast) -> None:
    lost = cast.people[Role.COMMUNE_ADMIN]
    TOTP.activate(lost, "JBSWY3DPEHPK3PXP")
    theirs = signed_in(lost)
    page = operator.get(f"/administration/personnes/{lost.pk}/").content.decode()
    assert "téléphone" in page and "JBSWY3DPEHPK3PXP" not in page
    operator.post(f"/administration/personnes/{lost.pk}/second-facteur/")
    assert not Authenticator.objects.filter(user=lost).exists()
    assert theirs.get("/profil/").status_code == 302
    assert notifications.unread_count(lost) == 1
    assert JournalEntry.objects.filter(verb="user.second_factor_reset").exists()


def test_neither_oneself_nor_the_last_operator_is_closed(operator: Client, cast: Cast) -> None:
    me = cast.people[Role.OPERATOR]
    operator.post(f"/administration/personnes/{me.pk}/desactiver/")
    with pytest.raises(ValidationError):
        services.deactivate(access.SYSTEM, me)
    me.refresh_from_db()
    assert me.is_active


@pytest.mark.parametrize("role", [role for role in Role if role != Role.OPERATOR])
def test_only_operators_see_everybody(cast: Cast, role: Role) -> None:
    assert signed_in(cast.people[role]).get("/administration/personnes/").status_code == 403


def test_a_closed_account_takes_up_no_invitation(cast: Cast) -> None:
    member = cast.people[Role.COMMUNE_MEMBER]
    services.deactivate(access.SYSTEM, member)
    _, token = services.invite(
        access.SYSTEM, email=member.email, role=Role.COMMUNE_ADMIN, organisation=cast.dijon
    )
    with pytest.raises(ValidationError):
        services.accept_invitation(token, member)
    assert Invitation.objects.get().is_open


# Tokens ------------------------------------------------------------------------------------------
def make_token(client: Client, *scopes: str, days: str = "30") -> Any:
    """The answer to the form: the page that it leads to, unless it is refused."""
    given = {"name": "export", "scopes": scopes, "days": days}
    return client.post("/profil/jetons/", given, follow=True)


def test_a_token_is_shown_once_and_only_its_digest_is_kept(admin: Client, cast: Cast) -> None:
    page = admin.get("/profil/jetons/").content.decode()
    assert "Lire le journal" in page and "Exploiter le cloud" not in page
    answer = make_token(admin, "core.journal")
    assert answer.redirect_chain, "a reload of the page that shows it makes no other token"
    [secret] = set(re.findall(r"souv_[\w-]{43}", answer.content.decode()))
    assert "no-store" in answer.headers["Cache-Control"]
    token = ApiToken.objects.get()
    assert secret not in json.dumps([str(value) for value in token.__dict__.values()])
    page = admin.get("/profil/jetons/").content.decode()
    assert "export" in page and "jamais" in page and secret not in page
    holder = access.of_token(secret)
    assert holder is not None and holder.scopes == {"core.journal"}
    assert "jamais" not in admin.get("/profil/jetons/").content.decode()

    admin.post(f"/profil/jetons/{token.pk}/revoquer/")
    assert access.of_token(secret) is None
    assert "aucun jeton" in admin.get("/profil/jetons/").content.decode()


@pytest.mark.parametrize("scope", ["core.operate", "core.own", "core.public", "inconnu"])
def test_a_person_grants_a_token_only_what_they_hold(admin: Client, scope: str) -> None:
    assert make_token(admin, scope).status_code == 422
    assert make_token(admin).status_code == 422
    assert make_token(admin, "core.journal", days="9999").status_code == 422
    assert not ApiToken.objects.exists()


def test_who_has_no_right_that_opens_the_api_is_told_so(cast: Cast) -> None:
    page = (
        signed_in(User.objects.create_user("sans-role@exemple.fr"))
        .get("/profil/jetons/")
        .content.decode()
    )
    assert "n'ouvre encore l'API" in page and "<form" not in page.partition("Créer un jeton")[2]


def test_a_scope_dies_with_the_role_that_gave_it(admin: Client, cast: Cast) -> None:
    secret = re.findall(r"souv_[\w-]{43}", make_token(admin, "core.journal").content.decode())[0]
    user = cast.people[Role.COMMUNE_ADMIN]
    services.remove_role(access.SYSTEM, user.role_assignments.get(), knowingly=True)
    holder = access.of_token(secret)
    assert holder is not None
    assert not access.permits(holder, "core.journal", organisation=cast.dijon)


def test_a_token_opens_no_page_and_makes_no_token(
    operator: Client, anybody: Client, cast: Cast
) -> None:
    user = cast.people[Role.OPERATOR]
    _, secret = services.create_token(
        access.of_user(user), user, name="x", scopes=["core.members"], life=timedelta(days=1)
    )
    bearer = {"Authorization": f"Bearer {secret}"}
    for path in ("/profil/", "/profil/jetons/", "/administration/21231/membres/"):
        assert anybody.get(path, headers=bearer).status_code == 302
    assert anybody.post("/profil/jetons/", {}, headers=bearer).status_code == 403
    assert operator.get("/profil/", headers=bearer).status_code == 302, "never the session instead"
    holder = access.of_token(secret)
    assert holder is not None
    with pytest.raises(PermissionDenied):
        services.create_token(
            holder, user, name="y", scopes=["core.members"], life=timedelta(days=1)
        )
    with pytest.raises(PermissionDenied):
        services.invite(holder, email="a@b.fr", role=Role.COMMUNE_ADMIN, organisation=cast.dijon)


def test_the_tokens_of_somebody_else_are_out_of_reach(admin: Client, cast: Cast) -> None:
    user = cast.people[Role.OPERATOR]
    token, secret = services.create_token(
        access.of_user(user), user, name="x", scopes=["core.operate"], life=timedelta(days=1)
    )
    assert admin.post(f"/profil/jetons/{token.pk}/revoquer/").status_code == 404
    assert access.of_token(secret) is not None


def test_tokens_are_bounded(admin: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(services, "LIVE_TOKENS_MAX", 1)
    assert make_token(admin, "core.journal").status_code == 200
    assert make_token(admin, "core.journal").status_code == 422


def test_an_operator_with_a_password_alone_is_asked_for_a_second_factor(
    operator: Client, admin: Client
) -> None:
    assert "Protégez votre compte" in operator.get("/profil/").content.decode()
    assert "Protégez votre compte" not in admin.get("/profil/").content.decode()
