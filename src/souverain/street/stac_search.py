"""What a STAC search asks, read strictly, and the panoramas that answer it, page by page.

Source: stac-api-spec 1.0.0, item-search and ogcapi-features; `place_position` and `place_distance`
are Panoramax's. A page begins after the last panorama of the one before, whatever came meanwhile.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import shapely
from django.db.models import F, Q, QuerySet

from souverain.street.models import Panorama
from souverain.territory.engine import projection

DEFAULT_LIMIT, LARGEST_LIMIT = 10, 500
_VALUES_MAX, _VERTICES_MAX = 1000, 10_000
_LOOKED_AT_MAX = 200_000
"""Panoramas in the box of a shape that are compared with the shape itself, for one page."""
_CHUNK = 5000
_PLACE_MAX_M = 500.0
_HIGHEST = 1e9
"""Of a box's numbers, heights included: JSON has integers that no float holds."""
_KNOWN = frozenset(
    [
        "bbox",
        "intersects",
        "datetime",
        "ids",
        "collections",
        "limit",
        "token",
        "sortby",
        "place_position",
        "place_distance",
        "place_fov_tolerance",
    ]
)
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?([Zz]|[+-]\d{2}:\d{2})"
)
_NUMBER = re.compile(r"[+-]?\d{1,6}(?:\.\d{1,15})?")


class Refused(ValueError):
    """An answer that is not a success: an HTTP status and a French sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _bad(message: str) -> Refused:
    return Refused(400, message)


@dataclass(frozen=True)
class Place:
    """A place that one wants to see, from between two distances."""

    longitude_deg: float
    latitude_deg: float
    nearest_m: float = 3.0
    farthest_m: float = 15.0


@dataclass(frozen=True)
class Search:
    bbox: tuple[float, float, float, float] | None = None
    shape: Any = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[uuid.UUID, ...] | None = None
    collections: tuple[uuid.UUID, ...] | None = None
    place: Place | None = None
    limit: int = DEFAULT_LIMIT
    sort: str = "id"
    token: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)


def of_query(query: Mapping[str, str]) -> Search:
    """A search as an address says it. Raises Refused."""
    asked: dict[str, Any] = {name: query[name] for name in _KNOWN if query.get(name)}
    for name in ("ids", "collections"):
        if name in asked:
            asked[name] = [part for part in asked[name].strip("[]").split(",") if part]
    if "bbox" in asked:
        parts = asked["bbox"].split(",")
        if not all(_NUMBER.fullmatch(part.strip()) for part in parts):
            raise _bad("bbox : des nombres séparés par des virgules sont attendus.")
        asked["bbox"] = [float(part) for part in parts]
    if "intersects" in asked:
        try:
            asked["intersects"] = json.loads(asked["intersects"])
        except (ValueError, RecursionError):
            raise _bad("intersects : une géométrie GeoJSON est attendue.") from None
    if "limit" in query:
        asked["limit"] = query["limit"]
    return _read(asked)


def of_body(body: bytes) -> Search:
    """A search as JSON. Raises Refused."""
    try:
        asked = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise _bad("Le corps de la demande n'est pas du JSON.") from None
    if not isinstance(asked, dict):
        raise _bad("Le corps de la demande doit être un objet JSON.")
    return _read({name: value for name, value in asked.items() if name in _KNOWN})


def _read(asked: dict[str, Any]) -> Search:
    if "bbox" in asked and "intersects" in asked:
        raise _bad("bbox ou intersects : l'un ou l'autre, pas les deux.")
    since, until = _interval(asked["datetime"]) if "datetime" in asked else (None, None)
    return Search(
        bbox=_bbox(asked["bbox"]) if "bbox" in asked else None,
        shape=_shape(asked["intersects"]) if "intersects" in asked else None,
        since=since,
        until=until,
        ids=_uuids("ids", asked["ids"]) if "ids" in asked else None,
        collections=_uuids("collections", asked["collections"]) if "collections" in asked else None,
        place=_place(asked) if "place_position" in asked else None,
        limit=limit_of(asked.get("limit", DEFAULT_LIMIT)),
        sort=_sort(asked.get("sortby", "")),
        token=_token(asked.get("token", "")),
        asked=asked,
    )


def limit_of(said: Any, largest: int = LARGEST_LIMIT) -> int:
    """A number from 1; more than the largest page is the largest page."""
    text = str(said)
    if isinstance(said, bool | float) or not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise _bad("limit : un nombre entier à partir de 1 est attendu.")
    if (limit := int(text)) < 1 or limit > 10_000_000:
        raise _bad("limit : un nombre entier à partir de 1 est attendu.")
    return min(limit, largest)


def _token(said: Any) -> str:
    if not isinstance(said, str) or len(said) > 100:
        raise _bad("token : prenez celui du lien « next » de la page précédente.")
    return said


def _bbox(said: Any) -> tuple[float, float, float, float]:
    numbers = isinstance(said, list) and all(
        isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= _HIGHEST for x in said
    )
    if not numbers or len(said) not in (4, 6):
        raise _bad("bbox : 4 nombres (ouest, sud, est, nord) ou 6 sont attendus.")
    half = len(said) // 2
    west, south, east, north = said[0], said[1], said[half], said[half + 1]
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= north <= 90):
        raise _bad("bbox : des degrés, ouest, sud, est, nord, le sud sous le nord, sont attendus.")
    if half == 3 and said[2] > said[5]:
        raise _bad("bbox : la hauteur basse doit être sous la haute.")
    return float(west), float(south), float(east), float(north)


def _shape(said: Any) -> Any:
    if not isinstance(said, dict) or not isinstance(said.get("type"), str):
        raise _bad("intersects : une géométrie GeoJSON est attendue.")
    try:
        shape = shapely.from_geojson(json.dumps(said))
        whole = shape is not None and not shape.is_empty and shape.is_valid
    except (shapely.errors.ShapelyError, ValueError, RecursionError):
        whole = False
    if not whole:
        raise _bad("intersects : cette géométrie GeoJSON est vide ou n'est pas valable.")
    if shapely.get_num_coordinates(shape) > _VERTICES_MAX:
        raise _bad(f"intersects : {_VERTICES_MAX} points au plus.")
    if not np.isfinite(shape.bounds).all():
        raise _bad("intersects : des degrés sont attendus.")
    shapely.prepare(shape)
    return shape


def _interval(said: Any) -> tuple[datetime | None, datetime | None]:
    """RFC 3339: an instant, or two with `/` between, one of which may be open (`..`)."""
    if not isinstance(said, str):
        raise _bad("datetime : une date RFC 3339 ou un intervalle est attendu.")
    ends = said.split("/")
    if len(ends) == 1:
        instant = _instant(ends[0])
        return instant, instant
    if len(ends) != 2:
        raise _bad("datetime : un seul « / » entre le début et la fin.")
    since, until = (None if end in ("", "..") else _instant(end) for end in ends)
    if since is None and until is None:
        raise _bad("datetime : le début ou la fin doit être donné.")
    if since is not None and until is not None and since > until:
        raise _bad("datetime : le début doit précéder la fin.")
    return since, until


def _instant(text: str) -> datetime:
    found = _RFC3339.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day, time, fraction, zone = found.groups()
        seconds = "59" if (leap := time.endswith(":60")) else time[-2:]
        written = f"{day}T{time[:-2]}{seconds}.{(fraction or '0')[:6].ljust(6, '0')}"
        instant = datetime.fromisoformat(written + ("+00:00" if zone in "Zz" else zone))
        if leap and not (instant.minute == 59):
            raise ValueError
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad(
            f"datetime : « {text[:40]} » n'est pas un instant RFC 3339 (2026-06-01T12:00:00Z)."
        ) from None


def _uuids(name: str, said: Any) -> tuple[uuid.UUID, ...]:
    """Those of the list that can name something of ours: another's id names nothing."""
    if not isinstance(said, list) or len(said) > _VALUES_MAX:
        raise _bad(f"{name} : une liste de {_VALUES_MAX} identifiants au plus est attendue.")
    found = []
    for one in said:
        if not isinstance(one, str):
            raise _bad(f"{name} : une liste d'identifiants est attendue.")
        try:
            found.append(uuid.UUID(one.strip().strip("\"'")))
        except ValueError:
            continue
    return tuple(found)


