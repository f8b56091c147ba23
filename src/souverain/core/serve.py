"""`souverain serve`: the web server and the worker, watched and started again when they die."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

logger = logging.getLogger(__name__)
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_S = 60.0
STOP_WITHIN_S = 30.0
WEB_STOPS_WITHIN_S = 10
_LEAVE_TOGETHER = ("setpriv", "--pdeathsig", "TERM", "--")
"""util-linux (essential in Debian): SIGTERM for the child when its parent dies."""


class Watched:
    """One child process, started again with growing delays, until `stop`."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = list(command)
        self.stopping = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        delay = FIRST_DELAY_S
        while not self.stopping.is_set():
            started = time.monotonic()
            # A session of its own: Ctrl-C reaches the supervisor alone, which stops in order.
            # And it goes with the supervisor, even killed: the port is free for the next start.
            self.process = subprocess.Popen(
                [*_LEAVE_TOGETHER, *self.command], start_new_session=True
            )
            if self.stopping.is_set():
                self.process.terminate()
            code = self._wait()
            if self.stopping.is_set():
                return
            if time.monotonic() - started >= STEADY_S:
                delay = FIRST_DELAY_S
            logger.error("%s ended (%s), starts again in %.0f s", self.name, code, delay)
            self.stopping.wait(delay)
            delay = min(delay * 2, LONGEST_DELAY_S)

    def _wait(self) -> int:
        """The child's exit code; once stopping, it is killed when it takes too long."""
        assert self.process is not None
        while not self.stopping.is_set():
            try:
                return self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def stop(self) -> None:
        self.stopping.set()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()


def web_command(
    host: str, port: int, tls_cert: Path | None, tls_key: Path | None, workers: int
) -> list[str]:
    """The ASGI server. It writes no access log: addresses can carry a secret (one-time links)."""
    tls = ["--ssl-certificate", str(tls_cert), "--ssl-keyfile", str(tls_key)] if tls_cert else []
    return [
        *(sys.executable, "-m", "granian", "--interface", "asginl", "--no-access-log"),
        *("--host", host, "--port", str(port), "--workers", str(workers)),
        # Live pages never end by themselves: a stop does not wait for them.
        *("--workers-kill-timeout", str(WEB_STOPS_WITHIN_S)),
        *("--respawn-failed-workers", *tls, "souverain.config.asgi:application"),
    ]


def require_free(host: str, port: int) -> None:
    """End with a French sentence when the port cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: "est déjà utilisé par un autre programme",
                errno.EACCES: "est réservé au système",
            }
            reason = reasons.get(error.errno or 0, "ne peut pas être ouvert")
            raise SystemExit(f"Le port {port} {reason}. Choisissez-en un autre : --port.") from None


def serve(port: int, tls_cert: Path | None, tls_key: Path | None, workers: int) -> None:
    """Serve the portal and run the worker until SIGTERM or SIGINT. Listens beyond this machine
    only with TLS, and never behind a proxy (SOUVERAIN_BEHIND_PROXY=1), whose word is believed."""
    if (tls_cert is None) != (tls_key is None):
        raise SystemExit("Donnez le certificat et sa clé ensemble : --tls-cert et --tls-key.")
    open_to_all = tls_cert is not None and os.environ.get("SOUVERAIN_BEHIND_PROXY") != "1"
    host = "0.0.0.0" if open_to_all else "127.0.0.1"  # noqa: S104
    require_free(host, port)
    supervise(
        [
            Watched("web", web_command(host, port, tls_cert, tls_key, workers)),
            Watched("worker", [sys.executable, "-m", "souverain", "worker"]),
        ]
    )


def supervise(children: Sequence[Watched]) -> None:
    """Keep the children running until SIGTERM or SIGINT, then stop them and wait."""

    def stop_all() -> None:
        for child in children:
            child.stop()

    def stop(*_: object) -> None:
        # In a thread: a signal handler must not take a lock that the main thread may hold.
        threading.Thread(target=stop_all).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threads = [threading.Thread(target=child.watch, name=child.name) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        # With a timeout: a signal that another thread received is seen at the next turn.
        while thread.is_alive():
            thread.join(1)
