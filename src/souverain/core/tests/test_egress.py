"""The allow-list in the database, and the hook in processes of its own (it cannot be removed)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner
from django.core.exceptions import ValidationError

from souverain.cli import main
from souverain.core import egress, notifications
from souverain.core.access import SYSTEM
from souverain.core.models import EgressRule, JournalEntry, Message
from souverain.core.rooms import DataClass
from tests import source

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


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("host", "port", "purpose", "said"),
    [
        ("https://mail.example.fr", 587, "smtp", "ni un nom de machine ni une adresse"),
        ("mail.example.fr:587", 587, "smtp", "ni un nom de machine ni une adresse"),
        ("*", 587, "smtp", "ni un nom de machine ni une adresse"),
        ("", 587, "smtp", "ni un nom de machine ni une adresse"),
        ("mail.example.fr", 0, "smtp", "de 1 à 65535"),
        ("mail.example.fr", 65536, "smtp", "de 1 à 65535"),
        ("mail.example.fr", 587, "email", "smtp, oidc, objects"),
    ],
)
def test_a_rule_that_could_never_serve_is_refused(
    host: str, port: int, purpose: str, said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        egress.allow(SYSTEM, host, port, purpose, [DataClass.PERSONAL])
    assert not EgressRule.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("Mail.Example.fr.", "mail.example.fr"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("bégaud.example.fr", "xn--bgaud-bsa.example.fr"),
        ("xn--bgaud-bsa.example.fr", "bégaud.example.fr"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_host_is_the_same_however_it_is_spelt(typed: str, asked: str) -> None:
    egress.allow(SYSTEM, typed, 587, "smtp", [DataClass.PERSONAL])
    egress.permit(asked, 587, "smtp", DataClass.PERSONAL)


def asked_for(text: str) -> list[str]:
    return [words for line in text.splitlines() if (words := line.strip()).startswith("souverain ")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("smtp://compte:secret@Mail.Example.invalid:587?starttls=1", "mail.example.invalid 587"),
        ("smtps://mail.example.invalid", "mail.example.invalid 465"),
        ("smtp://[2001:db8::25]", "2001:db8::25 25"),
    ],
)
def test_the_command_that_is_told_lets_the_mail_leave(
    address: str, where: str, settings: Any
) -> None:
    settings.SMTP_URL = address
    notifications.write_to("a@example.fr", "Bonjour", "Bonjour")
    notifications.send_pending()
    assert "EgressRefused" in Message.objects.get().last_error

    [command] = asked_for(CliRunner().invoke(main, ["egress", "list"]).stdout)
    assert f"allow {where} --purpose smtp" in command and "secret" not in command
    assert CliRunner().invoke(main, command.split()[1:]).exit_code == 0
    assert egress.missing() == []
    told = json.loads(CliRunner().invoke(main, ["egress", "list", "--json"]).stdout)
    assert (told["count"], told["missing"]) == (1, [])
    server = notifications.SmtpServer.parse(address)
    egress.permit(server.host, server.port, "smtp", DataClass.PERSONAL)


@pytest.mark.django_db
def test_what_a_rule_lacks_is_asked_for_with_what_it_has(settings: Any) -> None:
    settings.SMTP_URL = ""
    settings.OBJECTS_URL = "s3://depot?endpoint=https://s3.example.fr"
    egress.allow(SYSTEM, "s3.example.fr", 443, "objects", [DataClass.SECURITY])
    [need] = egress.missing()
    assert {"security", "personal"} <= set(need.data_classes)
    assert CliRunner().invoke(main, need.command.split()[1:]).exit_code == 0
    assert egress.missing() == []
    settings.OBJECTS_URL = "s3://depot?endpoint=http://127.0.0.1:8333"
    assert egress.missing() == [], "this machine needs no rule"


def test_every_way_out_in_the_source_is_declared() -> None:
    asking = re.compile(r"egress\.permit(?:ted)?\(\s*[^,]+,[^,]+,\s*([^,)]+)")
    named = [purpose for path in source.modules() for purpose in asking.findall(path.read_text())]
    assert named and set(named) == {"PURPOSE"}
    written = re.compile(r'^PURPOSE = "([\w-]+)"$', re.M)
    purposes = {name for path in source.modules() for name in written.findall(path.read_text())}
    assert set(egress.purposes()) == purposes >= {"smtp", "oidc", "objects"}
