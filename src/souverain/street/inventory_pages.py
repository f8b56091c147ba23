"""The inventory's pages: the list, one item, work orders, two campaigns compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID

import numpy as np
import shapely
import simplejpeg
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import objects
from souverain.core.access import of_departement, permits, requires
from souverain.core.format import NBSP, date_fr, number_fr
from souverain.street import campaigns, changes, inventory, item_lists, server, viewing, work_orders
from souverain.street.campaigns import CampaignError
from souverain.street.engine.close_up import close_up as close_up_of
from souverain.street.engine.comparison import Unseen
from souverain.street.inventory import TRANSITIONS, InventoryError
from souverain.street.inventory_forms import (
    AttributesForm,
    CloseForm,
    CompareForm,
    FilterForm,
    NewItemForm,
    NoteForm,
    PhotoForm,
    WorkOrderForm,
    title_of,
)
from souverain.street.item_lists import Filter, position_words
from souverain.street.kinds import KINDS
from souverain.street.models import Campaign, Item, Panorama, Sighting, WorkOrder
from souverain.street.photos import MAX_BYTES
from souverain.territory import roads
from souverain.territory.atlas import atlas

if TYPE_CHECKING:
    from scipy.spatial import KDTree

State = Item.State
_PAGE = 100
_ON_MAP = 5000
_OFFERED = 200
_KINDS_OF_STATES = {
    State.DRAFT: "neutral",
    State.CONFIRMED: "info",
    State.PLANNED: "warn",
    State.REPAIRED: "ok",
    State.GONE: "neutral",
}
_COLOURS = {
    State.DRAFT: "or",
    State.CONFIRMED: "ciel",
    State.PLANNED: "alerte",
    State.REPAIRED: "mousse",
    State.GONE: "ardoise",
}
_ACTIONS = {
    State.CONFIRMED: ("Confirmer", "check-lg", "L'objet devient un équipement du territoire."),
    State.PLANNED: ("Prévoir des travaux", "cone-striped", "Sans ordre de travaux."),
    State.REPAIRED: (
        "Déclarer réparé",
        "wrench",
        "Le défaut n'est plus là, ou l'objet est en état.",
    ),
    State.GONE: (
        "Déclarer disparu",
        "x-lg",
        "L'objet n'est plus sur la route, ou n'y a jamais été.",
    ),
}
_COUNTED = {
    State.DRAFT: ("à vérifier", "à vérifier"),
    State.CONFIRMED: ("confirmé", "confirmés"),
    State.PLANNED: ("en attente de travaux", "en attente de travaux"),
    State.REPAIRED: ("réparé", "réparés"),
    State.GONE: ("disparu", "disparus"),
}
_ORDER_KINDS = {"open": "warn", "done": "ok", "cancelled": "neutral"}
_WHY = {
    Unseen.PLACE: "l'autre campagne a trop peu d'images à cet endroit",
    Unseen.KIND: "l'autre campagne n'a relevé aucun objet de cette sorte",
}
_TRAIL = {"title": "Inventaire de la route", "url": "/street/inventaire/"}


def _actor(request: HttpRequest) -> Any:
    return request.actor  # type: ignore[attr-defined]


def _may_record(request: HttpRequest) -> bool:
    return permits(_actor(request), "street.record", **of_departement())


def _item(request: HttpRequest, identifier: UUID) -> Item:
    try:
        return inventory.find(_actor(request), identifier)
    except InventoryError as error:
        raise Http404 from error


def _metres(value: float | None) -> str:
    """A sigma in words: « ± 4 cm », « ± 1,2 m »."""
    if value is None:
        return "précision inconnue"
    if value < 1:
        return f"±{NBSP}{number_fr(max(round(value * 100), 1))}{NBSP}cm"
    return f"±{NBSP}{number_fr(value, 1)}{NBSP}m"


# The list ----------------------------------------------------------------------------------------


@require_GET
@requires("street.desk")
def inventory_page(request: HttpRequest) -> HttpResponse:
    """What is on the roads, in a sentence, on a map and in a table; narrowed by the query."""
    form = FilterForm(request.GET or None)
    asked, fault = _filter(request)
    found = asked.of(inventory.visible(_actor(request)))
    page = Paginator(found, _PAGE).get_page(request.GET.get("page"))
    query = _query(request)
    context = {
        "form": form,
        "fault": fault,
        "narrowed": asked != Filter(),
        "states": _states(found),
        "page": page,
        "columns": _COLUMNS,
        "rows": [_row(item) for item in page],
        "query": query,
        "map_url": f"{reverse('street:inventory_map')}?{query}",
        "legend": _legend(),
        "on_map": _ON_MAP,
        "may_record": _may_record(request),
        "synthetic": found.filter(campaign__provenance="synthetic").exists(),
    }
    return render(request, "street/inventory.html", context)


_COLUMNS = [
    {"title": "Objet"},
    {"title": "Où"},
    {"title": "État"},
    {"title": "Précision (m)", "kind": "number"},
    {"title": "Relevé le"},
    {"title": "Campagne"},
]


def _filter(request: HttpRequest) -> tuple[Filter, str]:
    try:
        return Filter.read(request.GET.dict()), ""
    except InventoryError as error:
        return Filter(), str(error)


def _query(request: HttpRequest) -> str:
    return urlencode([(k, v) for k, v in request.GET.items() if v and k != "page"])


def _states(found: QuerySet[Item]) -> list[dict[str, Any]]:
    """How many of each state, in their order."""
    counted = dict(found.order_by().values_list("state").annotate(n=Count("pk")))
    return [
        {"word": _COUNTED[state][counted[state] > 1], "count": counted[state]}
        for state in State
        if counted.get(state)
    ]


def _legend() -> list[dict[str, str]]:
    return [{"value": s.value, "label": s.label, "color": _COLOURS[s]} for s in State]


def _state_cell(item: Item) -> dict[str, Any]:
    state = State(item.state)
    return {"text": state.label, "state": _KINDS_OF_STATES[state]}


def _row(item: Item) -> list[dict[str, Any]]:
    sigma = item_lists.sigma_xy_m(item)
    place = position_words(item) or f"{item.latitude_deg:.5f}, {item.longitude_deg:.5f}"
    return [
        {"text": title_of(item), "url": inventory.page_of(item)},
        {"text": place},
        _state_cell(item),
        {
            "text": "—" if sigma is None else number_fr(sigma, 2),
            "value": "" if sigma is None else round(sigma, 4),
            "kind": "number",
        },
        {"text": date_fr(item.surveyed_at), "value": int(item.surveyed_at.timestamp())},
        {"text": item.campaign.title if item.campaign else "—"},
    ]


@require_GET
@requires("street.desk")
def inventory_map(request: HttpRequest) -> HttpResponse:
    """The same list as points to draw, at most 5,000, over the communes where they are."""
    asked, _ = _filter(request)
    found = list(asked.of(inventory.visible(_actor(request)))[:_ON_MAP])
    codes = {item.commune for item in found}
    here = atlas()
    areas = [area for area in here.areas if area.code in codes]
    features: list[dict[str, Any]] = [
        {
            "type": "Feature",
            "properties": {"name": area.name, "state": ""},
            "geometry": json.loads(shapely.to_geojson(area.geometry)),
        }
        for area in areas
    ]
    features += [
        {
            "type": "Feature",
            "properties": {
                "name": title_of(item),
                "state": item.state,
                "href": inventory.page_of(item),
            },
            "geometry": {
                "type": "Point",
                "coordinates": [item.longitude_deg, item.latitude_deg],
            },
        }
        for item in found
    ]
    content = {
        "type": "FeatureCollection",
        "approximate": any(area.approximate for area in areas),
        "features": features,
    }
    return HttpResponse(json.dumps(content), content_type="application/geo+json")


@require_GET
@requires("street.desk")
def inventory_file(request: HttpRequest, form: str) -> HttpResponse:
    """The same list, whole, as a file."""
    if form not in item_lists.FORMATS:
        raise Http404
    kind, write = item_lists.FORMATS[form]
    try:
        asked = Filter.read(request.GET.dict())
        content = write(item_lists.rows_of(asked.of(inventory.visible(_actor(request)))))
    except InventoryError as error:
        messages.error(request, str(error))
        return redirect("street:inventory")
    response = HttpResponse(content, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="inventaire.{form}"'
    return response


# One item ----------------------------------------------------------------------------------------


@require_http_methods(["GET", "POST"])
@requires("street.record", of=of_departement)
def new_item(request: HttpRequest) -> HttpResponse:
    """Record an item whose place one types."""
    form = NewItemForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        told = form.cleaned_data
        try:
            place = inventory.by_hand(
                told["longitude_deg"],
                told["latitude_deg"],
                z_m=told["z_m"],
                datum=told["datum"],
                sigma_xy_m=told["sigma_xy_m"],
                sigma_z_m=told["sigma_z_m"],
            )
            item = inventory.record(
                _actor(request),
                told["kind"],
                place=place,
                campaign=campaigns.find(told["campaign"]) if told["campaign"] else None,
                note=told["note"],
            )
        except (InventoryError, CampaignError) as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "L'objet est dans l'inventaire, à vérifier.")
            return redirect(inventory.page_of(item))
    trail = [_TRAIL, {"title": "Nouvel objet", "url": ""}]
    return render(request, "street/new_item.html", {"form": form, "trail": trail})


@never_cache
@require_GET
@requires("street.desk")
def item_page(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """One item: what it is, where, how sure, as the views show it; its history; what can be done."""
    item = _item(request, identifier)
    kind = KINDS[item.kind]
    may_record = _may_record(request)
    lines = list(item.history.select_related("by").order_by("-pk"))
    undoable, before = inventory.last_change(item)
    context = {
        "item": item,
        "title": title_of(item),
        "kind": kind,
        "position": position_words(item),
        "synthetic_roads": bool(item.road) and roads.roads().is_synthetic,
        "sigma": _metres(item_lists.sigma_xy_m(item)),
        "sigma_z": _metres(item_lists.sigma_z_m(item)),
        "state_kind": _KINDS_OF_STATES[State(item.state)],
        "commune": atlas_name(item.commune),
        "attributes": [
            (attribute, item.attributes[attribute.name])
            for attribute in kind.attributes
            if attribute.name in item.attributes
        ],
        "sightings": [_seen(one) for one in _sightings(request, item)],
        "lines": [
            {"line": line, "kind": _KINDS_OF_STATES[State(line.state)], "who": _who(line.by)}
            for line in lines
        ],
        "orders": item.work_orders.order_by("-number"),
        "may_record": may_record,
        "actions": _actions(item) if may_record else [],
        "undoable": may_record and undoable is not None,
        "undo_to": before.label,
        "note_form": NoteForm(auto_id="annuler-%s"),
        "photo_form": PhotoForm(auto_id="photo-%s"),
        "attributes_form": AttributesForm(kind, initial=item.attributes, auto_id="dit-%s"),
        "trail": [_TRAIL, {"title": title_of(item), "url": ""}],
    }
    return render(request, "street/item.html", context)


def atlas_name(code: str) -> str:
    found = next((area.name for area in atlas().areas if area.code == code), "")
    return f"{found} ({code})" if found else code


def _who(user: Any) -> str:
    return user.display_name if user else "le programme ou la console"


def _actions(item: Item) -> list[dict[str, Any]]:
    """What may be done with the item, for the `confirm` component."""
    allowed = TRANSITIONS[State(item.state)] - {State.PLANNED}
    return [
        {
            "state": state.value,
            "dialog": f"etat-{state.value}",
            "button": _ACTIONS[state][0],
            "icon": _ACTIONS[state][1],
            "detail": _ACTIONS[state][2],
            "danger": state == State.GONE,
            "url": f"{reverse('street:change_state', args=[item.pk])}?etat={state.value}",
            "form": NoteForm(auto_id=f"{state.value}-%s"),
        }
        for state in State
        if state in allowed
    ]


def _sightings(request: HttpRequest, item: Item) -> QuerySet[Sighting]:
    """What shows the item, of the views that are open to the person: an item of one's commune may
    have been pointed at in a campaign that is not published."""
    views = viewing.visible(_actor(request))
    return item.sightings.filter(panorama__in=views).select_related("panorama__campaign")


def _seen(one: Sighting) -> dict[str, Any]:
    panorama = one.panorama
    return {
        "pk": one.pk,
        "panorama": panorama,
        "at": panorama.taken_at,
        "distance_m": np.hypot(one.item.x_m - panorama.x_m, one.item.y_m - panorama.y_m),
        "has_picture": bool(panorama.pyramid_key),
        "url": view_url(panorama, one.yaw_deg, one.elevation_deg),
        "synthetic": panorama.campaign.provenance == Campaign.Provenance.SYNTHETIC,
    }


def view_url(panorama: Panorama, yaw_deg: float | None = None, elevation_deg: float = 0.0) -> str:
    """The viewer's page, looking there."""
    url = reverse("street:view", args=[panorama.pk])
    if yaw_deg is None:
        return url
    return f"{url}?{urlencode({'yaw': round(yaw_deg, 2), 'elevation': round(elevation_deg, 2)})}"


