"""Hostile and unlucky requests: a clear refusal each time, nothing lost, nothing half written."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from souverain.vault.tests.conftest import PRELUDE, Client, Server, named

pytestmark = pytest.mark.db_both


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
        ("/vault/21231%2Fhostile/data/" + named(b"contenu"), 400),
        ("/vault/21231/hostile/data%2f" + named(b"contenu"), 400),
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
    client.raw(f"POST {client.path}data/{name} HTTP/1.1\r\nContent-Length: 900000").sendall(
        b"x" * 1000
    )
    with client.raw(f"POST {client.path}data/{name} HTTP/1.1\r\nTransfer-Encoding: chunked") as cut:
        cut.sendall(b"3e8\r\n" + b"x" * 500)
    temporary = server.home / "objects" / ".tmp"
    deadline = time.monotonic() + 10
    while any(temporary.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(temporary.iterdir())
    assert client.ask("GET", f"data/{name}")[0] == 404


def test_a_config_comes_whole_or_not_at_all(server: Server) -> None:
    """Its name proves nothing: a chunked or empty one is refused, so that no half is kept."""
    fresh = Client(server.device(scope="demi-config"))
    head = f"POST {fresh.path}config HTTP/1.1\r\nTransfer-Encoding: chunked"
    with fresh.raw(head) as connection:
        connection.sendall(b"5\r\nmoiti")
        assert connection.recv(100).startswith(b"HTTP/1.1 411")
    assert fresh.ask("POST", "config", b"")[0] == 411
    assert fresh.ask("HEAD", "config")[0] == 404
    assert fresh.ask("POST", "config", b"un config")[0] == 200
    assert fresh.ask("GET", "config") == (200, b"un config")


def test_chunked_bodies_and_100_continue_are_taken(client: Client) -> None:
    content = os.urandom(70_000)
    head = f"POST {client.path}data/{named(content)} HTTP/1.1\r\nTransfer-Encoding: chunked"
    with client.raw(head) as connection:
        for start in range(0, len(content), 9000):
            piece = content[start : start + 9000]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert client.ask("GET", f"data/{named(content)}") == (200, content)
    waits = f"Content-Length: {len(content)}\r\nExpect: 100-continue"
    with client.raw(f"POST {client.path}data/{named(b'a')} HTTP/1.1\r\n{waits}") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
    with client.raw(f"POST /vault/21054/general/config HTTP/1.1\r\n{waits}") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


def test_head_says_the_size_and_knows_no_range(client: Client) -> None:
    content = os.urandom(1000)
    assert client.put(content) == 200
    for asked in ({}, {"Range": "bytes=1-2"}):
        answer = client.answer("HEAD", f"data/{named(content)}", **asked)
        assert (answer.status, answer.headers["Content-Length"]) == (200, "1000")
        assert "Content-Range" not in answer.headers
    assert client.ask("HEAD", f"data/{named(b'absent')}") == (404, b"")


def test_creating_is_said_as_restic_says_it(client: Client) -> None:
    assert client.ask("POST", "?create=true")[0] == 200
    assert client.ask("POST", "")[0] == client.ask("POST", "?create=false")[0] == 400


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("2026-11-23T18:00:00Z", 200),
        ("2026-11-23T18:00:00.123456Z", 200),
        ("2026-11-23T19:00:00+01:00", 200),
        ("2026-11-23T19:00:00%2B01:00", 200),
        ("2026-11-23T18%3A00%3A00Z", 200),
        ("2026-11-23T18:00:00", 400),
        ("2026-11-23", 400),
        ("0001-01-01T00:00:00+23:59", 400),
        ("2026-02-30T00:00:00Z", 400),
        ("", 400),
        ("%C3%A9", 400),
        ("2026-11-23T18:00:00Z@2026-11-23T18:00:00Z", 400),
    ],
)
def test_a_moment_is_an_instant_with_its_offset(client: Client, written: str, status: int) -> None:
    path = f"{client.path.rstrip('/')}@{written}/data/"
    assert client.ask("GET", path)[0] == status


@pytest.mark.parametrize(
    "path",
    [
        "/vault//21231/hostile/config",
        "/vault/21231//hostile/config",
        "/vault/21054%2Fgeneral/config",
        "/vault/21231/hostile/../../21054/general/config",
        "/vault/21231/hostile/%2e%2e/%2e%2e/21054/general/config",
        "/vault/21054/general/config",
        "/vault/21054/general@2026-11-23T18:00:00Z/config",
        "/vault/" + quote("２１０５４") + "/general/config",
        "/vault/21231/hostile%00/config",
    ],
)
def test_no_spelling_reaches_another_repository(server: Server, client: Client, path: str) -> None:
    other = Client(server.device(code="21054"))
    other.ask("POST", "config", b"la config de Beaune")
    status, content = client.ask("GET", path)
    assert status in (400, 403, 404) and b"Beaune" not in content


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer x",
        "Basic AAAA",
        "Basic OnNlY3JldA==",
        "Basic " + "A" * 20_000,
    ],
)
def test_odd_credentials_are_refused(client: Client, authorization: str) -> None:
    assert client.ask("GET", "config", None, Authorization=authorization)[0] == 401
    nul = base64.b64encode(b"\0" * 16 + b":secret").decode()
    assert client.ask("GET", "config", None, Authorization=f"Basic {nul}")[0] == 401


def test_a_very_long_header_is_refused_and_the_server_goes_on(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
        connection.sendall(f"GET {client.path}config HTTP/1.1\r\nHost: x\r\nX: ".encode())
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(b"y" * (1 << 20))
    assert client.ask("GET", "data/")[0] == 200


def test_guesses_are_told_once_and_do_not_hold_up_the_others(
    server: Server, client: Client
) -> None:
    guess = Client(f"rest:http://{'0' * 16}:faux@localhost:{server.port}{client.path}")
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda _: guess.ask("GET", "config")[0], range(300)))
    assert statuses <= {401, 429}
    assert client.put(os.urandom(1000)) == 200
    assert server.refusals().count("credential") <= 3


def test_a_stalled_upload_is_cut_by_a_revocation(server: Server) -> None:
    victim = Client(server.device(scope="coupe"))
    head = f"POST {victim.path}data/{'0' * 64} HTTP/1.1\r\nContent-Length: 900000"
    with victim.raw(head) as connection:
        connection.sendall(b"x" * 1000)
        assert not select.select([connection], [], [], 0.7)[0]
        with ThreadPoolExecutor(1) as pool:
            cut = pool.submit(lambda: (connection.recv(100), time.time()))
            revoked_at = revoke(server, victim)
            answer, cut_at = cut.result(30)
        assert answer.startswith(b"HTTP/1.1 401")
        assert cut_at - revoked_at <= 1
    deadline = time.monotonic() + 10  # the answer does not wait for the journal
    while "revoked" not in server.refusals():
        assert time.monotonic() < deadline


HELD = """
import sys
from django.db import connection, transaction
from souverain.core import clock
from souverain.core.models import Device
from souverain.core.transactions import serialise_writers
with transaction.atomic():
    serialise_writers()
    print("held", flush=True)
    identity = sys.stdin.readline().strip()
    Device.objects.filter(pk=identity).update(revoked_at=clock.now())
