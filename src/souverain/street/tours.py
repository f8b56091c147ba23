"""Tours: strolls for visitors, a few stops with a few words at each."""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from souverain.core import journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.street import finding
from souverain.street.models import Panorama, Tour, TourStop

STOPS_MAX = 100
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class TourError(ValueError):
    """What was asked of a tour cannot be; the message is a French sentence."""


def slug_of(title: str) -> str:
    """`Canal de Bourgogne` → `canal-de-bourgogne`, 60 characters at most."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall("[a-z0-9]+", plain))[:60].strip("-")


@transaction.atomic
def create(actor: Actor, title: str, summary: str = "") -> Tour:
    """A tour without stops, which nobody sees yet. Raises TourError."""
    slug = slug_of(title)
    if not _SLUG.fullmatch(slug):
        raise TourError("Donnez à la promenade un titre avec des lettres.")
    if Tour.objects.filter(slug=slug).exists():
        raise TourError(f"La promenade « {title} » existe déjà.")
    tour = Tour.objects.create(slug=slug, title=title, summary=summary)
    _journal(actor, "street.tour_created", tour)
    return tour


@transaction.atomic
def describe(actor: Actor, tour: Tour, title: str, summary: str) -> None:
    """Other words; its address stays."""
    tour.title, tour.summary = title, summary
    tour.save(update_fields=["title", "summary"])
    _journal(actor, "street.tour_changed", tour)


@transaction.atomic
def publish(actor: Actor, tour: Tour) -> None:
    """Show it to everybody. Raises TourError when it has no stop, or one that is not public."""
    stops = list(tour.stops.all())
    if not stops:
        raise TourError("Cette promenade n'a encore aucune étape.")
    public = set(_public([stop.panorama_id for stop in stops]))
    hidden = [stop for stop in stops if stop.panorama_id not in public]
    if hidden:
        raise TourError(f"L'étape « {hidden[0].title} » montre une vue qui n'est pas publiée.")
    tour.published = True
    tour.save(update_fields=["published"])
    _journal(actor, "street.tour_published", tour, stops=len(stops))


@transaction.atomic
def withdraw(actor: Actor, tour: Tour) -> None:
    tour.published = False
    tour.save(update_fields=["published"])
    _journal(actor, "street.tour_withdrawn", tour)


@transaction.atomic
def remove(actor: Actor, tour: Tour) -> None:
    _journal(actor, "street.tour_removed", tour)
    tour.delete()


@transaction.atomic
def add_stop(
    actor: Actor, tour: Tour, panorama: UUID, title: str, text: str, **look: float
) -> TourStop:
    """A stop at the end; `look` is `yaw_deg`, `elevation_deg`. Raises TourError."""
    if not Panorama.objects.filter(pk=panorama).exists():
        raise TourError("Cette vue n'existe pas.")
    if tour.published and not _public([panorama]):
        raise TourError("Cette vue n'est pas publiée : retirez d'abord la promenade.")
    Tour.objects.select_for_update().get(pk=tour.pk)
    count = tour.stops.count()
    if count >= STOPS_MAX:
        raise TourError(f"Une promenade a {STOPS_MAX} étapes au plus.")
    last = tour.stops.aggregate(last=Max("rank"))["last"]
    stop = TourStop.objects.create(
        tour=tour,
        rank=0 if last is None else last + 1,
        panorama_id=panorama,
        title=title,
        text=text,
        **look,
    )
    _journal(actor, "street.tour_changed", tour)
    return stop


@transaction.atomic
def move_stop(actor: Actor, stop: TourStop, up: bool) -> None:
    """Change places with the stop before (`up`) or after; the first and the last stay."""
    stops = list(stop.tour.stops.select_for_update().order_by("rank"))
    at = [other.pk for other in stops].index(stop.pk)
    to = at - 1 if up else at + 1
    if not 0 <= to < len(stops):
        return
    one, other = stops[at], stops[to]
    ranks = one.rank, other.rank
    # A rank is unique in a tour: one waits beyond the last.
    TourStop.objects.filter(pk=one.pk).update(rank=stops[-1].rank + 1)
    TourStop.objects.filter(pk=other.pk).update(rank=ranks[0])
    TourStop.objects.filter(pk=one.pk).update(rank=ranks[1])
    _journal(actor, "street.tour_changed", stop.tour)


@transaction.atomic
def remove_stop(actor: Actor, stop: TourStop) -> None:
    """A tour that loses its last stop is shown to nobody any more."""
    tour = stop.tour
    stop.delete()
    if tour.published and not tour.stops.exists():
        withdraw(actor, tour)
    _journal(actor, "street.tour_changed", tour)


def public_stops(tour: Tour) -> list[TourStop]:
    """The stops whose view everybody may see: a campaign withdrawn since takes its stops along."""
    stops = list(tour.stops.select_related("panorama__campaign"))
    public = set(_public([stop.panorama_id for stop in stops]))
    return [stop for stop in stops if stop.panorama_id in public]


def shown() -> list[tuple[Tour, list[TourStop]]]:
    """The published tours that have something to show, with their public stops."""
    tours = Tour.objects.filter(published=True)
    found = [(tour, public_stops(tour)) for tour in tours]
    return [(tour, stops) for tour, stops in found if stops]


def _public(keys: list[Any]) -> list[Any]:
    return list(finding.visible().filter(pk__in=keys).values_list("pk", flat=True))


def _journal(actor: Actor, verb: str, tour: Tour, **data: Any) -> None:
    owner = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    journal.append(actor, verb, organisation=owner.code, object=f"tour:{tour.pk}", data=data)