@require_POST
@requires("street.record")
def change_state(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """Judge the item; the state is in the address."""
    item, form = _item(request, identifier), NoteForm(request.POST)
    asked = request.GET.get("etat", "")
    note = form.cleaned_data["note"] if form.is_valid() else ""
    try:
        if asked not in State.values:
            raise InventoryError("Cet état n'existe pas.")
        inventory.change_state(_actor(request), item, State(asked), note)
    except InventoryError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"État : {State(asked).label.lower()}.")
    return redirect(inventory.page_of(item))


@require_POST
@requires("street.record")
def undo(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """Take the last change of state back."""
    item, form = _item(request, identifier), NoteForm(request.POST)
    note = form.cleaned_data["note"] if form.is_valid() else ""
    try:
        fresh = inventory.undo(_actor(request), item, note)
    except InventoryError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Annulé. État : {fresh.get_state_display().lower()}.")
    return redirect(inventory.page_of(item))


@require_POST
@requires("street.record")
def describe(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """Say the item's attributes."""
    item = _item(request, identifier)
    form = AttributesForm(KINDS[item.kind], request.POST)
    try:
        if not form.is_valid():
            raise InventoryError(" ".join(m for faults in form.errors.values() for m in faults))
        told = {name: value for name, value in form.cleaned_data.items() if value not in (None, "")}
        inventory.describe(_actor(request), item, told)
    except InventoryError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "La description est enregistrée.")
    return redirect(inventory.page_of(item))


@require_POST
@requires("street.record")
def add_photo(request: HttpRequest, identifier: UUID) -> HttpResponse:
    """Join a photo."""
    item = _item(request, identifier)
    form = PhotoForm(request.POST, request.FILES)
    try:
        if not form.is_valid():
            raise InventoryError("Choisissez une photo.")
        file = form.cleaned_data["photo"]
        if file.size > MAX_BYTES:
            raise InventoryError(f"Cette photo dépasse {MAX_BYTES // 1_000_000} Mo.")
        inventory.add_photo(_actor(request), item, file.read(), form.cleaned_data["note"])
    except InventoryError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "La photo est jointe.")
    return redirect(inventory.page_of(item))


