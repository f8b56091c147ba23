"""Two published panoramas of plain colours, for viewers of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import simplejpeg

from souverain.core import access
from souverain.street import campaigns, derivation
from souverain.street.models import Campaign, Panorama, Sequence
from souverain.territory.engine import projection

WIDTH, HEIGHT = 4096, 2048
COLOURS = [((220, 20, 20), (20, 20, 220)), ((20, 180, 20), (230, 200, 20))]
"""Left and right half of each picture."""


def make() -> dict[str, object]:
    campaign = campaigns.create(
        access.SYSTEM, "couleurs", "Couleurs", provenance=Campaign.Provenance.SYNTHETIC
    )
    drive = Sequence.objects.create(campaign=campaign, ordinal=0)
    made = []
    for rank, (left, right) in enumerate(COLOURS):
        x, y = projection.lonlat_to_metres([5.04], [47.32])[0]
        y = y + 5.0 * rank
        longitude, latitude = projection.metres_to_lonlat(np.array([[x, y]]))[0]
        panorama = Panorama(
            campaign=campaign, sequence=drive, rank=rank, state=Panorama.State.READY,
            file_name=f"{rank}.jpg", sha256=f"{rank:064x}",
            taken_at=datetime(2026, 6, 1, 12, tzinfo=UTC) + timedelta(seconds=rank),
            longitude_deg=longitude, latitude_deg=latitude, x_m=x, y_m=y, heading_deg=0.0,
            width=WIDTH, height=HEIGHT,
        )  # fmt: skip
        pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = left, right
        derivation.derive(panorama, simplejpeg.encode_jpeg(pixels, 90))
        panorama.save(force_insert=True)
        made.append(str(panorama.pk))
    campaign.state = Campaign.State.READY
    campaign.save()
    campaigns.publish(access.SYSTEM, campaign)
    return {"sequence": str(drive.pk), "pictures": made}
