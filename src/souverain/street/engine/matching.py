"""Which road link each panorama of a drive is on: a hidden Markov model over the links near it.

Source: Newson and Krumm, *Hidden Markov map matching through noise and sparseness* (2009), with
two more observations than position: the course (a link that runs elsewhere is unlikely) and the
height above the link (a bridge and the road beneath have the same place and, sometimes, course).
Costs are negative log-likelihoods without their constants. The height of the camera above the
road, and of its datum above the roads', is one unknown of a campaign: the median takes it out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from souverain.territory.engine.roads import RoadNetwork, link_lengths_m

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REACH_M = 20.0
SIGMA_M = 4.0
"""Of the distance from a link's axis: half a lane, and the axis's own error."""
SIGMA_COURSE_DEG = 15.0
SIGMA_Z_M = 1.5
_WORST = 18.0  # one observation alone never forbids a link
_WRONG_WAY = 4.0
_STEP_M = (0.5, 40.0)  # between panoramas that tell a course


@dataclass(frozen=True)
class Matched:
    """Each of shape (n,). `link` is -1 where no link is near; then the others mean nothing."""

    link: Ints
    along_m: Floats
    """From the link's beginning, as it is drawn."""
    offset_m: Floats
    """From the axis; positive to the right of the drawing's direction."""
    forward: Bools
    """Driven as the link is drawn."""


@dataclass(frozen=True)
class _Candidates:
    point: Ints
    link: Ints
    along_m: Floats
    offset_m: Floats
    forward: Bools
    cost: Floats


def feet(network: RoadNetwork, matched: Matched) -> tuple[Floats, Floats]:
    """The point of the link's axis by each panorama, shape (n, 2), and the link's direction there,
    degrees from north, shape (n,); NaN where it is on no link."""
    place = np.full((len(matched.link), 2), np.nan)
    bearing = np.full(len(matched.link), np.nan)
    on = matched.link >= 0
    place[on], bearing[on], _ = _on_links(network, matched.link[on], matched.along_m[on])
    return place, bearing


