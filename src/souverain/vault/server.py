"""The restic REST protocol (versions 1 and 2) as a pure-ASGI app.

Source: restic, `doc/REST_backend.rst`. One repository per (commune, deposit set) at
`/vault/<INSEE>/<set>/`; `/vault/<INSEE>/<set>@<RFC 3339>/` is its read-only state at that receipt
time, inclusive. Bodies stream through a pool of threads; nothing is held whole in memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextvars
import errno
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import orjson
from django.db import close_old_connections

from souverain.core import access, clock, devices, journal
from souverain.core.models import Device
from souverain.core.objects import CHUNK, Incoming, StoreUnavailable, WrongContent
from souverain.vault import services
from souverain.vault.models import DepositSet
from souverain.vault.services import ConfigExists, QuotaExceeded

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MINE = re.compile(r"/vault/[0-9][0-9AB][0-9]{3}/")
_ROUTE = re.compile(
    r"/vault/(?P<code>[0-9][0-9AB][0-9]{3})/(?P<set>[a-z0-9][a-z0-9-]{0,39})"
    r"(?:@(?P<time>[0-9A-Za-z:.+-]{1,40}))?/(?:(?P<kind>[A-Za-z]{1,20})(?P<slash>/(?P<name>.*))?)?",
    re.DOTALL,
)
_NAME = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MIB = 1 << 20
_SIZE_LIMIT = {
    "config": _MIB,
    "keys": _MIB,
    "locks": _MIB,
    "snapshots": 16 * _MIB,
    "index": 256 * _MIB,
    "data": 256 * _MIB,
}
_LOCKS_MAX = 1000
_V1, _V2 = "application/vnd.x.restic.rest.v1", "application/vnd.x.restic.rest.v2"
_RECHECK_S = 0.5
_FULL = {errno.ENOSPC, errno.EDQUOT}

_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="vault")


class Refused(Exception):
    """An answer that is not a success: HTTP status, French sentence, reason for the journal."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


class Gone(Exception):
    """The other side hung up, or must be cut off."""


@dataclass(frozen=True)
class Request:
    """What the URL, the headers and the credential say, once checked."""

    method: str
    kind: str
    name: str
    listing: bool
    at: datetime | None
    device: Device
    deposit_set: DepositSet
    headers: dict[str, str]

    def allows(self, *roles: str) -> bool:
        return any(role in self.device.roles for role in roles)


def matches(path: str) -> bool:
    """Whether a path belongs to this app and not to the vault's pages."""
    return _MINE.match(path) is not None


