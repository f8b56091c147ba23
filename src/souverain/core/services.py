"""The kernel's verbs on organisations, people, roles, invitations and tokens.

Each verb is one transaction with one journal entry; callers have checked the permission.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils.text import slugify

from souverain.core import clock, format, journal, notifications, rooms
from souverain.core.access import Actor, operates_departement, permits, serves_departement
from souverain.core.models import (
    ApiToken,
    Group,
    Invitation,
    Message,
    Organisation,
    RoleAssignment,
    User,
    canonical_email,
)
from souverain.core.roles import Role
from souverain.core.rooms import Permission
from souverain.core.transactions import serialise_writers

INVITATION_LIFE = timedelta(days=7)
OPEN_INVITATIONS_MAX = 200
LIVE_TOKENS_MAX = 20
TOKEN_LIFE_MAX = timedelta(days=366)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def put_organisations(
    kind: Organisation.Kind, rows: Sequence[tuple[str, str, str]]
) -> dict[str, Organisation]:
    """Create or rename organisations from (code, name, SIREN) rows; returns them by code.
    The caller is a verb of a higher room: it journals."""
    Organisation.objects.bulk_create(
        [Organisation(kind=kind, code=code, name=name, siren=siren) for code, name, siren in rows],
        update_conflicts=True,
        unique_fields=["code"],
        update_fields=["name", "siren"],
    )
    codes = [code for code, _, _ in rows]
    return {found.code: found for found in Organisation.objects.filter(code__in=codes)}


def roles_for(organisation: Organisation) -> list[Role]:
    """The roles that can be held on an organisation: nobody operates the cloud from a commune."""
    kinds = Organisation.Kind
    if organisation.kind in (kinds.COMMUNE, kinds.EPCI):
        return [Role.COMMUNE_MEMBER, Role.COMMUNE_ADMIN]
    return [Role.AGENT, Role.SUPERVISOR, Role.DUTY_OFFICER, Role.AUDITOR, Role.OPERATOR]


def _require_role_for(role: Role, organisation: Organisation) -> None:
    if role not in roles_for(organisation):
        raise ValidationError(
            f"Le rôle « {Role(role).label} » ne se donne pas sur {organisation.name}."
        )


def _require_person(actor: Actor) -> None:
    """What gives rights is asked by a person who signed in, never by one of their tokens."""
    if actor.scopes is not None:
        raise PermissionDenied("Un jeton d'API ne peut pas donner de droits.")


def _letter(invitation: Invitation, token: str) -> Message | None:
    """Put the invitation's letter in the outbox; None when no letter can leave, so that a
    one-time link never waits in the database for nothing."""
    if not notifications.can_write():
        return None
    until = format.datetime_fr(invitation.expires_at)
    return notifications.write_to(
        invitation.email,
        f"Votre accès au cloud du département pour {invitation.organisation.name}",
        "Bonjour,\n\n"
        f"Vous êtes invité à rejoindre le cloud du département pour {invitation.organisation.name}, "
        f"comme « {invitation.get_role_display()} ».\n\n"
        f"Pour accepter, ouvrez ce lien avant le {until} ; il ne sert qu'une fois :\n\n"
        f"{invitation_link(token)}\n\n"
        "Vous n'attendiez pas ce message ? Ne faites rien : sans votre accord, aucun compte "
        "n'est créé.\n",
    )


def invitation_link(token: str) -> str:
    """The one-time address that opens an invitation."""
    return f"{settings.PUBLIC_URL}{reverse('portal:invitation', args=[token])}"


@transaction.atomic
def invite(
    actor: Actor,
    *,
    email: str,
    role: Role,
    organisation: Organisation,
    group: Group | None = None,
    full_name: str = "",
    life: timedelta = INVITATION_LIFE,
) -> tuple[Invitation, str]:
    """Invite a person to a role; returns the invitation and its one-time token. The letter is in
    the outbox (`invitation.message`) when mail is set up; otherwise the link is given by hand.
    Raises ValidationError for a bad address, a role that the organisation does not have, or too
    many invitations waiting."""
    _require_person(actor)
    _require_role_for(role, organisation)
    spelt = canonical_email(email)
    if not spelt:
        raise ValidationError("Cette adresse électronique n'est pas valable.")
    if open_invitations(organisation).count() >= OPEN_INVITATIONS_MAX:
        raise ValidationError(
            f"{OPEN_INVITATIONS_MAX} invitations attendent déjà : annulez celles qui ne servent "
            "plus."
        )
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=spelt,
        full_name=full_name.strip()[:160],
        role=role,
        organisation=organisation,
        group=group,
        token_sha256=_digest(token),
        expires_at=clock.now() + life,
    )
    invitation.message = _letter(invitation, token)
    invitation.voucher = _voucher(actor, invitation)
    invitation.save(update_fields=["message", "voucher"])
    journal.append(
        actor,
        "invitation.sent",
        organisation=organisation.code,
        object=f"invitation:{invitation.pk}",
        data={"role": str(role), "by": "mail" if invitation.message else "hand"},
        detail={"email": spelt},
    )
    return invitation, token


def _voucher(actor: Actor, invitation: Invitation) -> Invitation.Voucher:
    if actor.is_trusted:
        return Invitation.Voucher.CONSOLE  # it prints the link, also when it is mailed
    if invitation.message is not None:
        return Invitation.Voucher.MAIL
    if operates_departement(actor):
        return Invitation.Voucher.DEPARTEMENT
    return Invitation.Voucher.ORGANISATION


def open_invitations(organisation: Organisation) -> QuerySet[Invitation]:
    """The invitations that can still be accepted, newest first."""
    return (
        organisation.invitations.filter(
            accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
        )
        .select_related("message", "group")
        .order_by("-created_at")
    )


@transaction.atomic
def resend_invitation(actor: Actor, invitation: Invitation) -> str:
    """Make a new link for an open invitation, of the same life from now on; the old link is dead.
    Returns the new one-time token."""
    _require_person(actor)
    _require_open(invitation)
    _withdraw_letter(invitation)
    token = secrets.token_urlsafe(32)
    invitation.token_sha256 = _digest(token)
    invitation.expires_at = clock.now() + INVITATION_LIFE
    invitation.message = _letter(invitation, token)
    invitation.voucher = _voucher(actor, invitation)
    invitation.save(update_fields=["token_sha256", "expires_at", "message", "voucher"])
    journal.append(
        actor,
        "invitation.resent",
        organisation=invitation.organisation.code,
        object=f"invitation:{invitation.pk}",
        data={"by": "mail" if invitation.message else "hand"},
    )
    return token


def _require_open(invitation: Invitation) -> None:
    if not invitation.is_open:
        raise ValidationError("Cette invitation n'est plus en attente.")


def _withdraw_letter(invitation: Invitation) -> None:
    if invitation.message is not None:
        notifications.withdraw(invitation.message)


def open_invitation(token: str) -> Invitation | None:
    """The invitation that this token opens, while it can still be accepted."""
    invitation = (
        Invitation.objects.select_related("organisation", "group")
        .filter(token_sha256=_digest(token))
        .first()
    )
    return invitation if invitation is not None and invitation.is_open else None


def invited_account(invitation: Invitation) -> User | None:
    """The account that the invited address already has."""
    return User.objects.filter(email=invitation.email).first()


def opens_by_itself(invitation: Invitation, account: User) -> bool:
    """Whether the link opens an account that exists, made anew, without its sign-in: nobody showed
    that the account is the address's owner's, and who answers for the link stands above whoever
    may have made the account. Accounts of the département yield to its console alone."""
    if account.address_proven_at is not None:
        return False
    if invitation.voucher == Invitation.Voucher.CONSOLE:
        return True
    above = (Invitation.Voucher.MAIL, Invitation.Voucher.DEPARTEMENT)
    return invitation.voucher in above and not serves_departement(account)


def renews(invitation: Invitation, account: User) -> bool:
    """Whether taking up this invitation makes the account anew: its address was never proven, and
    those who brought it in answer for it in their own organisation only."""
    if account.address_proven_at is not None:
        return False
    if opens_by_itself(invitation, account):
        return True
    known_there = account.role_assignments.filter(organisation=invitation.organisation).exists()
    return not known_there and not serves_departement(account)


def _renew(user: User) -> None:
    """Forget every way into this account, and close what is open: only roles stay."""
    Authenticator.objects.filter(user=user).delete()
    SocialAccount.objects.filter(user=user).delete()
    revoked = user.api_tokens.filter(revoked_at=None).update(revoked_at=clock.now())
    user.set_unusable_password()
    user.session_generation += 1
    user.save(update_fields=["password", "session_generation"])
    notifications.notify(
        [user],
        "Votre compte a été remis à neuf",
        "Une nouvelle invitation à votre adresse a été acceptée : le mot de passe, les clés, la "
        "double vérification et les jetons d'avant ne servent plus. Si ce n'est pas vous, prévenez "
        "le département tout de suite.",
    )
    actor = Actor("user", str(user.pk), user=user)
    journal.append(actor, "user.renewed", object=f"user:{user.pk}", data={"tokens": revoked})


def _prove_address(user: User) -> None:
    """Remember that the account is the address's owner's; what was made before is forgotten,
    except for who serves the département."""
    if user.address_proven_at is None:
        if not serves_departement(user):
            _renew(user)
        user.address_proven_at = clock.now()
        user.save(update_fields=["address_proven_at"])


@transaction.atomic
def accept_invitation(token: str, signed_in: User | None = None) -> User:
    """Use a one-time token: create the person if need be and give the role.

    The link alone proves only that somebody holds it: an account that exists takes up a role when
    its owner is signed in (`signed_in`), or is made anew (`opens_by_itself`). Raises ValidationError when the link was used,
    withdrawn or has expired, and with the code `sign-in` when its owner must sign in first."""
    invitation = open_invitation(token)
    if invitation is None or not _take(invitation):
        raise ValidationError(
            "Ce lien a déjà servi ou n'est plus valable. Demandez-en un nouveau à la personne "
            "qui vous a invité.",
            code="invitation",
        )
    account = invited_account(invitation)
    if account not in (None, signed_in) and not opens_by_itself(invitation, account):
        raise ValidationError(
            "Cette adresse a déjà un compte : connectez-vous d'abord, puis rouvrez ce lien.",
            code="sign-in",
        )
    if account is not None and renews(invitation, account):
        _renew(account)
    return _accept(invitation, proven=invitation.voucher == Invitation.Voucher.MAIL)


def _take(invitation: Invitation) -> bool:
    """Mark an open invitation as accepted; False when somebody else just did."""
    return bool(
        Invitation.objects.filter(
            pk=invitation.pk,
            token_sha256=invitation.token_sha256,
            accepted_at=None,
            revoked_at=None,
        ).update(accepted_at=clock.now())
    )


def _accept(invitation: Invitation, full_name: str = "", *, proven: bool) -> User:
    _withdraw_letter(invitation)
    user = User.objects.filter(email=invitation.email).first()
    if user is None:
        user = User.objects.create_user(
            invitation.email, full_name=invitation.full_name or full_name
        )
    elif not user.is_active:
        raise ValidationError("Ce compte est désactivé. Adressez-vous au département.")
    if proven and user.address_proven_at is None:
        user.address_proven_at = clock.now()
        user.save(update_fields=["address_proven_at"])
    RoleAssignment.objects.get_or_create(
        user=user,
        role=invitation.role,
        organisation=invitation.organisation,
        group=invitation.group,
    )
    journal.append(
        Actor("user", str(user.pk), user=user),
        "invitation.accepted",
        organisation=invitation.organisation.code,
        object=f"invitation:{invitation.pk}",
        data={"role": invitation.role},
    )
    return user


@transaction.atomic
def accept_invitations_of(email: str, full_name: str = "") -> None:
    """Take up the open invitations to an address that a provider vouches for. An account that has
    it was made anew before, unless it was proven already."""
    account = User.objects.filter(email=email).first()
    if account is not None:
        _prove_address(account)
    waiting = Invitation.objects.select_related("organisation", "group", "message").filter(
        email=email, accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
    )
    for invitation in waiting:
        if _take(invitation):
            _accept(invitation, full_name, proven=True)


@transaction.atomic
def revoke_invitation(actor: Actor, invitation: Invitation) -> None:
    """Withdraw an open invitation; its link is dead and its letter, if it waits, does not leave."""
    _require_open(invitation)
    _withdraw_letter(invitation)
    invitation.revoked_at = clock.now()
    invitation.save(update_fields=["revoked_at"])
    journal.append(
        actor,
        "invitation.revoked",
        organisation=invitation.organisation.code,
        object=f"invitation:{invitation.pk}",
    )


def is_last_admin(assignment: RoleAssignment) -> bool:
    """Whether nobody else administers this commune."""
    others = RoleAssignment.objects.filter(
        role=Role.COMMUNE_ADMIN,
        organisation=assignment.organisation,
        group=None,
        user__is_active=True,
    ).exclude(pk=assignment.pk)
    return (
        assignment.role == Role.COMMUNE_ADMIN
        and assignment.group_id is None
        and not others.exists()
    )


def _other_operators(user: User) -> bool:
    return (
        RoleAssignment.objects.filter(
            role=Role.OPERATOR,
            user__is_active=True,
            organisation__kind=Organisation.Kind.DEPARTEMENT,
            group=None,
        )
        .exclude(user=user)
        .exists()
    )


def some_operator_can_sign_in() -> bool:
    """Whether somebody operates the cloud, with a password, a key or a provider to come back by."""
    held = RoleAssignment.objects.filter(
        role=Role.OPERATOR,
        user__is_active=True,
        organisation__kind=Organisation.Kind.DEPARTEMENT,
        group=None,
    )
    return any(
        assignment.user.has_usable_password()
        or Authenticator.objects.filter(user=assignment.user).exists()
        or SocialAccount.objects.filter(user=assignment.user).exists()
        for assignment in held.select_related("user")
    )


@transaction.atomic
def give_name(user: User, full_name: str) -> None:
    """Call oneself by a name; an empty one leaves the name that was there."""
    spelt = " ".join(full_name.split())[:160]
    if spelt and spelt != user.full_name:
        user.full_name = spelt
        user.save(update_fields=["full_name"])
        journal.append(
            Actor("user", str(user.pk), user=user), "user.named", object=f"user:{user.pk}"
        )


@transaction.atomic
def remove_role(actor: Actor, assignment: RoleAssignment, *, knowingly: bool = False) -> None:
    """Take a role away. The last operator keeps the role, so that nobody is locked out; the last
    administrator of a commune loses it only `knowingly` (ValidationError, code `last-admin`)."""
    _require_person(actor)
    serialise_writers()
    whole = assignment.organisation.kind == Organisation.Kind.DEPARTEMENT
    if assignment.role == Role.OPERATOR and whole and not _other_operators(assignment.user):
        raise ValidationError("C'est le dernier opérateur : nommez-en un autre d'abord.")
    if is_last_admin(assignment) and not knowingly:
        raise ValidationError(
            f"C'est le dernier administrateur de {assignment.organisation.name} : confirmez que "
            "plus personne n'y invitera de membres.",
            code="last-admin",
        )
    journal.append(
        actor,
        "role.removed",
        organisation=assignment.organisation.code,
        object=f"user:{assignment.user_id}",
        data={"role": assignment.role, "group": assignment.group_id},
    )
    assignment.delete()


@transaction.atomic
def deactivate(actor: Actor, user: User) -> None:
    """Close a person's account: sessions, API tokens and sign-in end at once, for good."""
    _require_person(actor)
    serialise_writers()
    if user == actor.user:
        raise ValidationError("Vous ne pouvez pas désactiver votre propre compte.")
    operator = user.role_assignments.filter(role=Role.OPERATOR).exists()
    if operator and not _other_operators(user):
        raise ValidationError("C'est le dernier opérateur : nommez-en un autre d'abord.")
    User.objects.filter(pk=user.pk).update(
        is_active=False, session_generation=F("session_generation") + 1
    )
    revoked = user.api_tokens.filter(revoked_at=None).update(revoked_at=clock.now())
    user.refresh_from_db()
    journal.append(actor, "user.deactivated", object=f"user:{user.pk}", data={"tokens": revoked})


