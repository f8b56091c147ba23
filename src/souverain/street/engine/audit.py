"""Whether a delivery is what was ordered: each panorama's record, and the roads it should cover.

Every check is on columns and says which panorama is at fault and by how much. A *gap* is a step of
a drive longer than 1.5 times the spacing ordered; a road is *uncovered* where, along its links,
panoramas of any drive are farther apart than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from souverain.street.engine.matching import Matched
from souverain.territory.engine.roads import RoadNetwork, link_lengths_m

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

GAP_FACTOR = 1.5
STOPPED_FACTOR = 0.2
"""A step shorter than this part of the spacing repeats the picture before it."""
HEADING_DEG = 15.0
"""Beyond what the drive's own turn allows."""
OFFSET_DEG = 5.0
"""Of a whole drive's camera from the others'."""
FASTEST_MPS = 45.0
_WHOLE_DRIVE = 20


class Fault(StrEnum):
    GAP = "gap"
    UNCOVERED = "uncovered"
    DUPLICATE = "duplicate"
    HEADING = "heading"
    HEADING_OFFSET = "heading_offset"
    GPANO = "gpano"
    SIGMA_XY = "sigma_xy"
    SIGMA_HEADING = "sigma_heading"
    SIGMA_MISSING = "sigma_missing"
    UNBLURRED = "unblurred"
    TIME = "time"


@dataclass(frozen=True)
class Records:
    """Panoramas, each column of shape (n,), those of a drive side by side, in the order in which
    they are numbered. NaN where unknown; `crop` is (n, 4): left, top, width, height."""

    x_m: Floats
    y_m: Floats
    heading_deg: Floats
    """From grid north."""
    pitch_deg: Floats
    roll_deg: Floats
    sequence: Ints
    taken_us: Ints
    width: Ints
    height: Ints
    crop: Floats
    sigma_xy_m: Floats
    sigma_heading_deg: Floats
    digest: npt.NDArray[Any]
    looked_at: Bools
    """Whether something looked for faces and plates."""


@dataclass(frozen=True)
class Order:
    spacing_m: float
    sigma_xy_m: float
    sigma_heading_deg: float

    @property
    def gap_m(self) -> float:
        return GAP_FACTOR * self.spacing_m


@dataclass(frozen=True)
class Faults:
    """Of one kind: the panoramas at fault, and by how much (metres, degrees, seconds, or NaN)."""

    panorama: Ints
    value: Floats

    def __len__(self) -> int:
        return len(self.panorama)


@dataclass(frozen=True)
class Uncovered:
    """Stretches of links, each column of shape (k,); metres from the link's beginning."""

    link: Ints
    from_m: Floats
    to_m: Floats


@dataclass(frozen=True)
class Report:
    faults: dict[Fault, Faults]
    uncovered: Uncovered
    ordered_m: float
    """Length of the links ordered; `covered_m` is without what is uncovered."""
    covered_m: float


def audit(
    records: Records,
    order: Order,
    network: RoadNetwork | None = None,
    matched: Matched | None = None,
    ordered: Bools | None = None,
) -> Report:
    """Check a delivery; with roads, the links `ordered` (shape (n,), bool) are to be covered by
    the panoramas `matched` to them."""
    faults = {
        Fault.GAP: _gaps(records, order),
        Fault.DUPLICATE: _duplicates(records, order),
        **_headings(records),
        Fault.GPANO: _where(~_is_sphere(records)),
        Fault.SIGMA_XY: _beyond(records.sigma_xy_m, order.sigma_xy_m),
        Fault.SIGMA_HEADING: _beyond(records.sigma_heading_deg, order.sigma_heading_deg),
        Fault.SIGMA_MISSING: _where(
            ~(np.isfinite(records.sigma_xy_m) & np.isfinite(records.sigma_heading_deg))
        ),
        Fault.UNBLURRED: _where(~records.looked_at),
        Fault.TIME: _times(records),
    }
    if network is None or matched is None or ordered is None:
        empty = np.empty(0)
        return Report(faults, Uncovered(empty.astype(np.int64), empty, empty), 0.0, 0.0)
    bare = uncovered(network, matched, ordered, order.gap_m)
    total = float(link_lengths_m(network)[ordered].sum())
    return Report(faults, bare, total, total - float((bare.to_m - bare.from_m).sum()))


def _where(at_fault: Bools, value: Floats | None = None) -> Faults:
    places = np.flatnonzero(at_fault)
    return Faults(places, np.full(len(places), np.nan) if value is None else value[places])


def _beyond(sigma: Floats, limit: float) -> Faults:
    return _where(np.nan_to_num(sigma, nan=0.0) > limit, sigma)


def _steps(records: Records) -> tuple[Floats, Bools]:
    """Metres from each panorama to the next, and whether they are of one drive; shape (n - 1,)."""
    metres = np.hypot(np.diff(records.x_m), np.diff(records.y_m))
    return metres, np.diff(records.sequence) == 0


def _after(of_step: Floats | Bools) -> Floats:
    """A value of each step, on the panorama where it ends."""
    return np.concatenate([[0.0], of_step])


def _gaps(records: Records, order: Order) -> Faults:
    metres, same = _steps(records)
    return _where(_after(same & (metres > order.gap_m)) > 0, _after(metres))


