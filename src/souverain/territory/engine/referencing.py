"""Linear referencing: from a place to road, post, abscissa and side, and back.

The links of one number are chained into *axes*. The main axis of a road runs from one end to the
other as one drives it towards growing posts; where the carriageways part (dual carriageways,
roundabouts, one-way pairs), the way back is an axis of its own, side G. What remains (a branch)
is an axis too. Along an axis, the *abscissa* is true metres from the post before. On a left
carriageway two stretches are drawn together, so that a position names one place: all of it where
it has no post of its own (both sides then say the same where they part and join), and after its
last post where it is longer there than the right one.

A link without a number is an axis by itself, named by its identifier.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from souverain.territory.engine.roads import (
    NO_POSTS,
    Floats,
    Ints,
    ReferencePosts,
    RoadNetwork,
    RoadPosition,
    link_lengths_m,
)

REACH_M = 50.0
"""Farther than that from every axis, a place is on no road."""
POST_REACH_M = 60.0
GAP_M = 150.0
SHORT_M = 200.0
"""One-way remains of a numbered road shorter than that (ramps, arcs of a ring) have no axis."""
_WRONG_WAY = 20.0
_MAX_TURNS = 40
_AT_POST_M = 0.001
_MAX_PR = 1 << 20
_MAX_PAIRS = 4_000_000
_NO_PR = -1
_UNREACHED = 9
_SPACING_M = 1e7
Strings = npt.NDArray[np.str_]
Step = tuple[int, bool]
"""A link, and whether it is followed as drawn."""


@dataclass(frozen=True)
class UnplacedPost:
    """A post that calibrates nothing: its index among those given, and why, in French."""

    index: int
    reason: str


@dataclass(frozen=True)
class Located:
    """Road positions as arrays, shape (n,) each; `axis` is -1 where no road is near.
    `pr` is -1 on a road without posts."""

    axis: Ints
    pr: Ints
    abscissa_m: Floats
    side: Strings
    distance_m: Floats
    xyz_m: Floats
    """Shape (n, 3): the nearest point of the axis."""


@dataclass
class Axis:
    """One carriageway from end to end. `measure`: knots (metres along the axis, measure), shape (k, 2), both growing; `posts`:
    (measure, PR), in the order of measures."""

    road: str
    vertices_m: Floats
    along_m: Floats
    travel: npt.NDArray[np.int8]
    """Of each segment: 1 driven towards growing posts only, -1 against only, 0 both ways."""
    measure: Floats
    posts: list[tuple[float, int]]
    main: int = -1
    """For a left carriageway, the axis from which it parts; its own number otherwise."""
    span_m: tuple[float, float] = (0.0, 0.0)
    """For a left carriageway, where it parts and joins again, in metres along `main`."""

    @property
    def length_m(self) -> float:
        return float(self.along_m[-1])

    @property
    def carriageway(self) -> str:
        if self.travel.min() == self.travel.max() != 0:
            return "D" if self.travel[0] > 0 else "G"
        return "C"


class Referencing:
    """The axes of a network, calibrated; immutable once built. `unplaced` are the posts that
    could not be used."""

    def __init__(
        self, network: RoadNetwork, posts: ReferencePosts = NO_POSTS, departement: str = ""
    ) -> None:
        self.departement = departement
        axes, self.unplaced = chain_axes(network, posts)
        self.roads: Strings = np.array([axis.road for axis in axes], dtype="U40")
        self._names = {name: number for number, name in enumerate(dict.fromkeys(self.roads))}
        self._fill_lines(axes)
        self._fill_posts(axes)
        self._fill_left(axes)
        self._grid = _Grid(self._start_xyz[:, :2], self._end_xyz[:, :2])

    def _fill_lines(self, axes: list[Axis]) -> None:
        empty = np.empty((0, 3))
        self._start_xyz = np.concatenate([empty, *(axis.vertices_m[:-1] for axis in axes)])
        self._end_xyz = np.concatenate([empty, *(axis.vertices_m[1:] for axis in axes)])
        counts = np.array([len(axis.travel) for axis in axes], dtype=np.int64)
        self._axis_of_segment = np.repeat(np.arange(len(axes)), counts)
        self._first_segment = np.concatenate([[0], np.cumsum(counts)])
        self._travel = np.concatenate([np.empty(0, np.int8), *(axis.travel for axis in axes)])
        self._start_m = np.concatenate([np.empty(0), *(axis.along_m[:-1] for axis in axes)])
        self._length_m = np.concatenate([np.empty(0), *(np.diff(a.along_m) for a in axes)])
        self._axis_length_m = np.array([axis.length_m for axis in axes])
        self._segment_key = self._axis_of_segment * _SPACING_M + self._start_m

    def _fill_posts(self, axes: list[Axis]) -> None:
        knots = [axis.measure for axis in axes]
        knot_axis = np.repeat(np.arange(len(axes)), [len(k) for k in knots])
        self._knots = np.concatenate([np.empty((0, 2)), *knots])
        self._first_knot = np.concatenate([[0], np.cumsum([len(k) for k in knots])]).astype(int)
        base = self._knots[self._first_knot[knot_axis]] if len(axes) else self._knots
        self._knot_key = (knot_axis[:, None] * _SPACING_M + self._knots - base).T.copy()
        counts = [len(axis.posts) for axis in axes]
        self._first_post = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        table = [post for axis in axes for post in axis.posts]
        self._post_measure = np.array([measure for measure, _ in table], dtype=float)
        self._post_pr = np.array([pr for _, pr in table], dtype=np.int64)
        self._post_axis = np.repeat(np.arange(len(axes)), counts)
        self._post_key = self._post_axis * _SPACING_M + self._post_measure

    def _fill_left(self, axes: list[Axis]) -> None:
        """What the way back needs: the entry of each (road, PR), the main axes first."""
        road_of_axis = np.array([self._names[axis.road] for axis in axes], dtype=np.int64)
        self._road_of_axis = road_of_axis
        self._is_left = np.array([axis.main != i for i, axis in enumerate(axes)], dtype=bool)
        self._carriageway = np.array([axis.carriageway for axis in axes], dtype="U1")
        keys = _key(road_of_axis[self._post_axis], self._post_pr)
        without_posts = np.diff(self._first_post) == 0
        # The main axes of a road without posts count on from one to the next.
        self._bare_axis = np.flatnonzero(without_posts & ~self._is_left)
        begins = self._knots[self._first_knot[self._bare_axis], 1]
        self._bare_key = road_of_axis[self._bare_axis] * _SPACING_M + begins
        order = np.argsort(self._bare_key, kind="stable")
        self._bare_axis, self._bare_key = self._bare_axis[order], self._bare_key[order]
        # Their left carriageways are looked up beside the posts: « PR » -1, measured from zero.
        bare = np.flatnonzero(without_posts & self._is_left)
        self._entry_axis = np.concatenate([self._post_axis, bare]).astype(np.int64)
        self._entry_measure = np.concatenate([self._post_measure, np.zeros(len(bare))])
        entry_key = np.concatenate([keys, _key(road_of_axis[bare], _NO_PR)])
        order = np.argsort(entry_key, kind="stable")
        self._entry_axis, self._entry_measure = (
            self._entry_axis[order],
            self._entry_measure[order],
        )
        self._entry_key = entry_key[order]

    def locate(self, xy_m: Floats) -> Located:
        """The nearest axis of each place, shape (n, 2), Lambert-93, within REACH_M."""
        xy_m = np.asarray(xy_m, float).reshape(-1, 2)
        xy_m = np.where(np.isfinite(xy_m), xy_m, np.nan)
        segment, ratio, distance_m = self._grid.nearest(xy_m)
        found = segment >= 0
        at = np.where(found, segment, 0)
        if not len(self._length_m):
            return _nowhere(len(xy_m))
        start, end = self._start_xyz[at], self._end_xyz[at]
        foot = start + ratio[:, None] * (end - start)
        along = self._start_m[at] + ratio * self._length_m[at]
        axis = np.where(found, self._axis_of_segment[at], -1)
        measure = self._measure_at(axis, along)
        pr, abscissa = self._from_post(axis, measure)
        dx, dy = (end - start)[:, 0], (end - start)[:, 1]
        cross = dx * (xy_m[:, 1] - start[:, 1]) - dy * (xy_m[:, 0] - start[:, 0])
        by_cross = np.where(distance_m < 0.005, "C", np.where(cross > 0, "G", "D"))
        travel = self._travel[at]
        side = np.where(travel > 0, "D", np.where(travel < 0, "G", by_cross))
        foot[~found] = np.nan
        return Located(axis, pr, abscissa, side, distance_m, foot)

    def positions(self, xy_m: Floats) -> list[RoadPosition | None]:
        """As `locate`, one object for each place; None where no road is near."""
        found = self.locate(xy_m)
        names = self.roads[found.axis] if len(self.roads) else found.side
        columns = (
            names.tolist(),
            found.axis.tolist(),
            found.pr.tolist(),
            found.abscissa_m.tolist(),
            found.side.tolist(),
            found.distance_m.tolist(),
            found.xyz_m.tolist(),
        )
        return [
            RoadPosition(
                road,
                self.departement,
                None if pr == _NO_PR else pr,
                abscissa_m,
                side,
                distance_m,
                foot[0],
                foot[1],
            )
            if axis >= 0
            else None
            for road, axis, pr, abscissa_m, side, distance_m, foot in zip(*columns, strict=True)
        ]

    def points(
        self,
        roads: Sequence[str] | Strings,
        prs: Sequence[int | None] | Ints,
        abscissas_m: npt.ArrayLike,
        sides: Sequence[str] | Strings,
    ) -> Floats:
        """The points of the axes at these positions, shape (n, 3): Lambert-93 and height (NaN
        where unknown); NaN in all three where there is no such position. `prs`: None or -1 on a
        road without posts."""
        number = np.array([self._names.get(road, -1) for road in roads], dtype=np.int64)
        pr = np.array([_NO_PR if p is None else p for p in prs], dtype=np.int64)
        abscissa = np.asarray(abscissas_m, float)
        side = np.asarray(sides, dtype="U1")
        number[(pr < _NO_PR) | (pr > _MAX_PR)] = -1
        left = np.searchsorted(self._entry_key, _key(number, pr), "left")
        right = np.searchsorted(self._entry_key, _key(number, pr), "right")
        best_axis = np.full(len(number), -1, dtype=np.int64)
        best_along = np.zeros(len(number))
        best_rank = np.full(len(number), _UNREACHED)

        def consider(which: Ints, axis: Ints, measure: Floats) -> None:
            along = self._along_at(axis, measure)
            rank = self._rank(axis, along, side[which])
            # The same metres may lie on two axes: on the one where they would be said so, first.
            rank += 2 * (self._from_post(axis, measure)[0] != pr[which])
            better = rank < best_rank[which]
            chosen = which[better]
            best_axis[chosen], best_along[chosen] = axis[better], along[better]
            best_rank[chosen] = rank[better]

        for turn in range(int((right - left).max(initial=0))):
            which = np.flatnonzero(left + turn < right)
            entry = (left + turn)[which]
            consider(which, self._entry_axis[entry], self._entry_measure[entry] + abscissa[which])
        if len(self._bare_axis):
            at = np.searchsorted(self._bare_key, number * _SPACING_M + abscissa + 0.01, "right") - 1
            axis = self._bare_axis[np.maximum(at, 0)]
            which = np.flatnonzero(
                (pr == _NO_PR) & (at >= 0) & (self._road_of_axis[axis] == number)
            )
            consider(which, axis[which], abscissa[which])
        return self._point(best_axis, best_along)

    def _rank(self, axis: Ints, along_m: Floats, side: Strings) -> Ints:
        """How well an entry answers: 0 best; _UNREACHED when its axis does not reach there."""
        on_side = np.where(self._carriageway[axis] == side, 0, 2)
        on_side = np.where(self._carriageway[axis] == "C", 1, on_side)
        # The carriageway where the position falls counts, not only the axis as a whole.
        travel = self._travel[self._segment_at(axis, along_m)]
        wrong = ((travel > 0) & (side == "G")) | ((travel < 0) & (side != "G"))
        outside = (along_m < -0.01) | (along_m > self._axis_length_m[axis] + 0.01)
        return np.where(outside, _UNREACHED, on_side + 3 * wrong).astype(np.int64)

    def _segment_at(self, axis: Ints, along_m: Floats) -> Ints:
        key = axis * _SPACING_M + np.clip(along_m, 0.0, None)
        found = np.searchsorted(self._segment_key, key, "right") - 1
        return np.clip(found, self._first_segment[axis], self._first_segment[axis + 1] - 1)

    def _point(self, axis: Ints, along_m: Floats) -> Floats:
        known = axis >= 0
        if not len(self._length_m):
            return np.full((len(axis), 3), np.nan)
        at = self._segment_at(np.where(known, axis, 0), along_m)
        length = np.where(self._length_m[at] > 0, self._length_m[at], 1.0)
        ratio = np.clip((along_m - self._start_m[at]) / length, 0.0, 1.0)[:, None]
        xyz = self._start_xyz[at] + ratio * (self._end_xyz[at] - self._start_xyz[at])
        xyz[~known] = np.nan
        return np.asarray(xyz)

    def _measure_at(self, axis: Ints, along_m: Floats) -> Floats:
        return self._interpolate(axis, along_m, 0, 1)

    def _along_at(self, axis: Ints, measure: Floats) -> Floats:
        return self._interpolate(axis, measure, 1, 0)

    def _interpolate(self, axis: Ints, value: Floats, given: int, wanted: int) -> Floats:
        """Along the knots of each axis; beyond its ends in the same proportion as there."""
        safe = np.maximum(axis, 0)
        origin = self._knots[self._first_knot[safe], given]
        at = np.searchsorted(
            self._knot_key[given], safe * _SPACING_M + np.clip(value - origin, 0.0, None), "right"
        )
        at = np.clip(at - 1, self._first_knot[safe], self._first_knot[safe + 1] - 2)
        x0, x1 = self._knots[at, given], self._knots[at + 1, given]
        y0, y1 = self._knots[at, wanted], self._knots[at + 1, wanted]
        return np.asarray(y0 + (value - x0) * (y1 - y0) / (x1 - x0))

    def _from_post(self, axis: Ints, measure: Floats) -> tuple[Ints, Floats]:
        """The last post at or before each measure (the first one, where there is none)."""
        safe = np.maximum(axis, 0)
        first, last = self._first_post[safe], self._first_post[safe + 1]
        bare = first == last
        if not len(self._post_pr):
            return np.full(len(axis), _NO_PR), measure
        key = safe * _SPACING_M + measure + _AT_POST_M
        at = np.searchsorted(self._post_key, key, "right") - 1
        at = np.where(bare, 0, np.clip(at, first, np.maximum(last - 1, first)))
        pr = np.where(bare, _NO_PR, self._post_pr[at])
        return pr, np.where(bare, measure, measure - self._post_measure[at])


def _key(road: Ints, pr: Ints | int) -> Ints:
    return np.asarray(road * (1 << 21) + pr + 1)


def _nowhere(count: int) -> Located:
    return Located(
        np.full(count, -1),
        np.full(count, _NO_PR),
        np.full(count, np.nan),
        np.full(count, "C"),
        np.full(count, np.nan),
        np.full((count, 3), np.nan),
    )


class _Grid:
    """The segments by the square of REACH_M in which they lie: the nearest within REACH_M is in
    the nine squares about a place."""

    def __init__(self, start_m: Floats, end_m: Floats) -> None:
        self._start, self._end = start_m, end_m
        self._cells, self._segments = _cells_of(start_m, end_m)

    def nearest(self, xy_m: Floats) -> tuple[Ints, Floats, Floats]:
        """Of each place: the segment (-1: none), the ratio along it, the distance in metres."""
        count = len(xy_m)
        segment = np.full(count, -1, dtype=np.int64)
        ratio, distance = np.zeros(count), np.full(count, np.nan)
        usable = np.flatnonzero(np.isfinite(xy_m).all(axis=1) & (np.abs(xy_m) < 1e8).all(axis=1))
        column, row = np.floor(xy_m[usable] / REACH_M).astype(np.int64).T
        low = np.stack([_cell(column - 1, row + step) for step in (-1, 0, 1)], 1)
        begin = np.searchsorted(self._cells, low, "left")
        sizes = np.searchsorted(self._cells, low + 2, "right") - begin
        loads = np.cumsum(sizes.sum(axis=1))
        done = 0
        while done < len(usable):
            before = loads[done - 1] if done else 0
            stop = max(int(np.searchsorted(loads, before + _MAX_PAIRS, "right")), done + 1)
            part = slice(done, stop)
            best = self._nearest_of(xy_m[usable[part]], begin[part], sizes[part])
            segment[usable[part]], ratio[usable[part]], distance[usable[part]] = best
            done = stop
        return segment, ratio, distance

    def _nearest_of(self, xy: Floats, begin: Ints, sizes: Ints) -> tuple[Ints, Floats, Floats]:
        count = len(xy)
        flat_sizes = sizes.ravel()
        offsets = np.cumsum(flat_sizes) - flat_sizes
        pairs = np.arange(flat_sizes.sum()) + np.repeat(begin.ravel() - offsets, flat_sizes)
        place = np.repeat(np.repeat(np.arange(count), 3), flat_sizes)
        candidate = self._segments[pairs]
        ax, ay = self._start[candidate].T
        dx, dy = (self._end[candidate] - self._start[candidate]).T
        px, py = xy[place].T
        square = dx * dx + dy * dy
        ratio = ((px - ax) * dx + (py - ay) * dy) / np.where(square > 0, square, 1.0)
        ratio = np.clip(ratio, 0.0, 1.0)
        apart = np.hypot(px - ax - ratio * dx, py - ay - ratio * dy)
        order = np.lexsort((candidate, apart, place))
        first = order[np.unique(place[order], return_index=True)[1]]
        first = first[apart[first] <= REACH_M]
        segment = np.full(count, -1, dtype=np.int64)
        along, distance = np.zeros(count), np.full(count, np.nan)
        segment[place[first]] = candidate[first]
        along[place[first]], distance[place[first]] = ratio[first], apart[first]
        return segment, along, distance


def _cell(column: Ints, row: Ints) -> Ints:
    return row * (1 << 32) + column


def _cells_of(start_m: Floats, end_m: Floats) -> tuple[Ints, Ints]:
    """The squares that each segment touches: its pieces of REACH_M at most, by their boxes."""
    pieces = np.ceil(np.hypot(*(end_m - start_m).T) / REACH_M).astype(np.int64).clip(1)
    segment = np.repeat(np.arange(len(start_m)), pieces)
    rank = np.arange(len(segment)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    step = (end_m - start_m)[segment] / pieces[segment][:, None]
    a = start_m[segment] + rank[:, None] * step
    b = a + step
    low = np.floor(np.minimum(a, b) / REACH_M).astype(np.int64)
    high = np.floor(np.maximum(a, b) / REACH_M).astype(np.int64)
    cells, segments = [], []
    for right in (0, 1):
        for up in (0, 1):
            inside = (low[:, 0] + right <= high[:, 0]) & (low[:, 1] + up <= high[:, 1])
            cells.append(_cell(low[inside, 0] + right, low[inside, 1] + up))
            segments.append(segment[inside])
    cell, owner = np.concatenate(cells), np.concatenate(segments)
    order = np.argsort(cell, kind="stable")
    return cell[order], owner[order]


# --- from links to axes --------------------------------------------------------------------------


def chain_axes(
    network: RoadNetwork, posts: ReferencePosts = NO_POSTS
) -> tuple[list[Axis], list[UnplacedPost]]:
    """The axes of every road, main axes before their left carriageways, calibrated by the posts;
    and the posts that could not be used."""
    by_road: dict[str, list[int]] = defaultdict(list)
    lengths = link_lengths_m(network)
    for link, (number, length) in enumerate(zip(network.numbers.tolist(), lengths, strict=True)):
        if length > 0:
            by_road[number].append(link)
    axes = [_single(network, link, lengths) for link in by_road.pop("", [])]
    for index, axis in enumerate(axes):
        axis.main = index
    posts_by_road: dict[str, list[int]] = defaultdict(list)
    for index, road in enumerate(posts.roads.tolist()):
        posts_by_road[road].append(index)
    unplaced = [
        UnplacedPost(index, f"la route {road} n'est pas dans le réseau")
        for road in posts_by_road.keys() - by_road.keys()
        for index in posts_by_road[road]
    ]
    for road, links in by_road.items():
        one = _Road(road, network, lengths, links, posts, posts_by_road.get(road, []))
        for axis in one.axes:
            axis.main += len(axes)
        axes += one.axes
        unplaced += one.unplaced
    return axes, sorted(unplaced, key=lambda post: post.index)


def _single(network: RoadNetwork, link: int, lengths: Floats) -> Axis:
    return _axis(str(network.identifiers[link]), network, [(link, True)])


def _axis(road: str, network: RoadNetwork, steps: list[Step]) -> Axis:
    parts, travel = [], []
    for rank, (link, forward) in enumerate(steps):
        part = network.vertices_m[network.starts[link] : network.starts[link + 1]]
        part = part if forward else part[::-1]
        parts.append(part if rank == 0 else part[1:])
        way = int(network.one_way[link]) * (1 if forward else -1)
        travel.append(np.full(len(part) - 1, way, dtype=np.int8))
    vertices = np.concatenate(parts)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(vertices[:, :2], axis=0).T))])
    moved = np.concatenate([[True], np.diff(along) > 0])
    vertices, along = vertices[moved], along[moved]
    ways = np.concatenate(travel)[moved[1:]]
    knots = np.array([[0.0, 0.0], [along[-1], along[-1]]])
    return Axis(road, vertices, along, ways, knots, [])


class _Road:
    """One number's axes, main axes first and each followed by its left carriageways."""

    def __init__(
        self,
        road: str,
        network: RoadNetwork,
        lengths: Floats,
        links: list[int],
        posts: ReferencePosts,
        indices: list[int],
    ) -> None:
        self.road, self.network, self.lengths = road, network, lengths
        self.posts, self.indices = posts, indices
        self.axes: list[Axis] = []
        self.unplaced: list[UnplacedPost] = []
        self.direction: Floats | None = None
        self._index_of: dict[tuple[float, int], int] = {}
        remaining = sorted(self._components(links), key=self._weight, reverse=True)
        for turn in range(_MAX_TURNS):
            remaining = [
                part for component in remaining for part in self._take(component, whole=turn == 0)
            ]
        for link in itertools.chain.from_iterable(remaining):  # no road branches as often as that
            self._take([link], whole=False)
        self._calibrate()

    def _weight(self, links: list[int]) -> tuple[bool, float]:
        """Components that hold posts first: they say which way the others run."""
        return bool(self._near(links)), float(self.lengths[links].sum())

    def _near(self, links: list[int]) -> list[int]:
        if not self.indices:
            return []
        lines = shapely.multilinestrings([self._line(link) for link in links])
        shapely.prepare(lines)
        places = shapely.points(self.posts.xy_m[self.indices])
        hits = shapely.dwithin(lines, places, POST_REACH_M)
        return [index for index, hit in zip(self.indices, hits, strict=True) if hit]

    def _line(self, link: int) -> shapely.LineString:
        start, stop = self.network.starts[link : link + 2]
        return shapely.linestrings(self.network.vertices_m[start:stop, :2])

    def _components(self, links: Iterable[int]) -> list[list[int]]:
        adjacency = self._adjacency(links)
        seen: set[int] = set()
        found: list[list[int]] = []
        for first in sorted(adjacency):
            if first in seen:
                continue
            seen.add(first)
            stack, members = [first], set()
            while stack:
                for link, other, _ in adjacency[stack.pop()]:
                    members.add(link)
                    if other not in seen:
                        seen.add(other)
                        stack.append(other)
            found.append(sorted(members))
        return found

    def _adjacency(self, links: Iterable[int]) -> dict[int, list[tuple[int, int, bool]]]:
        adjacency: dict[int, list[tuple[int, int, bool]]] = defaultdict(list)
        for link in links:
            a, b = (int(node) for node in self.network.nodes[link])
            adjacency[a].append((link, b, True))
            adjacency[b].append((link, a, False))
        return adjacency

    def _take(self, component: list[int], whole: bool) -> list[list[int]]:
        """Make the axes of a component; returns what is left of it, as components."""
        if not whole and self._is_scrap(component):
            return []
        adjacency = self._adjacency(component)
        ends = self._ends(adjacency)
        steps = self._drive(adjacency, *ends)
        if not steps:  # a ring with one node
            steps = [(max(component, key=lambda link: self.lengths[link]), True)]
            ends = (int(self.network.nodes[steps[0][0], 0]),) * 2
        axis = _axis(self.road, self.network, steps)
        if self._runs_backwards(axis, component):
            ends = ends[::-1]
            steps = self._drive(adjacency, *ends) or [(steps[0][0], False)]
            axis = _axis(self.road, self.network, steps)
        if self.direction is None:
            self.direction = axis.vertices_m[-1, :2] - axis.vertices_m[0, :2]
        number = axis.main = len(self.axes)
        self.axes.append(axis)
        used = {link for link, _ in steps}
        back = [(link, not forward) for link, forward in self._drive(adjacency, *ends[::-1])[::-1]]
        used |= self._add_lefts(number, steps, back)
        return self._components(link for link in component if link not in used)

    def _is_scrap(self, component: list[int]) -> bool:
        one_way = self.network.one_way[component] != 0
        return bool(one_way.all()) and float(self.lengths[component].sum()) < SHORT_M

    def _ends(self, adjacency: dict[int, list[tuple[int, int, bool]]]) -> tuple[int, int]:
        """The two nodes farthest apart along the links (two sweeps)."""
        start = min(adjacency)
        first = self._farthest(adjacency, start)
        return first, self._farthest(adjacency, first)

    def _farthest(self, adjacency: dict[int, list[tuple[int, int, bool]]], start: int) -> int:
        reached = self._sweep(adjacency, start, None)
        return max(reached, key=lambda node: (reached[node][0], -node))

    def _drive(
        self, adjacency: dict[int, list[tuple[int, int, bool]]], start: int, end: int
    ) -> list[Step]:
        """The shortest way from one node to another, against a one-way only if there is no other."""
        if start == end:
            return []
        reached = self._sweep(adjacency, start, end)
        steps: list[Step] = []
        node = end
        while node != start:
            _, link, forward, node = reached[node]
            steps.append((link, forward))
        return steps[::-1]

    def _sweep(
        self, adjacency: dict[int, list[tuple[int, int, bool]]], start: int, end: int | None
    ) -> dict[int, tuple[float, int, bool, int]]:
        """Dijkstra: node → (cost, link, as drawn, node before). Without `end`, plain lengths."""
        reached = {start: (0.0, -1, True, start)}
        closed: set[int] = set()
        queue = [(0.0, start)]
        while queue:
            cost, node = heapq.heappop(queue)
            if node in closed:
                continue
            closed.add(node)
            if node == end:
                break
            for link, other, forward in adjacency[node]:
                way = self.network.one_way[link]
                wrong = end is not None and way != 0 and (way > 0) != forward
                price = cost + self.lengths[link] * (_WRONG_WAY if wrong else 1.0)
                if other not in reached or price < reached[other][0]:
                    reached[other] = (price, link, forward, node)
                    heapq.heappush(queue, (price, other))
        return reached

    def _runs_backwards(self, axis: Axis, component: list[int]) -> bool:
        """By its posts; without any, by the way of the road's other axes; otherwise a road runs
        eastwards (northwards when due north)."""
        near = self._near(component)
        prs = self.posts.prs[near] if near else np.empty(0, np.int64)
        if len(np.unique(prs)) > 1:
            line = shapely.linestrings(axis.vertices_m[:, :2])
            along = shapely.line_locate_point(line, shapely.points(self.posts.xy_m[near]))
            agreement = np.sum(
                np.sign(prs[:, None] - prs[None, :]) * np.sign(along[:, None] - along[None, :])
            )
            if agreement != 0:
                return bool(agreement < 0)
        run = axis.vertices_m[-1, :2] - axis.vertices_m[0, :2]
        if self.direction is not None and float(run @ self.direction) != 0:
            return float(run @ self.direction) < 0
        return tuple(run) < (0.0, 0.0)

    def _add_lefts(self, number: int, steps: list[Step], back: list[Step]) -> set[int]:
        """The parts of the way back that are not on the way there: left carriageways."""
        there, main = self.axes[number], {link for link, _ in steps}
        along = self._along_of_nodes(steps)
        used: set[int] = set()
        reached = 0.0
        run: list[Step] = []
        for step in [*back, None]:
            if step is not None and step[0] not in main:
                run.append(step)
                continue
            if run:
                begin, end = self._tail(run[0]), self._tail(run[-1], last=True)
                span = (along.get(begin, 0.0), along.get(end, 0.0))
                if begin in along and end in along and reached <= span[0] < span[1]:
                    reached = span[1]
                    left = _axis(self.road, self.network, run)
                    left.main = number
                    left.span_m = span
                    # There, side says which of the two axes is meant, also where one may be
                    # driven both ways.
                    left.travel[:] = -1
                    beside = (there.along_m[:-1] > span[0] - 0.01) & (
                        there.along_m[1:] < span[1] + 0.01
                    )
                    there.travel[beside] = 1
                    self.axes.append(left)
                    used |= {link for link, _ in run}
            run = []
        return used

    def _tail(self, step: Step, last: bool = False) -> int:
        return int(self.network.nodes[step[0], int(step[1] == last)])

    def _along_of_nodes(self, steps: list[Step]) -> dict[int, float]:
        total, found = 0.0, {self._tail(steps[0]): 0.0}
        for step in steps:
            total += float(self.lengths[step[0]])
            found[self._tail(step, last=True)] = total
        return found

    # --- posts ---

    def _calibrate(self) -> None:
        placed = self._place_posts()
        mains = [axis for number, axis in enumerate(self.axes) if axis.main == number]
        for axis in mains:
            axis.posts = self._in_order(placed.get(axis.main, []))
        self._drop_repeated(mains)
        bare = self._continue_posts(mains)
        offset = 0.0
        for axis in bare:  # counted on from one axis to the next, so that none says the same
            axis.measure[:, 1] += offset
            offset += axis.length_m + 1.0
        for number, axis in enumerate(self.axes):
            if axis.main != number:
                self._calibrate_left(axis, placed.get(number, []))

    def _continue_posts(self, mains: list[Axis]) -> list[Axis]:
        """A part without posts goes on counting from the part that ends where it begins (or
        begins where it ends), over a gap of GAP_M at most: a ring that bears another number.
        Each end goes on once. Returns the parts that found none."""
        bare = [axis for axis in mains if not axis.posts]
        ends = [axis for axis in mains if axis.posts]
        starts = list(ends)
        while ends or starts:
            ends = [next_ for axis in ends if (next_ := self._go_on(axis, bare, mains, True))]
            starts = [next_ for axis in starts if (next_ := self._go_on(axis, bare, mains, False))]
        return bare

    def _go_on(self, axis: Axis, bare: list[Axis], mains: list[Axis], forward: bool) -> Axis | None:
        """Calibrate, and take out of `bare`, the part that continues an axis."""
        at, other_at = (-1, 0) if forward else (0, -1)
        end = axis.vertices_m[at, :2]
        apart = [float(np.hypot(*(other.vertices_m[other_at, :2] - end))) for other in bare]
        if not apart or min(apart) > GAP_M:
            return None
        following = bare.pop(int(np.argmin(apart)))
        post, pr = axis.posts[at]
        # The other carriageway may say the same post a little farther: clear of that too.
        told = [
            float(other.measure[at, 1]) - other.posts[at][0]
            for other in mains
            if other.posts and other.posts[at][1] == pr
        ]
        if forward:
            begin = max(float(axis.measure[-1, 1]) - post + min(apart), *told)
        else:
            begin = min(float(axis.measure[0, 1]) - post - min(apart), *told) - following.length_m
        following.posts = [(0.0, pr)]
        following.measure = np.array(
            [[0.0, begin], [following.length_m, begin + following.length_m]]
        )
        return following

    def _place_posts(self) -> dict[int, list[tuple[float, int, int]]]:
        """axis → (metres along it, PR, index) of the posts that stand by it."""
        placed: dict[int, list[tuple[float, int, int]]] = defaultdict(list)
        if not self.indices:
            return placed
        lines = shapely.linestrings(
            np.concatenate([axis.vertices_m[:, :2] for axis in self.axes]),
            indices=np.repeat(range(len(self.axes)), [len(a.vertices_m) for a in self.axes]),
        )
        for index in self.indices:
            place = shapely.points(self.posts.xy_m[index])
            apart = shapely.distance(lines, place)
            near = np.flatnonzero(apart <= min(POST_REACH_M, apart.min() + 30.0))
            if not len(near):
                away = f"à {apart.min():.0f} m de la route {self.road}"
                self.unplaced.append(UnplacedPost(index, away))
                continue
            side = str(self.posts.sides[index])
            axis = min(near, key=lambda n: (self._mismatch(int(n), side), apart[n], n))
            along = float(shapely.line_locate_point(lines[axis], place))
            if self.posts.abscissas_m is not None:
                along -= float(self.posts.abscissas_m[index])
            placed[int(axis)].append((along, int(self.posts.prs[index]), index))
        return placed

    def _mismatch(self, number: int, side: str) -> bool:
        """Whether a post of this side is not looked for on that axis."""
        return (self.axes[number].carriageway == "G") != (side == "G")

    def _in_order(self, posts: list[tuple[float, int, int]]) -> list[tuple[float, int]]:
        """The longest run of posts whose numbers grow along the axis; the others are set aside."""
        posts = sorted(posts, key=lambda post: (post[0], -post[1]))
        kept = _longest_growing([pr for _, pr, _ in posts])
        for rank, (_, pr, index) in enumerate(posts):
            if rank not in kept:
                self.unplaced.append(UnplacedPost(index, f"PR {pr} en double ou hors d'ordre"))
        self._index_of |= {(posts[rank][0], posts[rank][1]): posts[rank][2] for rank in kept}
        return [(posts[rank][0], posts[rank][1]) for rank in sorted(kept)]

    def _drop_repeated(self, mains: list[Axis]) -> None:
        """A post's number names one place of the road: one on each of two separate carriageways
        at most."""
        seen: dict[int, set[str]] = defaultdict(set)
        parted = {axis.main for number, axis in enumerate(self.axes) if axis.main != number}
        for axis in mains:
            own, kept = "C" if axis.main in parted else axis.carriageway, []
            for post in axis.posts:
                if seen[post[1]] <= {"D", "G"} - {own} and (own != "C" or not seen[post[1]]):
                    kept.append(post)
                else:
                    reason = f"PR {post[1]} est déjà sur une autre partie de la {self.road}"
                    self.unplaced.append(UnplacedPost(self._index_of[post], reason))
            for _, pr in kept:
                seen[pr].add(own)
            axis.posts = kept

    def _calibrate_left(self, axis: Axis, placed: list[tuple[float, int, int]]) -> None:
        main = self.axes[axis.main]
        begin, end = (metres + float(main.measure[0, 1]) for metres in axis.span_m)
        own = self._in_order(self._abreast(axis, placed, end))
        if not own:
            axis.measure = np.array([[0.0, begin], [axis.length_m, end]])
            axis.posts = list(main.posts)
            return
        before = [
            post for post in main.posts if post[0] <= begin + _AT_POST_M and post[1] < own[0][1]
        ]
        first_along, (last_along, last_pr) = own[0][0], own[-1]
        lead = first_along
        if not any(begin < at <= end for at, _ in main.posts):
            lead = min(first_along, end - begin)  # the right one counts on from the same post
        rest = axis.length_m - last_along
        meets = next((end - at for at, pr in main.posts if pr == last_pr), rest)
        shift = begin + lead - first_along
        knots = [(first_along, shift + first_along)]
        if first_along > 0:
            knots.insert(0, (0.0, begin))
        if last_along > first_along:
            knots.append((last_along, shift + last_along))
        if rest > 0:
            knots.append((axis.length_m, shift + last_along + min(meets, rest)))
        axis.measure = np.array(knots)
        axis.posts = before + [(shift + along, pr) for along, pr in own]

    def _abreast(
        self, axis: Axis, placed: list[tuple[float, int, int]], end: float
    ) -> list[tuple[float, int, int]]:
        """A left carriageway's posts, without those that the right one has somewhere else."""
        right = {pr: end - at for at, pr in self.axes[axis.main].posts}
        others = {
            pr
            for number, other in enumerate(self.axes)
            if other.main == number != axis.main
            for _, pr in other.posts
        }
        span = axis.span_m[1] - axis.span_m[0]
        kept = []
        for along, pr, index in placed:
            rest = axis.length_m - along
            if not 0 <= along <= axis.length_m or (
                pr in others
                or (pr in right and not 0.2 * rest < right[pr] < min(5.0 * rest + 100.0, span))
            ):
                away = f"PR {pr} n'est pas au même endroit sur les deux chaussées"
                self.unplaced.append(UnplacedPost(index, away))
            else:
                kept.append((along, pr, index))
        return kept


def _longest_growing(values: list[int]) -> set[int]:
    """Indices of a longest strictly growing subsequence (patience sorting, Schensted 1961)."""
    tails: list[int] = []
    before: list[int] = []
    for index, value in enumerate(values):
        low, high = 0, len(tails)
        while low < high:
            middle = (low + high) // 2
            if values[tails[middle]] < value:
                low = middle + 1
            else:
                high = middle
        before.append(tails[low - 1] if low else -1)
        tails[low : low + 1] = [index]
    found: set[int] = set()
    index = tails[-1] if tails else -1
    while index >= 0:
        found.add(index)
        index = before[index]
    return found
