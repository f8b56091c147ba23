"""Delivery acceptance: a campaign checked against its order, kept as a report.

The report says what was found and how much of the ordered roads is covered; accepting or refusing
the delivery stays a person's act. Up to `LISTED` faults of each kind are in the report; all of them
are in its CSV, an object beside the campaign's pictures.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db import transaction

from souverain.core import clock, jobs, journal
from souverain.core.access import SYSTEM, Actor
from souverain.core.format import number_fr
from souverain.street import campaigns, derivation, survey
from souverain.street.engine import audit, matching
from souverain.street.engine.audit import Fault, Order, Records, Report
from souverain.street.models import Campaign, Delivery, Panorama
from souverain.street.survey import Survey
from souverain.territory import roads
from souverain.territory.engine import projection
from souverain.territory.engine.roads import parse_road

LISTED = 500
SAMPLE_MAX = 200
DRAWN_POINTS = 4_000
REJECTED, SEEN_AGAIN = "rejected", "seen_again"
KINDS: dict[str, tuple[str, str]] = {
    Fault.GAP: ("Écart entre deux images d'un même trajet", "m"),
    Fault.UNCOVERED: ("Route sans image", "m"),
    Fault.DUPLICATE: ("Image en double", "m"),
    Fault.HEADING: ("Cap qui saute", "°"),
    Fault.HEADING_OFFSET: ("Caméra tournée pendant tout un trajet", "°"),
    Fault.GPANO: ("Description GPano invalide", ""),
    Fault.SIGMA_XY: ("Position moins sûre que la commande", "m"),
    Fault.SIGMA_HEADING: ("Cap moins sûr que la commande", "°"),
    Fault.SIGMA_MISSING: ("Incertitude non fournie", ""),
    Fault.UNBLURRED: ("Image non contrôlée (visages, plaques)", ""),
    SEEN_AGAIN: ("Visage ou plaque encore visible (échantillon)", ""),
    Fault.TIME: ("Heure incohérente", "s"),
    REJECTED: ("Image refusée à la réception", ""),
}
"""Of each kind of fault: its name, and the unit of its value."""
COLUMNS = (
    "kind", "file", "panorama", "longitude_deg", "latitude_deg", "road", "position", "value", "unit",
    "message",
)  # fmt: skip


class AuditError(ValueError):
    """What was asked of the audit cannot be; the message is a French sentence."""


@dataclass(frozen=True)
class Audited:
    """A report, and all its faults."""

    delivery: Delivery
    faults: list[dict[str, Any]]

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = self.delivery.report or {}
        return report


def run(
    actor: Actor,
    campaign: Campaign,
    ordered_roads: Sequence[str] = (),
    look: int = 0,
    progress: jobs.Progress | None = None,
) -> Audited:
    """Check a campaign. `ordered_roads` are to be covered whole; without any, the road links that
    were driven are. `look` pictures, always the same of a campaign, are shown to the detector
    again. Raises AuditError."""
    if not 0 <= look <= SAMPLE_MAX:
        raise AuditError(f"L'échantillon va de 0 à {SAMPLE_MAX} images.")
    told = progress or _silent
    told(0, 3, "Lecture des images")
    read = survey.of_campaign(campaign)
    told(1, 3, "Contrôle")
    names = [parse_road(name) for name in ordered_roads]
    ordered = _ordered(read, names)
    order = Order(campaign.spacing_m, campaign.sigma_xy_limit_m, campaign.sigma_heading_limit_deg)
    drawn = campaign.provenance == Campaign.Provenance.SYNTHETIC
    found = audit.audit(_records(read, drawn), order, read.network, read.matched, ordered)
    told(2, 3, "Échantillon d'images")
    looked, again = _look_again(campaign, look)
    faults = [*_faults(read, found, order), *_uncovered(read, found), *again, *_rejected(campaign)]
    told(3, 3, "Rapport")
    return Audited(_keep(actor, campaign, read, found, names, faults, looked), faults)


def _silent(done: int, total: int | None = None, message: str = "") -> None:
    return


def last(campaign: Campaign) -> Delivery | None:
    """The campaign's last report."""
    kept = campaign.deliveries.filter(report__audit=1)
    return kept.order_by("-at").first()


def _records(read: Survey, drawn: bool) -> Records:
    crops = [
        (crop["left"], crop["top"], crop["width"], crop["height"]) if crop else (np.nan,) * 4
        for crop in read.crops
    ]
    headings = read.floats("heading_deg")
    # An impossible heading stays one when it is turned to the grid.
    possible = (headings >= 0) & (headings < 360)
    return Records(
        x_m=read.floats("x_m"),
        y_m=read.floats("y_m"),
        heading_deg=np.where(possible, read.grid_heading_deg, np.nan),
        pitch_deg=read.floats("pitch_deg"),
        roll_deg=read.floats("roll_deg"),
        sequence=read.sequence,
        taken_us=read.taken_us,
        width=np.array(read.columns["width"], np.int64),
        height=np.array(read.columns["height"], np.int64),
        crop=np.array(crops, float).reshape(-1, 4),
        sigma_xy_m=read.floats("sigma_xy_m"),
        sigma_heading_deg=read.floats("sigma_heading_deg"),
        digest=np.array(read.columns["sha256"], "S64"),
        # Nobody is to be looked for in what was drawn.
        looked_at=np.array([drawn or bool(name) for name in read.columns["detector"]], bool),
    )