@require_GET
@requires("street.desk")
def photo(request: HttpRequest, identifier: UUID, line: int) -> HttpResponse:
    """A photo of an item's history."""
    item = _item(request, identifier)
    found = get_object_or_404(item.history.exclude(photo_key=""), pk=line)
    store = objects.open_store(settings.OBJECTS_URL)
    try:
        content = b"".join(store.read(found.photo_key))
    except (FileNotFoundError, ValueError):
        return _no_picture()
    return _jpeg(content)


@require_GET
@requires("street.desk")
def close_up(request: HttpRequest, identifier: UUID, sighting: int) -> HttpResponse:
    """What a view shows of the item: a flat picture cut from its blurred pyramid."""
    item = _item(request, identifier)
    found = get_object_or_404(_sightings(request, item), pk=sighting)
    panorama = found.panorama
    if not panorama.pyramid_key:
        return _no_picture()
    try:
        content = _close_up(panorama.pyramid_key, found.yaw_deg, found.elevation_deg)
    except (FileNotFoundError, ValueError):
        return _no_picture()
    return _jpeg(content)


@lru_cache(maxsize=256)
def _close_up(key: str, yaw_deg: float, elevation_deg: float) -> bytes:
    """A key's content never changes."""
    store = objects.open_store(settings.OBJECTS_URL)

    def read(start: int, length: int) -> bytes:
        return b"".join(store.read(key, start, length))

    pixels = close_up_of(server.pyramid(key), read, yaw_deg, elevation_deg)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=85)


