"""What a copy writes of what the other site tells: sets, machines, locks, births and deaths.

Everything was checked by `engine.replica` before; here it meets the records of this site, which
always win: nothing that is here is shortened, replaced or taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Max, Q

from souverain.core import access, clock, devices, journal
from souverain.core.models import Device, Organisation
from souverain.core.objects import AlreadyThere
from souverain.core.transactions import serialise_writers
from souverain.vault import log, retention, services, site
from souverain.vault.engine import replica as engine
from souverain.vault.engine.replica import (
    BIRTH,
    DeclaredSet,
    Disbelieved,
    Event,
    LogPage,
    Machine,
    Place,
)
from souverain.vault.engine.tlog import note
from souverain.vault.models import (
    DepositSet,
    Divergence,
    Hold,
    Lock,
    Log,
    ReplicaFault,
    ReplicaHold,
    ReplicaSet,
    ReplicaSource,
    Replicated,
    Session,
    Site,
    StoredObject,
    Witness,
)
from souverain.vault.replica_client import Door, NotThere

FAULTS_MAX = 1000  # of one set: beyond, the other site is broken and the set waits


class NoLonger(Exception):
    """This site stopped being a copy meanwhile. The message is in French."""


def path(found: ReplicaSet) -> str:
    return f"{found.deposit_set.organisation.code}/{found.deposit_set.code}"


def place(found: ReplicaSet) -> Place | None:
    return None if found.at is None else Place(found.at, found.row)


def place_text(found: ReplicaSet) -> str:
    reached = place(found)
    return "" if reached is None else str(reached)


def require_copy(source: ReplicaSource) -> None:
    """Raise NoLonger unless this site still copies the source, under the writers' lock."""
    current = ReplicaSource.objects.filter(pk=source.pk, removed_at=None, promoted_at=None).exists()
    if not current or site.here().role != Site.Role.COPY:
        raise NoLonger("Ce site n'est plus une copie de l'autre.")


# What is declared --------------------------------------------------------------------------------


def declare_set(
    source: ReplicaSource, organisation: Organisation, item: DeclaredSet
) -> tuple[ReplicaSet, list[str]]:
    """Take a set, under the writers' lock; returns it with what is told of it. Raises Disbelieved
    for a set that cannot be copied now."""
    own = DepositSet.objects.filter(organisation=organisation, code=item.code).first()
    if own is None:
        own = _open_set(organisation, item)
    found, _ = ReplicaSet.objects.select_related("deposit_set__organisation").get_or_create(
        deposit_set=own, defaults={"site": source.site}
    )
    if found.site != source.site:
        raise Disbelieved("il est ici la copie d'un autre site")
    said: list[str] = []
    if (own.kind, own.retention_class) != (item.kind, item.retention):
        said.append("sa nature ou sa conservation a changé là-bas ; ici, elle reste")
    if own.title != item.title:
        own.title = item.title
        own.save(update_fields=["title"])
    said += _declare_lock(source, own, found, item.lock_days)
    _declare_holds(source, own, item)
    if item.destroyed_at is not None and found.destroyed_at is None:
        found.destroyed_at = item.destroyed_at
        retention.freeze(access.SYSTEM, own, "Détruit au premier site : à décider ici aussi.")
    found.gone_at = None
    found.save(update_fields=["lock_days", "destroyed_at", "gone_at"])
    if found.at is not None and (item.head is None or item.head < found.at):
        raise Disbelieved("l'autre site a perdu des événements qui sont ici : rien n'en est retiré")
    return found, said


def _open_set(organisation: Organisation, item: DeclaredSet) -> DepositSet:
    known = (
        item.kind in DepositSet.Kind.values
        and item.retention in DepositSet.Retention.values
        and item.fresh_hours >= 1
    )
    if not known:
        raise Disbelieved("nature, conservation ou délai inconnus")
    made = DepositSet.objects.create(
        organisation=organisation,
        code=item.code,
        title=item.title,
        kind=item.kind,
        retention_class=item.retention,
        fresh_within_hours=item.fresh_hours,
        created_at=item.created_at,
    )
    journal.append(
        access.SYSTEM,
        "vault.set_created",
        organisation=organisation.code,
        object=item.code,
        data={"kind": item.kind, "retention": item.retention},
    )
    return made


