"""Roads that do not exist, to try everything before real ones are imported: always labelled.

`synthetic_roads` connects all the communes of a département; `sample_roads` is a small network
whose crossings are known one by one. Both follow from their arguments alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import shapely

from souverain.territory.engine.referencing import Axis, chain_axes
from souverain.territory.engine.roads import (
    Floats,
    Ints,
    ReferencePosts,
    RoadNetwork,
    link_lengths_m,
)

CLEARANCE_M = 6.0
RING_RADIUS_M = 18.0
_BRIDGE_M = 25.0
"""Half the length of a bridge; its ramps end _RAMP_M from the middle."""
_RAMP_M = 120.0
_STEP_M = 45.0
_DEPARTMENTAL, _COMMUNAL, _CYCLE = "departmental", "communal", "cycleway"
_SHARES = {_DEPARTMENTAL: 0.66, _CYCLE: 0.05}
_LONGEST_M = 14_000.0
Strings = npt.NDArray[np.str_]
Terrain = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Crossing:
    """Where two roads cross; `kind`: `crossing` (they meet), `roundabout`, or `bridge` (one
    passes over the other and they do not meet)."""

    x_m: float
    y_m: float
    kind: str


@dataclass(frozen=True)
class SyntheticRoads:
    """`classes`, shape (n,): `departmental`, `communal` or `cycleway`, by link."""

    network: RoadNetwork
    classes: Strings
    posts: ReferencePosts
    crossings: tuple[Crossing, ...]

    @property
    def length_m(self) -> float:
        return float(link_lengths_m(self.network).sum())


@dataclass
class _Line:
    """A road before it is cut where it meets others. `over`: 0, 1, 2… the greater passes over."""

    vertices_m: Floats
    number: str
    road_class: str
    one_way: int = 0
    over: int = 0


@dataclass
class _Link:
    vertices_m: Floats
    line: _Line
    level: int = 0
    one_way: int = 0


def synthetic_roads(communes_m: Floats, total_m: float, seed: int) -> SyntheticRoads:
    """Roads between all these places, shape (n, 2), Lambert-93 (n ≥ 3), `total_m` long in all to
    within 2 %. Départementales with numbers and posts, two of them dual carriageways, communal
    roads, cycle routes; crossings, bridges, roundabouts."""
    rng = np.random.default_rng(seed)
    terrain = _terrain(rng)
    edges, spare = _departmental_edges(communes_m, total_m * _SHARES[_DEPARTMENTAL], rng)
    lines = _numbered(communes_m, edges, rng)
    lines += _dual_carriageways(communes_m, rng)
    lines += _cycle_routes(communes_m, total_m * _SHARES[_CYCLE], rng)
    lines += _communal(communes_m, spare, total_m - _length(lines), rng)

    def passes_over(a: _Line, b: _Line, _: Floats) -> bool:
        if 2 in (a.over, b.over):
            return True
        return bool(rng.random() < (0.3 if _CYCLE in (a.road_class, b.road_class) else 0.2))

    def is_ring(_: Floats) -> bool:
        return bool(rng.random() < 0.8)

    return _assemble(lines, terrain, passes_over, is_ring, rng)


def sample_roads(
    columns: int = 6, rows: int = 5, spacing_m: float = 600.0, seed: int = 0
) -> SyntheticRoads:
    """A lattice: roads D1, D2 … run east, D101, D102 … north, over a third of each other by
    bridges, a third by roundabouts, a third by crossings. D900 is a dual carriageway along the
    north; it passes over all the others and joins nothing but its own ends."""
    rng = np.random.default_rng(seed)
    origin = np.array([850_000.0, 6_690_000.0])
    east, north = np.arange(columns) * spacing_m, np.arange(rows) * spacing_m
    kinds = {}
    lines = []
    for r, y in enumerate(north):
        ends = origin + np.array([[-spacing_m / 2, y], [east[-1] + spacing_m / 2, y]])
        lines.append(_Line(_dense(ends), f"D{r + 1}", _DEPARTMENTAL, over=1))
        for x in east:
            kinds[tuple(np.round(origin + np.array([x, y])))] = rng.choice(
                ["bridge", "roundabout", ""]
            )
    top = float(north[-1]) + spacing_m
    for c, x in enumerate(east):
        ends = origin + np.array([[x, -spacing_m / 2], [x, top + spacing_m / 2]])
        lines.append(_Line(_dense(ends), f"D{101 + c}", _DEPARTMENTAL))
    lines += _dual(*(origin + np.array([[-spacing_m, top], [east[-1] + spacing_m, top]])), "D900")

    def passes_over(a: _Line, b: _Line, at: Floats) -> bool:
        return max(a.over, b.over) == 2 or kinds[tuple(np.round(at))] == "bridge"

    def is_ring(at: Floats) -> bool:
        return bool(kinds.get(tuple(np.round(at))) == "roundabout")

    return _assemble(lines, _terrain(rng), passes_over, is_ring, rng)


# --- where the roads run --------------------------------------------------------------------------


def _length(lines: Sequence[_Line]) -> float:
    return float(sum(_metres_along(line.vertices_m)[-1] for line in lines))


def _metres_along(vertices_m: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(vertices_m[:, :2], axis=0).T))])


def _terrain(rng: np.random.Generator) -> Terrain:
    """Smooth hills between 150 and 550 m."""
    waves = rng.uniform(2e-5, 2.5e-4, (6, 2)) * rng.choice([-1, 1], (6, 2))
    phases, heights = rng.uniform(0, 2 * np.pi, 6), np.array([80.0, 50, 30, 20, 12, 8])

    def height(xy_m: Floats) -> Floats:
        return np.asarray(350.0 + np.sin(xy_m @ waves.T + phases) @ heights)

    return height


def _dense(vertices_m: Floats) -> Floats:
    line = shapely.segmentize(shapely.linestrings(vertices_m), _STEP_M)
    return np.asarray(shapely.get_coordinates(line))


def _winding(a: Floats, b: Floats, rng: np.random.Generator, bend: float = 1.0) -> Floats:
    """From a to b with a few gentle bends."""
    length = float(np.hypot(*(b - a)))
    t = np.linspace(0.0, 1.0, max(int(length / _STEP_M), 2) + 1)
    sizes = bend * length * np.array([0.035, 0.02, 0.012]) * rng.normal(0, 1, 3).clip(-2, 2)
    aside = np.sin(np.pi * t[:, None] * [1, 2, 3]) @ sizes
    forward = (b - a) / max(length, 1.0)
    path = a + t[:, None] * (b - a) + aside[:, None] * [-forward[1], forward[0]]
    path[0], path[-1] = a, b
    return np.asarray(path)


def _departmental_edges(
    places: Floats, length_m: float, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Pairs of communes to join: a spanning tree, then the shortest others until the length is
    there; and the pairs that are left, shape (k, 2)."""
    triangles = shapely.delaunay_triangles(shapely.multipoints(places), only_edges=True)
    ends = np.array([line.coords for line in triangles.geoms])
    index = {tuple(place): number for number, place in enumerate(places.tolist())}
    pairs = np.array([[index[tuple(point)] for point in line] for line in ends.tolist()])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    order = np.argsort(lengths, kind="stable")
    group = list(range(len(places)))

    def root(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    tree = np.zeros(len(pairs), dtype=bool)
    for edge in order:
        a, b = (root(int(place)) for place in pairs[edge])
        tree[edge], group[a] = a != b, b
    price = np.where(tree, -1.0, lengths * rng.uniform(0.8, 1.2, len(pairs)))
    order = np.argsort(price, kind="stable")
    kept = tree[order] | (np.cumsum(lengths[order]) * 1.02 < length_m)
    kept &= tree[order] | (lengths[order] < _LONGEST_M)
    spare = ~kept & (lengths[order] < _LONGEST_M)
    return pairs[order[kept]], pairs[order[spare]]


def _numbered(places: Floats, edges: Ints, rng: np.random.Generator) -> list[_Line]:
    """Each edge goes on into the straightest of the next place; the longest road is D971."""
    paired = _straight_on(places, edges)
    roads: list[list[Floats]] = []
    seen: set[int] = set()
    for first in range(len(edges)):
        if first in seen:
            continue
        chain = _chain(edges, paired, first)
        seen |= {edge for edge, _ in chain}
        ends = [edges[edge][:: 1 if forward else -1] for edge, forward in chain]
        roads.append([_winding(places[a], places[b], rng) for a, b in ends])
    roads.sort(key=lambda parts: -sum(float(_metres_along(part)[-1]) for part in parts))
    numbers = ["D971", *(f"D{n}" for n in range(1, len(roads) + 1) if n not in (700, 905, 971))]
    return [
        _Line(part, number, _DEPARTMENTAL, over=1)
        for number, parts in zip(numbers, roads, strict=False)
        for part in parts
    ]


def _straight_on(places: Floats, edges: Ints) -> dict[tuple[int, int], int]:
    """(edge, place) → the edge that goes straight on there."""
    at: dict[int, list[int]] = defaultdict(list)
    for edge, (a, b) in enumerate(edges.tolist()):
        at[a].append(edge)
        at[b].append(edge)
    paired: dict[tuple[int, int], int] = {}
    for place, members in at.items():
        others = np.array([sum(edges[edge]) - place for edge in members])
        way = places[others] - places[place]
        way = way / np.hypot(*way.T)[:, None]
        bends = [
            (float(way[i] @ way[j]), members[i], members[j])
            for i in range(len(members))
            for j in range(i)
        ]
        for cosine, one, other in sorted(bends):
            if cosine < -0.7 and (one, place) not in paired and (other, place) not in paired:
                paired[one, place], paired[other, place] = other, one
    return paired


def _chain(edges: Ints, paired: dict[tuple[int, int], int], first: int) -> list[tuple[int, bool]]:
    """The edges of a road in order, from one end (or around, when it has none)."""
    edge, place = first, int(edges[first][0])
    for _ in range(len(edges)):
        before = paired.get((edge, place))
        if before is None or before == first:
            break
        edge, place = before, int(sum(edges[before])) - place
    chain = []
    for _ in range(len(edges)):
        forward = int(edges[edge][0]) == place
        chain.append((edge, forward))
        place = int(sum(edges[edge])) - place
        after = paired.get((edge, place))
        if after is None or any(after == done for done, _ in chain):
            break
        edge = after
    return chain


def _dual_carriageways(places: Floats, rng: np.random.Generator) -> list[_Line]:
    """Two straight roads with separate carriageways, about a fifth of the département long."""
    size = float(np.ptp(places, axis=0).max())
    lines: list[_Line] = []
    for number in ("D700", "D905"):
        a = places[rng.integers(len(places))]
        away = np.abs(np.hypot(*(places - a).T) - size / 5)
        lines += _dual(a, places[int(away.argmin())], number)
    return lines


def _dual(a: Floats, b: Floats, number: str) -> list[_Line]:
    """One carriageway each way, 16 m apart, which meet at both ends."""
    length = float(np.hypot(*(b - a)))
    forward = (b - a) / length
    right = np.array([forward[1], -forward[0]])
    taper = min(200.0, length / 4)
    inner = [a + taper * forward, b - taper * forward]
    lines = []
    for side in (1.0, -1.0):
        path = _dense(np.array([a, *(point + side * 8.0 * right for point in inner), b]))
        lines.append(
            _Line(path if side > 0 else path[::-1], number, _DEPARTMENTAL, one_way=1, over=2)
        )
    return lines


def _cycle_routes(places: Floats, length_m: float, rng: np.random.Generator) -> list[_Line]:
    """Long routes from commune to commune, apart from the roads between."""
    lines: list[_Line] = []
    while length_m - _length(lines) > 1_000.0 and len(lines) < 400:
        place = int(rng.integers(len(places)))
        heading = rng.uniform(0, 2 * np.pi)
        number = f"V{50 + len({line.number for line in lines})}"
        for _ in range(12):
            way = places - places[place]
            far = np.hypot(*way.T)
            ahead = way @ [np.sin(heading), np.cos(heading)]
            fit = np.where((far > 5_000) & (ahead > 0.7 * far), np.abs(far - 9_000), np.inf)
            following = int(fit.argmin())
            if not np.isfinite(fit[following]):
                break
            path = _winding(places[place], places[following], rng, bend=1.5)
            lines.append(_Line(path, number, _CYCLE, over=0))
            place = following
            if _length(lines[-1:]) > length_m - _length(lines):
                return lines
    return lines


def _communal(
    places: Floats, spare: Ints, length_m: float, rng: np.random.Generator
) -> list[_Line]:
    """Roads between communes that no départementale joins, then lanes to hamlets, in turn from
    every commune, until the length is there."""
    lines: list[_Line] = []
    left = length_m
    for a, b in places[spare]:
        if left < length_m * 0.4:
            break
        lines.append(_Line(_winding(a, b, rng), "", _COMMUNAL))
        left -= _length(lines[-1:])
    turns = rng.permutation(len(places))
    for lane in range(100 * len(places)):
        if left < 100.0:
            break
        start = places[turns[lane % len(places)]]
        size, heading = min(rng.uniform(500.0, 2_500.0), left), rng.uniform(0, 2 * np.pi)
        end = start + size * np.array([np.sin(heading), np.cos(heading)])
        lines.append(_Line(_winding(start, end, rng), "", _COMMUNAL))
        left -= _length(lines[-1:])
    return lines


# --- where they meet ------------------------------------------------------------------------------


def _assemble(
    lines: list[_Line],
    terrain: Terrain,
    passes_over: Callable[[_Line, _Line, Floats], bool],
    is_ring: Callable[[Floats], bool],
    rng: np.random.Generator,
) -> SyntheticRoads:
    """Cut the lines where they meet, put bridges where they do not, rings at some nodes."""
    meetings = _meetings(lines)
    alongs: dict[int, list[float]] = defaultdict(list)
    for i, j, along_i, along_j, _ in meetings:
        alongs[i].append(along_i)
        alongs[j].append(along_j)
    cuts: dict[int, list[tuple[float, Floats]]] = defaultdict(list)
    bridges: dict[int, list[float]] = defaultdict(list)
    crossings = []
    for i, j, along_i, along_j, at in meetings:
        upper, along = (i, along_i) if lines[i].over >= lines[j].over else (j, along_j)
        over = passes_over(lines[i], lines[j], at)
        if over and _has_room(lines[upper], along, np.array(alongs[upper])):
            bridges[upper].append(along)
            crossings.append(Crossing(float(at[0]), float(at[1]), "bridge"))
        else:
            cuts[i].append((along_i, at))
            cuts[j].append((along_j, at))
    links = [
        link
        for number, line in enumerate(lines)
        for link in _cut(line, cuts[number], bridges[number], terrain)
    ]
    links, meets = _with_rings(links, is_ring)
    network = _network(links)
    classes = np.array([link.line.road_class for link in links])
    return SyntheticRoads(network, classes, _posts(network, rng), (*crossings, *meets))


Meeting = tuple[int, int, float, float, Floats]


def _meetings(lines: list[_Line]) -> list[Meeting]:
    """Every place where two lines cross, but for their common ends: the lines, the metres along
    each, the place."""
    shapes = shapely.linestrings(
        np.concatenate([line.vertices_m for line in lines]),
        indices=np.repeat(range(len(lines)), [len(line.vertices_m) for line in lines]),
    )
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = np.stack([first, second], 1)[first < second]
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    common = shapely.intersection(shapes[pairs[:, 0]], shapes[pairs[:, 1]])
    points, owner = shapely.get_coordinates(common, return_index=True)
    found: list[Meeting] = []
    for at, (i, j) in zip(points, pairs[owner], strict=True):
        ends = np.stack([lines[n].vertices_m[[0, -1]] for n in (i, j)])
        apart = np.hypot(*(ends - at).transpose(2, 0, 1)).min(axis=1)
        if apart.max() < 1.0:
            continue
        if apart.min() < 1.0:  # a line ends on the other: they meet at its very end
            flat = ends.reshape(-1, 2)
            at = flat[int(np.hypot(*(flat - at).T).argmin())]
        place = shapely.points(at)
        along_i, along_j = (float(shapely.line_locate_point(shapes[n], place)) for n in (i, j))
        found.append((int(i), int(j), along_i, along_j, at))
    return found


def _has_room(line: _Line, along_m: float, meetings_m: Floats) -> bool:
    """Whether a bridge and its ramps fit there, clear of the line's ends and other meetings."""
    reach = _RAMP_M + _BRIDGE_M + 10.0
    alone = int(np.sum(np.abs(meetings_m - along_m) < reach)) == 1
    return alone and reach < along_m < _length([line]) - reach


def _cut(
    line: _Line, cuts: list[tuple[float, Floats]], bridges: list[float], terrain: Terrain
) -> list[_Link]:
    """The line's links, with heights: one for each bridge (level 1), the others between."""
    along = _metres_along(line.vertices_m)
    length = float(along[-1])
    cuts = sorted((cut for cut in cuts if 0.5 < cut[0] < length - 0.5), key=lambda cut: cut[0])
    steps = (-_RAMP_M, -_BRIDGE_M, _BRIDGE_M, _RAMP_M)
    extra = [*(cut[0] for cut in cuts), *(at + step for at in bridges for step in steps)]
    metres = np.unique(np.concatenate([along, extra]))
    xy = np.stack([np.interp(metres, along, line.vertices_m[:, axis]) for axis in (0, 1)], 1)
    for metre, at in cuts:  # exactly there, on both lines
        xy[np.searchsorted(metres, metre)] = at
    z = terrain(xy)
    for at in bridges:
        ramp = (_RAMP_M - np.abs(metres - at)) / (_RAMP_M - _BRIDGE_M)
        z = z + CLEARANCE_M * ramp.clip(0.0, 1.0)
    borders = np.unique(
        [0.0, length, *(cut[0] for cut in cuts)]
        + [at + step for at in bridges for step in (-_BRIDGE_M, _BRIDGE_M)]
    )
    vertices = np.column_stack([xy, z])
    links = []
    for low, high in pairwise(borders):
        first, last = np.searchsorted(metres, low), np.searchsorted(metres, high)
        level = int(any(abs((low + high) / 2 - at) < 1.0 for at in bridges))
        links.append(_Link(vertices[first : last + 1], line, level, line.one_way))
    return links


def _with_rings(
    links: list[_Link], is_ring: Callable[[Floats], bool]
) -> tuple[list[_Link], list[Crossing]]:
    """Put a roundabout at the nodes that are chosen and have room for it; tell all crossings."""
    ends: dict[tuple[float, float], list[tuple[_Link, bool]]] = defaultdict(list)
    for link in links:
        ends[_node(link.vertices_m[0])].append((link, True))
        ends[_node(link.vertices_m[-1])].append((link, False))
    crossings = []
    rings: list[_Link] = []
    for place, arms in sorted(ends.items(), key=lambda item: item[0]):
        if len(arms) < 3:
            continue
        ring = _fits_ring(arms) and is_ring(np.array(place))
        crossings.append(Crossing(*place, "roundabout" if ring else "crossing"))
        if ring:
            rings += _ring(np.array(place), arms)
    return links + rings, crossings


def _node(vertex_m: Floats) -> tuple[float, float]:
    x, y = np.round(vertex_m[:2], 3)
    return float(x), float(y)


def _fits_ring(arms: list[tuple[_Link, bool]]) -> bool:
    lines = [link.line for link, _ in arms]
    if len(arms) > 6 or not any(line.road_class == _DEPARTMENTAL for line in lines):
        return False
    if any(
        line.one_way or line.road_class == _CYCLE or link.level
        for line, (link, _) in zip(lines, arms, strict=True)
    ):
        return False
    if min(float(_metres_along(link.vertices_m)[-1]) for link, _ in arms) < 5 * RING_RADIUS_M:
        return False
    ways = np.sort([_heading(link, first) for link, first in arms])
    gaps = np.diff(ways, append=ways[0] + 2 * np.pi)
    return bool(gaps.min() > np.radians(35.0))


def _heading(link: _Link, first: bool) -> float:
    """Of an arm as it leaves the node, measured on the ring, anticlockwise from east."""
    path = link.vertices_m if first else link.vertices_m[::-1]
    x, y, _ = _trimmed(path)[0] - path[0]
    return float(np.arctan2(y, x))


def _trimmed(path: Floats) -> Floats:
    along = _metres_along(path)
    start = [np.interp(RING_RADIUS_M, along, path[:, axis]) for axis in range(3)]
    return np.concatenate([[start], path[along > RING_RADIUS_M]])


def _ring(centre: Floats, arms: list[tuple[_Link, bool]]) -> list[_Link]:
    """One-way arcs from arm to arm, anticlockwise; the arms now end on them."""
    numbers = [link.line.number for link, _ in arms if link.line.number]
    line = _Line(np.empty((0, 2)), max(sorted(numbers), key=numbers.count), _DEPARTMENTAL)
    arms = sorted(arms, key=lambda arm: _heading(*arm))
    mouths = []
    for link, first in arms:
        path = _trimmed(link.vertices_m if first else link.vertices_m[::-1])
        link.vertices_m = path if first else path[::-1]
        mouths.append(path[0])
    arcs = []
    for a, b in zip(mouths, mouths[1:] + mouths[:1], strict=True):
        from_, to = (np.arctan2(*(mouth[:2] - centre)[::-1]) for mouth in (a, b))
        turn = (to - from_) % (2 * np.pi)
        t = np.linspace(0.0, 1.0, max(int(turn / 0.3), 1) + 1)[:, None]
        radius = np.hypot(*(a[:2] - centre)) * (1 - t) + np.hypot(*(b[:2] - centre)) * t
        angle = from_ + t * turn
        xy = centre + radius * np.concatenate([np.cos(angle), np.sin(angle)], 1)
        arc = np.column_stack([xy, a[2] * (1 - t) + b[2] * t])
        arc[0], arc[-1] = a, b
        arcs.append(_Link(arc, line, one_way=1))
    return arcs


def _network(links: list[_Link]) -> RoadNetwork:
    nodes: dict[tuple[float, float], int] = {}
    ends = [
        [nodes.setdefault(_node(link.vertices_m[at]), len(nodes)) for at in (0, -1)]
        for link in links
    ]
    return RoadNetwork(
        vertices_m=np.concatenate([link.vertices_m for link in links]),
        starts=np.concatenate([[0], np.cumsum([len(link.vertices_m) for link in links])]),
        nodes=np.array(ends, dtype=np.int64),
        numbers=np.array([link.line.number for link in links]),
        levels=np.array([link.level for link in links], dtype=np.int8),
        one_way=np.array([link.one_way for link in links], dtype=np.int8),
        identifiers=np.array([f"S{number:06}" for number in range(1, len(links) + 1)]),
    )


def _posts(network: RoadNetwork, rng: np.random.Generator) -> ReferencePosts:
    """About every kilometre (900 to 1,100 m) along each départementale, beside the road."""
    axes, _ = chain_axes(network)
    following: dict[str, int] = defaultdict(int)
    rows: list[tuple[str, int, str, float, float]] = []
    on_main: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for number, axis in enumerate(axes):
        if axis.main != number or not axis.road.startswith("D"):
            continue
        metres = 0.0
        while metres <= axis.length_m:
            pr = following[axis.road]
            following[axis.road] += 1
            on_main[number].append((metres, pr))
            rows.append((axis.road, pr, *_beside(axis, metres, rng)))
            metres += rng.uniform(900.0, 1_100.0)
    for number, axis in enumerate(axes):
        begin, end = axis.span_m
        if axis.main == number:
            continue
        for metres, pr in on_main[axis.main]:
            along = (metres - begin) * axis.length_m / max(end - begin, 1.0)
            if 100.0 < along < axis.length_m - 100.0:
                along += rng.uniform(-5.0, 5.0)
                rows.append((axis.road, pr, *_beside(axis, along, rng)))
    roads, prs, sides, xs, ys = zip(*rows, strict=True)
    return ReferencePosts(
        np.array(roads), np.array(prs, np.int64), np.array(sides), np.column_stack([xs, ys])
    )


def _beside(axis: Axis, metres: float, rng: np.random.Generator) -> tuple[str, float, float]:
    """The side's letter and the place of a post some 4 m from the axis."""
    segment = min(int(np.searchsorted(axis.along_m, metres, "right")), len(axis.travel)) - 1
    a, b = axis.vertices_m[segment : segment + 2, :2]
    forward = (b - a) / np.hypot(*(b - a))
    ratio = metres - axis.along_m[segment]
    way = int(axis.travel[segment])
    aside = rng.uniform(3.5, 4.5) * (1.0 if way >= 0 else -1.0)
    x, y = a + ratio * forward + aside * np.array([forward[1], -forward[0]])
    return {1: "D", -1: "G", 0: "C"}[way], float(x), float(y)
