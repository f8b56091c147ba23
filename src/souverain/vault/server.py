"""The restic REST protocol (versions 1 and 2) as a pure-ASGI app.

Source: restic, `doc/REST_backend.rst`. One repository per (commune, deposit set) at
`/vault/<INSEE>/<set>/`; `/vault/<INSEE>/<set>@<RFC 3339>/` is its read-only state at that receipt
time, inclusive. Bodies stream through a pool of threads; nothing is held whole in memory.
A transfer goes on only while its device is live: a revocation cuts it, even one that stalls.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import contextvars
import errno
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from souverain.core import access, clock, devices, journal
from souverain.core.format import datetime_fr
from souverain.core.models import Device
from souverain.core.objects import CHUNK, Incoming, StoreUnavailable, WrongContent
from souverain.vault import drills, log, replica_server, services, site
from souverain.vault.announcements import announce
from souverain.vault.engine.drill import REPORT_MAX_BYTES
from souverain.vault.models import DepositSet
from souverain.vault.services import ConfigExists, QuotaExceeded

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MINE = re.compile(r"/vault/[^a-z]")
_ROUTE = re.compile(
    r"/vault/(?P<code>[0-9][0-9AB][0-9]{3})/(?P<set>[a-z0-9][a-z0-9-]{0,39})"
    r"(?:@(?P<time>[0-9A-Za-z:.+-]{1,40}))?/(?:(?P<kind>[A-Za-z]{1,20})(?P<slash>/(?P<name>.*))?)?",
    re.DOTALL,
)
_REPLICA_ROUTE = re.compile(r"/vault/(?P<code>[0-9][0-9AB][0-9]?)/replica/(?P<path>[^\0]{0,200})")
_LOG_ROUTE = re.compile(r"/vault/(?P<code>[0-9][0-9AB][0-9]{3})/log/(?P<path>[^\0]{0,100})")
_DRILLS_ROUTE = re.compile(
    r"/vault/(?P<code>[0-9][0-9AB][0-9]{3})/(?P<set>[a-z0-9][a-z0-9-]{0,39})/drills"
)
_NAME = re.compile(r"[0-9a-f]{64}")
_DEVICE = re.compile(r"[0-9a-f]{16}")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_KIB, _MIB = 1 << 10, 1 << 20
_SIZE_LIMIT = {
    "config": _MIB,
    "keys": _MIB,
    "locks": 64 * _KIB,
    "snapshots": 16 * _MIB,
    "index": 256 * _MIB,
    "data": 256 * _MIB,
}
_LOCKS_MAX = 1000
_RESENT_BYTES = 1 << 30  # on their way at once, of what takes no more room once it is there
_V1, _V2 = "application/vnd.x.restic.rest.v1", "application/vnd.x.restic.rest.v2"
_RECHECK_S = 0.1
_WHOLE_S = 7200.0  # an object of 256 MiB at 300 kbit/s
_SILENCE_S = 60.0  # without a byte from a sender
_STALL_S = 600.0  # without a byte taken by a reader
_UNDER_WAY_MAX = 64  # requests of one device at once, in one process
_REFUSALS_A_SECOND = 40  # that one actor may have journalled, in one process
_SETTLING = timedelta(minutes=1)
_REVOKED = "revoked"

# Writers wait for one another, readers for the disk, and a revocation for nobody.
_readers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="vault-read")
_writers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vault-write")
_watchers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="vault-watch")


# The two others: what SQLite says when its write-ahead log, or the log's index, cannot grow.
_SQLITE_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


class Refused(Exception):
    """An answer that is not a success: HTTP status, French sentence, reason for the journal, and
    the device once it is known."""

    def __init__(
        self, status: int, message: str, reason: str = "", device: Device | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.reason, self.device = status, message, reason, device


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
    query: bytes
    headers: dict[str, str]

    def allows(self, *roles: str) -> bool:
        return any(role in self.device.roles for role in roles)


@dataclass(frozen=True)
class LogRequest:
    """The same for a file of the commune's transparency log, or its cosignature."""

    method: str
    path: str
    device: Device