def _no_picture() -> HttpResponse:
    """The record is there, and what it names is not in the store."""
    told = "Cette image n'est pas disponible."
    return HttpResponse(told, status=404, content_type="text/plain; charset=utf-8")


def _jpeg(content: bytes) -> HttpResponse:
    response = HttpResponse(content, content_type="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


# Work orders -------------------------------------------------------------------------------------


@require_GET
@requires("street.desk")
def work_orders_page(request: HttpRequest) -> HttpResponse:
    """The work asked; and, for who may, a form to ask for more on the items of a list."""
    return _work_orders(request, None)


@require_POST
@requires("street.record")
def order_work(request: HttpRequest) -> HttpResponse:
    """Ask for work on some of the items that were offered."""
    offered = _offered(request)
    form = WorkOrderForm(offered, request.POST)
    if form.is_valid():
        told = form.cleaned_data
        chosen = [item for item in offered if str(item.pk) in set(told["items"])]
        try:
            made = work_orders.order(
                _actor(request),
                told["title"],
                chosen,
                assignee=told["assignee"],
                due_on=told["due_on"],
            )
        except InventoryError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"L'ordre de travaux {made.number} est ouvert.")
            return redirect("street:work_order", number=made.number)
    return _work_orders(request, form)


def _offered(request: HttpRequest) -> list[Item]:
    """The confirmed items of the list that the query asks for."""
    asked, _ = _filter(request)
    confirmed = asked.of(inventory.visible(_actor(request))).filter(state=State.CONFIRMED)
    return list(confirmed[:_OFFERED])


