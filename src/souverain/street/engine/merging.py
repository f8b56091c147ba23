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

from souverain.street.engine import triangulation
from souverain.street.engine.triangulation import Bundles, cross_matrix

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.999
"""Share of the true pairs that the gate lets through."""
REACH_M = 30.0
"""Beyond this, a ray of a panorama tells nothing about a road's furniture."""
VAGUE_M = 3.0
"""An estimate whose worst sigma is above this is merged with nothing."""
_AS_GOOD = 3.841459  # 95 % of a χ² of one dimension
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


@dataclass(frozen=True)
class Sighted:
    """One view points at an object of one kind. The view is the ray's camera, by its key."""

    identifier: str
    kind: str
    ray: triangulation.Ray

    @property
    def view(self) -> str:
        return str(self.ray.camera.key)


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
    from scipy.special import gammaincinv

    return float(2 * gammaincinv(dimensions / 2, confidence))  # of a χ²


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
    from scipy.spatial import KDTree

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
class _Sightings:
    """The rays of one kind as arrays, in the order of their identifiers."""

    identifiers: tuple[str, ...]
    views: Ints
    """Shape (n,): indices of `view_names`."""
    view_names: tuple[str, ...]
    rays: Bundles
    """n sets of one ray."""
    axes: Floats
    """Shape (n, 2, 3): two unit vectors across each ray."""

    @property
    def starts_m(self) -> Floats:
        return self.rays.positions_m[:, 0]

    def off(self, chosen: Ints, points_m: Floats) -> tuple[Floats, Floats, Floats]:
        """How points, shape (n, 3) or (3,), lie off some rays: metres across, shape (n, 2), the
        covariance that the rays give it, shape (n, 2, 2), and how far along, shape (n,)."""
        rays, axes = self.rays[chosen], self.axes[chosen]
        delta = points_m - rays.positions_m[:, 0]
        along = np.einsum("nk,nk->n", delta, rays.directions[:, 0])
        turned = cross_matrix(rays.directions[:, 0]) * along[:, None, None]
        full = rays.position_m2[:, 0] + turned @ rays.rotation_rad2[:, 0] @ turned.mT
        return np.einsum("nik,nk->ni", axes, delta), axes @ full @ axes.mT, along

    def meet(self, groups: Ints) -> triangulation.Intersections:
        """Where groups of m rays meet, shape (g, m)."""
        rays = self.rays
        return triangulation.intersect(
            Bundles(
                rays.positions_m[groups, 0],
                rays.directions[groups, 0],
                rays.position_m2[groups, 0],
                rays.rotation_rad2[groups, 0],
            )
        )


def merge_rays(
    rays: Iterable[Sighted], confidence: float = CONFIDENCE, reach_m: float = REACH_M
) -> Merged:
    """Find the objects that rays of different views meet at.

    Each two rays of one kind that meet are a hypothesis; the one that the most views support is
    taken first, its rays are spent, and so on: a crossing of rays of two different objects is
    seldom supported by a third view. Where two views alone cannot tell which rays go together,
    nothing is placed and the rays are `unplaced`. Raises ValueError as `merge_positions` does.
    """
    by_kind: dict[str, list[Sighted]] = defaultdict(list)
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
        of_kind = sorted(by_kind[kind], key=lambda ray: ray.identifier)
        clusters, left = _intersections(_sightings(of_kind), confidence, reach_m)
        items += [_item(kind, cluster) for cluster in clusters]
        doubts += _doubts(kind, clusters, confidence)
        unplaced += left
    return Merged(tuple(items), tuple(doubts), tuple(sorted(unplaced)))


def _sightings(seen: Sequence[Sighted]) -> _Sightings:
    for one in seen:
        camera = one.ray.camera
        numbers = (
            *camera.position_m,
            *(camera.heading_deg, camera.pitch_deg, camera.roll_deg),
            *(one.ray.yaw_deg, one.ray.elevation_deg),
        )
        sigmas = (camera.sigma_xy_m, camera.sigma_z_m, one.ray.sigma_click_deg)
        if not (np.isfinite(numbers).all() and np.isfinite(sigmas).all() and min(sigmas) > 0):
            raise ValueError(f"the ray {one.identifier} points nowhere")
    names = tuple(sorted({one.view for one in seen}))
    number = {name: i for i, name in enumerate(names)}
    rays = triangulation.bundle_of([one.ray for one in seen])
    each = Bundles(*(np.swapaxes(array, 0, 1) for array in vars(rays).values()))
    return _Sightings(
        tuple(one.identifier for one in seen),
        np.array([number[one.view] for one in seen], np.int64),
        names,
        each,
        triangulation.across(each.directions[:, 0]).mT,
    )


