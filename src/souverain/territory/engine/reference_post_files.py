"""Reads reference posts (PR) from an operator's file: CSV (the State's files with a `plo` such as
`21PR12D`, or columns `route`, `pr`, `cote`), or points as GeoPackage, Shapefile or GeoJSON (IGN
BD TOPO POINT_DE_REPERE).

A good row beside a bad one is kept; a bad one is named with its line and the reason.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import shapely

from souverain.territory.engine.outlines import RowFault
from souverain.territory.engine.projection import in_area_of_use, lonlat_to_metres, metric_crs
from souverain.territory.engine.roads import ReferencePosts, RoadNameError, parse_road
from souverain.territory.engine.vector_files import (
    UNREADABLE,
    VectorFileError,
    check_file,
    declared_crs,
    offline,
    unreadable,
)

MAX_POSTS = 500_000
SUFFIXES = (".csv", ".gpkg", ".shp", ".geojson", ".json")
_MAX_CELL = 10_000
_PLO = re.compile(r"(?P<departement>[0-9]{2,3}|2[AB])PR(?P<pr>[0-9]{1,4})(?P<side>[DGUIC]?C?)")
_COLUMNS = {
    "plo": ("nom_plo", "plo"),
    "road": ("id_route", "route", "axe", "road"),
    "departement": (
        "code_insee_du_departement",
        "insee_dep",
        "departement",
        "deppr",
        "dep",
    ),
    "pr": ("pr", "numero"),
    "side": ("cote", "side"),
    "type": ("type_de_pr", "type_pr"),
    "abscissa": ("abscisse", "abs"),
    "cumulated": ("abscum", "cumuld", "cumul", "cumulated_m"),
    "x": ("x", "x_m"),
    "y": ("y", "y_m"),
    "longitude": ("longitude", "lon", "longitude_deg"),
    "latitude": ("latitude", "lat", "latitude_deg"),
}
_SIDES = {
    "D": "D",
    "G": "G",
    "DC": "D",
    "GC": "G",
    "U": "C",
    "I": "C",
    "C": "C",
    "UC": "C",
    "": "C",
}
Progress = Callable[[int, int], None]
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class PostsRead:
    """What was read, by département. `faults` are the rows left out, `elsewhere` counts those of
    other départements, `ignored` those that mark something else than a post."""

    posts: ReferencePosts
    departements: tuple[str, ...]
    cumulated_m: tuple[float | None, ...]
    faults: tuple[RowFault, ...]
    elsewhere: int
    ignored: int


@dataclass(slots=True)
class _Posts:
    keys: dict[tuple[str, str, int, str], int] = field(default_factory=dict)
    places: list[tuple[float, float]] = field(default_factory=list)
    abscissas: list[float] = field(default_factory=list)
    cumulated: list[float | None] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    elsewhere: int = 0
    ignored: int = 0


class _Fault(ValueError):
    """Why a row is left out, in French."""


def read_posts(
    path: Path,
    departement: str,
    everywhere: bool = False,
    progress: Progress = lambda done, total: None,
) -> PostsRead:
    """Read the posts of one département (of all with `everywhere`), in its metric projection.
    Rows are numbered as in the file: lines of a CSV (the header is line 1), GDAL's FID otherwise.
    Raises VectorFileError."""
    path = path.absolute()
    check_file(path, SUFFIXES)
    found = _Posts()
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _vector_rows(path, departement)
    for done, (number, row) in enumerate(rows, start=1):
        if done > MAX_POSTS:
            raise VectorFileError(f"{path.name} : plus de {MAX_POSTS} lignes, refusé")
        _take(found, number, row, departement, everywhere)
        if done % 5_000 == 0:
            progress(done, MAX_POSTS)
    if not found.places:
        elsewhere = f" ; {found.elsewhere} d'autres départements" if found.elsewhere else ""
        raise VectorFileError(
            f"{path.name} : aucun point de repère utilisable pour le département {departement}"
            f"{elsewhere}{_first(found.faults)}"
        )
    return PostsRead(
        posts=ReferencePosts(
            roads=np.array([road for _, road, _, _ in found.keys], dtype="U24"),
            prs=np.array([pr for _, _, pr, _ in found.keys], dtype=np.int64),
            sides=np.array([side for *_, side in found.keys], dtype="U1"),
            xy_m=np.array(found.places),
            abscissas_m=np.array(found.abscissas),
        ),
        departements=tuple(key[0] for key in found.keys),
        cumulated_m=tuple(found.cumulated),
        faults=tuple(found.faults),
        elsewhere=found.elsewhere,
        ignored=found.ignored,
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line, our columns) of a CSV: UTF-8 or Latin-1, with commas, semicolons or tabs."""
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        head = file.readline(_MAX_CELL)
        delimiter = max(",;\t", key=head.count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter)
        try:
            columns = _columns(path, next(reader, []))
            for cells in reader:
                if cells:
                    yield (
                        reader.line_num,
                        {
                            ours: cells[at].strip() if at < len(cells) else ""
                            for ours, at in columns.items()
                        },
                    )
        except csv.Error as error:
            raise VectorFileError(f"{path.name}, ligne {reader.line_num} : {error}") from error


