"""Views of one object become one item, and of two objects two; what cannot be told is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.street.engine import sphere
from souverain.street.engine.merging import (
    Merged,
    Placed,
    Sighted,
    merge_positions,
    merge_rays,
)
from souverain.street.engine.triangulation import Camera, Ray
from souverain.street.tests import street_scene

SIGMA = 0.05


def _placed(name: str, x: float, *, y: float = 0.0, view: str = "", **more: object) -> Placed:
    fields = {"kind": "panneau", "sigma": SIGMA, "z": 0.0, **more}
    return Placed(
        name,
        str(fields["kind"]),
        np.array([x, y, fields["z"]], float),
        np.diag([float(fields["sigma"]) ** 2] * 3),  # type: ignore[arg-type]
        frozenset([view or name]),
    )


def _ray(name: str, view: str, origin: list[float], target: list[float]) -> Sighted:
    yaw, elevation = sphere.direction_to_angles(np.array([target]) - np.array([origin]))
    camera = Camera(view, tuple(origin), 0.0, 0.0, 0.0, 0.02, 0.02, 0.05, 0.05)
    return Sighted(name, "panneau", Ray(camera, float(yaw[0]), float(elevation[0]), 0.03))


def _members(merged: Merged) -> list[tuple[str, ...]]:
    return [item.members for item in merged.items]


def test_estimates_of_one_object_add_their_information() -> None:
    merged = merge_positions(
        [
            _placed("a", 0.0),
            _placed("b", 0.06),
            _placed("far", 3.0),
            _placed("c", 0.0, kind="arbre"),
        ]
    )
    assert _members(merged) == [("c",), ("a", "b"), ("far",)] and not merged.doubts
    both = merged.items[1]
    assert both.position_m == pytest.approx([0.03, 0, 0])
    assert both.covariance_m2 == pytest.approx(np.eye(3) * SIGMA**2 / 2)
    assert both.views == {"a", "b"}


def test_two_posts_that_one_view_shows_are_two_and_it_is_said() -> None:
    merged = merge_positions([_placed("a", 0.0, view="v"), _placed("b", 0.1, view="v")])
    assert _members(merged) == [("a",), ("b",)]
    (doubt,) = merged.doubts
    assert doubt.members == (("a",), ("b",))
    assert doubt.distance_m == pytest.approx(0.1)
    assert doubt.sigma_m == pytest.approx(SIGMA * 2**0.5)


def test_what_goes_as_well_with_either_of_two_is_given_to_neither() -> None:
    merged = merge_positions(
        [_placed("a", 0.0, view="v"), _placed("b", 0.2, view="v"), _placed("c", 0.11, view="w")]
    )
    assert _members(merged) == [("a",), ("b",), ("c",)]
    assert {doubt.members for doubt in merged.doubts} >= {
        (("a",), ("c",)),
        (("b",), ("c",)),
    }


def test_an_unknown_height_neither_joins_nor_parts() -> None:
    known, unknown = _placed("a", 0.0, z=212.0), _placed("b", 0.05, z=float("nan"))
    (item,) = merge_positions([known, unknown]).items
    assert item.position_m == pytest.approx([0.025, 0, 212.0], abs=1e-6)
    (alone,) = merge_positions([unknown]).items
    assert np.isnan(alone.position_m[2]) and np.isnan(alone.covariance_m2[2, 2])
    assert len(merge_positions([known, _placed("c", 0.0, z=214.0)]).items) == 2


def test_the_vague_is_merged_with_nothing() -> None:
    vague = [_placed(f"v{i}", float(i), sigma=8.0) for i in range(4)]
    assert len(merge_positions([*vague, _placed("a", 0.0)]).items) == 5


@pytest.mark.parametrize(
    "broken",
    [
        _placed("a", float("nan")),
        _placed("a", 0.0, sigma=0.0),
        _placed("a", 0.0, sigma=float("inf")),
        _placed("b", 0.0),
    ],
)
def test_what_is_no_estimate_is_refused_by_name(broken: Placed) -> None:
    with pytest.raises(ValueError, match=f"{broken.identifier}"):
        merge_positions([_placed("b", 1.0), broken])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=14),
    st.randoms(use_true_random=False),
)
def test_nothing_is_lost_and_the_order_does_not_matter(drawn: list, random: object) -> None:
    observations = [
        _placed(f"{i:02}", x * 0.04, view=f"v{view}") for i, (x, view) in enumerate(drawn)
    ]
    merged = merge_positions(observations)
    random.shuffle(observations)  # type: ignore[attr-defined]
    again = merge_positions(observations)
    assert _members(again) == _members(merged) and again.doubts == merged.doubts
    told = [name for item in merged.items for name in item.members]
    assert sorted(told) == sorted(one.identifier for one in observations)
    by_name = {one.identifier: one for one in observations}
    for item in merged.items:
        views = [view for name in item.members for view in by_name[name].views]
        assert len(views) == len(set(views))


def test_rays_of_three_views_meet_in_the_objects() -> None:
    signs = [[6.0, 4.0, 2.0], [9.0, 4.0, 2.0], [6.0, -4.0, 1.0]]
    rays = [
        _ray(f"{view}-{sign}", f"v{view}", [5.0 * view, 0.0, 2.5], place)
        for view in range(4)
        for sign, place in enumerate(signs)
    ]
    merged = merge_rays(rays)
    assert not merged.unplaced and not merged.doubts
    found = sorted(item.position_m.round(3).tolist() for item in merged.items)
    assert found == sorted(signs)
    assert all(len(item.views) == 4 for item in merged.items)


def test_two_views_that_could_pair_their_rays_two_ways_place_nothing() -> None:
    """Four crossings in one plane: two objects, or the two others."""
    origins = {"v": [0.0, 0.0, 2.0], "w": [10.0, 0.0, 2.0]}
    signs = [[4.0, 6.0, 2.0], [6.0, 6.0, 2.0]]
    rays = [
        _ray(f"{v}{i}", v, at, sign) for v, at in origins.items() for i, sign in enumerate(signs)
    ]
    merged = merge_rays(rays)
    assert merged.items == () and merged.unplaced == ("v0", "v1", "w0", "w1")
    third = [_ray(f"x{i}", "x", [3.0, -5.0, 2.0], sign) for i, sign in enumerate(signs)]
    assert len(merge_rays(rays + third).items) == 2


def test_like_objects_closer_than_their_sigma_are_two_and_said() -> None:
    signs = [[6.0, 12.0, 2.0], [6.03, 12.0, 2.0]]
    rays = [
        _ray(f"{view}-{sign}", f"v{view}", [4.0 * view, 0.0, 2.5], place)
        for view in range(4)
        for sign, place in enumerate(signs)
    ]
    merged = merge_rays(rays)
    assert len(merged.items) + len(merged.unplaced) >= 2
    assert merged.doubts or merged.unplaced


def test_a_ray_that_meets_no_other_is_kept_as_unplaced() -> None:
    behind = [_ray("a", "v", [0, 0, 2], [5, -5, 2]), _ray("b", "w", [10, 0, 2], [5, 5, 2])]
    assert merge_rays(behind).unplaced == ("a", "b")
    with pytest.raises(ValueError, match="points nowhere"):
        merge_rays([_ray("a", "v", [0, 0, 2], [0, float("nan"), 2])])
    with pytest.raises(ValueError, match="given twice"):
        merge_rays([behind[0], behind[0]])


def test_the_stated_sigma_is_the_true_one(proving: bool) -> None:
    """Of many simulated objects, the squared error in units of sigma has the mean of χ² with three
    degrees of freedom, and 95 % are within its 95 % bound."""
    errors = []
    for seed in range(12 if proving else 3):
        rng = np.random.default_rng(seed)
        road = street_scene.scene(rng)
        rays, _ = street_scene.drive(
            road.stations_before,
            road.before,
            rng,
            street_scene.Noise(0.03, 0.08, 0.05),
            clutter=0.0,
        )
        merged = merge_rays(rays)
        names = [street_scene.name_of(item.members) for item in merged.items]
        assert len(names) == len(set(names)) and len(names) > 0.95 * len(road.before)
        for name, item in zip(names, merged.items, strict=True):
            delta = item.position_m - road.before[name].position_m
            errors.append(delta @ np.linalg.solve(item.covariance_m2, delta))
    assert np.mean(errors) == pytest.approx(3.0, abs=3 * (6 / len(errors)) ** 0.5)
    assert np.mean(np.array(errors) < 7.815) == pytest.approx(0.95, abs=0.04)


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_rays_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    road = street_scene.scene(rng, 120.0)
    rays, _ = street_scene.drive(road.stations_before, road.before, rng, street_scene.Noise())
    merged = merge_rays(rays)
    again = merge_rays([rays[i] for i in rng.permutation(len(rays))])
    assert _members(again) == _members(merged) and again.unplaced == merged.unplaced
    told = [name for item in merged.items for name in item.members] + list(merged.unplaced)
    assert sorted(told) == sorted(ray.identifier for ray in rays)