def _hypotheses(
    seen: _Sightings, confidence: float, reach_m: float
) -> tuple[Ints, triangulation.Intersections]:
    """The pairs of rays of two views that meet within reach, shape (h, 2), and where."""
    from scipy.spatial import KDTree

    pairs = KDTree(seen.starts_m).query_pairs(2 * reach_m, output_type="ndarray").astype(np.int64)
    pairs = pairs[seen.views[pairs[:, 0]] != seen.views[pairs[:, 1]]]
    met = seen.meet(pairs)
    good = np.array([reason is None for reason in met.refused], bool)
    good &= (met.chi2 <= gate(1, confidence)) & (met.depths_m < reach_m).all(1)
    return pairs[good], seen.meet(pairs[good])


def _support(
    seen: _Sightings, seed: Ints, free: npt.NDArray[np.bool_], around: Ints, confidence: float
) -> tuple[Ints, Floats, Floats]:
    """The rays, at most one a view, that go through the meeting of `seed`; the point and its
    covariance."""
    group = seed
    others = around[free[around] & ~np.isin(seen.views[around], seen.views[seed])]
    for _ in range(2):
        met = seen.meet(group[None, :])
        residual, variance, along = seen.off(others, met.points_m[0])
        axes = seen.axes[others]
        variance = variance + axes @ met.covariance_m2[0] @ axes.mT
        fit = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(variance), residual)
        good = (fit <= gate(2, confidence)) & (along > 0)
        order = np.argsort(fit[good], kind="stable")
        _, first = np.unique(seen.views[others[good]][order], return_index=True)
        group = np.sort(np.concatenate([seed, others[good][order][first]]))
    met = seen.meet(group[None, :])
    return group, met.points_m[0], met.covariance_m2[0]


def _views_that_fit(
    seen: _Sightings, points_m: Floats, around: list[Ints], confidence: float
) -> list[int]:
    """How many views have a ray that goes by each point, shape (h, 3), wherever its own error
    lets it."""
    h = np.repeat(np.arange(len(points_m)), [len(near) for near in around])
    rays = np.concatenate(around)
    residual, variance, along = seen.off(rays, points_m[h])
    # The point's own error is like the ray's: twice the variance.
    fit = np.einsum("ni,nij,nj->n", residual, np.linalg.inv(2 * variance), residual)
    fits = (fit <= gate(2, confidence)) & (along > 0)
    views = np.unique(np.stack([h[fits], seen.views[rays[fits]]], 1), axis=0)
    return [int(count) for count in np.bincount(views[:, 0], minlength=len(points_m))]


def _intersections(
    seen: _Sightings, confidence: float, reach_m: float
) -> tuple[list[_Cluster], list[str]]:
    """The objects that rays of one kind meet at, and the rays that are left."""
    from scipy.spatial import KDTree

    pairs, met = _hypotheses(seen, confidence, reach_m)
    free = np.ones(len(seen.identifiers), bool)
    if not len(pairs):
        return [], list(seen.identifiers)
    near = KDTree(seen.starts_m).query_ball_point(met.points_m, reach_m)
    around = [np.array(sorted(rays), np.int64) for rays in near]
    of_ray: dict[int, list[int]] = defaultdict(list)
    for h, (first, second) in enumerate(pairs.tolist()):
        of_ray[first].append(h)
        of_ray[second].append(h)
    # Counted generously first; a hypothesis is weighed exactly when its turn comes.
    supports = dict(enumerate(_views_that_fit(seen, met.points_m, around, confidence)))
    heap = [(-views, float(met.chi2[h]), h) for h, views in supports.items()]
    heapq.heapify(heap)
    found: list[_Cluster] = []
    while heap:
        views, misfit, h = heapq.heappop(heap)
        if not free[pairs[h]].all():
            continue
        group, point, covariance = _support(seen, pairs[h], free, around[h], confidence)
        if len(group) < -views:  # others took some of its rays
            supports[h] = len(group)
            heapq.heappush(heap, (-len(group), misfit, h))
            continue
        if len(group) == 2 and _is_ambiguous(met, pairs, of_ray, free, supports, h):
            continue
        free[group] = False
        information = _inverse(covariance)
        found.append(
            _Cluster(
                information,
                information @ point,
                tuple(seen.identifiers[i] for i in group.tolist()),
                frozenset(seen.view_names[i] for i in seen.views[group].tolist()),
                True,
            )
        )
    left = [seen.identifiers[i] for i in np.flatnonzero(free).tolist()]
    return sorted(found, key=lambda one: one.members), left


def _is_ambiguous(
    met: triangulation.Intersections,
    pairs: Ints,
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
    delta = met.points_m[rivals] - met.points_m[h]
    spread = met.covariance_m2[h] + met.covariance_m2[rivals]
    distance2 = np.einsum("nk,nk->n", delta, np.linalg.solve(spread, delta[..., None])[..., 0])
    as_good = met.chi2[rivals] - met.chi2[h] < _AS_GOOD
    return bool((as_good & (distance2 > gate(3))).any())
