"""A commune leaves: what the vault gives back, forgets and destroys.

Records are forgotten first, in the caller's transaction, and files destroyed afterwards: a file is
destroyed only under the writers' lock and only when no record vouches for it. So a crash at any
point never leaves an acknowledged object without its bytes, and `sweep` can be run again at will,
even while the commune has come back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

from django.db import connection, transaction
from django.db.models import ForeignObjectRel, Model, QuerySet, Sum

from souverain.core import clock
from souverain.core.format import datetime_fr
from souverain.core.models import Device, Organisation
from souverain.core.queries import Erased, Export, ExportedFile, Forgotten, Kept, StillKept
from souverain.core.transactions import serialise_writers
from souverain.vault import log, object_lock, parity, retention, services
from souverain.vault.models import (
    Alarm,
    BulkAnnouncement,
    DepositSet,
    Drill,
    ReadDay,
    StoredObject,
)

ROOM, TITLE = "vault", "Le coffre-fort"
_BATCH = 200
_PAGE = 2000


def _sets(code: str) -> QuerySet[DepositSet]:
    return DepositSet.objects.filter(organisation__code=code).select_related("organisation")


def _objects(code: str) -> QuerySet[StoredObject]:
    rows = StoredObject.objects.filter(deposit_set__organisation__code=code)
    return rows.select_related("deposit_set__organisation")


# Giving back -------------------------------------------------------------------------------------


def export(code: str) -> Export | None:
    """All of the commune's vault. `<set>/repository/` is a restic repository as it lives now;
    `<set>/deleted/` what the clients deleted, in the same layout, to be laid over it; `log/` the
    transparency log, which stays readable without us."""
    if not _sets(code).exists():
        return None
    on_disk = _objects(code).filter(reaped_at=None)
    distinct = on_disk.order_by().values("deposit_set", "type", "name", "size").distinct()
    figures = distinct.aggregate(total=Sum("size"))
    log_files = list(_log_files(code))
    return Export(
        room=ROOM,
        title=TITLE,
        records={
            "sets": (_set_json(found) for found in _sets(code)),
            "objects": (_object_json(row) for row in _objects(code).order_by("pk").iterator(_PAGE)),
            "reads": (
                {
                    "device": day.device_id,
                    "day": day.day.isoformat(),
                    "read_bytes": day.read_bytes,
                    "limit_bytes": day.limit_bytes,
                }
                for day in ReadDay.objects.filter(device__organisation__code=code)
            ),
            "announcements": (
                {
                    "set": item.deposit_set.code,
                    "announced_at": clock.rfc3339(item.announced_at),
                    "until": clock.rfc3339(item.until),
                    "bytes": item.bytes,
                    "deletions": item.deletions,
                    "reason": item.reason,
                }
                for item in BulkAnnouncement.objects.filter(deposit_set__in=_sets(code))
            ),
            "drills": (
                {"set": item.deposit_set.code, "report": item.report}
                for item in Drill.objects.filter(deposit_set__in=_sets(code)).order_by("pk")
            ),
            "alarms": (
                _alarm_json(item) for item in Alarm.objects.filter(deposit_set__in=_sets(code))
            ),
        },
        files=chain(_files(code), log_files),
        file_count=distinct.count() + len(log_files),
        file_bytes=(figures["total"] or 0) + sum(file.size for file in log_files),
    )


def _set_json(found: DepositSet) -> Mapping[str, Any]:
    return {
        "set": found.code,
        "title": found.title,
        "kind": found.kind,
        "retention_class": found.retention_class,
        "fresh_within_hours": found.fresh_within_hours,
        "stored_bytes": found.stored_bytes,
        "created_at": clock.rfc3339(found.created_at),
    }


def _alarm_json(found: Alarm) -> Mapping[str, Any]:
    return {
        "set": found.deposit_set.code,
        "device": found.device_id,
        "state": found.state,
        "raised_at": clock.rfc3339(found.raised_at),
        "since": clock.rfc3339(found.since),
        "cause": found.cause,
        "reason": found.reason,
        "closed_at": found.closed_at and clock.rfc3339(found.closed_at),
        "legitimate": found.legitimate,
        "closing_reason": found.closing_reason,
    }


def _object_json(row: StoredObject) -> Mapping[str, Any]:
    return {
        "set": row.deposit_set.code,
        "type": row.type,
        "name": row.name,
        "size_bytes": row.size,
        "received_at": clock.rfc3339(row.received_at),
        "died_at": row.died_at and clock.rfc3339(row.died_at),
        "reaped_at": row.reaped_at and clock.rfc3339(row.reaped_at),
        "device": row.device_id,
    }


def _files(code: str) -> Iterator[ExportedFile]:
    """Each stored object once: living ones first, then the dead that no living one repeats."""
    for found in _sets(code):
        rows = _objects(code).filter(deposit_set=found, reaped_at=None)
        rows = rows.order_by("type", "name", "pk")
        for row in rows.filter(died_at=None).iterator(_PAGE):
            yield _file(row, "repository")
        living = StoredObject.objects.filter(deposit_set=found, died_at=None)
        previous = None
        for row in rows.exclude(died_at=None).iterator(_PAGE):
            identity = (row.type, row.name)
            if identity != previous and not living.filter(type=row.type, name=row.name).exists():
                yield _file(row, "deleted")
            previous = identity


def _file(row: StoredObject, folder: str) -> ExportedFile:
    found = row.deposit_set
    key = services.object_key(found, row.type, row.name)
    inside = key.removeprefix(f"{found.prefix}/")
    return ExportedFile(
        f"{found.code}/{folder}/{inside}", row.size, lambda: services.store().read(key)
    )


def _log_files(code: str) -> Iterator[ExportedFile]:
    store, prefix = services.store(), f"log/{code}/"
    for key in sorted(store.keys(prefix.rstrip("/"))):
        path = f"log/{key.removeprefix(prefix)}"
        if path == "log/checkpoint":  # the one that may be replaced meanwhile
            content = b"".join(store.read(key))
            yield ExportedFile(path, len(content), partial(iter, (content,)))
        else:
            yield ExportedFile(path, store.size(key) or 0, partial(store.read, key))


# Ending ------------------------------------------------------------------------------------------


def end(code: str) -> int:
    """End the life of all that the commune deposited, in the caller's transaction: from here on
    the locks run. Nothing leaves the disk. Returns how many objects died."""
    return sum(retention.bury_all(found) for found in _sets(code))


def erasable_on(code: str) -> Kept | None:
    """What still keeps the commune's copies: a hold, a life, a lock, or a clock to be confirmed."""
    sets = list(_sets(code))
    if any(retention.holds(found) for found in sets):
        return Kept(
            ROOM, None, "Un dépôt est gelé ou sous conservation exigée : il faut d'abord la lever."
        )
    if StoredObject.objects.filter(deposit_set__in=sets, died_at=None).exists():
        days = max(retention.lock_days(found) for found in sets)
        return Kept(
            ROOM,
            None,
            f"Les sauvegardes restent {days} jours après la décision d'effacer : personne, pas "
            "même le Département, ne peut les détruire plus tôt.",
        )
    ends = [retention.free_from(found) for found in sets]
    if None in ends:
        return Kept(ROOM, None, retention.health().message)
    until = max((found for found in ends if found is not None), default=None)
    if until is None or until <= clock.now():
        return _locked_by_the_store(sets)
    sentence = f"Les sauvegardes sont gardées jusqu'au {datetime_fr(until)}, puis détruites."
    return Kept(ROOM, until, sentence)


