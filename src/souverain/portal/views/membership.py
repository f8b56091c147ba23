"""Joining Cloud Côte-d'Or, and leaving it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import csv
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import queries
from souverain.core.access import (
    Actor,
    of_departement,
    permits,
    requires,
)
from souverain.core.format import day_short
from souverain.core.models import Job, Organisation
from souverain.portal import leaving, services
from souverain.portal.engine import agreement as wording
from souverain.portal.engine.lifecycle import State
from souverain.portal.engine.members_file import (
    CHOSEN,
    CODE,
    COLUMNS,
    CONTACT_COLUMNS,
    JOINED,
    NAME,
    UnreadableFile,
    safe_cell,
)
from souverain.portal.membership_forms import (
    MembersFileForm,
    SignatureForm,
    ToolsForm,
    TypedNameForm,
)
from souverain.portal.membership_state import STATES, tools_of
from souverain.portal.models import Departure, Membership
from souverain.portal.views.communes import commune_of
from souverain.territory.models import Commune

CHUNK = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_SHOWN_FAULTS = 200


def _actor(request: HttpRequest) -> Actor:
    actor: Actor = request.actor  # type: ignore[attr-defined]
    return actor


def _organisation(code: str) -> Organisation:
    return get_object_or_404(Organisation, code=code, kind=Organisation.Kind.COMMUNE)


def _open(code: str) -> Membership:
    """The open membership of a commune; 404 when there is none."""
    found = services.current(_organisation(code))
    if found is None or not found.is_open:
        raise Http404
    return found


def _departure(code: str) -> Departure:
    """The departure under way of a commune; 404 when there is none."""
    found = _open(code).departure
    if found is None:
        raise Http404
    return found


# The list, for those who keep it -----------------------------------------------------------------


@require_GET
@requires("portal.memberships", of=of_departement)
def memberships(request: HttpRequest) -> HttpResponse:
    """All the memberships, those that wait for somebody first."""
    found = Membership.objects.exclude(state=State.WITHDRAWN).select_related("organisation")
    order = [State.ASKED, State.LEAVING, State.ERASING, State.JOINED, State.LEFT]
    rows = [
        [
            {
                "text": membership.organisation.name,
                "url": reverse("portal:membership", args=[membership.organisation.code]),
            },
            {"text": membership.organisation.code},
            {
                "state": STATES[State(membership.state)][0],
                "text": STATES[State(membership.state)][1],
            },
            {
                "text": day_short(membership.joined_on) if membership.joined_on else "—",
                "value": membership.joined_on.isoformat() if membership.joined_on else "",
            },
            {"text": ", ".join(Membership.Tool(tool).label for tool in membership.tools) or "—"},
        ]
        for membership in sorted(found, key=lambda m: order.index(State(m.state)))
    ]
    context = {
        "rows": rows,
        "columns": [
            {"title": title}
            for title in ("Commune", "Code INSEE", "État", "A rejoint le", "Outils demandés")
        ],
        "joined": services.joined().count(),
        "communes": Commune.objects.count(),
        "may_manage": permits(_actor(request), "portal.enrol", **of_departement()),
    }
    return render(request, "portal/memberships.html", context)


@require_GET
@requires("portal.enrol", of=of_departement)
def members_csv(request: HttpRequest) -> HttpResponse:
    """The communes that have joined, in the columns that the import reads."""
    services.note_list_taken(_actor(request))
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow(COLUMNS)
    found = services.joined().select_related("organisation").prefetch_related("contacts")
    for membership in found:
        cells = {
            CODE: membership.organisation.code,
            NAME: membership.organisation.name,
            JOINED: day_short(membership.joined_on) if membership.joined_on else "",
            CHOSEN: " + ".join(_TOOL_CELLS[tool] for tool in membership.tools),
        }
        contacts = {contact.kind: contact for contact in membership.contacts.all()}
        parts = {"nom": "name", "courriel": "email", "telephone": "phone"}
        for column, (kind, part) in CONTACT_COLUMNS.items():
            if kind in contacts:
                cells[column] = getattr(contacts[kind], parts[part])
        writer.writerow([safe_cell(cells.get(column, "")) for column in COLUMNS])
    response = HttpResponse("\ufeff" + text.getvalue(), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="communes-adherentes.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response


_TOOL_CELLS = {"vault": "coffre-fort", "mail": "adresse mail", "box": "boîtier"}


@requires("portal.enrol", of=of_departement)
@require_http_methods(["GET", "POST"])
def import_file(request: HttpRequest) -> HttpResponse:
    """Upload, look, confirm. What was read is carried by the page: nothing is kept on the way."""
    context: dict[str, Any] = {"form": MembersFileForm(), "columns": COLUMNS}
    if request.method == "GET":
        return render(request, "portal/membership_import.html", context)
    confirmed = "content" in request.POST
    if confirmed:
        try:
            content = base64.b64decode(request.POST["content"], validate=True)
        except (binascii.Error, ValueError):
            messages.error(
                request, "Le fichier n'a pas été transmis entier : choisissez-le à nouveau."
            )
            return redirect("portal:import_members")
    else:
        context["form"] = form = MembersFileForm(request.POST, request.FILES)
        if not form.is_valid():
            return render(request, "portal/membership_import.html", context)
        content = form.cleaned_data["file"]
    try:
        done = services.import_members(_actor(request), content, dry_run=not confirmed)
    except UnreadableFile as error:
        messages.error(request, str(error))
        return redirect("portal:import_members")
    if confirmed:
        messages.success(
            request,
            f"Ajoutées : {len(done.created)}. Corrigées : {len(done.updated)}. "
            f"Inchangées : {len(done.unchanged)}. Lignes laissées de côté : {len(done.faults)}.",
        )
        return redirect("portal:memberships")
    names = dict(Commune.objects.values_list("code", "name"))
    context |= {
        "done": done,
        "changes": [
            {"name": names[code], "code": code, "new": code in done.created}
            for code in (*done.created, *done.updated)
        ],
        "faults": done.faults[:_SHOWN_FAULTS],
        "more_faults": max(0, len(done.faults) - _SHOWN_FAULTS),
        "content": base64.b64encode(content).decode(),
    }
    return render(request, "portal/membership_import.html", context)


# One commune -------------------------------------------------------------------------------------


@require_GET
@requires("portal.membership", of=commune_of)
def membership(request: HttpRequest, code: str) -> HttpResponse:
    """Where a commune stands, and its next step."""
    organisation, actor = _organisation(code), _actor(request)
    found = services.current(organisation)
    context = {
        "commune": organisation,
        "membership": found,
        "state": STATES[State(found.state)] if found else ("neutral", "N'a pas rejoint le Cloud"),
        "tools": tools_of(found, code),
        "contacts": found.contacts.all() if found else [],
        "earlier": organisation.memberships.exclude(pk=found.pk) if found else [],
        "signature": SignatureForm(),
        **_rights(actor, organisation),
    }
    return render(request, "portal/membership.html", context)


def _rights(actor: Actor, organisation: Organisation) -> dict[str, bool]:
    return {
        name: permits(actor, permission, organisation=organisation)
        for name, permission in (
            ("may_ask", "portal.join"),
            ("may_manage", "portal.enrol"),
            ("may_leave", "portal.leave"),
        )
    }


@requires("portal.join", of=commune_of)
@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest, code: str) -> HttpResponse:
    """The one form by which a commune asks to join."""
    organisation = _organisation(code)
    present = services.current(organisation)
    if present is not None and present.is_open:
        return redirect("portal:membership", code=code)
    form = ToolsForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.ask(_actor(request), organisation, form.cleaned_data["tools"], form.contacts)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(
                request, "La demande est enregistrée : imprimez et signez la convention."
            )
            return redirect("portal:membership", code=code)
    return render(request, "portal/membership_form.html", {"commune": organisation, "form": form})


@requires("portal.join", of=commune_of)
@require_http_methods(["GET", "POST"])
def describe(request: HttpRequest, code: str) -> HttpResponse:
    """Change the tools and the contacts."""
    found = _open(code)
    form = ToolsForm(request.POST or None, initial=ToolsForm.values_of(found))
    if request.method == "POST" and form.is_valid():
        try:
            services.describe(_actor(request), found, form.cleaned_data["tools"], form.contacts)
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "Les outils et les contacts sont à jour.")
            return redirect("portal:membership", code=code)
    context = {"commune": found.organisation, "membership": found, "form": form}
    return render(request, "portal/membership_form.html", context)


@require_GET
@requires("portal.membership", of=commune_of)
def agreement(request: HttpRequest, code: str) -> HttpResponse:
    """The agreement to print: the text of the membership, or today's for who thinks about it."""
    organisation = _organisation(code)
    found = services.current(organisation)
    kept = found.agreement if found and found.is_open else None
    text = wording.read(kept.text) if kept else services.todays_agreement()
    context = {
        "commune": organisation,
        "membership": found if kept else None,
        "title": wording.TITLE,
        "text": text,
        "sha256": text.sha256,
        "signatory": found.contacts.filter(kind="elected").first() if found and kept else None,
        "tools": [Membership.Tool(tool).label for tool in found.tools] if found and kept else [],
    }
    return render(request, "portal/agreement.html", context)


