"""Two campaigns beside each other: what appeared, what vanished, what moved, what stayed.

An item of the older campaign and one of the newer are the same when they are of one kind and their
squared Mahalanobis distance passes the χ² gate (`merging.gate`); pairs are chosen together, least
total distance first, by the assignment of Jonker and Volgenant (scipy). What is left of a kind that
can be displaced (`movable`) and lies within `moved_within_m` has moved. The rest appeared or
vanished, **if the other campaign looked there**: nothing is said to have vanished because nobody
went by, nor because nobody recorded that kind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from souverain.street.engine import sphere
from souverain.street.engine.merging import (
    CONFIDENCE,
    Placed,
    gate,
    sigma_between,
    with_known_height,
    worst_sigma,
)

Floats = npt.NDArray[np.float64]
Pair = tuple[int, int]

SIGHT_M = 15.0
"""A panorama looks at what is nearer than this: measuring is worth little beyond."""
LOOKS = 2
"""Panoramas that must look at a place: a lorry hides it from one."""
MOVED_WITHIN_M = 5.0
CAMERA_HEIGHT_M = 2.5
"""Above the road, for an item whose height is not known."""


class Unseen(StrEnum):
    """Why nothing is said of an item that has no counterpart."""

    PLACE = "place"
    """The other campaign has no picture that looks there."""
    KIND = "kind"
    """The other campaign recorded nothing of that kind."""


@dataclass(frozen=True, eq=False)
class Looks:
    """What a campaign's panoramas see. Row i is one of them."""

    positions_m: Floats
    """Shape (n, 3); a NaN height is not used."""
    grid_poses_deg: Floats
    """Shape (n, 3): heading from grid north, pitch, roll."""
    windows: Floats
    """Shape (n, 4): the part of the sphere in the picture, as fractions of its width and height:
    left, top, right, bottom; (0, 0, 1, 1) for a whole sphere."""

    def count(self, places_m: Floats, sight_m: float = SIGHT_M) -> npt.NDArray[np.int64]:
        """How many panoramas look at each place, shape (m, 3) → (m,)."""
        from scipy.spatial import KDTree

        counts = np.zeros(len(places_m), np.int64)
        if not len(self.positions_m) or not len(places_m):
            return counts
        near = KDTree(self.positions_m[:, :2]).query_ball_point(places_m[:, :2], sight_m)
        sizes = np.array([len(rows) for rows in near], np.int64)
        rows = np.array([row for found in near for row in found], np.int64)
        places = np.repeat(np.arange(len(places_m)), sizes)
        if len(rows):
            np.add.at(counts, places, self._shows(rows, places_m[places]))
        return counts

    def _shows(self, rows: npt.NDArray[np.int64], places_m: Floats) -> npt.NDArray[np.int64]:
        towards = places_m - self.positions_m[rows]
        towards[:, 2] = np.where(np.isfinite(towards[:, 2]), towards[:, 2], -CAMERA_HEIGHT_M)
        heading, pitch, roll = self.grid_poses_deg[rows].T
        yaw, elevation = sphere.direction_to_angles(sphere.to_camera(towards, heading, pitch, roll))
        columns, lines = sphere.angles_to_pixel(yaw, elevation, 1, 1)
        left, top, right, bottom = self.windows[rows].T
        # A window may go over the seam: left 0.9, right 1.1.
        across = ((columns >= left) & (columns <= right)) | (columns + 1 <= right)
        return np.asarray(across & (lines >= top) & (lines <= bottom), np.int64)


@dataclass(frozen=True)
class Matched:
    """One item in both campaigns: its rows, how far apart, and one sigma of that distance."""

    before: int
    after: int
    distance_m: float
    sigma_m: float


@dataclass(frozen=True)
class Comparison:
    """Rows of the two lists. Each row of either is in exactly one place."""

    unchanged: tuple[Matched, ...]
    moved: tuple[Matched, ...]
    appeared: tuple[int, ...]
    vanished: tuple[int, ...]
    not_seen_before: dict[int, Unseen]
    """Rows of the newer list of which the older campaign could know nothing."""
    not_seen_after: dict[int, Unseen]