@transaction.atomic
def reactivate(actor: Actor, user: User) -> None:
    """Open a closed account again; sessions and tokens of before stay dead."""
    _require_person(actor)
    user.is_active = True
    user.save(update_fields=["is_active"])
    journal.append(actor, "user.reactivated", object=f"user:{user.pk}")


@transaction.atomic
def reset_second_factor(actor: Actor, user: User) -> None:
    """For somebody who lost phone and codes: take the second factors away, end the sessions, and
    tell the person, who may not have asked."""
    _require_person(actor)
    Authenticator.objects.filter(user=user).delete()
    User.objects.filter(pk=user.pk).update(session_generation=F("session_generation") + 1)
    notifications.notify(
        [user],
        "Votre double vérification a été retirée",
        "Un opérateur du département l'a retirée. Si vous ne l'avez pas demandé, prévenez-le tout "
        "de suite. Sinon, ajoutez de nouveau un téléphone ou une clé depuis « Mon profil ».",
    )
    journal.append(actor, "user.second_factor_reset", object=f"user:{user.pk}")


def _group_name(name: str) -> str:
    spelt = " ".join(name.split())[:160]
    if not spelt:
        raise ValidationError("Donnez un nom au groupe.")
    return spelt


@transaction.atomic
def create_group(actor: Actor, organisation: Organisation, name: str) -> Group:
    """Make a team inside an organisation. Raises ValidationError when the name is taken."""
    _require_person(actor)
    spelt = _group_name(name)
    code = slugify(spelt)[:60]
    if not code or organisation.groups.filter(code=code).exists():
        raise ValidationError(f"{organisation.name} a déjà un groupe de ce nom.")
    group = Group.objects.create(organisation=organisation, code=code, name=spelt)
    journal.append(
        actor, "group.created", organisation=organisation.code, object=f"group:{group.pk}"
    )
    return group


