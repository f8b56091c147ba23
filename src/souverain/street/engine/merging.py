"""One object, many views: what several views show is merged into items, each with its covariance.

Two estimates are of one object when they are of one kind and their squared Mahalanobis distance
d² = Δᵀ (Σ₁ + Σ₂)⁻¹ Δ passes the χ² gate (Bar-Shalom, *Multitarget-Multisensor Tracking*, 1990),
and when no single view shows both: whoever sees two posts side by side knows that there are two.
Merging adds information: Σ⁻¹ = Σ₁⁻¹ + Σ₂⁻¹. The closest pair is merged first and ties go by
identifier, so that the order in which the observations come changes nothing.

What could be merged in two ways is not: both stay, and a `Doubt` says so. Metres, Lambert-93;
heights in one datum (z is NaN where unknown, and where datums would be mixed).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree
from scipy.stats import chi2

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.999
"""Share of the true pairs that the gate lets through."""
REACH_M = 30.0
"""Beyond this, a ray of a panorama tells nothing about a road's furniture."""
VAGUE_M = 3.0
"""An estimate whose worst sigma is above this is merged with nothing."""
MIN_ANGLE_DEG = 2.0
"""Thinner triangles place nothing."""
_AS_GOOD = float(chi2.ppf(0.95, 1))
"""Two explanations whose χ² differ by less are as good as each other."""
_UNKNOWN_M2 = 1e8


@dataclass(frozen=True, eq=False)
class Placed:
    """An object of one kind as an observation, or many of them, place it."""

    identifier: str
    kind: str
    position_m: Floats
    """Shape (3,): easting, northing, height (NaN: unknown)."""
    covariance_m2: Floats
    """Shape (3, 3); the row and column of an unknown height are not read."""
    views: frozenset[str] = frozenset()
    """The panoramas that show it."""


@dataclass(frozen=True, eq=False)
class Ray:
    """One view points at an object of one kind."""

    identifier: str
    view: str
    kind: str
    origin_m: Floats
    """Shape (3,): where the camera is."""
    direction: Floats
    """Shape (3,): towards the object, in the world's frame, of any length."""
    covariance_m2: Floats
    """Shape (3, 3): of the origin."""
    sigma_rad: float
    """Of the direction (attitude and click together), about both axes."""


@dataclass(frozen=True, eq=False)
class MergedItem:
    """An object, and the observations that it was made of (identifiers, sorted)."""

    kind: str
    position_m: Floats
    covariance_m2: Floats
    members: tuple[str, ...]
    views: frozenset[str]


@dataclass(frozen=True)
class Doubt:
    """Two items of one kind that their sigmas do not tell apart: perhaps one object, perhaps two.
    `members` are the observations of each; `sigma_m` is that of their distance."""

    kind: str
    members: tuple[tuple[str, ...], tuple[str, ...]]
    distance_m: float
    sigma_m: float


@dataclass(frozen=True)
class Merged:
    """`unplaced`: rays that met no other, or that could meet several equally well."""

    items: tuple[MergedItem, ...]
    doubts: tuple[Doubt, ...]
    unplaced: tuple[str, ...] = ()


@lru_cache(maxsize=32)
def gate(dimensions: int, confidence: float = CONFIDENCE) -> float:
    """The squared Mahalanobis distance that this share of true pairs does not exceed."""
    return float(chi2.ppf(confidence, dimensions))


def with_known_height(position_m: Floats, covariance_m2: Floats) -> tuple[Floats, Floats, bool]:
    """The same estimate with a number for its height, and whether that number means anything:
    an unknown height is 0 with a variance that outweighs nothing."""
    if np.isfinite(position_m[2]):
        return position_m, covariance_m2, True
    covariance = np.zeros((3, 3))
    covariance[:2, :2] = covariance_m2[:2, :2]
    covariance[2, 2] = _UNKNOWN_M2
    return np.array([position_m[0], position_m[1], 0.0]), covariance, False


