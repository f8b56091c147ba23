"""The vault's pages: the operator's overview, and a commune's own."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from datetime import timedelta
from typing import Any

import orjson
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import clock, once
from souverain.core.access import Actor, of_departement, permits, requires
from souverain.core.format import NBSP, bytes_fr, datetime_fr, percent_fr
from souverain.core.models import Device, JournalEntry, Organisation
from souverain.vault import (
    alarm_banner,
    drill_pages,
    drills,
    evidence,
    freshness,
    guide,
    history,
    integrity,
    log,
    replica_status,
    retention_views,
    services,
)
from souverain.vault.advice import advice
from souverain.vault.forms import DeviceForm, MomentForm, QuotaForm, SetForm, WitnessForm
from souverain.vault.models import DEFAULT_QUOTA_BYTES, DepositSet, Quota, Session, State, Witness

_MOMENTS = 10
_REFUSALS = 50
_WATCHED = timedelta(days=1)
_ROLES = {"backup": "sauvegarder", "restore": "relire", "prune": "ranger"}
_REASONS = {
    "config": "dépôt déjà initialisé",
    "copy": "envoi à un site qui se lit seulement",
    "credential": "appareil inconnu ou révoqué",
    "delete": "effacement d'un dépôt",
    "damaged": "objet abîmé sur le disque",
    "disk": "disque plein",
    "foreign": "dépôt d'une autre commune",
    "hash": "contenu qui n'a pas l'empreinte de son nom",
    "length": "longueur absente ou illisible",
    "locks": "trop de verrous",
    "method": "opération inconnue",
    "name": "nom d'objet mal formé",
    "past": "écriture dans le passé",
    "path": "adresse mal formée",
    "quota": "place épuisée",
    "replay": "rapport d'essai déjà reçu",
    "report": "rapport d'essai qui n'en est pas un de ce dépôt",
    "reads": "lecture en masse par un appareil qui ne fait que sauvegarder",
    "revoked": "appareil révoqué",
    "role": "droit que l'appareil n'a pas",
    "silent": "envoi qui s'est tu",
    "slow": "envoi trop long",
    "gone": "dépôt qui n'existe plus",
    "size": "objet trop gros",
    "time": "moment mal noté, ou à venir",
    "truncated": "envoi coupé",
    "type": "type d'objet inconnu",
    "witness": "signature qui n'est pas d'un témoin inscrit",
}


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    return {"organisation": get_object_or_404(Organisation, code=code)}


def _trail(actor: Actor, organisation: Organisation, here: str = "") -> list[dict[str, str]]:
    """The way to a page of a commune's vault, through the pages that this person may open."""
    trail = [{"title": "Communes", "url": reverse("portal:communes")}]
    if permits(actor, "portal.commune", organisation=organisation):
        url = reverse("portal:commune", args=[organisation.code])
        trail.append({"title": organisation.name, "url": url})
    trail.append(
        {"title": "Coffre-fort", "url": reverse("vault:commune", args=[organisation.code])}
    )
    return [*trail, {"title": here, "url": ""}] if here else trail


def _state_cell(state: State) -> dict[str, Any]:
    return {"text": freshness.WORDS[state], "state": freshness.KINDS[state]}


def _instant_cell(instant: Any) -> dict[str, Any]:
    """An instant in words, sorted by its number."""
    if instant is None:
        return {"text": "Aucune", "value": 0}
    return {"text": datetime_fr(instant), "value": int(instant.timestamp())}


def _bytes_cell(size: int) -> dict[str, Any]:
    return {"text": bytes_fr(size), "value": size, "kind": "number"}


# The operator's overview -------------------------------------------------------------------------


