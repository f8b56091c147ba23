"""Linear referencing, as somebody beside the road would check it."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.territory.engine.positions import Position
from souverain.territory.engine.projection import lonlat_to_metres
from souverain.territory.engine.referencing import Referencing, chain_axes
from souverain.territory.engine.roads import (
    NO_POSTS,
    ReferencePosts,
    RoadNameError,
    RoadNetwork,
    link_lengths_m,
    parse_place,
    parse_reference,
    parse_road,
)
from souverain.territory.engine.synthetic_roads import (
    CLEARANCE_M,
    SyntheticRoads,
    sample_roads,
    synthetic_roads,
)

Line = list[tuple[float, float]]
Floats = npt.NDArray[np.float64]
TOTAL_M = 8_489_000.0


def network_of(links: list[tuple[str, Line, int]], heights: float = 0.0) -> RoadNetwork:
    """(number, vertices, one way) → a network whose links meet where their ends are the same."""
    nodes: dict[tuple[float, float], int] = {}
    ends = [[nodes.setdefault(line[at], len(nodes)) for at in (0, -1)] for _, line, _ in links]
    xyz = [
        np.column_stack([np.array(line, float), np.full(len(line), heights)])
        for _, line, _ in links
    ]
    return RoadNetwork(
        vertices_m=np.concatenate(xyz),
        starts=np.concatenate([[0], np.cumsum([len(part) for part in xyz])]),
        nodes=np.array(ends),
        numbers=np.array([number for number, _, _ in links]),
        levels=np.zeros(len(links), np.int8),
        one_way=np.array([way for _, _, way in links], np.int8),
        identifiers=np.array([f"L{index}" for index in range(len(links))]),
    )


def posts_of(*posts: tuple[str, int, str, float, float]) -> ReferencePosts:
    roads, prs, sides, xs, ys = zip(*posts, strict=True)
    return ReferencePosts(
        np.array(roads), np.array(prs), np.array(sides), np.column_stack([xs, ys])
    )


def said(referencing: Referencing, x: float, y: float) -> str:
    position = referencing.positions(np.array([[x, y]]))[0]
    return f"{position} {position.side}" if position else "-"


def errors_m(referencing: Referencing, xy_m: Floats) -> Floats:
    """From each place on to its road position and back to a point: how far that is from the foot
    on the axis; places without a road near are left out."""
    positions = [found for found in referencing.positions(xy_m) if found]
    back = referencing.points(
        [found.road for found in positions],
        [found.pr for found in positions],
        [found.abscissa_m for found in positions],
        [found.side for found in positions],
    )
    feet = np.array([[found.x_m, found.y_m] for found in positions]).reshape(-1, 2)
    gone = np.hypot(*(back[:, :2] - feet).T)
    return np.where(np.isnan(gone), np.inf, gone)


@pytest.mark.parametrize(
    "text", ["RD971", "RD 971", "D 971", "D971", "d 971", "R.D. 971".replace("D.", "D"), "D0971"]
)
def test_a_road_is_written_in_many_ways(text: str) -> None:
    assert parse_road(text) == "D971"


@pytest.mark.parametrize(
    ("text", "road", "pr", "abscissa_m", "side"),
    [
        ("D971 PR 12+350", "D971", 12, 350.0, ""),
        ("RD 971, PR 12+0350 D", "D971", 12, 350.0, "D"),
        ("D971PR12-30", "D971", 12, -30.0, ""),
        ("D 51b PR 3", "D51B", 3, 0.0, ""),
        ("d971 pr 12 + 350,5 gauche", "D971", 12, 350.5, "G"),
        ("D971 PR 12+1350 m", "D971", 12, 1350.0, ""),
        ("N0079 PR 50+600", "N79", 50, 600.0, ""),
        ("V50 +350 m", "V50", None, 350.0, ""),
    ],
)
def test_a_position_is_read_as_it_is_written(
    text: str, road: str, pr: int | None, abscissa_m: float, side: str
) -> None:
    found = parse_reference(text)
    assert (found.road, found.pr, found.abscissa_m, found.side) == (road, pr, abscissa_m, side)


@pytest.mark.parametrize("text", ["", "971", "D", "D971", "D971 PR", "D971 PR x", "rue de la Gare"])
def test_what_is_no_position_is_refused_in_french(text: str) -> None:
    with pytest.raises(RoadNameError, match="n'est pas un"):
        parse_reference(text)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_road, parse_reference, parse_place):
        try:
            parse(text)
        except RoadNameError:
            continue


def test_a_straight_road_says_the_metres_from_the_post_before() -> None:
    road = network_of([("D1", [(0, 0), (1000, 0)], 0), ("D1", [(2000, 0), (1000, 0)], 0)])
    posts = posts_of(("D1", 7, "C", 3, 2), ("D1", 8, "C", 1090, -3))
    found = Referencing(road, posts, "21")
    assert said(found, 500, 4) == "D1 PR 7+497 G"
    assert said(found, 500, -4) == "D1 PR 7+497 D"
    assert said(found, 1950, 0) == "D1 PR 8+860 C"
    assert said(found, 1, 0) == "D1 PR 7-2 C"
    assert said(found, 500, 51) == "-"
    # Beyond the next post, before the first, past the end.
    points = found.points(["D1"] * 3, [7, 7, 8], [1_500.0, -3.0, 2_000.0], ["C"] * 3)
    assert points[0, 0] == pytest.approx(1_503.0)
    assert points[1, 0] == pytest.approx(0.0)
    assert np.isnan(points[2]).all()


def test_posts_turn_a_road_the_way_they_grow() -> None:
    road = network_of([("D1", [(0, 0), (3000, 0)], 0)])
    falling = posts_of(("D1", 3, "C", 0, 0), ("D1", 2, "C", 1000, 0), ("D1", 1, "C", 2000, 0))
    assert said(Referencing(road, falling), 1500, 2) == "D1 PR 1+500 D"


def test_a_post_out_of_order_is_told_and_spoils_nothing() -> None:
    road = network_of([("D1", [(0, 0), (5000, 0)], 0)])
    posts = posts_of(
        ("D1", 0, "C", 0, 0), ("D1", 1, "C", 1000, 0), ("D1", 9, "C", 1500, 0),
        ("D1", 2, "C", 2000, 0), ("D1", 4, "C", 4000, 0), ("D1", 5, "C", 4500, 800),
        ("D2", 0, "C", 0, 0),
    )  # fmt: skip
    found = Referencing(road, posts)
    assert {post.index for post in found.unplaced} == {2, 5, 6}
    assert said(found, 1600, 0) == "D1 PR 1+600 C"
    assert said(found, 3900, 0) == "D1 PR 2+1900 C"


def test_each_carriageway_has_its_posts() -> None:
    """A dual carriageway between PR 1 and the join: on the left the left posts count."""
    road = network_of(
        [
            ("D1", [(0, 0), (2000, 0)], 0),
            ("D1", [(2000, 0), (2100, -10), (4900, -10), (5000, 0)], 1),
            ("D1", [(5000, 0), (4900, 10), (2100, 10), (2000, 0)], 1),
            ("D1", [(5000, 0), (7000, 0)], 0),
        ]
    )
    posts = posts_of(
        ("D1", 0, "C", 0, 0), ("D1", 1, "C", 1000, 0), ("D1", 2, "D", 2500, -12),
        ("D1", 2, "G", 2510, 12), ("D1", 3, "D", 3500, -12), ("D1", 3, "G", 3550, 12),
        ("D1", 4, "C", 5500, 3),
    )  # fmt: skip
    found = Referencing(road, posts)
    assert not found.unplaced
    assert said(found, 3000, -10) == "D1 PR 2+500 D"
    assert said(found, 3000, 10) == "D1 PR 2+490 G"
    assert said(found, 3600, 3) == "D1 PR 3+50 G"
    left = found.points(["D1", "D1"], [3, 3], [100.0, 100.0], ["G", "D"])
    assert left[0, :2] == pytest.approx([3650, 10])
    assert left[1, :2] == pytest.approx([3600, -10])
    # Where they join again, both say the same.
    x = np.linspace(4_990, 5_010, 41)
    assert errors_m(found, np.column_stack([x, np.full(41, 1.0)])).max() < 0.01


def test_a_ring_with_another_number_does_not_stop_the_counting() -> None:
    road = network_of(
        [
            ("D1", [(0, 0), (1000, 0)], 0),
            ("D2", [(1000, 0), (1020, -20), (1040, 0), (1020, 20), (1000, 0)], 1),
            ("D1", [(1040, 0), (1500, 0)], 0),
        ]
    )
    found = Referencing(road, posts_of(("D1", 4, "C", 200, 0)))
    assert said(found, 1100, 0) == "D1 PR 4+900 C"


def test_a_link_without_number_is_named_by_its_identifier() -> None:
    found = Referencing(network_of([("", [(0, 0), (300, 0)], 0)]), departement="21")
    assert said(found, 120, -1) == "L0 +120 m D"
    assert found.points(["L0"], [None], [120.0], ["D"])[0, 0] == pytest.approx(120)


def test_a_road_that_branches_without_end_is_referenced_all_the_same() -> None:
    turns = np.linspace(0, 2 * np.pi, 1_000, endpoint=False)
    star = network_of(
        [("D1", [(0.0, 0.0), (9e3 * np.cos(t), 9e3 * np.sin(t))], 0) for t in turns.tolist()]
    )
    found = Referencing(star, posts_of(("D1", 1, "C", 4_000.0, 0.0)))
    places = 8e3 * np.column_stack([np.cos(turns), np.sin(turns)])
    assert errors_m(found, places).max() < 0.01
    assert len(errors_m(found, places)) == 1_000


def test_no_roads_are_no_error() -> None:
    nothing = RoadNetwork(
        np.empty((0, 3)), np.zeros(1, np.int64), np.empty((0, 2), np.int64), np.empty(0, "U1"),
        np.empty(0, np.int8), np.empty(0, np.int8), np.empty(0, "U1"),
    )  # fmt: skip
    found = Referencing(nothing)
    assert found.positions(np.zeros((2, 2))) == [None, None]
    assert np.isnan(found.points(["D1"], [1], [0.0], ["C"])).all()


def test_places_that_are_none_are_on_no_road() -> None:
    found = Referencing(network_of([("D1", [(0, 0), (100, 0)], 0)]))
    strange = np.array([[np.nan, 0], [np.inf, 0], [1e300, 1e300], [50, 0]])
    assert [position is None for position in found.positions(strange)] == [True] * 3 + [False]


# --- against the peer, and on any network ---------------------------------------------------------


@st.composite
def networks(draw: st.DrawFn) -> tuple[RoadNetwork, ReferencePosts]:
    """A few places joined at random: branches, rings, one-ways, two numbers, dead ends, posts
    anywhere."""
    size = draw(st.integers(2, 9))
    cells = draw(
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 6)),
            min_size=size, max_size=size, unique=True,
        )
    )  # fmt: skip
    places = [(x * 210.0 + y * 13.0, y * 190.0 + x * 7.0) for x, y in cells]
    pairs = draw(
        st.lists(
            st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(
                lambda pair: pair[0] != pair[1]
            ),
            min_size=1, max_size=14, unique_by=lambda pair: frozenset(pair),
        )
    )  # fmt: skip
    links: list[tuple[str, Line, int]] = []
    for a, b in pairs:
        bend = draw(st.sampled_from([0.0, 25.0, -40.0]))
        middle = (
            (places[a][0] + places[b][0]) / 2 + bend,
            (places[a][1] + places[b][1]) / 2 - bend,
        )
        number = draw(st.sampled_from(["D1", "D1", "D1", "D2", ""]))
        links.append((number, [places[a], middle, places[b]], draw(st.sampled_from([0, 0, 1, -1]))))
    posts = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["D1", "D2"]),
                st.integers(0, 6),
                st.sampled_from("CDG"),
                st.floats(-50, 1_500),
                st.floats(-50, 1_500),
            ),
            max_size=8,
            unique_by=lambda post: post[:3],
        )
    )
    return network_of(links), posts_of(*posts) if posts else NO_POSTS


@settings(max_examples=100)
@given(networks(), st.integers(0, 2**32 - 1))
def test_there_and_back_on_any_network(
    drawn: tuple[RoadNetwork, ReferencePosts], seed: int
) -> None:
    network, posts = drawn
    found = Referencing(network, posts, "21")
    rng = np.random.default_rng(seed)
    segment = rng.integers(0, len(network.vertices_m), 60)
    places = network.vertices_m[segment, :2] + rng.normal(0, 60, (60, 2))
    assert errors_m(found, places).max(initial=0.0) < 0.001
    assert {post.index for post in found.unplaced} <= set(range(len(posts.prs)))


@pytest.fixture(scope="module")
def sample() -> SyntheticRoads:
    return sample_roads()


def test_the_nearest_axis_is_the_one_that_shapely_finds(sample: SyntheticRoads) -> None:
    axes, _ = chain_axes(sample.network, sample.posts)
    lines = [shapely.linestrings(axis.vertices_m[:, :2]) for axis in axes]
    found = Referencing(sample.network, sample.posts)
    rng = np.random.default_rng(5)
    low, high = sample.network.vertices_m[:, :2].min(0), sample.network.vertices_m[:, :2].max(0)
    places = rng.uniform(low, high, (500, 2))
    for place, position in zip(places, found.positions(places), strict=True):
        nearest = min(shapely.distance(line, shapely.points(place)) for line in lines)
        if position is None:
            assert nearest > 50.0
        else:
            assert position.distance_m == pytest.approx(nearest, abs=1e-6)


# --- the synthetic networks ----------------------------------------------------------------------


def crossings_by_hand(network: RoadNetwork) -> int:
    """Places where two links cross and share no node."""
    parts = np.split(network.vertices_m[:, :2], network.starts[1:-1])
    lines = np.array([shapely.linestrings(part) for part in parts])
    pairs = shapely.STRtree(lines).query(lines, predicate="crosses").T
    return sum(
        1
        for a, b in pairs
        if a < b and not set(network.nodes[a].tolist()) & set(network.nodes[b].tolist())
    )


def test_the_sample_holds_what_it_says(sample: SyntheticRoads) -> None:
    kinds = Counter(crossing.kind for crossing in sample.crossings)
    assert min(kinds[kind] for kind in ("bridge", "roundabout", "crossing")) >= 5
    assert crossings_by_hand(sample.network) == kinds["bridge"]
    assert sample.network.levels.sum() == kinds["bridge"]
    node_degrees = np.bincount(sample.network.nodes.ravel())
    assert node_degrees.max() >= 3


def test_a_bridge_is_high_above_what_it_crosses(sample: SyntheticRoads) -> None:
    network = sample.network
    parts = np.split(network.vertices_m, network.starts[1:-1])
    for bridge in (crossing for crossing in sample.crossings if crossing.kind == "bridge"):
        place = shapely.points(bridge.x_m, bridge.y_m)
        heights = []
        for part in parts:
            line = shapely.linestrings(part[:, :2])
            if shapely.distance(line, place) < 0.01:
                along = shapely.line_locate_point(line, place)
                metres = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(part[:, :2], axis=0).T))])
                heights.append(float(np.interp(along, metres, part[:, 2])))
        assert max(heights) - min(heights) == pytest.approx(CLEARANCE_M, abs=0.3)


@pytest.fixture(scope="module")
def whole(positions: dict[str, Position]) -> tuple[Floats, SyntheticRoads]:
    places = lonlat_to_metres(
        [place.longitude_deg for place in positions.values()],
        [place.latitude_deg for place in positions.values()],
    )
    return places, synthetic_roads(places, TOTAL_M, 21)


def test_the_synthetic_network_joins_every_commune(
    whole: tuple[Floats, SyntheticRoads],
) -> None:
    places, made = whole
    network = made.network
    assert made.length_m == pytest.approx(TOTAL_M, rel=0.02)
    group = list(range(int(network.nodes.max()) + 1))

    def root(node: int) -> int:
        while group[node] != node:
            group[node] = group[group[node]]
            node = group[node]
        return node

    for a, b in network.nodes.tolist():
        group[root(a)] = root(b)
    assert len({root(node) for node in np.unique(network.nodes).tolist()}) == 1
    assert len(places) == 698
    axes = Referencing(network).locate(places)
    assert (axes.axis >= 0).all()
    assert axes.distance_m.max() < 25.0  # in the middle of a roundabout at most


def test_the_synthetic_network_has_all_that_roads_have(
    whole: tuple[Floats, SyntheticRoads],
) -> None:
    _, made = whole
    lengths = link_lengths_m(made.network)
    share = {c: lengths[made.classes == c].sum() / TOTAL_M for c in np.unique(made.classes)}
    assert share["departmental"] > 0.6 and share["communal"] > 0.2 and share["cycleway"] > 0.04
    kinds = Counter(crossing.kind for crossing in made.crossings)
    assert kinds["crossing"] >= 200 and kinds["bridge"] >= 50 and kinds["roundabout"] >= 30
    assert {"D971", "D700", "D905"} <= set(made.network.numbers.tolist())
    assert len(made.posts.prs) > 5_000
    assert set(made.posts.sides.tolist()) == {"C", "D", "G"}


def test_the_same_seed_makes_the_same_roads(positions: dict[str, Position]) -> None:
    some = list(itertools.islice(positions.values(), 40))
    places = lonlat_to_metres(
        [place.longitude_deg for place in some], [place.latitude_deg for place in some]
    )
    one, same, other = (synthetic_roads(places, 600_000.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.network.vertices_m, same.network.vertices_m)
    assert np.array_equal(one.posts.xy_m, same.posts.xy_m)
    assert not np.array_equal(one.network.vertices_m[:50], other.network.vertices_m[:50])


def test_a_hundred_thousand_places_come_back_to_the_centimetre(
    whole: tuple[Floats, SyntheticRoads], proving: bool
) -> None:
    _, made = whole
    found = Referencing(made.network, made.posts, "21")
    assert len(found.unplaced) < 0.002 * len(made.posts.prs)
    rng = np.random.default_rng(3)
    count = 100_000 if proving else 30_000
    vertices = made.network.vertices_m[:, :2]
    at = rng.integers(0, len(vertices) - 1, count)
    at = at[~np.isin(at, made.network.starts[1:] - 1)]
    ratio = rng.random((len(at), 1))
    places = vertices[at] * (1 - ratio) + vertices[at + 1] * ratio + rng.normal(0, 4, (len(at), 2))
    gone = errors_m(found, places)
    assert len(gone) == len(places)
    assert gone.max() < 0.01