@require_POST
@requires("portal.enrol", of=commune_of)
def sign(request: HttpRequest, code: str) -> HttpResponse:
    """The signed agreement came back."""
    found, form = _open(code), SignatureForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Donnez la date de la dernière signature.")
        return redirect("portal:membership", code=code)
    signed_on = form.cleaned_data["signed_on"]
    return _done(
        request,
        lambda: services.join(_actor(request), found, signed_on),
        f"{found.organisation.name} a rejoint le {settings.NAMES.cloud}.",
        "portal:membership",
        code,
    )


@require_POST
@requires("portal.join", of=commune_of)
def withdraw(request: HttpRequest, code: str) -> HttpResponse:
    """Take back a request that was not signed."""
    found = _open(code)
    return _done(
        request,
        lambda: services.withdraw(_actor(request), found),
        "La demande est retirée, et ses contacts sont effacés.",
        "portal:membership",
        code,
    )


def _done(
    request: HttpRequest, verb: Callable[[], object], said: str, page: str, code: str
) -> HttpResponse:
    """Do a verb; say that it is done, or why it is refused; go back to the page."""
    try:
        verb()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, said)
    return redirect(page, code=code)


# Leaving -----------------------------------------------------------------------------------------


@require_GET
@requires("portal.leave", of=commune_of)
def departure(request: HttpRequest, code: str) -> HttpResponse:
    """The departure of a commune: what is done, what is under way, the next step."""
    return render(request, "portal/departure.html", _departure_context(request, code))


