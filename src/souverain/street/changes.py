"""Two campaigns' items beside each other: `engine.comparison` on the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import QuerySet

from souverain.street import positioning
from souverain.street.engine import comparison
from souverain.street.engine.comparison import Looks, Unseen
from souverain.street.engine.merging import Placed
from souverain.street.inventory import InventoryError
from souverain.street.kinds import MOVABLE
from souverain.street.models import Campaign, Datum, Item, Panorama
from souverain.territory.engine.projection import convergences_deg, grid_heading

MAX_ITEMS = 200_000


@dataclass(frozen=True)
class Pair:
    """One thing in both campaigns."""

    before: Item
    after: Item
    distance_m: float
    sigma_m: float


@dataclass(frozen=True)
class Changes:
    """What two campaigns say of each other. `unlike`: items left out, with no known precision."""

    before: Campaign
    after: Campaign
    unchanged: tuple[Pair, ...]
    moved: tuple[Pair, ...]
    appeared: tuple[Item, ...]
    vanished: tuple[Item, ...]
    not_seen_before: tuple[tuple[Item, Unseen], ...]
    not_seen_after: tuple[tuple[Item, Unseen], ...]
    unlike: int


def between(before: Campaign, after: Campaign, items: QuerySet[Item]) -> Changes:
    """Compare what `items` holds of two campaigns. Raises InventoryError for a campaign beside
    itself."""
    if before == after:
        raise InventoryError("Choisissez deux campagnes différentes.")
    old, bare_old = _sure(items.filter(campaign=before))
    new, bare_new = _sure(items.filter(campaign=after))
    one_datum = len({item.datum for item in [*old, *new]} | {Datum.UNKNOWN}) <= 2
    found = comparison.compare(
        [_placed(item, one_datum) for item in old],
        [_placed(item, one_datum) for item in new],
        looks_of(before),
        looks_of(after),
        movable=MOVABLE,
    )
    return Changes(
        before,
        after,
        _pairs(old, new, found.unchanged),
        _pairs(old, new, found.moved),
        tuple(new[row] for row in found.appeared),
        tuple(old[row] for row in found.vanished),
        tuple((new[row], why) for row, why in found.not_seen_before.items()),
        tuple((old[row], why) for row, why in found.not_seen_after.items()),
        bare_old + bare_new,
    )


def _sure(items: QuerySet[Item]) -> tuple[list[Item], int]:
    """The items that can be compared, and how many cannot: nobody said how sure they are. What
    was set aside as gone in its own campaign was never there."""
    alive = items.exclude(state=Item.State.GONE)
    sure = alive.exclude(covariance_m2__isnull=True).order_by("pk")
    found = list(sure[: MAX_ITEMS + 1])
    if len(found) > MAX_ITEMS:
        raise InventoryError(
            f"Plus de {MAX_ITEMS} objets dans une campagne : comparez par commune."
        )
    return found, alive.filter(covariance_m2__isnull=True).count()


def _placed(item: Item, with_height: bool) -> Placed:
    covariance = positioning.matrix(item.covariance_m2)
    assert covariance is not None
    usable = with_height and item.z_m is not None and item.datum != Datum.UNKNOWN
    z = item.z_m if usable and covariance[2, 2] > 0 else None
    position = np.array([item.x_m, item.y_m, math.nan if z is None else z])
    return Placed(str(item.pk), item.kind, position, covariance)


def looks_of(campaign: Campaign) -> Looks:
    """What the campaign's ready panoramas see. Heights are not used: the road's is not known."""
    rows = list(
        campaign.panoramas.filter(state=Panorama.State.READY)
        .order_by("pk")
        .values_list(
            *("x_m", "y_m", "heading_deg", "pitch_deg", "roll_deg", "crop", "width", "height"),
            *("longitude_deg", "latitude_deg"),
        )
    )
    poses = np.array([row[2:5] for row in rows], float).reshape(-1, 3)
    places = np.array([row[8:] for row in rows], float).reshape(-1, 2)
    poses[:, 0] = (poses[:, 0] - convergences_deg(places[:, 0], places[:, 1])) % 360.0
    return Looks(
        np.array([(row[0], row[1], math.nan) for row in rows]).reshape(-1, 3),
        poses,
        np.array([_window(*row[5:8]) for row in rows]).reshape(-1, 4),
    )


def grid_heading_of(panorama: Panorama) -> float:
    """Where the middle of its picture looks, from grid north."""
    place = (panorama.longitude_deg, panorama.latitude_deg)
    return grid_heading(panorama.heading_deg, *place)


def _window(crop: dict[str, int] | None, width: int, height: int) -> tuple[float, ...]:
    if not crop:
        return (0.0, 0.0, 1.0, 1.0)
    left, top = crop["left"] / width, crop["top"] / height
    return (left, top, left + crop["width"] / width, top + crop["height"] / height)


def _pairs(
    old: Sequence[Item], new: Sequence[Item], matched: Sequence[comparison.Matched]
) -> tuple[Pair, ...]:
    return tuple(
        Pair(old[one.before], new[one.after], one.distance_m, one.sigma_m) for one in matched
    )
