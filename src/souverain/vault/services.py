"""The vault's verbs: the only code that writes its records. Callers have checked the rights."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q, QuerySet, Sum
from django.urls import reverse

from souverain.core import access, clock, devices, events, journal, notifications, objects
from souverain.core.access import Actor
from souverain.core.format import datetime_fr
from souverain.core.models import Device, Organisation, User
from souverain.core.objects import AlreadyThere, Incoming, Store
from souverain.core.transactions import serialise_writers
from souverain.vault import alarm, key_changes, site
from souverain.vault.announcements import announce
from souverain.vault.models import (
    DEFAULT_QUOTA_BYTES,
    DepositSet,
    Quota,
    ReadDay,
    Session,
    StoredObject,
)

ROLES = ("backup", "restore", "prune")
READ_FLOOR_BYTES = 16 << 20
READ_SHARE = 0.02
QUOTA_MAX_BYTES = 10**15
SESSION_SILENCE = timedelta(hours=1)
CIVIL_STATUS_HOURS = 24  # décret 2017-890, article 13
FRESH_MAX_HOURS = 24 * 366
FRESH_HOURS: dict[str, int] = {
    DepositSet.Kind.GENERAL: 26,
    DepositSet.Kind.CIVIL_STATUS: CIVIL_STATUS_HOURS,
    DepositSet.Kind.DELIBERATIONS: 26,
    DepositSet.Kind.ACCOUNTS: 26,
}
RETENTION: dict[str, str] = {
    DepositSet.Kind.GENERAL: DepositSet.Retention.STANDARD,
    DepositSet.Kind.CIVIL_STATUS: DepositSet.Retention.FOREVER,
    DepositSet.Kind.DELIBERATIONS: DepositSet.Retention.FOREVER,
    DepositSet.Kind.ACCOUNTS: DepositSet.Retention.TEN_YEARS,
}
CLOCK_JUMP = timedelta(seconds=5)
_SET_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TOLD = {"config": "vault.repository_created", "keys": "vault.key_added"}
_BURIED = {"snapshots": "vault.snapshot_buried", "keys": "vault.key_buried"}
GENERAL = "general"
LOG = "log"  # `/vault/<INSEE>/log/` is the transparency log
TITLES = {GENERAL: "Dossiers de la mairie"}
_MOVING = ("stored_bytes", "live_bytes", "last_instant", "last_deposit_at", "late_told_at")
_TICK = timedelta(microseconds=1)
_turns = threading.Lock()
"""Uploads of this process that wait to be recorded. SQLite lets a writer who finds another one sleep
for longer and longer; here they follow each other at once."""


class QuotaExceeded(Exception):
    """The organisation's quota has no room for the object."""


class AlreadyAdded(Exception):
    """The device was added already: the same request came twice."""


class ConfigExists(Exception):
    """The repository was already initialised."""


@cache
def store() -> Store:
    return objects.open_store(settings.OBJECTS_URL)


def discard(key: str) -> bool:
    """Remove a file that no record vouches for, under the writers' lock: the only way by which an
    object's bytes leave the store. False when a record does, or when there was no file."""
    return not _is_vouched_for(key) and store().remove(key)


def _is_vouched_for(key: str) -> bool:
    """Whether an object that was not reaped, or a lock of a set that exists, has this file."""
    _, code, *inside = key.split("/")
    if len(inside) < 2:
        return False
    set_code, kind, name = inside[0], inside[1], inside[-1]
    sets = DepositSet.objects.filter(organisation__code=code, code=set_code)
    if kind == "locks":
        return sets.exists()
    return StoredObject.objects.filter(
        deposit_set__in=sets, type=kind, name=name, reaped_at=None
    ).exists()


def object_key(deposit_set: DepositSet, kind: str, name: str) -> str:
    """restic's default layout, so that a plain copy of the folder is a repository."""
    if kind == "config":
        return f"{deposit_set.prefix}/config"
    middle = f"data/{name[:2]}" if kind == "data" else kind
    return f"{deposit_set.prefix}/{middle}/{name}"