@require_GET
@requires("vault.oversee", of=of_departement)
def overview(request: HttpRequest) -> HttpResponse:
    """How many communes are backed up, who is late, who fills up, what was refused."""
    now = clock.now()
    communes: dict[Organisation, list[DepositSet]] = defaultdict(list)
    for found in DepositSet.objects.select_related("organisation"):
        communes[found.organisation].append(found)
    quotas = dict(Quota.objects.values_list("organisation_id", "bytes"))
    states: Counter[State] = Counter()
    lately = drills.drilled_lately(now)
    drilled = drills.communes_drilled((one for sets in communes.values() for one in sets), lately)
    rows = []
    for organisation, sets in communes.items():
        fresh = freshness.of_sets(sets, now)
        states[fresh.state] += 1
        taken = sum(found.stored_bytes for found in sets)
        quota = quotas.get(organisation.pk, DEFAULT_QUOTA_BYTES)
        rows.append(
            [
                {
                    "text": organisation.name,
                    "url": reverse("vault:commune", args=[organisation.code]),
                },
                _state_cell(fresh.state),
                _instant_cell(fresh.last),
                drill_pages.overview_cell(organisation, sets, lately),
                drill_pages.receipts_cell(organisation, sets),
                _bytes_cell(taken),
                {
                    "text": f"{percent_fr(taken / quota)} de {bytes_fr(quota)}",
                    "value": round(taken / quota, 4),
                    "kind": "number",
                },
            ]
        )
    columns = [
        {"title": "Commune"},
        {"title": "État"},
        {"title": "Sauvegarde"},
        {"title": "Essai réussi"},
        {"title": "24 heures"},
        {"title": "Place prise", "kind": "number"},
        {"title": "Quota", "kind": "number"},
    ]
    content = {
        "columns": columns,
        "rows": rows,
        "fresh": states[State.FRESH],
        "late": states[State.LATE],
        "never": states[State.NEVER],
        "drilled": len(drilled),
        "second_site": replica_status.sentence(),
        **_refusals(),
        **alarm_banner.of_all(),
        **integrity.of_all(),
    }
    return render(request, "vault/overview.html", content)


def _refusals() -> dict[str, Any]:
    """What the vault refused in the last 24 hours, newest first."""
    since = clock.rfc3339(clock.now() - timedelta(hours=24))
    entries = JournalEntry.objects.filter(verb="vault.refused", at__gte=since).order_by("-seq")
    latest = list(entries[:_REFUSALS])
    names = dict(
        Organisation.objects.filter(code__in={entry.organisation for entry in latest}).values_list(
            "code", "name"
        )
    )
    rows = []
    for entry in latest:
        data = orjson.loads(bytes(entry.body))["data"]
        rows.append(
            [
                _instant_cell(entry.happened_at),
                {"text": names.get(entry.organisation, "—")},
                {"text": _REASONS.get(data["reason"], data["reason"])},
                {"text": data.get("repeats", 1), "kind": "number"},
            ]
        )
    columns = [
        {"title": "Quand"},
        {"title": "Commune"},
        {"title": "Motif"},
        {"title": "Fois", "kind": "number"},
    ]
    return {"refusals": rows, "refusal_columns": columns}


# A commune's vault -------------------------------------------------------------------------------


@require_GET
@requires("vault.view", of=_of_commune)
def commune(request: HttpRequest, code: str) -> HttpResponse:
    """Is the commune backed up, what is kept, by whom, and how to go back in time."""
    organisation = get_object_or_404(Organisation, code=code)
    return _commune_page(request, organisation)