def _inverse(matrix: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def sigma_between(covariance_m2: Floats, delta_m: Floats) -> float:
    """One sigma of the distance along `delta_m`, shape (3,); the worst axis when it is nothing."""
    length = float(np.linalg.norm(delta_m))
    if length == 0.0:
        return worst_sigma(covariance_m2)
    along = delta_m / length
    return float(np.sqrt(along @ covariance_m2 @ along))


def worst_sigma(covariance_m2: Floats) -> float:
    """The largest semi-axis of the one-sigma ellipsoid."""
    return float(np.sqrt(max(np.linalg.eigvalsh(covariance_m2)[-1], 0.0)))


# Positions ---------------------------------------------------------------------------------------


class _Cluster:
    """Observations believed to be one object: their summed information."""

    __slots__ = (
        "covariance",
        "has_height",
        "information",
        "members",
        "position",
        "views",
        "weight",
    )

    def __init__(
        self,
        information: Floats,
        weight: Floats,
        members: tuple[str, ...],
        views: frozenset[str],
        has_height: bool,
    ) -> None:
        self.information, self.weight = information, weight
        self.members, self.views, self.has_height = members, views, has_height
        self.covariance = _inverse(information)
        self.position: Floats = self.covariance @ weight

    def with_(self, other: _Cluster) -> _Cluster:
        return _Cluster(
            self.information + other.information,
            self.weight + other.weight,
            tuple(sorted(self.members + other.members)),
            self.views | other.views,
            self.has_height or other.has_height,
        )

    def distance2(self, other: _Cluster) -> float:
        delta = self.position - other.position
        return float(delta @ np.linalg.solve(self.covariance + other.covariance, delta))

    def gate(self, other: _Cluster, confidence: float) -> float:
        return gate(3 if self.has_height and other.has_height else 2, confidence)


def merge_positions(observations: Iterable[Placed], confidence: float = CONFIDENCE) -> Merged:
    """Merge the observations that are of one object. Raises ValueError for an identifier given
    twice or a covariance that is none."""
    by_kind: dict[str, list[Placed]] = defaultdict(list)
    seen: set[str] = set()
    for observation in observations:
        if observation.identifier in seen:
            raise ValueError(f"the observation {observation.identifier} is given twice")
        seen.add(observation.identifier)
        by_kind[observation.kind].append(observation)
    items: list[MergedItem] = []
    doubts: list[Doubt] = []
    for kind in sorted(by_kind):
        of_kind = sorted(by_kind[kind], key=lambda one: one.identifier)
        clusters = _agglomerate([_cluster(one) for one in of_kind], confidence)
        items += [_item(kind, cluster) for cluster in clusters]
        doubts += _doubts(kind, clusters, confidence)
    return Merged(tuple(items), tuple(doubts))


def _cluster(one: Placed) -> _Cluster:
    position, covariance, has_height = with_known_height(one.position_m, one.covariance_m2)
    if not (np.isfinite(position).all() and np.isfinite(covariance).all()):
        raise ValueError(f"the observation {one.identifier} is nowhere")
    if np.linalg.eigvalsh(covariance)[0] <= 0:
        raise ValueError(f"the covariance of {one.identifier} is not positive definite")
    information = _inverse(covariance)
    return _Cluster(information, information @ position, (one.identifier,), one.views, has_height)


def _item(kind: str, cluster: _Cluster) -> MergedItem:
    position, covariance = cluster.position.copy(), cluster.covariance.copy()
    if not cluster.has_height:
        position[2] = covariance[2, :] = covariance[:, 2] = np.nan
    return MergedItem(kind, position, covariance, cluster.members, cluster.views)


def _horizontal_sigma(cluster: _Cluster) -> float:
    return worst_sigma(cluster.covariance[:2, :2])


def _neighbours(clusters: Sequence[_Cluster], confidence: float) -> list[tuple[int, int]]:
    """The pairs that could pass the gate, by their horizontal distance alone. What is too vague
    has no neighbour."""
    precise = [i for i, one in enumerate(clusters) if _horizontal_sigma(one) <= VAGUE_M]
    if len(precise) < 2:
        return []
    sigmas = np.array([_horizontal_sigma(clusters[i]) for i in precise])
    places = np.array([clusters[i].position[:2] for i in precise])
    widest = np.sqrt(gate(3, confidence) * 2) * sigmas.max()
    pairs = KDTree(places).query_pairs(widest, output_type="ndarray")
    reach2 = gate(3, confidence) * (sigmas[pairs[:, 0]] ** 2 + sigmas[pairs[:, 1]] ** 2)
    near = ((places[pairs[:, 0]] - places[pairs[:, 1]]) ** 2).sum(1) <= reach2
    return [(precise[a], precise[b]) for a, b in pairs[near].tolist()]


def _agglomerate(clusters: list[_Cluster], confidence: float) -> list[_Cluster]:
    """Merge the closest two, again and again. A pair is left when a rival is as good."""
    alive: dict[int, _Cluster] = dict(enumerate(clusters))
    near: dict[int, set[int]] = defaultdict(set)
    numbers = count(len(clusters))
    heap: list[tuple[float, tuple[str, ...], tuple[str, ...], int, int]] = []

    def offer(a: int, b: int) -> None:
        first, second = alive[a], alive[b]
        distance2 = first.distance2(second)
        if distance2 > first.gate(second, confidence):
            return
        near[a].add(b)
        near[b].add(a)
        if not first.views & second.views:
            low, high = sorted((a, b), key=lambda i: alive[i].members)
            heapq.heappush(heap, (distance2, alive[low].members, alive[high].members, low, high))

    for a, b in _neighbours(clusters, confidence):
        offer(a, b)
    while heap:
        distance2, _, _, a, b = heapq.heappop(heap)
        if a not in alive or b not in alive or _has_rival(alive, near, a, b, distance2):
            continue
        merged, new = alive[a].with_(alive[b]), next(numbers)
        around = (near.pop(a) | near.pop(b)) - {a, b}
        del alive[a], alive[b]
        alive[new] = merged
        for other in around:
            near[other] -= {a, b}
            offer(new, other)
    return [alive[i] for i in sorted(alive, key=lambda i: alive[i].members)]


def _has_rival(
    alive: dict[int, _Cluster], near: dict[int, set[int]], a: int, b: int, distance2: float
) -> bool:
    """Whether one of the two would go as well with a third that is known not to be the other."""
    for one, other in ((a, b), (b, a)):
        for third in near[one] - {other}:
            apart = bool(alive[third].views & alive[other].views)
            together = bool(alive[third].views & alive[one].views)
            rival = apart and not together
            if rival and alive[one].distance2(alive[third]) - distance2 < _AS_GOOD:
                return True
    return False


def _doubts(kind: str, clusters: Sequence[_Cluster], confidence: float) -> list[Doubt]:
    found = []
    for a, b in _neighbours(clusters, confidence):
        first, second = sorted((clusters[a], clusters[b]), key=lambda one: one.members)
        if first.distance2(second) <= first.gate(second, confidence):
            found.append(_doubt(kind, first, second))
    return sorted(found, key=lambda doubt: doubt.members)


def _doubt(kind: str, first: _Cluster, second: _Cluster) -> Doubt:
    delta = second.position - first.position
    if not (first.has_height and second.has_height):
        delta[2] = 0.0
    sigma = sigma_between(first.covariance + second.covariance, delta)
    return Doubt(kind, (first.members, second.members), float(np.linalg.norm(delta)), sigma)


# Rays --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Bundle:
    """The rays of one kind as arrays, in the order of their identifiers."""

    identifiers: tuple[str, ...]
    views: Ints
    view_names: tuple[str, ...]
    origins_m: Floats
    axes: Floats
    """Shape (n, 2, 3): two unit vectors across each ray."""
    directions: Floats
    across_m2: Floats
    """Shape (n, 2, 2): the origin's covariance across the ray."""
    sigma_rad: Floats


def merge_rays(
    rays: Iterable[Ray], confidence: float = CONFIDENCE, reach_m: float = REACH_M
) -> Merged:
    """Find the objects that rays of different views meet at.

    Each two rays of one kind that meet are a hypothesis; the one that the most views support is
    taken first, its rays are spent, and so on: a crossing of rays of two different objects is
    seldom supported by a third view. Where two views alone cannot tell which rays go together,
    nothing is placed and the rays are `unplaced`. Raises ValueError as `merge_positions` does.
    """
    by_kind: dict[str, list[Ray]] = defaultdict(list)
    seen: set[str] = set()
    for ray in rays:
        if ray.identifier in seen:
            raise ValueError(f"the ray {ray.identifier} is given twice")
        seen.add(ray.identifier)
        by_kind[ray.kind].append(ray)
    items: list[MergedItem] = []
    doubts: list[Doubt] = []
    unplaced: list[str] = []
    for kind in sorted(by_kind):
        bundle = _bundle(sorted(by_kind[kind], key=lambda ray: ray.identifier))
        clusters, left = _intersections(bundle, confidence, reach_m)
        items += [_item(kind, cluster) for cluster in clusters]
        doubts += _doubts(kind, clusters, confidence)
        unplaced += left
    return Merged(tuple(items), tuple(doubts), tuple(sorted(unplaced)))


def _bundle(rays: Sequence[Ray]) -> _Bundle:
    names = tuple(sorted({ray.view for ray in rays}))
    number = {name: i for i, name in enumerate(names)}
    directions = np.array([ray.direction for ray in rays], float)
    origins = np.array([ray.origin_m for ray in rays], float)
    covariances = np.array([ray.covariance_m2 for ray in rays], float)
    sigma = np.array([ray.sigma_rad for ray in rays], float)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    bad = ~(np.isfinite(directions).all(1) & np.isfinite(origins).all(1) & (lengths[:, 0] > 0))
    bad |= ~(np.isfinite(covariances).all((1, 2)) & (sigma > 0))
    if bad.any():
        raise ValueError(f"the ray {rays[int(np.argmax(bad))].identifier} points nowhere")
    directions = directions / lengths
    # Any vector that is not along the ray gives the first axis across it.
    aside = np.eye(3)[np.argmin(np.abs(directions), axis=1)]
    first = np.cross(directions, aside)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    axes = np.stack([first, np.cross(directions, first)], 1)
    across = axes @ covariances @ axes.transpose(0, 2, 1)
    return _Bundle(
        tuple(ray.identifier for ray in rays),
        np.array([number[ray.view] for ray in rays], np.int64),
        names,
        origins,
        axes,
        directions,
        across,
        sigma,
    )


def _fix(bundle: _Bundle, groups: Ints) -> tuple[Floats, Floats, Floats, Floats]:
    """Least squares of groups of m rays, shape (g, m) → points (g, 3), their covariances
    (g, 3, 3), the χ² of each ray (g, m), how far along each ray (g, m).

    A ray constrains a point across itself, with the variance of its origin plus (range · σ)²."""
    origins, axes = bundle.origins_m[groups], bundle.axes[groups]
    directions, across = bundle.directions[groups], bundle.across_m2[groups]
    sigma = bundle.sigma_rad[groups]
    centre = origins.mean(1, keepdims=True)
    local = origins - centre  # Lambert-93 northings leave too few digits otherwise
    offset = np.einsum("gmik,gmk->gmi", axes, local)
    ranges = np.full(groups.shape, 10.0)
    for _ in range(4):  # the weights need the ranges, which need the point
        variance = across + (np.maximum(ranges, 0.5) * sigma)[..., None, None] ** 2 * np.eye(2)
        weight = np.linalg.inv(variance)
        information = np.einsum("gmik,gmij,gmjl->gkl", axes, weight, axes)
        information += 1e-12 * np.eye(3)  # parallel rays: a point, with no worth
        covariance = np.linalg.inv(information)
        pull = np.einsum("gmik,gmij,gmj->gk", axes, weight, offset)
        point = np.einsum("gkl,gl->gk", covariance, pull)
        ranges = np.einsum("gmk,gmk->gm", point[:, None, :] - local, directions)
    residual = np.einsum("gmik,gk->gmi", axes, point) - offset
    chi = np.einsum("gmi,gmij,gmj->gm", residual, weight, residual)
    return point + centre[:, 0], covariance, chi, ranges


def _hypotheses(bundle: _Bundle, confidence: float, reach_m: float) -> tuple[Ints, Floats, Floats]:
    """The pairs of rays of two views that meet in front of both, within reach, shape (h, 2);
    where, shape (h, 3); and the χ² of the meeting, shape (h,)."""
    pairs = KDTree(bundle.origins_m).query_pairs(2 * reach_m, output_type="ndarray")
    pairs = pairs[bundle.views[pairs[:, 0]] != bundle.views[pairs[:, 1]]]
    cosine = np.einsum("nk,nk->n", bundle.directions[pairs[:, 0]], bundle.directions[pairs[:, 1]])
    pairs = pairs[np.abs(cosine) < np.cos(np.radians(MIN_ANGLE_DEG))]
    if not len(pairs):
        return np.empty((0, 2), np.int64), np.empty((0, 3)), np.empty(0)
    points, covariances, chi, ranges = _fix(bundle, pairs)
    meets = (chi.sum(1) <= gate(1, confidence)) & (ranges > 0).all(1) & (ranges < reach_m).all(1)
    meets &= np.linalg.eigvalsh(covariances)[:, -1] <= VAGUE_M**2
    return pairs[meets].astype(np.int64), points[meets], chi.sum(1)[meets]


def _support(
    bundle: _Bundle, seed: Ints, free: npt.NDArray[np.bool_], around: Ints, confidence: float
) -> tuple[Ints, Floats, Floats]:
    """The rays, at most one a view, that go through the meeting of `seed`; the point and its
    covariance."""
    group = seed
    for _ in range(2):
        points, covariances, _, _ = _fix(bundle, group[None, :])
        others = around[free[around] & ~np.isin(bundle.views[around], bundle.views[seed])]
        delta = points[0] - bundle.origins_m[others]
        ranges = np.einsum("nk,nk->n", delta, bundle.directions[others])
        axes = bundle.axes[others]
        residual = np.einsum("nik,nk->ni", axes, delta)
        variance = (
            bundle.across_m2[others]
            + (np.maximum(ranges, 0.5) * bundle.sigma_rad[others])[:, None, None] ** 2 * np.eye(2)
            + axes @ covariances[0] @ axes.transpose(0, 2, 1)
        )
        fit = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(variance), residual)
        good = (fit <= gate(2, confidence)) & (ranges > 0)
        order = np.argsort(fit[good], kind="stable")
        _, first = np.unique(bundle.views[others[good]][order], return_index=True)
        group = np.sort(np.concatenate([seed, others[good][order][first]]))
    points, covariances, _, _ = _fix(bundle, group[None, :])
    return group, points[0], covariances[0]


