"""Which site this vault is: the first, which takes deposits; a copy; or one that another replaced.

A copy and a replaced site only read. The server asks at each write (`is_read_only`, at most half a
second old), the records ask again under the writers' lock (`require_first`).
"""

from __future__ import annotations

import secrets
import time

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.core.transactions import serialise_writers
from souverain.vault.models import Site

STALE_S = 0.5
_ROLE = "SELECT role FROM vault_site LIMIT 1"
_known: tuple[float, str] = (-STALE_S, Site.Role.FIRST)


class ReadOnly(Exception):
    """This site takes no deposit. The message is a French sentence."""

    def __init__(self, role: str) -> None:
        super().__init__(
            "Ce site est une copie : il se lit, et ne prend rien. Envoyez au premier site."
            if role == Site.Role.COPY
            else "Un autre site a remplacé celui-ci, qui se lit seulement : envoyez à l'autre."
        )


def here() -> Site:
    """This site's row; one that is not kept yet when it never met another."""
    return Site.objects.first() or Site(name="")


def named() -> Site:
    """The same, kept, with its name."""
    found = Site.objects.first()
    if found is not None:
        return found
    with transaction.atomic():
        serialise_writers()
        found = Site.objects.first()
        return found or Site.objects.create(name=secrets.token_hex(8))


def _role() -> str:
    with connection.cursor() as cursor:
        cursor.execute(_ROLE)
        row = cursor.fetchone()
    return str(row[0]) if row else Site.Role.FIRST


def is_read_only() -> bool:
    """Whether this site takes no deposit, as known half a second ago at most."""
    return _role_lately() != Site.Role.FIRST


def _role_lately() -> str:
    global _known
    now = time.monotonic()
    if now - _known[0] >= STALE_S:
        _known = (now, _role())
    return _known[1]


def refuse_lately() -> None:
    """Raise `ReadOnly` unless this site was the first one half a second ago."""
    role = _role_lately()
    if role != Site.Role.FIRST:
        raise ReadOnly(role)


def require_first() -> None:
    """Raise `ReadOnly` unless this site is the first one. Under the writers' lock it stays so."""
    role = _role()
    if role != Site.Role.FIRST:
        raise ReadOnly(role)


def refuse_a_copy() -> None:
    """Raise ValidationError unless this site is the first one: for what people ask on a page."""
    try:
        require_first()
    except ReadOnly as error:
        raise ValidationError(str(error)) from None


def become(role: str, epoch: int) -> Site:
    """Take a role, in the caller's transaction, under the writers' lock; the caller journals."""
    global _known
    found = named()
    found.role, found.epoch, found.changed_at = role, epoch, clock.now()
    found.save()
    transaction.on_commit(_forget)
    return found


def _forget() -> None:
    global _known
    _known = (-STALE_S, Site.Role.FIRST)


@transaction.atomic
def fence(actor: Actor, epoch: int, other: str) -> Site:
    """Read only from now on: the site `other` was promoted at a higher epoch. A lower or equal one
    changes nothing."""
    serialise_writers()
    found = named()
    if epoch <= found.epoch or other == found.name:
        return found
    found = become(Site.Role.FENCED, epoch)
    journal.append(actor, "vault.fenced", data={"epoch": epoch, "site": other})
    return found
