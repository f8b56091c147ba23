"""What the viewer shows of a panorama, and to whom. Reads only."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.db.models import QuerySet
from django.urls import reverse

from souverain.core import clock
from souverain.core.access import Actor, permits
from souverain.core.format import datetime_fr
from souverain.core.models import Organisation
from souverain.street import finding, server
from souverain.street.engine.panorama_index import PanoramaIndex
from souverain.street.models import Campaign, Panorama, PanoramaLink
from souverain.territory.engine.projection import convergence_deg

logger = logging.getLogger(__name__)

SAME_PLACE_M = 4.0
"""As far apart as two campaigns' panoramas of one place may be: less than their spacing."""
SAME_DECK_M = 3.0
"""As far apart in height: a bridge is not the road beneath it."""
_VIEW_PATH = re.compile(r"/street/vue/([0-9a-f-]{36})/?$")
_WINDS = ("nord", "nord-est", "est", "sud-est", "sud", "sud-ouest", "ouest", "nord-ouest")
_DATES = 20
_NEIGHBOURS = 500
_LINKS = 24


def works_here(actor: Actor) -> bool:
    """Whether the actor sees campaigns that are not published: the desk of the whole département,
    as for the pictures themselves (`server`)."""
    departement = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    return permits(actor, "street.desk", organisation=departement)


def visible(actor: Actor) -> QuerySet[Panorama]:
    """The panoramas that the actor may look at: the published ones, or for the desk all that are
    ready."""
    return finding.visible(works_here(actor))


def description(panorama: Panorama, actor: Actor) -> dict[str, Any]:
    """All that the viewer needs, in JSON's types; links and dates lead only where the actor may go.

    Headings named `grid` are clockwise from the map grid's north, the world of `engine.sphere`;
    the others from true north."""
    turn = convergence_deg(panorama.longitude_deg, panorama.latitude_deg)
    campaign = panorama.campaign
    everything = works_here(actor)
    return {
        "id": str(panorama.pk),
        "campaign": campaign.name,
        "campaign_title": campaign.title,
        "published": campaign.state == Campaign.State.PUBLISHED,
        "provenance": campaign.provenance,
        "provenance_fr": campaign.get_provenance_display(),
        "licence": campaign.licence,
        "taken_at": clock.rfc3339(panorama.taken_at),
        "taken_at_fr": datetime_fr(panorama.taken_at),
        "longitude_deg": panorama.longitude_deg,
        "latitude_deg": panorama.latitude_deg,
        "x_m": panorama.x_m,
        "y_m": panorama.y_m,
        "z_m": panorama.z_m,
        "datum": panorama.datum,
        "heading_deg": panorama.heading_deg,
        "grid_heading_deg": (panorama.heading_deg - turn) % 360.0,
        "pitch_deg": panorama.pitch_deg,
        "roll_deg": panorama.roll_deg,
        "convergence_deg": turn,
        "sigma_xy_m": panorama.sigma_xy_m,
        "sigma_z_m": panorama.sigma_z_m,
        "sigma_heading_deg": panorama.sigma_heading_deg,
        "sigma_tilt_deg": panorama.sigma_tilt_deg,
        "road": panorama.road or None,
        "pr": panorama.pr,
        "abscissa_m": panorama.abscissa_m,
        "side": panorama.side or None,
        "place_fr": place_fr(panorama),
        "commune": panorama.commune or None,
        "width": panorama.width,
        "height": panorama.height,
        "crop": panorama.crop,
        "version": panorama.version,
        "tiles": f"/street/tiles/{panorama.pk}/{panorama.version}/{{level}}/{{column}}_{{row}}.jpg",
        "levels": levels(panorama),
        "page": reverse("street:view", args=[panorama.pk]),
        "links": links(panorama, everything),
        "dates": dates(panorama, everything),
    }


