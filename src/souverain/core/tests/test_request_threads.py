"""A thread answers one request after the other, and never two at once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from asgiref.sync import sync_to_async

from souverain.core.request_threads import KEPT, kept


async def ask(application: Any, scope: dict[str, Any]) -> None:
    await application(scope, None, None)


def test_a_request_finds_the_thread_of_one_before() -> None:
    threads: list[int] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        threads.append(await sync_to_async(threading.get_ident)())
        assert await sync_to_async(threading.get_ident)() == threads[-1]

    async def until_one_comes_back() -> None:
        application = kept(page)
        async with asyncio.timeout(10):
            while len(set(threads)) == len(threads):
                await ask(application, {})

    # Idents of dead threads are used again: these are all alive, none is let go.
    asyncio.run(until_one_comes_back())
    assert len(threads) <= KEPT + 1


def test_requests_at_once_have_each_a_thread_and_most_of_them_go() -> None:
    together = threading.Barrier(3 * KEPT)

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(together.wait)(10)  # broken unless all are under way at once

    async def many() -> None:
        before = threading.active_count()
        application = kept(page)
        await asyncio.gather(*(ask(application, {}) for _ in range(3 * KEPT)))
        async with asyncio.timeout(10):
            while threading.active_count() > before + KEPT:
                await asyncio.sleep(0.01)

    asyncio.run(many())


def test_a_request_does_not_wait_for_what_one_that_was_left_still_does() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go_on.wait(10)

    async def page(scope: Any, receive: Any, send: Any) -> None:
        await sync_to_async(slow if scope["slow"] else threading.get_ident)()

    async def hang_up() -> None:
        application = kept(page)
        left = asyncio.create_task(ask(application, {"slow": True}))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        await asyncio.wait_for(ask(application, {"slow": False}), 5)
        go_on.set()

    asyncio.run(hang_up())
