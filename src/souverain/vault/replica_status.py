"""How late the copy is, in time and in objects, and what is to be done: for the page, the command and
supervision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from souverain.core import clock
from souverain.core.format import age_fr, bytes_fr, datetime_fr, number_fr
from souverain.core.models import Device
from souverain.core.rooms import Health
from souverain.vault import replica, replica_feed, site
from souverain.vault.models import (
    Divergence,
    Hold,
    ReplicaFault,
    ReplicaHold,
    ReplicaReader,
    ReplicaSet,
    ReplicaSource,
    ReplicaTurn,
    Site,
)

LATE = timedelta(minutes=15)
_LISTED = 200


@dataclass(frozen=True)
class Pending:
    """Something that the other site did and that is to be decided here."""

    commune: str
    set: str
    title: str
    what: str


def status() -> dict[str, Any]:
    """All of it, as `--json` gives it. Instants are RFC 3339."""
    here, found = site.here(), replica.source()
    return {
        "site": here.name or None,
        "role": here.role,
        "epoch": here.epoch,
        "source": found and _source_json(found),
        "readers": [_reader_json(device) for device in readers()],
        "divergent_births": open_divergence("birth"),
        "divergent_deaths": open_divergence("death"),
        "faults": [_fault_json(fault) for fault in faults()[:_LISTED]],
        "pending": [
            {"commune": item.commune, "set": item.set, "what": item.what} for item in pending()
        ],
        "forked_logs": here.forked_logs,
    }


def _source_json(found: ReplicaSource) -> dict[str, Any]:
    def text(at: datetime | None) -> str | None:
        return clock.rfc3339(at) if at else None

    return {
        "address": found.address,
        "site": found.site,
        "epoch": found.epoch,
        "tried_at": text(found.tried_at),
        "answered_at": text(found.answered_at),
        "complete_at": text(found.complete_at),
        "complete_to": text(found.complete_to),
        "lag_s": lag_s(found),
        "missing_objects": found.missing_objects,
        "missing_bytes": found.missing_bytes,
        "worst_lag_s": worst_lag_s(found),
        "troubles": found.troubles,
        "promoted_at": text(found.promoted_at),
        "fenced_at": text(found.fenced_at),
        "only_there_objects": found.only_there_objects,
        "only_there_deaths": found.only_there_deaths,
    }


def _reader_json(device: Device) -> dict[str, Any]:
    said = ReplicaReader.objects.filter(device=device).first()
    return {
        "id": device.pk,
        "name": device.name,
        "last_seen_at": device.last_seen_at and clock.rfc3339(device.last_seen_at),
        "complete_to": said and clock.rfc3339(said.complete_to),
    }


def _fault_json(fault: ReplicaFault) -> dict[str, Any]:
    return {
        "commune": fault.deposit_set.organisation.code,
        "set": fault.deposit_set.code,
        "type": fault.event["type"],
        "name": fault.event["name"],
        "reason": fault.reason,
        "since": clock.rfc3339(fault.first_at),
    }


def lag_s(found: ReplicaSource) -> int | None:
    """Seconds of our clock since a turn began that took all the other site had; None before one."""
    if found.complete_at is None:
        return None
    return replica.seconds((found.promoted_at or clock.now()) - found.complete_at)


def worst_lag_s(found: ReplicaSource) -> int | None:
    """The worst of the last 24 hours' turns: what a loss of the other site would have cost."""
    now = lag_s(found)
    lags = [int(lag) for _, lag in lags_of_a_day(found)] + ([] if now is None else [now])
    return max(lags, default=None)


def lags_of_a_day(found: ReplicaSource) -> list[tuple[datetime, float]]:
    """(instant, seconds) of the last 24 hours' turns; the wait since the last turn is in it."""
    since = clock.now() - timedelta(days=1)
    rows = ReplicaTurn.objects.filter(source=found, at__gte=since)
    points: list[tuple[datetime, float]] = []
    before: datetime | None = None
    for at, lag in rows.order_by("at").values_list("at", "lag_s"):
        if lag is None:
            continue
        if before is not None:
            # Just before this turn ended, the copy was as late as since the last complete one.
            points.append((at, float(replica.seconds(at - before))))
        points.append((at, float(lag)))
        before = at - timedelta(seconds=lag)
    return points


def readers() -> Sequence[Device]:
    """The sites that may copy this one."""
    return list(Device.objects.filter(room="vault", kind=replica_feed.KIND, revoked_at=None))


def faults() -> Sequence[ReplicaFault]:
    return list(
        ReplicaFault.objects.select_related("deposit_set__organisation").order_by("pk")[
            : _LISTED * 5
        ]
    )


