"""Who may open an account with an identity that the provider vouches for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import transaction

from souverain.core import journal, services
from souverain.core.access import of_user
from souverain.core.models import Organisation, User, canonical_email
from souverain.core.openid.config import OpenID


class Refused(Exception):
    """This identity opens no account. `reason` goes to the journal, the message on screen."""

    def __init__(self, reason: str, message: str, user: User | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.user = user


@dataclass(frozen=True)
class Identity:
    """What the provider says of a person. `key` names the person at this provider for good."""

    key: str
    email: str
    email_verified: bool
    full_name: str
    siret: str
    acr: str


def identity_of(
    config: OpenID, issuer: str, id_token: dict[str, Any], userinfo: dict[str, Any]
) -> Identity:
    """Read the claims of both tokens; texts of unexpected types count as absent."""

    def text(name: str) -> str:
        value = userinfo.get(name, id_token.get(name))
        return value.strip() if isinstance(value, str) else ""

    given, family = text("given_name"), text("usual_name") or text("family_name")
    stated = userinfo.get("email_verified", id_token.get("email_verified"))
    return Identity(
        key=hashlib.sha256(f"{issuer}\n{id_token['sub']}".encode()).hexdigest(),
        email=canonical_email(text("email")),
        # ProConnect vouches for the addresses of its identity providers and sends no such claim.
        email_verified=stated is True or (config.proconnect and stated is None),
        full_name=(f"{given} {family}".strip() or text("name"))[:160],
        siret=text("siret").replace(" ", ""),
        acr=id_token["acr"] if isinstance(id_token.get("acr"), str) else "",
    )


def person_of(config: OpenID, identity: Identity, signed_in: User | None) -> User:
    """The person whose account this identity opens; raises `Refused`. An open invitation to the
    vouched address is taken up; nobody else is created."""
    if config.accepted_acr and identity.acr not in config.accepted_acr:
        raise Refused(
            "acr",
            "Votre connexion n'est pas assez sûre pour ce service. Recommencez avec un moyen de "
            "connexion plus fort, ou demandez conseil à votre service informatique.",
        )
    with transaction.atomic():
        user = _linked(identity) or _by_email(identity, signed_in)
        if not user.is_active:
            raise Refused(
                "inactive", "Votre compte est désactivé. Adressez-vous au département.", user
            )
        _require_role_on(config, identity.siret, user)
    return user


def _linked(identity: Identity) -> User | None:
    account = SocialAccount.objects.select_related("user").filter(uid=identity.key).first()
    return account.user if account else None


def _by_email(identity: Identity, signed_in: User | None) -> User:
    if not identity.email or not identity.email_verified:
        raise Refused(
            "email not verified",
            "Votre adresse électronique n'est pas vérifiée par ce service de connexion : nous ne "
            "pouvons pas reconnaître votre compte.",
        )
    account = User.objects.filter(email=identity.email).first()
    if account is not None and account != signed_in and _has_credentials(account):
        # Whoever chose the password may not be who owns the address: they link it themselves.
        raise Refused(
            "not linked",
            "Votre compte a déjà un mot de passe. Connectez-vous une fois avec lui, puis reliez "
            "votre compte depuis la page « Mon profil ». Ce n'est pas vous qui l'avez choisi ? "
            "Demandez une nouvelle invitation au département.",
            account,
        )
    services.accept_invitations_of(identity.email, full_name=identity.full_name)
    user = User.objects.filter(email=identity.email).first()
    if user is None:
        raise Refused(
            "unknown",
            "Aucun compte n'existe à votre nom. Les comptes se créent sur invitation de votre "
            "mairie ou du département.",
        )
    return user


def _has_credentials(user: User) -> bool:
    return user.has_usable_password() or Authenticator.objects.filter(user=user).exists()


def is_linked(user: User) -> bool:
    """Whether an identity of the provider already opens this account."""
    return bool(SocialAccount.objects.filter(user=user, provider="openid").exists())


def _require_role_on(config: OpenID, siret: str, user: User) -> None:
    """A person who comes for an organisation (SIRET, of which the first 9 digits are the SIREN)
    must hold a role on it."""
    if not siret and not config.proconnect:
        return
    if len(siret) != 14 or not siret.isascii() or not siret.isdigit():
        raise Refused(
            "siret", "Le service de connexion n'a pas dit pour quel organisme vous venez.", user
        )
    siren = siret[:9]
    own = {assignment.organisation for assignment in user.assignments}
    if not any(siren == _siren(organisation) for organisation in own):
        raise Refused(
            "organisation",
            f"Vous vous êtes connecté pour l'organisme au SIRET {siret}, où vous n'avez pas de "
            "rôle. Choisissez votre mairie ou votre service au moment de la connexion.",
            user,
        )


def _siren(organisation: Organisation) -> str:
    """The organisation's SIREN; the département's covers its directions."""
    kinds = Organisation.Kind
    if organisation.kind in (kinds.DEPARTEMENT, kinds.DIRECTION) and not organisation.siren:
        return str(settings.DEPARTEMENT_SIREN)
    return organisation.siren


@transaction.atomic
def link(user: User, identity: Identity) -> None:
    """Remember that this identity opens this account; the first time only."""
    _, first = SocialAccount.objects.get_or_create(
        uid=identity.key, provider="openid", defaults={"user": user}
    )
    if first:
        journal.append(of_user(user), "identity.linked", object=f"user:{user.pk}")
