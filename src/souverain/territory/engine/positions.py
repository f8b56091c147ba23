"""One point and one area for each commune, computed from real outlines and shipped as a CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from souverain.territory.engine.projection import (
    LAMBERT_93,
    geometries_to_lonlat,
    geometries_to_metres,
)

COLUMNS = ("code", "longitude_deg", "latitude_deg", "area_km2")
MAX_ROWS = 5_000


class PositionsError(ValueError):
    """The positions cannot be read. The message, in French, names file, line and column."""


@dataclass(frozen=True, slots=True)
class Position:
    """A point inside a commune (RGF93 degrees) and the commune's area (km², in projection)."""

    code: str
    longitude_deg: float
    latitude_deg: float
    area_km2: float


def dissolve(
    codes: Sequence[str], geometries: Sequence[BaseGeometry], successors: Mapping[str, str]
) -> dict[str, BaseGeometry]:
    """Unite the outlines of merged communes into their successors; code order."""
    parts: dict[str, list[BaseGeometry]] = {}
    for code, geometry in zip(codes, geometries, strict=True):
        parts.setdefault(successors.get(code, code), []).append(geometry)
    return {
        code: parts[code][0] if len(parts[code]) == 1 else shapely.union_all(parts[code])
        for code in sorted(parts)
    }


def positions_from_outlines(
    outlines: Mapping[str, BaseGeometry], crs: int = LAMBERT_93
) -> list[Position]:
    """Positions of outlines given in RGF93 degrees, one for each.

    The point is the centroid when the outline contains it, otherwise shapely's representative
    point; rounded to 1e-5 degree (about a metre). The area is planar in `crs` (Lambert-93 by
    default), in km² rounded to the hectare's tenth.
    """
    positions = []
    for code, outline in outlines.items():
        metric = geometries_to_metres(outline, crs)
        point = shapely.centroid(metric)
        if not shapely.contains(metric, point):
            point = shapely.point_on_surface(metric)
        lonlat = geometries_to_lonlat(point, crs)
        positions.append(
            Position(
                code, round(lonlat.x, 5), round(lonlat.y, 5), round(shapely.area(metric) / 1e6, 3)
            )
        )
    return positions


def write_positions(path: Path, positions: Sequence[Position]) -> None:
    """Write the CSV that `read_positions` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for p in positions:
            writer.writerow(
                [p.code, f"{p.longitude_deg:.5f}", f"{p.latitude_deg:.5f}", f"{p.area_km2:.3f}"]
            )


def read_positions(path: Path) -> dict[str, Position]:
    """Read the CSV of positions, by commune code. Raises PositionsError."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise PositionsError(f"{path.name}, ligne 1 : colonnes attendues {', '.join(COLUMNS)}")
        positions: dict[str, Position] = {}
        for line, row in enumerate(reader, start=2):
            position = _position(f"{path.name}, ligne {line}", row)
            if position.code in positions:
                raise PositionsError(
                    f"{path.name}, ligne {line} : {position.code} figure deux fois"
                )
            if len(positions) == MAX_ROWS:
                raise PositionsError(f"{path.name} : plus de {MAX_ROWS} lignes")
            positions[position.code] = position
    return positions


def _position(place: str, row: Mapping[str, str | None]) -> Position:
    bounds = {"longitude_deg": (-180, 180), "latitude_deg": (-90, 90), "area_km2": (0, 1e5)}
    numbers = []
    for column, (low, high) in bounds.items():
        try:
            number = float(row[column] or "")
        except ValueError:
            raise PositionsError(f"{place}, colonne {column} : nombre attendu") from None
        if not math.isfinite(number) or not low <= number <= high:
            raise PositionsError(f"{place}, colonne {column} : hors des bornes")
        numbers.append(number)
    return Position(row["code"] or "", *numbers)
