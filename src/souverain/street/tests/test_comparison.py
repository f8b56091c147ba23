"""Two campaigns beside each other: what changed, and never a change where nobody looked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.street.engine.comparison import Looks, Unseen, compare
from souverain.street.engine.merging import Placed
from souverain.street.tests import street_scene


def _placed(
    name: str, x: float, y: float = 4.0, kind: str = "panneau", sigma: float = 0.1
) -> Placed:
    return Placed(name, kind, np.array([x, y, 1.0]), np.eye(3) * sigma**2, frozenset())


def _looks(start: float, stop: float, window: tuple[float, ...] = (0, 0, 1, 1)) -> Looks:
    x = np.arange(start, stop, 5.0)
    places = np.column_stack([x, 0 * x, 0 * x + 2.5])
    return Looks(places, np.tile([90.0, 0.0, 0.0], (len(x), 1)), np.tile(window, (len(x), 1)))


EVERYWHERE = _looks(-50, 200)
NOWHERE = Looks(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 4)))


def test_each_fate_is_told() -> None:
    before = [_placed("stays", 0.0), _placed("goes", 20.0), _placed("is moved", 40.0)]
    after = [_placed("stayed", 0.1), _placed("comes", 60.0), _placed("was moved", 42.5)]
    found = compare(before, after, EVERYWHERE, EVERYWHERE, movable=["panneau"])
    assert [(pair.before, pair.after) for pair in found.unchanged] == [(0, 0)]
    assert [(pair.before, pair.after) for pair in found.moved] == [(2, 2)]
    assert found.moved[0].distance_m == pytest.approx(2.5)
    assert found.moved[0].sigma_m == pytest.approx(0.1 * 2**0.5)
    assert found.appeared == (1,) and found.vanished == (1,)
    still = compare(before, after, EVERYWHERE, EVERYWHERE, movable=["arbre"])
    assert not still.moved and still.appeared == (1, 2) and still.vanished == (1, 2)


def test_nothing_vanishes_where_nobody_looked() -> None:
    before = [_placed("a", 0.0), _placed("b", 100.0)]
    after = [_placed("c", 0.0)]
    assert compare(before, after, EVERYWHERE, EVERYWHERE).vanished == (1,)
    found = compare(before, after, EVERYWHERE, _looks(-50, 60))
    assert found.vanished == () and found.not_seen_after == {1: Unseen.PLACE}
    found = compare(after, before, _looks(-50, 60), EVERYWHERE)
    assert found.appeared == () and found.not_seen_before == {1: Unseen.PLACE}


def test_one_look_is_not_enough() -> None:
    """A lorry hides the place from one panorama."""
    one = _looks(100, 101)
    assert one.count(np.array([[100.0, 4.0, 1.0]])) == [1]
    found = compare([_placed("b", 100.0)], [_placed("c", 0.0)], EVERYWHERE, one)
    assert found.not_seen_after == {0: Unseen.PLACE}


def test_a_cropped_picture_looks_only_where_it_looks() -> None:
    """Driving east, a picture of the left half does not see the right-hand side (south)."""
    left = _looks(-50, 200, (0.0, 0.0, 0.5, 1.0))
    north, south = np.array([[50.0, 6.0, 1.0]]), np.array([[50.0, -6.0, 1.0]])
    assert left.count(north)[0] >= 2 and left.count(south)[0] == 0
    over_the_seam = _looks(-50, 200, (0.9, 0.0, 1.1, 1.0))
    assert over_the_seam.count(np.array([[50.0, 0.1, 1.0]]))[0] >= 2  # those that drove past
    assert over_the_seam.count(np.array([[50.0, 12.0, 1.0]]))[0] == 0


def test_a_kind_that_nobody_recorded_did_not_vanish() -> None:
    before = [_placed("a", 0.0), _placed("t", 9.0, kind="arbre")]
    found = compare(before, [_placed("c", 0.0)], EVERYWHERE, EVERYWHERE)
    assert found.not_seen_after == {1: Unseen.KIND} and found.vanished == ()


def test_neighbours_are_paired_together_not_one_after_the_other() -> None:
    """The closest pair first would leave the two others beyond the gate."""
    before = [_placed("a", 0.0), _placed("b", 0.30)]
    after = [_placed("c", 0.25), _placed("d", 0.60)]
    found = compare(before, after, EVERYWHERE, EVERYWHERE)
    assert [(pair.before, pair.after) for pair in found.unchanged] == [(0, 0), (1, 1)]


def test_empty_campaigns_compare() -> None:
    found = compare([], [], NOWHERE, NOWHERE)
    assert found.unchanged == found.moved == () and found.appeared == found.vanished == ()
    assert compare([_placed("a", 0.0)], [], EVERYWHERE, NOWHERE).not_seen_after == {0: Unseen.PLACE}


_ITEMS = st.lists(st.tuples(st.integers(0, 120), st.sampled_from("pn")), max_size=12)


@settings(max_examples=60)
@given(_ITEMS, _ITEMS, st.integers(0, 30), st.randoms(use_true_random=False))
def test_each_item_has_one_fate(old: list, new: list, reach: int, random: object) -> None:
    before = [_placed(f"a{i}", x * 0.5, kind=kind) for i, (x, kind) in enumerate(old)]
    after = [_placed(f"b{i}", x * 0.5, kind=kind) for i, (x, kind) in enumerate(new)]
    seen = _looks(0, reach * 2)
    found = compare(before, after, EVERYWHERE, seen, movable=["p"])
    pairs = [*found.unchanged, *found.moved]
    assert sorted(
        [p.before for p in pairs] + list(found.vanished) + list(found.not_seen_after)
    ) == list(range(len(before)))
    assert sorted(
        [p.after for p in pairs] + list(found.appeared) + list(found.not_seen_before)
    ) == list(range(len(after)))
    order = list(range(len(after)))
    random.shuffle(order)  # type: ignore[attr-defined]
    again = compare(before, [after[i] for i in order], EVERYWHERE, seen, movable=["p"])
    assert {order[row] for row in again.appeared} == set(found.appeared)
    assert again.vanished == found.vanished


@pytest.mark.parametrize(
    "noise",
    [street_scene.Noise(), street_scene.Noise(0.05, 0.1, 0.1), street_scene.Noise(0.1, 0.2, 0.2)],
)
def test_changes_of_a_simulated_road_are_found(noise: street_scene.Noise, proving: bool) -> None:
    said: set[tuple[str, str]] = set()
    truth: set[tuple[str, str]] = set()
    for seed in range(20 if proving else 4):
        rng = np.random.default_rng(seed)
        road = street_scene.scene(rng)
        said |= {(f"{seed}{fate}", name) for fate, name in street_scene.changes(road, rng, noise)}
        truth |= {(f"{seed}{fate}", name) for fate, name in road.truth}
    score = street_scene.score(said, frozenset(truth))
    assert len(truth) > 60 and score.f1 >= 0.9, score
