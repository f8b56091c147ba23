"""Every fault that was put into a delivery is found, and hardly anything else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from souverain.street.engine import audit, matching
from souverain.street.engine.audit import Fault, Order, Records
from souverain.street.tests.drives import drive
from souverain.street.tests.test_links import matched
from souverain.territory.engine.synthetic_roads import SyntheticRoads, sample_roads

ORDER = Order(5.0, 0.05, 0.05)


def delivery(driven, seed: int = 0) -> Records:  # type: ignore[no-untyped-def]
    """A good delivery of these panoramas: 30 to 80 km/h, sigmas within the order."""
    random = np.random.default_rng(seed)
    count = len(driven.xy_m)
    return Records(
        x_m=driven.xy_m[:, 0].copy(),
        y_m=driven.xy_m[:, 1].copy(),
        heading_deg=driven.heading_deg.copy(),
        pitch_deg=random.normal(0, 2, count),
        roll_deg=random.normal(0, 2, count),
        sequence=driven.sequence.copy(),
        taken_us=np.cumsum(random.uniform(225_000, 600_000, count)).astype(np.int64),
        width=np.full(count, 12288),
        height=np.full(count, 6144),
        crop=np.full((count, 4), np.nan),
        sigma_xy_m=random.uniform(0.01, 0.04, count),
        sigma_heading_deg=random.uniform(0.01, 0.04, count),
        digest=np.array([f"{i:064x}" for i in range(count)], "S64"),
        looked_at=np.ones(count, bool),
    )


@pytest.fixture(scope="module")
def roads(proving: bool) -> SyntheticRoads:
    return sample_roads(60, 60) if proving else sample_roads(6, 5)


@pytest.fixture(scope="module")
def good(roads: SyntheticRoads) -> Records:
    return delivery(drive(roads.network))


def test_a_good_delivery_has_no_fault(roads: SyntheticRoads, good: Records) -> None:
    driven = drive(roads.network)
    ordered = np.ones(len(roads.network.starts) - 1, bool)
    report = audit.audit(good, ORDER, roads.network, matched(roads.network, driven), ordered)
    assert {kind: len(faults) for kind, faults in report.faults.items() if len(faults)} == {}
    assert len(report.uncovered.link) == 0
    assert report.covered_m == report.ordered_m > 10_000


def test_every_seeded_fault_is_found_and_nothing_else(good: Records) -> None:
    """Faults of every kind, a thousandth of the delivery each, in places far apart."""
    random = np.random.default_rng(7)
    count = len(good.x_m)
    # Well inside the drives, and no two near each other.
    inside = np.flatnonzero(
        (good.sequence == np.roll(good.sequence, 4)) & (good.sequence == np.roll(good.sequence, -4))
    )
    # Not in a tight bend: there one picture missing leaves no gap as the crow flies, and a heading
    # is believed anywhere within the turn.
    xy = np.column_stack([good.x_m, good.y_m])
    inside = inside[np.hypot(*(xy[inside + 1] - xy[inside - 1]).T) > 9.95]
    slots = inside[::12]
    slots = slots[np.diff(slots, prepend=-12) >= 12]
    each = max(len(slots) // 12, 5)
    chosen = random.permutation(slots)[: 10 * each].reshape(10, each)
    bad = replace(good, **{name: column.copy() for name, column in vars(good).items()})
    seeded: dict[Fault, set[int]] = {}

    bad.digest[chosen[0]] = bad.digest[chosen[0] - 1]
    seeded[Fault.DUPLICATE] = set(chosen[0].tolist())
    bad.x_m[chosen[1]] = bad.x_m[chosen[1] - 1] + 0.1
    bad.y_m[chosen[1]] = bad.y_m[chosen[1] - 1] + 0.1
    seeded[Fault.DUPLICATE] |= set(chosen[1].tolist())
    turned = random.uniform(25, 335, each)
    bad.heading_deg[chosen[2]] = (bad.heading_deg[chosen[2]] + turned) % 360
    seeded[Fault.HEADING] = set(chosen[2].tolist())
    bad.width[chosen[3][::3]] = 12280
    bad.crop[chosen[3][1::3]] = (100, 100, 12288, 3000)
    bad.pitch_deg[chosen[3][2::3]] = 120.0
    seeded[Fault.GPANO] = set(chosen[3].tolist())
    bad.sigma_xy_m[chosen[4]] = random.uniform(0.051, 2, each)
    seeded[Fault.SIGMA_XY] = set(chosen[4].tolist())
    bad.sigma_heading_deg[chosen[5]] = random.uniform(0.051, 2, each)
    seeded[Fault.SIGMA_HEADING] = set(chosen[5].tolist())
    bad.sigma_xy_m[chosen[6]] = np.nan
    seeded[Fault.SIGMA_MISSING] = set(chosen[6].tolist())
    bad.looked_at[chosen[7]] = False
    seeded[Fault.UNBLURRED] = set(chosen[7].tolist())
    bad.taken_us[chosen[8]] = bad.taken_us[chosen[8] - 1] - 10
    seeded[Fault.TIME] = set(chosen[8].tolist())
    kept = np.ones(count, bool)
    kept[chosen[9]] = False
    bad = replace(bad, **{name: column[kept] for name, column in vars(bad).items()})
    now = np.cumsum(kept) - 1
    seeded = {kind: {int(now[i]) for i in places} for kind, places in seeded.items()}
    seeded[Fault.GAP] = {int(now[i + 1]) for i in chosen[9]}

    found = audit.audit(bad, ORDER).faults
    false = 0
    for kind, faults in found.items():
        told = set(faults.panorama.tolist())
        wanted = seeded.get(kind, set())
        assert wanted <= told, (kind, sorted(wanted - told)[:5])
        # A panorama set back onto the one before leaves a gap after it: that is no false alarm.
        false += len(told - wanted - {int(now[i]) + 1 for i in chosen[1]})
    assert false < count / 1000


def test_a_whole_drive_with_a_turned_camera_is_told_once(good: Records) -> None:
    drive_of = np.bincount(good.sequence).argmax()
    mine = good.sequence == drive_of
    turned = np.where(mine, (good.heading_deg + 90) % 360, good.heading_deg)
    faults = audit.audit(replace(good, heading_deg=turned), ORDER).faults
    assert len(faults[Fault.HEADING_OFFSET]) == 1
    assert faults[Fault.HEADING_OFFSET].value[0] == pytest.approx(90, abs=1)
    assert len(faults[Fault.HEADING]) == 0


def test_a_camera_that_is_mounted_sideways_on_all_drives_is_no_fault(good: Records) -> None:
    faults = audit.audit(replace(good, heading_deg=(good.heading_deg + 180) % 360), ORDER).faults
    assert len(faults[Fault.HEADING_OFFSET]) == len(faults[Fault.HEADING]) == 0


def test_a_stretch_of_road_that_nobody_drove_is_told_to_the_metre(roads: SyntheticRoads) -> None:
    driven = drive(roads.network)
    lengths = matching.link_lengths_m(roads.network)
    link = int(np.argmax(lengths * (roads.network.one_way == 0)))
    hole = (driven.link == link) & (driven.along_m > 100) & (driven.along_m < 160)
    driven = type(driven)(**{name: column[~hole] for name, column in vars(driven).items()})
    ordered = np.ones(len(lengths), bool)
    report = audit.audit(
        delivery(driven), ORDER, roads.network, matched(roads.network, driven), ordered
    )
    assert report.uncovered.link.tolist() == [link]
    assert report.uncovered.from_m[0] == pytest.approx(100, abs=5)
    assert report.uncovered.to_m[0] == pytest.approx(160, abs=5)
    assert len(report.faults[Fault.GAP]) == 2  # both ways


def test_a_road_ordered_and_not_driven_at_all_is_uncovered_whole(roads: SyntheticRoads) -> None:
    driven = drive(roads.network)
    name = roads.network.numbers[0]
    ordered = roads.network.numbers == name
    gone = ~ordered[driven.link]
    driven = type(driven)(**{key: column[gone] for key, column in vars(driven).items()})
    report = audit.audit(
        delivery(driven), ORDER, roads.network, matched(roads.network, driven), ordered
    )
    assert report.covered_m < 0.1 * report.ordered_m


def test_nothing_delivered_has_no_fault() -> None:
    empty = np.empty(0)
    nothing = Records(
        empty, empty, empty, empty, empty, *(empty.astype(np.int64),) * 4, np.empty((0, 4)),
        empty, empty, np.empty(0, "S64"), np.empty(0, bool),
    )  # fmt: skip
    assert not any(map(len, audit.audit(nothing, ORDER).faults.values()))
