"""The deployment as it is documented: TLS, the reverse proxy, the units, the settings."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from souverain.core.tests.certificates import write_certificate

PROJECT = Path(__file__).resolve().parents[4]
MAKE = """
import django; django.setup()
from django.conf import settings
from django.test import Client
from souverain.core import jobs, verification
from souverain.core.access import SYSTEM
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.vault.services import add_device
user = User.objects.create_user("operateur@exemple.fr")
place = Organisation.objects.get(code="21")
RoleAssignment.objects.create(user=user, role="operator", organisation=place)
visitor = Client()
visitor.force_login(user)
cookie = visitor.cookies[settings.SESSION_COOKIE_NAME].OutputString().split(";")[0]
job = jobs.submit(SYSTEM, verification.verify_journal, {})
dijon = Organisation.objects.get(code="21231")
print(cookie, job.pk, add_device(SYSTEM, dijon, "poste", ["backup"])[1])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, port: int, public: str, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith("SOUVERAIN_")
    }
    return {
        **kept,
        "SOUVERAIN_HOME": str(home),
        "PORT": str(port),
        "SOUVERAIN_PUBLIC_URL": public,
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        **more,
    }


def python(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(
    command: list[str], env: dict[str, str], log: Path, ready: Callable[[], Any]
) -> Iterator[None]:
    """A program in a session of its own, once `ready` no longer raises OSError."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                ready()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def trust(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def assert_strict(answer: Any) -> None:
    """HSTS, and cookies that only https carries."""
    assert answer.status == 200
    assert "max-age=63072000" in answer.headers["Strict-Transport-Security"]
    cookies = answer.headers.get_all("Set-Cookie")
    assert cookies and all("Secure" in cookie for cookie in cookies)


def test_serve_brings_tls_by_itself(
    tmp_path: Path, certificate: tuple[Path, Path], trust: ssl.SSLContext
) -> None:
    port = free_port()
    public = f"https://localhost:{port}"
    env = environment(tmp_path / "home", port, public)
    python(env, "-m", "souverain", "init")
    command = [sys.executable, "-m", "souverain", "serve"]
    command += ["--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])]

    def ready() -> None:
        urllib.request.urlopen(f"{public}/health", context=trust, timeout=10).close()

    with running(command, env, tmp_path / "log", ready):
        with urllib.request.urlopen(f"{public}/compte/login/", context=trust, timeout=30) as page:
            assert_strict(page)
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(f"http://localhost:{port}/compte/login/", timeout=30)


def test_production_settings_pass_every_deployment_check(tmp_path: Path) -> None:
    for public in ("https://cloud.exemple.fr", "https://cloud.exemple.fr:8443"):
        env = environment(tmp_path, 8000, public, SOUVERAIN_BEHIND_PROXY="1")
        python(env, "-m", "django", "check", "--deploy", "--fail-level", "INFO")


@pytest.mark.parametrize(
    ("public", "accepted"),
    [
        ("http://cloud.exemple.fr", False),
        ("http://192.168.1.10:8000", False),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("https://cloud.exemple.fr", True),
    ],
)
def test_plain_http_beyond_this_machine_is_refused(
    tmp_path: Path, public: str, accepted: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "souverain", "serve", "--help"],
        env=environment(tmp_path, 8000, public),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode == 0) is accepted, done.stderr
    if not accepted:
        assert "hors de cette machine, l'adresse doit être en https" in done.stderr


def test_units_are_what_systemd_expects(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None and not os.environ.get("CI"):
        pytest.skip("systemd-analyze is not installed")
    assert verify is not None
    units = sorted((PROJECT / "deploy").glob("*.service"))
    assert units
    for unit in units:
        # Only the interpreter's place differs from a server's.
        text = unit.read_text().replace("/opt/souverain/.venv/bin/python", sys.executable)
        assert sys.executable in text
        (tmp_path / unit.name).write_text(text)
        done = subprocess.run(
            [verify, "verify", "--man=no", str(tmp_path / unit.name)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and unit.name not in done.stderr, done.stderr


# Behind nginx -------------------------------------------------------------------------------------


def rendered(tls: int, plain: int, app: int, certificate: tuple[Path, Path], folder: Path) -> str:
    """`deploy/nginx.conf` with private ports, certificate and log; nothing else is changed."""
    text = (PROJECT / "deploy/nginx.conf").read_text()
    for documented, private in {
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl;\n": "",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "cloud.example.fr": "localhost",
        "/etc/souverain/tls/fullchain.pem": str(certificate[0]),
        "/etc/souverain/tls/privkey.pem": str(certificate[1]),
        "/var/log/nginx/souverain.log": str(folder / "access.log"),
        "http://127.0.0.1:8000": f"http://127.0.0.1:{app}",
    }.items():
        assert documented in text, documented
        text = text.replace(documented, private)
    return text


class Proxied:
    """A server behind the documented nginx, and what a browser and a device would do there."""

    def __init__(self, folder: Path, certificate: tuple[Path, Path]) -> None:
        self.folder, self.home = folder, folder / "home"
        self.app, self.tls, self.plain = free_port(), free_port(), free_port()
        self.public = f"https://localhost:{self.tls}"
        self.env = environment(self.home, self.app, self.public, SOUVERAIN_BEHIND_PROXY="1")
        (folder / "site.conf").write_text(
            rendered(self.tls, self.plain, self.app, certificate, folder)
        )
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{place}_temp_path {folder / place};\n" for place in places)
        (folder / "nginx.conf").write_text(
            f"daemon off;\nerror_log {folder / 'error.log'};\npid {folder / 'pid'};\n"
            f"events {{}}\nhttp {{\n{temporary}include {folder / 'site.conf'};\n}}\n"
        )
        folder.chmod(0o755)

    def connection(self, trust: ssl.SSLContext) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.tls, timeout=60, context=trust)


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory,
    certificate: tuple[Path, Path],
    trust: ssl.SSLContext,
) -> Iterator[Proxied]:
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists() and not os.environ.get("CI"):
        pytest.skip("nginx is not installed")
    made = Proxied(tmp_path_factory.mktemp("nginx"), certificate)
    python(made.env, "-m", "souverain", "init")
    server = [sys.executable, "-m", "granian", "--interface", "asginl", "--port", str(made.app)]
    server += ["--host", "127.0.0.1", "souverain.config.asgi:application"]

    def answers(port: int) -> Callable[[], None]:
        return lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close()

    proxy = [nginx, "-p", str(made.folder), "-c", str(made.folder / "nginx.conf")]
    with (
        running(server, made.env, made.folder / "server.log", answers(made.app)),
        running(proxy, made.env, made.folder / "nginx.log", answers(made.tls)),
    ):
        yield made


@pytest.fixture(scope="module")
def made(proxied: Proxied) -> tuple[str, str, str]:
    """An operator's session, a job that waits, and a device's repository address."""
    cookie, job, repository = python(proxied.env, "-c", MAKE).split()
    return cookie, job, repository


def test_nginx_sends_plain_http_to_https_and_believes_no_visitor(
    proxied: Proxied, trust: ssl.SSLContext
) -> None:
    plain = http.client.HTTPConnection("localhost", proxied.plain, timeout=30)
    plain.request("GET", "/compte/login/")
    answer = plain.getresponse()
    assert answer.status == 301 and answer.headers["Location"].startswith("https://localhost/")
    secure = proxied.connection(trust)
    secure.request("GET", "/compte/login/", headers={"X-Forwarded-Proto": "http"})
    assert_strict(secure.getresponse())
    hidden = proxied.connection(trust)
    hidden.request("GET", "/invitation/un-secret-dans-l-adresse/")
    hidden.getresponse().read()
    log = (proxied.folder / "access.log").read_text()
    assert "/invitation" in log and "un-secret" not in log


def test_nginx_passes_each_event_at_once(
    proxied: Proxied, made: tuple[str, str, str], trust: ssl.SSLContext
) -> None:
    cookie, job, _ = made
    connection = proxied.connection(trust)
    headers = {"Cookie": cookie}
    connection.request("GET", f"/travaux/{job}/suivi/", headers=headers)
    answer = connection.getresponse()
    assert answer.status == 200

    def state() -> str:
        while True:
            line = answer.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: "):
                return str(json.loads(line.removeprefix(b"data: "))["state"])

    assert state() == "queued"
    update = (
        "import django; django.setup()\nfrom souverain.core.models import Job\n"
        f"Job.objects.filter(pk={job!r}).update(state='running')"
    )
    python(proxied.env, "-c", update)
    assert state() == "running"
    connection.close()


def test_nginx_passes_an_upload_on_while_it_arrives(
    proxied: Proxied, made: tuple[str, str, str], trust: ssl.SSLContext
) -> None:
    parts = urlsplit(made[2].removeprefix("rest:"))
    secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    half = os.urandom(12 << 20)
    name = hashlib.sha256(half + half).hexdigest()
    connection = proxied.connection(trust)
    connection.putrequest("POST", f"{parts.path}data/{name}")
    connection.putheader("Authorization", f"Basic {secret}")
    connection.putheader("Content-Length", str(2 * len(half)))
    connection.endheaders()
    connection.send(half)
    arriving = proxied.home / "objects/.tmp"

    def received() -> int:
        return sum(path.stat().st_size for path in arriving.glob("*"))

    deadline = time.monotonic() + 30
    while received() < 10 << 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert received() >= 10 << 20  # half the body is in the store: nothing waits on the proxy
    connection.send(half)
    assert connection.getresponse().status == 200
    assert not any((proxied.folder / "client_body").iterdir())


CHUNK = f"{1 << 20:x}\r\n".encode() + bytes(1 << 20) + b"\r\n"


def send_without_end(reader: socket.socket, path: str) -> tuple[bytes, int]:
    """A chunked POST that goes on until the server answers: the answer, and the MiB it took."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader.sendall(head.encode())
    sent = 0
    with suppress(OSError):  # what the server no longer reads
        while sent < 64 and not select.select([reader], [], [], 0)[0]:
            reader.sendall(CHUNK)
            sent += 1
    return reader.recv(4096), sent


@pytest.mark.parametrize("path", ["/compte/login/", "/api/territory/communes", "/nulle-part/"])
def test_a_body_without_end_is_refused_and_is_nowhere(proxied: Proxied, path: str) -> None:
    with socket.create_connection(("127.0.0.1", proxied.app), timeout=30) as reader:
        answer, sent = send_without_end(reader, path)
    assert answer.startswith(b"HTTP/1.1 413 ") and sent < 64
    assert "5 Mio" in answer.decode()


def test_a_body_announced_too_large_is_not_read(proxied: Proxied, trust: ssl.SSLContext) -> None:
    direct = http.client.HTTPConnection("127.0.0.1", proxied.app, timeout=30)
    for connection in (direct, proxied.connection(trust)):
        connection.putrequest("POST", "/compte/login/")
        connection.putheader("Content-Length", str((5 << 20) + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413


def test_nginx_takes_what_the_program_takes(proxied: Proxied, trust: ssl.SSLContext) -> None:
    connection = proxied.connection(trust)
    connection.request("POST", "/compte/login/", body=bytes(5 << 20))
    assert connection.getresponse().status == 403  # no CSRF token: the page has read it
