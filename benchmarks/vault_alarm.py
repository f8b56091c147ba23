"""The ransomware alarm beside fixed rules, on synthetic nights: false alarms and how early.

Everything is synthetic (`souverain.vault.engine.nights`). The constants of the detector were chosen
on the seeds from 1000 to 2299; the score below is on seeds from 9000, which chose nothing. A ROC:
the same scores cut at other thresholds. Peers: what an administrator would write by hand, more
than three times the median of the last 30 nights, or more than a fifth of the live bytes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

from souverain.vault.engine import nights
from souverain.vault.engine.nights import ATTACKS, Attack, Night
from souverain.vault.engine.ransomware import State, step_bytes

FINAL, EACH = 9000, 4
Rule = Callable[[list[int], Night, int], bool]
"""(new bytes of the nights before, tonight, new bytes so far) → raise."""


def triple_median(past: list[int], tonight: Night, arrived: int) -> bool:
    return len(past) >= 12 and arrived > 3 * statistics.median(past[-30:])


def fifth_of_live(past: list[int], tonight: Night, arrived: int) -> bool:
    return tonight.seen.live_bytes > 0 and arrived > 0.2 * tonight.seen.live_bytes


RULES: dict[str, Rule] = {"> 3 × median": triple_median, "> 20 % of live": fifth_of_live}


def unannounced(night: Night) -> int:
    return max(night.seen.new_bytes - night.seen.announced_bytes, 0)


def rule_raised_at(
    rule: Rule, past: list[int], found: list[Night], dirties: list[int]
) -> float | None:
    past, before = list(past), 0
    for night, dirty in zip(found, dirties, strict=True):
        whole, step = unannounced(night), step_bytes(night.seen.live_bytes)
        for arrived in (*range(step, whole, step), whole):
            if whole and rule(past, night, arrived):
                return (before + dirty * arrived / whole) / sum(dirties)
        past.append(whole)
        before += dirty
    return None


def attacks_on(history: list[Night], seed: int) -> list[tuple[Attack, float, int, int]]:
    """(attack, share of the tree, first entry, seed), spread over the year after the 40th night."""
    ordinals = [night.seen.night for night in history]
    made = []
    for number, attack in enumerate(ATTACKS):
        for turn in range(EACH):
            day = 40 + (seed * 37 + number * 59 + turn * 83) % 290
            first = next(index for index, night in enumerate(ordinals) if night >= day)
            made += [(attack, share, first, seed * 10 + turn) for share in (1.0, 0.5)]
    return made


def late(parts: list[float | None]) -> str:
    missed = sum(part is None or part >= 0.3 for part in parts)
    found = sorted(2.0 if part is None else part for part in parts)
    middle, high = found[len(found) // 2], found[int(0.95 * len(found))]
    shown = [f"{value:.0%}" if value <= 1 else "never" for value in (middle, high)]
    return f"{len(parts) - missed}/{len(parts)} (median {shown[0]}, p95 {shown[1]})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--communes", type=int, default=50)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--first-seed", type=int, default=FINAL)
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.communes)
    start = time.process_time()
    histories = {seed: nights.ordinary(seed, asked.nights) for seed in seeds}
    replays = {seed: list(nights.replayed(history)) for seed, history in histories.items()}
    count = sum(map(len, histories.values()))
    print(f"{asked.communes} communes, {asked.nights} nights, {count} nights with a deposit")
    print(f"generated and judged in {time.process_time() - start:.1f} s of CPU, all synthetic\n")

    cuts = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4)
    scores = [(seed, found.score) for seed, made in replays.items() for _, found in made]
    parts: dict[tuple[str, float, float], list[float | None]] = {}
    rules: dict[tuple[str, str, float], list[float | None]] = {}
    hidden: list[float | None] = []
    for seed, history in histories.items():
        states: list[State] = [state for state, _ in replays[seed]]
        past = [unannounced(night) for night in history]
        for attack, share, first, turn in attacks_on(history, seed):
            found, dirties = nights.under_attack(history, first, attack, turn, share)
            if not sum(dirties):
                continue
            if any(night.bulk for night in found):
                if share == 1.0:
                    hidden.append(nights.raised_at(states[first], found, dirties))
                continue
            for cut in cuts:
                part = nights.raised_at(states[first], found, dirties, threshold=cut)
                parts.setdefault((attack.name, share, cut), []).append(part)
            for name, rule in RULES.items():
                part = rule_raised_at(rule, past[:first], found, dirties)
                rules.setdefault((name, attack.name, share), []).append(part)

    print("False alarms on ordinary nights, and attacks raised before 30 % of their bytes")
    nightly = sum(score >= 1 for _, score in scores)
    touched = len({seed for seed, score in scores if score >= 1})
    print(f"  ours: {nightly} nights in {touched} communes")
    for name, rule in RULES.items():
        wrong = [
            seed
            for seed, history in histories.items()
            for index, night in enumerate(history)
            if index
            and rule([unannounced(n) for n in history[:index]][-30:], night, unannounced(night))
        ]
        print(f"  {name}: {len(wrong)} nights in {len(set(wrong))} communes")
    for share in (1.0, 0.5):
        print(f"\nAttacks on {share:.0%} of the tree")
        for attack in ATTACKS:
            print(f"  {attack.name}: ours {late(parts[attack.name, share, 1.0])}")
            for name in RULES:
                print(f"    {name}: {late(rules[name, attack.name, share])}")
    print(f"\nIn the nights of an announced import: {late(hidden)}" if hidden else "")

    print("\nROC: threshold, false alarms (nights, communes), part raised before 30 %, whole tree")
    for cut in cuts:
        wrong = [seed for seed, score in scores if score >= cut]
        told = []
        for attack in ATTACKS:
            found_parts = parts[attack.name, 1.0, cut]
            early = sum(part is not None and part < 0.3 for part in found_parts)
            told.append(f"{early / len(found_parts):.1%}")
        print(f"  {cut:.1f}  {len(wrong)}, {len(set(wrong))}  {'  '.join(told)}")

    silent = {seed: nights.ordinary(seed, asked.nights, announced=False) for seed in seeds}
    bulk = [
        (night, assessment)
        for history in silent.values()
        for night, (_, assessment) in zip(history, nights.replayed(history), strict=True)
        if night.bulk
    ]
    for name, chosen in (
        ("imports of 10 to 40 %", [b for b in bulk if not b[0].seen.snapshots_deleted]),
        ("first deletions of old snapshots", [b for b in bulk if b[0].seen.snapshots_deleted]),
    ):
        raised = sum(found.score >= 1 for _, found in chosen)
        print(f"\nUnannounced {name}: {raised} of {len(chosen)} raise", end="")
    print()


if __name__ == "__main__":
    main()
