"""The life of a commune's membership, as a pure state machine.

    (nothing) ─ask→ asked ─join→ joined ─leave→ leaving ─erase→ erasing ─seal→ left
                      └withdraw→ withdrawn ←…     └stay→ joined

A commune that left, or whose request was withdrawn, asks again: a new membership begins.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    ASKED = "asked"
    JOINED = "joined"
    LEAVING = "leaving"
    ERASING = "erasing"
    LEFT = "left"
    WITHDRAWN = "withdrawn"


class Step(StrEnum):
    ASK = "ask"
    JOIN = "join"
    WITHDRAW = "withdraw"
    LEAVE = "leave"
    STAY = "stay"
    ERASE = "erase"
    SEAL = "seal"


OPEN = frozenset({State.ASKED, State.JOINED, State.LEAVING, State.ERASING})
"""A commune has at most one membership in these states."""
MEMBER = frozenset({State.JOINED, State.LEAVING})
"""The commune counts among those that have joined: its tools serve until the erasure begins."""

_STEPS: dict[tuple[State | None, Step], State] = {
    (None, Step.ASK): State.ASKED,
    (State.LEFT, Step.ASK): State.ASKED,
    (State.WITHDRAWN, Step.ASK): State.ASKED,
    (State.ASKED, Step.JOIN): State.JOINED,
    (State.ASKED, Step.WITHDRAW): State.WITHDRAWN,
    (State.JOINED, Step.LEAVE): State.LEAVING,
    (State.LEAVING, Step.STAY): State.JOINED,
    (State.LEAVING, Step.ERASE): State.ERASING,
    (State.ERASING, Step.SEAL): State.LEFT,
}
_PRESENT = {
    None: "la commune n'a pas demandé à rejoindre le Cloud",
    State.ASKED: "la demande attend la signature de la convention",
    State.JOINED: "la commune a rejoint le Cloud",
    State.LEAVING: "la commune a demandé à partir",
    State.ERASING: "l'effacement est en cours",
    State.LEFT: "la commune est partie",
    State.WITHDRAWN: "la demande a été retirée",
}


class ImpossibleStep(Exception):
    """The step does not exist from the present state; the message is a French sentence."""


def follow(state: State | None, step: Step) -> State:
    """The state after a step; None stands for a commune that never asked.

    >>> follow(State.ASKED, Step.JOIN)
    <State.JOINED: 'joined'>
    """
    after = _STEPS.get((state, step))
    if after is None:
        raise ImpossibleStep(f"Impossible maintenant : {_PRESENT[state]}.")
    return after
