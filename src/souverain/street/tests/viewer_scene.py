"""A sphere with coloured marks in known directions, and a small street of such spheres."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg

from souverain.street.engine import sphere

MARK_RADIUS_DEG = 0.6
NOON = datetime(2026, 6, 1, 10, tzinfo=UTC)
DIJON = (5.0415, 47.3220)
COLOURS = [(255, 0, 255), (0, 200, 0), (255, 60, 0), (0, 90, 255)]
LEANING = {"heading_deg": 123.4, "pitch_deg": 4.7, "roll_deg": -6.3}

Bytes = npt.NDArray[np.uint8]


def marks(count: int = 64) -> npt.NDArray[np.float64]:
    """Camera directions of the marks, shape (n, 2): yaw, elevation; spread evenly (Fibonacci)."""
    k = np.arange(count) + 0.5
    elevation = np.degrees(np.arcsin(1 - 2 * k / count))
    yaw = (k * 360.0 * (np.sqrt(5) - 1) / 2) % 360.0 - 180.0
    return np.stack([yaw, elevation], -1)


def picture(width: int, seed: int = 0) -> Bytes:
    """Grey ground that is not flat, with one disc for each mark; shape (width / 2, width, 3)."""
    height = width // 2
    random = np.random.default_rng(seed)
    coarse = random.integers(90, 160, (64, 128), np.uint8)
    grey = np.kron(coarse, np.ones((height // 64, width // 128), np.uint8))
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    for number, (yaw, elevation) in enumerate(marks()):
        _disc(pixels, yaw, elevation, COLOURS[number % len(COLOURS)])
    return pixels


def _disc(pixels: Bytes, yaw: float, elevation: float, colour: tuple[int, int, int]) -> None:
    height, width = pixels.shape[:2]
    middle = sphere.angles_to_direction([yaw], [elevation])[0]
    reach = int(np.ceil((MARK_RADIUS_DEG + 0.1) / 180 * height)) + 1
    row = (90 - elevation) / 180 * height
    rows = np.arange(max(0, int(row) - reach), min(height, int(row) + reach + 1))
    spread = min(180.0, (MARK_RADIUS_DEG + 0.1) / max(np.cos(np.radians(elevation)), 1e-3) + 0.1)
    column = (yaw + 180) / 360 * width
    half = int(spread / 360 * width) + 1
    columns = np.arange(int(column) - half, int(column) + half + 1)
    yaws, elevations = sphere.pixel_to_angles(columns + 0.5, np.zeros(len(columns)), width, height)
    elevations = 90 - (rows + 0.5) / height * 180
    grid = np.meshgrid(yaws, elevations)
    cosines = sphere.angles_to_direction(grid[0], grid[1]) @ middle
    apart = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    inside = np.clip((MARK_RADIUS_DEG - apart) * height / 180 + 0.5, 0, 1)[:, :, None]
    part = pixels[rows[:, None], columns[None, :] % width]
    mixed = part * (1 - inside) + np.array(colour) * inside
    pixels[rows[:, None], columns[None, :] % width] = np.round(mixed).astype(np.uint8)


def jpeg(width: int, seed: int = 0) -> bytes:
    return bytes(simplejpeg.encode_jpeg(picture(width, seed), quality=92, colorsubsampling="444"))


def populate(width: int) -> dict[str, Any]:
    """Two published campaigns of one street and one that is not; returns the ids by name."""
    from souverain.core import access
    from souverain.street import campaigns, derivation
    from souverain.street.models import Campaign, Panorama, PanoramaLink
    from souverain.territory.engine import projection

    content = jpeg(width)
    x0, y0 = projection.lonlat_to_metres([DIJON[0]], [DIJON[1]])[0]
    ids: dict[str, Any] = {}

    def make(campaign: Campaign, name: str, north_m: float, days: int, **fields: Any) -> Panorama:
        x, y = x0 + 0.3 * days / 365, y0 + north_m
        longitude, latitude = projection.metres_to_lonlat(np.array([[x, y]]))[0]
        made = Panorama(
            **{
                "campaign": campaign,
                "file_name": f"{name}.jpg",
                "sha256": f"{len(ids):064x}",
                "state": Panorama.State.READY,
                "detector": "essai",
                "taken_at": NOON + timedelta(days=days),
                "longitude_deg": longitude,
                "latitude_deg": latitude,
                "x_m": x,
                "y_m": y,
                "z_m": 245.0,
                "datum": "NGF-IGN69",
                "heading_deg": 10.0,
                "width": width,
                "height": width // 2,
                "road": "D971",
                "pr": 12,
                "abscissa_m": 350 + north_m,
                "side": "D",
                "commune": "21231",
                **fields,
            }
        )
        derivation.derive(made, content)
        made.save()
        ids[name] = str(made.pk)
        return made

    synthetic = {"provenance": Campaign.Provenance.SYNTHETIC}
    first = campaigns.create(access.SYSTEM, "rue-2025", "Rue d'essai 2025", **synthetic)
    second = campaigns.create(access.SYSTEM, "rue-2026", "Rue d'essai 2026", **synthetic)
    draft = campaigns.create(access.SYSTEM, "brouillon", "Brouillon", **synthetic)
    leaning = make(second, "leaning", 100.0, 0, **LEANING)
    street = [make(second, f"street-{i}", 5.0 * i, 0) for i in range(3)]
    make(first, "older", 5.2, -365)
    make(draft, "draft", 5.0, 1)
    for origin, target in [(0, 1), (1, 0), (1, 2), (2, 1)]:
        PanoramaLink.objects.create(origin=street[origin], target=street[target], along=True)
    for campaign in (first, second, draft):
        campaign.state = Campaign.State.READY
        campaign.save()
    campaigns.publish(access.SYSTEM, first)
    campaigns.publish(access.SYSTEM, second)
    ids["grid_heading_deg"] = projection.grid_heading(
        leaning.heading_deg, leaning.longitude_deg, leaning.latitude_deg
    )
    return ids


if __name__ == "__main__":
    import django

    django.setup()
    sys.stdout.write(json.dumps(populate(int(sys.argv[1]))))