def _encoding(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig") as file:
            while file.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "latin-1"
    except OSError as error:
        raise VectorFileError(f"{path.name} : lecture impossible ({error.strerror})") from error
    return "utf-8-sig"


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    there = {name.strip().casefold(): at for at, name in reversed(list(enumerate(header)))}
    found = {
        ours: next((there[name] for name in names if name in there), -1)
        for ours, names in _COLUMNS.items()
    }
    columns = {ours: at for ours, at in found.items() if at >= 0}
    named = "plo" in columns or "pr" in columns
    placed = {"x", "y"} <= columns.keys() or {"longitude", "latitude"} <= columns.keys()
    if not ("road" in columns and named and (placed or path.suffix.lower() != ".csv")):
        shown = ", ".join(name.strip()[:20] for name in header[:12]) or "aucune"
        raise VectorFileError(
            f"{path.name} : il faut les colonnes « route », « pr » (ou « plo ») et « x », « y » "
            f"(ou « longitude », « latitude ») ; colonnes lues : {shown}"
        )
    return columns


def _vector_rows(path: Path, departement: str) -> Iterator[tuple[int, Row]]:
    """(FID, our columns) of a layer of points; `x` and `y` from the points."""
    with offline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
            named = [name for name in layers if name.casefold() == "point_de_repere"]
            if len(candidates := named or layers) != 1:
                raise VectorFileError(
                    f"{path.name} : gardez une seule couche, nommée « point_de_repere » "
                    f"(couches lues : {', '.join(layers) or 'aucune'})"
                )
            layer = candidates[0]
            crs = declared_crs(path, layer)
            meta, fids, wkbs, cells = pyogrio.raw.read(
                path, layer=layer, max_features=MAX_POSTS + 1, return_fids=True
            )
        except UNREADABLE as error:
            raise unreadable(path, error) from error
    columns = _columns(path, [str(name) for name in meta["fields"]])
    if wkbs is None:
        raise VectorFileError(f"{path.name}, couche « {layer} » : elle n'a pas de géométrie")
    shapes = shapely.from_wkb(wkbs, on_invalid="ignore")
    to_metres = pyproj.Transformer.from_crs(crs, metric_crs(departement), always_xy=True)
    for row, (fid, shape) in enumerate(zip(fids.tolist(), shapes, strict=True)):
        told = {ours: _text(cells[at][row]) for ours, at in columns.items()}
        told["x"] = told["y"] = ""
        if shape is not None and shape.geom_type == "Point" and not shape.is_empty:
            x, y = to_metres.transform(shape.x, shape.y)
            told["x"], told["y"] = repr(float(x)), repr(float(y))
        if "type" in told:  # BD TOPO's abscissa is counted from the beginning of the section
            told["cumulated"] = told.pop("abscissa", "")
        yield fid, told


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _take(found: _Posts, number: int, row: Row, departement: str, everywhere: bool) -> None:
    name = (row.get("plo") or row.get("pr", ""))[:20]
    try:
        if row.get("type") and row["type"].upper() not in ("PR", "PR0"):
            found.ignored += 1
            return
        own, pr, side = _post(row, departement)
        if own != departement and not everywhere:
            found.elsewhere += 1
            return
        key = (own, _road(row["road"]), pr, side)
        if key in found.keys:
            raise _Fault("en double")
        place = _place(row, departement)
        abscissa = _number(row.get("abscissa", ""), "abscisse", 0.0)
        cumulated = _number(row["cumulated"], "cumul", 0.0) if row.get("cumulated") else None
    except _Fault as fault:
        found.faults.append(RowFault(number, name or None, str(fault)))
        return
    found.keys[key] = number
    found.places.append(place)
    found.abscissas.append(abscissa)
    found.cumulated.append(cumulated)


def _post(row: Row, departement: str) -> tuple[str, int, str]:
    """The département, the number and the side, from the `plo` or from columns of their own."""
    if row.get("plo"):
        plo = _PLO.fullmatch(row["plo"].upper().replace(" ", ""))
        if plo is None or plo["side"] not in _SIDES:
            raise _Fault(f"« {row['plo'][:20]} » n'est pas un nom de PR (« 21PR12D »)")
        own = plo["departement"]
        return own, int(plo["pr"]), _SIDES[plo["side"]]
    if not re.fullmatch(r"[0-9]{1,4}", row.get("pr", "")):
        raise _Fault(f"numéro de PR « {row.get('pr', '')[:20]} » : ce n'est pas un nombre")
    side = row.get("side", "").upper()
    if side not in _SIDES:
        raise _Fault(f"côté « {side[:10]} » inconnu (D, G, U)")
    own = row.get("departement", "").upper() or departement
    return own.zfill(2), int(row["pr"]), _SIDES[side]


def _road(text: str) -> str:
    try:
        return parse_road(text)
    except RoadNameError as error:
        raise _Fault(f"route « {text[:20]} » : ce n'est pas un numéro") from error


def _place(row: Row, departement: str) -> tuple[float, float]:
    crs = metric_crs(departement)
    if row.get("x") and row.get("y"):
        place = np.array([[_number(row["x"], "x"), _number(row["y"], "y")]])
    elif row.get("longitude") and row.get("latitude"):
        longitude = _number(row["longitude"], "longitude")
        place = lonlat_to_metres([longitude], [_number(row["latitude"], "latitude")], crs)
    else:
        raise _Fault("sans coordonnées")
    if not in_area_of_use(place, crs)[0]:
        raise _Fault("coordonnées hors du pays")
    return float(place[0, 0]), float(place[0, 1])


def _number(text: str, name: str, default: float | None = None) -> float:
    if not text and default is not None:
        return default
    try:
        value = float(text.replace("\u202f", "").replace(" ", "").replace(",", "."))
    except ValueError as error:
        raise _Fault(f"{name} « {text[:20]} » : ce n'est pas un nombre") from error
    if not math.isfinite(value) or abs(value) > 1e8:
        raise _Fault(f"{name} « {text[:20]} » : hors de portée")
    return value


def _first(faults: list[RowFault], shown: int = 5) -> str:
    if not faults:
        return ""
    told = [f"ligne {f.row} ({f.code or 'sans nom'}) : {f.reason}" for f in faults[:shown]]
    more = f" ; et {len(faults) - shown} autres" if len(faults) > shown else ""
    return " — " + " ; ".join(told) + more
