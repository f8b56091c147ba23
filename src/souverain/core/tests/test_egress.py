"""The allow-list in the database, and the hook in processes of its own (it cannot be removed)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from souverain.core import egress
from souverain.core.access import SYSTEM
from souverain.core.models import JournalEntry
from souverain.core.rooms import DataClass

HOOKED = """
import django, socket, sys
django.setup()
from souverain.core import egress
from souverain.core.rooms import DataClass
egress.permit = lambda *arguments: None
egress.install_hook()

def outcome(action):
    try:
        action()
    except egress.EgressRefused:
        return "refused"
    except OSError:
        return "passed"
    return "passed"

def tcp(host, port, family=socket.AF_INET):
    with socket.socket(family) as connection:
        connection.settimeout(0.2)
        connection.connect((host, port))

def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("192.0.2.1", 53))
"""


def hooked(expression: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", f"{HOOKED}\n{expression}"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "souverain.config.settings"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("lambda: tcp('192.0.2.1', 80)", "refused"),
        ("lambda: tcp('2001:db8::1', 80, socket.AF_INET6)", "refused"),
        ("lambda: tcp('::ffff:192.0.2.1', 80, socket.AF_INET6)", "refused"),
        ("udp", "refused"),
        ("lambda: tcp('127.0.0.1', 9)", "passed"),
        ("lambda: tcp('::1', 9, socket.AF_INET6)", "passed"),
        ("lambda: socket.socket(socket.AF_UNIX).connect('/nonexistent')", "passed"),
    ],
)
def test_the_hook_refuses_everything_but_home(action: str, expected: str) -> None:
    assert hooked(f"print(outcome({action}))") == expected


def test_within_permitted_only_that_address_and_port_pass() -> None:
    assert (
        hooked(
            """
with egress.permitted("192.0.2.1", 443, "essai", DataClass.PUBLIC):
    print(outcome(lambda: tcp("192.0.2.1", 443)), outcome(lambda: tcp("192.0.2.1", 80)),
          outcome(lambda: tcp("192.0.2.2", 443)))
print(outcome(lambda: tcp("192.0.2.1", 443)))
"""
        )
        == "passed refused refused\nrefused"
    )


@pytest.mark.django_db
def test_nothing_is_allowed_until_an_operator_says_so() -> None:
    with pytest.raises(egress.EgressRefused, match=r"Sortie refusée vers mail\.example\.fr:587"):
        egress.permit("mail.example.fr", 587, "smtp", DataClass.PERSONAL)
    assert JournalEntry.objects.get(verb="egress.refused").object == "mail.example.fr:587"

    rule = egress.allow(SYSTEM, "Mail.Example.fr", 587, "smtp", [DataClass.PERSONAL])
    egress.permit("mail.example.fr", 587, "smtp", DataClass.PERSONAL)
    for port, purpose, data_class in [
        (25, "smtp", DataClass.PERSONAL),
        (587, "dns", DataClass.PERSONAL),
        (587, "smtp", DataClass.SOCIAL),
    ]:
        with pytest.raises(egress.EgressRefused):
            egress.permit("mail.example.fr", port, purpose, data_class)

    egress.remove(SYSTEM, rule)
    with pytest.raises(egress.EgressRefused):
        egress.permit("mail.example.fr", 587, "smtp", DataClass.PERSONAL)


@pytest.mark.parametrize(
    ("host", "home"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("localhost.example.fr", False),
        ("192.168.1.1", False),
    ],
)
def test_only_loopback_is_home(host: str, home: bool) -> None:
    assert egress.is_loopback(host) is home
