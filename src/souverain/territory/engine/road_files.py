"""Reads roads from an operator's file: IGN BD TOPO V3 (TRONCON_DE_ROUTE, as GeoPackage, Shapefile,
GeoJSON or CSV with WKT) or OpenStreetMap (PBF or XML).

A good row beside a bad one is kept; a bad one is named with its number, its identifier and the
reason. BD TOPO links are kept as they are: they already meet at their ends. OSM ways are cut
where they share a point with another way on the same level, or with the end of any.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from souverain.territory.engine.outlines import RowFault
from souverain.territory.engine.projection import RGF93, metric_crs
from souverain.territory.engine.roads import Floats, Ints, RoadNameError, RoadNetwork, parse_road
from souverain.territory.engine.vector_files import (
    FORMATS,
    UNREADABLE,
    VectorFileError,
    check_file,
    declared_crs,
    offline,
    unreadable,
)

MAX_LINKS = 2_000_000
MAX_VERTICES = 40_000_000
MAX_UNPACKED_BYTES = 4 << 30
SUFFIXES = (".gpkg", ".shp", ".geojson", ".json", ".csv", ".pbf", ".osm")
_BATCH = 20_000
_ALONE = 2_000
_APART_M = 3.0
"""Ends at one place whose heights differ by more do not meet (a bridge above a crossroads)."""
_NO_HEIGHT_M = -500.0
Progress = Callable[[int, int], None]
Strings = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class RoadsRead:
    """What was read. `classes`: of each link. `faults` are the rows left out, `elsewhere` counts
    those outside the département, `ignored` those that are no road in service."""

    network: RoadNetwork
    classes: Strings
    faults: tuple[RowFault, ...]
    elsewhere: int
    ignored: int
    layer: str
    crs: str
    kind: str


@dataclass(slots=True)
class _Rows:
    """Good rows, side by side; `lines` are 2D or 3D in the file's projection."""

    lines: list[BaseGeometry] = field(default_factory=list)
    fids: list[int] = field(default_factory=list)
    identifiers: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    one_way: list[int] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    ignored: int = 0
    vertices: int = 0


class _Fault(ValueError):
    """Why a row is left out, in French."""


class _Ignored(Exception):
    """The row is no road in service."""