@transaction.atomic
def create_set(
    actor: Actor,
    organisation: Organisation,
    code: str = GENERAL,
    *,
    title: str = "",
    kind: str = DepositSet.Kind.GENERAL,
    retention_class: str = "",
    fresh_within_hours: int | None = None,
) -> DepositSet:
    """Open a deposit set; its retention and its freshness are its kind's unless they are given.
    Raises ValidationError for a bad or taken code, a bad kind, class or delay."""
    if not _SET_CODE.fullmatch(code) or code == LOG:
        raise ValidationError(
            f"Le dépôt « {code[:40]} » : minuscules sans accent, chiffres et tirets seulement."
            + (" « log » est pris par les preuves." if code == LOG else "")
        )
    if kind not in DepositSet.Kind.values:
        raise ValidationError(f"Nature de dépôt inconnue : {kind[:40]}.")
    retention_class = retention_class or RETENTION[kind]
    if retention_class not in DepositSet.Retention.values:
        raise ValidationError(f"Classe de conservation inconnue : {retention_class[:40]}.")
    if fresh_within_hours is None:
        fresh_within_hours = FRESH_HOURS[kind]
    longest = CIVIL_STATUS_HOURS if kind == DepositSet.Kind.CIVIL_STATUS else FRESH_MAX_HOURS
    if not 1 <= fresh_within_hours <= longest:
        raise ValidationError(
            f"Une sauvegarde se demande toutes les 1 à {longest} heures"
            + (" pour l'état civil." if longest == CIVIL_STATUS_HOURS else ".")
        )
    title = " ".join(title.split()) or TITLES.get(code) or str(DepositSet.Kind(kind).label)
    if len(title) > 120:
        raise ValidationError("Le titre d'un dépôt tient en 120 caractères.")
    serialise_writers()
    site.refuse_a_copy()
    if DepositSet.objects.filter(organisation=organisation, code=code).exists():
        raise ValidationError(f"Le dépôt « {code} » existe déjà.")
    created = DepositSet.objects.create(
        organisation=organisation,
        code=code,
        title=title,
        kind=kind,
        retention_class=retention_class,
        fresh_within_hours=fresh_within_hours,
    )
    journal.append(
        actor,
        "vault.set_created",
        organisation=organisation.code,
        object=code,
        data={
            "kind": kind,
            "retention": retention_class,
            "fresh_within_hours": fresh_within_hours,
        },
    )
    return created


@transaction.atomic
def add_device(
    actor: Actor,
    organisation: Organisation,
    name: str,
    roles: Sequence[str],
    set_code: str = GENERAL,
    *,
    device_id: str = "",
) -> tuple[Device, str]:
    """Enrol a machine; returns it with the repository address that `restic -r` takes, secret
    included, which nobody can read again. Raises ValidationError for a bad name, role or set, and
    AlreadyAdded when the id, which stands for the request, has been given before."""
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise ValidationError("Donnez à l'appareil un nom de 1 à 80 caractères.")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise ValidationError(f"Droits inconnus : {', '.join(unknown) or 'aucun choisi'}.")
    serialise_writers()
    site.refuse_a_copy()
    if device_id and Device.objects.filter(pk=device_id).exists():
        raise AlreadyAdded
    if not DepositSet.objects.filter(organisation=organisation, code=set_code).exists():
        create_set(actor, organisation, set_code)
    device, credential = devices.enrol(
        organisation=organisation,
        room="vault",
        kind="restic",
        name=name,
        roles=[role for role in ROLES if role in roles],
        scope=set_code,
        device_id=device_id,
    )
    journal.append(
        actor,
        "vault.device_added",
        organisation=organisation.code,
        object=f"device:{device.pk}",
        data={"roles": device.roles, "set": set_code},
    )
    return device, repository_address(device, credential)


def repository_address(device: Device, credential: str) -> str:
    public = urlsplit(settings.PUBLIC_URL)
    path = f"/vault/{device.organisation.code}/{device.scope}/"
    return f"rest:{public.scheme}://{device.pk}:{credential}@{public.netloc}{path}"


@transaction.atomic
def revoke_device(actor: Actor, device: Device) -> None:
    """Refuse the device from now on, open transfers included."""
    serialise_writers()
    devices.revoke(device)
    journal.append(
        actor,
        "vault.device_revoked",
        organisation=device.organisation.code,
        object=f"device:{device.pk}",
    )


def has_repository(
    organisation: Organisation, set_code: str, *, made_by_another_than: Device
) -> bool:
    """Whether a set holds a repository that another device made: its password exists then."""
    return (
        StoredObject.objects.filter(
            deposit_set__organisation=organisation, deposit_set__code=set_code, type="config"
        )
        .exclude(device=made_by_another_than)
        .exists()
    )