def _commune_page(
    request: HttpRequest,
    organisation: Organisation,
    device_form: DeviceForm | None = None,
    status: int = 200,
    witness_form: WitnessForm | None = None,
) -> HttpResponse:
    actor, now = request.actor, clock.now()  # type: ignore[attr-defined]
    sets = list(DepositSet.objects.filter(organisation=organisation))
    chosen = next((found for found in sets if found.code == request.GET.get("depot")), None)
    chosen = chosen or next((found for found in sets if found.last_deposit_at), None)
    chosen = chosen or next(iter(sets), None)
    own = any(role.organisation_id == organisation.pk for role in actor.assignments)
    fresh = freshness.of_sets(sets, now)
    devices = list(Device.objects.filter(room="vault", organisation=organisation))
    stored = services.stored_bytes(organisation)
    quota = services.quota_bytes(organisation)
    content = {
        "commune": organisation,
        "trail": _trail(actor, organisation),
        "sentence": fresh.sentence(now, "Votre commune" if own else "La commune"),
        "state": freshness.KINDS[fresh.state],
        "word": freshness.WORDS[fresh.state],
        "advice": advice(organisation, fresh, devices),
        "second_copy": replica_status.of_commune(),
        "sets": sets,
        "chosen": chosen,
        "stored_bytes": stored,
        "quota_bytes": quota,
        "quota_share": stored / quota,
        "devices": _devices(devices, sets),
        "may_manage": permits(actor, "vault.manage", organisation=organisation),
        "may_set_quota": permits(actor, "vault.set_quota", organisation=organisation),
        "form": device_form
        or DeviceForm(
            organisation, initial={"deposit_set": chosen.code if chosen else services.GENERAL}
        ),
        "evidence": evidence.of(organisation),
        "witness_form": witness_form or WitnessForm(auto_id="temoin_%s"),
        "integrity": integrity.of(organisation),
        "recoverable": drill_pages.answers(organisation, now),
        "quota_form": QuotaForm(initial={"gigabytes": quota // 10**9}),
        **_sets_table(sets, now),
        **alarm_banner.of_commune(organisation),
        **(_past(request, chosen, devices) if chosen else {}),
    }
    return render(request, "vault/commune.html", content, status=status)


def _sets_table(sets: list[DepositSet], now: Any) -> dict[str, Any]:
    rows = [
        [
            {"text": found.title},
            {"text": found.get_kind_display()},
            _state_cell(found.state(now)),
            _instant_cell(found.last_deposit_at),
            {
                "text": f"toutes les {found.fresh_within_hours}{NBSP}h",
                "value": found.fresh_within_hours,
            },
            {"text": found.get_retention_class_display()},
            _bytes_cell(found.stored_bytes),
        ]
        for found in sets
    ]
    titles = ("Dépôt", "Contenu", "État", "Dernière sauvegarde", "Attendue", "Conservation")
    columns: list[dict[str, str]] = [{"title": title} for title in titles]
    return {"rows": rows, "columns": [*columns, {"title": "Place prise", "kind": "number"}]}


def _past(request: HttpRequest, chosen: DepositSet, devices: list[Device]) -> dict[str, Any]:
    stored, live = history.sizes(chosen)
    form = MomentForm(request.GET if "moment" in request.GET else None)
    readers = [
        device.name
        for device in devices
        if device.scope == chosen.code and not device.revoked_at and "restore" in device.roles
    ]
    return {
        "stored_over_time": stored,
        "live_over_time": live,
        "moments": Paginator(history.moments(chosen), _MOMENTS).get_page(request.GET.get("page")),
        "moment_form": form,
        "asked": history.moment(chosen, form.cleaned_data["moment"]) if form.is_valid() else None,
        "first_deposit_at": history.first_deposit_at(chosen),
        "readers": readers,
        "asked_is_complete": form.is_valid()
        and history.is_complete(chosen, form.cleaned_data["moment"]),
        "complete_since": chosen.complete_since,
        **retention_views.summary(chosen),
    }


def _devices(found: list[Device], sets: list[DepositSet]) -> list[dict[str, Any]]:
    """The commune's machines, the revoked ones last."""
    titles = {deposit_set.code: deposit_set.title for deposit_set in sets}
    heard = set(
        Session.objects.filter(device__in=found, ended_at__isnull=False).values_list(
            "device_id", flat=True
        )
    )
    recent = clock.now() - _WATCHED
    shown = [
        {
            "device": device,
            "deposit_set": titles.get(device.scope, device.scope),
            "roles": ", ".join(_ROLES[role] for role in device.roles if role in _ROLES),
            "received": device.pk in heard,
            "watched": device.created_at > recent and "backup" in device.roles,
        }
        for device in found
    ]
    return sorted(shown, key=lambda item: item["device"].revoked_at is not None)


def _device_of(code: str, pk: str) -> Device:
    found = Device.objects.select_related("organisation")
    return get_object_or_404(found, pk=pk, room="vault", organisation__code=code)


def _last_session(device: Device) -> Session | None:
    return Session.objects.filter(device=device, ended_at__isnull=False).order_by("-id").first()


@require_GET
@requires("vault.view", of=_of_commune)
def waiting(request: HttpRequest, code: str, pk: str) -> HttpResponse:
    """The part of a page that says whether a device's first deposit arrived; asked again by
    itself until it did."""
    device = _device_of(code, pk)
    content = {"code": code, "device": device, "session": _last_session(device)}
    return render(request, "vault/waiting.html", content)


@requires("vault.manage", of=_of_commune)
@require_POST
def add_device(request: HttpRequest, code: str) -> HttpResponse:
    """Enrol a machine, once however many times the same page is sent, and lead to its guide."""
    organisation = get_object_or_404(Organisation, code=code)
    form = DeviceForm(organisation, request.POST)
    if not form.is_valid():
        return _commune_page(request, organisation, form, 422)
    pk = form.device_id
    with suppress(services.AlreadyAdded), transaction.atomic():
        _, address = services.add_device(
            request.actor,  # type: ignore[attr-defined]
            organisation,
            form.cleaned_data["name"],
            form.cleaned_data["roles"],
            form.cleaned_data["deposit_set"],
            device_id=pk,
        )
        once.keep(request, pk, address)
    return redirect("vault:device", code=code, pk=pk)


@never_cache
@require_GET
@requires("vault.manage", of=_of_commune)
def device(request: HttpRequest, code: str, pk: str) -> HttpResponse:
    """The exact commands to type on a machine; its address with its secret, the first time."""
    found = _device_of(code, pk)
    others = Device.objects.filter(
        room="vault", organisation=found.organisation, scope=found.scope, revoked_at=None
    ).exclude(Q(pk=pk) | Q(last_seen_at=None))
    first = not services.has_repository(found.organisation, found.scope, made_by_another_than=found)
    content = {
        "commune": found.organisation,
        "trail": _trail(request.actor, found.organisation, found.name),  # type: ignore[attr-defined]
        "device": found,
        "deposit_set": services.set_of(found),
        "address": once.take(request, pk),
        "first": first,
        "others": others,
        "systems": guide.systems(found.scope, first),
        "timer": guide.timer(found.scope),
        "session": _last_session(found),
    }
    return render(request, "vault/device.html", content)


@require_http_methods(["GET", "POST"])
@requires("vault.manage", of=_of_commune)
def add_set(request: HttpRequest, code: str) -> HttpResponse:
    """Declare a deposit set: what it holds, how long, how fresh it must be."""
    organisation = get_object_or_404(Organisation, code=code)
    form = SetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_set(
                request.actor,  # type: ignore[attr-defined]
                organisation,
                **form.cleaned_data,
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Le dépôt « {made.title} » est ouvert.")
            return redirect("vault:commune", code=code)
    content = {
        "commune": organisation,
        "trail": _trail(request.actor, organisation, "Ouvrir un dépôt"),  # type: ignore[attr-defined]
        "form": form,
    }
    return render(request, "vault/add_set.html", content, status=422 if form.is_bound else 200)


@requires("vault.set_quota", of=_of_commune)
@require_POST
def set_quota(request: HttpRequest, code: str) -> HttpResponse:
    """Change how much a commune may keep."""
    organisation = get_object_or_404(Organisation, code=code)
    form = QuotaForm(request.POST)
    if form.is_valid():
        services.set_quota(request.actor, organisation, form.bytes)  # type: ignore[attr-defined]
        messages.success(request, f"La commune dispose maintenant de {bytes_fr(form.bytes)}.")
    else:
        messages.error(request, "La place accordée est un nombre entier de Go.")
    return redirect("vault:commune", code=code)


@requires("vault.manage", of=_of_commune)
@require_POST
def revoke(request: HttpRequest, code: str, pk: str) -> HttpResponse:
    device = _device_of(code, pk)
    if device.revoked_at is None:
        services.revoke_device(request.actor, device)  # type: ignore[attr-defined]
    messages.success(
        request,
        f"L'appareil « {device.name} » est révoqué. Pour le remplacer, ajoutez un autre appareil.",
    )
    return redirect("vault:commune", code=code)


# Evidence ----------------------------------------------------------------------------------------


@require_GET
@requires("vault.view", of=_of_commune)
def log_file(request: HttpRequest, code: str, path: str) -> HttpResponse:
    """One file of the commune's transparency log."""
    content = log.read(code, path)
    if content is None:
        raise Http404
    return HttpResponse(content, content_type=log.content_type(path))


@requires("vault.manage", of=_of_commune)
@require_POST
def add_witness(request: HttpRequest, code: str) -> HttpResponse:
    """Register who cosigns the commune's checkpoints."""
    organisation = get_object_or_404(Organisation, code=code)
    form = WitnessForm(request.POST, auto_id="temoin_%s")
    if form.is_valid():
        try:
            made = log.add_witness(
                request.actor,  # type: ignore[attr-defined]
                organisation,
                form.cleaned_data["name"],
                form.cleaned_data["key"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Le témoin « {made.name} » est inscrit.")
            return redirect("vault:commune", code=code)
    return _commune_page(request, organisation, status=422, witness_form=form)


@requires("vault.manage", of=_of_commune)
@require_POST
def remove_witness(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Take no more cosignatures from a witness."""
    found = Witness.objects.select_related("organisation")
    witness = get_object_or_404(found, pk=pk, organisation__code=code)
    if witness.removed_at is None:
        log.remove_witness(request.actor, witness)  # type: ignore[attr-defined]
    messages.success(request, f"Le témoin « {witness.name} » est retiré.")
    return redirect("vault:commune", code=code)
