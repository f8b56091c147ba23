"""Rooms and their manifests: what each one is, offers, holds and needs.

Every room has a `room.py` with one `ROOM = Room(...)`. `load` imports them in the order of the
`ROOMS` setting; a room whose dependencies are missing is switched off and never stops the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from souverain.core.roles import Role

if TYPE_CHECKING:
    from souverain.core.jobs import JobFunction
    from souverain.core.models import Event
    from souverain.core.queries import Query


class Reach(StrEnum):
    """How far a permission extends for a role."""

    SELF = "self"
    GROUP = "group"
    ORGANISATION = "organisation"
    EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Permission:
    """A named right. `grants` says which role has it and how far; `public` is for anybody."""

    code: str
    title: str
    grants: Mapping[Role, Reach] = field(default_factory=dict)
    public: bool = False


class DataClass(StrEnum):
    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SOCIAL = "social"
    CIVIL_STATUS = "civil-status"
    SECURITY = "security"


@dataclass(frozen=True)
class NavigationItem:
    """A line of the main menu, shown to whom the permission is given. `url` is a route name."""

    title: str
    url: str
    icon: str
    permission: str


class Destination(NamedTuple):
    """Where the settings say that something goes, and what it carries."""

    host: str
    port: int
    data_classes: frozenset[DataClass]


@dataclass(frozen=True)
class Outlet:
    """A reason to reach another machine, which egress rules name. `goes_to` reads the settings:
    None when they send nothing there."""

    purpose: str
    title: str
    goes_to: Callable[[], Destination | None]


@dataclass(frozen=True)
class Setting:
    """An environment variable that the room reads."""

    name: str
    title: str
    default: str


@dataclass(frozen=True)
class Health:
    """The answer of a health check: a state and a sentence in French."""

    ok: bool
    message: str


@dataclass(frozen=True)
class HealthCheck:
    name: str
    title: str
    check: Callable[[], Health]


@dataclass(frozen=True)
class EventKind:
    """An event that the room tells. `safety` marks the ones shown as safety incidents."""

    name: str
    title: str
    safety: bool = False


@dataclass(frozen=True)
class Holding:
    """Data that the room holds: what the privacy notice and the register of processing print."""

    title: str
    data_classes: frozenset[DataClass]
    purpose: str
    legal_basis: str
    retention: str
    recipients: str


@dataclass(frozen=True)
class Subscription:
    """A subscriber of events, called in the worker, at least once, in id order."""

    name: str
    events: frozenset[str]
    deliver: Callable[[Event], None]


@dataclass(frozen=True)
class Periodic:
    """Something that the worker does at a steady interval, in a short transaction."""

    name: str
    every: timedelta
    run: Callable[[], None]


@dataclass(frozen=True)
class Room:
    """A room's manifest."""

    name: str
    title: str
    summary: str
    icon: str
    permissions: Sequence[Permission] = ()
    navigation: Sequence[NavigationItem] = ()
    settings: Sequence[Setting] = ()
    outlets: Sequence[Outlet] = ()
    health: Sequence[HealthCheck] = ()
    events: Sequence[EventKind] = ()
    subscriptions: Sequence[Subscription] = ()
    answers: Sequence[tuple[Query[..., Any], Callable[..., Any]]] = ()
    jobs: Sequence[JobFunction] = ()
    periodic: Sequence[Periodic] = ()
    first_data: Sequence[Callable[[Actor], None]] = ()
    """Called by each `souverain init`: what an empty installation should have to be tried. Quick;
    slow work is submitted as a job, so that a start neither waits for it nor fails by it."""
    holdings: Sequence[Holding] = ()
    verbs: Mapping[str, str] = field(default_factory=dict)
    """What each verb of the room's journal entries says in French."""
    urls: str = ""
    """Dotted module of the pages' routes, mounted on `/<name>/`."""
    api: str = ""
    """Dotted `module:router` of the JSON API, mounted on `/api/<name>/`; the kernel's, on `/api/`."""
    home: bool = False
    """The one room whose pages are mounted on `/`."""


@cache
def load() -> dict[str, Room]:
    """The rooms that are switched on, by name, in the order of the `ROOMS` setting."""
    from django.conf import settings

    loaded: dict[str, Room] = {}
    for name in settings.ROOMS:
        room: Room = importlib.import_module(f"souverain.{name}.room").ROOM
        loaded[name] = room
    return loaded


@cache
def permissions() -> dict[str, Permission]:
    """Every permission of every room, by code; a code declared twice is an error."""
    found: dict[str, Permission] = {}
    for room in load().values():
        for permission in room.permissions:
            if permission.code in found:
                raise ValueError(f"permission {permission.code} is declared twice")
            found[permission.code] = permission
    return found


def menu() -> list[NavigationItem]:
    """The main menu: the home room's lines first, then the others' in the order of the rooms."""
    by_home_first = sorted(load().values(), key=lambda room: not room.home)
    return [item for room in by_home_first for item in room.navigation]


@cache
def verbs() -> dict[str, str]:
    """The French words of every journal verb, by verb."""
    return {verb: words for room in load().values() for verb, words in room.verbs.items()}


def held_classes() -> frozenset[DataClass]:
    """The data classes of everything that the rooms hold."""
    return frozenset[DataClass]().union(*(holding.data_classes for holding in every("holdings")))


def every(attribute: str) -> Iterator[Any]:
    """All the items of one manifest field, over all rooms, in order."""
    for room in load().values():
        yield from getattr(room, attribute)