def _locked_by_the_store(sets: list[DepositSet]) -> Kept | None:
    """A store that locks is the one that knows until when (a hold that was lifted, a bucket that
    locks for a year): the reaper asks it, and what it did not take may not be free."""
    left = StoredObject.objects.filter(deposit_set__in=sets, reaped_at=None)
    if not object_lock.ahead() or not left.exists():
        return None
    return Kept(
        ROOM,
        None,
        "Le stockage S3 verrouille encore des sauvegardes : elles sont retirées chaque jour, dès "
        "qu'il le permet ; l'effacement se décide ensuite.",
    )


# Forgetting --------------------------------------------------------------------------------------


def forget(code: str) -> Forgotten:
    """Forget every record of the vault on the commune, in the caller's transaction, which must be
    durable before `sweep`. The devices were revoked before. Raises StillKept while a lock or a
    hold keeps one byte."""
    serialise_writers()
    kept = erasable_on(code)
    if kept is not None:
        raise StillKept(kept.sentence)
    sizes = {
        services.object_key(row.deposit_set, row.type, row.name): row.size
        for row in _objects(code).iterator(_PAGE)
    }
    names = hashlib.sha256("\n".join(sorted(sizes)).encode()).hexdigest()
    sets = _sets(code).count()
    with _guards_lifted():
        _remove(Organisation.objects.filter(code=code))
        _remove(Device.objects.filter(organisation__code=code))
    return Forgotten(
        ROOM,
        TITLE,
        (
            Erased("Dépôts", sets),
            Erased("Objets chiffrés", len(sizes), sum(sizes.values()), names),
        ),
    )


def _remove(rows: QuerySet[Any]) -> None:
    """Remove the vault's records that lead to these rows, and the rows when they are the vault's:
    a kind of record added to the room later is not forgotten here."""
    model: type[Model] = rows.model
    for relation in model._meta.get_fields(include_hidden=True):
        if not isinstance(relation, ForeignObjectRel):
            continue
        related = relation.related_model
        if related._meta.app_label == ROOM:
            _remove(related._default_manager.filter(**{f"{relation.field.name}__in": rows}))
    if model._meta.app_label == ROOM:
        rows.delete()


@contextmanager
def _guards_lifted() -> Iterator[None]:
    """Let records be removed in this transaction only: the database's own guards come back before
    it commits, and a crash never took them away. The erasure is the one exception to them."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
                " WHERE NOT tgisinternal AND relname LIKE 'vault\\_%%'"
            )
            tables = [connection.ops.quote_name(name) for (name,) in cursor.fetchall()]
            # A table with checks still to be made cannot be altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            yield
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            return
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'vault_%%'"
        )
        triggers = cursor.fetchall()
        for name, _ in triggers:
            cursor.execute(f"DROP TRIGGER {connection.ops.quote_name(name)}")
        yield
        for _, sql in triggers:
            cursor.execute(sql)


# Destroying --------------------------------------------------------------------------------------


def sweep(code: str) -> int:
    """Destroy the commune's files that no record vouches for; returns how many. What is received
    meanwhile is recorded under the same lock, and so is kept."""
    store, prefixes = services.store(), (f"vault/{code}", f"log/{code}")
    keys = [key for prefix in prefixes for key in store.keys(prefix)]
    destroyed = 0
    for start in range(0, len(keys), _BATCH):
        with transaction.atomic():
            serialise_writers()
            for key in keys[start : start + _BATCH]:
                destroyed += log.discard(key) if key.startswith("log/") else services.discard(key)
    with transaction.atomic():
        serialise_writers()
        for prefix in prefixes:
            store.tidy(prefix)
    return destroyed + parity.sweep(code)
