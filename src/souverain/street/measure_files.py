"""Kept measurements as files: GeoJSON (RGF93 degrees), GeoPackage (Lambert-93 with heights), CSV."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely

from souverain.core import clock
from souverain.street import positioning
from souverain.street.engine.triangulation import worst_sigma
from souverain.street.models import Measurement
from souverain.territory.engine import projection

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    "id", "kind", "label", "value", "unit", "sigma", "method", "datum", "provenance", "at",
    "x_m", "y_m", "z_m", "sigma_m", "points",
)  # fmt: skip


def as_row(found: Measurement) -> dict[str, Any]:
    """A measurement as a flat record; `x_m`, `y_m`, `z_m` and `sigma_m` are of its first point, in
    Lambert-93 metres."""
    first = found.points[0]
    covariance = positioning.matrix(first["covariance_m2"])
    synthetic = any(point.get("provenance") == "synthetic" for point in found.points)
    return {
        "id": str(found.pk),
        "kind": found.kind,
        "label": found.label or None,
        "value": _rounded(found.value),
        "unit": {Measurement.Kind.POINT: None, Measurement.Kind.AREA: "m2"}.get(
            Measurement.Kind(found.kind), "m"
        ),
        "sigma": _rounded(found.sigma),
        "method": found.method,
        "datum": found.datum,
        "provenance": "synthetic" if synthetic else "measured",
        "at": clock.rfc3339(found.at),
        "x_m": _rounded(first["x_m"]),
        "y_m": _rounded(first["y_m"]),
        "z_m": _rounded(first["z_m"]),
        "sigma_m": None if covariance is None else _rounded(worst_sigma(covariance[None])[0]),
        "points": len(found.points),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def shape(found: Measurement) -> shapely.Geometry:
    """In Lambert-93 metres with heights: a point, a line between two, or the ring of an area."""
    places = [(point["x_m"], point["y_m"], point["z_m"]) for point in found.points]
    if len(places) == 1:
        return shapely.Point(places[0])
    return shapely.LineString(places) if len(places) == 2 else shapely.Polygon(places)


def as_geojson(measurements: Sequence[Measurement]) -> bytes:
    features = []
    for found in measurements:
        row = as_row(found)
        flat = projection.geometries_to_lonlat(shapely.force_2d(shape(found)))
        features.append(
            {
                "type": "Feature",
                "id": row.pop("id"),
                "geometry": json.loads(shapely.to_geojson(flat)),
                "properties": row | {"detail": found.points},
            }
        )
    content = {"type": "FeatureCollection", "features": features}
    return json.dumps(content, ensure_ascii=False).encode()


def as_csv(measurements: Sequence[Measurement]) -> bytes:
    """Commas, decimal points, UTF-8 with its mark. A label that a spreadsheet would run as a formula
    is quoted by an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for found in measurements:
        row = as_row(found)
        if (row["label"] or "").startswith(_FORMULA):
            row["label"] = "'" + row["label"]
        writer.writerow(row)
    return out.getvalue().encode("utf-8-sig")


def as_geopackage(measurements: Sequence[Measurement]) -> bytes:
    rows = [as_row(found) for found in measurements]
    numbers = ("value", "sigma", "x_m", "y_m", "z_m", "sigma_m")
    columns = [
        np.array(
            [np.nan if row[name] is None else row[name] for row in rows]
            if name in numbers
            else [row[name] for row in rows],
            float if name in numbers else (np.int64 if name == "points" else object),
        )
        for name in COLUMNS
    ]
    with tempfile.TemporaryDirectory(prefix="measurements-") as folder:
        path = Path(folder, "mesures.gpkg")
        pyogrio.raw.write(
            path,
            shapely.to_wkb(np.array([shape(found) for found in measurements], object)),
            columns,
            list(COLUMNS),
            layer="mesures",
            driver="GPKG",
            geometry_type="Unknown",
            crs=f"EPSG:{projection.LAMBERT_93}",
        )
        return path.read_bytes()


FORMATS: dict[str, tuple[str, Callable[[Sequence[Measurement]], bytes]]] = {
    "geojson": ("application/geo+json", as_geojson),
    "gpkg": ("application/geopackage+sqlite3", as_geopackage),
    "csv": ("text/csv; charset=utf-8", as_csv),
}
