"""Rays meet in a point whose stated sigma is true; what cannot be known is refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from souverain.street.engine import sphere
from souverain.street.engine import triangulation as tri
from souverain.street.tests import triangulation_scenes as scenes

Floats = scenes.Floats
COUNT, SIGMAS = 2_000, np.array([0.6827, 0.95])
PIXEL_DEG = 360.0 / 12288


def camera(key: str, x: float, y: float, z: float = 2.5, **fields: float) -> tri.Camera:
    usual = {
        "heading_deg": 0.0, "pitch_deg": 0.0, "roll_deg": 0.0,
        "sigma_xy_m": 0.02, "sigma_z_m": 0.02, "sigma_heading_deg": 0.05, "sigma_tilt_deg": 0.05,
    }  # fmt: skip
    return tri.Camera(key, (x, y, z), **{**usual, **fields})


def aim(at: tri.Camera, point: Floats, off_deg: float = 0.0) -> tri.Ray:
    yaw, elevation = tri._seen(at, np.asarray(point, float) - at.position)
    return tri.Ray(at, yaw + off_deg, elevation, PIXEL_DEG)


@pytest.mark.parametrize(
    "drawn",
    [{}, {"rays": 3}, {"ahead_m": (-3.0, 8.0), "base_m": (5.0, 10.0)}, {"ahead_m": (15.0, 25.0)}],
    ids=["ordinary", "three rays", "near", "far"],
)
def test_the_stated_sigmas_cover_what_they_say(drawn: dict[str, object], proving: bool) -> None:
    count = 10_000 if proving else COUNT
    scene = scenes.drive(count, 21, **drawn)  # type: ignore[arg-type]
    found = tri.intersect(scene.bundles)
    taken = np.array([reason is None for reason in found.refused])
    assert taken.mean() > 0.5
    white = scenes.whitened((found.points_m - scene.truth)[taken], found.covariance_m2[taken])
    # Four binomial sigmas of the count that ran; the is held to the margins asked.
    margin = np.maximum([0.03, 0.02], 4 * np.sqrt(SIGMAS * (1 - SIGMAS) / taken.sum()))
    if proving:
        margin = np.array([0.03, 0.02])
    for shares, expected, within in zip(scenes.coverage(white), SIGMAS, margin, strict=True):
        assert np.abs(shares - expected).max() < within, shares
    told = (found.p_value[taken] < tri.SIGNIFICANCE).mean()
    assert told < 0.005, "good rays are hardly ever told to disagree"


def test_wrong_sigmas_would_be_seen() -> None:
    scene = scenes.drive(COUNT, 22)
    proud = replace(scene.bundles, rotation_rad2=scene.bundles.rotation_rad2 / 2)
    found = tri.intersect(proud)
    taken = np.array([reason is None for reason in found.refused])
    white = scenes.whitened((found.points_m - scene.truth)[taken], found.covariance_m2[taken])
    assert scenes.coverage(white)[0].min() < 0.64


def test_five_centimetres_at_eight_metres() -> None:
    """Eight metres ahead and three aside, seen again ten metres further on."""
    first, second = camera("a", 0.0, 0.0), camera("b", 0.0, 10.0)
    point = tri.triangulate([aim(at, np.array([3.0, 8.0, 1.0])) for at in (first, second)])
    assert np.sqrt(np.trace(point.covariance)) <= 0.05
    assert np.allclose(point.position, [3.0, 8.0, 1.0], atol=1e-9)


def opencv(origin: Floats, positions: Floats, directions: Floats) -> Floats:
    """cv2.triangulatePoints with two perspective cameras that look along the rays, in a frame that
    begins at `origin`, its unit a hundred metres: both points are the principal point."""
    matrices = []
    for place, forward in zip((positions - origin) / 100.0, directions, strict=True):
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(forward, right), forward])
        matrices.append(np.column_stack([turn, -turn @ place]))
    found = cv2.triangulatePoints(*matrices, np.zeros((2, 1)), np.zeros((2, 1)))[:, 0]
    return np.asarray(100.0 * found[:3] / found[3] + origin)


def equally_sure(bundles: tri.Bundles) -> tri.Bundles:
    return replace(
        bundles,
        position_m2=np.broadcast_to(4e-4 * np.eye(3), bundles.position_m2.shape),
        rotation_rad2=np.zeros_like(bundles.rotation_rad2),
    )


def test_exact_rays_meet_where_opencv_says() -> None:
    scene = scenes.drive(200, 23)
    starts = scene.bundles.positions_m
    toward = scene.truth[:, None] - starts
    exact = replace(
        scene.bundles, directions=toward / np.linalg.norm(toward, axis=-1, keepdims=True)
    )
    for bundles in (exact, equally_sure(exact)):
        found = tri.intersect(bundles)
        for index, reason in enumerate(found.refused):
            if reason is tri.Reason.THIN:
                continue
            theirs = opencv(starts[index, 0], starts[index], exact.directions[index])
            assert np.abs(found.points_m[index] - theirs).max() < 1e-6
            assert np.abs(found.points_m[index] - scene.truth[index]).max() < 1e-6


def test_equally_sure_rays_that_miss_each_other_meet_where_opencv_says() -> None:
    """OpenCV's answer depends on where the origin is and how long the unit, as long as rays miss
    each other: it weighs by 1 / (1 + |X|²). It stands still at the mid-point: there it is ours."""
    scene = scenes.drive(200, 24)
    bundles = equally_sure(scene.bundles)
    found = tri.intersect(bundles)
    assert np.sqrt(found.chi2).max() > 0.5, "these rays do miss each other"
    for index, reason in enumerate(found.refused):
        if reason is None:
            ours = found.points_m[index]
            rays = bundles.positions_m[index], bundles.directions[index]
            assert np.abs(ours - opencv(ours, *rays)).max() < 1e-6


def test_one_bad_ray_is_named_and_left_out() -> None:
    place = np.array([4.0, 6.0, 1.0])
    stops = [camera(str(k), 0.0, -5.0 * k) for k in range(4)]
    rays = [aim(at, place, off_deg=3.0 if k == 2 else 0.0) for k, at in enumerate(stops)]
    point = tri.triangulate(rays)
    assert point.disagreeing == (2,)
    assert point.consistent and point.freedom == 3
    assert np.linalg.norm(point.position - place) < 1e-6


def test_two_rays_at_different_things_are_refused() -> None:
    rays = [
        aim(camera("a", 0.0, 0.0), np.array([4.0, 6.0, 1.0])),
        aim(camera("b", 0.0, -8.0), np.array([4.0, 6.0, 3.0])),
    ]
    with pytest.raises(tri.Refused, match="ne se rejoignent pas") as refused:
        tri.triangulate(rays)
    assert refused.value.reason is tri.Reason.DISAGREE


@pytest.mark.parametrize(
    ("second", "toward", "reason"),
    [
        ((0.0, -0.2), (4.0, 20.0), tri.Reason.THIN),
        ((0.0, -20.0), (0.0, 20.0), tri.Reason.THIN),  # both look along the road
        ((0.0, 10.0), (0.01, 5.0), tri.Reason.THIN),  # they face each other
        ((0.0, -8.0), (6.0, -60.0), tri.Reason.UNSURE),
    ],
)
def test_thin_triangles_are_refused(
    second: tuple[float, float], toward: tuple[float, float], reason: tri.Reason
) -> None:
    point = np.array([*toward, 2.45])
    doubt = {"sigma_heading_deg": 0.5} if reason is tri.Reason.UNSURE else {}
    cameras = [camera("a", 0.0, 0.0, **doubt), camera("b", *second, **doubt)]
    point = np.array([30.0, 8.0, 2.0]) if doubt else point
    with pytest.raises(tri.Refused) as refused:
        tri.triangulate([aim(at, point) for at in cameras])
    assert refused.value.reason is reason


def test_rays_that_meet_behind_a_view_are_refused() -> None:
    point = np.array([4.0, 6.0, 2.0])
    first, second = camera("a", 0.0, 0.0), camera("b", 0.0, -8.0)
    away = aim(second, 2 * second.position - point)
    with pytest.raises(tri.Refused, match="derrière"):
        tri.triangulate([aim(first, point), away])


def test_a_better_view_is_proposed_and_is_better() -> None:
    point = np.array([3.0, 20.0, 1.0])
    stops = [camera(str(k), 0.0, 5.0 * k - 20.0) for k in range(12)]
    first = aim(stops[4], point)
    with pytest.raises(tri.Refused) as refused:
        tri.triangulate([first, aim(replace(stops[4], key="x", position_m=(0, -0.5, 2.5)), point)])
    assert refused.value.guess is not None
    best, *others = tri.better_views(first, point, stops)
    assert all(best.sigma_m <= other.sigma_m for other in others)
    measured = tri.triangulate([first, aim(best.camera, point)])
    assert measured.sigma_m == pytest.approx(best.sigma_m, rel=1e-6)
    worst = max(
        tri.better_views(first, point, stops, limit=20), key=lambda prospect: prospect.sigma_m
    )
    assert worst.sigma_m > 2 * best.sigma_m


@given(
    st.floats(-6.0, 6.0).filter(lambda x: abs(x) > 1.0), st.floats(-4.0, 9.0), st.floats(-1.0, 6.0),
    st.floats(-180.0, 180.0), st.floats(-20.0, 20.0), st.floats(-20.0, 20.0),
)  # fmt: skip
def test_a_turned_camera_sees_the_same_point(
    x: float, y: float, z: float, heading: float, pitch: float, roll: float
) -> None:
    place = np.array([x, y, z])
    first = camera("a", 0.0, 3.0, heading_deg=heading, pitch_deg=pitch, roll_deg=roll)
    rays = [aim(first, place), aim(camera("b", 0.0, -8.0, heading_deg=-heading), place)]
    try:
        point = tri.triangulate(rays)
    except tri.Refused as refused:
        assert refused.reason in (tri.Reason.THIN, tri.Reason.UNSURE)
        return
    assert np.allclose(point.position, place, atol=1e-6)


def test_shared_errors_of_two_points_are_those_that_are_drawn() -> None:
    """The covariance between two points seen from the same two cameras, against 20,000 draws of the
    cameras' and the clicks' errors through the whole estimator."""
    places = [np.array([3.0, 6.0, 0.0]), np.array([-3.5, 7.0, 0.5])]
    cameras = [
        camera("a", 0.0, 0.0, pitch_deg=2.0, roll_deg=-3.0, heading_deg=20.0, sigma_z_m=0.04),
        camera("b", 0.2, -9.0, heading_deg=-15.0, sigma_heading_deg=0.1),
    ]
    points = [tri.triangulate([aim(at, place) for at in cameras]) for place in places]
    stated = tri.joint_covariance(points)

    draw, count = np.random.default_rng(25), 20_000
    errors = np.zeros((count, 2, 3))
    poses = []
    for at in cameras:
        place = at.position + draw.normal(size=(count, 3)) @ at.position_factor
        tilt = at.sigma_tilt_deg * draw.normal(size=(2, count))
        poses.append(
            (
                place,
                at.heading_deg + at.sigma_heading_deg * draw.normal(size=count),
                at.pitch_deg + tilt[0],
                at.roll_deg + tilt[1],
            )
        )
    for index, place in enumerate(places):
        whole = tri.bundle_of([aim(at, place) for at in cameras])
        starts, ways = [], []
        for at, (position, *angles) in zip(cameras, poses, strict=True):
            ray = aim(at, place)
            clicks = PIXEL_DEG * draw.normal(size=(2, count))
            seen = sphere.angles_to_direction(
                ray.yaw_deg + clicks[0], ray.elevation_deg + clicks[1]
            )
            starts.append(position)
            ways.append(sphere.to_world(seen, *angles))
        found = tri.intersect(
            tri.Bundles(
                np.stack(starts, 1),
                np.stack(ways, 1),
                np.broadcast_to(whole.position_m2, (count, 2, 3, 3)),
                np.broadcast_to(whole.rotation_rad2, (count, 2, 3, 3)),
            )
        )
        errors[:, index] = found.points_m - place
    drawn = np.cov(errors.reshape(count, 6).T)
    scale = np.sqrt(np.outer(np.diag(stated), np.diag(stated)))
    assert np.abs((drawn - stated) / scale).max() < 0.03
    assert np.abs(stated[:3, 3:] / scale[:3, 3:]).max() > 0.3, "they do share errors"


@pytest.mark.parametrize("elevation", [-20.0, -45.0])
def test_one_ray_on_the_road_has_the_sigma_of_the_road_too(elevation: float, proving: bool) -> None:
    at = camera("a", 100.0, 200.0, z=247.5, heading_deg=30.0, pitch_deg=1.0, roll_deg=2.0)
    road = tri.Road("r", 2.5, 0.02, slope=(0.03, -0.02), slope_m2=np.diag([0.01**2, 0.02**2]))
    point = tri.on_road(tri.Ray(at, 40.0, elevation, PIXEL_DEG), road)
    offset = point.position - at.position
    assert road.normal @ offset == pytest.approx(-2.5)

    draw, count = np.random.default_rng(26), 4_000 if proving else 1_500
    found = np.zeros((count, 3))
    for k in range(count):
        wrong = replace(
            at,
            position_m=tuple(at.position + 0.02 * draw.normal(size=3)),
            heading_deg=at.heading_deg + 0.05 * draw.normal(),
            pitch_deg=at.pitch_deg + 0.05 * draw.normal(),
            roll_deg=at.roll_deg + 0.05 * draw.normal(),
        )
        clicks = PIXEL_DEG * draw.normal(size=2)
        slope = road.slope + np.array([0.01, 0.02]) * draw.normal(size=2)
        # The surface turns about the camera's foot, and rises by the height's error.
        surface = tri.Road("r", 2.5 + 0.02 * draw.normal(), 0.02, slope=(slope[0], slope[1]))
        found[k] = tri.on_road(
            tri.Ray(wrong, 40.0 + clicks[0], elevation + clicks[1], 0.0), surface
        ).position
    white = scenes.whitened(found - point.position, np.repeat(point.covariance[None], count, 0))
    one, two = scenes.coverage(white)
    margins = 4 * np.sqrt(SIGMAS * (1 - SIGMAS) / count)
    assert np.abs(one - SIGMAS[0]).max() < margins[0]
    assert np.abs(two - SIGMAS[1]).max() < margins[1]


def test_the_sky_and_the_grazing_ray_are_not_on_the_road() -> None:
    at, road = camera("a", 0.0, 0.0), tri.Road("r", 2.5, 0.02)
    with pytest.raises(tri.Refused, match="ne descend pas"):
        tri.on_road(tri.Ray(at, 0.0, 3.0, PIXEL_DEG), road)
    with pytest.raises(tri.Refused, match="rase"):
        tri.on_road(tri.Ray(at, 0.0, -0.5, PIXEL_DEG), road)
