"""Synthetic histories of deposit sets, and attacks on them: nothing here was measured in a commune.

A set belongs to a commune of 300 to 20,000 inhabitants. Each night it receives what a stock restic
sends after a day's work: log-normal, little at week-ends and in holidays, more around month-ends;
some have a nightly database dump, a new scanner, bursts of photographs, updates of the system, a
machine set up again, backups that failed for days, a weekly `forget --prune` that repacks. Their
rates are assumptions, written below one by one; `tests/test_alarm.py` checks on the stock restic
only what the shape rests on: unchanged or renamed content sends next to nothing, encrypted content
its whole size.

All randomness comes from the seeds. Bytes, shares and night numbers as in `ransomware`; night 0 is a
Monday, the first of a month; months have 30 nights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from souverain.vault.engine.ransomware import (
    TUNING,
    Assessment,
    Observation,
    State,
    Tuning,
    assess,
    close,
    step_bytes,
)

FIRST_NIGHT = 1
_MB = 10**6


@dataclass(frozen=True)
class Night:
    """What one night of a history brings, and the bytes of the latest state before it."""

    seen: Observation
    tree_bytes: float
    bulk: bool = False
    """Whether an import of registers is in it, or the first deletion of old snapshots: what people
    are asked to announce."""


@dataclass(frozen=True)
class Attack:
    """Files encrypted over some nights. `share`: how much of the tree; `nights`: how long it lasts;
    `renamed`: the files also change names, which adds their folders' lists; `prunes`: snapshots
    are deleted first."""

    name: str
    nights: int
    share: float = 1.0
    renamed: bool = False
    prunes: bool = False


ATTACKS = (
    Attack("full speed", 1),
    Attack("full speed, renamed files", 1, renamed=True),
    Attack("full speed, after deleting snapshots", 1, prunes=True),
    Attack("5 % a night", 20),
    Attack("slowly over 30 nights", 30),
)


def ordinary(seed: int, nights: int = 365, *, announced: bool = True) -> list[Night]:
    """A year of one set, the first night being its first deposit. An import of registers and the
    first deletion of old snapshots are announced, or not."""
    draw = Random(f"ordinary {seed}")  # noqa: S311
    people = math.exp(draw.uniform(math.log(300), math.log(20_000)))
    tree = people * draw.uniform(1.0, 6.0) * _MB
    rate = min(draw.lognormvariate(math.log(0.003), 0.7), 0.008)
    spread = draw.uniform(0.4, 0.8)
    growth = draw.uniform(0.03, 0.30)  # of the tree in a year; the rest replaces what was there
    kept = min(growth / (365 * rate), 0.9)
    month_end = draw.uniform(1.5, 5.0)
    dump = draw.uniform(0.01, 0.06) if draw.random() < 0.25 else 0.0
    scanner_night = draw.randrange(30, 330) if draw.random() < 0.4 else nights
    scanner = draw.uniform(0.001, 0.006)
    updates = draw.uniform(0.005, 0.02) if draw.random() < 0.2 else 0.0
    again_night = draw.randrange(20, 350) if draw.random() < 0.2 else -1
    import_night = draw.randrange(20, 350) if draw.random() < 0.6 else -1
    week_ends = draw.random() < 0.5
    weekly = draw.random() < 0.1
    prunes_from = draw.randrange(20, 200) if draw.random() < 0.4 else nights
    gaps = {draw.randrange(20, 350): draw.randint(3, 20) for _ in range(draw.randrange(3))}
    holidays = ((200, 200 + draw.randint(7, 21)), (350, 360))

    first_tree, old_work, old_dumps = tree, 0.0, 0.0
    found = [Night(Observation(FIRST_NIGHT, int(tree), 0, complete=False), tree)]
    live, snapshots, waiting, silent = int(tree), 1, 0.0, 0
    for number in range(FIRST_NIGHT + 1, nights + 1):
        day, month_day = number % 7, number % 30
        off = day in (5, 6)
        level = rate * draw.lognormvariate(0.0, spread)
        if off:
            level *= 0.05
        if any(first <= number <= last for first, last in holidays):
            level *= 0.15
        if month_day >= 27 or month_day <= 1:
            level *= month_end
        if number >= scanner_night and not off:
            level += scanner * draw.uniform(0.3, 1.7)
        if draw.random() < 1 / 30:
            level += draw.uniform(0.01, 0.06)
        if updates and number % 28 == 9:
            level += updates
        if number == again_night:
            level += draw.uniform(0.005, 0.03)
        # What waits was rewritten twice, perhaps, and is sent once.
        again = (1 - kept) * 0.5 if waiting else 0.0
        waiting += min(level, 0.08) * first_tree * (1 - again)
        imported = int(draw.uniform(0.10, 0.40) * tree) if number == import_night else 0
        silent = max(silent - 1, gaps.get(number, 0))
        if (silent or (weekly and day != 4) or (off and not week_ends)) and not imported:
            continue
        new = int(waiting + dump * tree * draw.uniform(0.95, 1.05)) + imported
        deleted = repacked = gone = 0
        tidying = False
        if number >= prunes_from and day == 4 and snapshots > 12:
            gone = snapshots - 12
            tidying = number < prunes_from + 7
            part = 0.7 if tidying else 0.2
            # A dump fills packs of its own, which die whole: what is repacked is old work.
            repacked = int(
                min(draw.uniform(0.1, 0.8) * part * old_work, (0.10 if tidying else 0.04) * live)
            )
            deleted = int(part * (old_work + old_dumps)) + repacked
            old_work, old_dumps = (1 - part) * old_work, (1 - part) * old_dumps
        seen = Observation(
            number,
            new + repacked,
            live,
            announced_bytes=int(imported * 1.1 + tidying * 0.1 * live) if announced else 0,
            deletions_announced=tidying and announced,
            snapshots_before=snapshots,
            snapshots_deleted=gone,
            deleted_bytes=deleted,
        )
        found.append(Night(seen, tree, bool(imported or tidying)))
        tree += kept * waiting + imported
        old_work += (1 - kept) * waiting
        old_dumps += dump * tree
        live += new + repacked - deleted
        snapshots += 1 - gone
        waiting = 0.0
    return found


def replayed(history: list[Night], tuning: Tuning = TUNING) -> Iterator[tuple[State, Assessment]]:
    """Each night's state before it, and its score once it is whole."""
    state = State()
    for night in history:
        yield state, assess(state, night.seen, tuning)
        state = close(state, night.seen, tuning)