def _declare_lock(
    source: ReplicaSource, own: DepositSet, found: ReplicaSet, days: int
) -> list[str]:
    """Lengthen; a shorter lock is refused and told."""
    present = retention.lock_days(own)
    if days > present:
        Lock.objects.create(
            deposit_set=own, days=days, set_by=f"site:{source.site}", set_at=clock.now()
        )
        journal.append(
            access.SYSTEM,
            "vault.lock_lengthened",
            organisation=own.organisation.code,
            object=own.code,
            data={"days": days, "before": present},
        )
    shorter = days < found.lock_days
    found.lock_days = max(found.lock_days, days)
    if shorter:
        return [f"sa conservation a raccourci là-bas ; ici, elle reste de {present} jours"]
    return []


def _declare_holds(source: ReplicaSource, own: DepositSet, item: DeclaredSet) -> None:
    """Place the holds of the other site here; one that was lifted there stays here."""
    known = {
        found.row: found
        for found in ReplicaHold.objects.filter(hold__deposit_set=own, hold__lifted_at=None)
    }
    for kept in item.holds:
        if kept.row in known:
            continue
        if ReplicaHold.objects.filter(hold__deposit_set=own, row=kept.row).exists():
            continue  # lifted here already
        placed = Hold.objects.create(
            deposit_set=own,
            kind=kept.kind,
            reason=kept.reason or "Exigée au premier site.",
            reference=kept.reference,
            placed_by=f"site:{source.site}",
            placed_at=clock.now(),
        )
        ReplicaHold.objects.create(hold=placed, row=kept.row)
        journal.append(
            access.SYSTEM,
            "vault.hold_placed" if kept.kind == Hold.Kind.LEGAL else "vault.frozen",
            organisation=own.organisation.code,
            object=own.code,
            data={"hold": placed.pk},
        )
    on = {kept.row for kept in item.holds}
    for row, found in known.items():
        if row not in on and found.lifted_there_at is None:
            found.lifted_there_at = clock.now()
            found.save(update_fields=["lifted_there_at"])


def declare_device(organisation: Organisation, machine: Machine) -> None:
    """Take a machine with its verifier, or its revocation. What is here is never given another
    credential, nor made live again. Raises Disbelieved."""
    own = Device.objects.filter(pk=machine.id).first()
    if own is None:
        if Device.objects.filter(credential_sha256=machine.verifier).exists():
            raise Disbelieved("son secret est celui d'un autre appareil")
        Device.objects.create(
            id=machine.id,
            organisation=organisation,
            room="vault",
            kind="restic",
            name=machine.name or machine.id,
            roles=list(machine.roles),
            scope=machine.set,
            credential_sha256=machine.verifier,
            created_at=machine.created_at,
            revoked_at=clock.now() if machine.revoked else None,
        )
        _tell_device(organisation, machine, "vault.device_added")
        return
    same = (
        own.organisation_id == organisation.pk
        and (own.room, own.kind, own.scope) == ("vault", "restic", machine.set)
        and own.credential_sha256 == machine.verifier
        and set(own.roles) == set(machine.roles)
    )
    if not same:
        raise Disbelieved("il n'est plus le même là-bas ; ici, il reste tel qu'il était")
    if machine.revoked and own.revoked_at is None:
        devices.revoke(own)
        _tell_device(organisation, machine, "vault.device_revoked")


def _tell_device(organisation: Organisation, machine: Machine, verb: str) -> None:
    journal.append(
        access.SYSTEM,
        verb,
        organisation=organisation.code,
        object=f"device:{machine.id}",
        data={"set": machine.set, "roles": list(machine.roles)},
    )


def note_gone(source: ReplicaSource, named: set[str]) -> None:
    """Note the sets that the other site does not name any more: a departure, or a loss. Nothing
    leaves here."""
    rows = ReplicaSet.objects.filter(site=source.site, gone_at=None)
    gone = [
        found.pk
        for found in rows.select_related("deposit_set__organisation")
        if path(found) not in named
    ]
    ReplicaSet.objects.filter(pk__in=gone).update(gone_at=clock.now())


