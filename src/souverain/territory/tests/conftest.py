"""What the territory's tests stand on: the real lists, and the real outlines of 2018."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from django.conf import settings

from souverain.territory.engine.decoupage import Departement, read_departement
from souverain.territory.engine.positions import Position, read_positions
from souverain.territory.services import POSITIONS


@pytest.fixture(scope="session")
def lists() -> Departement:
    return read_departement(settings.DECOUPAGE, "21")


@pytest.fixture(scope="session")
def positions() -> dict[str, Position]:
    return read_positions(POSITIONS / "communes-21.csv")


@dataclass(frozen=True)
class Real:
    """The outlines of 2018 (704 communes), RGF93 degrees."""

    path: Path
    codes: list[str]
    polygons: Any

    def write(self, path: Path, crs: str | None, *, polygons: Any = None, **options: Any) -> Path:
        """The outlines as a file of `path`'s format, `crs` declared whatever it is."""
        polygons = self.polygons if polygons is None else polygons
        columns = {"INSEE_COM": np.array(self.codes, dtype=object), **options.pop("columns", {})}
        pyogrio.raw.write(
            path,
            shapely.to_wkb(polygons),
            list(columns.values()),
            list(columns),
            layer=options.pop("layer", None),
            geometry_type="Polygon",
            crs=crs,
            **options,
        )
        return path


@pytest.fixture(scope="session")
def real() -> Real:
    folder = Path(os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data")
    path = folder / "twin/admin/communes-21.geojson"
    if not path.exists():
        message = f"SOUVERAIN_TEST_DATA: {path} is missing"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    features = json.loads(path.read_bytes())["features"]
    return Real(
        path,
        [feature["properties"]["code"] for feature in features],
        shapely.from_geojson([json.dumps(feature["geometry"]) for feature in features]),
    )
