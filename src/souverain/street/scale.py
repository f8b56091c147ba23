"""What a whole campaign takes, from what the runs took: measured rates, and nothing else.

Time, processor and space are measured by each reception on the machine that did it (`Rates`). The
energy is modelled: processor time at a declared power.
"""

from __future__ import annotations

from dataclasses import dataclass

from souverain.street.models import Delivery

NETWORK_PANORAMAS = 1_697_800
"""8,489 km of roads and cycle routes, one panorama every 5 m."""
NETWORK_MEGAPIXELS = 12288 * 6144 / 1e6
WATTS_A_CORE = 10.0
"""Declared: a busy core of a server, its share of memory and supply included."""


@dataclass(frozen=True)
class Estimate:
    """For `panoramas` of `megapixels` each. CPU: processor-days; energy in kilowatt-hours."""

    panoramas: int
    megapixels: float
    cpu_days: float
    blur_share: float
    wall_days: float
    bytes_kept: float
    objects: float
    energy_kwh: float
    measured_pictures: int
    measured_megapixels: float


def estimate(
    panoramas: int = NETWORK_PANORAMAS, megapixels: float = NETWORK_MEGAPIXELS
) -> Estimate | None:
    """From every reception that was measured, by the megapixel; None when none was."""
    reports = Delivery.objects.filter(report__rates__isnull=False).values_list("report", flat=True)
    rates = [report["rates"] for report in reports]
    seen = {
        key: sum(float(rate.get(key, 0)) for rate in rates)
        for key in (
            "pictures",
            "megapixels",
            "cpu_s",
            "blur_cpu_s",
            "wall_s",
            "bytes_kept",
            "objects",
        )
    }
    if not seen["megapixels"] or not seen["pictures"]:
        return None
    times = panoramas * megapixels / seen["megapixels"]
    cpu_s = seen["cpu_s"] * times
    return Estimate(
        panoramas=panoramas,
        megapixels=megapixels,
        cpu_days=cpu_s / 86400,
        blur_share=seen["blur_cpu_s"] / seen["cpu_s"] if seen["cpu_s"] else 0.0,
        wall_days=seen["wall_s"] * times / 86400,
        bytes_kept=seen["bytes_kept"] * times,
        objects=seen["objects"] * panoramas / seen["pictures"],
        energy_kwh=cpu_s * WATTS_A_CORE / 3.6e6,
        measured_pictures=int(seen["pictures"]),
        measured_megapixels=seen["megapixels"],
    )
