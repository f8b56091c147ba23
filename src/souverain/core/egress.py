"""Egress: nothing leaves the machine unless an operator allowed it.

Each outgoing client asks for `permitted(host, port, purpose, data_class)` against the allow-list,
which is empty by default; `install_hook` refuses every other connection. Loopback is home.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import transaction

from souverain.core import journal
from souverain.core.access import SYSTEM, Actor
from souverain.core.models import EgressRule
from souverain.core.rooms import DataClass

_GUARDED = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
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


def allow(
    actor: Actor, host: str, port: int, purpose: str, data_classes: Iterable[DataClass]
) -> EgressRule:
    """Open one destination for one purpose and some data classes; the caller checked the right."""
    classes = sorted({str(data_class) for data_class in data_classes})
    with transaction.atomic():
        rule, _ = EgressRule.objects.update_or_create(
            host=host.strip().lower(),
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


def permit(host: str, port: int, purpose: str, data_class: DataClass) -> None:
    """Raise `EgressRefused`, with a journal entry, unless a rule allows this destination."""
    if is_loopback(host):
        return
    rule = EgressRule.objects.filter(host=host.lower(), port=port, purpose=purpose).first()
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