@dataclass(frozen=True)
class DrillRequest:
    """The same for a restore drill: what it may read, or its report."""

    method: str
    device: Device
    deposit_set: DepositSet


@dataclass(frozen=True)
class ReplicaRequest:
    """The same for what the site that copies this one asks."""

    method: str
    path: str
    device: Device
    query: bytes


def matches(path: str) -> bool:
    """Whether a path belongs to this app and not to the vault's pages."""
    return _MINE.match(path) is not None


async def _thread(function: Callable[..., T], *args: Any, pool: ThreadPoolExecutor = _readers) -> T:
    """Run blocking work (database, files) in a pool, with the caller's context. A caller that
    is cancelled meanwhile waits for its end: no file is closed under a thread that writes it."""

    def work() -> T:
        close_old_connections()
        return function(*args)

    context = contextvars.copy_context()
    future = asyncio.get_running_loop().run_in_executor(pool, context.run, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer one HTTP request."""
    answer = _Answer(send, scope["method"])
    try:
        request = await _thread(_read_request, scope)
        with _counted(request.device):
            if isinstance(request, LogRequest):
                serving = _serve_log(request, receive, answer)
            elif isinstance(request, DrillRequest):
                serving = _serve_drill(request, receive, answer)
            elif isinstance(request, ReplicaRequest):
                serving = replica_server.serve(request, receive, answer)
            else:
                serving = _serve(request, receive, answer)
            await _while_live(request.device, serving)
        if not devices.seen_lately(request.device):
            await _thread(devices.note_seen, request.device, pool=_writers)
    except Refused as refusal:
        if refusal.reason == _REVOKED:
            # The answer does not wait for the journal, which another writer may hold.
            try:
                await answer.refuse(refusal)
            finally:
                await _journalled(refusal)
        else:
            await answer.refuse(await _journalled(refusal))
    except StoreUnavailable as error:
        logger.error("the object store is unavailable: %s", error)
        await answer.refuse(Refused(503, str(error)))
    except (OSError, DatabaseError) as error:
        if _is_busy(error):
            await answer.refuse(Refused(503, "Le coffre-fort est occupé : réessayez."))
            return
        if not _is_full(error):
            raise
        logger.error("the vault has no room left: %s", error)
        await answer.refuse(Refused(507, "Le disque du coffre-fort est plein : rien n'a été pris."))


def _is_full(error: BaseException) -> bool:
    """Whether the objects' disk is full, or the records' (SQLite, PostgreSQL)."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    cause = error.__cause__
    name = getattr(cause, "sqlite_errorname", "")
    return name in _SQLITE_FULL or getattr(cause, "sqlstate", "") == "53100"


def _is_busy(error: BaseException) -> bool:
    """Whether another writer kept the database for longer than one waits for it."""
    cause = error.__cause__
    locked = getattr(cause, "sqlstate", "") == "55P03"
    return locked or getattr(cause, "sqlite_errorname", "").startswith("SQLITE_BUSY")


_under_way: Counter[str] = Counter()


@contextlib.contextmanager
def _counted(device: Device) -> Iterator[None]:
    """Hold one of the places that a device has in this process."""
    if _under_way[device.pk] >= _UNDER_WAY_MAX:
        raise Refused(429, "Trop de demandes à la fois pour cet appareil.")
    _under_way[device.pk] += 1
    try:
        yield
    finally:
        _under_way[device.pk] -= 1
        if not _under_way[device.pk]:
            del _under_way[device.pk]


async def _while_live(device: Device, work: Coroutine[Any, Any, None]) -> None:
    """Do the work while the device is live; a revocation ends it, whatever it waits for. What a
    thread was already doing for it ends by itself: nothing is recorded for a revoked device."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait([task], timeout=_RECHECK_S))[0]:
            credential = device.credential_sha256
            if await _thread(devices.live, device.pk, credential, pool=_watchers) is None:
                raise Refused(401, "Appareil révoqué.", _REVOKED, device)
        task.result()
    except devices.Revoked:
        raise Refused(401, "Appareil révoqué.", _REVOKED, device) from None
    finally:
        if not task.done():
            task.cancel()
            _endings.add(task)
            task.add_done_callback(_ended)


_endings: set[asyncio.Task[None]] = set()


def _ended(task: asyncio.Task[None]) -> None:
    """Let go of work that was cut, and of what it raised meanwhile."""
    _endings.discard(task)
    if not task.cancelled():
        task.exception()


_GUARDS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
if settings.SECURE_HSTS_SECONDS:
    _GUARDS["strict-transport-security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"


class _Answer:
    """The response, sent at once or streamed."""

    def __init__(self, send: Any, method: str) -> None:
        self._send, self._method = send, method
        self._started = False

    async def start(self, status: int, headers: dict[str, str]) -> None:
        self._started = True
        told = {**headers, **_GUARDS}
        pairs = [(name.encode(), value.encode()) for name, value in told.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def body(self, chunk: bytes, more: bool = False) -> None:
        async with asyncio.timeout(_STALL_S):
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def whole(
        self, status: int, content: bytes = b"", content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        headers = {"content-type": content_type, "content-length": str(len(content))}
        if status in (429, 503):
            headers["retry-after"] = "1"
        if status == 401:
            headers["www-authenticate"] = 'Basic realm="coffre-fort", charset="UTF-8"'
        await self.start(status, headers)
        await self.body(b"" if self._method == "HEAD" else content)

    async def refuse(self, refusal: Refused) -> None:
        if self._started:
            raise Gone(refusal.message)
        await self.whole(refusal.status, f"{refusal.message}\n".encode())


# The request -------------------------------------------------------------------------------------


def _read_request(scope: Any) -> Request | LogRequest | DrillRequest | ReplicaRequest:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
    }
    device = _authenticate(headers.get("authorization", ""))
    try:
        return (
            _route_log(scope, device)
            or _route_drill(scope, device)
            or _route_replica(scope, device)
            or _route(scope, headers, device)
        )
    except Refused as refusal:
        refusal.device = device
        raise


def _authenticate(authorization: str) -> Device:
    scheme, _, encoded = authorization.partition(" ")
    try:
        plain = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        plain = ""
    identity, _, credential = plain[:400].partition(":")
    known = credential and _DEVICE.fullmatch(identity)
    device = devices.authenticate(identity, credential, "vault") if known else None
    if device is None:
        reason = "credential" if credential else ""
        raise Refused(401, "Appareil inconnu ou révoqué.", reason)
    return device


_refused_now: tuple[int, Counter[str]] = (0, Counter())


def _spare(actor: access.Actor) -> None:
    """Refuse an actor whose refusals of this second would keep the journal, and so the other
    writers, busy: the entry of its minute is written already."""
    global _refused_now
    second = int(time.monotonic())
    if _refused_now[0] != second:
        _refused_now = (second, Counter())
    counts = _refused_now[1]
    counts[str(actor)] += 1
    if counts[str(actor)] > _REFUSALS_A_SECOND:
        raise Refused(429, "Trop de demandes refusées : attendez un peu.")


def _route_log(scope: Any, device: Device) -> LogRequest | None:
    """Any device of the commune reads its log, whatever set it serves."""
    found = _LOG_ROUTE.fullmatch(scope["path"])
    if found is None:
        return None
    if device.organisation.code != found["code"]:
        raise Refused(403, "Cet appareil n'a pas accès à ce registre.", "foreign")
    return LogRequest(scope["method"], found["path"], device)


def _route_drill(scope: Any, device: Device) -> DrillRequest | None:
    found = _DRILLS_ROUTE.fullmatch(scope["path"])
    if found is None:
        return None
    return DrillRequest(scope["method"], device, _own_set(found, device))


def _own_set(found: re.Match[str], device: Device) -> DepositSet:
    """The set of an address, when it is the device's."""
    if (device.organisation.code, device.scope) != (found["code"], found["set"]):
        raise Refused(403, "Cet appareil n'a pas accès à ce dépôt.", "foreign")
    try:
        return services.set_of(device)
    except DepositSet.DoesNotExist:
        raise Refused(403, "Ce dépôt n'existe plus.", "gone") from None


def _route_replica(scope: Any, device: Device) -> ReplicaRequest | None:
    """What another site asks to copy this one, with a credential that does nothing else."""
    found = _REPLICA_ROUTE.fullmatch(scope["path"])
    if found is None:
        return None
    if device.kind != "replica" or device.organisation.code != found["code"]:
        raise Refused(403, "Cet appareil n'a pas le droit de copier ce site.", "foreign")
    return ReplicaRequest(scope["method"], found["path"], device, scope["query_string"])


def _route(scope: Any, headers: dict[str, str], device: Device) -> Request:
    found = _ROUTE.fullmatch(scope["path"])
    if found is None or b"%2f" in (scope.get("raw_path") or b"").lower():
        raise Refused(400, "Cette adresse n'est pas celle d'un dépôt.", "path")
    deposit_set = _own_set(found, device)
    kind, name = found["kind"] or "", found["name"] or ""
    listing = bool(found["slash"]) and not name
    if kind and kind not in _SIZE_LIMIT:
        raise Refused(404, f"Le type « {kind} » n'existe pas.", "type")
    if (kind == "config" and found["slash"]) or (kind not in ("", "config") and not found["slash"]):
        raise Refused(400, "Cette adresse n'est pas celle d'un objet.", "path")
    if name and not _NAME.fullmatch(name):
        raise Refused(400, "Le nom d'un objet est fait de 64 chiffres hexadécimaux.", "name")
    return Request(
        method=scope["method"],
        kind=kind,
        name="config" if kind == "config" else name,
        listing=listing,
        at=_moment(found["time"], deposit_set),
        device=device,
        deposit_set=deposit_set,
        query=scope["query_string"],
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
    now = clock.now()
    if at > max(now, deposit_set.last_instant or now):
        raise Refused(400, "Ce moment n'est pas encore arrivé.", "time")
    last = deposit_set.last_instant
    if now - at < _SETTLING or last is None or at > last:
        try:
            services.settle(deposit_set, at)
        except DatabaseError as error:
            # A full disk must not keep anybody from reading back what is there.
            if not _is_full(error):
                raise
    return at


def _need_complete(request: Request) -> None:
    """Refuse a moment of which bytes left the disk. What is still there of it is served by name: an
    audit reads it."""
    at, complete = request.at, request.deposit_set.complete_since
    if at is not None and complete is not None and at < complete:
        raise Refused(
            410,
            "Ce moment n'est plus complet : au bout de la durée de conservation, des données "
            "supprimées par un appareil ont quitté le disque. Les moments sont complets depuis le "
            f"{datetime_fr(complete)} ({clock.rfc3339(complete)}).",
        )


async def _journalled(refusal: Refused) -> Refused:
    """Journal a refusal that has a reason; returns what to answer."""
    if not refusal.reason:
        return refusal
    try:
        await _thread(_journal_refusal, refusal, pool=_writers)
    except Refused as instead:
        return instead
    return refusal


def _journal_refusal(refusal: Refused) -> None:
    device = refusal.device
    actor = access.of_device(device) if device else access.ANONYMOUS
    _spare(actor)
    journal.refuse(
        actor,
        "vault.refused",
        organisation=device.organisation.code if device else "",
        object=device.scope if device else "",
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
                await _thread(_need_first, request.device)
                _need(request.allows("backup") and request.at is None, "role")
                if request.query != b"create=true":
                    raise Refused(400, "Il n'y a rien à envoyer à cette adresse.", "path")
                await answer.whole(200)
            case "DELETE":
                await _delete(request, answer)
            case "GET" | "HEAD":
                raise Refused(404, "Il n'y a rien à cette adresse.")
            case _:
                raise Refused(405, "Cette opération n'existe pas.", "method")
    except Refused as refusal:
        refusal.device = request.device
        raise
    except OSError as error:
        if _is_full(error):
            await _journalled(Refused(507, "", "disk", request.device))
        raise


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise Refused(403, "Cet appareil n'a pas le droit de faire ceci.", reason)


def _need_first(device: Device) -> None:
    """A copy, and a site that another replaced, take nothing."""
    try:
        site.refuse_lately()
    except site.ReadOnly as error:
        raise Refused(403, str(error), "copy", device) from None


async def _serve_log(request: LogRequest, receive: Any, answer: _Answer) -> None:
    """A static file of the log; or a witness's signature, which is added to the checkpoint."""
    code = request.device.organisation.code
    if request.method in ("GET", "HEAD"):
        content = await _thread(log.read, code, request.path)
        if content is None:
            raise Refused(404, "Ce fichier n'est pas dans le registre.", device=request.device)
        await answer.whole(200, content, log.content_type(request.path))
        return
    if (request.method, request.path) != ("POST", "cosignature"):
        raise Refused(405, "Cette opération n'existe pas.", "method", request.device)
    await _thread(_need_first, request.device)
    content = await _small_body(receive, request.device)
    try:
        await _thread(log.take_cosignature, request.device, content, pool=_writers)
    except log.UnknownWitness:
        raise Refused(
            409,
            "Cette signature n'est pas celle d'un témoin inscrit, sur le point de contrôle actuel.",
            "witness",
            request.device,
        ) from None
    await answer.whole(200)


async def _serve_drill(request: DrillRequest, receive: Any, answer: _Answer) -> None:
    """What a drill may read; or its report, which is kept once."""
    device, deposit_set = request.device, request.deposit_set
    if request.method in ("GET", "HEAD"):
        offer = await _thread(drills.offer, deposit_set, device)
        await answer.whole(200, orjson.dumps(offer), "application/json")
        return
    if request.method != "POST":
        raise Refused(405, "Cette opération n'existe pas.", "method", device)
    content = await _small_body(receive, device, REPORT_MAX_BYTES, "Un rapport")
    try:
        kept = await _thread(drills.take, deposit_set, device, content, pool=_writers)
    except drills.Refused as error:
        raise Refused(400, str(error), "report", device) from None
    except drills.AlreadyThere:
        raise Refused(409, "Ce rapport est déjà là.", "replay", device) from None
    except drills.TooMany:
        raise Refused(429, "Trop d'essais aujourd'hui : ce rapport sera pris demain.") from None
    told = {"known_key": kept.witness is not None}
    await answer.whole(200, orjson.dumps(told), "application/json")


async def _small_body(
    receive: Any, device: Device, limit: int = 4 * _KIB, what: str = "Une signature"
) -> bytes:
    body, more = b"", True
    while more:
        async with asyncio.timeout(_SILENCE_S):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone("hung up")
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > limit:
            raise Refused(413, f"{what} tient en {limit // _KIB} Kio.", "size", device)
    return body


async def _list(request: Request, answer: _Answer) -> None:
    version = _V2 if _V2 in request.headers.get("accept", "") else _V1
    await answer.whole(200, await _thread(_listing, request, version), version)


def _listing(request: Request, version: str) -> bytes:
    """The names of a type, with their sizes in version 2, as JSON."""
    _need_complete(request)
    if request.kind == "locks":
        found = _locks(request)
    else:
        found = services.listed(request.deposit_set, request.kind, request.at)
    if version == _V2:
        return orjson.dumps([{"name": name, "size": size} for name, size in found])
    return orjson.dumps([name for name, _ in found])


def _locks(request: Request) -> list[tuple[str, int]]:
    """Locks live on disk alone; a past state has none."""
    if request.at is not None:
        return []
    store, prefix = services.store(), f"{request.deposit_set.prefix}/locks"
    sizes = [(name, store.size(f"{prefix}/{name}")) for name in store.names(prefix)]
    return [(name, size) for name, size in sizes if size is not None]


@dataclass(frozen=True)
class _Found:
    """An object, the part of it that was asked for, and its bytes from there."""

    size: int
    start: int
    length: int
    partial: bool
    first: bytes
    rest: Iterator[bytes]


async def _get(request: Request, answer: _Answer) -> None:
    found = await _thread(_find, request)
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(max(found.length, 0)),
        "accept-ranges": "bytes",
    }
    if found.length < 0:
        await answer.start(416, {**headers, "content-range": f"bytes */{found.size}"})
        await answer.body(b"")
        return
    if found.partial:
        end = found.start + found.length - 1
        headers["content-range"] = f"bytes {found.start}-{end}/{found.size}"
    await answer.start(206 if found.partial else 200, headers)
    chunk, left = found.first, found.length
    while request.method == "GET" and left:
        left -= len(chunk)
        await answer.body(chunk, more=left > 0)
        if left:
            chunk = await _thread(next, found.rest, b"")
            if not chunk:
                raise Gone("the file was cut short")
    if request.method == "HEAD" or not found.length:
        await answer.body(b"")


def _find(request: Request) -> _Found:
    """Size, range, allowance and first bytes, in one piece of blocking work."""
    size = _size(request)
    # RFC 9110, 14.2: a range means something to GET alone.
    asked = request.headers.get("range", "") if request.method == "GET" else ""
    start, length, partial = _range(asked, size)
    if request.method == "HEAD" or length <= 0:
        return _Found(size, start, length, partial, b"", iter(()))
    free = request.kind != "data" or request.allows("restore")
    if not (free or services.charge_read(request.deposit_set, request.device, length)):
        raise Refused(403, "Lecture refusée : cet appareil ne fait que sauvegarder.", "reads")
    if request.kind == "data" and request.allows("restore"):
        try:
            announce(request.deposit_set, request.device, "restored")
        except DatabaseError as error:
            # A full disk must not keep anybody from reading back what is there.
            if not _is_full(error):
                raise
            logger.error("a restore could not be announced: %s", error)
    key = services.object_key(request.deposit_set, request.kind, request.name)
    chunks = services.store().read(key, start, length)
    try:
        first = next(chunks, b"")
    except FileNotFoundError:
        raise Refused(404, "Cet objet n'existe pas.") from None
    return _Found(size, start, length, partial, first, chunks)


def _size(request: Request) -> int:
    """The size of a live object, whose file is there and as long as its row says."""
    key = services.object_key(request.deposit_set, request.kind, request.name)
    on_disk = services.store().size(key)
    if on_disk is None:
        _need_complete(request)
    if request.kind == "locks":
        recorded = None if request.at is not None else on_disk
    else:
        recorded = services.size_of(request.deposit_set, request.kind, request.name, request.at)
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
    if request.kind == "config" and not declared:
        # Its name proves nothing: only the announced length tells a whole one from a part of it.
        raise Refused(
            411, "Un « config » s'envoie avec sa longueur, et il n'est pas vide.", "length"
        )
    upload = _Upload(request)
    kept = False
    try:
        if declared is None or declared > CHUNK:
            # What has no room is refused before the line is used for it. A small body costs one
            # piece of blocking work instead of three.
            await _thread(upload.begin, declared)
        try:
            async with asyncio.timeout(_WHOLE_S):
                last = await _receive(upload, receive, limit)
        except TimeoutError:
            raise Refused(408, "L'envoi a trop duré : rien n'a été pris.", "slow") from None
        if declared is not None and upload.size + len(last) != declared:
            raise Refused(400, "L'envoi a été coupé : rien n'a été pris.", "truncated")
        kept = True  # from here on the thread that keeps it ends it
        await _thread(_keep, request, upload, last, pool=_writers)
    finally:
        upload.leave()
        if not kept:
            await _thread(upload.abort)
    await answer.whole(200)


_arriving: Counter[int] = Counter()
"""Bytes of each organisation's uploads under way in this process: only the event loop counts."""


class _Upload:
    """A body on its way to the store. It counts for the commune's quota while it arrives."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._owner: int = request.deposit_set.organisation.pk
        self._room = 0
        self.incoming: Incoming | None = None
        self.size = 0

    def begin(self, declared: int | None) -> None:
        """Open a temporary file for an object that has room."""
        if self._request.kind != "locks":
            _need_first(self._request.device)
        deposit_set, kind, name = self._request.deposit_set, self._request.kind, self._request.name
        self._room = services.room_left(deposit_set.organisation)
        if kind == "locks" or services.is_known(deposit_set, kind, name):
            self._room = max(self._room, _RESENT_BYTES)
        if (declared or 0) + _arriving[self._owner] > self._room:
            raise _no_room(self._request)
        self.incoming = services.store().incoming()

    async def write(self, chunk: bytes) -> None:
        if self.incoming is None:
            await _thread(self.begin, None)
        assert self.incoming is not None
        _arriving[self._owner] += len(chunk)
        self.size += len(chunk)
        if _arriving[self._owner] > self._room:
            raise await _thread(_no_room, self._request)
        await _thread(self.incoming.write, chunk)

    def leave(self) -> None:
        """Count no more."""
        _arriving[self._owner] -= self.size

    def abort(self) -> None:
        if self.incoming is not None:
            self.incoming.abort()


def _content_length(headers: dict[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(400, "Longueur annoncée illisible.", "length")
    return int(text)


async def _receive(upload: _Upload, receive: Any, limit: int) -> bytes:
    """Stream the body into the temporary file, in pieces of about 1 MiB; returns the last one."""
    pieces: list[bytes] = []
    pending, total, more = 0, 0, True
    while more:
        try:
            async with asyncio.timeout(_SILENCE_S):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "L'envoi s'est tu : rien n'a été pris.", "silent") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "L'envoi a été coupé : rien n'a été pris.", "truncated")
        pieces.append(message.get("body", b""))
        pending += len(pieces[-1])
        more = message.get("more_body", False)
        if total + pending > limit:
            raise Refused(413, f"Objet trop gros : {limit} octets au plus.", "size")
        if more and pending >= CHUNK:
            await upload.write(b"".join(pieces))
            total, pending = total + pending, 0
            pieces.clear()
    return b"".join(pieces)


def _no_room(request: Request) -> Refused:
    limit = services.quota_bytes(request.deposit_set.organisation) / 10**9
    return Refused(
        507,
        f"Le coffre-fort de la commune est plein ({limit:.1f} Go). Rien n'a été effacé : "
        "demandez plus de place au département.",
        "quota",
    )


def _keep(request: Request, upload: _Upload, last: bytes) -> None:
    """Write the last piece, then name and record the whole."""
    try:
        if upload.incoming is None:
            upload.begin(len(last))
        incoming = upload.incoming
        assert incoming is not None
        if last:
            incoming.write(last)
        if request.kind == "locks":
            _keep_lock(request, incoming)
        else:
            services.record_object(
                request.deposit_set, request.kind, request.name, incoming, request.device
            )
    except WrongContent:
        raise Refused(400, "Le contenu n'a pas l'empreinte de son nom.", "hash") from None
    except ConfigExists:
        raise Refused(
            403,
            "Ce dépôt est déjà initialisé. S'il a été détruit, ouvrez-en un autre sur la page.",
            "config",
        ) from None
    except QuotaExceeded:
        raise _no_room(request) from None
    except site.ReadOnly as error:
        raise Refused(403, str(error), "copy") from None
    finally:
        upload.abort()


def _keep_lock(request: Request, incoming: Incoming) -> None:
    if incoming.sha256 != request.name:
        raise WrongContent(request.name)
    if request.at is not None or site.is_read_only():
        return
    if len(_locks(request)) >= _LOCKS_MAX:
        raise Refused(507, "Trop de verrous : lancez « restic unlock ».", "locks")
    services.keep_lock(request.deposit_set, request.name, incoming, request.device)


async def _delete(request: Request, answer: _Answer) -> None:
    if not request.kind or request.kind == "config" or request.listing:
        raise Refused(403, "Un dépôt ne s'efface pas.", "delete")
    if request.kind == "locks":
        _need(request.allows("backup", "restore", "prune"), "role")
        if request.at is None:
            key = services.object_key(request.deposit_set, "locks", request.name)
            await _thread(services.store().hide, key)
        await answer.whole(200)
        return
    _need(request.at is None, "past")
    _need(request.allows("prune"), "role")
    try:
        buried = await _thread(
            services.bury_object,
            *(request.deposit_set, request.kind, request.name, request.device),
            pool=_writers,
        )
    except site.ReadOnly as error:
        raise Refused(403, str(error), "copy") from None
    if not buried:
        raise Refused(404, "Cet objet n'existe pas.")
    await answer.whole(200)
