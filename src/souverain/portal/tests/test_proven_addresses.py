"""Whoever held an account before its owner came has nothing of what the owner later receives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    hotp_value,
    yield_hotp_counters_from_time,
)
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from souverain.core import access, services
from souverain.core.models import Invitation, JournalEntry, Message, User
from souverain.core.roles import Role
from souverain.core.tests import conftest
from souverain.core.tests.conftest import Cast
from souverain.portal.tests.test_members import PASSWORD, TOKEN, invite, signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
cast = conftest.cast
ADDRESS = "futur@cotedor.fr"
SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture
def admin(cast: Cast) -> Client:
    return signed_in(cast.people[Role.COMMUNE_ADMIN])


@pytest.fixture
def operator(cast: Cast) -> Client:
    return signed_in(cast.people[Role.OPERATOR])


@pytest.fixture
def owner() -> Client:
    return Client(headers={"host": "localhost"})


def shown(client: Client, code: str, **form: str) -> str:
    """The link that an inviter without a mail server sees."""
    page = invite(client, code, email=ADDRESS, **form).content.decode()
    [token] = set(TOKEN.findall(page))
    return token


def mailed(client: Client, code: str, settings: Any, **form: str) -> str:
    """The link that the mailbox alone receives."""
    settings.SMTP_URL = "smtp://127.0.0.1:9"
    assert invite(client, code, email=ADDRESS, **form).redirect_chain
    [token] = TOKEN.findall(Message.objects.latest("pk").body)
    return token


def is_in(client: Client) -> bool:
    return client.get("/profil/").status_code == 200


class Squatter:
    """An administrator who opens the link of somebody else and keeps every way in."""

    def __init__(self, admin: Client) -> None:
        self.client = Client(headers={"host": "localhost"})
        assert self.client.post(f"/invitation/{shown(admin, '21231', role='commune-admin')}/")
        self.user = User.objects.get(email=ADDRESS)
        self.user.set_password(PASSWORD)
        self.user.save()
        self.client.force_login(self.user)
        TOTP.activate(self.user, SECRET)
        SocialAccount.objects.create(user=self.user, provider="openid", uid="squatter")
        _, self.secret = services.create_token(
            access.of_user(self.user),
            self.user,
            name="x",
            scopes=["core.members"],
            life=timedelta(days=300),
        )
        self.halfway = Client(headers={"host": "localhost"})
        self.sign_in(self.halfway)

    def sign_in(self, client: Client) -> None:
        client.post("/compte/login/", {"login": ADDRESS, "password": PASSWORD})

    def is_out(self) -> bool:
        fresh = Client(headers={"host": "localhost"})
        self.sign_in(fresh)
        counter = next(yield_hotp_counters_from_time())
        code = format_hotp_value(hotp_value(SECRET, counter))
        self.halfway.post("/compte/2fa/authenticate/", {"code": code})
        self.halfway.get("/compte/2fa/authenticate/")
        return (
            not any(is_in(client) for client in (self.client, self.halfway, fresh))
            and access.of_token(self.secret) is None
            and not Authenticator.objects.filter(user=self.user).exists()
            and not SocialAccount.objects.filter(uid="squatter").exists()
        )


def test_the_squatter_was_in_by_every_way(admin: Client) -> None:
    """Otherwise the tests below would show nothing."""
    squatter = Squatter(admin)
    assert is_in(squatter.client) and access.of_token(squatter.secret) is not None
    counter = next(yield_hotp_counters_from_time())
    code = format_hotp_value(hotp_value(SECRET, counter))
    squatter.halfway.post("/compte/2fa/authenticate/", {"code": code})
    assert is_in(squatter.halfway)


@pytest.mark.parametrize("way", ["shown", "mailed"])
def test_a_later_link_makes_a_squatted_account_anew(
    admin: Client, operator: Client, owner: Client, settings: Any, way: str
) -> None:
    squatter = Squatter(admin)
    given = {"role": "operator"}
    token = (
        mailed(operator, "21", settings, **given)
        if way == "mailed"
        else shown(operator, "21", **given)
    )
    page = owner.get(f"/invitation/{token}/").content.decode()
    assert "vous le remettez à neuf" in page and "vous vous connecterez" not in page
    assert is_in(squatter.client), "to look at the page changes nothing"
    answer = owner.post(f"/invitation/{token}/")
    assert answer.headers["Location"] == "/compte/password/set/"
    assert is_in(owner) and squatter.is_out()
    squatter.user.refresh_from_db()
    assert (squatter.user.address_proven_at is not None) == (way == "mailed")
    assert squatter.user.role_assignments.count() == 2
    assert JournalEntry.objects.filter(verb="user.renewed").count() == 1


def test_a_proven_account_is_not_made_anew(
    admin: Client, operator: Client, owner: Client, settings: Any
) -> None:
    owner.post(f"/invitation/{mailed(admin, '21231', settings)}/")
    user = User.objects.get(email=ADDRESS)
    assert user.address_proven_at is not None
    token = mailed(operator, "21", settings, role="operator")
    stranger = Client(headers={"host": "localhost"})
    assert "/compte/login/" in stranger.post(f"/invitation/{token}/").headers["Location"]
    assert "remettez à neuf" not in owner.get(f"/invitation/{token}/").content.decode()
    assert owner.post(f"/invitation/{token}/").headers["Location"] == "/"
    assert user.role_assignments.count() == 2


def test_an_administrator_takes_no_account_over_with_a_link_that_was_shown(
    admin: Client, owner: Client, cast: Cast
) -> None:
    """Two communes, no mail: each sees its links, neither reaches what the other gave."""
    owner.post(f"/invitation/{shown(admin, '21231')}/")
    user = User.objects.get(email=ADDRESS)
    beaune = User.objects.create_user("admin@beaune.fr")
    beaune.role_assignments.create(role=Role.COMMUNE_ADMIN, organisation=cast.beaune)
    token = shown(signed_in(beaune), "21054")
    thief = Client(headers={"host": "localhost"})
    assert "vous inviter lui-même" in thief.get(f"/invitation/{token}/").content.decode()
    assert "/compte/login/" in thief.post(f"/invitation/{token}/").headers["Location"]
    assert user.role_assignments.count() == 1
    # Who holds both the account and the link is the person meant by both; what others may have
    # left in the account goes.
    assert "remettez à neuf" in owner.get(f"/invitation/{token}/").content.decode()
    assert owner.post(f"/invitation/{token}/").headers["Location"] == "/compte/password/set/"
    assert is_in(owner) and user.role_assignments.count() == 2


def test_a_new_link_vouches_for_no_more_than_who_asked_for_it(
    admin: Client, operator: Client, owner: Client
) -> None:
    """An operator invites to Dijon; Dijon's administrator makes a new link, and sees it."""
    squatter = Squatter(admin)
    shown(operator, "21231", role="commune-member")
    waiting = Invitation.objects.get(accepted_at=None)
    assert waiting.voucher == Invitation.Voucher.DEPARTEMENT
    page = admin.post(f"/administration/21231/invitations/{waiting.pk}/renvoyer/", follow=True)
    [token] = set(TOKEN.findall(page.content.decode()))
    assert "/compte/login/" in owner.post(f"/invitation/{token}/").headers["Location"]
    assert is_in(squatter.client)


