"""The inventory as data: items, their history, work orders, two campaigns compared.

Annotations are evaluated here: Ninja looks for their names where `requires` was written."""

from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Any, Literal, Self
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import File, Form, Path, Query, Router, Schema, UploadedFile
from pydantic import Field

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.api import Day, Moment, problem
from souverain.street import campaigns, changes, detections, inventory, item_lists, work_orders
from souverain.street.campaigns import CampaignError
from souverain.street.detections import DetectionsError
from souverain.street.inventory import InventoryError
from souverain.street.item_lists import FORMATS, Filter, as_row
from souverain.street.models import Datum, Item, ItemEvent, WorkOrder
from souverain.street.photos import MAX_BYTES
from souverain.street.positioning import Pointed

router = Router(tags=["street"])
PAGE = 1000


class ItemItem(Schema):
    """An item: RGF93 degrees, Lambert-93 metres, one sigma. `method`: rays (two views or more),
    road (one view, on the road's surface), hand (typed), detected (the detector is named, with its
    F1). `provenance`: synthetic when its campaign's pictures are."""

    id: UUID
    kind: str
    title: str
    state: str
    method: str
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    datum: str
    sigma_xy_m: float | None
    sigma_z_m: float | None
    road: str | None
    pr: int | None
    abscissa_m: float | None
    side: str | None
    commune: str | None
    campaign: str | None
    provenance: str | None
    surveyed_at: Moment
    asset: UUID | None
    detector: str | None
    attributes: dict[str, str | float]


class Items(Schema):
    count: int
    items: list[ItemItem]


class HistoryItem(Schema):
    """One line of an item's history. `undoes`: the line whose change of state it takes back."""

    id: int
    at: Moment
    state: str
    note: str | None
    photo: bool
    undoes: int | None

    @classmethod
    def of(cls, line: ItemEvent) -> Self:
        return cls(
            id=line.pk,
            at=clock.rfc3339(line.at),
            state=line.state,
            note=line.note or None,
            photo=bool(line.photo_key),
            undoes=line.undoes_id,
        )


class History(Schema):
    count: int
    items: list[HistoryItem]


class SightingIn(Schema):
    """A click in a panorama: yaw 0 in the middle of the picture, growing to the right."""

    panorama: UUID
    yaw_deg: float = Field(ge=-360, le=360)
    elevation_deg: float = Field(ge=-90, le=90)


class PlaceIn(Schema):
    """A typed place, RGF93 degrees, with its sigma."""

    longitude_deg: float
    latitude_deg: float
    sigma_xy_m: float
    z_m: float | None = None
    sigma_z_m: float | None = None
    datum: Literal["NGF-IGN69", "ellipsoid", "unknown"] = "unknown"


class NewItem(Schema):
    """Either `sightings` (two views; one for what lies on the road) or `place`."""

    kind: str
    sightings: list[SightingIn] = Field(default=[], max_length=inventory.MAX_SIGHTINGS)
    place: PlaceIn | None = None
    state: Literal["draft", "confirmed"] = "draft"
    campaign: str = ""
    attributes: dict[str, str | float] = {}
    note: str = ""


class StateIn(Schema):
    state: Literal["draft", "confirmed", "planned", "repaired", "gone"]
    note: str = ""


class NoteIn(Schema):
    note: str = ""


class Described(Schema):
    """The attributes as a whole: what is not given is no longer said."""

    attributes: dict[str, str | float]
    note: str = ""


class WorkOrderItem(Schema):
    """Work asked on items. `state`: open, done, cancelled."""

    number: int
    title: str
    assignee: str | None
    due_on: Day | None
    state: str
    created_at: Moment
    closed_at: Moment | None
    items: list[UUID]

    @classmethod
    def of(cls, asked: WorkOrder, seen: set[UUID]) -> Self:
        return cls(
            number=asked.number,
            title=asked.title,
            assignee=asked.assignee or None,
            due_on=asked.due_on.isoformat() if asked.due_on else None,
            state=asked.state,
            created_at=clock.rfc3339(asked.created_at),
            closed_at=clock.rfc3339(asked.closed_at) if asked.closed_at else None,
            items=[item.pk for item in asked.items.all() if item.pk in seen],
        )


