"""The vault's verbs: the only code that writes its records. Callers have checked the rights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Max, Q, QuerySet, Sum

from souverain.core import access, clock, devices, events, journal, objects
from souverain.core.access import Actor
from souverain.core.models import Device, Organisation
from souverain.core.objects import AlreadyThere, Incoming, Store
from souverain.core.transactions import serialise_writers
from souverain.vault.models import (
    DEFAULT_QUOTA_BYTES,
    DepositSet,
    Quota,
    ReadDay,
    StoredObject,
)

ROLES = ("backup", "restore", "prune")
READ_FLOOR_BYTES = 16 << 20
READ_SHARE = 0.02
CLOCK_JUMP = timedelta(seconds=5)
_SET_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TOLD = {"config": "vault.repository_created", "keys": "vault.key_added"}
_TICK = timedelta(microseconds=1)


class QuotaExceeded(Exception):
    """The organisation's quota has no room for the object."""


class ConfigExists(Exception):
    """The repository was already initialised."""


@cache
def store() -> Store:
    return objects.open_store(settings.OBJECTS_URL)


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
    code: str = "general",
    *,
    title: str = "",
    kind: str = DepositSet.Kind.GENERAL,
    fresh_within_hours: int = 26,
) -> DepositSet:
    """Open a deposit set. Raises ValidationError for a bad or taken code."""
    if not _SET_CODE.fullmatch(code):
        raise ValidationError(
            f"Le dépôt « {code[:40]} » : minuscules sans accent, chiffres et tirets seulement."
        )
    serialise_writers()
    if DepositSet.objects.filter(organisation=organisation, code=code).exists():
        raise ValidationError(f"Le dépôt « {code} » existe déjà.")
    created = DepositSet.objects.create(
        organisation=organisation,
        code=code,
        title=title or ("Dossiers de la mairie" if code == "general" else code),
        kind=kind,
        fresh_within_hours=fresh_within_hours,
    )
    journal.append(actor, "vault.set_created", organisation=organisation.code, object=code)
    return created


