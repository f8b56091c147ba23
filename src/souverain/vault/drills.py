"""What the server keeps of restore drills: signed reports, only added, and what they say of each set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet, Sum
from django.urls import reverse

from souverain.core import access, clock, devices, events, journal, notifications
from souverain.core.access import Actor
from souverain.core.format import datetime_fr
from souverain.core.models import Device, Organisation, User
from souverain.core.transactions import serialise_writers
from souverain.vault import services
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import FAULTS, Place, Report, ReportError, Verdict
from souverain.vault.engine.recoverable import RECENT, Drilled
from souverain.vault.engine.tlog.note import Key
from souverain.vault.models import DepositSet, Drill, ReadDay, Witness

SKEW = timedelta(hours=1)  # between a machine's clock and ours
A_DAY = 24  # reports taken of one device
_VERBS = {
    Verdict.PASSED: "vault.drill_passed",
    Verdict.FAILED: "vault.drill_failed",
    Verdict.UNFINISHED: "vault.drill_unfinished",
}


class Refused(Exception):
    """A report that is not taken. French message."""


class AlreadyThere(Exception):
    """The same report came before."""


class TooMany(Exception):
    """The device sent as many as one day takes."""


# What a machine is told -----------------------------------------------------------------------------


def offer(deposit_set: DepositSet, device: Device) -> dict[str, Any]:
    """The instant that a drill reads, how much of the data the device may still read today, and
    when this site last received a drill that passed. The instant is that of the last change: what
    lives then lives now, and nobody waits for writers."""
    moment = clock.rfc3339(deposit_set.last_instant or clock.now())
    passed = Drill.objects.filter(deposit_set=deposit_set, verdict=Drill.Verdict.PASSED)
    last = passed.aggregate(last=Max("received_at"))["last"]
    return {
        "moment": moment,
        "left_bytes": left_bytes(deposit_set, device),
        "passed_at": last and clock.rfc3339(last),
    }


def left_bytes(deposit_set: DepositSet, device: Device) -> int | None:
    """None for a device whose reads are not counted."""
    if "restore" in device.roles:
        return None
    today = ReadDay.objects.filter(device=device, day=clock.today()).first()
    data = services.alive(deposit_set).filter(type="data").aggregate(total=Sum("size"))["total"]
    limit = max(services.READ_FLOOR_BYTES, int(services.READ_SHARE * (data or 0)))
    return max(0, limit - (today.read_bytes if today else 0))


# What is taken ------------------------------------------------------------------------------------


@transaction.atomic
def take(deposit_set: DepositSet, device: Device, content: bytes) -> Drill:
    """Keep the report of a machine. Raises Refused, AlreadyThere, TooMany, devices.Revoked."""
    report = _read(deposit_set, content, Place.MACHINE)
    serialise_writers()
    devices.require_live(device)
    since = clock.now() - timedelta(days=1)
    if Drill.objects.filter(device=device, received_at__gt=since).count() >= A_DAY:
        raise TooMany
    key = Key.parse(report.key)
    registered = Witness.objects.filter(organisation=deposit_set.organisation, removed_at=None)
    known = next((each for each in registered if Key.parse(each.key).public == key.public), None)
    return _keep(access.of_device(device), deposit_set, report, content, device, known)


@transaction.atomic
def take_from_console(actor: Actor, deposit_set: DepositSet, content: bytes) -> Drill:
    """Keep the report of a drill that ran at the département's console."""
    report = _read(deposit_set, content, Place.DEPARTEMENT)
    serialise_writers()
    return _keep(actor, deposit_set, report, content, None, None)


def _read(deposit_set: DepositSet, content: bytes, where: Place) -> Report:
    try:
        report = reports.read(content)
    except ReportError:
        raise Refused("Ce n'est pas un rapport d'essai signé.") from None
    expected = (deposit_set.organisation.code, deposit_set.code, where)
    if (report.commune, report.set, report.where) != expected:
        raise Refused("Ce rapport est celui d'un autre dépôt.")
    if report.instant > clock.now() + SKEW:
        raise Refused("Ce rapport est daté de l'avenir : vérifiez l'heure du poste.")
    return report


def _keep(
    actor: Actor,
    deposit_set: DepositSet,
    report: Report,
    content: bytes,
    device: Device | None,
    witness: Witness | None,
) -> Drill:
    sha256, now = hashlib.sha256(content).hexdigest(), clock.now()
    if Drill.objects.filter(sha256=sha256).exists():
        raise AlreadyThere
    kept = Drill.objects.create(
        deposit_set=deposit_set,
        device=device,
        witness=witness,
        at=min(report.instant, now),
        received_at=now,
        verdict=report.verdict,
        sha256=sha256,
        report=content.decode(),
    )
    _tell(actor, kept, report)
    return kept


