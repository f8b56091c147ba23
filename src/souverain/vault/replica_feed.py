"""What this site tells the one that copies it: its records in order, and its objects.

Read with a credential of its own (`authorize`), which reads everything and writes nothing but the
fence: that another site was promoted.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max, QuerySet, Sum

from souverain.core import access, clock, devices, journal
from souverain.core.access import Actor
from souverain.core.models import Device, Organisation
from souverain.core.transactions import serialise_writers
from souverain.vault import log, services, site
from souverain.vault.engine.replica import (
    BIRTH,
    DEATH,
    PAGE_COMMUNES,
    PAGE_LEAVES,
    VERSION,
    Event,
    Place,
    instant,
    instant_text,
)
from souverain.vault.models import (
    Announcement,
    Cosignature,
    DepositSet,
    Destruction,
    Hold,
    Lock,
    Log,
    Quota,
    ReplicaReader,
    ReplicaSet,
    StoredObject,
    Witness,
)

KIND, ROLE, FENCE = "replica", "replicate", "fence"
_PAGE_BYTES = 1 << 20
_COLUMNS = ((BIRTH, "received_at"), (DEATH, "died_at"))


@transaction.atomic
def authorize(actor: Actor, name: str, *, may_fence: bool = True) -> tuple[Device, str]:
    """Make a credential for the site that will copy this one; returns it with what that site is
    given (`id:secret`), which nobody can read again. Raises ValidationError."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise ValidationError("Donnez au second site un nom de 1 à 80 caractères.")
    departement = Organisation.objects.filter(code=settings.DEPARTEMENT).first()
    if departement is None:
        raise ValidationError("Le Département n'est pas chargé : lancez « souverain init ».")
    serialise_writers()
    device, secret = devices.enrol(
        organisation=departement,
        room="vault",
        kind=KIND,
        name=name,
        roles=[ROLE, FENCE] if may_fence else [ROLE],
    )
    journal.append(
        actor,
        "vault.replica_authorized",
        organisation=departement.code,
        object=f"device:{device.pk}",
        data={"roles": device.roles},
    )
    return device, f"{device.pk}:{secret}"


# Pages -------------------------------------------------------------------------------------------


def state() -> dict[str, Any]:
    """Who speaks, and what time it is here."""
    found = site.named()
    return {
        "version": VERSION,
        "site": found.name,
        "role": found.role,
        "epoch": found.epoch,
        "now": clock.rfc3339(clock.now()),
        "log_key": log.public_key(settings.DEPARTEMENT).public.hex(),
    }


def communes(after: str) -> dict[str, Any]:
    """The communes with a vault, by code, with all that is declared of them but the objects."""
    rows = Organisation.objects.filter(
        kind=Organisation.Kind.COMMUNE, deposit_sets__isnull=False, code__gt=after
    )
    codes = rows.order_by("code").values_list("code", flat=True).distinct()[: PAGE_COMMUNES + 1]
    wanted = list(codes)
    items: list[dict[str, Any]] = []
    taken = 0
    for organisation in Organisation.objects.filter(code__in=wanted[:PAGE_COMMUNES]).order_by(
        "code"
    ):
        items.append(_commune(organisation))
        taken += len(orjson.dumps(items[-1]))
        if taken > _PAGE_BYTES:
            break
    return {"items": items, "more": len(items) < len(wanted)}


def _commune(organisation: Organisation) -> dict[str, Any]:
    quota = Quota.objects.filter(organisation=organisation).values_list("bytes", flat=True).first()
    signed = Log.objects.filter(pk=organisation.pk).first()
    size = signed.signed_size if signed else 0
    machines = Device.objects.filter(
        organisation=organisation, room="vault", kind="restic"
    ).order_by("created_at", "pk")
    return {
        "code": organisation.code,
        "name": organisation.name,
        "quota_bytes": quota,
        "log": {"size": size, "cosigned": _cosignatures(organisation, size).count()},
        "sets": _sets(organisation),
        "devices": [
            {
                "id": device.pk,
                "name": device.name,
                "set": device.scope,
                "roles": device.roles,
                "verifier": device.credential_sha256,
                "created_at": clock.rfc3339(device.created_at),
                "revoked": device.revoked_at is not None,
            }
            for device in machines
        ],
    }


def _cosignatures(organisation: Organisation, size: int) -> QuerySet[Cosignature]:
    return Cosignature.objects.filter(
        witness__organisation=organisation, size=size, witness__removed_at=None
    )


def _sets(organisation: Organisation) -> list[dict[str, Any]]:
    sets = list(DepositSet.objects.filter(organisation=organisation).order_by("code"))
    holds: dict[int, list[Hold]] = defaultdict(list)
    for hold in Hold.objects.filter(deposit_set__in=sets, lifted_at=None):
        holds[hold.deposit_set_id].append(hold)
    locks = dict(
        Lock.objects.filter(deposit_set__in=sets)
        .order_by()
        .values_list("deposit_set")
        .annotate(longest=Max("days"))
    )
    destroyed = dict(
        Destruction.objects.filter(deposit_set__in=sets, executed_at__isnull=False)
        .order_by()
        .values_list("deposit_set")
        .annotate(last=Max("executed_at"))
    )
    copied = {found.pk: found for found in ReplicaSet.objects.filter(deposit_set__in=sets)}
    return [
        {
            "code": found.code,
            "title": found.title,
            "kind": found.kind,
            "retention": found.retention_class,
            "fresh_hours": found.fresh_within_hours,
            "created_at": clock.rfc3339(found.created_at),
            "head": found.last_instant and clock.rfc3339(found.last_instant),
            "lock_days": locks.get(found.pk, 0),
            "destroyed_at": destroyed.get(found.pk) and clock.rfc3339(destroyed[found.pk]),
            "holds": [
                {
                    "row": hold.pk,
                    "kind": hold.kind,
                    "reason": hold.reason,
                    "reference": hold.reference,
                }
                for hold in holds[found.pk]
            ],
            "copied": _copied(copied.get(found.pk)),
        }
        for found in sets
    ]


