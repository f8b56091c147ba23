"""A real server process on a port of its own, in a home of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from souverain.vault.tests.xerces import Xerces, is_installed

SOURCE = Path(__file__).resolve().parents[3]
PRELUDE = "import django; django.setup()\n"
DEBIAN = ("/usr/share/doc", "/usr/lib/python3", "/usr/share/perl", "/usr/include", "/usr/lib/gcc")
FEW_MB, MANY_MB = 4, 520


class Server:
    """The web process under test, and the console beside it.

    `mount` is a shell line that mounts something in a namespace of the server's own, which goes
    with it; `enter` runs a program there.
    """

    def __init__(self, home: Path, mount: str = "", database_url: str = "") -> None:
        self.home, self.mount = home, mount
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }
        for inherited in ("DATABASE_URL", "SOUVERAIN_PUBLIC_URL", "SOUVERAIN_OBJECTS_URL"):
            self.environment.pop(inherited, None)
        if database_url:
            self.environment["DATABASE_URL"] = database_url
        self.log = home.with_name(f"{home.name}.log")
        self.process: subprocess.Popen[bytes] | None = None

    def enter(self, *command: str) -> str:
        """Run a program where the server runs, with its mounts; returns its standard output."""
        inside: list[str] = []
        if self.mount and self.process is not None:
            inside = ["nsenter", "--mount", f"--target={self.process.pid}"]
        done = subprocess.run(
            [*inside, *command], env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def python(self, code: str) -> str:
        """Run code in a Django process of the same home; returns its standard output."""
        return self.enter(sys.executable, "-c", PRELUDE + code)

    def prepare(self) -> None:
        """A database with two communes."""
        self.python(
            "from django.core.management import call_command\n"
            "call_command('migrate', verbosity=0)\n"
            "call_command('createcachetable', verbosity=0)\n"
            "from souverain.core.models import Organisation\n"
            "for code, name in (('21231', 'Dijon'), ('21054', 'Beaune')):\n"
            "    Organisation.objects.create(kind='commune', code=code, name=name)\n"
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "granian", "--interface", "asginl"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["souverain.config.asgi:application"]
        if self.mount:
            line = f'{self.mount} && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", line, "sh", *command]
        self.process = subprocess.Popen(
            command,
            env=self.environment,
            stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while True:
            if self.listens():
                return
            log = self.log.read_text()
            assert self.process.poll() is None and time.monotonic() < deadline, log
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to the whole group that `start` made."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """As a power cut for the processes: SIGKILL to the whole group that `start` made."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
            # A worker that was killed while the disk wrote for it dies only then, and takes with it
            # whoever reached it meanwhile.
            deadline = time.monotonic() + 60
            while self.listens():
                assert time.monotonic() < deadline, "the server that was killed still listens"
                time.sleep(0.01)

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

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

    def refusals(self) -> list[str]:
        """The reasons of the refusals that the journal holds, oldest first."""
        found = self.python(
            "import orjson\nfrom souverain.core.models import JournalEntry\n"
            "for entry in JournalEntry.objects.filter(verb='vault.refused').order_by('seq'):\n"
            "    print(orjson.loads(bytes(entry.body))['data']['reason'])"
        )
        return found.split()

    def journal_is_whole(self) -> bool:
        code = "from souverain.core import journal\nprint(journal.verify().fault)"
        return self.python(code) == "None"

    def folder(self, code: str = "21231", scope: str = "general") -> Path:
        return self.home / "objects" / "vault" / code / scope


class Client:
    """Plain HTTP with the credential of one repository address."""

    def __init__(self, repository: str) -> None:
        parts = urlsplit(repository.removeprefix("rest:"))
        assert parts.hostname and parts.port
        self.port, self.path = parts.port, parts.path
        secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self.id, self.headers = parts.username, {"Authorization": f"Basic {secret}"}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        answer = self.answer(method, path, body, **headers)
        return answer.status, answer.read()

    def answer(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        target = path if path.startswith("/") else self.path + path
        # A refusal may come, and the line be closed, before the body is sent: the answer is there.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, {**self.headers, **headers})
        return connection.getresponse()

    def put(self, content: bytes) -> int:
        return self.ask("POST", f"data/{named(content)}", content)[0]

    def raw(self, head: str) -> socket.socket:
        """An open connection on which a request line and headers were sent, as they are."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        authorization = self.headers["Authorization"]
        lines = f"{head}\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n"
        connection.sendall(lines.encode())
        return connection

    def names(self, kind: str = "data") -> list[str]:
        return list(json.loads(self.ask("GET", f"{kind}/")[1]))

    def assert_whole(self, acknowledged: Iterable[bytes] = ()) -> None:
        """What was acknowledged is there, and nothing that is served is torn."""
        for content in acknowledged:
            assert self.ask("GET", f"data/{named(content)}") == (200, content)
        for name in self.names():
            status, content = self.ask("GET", f"data/{name}")
            assert (status, named(content)) == (200, name)


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def restic(repository: str, folder: Path, *arguments: str, fails: bool = False) -> str:
    """The stock client, in a folder; returns its standard output (its errors, when it `fails`)."""
    done = subprocess.run(
        ["restic", "--no-cache", *arguments],
        env={**os.environ, "RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "mot de passe"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture
def tree(proving: bool, tmp_path: Path) -> Path:
    """Debian's own documentation and sources, copied: thousands of files when proving."""
    root = tmp_path / "mairie"
    left = (MANY_MB if proving else FEW_MB) << 20
    for source in map(Path, (*DEBIAN, "/usr/share", "/usr/lib")):
        for number, file in enumerate(sorted(source.rglob("*")) if left > 0 else ()):
            if left <= 0 or file.is_symlink() or not file.is_file():
                continue
            copy = root / source.name / str(number % 50) / f"{number} {file.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            left -= copy.stat().st_size
    assert left <= 0
    assert sum(1 for _ in root.rglob("*")) > (2000 if proving else 50)
    return root


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with two communes, for the whole session; on PostgreSQL when the run is."""
    home = tmp_path_factory.mktemp("home")
    made = Server(home, database_url=os.environ.get("DATABASE_URL", ""))
    made.prepare()
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def vault_data() -> Path:
    """The vault's test data: never part of the project, each with its licence beside it."""
    shared = os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data"
    folder = Path(shared) / "vault"
    if not folder.exists():
        message = f"SOUVERAIN_TEST_DATA: {folder} is missing"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def xerces(vault_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Xerces:
    if not is_installed() and not os.environ.get("CI"):
        pytest.skip("DOMCount is not installed (Debian: libxerces-c-samples)")
    return Xerces(vault_data / "seda-xsd", tmp_path_factory.mktemp("xsd"))