async def _thread(function: Callable[..., T], *args: Any) -> T:
    """Run blocking work (database, files) in the pool, with the caller's context."""

    def work() -> T:
        close_old_connections()
        return function(*args)

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_pool, context.run, work)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer one HTTP request."""
    answer = _Answer(send, scope["method"])
    try:
        request = await _thread(_read_request, scope)
        await _serve(request, receive, answer)
    except Refused as refusal:
        await answer.refuse(refusal)
    except StoreUnavailable as error:
        logger.error("the object store is unavailable: %s", error)
        await answer.refuse(Refused(503, str(error)))
    except OSError as error:
        if error.errno not in _FULL:
            raise
        logger.error("the object store is full: %s", error)
        await answer.refuse(Refused(507, "Le disque du coffre-fort est plein : rien n'a été pris."))


class _Answer:
    """The response, sent at once or streamed."""

    def __init__(self, send: Any, method: str) -> None:
        self._send, self._method = send, method
        self._started = False

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self._started = True
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def body(self, chunk: bytes, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def whole(
        self, status: int, content: bytes = b"", content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        headers = {"content-type": content_type, "content-length": str(len(content))}
        if status == 401:
            headers["www-authenticate"] = 'Basic realm="coffre-fort", charset="UTF-8"'
        await self.start(status, headers)
        await self.body(b"" if self._method == "HEAD" else content)

    async def refuse(self, refusal: Refused) -> None:
        if self._started:
            raise Gone(refusal.message)
        await self.whole(refusal.status, f"{refusal.message}\n".encode())


# The request -------------------------------------------------------------------------------------


def _read_request(scope: Any) -> Request:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }
    device = _authenticate(headers.get("authorization", ""))
    try:
        return _route(scope, headers, device)
    except Refused as refusal:
        _journal_refusal(device, refusal)
        raise


def _authenticate(authorization: str) -> Device:
    scheme, _, encoded = authorization.partition(" ")
    try:
        plain = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        plain = ""
    identity, _, credential = plain[:400].partition(":")
    device = devices.authenticate(identity, credential, "vault") if credential else None
    if device is None:
        if credential:
            journal.refuse(access.ANONYMOUS, "vault.refused", reason="credential")
        raise Refused(401, "Appareil inconnu ou révoqué.")
    return device


def _route(scope: Any, headers: dict[str, str], device: Device) -> Request:
    found = _ROUTE.fullmatch(scope["path"])
    if found is None:
        raise Refused(400, "Cette adresse n'est pas celle d'un dépôt.", "path")
    if (device.organisation.code, device.scope) != (found["code"], found["set"]):
        raise Refused(403, "Cet appareil n'a pas accès à ce dépôt.", "foreign")
    kind, name = found["kind"] or "", found["name"] or ""
    listing = bool(found["slash"]) and not name
    if kind and kind not in _SIZE_LIMIT:
        raise Refused(404, f"Le type « {kind} » n'existe pas.", "type")
    if (kind == "config" and found["slash"]) or (kind not in ("", "config") and not found["slash"]):
        raise Refused(400, "Cette adresse n'est pas celle d'un objet.", "path")
    if name and not _NAME.fullmatch(name):
        raise Refused(400, "Le nom d'un objet est fait de 64 chiffres hexadécimaux.", "name")
    deposit_set = services.set_of(device)
    return Request(
        method=scope["method"],
        kind=kind,
        name="config" if kind == "config" else name,
        listing=listing,
        at=_moment(found["time"], deposit_set),
        device=device,
        deposit_set=deposit_set,
        headers=headers,
    )


def _moment(text: str | None, deposit_set: DepositSet) -> datetime | None:
    if text is None:
        return None
    try:
        at = clock.parse_rfc3339(text)
    except (ValueError, OverflowError):
        example = "2026-11-23T18:00:00Z"
        raise Refused(400, f"Le moment se note comme {example}.", "time") from None
    if at > max(
        clock.now(), services.last_instant(deposit_set) or at.min.replace(tzinfo=at.tzinfo)
    ):
        raise Refused(400, "Ce moment n'est pas encore arrivé.", "time")
    return at


def _journal_refusal(device: Device, refusal: Refused) -> None:
    if refusal.reason:
        journal.refuse(
            access.of_device(device),
            "vault.refused",
            organisation=device.organisation.code,
            object=device.scope,
            reason=refusal.reason,
        )


# What is served ----------------------------------------------------------------------------------


async def _serve(request: Request, receive: Any, answer: _Answer) -> None:
    try:
        match request.method:
            case "GET" | "HEAD" if request.listing:
                await _list(request, answer)
            case "GET" | "HEAD" if request.kind:
                await _get(request, answer)
            case "POST" if request.kind and not request.listing:
                await _post(request, receive, answer)
            case "POST" if not request.kind:
                _need(request.allows("backup") and request.at is None, "role")
                await answer.whole(200)
            case "DELETE":
                await _delete(request, answer)
            case "GET" | "HEAD":
                raise Refused(404, "Il n'y a rien à cette adresse.")
            case _:
                raise Refused(405, "Cette opération n'existe pas.", "method")
    except Refused as refusal:
        await _thread(_journal_refusal, request.device, refusal)
        raise


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(403, "Cet appareil n'a pas le droit de faire ceci.", reason)


async def _list(request: Request, answer: _Answer) -> None:
    rows = await _thread(_listing, request)
    if _V2 in request.headers.get("accept", ""):
        content = orjson.dumps([{"name": name, "size": size} for name, size in rows])
        await answer.whole(200, content, _V2)
    else:
        await answer.whole(200, orjson.dumps([name for name, _ in rows]), _V1)


def _listing(request: Request) -> list[tuple[str, int]]:
    if request.kind == "locks":
        return _locks(request)
    rows = services.alive(request.deposit_set, request.at).filter(type=request.kind)
    return list(rows.order_by("name").values_list("name", "size"))


def _locks(request: Request) -> list[tuple[str, int]]:
    """Locks live on disk alone; a past state has none."""
    if request.at is not None:
        return []
    store, prefix = services.store(), f"{request.deposit_set.prefix}/locks"
    sizes = [(name, store.size(f"{prefix}/{name}")) for name in store.names(prefix)]
    return [(name, size) for name, size in sizes if size is not None]


async def _get(request: Request, answer: _Answer) -> None:
    size = await _thread(_size, request)
    start, length, partial = _range(request.headers.get("range", ""), size)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(length),
        "accept-ranges": "bytes",
    }
    if partial:
        headers["content-range"] = f"bytes {start}-{start + length - 1}/{size}"
    if length < 0:
        await answer.start(416, {"content-range": f"bytes */{size}", "content-length": "0"})
        await answer.body(b"")
        return
    if request.method == "HEAD":
        await answer.start(200, headers)
        await answer.body(b"")
        return
    if request.kind == "data" and not request.allows("restore"):
        allowed = await _thread(services.charge_read, request.deposit_set, request.device, length)
        if not allowed:
            raise Refused(403, "Lecture refusée : cet appareil ne fait que sauvegarder.", "reads")
    await _stream(request, answer, 206 if partial else 200, headers, start, length)


def _size(request: Request) -> int:
    """The size of a live object, whose file is there and as long as its row says."""
    key = services.object_key(request.deposit_set, request.kind, request.name)
    on_disk = services.store().size(key)
    if request.kind == "locks":
        recorded = None if request.at is not None else on_disk
    else:
        rows = services.alive(request.deposit_set, request.at)
        found = rows.filter(type=request.kind, name=request.name)
        recorded = found.values_list("size", flat=True).first()
    if recorded is None:
        raise Refused(404, "Cet objet n'existe pas.")
    if on_disk != recorded:
        raise Refused(500, "Cet objet est abîmé sur le disque : prévenez l'opérateur.", "damaged")
    return recorded


def _range(header: str, size: int) -> tuple[int, int, bool]:
    """(start, length, partial); a length of -1 when no byte of the range exists."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return 0, size, False
    if not found[1]:
        start, end = max(0, size - int(found[2])), size - 1
    else:
        start, end = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (start, end - start + 1, True) if start <= end else (0, -1, False)


