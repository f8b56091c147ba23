"""Links between a campaign's panoramas, and the road position of each, written to the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction

from souverain.core import jobs, journal
from souverain.core.access import SYSTEM, Actor
from souverain.street import campaigns, survey
from souverain.street.engine import links, matching
from souverain.street.engine.links import Links
from souverain.street.models import Campaign, Panorama, PanoramaLink
from souverain.street.survey import Survey
from souverain.territory import roads

ROADS, GEOMETRY = "roads", "geometry"
_BATCH = 2_000
_TO_THE_SIDE_M = 0.3
_POSITION = ("road", "pr", "abscissa_m", "side")


@dataclass(frozen=True)
class Linked:
    """What was made. `basis`: `roads`, or `geometry` where no road of theirs is known: then turns
    are only where two drives meet at one known height."""

    survey: Survey
    links: Links
    basis: str
    matched: int
    """Panoramas put on a road."""


def relink(actor: Actor, campaign: Campaign) -> Linked:
    """Make a campaign's links anew, and say on which road each panorama is."""
    read = survey.of_campaign(campaign)
    made = _made(read)
    positions = _positions(read)
    with transaction.atomic():
        PanoramaLink.objects.filter(origin__campaign=campaign).delete()
        rows = zip(
            made.links.origin.tolist(),
            made.links.target.tolist(),
            made.links.along.tolist(),
            strict=True,
        )
        PanoramaLink.objects.bulk_create(
            (
                PanoramaLink(origin_id=read.key(i), target_id=read.key(j), along=along)
                for i, j, along in rows
            ),
            batch_size=_BATCH,
        )
        _write_positions(campaign, positions)
        journal.append(
            actor,
            "street.panoramas_linked",
            organisation=campaign.organisation.code,
            object=f"campaign:{campaign.pk}",
            data={"links": len(made.links), "basis": made.basis},
        )
    return made


def _made(read: Survey) -> Linked:
    if read.network is None or read.matched is None:
        found = links.by_geometry(read.xy_m, read.z_m, read.sequence, read.course_deg)
        return Linked(read, found, GEOMETRY, 0)
    found = links.by_roads(read.network, read.xy_m, read.z_m, read.sequence, read.matched)
    return Linked(read, found, ROADS, int((read.matched.link >= 0).sum()))


def _positions(read: Survey) -> dict[Any, tuple[Any, ...]]:
    """Road, post, abscissa and side by panorama. The position is asked for a little to the side of
    the matched link's axis, so that a bridge is never taken for the road beneath."""
    if read.network is None or read.matched is None:
        return {}
    feet, bearing = matching.feet(read.network, read.matched)
    on = np.flatnonzero(read.matched.link >= 0)
    direction = np.radians(bearing[on])
    right = np.column_stack([np.cos(direction), -np.sin(direction)])
    aside = feet[on] + right * _TO_THE_SIDE_M * np.sign(read.matched.offset_m[on])[:, None]
    numbers = read.network.numbers[read.matched.link[on]]
    told = roads.positions_of(aside)
    return {
        read.key(i): (number, position.pr, position.abscissa_m, position.side)
        for i, number, position in zip(on.tolist(), numbers.tolist(), told, strict=True)
        if position is not None and position.road == number
    }


def _write_positions(campaign: Campaign, positions: dict[Any, tuple[Any, ...]]) -> None:
    """Only where something changes; a panorama on no road loses the position that it had."""
    changed = []
    rows = Panorama.objects.filter(campaign=campaign).only("pk", *_POSITION).order_by()
    for row in rows.iterator(_BATCH):
        now = positions.get(row.pk, ("", None, None, ""))
        if now != (row.road, row.pr, row.abscissa_m, row.side):
            row.road, row.pr, row.abscissa_m, row.side = now
            changed.append(row)
    Panorama.objects.bulk_update(changed, _POSITION, batch_size=200)


@jobs.job("street.links", "Relier les images d'une campagne", jobs.Resources(memory_bytes=8 << 30))
def link_job(progress: jobs.Progress, campaign: str) -> dict[str, Any]:
    """Link a campaign in a process of its own."""
    try:
        made = relink(SYSTEM, campaigns.find(campaign))
    except campaigns.CampaignError as error:
        raise jobs.Failed(str(error)) from error
    return {
        "links": len(made.links),
        "basis": made.basis,
        "summary": f"{len(made.links)} liens entre {len(made.survey)} images.",
    }
