"""Lists of items: what a list asks for, and the files that it gives out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely
from django.db.models import Q, QuerySet

from souverain.core import clock
from souverain.street import positioning
from souverain.street.inventory import InventoryError, horizontal_sigma
from souverain.street.kinds import DEFECT, EQUIPMENT, KINDS
from souverain.street.models import Item
from souverain.territory.engine import projection

MAX_EXPORTED = 200_000
_ROAD = re.compile(r"(?:RD|D|RN|N|A)\s*\d{1,4}[A-Z0-9]{0,4}", re.IGNORECASE)
_NAMES = ("kind", "state", "road", "pr_from", "pr_to", "commune", "campaign", "family")


@dataclass(frozen=True)
class Filter:
    """What a list shows; empty: everything. `pr_from` and `pr_to` are reference posts of `road`,
    both included."""

    kind: str = ""
    family: str = ""
    state: str = ""
    road: str = ""
    pr_from: int | None = None
    pr_to: int | None = None
    commune: str = ""
    campaign: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Filter:
        """From a query. Raises InventoryError for what no list can ask."""
        told = {name: given.get(name, "").strip() for name in _NAMES}
        if told["kind"] and told["kind"] not in KINDS:
            raise InventoryError(f"« {told['kind'][:40]} » n'est pas une sorte d'objet connue.")
        if told["state"] and told["state"] not in Item.State.values:
            raise InventoryError(f"« {told['state'][:40]} » n'est pas un état.")
        if told["family"] and told["family"] not in (EQUIPMENT, DEFECT):
            raise InventoryError(f"« {told['family'][:40]} » n'est pas une famille d'objets.")
        return cls(
            kind=told["kind"],
            family=told["family"],
            state=told["state"],
            road=road_number(told["road"]),
            pr_from=_post(told["pr_from"]),
            pr_to=_post(told["pr_to"]),
            commune=told["commune"][:5],
            campaign=told["campaign"][:60],
        )

    def of(self, items: QuerySet[Item]) -> QuerySet[Item]:
        """The items that it lets through, in order along the roads."""
        asked = Q()
        for name in ("kind", "state", "road", "commune"):
            if value := getattr(self, name):
                asked &= Q(**{name: value})
        if self.family:
            asked &= Q(kind__in=[code for code, k in KINDS.items() if k.family == self.family])
        if self.campaign:
            asked &= Q(campaign__name=self.campaign)
        if self.pr_from is not None:
            asked &= Q(pr__gte=self.pr_from)
        if self.pr_to is not None:
            asked &= Q(pr__lte=self.pr_to)
        found = items.filter(asked).select_related("campaign")
        return found.order_by("road", "pr", "abscissa_m", "created_at", "pk")


def road_number(text: str) -> str:
    """`D971` for « RD 971 »; another road's name as it is."""
    spelt = re.sub(r"\s+", "", text).upper()
    if not spelt:
        return ""
    if _ROAD.fullmatch(spelt):
        return spelt.removeprefix("R") if spelt.startswith(("RD", "RN")) else spelt
    return text.strip()[:24]


def _post(text: str) -> int | None:
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 999:
        raise InventoryError(f"« {text[:20]} » n'est pas un point de repère (0 à 999).")
    return number


def position_words(item: Item) -> str:
    """`D971 PR 12+350, droite`, or empty."""
    if not item.road:
        return ""
    metres = round(item.abscissa_m or 0.0)
    where = f"PR {item.pr}{metres:+d}" if item.pr is not None else f"+{metres} m"
    side = {"D": ", côté droit", "G": ", côté gauche"}.get(item.side, "")
    return f"{item.road} {where}{side}"


def sigma_xy_m(item: Item) -> float | None:
    covariance = positioning.matrix(item.covariance_m2)
    return None if covariance is None else horizontal_sigma(covariance)


def sigma_z_m(item: Item) -> float | None:
    covariance = positioning.matrix(item.covariance_m2)
    if covariance is None or item.z_m is None:
        return None
    return math.sqrt(max(float(covariance[2, 2]), 0.0))


