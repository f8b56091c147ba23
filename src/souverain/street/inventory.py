"""The inventory's verbs: an item is recorded, seen again, judged, photographed.

Each verb is one transaction with one journal entry and one line of the item's history, which is
never changed: undoing adds a line. A confirmed item is an asset of `territory`; what it becomes
later follows there. Callers have checked the permission `street.record`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse

from souverain.core import clock, events, journal, objects
from souverain.core.access import Actor, organisations_in_reach
from souverain.core.models import Organisation
from souverain.core.queries import PageLink
from souverain.core.transactions import serialise_writers
from souverain.street import photos, positioning
from souverain.street.kinds import DEFECT, KINDS, KindError, kind_of
from souverain.street.models import Campaign, Datum, Item, ItemEvent, Panorama, Sighting
from souverain.street.positioning import Place, Pointed, PositionError
from souverain.territory import services as territory
from souverain.territory.engine import projection
from souverain.territory.models import Provenance
from souverain.territory.services import RoadsError

State = Item.State
MAX_SIGHTINGS = 12
NOTE_LENGTH = 1000

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.CONFIRMED, State.GONE}),
    State.CONFIRMED: frozenset({State.PLANNED, State.REPAIRED, State.GONE}),
    State.PLANNED: frozenset({State.CONFIRMED, State.REPAIRED, State.GONE}),
    State.REPAIRED: frozenset({State.CONFIRMED, State.GONE}),
    State.GONE: frozenset({State.CONFIRMED}),
}
"""What may follow what. Undoing alone goes another way: back to where the item was."""
ON_THE_ROAD = frozenset({State.CONFIRMED, State.PLANNED, State.REPAIRED})


class InventoryError(ValueError):
    """What was asked of the inventory cannot be; the message is a French sentence."""


def visible(actor: Actor) -> QuerySet[Item]:
    """The items that the actor may see: all of them with a role that reaches everywhere, those of
    one's own commune otherwise."""
    organisations = organisations_in_reach(actor, "street.desk")
    if organisations.count() == Organisation.objects.count():
        return Item.objects.all()
    communes = organisations.filter(kind=Organisation.Kind.COMMUNE)
    return Item.objects.filter(commune__in=communes.values("code"))


def find(actor: Actor, identifier: UUID) -> Item:
    """Raises InventoryError for what is not there, or not for this person to know."""
    found = visible(actor).select_related("campaign", "created_by").filter(pk=identifier).first()
    if found is None:
        raise InventoryError("Cet objet n'est pas dans l'inventaire.")
    return found


def by_hand(
    longitude_deg: float,
    latitude_deg: float,
    *,
    z_m: float | None = None,
    datum: str = Datum.UNKNOWN,
    sigma_xy_m: float,
    sigma_z_m: float | None = None,
) -> Place:
    """A place that somebody types. Raises InventoryError."""
    numbers = [longitude_deg, latitude_deg, sigma_xy_m, z_m or 0.0, sigma_z_m or 1.0]
    if not all(math.isfinite(number) for number in numbers):
        raise InventoryError("Cette position n'est pas faite de nombres.")
    if not (-180 <= longitude_deg <= 180 and -90 <= latitude_deg <= 90):
        raise InventoryError("Longitude et latitude sont en degrés : 5,04 et 47,32 par exemple.")
    if not (0 < sigma_xy_m <= 100 and 0 < (sigma_z_m or 1.0) <= 100):
        raise InventoryError("La précision est un écart-type en mètres, de plus de 0 à 100.")
    x, y = projection.lonlat_to_metres([longitude_deg], [latitude_deg])[0].tolist()
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InventoryError("Cette position est hors de France.")
    if z_m is not None and sigma_z_m is None:
        raise InventoryError("Une altitude demande sa précision.")
    height = math.nan if z_m is None else z_m
    covariance = np.diag([sigma_xy_m**2, sigma_xy_m**2, (sigma_z_m or 0.0) ** 2])
    return Place(np.array([x, y, height]), covariance, datum, Item.Method.HAND)


@transaction.atomic
def record(
    actor: Actor,
    kind: str,
    *,
    pointed: Sequence[Pointed] = (),
    place: Place | None = None,
    campaign: Campaign | None = None,
    attributes: Mapping[str, Any] | None = None,
    surveyed_at: datetime | None = None,
    state: State = State.DRAFT,
    note: str = "",
    detector: str = "",
) -> Item:
    """A new item, where clicks in panoramas meet or at a place. Raises InventoryError."""
    serialise_writers()
    if state not in (State.DRAFT, State.CONFIRMED):
        raise InventoryError("Un objet nouveau est à vérifier, ou confirmé.")
    if len(pointed) > MAX_SIGHTINGS:
        raise InventoryError(f"{MAX_SIGHTINGS} visées au plus.")
    near = pointed[0].panorama if pointed else None
    try:
        known = kind_of(kind)
        kept = known.read_attributes(attributes or {})
        found = place or positioning.place(pointed, known.on_road)
    except (KindError, PositionError) as error:
        raise InventoryError(str(error)) from error
    item = Item(
        kind=kind,
        campaign=campaign or (near.campaign if near else None),
        attributes=kept,
        surveyed_at=surveyed_at or _seen_at(pointed),
        created_by=actor.user,
        detector=detector,
        **positioning.fields_of(found, near),
    )
    item.save()
    Sighting.objects.bulk_create([_sighting(item, click) for click in pointed])
    _journal(actor, "street.item_recorded", item, note)
    if state == State.CONFIRMED:
        change_state(actor, item, state)
    return item