def courses(xy_m: Floats, sequence: Ints, heading_deg: Floats) -> Floats:
    """The direction of travel at each panorama, degrees from grid north, shape (n,): of the chord
    from the one before to the one after of its sequence (which are side by side, in order); the
    camera's heading where a panorama is alone."""
    count = len(xy_m)
    if count == 0:
        return np.empty(0)
    step = np.diff(xy_m, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    joined = (np.diff(sequence) == 0) & (length > _STEP_M[0]) & (length < _STEP_M[1])
    step = np.where(joined[:, None], step, 0.0)
    chord = np.zeros((count, 2))
    chord[:-1] += step
    chord[1:] += step
    alone = np.hypot(chord[:, 0], chord[:, 1]) < _STEP_M[0]
    course = np.degrees(np.arctan2(chord[:, 0], chord[:, 1]))
    return np.asarray(np.where(alone, heading_deg, course) % 360.0)


def match(
    network: RoadNetwork,
    xy_m: Floats,
    z_m: Floats,
    sequence: Ints,
    course_deg: Floats,
) -> Matched:
    """Panoramas, shape (n, 2) and (n,) each (`z_m` NaN where unknown), those of a sequence side by
    side and in order, put on the links of a network. Courses are from grid north."""
    count = len(xy_m)
    nothing = Matched(np.full(count, -1), np.zeros(count), np.zeros(count), np.ones(count, bool))
    if count == 0 or len(network.starts) < 2:
        return nothing
    found = _candidates(network, xy_m, z_m, course_deg)
    begins = np.searchsorted(found.point, np.arange(count + 1))
    step = np.hypot(*np.diff(xy_m, axis=0, append=xy_m[-1:]).T)
    chain = np.append(np.diff(sequence) == 0, False)
    lengths = link_lengths_m(network)
    from souverain.street.engine.viterbi import viterbi  # numba: only to match

    chosen = viterbi(
        begins, found.link, found.along_m, found.cost, lengths, step, chain, *_graph(network),
    )  # fmt: skip
    placed = chosen >= 0
    for name in ("link", "along_m", "offset_m", "forward"):
        getattr(nothing, name)[placed] = getattr(found, name)[chosen[placed]]
    return nothing


def _candidates(network: RoadNetwork, xy_m: Floats, z_m: Floats, course_deg: Floats) -> _Candidates:
    """Every link within reach of every point, with what each observation makes of it."""
    lengths = np.diff(network.starts)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    lines = shapely.linestrings(network.vertices_m[:, :2], indices=owner)
    points = shapely.points(xy_m)
    point, link = shapely.STRtree(lines).query(points, predicate="dwithin", distance=REACH_M)
    order = np.lexsort((link, point))
    point, link = point[order], link[order]
    along = shapely.line_locate_point(lines[link], points[point])
    on_link, bearing, height = _on_links(network, link, along)

    away = xy_m[point] - on_link
    direction = np.radians(bearing)
    offset = away[:, 0] * np.cos(direction) - away[:, 1] * np.sin(direction)
    distance = np.hypot(away[:, 0], away[:, 1])
    cost = distance**2 / (2 * SIGMA_M**2)

    turn = np.abs((course_deg[point] - bearing + 180.0) % 360.0 - 180.0)
    forward = turn <= 90.0
    turn = np.where(forward, turn, 180.0 - turn)
    cost += np.minimum(turn**2 / (2 * SIGMA_COURSE_DEG**2), _WORST)
    way = network.one_way[link]
    cost += np.where((way != 0) & ((way > 0) != forward), _WRONG_WAY, 0.0)

    rise = z_m[point] - height
    by_height = np.minimum((rise - _usual_rise(rise, point)) ** 2 / (2 * SIGMA_Z_M**2), _WORST)
    cost += np.where(np.isfinite(by_height), by_height, 0.0)
    return _Candidates(point, link, along, offset, forward, cost)


def _usual_rise(rise: Floats, point: Ints) -> float:
    """The median height above the link of the panoramas that have one link alone in reach; NaN
    where none has a known height."""
    _, first, count = np.unique(point, return_index=True, return_counts=True)
    alone = rise[first[count == 1]]
    known = alone[np.isfinite(alone)]
    return float(np.median(known)) if len(known) else float("nan")


def _on_links(network: RoadNetwork, link: Ints, along_m: Floats) -> tuple[Floats, Floats, Floats]:
    """At a distance along links: the point, shape (n, 2), the link's direction there (degrees from
    north), and its height (NaN where unknown)."""
    vertices = network.vertices_m
    step = np.hypot(*np.diff(vertices[:, :2], axis=0).T)
    # Metres from the first vertex of all: growing along every link.
    total = np.concatenate([[0.0], np.cumsum(step)])
    at = total[network.starts[link]] + along_m
    segment = np.searchsorted(total, at, side="right") - 1
    segment = np.clip(segment, network.starts[link], network.starts[link + 1] - 2)
    a, b = vertices[segment], vertices[segment + 1]
    length = step[segment]
    share = np.clip((at - total[segment]) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    place = a + (b - a) * share[:, None]
    bearing = np.degrees(np.arctan2(b[:, 0] - a[:, 0], b[:, 1] - a[:, 1]))
    return place[:, :2], bearing, place[:, 2]


def _graph(network: RoadNetwork) -> tuple[Ints, Ints, Ints]:
    """Nodes numbered from 0, shape (n, 2); and the link ends at each (`2 link + end`), those of
    node `i` from `begins[i]` to `begins[i + 1]`."""
    _, nodes = np.unique(network.nodes, return_inverse=True)
    flat = nodes.reshape(-1)
    ends = np.argsort(flat, kind="stable")
    begins = np.searchsorted(flat[ends], np.arange(flat.max() + 2))
    return flat.reshape(-1, 2), begins, ends
