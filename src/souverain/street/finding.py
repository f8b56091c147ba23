"""Which panorama is where: the packed index, kept up to date, and what one asks of it.

The index holds every ready panorama. What the public may see is decided when somebody asks, from
the records (published campaigns, panoramas that are still ready), never from the file alone: a
campaign that is withdrawn is gone from the next answer on.

Up to `SMALL` panoramas, each question first compares the index with the records and builds it
again at once. Beyond, `keep_up` (a periodic duty of the worker) does, in a job.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db import connection
from django.db.models import BigIntegerField, Count, F, QuerySet, Sum
from django.db.models.functions import Cast
from django.urls import NoReverseMatch, reverse

from souverain.core import access, clock, jobs, queries
from souverain.core.models import Job
from souverain.street.engine import panorama_index
from souverain.street.engine.packed import DamagedFile
from souverain.street.engine.panorama_index import Chosen, PanoramaIndex
from souverain.street.models import Campaign, Panorama
from souverain.territory import roads
from souverain.territory.engine import projection

logger = logging.getLogger(__name__)

SMALL = 20_000
SPACING_M = 5.0
"""Two campaigns' views of one place are at most this much farther one than the other."""
ROADSIDE_M = 15.0
VIEW_WITHIN_M = 250.0
"""What is farther does not show the place."""
_TRIES = 50
_BATCH = 20_000
Places = panorama_index.Ints
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class NotReady(Exception):
    """The index is being built; the message is a French sentence."""


class PlaceError(ValueError):
    """The place that was asked for cannot be; the message is a French sentence."""


@dataclass(frozen=True)
class Found:
    """A panorama, and how far it is from what was asked."""

    panorama: Panorama
    distance_m: float


@dataclass(frozen=True)
class Page:
    """Some of the panoramas that were asked for, and how many there are in all."""

    items: list[Panorama]
    total: int


# The index ----------------------------------------------------------------------------------------


def index_path() -> Path:
    return Path(settings.HOME) / "street" / "panoramas.index"


@dataclass(frozen=True)
class _Loaded:
    index: PanoramaIndex
    file: tuple[int, int, int]
    """Inode, size and time of change: what tells a file from the one that takes its place."""


_loaded: _Loaded | None = None
_building = Lock()


def index() -> PanoramaIndex:
    """The index of now. Raises NotReady when a large one is missing or damaged."""
    found = _read()
    if found is not None and len(found) > SMALL:
        return found
    stamp, count = _records()
    if found is not None and found.stamp == stamp:
        return found
    if count <= SMALL:
        return rebuild()
    ask_for_a_build()
    if found is None:
        raise NotReady("L'index des images se construit : recommencez dans une minute.")
    return found


def keep_up() -> None:
    """Build the index again if the panoramas changed: at once when they are few, else in a job."""
    found, (stamp, count) = _read(), _records()
    if found is not None and found.stamp == stamp:
        return
    if count <= SMALL:
        rebuild()
    else:
        ask_for_a_build()


def _read() -> PanoramaIndex | None:
    """The file's index, loaded once and again when another takes its place; None when it is
    missing or damaged."""
    global _loaded
    path = index_path()
    try:
        status = path.stat()
        file = (status.st_ino, status.st_size, status.st_mtime_ns)
        held = _loaded
        if held is None or held.file != file:
            held = _loaded = _Loaded(panorama_index.load(path), file)
    except FileNotFoundError:
        return None
    except (DamagedFile, OSError) as error:
        logger.warning("street index refused: %s", error)
        return None
    return held.index


def _records() -> tuple[str, int]:
    """A digest that changes when panoramas come, go, move or change state, and how many are
    ready. One pass over an index of the database that holds all that is summed."""

    def millimetres(field: str) -> Sum:
        return Sum(Cast(F(field) * 1000, BigIntegerField()))

    rows = (
        Panorama.objects.filter(state=Panorama.State.READY)
        .order_by("campaign_id")
        .values_list("campaign_id")
        .annotate(count=Count("pk"), ranks=Sum("rank"), x=millimetres("x_m"), y=millimetres("y_m"))
    )
    told = list(rows)
    return hashlib.sha256(repr(told).encode()).hexdigest(), sum(row[1] for row in told)


def rebuild(progress: jobs.Progress | None = None) -> PanoramaIndex:
    """Build the index from the records and put it in the place of the former one."""
    with _building:
        built = _built(progress)
        built.save(index_path())
    return _read() or built