class WorkOrders(Schema):
    count: int
    items: list[WorkOrderItem]


class NewWorkOrder(Schema):
    title: str
    items: list[UUID] = Field(min_length=1, max_length=work_orders.MAX_ITEMS)
    assignee: str = ""
    due_on: date | None = None


class ClosedIn(Schema):
    state: Literal["done", "cancelled"]


class ImportedItems(Schema):
    """What an import of detections did. `unplaced` and `seen_again` number the file's detections
    from 0; `doubts` are pairs of items that their sigmas do not tell apart."""

    count: int
    items: list[ItemItem]
    seen_again: list[int]
    unplaced: list[int]
    doubts: list[list[UUID]]


class PairItem(Schema):
    """One thing in both campaigns; one sigma of the distance."""

    before: UUID
    after: UUID
    kind: str
    distance_m: float
    sigma_m: float


class UnseenItem(Schema):
    """An item of which nothing can be said. `reason`: place (the other campaign has too few pictures
    there), kind (it recorded nothing of that kind)."""

    id: UUID
    reason: str


class Comparison(Schema):
    """Two campaigns. `vanished` are items that the newer campaign looked at and did not record."""

    before: str
    after: str
    appeared: list[ItemItem]
    vanished: list[ItemItem]
    moved: list[PairItem]
    unchanged: list[PairItem]
    not_seen_before: list[UnseenItem]
    not_seen_after: list[UnseenItem]
    without_precision: int


