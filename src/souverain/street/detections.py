"""What a detector found in panoramas becomes items to verify. The product has no detector of its
own: a file says which one, and with what F1 on what pictures. Without that, nothing is taken."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from django.db import transaction

from souverain.core import journal
from souverain.core.access import Actor
from souverain.core.format import number_fr
from souverain.core.transactions import serialise_writers
from souverain.street import campaigns, inventory, positioning
from souverain.street.campaigns import CampaignError
from souverain.street.engine import merging, triangulation
from souverain.street.engine.merging import MergedItem, Placed, Sighted
from souverain.street.engine.triangulation import Refused
from souverain.street.inventory import InventoryError
from souverain.street.kinds import KINDS
from souverain.street.models import Campaign, Item, Panorama, Sighting
from souverain.street.positioning import Place, Pointed, PositionError

MAX_BYTES = 50_000_000
MAX_DETECTIONS = 100_000
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
"""What JSON can spell and no database writes."""
SIGMA_DEG = 0.15
"""One sigma of a detection's angles, unless it says otherwise: a box's middle is not a corner."""


class DetectionsError(ValueError):
    """The file cannot be taken; the message is French and names the place."""


@dataclass(frozen=True)
class Detector:
    name: str
    version: str
    f1: float
    f1_on: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}, F1 {number_fr(self.f1, 2)}"


@dataclass(frozen=True)
class Detection:
    panorama: str
    """The panorama's id, or the name of its file in the campaign."""
    kind: str
    yaw_deg: float
    elevation_deg: float
    score: float
    sigma_deg: float


@dataclass(frozen=True)
class Detections:
    detector: Detector
    campaign: str
    found: tuple[Detection, ...]


@dataclass
class Imported:
    """What an import did. Detections are numbered from 0 in the order of the file; `seen_again` are
    those that went to items which were there."""

    items: list[Item] = field(default_factory=list)
    seen_again: list[int] = field(default_factory=list)
    unplaced: list[int] = field(default_factory=list)
    doubts: list[tuple[Item, Item]] = field(default_factory=list)


# The file ----------------------------------------------------------------------------------------


def parse(content: bytes) -> Detections:
    """Read a file of docs/schemas/street-detections.schema.json. Raises DetectionsError."""
    if len(content) > MAX_BYTES:
        raise DetectionsError(f"Ce fichier dépasse {MAX_BYTES // 1_000_000} Mo.")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DetectionsError(f"Ce fichier n'est pas du JSON : {_json_place(error)}.") from error
    top = _object(told, "", {"detector", "campaign", "detections"})
    spelt = _object(top["detector"], "detector", {"name", "version", "f1", "f1_on"})
    detector = Detector(
        _text(spelt["name"], "detector.name", 30),
        _text(spelt["version"], "detector.version", 20),
        _number(spelt["f1"], "detector.f1", 0, 1),
        _text(spelt["f1_on"], "detector.f1_on", 200),
    )
    listed = top["detections"]
    if not isinstance(listed, list) or len(listed) > MAX_DETECTIONS:
        raise DetectionsError(
            f"detections : une liste de {MAX_DETECTIONS} détections au plus est attendue."
        )
    found = tuple(_detection(one, f"detections[{i}]") for i, one in enumerate(listed))
    return Detections(detector, _text(top["campaign"], "campaign", 60), found)


