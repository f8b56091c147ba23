"""The one call of Panoramax's API that brings a picture, as a pure-ASGI app.

`POST /street/api/upload_sets/<id>/files`, a form of which one part is the picture. Django would
copy the whole body before it looks at who sends it; here the token is checked first, then the
picture streams to the disk, bounded in size and time, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import logging
import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.files.uploadhandler import FileUploadHandler
from django.db import DatabaseError, close_old_connections
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from souverain.core import access
from souverain.core.access import Actor
from souverain.core.api import PROBLEM, problem_body
from souverain.street import stac, uploads
from souverain.street.models import UploadSet
from souverain.street.uploads import FILE_MAX_BYTES, Arrived, UploadRefused

logger = logging.getLogger(__name__)

_ROUTE = re.compile(r"/street/api/upload_sets/(?P<upload_set>[^/]{1,64})/files/?")
_FORM_MAX_BYTES = 64 << 10
"""What the form holds beside the picture."""
_SILENCE_S = 60.0
_WHOLE_S = 1800.0  # 128 MiB at 600 kbit/s
_UNDER_WAY_MAX = 16
_CHUNK = 1 << 20
_JPEG = b"\xff\xd8\xff"

_writers = ThreadPoolExecutor(max_workers=_UNDER_WAY_MAX, thread_name_prefix="street-upload")
_under_way = 0


def brings_picture(scope: Any) -> bool:
    """Whether a request brings a picture."""
    return scope["method"] == "POST" and _ROUTE.fullmatch(scope["path"]) is not None


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Take one picture."""
    global _under_way
    if _under_way >= _UNDER_WAY_MAX:
        await _refuse(UploadRefused(503, "Trop d'envois à la fois : réessayez."), send)
        return
    _under_way += 1
    loop = asyncio.get_running_loop()
    body = _Body(receive, loop)
    try:
        taken = loop.run_in_executor(_writers, _take, scope, body)
        await _answer(202, "application/json", json.dumps(await taken).encode(), send)
    except UploadRefused as refusal:
        await _refuse(refusal, send)
    except PermissionDenied as error:
        await _refuse(UploadRefused(403, str(error)), send)
    except (MultiPartParserError, UnicodeError):
        await _refuse(UploadRefused(400, "Le formulaire envoyé n'est pas lisible."), send)
    except ConnectionError:
        return  # the sender left: nobody to answer, and nothing was kept
    except TimeoutError:
        await _refuse(UploadRefused(408, "L'envoi s'est arrêté : rien n'a été pris."), send)
    except (OSError, DatabaseError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        logger.error("a picture could not be kept: %s", type(error).__name__)
        full = isinstance(error, OSError)
        said = "Le disque est plein" if full else "Le service est occupé : réessayez"
        await _refuse(UploadRefused(507 if full else 503, f"{said} ; rien n'a été pris."), send)
    finally:
        _under_way -= 1


class _Body:
    """The body of a request as a file that a thread reads, within the time that it has."""

    def __init__(self, receive: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._receive, self._loop = receive, loop
        self._until = loop.time() + _WHOLE_S
        self._rest, self._more = b"", True

    def read(self, size: int) -> bytes:
        """At most `size` bytes. Raises TimeoutError, ConnectionAbortedError."""
        while not self._rest and self._more:
            self._rest = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def _next(self) -> bytes:
        async with asyncio.timeout_at(min(self._until, self._loop.time() + _SILENCE_S)):
            message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the sender left")
        self._more = message.get("more_body", False)
        return bytes(message.get("body", b""))


class _OnePicture(FileUploadHandler):
    """Writes the form's only file, and its digests, where it will have its name."""

    chunk_size = _CHUNK

    def __init__(self, part: Path) -> None:
        super().__init__()
        self.part, self.name, self.arrived = part, "", None
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._first = b""
        self._file: Any = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        if self._file is not None or self.field_name != "file":
            raise UploadRefused(400, "Un seul fichier par envoi est attendu, dans « file ».")
        self.name = str(self.file_name)
        uploads.check_name(self.name)
        descriptor = os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self._first = self._first or raw_data[: len(_JPEG)]
        self._md5.update(raw_data)
        self._sha256.update(raw_data)
        rest = memoryview(raw_data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def file_complete(self, file_size: int) -> None:
        os.fsync(self._file.fileno())
        self.arrived = Arrived(
            self.part,
            file_size,
            self._md5.hexdigest(),
            self._sha256.hexdigest(),
            self._first == _JPEG,
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _take(scope: Any, body: _Body) -> dict[str, Any]:
    """In a thread: check who sends, stream the picture, keep it. Raises what `application` says."""
    close_old_connections()
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    upload_set = _admit(scope, headers)
    length = _length(headers)
    handler = _OnePicture(uploads.part_of(upload_set))
    try:
        meta = {"CONTENT_TYPE": headers.get("content-type", ""), "CONTENT_LENGTH": length}
        fields, _ = MultiPartParser(meta, body, [handler]).parse()
        if handler.arrived is None:
            raise UploadRefused(400, "Le formulaire n'a pas de fichier « file ».")
        if any(name.startswith("override_") for name in fields):
            raise UploadRefused(
                400,
                "La position donnée à part n'est pas prise : joignez un fichier de trajectoire "
                "à une réception faite par le département.",
            )
        kept = uploads.keep(upload_set, handler.name, handler.arrived)
    finally:
        handler.close()
        handler.part.unlink(missing_ok=True)
    return stac.uploaded_file(uploads.FileState(kept, "not_processed"))


def _admit(scope: Any, headers: dict[str, str]) -> UploadSet:
    """The upload set, for who may add to it."""
    authorization = headers.get("authorization", "")
    actor: Actor | None = None
    if authorization.startswith("Bearer "):
        actor = access.of_token(authorization.removeprefix("Bearer "))
    if actor is None:
        raise UploadRefused(401, "Un jeton est nécessaire : Authorization: Bearer souv_…")
    access.require(actor, "street.deliver", **access.of_departement())
    asked = _ROUTE.fullmatch(scope["path"])
    assert asked is not None
    try:
        key = uuid.UUID(asked["upload_set"])
        found = UploadSet.objects.select_related("campaign", "job").get(pk=key)
    except (ValueError, UploadSet.DoesNotExist):
        raise UploadRefused(404, "Cet envoi n'existe pas.") from None
    uploads.require_open(found)
    return found


def _length(headers: dict[str, str]) -> int:
    said = headers.get("content-length", "")
    if not (said.isascii() and said.isdigit()):
        raise UploadRefused(411, "La longueur de l'envoi (Content-Length) est nécessaire.")
    if len(said) > 18 or int(said) > FILE_MAX_BYTES + _FORM_MAX_BYTES:
        raise UploadRefused(413, "Une image fait 128 Mio au plus.")
    if not headers.get("content-type", "").startswith("multipart/form-data"):
        raise UploadRefused(415, "Un formulaire multipart/form-data est attendu.")
    return int(said)


async def _refuse(refusal: UploadRefused, send: Any) -> None:
    said = problem_body(
        refusal.status, str(refusal), message=str(refusal), status_code=refusal.status
    )
    await _answer(refusal.status, PROBLEM, json.dumps(said).encode(), send)


async def _answer(status: int, kind: str, body: bytes, send: Any) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"private, no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status >= 400:
        headers.append((b"connection", b"close"))  # what is left of the body is no other request
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