def compare(
    before: Sequence[Placed],
    after: Sequence[Placed],
    looks_before: Looks,
    looks_after: Looks,
    *,
    movable: Collection[str] = (),
    confidence: float = CONFIDENCE,
    sight_m: float = SIGHT_M,
    moved_within_m: float = MOVED_WITHIN_M,
) -> Comparison:
    """Set the items of two campaigns beside each other. The order of the lists changes nothing
    but the rows' numbers."""
    old, new = _estimates(before), _estimates(after)
    unchanged = _assign(old, new, confidence)
    left_old = _without(range(len(before)), {pair[0] for pair in unchanged})
    left_new = _without(range(len(after)), {pair[1] for pair in unchanged})
    seen_old = looks_after.count(old.shown_m, sight_m) >= LOOKS
    seen_new = looks_before.count(new.shown_m, sight_m) >= LOOKS
    moved = _displaced(
        old,
        new,
        [row for row in left_old if before[row].kind in movable and seen_old[row]],
        [row for row in left_new if after[row].kind in movable and seen_new[row]],
        moved_within_m,
    )
    left_old = _without(left_old, {pair[0] for pair in moved})
    left_new = _without(left_new, {pair[1] for pair in moved})
    vanished, not_seen_after = _judge(left_old, old.kinds, seen_old, set(new.kinds))
    appeared, not_seen_before = _judge(left_new, new.kinds, seen_new, set(old.kinds))
    return Comparison(
        _matched(old, new, unchanged),
        _matched(old, new, moved),
        tuple(appeared),
        tuple(vanished),
        not_seen_before,
        not_seen_after,
    )


@dataclass(frozen=True, eq=False)
class _Estimates:
    kinds: list[str]
    identifiers: list[str]
    positions_m: Floats
    covariances_m2: Floats
    has_height: npt.NDArray[np.bool_]
    shown_m: Floats
    """The positions with NaN for an unknown height."""


def _estimates(items: Sequence[Placed]) -> _Estimates:
    known = [with_known_height(one.position_m, one.covariance_m2) for one in items]
    return _Estimates(
        [one.kind for one in items],
        [one.identifier for one in items],
        np.array([position for position, _, _ in known]).reshape(-1, 3),
        np.array([covariance for _, covariance, _ in known]).reshape(-1, 3, 3),
        np.array([has_height for _, _, has_height in known], bool),
        np.array([one.position_m for one in items], float).reshape(-1, 3),
    )


def _without(rows: Collection[int] | range, taken: set[int]) -> list[int]:
    return [row for row in rows if row not in taken]


def _judge(
    rows: list[int], kinds: list[str], seen: npt.NDArray[np.bool_], recorded: set[str]
) -> tuple[list[int], dict[int, Unseen]]:
    """Of the items without a counterpart: those that the other campaign would have recorded, and
    why nothing can be said of the others."""
    said: list[int] = []
    unseen: dict[int, Unseen] = {}
    for row in rows:
        if not seen[row]:
            unseen[row] = Unseen.PLACE
        elif kinds[row] not in recorded:
            unseen[row] = Unseen.KIND
        else:
            said.append(row)
    return said, unseen


def _matched(old: _Estimates, new: _Estimates, pairs: list[Pair]) -> tuple[Matched, ...]:
    found = []
    for a, b in sorted(pairs):
        delta = new.positions_m[b] - old.positions_m[a]
        if not (old.has_height[a] and new.has_height[b]):
            delta[2] = 0.0
        sigma = sigma_between(old.covariances_m2[a] + new.covariances_m2[b], delta)
        found.append(Matched(a, b, float(np.linalg.norm(delta)), sigma))
    return tuple(found)