def as_row(item: Item) -> dict[str, Any]:
    """An item as a flat record: what the API answers and what every file holds."""
    sigma, sigma_z = sigma_xy_m(item), sigma_z_m(item)
    return {
        "id": str(item.pk),
        "kind": item.kind,
        "title": KINDS[item.kind].title if item.kind in KINDS else item.kind,
        "state": item.state,
        "method": item.method,
        "longitude_deg": round(item.longitude_deg, 9),
        "latitude_deg": round(item.latitude_deg, 9),
        "x_m": round(item.x_m, 4),
        "y_m": round(item.y_m, 4),
        "z_m": None if item.z_m is None else round(item.z_m, 4),
        "datum": item.datum,
        "sigma_xy_m": None if sigma is None else round(sigma, 4),
        "sigma_z_m": None if sigma_z is None else round(sigma_z, 4),
        "road": item.road or None,
        "pr": item.pr,
        "abscissa_m": None if item.abscissa_m is None else round(item.abscissa_m, 2),
        "side": item.side or None,
        "commune": item.commune or None,
        "campaign": item.campaign.name if item.campaign else None,
        "provenance": item.campaign.provenance if item.campaign else None,
        "surveyed_at": clock.rfc3339(item.surveyed_at),
        "asset": str(item.asset) if item.asset else None,
        "detector": item.detector or None,
        "attributes": item.attributes,
    }


def rows_of(items: QuerySet[Item]) -> list[dict[str, Any]]:
    """Raises InventoryError for more than a file should hold."""
    found = [as_row(item) for item in items[: MAX_EXPORTED + 1]]
    if len(found) > MAX_EXPORTED:
        raise InventoryError(f"Plus de {MAX_EXPORTED} objets : réduisez la liste par les filtres.")
    return found


def geojson(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A FeatureCollection in RGF93 degrees; heights are properties, for GeoJSON knows one datum."""
    features = [
        {
            "type": "Feature",
            "id": row["id"],
            "geometry": {
                "type": "Point",
                "coordinates": [row["longitude_deg"], row["latitude_deg"]],
            },
            "properties": {name: value for name, value in row.items() if name != "id"},
        }
        for row in rows
    ]
    content = {"type": "FeatureCollection", "features": features}
    return json.dumps(content, ensure_ascii=False).encode()


def _flat(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """One column an attribute, after the others."""
    names = sorted({name for row in rows for name in row["attributes"]})
    flat = [
        {name: value for name, value in row.items() if name != "attributes"}
        | {f"attr_{name}": row["attributes"].get(name) for name in names}
        for row in rows
    ]
    columns = list(flat[0]) if flat else [name for name in _EMPTY if name != "attributes"]
    return columns, flat


_EMPTY = [
    "id",
    "kind",
    "title",
    "state",
    "method",
    "longitude_deg",
    "latitude_deg",
    "x_m",
    "y_m",
    "z_m",
    "datum",
    "sigma_xy_m",
    "sigma_z_m",
    "road",
    "pr",
    "abscissa_m",
    "side",
    "commune",
    "campaign",
    "provenance",
    "surveyed_at",
    "asset",
    "detector",
    "attributes",
]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Comma-separated, UTF-8 with its mark, decimal points: QGIS and spreadsheets read it. A text
    that a spreadsheet would run as a formula is quoted by an apostrophe."""
    columns, flat = _flat(rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in flat)
    return out.getvalue().encode("utf-8-sig")


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def geopackage(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A GeoPackage with one layer `objets` of points in Lambert-93."""
    columns, flat = _flat(rows)
    points = shapely.points([[row["x_m"], row["y_m"]] for row in rows] or np.empty((0, 2)))
    fields = [_column([row.get(name) for row in flat]) for name in columns]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objets.gpkg"
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(points),
            field_data=[values for values, _ in fields],
            field_mask=[mask for _, mask in fields],
            fields=["identifiant" if name == "id" else name for name in columns],
            geometry_type="Point",
            crs=f"EPSG:{projection.LAMBERT_93}",
            layer="objets",
            driver="GPKG",
        )
        return path.read_bytes()


def _column(values: list[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Numbers as numbers, the rest as text; the mask says where there is nothing."""
    mask = np.array([value is None for value in values], bool)
    if values and all(value is None or isinstance(value, int | float) for value in values):
        numbers = [math.nan if value is None else float(value) for value in values]
        if not mask.all():
            return np.array(numbers), mask
    return np.array(["" if value is None else str(value) for value in values], object), mask


FORMATS: Mapping[str, tuple[str, Any]] = {
    "geojson": ("application/geo+json", geojson),
    "csv": ("text/csv; charset=utf-8", as_csv),
    "gpkg": ("application/geopackage+sqlite3", geopackage),
}
