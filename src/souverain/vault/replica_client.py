"""The one door to the other site: pages and objects over HTTP, each bounded in size and in time."""

from __future__ import annotations

import base64
import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError

from souverain.core import egress
from souverain.core.rooms import DataClass, Destination
from souverain.vault.engine.replica import Disbelieved

PURPOSE = "replica"
CHUNK = 1 << 20
PAGE_MAX_BYTES = 16 << 20
_CONNECT_S, _SILENCE_S = 5.0, 30.0
_PAGE_S = 60.0
_SLOWEST = 50_000  # bytes a second, that an object may take


class Unreachable(Exception):
    """The other site does not answer, or not as it must. The message is in French."""


class NotThere(Exception):
    """The other site does not have what was asked."""


def destination(address: str) -> Destination:
    """Where an address leads. What goes there is a credential, places and names of objects."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Destination(parts.hostname or "", port, frozenset({DataClass.INTERNAL}))


def checked(address: str) -> str:
    """The address of a site, without its final slash. Raises ValidationError."""
    address = address.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    odd = parts.username or parts.password or parts.path or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or odd or len(address) > 200:
        raise ValidationError(
            "L'adresse du premier site se note https://hote ou https://hote:port."
        )
    if parts.scheme == "http" and not egress.is_loopback(parts.hostname):
        raise ValidationError("Hors de cette machine, l'adresse du premier site est en https.")
    return address


def _in_words(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "rien n'écoute à son adresse"
        case ssl.SSLCertVerificationError():
            return "son certificat n'est pas valable"
        case TimeoutError():
            return "il se tait"
        case ConnectionError() | http.client.HTTPException():
            return "la ligne a été coupée"
        case OSError():
            return error.strerror or type(error).__name__
    return type(error).__name__


class Door:
    """Requests to one site, one connection a thread. Use inside `egress.permitted`."""

    def __init__(self, address: str, credential: str) -> None:
        self._parts = urlsplit(address)
        self._there = destination(address)
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(credential.encode()).decode(),
            "Accept-Encoding": "identity",
        }
        self._base = f"/vault/{settings.DEPARTEMENT}/replica/"
        self._local = threading.local()

    def page(self, path: str, after: str = "") -> Any:
        """A page, parsed. Raises Unreachable, NotThere, Disbelieved."""
        query = f"?{urlencode({'after': after})}" if after else ""
        return self._json("GET", f"{self._base}{quote(path)}{query}")

    def say(self, path: str, content: dict[str, Any]) -> Any:
        """Send a small word. Raises Unreachable, NotThere, Disbelieved."""
        return self._json("POST", f"{self._base}{path}", orjson.dumps(content))

    def _json(self, method: str, target: str, body: bytes | None = None) -> Any:
        whole = b"".join(self._ask(method, target, body, PAGE_MAX_BYTES, _PAGE_S))
        try:
            return orjson.loads(whole)
        except orjson.JSONDecodeError:
            raise Disbelieved("réponse illisible") from None

    def object(self, path: str, size: int) -> Iterator[bytes]:
        """The bytes of an object, `size` of them at most. Raises as `page` does."""
        target = f"{self._base}objects/{quote(path)}"
        return self._ask("GET", target, None, size, _PAGE_S + size / _SLOWEST)

    def _ask(
        self, method: str, target: str, body: bytes | None, most: int, within_s: float
    ) -> Iterator[bytes]:
        deadline = time.monotonic() + within_s
        connection = self._connection()
        whole = False
        try:
            answer = self._answer(connection, method, target, body)
            if answer.status != 200:
                self._refused(answer, target)
            # `read1` gives what has come: a line that trickles cannot hold us beyond the deadline.
            declared, taken = answer.length, 0
            if declared is not None and declared > most:
                raise Disbelieved(f"réponse de plus de {most} octets")
            while declared is None or taken < declared:
                chunk = answer.read1(CHUNK if declared is None else min(CHUNK, declared - taken))
                if not chunk:
                    break
                taken += len(chunk)
                if taken > most:
                    raise Disbelieved(f"réponse de plus de {most} octets")
                if time.monotonic() > deadline:
                    raise Unreachable("L'autre site répond trop lentement.")
                yield chunk
            if declared is not None and taken < declared:
                raise Unreachable("La réponse de l'autre site a été coupée.")
            answer.close()
            whole = True
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"L'autre site ne répond pas : {_in_words(error)}.") from error
        finally:
            if not whole:
                self.close()

    def _answer(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: bytes | None
    ) -> http.client.HTTPResponse:
        """The beginning of an answer; a kept connection that was closed meanwhile is opened again."""
        fresh = connection.sock is None
        if fresh:
            connection.connect()
            connection.sock.settimeout(_SILENCE_S)
        try:
            connection.request(method, target, body, self._headers)
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if fresh:
                raise
        connection.close()
        return self._answer(connection, method, target, body)

    def _refused(self, answer: http.client.HTTPResponse, target: str) -> None:
        if answer.status == 404:
            raise NotThere(target)
        if answer.status in (401, 403):
            raise Unreachable("L'autre site refuse notre accès : il est révoqué, ou mal recopié.")
        raise Unreachable(f"L'autre site répond {answer.status}.")

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if found is None:
            host, port = self._there.host, self._there.port
            if self._parts.scheme == "https":
                context = ssl.create_default_context()
                found = http.client.HTTPSConnection(host, port, timeout=_CONNECT_S, context=context)
            else:
                found = http.client.HTTPConnection(host, port, timeout=_CONNECT_S)
            self._local.connection = found
        return found

    def close(self) -> None:
        """Close this thread's connection."""
        found = getattr(self._local, "connection", None)
        if found is not None:
            with suppress(OSError):
                found.close()
            self._local.connection = None
