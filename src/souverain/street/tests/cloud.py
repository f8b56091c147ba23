"""The whole program on a port and in a home of its own, as `souverain serve` runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3]
PRELUDE = "import django; django.setup()\n"
_PREPARE = """
from datetime import timedelta
from django.core.management import call_command
call_command('migrate', verbosity=0)
call_command('createcachetable', verbosity=0)
from souverain.core import access, services
from souverain.core.models import Organisation, User
departement = Organisation.objects.create(kind='departement', code='21', name="Côte-d'Or")
user = User.objects.create_user('operatrice@cotedor.test', 'un mot de passe long', 'Opératrice')
user.role_assignments.create(role='operator', organisation=departement)
print(services.create_token(
    access.of_user(user), user, name='essai', scopes=['street.desk', 'street.deliver'],
    life=timedelta(days=1))[1])
"""


class Cloud:
    """A home with an operator, whose token opens the desk and the deliveries."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.home, self.log = home, home.with_name(f"{home.name}.log")
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }
        for inherited in ("DATABASE_URL", "SOUVERAIN_PUBLIC_URL", "SOUVERAIN_OBJECTS_URL"):
            self.environment.pop(inherited, None)
        self.token = self.python(_PREPARE)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def street(self) -> str:
        """The address that Panoramax's clients are given."""
        return f"http://127.0.0.1:{self.port}/street"

    def python(self, code: str) -> str:
        """Run code in a Django process of the same home; returns its standard output."""
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code],
            env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "souverain", "serve", "--port", str(self.port)],
            env=self.environment,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not self.listens():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def web_pids(self) -> list[int]:
        """The web server and its workers, children of the supervisor."""
        assert self.process is not None
        listed = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        web = {int(pid) for pid, parent, args in rows
               if int(parent) == self.process.pid and "granian" in args}  # fmt: skip
        return [*web, *(int(pid) for pid, parent, _ in rows if int(parent) in web)]

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