def _work_orders(request: HttpRequest, form: WorkOrderForm | None) -> HttpResponse:
    may_record = _may_record(request)
    offered = _offered(request) if may_record else []
    orders = work_orders.visible(_actor(request)).annotate(n=Count("items")).order_by("-number")
    page = Paginator(orders, _PAGE).get_page(request.GET.get("page"))
    context = {
        "form": form or WorkOrderForm(offered),
        "fault": _filter(request)[1],
        "filter_form": FilterForm(request.GET or None),
        "offered": offered,
        "query": _query(request),
        "open": orders.filter(state=WorkOrder.State.OPEN).count(),
        "late": work_orders.late(orders).count(),
        "page": page,
        "columns": [
            {"title": "Travaux"},
            {"title": "Confiés à"},
            {"title": "Échéance"},
            {"title": "État"},
            {"title": "Objets", "kind": "number"},
        ],
        "rows": [_order_row(order) for order in page],
        "may_record": may_record,
        "trail": [_TRAIL, {"title": "Travaux", "url": ""}],
    }
    return render(request, "street/work_orders.html", context)


def _order_row(order: Any) -> list[dict[str, Any]]:
    due = order.due_on
    return [
        {
            "text": f"{order.number} — {order.title}",
            "url": reverse("street:work_order", args=[order.number]),
        },
        {"text": order.assignee or "—"},
        {"text": date_fr(due) if due else "—", "value": due.toordinal() if due else 0},
        {"text": order.get_state_display(), "state": _ORDER_KINDS[order.state]},
        {"text": number_fr(order.n), "value": order.n, "kind": "number"},
    ]


def _order(request: HttpRequest, number: int) -> WorkOrder:
    return get_object_or_404(work_orders.visible(_actor(request)), pk=number)


@require_GET
@requires("street.desk")
def work_order_page(request: HttpRequest, number: int) -> HttpResponse:
    """One order, made to be printed on A4: what, where, by when, with a picture of each item."""
    order = _order(request, number)
    chosen = inventory.visible(_actor(request)).filter(work_orders=order).select_related("campaign")
    items = []
    for item in chosen.order_by("road", "pr", "abscissa_m", "pk"):
        seen = _sightings(request, item).exclude(panorama__pyramid_key="").first()
        pictured = item.history.exclude(photo_key="").order_by("-pk").first()
        items.append(
            {
                "item": item,
                "title": title_of(item),
                "position": position_words(item),
                "sigma": _metres(item_lists.sigma_xy_m(item)),
                "close_up": seen,
                "photo": pictured,
                "attributes": [
                    (attribute, item.attributes[attribute.name])
                    for attribute in KINDS[item.kind].attributes
                    if attribute.name in item.attributes
                ],
            }
        )
    context = {
        "order": order,
        "kind": _ORDER_KINDS[order.state],
        "items": items,
        "late": order in work_orders.late(WorkOrder.objects.filter(pk=order.pk)),
        "may_close": _may_record(request) and order.state == WorkOrder.State.OPEN,
        "trail": [
            {"title": "Travaux", "url": reverse("street:work_orders")},
            {"title": f"Ordre {order.number}", "url": ""},
        ],
    }
    return render(request, "street/work_order.html", context)


