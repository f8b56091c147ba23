"""A panorama received by us and by Panoramax, on the same picture, in one run.

Ours: `souverain street ingest`'s own step on one picture (pose, digest, objects written and
synced, full pyramid, record), blur off. Panoramax: geovisio's own functions in a virtual
environment that this script makes (blur off), on a plain folder: thumbnail, SD picture and tiles,
as its worker calls them, with the picture's metadata read as its upload does. Each side runs in a
process of its own, which has loaded its program (and ours, its compiled code) before the first
picture: processor time counts from there; the largest resident memory is said whole, and of it what
the program alone takes.

    python -m benchmarks.street_ingest [PICTURE] [--times N]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

GEOVISIO = "geovisio==2.14.0"
PEER = Path(__file__).resolve().parent.parent / "build/bench/panoramax"

_MEASURE = """
import json, os, resource, sys, time
def used():
    of = resource.getrusage(resource.RUSAGE_SELF)
    return of.ru_utime + of.ru_stime
def resident():
    # Not ru_maxrss: a process inherits its parent's.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
def told(before, began, megapixels, out, times):
    files = [os.path.join(d, f) for d, _, names in os.walk(out) for f in names]
    print(json.dumps({
        "cpu_s": (used() - before) / times, "wall_s": (time.monotonic() - began) / times,
        "rss_mb": resident(), "base_mb": base,
        "objects": len(files) / times, "bytes": sum(map(os.path.getsize, files)) / times,
        "megapixels": megapixels}))
"""

_OURS = (
    _MEASURE
    + """
import django; django.setup()
from pathlib import Path
from souverain.core import access
from souverain.core.models import Organisation
from souverain.street import ingest
Organisation.objects.get_or_create(code="21", defaults={"kind": "departement", "name": "21"})
folder, out, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
import numpy as np, simplejpeg
from souverain.street.engine import pyramid
grey = simplejpeg.encode_jpeg(np.full((128, 256, 3), 128, np.uint8))
pyramid.build(grey, Path(out).with_name("warm"), width=256, height=128, crop=None)
base = resident()
before, began = used(), time.monotonic()
done = ingest.receive(access.SYSTEM, "banc", [folder], anonymise=None)
assert done.taken == times, done.rejected
told(before, began, done.rates.megapixels / times, out, times)
"""
)

_PANORAMAX = (
    _MEASURE
    + """
import opendal
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
from geopic_tag_reader import reader
from geovisio.utils import pictures
folder, out, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
target = opendal.Operator("fs", root=out)
base = resident()
before, began = used(), time.monotonic()
for number, name in enumerate(sorted(os.listdir(folder))):
    with open(os.path.join(folder, name), "rb") as file:
        content = file.read()
    reader.readPictureMetadata(content)
    target.write(f"{number}/original.jpg", content)
    picture = Image.open(os.path.join(out, f"{number}/original.jpg"))
    sizing = pictures.getPictureSizing(picture)
    assert pictures.generatePictureDerivates(target, picture, sizing, f"{number}", "equirectangular")
    size = picture.size
told(before, began, size[0] * size[1] / 1e6, out, times)
"""
)


def peer_python() -> Path:
    """The environment of the peer, made once."""
    python = PEER / "bin/python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", GEOVISIO], check=True)
    return python


def run(python: Path | str, code: str, *arguments: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(python), "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def delivery(picture: Path, folder: Path, times: int) -> None:
    """The same picture `times` times, a second and some metres apart."""
    from datetime import UTC, datetime, timedelta

    from PIL import Image

    start = datetime(2026, 6, 1, 12, tzinfo=UTC)
    Image.MAX_IMAGE_PIXELS = None
    for number in range(times):
        exif = Image.Exif()
        at = start + timedelta(seconds=number)
        photo, gps = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        photo[0x9003], photo[0x9011] = at.strftime("%Y:%m:%d %H:%M:%S"), "+00:00"
        gps[1], gps[2], gps[3], gps[4] = "N", (47.0, 19.0, 12.0 + number / 5), "E", (5.0, 2.0, 24.0)
        gps[0x10], gps[0x11] = "T", 0.0
        block = exif.tobytes()
        content = picture.read_bytes()
        made = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
        (folder / f"{number:06}.jpg").write_bytes(content[:2] + made + content[2:])


def mosaic(target: Path) -> Path:
    """12288 × 6144 pixels of real panoramas side by side: as dense as a picture can be."""
    import pyvips

    shared = os.environ.get("SOUVERAIN_TEST_DATA") or "../shared/data"
    files = sorted(Path(shared, "street").glob("pano_gopromax_seq_*.jpg"))
    if len(files) < 5:
        raise SystemExit("SOUVERAIN_TEST_DATA: the five panoramas are missing; name a PICTURE")
    images = [pyvips.Image.new_from_file(str(files[n % 5])) for n in range(9)]
    whole = pyvips.Image.arrayjoin(images, across=3).crop(0, 0, 12288, 6144)
    whole.jpegsave(str(target), Q=90, subsample_mode="on", keep="none")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--times", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        root = Path(scratch)
        picture = told.picture or mosaic(root / "mosaic.jpg")
        for name in ("in", "ours", "theirs", "home"):
            (root / name).mkdir()
        delivery(picture, root / "in", told.times)
        environment = {
            "SOUVERAIN_HOME": str(root / "home"),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
            "SOUVERAIN_OBJECTS_URL": f"file://{root / 'ours'}",
        }
        migrate = [sys.executable, "-m", "django", "migrate", "-v0"]
        subprocess.run(migrate, env={**os.environ, **environment}, check=True, capture_output=True)
        count = str(told.times)
        ours = run(
            sys.executable, _OURS, str(root / "in"), str(root / "ours"), count, **environment
        )
        theirs = run(peer_python(), _PANORAMAX, str(root / "in"), str(root / "theirs"), count)
        original = sum(file.stat().st_size for file in (root / "in").iterdir()) / told.times
    print(f"{ours['megapixels']:.1f} Mpx, {original / 1e6:.1f} MB, {told.times} times; {GEOVISIO}")
    head = ("", "Mpx/CPU-s", "CPU s", "wall s", "RSS MB", "of it base", "objects", "MB kept")
    print(("{:>11} " * 8).format(*head))
    for name, one in (("ours", ours), ("Panoramax", theirs)):
        print(
            f"{name:>11} {one['megapixels'] / one['cpu_s']:>11.1f} {one['cpu_s']:>11.2f} "
            f"{one['wall_s']:>11.2f} {one['rss_mb']:>11.0f} {one['base_mb']:>11.0f} {one['objects']:>11.0f} "
            f"{one['bytes'] / 1e6:>11.1f}"
        )
    ratio = (ours["megapixels"] / ours["cpu_s"]) / (theirs["megapixels"] / theirs["cpu_s"])
    print(f"{ratio:.2f} times Panoramax's megapixels a processor second")


if __name__ == "__main__":
    main()
