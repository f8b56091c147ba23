"""The supervisor, with real children."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.sessions.models import Session

from souverain.core import clock, journal, serve, worker
from souverain.core.worker import Duty

SUPERVISOR = """
import sys
from souverain.core import serve
serve.FIRST_DELAY_S = 0.01
child = '''
import os, signal, sys
os.write(1, f"{sys.argv[1]} {os.getpid()}{os.linesep}".encode())  # whole: the pipe is shared
signal.pause()
'''
serve.supervise(
    [serve.Watched(name, [sys.executable, "-c", child, name]) for name in ("web", "worker")]
)
"""


def started(lines) -> tuple[str, int]:
    name, pid = lines.readline().split()
    return name, int(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dead_child_starts_again_and_a_signal_stops_all(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        try:
            children = dict(started(supervisor.stdout) for _ in range(2))
            os.kill(children["worker"], signal.SIGKILL)
            name, again = started(supervisor.stdout)
            assert name == "worker" and again != children["worker"]
            supervisor.send_signal(number)
            assert supervisor.wait(20) == 0
        finally:
            supervisor.kill()
        for pid in (children["web"], again):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_children_leave_with_a_supervisor_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        children = dict(started(supervisor.stdout) for _ in range(2))
        supervisor.kill()
        # The pipe is closed, and so readable, when the last of them is gone.
        gone, _, _ = select.select([supervisor.stdout], [], [], 30)
        for pid in () if gone else children.values():
            os.kill(pid, signal.SIGKILL)
        assert gone


def test_a_taken_port_is_refused_in_french() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"Le port {port} est déjà utilisé"):
            serve.serve(port, None, None, 1)


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(SystemExit, match="le certificat et sa clé"):
        serve.serve(8000, Path("cert.pem"), None, 1)


@pytest.mark.parametrize(
    ("proxy", "certificate", "host"),
    [
        ("", None, "127.0.0.1"),
        ("", Path("cert.pem"), "0.0.0.0"),
        # Whoever reached it directly would say from which address they come.
        ("1", None, "127.0.0.1"),
        ("1", Path("cert.pem"), "127.0.0.1"),
    ],
)
def test_it_listens_beyond_the_machine_only_with_tls_and_without_a_proxy(
    monkeypatch, proxy: str, certificate: Path | None, host: str
) -> None:
    monkeypatch.setenv("SOUVERAIN_BEHIND_PROXY", proxy)
    monkeypatch.setattr(serve, "require_free", lambda *_: None)
    given: list[list[str]] = []
    monkeypatch.setattr(serve, "supervise", lambda c: given.extend(child.command for child in c))
    serve.serve(8000, certificate, certificate, 1)
    web = given[0]
    assert web[web.index("--host") + 1] == host
    assert "--no-access-log" in web


def test_a_failing_duty_is_done_again() -> None:
    stop = threading.Event()
    turns: list[int] = []

    def fragile() -> None:
        turns.append(1)
        if len(turns) == 2:
            stop.set()
        raise RuntimeError("panne")

    thread = threading.Thread(
        target=worker.perform, args=[Duty("fragile", timedelta(0), fragile), stop]
    )
    thread.start()
    thread.join(20)
    assert len(turns) == 2


def test_the_heartbeat_tells_whether_the_worker_lives(tmp_path, settings) -> None:
    settings.HOME = tmp_path
    assert not worker.health().ok
    worker.beat()
    assert worker.health().ok
    with clock.frozen(clock.now() + timedelta(seconds=31)):
        assert not worker.health().ok


@pytest.mark.django_db
def test_the_journal_head_is_exported_once_a_day(tmp_path, settings) -> None:
    settings.HOME = tmp_path
    worker.export_journal_head()
    [path] = (tmp_path / "journal-heads").iterdir()
    assert path.name == f"{clock.today()}.json"
    first = path.read_text()
    assert journal.head().hash in first
    worker.export_journal_head()
    assert path.read_text() == first


@pytest.mark.django_db
def test_sessions_that_ended_are_deleted() -> None:
    now = clock.now()
    for key, ends in (("over", now - timedelta(seconds=1)), ("open", now + timedelta(hours=1))):
        Session.objects.create(session_key=key, session_data="x", expire_date=ends)
    [duty] = [duty for duty in worker.duties() if duty.name == "expired"]
    duty.run()
    assert [session.pk for session in Session.objects.all()] == ["open"]
    assert duty.every == timedelta(days=1)