def _place(asked: Mapping[str, Any]) -> Place:
    position, distance = asked["place_position"], asked.get("place_distance", "3-15")
    parts = position.split(",") if isinstance(position, str) else []
    if len(parts) != 2 or not all(_NUMBER.fullmatch(part.strip()) for part in parts):
        raise _bad("place_position : longitude,latitude en degrés sont attendues.")
    longitude, latitude = (float(part) for part in parts)
    if not (-180 <= longitude <= 180 and -90 < latitude < 90):
        raise _bad("place_position : longitude,latitude en degrés sont attendues.")
    range_m = re.fullmatch(r"(\d{1,4})-(\d{1,4})", distance) if isinstance(distance, str) else None
    if range_m is None or not int(range_m[1]) <= int(range_m[2]) <= _PLACE_MAX_M:
        raise _bad(f"place_distance : « 3-15 », en mètres, {_PLACE_MAX_M:.0f} au plus.")
    return Place(longitude, latitude, float(range_m[1]), float(range_m[2]))


def _sort(said: Any) -> str:
    """The key of `_SORTS`. STAC's list of objects, or Panoramax's text."""
    if isinstance(said, list) and len(said) == 1 and isinstance(said[0], dict):
        sign = "-" if said[0].get("direction") == "desc" else ""
        said = f"{sign}{said[0].get('field', '')}"
    if not said:
        return "id"
    name = said.strip().removeprefix("+") if isinstance(said, str) else ""
    name = name.replace("properties.", "").replace("datetime", "ts")
    if name not in ("ts", "-ts", "id", "-id"):
        raise _bad("sortby : +ts, -ts, +id ou -id.")
    return name


# The answer --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """Panoramas in order, and the token of the page that follows, empty after the last."""

    panoramas: list[Panorama]
    next_token: str


