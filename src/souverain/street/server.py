"""Tiles and pictures, as a pure-ASGI app: byte ranges of the store's objects, never held whole.

`/street/tiles/<panorama>/<version>/<level>/<column>_<row>.jpg` is a part of the packed pyramid;
`/street/pictures/<panorama>/<version>.jpg` is the blurred picture, with ranges (RFC 9110, 14). A
published campaign's are anybody's and never change under their address; another's, and a hidden
panorama's, ask for `street.desk`, by the session or an API token.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from io import BytesIO
from typing import Any, TypeVar

from django.conf import settings
from django.contrib import auth
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, close_old_connections

from souverain.core import access
from souverain.core.access import ANONYMOUS, Actor
from souverain.core.models import Organisation
from souverain.core.objects import StoreUnavailable
from souverain.street import derivation
from souverain.street.engine.pyramid import HEAD_MAX, Pyramid
from souverain.street.models import Campaign, Panorama

logger = logging.getLogger(__name__)
T = TypeVar("T")

_MINE = re.compile(r"/street/(?:tiles|pictures)/")
_ID = r"(?P<panorama>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?P<version>[0-9]{1,9})"
_TILE = re.compile(
    rf"/street/tiles/{_ID}/(?P<level>[0-9]{{1,2}})/(?P<column>[0-9]{{1,2}})_(?P<row>[0-9]{{1,2}})\.jpg"
)
_PICTURE = re.compile(rf"/street/pictures/{_ID}\.jpg")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_PUBLIC = "public, max-age=86400, immutable"
"""A day, though its bytes never change: what is withdrawn or blurred anew must leave caches too."""
_PRIVATE = "private, max-age=300"
_STALL_S = 60.0  # without a byte taken by a reader
_PYRAMIDS = 4096  # heads kept, of some 3 kB each

_readers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="street-read")


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class _Found:
    """A part of an object, and how it is answered."""

    key: str
    size: int
    start: int
    length: int
    partial: bool
    cache: str


def matches(path: str) -> bool:
    """Whether a path belongs to this app and not to the room's pages."""
    return _MINE.match(path) is not None


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer one HTTP request."""
    try:
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused(405, "Une image se lit, et rien d'autre.")
        found, chunks = await _thread(_find, scope)
        await _answer(found, chunks, scope["method"] == "HEAD", send)
    except Refused as refusal:
        await _refuse(refusal, send)
    except PermissionDenied as error:
        await _refuse(Refused(403, str(error)), send)
    except FileNotFoundError:
        await _refuse(Refused(404, "Cette image n'est plus là."), send)
    except (StoreUnavailable, DatabaseError) as error:
        logger.error("a picture could not be read: %s", error)
        await _refuse(Refused(503, "Les images ne répondent pas : réessayez."), send)


async def _thread(function: Callable[..., T], *args: Any) -> T:
    """Run blocking work (database, files) in the pool, with the caller's context."""

    def work() -> T:
        close_old_connections()
        return function(*args)

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_readers, context.run, work)


def _find(scope: Any) -> tuple[_Found, Iterator[bytes]]:
    """The object, the range and the right, then the first bytes ready to be read."""
    path = scope["path"]
    asked = _TILE.fullmatch(path) or _PICTURE.fullmatch(path)
    if asked is None:
        raise Refused(404, "Cette adresse n'est pas celle d'une image.")
    panorama = (
        Panorama.objects.select_related("campaign")
        .only("state", "version", "picture_key", "pyramid_key", "campaign__state")
        .filter(pk=asked["panorama"], version=asked["version"])
        .exclude(picture_key="")
        .first()
    )
    if panorama is None:
        raise Refused(404, "Cette image n'existe pas, ou a été remplacée.")
    cache = _PUBLIC
    if not is_public(panorama):
        departement = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
        access.require(_actor(scope), "street.desk", organisation=departement)
        cache = _PRIVATE
    headers = dict(scope["headers"])
    if "level" in asked.groupdict():
        found = _tile(panorama, asked, cache)
    else:
        found = _picture(panorama, headers, scope["method"], cache)
    chunks = derivation.store().read(found.key, found.start, found.length)
    return found, chunks


