"""Finding panoramas, beside PostGIS and scipy, in one run on the same points: 5 m lines along a
synthetic lattice of roads as large as the département. Then links beside Panoramax's rule of
15 m, against the truth; and the delivery audit of all records.

    python -m benchmarks.street_find --panoramas 1700000

PostGIS: Debian's postgresql-15-postgis-3, a private cluster on a Unix socket, GiST index, analysed.
Latencies are wall times of one caller, one question at a time; what is built is in CPU seconds of
this process (PostGIS's index, which another process builds, in wall seconds).
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

SPACING_M = 5.0
ASKED = 2000


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process: what a busy machine does not lengthen."""
    start = time.process_time()
    value = call()
    return time.process_time() - start, value


def latencies(call: Callable[[int], Any], count: int) -> str:
    call(0)
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - start)
    p50, p95 = np.percentile(seconds, [50, 95]) * 1000
    return f"p50 {p50:.3f} ms, p95 {p95:.3f} ms"


def row(what: str, who: str, value: str) -> None:
    print(f"{what:44} {who:24} {value}", flush=True)


# The points ---------------------------------------------------------------------------------------


def points(wanted: int) -> tuple[Any, Any]:
    """A lattice of one-way roads over 125 km × 125 km, and a panorama every 5 m of it."""
    from souverain.street.tests.drives import drive
    from souverain.territory.engine.synthetic_roads import sample_roads

    lines = max(round(wanted * SPACING_M / 2 / 125_000), 2)
    roads = sample_roads(lines, lines, 125_000 / lines)
    network = roads.network
    one_way = np.where(network.one_way == 0, 1, network.one_way).astype(np.int8)
    network = replace(network, one_way=one_way)
    return network, drive(network, SPACING_M)


def built(driven: Any) -> Any:
    from souverain.street.engine import panorama_index
    from souverain.territory.engine import projection

    lonlat = projection.metres_to_lonlat(driven.xy_m)
    count = len(driven.xy_m)
    number = np.arange(count)
    identifiers = np.zeros((count, 2), "<u8")
    identifiers[:, 0] = number
    return lambda: panorama_index.build(
        x_m=driven.xy_m[:, 0],
        y_m=driven.xy_m[:, 1],
        longitude_deg=lonlat[:, 0],
        latitude_deg=lonlat[:, 1],
        taken_us=number * 360_000,
        sequence=driven.sequence,
        rank=number,
        campaign=np.zeros(count, np.int64),
        identifiers=identifiers.view("V16").reshape(-1),
        campaigns=["banc"],
        stamp="banc",
    )


# Ours and scipy -----------------------------------------------------------------------------------


def ours(driven: Any, folder: Path, asked: Any) -> Any:
    from souverain.street import map_tiles
    from souverain.street.engine import vector_tiles
    from souverain.street.engine.panorama_index import EVERYTHING

    seconds, index = timed(built(driven))
    row("index: build", "souverain", f"{seconds:.2f} s")
    path = folder / "panoramas.index"
    seconds, _ = timed(lambda: index.save(path))
    row("index: save", "souverain", f"{seconds:.2f} s, {path.stat().st_size / 1e6:.0f} MB")
    warm = (
        "import time; t = time.perf_counter()\n"
        "from pathlib import Path\n"
        "from souverain.street.engine import panorama_index\n"
        "m = time.perf_counter()\n"
        f"i = panorama_index.load(Path({str(path)!r}))\n"
        "i.nearest(850000.0, 6700000.0)\n"
        "print(f'{time.perf_counter() - m:.3f} s (imports {m - t:.2f} s)')\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", warm], capture_output=True, text=True, check=True
    ).stdout.strip()
    row("warm start: load, check, first answer", "souverain", told)
    row("nearest", "souverain", latencies(lambda n: index.nearest(*asked[n]), ASKED))
    far = np.random.default_rng(5).uniform(asked.min(0) - 5e4, asked.max(0) + 5e4, (ASKED, 2))
    row("nearest, anywhere", "souverain", latencies(lambda n: index.nearest(*far[n]), ASKED))
    row("within 50 m", "souverain", latencies(lambda n: index.radius(*asked[n], 50), ASKED))

    def box(n: int) -> Any:
        x, y = asked[n]
        return index.box(x - 500, y - 500, x + 500, y + 500)

    row("box 1 km", "souverain", latencies(box, ASKED))
    seconds, pack = timed(lambda: vector_tiles.prepare(map_tiles.drives_of(index), "banc"))
    size = len(pack.content) / 1e6
    row(
        "tiles z6-z12: prepare",
        "souverain",
        f"{seconds:.1f} s, {len(pack.keys)} tiles, {size:.1f} MB",
    )
    map_tiles._held.pack = pack
    for z in (6, 11, 12, 13, 15, 17):
        tiles = tiles_of(z, asked)
        sizes = [len(map_tiles.render(index, EVERYTHING, *tile)) for tile in tiles[:50]]
        told = latencies(
            lambda n, tiles=tiles: map_tiles.render(index, EVERYTHING, *tiles[n % len(tiles)]),
            500,
        )
        row(f"vector tile z{z}", "souverain", f"{told} ({np.mean(sizes) / 1e3:.1f} kB)")
    return index


