"""Egress: nothing leaves the machine unless an operator allowed it.

Each outgoing client asks for `permitted(host, port, purpose, data_class)` against the allow-list,
which is empty by default; `install_hook` refuses every other connection. Loopback is home.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import journal, rooms
from souverain.core.access import SYSTEM, Actor
from souverain.core.models import EgressRule
from souverain.core.rooms import DataClass, Outlet

_GUARDED = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_open: ContextVar[frozenset[tuple[str, int]]] = ContextVar("open_egress", default=frozenset())


class EgressRefused(PermissionError):
    """A connection that no rule allows. The message is in French."""


def is_loopback(host: str) -> bool:
    """Whether a host name or an address is this very machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def purposes() -> list[str]:
    """What an egress rule can be for: the outlets that the manifests declare."""
    return list(dict.fromkeys(outlet.purpose for outlet in rooms.every("outlets")))


def _spelt(host: str) -> str:
    """The one spelling of a host: an address, or a name as the DNS writes it (RFC 1123, IDNA).
    Empty when it is neither."""
    try:
        return str(ipaddress.ip_address(host.strip().strip("[]")))
    except ValueError:
        pass
    try:
        name = host.strip().rstrip(".").encode("idna").decode().lower()
    except UnicodeError:
        return ""
    return name if len(name) <= 253 and all(map(_LABEL.fullmatch, name.split("."))) else ""


def allow(
    actor: Actor, host: str, port: int, purpose: str, data_classes: Iterable[DataClass]
) -> EgressRule:
    """Open one destination for one purpose and some data classes; the caller checked the right.
    Raises ValidationError for what no connection could ever be."""
    spelt = _spelt(host)
    if not spelt:
        raise ValidationError(
            f"« {host} » n'est ni un nom de machine ni une adresse : sans https://, sans port."
        )
    if not 1 <= port <= 65535:
        raise ValidationError(f"Le port {port} n'existe pas : de 1 à 65535.")
    if purpose not in purposes():
        raise ValidationError(
            f"L'usage « {purpose} » n'existe pas. Les usages sont : {', '.join(purposes())}."
        )
    classes = sorted({str(data_class) for data_class in data_classes})
    with transaction.atomic():
        rule, _ = EgressRule.objects.update_or_create(
            host=spelt,
            port=port,
            purpose=purpose,
            defaults={"data_classes": classes},
        )
        journal.append(
            actor,
            "egress.allowed",
            object=f"{rule.host}:{port}",
            data={"purpose": purpose, "data_classes": classes},
        )
    return rule


@transaction.atomic
def remove(actor: Actor, rule: EgressRule) -> None:
    """Close a destination."""
    journal.append(
        actor,
        "egress.removed",
        object=f"{rule.host}:{rule.port}",
        data={"purpose": rule.purpose},
    )
    rule.delete()


@dataclass(frozen=True)
class Missing:
    """A destination that the settings need and no rule allows."""

    outlet: Outlet
    host: str
    port: int
    data_classes: tuple[str, ...]

    @property
    def command(self) -> str:
        """What the operator types to allow it."""
        classes = "".join(f" --data-class {name}" for name in self.data_classes)
        return (
            f"souverain egress allow {self.host} {self.port} --purpose {self.outlet.purpose}"
            f"{classes}"
        )


def missing() -> list[Missing]:
    """What the settings send to machines that the allow-list does not name, or not for all that
    goes there."""
    found = []
    for outlet in rooms.every("outlets"):
        there = outlet.goes_to()
        if there is None or is_loopback(there.host):
            continue
        rule = _rule(there.host, there.port, outlet.purpose)
        if rule is None or not there.data_classes <= set(rule.data_classes):
            # The command replaces the rule: it names what the rule has, too.
            classes = {*there.data_classes, *(rule.data_classes if rule else ())}
            found.append(Missing(outlet, there.host, there.port, tuple(sorted(classes))))
    return found


def _rule(host: str, port: int, purpose: str) -> EgressRule | None:
    return EgressRule.objects.filter(host=_spelt(host), port=port, purpose=purpose).first()


def permit(host: str, port: int, purpose: str, data_class: DataClass) -> None:
    """Raise `EgressRefused`, with a journal entry, unless a rule allows this destination."""
    if is_loopback(host):
        return
    rule = _rule(host, port, purpose)
    if rule is not None and data_class in rule.data_classes:
        return
    journal.refuse(
        SYSTEM, "egress.refused", object=f"{host}:{port}", reason=f"{purpose} {data_class}"
    )
    raise EgressRefused(
        f"Sortie refusée vers {host}:{port} ({purpose}, données « {data_class} ») : "
        "un opérateur doit d'abord l'autoriser."
    )


@contextmanager
def permitted(host: str, port: int, purpose: str, data_class: DataClass) -> Iterator[None]:
    """Within this block, connections to the addresses of one allowed destination pass the hook."""
    permit(host, port, purpose, data_class)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    token = _open.set(_open.get() | {(str(address[0]), port) for *_, address in found})
    try:
        yield
    finally:
        _open.reset(token)


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _GUARDED:
        return
    connection, address = arguments
    # `sendmsg` without an address goes where `connect` was let through.
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or address is None:
        return
    host, port = str(address[0]), address[1]
    if not is_loopback(host) and (host, port) not in _open.get():
        raise EgressRefused(f"Sortie refusée vers {host}:{port} : elle n'a pas été autorisée.")


def install_hook() -> None:
    """Refuse, for the rest of this process, every connection outside a `permitted` block.
    It sees Python's sockets only: the unit files and the firewall stop native code."""
    sys.addaudithook(_guard)
