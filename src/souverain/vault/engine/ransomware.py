"""Whether what a deposit set receives looks like the work of a ransomware, without reading it.

The server sees ciphertext alone: how many bytes are new, and what is deleted. That is enough, for
restic sends each content once (content-defined chunks, restic `doc/design.rst`): a file that did not
change costs nothing whatever its name or its date, one that was encrypted costs its whole size.
A night's measure is its *share*: new bytes over the bytes that the latest state of the set holds.

- **Fast**: tonight's share against the set's own busy nights. The threshold is the median of the
  past shares plus a multiple of their upper spread (0.95 quantile less median), between two bounds:
  order statistics, because they stay right while less than a twentieth of the nights is foreign
  (Hampel, *The influence curve*, 1974), and month-ends are in them.
- **Slow**: Page's one-sided cumulative sum (*Continuous inspection schemes*, Biometrika 41, 1954):
  what each night exceeds an allowance by is added up, what it stays below is taken off. A single
  night adds no more than a bounded part (Winsor), so that one import does not weigh as a drift.
- **Deletions**: the share of the snapshots deleted in one night, against the largest so far, and
  of the bytes.

The history behind the thresholds is delayed by some nights, so that a slow attack does not teach
the detector its own level. Of a new set's first nights only the highest threshold is watched.

A night runs from noon to noon in the caller's time zone; the caller numbers nights in order. Each
function is pure: `assess` may be asked at any time of a night, and for the same state more new bytes
never lower its score; `close` turns a finished night into the next state. Bytes are whole numbers,
shares are numbers without unit, nights are ordinals of dates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

PACK_BYTES = 16 << 20
"""What restic fills before it sends it."""
SMALLEST_BYTES = 8 * PACK_BYTES
"""A smaller set counts as this big."""


class Level(StrEnum):
    """What to do: nothing, look, or raise the alarm."""

    NONE = "none"
    WATCH = "watch"
    ALARM = "alarm"


class Cause(StrEnum):
    """The statistic that scored highest."""

    FAST = "fast"
    SLOW = "slow"
    DELETIONS = "deletions"


@dataclass(frozen=True)
class Tuning:
    """The constants, chosen on the tuning seeds of `benchmarks/vault_alarm.py`."""

    memory_nights: int = 50
    delay_nights: int = 6
    known_nights: int = 12
    """Deposits after which the history of a set counts."""
    settling_nights: int = 7
    """Nights in which whole folders are still added to a new set: a large night is one."""
    month_nights: int = 35
    """Nights after which a month-end is in it: no drift is summed up before."""
    fast_spreads: float = 2.0
    fast_least: float = 0.14
    fast_most: float = 0.24
    slow_high: float = 0.9
    """The quantile from which the upper spread of the slow statistic is taken."""
    slow_spreads: float = 0.5
    slow_least: float = 0.003
    slow_step: float = 0.04
    """What a night adds at most."""
    slow_sum: float = 0.15
    """The sum that raises."""
    gap_power: float = 0.85
    gap_most: int = 10
    """How allowances grow with the nights since the last deposit, and up to how many."""
    repack_share: float = 0.04
    """What a prune may write anew, in the night in which snapshots were deleted."""
    growth: float = 0.0005
    """By how much the latest state grows in a night at most; what comes beyond replaces content."""
    watch_score: float = 0.7


TUNING = Tuning()


@dataclass(frozen=True)
class Observation:
    """What one night brought so far."""

    night: int
    new_bytes: int
    """Data received."""
    live_bytes: int
    """Data that lived when the night began."""
    announced_bytes: int = 0
    """How much of it a person announced."""
    snapshots_before: int = 0
    snapshots_deleted: int = 0
    deleted_bytes: int = 0
    """Data deleted."""
    deletions_announced: bool = False
    complete: bool = True
    """Whether a whole deposit ever arrived: before, everything is new."""


@dataclass(frozen=True)
class State:
    """What is remembered of a set's closed nights; `as_json` and `from_json` keep it."""

    night: int = 0
    """The last closed one that brought something."""
    first_night: int = 0
    latest_bytes: float = 0.0
    """What the latest state of the set is thought to hold."""
    shares: tuple[float, ...] = ()
    """The history behind the thresholds, oldest first."""
    recent: tuple[float, ...] = ()
    """The nights that are not yet in it."""
    known_nights: int = 0
    slow: float = 0.0
    slow_since: int = 0
    """The night from which the sum has grown."""
    deleted_share: float = 0.0
    """The largest share of the snapshots that a night ordinarily deletes."""
    settled_night: int = 0
    settled_bytes: int = 0
    """What a person dealt with, of that night; its deletions too."""
    accepted_share: float = 0.0
    """The largest share that a person said was legitimate, and a quarter more."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> State:
        lists = {name: tuple(data[name]) for name in ("shares", "recent")}
        return cls(**{**data, **lists})


@dataclass(frozen=True)
class Assessment:
    """How suspect a night is; 1 and more raises the alarm."""

    score: float
    level: Level
    cause: Cause
    reason: str
    """In French, for the page and the notice."""
    since: int
    """The night from which what arrived is suspect."""
    scores: Mapping[Cause, float] = field(default_factory=dict)


def assess(state: State, seen: Observation, tuning: Tuning = TUNING) -> Assessment:
    """The score of a night so far, from the closed nights before it."""
    scores = {
        Cause.FAST: _fast(state, seen, tuning),
        Cause.SLOW: _slow_sum(state, seen, tuning) / tuning.slow_sum,
        Cause.DELETIONS: _deletions(state, seen),
    }
    if _is_settling(state, seen, tuning):
        scores[Cause.FAST] = 0.0
    if not seen.complete or not state.latest_bytes:
        scores = dict.fromkeys(Cause, 0.0)
    cause = max(scores, key=lambda name: scores[name])
    score = scores[cause]
    level = (
        Level.ALARM if score >= 1 else Level.WATCH if score >= tuning.watch_score else Level.NONE
    )
    drifting = cause is Cause.SLOW and state.slow > 0
    since = state.slow_since if drifting else seen.night
    return Assessment(score, level, cause, _reason(cause, state, seen), since, scores)


def close(state: State, seen: Observation, tuning: Tuning = TUNING) -> State:
    """The state after a whole night. A night without a byte changes nothing but what died."""
    after = max(seen.live_bytes + seen.new_bytes - seen.deleted_bytes, 0)
    if not seen.complete or not state.latest_bytes:
        return replace(state, night=seen.night, first_night=seen.night, latest_bytes=float(after))
    ordinary = _ordinary_deletions(state, seen)
    if not seen.new_bytes:
        latest = min(state.latest_bytes, float(after))
        return replace(state, latest_bytes=latest, deleted_share=ordinary)
    unasked = _unasked(state, seen)
    grown = min(unasked, tuning.growth * (seen.night - state.night) * state.latest_bytes)
    if _is_settling(state, seen, tuning) and _share(state, seen) > tuning.fast_most:
        grown = float(unasked)
    if not seen.deletions_announced:  # what a prune writes anew was there
        grown += min(seen.announced_bytes, seen.new_bytes)
    recent = (*state.recent, _share(state, seen) / _gap(state, seen, tuning))
    known = state.known_nights + 1
    ripe = recent[: -tuning.delay_nights] if known > tuning.known_nights else recent
    slow = _slow_sum(state, seen, tuning)
    return replace(
        state,
        night=seen.night,
        latest_bytes=min(state.latest_bytes + grown, float(after)),
        known_nights=known,
        shares=(*state.shares, *ripe)[-tuning.memory_nights :],
        recent=recent[len(ripe) :],
        slow=slow,
        slow_since=state.slow_since if state.slow and slow else seen.night,
        deleted_share=ordinary,
    )


def accept(state: State, seen: Observation, tuning: Tuning = TUNING) -> State:
    """A person says that what came is legitimate: it no longer counts tonight, the drift starts
    anew, and a later night raises only above that level, up to the bound that no history lifts."""
    share = min(1.25 * _share(state, seen), tuning.fast_most)
    return replace(
        settle(state, seen),
        latest_bytes=state.latest_bytes + _unasked(state, seen),
        recent=state.recent,
        accepted_share=max(state.accepted_share, share),
        deleted_share=max(state.deleted_share, _deleted_share(seen)),
    )


def settle(state: State, seen: Observation) -> State:
    """A person dealt with an attack: what came of it raises no second alarm, and teaches nothing."""
    return replace(
        state,
        recent=(),
        slow=0.0,
        slow_since=seen.night,
        settled_night=seen.night,
        settled_bytes=seen.new_bytes,
    )


def step_bytes(live_bytes: int) -> int:
    """How many new bytes may arrive between two looks: a pack, or about a hundredth of the set; a
    power of two, so that it seldom moves."""
    return max(PACK_BYTES, 1 << max((live_bytes // 64).bit_length() - 1, 0))


def fast_threshold(state: State, seen: Observation, tuning: Tuning = TUNING) -> float:
    """The share above which tonight raises by itself."""
    if state.known_nights < tuning.known_nights:
        return tuning.fast_most
    middle, high = _quantile(state.shares, 0.5), _quantile(state.shares, 0.95)
    own = (middle + tuning.fast_spreads * (high - middle)) * _gap(state, seen, tuning)
    return min(max(own, tuning.fast_least, state.accepted_share), tuning.fast_most)


def slow_allowance(state: State, seen: Observation, tuning: Tuning = TUNING) -> float:
    """The share that a night may have without adding to the drift."""
    middle, high = _quantile(state.shares, 0.5), _quantile(state.shares, tuning.slow_high)
    own = middle + tuning.slow_spreads * (high - middle) + tuning.slow_least
    return own * _gap(state, seen, tuning)


def _fast(state: State, seen: Observation, tuning: Tuning) -> float:
    # A prune writes anew what it keeps of the packs that it deletes, after the snapshots.
    repacked = tuning.repack_share if seen.snapshots_deleted else 0.0
    return max(_share(state, seen) - repacked, 0.0) / fast_threshold(state, seen, tuning)


def _slow_sum(state: State, seen: Observation, tuning: Tuning) -> float:
    young = seen.night - state.first_night < tuning.month_nights
    if young or state.known_nights < tuning.known_nights:
        return 0.0
    allowance = slow_allowance(state, seen, tuning)
    counted = min(_share(state, seen), allowance + tuning.slow_step)
    return max(state.slow + counted - allowance, 0.0)


def _is_settling(state: State, seen: Observation, tuning: Tuning) -> bool:
    return seen.night - state.first_night < tuning.settling_nights


def _deletions(state: State, seen: Observation) -> float:
    """1 when a night leaves at most two of five or more snapshots, or half of the bytes, and never
    did so before."""
    if seen.deletions_announced or state.settled_night == seen.night:
        return 0.0
    left = seen.snapshots_before - seen.snapshots_deleted
    snapshots = _deleted_share(seen) if seen.snapshots_before >= 5 and left <= 2 else 0.0
    beyond = 1.0 if snapshots > state.deleted_share else 0.0
    return max(beyond, 2 * seen.deleted_bytes / max(seen.live_bytes, 1))


def _deleted_share(seen: Observation) -> float:
    return seen.snapshots_deleted / max(seen.snapshots_before, 1)


def _ordinary_deletions(state: State, seen: Observation) -> float:
    """What a night deletes becomes ordinary unless it raised."""
    if _deletions(state, seen) >= 1:
        return state.deleted_share
    return max(state.deleted_share, _deleted_share(seen))


def _whole(state: State) -> float:
    return max(state.latest_bytes, float(SMALLEST_BYTES))


def _unasked(state: State, seen: Observation) -> int:
    """The new bytes that nobody announced or dealt with."""
    settled = state.settled_bytes if state.settled_night == seen.night else 0
    return max(seen.new_bytes - max(seen.announced_bytes, settled), 0)


def _share(state: State, seen: Observation) -> float:
    return _unasked(state, seen) / _whole(state)


def _gap(state: State, seen: Observation, tuning: Tuning) -> float:
    """How much more than one night's work may arrive after nights without a deposit."""
    elapsed = min(max(seen.night - state.night, 1), tuning.gap_most)
    return float(elapsed**tuning.gap_power)


def _quantile(values: tuple[float, ...], part: float) -> float:
    """The smallest value with at least that part of the values at or below it."""
    ordered = sorted(values) or [0.0]
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]


def _reason(cause: Cause, state: State, seen: Observation) -> str:
    percent = round(100 * seen.new_bytes / _whole(state))
    if cause is Cause.FAST:
        usual = 100 * _quantile(state.shares, 0.5)
        return (
            f"En une nuit, {percent} % des dossiers sont arrivés comme neufs, "
            f"contre {usual:.1f} % d'habitude.".replace(".", ",", 1)
        )
    if cause is Cause.SLOW:
        nights = max(seen.night - state.slow_since + 1, 1)
        return f"Depuis {nights} nuits, plus de dossiers que d'habitude arrivent comme neufs."
    return (
        f"{seen.snapshots_deleted} sauvegardes sur {seen.snapshots_before} ont été effacées "
        "en une nuit par un appareil."
    )
