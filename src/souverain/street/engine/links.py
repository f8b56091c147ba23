"""From which panorama one can walk to which: along the drives, and by the road graph elsewhere.

*Along*: one after the other of a drive; and where a drive ends, the next panorama of another drive
further on the same road. *At a crossing*: from the last panorama of each drive before a node where
three links or more meet, to one on each other arm, on the side of the road where one goes on. The
only way from one link to another is a node that both have: a bridge has none with the road
beneath, a carriageway none with its twin but where they join.

Without a road graph (`by_geometry`), turns are found where two drives cut each other, or where one
ends by another, at the same known height; nothing is said where a height is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from souverain.street.engine.matching import Matched
from souverain.territory.engine.roads import RoadNetwork, link_lengths_m

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GAP_M = 50.0
"""Two panoramas of a drive that are farther apart are not linked."""
REACH_M = 30.0
"""How far a panorama may be from the node where one turns, along the links."""
_STEEPEST = 0.15
_STEP_Z_M = 2.0
_MEETING_M = 8.0
_MEETING_Z_M = 1.5
_TURN_DEG = 25.0


@dataclass(frozen=True)
class Links:
    """Directed links, each of shape (k,), in growing order of origin, then of target: places in
    the arrays that were given. `along` is False where one turns."""

    origin: Ints
    target: Ints
    along: Bools

    def __len__(self) -> int:
        return len(self.origin)


def along_drives(xy_m: Floats, sequence: Ints) -> set[tuple[int, int]]:
    """Pairs of panoramas that follow each other, both ways; those of a sequence are side by side,
    in order."""
    step = np.hypot(*np.diff(xy_m, axis=0).T) if len(xy_m) > 1 else np.empty(0)
    first = np.flatnonzero((np.diff(sequence) == 0) & (step <= GAP_M)).tolist()
    return {(i, i + 1) for i in first} | {(i + 1, i) for i in first}


def by_roads(
    network: RoadNetwork, xy_m: Floats, z_m: Floats, sequence: Ints, matched: Matched
) -> Links:
    """Links of panoramas, shape (n, 2) and (n,) each, those of a sequence side by side and in
    order; `z_m` NaN where unknown."""
    along = along_drives(xy_m, sequence)
    roads = _Roads(network, sequence, matched)
    turns: set[tuple[int, int]] = set()
    for node in roads.crossings().tolist():
        turns |= _turns(roads.arms(node), matched, sequence)
    for i, j in roads.continuations():
        if _same_level(xy_m, z_m, i, j):
            along |= {(i, j), (j, i)}
    level = {(i, j) for i, j in turns - along if _same_level(xy_m, z_m, i, j)}
    return _links(along, level)


def by_geometry(xy_m: Floats, z_m: Floats, sequence: Ints, course_deg: Floats) -> Links:
    """The same without roads: turns only where two drives meet at one known height."""
    along = along_drives(xy_m, sequence)
    turns: set[tuple[int, int]] = set()
    for i, j in (*_cuts(xy_m, z_m, sequence), *_ends_by_another(xy_m, z_m, sequence, course_deg)):
        turns |= {(i, j), (j, i)}
    return _links(along, turns - along)


def _links(along: set[tuple[int, int]], turns: set[tuple[int, int]]) -> Links:
    rows = np.array(
        sorted([(*pair, 1) for pair in along] + [(*pair, 0) for pair in turns]), np.int64
    ).reshape(-1, 3)
    return Links(rows[:, 0], rows[:, 1], rows[:, 2] == 1)


def _same_level(xy_m: Floats, z_m: Floats, i: int, j: int) -> bool:
    """False when the heights are known and no road is so steep: a wrong match is not believed."""
    distance = float(np.hypot(*(xy_m[i] - xy_m[j])))
    rise = abs(float(z_m[i] - z_m[j]))
    return not rise > _STEP_Z_M + _STEEPEST * distance


# By the road graph --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """A panorama near a node: how far along the links, and whether it drives to the node."""

    panorama: int
    distance_m: float
    coming: bool


class _Roads:
    """The graph, and the panoramas on each link in order."""

    def __init__(self, network: RoadNetwork, sequence: Ints, matched: Matched) -> None:
        self.sequence, self.matched = sequence, matched
        self.lengths = link_lengths_m(network)
        self.nodes = network.nodes
        placed = np.flatnonzero(matched.link >= 0)
        order = placed[np.lexsort((matched.along_m[placed], matched.link[placed]))]
        self.on_link = order
        self.begins = np.searchsorted(matched.link[order], np.arange(len(self.lengths) + 1))
        ends = network.nodes.reshape(-1)
        self.ends_order = np.argsort(ends, kind="stable")
        self.ends_of = ends[self.ends_order]

    def crossings(self) -> Ints:
        """Nodes where three links or more meet."""
        node, count = np.unique(self.ends_of, return_counts=True)
        return node[count >= 3]

    def link_ends(self, node: int) -> list[tuple[int, int]]:
        """Links at a node, each with the end (0 first, 1 last) that is there."""
        low, high = np.searchsorted(self.ends_of, [node, node + 1])
        return [(int(end) // 2, int(end) % 2) for end in self.ends_order[low:high]]

    def panoramas(self, link: int, end: int, within_m: float) -> list[_Seen]:
        """Those of a link within a distance of one of its ends, the nearest first."""
        mine = self.on_link[self.begins[link] : self.begins[link + 1]]
        along = self.matched.along_m[mine]
        if end == 0:
            mine = mine[: np.searchsorted(along, within_m, side="right")]
        else:
            mine = mine[np.searchsorted(along, self.lengths[link] - within_m) :][::-1]
        return [
            _Seen(
                int(i),
                float(self.matched.along_m[i] if end == 0 else self.lengths[link] - self.matched.along_m[i]),
                bool(self.matched.forward[i]) == (end == 1),
            )
            for i in mine
        ]  # fmt: skip

    def arms(self, node: int) -> list[list[_Seen]]:
        """What is on each way out of a node; short links that nobody drove are crossed."""
        found: list[list[_Seen]] = []
        been = {node}
        open_ = [(node, 0.0, -1)]
        while open_:
            at, walked, by = open_.pop()
            for link, end in self.link_ends(at):
                if link == by:
                    continue
                seen = self.panoramas(link, end, REACH_M - walked)
                if seen:
                    found.append(seen)
                    continue
                beyond = int(self.nodes[link, 1 - end])
                further = walked + float(self.lengths[link])
                empty = self.begins[link] == self.begins[link + 1]
                if empty and further < REACH_M and beyond not in been:
                    been.add(beyond)
                    open_.append((beyond, further, link))
        return found

    def continuations(self) -> Iterator[tuple[int, int]]:
        """The last panorama of each drive, and the first one ahead of another drive."""
        last = np.flatnonzero(np.append(np.diff(self.sequence) != 0, True)) if len(
            self.sequence
        ) else np.empty(0, np.int64)  # fmt: skip
        for i in last[self.matched.link[last] >= 0].tolist():
            ahead = self._ahead(i)
            if ahead is not None:
                yield i, ahead

    def _ahead(self, i: int) -> int | None:
        link, forward = int(self.matched.link[i]), bool(self.matched.forward[i])
        at = float(self.matched.along_m[i])
        left = REACH_M
        been = {link}
        entered = 0 if forward else 1
        gone = at if forward else float(self.lengths[link]) - at
        while True:
            seen = [
                one
                for one in self.panoramas(link, entered, gone + left)
                if one.distance_m > gone and self.sequence[one.panorama] != self.sequence[i]
            ]
            if seen:
                # Who drives on the same way goes before who comes towards.
                return min(seen, key=lambda one: (one.coming, one.distance_m)).panorama
            left -= float(self.lengths[link]) - gone
            node = int(self.nodes[link, 1 - entered])
            others = [end for end in self.link_ends(node) if end[0] not in been]
            if left <= 0 or len(others) != 1 or len(self.link_ends(node)) != 2:
                return None
            (link, entered), gone = others[0], -1.0
            left -= 1.0
            been.add(link)


def _turns(arms: list[list[_Seen]], matched: Matched, sequence: Ints) -> set[tuple[int, int]]:
    """From each drive's nearest panorama on an arm, to one on each other arm."""
    turns: set[tuple[int, int]] = set()
    for a, arm in enumerate(arms):
        for origin in _nearest_of_each_drive(arm, sequence):
            for b, other in enumerate(arms):
                if a != b:
                    # Who comes to the node goes on with those that leave it, and the reverse.
                    best = min(
                        other, key=lambda seen: (seen.coming == origin.coming, seen.distance_m)
                    )
                    if best.panorama != origin.panorama:
                        turns.add((origin.panorama, best.panorama))
    return turns