def _json_place(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"ligne {error.lineno}, colonne {error.colno}"
    return "texte illisible"


def _detection(told: Any, where: str) -> Detection:
    needed = {"panorama", "kind", "yaw_deg", "elevation_deg", "score"}
    told = _object(told, where, needed, {"sigma_deg"})
    kind = _text(told["kind"], f"{where}.kind", 40)
    if kind not in KINDS:
        raise DetectionsError(f"{where}.kind : « {kind} » n'est pas une sorte d'objet connue.")
    return Detection(
        _text(told["panorama"], f"{where}.panorama", 255),
        kind,
        _number(told["yaw_deg"], f"{where}.yaw_deg", -360, 360),
        _number(told["elevation_deg"], f"{where}.elevation_deg", -90, 90),
        _number(told["score"], f"{where}.score", 0, 1),
        _number(told.get("sigma_deg", SIGMA_DEG), f"{where}.sigma_deg", 0.001, 5),
    )


def _object(
    told: Any, where: str, needed: set[str], more: set[str] | None = None
) -> dict[str, Any]:
    at = f"{where} : " if where else ""
    if not isinstance(told, dict):
        raise DetectionsError(f"{at}un objet JSON est attendu.")
    if missing := sorted(needed - told.keys()):
        raise DetectionsError(f"{at}il manque « {missing[0]} ».")
    if unknown := sorted(told.keys() - needed - (more or set())):
        raise DetectionsError(f"{at}« {unknown[0][:40]} » n'est pas prévu.")
    return told


def _text(told: Any, where: str, length: int) -> str:
    written = isinstance(told, str) and not _UNWRITABLE.search(told)
    if not written or not told.strip() or len(told) > length:
        raise DetectionsError(f"{where} : un texte de 1 à {length} caractères est attendu.")
    return told.strip()


def _number(told: Any, where: str, low: float, high: float) -> float:
    good = isinstance(told, int | float) and not isinstance(told, bool)
    if not good or not low <= told <= high:
        raise DetectionsError(
            f"{where} : un nombre de {number_fr(low, 3)} à {number_fr(high, 3)} est attendu."
        )
    return float(told)


# The import --------------------------------------------------------------------------------------


@transaction.atomic
def take(actor: Actor, detections: Detections) -> Imported:
    """Merge the detections over the views and record what they place, as items to verify; what is
    in the campaign's inventory already is seen again, not doubled. Raises DetectionsError, and
    nothing is written."""
    serialise_writers()
    try:
        campaign = campaigns.find(detections.campaign)
    except CampaignError as error:
        raise DetectionsError(str(error)) from error
    detector = str(detections.detector)
    if campaign.items.filter(detector=detector).exists():
        raise DetectionsError(
            f"Les détections de « {detector} » sont déjà dans la campagne « {campaign.name} »."
        )
    clicks = _clicks(campaign, detections.found)
    placed, unplaced = _place(detections.found, clicks)
    existing = [_placed(item) for item in campaign.items.exclude(covariance_m2__isnull=True)]
    merged = merging.merge_positions([*existing, *placed.values()])
    imported = Imported(unplaced=unplaced)
    by_member: dict[str, Item] = {}
    for one in merged.items:
        item = _record(actor, campaign, detector, one, clicks, imported)
        by_member |= dict.fromkeys(one.members, item)
    for doubt in merged.doubts:
        first, second = (by_member[members[0]] for members in doubt.members)
        if first in imported.items or second in imported.items:
            imported.doubts.append((first, second))
    journal.append(
        actor,
        "street.detections_taken",
        organisation=campaign.organisation.code,
        object=f"campaign:{campaign.pk}",
        data={"items": len(imported.items), "unplaced": len(imported.unplaced)},
    )
    return imported


def _clicks(campaign: Campaign, found: Sequence[Detection]) -> list[Pointed]:
    """Each detection's panorama. Raises DetectionsError for one that is not of the campaign."""
    ready = campaign.panoramas.filter(state=Panorama.State.READY).select_related("campaign")
    by_name: dict[str, Panorama] = {}
    for panorama in ready:
        by_name[str(panorama.pk)] = by_name[panorama.file_name] = panorama
    clicks = []
    for i, one in enumerate(found):
        panorama = by_name.get(one.panorama)
        if panorama is None:
            raise DetectionsError(
                f"detections[{i}].panorama : « {one.panorama} » n'est pas une vue prête de la "
                f"campagne « {campaign.name} »."
            )
        clicks.append(Pointed(panorama, one.yaw_deg, one.elevation_deg))
    return clicks


def _place(
    found: Sequence[Detection], clicks: Sequence[Pointed]
) -> tuple[dict[str, Placed], list[int]]:
    """Where rays of several views meet, and where a ray that met no other meets the road if what
    it shows lies there. Estimates are named by the numbers of their detections: `12 40 41`."""
    try:
        rays = [
            positioning.ray_of(click, one.sigma_deg)
            for one, click in zip(found, clicks, strict=True)
        ]
        positioning.datum_of([click.panorama for click in clicks] or [])
    except PositionError as error:
        raise DetectionsError(str(error)) from error
    heightless = any(click.panorama.z_m is None for click in clicks)
    meeting = [positioning.levelled(ray) for ray in rays] if heightless else rays
    merged = merging.merge_rays(
        Sighted(str(i), one.kind, ray)
        for i, (one, ray) in enumerate(zip(found, meeting, strict=True))
    )
    placed = {" ".join(one.members): _named(one, heightless) for one in merged.items}
    unplaced = []
    for i in sorted(int(name) for name in merged.unplaced):
        single = _on_road(str(i), found[i], rays[i]) if KINDS[found[i].kind].on_road else None
        if single is None:
            unplaced.append(i)
        else:
            placed[single.identifier] = single
    return placed, unplaced


def _named(one: MergedItem, heightless: bool) -> Placed:
    position = one.position_m.copy()
    if heightless:
        position[2] = math.nan
    return Placed(" ".join(one.members), one.kind, position, one.covariance_m2, one.views)


def _on_road(name: str, one: Detection, ray: triangulation.Ray) -> Placed | None:
    try:
        point = triangulation.on_road(ray, positioning.road_under(ray.camera))
    except Refused:
        return None
    view = frozenset([str(ray.camera.key)])
    return Placed(name, one.kind, point.position, point.covariance, view)


def _placed(item: Item) -> Placed:
    """An item of the inventory, named by its id."""
    z = item.z_m if item.z_m is not None else math.nan
    covariance = positioning.matrix(item.covariance_m2)
    assert covariance is not None
    if item.z_m is not None and covariance[2, 2] <= 0:
        z = math.nan
    views = frozenset(str(pk) for pk in item.sightings.values_list("panorama", flat=True))
    return Placed(
        f"item:{item.pk}", item.kind, np.array([item.x_m, item.y_m, z]), covariance, views
    )


def _record(
    actor: Actor,
    campaign: Campaign,
    detector: str,
    one: MergedItem,
    clicks: Sequence[Pointed],
    imported: Imported,
) -> Item:
    """The item that these detections are: the one that was there, or a new one."""
    known = [member for member in one.members if member.startswith("item:")]
    numbers = [int(n) for m in one.members if m not in known for n in m.split()]
    pointed = [clicks[n] for n in numbers]
    if known:
        item = Item.objects.get(pk=UUID(known[0].removeprefix("item:")))
        for click in pointed:
            Sighting.objects.get_or_create(
                item=item,
                panorama=click.panorama,
                defaults={"yaw_deg": click.yaw_deg, "elevation_deg": click.elevation_deg},
            )
        imported.seen_again += numbers
        return item
    position, covariance = one.position_m.copy(), one.covariance_m2
    if any(click.panorama.z_m is None for click in pointed):
        position[2] = np.nan
    datum = positioning.datum_of([click.panorama for click in pointed])
    try:
        item = inventory.record(
            actor,
            one.kind,
            pointed=_one_a_view(pointed)[: inventory.MAX_SIGHTINGS],
            place=Place(position, covariance, datum, Item.Method.DETECTED),
            campaign=campaign,
            surveyed_at=max(click.panorama.taken_at for click in pointed),
            note=f"Trouvé par {detector}, dans {len(pointed)} vues.",
            detector=detector,
        )
    except InventoryError as error:
        raise DetectionsError(str(error)) from error
    imported.items.append(item)
    return item


def _one_a_view(pointed: Sequence[Pointed]) -> list[Pointed]:
    by_view: Mapping[UUID, list[Pointed]] = defaultdict(list)
    for click in pointed:
        by_view[click.panorama.pk].append(click)
    return [clicks[0] for clicks in by_view.values()]