def tiles_of(z: int, asked: Any) -> list[tuple[int, int, int]]:
    from souverain.street.engine import vector_tiles
    from souverain.territory.engine import projection

    lonlat = projection.metres_to_lonlat(asked)
    x, y = vector_tiles.mercator(lonlat[:, 0], lonlat[:, 1])
    return [(z, int(a), int(b)) for a, b in zip(x * 2**z, y * 2**z, strict=True)]


def scipys(driven: Any, asked: Any) -> None:
    import scipy
    from scipy.spatial import cKDTree

    who = f"scipy {scipy.__version__} cKDTree"
    seconds, tree = timed(lambda: cKDTree(driven.xy_m))
    row("index: build", who, f"{seconds:.2f} s (no file)")
    row("nearest", who, latencies(lambda n: tree.query(asked[n]), ASKED))
    row("within 50 m", who, latencies(lambda n: tree.query_ball_point(asked[n], 50), ASKED))


# PostGIS ------------------------------------------------------------------------------------------


def postgis(driven: Any, asked: Any) -> None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    shares = list(Path("/usr/share/postgresql").glob("*/extension/postgis.control"))
    if not found or not shares:
        row("all of it", "PostGIS", "not run: postgresql-15-postgis-3 is not installed")
        return
    tools = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    folder.chmod(0o755)
    as_ = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_:
        shutil.chown(folder, "postgres")
    data = str(folder / "data")
    subprocess.run(
        [*as_, tools / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync",
         "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    options = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=512MB"
    subprocess.run(
        [*as_, tools / "pg_ctl", "-D", data, "-w", "-o", options, "-l", folder / "log", "start"],
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    try:
        _postgis(driven, asked, folder)
    finally:
        subprocess.run(
            [*as_, tools / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"],
            check=False, capture_output=True, cwd="/",
        )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


def _postgis(driven: Any, asked: Any, folder: Path) -> None:
    import psycopg

    connection = psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True)
    run = connection.execute
    run("CREATE EXTENSION postgis")
    version = run("SELECT postgis_lib_version()").fetchone()
    who = f"PostGIS {version[0] if version else '?'}"
    run("CREATE TABLE p (id bigint, sequence int, g geometry(Point, 2154))")

    def fill() -> None:
        with connection.cursor().copy("COPY p (id, sequence, g) FROM STDIN") as copy:
            for number, (x, y) in enumerate(driven.xy_m.tolist()):
                copy.write_row((number, int(driven.sequence[number]), f"SRID=2154;POINT({x} {y})"))

    start = time.perf_counter()
    fill()
    seconds = time.perf_counter() - start
    run("CREATE INDEX ON p USING gist (g)")
    index_s = time.perf_counter() - start - seconds
    run("ANALYZE p")
    row("index: build", who, f"{seconds + index_s:.1f} s (copy {seconds:.1f}, GiST {index_s:.1f})")
    cursor = connection.cursor()

    def ask(sql: str, *arguments: Any) -> Any:
        return cursor.execute(sql, arguments, prepare=True).fetchall()

    point = "ST_SetSRID(ST_MakePoint(%s, %s), 2154)"
    nearest = f"SELECT id, g <-> {point} FROM p ORDER BY g <-> {point} LIMIT 1"
    row("nearest", who, latencies(lambda n: ask(nearest, *asked[n], *asked[n]), ASKED))
    box = "SELECT id FROM p WHERE g && ST_MakeEnvelope(%s, %s, %s, %s, 2154)"
    row(
        "box 1 km", who,
        latencies(lambda n: ask(box, *(asked[n] - 500), *(asked[n] + 500)), ASKED),
    )  # fmt: skip
    tile = """SELECT ST_AsMVT(t, 'pictures') FROM (
        SELECT id, ST_AsMVTGeom(ST_Transform(g, 3857), ST_TileEnvelope(%s, %s, %s)) AS geom
        FROM p WHERE g && ST_Transform(ST_TileEnvelope(%s, %s, %s), 2154)) t"""
    for z, count in ((11, 30), (13, 100), (15, 200), (17, 200)):
        tiles = tiles_of(z, asked)
        told = latencies(
            lambda n, tiles=tiles: ask(tile, *tiles[n % len(tiles)], *tiles[n % len(tiles)]), count
        )
        row(f"vector tile z{z} (all points)", who, told)


# Over HTTP, and the audit -------------------------------------------------------------------------


def with_records(driven: Any, network: Any, asked: Any, home: Path) -> None:
    """The same panoramas as records of a published campaign, behind the program's own server."""
    from django.core.management import call_command
    from django.db import connection, transaction

    from souverain.core import access
    from souverain.core.models import Organisation
    from souverain.street import campaigns, delivery_audit, finding, map_tiles
    from souverain.street.models import Campaign, Panorama
    from souverain.territory.engine import projection

    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    Organisation.objects.get_or_create(
        code="21", defaults={"kind": "departement", "name": "Côte-d'Or"}
    )
    campaign = campaigns.create(access.SYSTEM, "banc", provenance="synthetic")
    lonlat = projection.metres_to_lonlat(driven.xy_m)
    sequences = {int(n): f"{int(n):032x}" for n in np.unique(driven.sequence)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO street_sequence (id, campaign_id, ordinal, title) VALUES (%s, %s, %s, '')",
            [(key, campaign.pk.hex, n) for n, key in sequences.items()],
        )
        fields = Panorama._meta.concrete_fields
        names = ", ".join(field.column for field in fields)
        marks = ", ".join(["%s"] * len(fields))
        fixed = {f.column: f.get_default() for f in fields}
        fixed |= {
            "campaign_id": campaign.pk.hex, "state": "ready", "detector": "banc",
            "datum": "NGF-IGN69", "width": 12288, "height": 6144, "crop": None,
            "sigma_xy_m": 0.02, "sigma_heading_deg": 0.02,
        }  # fmt: skip

        def rows() -> Any:
            for i in range(len(driven.xy_m)):
                taken = np.datetime64("2026-06-01T00:00:00") + np.timedelta64(400 * i, "ms")
                mine = {
                    **fixed, "id": f"{i:032x}", "sequence_id": sequences[int(driven.sequence[i])],
                    "rank": i, "file_name": f"{i}.jpg", "sha256": f"{i:064x}",
                    "taken_at": str(taken).replace("T", " "),
                    "longitude_deg": lonlat[i, 0], "latitude_deg": lonlat[i, 1],
                    "x_m": driven.xy_m[i, 0], "y_m": driven.xy_m[i, 1], "z_m": driven.z_m[i],
                    "heading_deg": (driven.heading_deg[i] + 1.4) % 360,
                }  # fmt: skip
                yield tuple(mine[field.column] for field in fields)

        cursor.executemany(f"INSERT INTO street_panorama ({names}) VALUES ({marks})", rows())
    Campaign.objects.filter(pk=campaign.pk).update(state=Campaign.State.PUBLISHED)
    seconds, _ = timed(finding._records)
    row("are the records those of the index?", "souverain", f"{seconds * 1000:.0f} ms")
    seconds, index = timed(finding.rebuild)
    row("index from the records (job)", "souverain", f"{seconds:.1f} s")
    map_tiles.prepare(index)
    over_http(asked, home)
    campaign.refresh_from_db()
    seconds, made = timed(lambda: delivery_audit.run(access.SYSTEM, campaign))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row(
        "audit of all records, reading included", "souverain",
        f"{seconds:.1f} s, {made.report['panoramas']} records, peak {peak:.1f} GB of this process",
    )  # fmt: skip


def over_http(asked: Any, home: Path) -> None:
    from souverain.territory.engine import projection
    from souverain.vault.tests.conftest import Server

    server = Server(home)
    server.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        lonlat = projection.metres_to_lonlat(asked)

        def get(path: str) -> bytes:
            connection.request("GET", path, headers={"Host": "localhost"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status not in (200, 204):
                raise SystemExit(f"{path}: {answer.status} {content[:200]!r}")
            return content

        def nearest(n: int) -> bytes:
            return get(f"/api/street/nearest?lon={lonlat[n, 0]}&lat={lonlat[n, 1]}")

        row("nearest over HTTP", "souverain", latencies(nearest, 1000))
        tiles = tiles_of(11, asked)
        row(
            "vector tile z11 over HTTP", "souverain",
            latencies(lambda n: get("/street/map/{}/{}/{}.mvt".format(*tiles[n])), 500),
        )  # fmt: skip
    finally:
        server.kill()


# Links --------------------------------------------------------------------------------------------


def link_rules() -> None:
    from collections import Counter

    from souverain.street.engine import links
    from souverain.street.tests.drives import Truth, drive
    from souverain.street.tests.test_links import (
        false_turns,
        fifteen_metres,
        matched,
        missing_turns,
    )
    from souverain.territory.engine.synthetic_roads import sample_roads

    roads = sample_roads(26, 24)
    driven = drive(roads.network)
    truth = Truth(roads.network, driven)
    kinds = Counter(crossing.kind for crossing in roads.crossings)
    row("links: the network", "", f"{dict(kinds)}, {len(driven.xy_m)} panoramas, both ways")
    seconds, found = timed(lambda: matched(roads.network, driven))
    row(
        "links: matching to the roads", "souverain", f"{len(driven.xy_m) / seconds:.0f} panoramas/s"
    )
    seconds, made = timed(
        lambda: links.by_roads(roads.network, driven.xy_m, driven.z_m, driven.sequence, found)
    )
    for who, rule in (("souverain", made), ("Panoramax's rule (15 m)", fifteen_metres(driven))):
        wrong = false_turns(rule, driven, truth)
        missing = missing_turns(roads.network, rule, driven) if who == "souverain" else []
        told = f"{len(rule)} links, false {dict(wrong) or 0}"
        row("links", who, told + (f", turns missing {len(missing)}" if rule is made else ""))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--panoramas", type=int, default=1_700_000)
    parser.add_argument("--no-records", action="store_true", help="Neither HTTP nor the audit.")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-street-") as name:
        home = Path(name) / "home"
        os.environ["SOUVERAIN_HOME"] = str(home)
        os.environ["DJANGO_SETTINGS_MODULE"] = "souverain.config.settings"
        import django

        django.setup()
        network, driven = points(wanted.panoramas)
        asked = driven.xy_m[:: max(len(driven.xy_m) // ASKED, 1)]
        asked = asked + np.random.default_rng(4).normal(0, 20, asked.shape)
        load = os.getloadavg()[0]
        print(f"{len(driven.xy_m)} panoramas on 5 m lines; Python {platform.python_version()}, "
              f"numpy {np.__version__}, load {load:.1f} on {os.cpu_count()} cores")  # fmt: skip
        ours(driven, home, asked)
        scipys(driven, asked)
        postgis(driven, asked)
        link_rules()
        if not wanted.no_records:
            with_records(driven, network, asked, home)


if __name__ == "__main__":
    main()
