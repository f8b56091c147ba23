"""A campaign's panoramas as columns, in the order of its drives, and the roads that they are on."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from django.conf import settings
from django.db.models import TextField
from django.db.models.functions import Cast

from souverain.street.engine import matching
from souverain.street.engine.matching import Matched
from souverain.street.models import Campaign, Datum, Panorama
from souverain.territory import roads
from souverain.territory.engine import projection
from souverain.territory.engine.roads import RoadNetwork

_FIELDS = (
    "file_name", "longitude_deg", "latitude_deg", "x_m", "y_m", "z_m", "datum", "heading_deg",
    "pitch_deg", "roll_deg", "sigma_xy_m", "sigma_heading_deg", "width", "height", "sha256",
    "detector",
)  # fmt: skip
# As the database writes them: to make an object of each takes longer than to read it.
_TEXTS = {"key": "pk", "drive": "sequence_id", "taken": "taken_at", "cut": "crop"}
_BATCH = 20_000
_REPEATED = ("datum", "detector")  # one text for all that say the same
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """`n` panoramas, those of a drive side by side and in order; hidden ones are left out."""

    campaign: Campaign
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.columns["key"])

    def key(self, i: int) -> UUID:
        return UUID(self.columns["key"][i])

    @cached_property
    def crops(self) -> list[dict[str, int] | None]:
        return [json.loads(text) if text else None for text in self.columns["cut"]]

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
                for sequence, key in zip(self.columns["drive"], self.columns["key"], strict=True)
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
        places = self.floats("longitude_deg"), self.floats("latitude_deg")
        return projection.convergences_deg(*places, crs)

    @cached_property
    def course_deg(self) -> Floats:
        return matching.courses(self.xy_m, self.sequence, self.grid_heading_deg)

    @cached_property
    def taken_us(self) -> npt.NDArray[np.int64]:
        told = [text.removesuffix("+00") for text in self.columns["taken"]]  # PostgreSQL's UTC
        return np.array(told, "M8[us]").astype(np.int64)

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
    columns: dict[str, list[Any]] = {name: [] for name in (*_TEXTS, *_FIELDS)}
    rows = _rows(campaign)
    while batch := list(islice(rows, _BATCH)):
        for (name, column), values in zip(columns.items(), zip(*batch, strict=True), strict=True):
            column.extend(map(sys.intern, values) if name in _REPEATED else values)
    return Survey(campaign, columns)


def _rows(campaign: Campaign) -> Iterator[tuple[Any, ...]]:
    return (
        Panorama.objects.filter(campaign=campaign)
        .exclude(state=Panorama.State.HIDDEN)
        .order_by("sequence__ordinal", "rank", "taken_at", "pk")
        .values_list(*(Cast(name, TextField()) for name in _TEXTS.values()), *_FIELDS)
        .iterator(_BATCH)
    )