def read_roads(
    path: Path,
    departement: str,
    within: BaseGeometry | None = None,
    progress: Progress = lambda done, total: None,
) -> RoadsRead:
    """Read the links of a file, in the metric projection of the département. `within` (in that
    projection): links whose middle lies outside are counted and left. `progress(done, total)`
    counts rows. Raises VectorFileError."""
    with _unpacked(path.absolute()) as file:
        check_file(file, SUFFIXES)
        with offline(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GDAL's remarks on rows: told again as faults
            if FORMATS[file.suffix.lower()].driver == "OSM":
                kind, layer, crs = "OpenStreetMap", "lines", pyproj.CRS.from_epsg(RGF93)
                rows = _osm_rows(file, progress)
            else:
                kind, layer = "BD TOPO", _bdtopo_layer(file)
                crs = _bdtopo_crs(file, layer, departement)
                rows = _bdtopo_rows(file, layer, progress)
        if not rows.lines:
            raise VectorFileError(f"{file.name} : aucune route utilisable{_first(rows.faults)}")
        if kind == "OpenStreetMap":
            _cut_where_they_meet(rows)
        return _finish(file, rows, departement, within, layer, crs, kind)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself; a gzipped one unpacked beside the system's temporary files, no larger
    than MAX_UNPACKED_BYTES."""
    if path.suffix.lower() != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.stem
        try:
            with gzip.open(path) as packed, target.open("wb") as plain:
                while block := packed.read(1 << 20):
                    plain.write(block)
                    if plain.tell() > MAX_UNPACKED_BYTES:
                        raise VectorFileError(f"{path.name} : trop grand une fois décompressé")
        except (gzip.BadGzipFile, EOFError, OSError) as error:
            raise VectorFileError(f"{path.name} : archive illisible ou tronquée") from error
        yield target


# --- BD TOPO -------------------------------------------------------------------------------------

_FIELDS = {
    "identifier": ("cleabs", "id"),
    "nature": ("nature",),
    "direction": ("sens_de_circulation", "sens"),
    "level": ("position_par_rapport_au_sol", "pos_sol"),
    "number": ("cpx_numero", "numero"),
    "rank": ("cpx_classement_administratif", "cl_admin"),
    "state": ("etat_de_l_objet", "etat"),
}
_REQUIRED = ("identifier", "nature", "direction", "level")
_RANKS = {
    "autoroute": "motorway",
    "nationale": "national",
    "départementale": "departmental",
    "voie communale": "communal",
    "route intercommunale": "communal",
    "chemin rural": "track",
}
_NATURES = {
    "type autoroutier": "motorway",
    "piste cyclable": "cycleway",
    "chemin": "track",
    "sentier": "track",
    "route empierrée": "track",
    "escalier": "other",
    "bretelle": "other",
}
_DIRECTIONS = {
    "": 0,
    "double sens": 0,
    "double": 0,
    "sans objet": 0,
    "sens direct": 1,
    "direct": 1,
    "sens inverse": -1,
    "inverse": -1,
}


def _bdtopo_layer(path: Path) -> str:
    if path.suffix.lower() == ".shp" and not _has_dbf(path):
        raise VectorFileError(
            f"{path.name} : le fichier {path.stem}.dbf manque à côté ; sans lui les tronçons n'ont "
            "ni numéro ni sens de circulation. Apportez ensemble .shp, .shx, .dbf et .prj."
        )
    try:
        info = pyogrio.read_info(path) if path.suffix.lower() != ".gpkg" else None
        if info and info["driver"] != FORMATS[path.suffix.lower()].driver:
            raise VectorFileError(f"{path.name} : le contenu est du {info['driver']}")
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        missing = {name: _missing(path, name) for name in layers}
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    named = [name for name in layers if name.casefold() == "troncon_de_route"]
    fitting = [name for name in layers if not missing[name]]
    for candidates in ([n for n in named if n in fitting], fitting):
        if len(candidates) == 1:
            return candidates[0]
    if fitting:
        raise VectorFileError(
            f"{path.name} : plusieurs couches pourraient être celle des routes "
            f"({', '.join(sorted(fitting))}) ; gardez-en une, nommée « troncon_de_route »"
        )
    wanted = " ; ".join(" ou ".join(_FIELDS[name]) for name in _REQUIRED)
    raise VectorFileError(
        f"{path.name} : aucune couche n'a les champs de la BD TOPO ({wanted}) ; "
        f"couches lues : {', '.join(layers) or 'aucune'}"
    )


def _has_dbf(path: Path) -> bool:
    return any(path.with_suffix(suffix).exists() for suffix in (".dbf", ".DBF"))


def _fields(path: Path, layer: str) -> dict[str, str]:
    """Our name → the file's name of a field."""
    there = {
        str(name).casefold(): str(name) for name in pyogrio.read_info(path, layer=layer)["fields"]
    }
    found = {
        ours: next((there[name] for name in names if name in there), "")
        for ours, names in _FIELDS.items()
    }
    return {ours: name for ours, name in found.items() if name}


def _missing(path: Path, layer: str) -> list[str]:
    there = _fields(path, layer)
    return [name for name in _REQUIRED if name not in there]


def _bdtopo_crs(path: Path, layer: str, departement: str) -> pyproj.CRS:
    if path.suffix.lower() == ".csv":  # WKT bears no projection: BD TOPO's own is meant
        return pyproj.CRS.from_epsg(metric_crs(departement))
    return declared_crs(path, layer)


def _bdtopo_rows(path: Path, layer: str, progress: Progress) -> _Rows:
    fields = _fields(path, layer)
    rows = _Rows()
    total = max(int(pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"]), 0)
    if total > MAX_LINKS:
        raise VectorFileError(f"{path.name} : plus de {MAX_LINKS} lignes, refusé")
    seen: set[str] = set()
    for start in range(0, total, _BATCH):
        for fids, wkbs, columns in _batches(path, layer, list(fields.values()), start, rows):
            told = dict(zip(fields, columns, strict=True))
            for row, (fid, wkb) in enumerate(zip(fids, wkbs, strict=True)):
                _take_bdtopo(rows, fid, wkb, {k: v[row] for k, v in told.items()}, seen)
        if rows.vertices > MAX_VERTICES:
            raise VectorFileError(f"{path.name} : plus de {MAX_VERTICES} sommets, refusé")
        progress(min(start + _BATCH, total), total)
    return rows


Batch = tuple[list[int], list[bytes | None], list[list[Any]]]


def _batches(
    path: Path, layer: str, columns: list[str], start: int, rows: _Rows
) -> Iterator[Batch]:
    """Some rows at once; one by one where they cannot be read together."""
    try:
        yield _read(path, layer, columns, start, _BATCH)
        return
    except UNREADABLE as error:
        total = int(pyogrio.read_info(path, layer=layer)["features"])
        if total > _ALONE:
            raise unreadable(path, error) from error
    for row in range(start, min(start + _BATCH, total)):
        try:
            yield _read(path, layer, columns, row, 1)
        except UNREADABLE:
            rows.faults.append(RowFault(row, None, "ligne illisible"))


def _read(path: Path, layer: str, columns: list[str], start: int, count: int) -> Batch:
    meta, fids, wkbs, found = pyogrio.raw.read(
        path,
        layer=layer,
        columns=columns,
        skip_features=start,
        max_features=count,
        return_fids=True,
    )
    if wkbs is None:
        raise VectorFileError(f"{path.name}, couche « {layer} » : elle n'a pas de géométrie")
    order = [meta["fields"].tolist().index(name) for name in columns]
    return fids.tolist(), wkbs.tolist(), [found[index].tolist() for index in order]


def _take_bdtopo(
    rows: _Rows, fid: int, wkb: bytes | None, told: dict[str, Any], seen: set[str]
) -> None:
    text = {name: _text(value) for name, value in told.items()}
    identifier = text["identifier"][:36]
    try:
        if not identifier:
            raise _Fault("sans identifiant")
        if identifier in seen:
            raise _Fault("identifiant en double")
        if text.get("state", "").casefold() not in ("", "en service"):
            raise _Ignored
        one_way = _DIRECTIONS.get(text["direction"].casefold())
        if one_way is None:
            raise _Fault(f"sens de circulation « {text['direction'][:20]} » inconnu")
        level = _bdtopo_level(text["level"])
        lines = _lines_of(wkb)
    except _Ignored:
        rows.ignored += 1
        return
    except _Fault as fault:
        rows.faults.append(RowFault(fid, identifier or None, str(fault)))
        return
    seen.add(identifier)
    nature = text["nature"].casefold()
    road_class = _RANKS.get(text.get("rank", "").casefold()) or _NATURES.get(nature, "communal")
    for part, line in enumerate(lines):
        name = identifier if part == 0 else f"{identifier}/{part + 1}"
        _add(rows, fid, line, name, _number(text.get("number", "")), road_class, level, one_way)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _bdtopo_level(text: str) -> int:
    if not text or text.casefold().startswith("gué"):
        return 0
    if re.fullmatch(r"[+-]?[0-9]{1,2}", text):
        return int(text)
    raise _Fault(f"position par rapport au sol « {text[:20]} » inconnue")


def _number(text: str) -> str:
    """The road's number in our spelling; as it stands when it is of another kind."""
    first = text.replace("/", ";").split(";")[0]
    try:
        return parse_road(first) if first.strip() else ""
    except RoadNameError:
        return "".join(first.upper().split())[:24]


def _lines_of(wkb: bytes | None) -> list[BaseGeometry]:
    if not wkb:
        raise _Fault("sans tracé")
    shape = shapely.from_wkb(wkb, on_invalid="ignore")
    if shape is None or shape.is_empty:
        raise _Fault("tracé vide ou illisible")
    if shape.geom_type not in ("LineString", "MultiLineString"):
        raise _Fault(f"{shape.geom_type} au lieu d'une ligne")
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise _Fault("coordonnées invalides")
    lines = [line for line in shapely.get_parts(shape) if shapely.length(line) > 0]
    if not lines:
        raise _Fault("tracé de longueur nulle")
    return lines


def _add(
    rows: _Rows,
    fid: int,
    line: BaseGeometry,
    identifier: str,
    number: str,
    road_class: str,
    level: int,
    one_way: int,
) -> None:
    rows.lines.append(line)
    rows.fids.append(fid)
    rows.identifiers.append(identifier)
    rows.numbers.append(number)
    rows.classes.append(road_class)
    rows.levels.append(level)
    rows.one_way.append(one_way)
    rows.vertices += int(shapely.get_num_points(line))


# --- OpenStreetMap -------------------------------------------------------------------------------

_HIGHWAYS = {
    **dict.fromkeys(("motorway", "motorway_link"), "motorway"),
    **dict.fromkeys(("trunk", "trunk_link", "primary", "primary_link"), "other"),
    **dict.fromkeys(
        ("secondary", "secondary_link", "tertiary", "tertiary_link", "unclassified"), "communal"
    ),
    **dict.fromkeys(("residential", "living_street", "road"), "communal"),
    "cycleway": "cycleway",
    "track": "track",
}
_TAG = re.compile(r'"((?:[^"\\]|\\.)*)"=>"((?:[^"\\]|\\.)*)"')
_PREFIXES = {"A": "motorway", "N": "national", "D": "departmental", "M": "departmental"}


def _osm_rows(path: Path, progress: Progress) -> _Rows:
    try:
        meta, fids, wkbs, found = pyogrio.raw.read(
            path,
            layer="lines",
            columns=["osm_id", "highway", "other_tags"],
            where="highway IS NOT NULL",
            max_features=MAX_LINKS + 1,
            return_fids=True,
        )
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if len(fids) > MAX_LINKS:
        raise VectorFileError(f"{path.name} : plus de {MAX_LINKS} voies, refusé")
    names = meta["fields"].tolist()
    identifiers, highways, tags = (
        found[names.index(name)].tolist() for name in ("osm_id", "highway", "other_tags")
    )
    rows = _Rows()
    for done, (wkb, way, highway, packed) in enumerate(
        zip(wkbs.tolist(), identifiers, highways, tags, strict=True), start=1
    ):
        _take_osm(rows, int(way), wkb, str(highway), dict(_TAG.findall(packed or "")))
        if rows.vertices > MAX_VERTICES:
            raise VectorFileError(f"{path.name} : plus de {MAX_VERTICES} sommets, refusé")
        if done % 5_000 == 0 or done == len(fids):
            progress(done, len(fids))
    return rows


def _take_osm(rows: _Rows, way: int, wkb: bytes, highway: str, tags: dict[str, str]) -> None:
    road_class = _HIGHWAYS.get(highway)
    if highway == "path" and tags.get("bicycle") == "designated":
        road_class = "cycleway"
    if road_class is None:
        rows.ignored += 1
        return
    try:
        lines = _lines_of(wkb)
        level = _osm_level(tags)
    except _Fault as fault:
        rows.faults.append(RowFault(way, f"way/{way}", str(fault)))
        return
    number = _osm_number(tags.get("ref", ""))
    road_class = _PREFIXES.get(number[:1], road_class) if number else road_class
    for line in lines:
        _add(rows, way, line, f"W{way}", number, road_class, level, _osm_one_way(highway, tags))


def _osm_number(refs: str) -> str:
    """« E 15;A 6 » → A6: a French number before any other; a number of another country has no
    place in our spelling."""
    found = []
    for ref in refs.split(";")[:8]:
        try:
            found.append(parse_road(ref))
        except RoadNameError:
            continue
    return next((name for name in found if name[0] in _PREFIXES), found[0] if found else "")


def _osm_level(tags: dict[str, str]) -> int:
    bridge = tags.get("bridge", "no") != "no"
    tunnel = tags.get("tunnel", "no") not in ("no", "building_passage")
    if not (bridge or tunnel):
        return 0
    layer = tags.get("layer", "")
    if re.fullmatch(r"[+-]?[0-9]", layer) and int(layer) != 0:
        return int(layer)
    return 1 if bridge else -1


def _osm_one_way(highway: str, tags: dict[str, str]) -> int:
    told = tags.get("oneway", "")
    if told in ("yes", "1", "true"):
        return 1
    if told in ("-1", "reverse"):
        return -1
    implied = highway == "motorway" or tags.get("junction") in ("roundabout", "circular")
    return int(implied and told != "no")


def _cut_where_they_meet(rows: _Rows) -> None:
    """Replace the ways by their pieces between the points that they share with others."""
    points, owner = shapely.get_coordinates(rows.lines, return_index=True)
    steps = np.round((points[:, :2] + [180.0, 90.0]) * 1e7).astype(np.int64)
    place = steps[:, 0] * 1_800_000_001 + steps[:, 1]
    begins = np.concatenate([[True], owner[1:] != owner[:-1]])
    is_end = begins | np.concatenate([owner[1:] != owner[:-1], [True]])
    level = np.array(rows.levels)[owner]
    _, at = np.unique(place, return_inverse=True)
    ends_here = np.bincount(at, weights=is_end) > 0
    # Two ways that only pass through one place on different levels do not meet there.
    _, same = np.unique(at * 256 + level + 128, return_inverse=True)
    shared = np.bincount(same)[same] > 1
    cut = np.flatnonzero(is_end | ends_here[at] | shared)
    first, last = cut[:-1], cut[1:]
    inside = owner[first] == owner[last]
    first, last = first[inside], last[inside]
    pieces = [points[a : b + 1] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    which = owner[first]
    rank = np.arange(len(which)) - np.searchsorted(which, which)
    whole = rows
    old = (whole.identifiers, whole.numbers, whole.classes, whole.levels, whole.one_way, whole.fids)
    identifiers, numbers, classes, levels, one_way, fids = (
        [column[way] for way in which.tolist()] for column in old
    )
    rows.lines = list(
        shapely.linestrings(
            np.concatenate(pieces),
            indices=np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces]),
        )
    )
    rows.identifiers = [
        name if part == 0 else f"{name}.{part}"
        for name, part in zip(identifiers, rank.tolist(), strict=True)
    ]
    rows.numbers, rows.classes, rows.levels = numbers, classes, levels
    rows.one_way, rows.fids = one_way, fids


# --- both ----------------------------------------------------------------------------------------


def _finish(
    path: Path,
    rows: _Rows,
    departement: str,
    within: BaseGeometry | None,
    layer: str,
    crs: pyproj.CRS,
    kind: str,
) -> RoadsRead:
    """To metres, into the département, nodes at the ends."""
    points, owner = shapely.get_coordinates(rows.lines, include_z=True, return_index=True)
    target = metric_crs(departement)
    if crs.to_epsg() != target:
        to_metres = pyproj.Transformer.from_crs(crs, target, always_xy=True)
        points[:, :2] = np.column_stack(to_metres.transform(points[:, 0], points[:, 1]))
    points[~(points[:, 2] > _NO_HEIGHT_M), 2] = np.nan
    count = len(rows.lines)
    starts = np.searchsorted(owner, np.arange(count + 1))
    placed = _inside(points, target)
    good = np.ones(count, dtype=bool)
    np.logical_and.at(good, owner, placed)
    rows.faults += [
        RowFault(rows.fids[link], rows.identifiers[link], "hors du pays ou de la projection")
        for link in np.flatnonzero(~good)
    ]
    kept = good.copy()
    if within is not None:
        middle = points[(starts[:-1] + starts[1:]) // 2, :2]
        middle = np.where(good[:, None], middle, 0.0)
        shapely.prepare(within)
        kept &= shapely.contains_xy(within, middle)
    if 2 * int((~good).sum()) > count:
        raise VectorFileError(
            f"{path.name}, couche « {layer} » : la plupart des tronçons sont hors du pays ; la "
            f"projection déclarée n'est sans doute pas celle du fichier{_first(rows.faults)}"
        )
    if not kept.any():
        raise VectorFileError(
            f"{path.name}, couche « {layer} » : aucun des {count} tronçons n'est dans le "
            f"département {departement} (--everywhere les prend quand même, pour un essai)"
        )
    links = np.flatnonzero(kept)
    vertices = points[kept[owner]]
    sizes = np.diff(starts)[kept]
    new_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    network = RoadNetwork(
        vertices_m=vertices,
        starts=new_starts,
        nodes=_nodes(vertices, new_starts),
        numbers=np.array(rows.numbers, dtype="U24")[links],
        levels=np.array(rows.levels, dtype=np.int8)[links],
        one_way=np.array(rows.one_way, dtype=np.int8)[links],
        identifiers=np.array(rows.identifiers, dtype="U40")[links],
    )
    return RoadsRead(
        network=network,
        classes=np.array(rows.classes, dtype="U12")[links],
        faults=tuple(sorted(rows.faults, key=lambda fault: fault.row)),
        elsewhere=int((good & ~kept).sum()),
        ignored=rows.ignored,
        layer=layer,
        crs=":".join(crs.to_authority() or (crs.name[:80],)),
        kind=kind,
    )


def _inside(points: Floats, crs: int) -> npt.NDArray[np.bool_]:
    """Whether each point is in the projection's area of use."""
    area = pyproj.CRS.from_epsg(crs).area_of_use
    finite = np.asarray(np.isfinite(points[:, :2]).all(axis=1))
    if area is None:
        return finite
    to_lonlat = pyproj.Transformer.from_crs(crs, RGF93, always_xy=True)
    longitude, latitude = to_lonlat.transform(points[:, 0], points[:, 1])
    return np.asarray(
        finite
        & (longitude >= area.west - 0.5)
        & (longitude <= area.east + 0.5)
        & (latitude >= area.south - 0.5)
        & (latitude <= area.north + 0.5)
    )


def _nodes(vertices: Floats, starts: Ints) -> Ints:
    """The node of each link's ends, shape (n, 2): one for ends at the same centimetre, unless
    their heights tell them apart."""
    ends = vertices[np.concatenate([starts[:-1], starts[1:] - 1])]
    x, y = np.round(ends[:, :2] * 100).astype(np.int64).T
    z = ends[:, 2]
    order = np.lexsort((z, y, x))
    changes = (np.diff(x[order]) != 0) | (np.diff(y[order]) != 0)
    changes |= np.diff(z[order]) > _APART_M
    node = np.empty(len(ends), dtype=np.int64)
    node[order] = np.concatenate([[0], np.cumsum(changes)])
    return node.reshape(2, -1).T


def _first(faults: list[RowFault], shown: int = 5) -> str:
    if not faults:
        return ""
    told = [f"objet {f.row} ({f.code or 'sans identifiant'}) : {f.reason}" for f in faults[:shown]]
    more = f" ; et {len(faults) - shown} autres" if len(faults) > shown else ""
    return " — " + " ; ".join(told) + more