# What each request of a client asks of the records: composing these anew costs ten times what they do.
_SET_OF = "SELECT * FROM vault_depositset WHERE organisation_id = %s AND code = %s"
_SET_NOW = "SELECT * FROM vault_depositset WHERE id = %s"
_OPEN_SESSION = """SELECT * FROM vault_session
WHERE deposit_set_id = %s AND device_id = %s AND ended_at IS NULL ORDER BY id DESC LIMIT 1"""
_NAMED = """FROM vault_storedobject
WHERE deposit_set_id = %s AND type = %s AND name = %s AND reaped_at IS NULL"""
_BORN = """INSERT INTO vault_storedobject
(deposit_set_id, type, name, size, received_at, device_id, session_id)
VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id"""
_SESSION_GREW = """UPDATE vault_session
SET last_at = %s, ended_at = %s, objects_received = %s, bytes_received = %s WHERE id = %s"""
_SET_GREW = """UPDATE vault_depositset
SET stored_bytes = %s, live_bytes = %s, last_instant = %s, last_deposit_at = %s, late_told_at = %s
WHERE id = %s"""
_LISTED = "SELECT name, size FROM vault_storedobject WHERE deposit_set_id = %s AND type = %s AND "
_ROOM_LEFT = """SELECT COALESCE((SELECT bytes FROM vault_quota WHERE organisation_id = %s), %s)
- COALESCE((SELECT SUM(stored_bytes) FROM vault_depositset WHERE organisation_id = %s), 0)"""


def _first(statement: str, *arguments: str | int) -> int | None:
    """The number that a statement answers; None when it finds no row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        row = cursor.fetchone()
    return int(row[0]) if row else None


def set_of(device: Device) -> DepositSet:
    """The deposit set that the device serves. Raises DepositSet.DoesNotExist."""
    for found in DepositSet.objects.raw(_SET_OF, [device.organisation_id, device.scope]):
        found.organisation = device.organisation
        return found
    raise DepositSet.DoesNotExist(device.scope)


def size_of(deposit_set: DepositSet, kind: str, name: str, at: datetime | None) -> int | None:
    """The bytes that the record gives to a name now, or at a receipt time; None when it has none."""
    if at is None:
        living = f"SELECT size {_NAMED} AND died_at IS NULL"
        return _first(living, deposit_set.pk, kind, name)
    rows = alive(deposit_set, at).filter(type=kind, name=name)
    return rows.values_list("size", flat=True).first()


def alive(deposit_set: DepositSet, at: datetime | None = None) -> QuerySet[StoredObject]:
    """The objects that live now, or that lived at a receipt time, inclusive."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    if at is None:
        return rows.filter(died_at=None)
    return rows.filter(Q(died_at=None) | Q(died_at__gt=at), received_at__lte=at)


def listed(deposit_set: DepositSet, kind: str, at: datetime | None) -> list[tuple[str, int]]:
    """The names and sizes of the objects of a type that live now, or lived at a receipt time, by
    name. In plain SQL: a repository may have a hundred thousand."""
    lived, instants = "died_at IS NULL", []
    if at is not None:
        lived = "received_at <= %s AND (died_at IS NULL OR died_at > %s)"
        instants = [connection.ops.adapt_datetimefield_value(at)] * 2
    with connection.cursor() as cursor:
        cursor.execute(_LISTED + lived + " ORDER BY name", [deposit_set.pk, kind, *instants])
        return list(cursor.fetchall())


@transaction.atomic
def settle(deposit_set: DepositSet, at: datetime) -> None:
    """Once it returns, no birth or death at that instant or before can still appear: the writes
    under way have ended, and a clock set back goes on from that instant."""
    serialise_writers()
    behind = Q(last_instant=None) | Q(last_instant__lt=at)
    DepositSet.objects.filter(behind, pk=deposit_set.pk).update(last_instant=at)


def next_instant(deposit_set: DepositSet, actor: Actor) -> datetime:
    """Now, or just after the last instant known: a clock set back never reorders a set."""
    now, last = clock.now(), deposit_set.last_instant
    if last is None or last < now:
        return now
    if last - now > CLOCK_JUMP:
        journal.refuse(
            actor,
            "vault.clock_went_back",
            organisation=deposit_set.organisation.code,
            object=deposit_set.code,
        )
    return last + _TICK


