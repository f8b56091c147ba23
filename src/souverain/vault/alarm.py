"""The ransomware alarm: what the records of a set bring tonight, put to `engine.ransomware`.

It looks when a deposit ends, when a snapshot is deleted, and each time that about a hundredth of the
set's bytes came or went; everything that it asks of the records is one statement. A night runs
from noon to noon, Europe/Paris. A fault of the alarm never refuses a deposit: it is logged.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.urls import reverse

from souverain.core import access, clock, events, journal, notifications
from souverain.core.access import Actor
from souverain.core.format import datetime_fr, quote_fr
from souverain.core.models import Device, Organisation, User
from souverain.core.roles import Role
from souverain.core.transactions import serialise_writers
from souverain.vault.engine import ransomware
from souverain.vault.engine.ransomware import Assessment, Level, Observation
from souverain.vault.models import Alarm, BulkAnnouncement, DepositSet, Session, StoredObject, Watch

logger = logging.getLogger(__name__)
ANNOUNCED_MAX = timedelta(days=14)
_MARGIN = 1.2  # people announce round figures
_NOON = timedelta(hours=12)


class _Tally(NamedTuple):
    """What the records say of a set between two instants."""

    born_data: int
    born_all: int
    born_snapshots: int
    dead_data: int
    dead_all: int
    dead_snapshots: int
    earlier_snapshots: int
    """Snapshots that ever came before."""
    living_snapshots: int
    """Now."""
    announcements: int


_SUMS = """COALESCE(SUM(CASE WHEN type = 'data' THEN size ELSE 0 END), 0),
COALESCE(SUM(size), 0), COALESCE(SUM(CASE WHEN type = 'snapshots' THEN 1 ELSE 0 END), 0)
FROM vault_storedobject WHERE deposit_set_id = %s"""
_TALLY = f"""SELECT * FROM
(SELECT {_SUMS} AND received_at >= %s AND received_at < %s) AS born,
(SELECT {_SUMS} AND died_at >= %s AND died_at < %s) AS died,
(SELECT COALESCE(SUM(CASE WHEN received_at < %s THEN 1 ELSE 0 END), 0),
 COALESCE(SUM(CASE WHEN died_at IS NULL THEN 1 ELSE 0 END), 0)
 FROM vault_storedobject WHERE deposit_set_id = %s AND type = 'snapshots') AS snapshots,
