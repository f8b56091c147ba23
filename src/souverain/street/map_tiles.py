"""The map's vector tiles: what was driven, as lines, and the panoramas, as points.

Low zooms come from a file prepared with the index (`finding.rebuild`); high ones are made from the
index when asked. The public's tiles have published campaigns only, by the records of now.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

from souverain.core import access
from souverain.street import finding
from souverain.street.engine import vector_tiles
from souverain.street.engine.packed import DamagedFile
from souverain.street.engine.panorama_index import Chosen, PanoramaIndex
from souverain.street.engine.vector_tiles import Drives, LinePack

logger = logging.getLogger(__name__)
CONTENT_TYPE = "application/vnd.mapbox-vector-tile"
_AGE_S = 60


@access.requires("street.stroll")
def tile(request: HttpRequest, z: int, x: int, y: int) -> HttpResponse:
    """One tile, `unpublished=1` for who has the right to the desk; 204 where there is nothing."""
    everything = request.GET.get("unpublished") == "1"
    if everything:
        access.require(request.actor, "street.desk", **access.of_departement())  # type: ignore[attr-defined]
    if not vector_tiles.LOWEST <= z <= vector_tiles.HIGHEST or max(x, y) >= 1 << z:
        raise Http404
    try:
        held = finding.index()
        chosen = finding.open_campaigns(held, everything)
        etag = _etag(held, chosen)
        content = None
        if request.headers.get("If-None-Match") != etag:
            content = render(held, chosen, z, x, y)
    except finding.NotReady as error:
        return HttpResponse(str(error), status=503, content_type="text/plain; charset=utf-8")
    response = HttpResponse(content or b"", content_type=CONTENT_TYPE)
    if content == b"":
        response.status_code = 204
    response.headers["ETag"] = etag
    shared = "private" if everything else "public"
    response.headers["Cache-Control"] = f"{shared}, max-age={_AGE_S}"
    return get_conditional_response(request, etag=etag, response=response) or response


def render(held: PanoramaIndex, chosen: Chosen, z: int, x: int, y: int) -> bytes:
    """The tile's bytes, empty where there is nothing. Raises finding.NotReady."""
    if z <= vector_tiles.PREPARED_TO:
        parts = _pack(held).tile(z, x, y)
        shown = [part for part in parts if _is_open(chosen, part[0])]
        return vector_tiles.line_layer(shown, held.campaigns)
    margin = vector_tiles.BUFFER / vector_tiles.EXTENT + 2.0 ** (z - 20)  # and 30 m or more
    places = held.box(*finding.around(*vector_tiles.bounds_deg(z, x, y, margin)), chosen)
    drives = drives_of(held, places)
    lines = vector_tiles.line_layer(vector_tiles.lines_of_tile(drives, z, x, y), held.campaigns)
    if z < vector_tiles.POINTS_FROM:
        return lines
    return lines + _points(held, places, drives, z, x, y)


def _points(
    held: PanoramaIndex, places: finding.Places, drives: Drives, z: int, x: int, y: int
) -> bytes:
    points = np.column_stack([drives.x, drives.y]) * 2.0**z - (x, y)
    near = np.flatnonzero(((points >= -0.02) & (points < 1.02)).all(1))
    near = near[:: len(near) // vector_tiles.POINTS_MAX + 1]
    identifiers = [str(UUID(bytes=held.identifier(place))) for place in places[near]]
    quantised = np.rint(points[near] * vector_tiles.EXTENT).astype(np.int64)
    return vector_tiles.point_layer(quantised, drives.campaign[near], identifiers, held.campaigns)


def drives_of(held: PanoramaIndex, places: finding.Places | None = None) -> Drives:
    """Panoramas of the index (all of them by default) as drives."""
    taken = slice(None) if places is None else places
    columns = {name: column[taken] for name, column in held.columns.items()}
    return Drives(
        *vector_tiles.mercator(columns["longitude_deg"], columns["latitude_deg"]),
        columns["sequence"],
        columns["rank"],
        columns["campaign"],
        columns["x_m"],
        columns["y_m"],
    )


def _is_open(chosen: Chosen, campaign: int) -> bool:
    return chosen.campaigns is None or bool(chosen.campaigns[campaign])


def _etag(held: PanoramaIndex, chosen: Chosen) -> str:
    shown = b"*" if chosen.campaigns is None else chosen.campaigns.tobytes()
    return f'"{hashlib.sha256(held.stamp.encode() + shown).hexdigest()[:24]}"'


# The prepared file --------------------------------------------------------------------------------


def pack_path() -> Path:
    return Path(settings.HOME) / "street" / "lines.tiles"


@dataclass
class _Held:
    pack: LinePack | None = None


_held = _Held()


def _pack(held: PanoramaIndex) -> LinePack:
    """The lines prepared for this index: made at once when it is small."""
    kept = _held.pack
    if kept is not None and kept.stamp == held.stamp:
        return kept
    try:
        kept = _held.pack = vector_tiles.load(pack_path())
    except FileNotFoundError:
        kept = None
    except (DamagedFile, OSError) as error:
        logger.warning("street tiles refused: %s", error)
        kept = None
    if kept is not None and kept.stamp == held.stamp:
        return kept
    if len(held) <= finding.SMALL:
        return prepare(held)
    finding.ask_for_a_build()
    raise finding.NotReady("La carte des images se construit : recommencez dans une minute.")


def prepare(held: PanoramaIndex) -> LinePack:
    """Make the low zooms of an index and put them in the place of the former ones."""
    pack = vector_tiles.prepare(drives_of(held), held.stamp)
    pack.save(pack_path())
    _held.pack = pack
    return pack