def run(visible: QuerySet[Panorama], search: Search) -> Page:
    """The page that a search asks, among the panoramas that the caller may see. Raises Refused."""
    wanted = filtered(visible, search)
    if search.place is not None:
        return _around(wanted, search.place, search)
    ordered = _after(wanted, search)
    if search.shape is None:
        found = list(ordered[: search.limit + 1])
        return _page(found, search)
    return _inside(ordered, search)


def filtered(visible: QuerySet[Panorama], search: Search) -> QuerySet[Panorama]:
    if search.ids is not None:
        visible = visible.filter(pk__in=search.ids)
    if search.collections is not None:
        visible = visible.filter(sequence__in=search.collections)
    if search.since is not None:
        visible = visible.filter(taken_at__gte=search.since)
    if search.until is not None:
        visible = visible.filter(taken_at__lte=search.until)
    if search.bbox is not None:
        visible = visible.filter(_in_box(*search.bbox))
    if search.shape is not None:
        visible = visible.filter(_in_box(*search.shape.bounds))
    return visible


def _in_box(west: float, south: float, east: float, north: float) -> Q:
    """West of east, or across the antimeridian."""
    latitudes = Q(latitude_deg__gte=south, latitude_deg__lte=north)
    if west <= east:
        return latitudes & Q(longitude_deg__gte=west, longitude_deg__lte=east)
    return latitudes & (Q(longitude_deg__gte=west) | Q(longitude_deg__lte=east))


def _after(wanted: QuerySet[Panorama], search: Search) -> QuerySet[Panorama]:
    """In order, after the token's panorama."""
    down = search.sort.startswith("-")
    beyond, sign = ("lt", "-") if down else ("gt", "")
    last = _last(search)
    if search.sort.endswith("id"):
        if last is not None:
            wanted = wanted.filter(**{f"pk__{beyond}": last.pk})
        return wanted.order_by(f"{sign}pk")
    if last is not None:
        wanted = wanted.filter(
            Q(**{f"taken_at__{beyond}": last.taken_at})
            | Q(taken_at=last.taken_at, **{f"pk__{beyond}": last.pk})
        )
    return wanted.order_by(f"{sign}taken_at", f"{sign}pk")


def _last(search: Search) -> Panorama | None:
    if not search.token:
        return None
    try:
        return Panorama.objects.only("pk", "taken_at").get(pk=uuid.UUID(search.token))
    except (ValueError, Panorama.DoesNotExist):
        raise _bad("token : prenez celui du lien « next » de la page précédente.") from None


def _page(found: list[Panorama], search: Search) -> Page:
    """`found` has one more than the page when there is a page after it."""
    shown = found[: search.limit]
    return Page(shown, str(shown[-1].pk) if len(found) > search.limit else "")


def _inside(ordered: QuerySet[Panorama], search: Search) -> Page:
    """Those whose very position is in the shape: its box was only a first sieve."""
    found: list[uuid.UUID] = []
    rows = ordered.values_list("pk", "longitude_deg", "latitude_deg").iterator(_CHUNK)
    for _ in range(_LOOKED_AT_MAX // _CHUNK):
        chunk = list(itertools.islice(rows, _CHUNK))
        if not chunk or len(found) > search.limit:
            break
        keys, longitudes, latitudes = zip(*chunk, strict=True)
        inside = shapely.intersects_xy(search.shape, longitudes, latitudes)
        found += [key for key, yes in zip(keys, inside, strict=True) if yes]
    else:
        raise _bad("intersects : cette forme est trop grande et trop mince ; découpez-la.")
    wanted = found[: search.limit + 1]
    rest: Any = ordered.filter(pk__in=wanted)
    return _page(list(rest), search)


def _around(wanted: QuerySet[Panorama], place: Place, search: Search) -> Page:
    """Those between two distances of a place, the nearest first; the token counts."""
    if not re.fullmatch(r"[0-9]{1,7}", search.token or "0"):
        raise _bad("token : prenez celui du lien « next » de la page précédente.")
    done = int(search.token or "0")
    x, y = projection.lonlat_to_metres([place.longitude_deg], [place.latitude_deg])[0]
    reach_deg = place.farthest_m / 111_000 * 1.1
    wide_deg = reach_deg / math.cos(math.radians(place.latitude_deg))
    box = _in_box(
        place.longitude_deg - wide_deg,
        place.latitude_deg - reach_deg,
        place.longitude_deg + wide_deg,
        place.latitude_deg + reach_deg,
    )
    rows = wanted.filter(box).order_by("pk")
    squared = (F("x_m") - float(x)) * (F("x_m") - float(x)) + (F("y_m") - float(y)) * (
        F("y_m") - float(y)
    )
    found = list(
        rows.annotate(squared=squared)
        .filter(squared__gte=place.nearest_m**2, squared__lte=place.farthest_m**2)
        .order_by("squared", "pk")[done : done + search.limit + 1]
    )
    more = len(found) > search.limit
    return Page(found[: search.limit], str(done + search.limit) if more else "")
