"""A request brings little, and in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from souverain.core import request_body
from souverain.core.request_body import LIMIT_BYTES, bounded


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """An application which reads the body, then says its size, as Django does."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    pieces: list[bytes], headers: tuple[tuple[bytes, bytes], ...] = (), path: str = "/"
) -> list[Any]:
    """What is sent to a client which brings these pieces; an empty one is a silence for ever."""
    left, sent = list(pieces), []

    async def receive() -> Any:
        if not left or not left[0]:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(bounded(reading)(scope, receive, send))
    return sent


def test_a_body_of_the_limit_is_read_whole() -> None:
    half = bytes(LIMIT_BYTES // 2)
    assert ask([half, half])[1]["body"] == str(LIMIT_BYTES).encode()


def test_one_byte_more_is_refused_in_french() -> None:
    start, body = ask([bytes(LIMIT_BYTES), b"x"])
    assert start["status"] == 413 and "5 Mio" in body["body"].decode()


def test_the_api_says_it_as_a_problem() -> None:
    start, body = ask([bytes(LIMIT_BYTES + 1)], path="/api/territory/communes")
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    assert b'"status": 413' in body["body"]


@pytest.mark.parametrize("announced", [b"5242881", b"9" * 400])
def test_what_is_announced_too_large_is_not_read(announced: bytes) -> None:
    assert ask([b""], ((b"content-length", announced),))[0]["status"] == 413


def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "WITHIN_S", 0.05)
    assert ask([b"a", b""])[0]["status"] == 408


def test_a_page_that_listens_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the body is whole, the wait for the client's leaving has no end of its own."""
    monkeypatch.setattr(request_body, "WITHIN_S", 0.01)
    left = asyncio.Event()

    async def live(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        asyncio.get_running_loop().call_later(0.05, left.set)
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "http.disconnect":
            await left.wait()
        return message

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        await bounded(live)({"type": "http", "path": "/", "headers": []}, receive, send)

    asyncio.run(main())
    assert [message["status"] for message in sent] == [200]