def _duplicates(records: Records, order: Order) -> Faults:
    """What was delivered before, by its content; or was taken where the one before it was."""
    metres, same = _steps(records)
    stopped = _after(same & (metres < STOPPED_FACTOR * order.spacing_m)) > 0
    first: dict[bytes, int] = {}
    again = np.array(
        [first.setdefault(d, i) != i for i, d in enumerate(records.digest.tolist())], bool
    )
    return _where(stopped | again, _after(np.where(same, metres, np.nan)))


def _times(records: Records) -> Faults:
    """Not after the one before, or so soon that nothing drives so fast; seconds since it."""
    metres, same = _steps(records)
    seconds = np.diff(records.taken_us) / 1e6
    wrong = same & ((seconds <= 0) | (metres > FASTEST_MPS * seconds))
    return _where(_after(wrong) > 0, _after(seconds))


def _is_sphere(records: Records) -> Bools:
    """GPano: twice as wide as high, the crop within, angles that a camera can have."""
    whole = (records.height > 0) & (records.width == 2 * records.height)
    left, top, width, height = records.crop.T
    within = (left >= 0) & (top >= 0) & (width > 0) & (height > 0)
    within &= (left + width <= records.width) & (top + height <= records.height)
    within |= np.isnan(records.crop).all(1)
    angles = (records.heading_deg >= 0) & (records.heading_deg < 360)
    angles &= (np.abs(records.pitch_deg) <= 90) & (np.abs(records.roll_deg) <= 180)
    return np.asarray(whole & within & angles)


def _headings(records: Records) -> dict[Fault, Faults]:
    """Headings that leave the turn of the drive, and drives whose camera looks elsewhere than
    that of the others."""
    count = len(records.x_m)
    metres, same = _steps(records)
    told = same & (metres > 0.5)
    course = np.degrees(np.arctan2(np.diff(records.x_m), np.diff(records.y_m)))
    nan = np.array([np.nan])
    course = np.where(told, course, np.nan)
    come, go = np.concatenate([nan, course]), np.concatenate([course, nan])
    come, go = np.where(np.isnan(come), go, come), np.where(np.isnan(go), come, go)
    # The turn from one to the other, the short way; its middle, and half of it.
    turn = _signed(go - come)
    middle, half = come + turn / 2, np.abs(turn) / 2
    off = _signed(records.heading_deg - middle)

    mount = _circular_median(off)
    number = np.cumsum(np.concatenate([[0], np.diff(records.sequence) != 0]))[:count]
    of_drive = _medians(_signed(off - mount), number, mount)
    jump = np.abs(_signed(off - of_drive[number] if count else off)) - half
    wrong = np.nan_to_num(jump, nan=0.0) > HEADING_DEG
    elsewhere = np.abs(_signed(of_drive - mount)) > OFFSET_DEG
    first = np.zeros(count, bool)
    first[np.searchsorted(number, np.flatnonzero(elsewhere))] = True
    by = _signed(of_drive - mount)[number] if count else np.empty(0)
    return {Fault.HEADING: _where(wrong, jump + half), Fault.HEADING_OFFSET: _where(first, by)}


def _signed(degrees: Floats) -> Floats:
    return (degrees + 180.0) % 360.0 - 180.0


def _circular_median(degrees: Floats) -> float:
    """The median about the mean direction; 0 of nothing."""
    known = degrees[np.isfinite(degrees)]
    if not len(known):
        return 0.0
    radians = np.radians(known)
    mean = np.degrees(np.arctan2(np.sin(radians).mean(), np.cos(radians).mean()))
    return float(mean + np.median(_signed(known - mean)))


def _medians(off: Floats, number: Ints, mount: float) -> Floats:
    """How each drive's camera is turned: the median of a drive that is long enough, otherwise
    that of all."""
    drives = int(number[-1]) + 1 if len(number) else 0
    found = np.full(drives, mount)
    known = np.isfinite(off)
    order = np.lexsort((off[known], number[known]))
    of, values = number[known][order], off[known][order]
    starts = np.searchsorted(of, np.arange(drives + 1))
    lengths = np.diff(starts)
    long = np.flatnonzero(lengths >= _WHOLE_DRIVE)
    found[long] += values[starts[long] + lengths[long] // 2]
    return found


def uncovered(network: RoadNetwork, matched: Matched, ordered: Bools, gap_m: float) -> Uncovered:
    """Stretches longer than `gap_m` of the links ordered without a panorama. From a link's end to
    its nearest panorama, a stretch counts once it is that long by itself."""
    lengths = link_lengths_m(network)
    on = np.flatnonzero(matched.link >= 0)
    on = on[ordered[matched.link[on]]]
    links = np.flatnonzero(ordered)
    # Every link's two ends stand as if they were seen.
    link = np.concatenate([matched.link[on], links, links])
    along = np.concatenate([matched.along_m[on], np.zeros(len(links)), lengths[links]])
    sort = np.lexsort((along, link))
    link, along = link[sort], along[sort]
    bare = (np.diff(link) == 0) & (np.diff(along) > gap_m)
    first = np.flatnonzero(bare)
    return Uncovered(link[first], along[first], along[first + 1])