def is_public(panorama: Panorama) -> bool:
    """Whether anybody may see it."""
    published = panorama.campaign.state == Campaign.State.PUBLISHED
    return published and panorama.state == Panorama.State.READY


def _tile(panorama: Panorama, asked: re.Match[str], cache: str) -> _Found:
    packed = pyramid(panorama.pyramid_key)
    part = packed.tile(int(asked["level"]), int(asked["column"]), int(asked["row"]))
    if part is None:
        raise Refused(404, "Il n'y a pas d'image à cet endroit de la sphère.")
    start, length = part
    return _Found(panorama.pyramid_key, length, start, length, False, cache)


def pyramid(key: str) -> Pyramid:
    """Where the tiles of a packed file are."""
    return _pyramid(settings.OBJECTS_URL, key)


@lru_cache(_PYRAMIDS)
def _pyramid(store: str, key: str) -> Pyramid:
    """The head of a packed file; a key's content never changes."""
    return Pyramid.parse(b"".join(derivation.store().read(key, 0, HEAD_MAX)))


def _picture(panorama: Panorama, headers: dict[bytes, bytes], method: str, cache: str) -> _Found:
    size = derivation.store().size(panorama.picture_key)
    if size is None:
        raise FileNotFoundError(panorama.picture_key)
    wanted = headers.get(b"range", b"").decode("latin-1").strip() if method == "GET" else ""
    found = _RANGE.fullmatch(wanted)
    if found is None or not (found[1] or found[2]):
        return _Found(panorama.picture_key, size, 0, size, False, cache)
    if found[1]:
        start, end = int(found[1]), min(int(found[2] or size - 1), size - 1)
    else:
        start, end = max(0, size - int(found[2])), size - 1
    return _Found(panorama.picture_key, size, start, max(end - start + 1, 0), True, cache)


def _actor(scope: Any) -> Actor:
    """The person behind an API token or a session; a wrong token is nobody."""
    request = ASGIRequest(scope, BytesIO())
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Bearer "):
        return access.of_token(authorization.removeprefix("Bearer ")) or ANONYMOUS
    sessions = import_module(settings.SESSION_ENGINE)
    request.session = sessions.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    user = auth.get_user(request)
    if user.is_authenticated and user.is_active:
        return access.of_user(user)  # type: ignore[arg-type]
    return ANONYMOUS


async def _answer(found: _Found, chunks: Iterator[bytes], bare: bool, send: Any) -> None:
    headers = {
        "content-type": "image/jpeg",
        "content-length": str(found.length),
        "accept-ranges": "bytes",
        "cache-control": found.cache,
    }
    if found.partial and not found.length:
        headers["content-range"] = f"bytes */{found.size}"
        await _start(416, headers, send)
        await _body(b"", False, send)
        return
    if found.partial:
        end = found.start + found.length - 1
        headers["content-range"] = f"bytes {found.start}-{end}/{found.size}"
    first = b"" if bare else await _thread(next, chunks, b"")
    await _start(206 if found.partial else 200, headers, send)
    if bare:
        await _body(b"", False, send)
        return
    left, chunk = found.length, first
    while chunk:
        left -= len(chunk)
        await _body(chunk, left > 0, send)
        chunk = await _thread(next, chunks, b"") if left else b""
    if left:
        raise ConnectionAbortedError("an object was cut short")


_GUARDS = {"x-content-type-options": "nosniff"}
if settings.SECURE_HSTS_SECONDS:
    _GUARDS["strict-transport-security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"


async def _start(status: int, headers: dict[str, str], send: Any) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in {**headers, **_GUARDS}.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _body(chunk: bytes, more: bool, send: Any) -> None:
    async with asyncio.timeout(_STALL_S):
        await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def _refuse(refusal: Refused, send: Any) -> None:
    body = f"{refusal.message}\n".encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
    }
    await _start(refusal.status, headers, send)
    await _body(body, False, send)
