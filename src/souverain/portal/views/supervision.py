"""Supervision: is everything in service, and what asks for an operator."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from souverain.core import clock, egress, jobs, journal, rooms, verification
from souverain.core.access import of_departement, permits, requires
from souverain.core.format import age_fr, bytes_fr, datetime_fr, number_fr, percent_fr
from souverain.core.models import Event, EventCursor, Job, Message, Organisation
from souverain.portal.views.jobs import STATES, title_of

LOW_ROOM = 0.10
HEAD_LATE_AFTER = timedelta(days=2)
LATELY = timedelta(days=1)
_MOST_ROWS = 20


@dataclass(frozen=True)
class Sign:
    """One thing that is watched: a state, a sentence, and whether somebody must act."""

    title: str
    kind: str
    word: str
    message: str
    url: str = ""


@require_GET
@requires("core.supervise", of=of_departement)
def supervision(request: HttpRequest) -> HttpResponse:
    """The answer in a sentence, then every sign. The page reads itself again every ten seconds."""
    checks = _checks()
    signs = [_disk(), outbox(), _egress(), _subscribers(), _jobs(), _journal()]
    incidents = _incidents()
    actor = request.actor  # type: ignore[attr-defined]
    context = {
        "now": clock.now(),
        "to_act_on": sum(sign.kind in ("danger", "warn") for sign in (*checks, *signs)),
        "checks": checks,
        "signs": signs,
        "incidents": incidents,
        "incident_columns": [
            {"title": "Quand"},
            {"title": "Incident"},
            {"title": "Organisation"},
        ],
        "database": _database(),
        "verification": _verification(),
        "may_operate": permits(actor, "core.operate", **of_departement()),
    }
    return render(request, "portal/supervision.html", context)


@require_POST
@requires("core.operate", of=of_departement)
def verify_journal(request: HttpRequest) -> HttpResponse:
    """Start a verification of the journal, unless one is under way; show it."""
    last = verification.last_verification()
    if last is not None and last.state in (*jobs.WAITING, *jobs.ACTIVE):
        messages.info(request, "Une vérification est déjà en cours.")
        return redirect("portal:job", pk=last.pk)
    actor = request.actor  # type: ignore[attr-defined]
    return redirect("portal:job", pk=jobs.submit(actor, verification.verify_journal, {}).pk)


def _checks() -> list[Sign]:
    """Every room's own checks, now."""
    found = []
    for room in rooms.load().values():
        for item in room.health:
            health = _health(item)
            kind, word = ("ok", "En service") if health.ok else ("danger", "En échec")
            found.append(Sign(f"{room.title}\u00a0: {item.title}", kind, word, health.message))
    return found


def _health(item: rooms.HealthCheck) -> rooms.Health:
    try:
        return item.check()
    except Exception as error:
        return rooms.Health(False, f"Le contrôle n'a pas abouti ({type(error).__name__}).")


def _disk() -> Sign:
    usage = shutil.disk_usage(settings.HOME)
    left = usage.free / usage.total
    message = f"{bytes_fr(usage.free)} libres sur {bytes_fr(usage.total)} ({percent_fr(left)})."
    if left < LOW_ROOM:
        return Sign("Place sur le disque", "danger", "Presque plein", message)
    return Sign("Place sur le disque", "ok", "Suffisante", message)


def outbox() -> Sign:
    """Messages that a channel refused, or that have been tried in vain."""
    unsent = Message.objects.filter(sent_at=None)
    lost = unsent.exclude(given_up_at=None).filter(given_up_at__gte=clock.now() - LATELY).count()
    waiting = unsent.filter(given_up_at=None)
    tried = waiting.filter(attempts__gt=0).count()
    if lost:
        message = f"{number_fr(lost)} abandonnés depuis 24 heures, {number_fr(tried)} en échec."
        return Sign("Messages à envoyer", "danger", "Perdus", message)
    if tried:
        message = f"{number_fr(tried)} n'ont pas pu partir et seront tentés de nouveau."
        return Sign("Messages à envoyer", "warn", "Bloqués", message)
    count = waiting.count()
    if count and not settings.SMTP_URL:
        message = f"{number_fr(count)} en attente\u00a0: aucun serveur de courrier n'est déclaré."
        return Sign("Messages à envoyer", "warn", "En attente", message)
    message = f"{number_fr(count)} en attente." if count else "Tous sont partis."
    return Sign("Messages à envoyer", "ok", "À jour", message)