def _built(progress: jobs.Progress | None) -> PanoramaIndex:
    stamp, count = _records()
    names = dict(Campaign.objects.order_by("created_at", "pk").values_list("pk", "name"))
    numbers = {pk: number for number, pk in enumerate(names)}
    sequences: dict[UUID | None, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for row in _ready_panoramas():
        pk, campaign, sequence, rank, taken_at, longitude, latitude, x, y = row
        if campaign not in numbers or not all(map(math.isfinite, (longitude, latitude, x, y))):
            continue
        columns["identifiers"].append(pk.bytes)
        columns["campaign"].append(numbers[campaign])
        columns["sequence"].append(sequences.setdefault(sequence, len(sequences)))
        columns["rank"].append(rank)
        columns["taken_us"].append(_microseconds(taken_at))
        columns["longitude_deg"].append(longitude)
        columns["latitude_deg"].append(latitude)
        columns["x_m"].append(x)
        columns["y_m"].append(y)
        if progress and len(columns["rank"]) % _BATCH == 0:
            progress(len(columns["rank"]), count, "Lecture des images")
    arrays = {name: np.array(columns[name], dtype) for name, dtype in _COLUMNS.items()}
    identifiers = np.frombuffer(b"".join(columns["identifiers"]), "V16")
    return panorama_index.build(
        **{**arrays, "identifiers": identifiers}, campaigns=list(names.values()), stamp=stamp
    )


_COLUMNS = {name: dtype for name, dtype in panorama_index.COLUMNS.items() if name != "cells"}


def _ready_panoramas() -> Iterator[tuple[Any, ...]]:
    return (
        Panorama.objects.filter(state=Panorama.State.READY)
        .order_by()
        .values_list(
            "pk", "campaign_id", "sequence_id", "rank", "taken_at",
            "longitude_deg", "latitude_deg", "x_m", "y_m",
        )
        .iterator(_BATCH)
    )  # fmt: skip


@jobs.job("street.index", "Construire l'index des images", jobs.Resources(memory_bytes=4 << 30))
def build_job(progress: jobs.Progress) -> dict[str, Any]:
    """Build the index in a process of its own."""
    from souverain.street import map_tiles

    built = rebuild(progress)
    progress(len(built), len(built), "Préparation de la carte")
    map_tiles.prepare(built)
    return {"panoramas": len(built), "summary": f"{len(built)} images dans l'index."}


def ask_for_a_build() -> None:
    under_way = (*jobs.WAITING, *jobs.ACTIVE)
    if not Job.objects.filter(name=build_job.name, state__in=under_way).exists():
        jobs.submit(access.SYSTEM, build_job, {})


# Questions ----------------------------------------------------------------------------------------


def visible(everything: bool = False) -> QuerySet[Panorama]:
    """The panoramas that the public may see; with `everything`, those that the desk may."""
    ready = Panorama.objects.filter(state=Panorama.State.READY).select_related("campaign")
    return ready if everything else ready.filter(campaign__state=Campaign.State.PUBLISHED)


def _microseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


# What the nearest view asks of the records: composing these anew costs ten times what they do.
_PUBLISHED = "SELECT name FROM street_campaign WHERE state = %s"
_SEEN = """SELECT p.*, c.name AS campaign_name, c.state AS campaign_state FROM street_panorama p
JOIN street_campaign c ON c.id = p.campaign_id WHERE p.id = %s AND p.state = %s"""


def open_campaigns(held: PanoramaIndex, everything: bool = False) -> Chosen:
    """The index's campaigns that may be shown, by the records of now."""
    if everything:
        return Chosen()
    with connection.cursor() as cursor:
        cursor.execute(_PUBLISHED, [Campaign.State.PUBLISHED])
        published = {name for (name,) in cursor.fetchall()}
    return Chosen(np.array([name in published for name in held.campaigns], bool))


def nearest(
    longitude_deg: float,
    latitude_deg: float,
    at: datetime | None = None,
    *,
    campaign: str = "",
    everything: bool = False,
) -> Found | None:
    """The nearest panorama to a place; with `at`, of those that had been taken by then.

    Where several campaigns went by, the last one that has a view at most `SPACING_M` farther than
    the nearest. Raises PlaceError, NotReady."""
    x, y = metres(longitude_deg, latitude_deg)
    held = index()
    chosen = replace(open_campaigns(held, everything), until_us=_microseconds(at))
    if campaign:
        named = np.array([name == campaign for name in held.campaigns], bool)
        may = named if chosen.campaigns is None else named & chosen.campaigns
        chosen = replace(chosen, campaigns=may)
    return _nearest(held, x, y, chosen, everything)


def _nearest(
    held: PanoramaIndex, x_m: float, y_m: float, chosen: Chosen, everything: bool
) -> Found | None:
    for _ in range(_TRIES):
        place = _latest_of_the_nearest(held, x_m, y_m, chosen)
        if place is None:
            return None
        row = _seen(UUID(bytes=held.identifier(place)), everything)
        if row is not None:
            return Found(row, math.hypot(row.x_m - x_m, row.y_m - y_m))
        # Hidden or removed since the index was built: as if it were not there.
        chosen = replace(chosen, without=chosen.without | {place})
    return None


def _seen(key: UUID, everything: bool) -> Panorama | None:
    """The panorama, when it is one of those of `visible`. Of its campaign, the name and the state
    are read; the rest when it is asked for."""
    terms = [Panorama._meta.pk.get_db_prep_value(key, connection), Panorama.State.READY]
    for found in Panorama.objects.raw(_SEEN, terms):
        if not everything and found.campaign_state != Campaign.State.PUBLISHED:
            return None
        told = (found.campaign_id, found.campaign_name, found.campaign_state)
        found.campaign = Campaign.from_db(connection.alias, ("id", "name", "state"), told)
        return found
    return None


def _latest_of_the_nearest(
    held: PanoramaIndex, x_m: float, y_m: float, chosen: Chosen
) -> int | None:
    first = held.nearest(x_m, y_m, chosen)
    if first is None or len(held.campaigns) == 1:
        return first and first[0]
    places, _ = held.radius(x_m, y_m, first[1] + SPACING_M, chosen)
    last = places[np.argmax(held.columns["taken_us"][places])]
    campaign = held.columns["campaign"]
    return int(places[np.argmax(campaign[places] == campaign[last])])


def near_road(
    road: str,
    pr: int | None,
    abscissa_m: float,
    side: str = "",
    *,
    at: datetime | None = None,
    everything: bool = False,
) -> tuple[tuple[float, float], Found | None]:
    """The point of a road (`D971`; Lambert-93 metres) and the panorama that shows it: of those
    within `ROADSIDE_M` the nearest taken on that side, otherwise the nearest. Raises PlaceError,
    NotReady."""
    try:
        point = roads.point_at(road, pr, abscissa_m, side or "C")
    except roads.UnknownPosition as error:
        raise PlaceError(str(error)) from error
    x, y = point.x_m, point.y_m
    held = index()
    chosen = replace(open_campaigns(held, everything), until_us=_microseconds(at))
    on_side = None
    if side in ("G", "D"):
        places, _ = held.radius(x, y, ROADSIDE_M, chosen)
        rows = visible(everything).filter(road=road, side=side)
        on_side = _nearest_of(rows.filter(pk__in=_identifiers(held, places)), x, y)
    return (x, y), on_side or _nearest(held, x, y, chosen, everything)


def _nearest_of(rows: QuerySet[Panorama], x_m: float, y_m: float) -> Found | None:
    """The nearest of a few panoramas, of the last campaign among them."""
    found = [Found(row, math.hypot(row.x_m - x_m, row.y_m - y_m)) for row in rows]
    if not found:
        return None
    last = max(found, key=lambda item: item.panorama.taken_at).panorama.campaign_id
    of_last = [item for item in found if item.panorama.campaign_id == last]
    return min(of_last, key=lambda item: item.distance_m)


def described(x_m: float, y_m: float) -> dict[str, Any]:
    """A place in every way of saying it: degrees, metres, and its position on the nearest road
    (nulls where there is none, or no roads at all)."""
    longitude, latitude = projection.metres_to_lonlat(np.array([[x_m, y_m]]), _crs())[0]
    position = next(iter(roads.positions_of(np.array([[x_m, y_m]]))), None)
    return {
        "longitude_deg": float(longitude),
        "latitude_deg": float(latitude),
        "x_m": x_m,
        "y_m": y_m,
        "position": str(position) if position else None,
        "road": position.road if position else None,
        "pr": position.pr if position else None,
        "abscissa_m": position.abscissa_m if position else None,
        "side": position.side if position else None,
        "road_distance_m": position.distance_m if position else None,
    }


def in_box(
    west_deg: float, south_deg: float, east_deg: float, north_deg: float,
    *,
    since: datetime | None = None, until: datetime | None = None,
    everything: bool = False, offset: int = 0, limit: int = 100,
) -> Page:  # fmt: skip
    """The panoramas in a box of degrees, its edges included. Raises PlaceError, NotReady."""
    held = index()
    chosen = replace(
        open_campaigns(held, everything),
        since_us=_microseconds(since),
        until_us=_microseconds(until),
    )
    places = held.box(*around(west_deg, south_deg, east_deg, north_deg), chosen)
    longitude, latitude = held.columns["longitude_deg"], held.columns["latitude_deg"]
    inside = (longitude[places] >= west_deg) & (longitude[places] <= east_deg)
    inside &= (latitude[places] >= south_deg) & (latitude[places] <= north_deg)
    places = places[inside]
    keys = _identifiers(held, places[offset : offset + limit])
    rows = visible(everything).in_bulk(keys)
    return Page([rows[key] for key in keys if key in rows], len(places))


def of_commune(
    code: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    everything: bool = False,
    offset: int = 0,
    limit: int = 100,
) -> Page:
    """The panoramas of a commune, in the order in which they were taken."""
    rows = visible(everything).filter(commune=code)
    if since is not None:
        rows = rows.filter(taken_at__gte=since)
    if until is not None:
        rows = rows.filter(taken_at__lte=until)
    ordered = rows.order_by("taken_at", "pk")
    return Page(list(ordered[offset : offset + limit]), rows.count())


def nearest_view(
    longitude_deg: float, latitude_deg: float, at: datetime | None = None
) -> queries.View | None:
    """The answer to `core.queries.nearest_view`: published views only, none beyond
    `VIEW_WITHIN_M`."""
    try:
        found = nearest(longitude_deg, latitude_deg, at)
    except (NotReady, PlaceError):
        return None
    if found is None or found.distance_m > VIEW_WITHIN_M:
        return None
    seen = found.panorama
    return queries.View(
        url=view_url(seen),
        taken_at=seen.taken_at,
        distance_m=found.distance_m,
        longitude_deg=seen.longitude_deg,
        latitude_deg=seen.latitude_deg,
        heading_deg=facing_deg(seen, *metres(longitude_deg, latitude_deg)),
    )


def view_url(panorama: Panorama) -> str:
    """The page that shows a panorama."""
    try:
        return reverse("street:view", args=[panorama.pk])
    except NoReverseMatch:
        return f"/street/vue/{panorama.pk}/"


def facing_deg(panorama: Panorama, x_m: float, y_m: float) -> float:
    """The heading from true north that faces a point from a panorama; where the panorama is at
    the point, its own."""
    east, north = x_m - panorama.x_m, y_m - panorama.y_m
    if math.hypot(east, north) < 0.5:
        return panorama.heading_deg
    grid = math.degrees(math.atan2(east, north))
    place = panorama.longitude_deg, panorama.latitude_deg
    return (grid + projection.convergence_deg(*place, _crs())) % 360.0


# Places -------------------------------------------------------------------------------------------


def _crs() -> int:
    return projection.metric_crs(settings.DEPARTEMENT)


def metres(longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    """Degrees of RGF93 → metres of the département's projection. Raises PlaceError."""
    if not (-180 <= longitude_deg <= 180 and -90 <= latitude_deg <= 90):
        raise PlaceError("Une longitude est entre -180 et 180, une latitude entre -90 et 90.")
    x, y = projection.lonlat_to_metres([longitude_deg], [latitude_deg], _crs())[0]
    if not (math.isfinite(x) and math.isfinite(y)):
        raise PlaceError("Ce lieu est hors de la projection du département.")
    return float(x), float(y)


def around(west: float, south: float, east: float, north: float) -> tuple[float, ...]:
    """A box of metres that holds a box of degrees: its edges are bent in the projection."""
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise PlaceError("Un cadre est « ouest,sud,est,nord », en degrés.")
    steps = np.linspace(0, 1, 33)
    longitudes = west + (east - west) * steps
    latitudes = south + (north - south) * steps
    edge = projection.lonlat_to_metres(
        np.concatenate([longitudes, longitudes, np.full(33, west), np.full(33, east)]),
        np.concatenate([np.full(33, south), np.full(33, north), latitudes, latitudes]),
        _crs(),
    )
    if not np.isfinite(edge).all():
        edge = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
    low, high = edge.min(0), edge.max(0)
    bulge = 1.0 + 0.01 * (high - low)  # of an edge between two of its points
    low, high = low - bulge, high + bulge
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _identifiers(held: PanoramaIndex, places: Sequence[int] | Any) -> list[UUID]:
    return [UUID(bytes=held.identifier(place)) for place in places]


def read_place(text: str) -> tuple[float, float]:
    """`5.0415,47.3220` → longitude, latitude. Raises PlaceError."""
    try:
        longitude, latitude = (float(part) for part in text.split(","))
    except ValueError:
        raise PlaceError(
            f"« {text} » n'est pas un lieu : écrivez longitude,latitude, par exemple 5.0415,47.3220."
        ) from None
    metres(longitude, latitude)
    return longitude, latitude


def read_box(text: str) -> tuple[float, float, float, float]:
    """`4.9,47.2,5.1,47.4` → west, south, east, north. Raises PlaceError."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise PlaceError("Un cadre est « ouest,sud,est,nord », en degrés.") from None
    return west, south, east, north


def read_instant(at: str | None) -> datetime | None:
    """An instant as RFC 3339. Raises PlaceError."""
    if not at:
        return None
    try:
        return clock.parse_rfc3339(at)
    except ValueError:
        raise PlaceError(
            f"« {at} » n'est pas un instant : écrivez par exemple 2026-06-01T12:00:00Z."
        ) from None
