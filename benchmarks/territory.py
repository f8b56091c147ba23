"""The territory's figures beside its peers', in one run: the search of communes, the import of
outlines, and « which commune is this? ».

The peers (rapidfuzz, geopandas) live in a virtual environment that this script makes; SQLite's
FTS5 comes with Python. Queries are names that a seeded generator types badly: each of the current
and former names once per kind (`typed`). Every engine is asked the same queries in the same order,
one at a time, by one thread; rounds alternate and the best of each is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
import venv
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

PROJECT = Path(__file__).parents[1]
PEERS = PROJECT / "build/bench/territory"
PACKAGES = ("rapidfuzz>=3.14,<4", "geopandas>=1.1,<2")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
KINDS = ("as people write", "unfinished", "one slip", "two slips")
Search = Callable[[str], list[str]]


# Queries ------------------------------------------------------------------------------------------
def plain(text: str) -> str:
    """Lower case without accents, as every engine here receives its names."""
    text = unicodedata.normalize("NFKD", text.casefold().replace("œ", "oe"))
    return "".join(letter for letter in text if not unicodedata.combining(letter))


def carelessly(name: str, random: Random) -> str:
    """Without accents or capitals, « st » for « saint », blanks for hyphens, an article dropped."""
    text = plain(name)
    for article in ("les ", "le ", "la ", "l'"):
        if random.random() < 0.5:
            text = text.removeprefix(article)
    for long, short in (("sainte-", "ste "), ("saint-", "st ")):
        if random.random() < 0.5:
            text = text.replace(long, short)
    return text.replace("-", " ").replace("'", " ")


def slip(text: str, random: Random) -> str:
    """One letter left out, added, replaced or swapped with the next, anywhere after the first."""
    at = random.randrange(1, max(len(text) - 1, 2))
    letter = random.choice(LETTERS)
    return random.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at:],
            text[:at] + letter + text[at + 1 :],
            text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
        ]
    )


def typed(name: str, kind: str, random: Random) -> str:
    text = carelessly(name, random)
    if kind == "unfinished":
        return text[: max(3, len(text) * 6 // 10)].rstrip()
    for _ in range(KINDS.index(kind) - 1 if kind != "as people write" else 0):
        text = slip(text, random)
    return text


# Measures -----------------------------------------------------------------------------------------
def measured(search: Search, queries: list[tuple[str, str]]) -> dict[str, Any]:
    """Recall at 1 and at 5 (share of the expected codes found) and latency in milliseconds."""
    took, first, among = [], 0, 0
    for text, expected in queries:
        started = time.perf_counter()
        found = search(text)
        took.append((time.perf_counter() - started) * 1000)
        first += found[:1] == [expected]
        among += expected in found[:5]
    cuts = statistics.quantiles(took, n=20)
    return {
        "recall_1": first / len(queries),
        "recall_5": among / len(queries),
        "p50_ms": statistics.median(took),
        "p95_ms": cuts[-1],
    }


def distinct(codes: list[str]) -> list[str]:
    return list(dict.fromkeys(codes))[:5]


# Peers, in their own environment ------------------------------------------------------------------
def rapidfuzz_search(names: list[tuple[str, str]]) -> Search:
    from rapidfuzz import fuzz, process, utils

    choices = [utils.default_process(plain(name)) for name, _ in names]

    def search(text: str) -> list[str]:
        asked = utils.default_process(plain(text))
        best = process.extract(asked, choices, scorer=fuzz.WRatio, limit=10)
        return distinct([names[index][1] for _, _, index in best])

    return search


def fts5_search(names: list[tuple[str, str]]) -> Search:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE n USING fts5(name, code UNINDEXED, tokenize='trigram')")
    database.executemany("INSERT INTO n VALUES (?, ?)", [(plain(n), code) for n, code in names])

    def search(text: str) -> list[str]:
        asked = plain(text)
        trigrams = {asked[at : at + 3] for at in range(len(asked) - 2)}
        if not trigrams:
            return []
        match = " OR ".join('"{}"'.format(part.replace('"', '""')) for part in sorted(trigrams))
        rows = database.execute(
            "SELECT code FROM n WHERE n MATCH ? ORDER BY rank LIMIT 10", (match,)
        )
        return distinct([code for (code,) in rows])

    return search


def geopandas_import(path: str, successors: dict[str, str]) -> float:
    """Seconds to read, mend, project, and unite merged communes."""
    import geopandas

    started = time.perf_counter()
    frame = geopandas.read_file(path).to_crs(2154)
    frame["geometry"] = frame.make_valid()
    frame["code"] = frame["code"].replace(successors)
    united = frame.dissolve("code").simplify_coverage(100.0).to_crs(4171)
    assert len(united) == 698
    return time.perf_counter() - started


def geopandas_points(path: str, successors: dict[str, str], points: list[list[float]]) -> list[Any]:
    """Points a second: one at a time through `sindex`, and all at once through `sjoin`."""
    import geopandas
    import shapely

    frame = geopandas.read_file(path)
    frame["code"] = frame["code"].replace(successors)
    started = time.perf_counter()
    codes = []
    for longitude, latitude in points:
        hits = frame.sindex.query(shapely.Point(longitude, latitude), predicate="intersects")
        codes.append(min(frame["code"].iloc[hits], default=None))
    single = len(points) / (time.perf_counter() - started)
    started = time.perf_counter()
    spots = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy(*zip(*points, strict=True)))
    joined = geopandas.sjoin(spots.set_crs(frame.crs), frame[["code", "geometry"]], how="left")
    assert len(joined) >= len(points)
    return [single, len(points) / (time.perf_counter() - started), codes]


def peer_main() -> None:
    """Run in the peers' environment: one JSON object in, one out."""
    import geopandas
    import rapidfuzz

    asked = json.load(sys.stdin)
    names = [tuple(pair) for pair in asked["names"]]
    answer: dict[str, Any] = {
        "versions": f"rapidfuzz {rapidfuzz.__version__}, geopandas {geopandas.__version__}, "
        f"SQLite {sqlite3.sqlite_version}"
    }
    engines = {
        "rapidfuzz WRatio": rapidfuzz_search(names),
        "SQLite FTS5 trigram": fts5_search(names),
    }
    answer["search"] = {
        name: {kind: measured(search, queries) for kind, queries in asked["queries"].items()}
        for name, search in engines.items()
    }
    answer["import_s"] = geopandas_import(asked["outlines"], asked["successors"])
    answer["points"] = geopandas_points(asked["outlines"], asked["successors"], asked["points"])
    json.dump(answer, sys.stdout)