async def _stream(
    request: Request, answer: _Answer, status: int, headers: dict[str, str], start: int, length: int
) -> None:
    key = services.object_key(request.deposit_set, request.kind, request.name)
    chunks = services.store().read(key, start, length)
    watch = _Watch(request.device)
    await answer.start(status, headers)
    left = length
    while left:
        chunk = await _thread(next, chunks, b"")
        if not chunk or not await watch.holds():
            raise Gone("the device was revoked, or the file was cut short")
        left -= len(chunk)
        await answer.body(chunk, more=left > 0)
    if not length:
        await answer.body(b"")


class _Watch:
    """Re-reads a device during a long transfer, so that a revocation cuts it."""

    def __init__(self, device: Device) -> None:
        self._device, self._read_at = device, time.monotonic()

    async def holds(self) -> bool:
        if time.monotonic() - self._read_at < _RECHECK_S:
            return True
        self._read_at = time.monotonic()
        device = self._device
        return await _thread(devices.live, device.pk, device.credential_sha256) is not None


# What is taken -----------------------------------------------------------------------------------


async def _post(request: Request, receive: Any, answer: _Answer) -> None:
    _need(
        request.allows("backup") or (request.kind == "locks" and request.allows("restore")), "role"
    )
    _need(request.at is None or request.kind == "locks", "past")
    limit = _SIZE_LIMIT[request.kind]
    declared = _content_length(request.headers)
    if declared is not None and declared > limit:
        raise Refused(413, f"Objet trop gros : {limit} octets au plus.", "size")
    if request.kind != "locks" and declared:
        await _thread(_check_room, request, declared)
    incoming = await _thread(services.store().incoming)
    try:
        await _receive(request, receive, incoming, limit)
        if declared is not None and incoming.size != declared:
            raise Refused(400, "L'envoi a été coupé : rien n'a été pris.", "truncated")
        await _thread(_keep, request, incoming)
    finally:
        await asyncio.shield(_thread(incoming.abort))
    await answer.whole(200)