def quota_bytes(organisation: Organisation) -> int:
    found = Quota.objects.filter(organisation=organisation).values_list("bytes", flat=True).first()
    return DEFAULT_QUOTA_BYTES if found is None else found


def stored_bytes(organisation: Organisation) -> int:
    """Bytes on disk of all the organisation's sets, deleted objects included."""
    sets = DepositSet.objects.filter(organisation=organisation)
    return sets.aggregate(total=Sum("stored_bytes"))["total"] or 0


def _lives(deposit_set: DepositSet, kind: str, name: str) -> list[StoredObject]:
    """Every life, past or present, whose bytes are on disk under one name."""
    if not is_known(deposit_set, kind, name):
        return []  # almost always
    return list(StoredObject.objects.raw(f"SELECT * {_NAMED}", [deposit_set.pk, kind, name]))


def _living(lives: Iterable[StoredObject]) -> StoredObject | None:
    return next((life for life in lives if life.died_at is None), None)


def room_left(organisation: Organisation) -> int:
    """Bytes that the quota still takes; negative above it."""
    left = _first(_ROOM_LEFT, organisation.pk, DEFAULT_QUOTA_BYTES, organisation.pk)
    assert left is not None
    return left


def is_known(deposit_set: DepositSet, kind: str, name: str) -> bool:
    """Whether the object is on disk, alive or dead and not reaped: it takes no more room."""
    return _first(f"SELECT 1 {_NAMED} LIMIT 1", deposit_set.pk, kind, name) is not None


@transaction.atomic
def set_quota(actor: Actor, organisation: Organisation, limit_bytes: int) -> None:
    """Change how much an organisation may keep. What is there stays, even above the limit."""
    if not 0 < limit_bytes <= QUOTA_MAX_BYTES:
        raise ValidationError("Le quota va de 1 octet à 1 000 To.")
    serialise_writers()
    site.refuse_a_copy()
    Quota.objects.update_or_create(organisation=organisation, defaults={"bytes": limit_bytes})
    journal.append(
        actor,
        "vault.quota_set",
        organisation=organisation.code,
        data={"limit_bytes": limit_bytes},
    )


def keep_lock(deposit_set: DepositSet, name: str, incoming: Incoming, device: Device) -> None:
    """Keep a restic lock: ephemeral, on disk only, no row. Raises objects.WrongContent,
    devices.Revoked."""
    with transaction.atomic():
        serialise_writers()
        devices.require_live(device)
        try:
            incoming.commit(object_key(deposit_set, "locks", name), name)
        except AlreadyThere:
            incoming.abort()


def record_object(
    deposit_set: DepositSet, kind: str, name: str, incoming: Incoming, device: Device
) -> StoredObject:
    """Name, keep and record a received object; durable on disk and committed on return.

    `name` is `config` or the content's SHA-256. An object that lives already is returned as it is.
    Raises objects.WrongContent, ConfigExists, QuotaExceeded, devices.Revoked, site.ReadOnly;
    nothing is recorded then.
    """
    actor = access.of_device(device)
    placed = False
    if kind == "config":
        incoming.seal()
    else:
        # The slow part comes before the lock: the bytes prove the name, so whoever wins is right.
        if incoming.sha256 != name:
            raise objects.WrongContent(name)
        placed = _place(deposit_set, kind, name, incoming, actor)
    key = object_key(deposit_set, kind, name)
    with _turns, transaction.atomic():
        serialise_writers()
        lives = _lives(deposit_set, kind, name)
        living = _living(lives)
        try:
            site.require_first()
            devices.require_live(device)
            if not lives and incoming.size > room_left(deposit_set.organisation):
                raise QuotaExceeded
        except (devices.Revoked, QuotaExceeded, site.ReadOnly):
            if placed and not lives:
                discard(key)
            raise
        if kind == "config" and lives:
            # Also of a repository that was destroyed: its bytes open the moments before, and stay
            # as long as its lock says.
            raise ConfigExists
        if living is not None:
            return living
        if kind == "config" or store().size(key) != incoming.size:
            # A config has no proof but the lock; another file was taken back by the client that
            # placed it, over the quota: ours is still under its temporary name.
            _place(deposit_set, kind, name, incoming, actor)
        return give_birth(deposit_set, kind, name, incoming.size, device, known=bool(lives))