@transaction.atomic
def rename_group(actor: Actor, group: Group, name: str) -> None:
    """Give a team another name; its code, which other records may hold, stays."""
    _require_person(actor)
    group.name = _group_name(name)
    group.save(update_fields=["name"])
    journal.append(
        actor, "group.renamed", organisation=group.organisation.code, object=f"group:{group.pk}"
    )


@transaction.atomic
def add_to_group(actor: Actor, group: Group, user: User, role: Role) -> RoleAssignment:
    """Give somebody of the organisation a role in one of its teams."""
    _require_person(actor)
    _require_role_for(role, group.organisation)
    if not user.role_assignments.filter(organisation=group.organisation).exists():
        raise ValidationError(f"Cette personne n'est pas membre de {group.organisation.name}.")
    assignment, first = RoleAssignment.objects.get_or_create(
        user=user, role=role, organisation=group.organisation, group=group
    )
    if first:
        journal.append(
            actor,
            "role.given",
            organisation=group.organisation.code,
            object=f"user:{user.pk}",
            data={"role": str(role), "group": group.pk},
        )
    return assignment


def scopes_of(user: User) -> list[Permission]:
    """The rights that this person may hand to a token: held, not public, not the account itself."""
    actor = Actor("user", str(user.pk), user=user)
    return [
        permission
        for permission in rooms.permissions().values()
        if not permission.public
        and permission.code != "core.own"
        and permits(actor, permission.code)
    ]


