"""A small synthetic street driven twice, with signs drawn where they stand, and an inventory of it.

Between the drives one sign vanished, one appeared and one was moved by two metres.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

import numpy as np
import simplejpeg

from souverain.street.engine import sphere
from souverain.street.tests import viewer_scene
from souverain.street.tests.viewer_scene import DIJON, NOON

WIDTH = 2048
POSED = {
    "z_m": 245.0,
    "datum": "NGF-IGN69",
    "sigma_xy_m": 0.02,
    "sigma_z_m": 0.03,
    "sigma_heading_deg": 0.05,
    "sigma_tilt_deg": 0.05,
}
BEFORE = {"kept": (4.0, 8.0, 0.5), "gone": (-4.0, 11.0, 0.5), "moved": (5.0, 14.0, 0.0)}
AFTER = {"kept": (4.0, 8.0, 0.5), "come": (-4.5, 5.0, 0.5), "moved": (5.0, 16.0, 0.0)}
COLOUR = (255, 0, 255)


def _jpeg(directions: list[tuple[float, float]]) -> bytes:
    random = np.random.default_rng(4)
    coarse = random.integers(90, 160, (64, 128), np.uint8)
    grey = np.kron(coarse, np.ones((WIDTH // 128, WIDTH // 128), np.uint8))
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    for yaw, elevation in directions:
        viewer_scene._disc(pixels, yaw, elevation, COLOUR)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=92, colorsubsampling="444"))


def populate() -> dict[str, Any]:
    """Two published campaigns, their items, one work order; returns ids by name."""
    from souverain.core import access
    from souverain.street import campaigns, derivation, inventory, work_orders
    from souverain.street.models import Campaign, Item, Panorama
    from souverain.street.positioning import Pointed
    from souverain.territory.engine import projection

    x0, y0 = projection.lonlat_to_metres([DIJON[0]], [DIJON[1]])[0]
    ids: dict[str, Any] = {}

    def seen(panorama: Panorama, thing: tuple[float, float, float]) -> tuple[float, float]:
        towards = np.array([x0 + thing[0] - panorama.x_m, y0 + thing[1] - panorama.y_m, thing[2]])
        place = (panorama.longitude_deg, panorama.latitude_deg)
        heading = projection.grid_heading(panorama.heading_deg, *place)
        yaw, elevation = sphere.direction_to_angles(sphere.to_camera(towards[None], heading))
        return float(yaw[0]), float(elevation[0])

    for name, days, things in (("rue-2023", -1096, BEFORE), ("rue-2026", 0, AFTER)):
        campaign = campaigns.create(
            access.SYSTEM,
            name,
            f"Rue d'essai {name[-4:]}",
            provenance=Campaign.Provenance.SYNTHETIC,
        )
        views = []
        for i in range(5):
            north = 5.0 * i + (1.0 if days else 0.0)
            longitude, latitude = projection.metres_to_lonlat(np.array([[x0, y0 + north]]))[0]
            made = Panorama(
                campaign=campaign,
                file_name=f"{i}.jpg",
                sha256=f"{len(ids):064x}",
                state=Panorama.State.READY,
                detector="essai",
                taken_at=NOON + timedelta(days=days, seconds=i),
                longitude_deg=longitude,
                latitude_deg=latitude,
                x_m=x0,
                y_m=y0 + north,
                heading_deg=0.0,
                width=WIDTH,
                height=WIDTH // 2,
                road="D971",
                pr=12,
                abscissa_m=350 + north,
                side="D",
                commune="21231",
                **POSED,
            )
            derivation.derive(made, _jpeg([seen(made, thing) for thing in things.values()]))
            made.save()
            views.append(made)
            ids[f"{name}-{i}"] = str(made.pk)
        for label, thing in things.items():
            near = sorted(views, key=lambda view: abs(view.y_m - y0 - thing[1]))[:3]
            clicks = [Pointed(view, *seen(view, thing)) for view in near]
            item = inventory.record(
                access.SYSTEM,
                "panneau",
                pointed=clicks,
                attributes={"code": "AB4", "etat": "moyen"},
                note="Relevé pour l'essai.",
            )
            ids[f"{name}:{label}"] = str(item.pk)
        campaigns_ready(campaign)
    kept = Item.objects.get(pk=ids["rue-2026:kept"])
    inventory.change_state(access.SYSTEM, kept, Item.State.CONFIRMED)
    ids["order"] = work_orders.order(
        access.SYSTEM, "Redresser le panneau", [kept], assignee="Centre routier de Dijon"
    ).number
    ids["aims"] = {
        f"rue-2026-{i}": seen(Panorama.objects.get(pk=ids[f"rue-2026-{i}"]), AFTER["come"])
        for i in (0, 2)
    }
    return ids


def campaigns_ready(campaign: Any) -> None:
    from souverain.core import access
    from souverain.street import campaigns

    campaign.state = campaign.State.READY
    campaign.save()
    campaigns.publish(access.SYSTEM, campaign)


if __name__ == "__main__":
    import django

    django.setup()
    sys.stdout.write(json.dumps(populate()))
