"""What one vault tells another of its records, and what is believed of it.

Everything that comes from the other site passes here first: shapes, names, sizes and instants are
checked, and the order of events, before anything is written. What cannot be is `Disbelieved`.
An instant is RFC 3339, UTC, microseconds. An event's place is its instant and the number of its row
at the site that tells it: places only grow.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

VERSION = 1
BIRTH, DEATH = "birth", "death"
PAGE_EVENTS, PAGE_COMMUNES, PAGE_LEAVES = 1000, 100, 2000
LEAF_MAX = 1000  # characters
FUTURE_MAX = timedelta(days=1)
"""How far ahead of ours the other clock may be."""
_MIB = 1 << 20
SIZE_MAX: dict[str, int] = {
    "config": _MIB,
    "keys": _MIB,
    "snapshots": 16 * _MIB,
    "index": 256 * _MIB,
    "data": 256 * _MIB,
}
"""Bytes that an object of each type may have, as the server takes them."""
ROLES = frozenset({"backup", "restore", "prune"})
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMUNE = re.compile(r"[0-9][0-9AB][0-9]{3}")
_SET = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ID = re.compile(r"[0-9a-f]{16}")
_ROWS = 1 << 62


class Disbelieved(ValueError):
    """What the other site says cannot be. The message is in French."""


class Place(NamedTuple):
    """Where an event is in its set's order."""

    at: datetime
    row: int

    def __str__(self) -> str:
        return f"{instant_text(self.at)}/{self.row}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises Disbelieved."""
        at, _, row = text.partition("/")
        if not row.isascii() or not row.isdigit() or len(row) > 19:
            raise Disbelieved("position illisible")
        return cls(instant(at), int(row))


@dataclass(frozen=True)
class Event:
    """The birth or the death of one object. `reaped`: its bytes have left the disk there."""

    place: Place
    event: str
    type: str
    name: str
    size: int
    device: str
    sha256: str
    reaped: bool

    def told(self) -> dict[str, Any]:
        return {
            "at": instant_text(self.place.at),
            "row": self.place.row,
            "event": self.event,
            "type": self.type,
            "name": self.name,
            "size": self.size,
            "device": self.device,
            "sha256": self.sha256,
            "reaped": self.reaped,
        }


@dataclass(frozen=True)
class Machine:
    """A device, with what verifies its credential and never the credential."""

    id: str
    name: str
    set: str
    roles: tuple[str, ...]
    verifier: str
    created_at: datetime
    revoked: bool


@dataclass(frozen=True)
class Kept:
    """A hold that is on."""

    row: int
    kind: str
    reason: str
    reference: str


@dataclass(frozen=True)
class DeclaredSet:
    """A deposit set as the other site declares it."""

    code: str
    title: str
    kind: str
    retention: str
    fresh_hours: int
    created_at: datetime
    head: datetime | None
    lock_days: int
    destroyed_at: datetime | None
    holds: tuple[Kept, ...]
    copied_from: str
    copied_to: Place | None
    """Up to where it was copied from the site `copied_from`, in that one's order; None: nothing."""


@dataclass(frozen=True)
class DeclaredCommune:
    """A commune that has a vault there."""

    code: str
    name: str
    quota_bytes: int | None
    log_size: int
    log_cosigned: int
    sets: tuple[DeclaredSet, ...]
    devices: tuple[Machine, ...]


@dataclass(frozen=True)
class Greeting:
    """What the other site says of itself."""

    site: str
    role: str
    epoch: int
    now: datetime
    log_key: str


@dataclass(frozen=True)
class LogPage:
    """Leaves of a commune's log, and the checkpoint that they lead to."""

    size: int
    checkpoint: str
    signature: str
    leaves: tuple[str, ...]
    witnesses: tuple[tuple[str, str], ...]
    """(name, public key) of those who may cosign."""
    cosignatures: tuple[tuple[str, str, datetime], ...]
    """(public key, line, instant at which it came) of those who did, at this size."""


def instant_text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant(text: Any) -> datetime:
    """Raises Disbelieved for anything but the one writing of an instant."""
    if not isinstance(text, str) or not _AT.fullmatch(text):
        raise Disbelieved("instant illisible")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Disbelieved("instant illisible") from None