# Objects -----------------------------------------------------------------------------------------


def missing_here(deposit_set: DepositSet, births: list[Event]) -> list[Event]:
    """Those whose name does not live here. Raises Disbelieved for one that lives with another
    size, or a `config` that is not the one that is kept here."""
    sizes = {
        (row.type, row.name): row.size
        for row in StoredObject.objects.filter(
            deposit_set=deposit_set, died_at=None, name__in={event.name for event in births}
        )
    }
    wanted = []
    for event in births:
        size = sizes.get((event.type, event.name))
        if size is None:
            wanted.append(event)
        elif size != event.size:
            raise Disbelieved(f"l'objet {event.name[:12]}… n'a pas la taille de celui d'ici")
        if event.type == "config":
            _refuse_another_config(deposit_set, event)
    return wanted


def _refuse_another_config(deposit_set: DepositSet, event: Event) -> None:
    """The name of a `config` proves nothing: another one never takes the place of what a record
    here vouches for."""
    kept = StoredObject.objects.filter(deposit_set=deposit_set, type="config", reaped_at=None)
    key = services.object_key(deposit_set, "config", "config")
    is_kept = kept.exists() and services.store().size(key) is not None
    if is_kept and services.store().sha256(key) != event.sha256:
        raise Disbelieved("il a été initialisé de nouveau là-bas ; ici, l'ancien est gardé")


def fetch(door: Door, folder: str, deposit_set: DepositSet, event: Event) -> str:
    """Put an object on our disk, durable and checked; why not, otherwise. It asks no record. Raises
    Unreachable."""
    store = services.store()
    key = services.object_key(deposit_set, event.type, event.name)
    if store.size(key) == event.size and store.sha256(key) == event.sha256:
        return ""
    inside = event.type if event.type == "config" else f"{event.type}/{event.name}"
    incoming = store.incoming()
    try:
        for chunk in door.object(f"{folder}/{inside}", event.size):
            incoming.write(chunk)
        if (incoming.size, incoming.sha256) != (event.size, event.sha256):
            return "ce n'est pas le contenu que dit son nom"
        try:
            incoming.commit(key, event.sha256)
        except AlreadyThere:  # damaged: the content proves that it is the one
            incoming.mend(key, event.sha256)
    except NotThere:
        return "il n'est pas là-bas"
    except Disbelieved as error:
        return str(error)
    finally:
        incoming.abort()
    return ""


