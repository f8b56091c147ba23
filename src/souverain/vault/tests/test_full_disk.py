"""A disk that fills up: 507, nothing lost, nothing half written, and service when there is room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Client, Server, named

FILLER_MB = 8


def fill(client: Client) -> tuple[list[bytes], str]:
    """Upload until the server says that there is no room; what it took, and what it said."""
    taken: list[bytes] = []
    for _ in range(200):
        content = os.urandom(700_000)
        status, message = client.ask("POST", f"data/{named(content)}", content)
        if status != 200:
            assert status == 507
            return taken, message.decode()
        taken.append(content)
    raise AssertionError("the disk never filled up")


@pytest.fixture
def objects_on_a_small_disk(tmp_path: Path) -> Iterator[Server]:
    """Objects on a tmpfs of 24 MiB, a third of it taken by a file; records elsewhere."""
    small = tmp_path / "petit"
    small.mkdir()
    filler = f"head -c {FILLER_MB}M /dev/zero > {small}/encombrant"
    mount = f"mount -t tmpfs -o size=24m tmpfs {small} && {filler}"
    server = Server(tmp_path / "home", mount)
    server.environment["SOUVERAIN_OBJECTS_URL"] = f"file://{small}/objects"
    server.prepare()
    server.start()
    yield server
    server.kill()


def test_objects_on_a_full_disk(objects_on_a_small_disk: Server, tmp_path: Path) -> None:
    server = objects_on_a_small_disk
    client = Client(server.device())
    taken, message = fill(client)
    assert taken and "disque" in message and "plein" in message
    client.assert_whole(taken)
    assert len(client.names()) == len(taken)
    temporary = server.enter("find", str(tmp_path / "petit/objects/.tmp"), "-type", "f")
    assert temporary == ""
    assert "disk" in server.refusals()
    server.enter("rm", str(tmp_path / "petit/encombrant"))
    more = os.urandom(700_000)
    assert client.put(more) == 200
    client.assert_whole([*taken, more])
    assert server.journal_is_whole()


def test_records_and_objects_on_a_full_disk(tmp_path: Path) -> None:
    """The whole home on a small file system: the database cannot grow either."""
    home = tmp_path / "home"
    home.mkdir()
    mount = f"mount -t tmpfs -o size=64m tmpfs {home}"
    first = Server(home)
    first.prepare()
    repository, unseen = first.device(), first.device()
    spare = tmp_path / "garde"
    home.rename(spare)
    home.mkdir()
    server = Server(home, f"{mount} && cp -a {spare}/. {home}/")
    server.start()
    try:
        client = Client(repository.replace(f":{first.port}/", f":{server.port}/"))
        assert client.put(b"avant") == 200
        server.enter("sh", "-c", f"cat /dev/zero > {home}/encombrant || true")
        for size in (700_000, 50, 50, 50):
            content = os.urandom(size)
            status = client.put(content)
            assert status in (200, 507)
        assert status == 507
        assert client.ask("GET", f"data/{'0' * 64}")[0] == 404
        client.assert_whole([b"avant"])
        # A device never seen before, whose visit cannot be noted, reads all the same.
        Client(unseen.replace(f":{first.port}/", f":{server.port}/")).assert_whole([b"avant"])
        server.enter("rm", f"{home}/encombrant")
        more = os.urandom(700_000)
        assert client.put(more) == 200
        client.assert_whole([b"avant", more])
        assert server.journal_is_whole()
    finally:
        server.kill()