(SELECT COUNT(*) FROM vault_bulkannouncement
 WHERE deposit_set_id = %s AND until >= %s AND announced_at < %s) AS announced"""  # noqa: S608
_FAR = datetime.max.replace(tzinfo=clock.PARIS) - timedelta(days=2)


# Nights ------------------------------------------------------------------------------------------


def night_of(at: datetime) -> int:
    """The ordinal of the legal day on whose noon the night began."""
    return (at.astimezone(clock.PARIS).replace(tzinfo=None) - _NOON).date().toordinal()


def beginning_of(night: int) -> datetime:
    day = date.fromordinal(night)
    return datetime(day.year, day.month, day.day, 12, tzinfo=clock.PARIS).astimezone(UTC)


def _crossed(before: int, after: int, live_bytes: int) -> bool:
    step = ransomware.step_bytes(live_bytes)
    return before // step != after // step


# Looking -----------------------------------------------------------------------------------------


def after_birth(current: DepositSet, stored: StoredObject, session: Session) -> None:
    """Look, when it is time, after an object was recorded; in its transaction."""
    received = session.bytes_received
    if stored.type == "snapshots" or _crossed(received - stored.size, received, current.live_bytes):
        _look(current, stored.device, stored.received_at)


def after_death(current: DepositSet, buried: StoredObject, device: Device) -> None:
    """Look, when it is time, after an object was deleted; in its transaction."""
    left = current.live_bytes
    if buried.type == "snapshots" or _crossed(left + buried.size, left, left):
        assert buried.died_at is not None
        _look(current, device, buried.died_at)


def _look(current: DepositSet, device: Device, at: datetime) -> None:
    try:
        with transaction.atomic():
            look(current, device, at)
    except Exception:
        logger.exception("the ransomware alarm failed on the deposit set %s", current.pk)


def look(current: DepositSet, device: Device, at: datetime) -> Assessment:
    """Judge the night so far, and raise the alarm when it must be."""
    watch = _watch(current, at)
    seen = _observe(current, night_of(at), current.live_bytes)
    found = ransomware.assess(ransomware.State.from_json(watch.memory), seen)
    if found.level is Level.ALARM:
        raised = not_closed().filter(deposit_set=current)
        if not raised.exists():
            _raise(current, device, found, seen, at)
        raised.filter(new_bytes__lt=seen.new_bytes).update(new_bytes=seen.new_bytes)
    return found


def not_closed() -> QuerySet[Alarm]:
    """The alarms that nobody closed, newest first."""
    found = Alarm.objects.exclude(state=Alarm.State.CLOSED)
    return found.select_related("deposit_set__organisation", "device")


def _watch(current: DepositSet, at: datetime) -> Watch:
    """What is remembered of the set, brought up to the night before this instant."""
    tonight = night_of(at)
    watch = Watch.objects.filter(pk=current.pk).first()
    if watch is not None and watch.closed_night >= tonight - 1:
        return watch
    rows = StoredObject.objects.filter(deposit_set=current)
    if watch is None:
        first = rows.order_by("received_at").values_list("received_at", flat=True).first()
        watch = Watch(deposit_set=current, closed_night=night_of(first or at) - 1)
        watch.memory = ransomware.State().as_json()
    state = ransomware.State.from_json(watch.memory)
    since = _tally(current, beginning_of(watch.closed_night + 1), _FAR)
    live = current.live_bytes - since.born_all + since.dead_all
    for night in _busy_nights(current, watch.closed_night + 1, tonight):
        tally = _tally(current, beginning_of(night), beginning_of(night + 1))
        after = live + tally.born_all - tally.dead_all
        state = ransomware.close(state, _observe(current, night, after, tally))
        live = after
    watch.memory, watch.closed_night = state.as_json(), tonight - 1
    watch.save()
    return watch


def _busy_nights(deposit_set: DepositSet, first: int, end: int) -> list[int]:
    """The nights from `first` to before `end` in which something came or went."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set)
    start, stop = beginning_of(first), beginning_of(end)
    found: set[int] = set()
    for name in ("received_at", "died_at"):
        between = rows.filter(**{f"{name}__gte": start, f"{name}__lt": stop})
        found.update(map(night_of, between.values_list(name, flat=True).iterator()))
    return sorted(found)


def _tally(deposit_set: DepositSet, start: datetime, end: datetime) -> _Tally:
    pk = deposit_set.pk
    adapt = connection.ops.adapt_datetimefield_value
    low, high = adapt(start), adapt(end)
    arguments = (pk, low, high, pk, low, high, low, pk, pk, low, high)
    with connection.cursor() as cursor:
        cursor.execute(_TALLY, arguments)
        return _Tally(*map(int, cursor.fetchone()))


def _observe(
    deposit_set: DepositSet, night: int, live_after: int, tally: _Tally | None = None
) -> Observation:
    """A night so far, from the records; `live_after` is what lives after all of it."""
    start, end = beginning_of(night), beginning_of(night + 1)
    tally = tally or _tally(deposit_set, start, end)
    announced, deletions = 0, False
    if tally.announcements:
        announced, deletions = _announced(deposit_set, start, end)
    return Observation(
        night=night,
        new_bytes=tally.born_data,
        live_bytes=live_after - tally.born_all + tally.dead_all,
        announced_bytes=announced,
        snapshots_before=_snapshots_at(deposit_set, start) if tally.dead_snapshots else 0,
        snapshots_deleted=tally.dead_snapshots,
        deleted_bytes=tally.dead_data,
        deletions_announced=deletions,
        complete=tally.earlier_snapshots > 0,
    )


