"""The server killed, and the power cut, in the middle of uploads: what was answered 200 is there
and whole, and nothing torn is ever served.

The power cut stands on a disk image: the whole home (objects and SQLite alike) lives on an ext4
file system of its own. The server is stopped dead and the image copied before anything else is
written to it, so that all that was only in the kernel's memory, never fsynced, is lost; then a
server starts on the copy, whose file system recovers as after a real cut.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Client, Server, restic

IMAGE_MB = 2000
"""Of which only what is written takes room: a hundred turns of a fast machine fill 400."""


@contextmanager
def sending(client: Client, dice: random.Random, clients: int = 3) -> Iterator[list[bytes]]:
    """Clients that upload objects of all sizes until the server is gone; yields, once a first one
    was answered 200, the list of those that were."""
    acknowledged: list[bytes] = []
    reached, over = threading.Event(), threading.Event()
    seeds = [dice.random() for _ in range(clients)]

    def send(seed: float) -> None:
        own = random.Random(seed)
        while not over.is_set():
            content = own.randbytes(int(10 ** own.uniform(1, 6.3)))
            try:
                if client.put(content) == 200:
                    acknowledged.append(content)
                    reached.set()
            except (OSError, http.client.HTTPException):
                return

    threads = [threading.Thread(target=send, args=[seed]) for seed in seeds]
    for thread in threads:
        thread.start()
    try:
        assert reached.wait(60)
        yield acknowledged
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill, on SQLite."""
    made = Server(tmp_path / "home")
    made.prepare()
    made.start()
    yield made
    made.kill()


def test_what_was_acknowledged_survives_kill(own_server: Server, proving: bool) -> None:
    sender, dice = Client(own_server.device()), random.Random(21)
    kept: list[bytes] = []
    for _ in range(400 if proving else 3):
        with sending(sender, dice) as acknowledged:
            # The moment of the fault, not a wait for anything.
            time.sleep(dice.uniform(0, 0.3))
            own_server.kill()
        kept += acknowledged[-50:]
        own_server.start()
        sender.assert_whole(acknowledged)
        if sum(map(len, kept)) > 500 << 20:
            kept = kept[-50:]
    sender.assert_whole(kept)
    assert own_server.journal_is_whole()


def test_restic_goes_on_after_the_server_was_killed(
    own_server: Server, proving: bool, tmp_path: Path
) -> None:
    repository, dice = own_server.device(), random.Random(7)
    tree = tmp_path / "mairie"
    tree.mkdir()
    restic(repository, tmp_path, "init")
    for turn in range(20 if proving else 2):
        for number in range(6):
            (tree / f"scan {turn} {number}").write_bytes(dice.randbytes(4 << 20))
        environment = {
            **os.environ,
            "RESTIC_REPOSITORY": repository,
            "RESTIC_PASSWORD": "mot de passe",
        }
        backup = subprocess.Popen(
            ["restic", "--no-cache", "backup", "mairie"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(dice.uniform(0.2, 1.2))  # the moment of the fault
        own_server.kill()
        own_server.start()
        assert backup.wait(300) in (0, 1)
        restic(repository, tmp_path, "unlock", "--remove-all")
    restic(repository, tmp_path, "backup", "mairie")
    restic(repository, tmp_path, "check", "--read-data")
    restic(repository, tmp_path, "restore", "latest", "--target", "rendu")
    assert not subprocess.run(["diff", "-r", tree, tmp_path / "rendu" / "mairie"]).returncode


def test_a_power_cut_loses_nothing_that_was_acknowledged(proving: bool, tmp_path: Path) -> None:
    dice = random.Random(3)
    home, image = tmp_path / "home", tmp_path / "disque"
    # No journal commit but those that fsync asks for: what was not fsynced is really lost.
    server = Server(home, f"mount -o loop,commit=300 {image} {home}")
    plain = Server(home)
    plain.prepare()
    sender = Client(plain.device().replace(f":{plain.port}/", f":{server.port}/"))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", home, image, f"{IMAGE_MB}M"], check=True)
    shutil.rmtree(home)
    home.mkdir()
    kept: list[bytes] = []
    try:
        for turn in range(100 if proving else 3):
            server.start()
            sender.assert_whole(kept)
            assert server.journal_is_whole()
            with sending(sender, dice) as acknowledged:
                server.enter("sh", "-c", f"echo jamais synchronisé > {home}/canari-{turn}")
                time.sleep(dice.uniform(0, 0.3))  # the moment of the fault
                server.signal(signal.SIGSTOP)
                at_the_cut = list(acknowledged)
                # Not `shutil`, which fills the holes of a sparse file.
                subprocess.run(["cp", image, tmp_path / "coupé"], check=True)
                server.kill()
            kept = (kept + at_the_cut)[-60:]
            shutil.move(tmp_path / "coupé", image)
        server.start()
        sender.assert_whole(kept)
        canaries = server.enter("sh", "-c", f"cat {home}/canari-* 2>&1 || true")
        assert "synchronisé" not in canaries, "the image kept what nobody fsynced: no proof"
    finally:
        server.kill()
