"""Sign-in through a provider: a real glewlwyd, and a small one with ProConnect's own rules."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests
from allauth.socialaccount.models import SocialAccount
from django.test import Client

from souverain.core import access, egress, services
from souverain.core.models import Invitation, JournalEntry, Organisation, RoleAssignment, User
from souverain.core.openid import config, tokens, transport
from souverain.core.roles import Role
from souverain.core.rooms import DataClass
from souverain.core.tests import glewlwyd as real
from souverain.core.tests import openid_server as small
from souverain.core.tests.conftest import Cast

pytestmark = pytest.mark.django_db
HERE = "http://localhost:8000"
CALLBACK, AFTER = f"{HERE}/compte/openid/retour/", f"{HERE}/compte/openid/deconnecte/"
SIREN, SIRET = "212102313", "21210231300012"


@pytest.fixture
def dijon(cast: Cast, settings: Any) -> Organisation:
    settings.PUBLIC_URL = HERE
    cast.dijon.siren = SIREN
    cast.dijon.save()
    return cast.dijon


@pytest.fixture
def client() -> Client:
    return Client(headers={"host": "localhost"})


def invite(organisation: Organisation, email: str) -> str:
    _, token = services.invite(
        access.SYSTEM, email=email, role=Role.COMMUNE_MEMBER, organisation=organisation
    )
    return token


def refusals() -> list[str]:
    entries = JournalEntry.objects.filter(verb="session.refused").order_by("seq")
    return [json.loads(bytes(entry.body))["data"]["reason"] for entry in entries]


def leave_for_provider(client: Client, **form: str) -> str:
    answer = client.post("/compte/openid/", form)
    assert answer.status_code == 200, answer.content
    return str(answer.context["url"])


def come_back(client: Client, location: str) -> Any:
    assert location.startswith(CALLBACK)
    return client.get("/compte/openid/retour/?" + urlsplit(location).query)


# A real provider: glewlwyd -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def glewlwyd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Glewlwyd]:
    if shutil.which("glewlwyd") is None and not os.environ.get("CI"):
        pytest.skip("Debian's glewlwyd is not installed")
    provider = real.Glewlwyd(tmp_path_factory.mktemp("glewlwyd"), CALLBACK, AFTER)
    provider.add_person("agnes", "agnes@dijon.fr", siret=SIRET)
    provider.add_person("bruno", "bruno@dijon.fr")
    provider.add_person("claire", "claire@dijon.fr", verified=False)
    provider.add_person("denis", "denis@dijon.fr", siret="21210054100010")
    yield provider
    provider.stop()


@pytest.fixture
def through_glewlwyd(dijon: Organisation, settings: Any, glewlwyd: real.Glewlwyd) -> real.Glewlwyd:
    settings.OPENID = config.read(
        {
            "SOUVERAIN_OIDC_DISCOVERY_URL": glewlwyd.discovery_url,
            "SOUVERAIN_OIDC_CLIENT_ID": real.CLIENT,
            "SOUVERAIN_OIDC_CLIENT_SECRET": real.SECRET,
            "SOUVERAIN_OIDC_NAME": "le compte du département",
        }
    )
    return glewlwyd


def at_glewlwyd(provider: real.Glewlwyd, url: str, username: str) -> str:
    """What the person's browser does there; where it is sent back."""
    answer = provider.session_of(username).get(url + "&g_continue", allow_redirects=False)
    return str(answer.headers["Location"])