def _near(
    old: _Estimates, new: _Estimates, rows_old: list[int], rows_new: list[int], radius_m: float
) -> npt.NDArray[np.int64]:
    """Pairs of rows of one kind within a horizontal radius, shape (n, 2)."""
    from scipy.spatial import KDTree

    of_kind: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row in rows_old:
        of_kind[old.kinds[row]][0].append(row)
    for row in rows_new:
        of_kind[new.kinds[row]][1].append(row)
    pairs: list[Pair] = []
    for olds, news in of_kind.values():
        if olds and news:
            tree = KDTree(new.positions_m[news][:, :2])
            hits = tree.query_ball_point(old.positions_m[olds][:, :2], radius_m)
            pairs += [(a, news[b]) for a, found in zip(olds, hits, strict=True) for b in found]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _assign(old: _Estimates, new: _Estimates, confidence: float) -> list[Pair]:
    """The pairs within the gate that together are the closest."""
    widest = max(_widest(old), _widest(new))
    radius = float(np.sqrt(gate(3, confidence) * 2) * widest)
    pairs = _near(old, new, list(range(len(old.kinds))), list(range(len(new.kinds))), radius)
    if not len(pairs):
        return []
    a, b = pairs.T
    delta = new.positions_m[b] - old.positions_m[a]
    spread = old.covariances_m2[a] + new.covariances_m2[b]
    flat = ~(old.has_height[a] & new.has_height[b])
    delta[flat, 2] = 0.0
    distance2 = np.einsum("nk,nk->n", delta, np.linalg.solve(spread, delta[..., None])[..., 0])
    limit = np.where(flat, gate(2, confidence), gate(3, confidence))
    inside = distance2 <= limit
    return _cheapest(old, new, pairs[inside], distance2[inside], float(limit.max()))


def _widest(estimates: _Estimates) -> float:
    """The largest horizontal sigma; what is vaguer than any road is wide matches as if it were
    not, rather than with everything."""
    sigmas = [worst_sigma(covariance[:2, :2]) for covariance in estimates.covariances_m2]
    return min(max(sigmas, default=0.0), 5.0)


def _displaced(
    old: _Estimates, new: _Estimates, rows_old: list[int], rows_new: list[int], within_m: float
) -> list[Pair]:
    pairs = _near(old, new, rows_old, rows_new, within_m)
    if not len(pairs):
        return []
    delta = new.positions_m[pairs[:, 1], :2] - old.positions_m[pairs[:, 0], :2]
    return _cheapest(old, new, pairs, np.hypot(*delta.T), within_m)


def _cheapest(
    old: _Estimates, new: _Estimates, pairs: npt.NDArray[np.int64], costs: Floats, limit: float
) -> list[Pair]:
    """As many pairs as can be, each row once, of least total cost; ties go by identifier."""
    order = sorted(
        range(len(pairs)),
        key=lambda i: (old.identifiers[pairs[i, 0]], new.identifiers[pairs[i, 1]]),
    )
    neighbours: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
    for i in order:
        a, b = int(pairs[i, 0]), int(pairs[i, 1])
        neighbours[(0, a)].append((a, b, float(costs[i])))
        neighbours[(1, b)].append((a, b, float(costs[i])))
    chosen: list[Pair] = []
    visited: set[tuple[int, int]] = set()
    for start in neighbours:
        if start in visited:
            continue
        visited.add(start)
        component, stack = {}, [start]
        while stack:
            for a, b, cost in neighbours[stack.pop()]:
                component[a, b] = cost
                for node in ((0, a), (1, b)):
                    if node not in visited:
                        visited.add(node)
                        stack.append(node)
        chosen += _assign_component(component, limit)
    return chosen


def _assign_component(component: dict[Pair, float], limit: float) -> list[Pair]:
    from scipy.optimize import linear_sum_assignment

    rows = {row: i for i, row in enumerate(dict.fromkeys(a for a, _ in component))}
    columns = {row: i for i, row in enumerate(dict.fromkeys(b for _, b in component))}
    forbidden = (limit + 1.0) * (len(component) + 1)  # dearer than all that is allowed together
    cost = np.full((len(rows), len(columns)), forbidden)
    for (a, b), value in component.items():
        cost[rows[a], columns[b]] = value
    olds, news = list(rows), list(columns)
    return [
        (olds[i], news[j])
        for i, j in zip(*linear_sum_assignment(cost), strict=True)
        if cost[i, j] < forbidden
    ]