def _nearest_of_each_drive(arm: list[_Seen], sequence: Ints) -> list[_Seen]:
    first: dict[tuple[int, bool], _Seen] = {}
    for seen in arm:
        first.setdefault((int(sequence[seen.panorama]), seen.coming), seen)
    return list(first.values())


# By geometry alone --------------------------------------------------------------------------------


def _cuts(xy_m: Floats, z_m: Floats, sequence: Ints) -> Iterator[tuple[int, int]]:
    """Where two drives cut each other at one height: the nearest panorama of each."""
    if len(xy_m) < 2:
        return
    step = np.hypot(*np.diff(xy_m, axis=0).T)
    first = np.flatnonzero((np.diff(sequence) == 0) & (step <= GAP_M))
    segments = shapely.linestrings(np.stack([xy_m[first], xy_m[first + 1]], 1))
    if not len(first):
        return
    a, b = shapely.STRtree(segments).query(segments, predicate="crosses")
    apart = (a < b) & (sequence[first[a]] != sequence[first[b]])
    for s, t in zip(a[apart].tolist(), b[apart].tolist(), strict=True):
        at = shapely.get_coordinates(shapely.intersection(segments[s], segments[t]))[0]
        pair = [_nearer(xy_m, int(first[s]), at), _nearer(xy_m, int(first[t]), at)]
        if abs(float(z_m[pair[0]] - z_m[pair[1]])) <= _MEETING_Z_M:
            yield pair[0], pair[1]