def live_tokens(user: User) -> QuerySet[ApiToken]:
    """The person's tokens that still open the API, newest first."""
    return user.api_tokens.filter(revoked_at=None, expires_at__gt=clock.now()).order_by("-pk")


@transaction.atomic
def create_token(
    actor: Actor, user: User, *, name: str, scopes: Sequence[str], life: timedelta
) -> tuple[ApiToken, str]:
    """Create an API token; returns it with its secret, shown once.
    Raises ValidationError for a scope that the person does not hold, a life over one year or too
    many tokens."""
    _require_person(actor)
    held = {permission.code for permission in scopes_of(user)}
    foreign = sorted(set(scopes) - held)
    if foreign or not scopes:
        raise ValidationError(f"Droits refusés : {', '.join(foreign) or 'aucun choisi'}.")
    if not timedelta() < life <= TOKEN_LIFE_MAX:
        raise ValidationError("Un jeton dure d'un jour à un an.")
    if live_tokens(user).count() >= LIVE_TOKENS_MAX:
        raise ValidationError(f"Vous avez déjà {LIVE_TOKENS_MAX} jetons : révoquez-en un d'abord.")
    secret = f"souv_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(
        user=user,
        name=name.strip()[:80],
        token_sha256=_digest(secret),
        scopes=sorted(set(scopes)),
        expires_at=clock.now() + life,
    )
    journal.append(
        actor, "token.created", object=f"token:{token.pk}", data={"scopes": token.scopes}
    )
    return token, secret


@transaction.atomic
def revoke_token(actor: Actor, token: ApiToken) -> None:
    """Refuse the token from now on, in every process: each call reads it anew."""
    token.revoked_at = clock.now()
    token.save(update_fields=["revoked_at"])
    journal.append(actor, "token.revoked", object=f"token:{token.pk}")
