"""The roads in memory: the network, positions along it and back. Built from the records once, and
again when the journal tells of other roads or posts. Reads only; any room above may use it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from django.conf import settings

from souverain.core.models import JournalEntry
from souverain.territory.engine.referencing import Referencing
from souverain.territory.engine.roads import (
    NO_POSTS,
    Floats,
    ReferencePosts,
    RoadNetwork,
    RoadPosition,
)
from souverain.territory.models import Provenance, ReferencePost, RoadLink, RoadSource
from souverain.territory.services import POSTS_IMPORTED, ROADS_IMPORTED, ROADS_SYNTHESISED


@dataclass(frozen=True)
class Point:
    """A place in Lambert-93; `z_m` is None where the roads have no height."""

    x_m: float
    y_m: float
    z_m: float | None


class UnknownPosition(ValueError):
    """No such position on the roads; the message is French and says what is near."""


@dataclass(frozen=True)
class Roads:
    """The roads as they were when `version` was read."""

    version: tuple[Any, ...]
    network: RoadNetwork
    classes: npt.NDArray[np.str_]
    """Shape (n,), by link: values of `RoadLink.RoadClass`."""
    posts: ReferencePosts
    source: RoadSource | None
    """Where the links come from; None when there are none."""

    @property
    def is_synthetic(self) -> bool:
        return self.source is not None and self.source.provenance == Provenance.SYNTHETIC

    @cached_property
    def referencing(self) -> Referencing:
        return Referencing(self.network, self.posts, settings.DEPARTEMENT)

    @cached_property
    def prs(self) -> dict[str, list[int]]:
        """Of each road that has posts, their numbers in order."""
        found: dict[str, set[int]] = {}
        for road, pr in zip(self.posts.roads.tolist(), self.posts.prs.tolist(), strict=True):
            found.setdefault(road, set()).add(pr)
        return {road: sorted(prs) for road, prs in found.items()}


_current: Roads | None = None
_building = Lock()


def roads() -> Roads:
    """The roads of now, shared by the process's threads. One small query when unchanged."""
    global _current
    version = _version()
    found = _current
    if found is None or found.version != version:
        with _building:
            found = _current
            if found is None or found.version != version:
                found = _current = _build(version)
    return found


def network() -> RoadNetwork:
    """The links; none when no roads were imported or synthesised."""
    return roads().network


def positions_of(xy_m: Floats) -> list[RoadPosition | None]:
    """The road position of each place, shape (n, 2), Lambert-93; None where no road is within
    50 m. `x_m`, `y_m` of a position are on the road's axis."""
    return roads().referencing.positions(xy_m)


def point_at(road: str, pr: int | None, abscissa_m: float, side: str = "C") -> Point:
    """The point of the axis there (of the left carriageway for G, where they are separate).
    Raises UnknownPosition."""
    found = roads()
    x, y, z = found.referencing.points([road], [pr], [abscissa_m], [side or "C"])[0].tolist()
    if np.isnan(x):
        raise UnknownPosition(_why_unknown(found, road, pr, abscissa_m))
    return Point(x, y, None if np.isnan(z) else z)


def _why_unknown(found: Roads, road: str, pr: int | None, abscissa_m: float) -> str:
    if not np.isin(road, found.referencing.roads):
        return f"La route {road} n'est pas dans le réseau."
    prs = found.prs.get(road, [])
    if pr is None:
        has = f" ; elle a des points de repère ({prs[0]} à {prs[-1]})" if prs else ""
        return f"La {road} n'a pas de position à {abscissa_m:.0f} m{has}."
    if not prs:
        return f"La {road} n'a pas de points de repère : donnez des mètres, « +350 m »."
    if pr in prs:
        return f"La {road} ne va pas jusqu'à {abscissa_m:.0f} m du PR {pr}."
    below, above = [p for p in prs if p < pr][-1:], [p for p in prs if p > pr][:1]
    near = " et ".join(str(p) for p in below + above)
    return f"La {road} n'a pas de PR {pr} ; le plus proche : {near}."


def _version() -> tuple[Any, ...]:
    """The last verb that wrote here, by the journal: its order is that of the commits."""
    verbs = JournalEntry.objects.filter(
        verb__in=(ROADS_IMPORTED, ROADS_SYNTHESISED, POSTS_IMPORTED)
    )
    last = verbs.order_by("-seq").values_list("seq", "hash").first()
    return (last and (last[0], bytes(last[1])),)


def _build(version: tuple[Any, ...]) -> Roads:
    rows = list(
        RoadLink.objects.order_by("id").values_list(
            "identifier",
            "number",
            "road_class",
            "level",
            "one_way",
            "start_node",
            "end_node",
            "vertices_m",
        )
    )
    source = RoadSource.objects.filter(kind=RoadSource.Kind.ROADS).order_by("-pk").first()
    identifiers, numbers, classes, levels, one_way, begins, ends, packed = (
        zip(*rows, strict=True) if rows else ((),) * 8
    )
    pieces = [bytes(piece) for piece in packed]
    vertices = np.frombuffer(b"".join(pieces), "<f8").reshape(-1, 3)
    starts = np.concatenate([[0], np.cumsum([len(piece) // 24 for piece in pieces])])
    network = RoadNetwork(
        vertices_m=vertices,
        starts=starts.astype(np.int64),
        nodes=np.array([begins, ends], dtype=np.int64).T,
        numbers=np.array(numbers, dtype="U24"),
        levels=np.array(levels, dtype=np.int8),
        one_way=np.array(one_way, dtype=np.int8),
        identifiers=np.array(identifiers, dtype="U40"),
    )
    posts = _posts(source) if source else NO_POSTS
    return Roads(version, network, np.array(classes, dtype="U12"), posts, source)


def _posts(source: RoadSource) -> ReferencePosts:
    """Synthetic posts stand by synthetic roads, real ones by real roads."""
    synthetic = source.provenance == Provenance.SYNTHETIC
    posts = ReferencePost.objects.order_by("id")
    own = posts.filter if synthetic else posts.exclude
    rows = list(
        own(source__provenance=Provenance.SYNTHETIC).values_list("road", "pr", "side", "x_m", "y_m")
    )
    if not rows:
        return NO_POSTS
    names, prs, sides, xs, ys = zip(*rows, strict=True)
    return ReferencePosts(
        np.array(names), np.array(prs, np.int64), np.array(sides), np.column_stack([xs, ys])
    )