with transaction.atomic():
    serialise_writers()
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def another_writer(server: Server) -> Iterator[subprocess.Popen[str]]:
    """Somebody who keeps the writers' lock, revokes the device named on its input, and keeps the
    lock again until it is told to end."""
    writer = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + HELD],
        env=server.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout and writer.stdin
    try:
        assert writer.stdout.readline() == "held\n"
        yield writer
    finally:
        writer.communicate("\n", timeout=60)


def test_a_revocation_waits_for_no_other_writer(server: Server) -> None:
    """An upload that waits for its turn is refused when its device is revoked: at once, and for
    good when its turn comes."""
    victim, content = Client(server.device(scope="attend")), os.urandom(5000)
    assert victim.ask("GET", "data/") == (200, b"[]")
    with ThreadPoolExecutor(1) as pool, another_writer(server) as writer:
        assert writer.stdin and writer.stdout
        upload = pool.submit(victim.put, content)
        in_place = server.folder(scope="attend") / "data" / named(content)[:2] / named(content)
        deadline = time.monotonic() + 10
        while not in_place.exists():
            assert time.monotonic() < deadline
        writer.stdin.write(f"{victim.id}\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "held\n"
        assert upload.result(timeout=10) == 401, "while the other writer still holds the lock"
    rows = "from souverain.vault.models import StoredObject as S\nprint(S.objects.filter(name=%r).count())"
    assert server.python(rows % named(content)) == "0"
    deadline = time.monotonic() + 10
    while in_place.exists():
        assert time.monotonic() < deadline, "nothing of it is left"


def test_uploads_that_wait_for_their_turn_hold_up_no_reader(server: Server, client: Client) -> None:
    content = os.urandom(3000)
    assert client.put(content) == 200
    patient = Client(server.device(scope="patient"))
    assert patient.ask("GET", "data/") == (200, b"[]")
    with ThreadPoolExecutor(12) as pool, another_writer(server) as writer:
        uploads = [pool.submit(patient.put, os.urandom(1000)) for _ in range(12)]
        assert client.ask("GET", f"data/{named(content)}") == (200, content)
        assert not any(upload.done() for upload in uploads)
        assert writer.stdin
        writer.stdin.write("personne\n")
    assert {upload.result(timeout=60) for upload in uploads} == {200}


def test_what_is_on_its_way_counts_for_the_quota(server: Server) -> None:
    """Half-sent bodies cannot fill the disk: together they fit in what the commune has left."""
    left = server.python(
        "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
        "from souverain.vault import services\n"
        "found = Organisation.objects.get(code='21054')\n"
        "services.set_quota(access.SYSTEM, found, services.stored_bytes(found) + (5 << 20))\n"
        "print(services.room_left(found))"
    )
    assert int(left) == 5 << 20
    many = Client(server.device(code="21054", scope="moities"))
    piece = f"{4 << 20:x}\r\n".encode() + os.urandom(4 << 20) + b"\r\n"
    head = f"POST {many.path}data/{'0' * 64} HTTP/1.1\r\nTransfer-Encoding: chunked"
    with many.raw(head) as one, many.raw(head) as other:
        one.sendall(piece)
        temporary = server.home / "objects" / ".tmp"
        deadline = time.monotonic() + 10
        while not any(path.stat().st_size >= 3 << 20 for path in temporary.iterdir()):
            assert time.monotonic() < deadline
        with contextlib.suppress(ConnectionError):
            other.sendall(piece)
        assert other.recv(100).startswith(b"HTTP/1.1 507")
        one.sendall(b"0\r\n\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 400"), "the first goes on, to its wrong name"
    small = os.urandom(1000)
    assert many.put(small) == 200


def test_answers_are_neither_cached_nor_guessed(client: Client) -> None:
    for path, status in (("data/", 200), ("data/abc", 400)):
        answer = client.answer("GET", path)
        answer.read()
        assert (answer.status, answer.headers["Cache-Control"]) == (status, "no-store")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_device_of_a_set_that_is_no_more_is_told_so(server: Server) -> None:
    orphan = Client(server.device(scope="disparu"))
    server.python(
        "from souverain.vault.models import DepositSet\n"
        "DepositSet.objects.filter(code='disparu').delete()"
    )
    status, message = orphan.ask("GET", "data/")
    assert status == 403 and "n'existe plus" in message.decode()


def test_a_stalled_download_is_cut_by_a_revocation(server: Server) -> None:
    victim = Client(server.device(scope="volee"))
    content = os.urandom(100 << 20)
    assert victim.put(content) == 200
    answer = victim.answer("GET", f"data/{named(content)}")
    received = len(answer.read(1 << 20))
    revoked_at = revoke(server, victim)
    # The must itself: a second after the revocation, nothing more is handed over.
    time.sleep(max(0, revoked_at + 1 - time.time()))
    with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
        while piece := answer.read(1 << 20):
            received += len(piece)
    assert received < len(content) // 2


def revoke(server: Server, victim: Client) -> float:
    """Revoke a device; returns when it was committed (seconds since 1970)."""
    return float(
        server.python(
            "import time\nfrom souverain.core import access\n"
            "from souverain.core.models import Device\nfrom souverain.vault import services\n"
            f"services.revoke_device(access.SYSTEM, Device.objects.get(pk={victim.id!r}))\n"
            "print(time.time())"
        )
    )


def test_each_refusal_is_in_the_journal_with_its_reason(server: Server) -> None:
    one = Client(server.device(scope="motifs", roles="backup"))
    before = len(server.refusals())
    assert one.ask("POST", f"data/{'0' * 64}", b"x")[0] == 400
    assert one.ask("POST", "data/nom", b"x")[0] == 400
    assert one.ask("POST", f"autre/{'0' * 64}", b"x")[0] == 404
    assert one.ask("POST", f"keys/{'0' * 64}", bytes((1 << 20) + 1))[0] == 413
    assert one.ask("GET", "/vault/21054/general/config")[0] == 403
    assert one.ask("PATCH", "config")[0] == 405
    assert one.ask("DELETE", "config")[0] == 403
    assert one.ask("DELETE", f"data/{'0' * 64}")[0] == 403
    reasons = server.refusals()[before:]
    assert sorted(reasons) == sorted(
        ["hash", "name", "type", "size", "foreign", "method", "delete", "role"]
    )
    assert server.journal_is_whole()


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
        "found = Organisation.objects.get(code='21054')\n"
        "services.set_quota(access.SYSTEM, found, services.stored_bytes(found) + 1000)"
    )
    status, message = poor.ask("POST", f"data/{named(bytes(2000))}", bytes(2000))
    assert status == 507 and "plein" in message.decode()
    assert poor.ask("POST", f"data/{named(bytes(900))}", bytes(900))[0] == 200
