"""The communes in memory, for searches, maps and "which commune is this?": built from the records
once, and again when they change. Reads only; any room above may use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from souverain.core.models import JournalEntry
from souverain.territory.engine.cells import approximate_cells
from souverain.territory.engine.decoupage import departement_of
from souverain.territory.engine.projection import metric_crs
from souverain.territory.engine.search import Entry, Index
from souverain.territory.models import Commune, CommuneOutline, FormerCommune
from souverain.territory.services import LOADED, OUTLINES_IMPORTED

CELLS_SOURCE = (
    "Cellules approchées, tracées autour d'un point par commune (IGN, Admin Express 2018)"
)
LICENCE = "Licence Ouverte 2.0"


@dataclass(frozen=True, slots=True)
class Located:
    """The commune at a place. `approximate`: read from a cell, not from a real outline."""

    code: str
    approximate: bool


@dataclass(frozen=True, slots=True)
class Area:
    """A commune's surface for display, RGF93 degrees: a real outline, or an approximate cell."""

    code: str
    name: str
    geometry: BaseGeometry
    approximate: bool
    source: str


@dataclass(frozen=True)
class Atlas:
    """The communes as they were when `version` was read."""

    version: tuple[Any, ...]
    index: Index
    areas: tuple[Area, ...]

    @property
    def is_approximate(self) -> bool:
        """Whether any commune is drawn as a cell."""
        return any(area.approximate for area in self.areas)

    @property
    def sources(self) -> list[str]:
        return sorted({area.source for area in self.areas})

    def geojson(self, more: Mapping[str, Mapping[str, Any]] | None = None) -> bytes:
        """A FeatureCollection of the communes that have a surface, in code order; `more` adds
        properties by commune code (a state to colour, a link to open)."""
        more = more or {}
        features = [
            f'{{"type":"Feature","id":"{area.code}","properties":'
            + json.dumps(
                {
                    "code": area.code,
                    "name": area.name,
                    "approximate": area.approximate,
                    **more.get(area.code, {}),
                },
                ensure_ascii=False,
            )
            + f',"geometry":{geometry}}}'
            for area, geometry in zip(self.areas, self._geometries, strict=True)
        ]
        head = json.dumps(
            {
                "type": "FeatureCollection",
                "approximate": self.is_approximate,
                "source": " ; ".join(self.sources),
                "licence": LICENCE,
                "count": len(self.areas),
            },
            ensure_ascii=False,
        )
        return f'{head[:-1]}, "features":[{",".join(features)}]}}'.encode()

    @cached_property
    def plain_geojson(self) -> tuple[bytes, str]:
        """The collection without more properties, and its entity tag."""
        content = self.geojson()
        return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    @cached_property
    def _geometries(self) -> list[str]:
        return [str(text) for text in shapely.to_geojson([area.geometry for area in self.areas])]

    @cached_property
    def _surfaces(self) -> shapely.STRtree:
        """Whole outlines where there are some, otherwise cells; in the order of the areas."""
        full = {
            code: shapely.from_wkb(bytes(wkb))
            for code, wkb in CommuneOutline.objects.values_list("commune__code", "geometry")
        }
        return shapely.STRtree([full.get(area.code, area.geometry) for area in self.areas])

    def commune_at(self, longitude_deg: float, latitude_deg: float) -> Located | None:
        """The commune that covers a place (RGF93 degrees); a real outline rather than a cell."""
        place = shapely.points(longitude_deg, latitude_deg)
        hits = [self.areas[hit] for hit in self._surfaces.query(place, predicate="intersects")]
        if not hits:
            return None
        found = min(hits, key=lambda area: (area.approximate, area.code))
        return Located(found.code, found.approximate)


_current: Atlas | None = None
_building = Lock()


def atlas() -> Atlas:
    """The communes of now, shared by the process's threads. Two small queries when unchanged."""
    global _current
    version = _version()
    found = _current
    if found is None or found.version != version:
        with _building:
            found = _current
            if found is None or found.version != version:
                found = _current = _build(version)
    return found


def _version() -> tuple[Any, ...]:
    """The last verb that wrote here, by the journal: its order is that of the commits, which the
    clock's is not (a clock set back, two imports at once)."""
    verbs = JournalEntry.objects.filter(verb__in=(LOADED, OUTLINES_IMPORTED)).order_by("-seq")
    last = verbs.values_list("seq", "hash").first()
    return (Commune.objects.count(), last and (last[0], bytes(last[1])))


def _build(version: tuple[Any, ...]) -> Atlas:
    communes = list(Commune.objects.order_by("code"))
    former = list(FormerCommune.objects.select_related("successor").order_by("code"))
    return Atlas(version, Index(_entries(communes, former)), _areas(communes))


def _entries(communes: list[Commune], former: list[FormerCommune]) -> list[Entry]:
    own = [Entry(c.code, c.name, tuple(c.postcodes), c.population or 0, c.siren) for c in communes]
    merged = [
        Entry(f.successor.code, f.name, (), f.successor.population or 0, "", f.code) for f in former
    ]
    return own + merged


def _areas(communes: list[Commune]) -> tuple[Area, ...]:
    names = {commune.code: commune.name for commune in communes}
    areas = {
        code: Area(code, names[code], shapely.from_wkb(bytes(display)), False, source)
        for code, display, source in CommuneOutline.objects.values_list(
            "commune__code", "display", "source"
        )
        if code in names
    }
    for code, cell in _cells([c for c in communes if c.longitude_deg is not None]).items():
        areas.setdefault(code, Area(code, names[code], cell, True, CELLS_SOURCE))
    return tuple(areas[code] for code in sorted(areas))


def _cells(communes: list[Commune]) -> dict[str, BaseGeometry]:
    """Cells of the communes that have a point, département by département."""
    cells: dict[str, BaseGeometry] = {}
    for number in sorted({departement_of(commune.code) for commune in communes}):
        here = [commune for commune in communes if departement_of(commune.code) == number]
        drawn = approximate_cells(
            np.array([commune.longitude_deg for commune in here], float),
            np.array([commune.latitude_deg for commune in here], float),
            np.array([commune.area_km2 for commune in here], float),
            metric_crs(number),
        )
        cells |= {commune.code: cell for commune, cell in zip(here, drawn, strict=True)}
    return cells