def _views_that_fit(
    bundle: _Bundle, points: Floats, around: list[Ints], confidence: float
) -> list[int]:
    """How many views have a ray that goes by each point, shape (h, 3), wherever its own error
    lets it."""
    h = np.repeat(np.arange(len(points)), [len(near) for near in around])
    rays = np.concatenate(around)
    delta = points[h] - bundle.origins_m[rays]
    ranges = np.einsum("nk,nk->n", delta, bundle.directions[rays])
    residual = np.einsum("nik,nk->ni", bundle.axes[rays], delta)
    # The point's own error is like the ray's: twice the variance.
    variance = bundle.across_m2[rays].trace(axis1=1, axis2=2) / 2
    variance = 2 * (variance + (np.maximum(ranges, 0.5) * bundle.sigma_rad[rays]) ** 2)
    fits = ((residual**2).sum(1) <= gate(2, confidence) * variance) & (ranges > 0)
    seen = np.unique(np.stack([h[fits], bundle.views[rays[fits]]], 1), axis=0)
    return np.bincount(seen[:, 0], minlength=len(points)).tolist()


def _intersections(
    bundle: _Bundle, confidence: float, reach_m: float
) -> tuple[list[_Cluster], list[str]]:
    pairs, points, misfits = _hypotheses(bundle, confidence, reach_m)
    free = np.ones(len(bundle.identifiers), bool)
    if not len(pairs):
        return [], list(bundle.identifiers)
    tree = KDTree(bundle.origins_m)
    around = [np.array(sorted(near), np.int64) for near in tree.query_ball_point(points, reach_m)]
    of_ray: dict[int, list[int]] = defaultdict(list)
    for h, (first, second) in enumerate(pairs.tolist()):
        of_ray[first].append(h)
        of_ray[second].append(h)

    # Counted generously first; a hypothesis is weighed exactly when its turn comes.
    supports = dict(enumerate(_views_that_fit(bundle, points, around, confidence)))
    heap = [(-views, float(misfits[h]), h) for h, views in supports.items()]
    heapq.heapify(heap)
    found: list[_Cluster] = []
    while heap:
        views, misfit, h = heapq.heappop(heap)
        if not free[pairs[h]].all():
            continue
        group, point, covariance = _support(bundle, pairs[h], free, around[h], confidence)
        if len(group) < -views:  # others took some of its rays
            supports[h] = len(group)
            heapq.heappush(heap, (-len(group), misfit, h))
            continue
        if len(group) == 2 and _is_ambiguous(bundle, pairs, points, of_ray, free, supports, h):
            continue
        free[group] = False
        information = _inverse(covariance)
        found.append(
            _Cluster(
                information,
                information @ point,
                tuple(bundle.identifiers[i] for i in group.tolist()),
                frozenset(bundle.view_names[i] for i in bundle.views[group].tolist()),
                True,
            )
        )
    left = [bundle.identifiers[i] for i in np.flatnonzero(free).tolist()]
    return sorted(found, key=lambda one: one.members), left


def _is_ambiguous(
    bundle: _Bundle,
    pairs: Ints,
    points: Floats,
    of_ray: dict[int, list[int]],
    free: npt.NDArray[np.bool_],
    supports: dict[int, int],
    h: int,
) -> bool:
    """Whether a ray of this pair meets another free one as well, somewhere else."""
    rivals = [
        r
        for ray in pairs[h].tolist()
        for r in of_ray[ray]
        if r != h and supports[r] >= 2 and free[pairs[r]].all()
    ]
    if not rivals:
        return False
    _, covariances, chi, _ = _fix(bundle, pairs[[h, *rivals]])
    elsewhere = points[rivals] - points[h]
    spread = covariances[0] + covariances[1:]
    distance2 = np.einsum(
        "nk,nk->n", elsewhere, np.linalg.solve(spread, elsewhere[..., None])[..., 0]
    )
    as_good = chi[1:].sum(1) - chi[0].sum() < _AS_GOOD
    return bool((as_good & (distance2 > gate(3))).any())
