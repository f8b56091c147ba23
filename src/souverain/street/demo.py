"""The street that is drawn, as a campaign: so that walking, links and measuring can be tried where no
real picture is there. Labelled as synthetic wherever it is shown."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import simplejpeg
from django.db import transaction

from souverain.core import access, jobs, journal
from souverain.core.access import Actor
from souverain.core.models import Job
from souverain.street import campaigns, derivation
from souverain.street.engine import picture_tags, sphere
from souverain.street.models import Campaign, Datum, Panorama, PanoramaLink, Sequence
from souverain.territory.atlas import atlas
from souverain.territory.engine import projection

if TYPE_CHECKING:
    from souverain.street.engine.rendering import Fiducial, Stop

NAME, TITLE = "rue-de-synthese", "Rue de synthèse (images calculées)"
WIDTH = 4096
QUALITY = 90
ORIGIN_LONLAT = (5.0415, 47.3220)
GROUND_M = 245.0
STARTED_AT = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
SIGMA_XYZ_M, SIGMA_DEG = 0.01, 0.02
"""What the campaign states, as a good survey would. The poses are in truth exact."""
_SEEN_WITHIN_M = 25.0


@dataclass(frozen=True)
class View:
    """A stop of the street, placed: Lambert-93 metres, degrees, heading from true north."""

    file_name: str
    line: int
    rank: int
    stop: Stop
    x_m: float
    y_m: float
    z_m: float
    longitude_deg: float
    latitude_deg: float
    heading_deg: float
    taken_at: datetime


def _origin() -> Any:
    return projection.lonlat_to_metres([ORIGIN_LONLAT[0]], [ORIGIN_LONLAT[1]])[0]


def views() -> list[View]:
    """Every stop, in the order of the drive."""
    from souverain.street.engine import rendering

    street, (x0, y0) = rendering.street(), _origin()
    found = []
    for line, stops in enumerate((street.main, street.crossing), start=1):
        for rank, stop in enumerate(stops):
            x, y, z = x0 + stop.place[0], y0 + stop.place[1], GROUND_M + stop.place[2]
            lon, lat = (float(d) for d in projection.metres_to_lonlat(np.array([[x, y]]))[0])
            heading = (stop.heading_deg + projection.convergence_deg(lon, lat)) % 360.0
            at = STARTED_AT + timedelta(minutes=line - 1, seconds=0.5 * rank)
            name = f"synthese-{line}-{rank + 1:02}.jpg"
            found.append(View(name, line, rank, stop, float(x), float(y), z, lon, lat, heading, at))
    return found


def picture(view: View, width: int = WIDTH) -> bytes:
    """The view as a JPEG with its EXIF and GPano."""
    from souverain.street.engine import rendering

    drawn = rendering.render(rendering.street(), view.stop, width)
    jpeg = simplejpeg.encode_jpeg(drawn.pixels, quality=QUALITY, colorsubsampling="444")
    tags = picture_tags.PictureTags(
        view.taken_at,
        view.longitude_deg,
        view.latitude_deg,
        view.z_m,
        view.heading_deg,
        view.stop.pitch_deg,
        view.stop.roll_deg,
        SIGMA_XYZ_M,
        width,
        width // 2,
        "Rue de synthese",
        "Image de synthese, pas une photographie",
    )
    return picture_tags.tagged(bytes(jpeg), tags)


def _drawn(chosen: list[View], width: int) -> Iterator[tuple[View, bytes]]:
    """The pictures in order, drawn on two processors at most, a few ahead."""
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for start in range(0, len(chosen), 4):
            batch = chosen[start : start + 4]
            yield from zip(batch, pool.map(lambda v: picture(v, width), batch), strict=True)


def write(folder: Path, width: int = WIDTH, progress: jobs.Progress | None = None) -> int:
    """The pictures and their `trajectory.csv`, as a contractor would deliver them."""
    folder.mkdir(parents=True, exist_ok=True)
    every = views()
    for done, (view, jpeg) in enumerate(_drawn(every, width), start=1):
        (folder / view.file_name).write_bytes(jpeg)
        if progress:
            progress(done, len(every))
    with (folder / "trajectory.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["file", "time", "x_m", "y_m", "altitude_m", "heading_grid_deg", "pitch_deg",
             "roll_deg", "sigma_xy_m", "sigma_z_m", "sigma_heading_deg", "sigma_tilt_deg", "datum",
             "frame"]
        )  # fmt: skip
        for view in every:
            stop = view.stop
            time = view.taken_at.isoformat().replace("+00:00", "Z")
            writer.writerow(
                [view.file_name, time, f"{view.x_m:.5f}", f"{view.y_m:.5f}", f"{view.z_m:.5f}",
                 f"{stop.heading_deg % 360.0:.7f}", f"{stop.pitch_deg:.7f}", f"{stop.roll_deg:.7f}",
                 SIGMA_XYZ_M, SIGMA_XYZ_M, SIGMA_DEG, SIGMA_DEG, "NGF-IGN69", "Lambert-93"]
            )  # fmt: skip
    return len(every)


def make(
    actor: Actor, progress: jobs.Progress | None = None, width: int = WIDTH
) -> tuple[Campaign, int]:
    """The campaign, published, and how many views were drawn now: those that an earlier call left
    are kept. Raises CampaignError, OSError."""
    campaign = Campaign.objects.filter(name=NAME).first()
    if campaign is None:
        campaign = campaigns.create(
            actor,
            NAME,
            TITLE,
            provenance=Campaign.Provenance.SYNTHETIC,
            originals=Campaign.Originals.DROPPED,
        )
    elif campaign.provenance != Campaign.Provenance.SYNTHETIC:
        raise campaigns.CampaignError(f"Une vraie campagne s'appelle déjà « {NAME} ».")
    ready = set(
        campaign.panoramas.filter(state=Panorama.State.READY).values_list("file_name", flat=True)
    )
    missing = [view for view in views() if view.file_name not in ready]
    for done, (view, jpeg) in enumerate(_drawn(missing, width), start=1):
        _record(campaign, view, jpeg, width)
        if progress:
            progress(done, len(missing), "Calcul de la rue de synthèse")
    if missing:
        _finish(actor, campaign)
    return campaign, len(missing)


def _record(campaign: Campaign, view: View, jpeg: bytes, width: int) -> None:
    sequence, _ = Sequence.objects.get_or_create(
        campaign=campaign,
        ordinal=view.line,
        defaults={"title": ("Rue principale", "Rue de traverse")[view.line - 1]},
    )
    Panorama.objects.filter(campaign=campaign, file_name=view.file_name).delete()
    commune = atlas().commune_at(view.longitude_deg, view.latitude_deg)
    panorama = Panorama(
        campaign=campaign,
        sequence=sequence,
        rank=view.rank,
        state=Panorama.State.READY,
        file_name=view.file_name,
        sha256=hashlib.sha256(jpeg).hexdigest(),
        taken_at=view.taken_at,
        longitude_deg=view.longitude_deg,
        latitude_deg=view.latitude_deg,
        x_m=view.x_m,
        y_m=view.y_m,
        z_m=view.z_m,
        datum=Datum.NGF,
        heading_deg=view.heading_deg,
        pitch_deg=view.stop.pitch_deg,
        roll_deg=view.stop.roll_deg,
        sigma_xy_m=SIGMA_XYZ_M,
        sigma_z_m=SIGMA_XYZ_M,
        sigma_heading_deg=SIGMA_DEG,
        sigma_tilt_deg=SIGMA_DEG,
        width=width,
        height=width // 2,
        commune=commune.code if commune else "",
    )
    derivation.derive(panorama, jpeg)
    panorama.save()


@transaction.atomic
def _finish(actor: Actor, campaign: Campaign) -> None:
    _link(campaign)
    if campaign.state == Campaign.State.RECEIVING:
        campaign.state = Campaign.State.READY
        campaign.save(update_fields=["state"])
        campaigns.publish(actor, campaign)
    journal.append(
        actor,
        "street.demo_made",
        organisation=campaign.organisation.code,
        object=f"campaign:{campaign.pk}",
        data={"panoramas": campaign.panoramas.count()},
    )


def _link(campaign: Campaign) -> None:
    """Each view to the next of its street both ways, and where the streets cross to those of the
    other within six metres."""
    PanoramaLink.objects.filter(origin__campaign=campaign).delete()
    every = list(campaign.panoramas.select_related("sequence").order_by("sequence", "rank"))
    pairs = []
    for index, one in enumerate(every):
        for other in every[index + 1 :]:
            same = one.sequence_id == other.sequence_id
            near = np.hypot(one.x_m - other.x_m, one.y_m - other.y_m) < 6.0
            if other.rank == one.rank + 1 if same else near:
                pairs += [(one, other, same), (other, one, same)]
    PanoramaLink.objects.bulk_create(
        PanoramaLink(origin=origin, target=target, along=same) for origin, target, same in pairs
    )


def fiducials() -> list[dict[str, Any]]:
    """The marks of the street with their true places, and where each view within 25 m would see them
    (something may stand before them)."""
    from souverain.street.engine import rendering

    x0, y0 = _origin()
    every = views()
    return [_fiducial(mark, x0, y0, every) for mark in rendering.street().fiducials]


def _fiducial(mark: Fiducial, x0: float, y0: float, every: list[View]) -> dict[str, Any]:
    x, y, z = x0 + mark.place[0], y0 + mark.place[1], GROUND_M + mark.place[2]
    longitude, latitude = projection.metres_to_lonlat(np.array([[x, y]]))[0]
    seen = []
    for view in every:
        way = np.array(mark.place) - view.stop.place
        if np.linalg.norm(way) > _SEEN_WITHIN_M:
            continue
        stop = view.stop
        toward = sphere.to_camera(way[None], stop.heading_deg, stop.pitch_deg, stop.roll_deg)
        yaw, elevation = sphere.direction_to_angles(toward)
        seen.append(
            {
                "file": view.file_name,
                "yaw_deg": float(yaw[0]),
                "elevation_deg": float(elevation[0]),
                "distance_m": float(np.linalg.norm(way)),
            }
        )
    return {
        "name": mark.name,
        "x_m": float(x),
        "y_m": float(y),
        "z_m": float(z),
        "longitude_deg": float(longitude),
        "latitude_deg": float(latitude),
        "datum": Datum.NGF.value,
        "on_road": mark.on_road,
        "radius_m": mark.radius_m,
        "seen": seen,
    }


@jobs.job("street.demo", "Calculer la rue de synthèse")
def demo_job(progress: jobs.Progress) -> dict[str, Any]:
    """Make the campaign in a process of its own."""
    _, drawn = make(access.SYSTEM, progress)
    return {"panoramas": drawn, "summary": f"{drawn} images de synthèse calculées."}


def offer(actor: Actor) -> None:
    """On a machine that has no campaign and never had this one: ask for it, once."""
    if not Campaign.objects.exists() and not Job.objects.filter(name=demo_job.name).exists():
        jobs.submit(actor, demo_job, {})