def _told(view: Callable[..., Any]) -> Callable[..., Any]:
    """The sentence of what cannot be done, as a problem."""

    @wraps(view)
    def told(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(request, *args, **kwargs)
        except (InventoryError, DetectionsError, CampaignError) as error:
            return problem(422, str(error))

    return told


def _item(request: HttpRequest, identifier: UUID) -> Item:
    actor = request.actor  # type: ignore[attr-defined]
    try:
        return inventory.find(actor, identifier)
    except InventoryError as error:
        raise Http404 from error


def _clicks(sightings: list[SightingIn]) -> list[Pointed]:
    return [
        Pointed(inventory.panorama_seen_by(one.panorama), one.yaw_deg, one.elevation_deg)
        for one in sightings
    ]


def _asked(request: HttpRequest) -> Any:
    query = {name: str(value) for name, value in request.GET.items()}
    visible = inventory.visible(request.actor)  # type: ignore[attr-defined]
    return Filter.read(query).of(visible)


@router.get("/items", response=Items)
@requires("street.desk")
@_told
def items(
    request: HttpRequest,
    limit: int = Query(PAGE, ge=1, le=PAGE),
    offset: int = Query(0, ge=0, le=10_000_000),
) -> Any:
    """The items within one's reach, in order along the roads; `count` is of all of them. `kind`,
    `family`, `state`, `road` (`D971`), `pr_from`, `pr_to`, `commune` (INSEE code) and `campaign`
    narrow the list."""
    found = _asked(request)
    rows = [ItemItem(**as_row(item)) for item in found[offset : offset + limit]]
    return Items(count=found.count(), items=rows)


@router.get("/items.{form}")
@requires("street.desk")
@_told
def items_file(request: HttpRequest, form: str = Path(..., pattern="^(geojson|csv|gpkg)$")) -> Any:
    """The same list, whole, as a file: GeoJSON, CSV or GeoPackage, with the same filters."""
    kind, write = FORMATS[form]
    response = HttpResponse(write(item_lists.rows_of(_asked(request))), content_type=kind)
    if form != "geojson":
        response.headers["Content-Disposition"] = f'attachment; filename="inventaire.{form}"'
    return response


@router.post("/items", response={201: ItemItem})
@requires("street.record")
@_told
def record(request: HttpRequest, told: NewItem) -> Any:
    """Record an item."""
    if bool(told.sightings) == (told.place is not None):
        raise InventoryError("Un objet est visé dans des vues, ou placé à la main : l'un des deux.")
    place = None
    if told.place is not None:
        typed = told.place.dict()
        place = inventory.by_hand(
            typed.pop("longitude_deg"),
            typed.pop("latitude_deg"),
            **{**typed, "datum": Datum(typed["datum"])},
        )
    item = inventory.record(
        request.actor,  # type: ignore[attr-defined]
        told.kind,
        pointed=_clicks(told.sightings),
        place=place,
        campaign=campaigns.find(told.campaign) if told.campaign else None,
        attributes=told.attributes,
        state=Item.State(told.state),
        note=told.note,
    )
    return 201, ItemItem(**as_row(item))


@router.post("/items/detections", response={201: ImportedItems})
@requires("street.record")
@_told
def take_detections(request: HttpRequest, file: File[UploadedFile]) -> Any:
    """Import what a detector found (docs/schemas/street-detections.schema.json): merged over the
    views, recorded as items to verify, with the detector's name and F1."""
    if (file.size or 0) > detections.MAX_BYTES:
        raise DetectionsError(f"Ce fichier dépasse {detections.MAX_BYTES // 1_000_000} Mo.")
    done = detections.take(request.actor, detections.parse(file.read()))  # type: ignore[attr-defined]
    return 201, imported_json(done)


def imported_json(done: detections.Imported) -> ImportedItems:
    """What an import did, for the API and the console."""
    return ImportedItems(
        count=len(done.items),
        items=[ItemItem(**as_row(item)) for item in done.items],
        seen_again=done.seen_again,
        unplaced=done.unplaced,
        doubts=[[first.pk, second.pk] for first, second in done.doubts],
    )


@router.get("/items/{identifier}", response=ItemItem)
@requires("street.desk")
def item(request: HttpRequest, identifier: UUID) -> Any:
    """One item."""
    return ItemItem(**as_row(_item(request, identifier)))


@router.get("/items/{identifier}/history", response=History)
@requires("street.desk")
def history(request: HttpRequest, identifier: UUID) -> Any:
    """All that happened to an item, the oldest first."""
    lines = [HistoryItem.of(line) for line in _item(request, identifier).history.order_by("pk")]
    return History(count=len(lines), items=lines)


@router.post("/items/{identifier}/sightings", response=ItemItem)
@requires("street.record")
@_told
def add_sighting(request: HttpRequest, identifier: UUID, told: SightingIn) -> Any:
    """Point at the item in one more panorama: its place is worked out again."""
    (click,) = _clicks([told])
    found = _item(request, identifier)
    return ItemItem(**as_row(inventory.add_sighting(request.actor, found, click)))  # type: ignore[attr-defined]


@router.post("/items/{identifier}/state", response=ItemItem)
@requires("street.record")
@_told
def change_state(request: HttpRequest, identifier: UUID, told: StateIn) -> Any:
    """Judge the item. A confirmed one becomes an asset of the territory."""
    found = _item(request, identifier)
    state = Item.State(told.state)
    return ItemItem(**as_row(inventory.change_state(request.actor, found, state, told.note)))  # type: ignore[attr-defined]


@router.post("/items/{identifier}/undo", response=ItemItem)
@requires("street.record")
@_told
def undo(request: HttpRequest, identifier: UUID, told: NoteIn) -> Any:
    """Take the last change of state back. The history keeps both."""
    found = _item(request, identifier)
    return ItemItem(**as_row(inventory.undo(request.actor, found, told.note)))  # type: ignore[attr-defined]


@router.put("/items/{identifier}/attributes", response=ItemItem)
@requires("street.record")
@_told
def describe(request: HttpRequest, identifier: UUID, told: Described) -> Any:
    """Say the item's attributes, as a whole."""
    found = _item(request, identifier)
    described = inventory.describe(request.actor, found, told.attributes, told.note)  # type: ignore[attr-defined]
    return ItemItem(**as_row(described))


@router.post("/items/{identifier}/photos", response={201: HistoryItem})
@requires("street.record")
@_told
def add_photo(
    request: HttpRequest, identifier: UUID, file: File[UploadedFile], note: Form[str] = ""
) -> Any:
    """Join a photo, JPEG or PNG. It is written anew without its metadata."""
    found = _item(request, identifier)
    if (file.size or 0) > MAX_BYTES:
        raise InventoryError(f"Cette photo dépasse {MAX_BYTES // 1_000_000} Mo.")
    return 201, HistoryItem.of(inventory.add_photo(request.actor, found, file.read(), note))  # type: ignore[attr-defined]


# Work orders -------------------------------------------------------------------------------------


def _order_item(request: HttpRequest, asked: WorkOrder) -> WorkOrderItem:
    visible = inventory.visible(request.actor)  # type: ignore[attr-defined]
    return WorkOrderItem.of(
        asked, set(visible.filter(work_orders=asked).values_list("pk", flat=True))
    )


@router.get("/work-orders", response=WorkOrders)
@requires("street.desk")
def list_work_orders(
    request: HttpRequest,
    state: Literal["", "open", "done", "cancelled"] = "",
    limit: int = Query(PAGE, ge=1, le=PAGE),
) -> Any:
    """The work orders on items within one's reach, the newest first."""
    found = work_orders.visible(request.actor).order_by("-number")  # type: ignore[attr-defined]
    if state:
        found = found.filter(state=state)
    return WorkOrders(
        count=found.count(), items=[_order_item(request, asked) for asked in found[:limit]]
    )


@router.post("/work-orders", response={201: WorkOrderItem})
@requires("street.record")
@_told
def order_work(request: HttpRequest, told: NewWorkOrder) -> Any:
    """Ask for work on confirmed items."""
    chosen = [_item(request, identifier) for identifier in dict.fromkeys(told.items)]
    asked = work_orders.order(
        request.actor,  # type: ignore[attr-defined]
        told.title,
        chosen,
        assignee=told.assignee,
        due_on=told.due_on,
    )
    return 201, _order_item(request, asked)


@router.get("/work-orders/{number}", response=WorkOrderItem)
@requires("street.desk")
def work_order(request: HttpRequest, number: int) -> Any:
    """One work order."""
    found = work_orders.visible(request.actor)  # type: ignore[attr-defined]
    return _order_item(request, get_object_or_404(found, pk=number))


@router.post("/work-orders/{number}/state", response=WorkOrderItem)
@requires("street.record")
@_told
def close_work(request: HttpRequest, number: int, told: ClosedIn) -> Any:
    """Close a work order: done, its items are repaired; cancelled, they are confirmed again."""
    found = get_object_or_404(work_orders.visible(request.actor), pk=number)  # type: ignore[attr-defined]
    closed = work_orders.close(request.actor, found, WorkOrder.State(told.state))  # type: ignore[attr-defined]
    return _order_item(request, closed)


# Campaigns compared ------------------------------------------------------------------------------


@router.get("/comparison", response=Comparison)
@requires("street.desk")
@_told
def compare(request: HttpRequest, before: str = Query(...), after: str = Query(...)) -> Any:
    """What appeared, vanished and moved from one campaign to another, by their names."""
    visible = inventory.visible(request.actor)  # type: ignore[attr-defined]
    return comparison_json(changes.between(campaigns.find(before), campaigns.find(after), visible))


def comparison_json(found: changes.Changes) -> Comparison:
    """A comparison, for the API and the console."""
    return Comparison(
        before=found.before.name,
        after=found.after.name,
        appeared=[ItemItem(**as_row(item)) for item in found.appeared],
        vanished=[ItemItem(**as_row(item)) for item in found.vanished],
        moved=[_pair(pair) for pair in found.moved],
        unchanged=[_pair(pair) for pair in found.unchanged],
        not_seen_before=[UnseenItem(id=i.pk, reason=why) for i, why in found.not_seen_before],
        not_seen_after=[UnseenItem(id=i.pk, reason=why) for i, why in found.not_seen_after],
        without_precision=found.unlike,
    )


def _pair(pair: changes.Pair) -> PairItem:
    return PairItem(
        before=pair.before.pk,
        after=pair.after.pk,
        kind=pair.after.kind,
        distance_m=round(pair.distance_m, 4),
        sigma_m=round(pair.sigma_m, 4),
    )