def _ordered(read: Survey, names: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    if read.network is None or read.matched is None:
        if names:
            raise AuditError("Aucune route n'est connue pour ces images : importez le réseau.")
        return None
    if not names:
        driven = np.zeros(len(read.network.numbers), bool)
        driven[read.matched.link[read.matched.link >= 0]] = True
        return driven
    missing = [name for name in names if not (read.network.numbers == name).any()]
    if missing:
        raise AuditError(f"Le réseau n'a pas de route {', '.join(missing)}.")
    return np.isin(read.network.numbers, names)


# Faults as rows -----------------------------------------------------------------------------------


def _row(kind: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS), "kind": str(kind), "unit": KINDS[kind][1] or None, **fields}


def _faults(read: Survey, found: Report, order: Order) -> Iterator[dict[str, Any]]:
    said = _sentences(read, order)
    longitude, latitude = read.columns["longitude_deg"], read.columns["latitude_deg"]
    for kind, faults in found.faults.items():
        for i, value in zip(faults.panorama.tolist(), faults.value.tolist(), strict=True):
            yield _row(
                kind,
                file=read.columns["file_name"][i],
                panorama=str(read.key(i)),
                longitude_deg=longitude[i],
                latitude_deg=latitude[i],
                value=value if np.isfinite(value) else None,
                message=said(kind, i, value),
            )


def _sentences(read: Survey, order: Order) -> Any:
    columns = read.columns

    def said(kind: Fault, i: int, value: float) -> str:
        match kind:
            case Fault.GAP:
                return f"{number_fr(value, 1)} m depuis l'image d'avant, {number_fr(order.gap_m, 1)} m au plus."
            case Fault.DUPLICATE if np.isfinite(value):
                return f"À {number_fr(value, 2)} m de l'image d'avant."
            case Fault.DUPLICATE:
                return "Contenu déjà livré sous un autre nom."
            case Fault.HEADING:
                return f"Cap à {value:.0f}° de la trajectoire."
            case Fault.HEADING_OFFSET:
                return f"Tout ce trajet a son cap tourné de {value:+.0f}° par rapport aux autres."
            case Fault.GPANO:
                crop = " (recadrée)" if read.crops[i] else ""
                return (
                    f"Sphère de {columns['width'][i]} × {columns['height'][i]}{crop}, cap "
                    f"{number_fr(columns['heading_deg'][i], 2)}°, tangage {number_fr(columns['pitch_deg'][i], 1)}°, "
                    f"roulis {number_fr(columns['roll_deg'][i], 1)}°."
                )
            case Fault.SIGMA_XY:
                return f"{number_fr(value, 3)} m, {number_fr(order.sigma_xy_m, 3)} m au plus."
            case Fault.SIGMA_HEADING:
                return f"{number_fr(value, 3)}°, {number_fr(order.sigma_heading_deg, 3)}° au plus."
            case Fault.SIGMA_MISSING:
                return "L'incertitude de la position ou du cap n'est pas fournie."
            case Fault.UNBLURRED:
                return "Aucun détecteur n'a regardé cette image."
            case _:
                return f"{number_fr(value, 3)} s depuis l'image d'avant."

    return said


def _uncovered(read: Survey, found: Report) -> Iterator[dict[str, Any]]:
    bare = found.uncovered
    if read.network is None or not len(bare.link):
        return
    # Where each stretch begins and ends, as a place and as people say it.
    ends = matching.Matched(
        np.concatenate([bare.link, bare.link]),
        np.concatenate([bare.from_m, bare.to_m]),
        np.zeros(2 * len(bare.link)),
        np.ones(2 * len(bare.link), bool),
    )
    feet, _ = matching.feet(read.network, ends)
    places = projection.metres_to_lonlat(feet)
    told = roads.positions_of(feet)
    count = len(bare.link)
    for i in range(count):
        first, second = (told[i], told[count + i])
        length = float(bare.to_m[i] - bare.from_m[i])
        span = f"de {first} à {second}" if first and second else "hors des routes numérotées"
        yield _row(
            Fault.UNCOVERED,
            longitude_deg=float(places[i, 0]),
            latitude_deg=float(places[i, 1]),
            road=str(read.network.numbers[bare.link[i]]) or None,
            position=str(first) if first else None,
            value=length,
            message=f"{number_fr(length, 1)} m sans image, {span}.",
        )


