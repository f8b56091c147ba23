"""Measuring on panoramas: whether the stated sigmas are true, how far the centimetre reaches, and what
a point costs beside OpenCV's `triangulatePoints` on the same rays.

`python benchmarks/street_measure.py [configurations]`
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src")]

import cv2
import numpy as np
import scipy

from souverain.street.engine import sphere
from souverain.street.engine import triangulation as tri
from souverain.street.tests import triangulation_scenes as scenes

PIXEL_DEG = 360.0 / 12288


def coverage(count: int) -> None:
    print(f"\nCoverage, {count} configurations (expected 68.27 % and 95.00 %; each axis, whitened)")
    print("drawn                      accepted   within 1 sigma        within 1.96 sigma     rms")
    for name, drawn in {
        "2 rays, 2-15 m ahead": {},
        "3 rays": {"rays": 3},
        "beside, base 5-10 m": {"ahead_m": (-3.0, 8.0), "base_m": (5.0, 10.0)},
        "15-25 m ahead": {"ahead_m": (15.0, 25.0)},
        "attitude 0.5 deg": {"sigma_attitude_deg": (0.5, 0.5)},
    }.items():
        scene = scenes.drive(count, 41, **drawn)  # type: ignore[arg-type]
        found = tri.intersect(scene.bundles)
        taken = np.array([reason is None for reason in found.refused])
        errors = (found.points_m - scene.truth)[taken]
        one, two = scenes.coverage(scenes.whitened(errors, found.covariance_m2[taken]))
        rms = np.sqrt((errors**2).sum(1).mean()) * 100
        shares = "  ".join(f"{100 * share:5.1f}" for share in (*one, *two))
        print(f"{name:<26} {100 * taken.mean():6.1f} %   {shares}   {rms:5.1f} cm")


def camera(key: int, y: float, attitude_deg: float) -> tri.Camera:
    return tri.Camera(key, (0.0, y, 2.5), 0.0, 0.0, 0.0, 0.02, 0.02, attitude_deg, attitude_deg)


def ray(at: tri.Camera, place: np.ndarray) -> tri.Ray:
    yaw, elevation = sphere.direction_to_angles((place - at.position)[None])
    return tri.Ray(at, float(yaw[0]), float(elevation[0]), PIXEL_DEG)


def reach() -> None:
    print(
        "\nStated 3D sigma (cm), 3 m aside, camera 2.5 m high, position 2 cm, click 1 px of 12288;"
    )
    print("horizontal sigma for the single ray on a perfectly known flat road; « - »: refused")
    print("ahead   attitude   1 ray on the road   2 rays, base 5 m   2 rays, base 10 m")
    for attitude in (0.02, 0.05, 0.2):
        for ahead in (4.0, 8.0, 15.0, 25.0):
            place = np.array([3.0, ahead, 0.0])
            cells = []
            try:
                road = tri.Road("flat", 2.5, 1e-6)
                alone = tri.on_road(ray(camera(0, 0.0, attitude), place), road)
                cells.append(np.sqrt(np.trace(alone.covariance[:2, :2])))
            except tri.Refused:
                cells.append(None)
            for base in (5.0, 10.0):
                stops = [camera(k, k * base, attitude) for k in range(2)]
                try:
                    point = tri.triangulate([ray(at, place) for at in stops])
                    cells.append(np.sqrt(np.trace(point.covariance)))
                except tri.Refused:
                    cells.append(None)
            told = [f"{100 * cell:8.1f}" if cell is not None else f"{'-':>8}" for cell in cells]
            print(f"{ahead:4.0f} m   {attitude:5.2f} deg   " + "          ".join(told))


def beside_opencv(count: int) -> None:
    scene = scenes.drive(count, 42)
    toward = scene.truth[:, None] - scene.bundles.positions_m
    exact = replace(
        scene.bundles, directions=toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    )
    started = time.process_time()
    found = tri.intersect(exact)
    ours_s = time.process_time() - started
    started = time.process_time()
    tri.intersect(scene.bundles)
    drawn_s = time.process_time() - started
    worst, cv_s, compared = 0.0, 0.0, 0
    for index, reason in enumerate(found.refused):
        if reason is tri.Reason.THIN:
            continue
        origin = exact.positions_m[index, 0]
        matrices = []
        for place, forward in zip(
            exact.positions_m[index] - origin, exact.directions[index], strict=True
        ):
            right = np.cross(forward, [0.0, 0.0, 1.0])
            right /= np.linalg.norm(right)
            turn = np.stack([right, np.cross(forward, right), forward])
            matrices.append(np.column_stack([turn, -turn @ place]))
        middle = np.zeros((2, 1))
        started = time.perf_counter()
        theirs = cv2.triangulatePoints(*matrices, middle, middle)[:, 0]
        cv_s += time.perf_counter() - started
        worst = max(
            worst, float(np.abs(found.points_m[index] - origin - theirs[:3] / theirs[3]).max())
        )
        compared += 1
    print(f"\nBeside OpenCV on the same exact rays, {compared} pairs")
    print(f"  greatest difference of a coordinate: {worst:.1e} m")
    print(
        f"  ours, with covariance, chi-square and refusals, in one array: {ours_s / count * 1e6:.1f} µs a point ({drawn_s / count * 1e6:.1f} with rays that miss each other)"
    )
    print(
        f"  cv2.triangulatePoints, position alone, one call a pair (each has its own cameras): {cv_s / compared * 1e6:.1f} µs"
    )
    one = np.zeros((2, count))
    started = time.perf_counter()
    cv2.triangulatePoints(*matrices, one, one)
    print(
        f"  cv2.triangulatePoints, all points in one pair of cameras: {(time.perf_counter() - started) / count * 1e6:.2f} µs"
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"opencv {cv2.__version__}"
    )
    coverage(count)
    reach()
    beside_opencv(count)


if __name__ == "__main__":
    main()