def place_fr(panorama: Panorama) -> str:
    """Where it is, as people say it: « D971 PR 12+350, Beaune »; coordinates
    when neither is known, and for what was drawn its number in its campaign."""
    parts = [road_position(panorama), commune_name(panorama.commune)]
    said = ", ".join(part for part in parts if part)
    if said:
        return said
    if panorama.campaign.provenance == Campaign.Provenance.SYNTHETIC:
        return f"{panorama.campaign.title}, vue {panorama.rank + 1}"
    longitude, latitude = panorama.longitude_deg, panorama.latitude_deg
    return f"{latitude:.5f}° N, {longitude:.5f}° E".replace(".", ",")


def road_position(panorama: Panorama) -> str:
    """`D971 PR 12+350`; empty when the road is not known."""
    if not panorama.road:
        return ""
    if panorama.abscissa_m is None:
        return panorama.road
    if panorama.pr is None:
        return f"{panorama.road} +{round(panorama.abscissa_m)} m"
    return f"{panorama.road} PR {panorama.pr}{round(panorama.abscissa_m):+d}"


def commune_name(code: str) -> str:
    if not code:
        return ""
    found = Organisation.objects.filter(kind=Organisation.Kind.COMMUNE, code=code).first()
    return found.name if found else ""


def links(panorama: Panorama, everything: bool) -> list[dict[str, Any]]:
    """Where one can walk to from here, the next along the road first."""
    made = (
        PanoramaLink.objects.filter(origin=panorama, target__in=finding.visible(everything))
        .select_related("target")
        .order_by("-along", "pk")[:_LINKS]
    )
    return [_link(panorama, link.target, link.along) for link in made]


def _link(panorama: Panorama, target: Panorama, along: bool) -> dict[str, Any]:
    east, north = target.x_m - panorama.x_m, target.y_m - panorama.y_m
    heights = panorama.z_m is not None and target.z_m is not None
    comparable = heights and panorama.datum == target.datum
    heading = math.degrees(math.atan2(east, north)) % 360.0
    turn = convergence_deg(panorama.longitude_deg, panorama.latitude_deg)
    by = f" par la {target.road}" if target.road else ""
    return {
        "id": str(target.pk),
        "along": along,
        "label_fr": f"{towards_fr(heading + turn)}{by}",
        "grid_heading_deg": heading,
        "distance_m": math.hypot(east, north),
        "rise_m": target.z_m - panorama.z_m if comparable else None,  # type: ignore[operator]
        "road": target.road or None,
        "page": reverse("street:view", args=[target.pk]),
    }


def towards_fr(heading_deg: float) -> str:
    """A heading from true north in words: « Vers l’est », to an eighth of a turn."""
    wind = _WINDS[round(heading_deg / 45.0) % 8]
    return f"Vers l’{wind}" if wind[0] in "eo" else f"Vers le {wind}"


def dates(panorama: Panorama, everything: bool) -> list[dict[str, Any]]:
    """The same place in the other campaigns, the nearest panorama of each, latest first; none
    while the index is being built."""
    try:
        held = finding.index()
    except finding.NotReady:
        return []
    chosen = finding.open_campaigns(held, everything)
    places, _ = held.radius(panorama.x_m, panorama.y_m, SAME_PLACE_M, chosen)
    keys = [UUID(bytes=held.identifier(place)) for place in places[:_NEIGHBOURS]]
    near = finding.visible(everything).exclude(campaign=panorama.campaign_id).filter(pk__in=keys)
    nearest: dict[Any, tuple[float, Panorama]] = {}
    for other in near:
        apart = math.hypot(other.x_m - panorama.x_m, other.y_m - panorama.y_m)
        best = nearest.get(other.campaign_id)
        if apart <= SAME_PLACE_M and _same_deck(panorama, other) and (not best or apart < best[0]):
            nearest[other.campaign_id] = apart, other
    found = sorted(nearest.values(), key=lambda item: item[1].taken_at, reverse=True)[:_DATES]
    return [
        {
            "id": str(other.pk),
            "campaign": other.campaign.name,
            "campaign_title": other.campaign.title,
            "provenance": other.campaign.provenance,
            "taken_at": clock.rfc3339(other.taken_at),
            "taken_at_fr": datetime_fr(other.taken_at),
            "distance_m": apart,
            "page": reverse("street:view", args=[other.pk]),
        }
        for apart, other in found
    ]


