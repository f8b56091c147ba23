"""Reads the real outlines of a département's communes from an operator's file: IGN Admin Express,
or anything alike, as GeoPackage, Shapefile or GeoJSON.

A good row beside a bad one is kept; a bad one is named with its number and the reason. A whole
file is refused when it cannot be read, when its projection is not declared, or when the outlines
do not fall where the communes are known to be: an outline is never misplaced in silence.

Reading: GDAL through pyogrio. Topology: GEOS through shapely; display: `coverage_simplify`
(Visvalingam-Whyatt on shared borders).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyproj
import shapely
from shapely.geometry.base import BaseGeometry

from souverain.territory.engine.decoupage import departement_of
from souverain.territory.engine.positions import Position, dissolve, positions_from_outlines
from souverain.territory.engine.projection import (
    RGF93,
    geometries_to_lonlat,
    geometries_to_metres,
    lonlat_to_metres,
    metric_crs,
)
from souverain.territory.engine.vector_files import (
    FORMATS,
    UNREADABLE,
    check_file,
    declared_crs,
    offline,
    unreadable,
)
from souverain.territory.engine.vector_files import VectorFileError as OutlinesError

MAX_FEATURES = 200_000
MAX_VERTICES = 20_000_000
MAX_MENDED_VERTICES = 5_000
MAX_BATCH_BYTES = 256 << 20
MAX_RETRIED_BYTES = 16 << 20
NEAR_M = 2_000.0
SHIFT_M = 20.0
SHIFT_COMMUNES = 10
DECIMALS = 6
_SUFFIXES = (".gpkg", ".shp", ".geojson", ".json")
_CODE_FIELDS = ("code_insee", "insee_com", "codgeo", "code_commune", "insee", "code")
_CODE = re.compile(r"([0-9]{2}|2[AB])[0-9]{3}")
_BYTES_PER_VERTEX = 16

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RowFault:
    """A row that was left out: its number in the file (GDAL's FID) and why, in French. When it
    holds a part of a commune, the whole commune is left out: no outline rather than a wrong one."""

    row: int
    code: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Outlines:
    """What was read. `outlines` are valid polygons in RGF93 degrees (6 decimals), by code of the
    commune of today, in code order; `merged` maps old codes found to their
    successors; `elsewhere`
    counts the rows of other départements, `missing` lists the communes that got no outline."""

    outlines: dict[str, BaseGeometry]
    crs: str
    layer: str
    faults: tuple[RowFault, ...]
    merged: dict[str, str]
    elsewhere: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    layer: str
    crs: pyproj.CRS

    @property
    def place(self) -> str:
        return f"{self.path.name}, couche « {self.layer} »"


@dataclass(frozen=True, slots=True)
class _Row:
    fid: int
    code: str
    polygon: BaseGeometry


@dataclass(slots=True)
class _Rows:
    fids: list[int] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    elsewhere: int = 0


def read_outlines(
    path: Path,
    departement: str,
    codes: Collection[str],
    successors: Mapping[str, str],
    positions: Mapping[str, Position],
    progress: Progress = lambda done, total: None,
) -> Outlines:
    """Read the outlines of the communes `codes` of one département.

    `successors`: old code → code of today; `positions`: known points (RGF93), by code, against
    which the outlines are checked. `progress(done, total)` counts rows. Raises OutlinesError.
    """
    path = path.absolute()
    check_file(path, _SUFFIXES)
    with offline(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GDAL's remarks on rows: told again as faults
        layer, code_field = _layer(path)
        source = declared_crs(path, layer)
        rows = _rows(path, layer, code_field, departement, codes, successors)
        if not rows.fids:
            raise OutlinesError(
                f"{path.name}, couche « {layer} » : aucune commune connue du département "
                f"{departement}" + _first_faults(rows.faults)
            )
        polygons = _polygons(path, layer, rows, source, progress)
    known = _Known(positions, metric_crs(departement))
    return _finish(_File(path, layer, source), successors, codes, known, rows, polygons)


def simplify_for_display(
    outlines: Mapping[str, BaseGeometry], departement: str, tolerance_m: float
) -> dict[str, BaseGeometry]:
    """Lighter outlines for maps, RGF93 degrees (5 decimals): shared borders stay shared.

    `tolerance_m`: the side of a square as large as the smallest triangle kept.
    """
    crs = metric_crs(departement)
    metric = geometries_to_metres(np.array(list(outlines.values()), dtype=object), crs)
    lighter = shapely.coverage_simplify(metric, tolerance_m)
    degrees = shapely.transform(geometries_to_lonlat(lighter, crs), lambda c: np.round(c, 5))
    kept = zip(outlines, degrees, outlines.values(), strict=True)
    return {code: light if not light.is_empty else whole for code, light, whole in kept}


def _layer(path: Path) -> tuple[str, str]:
    """The layer of communes and its field of INSEE codes."""
    try:
        info = pyogrio.read_info(path)
        if info["driver"] != FORMATS[path.suffix.lower()].driver:
            raise OutlinesError(f"{path.name} : le contenu est du {info['driver']}")
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        found = {name: known for name in layers if (known := _code_field(path, name))}
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    named = [name for name in found if name.casefold() in ("commune", "communes")]
    like = [name for name in found if name.casefold().startswith("commune")]
    for candidates in (named, like, list(found)):
        if len(candidates) == 1:
            return candidates[0], found[candidates[0]]
    if not found:
        raise OutlinesError(
            f"{path.name} : aucune couche n'a de champ de codes INSEE "
            f"({', '.join(_CODE_FIELDS)}) ; couches lues : {', '.join(layers) or 'aucune'}"
        )
    raise OutlinesError(
        f"{path.name} : plusieurs couches pourraient être celle des communes "
        f"({', '.join(sorted(found))}) ; gardez-en une, nommée « commune »"
    )


def _code_field(path: Path, layer: str) -> str | None:
    fields = {str(name).casefold(): str(name) for name in _info(path, layer)["fields"]}
    return next((fields[name] for name in _CODE_FIELDS if name in fields), None)


def _info(path: Path, layer: str) -> dict[str, Any]:
    info: dict[str, Any] = pyogrio.read_info(path, layer=layer)
    return info


def _rows(
    path: Path,
    layer: str,
    code_field: str,
    departement: str,
    codes: Collection[str],
    successors: Mapping[str, str],
) -> _Rows:
    """Sort the rows by their code alone, before any outline is read."""
    # A GeoPackage states how many rows it holds, and may be wrong: with a condition, even one that
    # is always true, they are counted.
    counted: dict[str, Any] = (
        {"where": "1 = 1", "max_features": MAX_FEATURES + 1}
        if path.suffix.lower() == ".gpkg"
        else {}
    )
    too_many = OutlinesError(f"{path.name} : plus de {MAX_FEATURES} lignes, refusé")
    try:
        if not counted and _info(path, layer)["features"] > MAX_FEATURES:
            raise too_many
        _, fids, _, (values,) = pyogrio.raw.read(
            path,
            layer=layer,
            columns=[code_field],
            read_geometry=False,
            return_fids=True,
            **counted,
        )
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if len(fids) > MAX_FEATURES:
        raise too_many
    rows = _Rows()
    for fid, value in zip(fids.tolist(), values.tolist(), strict=True):
        code = _as_code(value)
        if code is None:
            shown = "vide" if value is None else f"« {str(value)[:20]} »"
            reason = f"champ {code_field} {shown} : ce n'est pas un code INSEE"
            rows.faults.append(RowFault(fid, None, reason))
        elif departement_of(successors.get(code, code)) != departement:
            rows.elsewhere += 1
        elif code not in codes and code not in successors:
            rows.faults.append(RowFault(fid, code, "code inconnu dans le département"))
        else:
            rows.fids.append(fid)
            rows.codes.append(code)
    return rows


def _as_code(value: Any) -> str | None:
    """`"21231"`, also when the field is a number: 21231.0, 1004 → "01004"."""
    if isinstance(value, int | float):
        value = f"{value:05.0f}" if 1000 <= value == int(value) else ""
    text = str(value).strip().upper()
    return text if _CODE.fullmatch(text) else None


def _polygons(
    path: Path, layer: str, rows: _Rows, source: pyproj.CRS, progress: Progress
) -> list[_Row]:
    """The rows' outlines in RGF93 degrees; faults are added to `rows`."""
    to_rgf93 = pyproj.Transformer.from_crs(source, RGF93, always_xy=True)
    found: list[_Row] = []
    vertices = 0
    for done, (fid, code, wkb) in enumerate(_stored(path, layer, rows), start=1):
        vertices += len(wkb or b"") // _BYTES_PER_VERTEX
        if vertices > MAX_VERTICES:
            raise OutlinesError(f"{path.name} : plus de {MAX_VERTICES} sommets, refusé")
        geometry, reason = _polygon(wkb, to_rgf93)
        if geometry is None:
            rows.faults.append(RowFault(fid, code, reason))
        else:
            found.append(_Row(fid, code, geometry))
        progress(done, len(rows.fids))
    return found


def _stored(path: Path, layer: str, rows: _Rows) -> Iterator[tuple[int, str, bytes | None]]:
    """The rows' stored geometries, a few at a time where the format has an index: a Shapefile can
    name the same large shape a million times, and must not fill the memory before it is counted."""
    if FORMATS[path.suffix.lower()].is_indexed:
        step = max(1, min(64, MAX_BATCH_BYTES // path.stat().st_size))
        batches = [rows.fids[start : start + step] for start in range(0, len(rows.fids), step)]
        geometries: Iterable[bytes | None] = (
            wkb for batch in batches for wkb in _batch(path, layer, batch)
        )
    else:
        geometries = _range(path, layer, rows.fids)
    yield from zip(rows.fids, rows.codes, geometries, strict=True)


def _batch(path: Path, layer: str, fids: list[int]) -> list[bytes | None]:
    """Geometries by row number; one by one when they cannot be read together."""
    try:
        _, found, wkbs, _ = pyogrio.raw.read(
            path, layer=layer, columns=[], fids=fids, return_fids=True
        )
    except UNREADABLE:
        if len(fids) == 1:
            return [None]
        return [wkb for fid in fids for wkb in _batch(path, layer, [fid])]
    stored = dict(zip(found.tolist(), wkbs, strict=True))
    return [stored.get(fid) for fid in fids]


def _range(path: Path, layer: str, fids: list[int]) -> list[bytes | None]:
    """Geometries of a GeoJSON, read in its order: GDAL finds a row by its place in the file, and is
    wrong about it after a byte order mark."""
    condition = f"FID >= {min(fids)} AND FID <= {max(fids)}"
    try:
        _, found, wkbs, _ = pyogrio.raw.read(
            path, layer=layer, columns=[], where=condition, return_fids=True
        )
    except UNREADABLE as error:
        if path.stat().st_size > MAX_RETRIED_BYTES:  # each row alone reads the whole file again
            raise unreadable(path, error) from error
        return _batch(path, layer, fids)
    stored = dict(zip(found.tolist(), wkbs, strict=True))
    return [stored.get(fid) for fid in fids]


def _polygon(wkb: bytes | None, to_rgf93: pyproj.Transformer) -> tuple[BaseGeometry | None, str]:
    """One outline made valid, in RGF93 degrees; or None and the reason."""
    if wkb is None:
        return None, "contour absent ou illisible"
    geometry = shapely.from_wkb(wkb, on_invalid="ignore")
    if geometry is None:
        return None, "contour illisible"
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        return None, f"{geometry.geom_type} au lieu d'un polygone"
    coordinates = shapely.get_coordinates(geometry)
    if len(coordinates) == 0 or not np.isfinite(coordinates).all():
        return None, "contour vide ou coordonnées invalides"
    geometry = shapely.transform(shapely.force_2d(geometry), _with(to_rgf93))
    if not (np.abs(shapely.get_coordinates(geometry)) <= (180.0, 90.0)).all():  # also when NaN
        return None, "coordonnées hors de la projection déclarée"
    geometry = shapely.transform(geometry, lambda c: np.round(c, DECIMALS))
    if not geometry.is_valid:
        if len(coordinates) > MAX_MENDED_VERTICES:  # mending takes the square of it
            return None, (
                f"contour qui se croise, de plus de {MAX_MENDED_VERTICES} sommets ; "
                "réparez-le d'abord (dans QGIS : « Réparer les géométries »)"
            )
        geometry = _areas(shapely.make_valid(geometry, method="structure", keep_collapsed=False))
    if geometry.is_empty or shapely.area(geometry) == 0:
        return None, "contour de surface nulle"
    return geometry, ""


def _with(
    transformer: pyproj.Transformer,
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    def apply(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(transformer.transform(coordinates[:, 0], coordinates[:, 1]))

    return apply


def _areas(geometry: BaseGeometry) -> BaseGeometry:
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    nested = [
        p for m in shapely.get_parts(geometry) if m.geom_type == "MultiPolygon" for p in m.geoms
    ]
    return shapely.union_all([*parts, *nested])


def _finish(
    file: _File,
    successors: Mapping[str, str],
    codes: Collection[str],
    known: _Known,
    rows: _Rows,
    polygons: list[_Row],
) -> Outlines:
    """Place, dissolve and check what was read."""
    placed = _placed(file, successors, known, rows, polygons)
    whole = dissolve([row.code for row in placed], [row.polygon for row in placed], successors)
    torn = {successors.get(fault.code, fault.code) for fault in rows.faults if fault.code}
    for code in torn & whole.keys():
        del whole[code]  # a part is missing: better no outline than a wrong one
    if not whole:
        raise OutlinesError(f"{file.place} : aucun contour utilisable{_first_faults(rows.faults)}")
    _check_shift(file, known, whole)
    return Outlines(
        outlines=whole,
        crs=_crs_name(file.crs),
        layer=file.layer,
        faults=tuple(sorted(rows.faults, key=lambda fault: fault.row)),
        merged={
            row.code: successors[row.code]
            for row in placed
            if row.code not in codes and successors[row.code] in whole
        },
        elsewhere=rows.elsewhere,
        missing=tuple(sorted(set(codes) - set(whole))),
    )


def _placed(
    file: _File, successors: Mapping[str, str], known: _Known, rows: _Rows, polygons: list[_Row]
) -> list[_Row]:
    """The outlines that lie where they should; raises OutlinesError when most do not."""
    kept: list[_Row] = []
    faults: list[RowFault] = []
    for row in polygons:
        away_m = known.distance_m(successors.get(row.code, row.code), row.polygon)
        if away_m <= NEAR_M:
            kept.append(row)
            continue
        away = f"à {away_m / 1000:.0f} km de la commune" if np.isfinite(away_m) else "hors du pays"
        faults.append(RowFault(row.fid, row.code, f"contour {away}"))
    if 2 * len(faults) > len(polygons):
        raise OutlinesError(
            f"{file.place} : {len(faults)} contours sur {len(polygons)} ne sont pas où sont les "
            f"communes ; la projection déclarée ({_crs_name(file.crs)}) n'est sans doute pas celle "
            f"du fichier{_first_faults(faults)}"
        )
    rows.faults += faults
    return kept


def _check_shift(file: _File, known: _Known, whole: Mapping[str, BaseGeometry]) -> None:
    """Refuse outlines that are all moved by the same few metres: the mark of a wrong datum."""
    both = [code for code in whole if code in known.positions]
    if len(both) < SHIFT_COMMUNES:
        return
    found = positions_from_outlines({code: whole[code] for code in both}, known.crs)
    metres = [
        lonlat_to_metres(
            [p.longitude_deg for p in points], [p.latitude_deg for p in points], known.crs
        )
        for points in (found, [known.positions[code] for code in both])
    ]
    shift_m = float(np.hypot(*np.median(metres[0] - metres[1], axis=0)))
    if shift_m > SHIFT_M:
        raise OutlinesError(
            f"{file.place} : les contours sont tous décalés d'environ {shift_m:.0f} m ; la "
            f"projection déclarée ({_crs_name(file.crs)}) n'est pas celle du fichier"
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the communes' places, in the département's official projection."""

    positions: Mapping[str, Position]
    crs: int

    def distance_m(self, code: str, polygon: BaseGeometry) -> float:
        """From an outline to its commune's known point, less the commune's own radius (the point
        of a merged commune lies in one of its parts); infinite outside the projection's bounds."""
        area = pyproj.CRS.from_epsg(self.crs).area_of_use
        west, south, east, north = shapely.bounds(polygon)
        inside = area and area.west <= west <= east <= area.east
        if not (area and inside and area.south <= south <= north <= area.north):
            return float("inf")
        position = self.positions.get(code)
        if position is None:
            return 0.0
        point = shapely.points(position.longitude_deg, position.latitude_deg)
        metric, target = geometries_to_metres(np.array([polygon, point]), self.crs)
        radius_m = float(np.sqrt(position.area_km2 * 1e6 / np.pi))
        return max(float(shapely.distance(metric, target)) - radius_m, 0.0)


def _crs_name(crs: pyproj.CRS) -> str:
    authority = crs.to_authority()
    return f"{authority[0]}:{authority[1]}" if authority else crs.name[:80]


def _first_faults(faults: list[RowFault], shown: int = 5) -> str:
    if not faults:
        return ""
    lines = [f"objet {f.row} ({f.code or 'sans code'}) : {f.reason}" for f in faults[:shown]]
    more = f" ; et {len(faults) - shown} autres" if len(faults) > shown else ""
    return " — " + " ; ".join(lines) + more