def _tell(actor: Actor, kept: Drill, report: Report) -> None:
    organisation, code = kept.deposit_set.organisation, kept.deposit_set.code
    verdict = Verdict(report.verdict)
    told = {
        "set": code,
        "drill": kept.pk,
        "at": report.at,
        "moment": report.moment,
        "files": report.files_restored,
        "bytes": report.bytes_restored,
        "faults": dict(report.faults),
        "sha256": kept.sha256,
    }
    journal.append(actor, _VERBS[verdict], organisation=organisation.code, object=code, data=told)
    events.emit(_VERBS[verdict], organisation=organisation.code, payload=told)
    if verdict is Verdict.FAILED and not _told_today(kept):
        members = User.objects.filter(role_assignments__organisation=organisation, is_active=True)
        notifications.notify(
            members.distinct(),
            f"Essai de restauration échoué : {kept.deposit_set.title}",
            f"L'essai du {datetime_fr(kept.at)} a échoué : {faults_fr(report)}. Ouvrez la page : elle "
            "dit quoi faire.",
            reverse("vault:recoverable", args=[organisation.code]),
        )


def _told_today(kept: Drill) -> bool:
    since = kept.received_at - timedelta(days=1)
    earlier = Drill.objects.filter(deposit_set=kept.deposit_set, received_at__gt=since)
    return earlier.filter(verdict=Verdict.FAILED).exclude(pk=kept.pk).exists()


def faults_fr(report: Report) -> str:
    return " ; ".join(FAULTS[kind] for kind, _ in report.faults)


# What they say --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A row whose report still holds, and what counts of it."""

    row: Drill
    report: Report
    counts: Drilled


def registered_keys(organisation: Organisation) -> set[bytes]:
    """The public keys that the commune registered, and did not take back."""
    rows = Witness.objects.filter(organisation=organisation, removed_at=None)
    return {Key.parse(key).public for key in rows.values_list("key", flat=True)}


def kept(row: Drill, keys: set[bytes]) -> Kept | None:
    """Read again, with its signature checked; None for a row that was changed. A key that is
    registered later makes what it signed before known."""
    try:
        report = reports.read(row.report.encode())
    except ReportError:
        return None
    known = report.where == Place.DEPARTEMENT or Key.parse(report.key).public in keys
    at = min(row.at, report.instant)
    counts = Drilled(at, Verdict(report.verdict), known, bool(report.restic_version))
    return Kept(row, report, counts)


def latest(organisation: Organisation, sets: Iterable[DepositSet]) -> dict[int, list[Kept]]:
    """For each set the last drill that passed or failed, and the last that did not finish."""
    keys, found = registered_keys(organisation), {}
    for each in sets:
        rows = Drill.objects.filter(deposit_set=each).select_related("device")
        unfinished = Q(verdict=Verdict.UNFINISHED)
        last = (rows.exclude(unfinished).first(), rows.filter(unfinished).first())
        read = (kept(row, keys) for row in last if row is not None)
        found[each.pk] = [one for one in read if one is not None]
    return found


def drilled_lately(now: datetime) -> dict[int, datetime]:
    """The sets whose last drill that ended passed within the last 35 days, and when."""
    rows = Drill.objects.filter(at__gte=now - RECENT).exclude(verdict=Verdict.UNFINISHED)
    last = {row.deposit_set_id: row for row in rows.defer("report").order_by("at", "pk")}
    return {pk: row.at for pk, row in last.items() if row.verdict == Verdict.PASSED}


def failed() -> QuerySet[Drill]:
    """The drills that failed, of the sets where none passed since."""
    since = Drill.objects.filter(deposit_set=OuterRef("deposit_set"), verdict=Verdict.PASSED)
    return Drill.objects.filter(
        ~Exists(
            since.filter(Q(at__gt=OuterRef("at")) | Q(at=OuterRef("at"), pk__gt=OuterRef("pk")))
        ),
        verdict=Verdict.FAILED,
    )


def communes_drilled(
    sets: Iterable[DepositSet], lately: Mapping[int, datetime]
) -> set[Organisation]:
    """The communes of which every set that ever received a backup passed a drill lately."""
    communes: set[Organisation] = set()
    lacking: set[Organisation] = set()
    for each in sets:
        if each.last_deposit_at is not None:
            (communes if each.pk in lately else lacking).add(each.organisation)
    return communes - lacking