def _place(deposit_set: DepositSet, kind: str, name: str, incoming: Incoming, actor: Actor) -> bool:
    """Give the content its name on disk; False when a file had it. A file left by a crash before its row was committed, or
    damaged since, is replaced by the verified content: no row vouched for other bytes."""
    key = object_key(deposit_set, kind, name)
    sha256 = incoming.sha256
    try:
        incoming.commit(key)
    except AlreadyThere:
        if store().sha256(key) == sha256:
            return False
        incoming.mend(key, sha256)
        journal.append(
            actor,
            "vault.object_mended",
            organisation=deposit_set.organisation.code,
            object=f"{deposit_set.code}/{kind}/{name}",
        )
        return False
    return True


def give_birth(
    deposit_set: DepositSet, kind: str, name: str, size: int, device: Device, *, known: bool
) -> StoredObject:
    """Write the row of an object whose file is in place; `known` when its bytes are counted."""
    actor = access.of_device(device)
    current = as_it_is_now(deposit_set)
    at = next_instant(current, actor)
    session = session_of(current, device, at)
    stored = StoredObject(
        deposit_set=current,
        type=kind,
        name=name,
        size=size,
        received_at=at,
        device=device,
        session=session,
    )
    session.last_at = at
    session.objects_received += 1
    session.bytes_received += size
    current.last_instant = at
    current.live_bytes += size
    current.stored_bytes += 0 if known else size
    if kind == "snapshots":
        session.ended_at = at
        current.last_deposit_at = at
        current.late_told_at = None
    _write_birth(stored, session, current)
    _tell(stored, session, actor)
    alarm.after_birth(current, stored, session)
    if kind == "keys":
        key_changes.after_birth(current, stored)
    return stored


def _write_birth(stored: StoredObject, session: Session, current: DepositSet) -> None:
    """The three rows that a birth changes, in plain SQL: every small object pays for them."""
    adapt = connection.ops.adapt_datetimefield_value
    at = adapt(stored.received_at)
    with connection.cursor() as cursor:
        row = (current.pk, stored.type, stored.name, stored.size, at, stored.device_id, session.pk)
        cursor.execute(_BORN, row)
        (stored.pk,) = cursor.fetchone()
        ended = None if session.ended_at is None else at
        counts = (session.objects_received, session.bytes_received)
        cursor.execute(_SESSION_GREW, (at, ended, *counts, session.pk))
        sizes = (current.stored_bytes, current.live_bytes)
        told = (adapt(current.last_deposit_at), adapt(current.late_told_at))
        cursor.execute(_SET_GREW, (*sizes, at, *told, current.pk))


def as_it_is_now(deposit_set: DepositSet) -> DepositSet:
    """The set's row, read under the writers' lock."""
    current = DepositSet.objects.raw(_SET_NOW, [deposit_set.pk])[0]
    current.organisation = deposit_set.organisation
    return current


def session_of(deposit_set: DepositSet, device: Device, at: datetime) -> Session:
    """The run under way, or a new one after a snapshot or an hour of silence."""
    for found in Session.objects.raw(_OPEN_SESSION, [deposit_set.pk, device.pk]):
        if at - found.last_at < SESSION_SILENCE:
            return found
    return Session.objects.create(deposit_set=deposit_set, device=device, started_at=at, last_at=at)


def _tell(stored: StoredObject, session: Session, actor: Actor) -> None:
    """Journal what people act on; packs and indexes are counted with their snapshot."""
    organisation, code = stored.deposit_set.organisation.code, stored.deposit_set.code
    if stored.type in _TOLD:
        journal.append(
            actor,
            _TOLD[stored.type],
            organisation=organisation,
            object=code,
            data={"name": stored.name},
        )
    if stored.type != "snapshots":
        return
    received = {
        "set": code,
        "snapshot": stored.name,
        "received_at": clock.rfc3339(stored.received_at),
        "objects": session.objects_received,
        "bytes": session.bytes_received,
    }
    journal.append(
        actor, "vault.deposit_received", organisation=organisation, object=code, data=received
    )
    events.emit("vault.deposit_received", organisation=organisation, payload=received)


