"""What the leaves of a vault's log say, and the objects that must live when one believes them.

A leaf is canonical JSON (sorted keys, no spaces, UTF-8): the set, type, name and size in bytes of an
object, the receipt time (RFC 3339, UTC, microseconds) and the event. It holds no personal data. A
`config`, whose name proves nothing, has its SHA-256 beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Self

BIRTH, DEATH, REAPED = "birth", "death", "reaped"
VERSION = 1
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LeafError(ValueError):
    """What was read is not a leaf."""


class Name(NamedTuple):
    """An object of a commune."""

    set: str
    type: str
    name: str

    def __str__(self) -> str:
        if self.type == "config":
            return f"{self.set}/config"
        return f"{self.set}/{self.type}/{self.name}"


@dataclass(frozen=True)
class Leaf:
    """A birth, a death or the destruction of one object; `at` as RFC 3339."""

    object: Name
    size: int
    at: str
    event: str
    sha256: str = ""

    @property
    def instant(self) -> datetime:
        return datetime.fromisoformat(self.at)

    def __bytes__(self) -> bytes:
        told = {
            "v": VERSION,
            **self.object._asdict(),
            "size": self.size,
            "at": self.at,
            "event": self.event,
        }
        if self.sha256:
            told["sha256"] = self.sha256
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises LeafError for anything but the one canonical writing of a leaf."""
        try:
            told = json.loads(content)
            name = Name(told["set"], told["type"], told["name"])
            leaf = cls(name, told["size"], told["at"], told["event"], told.get("sha256", ""))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise LeafError("not a leaf") from None
        texts = (*leaf.object, leaf.at, leaf.event, leaf.sha256)
        if (
            not all(isinstance(text, str) for text in texts)
            or type(leaf.size) is not int
            or leaf.size < 0
            or not _AT.fullmatch(leaf.at)
            or leaf.event not in (BIRTH, DEATH, REAPED)
            or bytes(leaf) != content
        ):
            raise LeafError("not a leaf")
        try:
            _ = leaf.instant
        except ValueError:
            raise LeafError("not a date") from None
        return leaf

    @property
    def digest(self) -> str:
        """The SHA-256 that the object's bytes must have; empty when the log does not say."""
        return self.sha256 or (self.object.name if _SHA256.fullmatch(self.object.name) else "")


@dataclass(frozen=True)
class Odd:
    """A leaf that cannot follow the ones before it. `why`: `born-twice`, `never-born`, `earlier`."""

    index: int
    leaf: Leaf
    why: str


@dataclass
class State:
    """Where a log's leaves lead: the birth of each object that lives, the last birth of each that
    was deleted and whose bytes must be there still, and what no honest log would say."""

    living: dict[Name, Leaf] = field(default_factory=dict)
    deleted: dict[Name, Leaf] = field(default_factory=dict)
    odd: list[Odd] = field(default_factory=list)


def replay(leaves: Iterable[Leaf]) -> State:
    """What must be there when one believes the leaves, given in the log's order."""
    state = State()
    latest: dict[str, str] = {}
    for index, leaf in enumerate(leaves):
        name = leaf.object
        why = "earlier" if leaf.at < latest.get(name.set, "") else ""
        latest[name.set] = leaf.at
        if leaf.event == BIRTH:
            why = "born-twice" if name in state.living else why
            state.living[name] = leaf
            state.deleted.pop(name, None)
        elif leaf.event == DEATH and name in state.living:
            state.deleted[name] = state.living.pop(name)
        elif leaf.event == DEATH or state.deleted.pop(name, None) is None:
            why = "never-born"
        if why:
            state.odd.append(Odd(index, leaf, why))
    return state
