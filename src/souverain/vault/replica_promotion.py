"""The copy takes the first site's place; and what the former first site received alone comes over.

Fencing: the promoted site has a higher epoch, and tells the other until that one answers. A first
site that is cut from us, and to which clients still send, cannot be told: what it takes meanwhile is
found when it answers (`fence`), listed, and brought over by `recover`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.core.models import Device, Organisation
from souverain.core.transactions import serialise_writers
from souverain.vault import log, replica, services, site
from souverain.vault import replica_records as records
from souverain.vault.engine import replica as engine
from souverain.vault.engine.replica import BIRTH, DEATH, Disbelieved, Event, Place
from souverain.vault.models import DepositSet, ReplicaSet, ReplicaSource, Site, StoredObject
from souverain.vault.replica_client import Door, NotThere, Unreachable

WAIT_S = 300.0
_PAGES_MAX = 1000
_FAILS = (Unreachable, NotThere, Disbelieved)


class NoKey(Exception):
    """The key of the logs is not here. The message is in French."""


@dataclass
class Promotion:
    """What a promotion did, and what is known to be missing."""

    epoch: int = 0
    fenced: bool = False
    complete: bool = False
    complete_to: str | None = None
    """The other site's clock: everything up to there is here."""
    lag_s: int | None = None
    missing_objects: int = 0
    missing_bytes: int = 0
    troubles: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return asdict(self)


def keep_up() -> None:
    """The worker's: a turn when one is due; once promoted, tell the former first site."""
    found = replica.source()
    if found is None or not replica.is_due(found, clock.now()):
        return
    with suppress(replica.Busy):
        if found.promoted_at is None:
            replica.pull(found, replica.TURN_S)
        elif found.fenced_at is None:
            with replica.alone():
                tell_the_other(found)


# Promotion ---------------------------------------------------------------------------------------


def promote(
    actor: Actor, *, without_log_key: bool = False, despite_fence: bool = False
) -> Promotion:
    """Become the first site. Raises ValidationError, NoKey."""
    here = site.here()
    if here.role == Site.Role.FIRST:
        raise ValidationError("Ce site est déjà le premier.")
    if here.role == Site.Role.FENCED and not despite_fence:
        raise ValidationError(
            "Un autre site a remplacé celui-ci. S'il est perdu, ajoutez --despite-fence : ce qu'il a "
            "reçu seul manquera ici."
        )
    if not without_log_key:
        _require_key(here)
    with replica.alone():
        found = replica.source() if here.role == Site.Role.COPY else None
        made = Promotion(epoch=1 + max(here.epoch, found.epoch if found else 0))
        if found is not None:
            _last_turn(found, made)
        _take_over(actor, found, made)
    return made


def _require_key(here: Site) -> None:
    if not here.log_key:
        return
    path = settings.HOME / log.KEY_FILE
    if not path.exists() or log.own_public_key() != here.log_key:
        raise NoKey(
            f"La clé des registres de preuves n'est pas ici : copiez « {log.KEY_FILE} » du premier "
            f"site dans {settings.HOME}. Sans elle (--without-log-key), les registres sont signés "
            "d'une clé neuve : chaque commune doit la recevoir, et ses témoins crient d'ici là."
        )


def _last_turn(found: ReplicaSource, made: Promotion) -> None:
    """Have the other site read only, if it answers, then take all that it has."""
    try:
        with replica.door_to(found) as door:
            _fence(door, made.epoch)
            made.fenced = True
    except _FAILS as error:
        made.troubles.append(f"Le premier site n'a pas été mis en lecture seule : {error}")
    deadline = time.monotonic() + WAIT_S
    while made.fenced and not made.complete and time.monotonic() < deadline:
        turn = replica.turn(found, replica.TURN_S)
        made.complete = turn.complete
        if turn.troubles:
            made.troubles += turn.troubles
            break
    made.complete_to = clock.rfc3339(found.complete_to) if found.complete_to else None
    if found.complete_at is not None:
        made.lag_s = 0 if made.complete else replica.seconds(clock.now() - found.complete_at)
    made.missing_objects, made.missing_bytes = found.missing_objects, found.missing_bytes


@transaction.atomic
def _take_over(actor: Actor, found: ReplicaSource | None, made: Promotion) -> None:
    serialise_writers()
    here = site.become(Site.Role.FIRST, made.epoch)
    here.log_key = ""
    here.save(update_fields=["log_key"])
    if found is not None:
        found.promoted_at = clock.now()
        found.fenced_at = clock.now() if made.fenced else None
        if made.fenced and made.complete:
            found.only_there_objects = found.only_there_deaths = 0
        found.save()
    journal.append(
        actor,
        "vault.promoted",
        data={
            "epoch": made.epoch,
            "fenced": made.fenced,
            "complete": made.complete,
            "complete_to": made.complete_to,
            "missing_objects": made.missing_objects,
        },
    )


def _fence(door: Door, epoch: int) -> None:
    """Say the promotion to the other site. Raises Unreachable, Disbelieved."""
    told = door.say("fence", {"epoch": epoch, "site": site.named().name})
    role, other = (told.get("role"), told.get("epoch")) if isinstance(told, dict) else (None, None)
    if role == Site.Role.FIRST or type(other) is not int:
        raise Disbelieved("Il se dit encore le premier : décidez lequel des deux l'est.")