def _snapshots_at(deposit_set: DepositSet, at: datetime) -> int:
    lived = Q(died_at=None) | Q(died_at__gte=at)
    rows = StoredObject.objects.filter(lived, deposit_set=deposit_set, received_at__lt=at)
    return rows.filter(type="snapshots").count()


def _announced(deposit_set: DepositSet, start: datetime, end: datetime) -> tuple[int, bool]:
    """How many new bytes of a night people announced, and whether deletions were."""
    total, deletions = 0, False
    for found in BulkAnnouncement.objects.filter(
        deposit_set=deposit_set, until__gte=start, announced_at__lt=end
    ):
        came = 0
        if found.announced_at < start:
            came = _tally(deposit_set, beginning_of(night_of(found.announced_at)), start).born_data
        total += max(int(found.bytes * _MARGIN) - came, 0)
        deletions = deletions or found.deletions
    return total, deletions


# Raising -----------------------------------------------------------------------------------------


def _raise(
    current: DepositSet, device: Device, found: Assessment, seen: Observation, at: datetime
) -> None:
    organisation = current.organisation
    since = beginning_of(found.since)
    safe = (
        StoredObject.objects.filter(deposit_set=current, type="snapshots", received_at__lt=since)
        .order_by("-received_at")
        .values_list("received_at", flat=True)
        .first()
    )
    raised = Alarm.objects.create(
        deposit_set=current,
        device=device,
        raised_at=at,
        since=since,
        safe_at=safe,
        cause=found.cause,
        score=round(found.score, 3),
        raised_bytes=seen.new_bytes,
        new_bytes=seen.new_bytes,
        reason=found.reason,
    )
    told = {
        "alarm": raised.pk,
        "set": current.code,
        "device": device.pk,
        "cause": str(found.cause),
        "new_bytes": seen.new_bytes,
        "since": clock.rfc3339(since),
        "safe_at": safe and clock.rfc3339(safe),
    }
    journal.append(
        access.SYSTEM,
        "vault.ransomware_suspected",
        organisation=organisation.code,
        object=current.code,
        data=told,
    )
    from souverain.vault import retention  # which stands on services, which stand on this module

    # No byte leaves until an operator looked; that the alarm is closed does not end it.
    retention.freeze(access.SYSTEM, current, f"Rançongiciel possible : alerte {raised.pk}")
    events.emit("vault.ransomware_suspected", organisation=organisation.code, payload=told)
    notifications.notify(
        concerned(organisation),
        f"Rançongiciel possible : {current.title}, {organisation.name}",
        f"{found.reason} {what_to_do(raised)}",
        f"{reverse('vault:commune', args=[organisation.code])}#alerte",
    )


def what_to_do(alarm: Alarm) -> str:
    """Three sentences, for somebody who never lived this."""
    kept = alarm.safe_at or alarm.since
    return (
        f"Débranchez du réseau, sans l'éteindre, la machine {quote_fr(alarm.device.name)}, et celles "
        f"qui partagent ses dossiers. Rien n'est perdu : les moments jusqu'au {datetime_fr(kept)} restent tels "
        "qu'ils étaient. Appelez le service informatique du département, puis dites sur cette page "
        "ce qu'il en est."
    )


def concerned(organisation: Organisation) -> list[User]:
    """The commune's members and the département's operators."""
    member = Q(role_assignments__organisation=organisation)
    operator = Q(
        role_assignments__role=Role.OPERATOR,
        role_assignments__organisation__kind=Organisation.Kind.DEPARTEMENT,
        role_assignments__group=None,
    )
    return list(User.objects.filter(member | operator, is_active=True).distinct())


# What people say ---------------------------------------------------------------------------------