def _nearer(xy_m: Floats, i: int, at: Floats) -> int:
    distance = np.hypot(*(xy_m[[i, i + 1]] - at).T)
    return i + int(distance[1] < distance[0])


def _ends_by_another(
    xy_m: Floats, z_m: Floats, sequence: Ints, course_deg: Floats
) -> Iterator[tuple[int, int]]:
    """Where a drive begins or ends by another that runs elsewhere, at one height."""
    if not len(xy_m):
        return
    change = np.flatnonzero(np.diff(sequence) != 0)
    ends = np.unique(np.concatenate([[0], change, change + 1, [len(xy_m) - 1]]))
    points = shapely.points(xy_m)
    tree = shapely.STRtree(points)
    which, near = tree.query(points[ends], predicate="dwithin", distance=_MEETING_M)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i, j in zip(ends[which].tolist(), near.tolist(), strict=True):
        turn = abs((float(course_deg[i] - course_deg[j]) + 90.0) % 180.0 - 90.0)
        rise = abs(float(z_m[i] - z_m[j]))
        if sequence[i] == sequence[j] or turn < _TURN_DEG or not rise <= _MEETING_Z_M:
            continue
        distance = float(np.hypot(*(xy_m[i] - xy_m[j])))
        key = i, int(sequence[j])
        if key not in best or distance < best[key][0]:
            best[key] = distance, j
    for (i, _), (_, j) in best.items():
        yield i, j