def _copied(found: ReplicaSet | None) -> dict[str, str | None] | None:
    if found is None:
        return None
    return {"site": found.site, "to": str(Place(found.at, found.row)) if found.at else None}


def left(deposit_set: DepositSet, after: Place | None) -> dict[str, int]:
    """How many events come after a place, and the bytes of their objects."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    told, size = 0, 0
    for _, column in _COLUMNS:
        for part in _after(rows.exclude(**{column: None}), column, after):
            told += part.count()
            if column == "received_at":
                size += part.filter(reaped_at=None).aggregate(total=Sum("size"))["total"] or 0
    return {"left": told, "left_bytes": size}


def events(deposit_set: DepositSet, after: Place | None, count: int) -> list[Event]:
    """Births and deaths by instant, then by row: under the writers' lock the instants of a set only
    grow, so that nothing appears before a place that was read."""
    found: list[tuple[Place, str, StoredObject]] = []
    for event, column in _COLUMNS:
        rows = StoredObject.objects.filter(deposit_set=deposit_set).exclude(**{column: None})
        for part in _after(rows, column, after):
            for row in part.order_by(column, "pk")[:count]:
                found.append((Place(getattr(row, column), row.pk), event, row))
    found.sort(key=lambda item: item[:2])
    return [_event(deposit_set, place, event, row) for place, event, row in found[:count]]


def _after(
    rows: QuerySet[StoredObject], column: str, after: Place | None
) -> list[QuerySet[StoredObject]]:
    """The rows whose event comes after a place; in two parts, each of which an index answers."""
    if after is None:
        return [rows]
    same = rows.filter(**{column: after.at, "pk__gt": after.row})
    return [same, rows.filter(**{f"{column}__gt": after.at})]


def _event(deposit_set: DepositSet, place: Place, event: str, row: StoredObject) -> Event:
    sha256, reaped = row.name, row.reaped_at is not None
    if row.type == "config":
        sha256 = "" if reaped or event == DEATH else _config_sha256(deposit_set)
        reaped = reaped or (event == BIRTH and not sha256)
    return Event(place, event, row.type, row.name, row.size, row.device_id, sha256, reaped)


def _config_sha256(deposit_set: DepositSet) -> str:
    try:
        return services.store().sha256(services.object_key(deposit_set, "config", "config"))
    except FileNotFoundError:
        return ""


def object_key(deposit_set: DepositSet, kind: str, name: str) -> tuple[str, int] | None:
    """(key, bytes) of an object that is on disk by its record; None when there is none."""
    rows = StoredObject.objects.filter(
        deposit_set=deposit_set, type=kind, name=name, reaped_at=None
    )
    size = rows.values_list("size", flat=True).first()
    return None if size is None else (services.object_key(deposit_set, kind, name), size)


def log_page(organisation: Organisation, after: int) -> dict[str, Any] | None:
    """Leaves from number `after` on, up to the last one signed."""
    found = Log.objects.filter(pk=organisation.pk).first()
    if found is None or not found.signed_size:
        return None
    end = min(found.signed_size, after + PAGE_LEAVES)
    witnesses = Witness.objects.filter(organisation=organisation, removed_at=None)
    cosignatures = _cosignatures(organisation, found.signed_size).select_related("witness")
    return {
        "size": found.signed_size,
        "checkpoint": found.checkpoint,
        "signature": found.signature,
        "leaves": [leaf.decode() for leaf in log.rows(found, after, end)],
        "witnesses": [{"name": item.name, "key": item.key} for item in witnesses],
        "cosignatures": [
            {
                "key": item.witness.key,
                "line": item.line,
                "received_at": instant_text(item.received_at),
            }
            for item in cosignatures
        ],
    }


def find_set(code: str, set_code: str) -> DepositSet | None:
    rows = DepositSet.objects.select_related("organisation")
    return rows.filter(organisation__code=code, code=set_code).first()


def fence(device: Device, content: bytes) -> dict[str, Any]:
    """Learn that another site was promoted. Raises ValueError for what is no such word."""
    told = orjson.loads(content)
    epoch, name = told["epoch"], told["site"]
    if type(epoch) is not int or not 0 < epoch < 1 << 62 or not isinstance(name, str):
        raise ValueError("not an epoch")
    found = site.fence(access.of_device(device), epoch, name[:16])
    return {"site": found.name, "role": found.role, "epoch": found.epoch}


def note_complete(device: Device, text: str) -> None:
    """Keep what the other site says that it has. Raises Disbelieved."""
    at = instant(text)
    ReplicaReader.objects.update_or_create(
        device=device, defaults={"complete_to": at, "said_at": clock.now()}
    )


@transaction.atomic
def note_pull(device: Device) -> None:
    """Journal, once a legal day, that a site copies this one."""
    serialise_writers()
    _, first = Announcement.objects.get_or_create(device=device, act="pulled", day=clock.today())
    if first:
        journal.append(
            access.of_device(device),
            "vault.replica_pulled",
            organisation=device.organisation.code,
            object=f"device:{device.pk}",
        )