def test_an_invited_person_signs_in_through_glewlwyd(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    invite(dijon, "Agnes@Dijon.fr")
    page = client.get("/compte/login/").content.decode()
    assert "Se connecter avec le compte du département" in page

    url = leave_for_provider(client, next="/profil/")
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"] and asked["nonce"] and asked["state"]
    answer = come_back(client, at_glewlwyd(through_glewlwyd, url, "agnes"))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/profil/")

    agnes = User.objects.get(email="agnes@dijon.fr")
    assert client.session["_auth_user_id"] == str(agnes.pk)
    assert [role.organisation for role in agnes.assignments] == [dijon]
    assert agnes.full_name == "Agnes" and not agnes.has_usable_password()
    account = SocialAccount.objects.get()
    assert account.extra_data == {} and len(account.uid) == 64

    client.logout()
    url = leave_for_provider(client)
    come_back(client, at_glewlwyd(through_glewlwyd, url, "agnes"))
    assert client.session["_auth_user_id"] == str(agnes.pk)
    assert SocialAccount.objects.count() == 1


def test_somebody_unknown_is_refused_and_nobody_is_created(
    through_glewlwyd: real.Glewlwyd, client: Client
) -> None:
    before = User.objects.count()
    url = leave_for_provider(client)
    answer = come_back(client, at_glewlwyd(through_glewlwyd, url, "bruno"))
    assert answer.status_code == 403 and "sur invitation" in answer.content.decode()
    assert User.objects.count() == before and not SocialAccount.objects.exists()
    assert "_auth_user_id" not in client.session
    assert refusals() == ["openid: unknown"]


def test_an_address_that_the_provider_did_not_verify_opens_nothing(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    invite(dijon, "claire@dijon.fr")
    url = leave_for_provider(client)
    answer = come_back(client, at_glewlwyd(through_glewlwyd, url, "claire"))
    assert answer.status_code == 403 and not User.objects.filter(email="claire@dijon.fr").exists()
    assert Invitation.objects.get().is_open
    assert refusals() == ["openid: email not verified"]


def test_a_siret_of_another_organisation_is_refused_whole(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    invite(dijon, "denis@dijon.fr")
    url = leave_for_provider(client)
    answer = come_back(client, at_glewlwyd(through_glewlwyd, url, "denis"))
    assert answer.status_code == 403 and "SIRET 21210054100010" in answer.content.decode()
    assert Invitation.objects.get().is_open and not SocialAccount.objects.exists()
    assert not User.objects.filter(email="denis@dijon.fr").exists()
    assert refusals() == ["openid: organisation"]


def test_a_code_serves_once_and_a_state_is_of_its_own_browser(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    invite(dijon, "agnes@dijon.fr")
    url = leave_for_provider(client)
    location = at_glewlwyd(through_glewlwyd, url, "agnes")

    other = Client(headers={"host": "localhost"})
    assert come_back(other, location).status_code == 401
    wrong = location.replace("state=", "state=x")
    assert come_back(client, wrong).status_code == 401
    assert come_back(client, location).status_code == 302
    client.logout()
    assert come_back(client, location).status_code == 401
    assert set(refusals()) == {"openid: state, code or error"}


def test_a_state_expires(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client, monkeypatch: Any
) -> None:
    from allauth.socialaccount.internal import statekit

    invite(dijon, "agnes@dijon.fr")
    location = at_glewlwyd(through_glewlwyd, leave_for_provider(client), "agnes")
    monkeypatch.setattr(statekit, "STATE_TTL", -1)
    assert come_back(client, location).status_code == 401


def test_signing_out_closes_the_session_at_glewlwyd_too(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    invite(dijon, "agnes@dijon.fr")
    come_back(client, at_glewlwyd(through_glewlwyd, leave_for_provider(client), "agnes"))
    answer = client.post("/compte/logout/")
    assert answer.headers["Location"] == "/compte/openid/quitter/"
    assert "_auth_user_id" not in client.session
    url = client.get("/compte/openid/quitter/").context["url"]
    there = requests.get(url, allow_redirects=False, timeout=10)
    assert there.status_code == 302 and "prompt=end_session" in there.headers["Location"]


def test_the_userinfo_that_glewlwyd_signs_names_no_audience_and_is_refused(
    through_glewlwyd: real.Glewlwyd, dijon: Organisation, client: Client
) -> None:
    """Its signature is sound, but ProConnect's rule is that it is signed for us."""
    session = through_glewlwyd.session_of("agnes")
    discovery = requests.get(through_glewlwyd.discovery_url, timeout=10).json()
    url = leave_for_provider(client)
    verifier = next(iter(client.session["socialaccount_states"].values()))[0]["pkce_code_verifier"]
    back = session.get(url + "&g_continue", allow_redirects=False).headers["Location"]
    given = requests.post(
        discovery["token_endpoint"],
        {
            "grant_type": "authorization_code",
            "code": parse_qs(urlsplit(back).query)["code"][0],
            "redirect_uri": CALLBACK,
            "client_id": real.CLIENT,
            "client_secret": real.SECRET,
            "code_verifier": verifier,
        },
        timeout=10,
    ).json()
    answer = requests.get(
        discovery["userinfo_endpoint"],
        headers={"Authorization": f"Bearer {given['access_token']}", "Accept": "application/jwt"},
        timeout=10,
    )
    jwks = requests.get(discovery["jwks_uri"], timeout=10).json()
    subject = jwt.decode(given["id_token"], options={"verify_signature": False})["sub"]
    assert answer.headers["Content-Type"] == "application/jwt"
    with pytest.raises(tokens.Unsound, match=r"MissingRequiredClaimError|InvalidAudienceError"):
        tokens.userinfo(
            answer.content,
            "application/jwt",
            jwks,
            issuer=through_glewlwyd.issuer,
            client_id=real.CLIENT,
            subject=subject,
            signed=True,
        )


# ProConnect's own points -------------------------------------------------------------------------
@pytest.fixture(params=["RS256", "ES256"])
def provider(request: Any) -> Iterator[small.Provider]:
    started = small.Provider(getattr(request, "param", "RS256"))
    started.person = {
        "sub": "proconnect-1",
        "email": "Maire@Dijon.fr",
        "given_name": "Anne",
        "usual_name": "Morel",
        "siret": SIRET,
    }
    yield started
    started.stop()


def as_proconnect(provider: small.Provider, **more: str) -> config.OpenID:
    found = config.read(
        {
            "SOUVERAIN_OIDC_DISCOVERY_URL": provider.discovery_url,
            "SOUVERAIN_OIDC_CLIENT_ID": small.CLIENT,
            "SOUVERAIN_OIDC_CLIENT_SECRET": small.SECRET,
            "SOUVERAIN_OIDC_KIND": "proconnect",
            **more,
        }
    )
    assert found is not None
    return found


@pytest.fixture
def proconnect(provider: small.Provider, dijon: Organisation, settings: Any) -> small.Provider:
    settings.OPENID = as_proconnect(provider)
    invite(dijon, "maire@dijon.fr")
    return provider


only_rsa = pytest.mark.parametrize("provider", ["RS256"], indirect=True)


def through(client: Client, **form: str) -> Any:
    """Go to the small provider and come back."""
    url = leave_for_provider(client, **form)
    there = requests.get(url, allow_redirects=False, timeout=10)
    assert there.status_code == 303, there.text
    return come_back(client, there.headers["Location"])


def test_proconnect_signs_in_with_a_signed_userinfo(
    proconnect: small.Provider, client: Client
) -> None:
    assert "Se connecter avec ProConnect" in client.get("/compte/login/").content.decode()
    assert through(client).status_code == 302
    user = User.objects.get(email="maire@dijon.fr")
    assert client.session["_auth_user_id"] == str(user.pk)
    assert user.full_name == "Anne Morel"
    [asked] = proconnect.asked
    assert set(asked) <= small.PROCONNECT_PARAMETERS
    assert set(asked["scope"].split()) == {"openid", "given_name", "usual_name", "email", "siret"}
    assert json.loads(asked["claims"])["id_token"]["acr"] == {
        "essential": True,
        "values": ["eidas1", "eidas1-mfa", "eidas2", "eidas3"],
    }


def test_without_a_provider_there_is_no_button_and_no_page(client: Client) -> None:
    assert "ProConnect" not in client.get("/compte/login/").content.decode()
    assert client.post("/compte/openid/").status_code == 404
    assert client.get("/compte/openid/retour/").status_code == 404


def unsigned(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, None, "none", headers={"kid": "une"})


LIES_IN_THE_ID_TOKEN: dict[str, dict[str, Any]] = {
    "issuer": {"iss": "https://ailleurs.example"},
    "audience": {"aud": "un-autre-client"},
    "several audiences": {"aud": [small.CLIENT, "un-autre-client"]},
    "authorised party": {"azp": "un-autre-client"},
    "nonce": {"nonce": "x" * 43},
    "expired": {"exp": 1_700_000_000},
    "from the future": {"iat": 4_000_000_000},
    "no expiry": {"exp": None},
    "another subject": {"sub": "quelqu'un d'autre"},
}


@only_rsa
@pytest.mark.parametrize("lie", LIES_IN_THE_ID_TOKEN.values(), ids=LIES_IN_THE_ID_TOKEN)
def test_an_id_token_that_lies_opens_nothing(
    proconnect: small.Provider, client: Client, lie: dict[str, Any]
) -> None:
    def change(claims: dict[str, Any]) -> None:
        claims.update(lie)
        for name in [name for name, value in claims.items() if value is None]:
            del claims[name]

    proconnect.change_id_token = change
    assert_nothing_opened(through(client), client)


def assert_nothing_opened(answer: Any, client: Client) -> None:
    assert answer.status_code in (401, 403), answer.status_code
    assert "_auth_user_id" not in client.session
    assert not User.objects.filter(email="maire@dijon.fr").exists()
    assert not SocialAccount.objects.exists() and Invitation.objects.get().is_open
    assert len(refusals()) == 1 and refusals()[0].startswith("openid: ")


@only_rsa
@pytest.mark.parametrize(
    "lie",
    [{"iss": "https://ailleurs.example"}, {"aud": "un-autre-client"}, {"sub": "un autre"}],
    ids=["issuer", "audience", "subject"],
)
def test_a_userinfo_that_lies_opens_nothing(
    proconnect: small.Provider, client: Client, lie: dict[str, str]
) -> None:
    proconnect.change_userinfo = lambda claims: claims.update(lie)
    assert_nothing_opened(through(client), client)


def by_a_stranger(provider: small.Provider) -> Any:
    return lambda claims: jwt.encode(
        claims, provider.stranger_key, provider.algorithm, headers={"kid": "une"}
    )


def by_the_client_secret(provider: small.Provider) -> Any:
    return lambda claims: jwt.encode(
        claims, small.SECRET.ljust(32, "."), "HS256", headers={"kid": "une"}
    )


def with_a_key_that_nobody_published(provider: small.Provider) -> Any:
    return lambda claims: jwt.encode(
        claims, provider.key, provider.algorithm, headers={"kid": "deux"}
    )


@pytest.mark.parametrize(
    "forge",
    [by_a_stranger, by_the_client_secret, with_a_key_that_nobody_published, lambda _: unsigned],
    ids=["stranger", "secret", "unknown key", "unsigned"],
)
def test_a_signature_that_is_not_the_providers_opens_nothing(
    proconnect: small.Provider, client: Client, forge: Any
) -> None:
    proconnect.sign_with = forge(proconnect)
    assert_nothing_opened(through(client), client)


@only_rsa
def test_a_userinfo_that_is_not_signed_is_refused(
    proconnect: small.Provider, client: Client
) -> None:
    proconnect.userinfo_type = "application/json"
    assert_nothing_opened(through(client), client)


@only_rsa
def test_an_endless_answer_is_cut(proconnect: small.Provider, client: Client) -> None:
    proconnect.userinfo_padding = transport.ANSWER_MAX_BYTES + 1
    assert_nothing_opened(through(client), client)


@only_rsa
@pytest.mark.parametrize("acr", ["eidas0", "eidas0-mfa", None, "", "eidas1 "])
def test_a_level_below_the_one_demanded_is_refused(
    proconnect: small.Provider, client: Client, acr: str | None
) -> None:
    proconnect.acr = acr
    answer = through(client)
    assert_nothing_opened(answer, client)
    assert "pas assez sûre" in answer.content.decode() and refusals() == ["openid: acr"]


@only_rsa
@pytest.mark.parametrize(("acr", "status"), [("eidas1-mfa", 403), ("eidas2", 302)])
def test_the_demanded_level_is_a_setting(
    proconnect: small.Provider, client: Client, settings: Any, acr: str, status: int
) -> None:
    settings.OPENID = as_proconnect(proconnect, SOUVERAIN_OIDC_ACR="eidas2")
    proconnect.acr = acr
    assert through(client).status_code == status


@only_rsa
@pytest.mark.parametrize(
    "siret", ["", "21210054100010", "2121023130001", "２１２１０２３１３０００１２"]
)
def test_without_a_role_on_the_organisation_the_account_stays_shut(
    proconnect: small.Provider, client: Client, siret: str
) -> None:
    proconnect.person["siret"] = siret
    assert_nothing_opened(through(client), client)


@only_rsa
def test_the_departements_siren_covers_its_directions(
    proconnect: small.Provider, cast: Cast, client: Client, settings: Any
) -> None:
    settings.DEPARTEMENT_SIREN = "222100014"
    roads = Organisation.objects.create(
        kind=Organisation.Kind.DIRECTION, code="21-routes", name="Routes"
    )
    services.invite(access.SYSTEM, email="agent@cotedor.fr", role=Role.AGENT, organisation=roads)
    proconnect.person |= {"email": "agent@cotedor.fr", "siret": "22210001400019"}
    assert through(client).status_code == 302


@only_rsa
def test_signing_out_goes_through_the_provider_and_back(
    proconnect: small.Provider, client: Client
) -> None:
    through(client)
    client.post("/compte/logout/")
    url = client.get("/compte/openid/quitter/").context["url"]
    back = requests.get(url, allow_redirects=False, timeout=10).headers["Location"]
    assert back.startswith(AFTER) and proconnect.closed[0]["sub"] == "proconnect-1"
    answer = client.get(back.removeprefix(HERE), follow=True)
    assert "Vous êtes déconnecté" in answer.content.decode()
    again = client.get("/compte/openid/deconnecte/?state=x", follow=True)
    assert "Vous êtes déconnecté" not in again.content.decode()
    assert client.get("/compte/openid/quitter/").headers["Location"] == "/"


@only_rsa
def test_an_account_with_a_password_is_linked_by_its_owner_only(
    proconnect: small.Provider, dijon: Organisation, client: Client
) -> None:
    """Somebody may have opened an account with another's address before its owner came."""
    squatter = User.objects.create_user("maire@dijon.fr", "un mot de passe long")
    answer = through(client)
    assert answer.status_code == 403 and "déjà un mot de passe" in answer.content.decode()
    assert not squatter.role_assignments.exists() and Invitation.objects.get().is_open
    client.post("/compte/login/", {"login": "maire@dijon.fr", "password": "un mot de passe long"})
    assert client.session["_auth_user_id"] == str(squatter.pk)
    assert through(client).status_code == 302
    assert SocialAccount.objects.get().user == squatter
    client.logout()
    assert through(client).status_code == 302


@only_rsa
def test_who_was_in_before_the_owner_came_is_in_no_more(
    proconnect: small.Provider, dijon: Organisation, client: Client
) -> None:
    """The inviter opened the link, chose no password, and kept a session and a token."""
    squatter = Client(headers={"host": "localhost"})
    squatter.post(f"/invitation/{invite(dijon, 'maire@dijon.fr')}/")
    user = User.objects.get(email="maire@dijon.fr")
    RoleAssignment.objects.create(user=user, role=Role.COMMUNE_ADMIN, organisation=dijon)
    _, secret = services.create_token(
        access.of_user(user), user, name="x", scopes=["core.members"], life=timedelta(days=9)
    )
    assert squatter.get("/profil/").status_code == 200 and access.of_token(secret) is not None
    assert through(client).status_code == 302
    assert client.session["_auth_user_id"] == str(user.pk)
    assert squatter.get("/profil/").status_code == 302 and access.of_token(secret) is None
    user.refresh_from_db()
    assert user.address_proven_at is not None


@only_rsa
def test_to_link_a_squatted_account_forgets_what_the_squatter_left(
    proconnect: small.Provider, cast: Cast, client: Client
) -> None:
    """The owner signs in with the password that the squatter chose and told, and links."""
    user = User.objects.create_user("maire@dijon.fr", "un mot de passe long")
    user.role_assignments.create(role=Role.COMMUNE_MEMBER, organisation=cast.beaune)
    squatter = Client(headers={"host": "localhost"})
    squatter.force_login(user)
    client.force_login(user)
    assert "sont alors effacés" in client.get("/profil/").content.decode()
    assert through(client).status_code == 302
    assert client.get("/profil/").status_code == 200
    assert squatter.get("/profil/").status_code == 302
    user.refresh_from_db()
    assert not user.has_usable_password() and SocialAccount.objects.get().user == user


@only_rsa
def test_signed_in_as_one_person_one_does_not_take_the_identity_of_another(
    proconnect: small.Provider, cast: Cast, client: Client
) -> None:
    member = cast.people[Role.COMMUNE_MEMBER]
    client.force_login(member)
    through(client)
    assert SocialAccount.objects.get().user.email == "maire@dijon.fr"
    assert client.session["_auth_user_id"] != str(member.pk)


@only_rsa
def test_a_closed_account_stays_closed(
    proconnect: small.Provider, cast: Cast, client: Client
) -> None:
    through(client)
    client.logout()
    maire = User.objects.get(email="maire@dijon.fr")
    services.deactivate(access.SYSTEM, maire)
    assert through(client).status_code == 403 and refusals() == ["openid: inactive"]


@only_rsa
def test_the_sub_of_another_issuer_is_somebody_else(
    proconnect: small.Provider, client: Client, settings: Any
) -> None:
    through(client)
    client.logout()
    impostor = small.Provider()
    try:
        impostor.person = {**proconnect.person, "email": "pirate@exemple.fr"}
        settings.OPENID = as_proconnect(impostor)
        assert through(client).status_code == 403
    finally:
        impostor.stop()


@only_rsa
@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://ailleurs.example"},
        {"token_endpoint": "http://ailleurs.example/token"},
        {"jwks_uri": None},
        {"userinfo_endpoint": "file:///etc/passwd"},
    ],
    ids=["issuer", "plain http", "missing", "file"],
)
def test_a_discovery_document_that_cannot_be_right_stops_at_once(
    proconnect: small.Provider, client: Client, change: dict[str, Any]
) -> None:
    proconnect.change_discovery = lambda document: document.update(change)
    answer = client.post("/compte/openid/")
    assert answer.status_code == 401 and "n'a pas abouti" in answer.content.decode()
    assert not proconnect.asked


@only_rsa
def test_a_provider_that_is_down_is_said_in_french(
    proconnect: small.Provider, client: Client
) -> None:
    proconnect.stop()
    answer = client.post("/compte/openid/")
    assert answer.status_code == 401 and "n'a pas abouti" in answer.content.decode()


@only_rsa
def test_a_visitor_chooses_neither_scope_nor_level_nor_another_site(
    proconnect: small.Provider, client: Client
) -> None:
    url = client.post(
        "/compte/openid/?scope=custom&process=connect&auth_params=claims%3D%7B%7D%26prompt%3Dnone",
        {"next": "https://pirate.example/", "process": "redirect"},
    ).context["url"]
    asked = parse_qs(urlsplit(url).query)
    assert "custom" not in asked["scope"][0] and "prompt" not in asked
    assert "eidas1" in asked["claims"][0]
    there = requests.get(url, allow_redirects=False, timeout=10)
    assert come_back(client, there.headers["Location"]).headers["Location"] == "/"


@pytest.mark.parametrize(
    "next_url",
    ["https://pirate.example/", "//pirate.example/", "/\\pirate.example", "javascript:alert(1)"],
)
def test_no_page_of_ours_sends_to_another_site(cast: Cast, client: Client, next_url: str) -> None:
    answer = client.post(
        "/compte/login/",
        {
            "login": cast.people[Role.OPERATOR].email,
            "password": "un mot de passe long",
            "next": next_url,
        },
    )
    assert answer.status_code == 302 and answer.headers["Location"] == "/"


@only_rsa
def test_the_cancelled_sign_in_is_said_in_french(
    proconnect: small.Provider, client: Client
) -> None:
    state = parse_qs(urlsplit(leave_for_provider(client)).query)["state"][0]
    query = urlencode({"error": "access_denied", "state": state})
    answer = client.get(f"/compte/openid/retour/?{query}", follow=True)
    assert "Vous avez arrêté la connexion" in answer.content.decode()


@only_rsa
def test_neither_code_nor_tokens_reach_the_logs(
    proconnect: small.Provider, client: Client, caplog: Any
) -> None:
    with caplog.at_level(logging.DEBUG):
        through(client)
        proconnect.sign_with = by_a_stranger(proconnect)
        client.logout()
        through(client)
    own = [record for record in caplog.records if not record.name.startswith("urllib3")]
    text = " ".join(record.getMessage() for record in own)
    assert "eyJ" not in text and small.SECRET not in text and "code=" not in text


# The way out -------------------------------------------------------------------------------------
def test_a_provider_that_no_rule_allows_is_not_contacted(client: Client, settings: Any) -> None:
    settings.OPENID = config.read(
        {
            "SOUVERAIN_OIDC_DISCOVERY_URL": "https://fca.example.fr/api/v2" + config.WELL_KNOWN,
            "SOUVERAIN_OIDC_CLIENT_ID": "x",
            "SOUVERAIN_OIDC_CLIENT_SECRET": "y",
        }
    )
    assert client.post("/compte/openid/").status_code == 401
    refused = JournalEntry.objects.get(verb="egress.refused")
    assert refused.object == "fca.example.fr:443"


def test_each_request_of_a_sign_in_asks_the_allow_list(
    dijon: Organisation, client: Client, settings: Any, monkeypatch: Any
) -> None:
    asked: list[tuple[str, int, str, str]] = []
    permit = egress.permit

    def noted(host: str, port: int, purpose: str, data_class: DataClass) -> None:
        asked.append((host, port, purpose, data_class))
        permit(host, port, purpose, data_class)

    monkeypatch.setattr(egress, "permit", noted)
    provider = small.Provider()
    try:
        provider.person = {"sub": "1", "email": "maire@dijon.fr", "siret": SIRET}
        settings.OPENID = as_proconnect(provider)
        invite(dijon, "maire@dijon.fr")
        assert through(client).status_code == 302
    finally:
        provider.stop()
    port = provider._server.server_port
    # Discovery twice (going, coming back), then token, keys and userinfo.
    assert asked == [("127.0.0.1", port, "oidc", DataClass.PERSONAL)] * 5


def test_a_redirection_of_the_provider_is_not_followed() -> None:
    provider = small.Provider()
    try:
        with pytest.raises(requests.HTTPError):
            transport.get(
                f"{provider.url}/authorize?client_id={small.CLIENT}&response_type=code"
                f"&state={'s' * 32}&nonce={'n' * 32}&redirect_uri={provider.url}/jwks"
            )
    finally:
        provider.stop()


@pytest.mark.parametrize(
    "environ",
    [
        {"SOUVERAIN_OIDC_DISCOVERY_URL": "http://fca.example.fr/.well-known/openid-configuration"},
        {"SOUVERAIN_OIDC_DISCOVERY_URL": "https://fca.example.fr/"},
        {"SOUVERAIN_OIDC_DISCOVERY_URL": "https://f.fr/.well-known/openid-configuration"},
        {
            "SOUVERAIN_OIDC_DISCOVERY_URL": "https://f.fr/.well-known/openid-configuration",
            "SOUVERAIN_OIDC_CLIENT_ID": "x",
            "SOUVERAIN_OIDC_CLIENT_SECRET": "y",
            "SOUVERAIN_OIDC_KIND": "franceconnect",
        },
    ],
)
def test_a_set_up_that_cannot_be_right_ends_the_program(environ: dict[str, str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        config.read(environ)
    assert str(stopped.value) != "y" and str(stopped.value)
