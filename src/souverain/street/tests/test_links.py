"""Links follow the roads: all the turns that there are, and none that there is not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import shapely

from souverain.street.engine import links, matching
from souverain.street.engine.links import Links
from souverain.street.engine.matching import Matched
from souverain.street.tests.drives import Driven, Truth, drive
from souverain.territory.engine.roads import RoadNetwork
from souverain.territory.engine.synthetic_roads import SyntheticRoads, sample_roads

AT_THE_NODE_M = 8.0


@pytest.fixture(scope="module")
def lattice(proving: bool) -> SyntheticRoads:
    """Crossings, bridges, roundabouts and a dual carriageway: 200, 50 and 30 of them, and more,
    when proving."""
    return sample_roads(26, 24) if proving else sample_roads(5, 5)


@pytest.fixture(scope="module")
def driven(lattice: SyntheticRoads) -> Driven:
    return drive(lattice.network)


@pytest.fixture(scope="module")
def truth(lattice: SyntheticRoads, driven: Driven) -> Truth:
    return Truth(lattice.network, driven)


def matched(network: RoadNetwork, driven: Driven) -> Matched:
    course = matching.courses(driven.xy_m, driven.sequence, driven.heading_deg)
    return matching.match(network, driven.xy_m, driven.z_m, driven.sequence, course)


@pytest.fixture(scope="module")
def linked(lattice: SyntheticRoads, driven: Driven) -> Links:
    found = matched(lattice.network, driven)
    return links.by_roads(lattice.network, driven.xy_m, driven.z_m, driven.sequence, found)


def false_turns(found: Links, driven: Driven, truth: Truth) -> Counter[str]:
    """Links between panoramas that no road joins within reach: by what is wrong."""
    wrong: Counter[str] = Counter()
    for i, j in zip(found.origin.tolist(), found.target.tolist(), strict=True):
        if truth.distance_m(i, j) > 2 * links.REACH_M:
            rise = abs(driven.z_m[i] - driven.z_m[j])
            wrong["over a bridge" if rise > 4 else "across"] += 1
    return wrong


def missing_turns(network: RoadNetwork, found: Links, driven: Driven) -> list[tuple[int, int, int]]:
    """Pairs of driven arms of a crossing without a link from one to the other."""
    lengths = matching.link_lengths_m(network)
    near: dict[int, dict[int, set[int]]] = {}
    for end in (0, 1):
        distance = driven.along_m if end == 0 else lengths[driven.link] - driven.along_m
        for i in np.flatnonzero(distance <= AT_THE_NODE_M).tolist():
            arm = int(driven.link[i])
            near.setdefault(int(network.nodes[arm, end]), {}).setdefault(arm, set()).add(i)
    targets: dict[int, set[int]] = {}
    for i, j in zip(found.origin.tolist(), found.target.tolist(), strict=True):
        targets.setdefault(i, set()).add(j)
    degree = Counter(network.nodes.reshape(-1).tolist())
    return [
        (node, a, b)
        for node, arms in near.items()
        if degree[node] >= 3
        for a in arms
        for b in arms
        if a != b and not any(targets.get(i, set()) & arms[b] for i in arms[a])
    ]


def test_the_network_has_what_is_to_be_tried(lattice: SyntheticRoads, proving: bool) -> None:
    kinds = Counter(crossing.kind for crossing in lattice.crossings)
    assert kinds["crossing"] >= (200 if proving else 5)
    assert kinds["bridge"] >= (50 if proving else 5)
    assert kinds["roundabout"] >= (30 if proving else 5)
    assert (lattice.network.one_way[lattice.network.numbers == "D900"] != 0).all()


def test_each_panorama_is_put_on_the_link_that_it_drove(
    lattice: SyntheticRoads, driven: Driven
) -> None:
    found = matched(lattice.network, driven)
    lengths = matching.link_lengths_m(lattice.network)
    from_node = np.minimum(driven.along_m, lengths[driven.link] - driven.along_m)
    inside = from_node > 2.0
    assert (found.link[inside] == driven.link[inside]).all()
    assert (found.forward[inside] == driven.forward[inside]).all()
    assert np.abs(found.along_m - driven.along_m)[inside].max() < 2.0
    # To the right of the axis, as one drives.
    side = np.where(found.forward, found.offset_m, -found.offset_m)
    two_way = inside & (lattice.network.one_way[driven.link] == 0)
    assert np.median(side[two_way]) == pytest.approx(1.75, abs=0.05)


def test_no_link_is_false(linked: Links, driven: Driven, truth: Truth) -> None:
    assert false_turns(linked, driven, truth) == {}


def test_no_turn_is_missing(lattice: SyntheticRoads, linked: Links, driven: Driven) -> None:
    assert missing_turns(lattice.network, linked, driven) == []
    pairs = set(zip(linked.origin.tolist(), linked.target.tolist(), strict=True))
    for i in np.flatnonzero(np.diff(driven.sequence) == 0).tolist():
        assert (i, i + 1) in pairs and (i + 1, i) in pairs


def test_a_view_is_not_buried_in_links(linked: Links) -> None:
    assert np.bincount(linked.origin).max() <= 8


def test_without_any_height_the_links_are_the_same(
    lattice: SyntheticRoads, driven: Driven, linked: Links
) -> None:
    """The course and the graph tell a bridge from the road beneath."""
    blind = replace(driven, z_m=np.full(len(driven.z_m), np.nan))
    found = links.by_roads(
        lattice.network, blind.xy_m, blind.z_m, blind.sequence, matched(lattice.network, blind)
    )
    assert np.array_equal(found.origin, linked.origin)
    assert np.array_equal(found.target, linked.target)


def test_a_height_of_another_datum_changes_nothing(lattice: SyntheticRoads, driven: Driven) -> None:
    raised = replace(driven, z_m=driven.z_m + 47.3)
    assert np.array_equal(
        matched(lattice.network, raised).link, matched(lattice.network, driven).link
    )


def test_the_rule_of_fifteen_metres_makes_false_links(driven: Driven, truth: Truth) -> None:
    """Panoramax's: the nearest of each other sequence within 15 m. The same truth finds them."""
    assert false_turns(fifteen_metres(driven), driven, truth)["over a bridge"] > 0