def _seen_at(pointed: Sequence[Pointed]) -> datetime:
    return max((click.panorama.taken_at for click in pointed), default=clock.now())


def _sighting(item: Item, click: Pointed) -> Sighting:
    return Sighting(
        item=item,
        panorama=click.panorama,
        yaw_deg=click.yaw_deg,
        elevation_deg=click.elevation_deg,
    )


def _journal(actor: Actor, verb: str, item: Item, note: str = "", **more: Any) -> ItemEvent:
    """One line of the history and one journal entry."""
    line = ItemEvent.objects.create(
        item=item, by=actor.user, state=item.state, note=_plain(note), **more
    )
    journal.append(
        actor,
        verb,
        organisation=item.commune or settings.DEPARTEMENT,
        object=f"item:{item.pk}",
        data={"kind": item.kind, "state": item.state},
    )
    return line


def _plain(note: str) -> str:
    if len(note) > NOTE_LENGTH:
        raise InventoryError(f"Une remarque a {NOTE_LENGTH} caractères au plus.")
    return note.replace("\x00", "").strip()


def locked(item: Item) -> Item:
    """The item as it is now, kept from others until the transaction ends."""
    serialise_writers()
    return Item.objects.select_for_update().get(pk=item.pk)


# Sightings ---------------------------------------------------------------------------------------


def clicks_of(item: Item) -> list[Pointed]:
    """What points at it, the oldest view first."""
    sightings = item.sightings.select_related("panorama").order_by("panorama__taken_at", "pk")
    return [Pointed(one.panorama, one.yaw_deg, one.elevation_deg) for one in sightings]


@transaction.atomic
def add_sighting(actor: Actor, item: Item, click: Pointed) -> Item:
    """The item seen in one more panorama: its place is worked out again from all of them. A
    confirmed item's asset is superseded. Raises InventoryError, and nothing changes."""
    item = locked(item)
    if item.state not in (State.DRAFT, State.CONFIRMED):
        raise InventoryError("Cet objet n'est plus à situer : son état l'a arrêté.")
    others = [one for one in clicks_of(item) if one.panorama != click.panorama]
    if len(others) >= MAX_SIGHTINGS:
        raise InventoryError(f"{MAX_SIGHTINGS} visées au plus.")
    pointed = [*others, click]
    if len(pointed) > 1 or item.method != Item.Method.HAND:
        try:
            found = positioning.place(pointed, KINDS[item.kind].on_road)
        except PositionError as error:
            raise InventoryError(str(error)) from error
        for name, value in positioning.fields_of(found, click.panorama).items():
            setattr(item, name, value)
    item.surveyed_at = max(item.surveyed_at, click.panorama.taken_at)
    item.sightings.filter(panorama=click.panorama).delete()
    _sighting(item, click).save()
    _put_asset(actor, item)
    item.save()
    _journal(
        actor, "street.item_seen", item, f"Visé dans une vue du {click.panorama.taken_at:%d/%m/%Y}."
    )
    return item


@transaction.atomic
def describe(actor: Actor, item: Item, attributes: Mapping[str, Any], note: str = "") -> Item:
    """Say something of the item: its attributes as a whole. Raises InventoryError."""
    item = locked(item)
    try:
        item.attributes = KINDS[item.kind].read_attributes(attributes)
    except KindError as error:
        raise InventoryError(str(error)) from error
    _put_asset(actor, item)
    item.save()
    _journal(actor, "street.item_described", item, note)
    return item


@transaction.atomic
def add_photo(actor: Actor, item: Item, content: bytes, note: str = "") -> ItemEvent:
    """Join a photo. Raises InventoryError for what is not a whole JPEG or PNG."""
    try:
        cleaned = photos.clean(content)
    except photos.PhotoError as error:
        raise InventoryError(str(error)) from error
    item = locked(item)
    store = objects.open_store(settings.OBJECTS_URL)
    incoming = store.incoming()
    try:
        incoming.write(cleaned)
        key = f"street/items/{item.pk}/{incoming.sha256}.jpg"
        with suppress(objects.AlreadyThere):  # the same photo again
            incoming.commit(key)
    finally:
        incoming.abort()
    return _journal(actor, "street.item_photographed", item, note, photo_key=key)