@require_POST
@requires("street.record")
def close_work(request: HttpRequest, number: int) -> HttpResponse:
    """Say that the work is done, or cancelled; which is in the address."""
    order, form = _order(request, number), CloseForm({"state": request.GET.get("etat", "")})
    try:
        if not form.is_valid():
            raise InventoryError("Un ordre se clôt fait, ou annulé.")
        state = WorkOrder.State(form.cleaned_data["state"])
        work_orders.close(_actor(request), order, state)
    except InventoryError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"L'ordre {order.number} est clos : {state.label.lower()}.")
    return redirect("street:work_order", number=order.number)


# Two campaigns -----------------------------------------------------------------------------------


@require_GET
@requires("street.desk")
def compare_page(request: HttpRequest) -> HttpResponse:
    """What appeared, vanished and moved from one campaign to another."""
    asked = "before" in request.GET
    form = CompareForm(request.GET if asked else None)
    context: dict[str, Any] = {
        "form": form,
        "enough": Campaign.objects.count() > 1,
        "trail": [_TRAIL, {"title": "Comparer deux campagnes", "url": ""}],
    }
    if asked and form.is_valid():
        try:
            found = changes.between(
                campaigns.find(form.cleaned_data["before"]),
                campaigns.find(form.cleaned_data["after"]),
                inventory.visible(_actor(request)),
            )
        except (InventoryError, CampaignError) as error:
            context["fault"] = str(error)
        else:
            context |= _compared(found)
    return render(request, "street/compare.html", context)


def _compared(found: changes.Changes) -> dict[str, Any]:
    views = _views_of([found.before, found.after])
    columns = [{"title": "Objet"}, {"title": "Où"}, {"title": "Avant"}, {"title": "Après"}]
    unseen = [*found.not_seen_after, *found.not_seen_before]
    return {
        "found": found,
        "synthetic": Campaign.Provenance.SYNTHETIC
        in (found.before.provenance, found.after.provenance),
        "columns": columns,
        "appeared": [_changed(item, views) for item in found.appeared],
        "vanished": [_changed(item, views) for item in found.vanished],
        "moved_columns": [
            *columns[:2],
            {"title": "De combien (m)", "kind": "number"},
            {"title": "± (m)", "kind": "number"},
            *columns[2:],
        ],
        "moved": [_moved(pair, views) for pair in found.moved],
        "unseen_columns": [{"title": "Objet"}, {"title": "Où"}, {"title": "Pourquoi"}],
        "unseen": [[*_named(item), {"text": _WHY[why].capitalize()}] for item, why in unseen],
    }


_Views = Sequence[tuple["KDTree | None", list[Panorama]]]


def _views_of(compared: Sequence[Campaign]) -> _Views:
    """Of each campaign, its panoramas and where they are."""
    from scipy.spatial import KDTree

    found = []
    for campaign in compared:
        rows = list(
            campaign.panoramas.filter(state=Panorama.State.READY).only(
                *("id", "x_m", "y_m", "heading_deg", "longitude_deg", "latitude_deg")
            )
        )
        tree = KDTree([(row.x_m, row.y_m) for row in rows]) if rows else None
        found.append((tree, rows))
    return found


def _named(item: Item) -> list[dict[str, Any]]:
    return [
        {"text": title_of(item), "url": inventory.page_of(item)},
        {"text": position_words(item) or f"{item.latitude_deg:.5f}, {item.longitude_deg:.5f}"},
    ]


def _changed(item: Item, views: _Views) -> list[dict[str, Any]]:
    return [*_named(item), *(_view_cell(item, *one) for one in views)]


def _moved(pair: changes.Pair, views: _Views) -> list[dict[str, Any]]:
    return [
        *_named(pair.after),
        {"text": number_fr(pair.distance_m, 2), "value": pair.distance_m, "kind": "number"},
        {"text": number_fr(pair.sigma_m, 2), "value": pair.sigma_m, "kind": "number"},
        _view_cell(pair.before, *views[0]),
        _view_cell(pair.after, *views[1]),
    ]


def _view_cell(item: Item, tree: KDTree | None, rows: list[Panorama]) -> dict[str, Any]:
    """The nearest panorama of a campaign, looking at the item's place."""
    if tree is None:
        return {"text": "—"}
    distance, row = tree.query((item.x_m, item.y_m))
    if distance > 30:
        return {"text": "Pas d'image"}
    panorama = rows[int(row)]
    towards = np.degrees(np.arctan2(item.x_m - panorama.x_m, item.y_m - panorama.y_m))
    yaw = (towards - changes.grid_heading_of(panorama) + 180) % 360 - 180
    return {"text": "Voir", "url": view_url(panorama, float(yaw))}