def fifteen_metres(driven: Driven) -> Links:
    points = shapely.points(driven.xy_m)
    a, b = shapely.STRtree(points).query(points, predicate="dwithin", distance=15.0)
    other = driven.sequence[a] != driven.sequence[b]
    a, b = a[other], b[other]
    order = np.lexsort((np.hypot(*(driven.xy_m[a] - driven.xy_m[b]).T), driven.sequence[b], a))
    a, b = a[order], b[order]
    first = np.concatenate([[True], (np.diff(a) != 0) | (np.diff(driven.sequence[b]) != 0)])
    return Links(a[first], b[first], np.zeros(int(first.sum()), bool))


# Places made by hand ------------------------------------------------------------------------------


def network(*paths: list[tuple[float, float, float]], one_way: tuple[int, ...] = ()) -> RoadNetwork:
    """Links by their vertices; those that end at one place share a node."""
    places: dict[tuple[float, float, float], int] = {}
    nodes = [[places.setdefault(p, len(places)) for p in (path[0], path[-1])] for path in paths]
    count = len(paths)
    return RoadNetwork(
        np.concatenate([np.array(path, float) for path in paths]),
        np.cumsum([0] + [len(path) for path in paths]),
        np.array(nodes),
        np.array(["D1"] * count),
        np.zeros(count, np.int8),
        np.array(one_way or (0,) * count, np.int8),
        np.array([str(i) for i in range(count)]),
    )


def crossed(found: Links, driven: Driven, a: int, b: int) -> bool:
    return any(
        {int(driven.link[i]), int(driven.link[j])} == {a, b}
        for i, j in zip(found.origin, found.target, strict=True)
    )


def by_roads(roads: RoadNetwork, driven: Driven) -> Links:
    return links.by_roads(roads, driven.xy_m, driven.z_m, driven.sequence, matched(roads, driven))


def test_a_road_over_a_road_all_along_is_told_by_its_height() -> None:
    """A viaduct straight above a road: one place, one course, two heights."""
    roads = network(
        [(0, 0, 200), (400, 0, 200)],
        [(0, 0.5, 208), (400, 0.5, 208)],
        [(-400, 0, 200), (0, 0, 200)],
    )
    driven = drive(roads)
    assert (matched(roads, driven).link == driven.link).all()
    assert not crossed(by_roads(roads, driven), driven, 0, 1)


