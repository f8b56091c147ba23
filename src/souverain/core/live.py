"""Live pages: server-sent events, one way, plain HTTP.

A view checks the right, then returns `stream(request, read)`; `read` says what there is to show,
and is called in a small pool of threads shared by every page: a page that listens holds neither a
thread at work nor a database connection. Every message is whole, so that a page that comes back
needs none of the past: the first one it receives tells all (`Last-Event-ID` is of no use here).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

LIFE_S = 300.0
"""A page comes back after that, and its rights are looked at again."""
READ_EVERY_S = 0.5
SILENT_AT_MOST_S = 15.0
OPEN_AT_MOST = 128
OPEN_AT_MOST_EACH = 8
RETRY_MS = 2000

Read = Callable[[], Mapping[str, Any] | None]
"""What to show now; None when there is nothing left to follow."""

_pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live")
_open: Counter[str] = Counter()


def stream(request: HttpRequest, read: Read, *, last: Callable[[Mapping[str, Any]], bool]) -> Any:
    """Send what `read` says each time it changes, until `last` of it is true. Answers 503 to one
    page too many, of this visitor or of all."""
    actor = str(request.actor)  # type: ignore[attr-defined]
    if _open[actor] >= OPEN_AT_MOST_EACH or _open.total() >= OPEN_AT_MOST:
        return HttpResponse(
            "Trop de pages suivent déjà ce qui se passe : fermez-en une.\n",
            status=503,
            content_type="text/plain; charset=utf-8",
            headers={"Retry-After": "10"},
        )
    return StreamingHttpResponse(
        _messages(actor, read, last),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _messages(
    actor: str, read: Read, last: Callable[[Mapping[str, Any]], bool]
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    _open[actor] += 1
    try:
        # The view's own connection goes back to the pool before the long wait.
        await sync_to_async(close_old_connections)()
        yield f"retry: {RETRY_MS}\n\n".encode()
        ends, spoke, shown = loop.time() + LIFE_S, loop.time(), None
        while loop.time() < ends:
            state = await loop.run_in_executor(_pool, _read, read)
            if state is None:
                return
            if state != shown:
                yield f"data: {json.dumps(state, ensure_ascii=False)}\n\n".encode()
                shown, spoke = state, loop.time()
                if last(state):
                    return
            elif loop.time() - spoke >= SILENT_AT_MOST_S:
                yield b":\n\n"
                spoke = loop.time()
            await asyncio.sleep(READ_EVERY_S)
    finally:
        _open[actor] -= 1
        if not _open[actor]:
            del _open[actor]


def _read(read: Read) -> Mapping[str, Any] | None:
    close_old_connections()
    try:
        return read()
    finally:
        close_old_connections()
