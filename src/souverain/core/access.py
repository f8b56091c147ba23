"""Who may do what: default deny, one written matrix.

Every view, endpoint and command names the permission that it needs (`requires`). A permission
says which roles have it and how far (`rooms.Reach`). A role given on the département reaches
everywhere where the permission says so; given on another organisation, it stops there.
"""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from souverain.core import clock, rooms
from souverain.core.models import ApiToken, Device, Group, Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.core.rooms import Reach

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Actor:
    """Who acts: a person (perhaps through a token that narrows the scopes), a device, the
    console, the program itself, or nobody known."""

    kind: str
    id: str = ""
    user: User | None = None
    device: Device | None = None
    scopes: frozenset[str] | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}" if self.id else self.kind

    @property
    def is_trusted(self) -> bool:
        """The console and the program itself run on the département's own machine."""
        return self.kind in ("console", "system")

    @property
    def assignments(self) -> Iterable[RoleAssignment]:
        return self.user.assignments if self.user and self.user.is_active else ()


ANONYMOUS = Actor("anonymous")
SYSTEM = Actor("system")


def of_user(user: User) -> Actor:
    return Actor("user", str(user.pk), user=user)


def of_device(device: Device) -> Actor:
    return Actor("device", device.pk, device=device)


def of_console() -> Actor:
    """The Unix user at the command line."""
    try:
        return Actor("console", getpass.getuser())
    except (KeyError, OSError):  # an account without a name, as in some containers
        return Actor("console", str(os.getuid()))


def of_token(secret: str) -> Actor | None:
    """The person behind a live API token, narrowed to its scopes; None for any other string."""
    digest = hashlib.sha256(secret.encode()).hexdigest()
    token = ApiToken.objects.select_related("user").filter(token_sha256=digest).first()
    if token is None or not token.is_live or not token.user.is_active:
        return None
    now = clock.now()
    if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return Actor("user", str(token.user.pk), user=token.user, scopes=frozenset(token.scopes))


def permits(
    actor: Actor,
    code: str,
    *,
    organisation: Organisation | None = None,
    group: Group | None = None,
    owner: User | None = None,
) -> bool:
    """Whether the actor has the permission on the target. Without a target: on anything at all
    (a list, which then shows only what `organisations_in_reach` gives)."""
    permission = rooms.permissions()[code]
    if actor.is_trusted or permission.public:
        return True
    if actor.scopes is not None and code not in actor.scopes:
        return False
    for assignment in actor.assignments:
        reach = permission.grants.get(assignment.role)  # type: ignore[call-overload]
        if reach is not None and _covers(assignment, reach, actor, organisation, group, owner):
            return True
    return False


def _covers(
    assignment: RoleAssignment,
    reach: Reach,
    actor: Actor,
    organisation: Organisation | None,
    group: Group | None,
    owner: User | None,
) -> bool:
    if organisation is None and group is None and owner is None:
        return True
    if reach is Reach.EVERYWHERE and _is_whole(assignment):
        return True
    if owner is not None and owner == actor.user:
        return True
    if reach is Reach.SELF:
        return False
    if group is not None and assignment.group_id is not None:
        return assignment.group_id == group.pk
    if reach is Reach.GROUP or assignment.group_id is not None:
        return False
    held = organisation or (group.organisation if group else None)
    return held is not None and assignment.organisation_id == held.pk


def _is_whole(assignment: RoleAssignment) -> bool:
    """Given on the département as a whole, not on one of its teams."""
    return (
        assignment.organisation.kind == Organisation.Kind.DEPARTEMENT
        and assignment.group_id is None
    )


def serves_departement(user: User) -> bool:
    """Whether this person holds a role on the département as a whole."""
    return any(_is_whole(assignment) for assignment in user.assignments)


def operates_departement(actor: Actor) -> bool:
    """Whether the actor is an operator of the whole, not of one organisation."""
    return any(
        assignment.role == Role.OPERATOR and _is_whole(assignment)
        for assignment in actor.assignments
    )


def organisations_in_reach(actor: Actor, code: str) -> QuerySet[Organisation]:
    """The organisations on which the actor has the permission."""
    everything = Organisation.objects.all()
    permission = rooms.permissions()[code]
    if actor.is_trusted or permission.public:
        return everything
    if actor.scopes is not None and code not in actor.scopes:
        return everything.none()
    own: set[int] = set()
    for assignment in actor.assignments:
        reach = permission.grants.get(assignment.role)  # type: ignore[call-overload]
        if reach is Reach.EVERYWHERE and _is_whole(assignment):
            return everything
        if reach in (Reach.ORGANISATION, Reach.EVERYWHERE) and assignment.group_id is None:
            own.add(assignment.organisation_id)
    return everything.filter(pk__in=own)


def require(
    actor: Actor,
    code: str,
    *,
    organisation: Organisation | None = None,
    group: Group | None = None,
    owner: User | None = None,
) -> None:
    """Raise `PermissionDenied`, with a journal entry, unless `permits`."""
    if permits(actor, code, organisation=organisation, group=group, owner=owner):
        return
    from souverain.core import journal

    # Whoever has no name has one entry a minute, whatever the pages: the journal is for ever.
    known = actor != ANONYMOUS
    journal.refuse(
        actor,
        "access.refused",
        organisation=organisation.code if known and organisation else "",
        object=code if known else "",
        reason="permission",
    )
    title = rooms.permissions()[code].title
    raise PermissionDenied(_("Vous n'avez pas le droit de faire ceci : %s.") % title.lower())


def of_departement(**_: Any) -> dict[str, Any]:
    """The target of what is the whole département's: only a role given on it reaches it."""
    return {"organisation": Organisation.objects.get(code=settings.DEPARTEMENT)}


View = Callable[..., Any]


def requires(code: str, of: Callable[..., dict[str, Any]] | None = None) -> Callable[[View], View]:
    """Name the permission of a view or of an API operation.

    `of` receives the route's arguments and returns the target as keyword arguments of `require`
    (`organisation=`, `group=`, `owner=`); without it the view itself must narrow what it shows.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            actor: Actor = request.actor  # type: ignore[attr-defined]
            target = of(request=request, **kwargs) if of else {}
            require(actor, code, **target)
            return view(request, *args, **kwargs)

        guarded.permission = code  # type: ignore[attr-defined]
        return guarded

    return decorate
