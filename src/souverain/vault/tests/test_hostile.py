"""Hostile and unlucky requests: a clear refusal each time, nothing lost, nothing half written."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from souverain.vault.tests.conftest import Server


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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        target = path if path.startswith("/") else self.path + path
        connection.request(method, target, body, {**self.headers, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.device(roles="backup restore prune", scope="hostile"))


def test_ranges_and_both_listings(client: Client) -> None:
    content = os.urandom(3 << 20)
    path = f"data/{named(content)}"
    assert client.ask("POST", path, content)[0] == 200
    assert client.ask("POST", path, content)[0] == 200
    assert client.ask("GET", path) == (200, content)
    assert client.ask("GET", path, Range="bytes=5-1048580") == (206, content[5:1048581])
    assert client.ask("GET", path, Range="bytes=-7") == (206, content[-7:])
    assert client.ask("GET", path, Range="bytes=9999999-")[0] == 416
    assert client.ask("GET", "data/")[1] == f'["{named(content)}"]'.encode()
    listing = client.ask("GET", "data/", Accept="application/vnd.x.restic.rest.v2")[1]
    assert listing == f'[{{"name":"{named(content)}","size":{len(content)}}}]'.encode()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("data/" + "0" * 64, 400),
        ("data/abc", 400),
        ("data/../../../secret-key", 400),
        ("data/%2e%2e%2fconfig", 400),
        ("data//" + "0" * 64, 400),
        ("config/x", 400),
        ("journal/" + "0" * 64, 404),
        ("/vault/21054/general/data/" + "0" * 64, 403),
        ("/vault/21231/general/data/" + "0" * 64, 403),
    ],
)
def test_bad_names_paths_and_types_are_refused(client: Client, path: str, status: int) -> None:
    assert client.ask("POST", path, b"contenu")[0] == status


def test_nothing_is_erased_or_written_in_the_past(client: Client) -> None:
    past = client.path.rstrip("/") + "@2026-01-01T00:00:00Z/"
    name = named(b"x")
    assert client.ask("DELETE", "")[0] == client.ask("DELETE", "config")[0] == 403
    assert client.ask("POST", f"{past}data/{name}", b"x")[0] == 403
    assert client.ask("POST", f"{past}locks/{name}", b"x")[0] == 200
    assert client.ask("GET", f"{past}locks/") == (200, b"[]")
    assert client.ask("GET", client.path.rstrip("/") + "@2999-01-01T00:00:00Z/data/")[0] == 400
    assert client.ask("GET", client.path.rstrip("/") + "@hier/data/")[0] == 400


def test_oversize_and_truncated_leave_nothing(server: Server, client: Client) -> None:
    name = named(b"cle")
    assert client.ask("POST", f"keys/{name}", bytes((1 << 20) + 1))[0] == 413
    with socket.create_connection(("127.0.0.1", client.port)) as raw:
        head = (
            f"POST {client.path}data/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000"
        )
        raw.sendall(f"{head}\r\nAuthorization: {client.headers['Authorization']}\r\n\r\n".encode())
        raw.sendall(b"x" * 1000)
    temporary = server.home / "objects" / ".tmp"
    deadline = time.monotonic() + 10
    while any(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(temporary.iterdir())
    assert client.ask("GET", f"data/{name}")[0] == 404


def test_unknown_and_revoked_devices_are_refused_within_a_second(server: Server) -> None:
    victim = Client(server.device(scope="perdu"))
    assert victim.ask("GET", "data/")[0] == 200
    stranger = Client(f"rest:http://{victim.id}:faux@localhost:{server.port}{victim.path}")
    assert stranger.ask("GET", "data/")[0] == 401
    server.python(
        "from souverain.core import access\nfrom souverain.core.models import Device\n"
        "from souverain.vault import services\n"
        f"services.revoke_device(access.SYSTEM, Device.objects.get(pk={victim.id!r}))"
    )
    start = time.monotonic()
    while victim.ask("GET", "data/")[0] != 401:
        assert time.monotonic() - start < 1
        time.sleep(0.02)


def test_races_on_one_name(server: Server) -> None:
    racer = Client(server.device(scope="course"))
    content = os.urandom(1 << 20)
    with ThreadPoolExecutor(8) as pool:
        configs = list(
            pool.map(lambda n: racer.ask("POST", "config", f"config {n}".encode())[0], range(8))
        )
        same = list(
            pool.map(lambda _: racer.ask("POST", f"data/{named(content)}", content)[0], range(8))
        )
    assert sorted(configs) == [200] + [403] * 7
    assert same == [200] * 8
    rows = "from souverain.vault.models import StoredObject as S\nprint(S.objects.filter(name=%r).count())"
    assert server.python(rows % named(content)) == "1"


def test_a_backup_only_device_cannot_read_in_bulk(server: Server) -> None:
    thief = Client(server.device(roles="backup", scope="vol"))
    content = os.urandom(9 << 20)
    path = f"data/{named(content)}"
    assert thief.ask("POST", path, content)[0] == 200
    assert thief.ask("GET", path)[0] == 200
    assert thief.ask("GET", path)[0] == 403
    assert thief.ask("DELETE", path)[0] == 403


def test_a_full_quota_is_said_clearly(server: Server) -> None:
    poor = Client(server.device(code="21054"))
    server.python(
        "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
        "from souverain.vault import services\n"
        "services.set_quota(access.SYSTEM, Organisation.objects.get(code='21054'), 1000)"
    )
    status, message = poor.ask("POST", f"data/{named(bytes(2000))}", bytes(2000))
    assert status == 507 and "plein" in message.decode()
    assert poor.ask("POST", f"data/{named(bytes(900))}", bytes(900))[0] == 200


def test_what_was_acknowledged_survives_kill(server: Server) -> None:
    sender = Client(server.device(scope="coupure"))
    acknowledged: list[bytes] = []
    for _ in range(3):
        reached = threading.Event()

        def send(reached: threading.Event = reached) -> None:
            while True:
                content = os.urandom(200_000)
                try:
                    if sender.ask("POST", f"data/{named(content)}", content)[0] == 200:
                        acknowledged.append(content)
                        reached.set()
                except OSError:
                    return
                except http.client.HTTPException:
                    return

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert reached.wait(20)
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
    for content in acknowledged:
        assert sender.ask("GET", f"data/{named(content)}") == (200, content)