# The former first site ---------------------------------------------------------------------------


def tell_the_other(found: ReplicaSource) -> bool:
    """Tell the former first site that it is replaced, and count what it has alone."""
    found.tried_at = clock.now()
    troubles: list[str] = []
    try:
        with replica.door_to(found) as door:
            replica.greet(found, door)
            _fence(door, site.here().epoch)
            found.answered_at = found.fenced_at = clock.now()
            _count_only_there(found, door)
    except _FAILS as error:
        troubles.append(f"L'ancien premier site n'est pas en lecture seule : {error}")
    found.troubles = troubles
    found.save()
    return found.fenced_at is not None


def _count_only_there(found: ReplicaSource, door: Door) -> None:
    births = deaths = 0
    for deposit_set, event in _only_there(found, door):
        if event.event == DEATH:
            deaths += _lives_here(deposit_set, event)
        else:
            births += not _lives_here(deposit_set, event)
    found.only_there_objects, found.only_there_deaths = births, deaths


def _lives_here(deposit_set: DepositSet | None, event: Event) -> bool:
    return (
        deposit_set is not None
        and StoredObject.objects.filter(
            deposit_set=deposit_set, type=event.type, name=event.name, died_at=None
        ).exists()
    )


def _only_there(found: ReplicaSource, door: Door) -> Iterator[tuple[DepositSet | None, Event]]:
    """What the former first site received and deleted after the last event that was pulled."""
    for commune in replica.communes(door):
        for item in commune.sets:
            own = DepositSet.objects.select_related("organisation").filter(
                organisation__code=commune.code, code=item.code
            )
            deposit_set = own.first()
            copied = ReplicaSet.objects.filter(deposit_set__in=own, site=found.site).first()
            if deposit_set is not None and copied is None:
                continue  # a set of this site, opened since
            after = records.place(copied) if copied else None
            folder = f"{commune.code}/{item.code}"
            for event in _events(door, folder, after):
                if not event.reaped:
                    yield deposit_set, event


def _events(door: Door, folder: str, after: Place | None) -> Iterator[Event]:
    for _ in range(_PAGES_MAX):
        told = door.page(f"events/{folder}", str(after) if after else "")
        page = engine.events(told, after, clock.now())
        if not page:
            return
        yield from page
        after = page[-1].place


@dataclass
class Recovered:
    """What came over from the former first site."""

    objects: int = 0
    bytes: int = 0
    failed: list[str] = field(default_factory=list)


def recover(actor: Actor, tell: Callable[[Recovered], None] | None = None) -> Recovered:
    """Bring over the objects that only the former first site has. Each is received here now, from
    the machine that sent it there; deletions are not. Raises ValidationError, Unreachable,
    Disbelieved."""
    found = replica.source()
    if site.here().role != Site.Role.FIRST or found is None or found.promoted_at is None:
        raise ValidationError("Ce site n'a pas été promu à la place d'un autre.")
    done = Recovered()
    with replica.alone():
        if found.fenced_at is None and not tell_the_other(found):
            raise ValidationError(" ".join(found.troubles))
        with replica.door_to(found) as door:
            replica.greet(found, door)
            _declare_devices(found, door)
            for deposit_set, event in list(_only_there(found, door)):
                if event.event == BIRTH and not _lives_here(deposit_set, event):
                    _recover_one(door, deposit_set, event, done)
                    if tell is not None:
                        tell(done)
            _count_only_there(found, door)
        found.save()
    journal.append(
        actor,
        "vault.replica_recovered",
        object=found.address,
        data={"objects": done.objects, "bytes": done.bytes, "failed": len(done.failed)},
    )
    return done


def _declare_devices(found: ReplicaSource, door: Door) -> None:
    """The machines and sets that were added there after the last turn."""
    for commune in replica.communes(door):
        organisation = Organisation.objects.filter(code=commune.code).first()
        if organisation is None:
            continue
        with transaction.atomic():
            serialise_writers()
            for item in commune.sets:
                if not DepositSet.objects.filter(
                    organisation=organisation, code=item.code
                ).exists():
                    records.declare_set(found, organisation, item)
            for machine in commune.devices:
                if not Device.objects.filter(pk=machine.id).exists():
                    records.declare_device(organisation, machine)


def _recover_one(door: Door, deposit_set: DepositSet | None, event: Event, done: Recovered) -> None:
    if deposit_set is None:
        done.failed.append(f"{event.type}/{event.name} : sa commune n'est pas ici")
        return
    folder = f"{deposit_set.organisation.code}/{deposit_set.code}"
    try:
        records.missing_here(deposit_set, [event])
        why = records.fetch(door, folder, deposit_set, event)
    except Disbelieved as error:
        why = str(error)
    device = Device.objects.filter(pk=event.device).first()
    if why or device is None:
        done.failed.append(f"{folder}/{event.type}/{event.name} : {why or 'appareil inconnu'}")
        return
    with transaction.atomic():
        serialise_writers()
        site.require_first()
        rows = StoredObject.objects.filter(
            deposit_set=deposit_set, type=event.type, name=event.name, reaped_at=None
        )
        if rows.filter(died_at=None).exists():
            return
        services.give_birth(
            deposit_set, event.type, event.name, event.size, device, known=rows.exists()
        )
    done.objects += 1
    done.bytes += event.size