def test_the_same_organisation_gives_another_role_without_ado(admin: Client, owner: Client) -> None:
    owner.post(f"/invitation/{shown(admin, '21231')}/")
    token = shown(admin, "21231", role="commune-admin")
    assert owner.post(f"/invitation/{token}/").headers["Location"] == "/"
    assert User.objects.get(email=ADDRESS).role_assignments.count() == 2


@pytest.mark.parametrize("way", ["shown", "mailed"])
def test_an_account_of_the_departement_yields_to_no_link_but_the_consoles(
    admin: Client, operator: Client, owner: Client, settings: Any, way: str, cast: Cast
) -> None:
    """Nor does a stolen mailbox take the second factor of an operator away."""
    owner.post(f"/invitation/{shown(operator, '21', role='operator')}/")
    user = User.objects.get(email=ADDRESS)
    TOTP.activate(user, SECRET)
    token = mailed(admin, "21231", settings) if way == "mailed" else shown(admin, "21231")
    thief = Client(headers={"host": "localhost"})
    assert "/compte/login/" in thief.post(f"/invitation/{token}/").headers["Location"]
    assert Authenticator.objects.filter(user=user).exists()
    assert owner.post(f"/invitation/{token}/").headers["Location"] == "/"
    _, console = services.invite(
        access.of_console(), email=ADDRESS, role=Role.OPERATOR, organisation=cast.departement
    )
    fresh = Client(headers={"host": "localhost"})
    answer = fresh.post(f"/invitation/{console}/")
    user.refresh_from_db()
    if way == "mailed":  # signed in, with the link that only the mailbox had: proven
        assert user.address_proven_at is not None
        assert "/compte/login/" in answer.headers["Location"]
    else:
        assert answer.headers["Location"] == "/compte/password/set/"
