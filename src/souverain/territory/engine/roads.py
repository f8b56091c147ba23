"""Roads: the graph that they make, and positions along them.

A *road* is known by its number (`D971`) and its département. Its *reference posts* (PR, points de
repère) are numbered along it; a position is a post and an *abscissa*, the metres from that post
in the direction of growing posts (`D971 PR 12+350`; it may be negative, or greater than the
distance to the next post: posts are rarely 1,000 m apart). *Side* is D (right) or G (left) when
one looks towards growing posts, C in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoadNetwork:
    """Road links as flat arrays; link `i` has the vertices `vertices_m[starts[i]:starts[i+1]]`.

    Links meet only where they share a node: a bridge and the road beneath it cross without one.
    """

    vertices_m: Floats
    """Shape (v, 3): Lambert-93 easting, northing, height (NaN where unknown)."""
    starts: Ints
    """Shape (n + 1,)."""
    nodes: Ints
    """Shape (n, 2): the node where each link begins and ends."""
    numbers: npt.NDArray[np.str_]
    """Shape (n,): `D971`, or empty."""
    levels: npt.NDArray[np.int8]
    """Shape (n,): 0 on the ground, above it positive (bridge), below it negative (tunnel)."""
    one_way: npt.NDArray[np.int8]
    """Shape (n,): 1 as drawn, -1 against it, 0 both ways."""
    identifiers: npt.NDArray[np.str_]
    """Shape (n,): the source's own id of the link."""


@dataclass(frozen=True)
class RoadPosition:
    """Where something is along a road. Metres; `distance_m` is from the axis, never negative."""

    road: str
    departement: str
    pr: int | None
    abscissa_m: float
    side: str
    distance_m: float
    x_m: float
    y_m: float

    def __str__(self) -> str:
        """`D971 PR 12+350`, or `D971 +350 m` on a road without posts."""
        if self.pr is None:
            return f"{self.road} +{round(self.abscissa_m)} m"
        return f"{self.road} PR {self.pr}{round(self.abscissa_m):+d}"