def open_divergence(event: str) -> int:
    """Objects that this site alone has, or deletions that it alone heard of."""
    return Divergence.objects.filter(event=event, settled_at=None).count()


def pending() -> list[Pending]:
    """What was erased, lifted or ended on the other site and stays here until somebody decides."""
    found = []
    sets = ReplicaSet.objects.select_related("deposit_set__organisation")
    for copied in sets.exclude(destroyed_at=None):
        frozen = Hold.objects.filter(
            deposit_set=copied.deposit_set, kind=Hold.Kind.FREEZE, lifted_at=None
        )
        if frozen.exists():
            found.append(
                _pending(copied, "détruit là-bas : dégelez-le ici pour que la durée coure")
            )
    for copied in sets.exclude(gone_at=None):
        found.append(
            _pending(
                copied, "n'y est plus (départ de la commune ?) : effacez-le ici aussi, ou gardez"
            )
        )
    holds = ReplicaHold.objects.exclude(lifted_there_at=None).filter(hold__lifted_at=None)
    for item in holds.select_related("hold__deposit_set__organisation"):
        own = item.hold.deposit_set
        what = "conservation levée là-bas : levez-la ici aussi, ou gardez-la"
        found.append(Pending(own.organisation.code, own.code, own.title, what))
    return found


def _pending(copied: ReplicaSet, what: str) -> Pending:
    own = copied.deposit_set
    return Pending(own.organisation.code, own.code, own.title, what)


def health() -> Health:
    """Whether the copy, here or elsewhere, is less than a quarter of an hour late."""
    here, found, now = site.here(), replica.source(), clock.now()
    if here.role == Site.Role.FENCED:
        return Health(False, "Un autre site a remplacé celui-ci, qui se lit seulement.")
    if here.role == Site.Role.COPY:
        return _copy_health(found, now)
    if found is not None and found.promoted_at is not None and found.fenced_at is None:
        return Health(False, "L'ancien premier site ne sait pas encore qu'il est remplacé.")
    if found is not None and found.only_there_objects:
        return Health(
            False,
            f"L'ancien premier site a seul {found.only_there_objects} objet(s) : "
            "souverain vault replica recover.",
        )
    for device in readers():
        if now - (device.last_seen_at or device.created_at) > LATE:
            return Health(False, f"Le second site « {device.name} » ne copie plus celui-ci.")
    return Health(True, "Le second site suit." if readers() else "Il n'y a pas de second site.")


def _copy_health(found: ReplicaSource | None, now: datetime) -> Health:
    if found is None:
        return Health(False, "Ce site est une copie qui ne suit plus aucun site.")
    since = found.complete_at or found.added_at
    if now - since > LATE:
        return Health(False, f"La copie n'est plus à jour depuis le {datetime_fr(since)}.")
    if found.troubles:
        return Health(False, found.troubles[0])
    return Health(True, f"La copie est à jour : {age_fr(since, now)}.")


def sentence() -> str:
    """How this site stands, in one or two French sentences."""
    here, found, now = site.here(), replica.source(), clock.now()
    if here.role == Site.Role.FENCED:
        return "Un autre site a remplacé celui-ci : il se lit, et ne prend plus rien."
    if here.role == Site.Role.COPY:
        if found is None:
            return "Ce site est une copie, qui ne suit plus aucun site."
        if found.complete_at is None:
            return (
                f"Première copie en cours : il manque {number_fr(found.missing_objects)} objets, "
                f"{bytes_fr(found.missing_bytes)}."
            )
        if not found.missing_objects:
            return f"La copie avait tout {age_fr(found.complete_at, now)}."
        return (
            f"La copie avait tout {age_fr(found.complete_at, now)} ; il manque "
            f"{number_fr(found.missing_objects)} objets, {bytes_fr(found.missing_bytes)}."
        )
    names = [f"« {device.name} »" for device in readers()]
    if names:
        return f"Ce site est le premier ; {', '.join(names)} le copie."
    return "Ce site est le premier, et aucun autre ne le copie."


def of_commune() -> str:
    """The line of a commune's page; empty when there is one site only."""
    here, found = site.here(), replica.source()
    if here.role == Site.Role.FENCED:
        return "Un autre site a remplacé celui-ci : ce qui suit se lit, et ne change plus."
    if here.role == Site.Role.COPY:
        if found is None or found.complete_to is None:
            return "Ceci est la seconde copie ; elle n'est pas encore complète."
        return f"Ceci est la seconde copie, à jour du {datetime_fr(found.complete_to)}."
    said = ReplicaReader.objects.filter(device__in=readers()).select_related("device")
    latest = said.order_by("-complete_to").first()
    if latest is None:
        return ""
    name, at = latest.device.name, datetime_fr(latest.complete_to)
    return f"Une seconde copie est à « {name} », à jour du {at}."
