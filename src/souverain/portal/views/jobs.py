"""Jobs: what runs, how far it is, what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from souverain.core import clock, jobs, live
from souverain.core.access import of_departement, organisations_in_reach, permits, requires
from souverain.core.format import age_fr, datetime_fr, duration_fr, percent_fr
from souverain.core.models import Job, User

State = Job.State
STATES = {
    State.QUEUED: "neutral",
    State.HELD: "neutral",
    State.STARTING: "info",
    State.RUNNING: "info",
    State.DONE: "ok",
    State.FAILED: "danger",
    State.CANCELLED: "warn",
    State.INTERRUPTED: "danger",
}
UNDER_WAY = (*jobs.WAITING, *jobs.ACTIVE)
ENDED = frozenset(State) - frozenset(UNDER_WAY)


def _target(pk: UUID, **_: Any) -> dict[str, Any]:
    """Whose a job is: an organisation's (the département's by default), and who asked for it."""
    job = get_object_or_404(Job.objects.select_related("organisation"), pk=pk)
    target = {"organisation": job.organisation} if job.organisation else of_departement()
    return {**target, "owner": _owner(job)}


def _owner(job: Job) -> User | None:
    """The person who asked for a job, if it was one."""
    kind, _, identity = job.actor.partition(":")
    return User.objects.filter(pk=identity).first() if kind == "user" else None


def _asked_by(job: Job) -> str:
    owner = _owner(job)
    if owner is not None:
        return owner.display_name
    return {"system": "le programme lui-même"}.get(job.actor, job.actor)


def _visible(request: HttpRequest) -> QuerySet[Job]:
    actor = request.actor  # type: ignore[attr-defined]
    found = Job.objects.select_related("organisation").order_by("-created_at", "id")
    if permits(actor, "core.jobs", **of_departement()):
        return found
    reach = organisations_in_reach(actor, "core.jobs")
    return found.filter(Q(organisation__in=reach) | Q(actor=str(actor)))


def title_of(job: Job) -> str:
    """What people call this work; its technical name when its room is switched off."""
    try:
        return jobs.find(job.name).title
    except LookupError:
        return job.name


def progress_of(job: Job) -> float | None:
    """The fraction done, or None when nobody can tell."""
    if job.state == State.DONE:
        return 1.0
    return min(job.done / job.total, 1.0) if job.total else None


def _state_cell(job: Job) -> dict[str, Any]:
    return {"text": State(job.state).label, "state": STATES[State(job.state)]}


@require_GET
@requires("core.jobs")
def job_list(request: HttpRequest) -> HttpResponse:
    """The jobs of the organisations in reach and one's own, newest first."""
    visible = _visible(request)
    page = Paginator(visible, 30).get_page(request.GET.get("page"))
    now = clock.now()
    rows = []
    for job in page:
        fraction = progress_of(job)
        rows.append(
            [
                {"text": title_of(job), "url": reverse("portal:job", args=[job.pk])},
                _state_cell(job),
                {
                    "text": "—" if fraction is None else percent_fr(fraction),
                    "value": fraction or 0,
                    "kind": "number",
                },
                {"text": job.organisation or "Département"},
                {"text": age_fr(job.created_at, now), "value": job.created_at.isoformat()},
                {"text": _duration(job), "kind": "number"},
            ]
        )
    columns = [
        {"title": "Travail"},
        {"title": "État"},
        {"title": "Avancement", "kind": "number"},
        {"title": "Pour"},
        {"title": "Demandé"},
        {"title": "Durée", "kind": "number"},
    ]
    recent = visible.filter(finished_at__gte=now - timedelta(days=1))
    counts = {
        "running": visible.filter(state__in=jobs.ACTIVE).count(),
        "waiting": visible.filter(state__in=jobs.WAITING).count(),
        "failed": recent.filter(state__in=(State.FAILED, State.INTERRUPTED)).count(),
    }
    context = {"page": page, "rows": rows, "columns": columns, "counts": counts}
    return render(request, "portal/jobs.html", context)


def _duration(job: Job) -> str:
    if job.started_at is None:
        return "—"
    return duration_fr((job.finished_at or clock.now()) - job.started_at)


@require_GET
@requires("core.jobs", of=_target)
def job_page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """One job: its state, its progress, its log, its result."""
    job = get_object_or_404(Job.objects.select_related("organisation"), pk=pk)
    context = {
        "job": job,
        "job_title": title_of(job),
        "trail": [
            {"title": "Travaux", "url": reverse("portal:jobs")},
            {"title": title_of(job)},
        ],
        "time_limit": timedelta(seconds=job.resources["time_limit_s"]),
        "asked_by": _asked_by(job),
        "state": _state_cell(job),
        "under_way": job.state in UNDER_WAY,
        "progress": progress_of(job),
        "message": _message(job),
        "duration": _duration(job),
        "summary": job.result.get("summary") if isinstance(job.result, dict) else None,
        "result": None
        if job.result is None
        else json.dumps(job.result, ensure_ascii=False, indent=2),
        "may_cancel": job.state in UNDER_WAY
        and job.cancel_requested_at is None
        and permits(request.actor, "core.cancel_job", **_target(pk)),  # type: ignore[attr-defined]
    }
    return render(request, "portal/job.html", context)


def _message(job: Job) -> str:
    if job.cancel_requested_at and job.state in UNDER_WAY:
        return f"Arrêt demandé {datetime_fr(job.cancel_requested_at)}."
    return job.message or State(job.state).label


@require_GET
@requires("core.jobs", of=_target)
def job_events(request: HttpRequest, pk: UUID) -> Any:
    """The job's progress, as server-sent events."""

    def read() -> Mapping[str, Any] | None:
        job = Job.objects.filter(pk=pk).defer("log", "result", "arguments").first()
        if job is None:
            return None
        return {"state": job.state, "progress": progress_of(job), "message": _message(job)}

    return live.stream(request, read, last=lambda state: state["state"] in ENDED)


@require_POST
@requires("core.cancel_job", of=_target)
def cancel_job(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask for a job's end."""
    job = get_object_or_404(Job.objects.select_related("organisation"), pk=pk)
    jobs.cancel(request.actor, job)  # type: ignore[attr-defined]
    job.refresh_from_db()
    if job.cancel_requested_at:
        messages.success(request, "L'arrêt du travail est demandé.")
    else:
        messages.info(request, "Ce travail était déjà fini.")
    return redirect("portal:job", pk=pk)
