"""Foreign protocols: every method, route and device role of `docs/access.md`, on a real server."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import time
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from souverain.config import asgi
from souverain.vault.tests.conftest import Server
from tests import access_matrix

ROWS = access_matrix.table("Foreign protocols")
ROLES = ("backup", "restore", "prune")
TYPES = ("keys", "snapshots", "index", "data")
PAST = quote("2026-01-01T00:00:00Z")


class Door(NamedTuple):
    """One device's credential and the path that it opens."""

    path: str
    basic: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
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


def door(server: Server, roles: str, code: str = "21231", scope: str = "general") -> Door:
    parts = urlsplit(server.device(code, roles, scope).removeprefix("rest:"))
    secret = f"{parts.username}:{parts.password}".encode()
    return Door(parts.path, "Basic " + base64.b64encode(secret).decode())


def second_site(server: Server) -> str:
    """The credential of a vault that copies this one."""
    secret = server.python(
        "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
        "from souverain.vault import replica_feed\n"
        "Organisation.objects.get_or_create(kind='departement', code='21', name='Cote-d Or')\n"
        "print(replica_feed.authorize(access.SYSTEM, 'Beaune')[1])"
    )
    return "Basic " + base64.b64encode(secret.encode()).decode()


@pytest.fixture(scope="module")
def doors(server: Server) -> dict[str, Door]:
    """A device for each role on Dijon's set, and devices that belong elsewhere."""
    found = {role: door(server, role) for role in ROLES}
    found["another set"] = door(server, " ".join(ROLES), scope="autre")
    found["another organisation"] = door(server, " ".join(ROLES), code="21054")
    found["second site"] = Door("", second_site(server))
    return found


def ask(server: Server, method: str, path: str, authorization: str, body: bytes) -> int:
    """The status; who was refused too often waits as long as the answer says, and asks again."""
    headers = {"Authorization": authorization} if authorization else {}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request(method, path, body if method == "POST" else None, headers)
        answer = connection.getresponse()
        if answer.status != 429:
            return answer.status
        time.sleep(int(answer.headers["Retry-After"]))


def requests(methods: str, route: str) -> Iterator[tuple[str, str, bytes]]:
    """(method, path on Dijon's set, body) for each type that the row stands for."""
    for kind in TYPES if "<type>" in route else ("",):
        for method in methods.strip("`").split():
            body = os.urandom(64)
            path = route.strip("`").replace("<INSEE>", "21231").replace("<set>", "general")
            path = path.replace("<time>", PAST).replace("<type>", kind)
            yield method, path.replace("<name>", hashlib.sha256(body).hexdigest()), body


def test_every_protocol_has_its_lines() -> None:
    protocols = [name for name, value in vars(asgi).items() if hasattr(value, "matches")]
    assert protocols
    for name in protocols:
        written = any(route.strip("`").startswith(f"/{name}/") for _, route, _ in ROWS)
        assert written, f"docs/access.md, ## Foreign protocols, has no line for /{name}/…"


@pytest.mark.parametrize(("methods", "route", "roles"), ROWS, ids=lambda cell: str(cell))
def test_a_device_does_what_its_roles_say(
    server: Server, doors: dict[str, Door], methods: str, route: str, roles: str
) -> None:
    allowed = set() if roles == "—" else set(roles.split(", "))
    for method, path, body in requests(methods, route):
        for name, found in doors.items():
            status = ask(server, method, path, found.basic, body)
            assert (status not in (401, 403, 405)) is (name in allowed), (
                f"{method} {path}: a device of {name} gets {status}; docs/access.md says {roles}"
            )
            assert status < 500


@pytest.mark.parametrize(("methods", "route", "roles"), ROWS, ids=lambda cell: str(cell))
def test_a_protocol_is_closed_to_whoever_is_not_a_device(
    server: Server, doors: dict[str, Door], methods: str, route: str, roles: str
) -> None:
    stolen = base64.b64encode(b"0123456789abcdef:inconnu").decode()
    for method, path, body in requests(methods, route):
        for authorization in ("", "Bearer souv_inconnu", f"Basic {stolen}", "Basic %%%"):
            assert ask(server, method, path, authorization, body) == 401