def _egress() -> Sign:
    """What the settings send elsewhere and the allow-list refuses, with the command to type."""
    title = "Sorties vers d'autres machines"
    missing = egress.missing()
    if not missing:
        return Sign(title, "ok", "Permises", "Rien de ce qui est réglé n'est empêché de sortir.")
    message = " ".join(
        f"{need.outlet.title} ne peut pas joindre {need.host}:{need.port}. "
        f"Tapez sur la machine\u00a0: {need.command}"
        for need in missing
    )
    return Sign(title, "danger", "Refusées", message)


def _subscribers() -> Sign:
    """Rooms that failed to hear what happened elsewhere."""
    failing = EventCursor.objects.exclude(failing_since=None).order_by("failing_since")
    first = failing.first()
    if first is None or first.failing_since is None:
        return Sign("Évènements entre salles", "ok", "À jour", "Chaque salle les a reçus.")
    message = (
        f"{first.subscriber} échoue depuis {age_fr(first.failing_since, clock.now())}"
        f"\u00a0: {first.last_error}"
    )
    return Sign("Évènements entre salles", "danger", "En échec", message)


def _jobs() -> Sign:
    url = reverse("portal:jobs")
    running = Job.objects.filter(state__in=jobs.ACTIVE).count()
    waiting = Job.objects.filter(state__in=jobs.WAITING).count()
    message = f"{number_fr(running)} en cours, {number_fr(waiting)} en attente."
    failed = Job.objects.filter(
        state__in=(Job.State.FAILED, Job.State.INTERRUPTED),
        finished_at__gte=clock.now() - LATELY,
    ).order_by("-finished_at")
    last = failed.first()
    if last is not None:
        message = f"{number_fr(failed.count())} en échec depuis 24 heures, {message}"
        return Sign(
            "Travaux", "warn", "En échec", f"{title_of(last)}\u00a0: {last.error} {message}", url
        )
    return Sign("Travaux", "ok", "À jour", message, url)


def _journal() -> Sign:
    """The age of the exported head, by which a cut tail would be seen."""
    entries = f"{number_fr(journal.head().seq)} entrées."
    try:
        kept = verification.last_head()
    except ValueError as error:
        return Sign("Journal", "danger", "Empreinte abîmée", str(error))
    if kept is None:
        message = f"{entries} Aucune empreinte n'a encore été exportée."
        return Sign("Journal", "warn", "Sans empreinte", message)
    age = clock.today() - kept.day
    message = f"{entries} Dernière empreinte exportée\u00a0: {kept.day:%d/%m/%Y}."
    if age >= HEAD_LATE_AFTER:
        return Sign("Journal", "warn", "Empreinte ancienne", message)
    return Sign("Journal", "ok", "Empreinte à jour", message)


def _verification() -> dict[str, Any] | None:
    """The last verification of the journal, as the page shows it."""
    job = verification.last_verification()
    if job is None:
        return None
    state = Job.State(job.state)
    words = {
        Job.State.DONE: "Entier",
        Job.State.FAILED: "Atteint" if job.error.startswith("Journal") else "Sans réponse",
    }
    return {
        "job": job,
        "kind": STATES[state],
        "word": words.get(state, state.label),
        "summary": (job.result or {}).get("summary"),
    }


def _incidents() -> list[list[dict[str, Any]]]:
    """The last events that a manifest marks as safety incidents, newest first."""
    kinds = {kind.name: kind.title for kind in rooms.every("events") if kind.safety}
    found = list(Event.objects.filter(name__in=kinds).order_by("-id")[:_MOST_ROWS])
    codes = {event.organisation for event in found}
    names = dict(Organisation.objects.filter(code__in=codes).values_list("code", "name"))
    return [
        [
            {"text": datetime_fr(event.at), "value": event.at.isoformat()},
            {"text": kinds[event.name], "state": "danger"},
            {"text": names.get(event.organisation, event.organisation) or "—"},
        ]
        for event in found
    ]


def _database() -> str:
    if connection.vendor == "postgresql":
        version = str(connection.pg_version)  # type: ignore[attr-defined]
        return f"PostgreSQL {version[:-4]}"
    return f"SQLite {sqlite3.sqlite_version}"