# States ------------------------------------------------------------------------------------------


@transaction.atomic
def change_state(actor: Actor, item: Item, state: State, note: str = "") -> Item:
    """Judge the item. Raises InventoryError when the state may not follow the present one."""
    fresh = locked(item)
    if state not in TRANSITIONS[State(fresh.state)]:
        raise InventoryError(
            f"« {State(state).label} » ne peut pas suivre « {State(fresh.state).label} »."
        )
    _become(actor, fresh, state)
    _journal(actor, "street.item_judged", fresh, note)
    item.state, item.asset = fresh.state, fresh.asset
    return fresh


def _become(actor: Actor, item: Item, state: State) -> None:
    """Set the state, and let the asset of `territory` follow."""
    item.state = state
    if state == State.GONE or state == State.DRAFT or _is_mended(item):
        _retire_asset(actor, item)
    elif item.asset is None:
        _put_asset(actor, item)
    item.save(update_fields=["state", "asset"])


def _is_mended(item: Item) -> bool:
    """A defect that was repaired is no more; a sign that was repaired still stands."""
    return item.state == State.REPAIRED and KINDS[item.kind].family == DEFECT


@transaction.atomic
def undo(actor: Actor, item: Item, note: str = "") -> Item:
    """Take the last change of state back: the item is what it was, and the history says both.
    Raises InventoryError when there is nothing left to undo."""
    item = locked(item)
    last, before = last_change(item)
    if last is None:
        raise InventoryError("Il n'y a pas de changement d'état à annuler.")
    _become(actor, item, before)
    _journal(actor, "street.item_undone", item, note, undoes=last)
    return item


def last_change(item: Item) -> tuple[ItemEvent | None, State]:
    """The last change of state that still holds, and the state before it."""
    held: list[tuple[ItemEvent, State]] = []
    state = State.DRAFT
    for line in item.history.order_by("pk"):
        if line.undoes_id is not None:
            held.pop()
        elif line.state != state:
            held.append((line, state))
        state = State(line.state)
    return held[-1] if held else (None, state)


# Assets of the territory -------------------------------------------------------------------------


def _put_asset(actor: Actor, item: Item) -> None:
    """Make the item an asset, or a newer survey of the asset that it is; nothing for a draft."""
    if State(item.state) not in ON_THE_ROAD or _is_mended(item):
        return
    covariance = positioning.matrix(item.covariance_m2)
    campaign = item.campaign
    synthetic = campaign is not None and campaign.provenance == Campaign.Provenance.SYNTHETIC
    measured = item.method != Item.Method.HAND
    told = Provenance.MEASURED if measured else Provenance.DECLARED
    try:
        asset = territory.put_asset(
            actor,
            kind=item.kind,
            x_m=item.x_m,
            y_m=item.y_m,
            z_m=item.z_m,
            sigma_xy_m=None if covariance is None else horizontal_sigma(covariance),
            sigma_z_m=(
                None if covariance is None or item.z_m is None else math.sqrt(covariance[2, 2])
            ),
            datum=item.datum,
            source=f"Côte-d'Or Street, {campaign.title}" if campaign else "Côte-d'Or Street",
            provenance=Provenance.SYNTHETIC if synthetic else told,
            surveyed_at=item.surveyed_at,
            attributes=item.attributes,
            supersedes=item.asset,
        )
    except RoadsError as error:
        raise InventoryError(str(error)) from error
    item.asset = asset.pk
    events.emit(
        "street.asset_confirmed",
        organisation=item.commune,
        payload={"asset": str(asset.pk), "item": str(item.pk)},
    )


def _retire_asset(actor: Actor, item: Item) -> None:
    if item.asset is not None:
        with suppress(RoadsError):  # somebody retired it there already
            territory.retire_asset(actor, item.asset)
        item.asset = None


def horizontal_sigma(covariance_m2: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """The longest semi-axis of the one-sigma ellipse on the map."""
    return math.sqrt(max(float(np.linalg.eigvalsh(covariance_m2[:2, :2])[-1]), 0.0))


def asset_links(identifier: str) -> tuple[PageLink, ...]:
    """The pages of the items that are this asset, for other rooms."""
    try:
        asset = UUID(identifier)
    except ValueError:
        return ()
    return tuple(
        PageLink(f"{KINDS[item.kind].title} relevé dans Côte-d'Or Street", page_of(item))
        for item in Item.objects.filter(asset=asset)
    )


def page_of(item: Item) -> str:
    return reverse("street:item", args=[item.pk])


def panorama_seen_by(identifier: UUID) -> Panorama:
    """A panorama that can be pointed in. Raises InventoryError."""
    found = Panorama.objects.select_related("campaign").filter(
        pk=identifier, state=Panorama.State.READY
    )
    if (panorama := found.first()) is None:
        raise InventoryError(f"Il n'y a pas de vue {identifier}.")
    return panorama