def test_carriageways_are_linked_where_they_join_alone() -> None:
    roads = network(
        [(0, 0, 0), (30, 6, 0), (470, 6, 0), (500, 0, 0)],
        [(500, 0, 0), (470, -6, 0), (30, -6, 0), (0, 0, 0)],
        [(500, 0, 0), (700, 0, 0)],
        [(-200, 0, 0), (0, 0, 0)],
        one_way=(-1, -1, 0, 0),
    )
    driven = drive(roads)
    found = by_roads(roads, driven)
    pairs = [
        (i, j)
        for i, j in zip(found.origin, found.target, strict=True)
        if {int(driven.link[i]), int(driven.link[j])} == {0, 1}
    ]
    assert pairs
    for i, j in pairs:
        for x in (driven.xy_m[i][0], driven.xy_m[j][0]):
            assert min(abs(x), abs(x - 500)) < AT_THE_NODE_M


def test_a_drive_that_was_cut_goes_on_in_the_next(lattice: SyntheticRoads) -> None:
    roads = network([(0, 0, 0), (300, 0, 0)], [(300, 0, 0), (600, 0, 0)], one_way=(1, 1))
    whole = drive(roads)
    cut = replace(whole, sequence=(np.arange(len(whole.xy_m)) >= 50).astype(int))
    found = by_roads(roads, cut)
    pairs = set(zip(found.origin.tolist(), found.target.tolist(), strict=True))
    assert {(49, 50), (50, 49)} <= pairs


def test_a_short_link_that_nobody_drove_is_crossed() -> None:
    """Two roads that meet a third a few metres apart: one turns from one into the other."""
    roads = network(
        [(-100, 0, 0), (0, 0, 0)],
        [(0, 0, 0), (10, 0, 0)],
        [(10, 0, 0), (110, 0, 0)],
        [(0, 0, 0), (0, 100, 0)],
        [(10, 0, 0), (10, -100, 0)],
    )
    whole = drive(roads)
    keep = whole.link != 1
    driven = Driven(**{name: column[keep] for name, column in vars(whole).items()})
    found = by_roads(roads, driven)
    assert crossed(found, driven, 3, 4) and crossed(found, driven, 0, 2)


# Without roads ------------------------------------------------------------------------------------


def line(from_: tuple[float, float], to: tuple[float, float], z: float) -> np.ndarray:
    count = int(np.hypot(to[0] - from_[0], to[1] - from_[1]) // 5) + 1
    share = np.linspace(0, 1, count)[:, None]
    xy = np.array(from_) + (np.array(to) - np.array(from_)) * share
    return np.column_stack([xy, np.full(count, z)])


def by_geometry(*lines: np.ndarray) -> tuple[Links, np.ndarray]:
    table = np.concatenate(lines)
    sequence = np.repeat(range(len(lines)), [len(one) for one in lines])
    course = matching.courses(table[:, :2], sequence, np.zeros(len(table)))
    return links.by_geometry(table[:, :2], table[:, 2], sequence, course), sequence


def turns(found: Links, sequence: np.ndarray) -> set[tuple[int, int]]:
    return {
        (int(sequence[i]), int(sequence[j]))
        for i, j in zip(found.origin, found.target, strict=True)
        if sequence[i] != sequence[j]
    }


EAST, NORTH = ((-100.0, 0.0), (101.0, 0.0)), ((1.0, -102.0), (1.0, 100.0))


@pytest.mark.parametrize(
    ("height", "linked"), [(0.0, True), (1.0, True), (6.0, False), (np.nan, False)]
)
def test_without_roads_a_crossing_needs_one_height(height: float, linked: bool) -> None:
    found, sequence = by_geometry(line(*EAST, 0.0), line(*NORTH, height))
    assert turns(found, sequence) == ({(0, 1), (1, 0)} if linked else set())


@pytest.mark.parametrize("height", [0.0, 7.0])
def test_without_roads_a_side_road_is_linked_at_its_end(height: float) -> None:
    found, sequence = by_geometry(line(*EAST, 0.0), line((3.0, 4.0), (3.0, 90.0), height))
    assert bool(turns(found, sequence)) == (height == 0.0)


def test_without_roads_two_carriageways_are_not_linked() -> None:
    found, sequence = by_geometry(
        line((0.0, 0.0), (200.0, 0.0), 0.0), line((200.0, 7.0), (0.0, 7.0), 0.0)
    )
    assert turns(found, sequence) == set()


def test_nothing_has_no_links() -> None:
    empty = np.empty(0)
    assert len(links.by_geometry(np.empty((0, 2)), empty, empty.astype(int), empty)) == 0
    none = Driven(np.empty((0, 2)), empty, empty, *(empty.astype(int),) * 2, empty, empty == 1)
    assert len(by_roads(network([(0, 0, 0), (9, 0, 0)]), none)) == 0
