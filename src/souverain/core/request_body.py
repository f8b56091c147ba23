"""How much a request may bring, and how long it may take, before Django reads it.

Django copies a whole body to the disk before a view sees it, whoever sent it. Rooms that take large
bodies stream them in an ASGI app of their own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from souverain.core.addresses import is_api

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

LIMIT_BYTES = 5 << 20
"""The largest file that a page takes is a list of 1 MiB."""
WITHIN_S = 120.0
"""5 MiB at 350 kbit/s."""


def bounded(application: Application) -> Application:
    """The application, for requests whose body is small and comes in time: 413 and 408 to others."""

    async def answer(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        body = _Body(receive)
        if _announced_bytes(scope) > LIMIT_BYTES:
            body.refusal = 413
        else:
            await application(scope, body.receive, send)
        if body.refusal:
            await _refuse(body.refusal, scope, send)

    return answer


class _Body:
    """The body of one request. To the application, one that is refused looks like a client that
    hung up: it stops, and has answered nothing."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._received, self._whole = receive, 0, False
        self._until = asyncio.get_running_loop().time() + WITHIN_S
        self.refusal = 0

    async def receive(self) -> Message:
        if self._whole:  # what comes now is only that the client leaves, however late
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            self.refusal = 408
            return {"type": "http.disconnect"}
        self._received += len(message.get("body", b""))
        if self._received > LIMIT_BYTES:
            self.refusal = 413
            return {"type": "http.disconnect"}
        self._whole = not message.get("more_body", False)
        return message


def _announced_bytes(scope: Any) -> int:
    """What Content-Length says; 0 when it says nothing that the server has not refused already."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


_SAID = {
    408: ("Demande trop lente", "L'envoi a duré plus de 2 minutes : rien n'a été pris. Réessayez."),
    413: ("Demande trop longue", "L'envoi dépasse 5 Mio : rien n'a été pris."),
}


async def _refuse(status: int, scope: Any, send: Send) -> None:
    title, detail = _SAID[status]
    if is_api(scope["path"]):
        kind = b"application/problem+json"
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        text = json.dumps(problem)
    else:
        kind, text = b"text/plain; charset=utf-8", f"{detail}\n"
    body = text.encode()
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the body is not another request
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
