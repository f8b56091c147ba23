"""A campaign's panoramas as columns, in the order of its drives, and the roads that they are on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.conf import settings

from souverain.street.engine import matching
from souverain.street.engine.matching import Matched
from souverain.street.models import Campaign, Datum, Panorama
from souverain.territory import roads
from souverain.territory.engine import projection
from souverain.territory.engine.roads import RoadNetwork

_FIELDS = (
    "pk", "file_name", "sequence_id", "rank", "taken_at", "longitude_deg", "latitude_deg", "x_m",
    "y_m", "z_m", "datum", "heading_deg", "pitch_deg", "roll_deg", "sigma_xy_m",
    "sigma_heading_deg", "width", "height", "crop", "sha256", "detector",
)  # fmt: skip
_BATCH = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CELL_DEG = 0.1  # over which the convergence changes by less than 0.08°
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """`n` panoramas, those of a drive side by side and in order; hidden ones are left out."""

    campaign: Campaign
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.columns["pk"])

    @property
    def keys(self) -> list[UUID]:
        return self.columns["pk"]

    def floats(self, name: str) -> Floats:
        """A column of numbers, shape (n,), NaN where unknown."""
        return np.array(self.columns[name], float)

    @cached_property
    def xy_m(self) -> Floats:
        return np.column_stack([self.floats("x_m"), self.floats("y_m")])

    @cached_property
    def sequence(self) -> npt.NDArray[np.int64]:
        """Numbers of the drives; a panorama of no drive is one by itself."""
        numbers: dict[Any, int] = {}
        return np.array(
            [
                numbers.setdefault(sequence or key, len(numbers))
                for sequence, key in zip(
                    self.columns["sequence_id"], self.columns["pk"], strict=True
                )
            ],
            np.int64,
        )

    @cached_property
    def z_m(self) -> Floats:
        """Heights in the datum that most have; NaN for the others: they are never mixed."""
        datums = self.columns["datum"]
        usual = Counter(datums).most_common(1)[0][0] if datums else Datum.UNKNOWN
        return np.where(np.array(datums) == usual, self.floats("z_m"), np.nan)

    @cached_property
    def grid_heading_deg(self) -> Floats:
        """Headings from grid north."""
        return (self.floats("heading_deg") - self._convergence_deg) % 360.0

    @cached_property
    def _convergence_deg(self) -> Floats:
        crs = projection.metric_crs(settings.DEPARTEMENT)
        places = np.column_stack([self.floats("longitude_deg"), self.floats("latitude_deg")])
        cells, of = np.unique(np.round(places / _CELL_DEG), axis=0, return_inverse=True)
        told = [
            projection.convergence_deg(longitude * _CELL_DEG, latitude * _CELL_DEG, crs)
            for longitude, latitude in cells.tolist()
        ]
        return np.array(told, float)[of.reshape(-1)]

    @cached_property
    def course_deg(self) -> Floats:
        return matching.courses(self.xy_m, self.sequence, self.grid_heading_deg)

    @cached_property
    def taken_us(self) -> npt.NDArray[np.int64]:
        microsecond = timedelta(microseconds=1)
        return np.array([(t - _EPOCH) // microsecond for t in self.columns["taken_at"]], np.int64)

    @cached_property
    def network(self) -> RoadNetwork | None:
        """The roads that these panoramas can be on: synthetic roads are for synthetic pictures
        alone. None when there are none."""
        known = roads.roads()
        synthetic = self.campaign.provenance == Campaign.Provenance.SYNTHETIC
        if len(known.network.starts) < 2 or (known.is_synthetic and not synthetic):
            return None
        return known.network

    @cached_property
    def matched(self) -> Matched | None:
        """The link of each panorama; None without roads."""
        if self.network is None:
            return None
        return matching.match(self.network, self.xy_m, self.z_m, self.sequence, self.course_deg)


def of_campaign(campaign: Campaign) -> Survey:
    """Read a campaign's panoramas, those that are not hidden."""
    columns: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    lists = list(columns.values())
    for row in _rows(campaign):
        for column, value in zip(lists, row, strict=True):
            column.append(value)
    return Survey(campaign, columns)


def _rows(campaign: Campaign) -> Iterator[tuple[Any, ...]]:
    return (
        Panorama.objects.filter(campaign=campaign)
        .exclude(state=Panorama.State.HIDDEN)
        .order_by("sequence__ordinal", "rank", "taken_at", "pk")
        .values_list(*_FIELDS)
        .iterator(_BATCH)
    )
