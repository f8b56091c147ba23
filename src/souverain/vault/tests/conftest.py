"""A real server process on a port of its own, in a home of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3]
PRELUDE = "import django; django.setup()\n"


class Server:
    """The web process under test, and the console beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONPATH": str(SOURCE),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }
        for inherited in ("DATABASE_URL", "SOUVERAIN_PUBLIC_URL", "SOUVERAIN_OBJECTS_URL"):
            self.environment.pop(inherited, None)
        self.process: subprocess.Popen[bytes] | None = None

    def python(self, code: str) -> str:
        """Run code in a Django process of the same home; returns its standard output."""
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        command = [sys.executable, "-m", "granian", "--interface", "asginl"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, "souverain.config.asgi:application"],
            env=self.environment,
            stdout=(self.home / "server.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                log = (self.home / "server.log").read_text()
                assert self.process.poll() is None and time.monotonic() < deadline, log
                time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut for the processes: SIGKILL to the whole group that `start` made."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def device(
        self, code: str = "21231", roles: str = "backup restore", scope: str = "general"
    ) -> str:
        """Enrol a device; returns its repository address."""
        return self.python(
            "from souverain.core import access\n"
            "from souverain.core.models import Organisation\n"
            "from souverain.vault import services\n"
            f"found = Organisation.objects.get(code={code!r})\n"
            f"print(services.add_device(access.SYSTEM, found, 'poste', {roles.split()!r}, {scope!r})[1])"
        )

    def folder(self, code: str = "21231", scope: str = "general") -> Path:
        return self.home / "objects" / "vault" / code / scope


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with two communes, for the whole session."""
    made = Server(tmp_path_factory.mktemp("home"))
    made.python(
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "call_command('createcachetable', verbosity=0)\n"
        "from souverain.core.models import Organisation\n"
        "for code, name in (('21231', 'Dijon'), ('21054', 'Beaune')):\n"
        "    Organisation.objects.create(kind='commune', code=code, name=name)\n"
    )
    made.start()
    yield made
    made.kill()