def _departure_context(request: HttpRequest, code: str, **more: Any) -> dict[str, Any]:
    organisation = _organisation(code)
    found = services.current(organisation)
    leaving_now = found.departure if found else None
    context: dict[str, Any] = {
        "commune": organisation,
        "membership": found,
        "departure": leaving_now,
        "leave_form": TypedNameForm(organisation.name, auto_id="partir_%s"),
        "erase_form": TypedNameForm(organisation.name, auto_id="effacer_%s"),
        **_rights(_actor(request), organisation),
    }
    if leaving_now is not None and found is not None:
        context |= {
            "export_job": _job(leaving_now.export_job, leaving_now.exported_at is None),
            "erase_job": _job(leaving_now.erase_job, found.state == State.ERASING),
            "kept": queries.erasable_on.ask(code) if leaving_now.erased is None else None,
            "asked_by_me": leaving_now.asked_by == str(_actor(request)),
        }
    return context | more


def _job(job: Job | None, awaited: bool) -> dict[str, Any] | None:
    """How far an awaited job is, for the page."""
    if job is None or not awaited:
        return None
    return {
        "pk": job.pk,
        "active": job.finished_at is None,
        "title": job.get_state_display(),
        "message": job.message or job.get_state_display(),
        "value": job.done / job.total if job.total else None,
        "error": job.error,
    }


@require_POST
@requires("portal.leave", of=commune_of)
def leave(request: HttpRequest, code: str) -> HttpResponse:
    """Ask to leave, the commune's name typed by hand."""
    found = _open(code)
    form = TypedNameForm(found.organisation.name, request.POST, auto_id="partir_%s")
    if not form.is_valid():
        context = _departure_context(request, code, leave_form=form)
        return render(request, "portal/departure.html", context)
    return _done(
        request,
        lambda: services.leave(_actor(request), found),
        "Le départ est demandé ; l'export se prépare. Rien n'est effacé.",
        "portal:departure",
        code,
    )


@require_POST
@requires("portal.leave", of=commune_of)
def stay(request: HttpRequest, code: str) -> HttpResponse:
    found = _departure(code)
    return _done(
        request,
        lambda: services.stay(_actor(request), found),
        "Le départ est annulé : la commune garde ses outils.",
        "portal:membership",
        code,
    )


