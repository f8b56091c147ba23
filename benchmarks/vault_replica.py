"""The second site beside `rclone copy`: the same objects, from one real server to another.

The first catch-up (a vault that has everything, one that has nothing), then the lag of the copy while
backups go on, then how long a promotion takes until a deposit is accepted. The peer copies the
folder of the same objects over its own `serve webdav`, checksums on. It does not fsync, keeps no records
and copies a folder, not a history: the cost of that is ours. Both run on this machine, over loopback.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).resolve().parents[1] / "src"
COMMAND = [sys.executable, "-c", "from souverain.cli import main; main()"]
MIB = 1 << 20


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemExit("the server did not start") from None
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Site:
    """A vault of its own, with one commune."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(home),
            "PORT": str(self.port),
            "PYTHONPATH": str(SOURCE),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }
        for name in ("DATABASE_URL", "SOUVERAIN_PUBLIC_URL", "SOUVERAIN_OBJECTS_URL"):
            self.environment.pop(name, None)
        self.python(
            "from django.core.management import call_command\n"
            "call_command('migrate', verbosity=0)\n"
            "call_command('createcachetable', verbosity=0)\n"
            "from souverain.core.models import Organisation\n"
            "for kind, code in (('departement', '21'), ('commune', '21231')):\n"
            "    Organisation.objects.create(kind=kind, code=code, name=code)"
        )
        command = [sys.executable, "-m", "granian", "--interface", "asginl", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "souverain.config.asgi:application"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self.port)

    def python(self, code: str) -> str:
        line = "import django; django.setup()\n" + code
        done = subprocess.run(
            [sys.executable, "-c", line],
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    def device(self) -> str:
        """A repository address that deposits."""
        return self.python(
            "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
            "from souverain.vault import services\n"
            "found = Organisation.objects.get(code='21231')\n"
            "print(services.add_device(access.SYSTEM, found, 'poste', ['backup'])[1])"
        )

    def replica(self, *words: str) -> dict[str, object]:
        done = subprocess.run(
            [*COMMAND, "vault", "replica", *words, "--json"],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return dict(json.loads(done.stdout))

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
            self.process.wait()


@contextmanager
def site(home: Path) -> Iterator[Site]:
    made = Site(home)
    try:
        yield made
    finally:
        made.stop()


def put(repository: str, content: bytes, port: int | None = None) -> int:
    parts = urlsplit(repository.removeprefix("rest:"))
    secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port or parts.port, timeout=60)
    path = f"{parts.path}data/{hashlib.sha256(content).hexdigest()}"
    connection.request("POST", path, content, {"Authorization": f"Basic {secret}"})
    return connection.getresponse().status


def fill(repository: str, sizes: list[int]) -> int:
    chance = random.Random(21)
    for size in sizes:
        if put(repository, chance.randbytes(size)) != 200:
            raise SystemExit("the first site refused an object")
    return sum(sizes)


def rclone(folder: Path, into: Path) -> float:
    """Seconds that the peer takes for the same folder, over its own server."""
    port = free_port()
    command = ["rclone", "serve", "webdav", str(folder), "--addr", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        remote = f":webdav,url='http://127.0.0.1:{port}':"
        began = time.monotonic()
        subprocess.run(["rclone", "copy", "--transfers", "4", remote, str(into)], check=True)
        return time.monotonic() - began
    finally:
        server.terminate()
        server.wait()


def lag(first: Site, second: Site, repository: str, seconds: float) -> list[float]:
    """Seconds from the acknowledgement of an object to its row on the copy, while deposits go on
    and the copy pulls each second."""
    sent: dict[str, float] = {}
    stop = threading.Event()

    def deposit() -> None:
        while not stop.wait(0.1):
            content = os.urandom(200_000)
            if put(repository, content) == 200:
                sent[hashlib.sha256(content).hexdigest()] = time.monotonic()

    code = (
        "import sys, time\nfrom souverain.vault import replica\n"
        "from souverain.vault.models import StoredObject\n"
        "for line in sys.stdin:\n"
        "    replica.pull(replica.source(), 20)\n"
        "    print(*StoredObject.objects.values_list('name', flat=True), flush=True)\n"
    )
    pulling = subprocess.Popen(
        [sys.executable, "-c", "import django; django.setup()\n" + code],
        env=second.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert pulling.stdin and pulling.stdout
    sender = threading.Thread(target=deposit)
    sender.start()
    lags: dict[str, float] = {}
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        pulling.stdin.write("\n")
        pulling.stdin.flush()
        there = set(pulling.stdout.readline().split())
        now = time.monotonic()
        for name in set(sent) & there - set(lags):
            lags[name] = now - sent[name]
        time.sleep(1)
    stop.set()
    sender.join()
    pulling.stdin.close()
    pulling.wait()
    return sorted(lags.values())


def catch_up(folder: Path, name: str, sizes: list[int]) -> None:
    ours, theirs = [], []
    with site(folder / f"{name}-1") as first:
        repository = first.device()
        total = fill(repository, sizes)
        for number in range(2):
            with site(folder / f"{name}-2-{number}") as second:
                link(first, second)
                began = time.monotonic()
                done = second.replica("pull")
                ours.append(time.monotonic() - began)
                assert done["complete"] and done["objects"] == len(sizes)
            into = folder / f"{name}-rclone-{number}"
            theirs.append(rclone(first.home / "objects", into))
            shutil.rmtree(into)
    for who, taken in (("souverain", ours), ("rclone copy", theirs)):
        best = statistics.median(taken)
        rate = f"{total / best / 1e6:.0f} MB/s, {len(sizes) / best:.0f} objects/s"
        print(f"first copy, {name:8} {who:12} {best:6.2f} s  {rate}")


def link(first: Site, second: Site) -> None:
    made = first.replica("authorize", "--name", "second")
    (second.home / "acces.txt").write_text(str(made["secret"]))
    address = f"http://localhost:{first.port}"
    second.replica("add", "--from", address, "--secret-file", str(second.home / "acces.txt"))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--packs", type=int, default=12, help="objects of 16 MiB")
    arguments.add_argument("--small", type=int, default=500, help="objects of 4 KiB")
    arguments.add_argument("--seconds", type=float, default=15, help="of deposits")
    chosen = arguments.parse_args()
    print(f"{platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catch_up(folder, "packs", [16 * MIB] * chosen.packs)
        catch_up(folder, "small", [4096] * chosen.small)
        with site(folder / "a") as first, site(folder / "b") as second:
            repository = first.device()
            put(repository, b"un")
            link(first, second)
            lags = lag(first, second, repository, chosen.seconds)
            worst, middle = max(lags), statistics.median(lags)
            print(f"lag while depositing, a turn each second: {middle:.2f} s, worst {worst:.2f} s")
            shutil.copy(first.home / "log-key", second.home / "log-key")
            first.stop(signal.SIGKILL)
            began = time.monotonic()
            second.replica("promote")
            while put(repository, os.urandom(4096), second.port) != 200:
                time.sleep(0.01)
            print(f"promotion, until a deposit is accepted: {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
