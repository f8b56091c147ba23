"""Notifications: what a person is told, on the page and by e-mail.

Every message is first a row (outbox), written in the verb's own transaction; the worker sends it,
tries again for a day, then gives up in plain sight. SMS and voice are channels that a room
registers under a name.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction

from souverain.core import clock, egress
from souverain.core.models import Message, Notification, User
from souverain.core.rooms import DataClass, Destination

PURPOSE = "smtp"
logger = logging.getLogger(__name__)
GIVE_UP_AFTER = timedelta(hours=24)
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
BATCH = 50
_TIMEOUT_S = 20


class Undeliverable(Exception):
    """The channel refused this message for good; trying again is of no use."""


class Channel(Protocol):
    """A way out for messages. `send` raises `Undeliverable` for good, anything else for now."""

    def is_ready(self) -> bool: ...

    def send(self, message: Message) -> None: ...


@dataclass(frozen=True)
class SmtpServer:
    """Where mail leaves: `smtp://user:pass@host:587?starttls=1` or `smtps://…:465`."""

    host: str
    port: int
    tls: bool
    starttls: bool
    user: str
    password: str

    @classmethod
    def parse(cls, url: str) -> SmtpServer:
        """Raises ImproperlyConfigured, without the secrets, when the address is not one."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ImproperlyConfigured(
                "SOUVERAIN_SMTP_URL : adresse attendue, par exemple "
                "smtp://compte:secret@hote:587?starttls=1."
            )
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=port or (465 if tls else 25),
            tls=tls,
            starttls=parse_qs(parts.query).get("starttls") == ["1"],
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


class Email:
    """The e-mail channel: the département's own SMTP server, through `egress`."""

    def is_ready(self) -> bool:
        return bool(settings.SMTP_URL)

    def send(self, message: Message) -> None:
        server = SmtpServer.parse(settings.SMTP_URL)
        with (
            egress.permitted(server.host, server.port, PURPOSE, DataClass.PERSONAL),
            self._connect(server) as smtp,
        ):
            try:
                smtp.send_message(_letter(message), to_addrs=[message.recipient])
            except smtplib.SMTPRecipientsRefused as error:
                code, answer = next(iter(error.recipients.values()))
                raise _refusal(code, answer) from error
            except smtplib.SMTPResponseException as error:
                raise _refusal(error.smtp_code, error.smtp_error) from error

    def _connect(self, server: SmtpServer) -> smtplib.SMTP:
        name = urlsplit(settings.PUBLIC_URL).hostname
        if server.tls:
            context = ssl.create_default_context()
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=_TIMEOUT_S, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, name, timeout=_TIMEOUT_S)
        try:
            if server.starttls:
                smtp.starttls(context=ssl.create_default_context())
            if server.user:
                smtp.login(server.user, server.password)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _refusal(code: int, answer: bytes | str) -> Exception:
    """What the server's answer means: 5xx for good, the rest for now (RFC 5321, 4.2.1)."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    kind = Undeliverable if code >= 500 else ConnectionError
    return kind(f"{code} {text}")


def _letter(message: Message) -> EmailMessage:
    letter = EmailMessage()
    letter["From"] = settings.DEFAULT_FROM_EMAIL
    letter["To"] = message.recipient
    letter["Subject"] = message.subject
    letter["Date"] = message.created_at
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip("> ")
    # The same at every attempt, so that a reader can drop a message received twice.
    letter["Message-ID"] = f"<souverain-{message.pk}-{message.created_at.timestamp():.0f}@{domain}>"
    letter.set_content(message.body)
    return letter


_channels: dict[str, Channel] = {"email": Email()}


def register_channel(name: str, channel: Channel) -> None:
    """Offer a way out, such as `sms` or `voice`."""
    _channels[name] = channel


def _queue(channel: str, recipient: str, subject: str, body: str) -> Message:
    line = " ".join(subject.split())[:160]
    return Message.objects.create(channel=channel, recipient=recipient, subject=line, body=body)


def mail_goes_to() -> Destination | None:
    """The server of SOUVERAIN_SMTP_URL, if it names one."""
    if not settings.SMTP_URL:
        return None
    try:
        server = SmtpServer.parse(settings.SMTP_URL)
    except ImproperlyConfigured:
        return None
    return Destination(server.host, server.port, frozenset({DataClass.PERSONAL}))


def can_write() -> bool:
    """Whether letters can leave: a message that cannot would keep its secrets in the database."""
    return _channels["email"].is_ready()


def write_to(address: str, subject: str, body: str) -> Message:
    """Put a letter to somebody who may have no account yet in the outbox."""
    return _queue("email", address, subject, body)


def withdraw(message: Message) -> None:
    """Give up a letter that has not left, and forget what it said."""
    Message.objects.filter(pk=message.pk, sent_at=None, given_up_at=None).update(
        given_up_at=clock.now(), body="", last_error="withdrawn"
    )


@transaction.atomic
def notify(users: Iterable[User], title: str, body: str = "", url: str = "") -> None:
    """Tell people something, on their page and by e-mail. `url` is a path of this site."""
    link = f"{settings.PUBLIC_URL}{url}" if url else ""
    text = "\n\n".join(part for part in (body, link) if part)
    for user in users:
        Notification.objects.create(user=user, title=title[:160], body=body, url=url)
        _queue("email", user.email, title, text)


def unread_count(user: User) -> int:
    return Notification.objects.filter(user=user, read_at=None).count()


def mark_read(user: User) -> None:
    """Everything that this person was told has been seen."""
    Notification.objects.filter(user=user, read_at=None).update(read_at=clock.now())


class OutboxBackend(BaseEmailBackend):
    """Django's way out: one row per recipient, plain text, sent by the worker."""

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        with transaction.atomic():
            for message in email_messages:
                for recipient in message.recipients():
                    _queue("email", recipient, message.subject, message.body)
        return len(email_messages)


def send_pending() -> int:
    """Send what is due, oldest first; returns how many messages left. What has no channel yet
    waits as long as what could not leave, then is given up and forgotten."""
    ready = [name for name, channel in _channels.items() if channel.is_ready()]
    now = clock.now()
    Message.objects.filter(
        sent_at=None, given_up_at=None, created_at__lte=now - GIVE_UP_AFTER
    ).exclude(channel__in=ready).update(given_up_at=now, body="", last_error="no channel")
    due = Message.objects.filter(
        channel__in=ready, sent_at=None, given_up_at=None, next_attempt_at__lte=clock.now()
    )
    return sum(_send(message) for message in due.order_by("next_attempt_at", "id")[:BATCH])


def _send(message: Message) -> bool:
    """One attempt. A body that left is forgotten: it may hold a sign-in link."""
    message.attempts += 1
    try:
        _channels[message.channel].send(message)
    except Exception as error:
        _postpone(message, error)
        return False
    message.sent_at, message.body, message.last_error = clock.now(), "", ""
    message.save()
    return True


def _postpone(message: Message, error: Exception) -> None:
    now = clock.now()
    message.last_error = f"{type(error).__name__}: {error}"[:400]
    if isinstance(error, Undeliverable) or now - message.created_at >= GIVE_UP_AFTER:
        # Nobody will read it any more, and it may hold a sign-in link.
        message.given_up_at, message.body = now, ""
    else:
        doublings = min(message.attempts - 1, 10)
        message.next_attempt_at = now + min(FIRST_DELAY * 2**doublings, LONGEST_DELAY)
    message.save()
    logger.warning("message %s not sent (%s)", message.pk, type(error).__name__)
