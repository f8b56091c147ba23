"""The alarm's engine on synthetic nights. The seeds here are the tuning's: the final score is in
`benchmarks/vault_alarm.py`, on seeds that chose nothing."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from souverain.vault.engine import nights, ransomware
from souverain.vault.engine.ransomware import Cause, Level, Observation, State, assess, close

COUNT, LONG = 5, 120


def states_of(seed: int, length: int = 365) -> tuple[list[nights.Night], list[State]]:
    history = nights.ordinary(seed, length)
    return history, [state for state, _ in nights.replayed(history)]


shares = st.floats(0, 0.5, allow_nan=False)
states = st.builds(
    State,
    night=st.just(99),
    first_night=st.sampled_from([1, 90]),
    latest_bytes=st.floats(0, 1e11),
    shares=st.lists(shares, max_size=50).map(tuple),
    known_nights=st.integers(0, 60),
    slow=st.floats(0, 0.3),
    slow_since=st.integers(60, 99),
    deleted_share=st.floats(0, 1),
    accepted_share=shares,
)
observations = st.builds(
    Observation,
    night=st.integers(100, 130),
    new_bytes=st.integers(0, 10**11),
    live_bytes=st.integers(0, 10**11),
    announced_bytes=st.integers(0, 10**10),
    deleted_bytes=st.integers(0, 10**11),
    snapshots_before=st.integers(0, 100),
    snapshots_deleted=st.integers(0, 100),
    complete=st.booleans(),
)


@given(states, observations, st.integers(0, 10**11))
def test_more_new_bytes_never_lower_the_score(state: State, seen: Observation, more: int) -> None:
    dirtier = replace(seen, new_bytes=seen.new_bytes + more)
    assert assess(state, dirtier).score >= assess(state, seen).score


@given(states, observations)
def test_a_night_has_one_score_and_one_next_state_also_through_json(
    state: State, seen: Observation
) -> None:
    again = State.from_json(orjson.loads(orjson.dumps(state.as_json())))
    assert again == state
    assert assess(again, seen) == assess(state, seen)
    assert close(again, seen) == close(state, seen)
    assert len(orjson.dumps(close(state, seen).as_json())) < 4096


def test_ordinary_nights_raise_nothing() -> None:
    for seed in range(1000, 1000 + COUNT):
        history = nights.ordinary(seed, LONG)
        assert len(history) > LONG / 10
        raised = [found for _, found in nights.replayed(history) if found.level is Level.ALARM]
        assert not raised


@pytest.mark.parametrize("attack", nights.ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_raises_before_30_percent_of_its_bytes(attack: nights.Attack) -> None:
    for seed in range(1000, 1000 + COUNT):
        history, states = states_of(seed)
        for first in (len(history) // 3, len(history) // 2):
            found, dirties = nights.under_attack(history, first, attack, seed)
            if any(night.bulk for night in found):
                continue
            part = nights.raised_at(states[first], found, dirties)
            assert part is not None and part < 0.3


def test_an_unannounced_import_raises_and_an_announced_one_does_not() -> None:
    """On the tuning seeds whose import is as large as a fifth of the set."""
    seen = 0
    for seed in range(1000, 1030):
        for announced in (True, False):
            history = nights.ordinary(seed, announced=announced)
            for night, (_, found) in zip(history, nights.replayed(history), strict=True):
                imported = night.bulk and not night.seen.snapshots_deleted
                if imported and night.seen.new_bytes > 0.25 * night.tree_bytes:
                    seen += 1
                    assert (found.level is Level.ALARM) != announced
    assert seen >= 10


def quiet(**changes: object) -> State:
    state = State(night=99, first_night=1, latest_bytes=4e9, shares=(0.003,) * 40, known_nights=60)
    return replace(state, **changes)  # type: ignore[arg-type]


def test_the_first_deposit_is_never_suspect() -> None:
    whole = Observation(100, 10**10, 0, complete=False)
    assert assess(State(), whole).score == 0
    assert close(State(), whole).latest_bytes == 10**10


def test_a_folder_added_in_the_first_week_is_part_of_the_set() -> None:
    state = close(State(), Observation(100, 10**9, 0, complete=False))
    folder = Observation(101, 2 * 10**9, 10**9)
    assert assess(state, folder).level is Level.NONE
    state = close(state, folder)
    assert state.latest_bytes == 3 * 10**9
    later = replace(folder, night=108, live_bytes=3 * 10**9)
    assert assess(state, later).level is Level.ALARM


def test_a_slow_attack_is_dated_from_its_first_night() -> None:
    state = quiet()
    for night in range(100, 112):
        seen = Observation(night, int(0.033 * 4e9), int(4e9))
        found = assess(state, seen)
        if found.level is Level.ALARM:
            break
        state = close(state, seen)
    assert found.cause is Cause.SLOW and found.since == 100
    assert night - 100 < 9, "30 % of 30 nights"
    assert f"Depuis {night - 99} nuits" in found.reason


def test_deletions_raise_when_almost_nothing_is_left_and_it_was_never_so() -> None:
    seen = Observation(100, 0, int(4e9), snapshots_before=40, snapshots_deleted=39)
    assert assess(quiet(), seen).cause is Cause.DELETIONS
    assert assess(quiet(), seen).level is Level.ALARM
    assert assess(quiet(deleted_share=0.98), seen).level is Level.NONE
    assert assess(quiet(), replace(seen, deletions_announced=True)).level is Level.NONE
    assert assess(quiet(), replace(seen, snapshots_deleted=30)).level is Level.NONE
    bytes_gone = replace(seen, snapshots_deleted=1, deleted_bytes=int(2.5e9))
    assert assess(quiet(), bytes_gone).level is Level.ALARM


def test_what_was_accepted_raises_no_more_but_a_whole_set_does() -> None:
    seen = Observation(100, int(0.2 * 4e9), int(4e9))
    assert assess(quiet(), seen).level is Level.ALARM
    state = ransomware.accept(quiet(), seen)
    assert assess(state, seen).score == 0
    state = close(state, seen)
    assert assess(state, replace(seen, night=101)).level is not Level.ALARM
    assert assess(state, replace(seen, night=101, new_bytes=int(1.2e9))).level is Level.ALARM


def test_reasons_are_french() -> None:
    found = assess(quiet(), Observation(100, int(0.22 * 4e9), int(4e9)))
    assert found.reason == (
        "En une nuit, 22 % des dossiers sont arrivés comme neufs, contre 0,3 % d'habitude."
    )
