"""The kernel's verbs on organisations, people, roles, invitations and tokens.

Each verb is one transaction with one journal entry; callers have checked the permission.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from souverain.core import clock, journal, rooms
from souverain.core.access import Actor
from souverain.core.models import (
    ApiToken,
    Group,
    Invitation,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.roles import Role

INVITATION_LIFE = timedelta(days=7)
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
    """Invite a person to a role; returns the invitation and its one-time token.
    Raises ValidationError when the address is not one."""
    email = email.strip().lower()
    validate_email(email)
    token = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        email=email,
        full_name=full_name.strip(),
        role=role,
        organisation=organisation,
        group=group,
        token_sha256=_digest(token),
        expires_at=clock.now() + life,
    )
    journal.append(
        actor,
        "invitation.sent",
        organisation=organisation.code,
        object=f"invitation:{invitation.pk}",
        data={"role": str(role)},
        detail={"email": email},
    )
    return invitation, token


def open_invitation(token: str) -> Invitation | None:
    """The invitation that this token opens, while it can still be accepted."""
    invitation = (
        Invitation.objects.select_related("organisation", "group")
        .filter(token_sha256=_digest(token))
        .first()
    )
    return invitation if invitation is not None and invitation.is_open else None


@transaction.atomic
def accept_invitation(token: str) -> User:
    """Use a one-time token: create the person if need be and give the role.
    Raises ValidationError when the link was used, withdrawn or has expired."""
    taken = Invitation.objects.filter(
        token_sha256=_digest(token),
        accepted_at=None,
        revoked_at=None,
        expires_at__gt=clock.now(),
    ).update(accepted_at=clock.now())
    if not taken:
        raise ValidationError(
            "Ce lien a déjà servi ou n'est plus valable. Demandez-en un nouveau à la personne "
            "qui vous a invité.",
            code="invitation",
        )
    invitation = Invitation.objects.select_related("organisation").get(token_sha256=_digest(token))
    user = User.objects.filter(email=invitation.email).first()
    if user is None:
        user = User.objects.create_user(invitation.email, full_name=invitation.full_name)
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
def revoke_invitation(actor: Actor, invitation: Invitation) -> None:
    invitation.revoked_at = clock.now()
    invitation.save(update_fields=["revoked_at"])
    journal.append(
        actor,
        "invitation.revoked",
        organisation=invitation.organisation.code,
        object=f"invitation:{invitation.pk}",
    )


@transaction.atomic
def remove_role(actor: Actor, assignment: RoleAssignment) -> None:
    """Take a role away. The last operator keeps the role, so that nobody is locked out."""
    operators = RoleAssignment.objects.filter(role=Role.OPERATOR, user__is_active=True)
    if assignment.role == Role.OPERATOR and operators.exclude(pk=assignment.pk).count() == 0:
        raise ValidationError("C'est le dernier opérateur : nommez-en un autre d'abord.")
    journal.append(
        actor,
        "role.removed",
        organisation=assignment.organisation.code,
        object=f"user:{assignment.user_id}",
        data={"role": assignment.role},
    )
    assignment.delete()


@transaction.atomic
def create_token(
    actor: Actor, user: User, *, name: str, scopes: Sequence[str], life: timedelta
) -> tuple[ApiToken, str]:
    """Create an API token; returns it with its secret, shown once.
    Raises ValidationError for an unknown scope or a life over one year."""
    unknown = sorted(set(scopes) - set(rooms.permissions()))
    if unknown or not scopes:
        raise ValidationError(f"Droits inconnus : {', '.join(unknown) or 'aucun choisi'}.")
    if not timedelta() < life <= TOKEN_LIFE_MAX:
        raise ValidationError("Un jeton dure d'un jour à un an.")
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
    token.revoked_at = clock.now()
    token.save(update_fields=["revoked_at"])
    journal.append(actor, "token.revoked", object=f"token:{token.pk}")