class _Writing:
    """One transaction's changes to a set."""

    def __init__(self, deposit_set: DepositSet) -> None:
        self.set = services.as_it_is_now(deposit_set)
        self.born, self.bytes, self.died = 0, 0, 0
        self.lost_a_snapshot = False
        self._devices: dict[str, Device] = {}
        self._sessions: dict[str, Session] = {}

    def rows(self, event: Event) -> list[StoredObject]:
        return list(
            StoredObject.objects.filter(
                deposit_set=self.set, type=event.type, name=event.name
            ).order_by("pk")
        )

    def bear(self, event: Event, at: datetime, died_at: datetime | None = None) -> StoredObject:
        """Write the row of an object whose file is in place."""
        key = services.object_key(self.set, event.type, event.name)
        if services.store().size(key) != event.size:
            raise Disbelieved(f"le fichier de {event.name[:12]}… a disparu d'ici")
        device = self._device(event.device)
        known = any(row.reaped_at is None for row in self.rows(event))
        session = self._session(device, at)
        made = StoredObject.objects.create(
            deposit_set=self.set,
            type=event.type,
            name=event.name,
            size=event.size,
            received_at=at,
            died_at=died_at,
            device=device,
            session=session,
        )
        session.last_at = max(session.last_at, at)
        session.objects_received += 1
        session.bytes_received += event.size
        self.set.stored_bytes += 0 if known else event.size
        self.set.live_bytes += 0 if died_at else event.size
        if event.type == "snapshots":
            session.ended_at = at
            self._sessions.pop(device.pk)
            if died_at is None:
                self.set.last_deposit_at = max(self.set.last_deposit_at or at, at)
        session.save()
        self.born += 1
        self.bytes += event.size
        return made

    def _device(self, pk: str) -> Device:
        if pk not in self._devices:
            found = Device.objects.filter(pk=pk, organisation=self.set.organisation_id).first()
            if found is None:
                raise Disbelieved(f"l'appareil {pk} n'est pas encore déclaré")
            self._devices[pk] = found
        return self._devices[pk]

    def _session(self, device: Device, at: datetime) -> Session:
        if device.pk not in self._sessions:
            self._sessions[device.pk] = services.session_of(self.set, device, at)
        return self._sessions[device.pk]

    def bury(self, living: StoredObject, at: datetime) -> None:
        if at < living.received_at:
            raise Disbelieved("un effacement précède la réception")
        StoredObject.objects.filter(pk=living.pk).update(died_at=at)
        self.set.live_bytes -= living.size
        self.lost_a_snapshot = self.lost_a_snapshot or living.type == "snapshots"
        self.died += 1

    def end(self, last: datetime | None) -> None:
        """Save the set's figures; freeze it when its last snapshot was deleted."""
        found = self.set
        if last is not None:
            found.last_instant = max(found.last_instant or last, last)
        living = services.alive(found).filter(type="snapshots")
        if self.lost_a_snapshot:
            newest = living.aggregate(last=Max("received_at"))["last"]
            found.last_deposit_at = newest
        found.save(
            update_fields=[
                *("stored_bytes", "live_bytes", "last_instant", "last_deposit_at"),
                "complete_since",
            ]
        )
        if self.lost_a_snapshot and not living.exists():
            frozen = any(hold.kind == Hold.Kind.FREEZE for hold in retention.holds(found))
            if not frozen:
                retention.freeze(
                    access.SYSTEM,
                    found,
                    "Toutes les sauvegardes ont été effacées au premier site : à décider ici.",
                )


def apply(
    source: ReplicaSource, found: ReplicaSet, group: list[Event], failed: dict[tuple[str, str], str]
) -> tuple[int, int, int]:
    """Write a group of events and the place after it, in one transaction; returns objects, bytes
    and deaths. The files are in place. Raises Disbelieved, NoLonger: nothing is written then."""
    with transaction.atomic():
        done = _apply(source, found, group, failed)
    found.at, found.row = group[-1].place
    return done


def _apply(
    source: ReplicaSource, found: ReplicaSet, group: list[Event], failed: dict[tuple[str, str], str]
) -> tuple[int, int, int]:
    serialise_writers()
    require_copy(source)
    current = ReplicaSet.objects.get(pk=found.pk)
    if place(current) != place(found):
        raise NoLonger("Une autre copie de ce dépôt est en cours.")
    writing, now = _Writing(found.deposit_set), clock.now()
    for event in group:
        if event.event == BIRTH:
            _birth(writing, event, failed, now)
        else:
            _death(writing, event)
    last = group[-1].place
    Replicated.objects.create(
        deposit_set=writing.set,
        first_at=group[0].place.at,
        last_at=last.at,
        learnt_at=now,
        births=writing.born,
        deaths=writing.died,
    )
    writing.end(last.at)
    ReplicaSet.objects.filter(pk=found.pk).update(at=last.at, row=last.row)
    return writing.born, writing.bytes, writing.died


def _birth(
    writing: _Writing, event: Event, failed: dict[tuple[str, str], str], now: datetime
) -> None:
    if event.reaped:
        return
    living = next((row for row in writing.rows(event) if row.died_at is None), None)
    if living is not None:
        Divergence.objects.filter(stored=living, settled_at=None).update(settled_at=now)
    elif (event.type, event.name) in failed:
        faults = ReplicaFault.objects.filter(deposit_set=writing.set)
        if faults.count() >= FAULTS_MAX:
            raise Disbelieved(f"plus de {FAULTS_MAX} objets ne viennent pas comme il faut")
        ReplicaFault.objects.create(
            deposit_set=writing.set,
            event=event.told(),
            reason=failed[event.type, event.name][:300],
            first_at=now,
        )
    else:
        writing.bear(event, event.place.at)