def _rejected(campaign: Campaign) -> Iterator[dict[str, Any]]:
    for file_name, reason in campaign.rejected.order_by("file_name").values_list(
        "file_name", "reason"
    ):
        yield _row(REJECTED, file=file_name, message=reason)


def _look_again(campaign: Campaign, wanted: int) -> tuple[int, list[dict[str, Any]]]:
    """Show some of the pictures that everybody would see to the detector: what it still finds."""
    if not wanted:
        return 0, []
    from souverain.street import privacy

    keys = sorted(
        campaign.panoramas.filter(state=Panorama.State.READY)
        .exclude(picture_key="")
        .values_list("pk", flat=True)
    )
    drawn = random.Random(campaign.name).sample(keys, min(wanted, len(keys)))  # noqa: S311
    found = []
    for panorama in Panorama.objects.filter(pk__in=drawn).select_related("campaign"):
        jpeg = b"".join(derivation.store().read(panorama.picture_key))
        boxes = privacy.anonymise(jpeg).boxes
        if boxes:
            found.append(
                _row(
                    SEEN_AGAIN,
                    file=panorama.file_name,
                    panorama=str(panorama.pk),
                    longitude_deg=panorama.longitude_deg,
                    latitude_deg=panorama.latitude_deg,
                    value=float(len(boxes)),
                    message=f"{len(boxes)} zones que le détecteur trouve encore : à regarder.",
                )
            )
    return len(drawn), found


# The report ---------------------------------------------------------------------------------------


def _keep(
    actor: Actor,
    campaign: Campaign,
    read: Survey,
    found: Report,
    names: Sequence[str],
    faults: Sequence[dict[str, Any]],
    looked: int,
) -> Delivery:
    counts = dict.fromkeys(map(str, KINDS), 0)
    listed: list[dict[str, Any]] = []
    for fault in faults:
        counts[fault["kind"]] += 1
        if counts[fault["kind"]] <= LISTED:
            listed.append(fault)
    at = clock.now()
    key = f"{derivation.folder_of(campaign)}/audit/{at:%Y%m%dT%H%M%S%f}.csv"
    derivation.put(derivation.store(), key, as_csv(faults))
    report = {
        "audit": 1,
        "campaign": campaign.name,
        "at": clock.rfc3339(at),
        "provenance": campaign.provenance,
        "panoramas": len(read),
        "drives": len(np.unique(read.sequence)),
        "conform": not any(counts.values()),
        "counts": counts,
        "spacing_m": campaign.spacing_m,
        "gap_limit_m": audit.GAP_FACTOR * campaign.spacing_m,
        "sigma_xy_limit_m": campaign.sigma_xy_limit_m,
        "sigma_heading_limit_deg": campaign.sigma_heading_limit_deg,
        "roads_known": read.network is not None,
        "ordered_roads": list(names),
        "ordered_m": found.ordered_m,
        "covered_m": found.covered_m,
        "looked_again": looked,
        "csv_key": key,
        "listed": listed,
        "drawing": _drawing(read),
    }
    with transaction.atomic():
        delivery = Delivery.objects.create(campaign=campaign, report=report, at=at)
        journal.append(
            actor,
            "street.delivery_audited",
            organisation=campaign.organisation.code,
            object=f"campaign:{campaign.pk}",
            data={"panoramas": len(read), "faults": sum(counts.values())},
        )
    return delivery


def _drawing(read: Survey) -> list[list[list[float]]]:
    """The drives as lines of degrees, thinned, for a drawing."""
    step = len(read) // DRAWN_POINTS + 1
    lines: dict[int, list[list[float]]] = {}
    places = zip(read.columns["longitude_deg"], read.columns["latitude_deg"], strict=True)
    change = np.flatnonzero(np.diff(read.sequence, append=-1) != 0)
    ends = set(change.tolist()) | set((change + 1).tolist()) | {0}
    thin = len(ends) < 2 * DRAWN_POINTS
    for i, (place, sequence) in enumerate(zip(places, read.sequence.tolist(), strict=True)):
        if i % step == 0 or (thin and i in ends):
            lines.setdefault(sequence, []).append([round(value, 6) for value in place])
    return list(lines.values())


def as_csv(faults: Sequence[dict[str, Any]]) -> bytes:
    """All the faults; cells that a spreadsheet would take for a formula are quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for fault in faults:
        writer.writerow([_cell(fault[name]) for name in COLUMNS])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


@jobs.job("street.audit", "Contrôler une livraison", jobs.Resources(memory_bytes=8 << 30))
def audit_job(
    progress: jobs.Progress, campaign: str, ordered_roads: list[str], look: int
) -> dict[str, Any]:
    """Check a campaign in a process of its own."""
    try:
        made = run(SYSTEM, campaigns.find(campaign), ordered_roads, look, progress)
    except (campaigns.CampaignError, AuditError, ValueError) as error:
        raise jobs.Failed(str(error)) from error
    count = sum(made.report["counts"].values())
    return {"faults": count, "summary": f"{count} défauts sur {made.report['panoramas']} images."}