def peers_python() -> str:
    python = PEERS / "bin/python"
    if not (PEERS / "ready").exists():
        print("making the peers' environment …", file=sys.stderr)
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
            check=True,
        )
        (PEERS / "ready").touch()
    return str(python)


def peers(asked: dict[str, Any]) -> dict[str, Any]:
    answer = subprocess.run(
        [peers_python(), __file__, "--peer"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


# Ours ---------------------------------------------------------------------------------------------
def main(rounds: int, points: int, seed: int, outlines: Path) -> None:
    os.environ["SOUVERAIN_HOME"] = tempfile.mkdtemp(prefix="souverain-bench-")
    os.environ["DATABASE_URL"] = ""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
    import django

    django.setup()
    import pyogrio
    import shapely
    from django.conf import settings
    from django.core.management import call_command

    from souverain.core.access import SYSTEM
    from souverain.territory.atlas import atlas
    from souverain.territory.models import FormerCommune
    from souverain.territory.services import import_outlines, load_departement

    call_command("migrate", verbosity=0)
    load_departement(SYSTEM, "21", settings.DECOUPAGE)
    names = [(entry.name, entry.code) for entry in atlas().index.entries if entry.name]
    queries = {
        kind: [(typed(name, kind, Random(f"{seed}/{kind}/{name}")), code) for name, code in names]
        for kind in KINDS
    }
    random = Random(seed)
    spots = [[random.uniform(4.07, 5.52), random.uniform(46.90, 48.03)] for _ in range(points)]
    asked = {
        "names": names,
        "queries": queries,
        "outlines": str(outlines),
        "successors": dict(FormerCommune.objects.values_list("code", "successor__code")),
        "points": spots,
    }

    def search(text: str) -> list[str]:
        return distinct([found.entry.code for found in atlas().index.search(text, 10)])

    index = atlas().index

    def search_in_memory(text: str) -> list[str]:
        return distinct([found.entry.code for found in index.search(text, 10)])

    results: dict[str, list[dict[str, Any]]] = {}
    imports, theirs, ours, answers = [], [], [], {}
    for _ in range(rounds):
        for name, engine in (
            ("souverain, index", search_in_memory),
            ("souverain, with the version check", search),
        ):
            measure = {kind: measured(engine, asked_for) for kind, asked_for in queries.items()}
            results.setdefault(name, []).append(measure)
        started = time.perf_counter()
        import_outlines(SYSTEM, outlines, "21")
        imports.append(time.perf_counter() - started)
        now = atlas()
        now.commune_at(*spots[0])
        started = time.perf_counter()
        located = [now.commune_at(*spot) for spot in spots]
        ours.append(points / (time.perf_counter() - started))
        answers = peers(asked)
        for name, measure in answers["search"].items():
            results.setdefault(name, []).append(measure)
        theirs.append((answers["import_s"], *answers["points"][:2]))
    codes = [found.code if found else None for found in located]
    # They read the generalised file as it is, we round to 6 decimals: at the very edge they differ.
    agreed = sum(a == b for a, b in zip(codes, answers["points"][2], strict=True)) / points

    print(f"Python {platform.python_version()}, Django {django.get_version()}, "
          f"shapely {shapely.__version__}, pyogrio {pyogrio.__version__}; {answers['versions']}")  # fmt: skip
    print(f"search: {len(names)} names, {len(names)} queries of each kind, seed {seed}, "
          f"best of {rounds} round(s)")  # fmt: skip
    for kind in KINDS:
        print(f"  {kind}, as « {queries[kind][100][0]} » for « {names[100][0]} »")
        base = min(measure[kind]["p50_ms"] for measure in results["souverain, index"])
        for name, measures in results.items():
            best = min((measure[kind] for measure in measures), key=lambda found: found["p50_ms"])
            print(f"    {name:<34} recall@1 {best['recall_1']:.3f}  @5 {best['recall_5']:.3f}  "
                  f"p50 {best['p50_ms']:.3f} ms  p95 {best['p95_ms']:.3f} ms  "
                  f"({best['p50_ms'] / base:.1f}× ours)")  # fmt: skip
    import_s = min(seconds for seconds, _, _ in theirs)
    single, bulk = (max(rates[n] for rates in theirs) for n in (1, 2))
    print(f"import of {outlines.name}: {min(imports):.2f} s checked, placed, written and journalled; "
          f"geopandas read, mend, unite, simplify in memory: {import_s:.2f} s "
          f"({min(imports) / import_s:.2f}× theirs)")  # fmt: skip
    print(f"which commune: {max(ours):.0f} points/s one at a time; geopandas sindex {single:.0f}/s "
          f"({max(ours) / single:.2f}×), sjoin of all at once {bulk:.0f}/s; "
          f"same answer for {agreed:.4%} of {points} points")  # fmt: skip


if __name__ == "__main__":
    if "--peer" in sys.argv:
        peer_main()
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--points", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=21)
    data = Path(os.environ.get("SOUVERAIN_TEST_DATA") or PROJECT / "../shared/data")
    parser.add_argument("--outlines", type=Path, default=data / "twin/admin/communes-21.geojson")
    given = parser.parse_args()
    main(given.rounds, given.points, given.seed, given.outlines.resolve())
