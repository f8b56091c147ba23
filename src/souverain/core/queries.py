"""Queries: what one room may ask another, through a typed question declared here.

A room's manifest registers its answer. A question has one answerer (`ask`) or many (`ask_all`);
a caller handles None and the empty list: the other room may be switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, ParamSpec, TypeVar

from souverain.core import rooms
from souverain.core.access import Actor

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


@dataclass(frozen=True)
class Awaited:
    """Something that waits for the reader: how many, in words, and where."""

    icon: str
    sentence: str
    links: tuple[tuple[str, str], ...] = ()
    kind: str = "warn"
    """`danger` comes before `warn`."""


@dataclass(frozen=True)
class ExportedFile:
    """A file that a room gives back, streamed. `path` is relative and POSIX."""

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Export:
    """All that one room holds on a commune: tables of records (JSON objects) and files."""

    room: str
    title: str
    records: Mapping[str, Iterable[Mapping[str, Any]]] = field(default_factory=dict)
    files: Iterable[ExportedFile] = ()
    file_count: int = 0
    file_bytes: int = 0


@dataclass(frozen=True)
class Erased:
    """Something that a room forgot: how many, their bytes, and the SHA-256 over the sorted names
    of the objects, one a line (empty where there are no names)."""

    title: str
    count: int
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Forgotten:
    """What one room forgot of a commune, in the caller's transaction."""

    room: str
    title: str
    items: tuple[Erased, ...]


@dataclass(frozen=True)
class Kept:
    """What still keeps a room from erasing a commune that leaves: until when (None: as long as
    somebody does not act), and why, in a French sentence."""

    room: str
    until: datetime | None
    sentence: str


class StillKept(Exception):
    """A room refuses to forget what it must still keep; the message is a French sentence."""


@dataclass(frozen=True)
class View:
    """A street view near a place: its page, when it was taken, how far it is, where it looks from
    (RGF93 degrees), and the heading from true north that faces the place."""

    url: str
    taken_at: datetime
    distance_m: float
    longitude_deg: float
    latitude_deg: float
    heading_deg: float


@dataclass(frozen=True)
class PageLink:
    """A page of a room, and what one reads there, in French."""

    title: str
    url: str


membership: Query[[str], Membership] = Query(
    "membership", "L'adhésion d'une commune au Cloud, par son code INSEE"
)
commune_card: Query[[str], Card] = Query(
    "commune_card", "Ce qu'un système fait pour une commune, par son code INSEE"
)
awaited: Query[[Actor], tuple[Awaited, ...]] = Query(
    "awaited", "Ce qu'un système attend de cette personne"
)
members: Query[[], dict[str, Membership]] = Query(
    "members", "Toutes les communes qui ont adhéré, par code INSEE"
)
export_of_commune: Query[[str], Export] = Query(
    "export_of_commune", "Tout ce qu'un système détient sur une commune, pour son départ"
)
end_of_commune: Query[[str], int] = Query(
    "end_of_commune",
    "Mettre fin à ce qu'un système tient d'une commune qui part, sans rien détruire encore",
)
erasable_on: Query[[str], Kept] = Query(
    "erasable_on", "Ce qui retient encore les données d'une commune qui part, et jusqu'à quand"
)
forget_commune: Query[[str], Forgotten] = Query(
    "forget_commune",
    "Oublier les enregistrements d'une commune qui part, dans la transaction de qui le demande",
)
sweep_commune: Query[[str], int] = Query(
    "sweep_commune",
    "Détruire les fichiers d'une commune qu'aucun enregistrement ne garantit plus ; "
    "peut être redemandé",
)
nearest_view: Query[[float, float, datetime | None], View] = Query(
    "nearest_view",
    "La vue de rue la plus proche d'un lieu (longitude, latitude), à une date ou la dernière",
)
asset_links: Query[[str], tuple[PageLink, ...]] = Query(
    "asset_links", "Les pages où un ouvrage ou un équipement est montré, par son identifiant"
)

ALL: tuple[Query[..., object], ...] = (
    membership,
    commune_card,
    awaited,
    members,
    export_of_commune,
    end_of_commune,
    erasable_on,
    forget_commune,
    sweep_commune,
    nearest_view,
    asset_links,
)