def _same_deck(one: Panorama, other: Panorama) -> bool:
    if one.z_m is None or other.z_m is None or one.datum != other.datum:
        return True
    return abs(one.z_m - other.z_m) <= SAME_DECK_M


def levels(panorama: Panorama) -> list[dict[str, int]]:
    """The levels of its pyramid, largest first; empty while it has none, or none can be read."""
    if not panorama.pyramid_key:
        return []
    try:
        return [asdict(level) for level in server.pyramid(panorama.pyramid_key).levels]
    except (OSError, ValueError) as error:
        logger.error("the pyramid of panorama %s cannot be read: %s", panorama.pk, error)
        return []


def small_picture(panorama: Panorama) -> str:
    """The address of its smallest picture, the whole sphere in one tile; empty while it has none."""
    cut = levels(panorama)
    if not cut:
        return ""
    return f"/street/tiles/{panorama.pk}/{panorama.version}/{len(cut) - 1}/0_0.jpg"


@dataclass(frozen=True)
class Shown:
    """How many panoramas may be seen, how many of them are computed, where (west, south, east,
    north; degrees), and the last one taken."""

    count: int = 0
    synthetic: int = 0
    bounds: tuple[float, float, float, float] | None = None
    latest: Panorama | None = None


def shown(everything: bool) -> Shown:
    """What may be seen, by the index; nothing while it is being built."""
    try:
        held = finding.index()
    except finding.NotReady:
        return Shown()
    columns, open_ones = held.columns, finding.open_campaigns(held, everything).campaigns
    places = np.arange(len(held))
    if open_ones is not None:
        places = np.flatnonzero(open_ones[columns["campaign"]])
    if not len(places):
        return Shown()
    longitude, latitude = columns["longitude_deg"][places], columns["latitude_deg"][places]
    edges = longitude.min(), latitude.min(), longitude.max(), latitude.max()
    last = held.identifier(places[np.argmax(columns["taken_us"][places])])
    latest = finding.visible(everything).filter(pk=UUID(bytes=last)).first()
    synthetic = _synthetic(held)[columns["campaign"][places]].sum()
    return Shown(len(places), int(synthetic), tuple(map(float, edges)), latest)


def _synthetic(held: PanoramaIndex) -> npt.NDArray[np.bool_]:
    """Which of the index's campaigns are made of computed pictures."""
    made = Campaign.objects.filter(provenance=Campaign.Provenance.SYNTHETIC)
    names = set(made.values_list("name", flat=True))
    return np.array([name in names for name in held.campaigns], bool)


def read_address(text: str) -> dict[str, Any]:
    """The viewer's address of a view → `panorama`, `yaw_deg`, `elevation_deg`. Raises ValueError,
    in French."""
    parts = urlsplit(text.strip())
    asked = parse_qs(parts.query)
    named = _VIEW_PATH.search(parts.path)
    key = named[1] if named else asked.get("panorama", [""])[0]
    try:
        panorama = UUID(key)
        yaw, elevation = (float(asked.get(name, ["0"])[0]) for name in ("yaw", "elevation"))
    except ValueError:
        raise ValueError("Cette adresse n'est pas celle d'une vue.") from None
    if not (-360 <= yaw <= 360 and -90 <= elevation <= 90):
        raise ValueError("Cette adresse regarde dans une direction qui n'existe pas.")
    return {"panorama": panorama, "yaw_deg": yaw, "elevation_deg": elevation}