@transaction.atomic
def add_device(
    actor: Actor,
    organisation: Organisation,
    name: str,
    roles: Sequence[str],
    set_code: str = "general",
) -> tuple[Device, str]:
    """Enrol a machine; returns it with the repository address that `restic -r` takes, secret
    included, which nobody can read again. Raises ValidationError for a bad name, role or set."""
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise ValidationError("Donnez à l'appareil un nom de 1 à 80 caractères.")
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise ValidationError(f"Droits inconnus : {', '.join(unknown) or 'aucun choisi'}.")
    serialise_writers()
    if not DepositSet.objects.filter(organisation=organisation, code=set_code).exists():
        create_set(actor, organisation, set_code)
    device, credential = devices.enrol(
        organisation=organisation,
        room="vault",
        kind="restic",
        name=name,
        roles=[role for role in ROLES if role in roles],
        scope=set_code,
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


def set_of(device: Device) -> DepositSet:
    return DepositSet.objects.select_related("organisation").get(
        organisation=device.organisation, code=device.scope
    )


def alive(deposit_set: DepositSet, at: datetime | None = None) -> QuerySet[StoredObject]:
    """The objects that live now, or that lived at a receipt time, inclusive."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    if at is None:
        return rows.filter(died_at=None)
    return rows.filter(Q(died_at=None) | Q(died_at__gt=at), received_at__lte=at)


def last_instant(deposit_set: DepositSet) -> datetime | None:
    """The latest receipt or death that the set knows."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    found = rows.aggregate(born=Max("received_at"), died=Max("died_at"))
    return max((instant for instant in found.values() if instant is not None), default=None)


def _next_instant(deposit_set: DepositSet, actor: Actor) -> datetime:
    """Now, or just after the last instant known: a clock set back never reorders a set."""
    now, last = clock.now(), last_instant(deposit_set)
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


def require_room(organisation: Organisation, size: int) -> None:
    """Raise `QuotaExceeded` when `size` more bytes do not fit."""
    if stored_bytes(organisation) + size > quota_bytes(organisation):
        raise QuotaExceeded


@transaction.atomic
def set_quota(actor: Actor, organisation: Organisation, limit_bytes: int) -> None:
    serialise_writers()
    Quota.objects.update_or_create(organisation=organisation, defaults={"bytes": limit_bytes})
    journal.append(
        actor,
        "vault.quota_set",
        organisation=organisation.code,
        data={"limit_bytes": limit_bytes},
    )


def keep_lock(deposit_set: DepositSet, name: str, incoming: Incoming) -> None:
    """Keep a restic lock: ephemeral, on disk only, no row. Raises objects.WrongContent."""
    try:
        incoming.commit(object_key(deposit_set, "locks", name), name)
    except AlreadyThere:
        incoming.abort()


def record_object(
    deposit_set: DepositSet, kind: str, name: str, incoming: Incoming, device: Device
) -> StoredObject:
    """Name, keep and record a received object; durable on disk and committed on return.

    `name` is `config` or the content's SHA-256. An object that lives already is returned as it is.
    Raises objects.WrongContent, ConfigExists, QuotaExceeded; nothing is recorded then.
    """
    if kind != "config" and incoming.sha256 != name:
        raise objects.WrongContent(name)
    incoming.seal()
    actor = access.of_device(device)
    with transaction.atomic():
        serialise_writers()
        living = alive(deposit_set).filter(type=kind, name=name).first()
        if living is not None and kind == "config":
            raise ConfigExists
        known = StoredObject.objects.filter(deposit_set=deposit_set, type=kind, name=name).exists()
        if not known:
            require_room(deposit_set.organisation, incoming.size)
        size = incoming.size
        _place(deposit_set, kind, name, incoming, actor)
        if living is not None:
            return living
        if not known:
            DepositSet.objects.filter(pk=deposit_set.pk).update(
                stored_bytes=F("stored_bytes") + size
            )
        stored = StoredObject.objects.create(
            deposit_set=deposit_set,
            type=kind,
            name=name,
            size=size,
            received_at=_next_instant(deposit_set, actor),
            device=device,
        )
        _tell(stored, actor)
        return stored


def _place(deposit_set: DepositSet, kind: str, name: str, incoming: Incoming, actor: Actor) -> None:
    """Give the content its name on disk. A file left by a crash before its row was committed, or
    damaged since, is replaced by the verified content: no row vouched for other bytes."""
    key = object_key(deposit_set, kind, name)
    sha256 = incoming.sha256
    try:
        incoming.commit(key)
    except AlreadyThere:
        if store().sha256(key) == sha256:
            return
        incoming.mend(key, sha256)
        journal.append(
            actor,
            "vault.object_mended",
            organisation=deposit_set.organisation.code,
            object=f"{deposit_set.code}/{kind}/{name}",
        )


def _tell(stored: StoredObject, actor: Actor) -> None:
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
    rows = StoredObject.objects.filter(deposit_set=stored.deposit_set, device=stored.device)
    previous = rows.filter(type="snapshots").exclude(pk=stored.pk).aggregate(at=Max("received_at"))
    if previous["at"] is not None:
        rows = rows.filter(received_at__gt=previous["at"])
    received = {
        "set": code,
        "snapshot": stored.name,
        "received_at": clock.rfc3339(stored.received_at),
        "objects": rows.count(),
        "bytes": rows.aggregate(total=Sum("size"))["total"] or 0,
    }
    journal.append(
        actor, "vault.deposit_received", organisation=organisation, object=code, data=received
    )
    events.emit("vault.deposit_received", organisation=organisation, payload=received)


@transaction.atomic
def bury_object(deposit_set: DepositSet, kind: str, name: str, device: Device) -> bool:
    """End an object's life at this instant; its bytes stay. False when none lives."""
    serialise_writers()
    actor = access.of_device(device)
    living = alive(deposit_set).filter(type=kind, name=name).first()
    if living is None:
        return False
    living.died_at = _next_instant(deposit_set, actor)
    living.save(update_fields=["died_at"])
    if kind in ("snapshots", "keys"):
        journal.append(
            actor,
            "vault.key_buried" if kind == "keys" else "vault.snapshot_buried",
            organisation=deposit_set.organisation.code,
            object=deposit_set.code,
            data={"name": name},
        )
    return True


@transaction.atomic
def charge_read(deposit_set: DepositSet, device: Device, length: int) -> bool:
    """Count a read of data by a device without the restore role; False when the day's allowance
    (16 MiB, or 2 % of the live data if that is more) does not cover it."""
    serialise_writers()
    data = alive(deposit_set).filter(type="data").aggregate(total=Sum("size"))["total"] or 0
    limit = max(READ_FLOOR_BYTES, int(READ_SHARE * data))
    today, _ = ReadDay.objects.get_or_create(
        device=device, day=clock.today(), defaults={"limit_bytes": limit}
    )
    if today.read_bytes + length > limit:
        return False
    today.read_bytes += length
    today.limit_bytes = limit
    today.save(update_fields=["read_bytes", "limit_bytes"])
    return True
