"""What a search of the STAC API takes, in process, over many published panoramas.

Panoramas are records every 5 m on straight lines across the département (no pixels): a search by a
box of 1 km, by place, by id, and the pages of a sequence; each answer is the whole JSON, as a client
gets it. Panoramax's own API (PyPI `geovisio`) is measured beside when `--geovisio URL` names one that
holds pictures at the same places: it needs PostgreSQL with PostGIS, which this script does not start.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))
os.environ["DJANGO_SETTINGS_MODULE"] = "souverain.config.settings"
HERE = {"host": "localhost"}
DRIVE = 2000


def fill(count: int) -> None:
    """`count` published panoramas, in sequences of 2000."""
    import numpy as np

    from souverain.core.models import Organisation
    from souverain.street.models import Campaign, Panorama, Sequence
    from souverain.territory.engine import projection

    owner = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
    campaign = Campaign.objects.create(
        name="mesure", title="Mesure", organisation=owner, state=Campaign.State.PUBLISHED,
        provenance=Campaign.Provenance.SYNTHETIC,
    )  # fmt: skip
    random = np.random.default_rng(21)
    began = datetime(2026, 6, 1, tzinfo=UTC)
    for ordinal in range(-(-count // DRIVE)):
        drive = Sequence.objects.create(campaign=campaign, ordinal=ordinal)
        start = random.uniform([800_000, 6_650_000], [890_000, 6_740_000])
        turn = random.uniform(0, 2 * np.pi)
        along = 5.0 * np.arange(DRIVE)[:, None]
        xy = start + along * np.array([np.cos(turn), np.sin(turn)])
        lonlat = projection.metres_to_lonlat(xy)
        Panorama.objects.bulk_create(
            [
                Panorama(
                    campaign=campaign, sequence=drive, rank=rank, state=Panorama.State.READY,
                    file_name=f"{ordinal}-{rank}.jpg", sha256=f"{ordinal:032x}{rank:032x}",
                    taken_at=began + timedelta(seconds=ordinal * DRIVE + rank),
                    longitude_deg=lonlat[rank, 0], latitude_deg=lonlat[rank, 1],
                    x_m=xy[rank, 0], y_m=xy[rank, 1], heading_deg=90.0, sigma_xy_m=0.02,
                    width=12288, height=6144,
                )
                for rank in range(DRIVE)
            ],
            batch_size=500,
        )  # fmt: skip


def timed(label: str, rounds: int, ask: Callable[[int], int]) -> None:
    taken, found = [], 0
    for number in range(rounds):
        began = time.perf_counter()
        found += ask(number)
        taken.append((time.perf_counter() - began) * 1e3)
    taken.sort()
    p95 = taken[min(rounds - 1, int(rounds * 0.95))]
    print(f"| {label} | {found / rounds:.0f} | {statistics.median(taken):.1f} | {p95:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--geovisio", default="", help="address of a running Panoramax API")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="street-stac-") as home:
        os.environ["SOUVERAIN_HOME"] = home
        import django

        django.setup()
        import httpx
        from django.core.management import call_command
        from django.test import Client

        from souverain.street.models import Panorama, Sequence

        call_command("migrate", verbosity=0)
        call_command("createcachetable", verbosity=0)
        fill(options.count)
        client = Client(headers=HERE)
        some = list(Panorama.objects.order_by("sha256")[:: max(1, options.count // options.rounds)])
        drives = list(Sequence.objects.all())

        def ours(path: str) -> int:
            answer = client.get(f"/street/api/{path}")
            assert answer.status_code == 200, answer.content
            return len(answer.json()["features"])

        def box(number: int, limit: int) -> str:
            one = some[number % len(some)]
            west, south = one.longitude_deg - 0.0066, one.latitude_deg - 0.0045
            return (
                f"search?limit={limit}&bbox={west:.6f},{south:.6f},"
                f"{west + 0.0132:.6f},{south + 0.009:.6f}"
            )

        print(f"{options.count} panoramas, SQLite, {platform.python_version()}, "
              f"load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
        print("| what | items | p50 ms | p95 ms |\n|---|---|---|---|")
        rounds = options.rounds
        timed("box of 1 km, 10 items", rounds, lambda n: ours(box(n, 10)))
        timed("box of 1 km, 100 items", rounds, lambda n: ours(box(n, 100)))
        timed("one item by id", rounds, lambda n: ours(f"search?ids={some[n % len(some)].pk}"))
        timed(
            "place, 3 to 15 m", rounds,
            lambda n: ours(
                f"search?place_position={some[n % len(some)].longitude_deg:.7f},"
                f"{some[n % len(some)].latitude_deg:.7f}"
            ),
        )  # fmt: skip
        timed(
            "100 items of a sequence", rounds,
            lambda n: ours(
                f"collections/{drives[n % len(drives)].pk}/items?limit=100&startAfterRank=500"
            ),
        )  # fmt: skip
        timed("newest 10 of all", rounds, lambda n: ours("search?limit=10&sortby=-ts"))
        if options.geovisio:
            with httpx.Client(base_url=options.geovisio, timeout=60) as peer:
                for limit in (10, 100):
                    timed(
                        f"Panoramax: box of 1 km, {limit} items", rounds,
                        lambda n, limit=limit: len(
                            peer.get(f"/api/{box(n, limit)}").json()["features"]
                        ),
                    )  # fmt: skip
        else:
            print("\nPanoramax's API was not given (--geovisio): ours alone.")


if __name__ == "__main__":
    main()
