"""Linear referencing on the synthetic network of the Côte-d'Or: places → road, post, abscissa and
side, and back, beside shapely's own (STRtree nearest, `project`, `interpolate`) asked place by
place on the same axes and places.

    python benchmarks/territory_roads.py [--points 100000] [--peer-points 5000] [--seed 21]

The peer finds the axis, the metres and the point again; it knows no post, abscissa or side. Both
read the same memory; CPU time of this process, so that a busy machine counts less.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import shapely

from souverain.territory.engine.positions import read_positions
from souverain.territory.engine.projection import lonlat_to_metres
from souverain.territory.engine.referencing import Referencing, chain_axes
from souverain.territory.engine.synthetic_roads import synthetic_roads

POSITIONS = Path(__file__).parents[1] / "src/souverain/territory/data/communes-21.csv"
TOTAL_M = 8_489_000.0
T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[float, float, T]:
    """CPU seconds, wall seconds, result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def main(points: int, peer_points: int, seed: int) -> None:
    communes = list(read_positions(POSITIONS).values())
    places = lonlat_to_metres(
        [c.longitude_deg for c in communes], [c.latitude_deg for c in communes]
    )
    cpu, _, made = timed(lambda: synthetic_roads(places, TOTAL_M, seed))
    print(f"synthesis: {made.length_m / 1000:.0f} km, {len(made.classes)} links, {cpu:.2f} CPU s")
    cpu, _, found = timed(lambda: Referencing(made.network, made.posts, "21"))
    print(
        f"referencing built: {len(found.roads)} axes, {len(made.posts.prs)} posts, {cpu:.2f} CPU s"
    )

    rng = np.random.default_rng(seed)
    vertices = made.network.vertices_m[:, :2]
    at = rng.integers(0, len(vertices) - 1, points * 2)
    at = at[~np.isin(at, made.network.starts[1:] - 1)][:points]
    ratio = rng.random((len(at), 1))
    asked = vertices[at] * (1 - ratio) + vertices[at + 1] * ratio + rng.normal(0, 4, (len(at), 2))

    def there_and_back() -> tuple[np.ndarray, np.ndarray]:
        positions = [position for position in found.positions(asked) if position]
        back = found.points(
            [p.road for p in positions],
            [p.pr for p in positions],
            [p.abscissa_m for p in positions],
            [p.side for p in positions],
        )
        return back[:, :2], np.array([[p.x_m, p.y_m] for p in positions])

    cpu, wall, (back, feet) = timed(there_and_back)
    error = np.hypot(*(back - feet).T)
    print(
        f"ours, road + post + abscissa + side and back, {len(feet)} places: "
        f"{len(feet) / cpu:,.0f} round trips per CPU s ({len(feet) / wall:,.0f} per wall s); "
        f"largest error {error.max():.1e} m"
    )

    lines = np.array(
        [shapely.linestrings(a.vertices_m[:, :2]) for a in chain_axes(made.network)[0]]
    )
    tree = shapely.STRtree(lines)

    def peer() -> float:
        worst = 0.0
        for place in shapely.points(asked[:peer_points]):
            line = lines[tree.nearest(place)]
            along = line.project(place)
            point = line.interpolate(along)
            worst = max(worst, abs(line.project(point) - along))
        return worst

    cpu, wall, worst = timed(peer)
    print(
        f"shapely {shapely.__version__}, STRtree.nearest + project + interpolate, {peer_points} places: "
        f"{peer_points / cpu:,.0f} round trips per CPU s ({peer_points / wall:,.0f} per wall s); "
        f"largest error {worst:.1e} m"
    )
    single = asked[:500]
    cpu, _, _ = timed(lambda: [found.positions(place[None]) for place in single])
    print(f"ours, one place at a time: {cpu / len(single) * 1e6:.0f} CPU µs")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, GEOS {shapely.geos_version}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--peer-points", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=21)
    given = parser.parse_args()
    main(given.points, given.peer_points, given.seed)