def under_attack(
    history: list[Night], first: int, attack: Attack, seed: int, share: float = 1.0
) -> tuple[list[Night], list[int]]:
    """The history from its entry `first` on, as far as the attack lasts, and the dirty bytes of
    each of these nights. Files are encrypted every night, whether a deposit follows or not.
    Encrypted content does not compress: the dirty bytes exceed what the files took."""
    draw = Random(f"attack {seed}")  # noqa: S311
    whole = int(history[first].tree_bytes * attack.share * share * draw.uniform(1.0, 1.3))
    nights: list[Night] = []
    dirties: list[int] = []
    begins, done, before = history[first].seen.night, 0, 0
    for night in history[first:]:
        if done == whole:
            break
        passed = min(night.seen.night - begins + 1, attack.nights)
        dirty = whole * passed // attack.nights - done
        lists = dirty // 200 if attack.renamed else 0
        seen = replace(
            night.seen,
            new_bytes=night.seen.new_bytes + dirty + lists,
            live_bytes=night.seen.live_bytes + before,
            snapshots_deleted=max(night.seen.snapshots_deleted, 1 if attack.prunes else 0),
        )
        nights.append(replace(night, seen=seen))
        dirties.append(dirty)
        done += dirty
        before += dirty + lists
    return nights, dirties


def raised_at(
    state: State,
    nights: list[Night],
    dirties: list[int],
    tuning: Tuning = TUNING,
    threshold: float = 1.0,
) -> float | None:
    """The part of the dirty bytes that had arrived when the alarm was raised; None if it was not.
    Dirty and clean files arrive mixed, as restic walks the folders in order of name."""
    total, before = sum(dirties), 0
    for night, dirty in zip(nights, dirties, strict=True):
        whole = night.seen.new_bytes
        if assess(state, night.seen, tuning).score >= threshold:
            step = step_bytes(night.seen.live_bytes)
            for arrived in (*range(step, whole, step), whole):
                partial = replace(night.seen, new_bytes=arrived)
                if assess(state, partial, tuning).score >= threshold:
                    part: float = (before + dirty * arrived / whole) / total
                    return part
        before += dirty
        state = close(state, night.seen, tuning)
    return None
