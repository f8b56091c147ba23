"""Server-sent events through a real web server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from souverain.core import live, serve
from souverain.vault.tests.conftest import Server

MAKE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createcachetable", verbosity=0)
call_command("collectstatic", interactive=False, verbosity=0)
from django.conf import settings
from django.test import Client
from souverain.core import jobs, verification
from souverain.core.access import SYSTEM
from souverain.core.models import Organisation, RoleAssignment, User
place = Organisation.objects.create(kind="departement", code="21", name="Côte-d'Or")
user = User.objects.create_user("operateur@exemple.fr")
RoleAssignment.objects.create(user=user, role="operator", organisation=place)
visitor = Client()
visitor.force_login(user)
print(visitor.cookies[settings.SESSION_COOKIE_NAME].OutputString().split(";")[0], jobs.submit(SYSTEM, verification.verify_journal, {}).pk)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("home"))
    try:
        yield made
    finally:
        made.kill()


def test_many_pages_follow_a_job_and_the_others_are_still_served(server: Server) -> None:
    cookie, job = server.python(MAKE).split()
    server.start()
    headers = {"Cookie": cookie}

    def ask(path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", path, headers=headers)
        return connection, connection.getresponse()

    def message(answer: http.client.HTTPResponse) -> dict[str, object]:
        for line in iter(answer.readline, b""):
            if line.startswith(b"data: "):
                return dict(json.loads(line.removeprefix(b"data: ")))
        raise AssertionError("the stream ended")

    path = f"/travaux/{job}/suivi/"
    followers = [ask(path) for _ in range(live.OPEN_AT_MOST_EACH)]
    for _, answer in followers:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert message(answer) == {"state": "queued", "progress": None, "message": "En file"}
    assert ask(path)[1].status == 503
    assert ask("/travaux/")[1].status == 200

    update = (
        "from souverain.core.models import Job\n"
        f"Job.objects.filter(pk={job!r}).update(state=%r, done=%d, total=10, message=%r)"
    )
    server.python(update % ("running", 4, "Vérification"))
    for _, answer in followers:
        assert message(answer)["progress"] == 0.4
    followers[0][0].close()
    followers[0][1].close()
    server.python(update % ("done", 10, "Fini"))
    for _, answer in followers[1:]:
        assert message(answer) == {"state": "done", "progress": 1.0, "message": "Fini"}
        assert answer.read().strip() == b""
    again = ask(path)[1]
    assert again.status == 200 and message(again)["state"] == "done"

    # A stop does not wait for the pages that still listen.
    server.kill()
    server.python(update % ("running", 4, "Encore"))
    command = serve.web_command("127.0.0.1", server.port, None, None, 1)
    with subprocess.Popen(command, env=server.environment, start_new_session=True) as web:
        try:
            listening = until_it_listens(lambda: ask(path)[1])
            assert message(listening)["state"] == "running"
            web.send_signal(signal.SIGTERM)
            web.wait(serve.STOP_WITHIN_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(web.pid, signal.SIGKILL)


def until_it_listens(ask: Callable[[], http.client.HTTPResponse]) -> http.client.HTTPResponse:
    deadline = time.monotonic() + 60
    while True:
        try:
            return ask()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