@transaction.atomic
def bury_object(deposit_set: DepositSet, kind: str, name: str, device: Device) -> bool:
    """End an object's life at this instant; its bytes stay as long as the lock says. False when none lives. Raises
    devices.Revoked, site.ReadOnly."""
    serialise_writers()
    site.require_first()
    devices.require_live(device)
    actor = access.of_device(device)
    living = _living(_lives(deposit_set, kind, name))
    if living is None:
        return False
    current = as_it_is_now(deposit_set)
    living.died_at = current.last_instant = next_instant(current, actor)
    living.save(update_fields=["died_at"])
    announce(current, device, "pruned")
    current.live_bytes -= living.size
    if kind == "snapshots":
        left = alive(current).filter(type="snapshots").order_by("-received_at")
        current.last_deposit_at = left.values_list("received_at", flat=True).first()
    current.save(update_fields=_MOVING)
    if kind in _BURIED:
        journal.append(
            actor,
            _BURIED[kind],
            organisation=current.organisation.code,
            object=current.code,
            data={"name": name},
        )
    alarm.after_death(current, living, device)
    if kind == "keys":
        key_changes.after_death(current, living, device)
    return True


def bury_everything(deposit_set: DepositSet) -> int:
    """End every life of a set at one instant, under the writers' lock; returns how many."""
    current = as_it_is_now(deposit_set)
    current.last_instant = next_instant(current, access.SYSTEM)
    current.live_bytes, current.last_deposit_at = 0, None
    ended = alive(current).update(died_at=current.last_instant)
    current.save(update_fields=_MOVING)
    return ended


def tell_late_sets() -> None:
    """Tell a commune's members, once, that a deposit set is late; the next deposit starts anew."""
    now = clock.now()
    if site.is_read_only():  # the first site tells it
        return
    for found in DepositSet.objects.filter(late_told_at=None):
        if now > found.due_at and _is_in_use(found):
            _tell_late(found.pk)


def _is_in_use(deposit_set: DepositSet) -> bool:
    """Whether somebody waits for deposits: some came, or a device is set up to send them."""
    return deposit_set.last_deposit_at is not None or (
        Device.objects.filter(
            room="vault",
            organisation=deposit_set.organisation_id,
            scope=deposit_set.code,
            revoked_at=None,
        ).exists()
    )


@transaction.atomic
def _tell_late(pk: int) -> None:
    serialise_writers()
    late = DepositSet.objects.select_related("organisation").get(pk=pk)
    now = clock.now()
    if late.late_told_at is not None or now <= late.due_at:
        return
    late.late_told_at = now
    late.save(update_fields=["late_told_at"])
    organisation, last = late.organisation, late.last_deposit_at
    told = {"set": late.code, "last_deposit_at": last and clock.rfc3339(last)}
    journal.append(
        access.SYSTEM,
        "vault.deposit_late",
        organisation=organisation.code,
        object=late.code,
        data=told,
    )
    events.emit("vault.deposit_late", organisation=organisation.code, payload=told)
    members = User.objects.filter(role_assignments__organisation=organisation, is_active=True)
    since = f"La dernière date du {datetime_fr(last)}." if last else "Aucune n'est encore arrivée."
    notifications.notify(
        members.distinct(),
        f"Sauvegarde en retard : {late.title}",
        f"{since} Une sauvegarde était attendue avant le {datetime_fr(late.due_at)}. "
        "Vérifiez que l'appareil est allumé et relié à internet.",
        reverse("vault:commune", args=[organisation.code]),
    )


@transaction.atomic
def charge_read(deposit_set: DepositSet, device: Device, length: int) -> bool:
    """Count a read of data by a device without the restore role; False when the day's allowance
    (16 MiB, or 2 % of the live data if that is more) does not cover it."""
    serialise_writers()
    today, _ = ReadDay.objects.get_or_create(
        device=device, day=clock.today(), defaults={"limit_bytes": READ_FLOOR_BYTES}
    )
    today.read_bytes += length
    if today.read_bytes > today.limit_bytes:
        data = alive(deposit_set).filter(type="data").aggregate(total=Sum("size"))["total"] or 0
        today.limit_bytes = max(READ_FLOOR_BYTES, int(READ_SHARE * data))
    if today.read_bytes > today.limit_bytes:
        return False
    today.save(update_fields=["read_bytes", "limit_bytes"])
    return True