# Reading -----------------------------------------------------------------------------------------


def _field(told: Any, name: str) -> Any:
    if not isinstance(told, Mapping) or name not in told:
        raise Disbelieved(f"réponse sans « {name} »")
    return told[name]


def _text(told: Any, name: str, longest: int) -> str:
    found = _field(told, name)
    if not isinstance(found, str) or len(found) > longest or "\0" in found:
        raise Disbelieved(f"« {name} » n'est pas un texte de {longest} caractères au plus")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise Disbelieved(f"« {name} » n'est pas un texte") from None
    return found


def _like(told: Any, name: str, pattern: re.Pattern[str]) -> str:
    found = _text(told, name, 200)
    if not pattern.fullmatch(found):
        raise Disbelieved(f"« {name} » est mal formé : « {found[:80]} »")
    return found


def _number(told: Any, name: str, highest: int) -> int:
    found = _field(told, name)
    if type(found) is not int or not 0 <= found <= highest:
        raise Disbelieved(f"« {name} » n'est pas un nombre de 0 à {highest}")
    return found


def _yes(told: Any, name: str) -> bool:
    found = _field(told, name)
    if type(found) is not bool:
        raise Disbelieved(f"« {name} » n'est ni vrai ni faux")
    return found


def _items(told: Any, name: str, most: int) -> Sequence[Any]:
    found = _field(told, name)
    if not isinstance(found, list) or len(found) > most:
        raise Disbelieved(f"« {name} » n'est pas une liste de {most} éléments au plus")
    return found


def _maybe(told: Any, name: str) -> datetime | None:
    found = _field(told, name)
    return None if found is None else instant(found)


def _not_later(at: datetime | None, now: datetime) -> None:
    if at is not None and at > now + FUTURE_MAX:
        raise Disbelieved(f"instant à venir : {instant_text(at)}. Vérifiez l'heure des deux sites")


def greeting(told: Any, now: datetime) -> Greeting:
    """Raises Disbelieved."""
    if _number(told, "version", _ROWS) != VERSION:
        raise Disbelieved("l'autre site parle une autre version : mettez les deux à jour")
    role = _text(told, "role", 8)
    if role not in ("first", "copy", "fenced"):
        raise Disbelieved("rôle inconnu")
    at = instant(_field(told, "now"))
    _not_later(at, now)
    return Greeting(
        _like(told, "site", _ID),
        role,
        _number(told, "epoch", _ROWS),
        at,
        _like(told, "log_key", _SHA256),
    )


def communes(told: Any, after: str, now: datetime) -> tuple[list[DeclaredCommune], bool]:
    """(communes in order of their codes, whether more follow). Raises Disbelieved."""
    found = [_commune(item, now) for item in _items(told, "items", PAGE_COMMUNES)]
    codes = [after, *(item.code for item in found)]
    if any(left >= right for left, right in itertools.pairwise(codes)):
        raise Disbelieved("communes dans le désordre")
    more = _yes(told, "more")
    if more and not found:
        raise Disbelieved("page vide qui annonce une suite")
    return found, more


def _commune(told: Any, now: datetime) -> DeclaredCommune:
    log = _field(told, "log")
    quota = _field(told, "quota_bytes")
    sets = tuple(_set(item, now) for item in _items(told, "sets", 500))
    machines = tuple(_machine(item) for item in _items(told, "devices", 10_000))
    if len({item.code for item in sets}) != len(sets):
        raise Disbelieved("dépôt déclaré deux fois")
    return DeclaredCommune(
        _like(told, "code", _COMMUNE),
        _text(told, "name", 160),
        None if quota is None else _number(told, "quota_bytes", 10**15),
        _number(log, "size", _ROWS),
        _number(log, "cosigned", _ROWS),
        sets,
        machines,
    )


