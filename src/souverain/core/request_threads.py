"""Threads that answer one request after the other, each with its connection to the database.

Django gives each request a thread, which dies with it: opening SQLite's file and reading its schema
again takes longer than most requests do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

from souverain.core.request_body import Application, Receive, Send

KEPT = 4
"""Threads that wait for a request; more are made when more come at once, and go afterwards."""


def kept(application: Application) -> Application:
    """The application, with a thread for each request that is under way."""
    idle: list[ThreadPoolExecutor] = []

    def give_back(thread: ThreadPoolExecutor) -> None:
        if len(idle) < KEPT:
            idle.append(thread)
        else:
            connections.close_all()
            thread.shutdown(wait=False)

    async def answer(scope: Any, receive: Receive, send: Send) -> None:
        thread = idle.pop() if idle else ThreadPoolExecutor(1, "request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await application(scope, receive, send)
        finally:
            # By the thread itself: after what a client that hung up left it to do.
            thread.submit(give_back, thread)

    return answer
