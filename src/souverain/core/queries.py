"""Queries: what one room may ask another, through a typed question declared here.

A room's manifest registers its answer. A question has one answerer (`ask`) or many (`ask_all`);
a caller handles None and the empty list: the other room may be switched off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Generic, ParamSpec, TypeVar

from souverain.core import rooms

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Query(Generic[P, R]):
    """A typed question, by name."""

    name: str
    title: str

    def ask(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The first room's answer that is not None."""
        return next(iter(self.ask_all(*args, **kwargs)), None)

    def ask_all(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        """Every room's answer, in the order of the rooms, without the Nones."""
        given = (
            answer(*args, **kwargs) for query, answer in rooms.every("answers") if query is self
        )
        return [answer for answer in given if answer is not None]


@dataclass(frozen=True)
class Membership:
    """A commune's place in Cloud Côte-d'Or: since when, and which tools it chose."""

    code: str
    joined_on: date
    tools: frozenset[str]


@dataclass(frozen=True)
class Card:
    """What one room says about a commune: a state, one French sentence, where to read more."""

    room: str
    title: str
    state: str
    """`ok`, `warn`, `danger` or `neutral`."""
    sentence: str
    url: str
    icon: str


membership: Query[[str], Membership] = Query(
    "membership", "L'adhésion d'une commune à Cloud Côte-d'Or, par son code INSEE"
)
commune_card: Query[[str], Card] = Query(
    "commune_card", "Ce qu'un système fait pour une commune, par son code INSEE"
)
members: Query[[], dict[str, Membership]] = Query(
    "members", "Toutes les communes qui ont adhéré, par code INSEE"
)
export_of_commune: Query[[str], dict[str, object]] = Query(
    "export_of_commune", "Tout ce qu'un système détient sur une commune, pour son départ"
)

ALL: tuple[Query[..., object], ...] = (membership, commune_card, members, export_of_commune)