def _set(told: Any, now: datetime) -> DeclaredSet:
    head = _maybe(told, "head")
    _not_later(head, now)
    copied = _field(told, "copied")
    code = _like(told, "code", _SET)
    if code == "log":
        raise Disbelieved("dépôt nommé « log »")
    return DeclaredSet(
        code,
        _text(told, "title", 120),
        _text(told, "kind", 20),
        _text(told, "retention", 20),
        _number(told, "fresh_hours", 24 * 366),
        instant(_field(told, "created_at")),
        head,
        _number(told, "lock_days", 3650),
        _maybe(told, "destroyed_at"),
        tuple(_hold(item) for item in _items(told, "holds", 200)),
        "" if copied is None else _like(copied, "site", _ID),
        None
        if copied is None or copied.get("to") is None
        else Place.parse(_text(copied, "to", 60)),
    )


def _hold(told: Any) -> Kept:
    kind = _text(told, "kind", 10)
    if kind not in ("legal", "freeze"):
        raise Disbelieved("conservation d'une nature inconnue")
    reason = _text(told, "reason", 300)
    return Kept(_number(told, "row", _ROWS), kind, reason, _text(told, "reference", 120))


def _machine(told: Any) -> Machine:
    roles = tuple(_items(told, "roles", 3))
    if not all(isinstance(role, str) for role in roles) or not set(roles) <= ROLES:
        raise Disbelieved("droit d'appareil inconnu")
    return Machine(
        _like(told, "id", _ID),
        _text(told, "name", 80),
        _like(told, "set", _SET),
        roles,
        _like(told, "verifier", _SHA256),
        instant(_field(told, "created_at")),
        _yes(told, "revoked"),
    )


def events(told: Any, after: Place | None, now: datetime) -> list[Event]:
    """Events after a place, in order. Raises Disbelieved."""
    found = [_event(item, now) for item in _items(told, "items", PAGE_EVENTS)]
    last = after
    for event in found:
        if last is not None and event.place <= last:
            raise Disbelieved("les événements reviennent en arrière")
        last = event.place
    return found


def left(told: Any) -> tuple[int, int]:
    """(events, bytes of their objects) that are still to come. Raises Disbelieved."""
    return _number(told, "left", _ROWS), _number(told, "left_bytes", _ROWS)


def _event(told: Any, now: datetime) -> Event:
    place = Place(instant(_field(told, "at")), _number(told, "row", _ROWS))
    _not_later(place.at, now)
    event, kind = _text(told, "event", 8), _text(told, "type", 10)
    if event not in (BIRTH, DEATH) or kind not in SIZE_MAX:
        raise Disbelieved("événement ou type inconnu")
    name = _text(told, "name", 64)
    if name != "config" if kind == "config" else not _SHA256.fullmatch(name):
        raise Disbelieved(f"nom d'objet mal formé : « {name} »")
    sha256 = _text(told, "sha256", 64)
    reaped = _yes(told, "reaped")
    if kind != "config" and sha256 != name:
        raise Disbelieved("empreinte qui n'est pas le nom")
    if event == BIRTH and not reaped and not _SHA256.fullmatch(sha256):
        raise Disbelieved("« config » sans empreinte")
    return Event(
        place,
        event,
        kind,
        name,
        _number(told, "size", SIZE_MAX[kind]),
        _like(told, "device", _ID),
        sha256,
        reaped,
    )


def event_again(told: Any) -> Event:
    """An event that was believed and kept before."""
    return _event(told, datetime.max.replace(tzinfo=UTC) - 2 * FUTURE_MAX)


def log_page(told: Any, now: datetime) -> LogPage:
    """Raises Disbelieved."""
    leaves = tuple(_items(told, "leaves", PAGE_LEAVES))
    if not all(isinstance(leaf, str) and len(leaf) <= LEAF_MAX for leaf in leaves):
        raise Disbelieved("feuille illisible")
    cosignatures = []
    for item in _items(told, "cosignatures", 200):
        received_at = instant(_field(item, "received_at"))
        _not_later(received_at, now)
        cosignatures.append((_text(item, "key", 300), _text(item, "line", 1000), received_at))
    return LogPage(
        _number(told, "size", _ROWS),
        _text(told, "checkpoint", 2000),
        _text(told, "signature", 1000),
        leaves,
        tuple(
            (_text(item, "name", 80), _text(item, "key", 300))
            for item in _items(told, "witnesses", 200)
        ),
        tuple(cosignatures),
    )
