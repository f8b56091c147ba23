"""Messages leave through a real SMTP server on loopback."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import send_mail

from souverain.core import clock, notifications
from souverain.core.models import Message, Notification, User
from souverain.core.tests.certificates import write_certificate

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Inbox:
    def __init__(self) -> None:
        self.letters: list[tuple[list[str], str]] = []

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:
        if address.startswith("inconnu@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:
        self.letters.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def certificate(tmp_path) -> tuple[Path, Path]:
    return write_certificate(tmp_path)


@pytest.mark.parametrize("trusted", [True, False])
def test_starttls_carries_the_account_to_a_trusted_server_only(
    person, port, settings, certificate, monkeypatch, trusted: bool
) -> None:
    given: list[bytes] = []

    def authenticate(server, session, envelope, mechanism, login: LoginPassword) -> AuthResult:
        given.append(login.login + b" " + login.password)
        return AuthResult(success=True)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    settings.SMTP_URL = f"smtp://compte:mot%40passe@127.0.0.1:{port}?starttls=1"
    inbox = Inbox()
    server = Controller(
        inbox,
        hostname="127.0.0.1",
        port=port,
        tls_context=context,
        authenticator=authenticate,
        auth_required=True,
    )
    server.start()
    try:
        notifications.notify([person], "Bonjour")
        assert notifications.send_pending() == int(trusted)
    finally:
        server.stop()
    assert set(given) == ({b"compte mot@passe"} if trusted else set())
    assert len(inbox.letters) == int(trusted)


@pytest.mark.parametrize("trusted", [True, False])
def test_smtps_carries_mail_to_a_trusted_server_only(
    person, port, settings, certificate, monkeypatch, trusted: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    settings.SMTP_URL = f"smtps://127.0.0.1:{port}"
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port, ssl_context=context)

    def greet() -> None:
        """The controller knocks at its own door; its server context cannot do it over TLS."""
        client = ssl.create_default_context(cafile=str(certificate[0]))
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            client.wrap_socket(plain, server_hostname="127.0.0.1").recv(100)

    monkeypatch.setattr(server, "_trigger_server", greet)
    server.start()
    try:
        notifications.notify([person], "Bonjour")
        assert notifications.send_pending() == int(trusted)
    finally:
        server.stop()
    assert len(inbox.letters) == int(trusted)
    error = Message.objects.get().last_error
    assert error == "" if trusted else error.startswith("SSLCertVerificationError")


def test_smtps_is_on_port_465() -> None:
    server = notifications.SmtpServer.parse("smtps://mail.example.fr")
    assert (server.port, server.tls, server.starttls) == (465, True, False)


@pytest.fixture
def port(settings) -> int:
    port = free_port()
    settings.SMTP_URL = f"smtp://127.0.0.1:{port}"
    return port


@pytest.fixture
def inbox(port: int) -> Iterator[Inbox]:
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    yield inbox
    server.stop()


@pytest.fixture
def person(db) -> User:
    return User.objects.create_user("agnes@example.fr")


def test_a_notification_is_on_the_page_and_in_the_mail(person, inbox, settings) -> None:
    notifications.notify([person], "Sauvegarde terminée", "Tout est là.", "/vault/")
    assert notifications.unread_count(person) == 1
    assert notifications.send_pending() == 1
    assert notifications.send_pending() == 0
    [(recipients, letter)] = inbox.letters
    assert recipients == ["agnes@example.fr"]
    assert "Message-ID: <souverain-" in letter
    message = Message.objects.get()
    assert message.sent_at is not None and message.body == ""
    notifications.mark_read(person)
    assert notifications.unread_count(person) == 0


def test_mail_of_the_libraries_goes_through_the_outbox(db, settings) -> None:
    settings.EMAIL_BACKEND = "souverain.core.notifications.OutboxBackend"
    send_mail("Objet\nen deux lignes", "Corps", None, ["a@example.fr", "b@example.fr"])
    assert list(Message.objects.order_by("id").values_list("recipient", "subject")) == [
        ("a@example.fr", "Objet en deux lignes"),
        ("b@example.fr", "Objet en deux lignes"),
    ]


def test_without_a_server_messages_wait_a_day(person, settings) -> None:
    settings.SMTP_URL = ""
    notifications.notify([person], "Bonjour")
    assert notifications.send_pending() == 0
    message = Message.objects.get()
    assert (message.attempts, message.given_up_at) == (0, None)
    with clock.frozen(clock.now() + notifications.GIVE_UP_AFTER):
        assert notifications.send_pending() == 0
    message.refresh_from_db()
    assert message.given_up_at is not None
    assert message.body == "", "a link in it must not stay readable"


def test_a_server_that_comes_back_gets_the_message(person, port) -> None:
    with clock.frozen(NOON):
        notifications.notify([person], "Bonjour")
        assert notifications.send_pending() == 0
    message = Message.objects.get()
    assert message.last_error.startswith("ConnectionRefusedError")
    assert message.next_attempt_at == NOON + timedelta(seconds=30)

    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    try:
        with clock.frozen(NOON + timedelta(seconds=29)):
            assert notifications.send_pending() == 0
        with clock.frozen(NOON + timedelta(seconds=30)):
            assert notifications.send_pending() == 1
    finally:
        server.stop()
    assert len(inbox.letters) == 1


def test_after_a_day_it_gives_up_in_plain_sight(person, port) -> None:
    with clock.frozen(NOON):
        notifications.notify([person], "Bonjour")
    with clock.frozen(NOON + timedelta(hours=24)):
        notifications.send_pending()
    message = Message.objects.get()
    assert message.given_up_at == NOON + timedelta(hours=24) and message.sent_at is None


def test_a_refused_address_is_given_up_and_the_others_leave(person, inbox) -> None:
    nobody = User.objects.create_user("inconnu@example.fr")
    notifications.notify([nobody, person], "Bonjour")
    assert notifications.send_pending() == 1
    refused = Message.objects.get(recipient="inconnu@example.fr")
    assert refused.given_up_at is not None and "550" in refused.last_error


def test_a_server_that_no_rule_allows_is_not_contacted(person, settings) -> None:
    settings.SMTP_URL = "smtp://compte:motdepasse@mail.example.fr:587?starttls=1"
    notifications.notify([person], "Bonjour")
    assert notifications.send_pending() == 0
    error = Message.objects.get().last_error
    assert "Sortie refusée" in error and "motdepasse" not in error


def test_a_wrong_server_address_is_refused_without_its_secret() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        notifications.SmtpServer.parse("smtp://compte:motdepasse@hote:abc")
    assert "motdepasse" not in str(caught.value) and caught.value.__cause__ is None


def test_a_registered_channel_takes_its_messages(db, monkeypatch) -> None:
    taken: list[str] = []

    class Sms:
        def is_ready(self) -> bool:
            return True

        def send(self, message: Message) -> None:
            taken.append(message.recipient)

    monkeypatch.setattr(notifications, "_channels", {})
    notifications.register_channel("sms", Sms())
    Message.objects.create(channel="sms", recipient="+33600000000", subject="", body="Alerte")
    assert notifications.send_pending() == 1
    assert taken == ["+33600000000"] and not Notification.objects.exists()