@transaction.atomic
def announce(
    actor: Actor,
    deposit_set: DepositSet,
    expected_bytes: int,
    until: datetime,
    reason: str,
    *,
    deletions: bool = False,
) -> BulkAnnouncement:
    """Say that a large deposit will come: that many bytes raise no alarm until then. Raises
    ValidationError."""
    now, reason = clock.now(), " ".join(reason.split())
    if not 0 < expected_bytes <= 10**15:
        raise ValidationError("Un envoi annoncé va de 1 octet à 1 000 To.")
    if not now < until <= now + ANNOUNCED_MAX:
        raise ValidationError("Un envoi s'annonce pour 14 jours au plus.")
    if not 1 <= len(reason) <= 200:
        raise ValidationError("Dites pourquoi, en 200 caractères au plus.")
    serialise_writers()
    made = BulkAnnouncement.objects.create(
        deposit_set=deposit_set,
        announced_at=now,
        until=until,
        bytes=expected_bytes,
        deletions=deletions,
        reason=reason,
        actor=str(actor),
    )
    journal.append(
        actor,
        "vault.bulk_announced",
        organisation=deposit_set.organisation.code,
        object=deposit_set.code,
        data={
            "bytes": expected_bytes,
            "until": clock.rfc3339(until),
            "deletions": deletions,
        },
    )
    return made


@transaction.atomic
def acknowledge(actor: Actor, alarm: Alarm) -> None:
    """Somebody takes it in hand. Nothing when it was already."""
    serialise_writers()
    alarm.refresh_from_db()
    if alarm.state != Alarm.State.OPEN:
        return
    alarm.state = Alarm.State.ACKNOWLEDGED
    alarm.acknowledged_at, alarm.acknowledged_by = clock.now(), str(actor)
    alarm.save()
    _journal(actor, "vault.alarm_acknowledged", alarm, {})


@transaction.atomic
def close(actor: Actor, alarm: Alarm, *, legitimate: bool, reason: str) -> None:
    """End an alarm. What was legitimate is learned: the same level raises no more; an attack that
    was dealt with is forgotten. Raises ValidationError without a reason; nothing when closed."""
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= 200:
        raise ValidationError("Dites ce qui s'est passé, en 200 caractères au plus.")
    serialise_writers()
    alarm.refresh_from_db()
    if alarm.state == Alarm.State.CLOSED:
        return
    current = DepositSet.objects.select_related("organisation").get(pk=alarm.deposit_set_id)
    now = max(clock.now(), current.last_instant or clock.now())
    watch = _watch(current, now)
    state = ransomware.State.from_json(watch.memory)
    seen = _observe(current, night_of(now), current.live_bytes)
    if legitimate:
        # The night of the alarm may be over: what it brought is what was legitimate.
        largest = max(seen.new_bytes, alarm.new_bytes)
        state = replace(
            ransomware.accept(state, replace(seen, new_bytes=largest)),
            settled_bytes=seen.new_bytes,
        )
    else:
        state = ransomware.settle(state, seen)
    watch.memory = state.as_json()
    watch.save()
    alarm.state = Alarm.State.CLOSED
    alarm.closed_at, alarm.closed_by = clock.now(), str(actor)
    alarm.legitimate, alarm.closing_reason = legitimate, reason
    alarm.save()
    told = {"legitimate": legitimate}
    _journal(actor, "vault.alarm_closed", alarm, told)
    events.emit(
        "vault.alarm_closed",
        organisation=current.organisation.code,
        payload={"alarm": alarm.pk, "set": current.code, **told},
    )


def _journal(actor: Actor, verb: str, alarm: Alarm, data: dict[str, bool]) -> None:
    deposit_set = alarm.deposit_set
    journal.append(
        actor,
        verb,
        organisation=deposit_set.organisation.code,
        object=deposit_set.code,
        data={"alarm": alarm.pk, **data},
    )