def _death(writing: _Writing, event: Event) -> None:
    rows = writing.rows(event)
    living = next((row for row in rows if row.died_at is None), None)
    if living is not None:
        writing.bury(living, event.place.at)
        return
    for fault in ReplicaFault.objects.filter(deposit_set=writing.set, died_at=None):
        told = engine.event_again(fault.event)
        if (told.type, told.name) == (event.type, event.name):
            ReplicaFault.objects.filter(pk=fault.pk).update(died_at=event.place.at)
            return
    if rows:
        return
    if not event.reaped:
        raise Disbelieved(f"l'objet {event.name[:12]}… est effacé sans être jamais arrivé")
    # Its bytes had left the disk there before they could come here.
    since = writing.set.complete_since
    writing.set.complete_since = max(since or event.place.at, event.place.at)


@transaction.atomic
def mend(fault: ReplicaFault, event: Event) -> None:
    """Write an object that came at last, with the receipt time that it always had."""
    serialise_writers()
    if not ReplicaFault.objects.filter(pk=fault.pk).exists():
        return
    writing = _Writing(fault.deposit_set)
    if all(row.died_at is not None for row in writing.rows(event)):
        writing.bear(event, event.place.at, fault.died_at)
        writing.end(None)
    ReplicaFault.objects.filter(pk=fault.pk).delete()


# The log -----------------------------------------------------------------------------------------


@transaction.atomic
def mark_forked(organisation: Organisation) -> None:
    """Sign this commune's log here no more: it does not say what the other site's says."""
    serialise_writers()
    here = site.named()
    if organisation.code not in here.forked_logs:
        here.forked_logs = [*here.forked_logs, organisation.code]
        here.save(update_fields=["forked_logs"])
        journal.append(
            access.SYSTEM, "vault.log_forked", organisation=organisation.code, object="log"
        )


def take_witnesses(organisation: Organisation, told: LogPage) -> None:
    """Keep the witnesses, and the cosignatures that hold."""
    own = Log.objects.get(pk=organisation.pk)
    known = {item.key: item for item in Witness.objects.filter(organisation=organisation)}
    for name, key in told.witnesses:
        parsed = note.Key.parse(key)
        taken = Witness.objects.filter(Q(name=name), organisation=organisation, removed_at=None)
        if key in known or parsed.kind != note.COSIGNATURE or taken.exists():
            continue
        known[key] = Witness.objects.create(organisation=organisation, name=name, key=key)
    named = {key for _, key in told.witnesses}
    for key, witness in known.items():
        if key not in named and witness.removed_at is None:
            log.remove_witness(access.SYSTEM, witness)
    for key, line, received_at in told.cosignatures:
        if key not in known:
            continue
        signature = note.Signature.parse(line)
        if note.cosigned_at(own.checkpoint, signature, note.Key.parse(key)) is None:
            raise Disbelieved("la signature d'un témoin ne tient pas")
        log.adopt_cosignature(known[key], own.signed_size, str(signature), received_at)


def unforget(rows: Iterable[Divergence]) -> None:
    """Make live again what only this site deleted: the other, which was promoted, still has it."""
    for found in rows:
        row = found.stored
        lives = StoredObject.objects.filter(
            deposit_set=row.deposit_set, type=row.type, name=row.name
        )
        if lives.filter(died_at=None).exists():
            continue
        writing = _Writing(row.deposit_set)
        at = services.next_instant(writing.set, access.SYSTEM)
        event = Event(
            Place(at, row.pk), BIRTH, row.type, row.name, row.size, row.device_id, row.name, False
        )
        if lives.filter(reaped_at=None).exists():
            writing.bear(event, at)
            writing.end(at)
        else:
            ReplicaFault.objects.create(
                deposit_set=row.deposit_set,
                event=event.told(),
                reason="effacé d'ici avant la promotion de l'autre site",
                first_at=clock.now(),
            )
