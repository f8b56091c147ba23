"""Merging views into items, and comparing two campaigns, on a simulated road with its truth.

Our merging stands beside a baseline of our own, the plain way without covariances: single-linkage clustering (scipy) at a
fixed radius of the mid-points of every two rays that pass within a metre. It is
not a peer: no public package merges detections of panoramas. The road, its objects and all errors
are simulated. Usage: python -m benchmarks.street_inventory [--seeds 8] [--first-seed 0]
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
import scipy
from scipy.cluster.hierarchy import fclusterdata

from souverain.street.engine import comparison, merging
from souverain.street.tests import street_scene
from souverain.street.tests.street_scene import MOVABLE, Noise

BASELINE_RADIUS_M = 1.0
BASELINE_REACH_M = 15.0
NOISES = (Noise(), Noise(0.05, 0.1, 0.1), Noise(0.1, 0.2, 0.2), Noise(0.3, 0.5, 0.3))


def baseline(rays: list[merging.Sighted]) -> list[tuple[str, np.ndarray]]:
    """The common way without covariances: the mid-points of all pairs of rays of one kind that pass
    within a metre, clustered by single linkage at a fixed radius; no view is exclusive."""
    found = []
    for kind in sorted({ray.kind for ray in rays}):
        points = []
        of_kind = [ray for ray in rays if ray.kind == kind]
        for i, first in enumerate(of_kind):
            for second in of_kind[i + 1 :]:
                base = second.ray.camera.position - first.ray.camera.position
                if not 0 < np.linalg.norm(base) < 2 * BASELINE_REACH_M:
                    continue
                a, b = first.ray.direction, second.ray.direction
                cosine = a @ b
                if 1 - cosine**2 < 1e-3:
                    continue
                s = (base @ a - (base @ b) * cosine) / (1 - cosine**2)
                t = ((base @ a) * cosine - base @ b) / (1 - cosine**2)
                p, q = first.ray.camera.position + s * a, second.ray.camera.position + t * b
                if (
                    0 < s < BASELINE_REACH_M
                    and 0 < t < BASELINE_REACH_M
                    and np.linalg.norm(p - q) < 1
                ):
                    points.append((p + q) / 2)
        if len(points) < 2:
            continue
        stacked = np.array(points)
        labels = fclusterdata(stacked, BASELINE_RADIUS_M, "distance", method="single")
        found += [(kind, stacked[labels == label].mean(0)) for label in np.unique(labels)]
    return found


def f1_of_items(items: list[tuple[str, np.ndarray]], road: street_scene.Scene) -> float:
    """An item is right when an object of its kind, not yet taken, stands within half a metre."""
    left = dict(road.before)
    right = 0
    for kind, position in items:
        near = [
            (float(np.linalg.norm(thing.position_m - position)), name)
            for name, thing in left.items()
            if thing.kind == kind
        ]
        if near and min(near)[0] <= 0.5:
            del left[min(near)[1]]
            right += 1
    return 2 * right / (len(items) + len(road.before))


def timed(work):  # type: ignore[no-untyped-def]
    start = time.process_time()
    return work(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(
        f"seeds {seeds[0]} to {seeds[-1]}: {len(seeds)} simulated roads of 600 m, 120 objects a km, three kinds; CPU seconds\n"
    )
    print(
        "| σ position, attitude, click | items F1 | baseline's F1 | items/s | baseline's items/s | changes F1 |"
    )
    print("|---|---|---|---|---|---|")
    for noise in NOISES:
        ours, theirs, speed, baseline_speed = [], [], [], []
        said: set[tuple[str, str]] = set()
        truth: set[tuple[str, str]] = set()
        for seed in seeds:
            rng = np.random.default_rng(seed)
            road = street_scene.scene(rng)
            rays, _ = street_scene.drive(road.stations_before, road.before, rng, noise)
            merged, seconds = timed(lambda rays=rays: merging.merge_rays(rays))
            found = [(item.kind, item.position_m) for item in merged.items]
            ours.append(f1_of_items(found, road))
            speed.append(len(found) / seconds)
            clustered, seconds = timed(lambda rays=rays: baseline(rays))
            theirs.append(f1_of_items(clustered, road))
            baseline_speed.append(len(clustered) / seconds)
            told = street_scene.changes(road, rng, noise)
            said |= {(f"{seed}{fate}", name) for fate, name in told}
            truth |= {(f"{seed}{fate}", name) for fate, name in road.truth}
        score = street_scene.score(said, frozenset(truth))
        print(
            f"| {noise.position_m * 100:g} cm, {noise.attitude_deg:g}°, {noise.click_deg:g}° "
            f"| {np.mean(ours):.3f} | {np.mean(theirs):.3f} | {np.mean(speed):.0f} "
            f"| {np.mean(baseline_speed):.0f} | {score.f1:.3f} |"
        )
    many_positions()


def many_positions() -> None:
    """Positions merged and compared by the thousand: two surveys of 20,000 signs on 1,000 km."""
    rng = np.random.default_rng(1)
    true = np.column_stack(
        [rng.uniform(0, 1e6, 20_000), rng.uniform(-5, 5, 20_000), np.zeros(20_000)]
    )
    covariance = np.eye(3) * 0.05**2

    def survey(name: str) -> list[merging.Placed]:
        said = true + rng.normal(0, 0.05, true.shape)
        return [
            merging.Placed(f"{name}{i}", "panneau", place, covariance, frozenset([f"{name}{i}"]))
            for i, place in enumerate(said)
        ]

    first, second = survey("a"), survey("b")
    merged, seconds = timed(lambda: merging.merge_positions([*first, *second]))
    print(
        f"\nmerge_positions: 40,000 → {len(merged.items)} items, {40_000 / seconds:.0f} positions/s"
    )
    looks = comparison.Looks(
        np.column_stack([np.arange(0, 1e6, 5.0), np.zeros(200_000), np.zeros(200_000)]),
        np.zeros((200_000, 3)),
        np.tile([0.0, 0.0, 1.0, 1.0], (200_000, 1)),
    )
    found, seconds = timed(lambda: comparison.compare(first, second, looks, looks, movable=MOVABLE))
    print(
        f"compare: 20,000 x 20,000 items, 200,000 panoramas: {len(found.unchanged)} unchanged, "
        f"{seconds:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