@require_POST
@requires("portal.leave", of=commune_of)
def export(request: HttpRequest, code: str) -> HttpResponse:
    """Build the export again."""
    found = _departure(code)
    return _done(
        request,
        lambda: services.export(_actor(request), found),
        "L'export se prépare.",
        "portal:departure",
        code,
    )


@require_POST
@requires("portal.leave", of=commune_of)
def acknowledge(request: HttpRequest, code: str) -> HttpResponse:
    found = _departure(code)
    return _done(
        request,
        lambda: services.acknowledge(_actor(request), found),
        "L'accusé de réception est enregistré.",
        "portal:departure",
        code,
    )


@require_POST
@requires("portal.enrol", of=commune_of)
def erase(request: HttpRequest, code: str) -> HttpResponse:
    """Erase for good, the commune's name typed by hand; or go on after an interruption."""
    found = _departure(code)
    resumed = found.membership.state == State.ERASING
    form = TypedNameForm(_organisation(code).name, request.POST, auto_id="effacer_%s")
    if not resumed and not form.is_valid():
        context = _departure_context(request, code, erase_form=form)
        return render(request, "portal/departure.html", context)
    try:
        job = services.erase(_actor(request), found)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        said = "lancé" if job else "décidé, et attend la fin des conservations"
        messages.success(request, f"L'effacement est {said}.")
    return redirect("portal:departure", code=code)


@require_GET
@requires("portal.leave", of=commune_of)
def download(request: HttpRequest, code: str) -> HttpResponse | StreamingHttpResponse:
    """The archive, whole or from a byte on, streamed: it may be larger than the memory."""
    membership = services.current(_organisation(code))
    found = membership.departure if membership and membership.is_open else None
    archive = leaving.archive_of(found) if found and found.exported_at else None
    if found is None or archive is None or not archive.is_file():
        messages.error(request, "Il n'y a pas d'export à télécharger.")
        return redirect("portal:departure", code=code)
    size = archive.stat().st_size
    start, end, partial = _asked_range(request.headers.get("Range", ""), size)
    if request.headers.get("If-Range", _etag(found)) != _etag(found):
        start, end, partial = 0, size - 1, False
    if start > end:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    if start == 0:  # a transfer taken up again is not another one
        services.note_export_taken(_actor(request), found)
    response = StreamingHttpResponse(
        _chunks(archive, start, end - start + 1),
        status=206 if partial else 200,
        content_type="application/zip",
    )
    response.headers["Content-Length"] = str(end - start + 1)
    response.headers["Content-Disposition"] = f'attachment; filename="{archive.name}"'
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["ETag"] = _etag(found)
    response.headers["Cache-Control"] = "no-store"
    if partial:
        response.headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return response


def _etag(departure: Departure) -> str:
    return f'"{departure.export_sha256}"'


def _asked_range(header: str, size: int) -> tuple[int, int, bool]:
    """(first, last, partial) of one range (RFC 9110, 14.2); first > last when it is beyond."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return 0, size - 1, False
    if not found[1]:
        return max(0, size - int(found[2])), size - 1, True
    return int(found[1]), min(int(found[2] or size), size - 1), True


async def _chunks(path: Path, start: int, length: int) -> AsyncIterator[bytes]:
    """Read in threads; the file stays readable to the end even if it is removed meanwhile."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, start)
        while length:
            chunk = await asyncio.to_thread(file.read, min(CHUNK, length))
            if not chunk:
                return
            length -= len(chunk)
            yield chunk
    finally:
        file.close()


@require_GET
@requires("portal.membership", of=commune_of)
def proof(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """The proof of erasure, to print, checked against the journal at this instant."""
    found = _proved(code, pk)
    context = {
        "commune": _organisation(code),
        "departure": found,
        "proof": found.proof,
        "fault": leaving.fault_in_proof(found.proof or {}),
    }
    return render(request, "portal/proof.html", context)


@require_GET
@requires("portal.membership", of=commune_of)
def proof_json(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    response = JsonResponse(
        _proved(code, pk).proof, json_dumps_params={"ensure_ascii": False, "indent": 1}
    )
    name = f"preuve-effacement-{code}-{pk}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _proved(code: str, pk: int) -> Departure:
    return get_object_or_404(
        Departure, pk=pk, membership__organisation__code=code, proof__isnull=False
    )