def _content_length(headers: dict[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(400, "Longueur annoncée illisible.", "length")
    return int(text)


async def _receive(request: Request, receive: Any, incoming: Incoming, limit: int) -> None:
    """Stream the body into the temporary file, in pieces of about 1 MiB."""
    watch, pending, total, more = _Watch(request.device), bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "L'envoi a été coupé : rien n'a été pris.", "truncated")
        pending += message.get("body", b"")
        more = message.get("more_body", False)
        if total + len(pending) > limit:
            raise Refused(413, f"Objet trop gros : {limit} octets au plus.", "size")
        if pending and (len(pending) >= CHUNK or not more):
            await _thread(incoming.write, bytes(pending))
            total += len(pending)
            pending.clear()
        if not await watch.holds():
            raise Refused(401, "Appareil révoqué.", "revoked")


def _check_room(request: Request, size: int) -> None:
    try:
        services.require_room(request.deposit_set.organisation, size)
    except QuotaExceeded:
        raise _no_room(request) from None


def _no_room(request: Request) -> Refused:
    limit = services.quota_bytes(request.deposit_set.organisation) / 10**9
    return Refused(
        507,
        f"Le coffre-fort de la commune est plein ({limit:.1f} Go). Rien n'a été effacé : "
        "demandez plus de place au département.",
        "quota",
    )


def _keep(request: Request, incoming: Incoming) -> None:
    try:
        if request.kind == "locks":
            _keep_lock(request, incoming)
        else:
            services.record_object(
                request.deposit_set, request.kind, request.name, incoming, request.device
            )
    except WrongContent:
        raise Refused(400, "Le contenu n'a pas l'empreinte de son nom.", "hash") from None
    except ConfigExists:
        raise Refused(403, "Ce dépôt est déjà initialisé.", "config") from None
    except QuotaExceeded:
        raise _no_room(request) from None


def _keep_lock(request: Request, incoming: Incoming) -> None:
    if incoming.sha256 != request.name:
        raise WrongContent(request.name)
    if request.at is not None:
        return
    if len(_locks(request)) >= _LOCKS_MAX:
        raise Refused(507, "Trop de verrous : lancez « restic unlock ».", "locks")
    services.keep_lock(request.deposit_set, request.name, incoming)


async def _delete(request: Request, answer: _Answer) -> None:
    if not request.kind or request.kind == "config" or request.listing:
        raise Refused(403, "Un dépôt ne s'efface pas.", "delete")
    if request.kind == "locks":
        _need(request.allows("backup", "restore", "prune"), "role")
        if request.at is None:
            key = services.object_key(request.deposit_set, "locks", request.name)
            await _thread(services.store().remove, key)
        await answer.whole(200)
        return
    _need(request.at is None, "past")
    _need(request.allows("prune"), "role")
    buried = await _thread(
        services.bury_object, request.deposit_set, request.kind, request.name, request.device
    )
    if not buried:
        raise Refused(404, "Cet objet n'existe pas.")
    await answer.whole(200)
