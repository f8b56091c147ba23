"""The vault's server beside `rclone serve restic`: same data, same stock client, in turns.

Each round gives each server a fresh repository: backup and restore wall, CPU of the client and of
the server. Then, raw HTTP: 8 clients at once with 16 MiB objects (memory), 4 KiB objects one after
the other (latency), and the listing of many names. Ours checks every object's SHA-256, makes file,
folder and record durable (three fsyncs), and journals; rclone does not fsync. The cost of the
disk's own fsync is printed for that reason. Needs Debian's restic and rclone.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).resolve().parents[1] / "src"
MIB = 1 << 20
CLIENTS = 8


@dataclass
class Server:
    """A running server: its process, a fresh repository's address on demand, and a way to make
    a repository hold many names."""

    name: str
    process: subprocess.Popen[bytes]
    repository: Callable[[str], str]
    fill: Callable[[str, int], None]

    def pids(self) -> list[int]:
        """The process and its descendants."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            todo += [int(child) for child in children.split()]
        return found

    def cpu_s(self) -> float:
        """CPU seconds so far, of every process (proc(5): utime and stime are fields 14 and 15)."""
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        """Anonymous memory and mapped files; pages that two processes share count twice."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the server did not start") from None
            time.sleep(0.05)


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(port, process)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    """The program's own web process, one worker, as `souverain serve` starts it."""
    port, home = free_port(), folder / "home"
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(home),
        "PORT": str(port),
        "PYTHONPATH": str(SOURCE),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    for name in ("DATABASE_URL", "SOUVERAIN_PUBLIC_URL", "SOUVERAIN_OBJECTS_URL"):
        environment.pop(name, None)

    def python(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", "import django; django.setup()\n" + code],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout.strip()

    python(
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\ncall_command('createcachetable', verbosity=0)\n"
        "from souverain.core.models import Organisation\n"
        "Organisation.objects.create(kind='commune', code='21231', name='Dijon')"
    )

    def repository(name: str) -> str:
        return python(
            "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
            "from souverain.vault import services\n"
            "found = Organisation.objects.get(code='21231')\n"
            f"print(services.add_device(access.SYSTEM, found, 'banc', ['backup', 'restore'],"
            f" {name!r})[1])"
        )

    def fill(name: str, count: int) -> None:
        """Rows alone: our listing never looks at the files."""
        python(
            "import hashlib\nfrom souverain.core import clock\n"
            "from souverain.core.models import Device\n"
            "from souverain.vault.models import DepositSet, StoredObject\n"
            f"found, device = DepositSet.objects.get(code={name!r}), Device.objects.first()\n"
            "StoredObject.objects.bulk_create([StoredObject(deposit_set=found, type='data',"
            " name=hashlib.sha256(b'%d' % n).hexdigest(), size=1, received_at=clock.now(),"
            f" device=device) for n in range({count})], batch_size=5000)"
        )

    command = python(
        "from souverain.core.serve import web_command\n"
        f"print('\\n'.join(web_command('127.0.0.1', {port}, None, None, 1)))"
    ).split("\n")
    with running(command, port, environment, folder / "ours.log") as process:
        yield Server("souverain", process, repository, fill)


@contextmanager
def rclone(folder: Path) -> Iterator[Server]:
    """Debian's rclone, as anybody would start it."""
    port = free_port()
    store = folder / "rclone"
    store.mkdir()

    def fill(name: str, count: int) -> None:
        for number in range(count):
            digest = hashlib.sha256(b"%d" % number).hexdigest()
            (store / name / "data" / digest[:2]).mkdir(parents=True, exist_ok=True)
            (store / name / "data" / digest[:2] / digest).write_bytes(b"x")

    command = ["rclone", "serve", "restic", "--addr", f"127.0.0.1:{port}", str(store)]
    environment = {**os.environ, "RCLONE_CONFIG": str(folder / "rclone.conf")}
    with running(command, port, environment, folder / "rclone.log") as process:
        yield Server("rclone", process, lambda name: f"rest:http://127.0.0.1:{port}/{name}/", fill)


def make_tree(root: Path, megabytes: int) -> int:
    """Scans that do not compress and text that does, half and half; returns the number of files."""
    dice = random.Random(21)
    sentences = [f"acte {n} : né à Dijon le {n % 28 + 1} du mois\n".encode() for n in range(997)]
    made, left = 0, megabytes * MIB
    while left > 0:
        size = min(left, dice.choice([4_000, 40_000, 400_000, 4_000_000]))
        folder = root / f"dossier {made % 50}"
        folder.mkdir(parents=True, exist_ok=True)
        if made % 2:
            (folder / f"scan {made}.jpg").write_bytes(dice.randbytes(size))
        else:
            text = b"".join(dice.choices(sentences, k=size // 30 + 1))[:size]
            (folder / f"registre {made}.txt").write_bytes(text)
        made, left = made + 1, left - size
    return made


@dataclass
class Run:
    """One command of the client against one server, in seconds."""

    wall: float
    client_cpu: float
    server_cpu: float


def restic(server: Server, repository: str, folder: Path, *arguments: str) -> Run:
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": repository,
        "RESTIC_PASSWORD": "banc d'essai",
    }
    cpu, started = server.cpu_s(), time.perf_counter()
    client = subprocess.Popen(
        ["restic", "--no-cache", "--quiet", *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(client.pid, 0)
    client.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if client.returncode:
        raise SystemExit(f"{server.name}: restic {arguments[0]} failed")
    return Run(wall, usage.ru_utime + usage.ru_stime, server.cpu_s() - cpu)


class Raw:
    """Plain HTTP on one connection."""

    def __init__(self, repository: str) -> None:
        parts = urlsplit(repository.removeprefix("rest:"))
        self.connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=120)
        self.path = parts.path
        secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {secret}"} if parts.username else {}

    def post(self, path: str, content: bytes) -> float:
        started = time.perf_counter()
        self.connection.request("POST", self.path + path, content, self.headers)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"POST {path}: {answer.status}")
        return time.perf_counter() - started

    def put(self, content: bytes) -> float:
        return self.post(f"data/{hashlib.sha256(content).hexdigest()}", content)


def peak_rss(server: Server, work: Callable[[], None]) -> int:
    """The highest memory seen while the work runs, looked at 50 times a second."""
    over, peak = threading.Event(), 0

    def look() -> None:
        nonlocal peak
        while not over.is_set():
            peak = max(peak, server.rss_bytes())
            over.wait(0.02)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        work()
    finally:
        over.set()
        watcher.join()
    return peak


def eight_clients(server: Server, repository: str, each: int) -> tuple[int, float]:
    """Highest memory, and MB/s taken from 8 clients at once with 16 MiB objects."""
    contents = [os.urandom(16 * MIB) for _ in range(4)]

    def send(number: int) -> None:
        raw = Raw(repository)
        for turn in range(each):
            raw.put(b"%d %d" % (number, turn) + contents[turn % 4])

    def all_at_once() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(send, range(CLIENTS)))

    started = time.perf_counter()
    peak = peak_rss(server, all_at_once)
    return peak, CLIENTS * each * 16 * MIB / 1e6 / (time.perf_counter() - started)


def small_puts(repository: str, count: int) -> tuple[float, float]:
    """p50 and p99 of a 4 KiB object, in ms, one after the other."""
    raw = Raw(repository)
    times = sorted(1e3 * raw.put(os.urandom(4096)) for _ in range(count))
    return statistics.median(times), times[int(0.99 * (count - 1))]


def steady_puts(repository: str, rate: int, seconds: int) -> tuple[float, float]:
    """p50 and p99, in ms, of 4 KiB objects that fall due `rate` times a second, each counted from
    when it was due: a server that lags makes the next ones late too. 8 connections share them."""
    start = time.perf_counter() + 0.2

    def send(number: int) -> list[float]:
        raw, late = Raw(repository), []
        for turn in range(number, rate * seconds, CLIENTS):
            due = start + turn / rate
            time.sleep(max(due - time.perf_counter(), 0))
            raw.put(os.urandom(4096))
            late.append(1e3 * (time.perf_counter() - due))
        return late

    with ThreadPoolExecutor(CLIENTS) as pool:
        times = sorted(time for late in pool.map(send, range(CLIENTS)) for time in late)
    return statistics.median(times), times[int(0.99 * (len(times) - 1))]


def listing(repository: str, moment: str = "") -> float:
    """Seconds to list the data of a repository in version 2, the better of three."""
    raw = Raw(repository)
    headers = {**raw.headers, "Accept": "application/vnd.x.restic.rest.v2"}
    path = f"{raw.path.rstrip('/')}@{moment}/" if moment else raw.path
    times = []
    for _ in range(3):
        started = time.perf_counter()
        raw.connection.request("GET", f"{path}data/", headers=headers)
        raw.connection.getresponse().read()
        times.append(time.perf_counter() - started)
    return min(times)


def instant() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def fsync_ms(folder: Path) -> float:
    """What one fsync of a new 4 KiB file costs on this disk, the middle of 50."""
    times = []
    for number in range(50):
        with (folder / f"fsync {number}").open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], stdout=subprocess.DEVNULL).returncode == 0


def version(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def middle(runs: list[Run]) -> Run:
    return Run(
        *(
            statistics.median(getattr(run, field) for run in runs)
            for field in ("wall", "client_cpu", "server_cpu")
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--puts", type=int, default=500, help="small objects")
    parser.add_argument("--rate", type=int, default=200, help="small objects a second")
    parser.add_argument("--seconds", type=int, default=10, help="of that rate")
    parser.add_argument("--each", type=int, default=6, help="16 MiB objects of each of 8 clients")
    parser.add_argument("--names", type=int, default=100_000, help="names to list")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="souverain-bench-"))
    try:
        compare(arguments, folder)
    finally:
        shutil.rmtree(folder)


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    tree = folder / "mairie"
    files = make_tree(tree, arguments.megabytes)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    print(version("restic", "version"), "|", version("rclone", "version"))
    print(f"{files} files, {arguments.megabytes} MiB, {arguments.rounds} rounds, medians")
    print(f"one fsync of 4 KiB: {fsync_ms(folder):.1f} ms; higher is better for MB/s alone")
    with ours(folder) as first, rclone(folder) as second:
        servers = (first, second)
        idle = {server.name: server.rss_bytes() for server in servers}
        runs: dict[tuple[str, str], list[Run]] = {}
        for turn in range(arguments.rounds):
            for server in servers if turn % 2 == 0 else servers[::-1]:
                repository = server.repository(f"tour-{turn}")
                restic(server, repository, folder, "init")
                for command in (("backup", "mairie"), ("restore", "latest", "--target", "rendu")):
                    run = restic(server, repository, folder, *command)
                    runs.setdefault((server.name, command[0]), []).append(run)
                if not same(tree, folder / "rendu" / "mairie"):
                    raise SystemExit(f"{server.name}: what came back differs")
                shutil.rmtree(folder / "rendu")
        rows: list[tuple[str, float, float]] = []
        for command in ("backup", "restore"):
            left, right = (middle(runs[server.name, command]) for server in servers)
            rows += [
                (f"{command}, wall (s)", left.wall, right.wall),
                (f"{command}, client CPU (s)", left.client_cpu, right.client_cpu),
                (f"{command}, server CPU (s)", left.server_cpu, right.server_cpu),
            ]
        rows += raw_rows(servers, idle, arguments)
    print(f"{'':48}{'souverain':>10}{'rclone':>10}{'ratio':>8}")
    for title, mine, theirs in rows:
        print(f"{title:48}{mine:10.2f}{theirs:10.2f}{mine / theirs:8.2f}")


def raw_rows(
    servers: tuple[Server, Server], idle: dict[str, int], arguments: argparse.Namespace
) -> list[tuple[str, float, float]]:
    columns: list[list[float]] = []
    for server in servers:
        repository = server.repository("brut")
        if server.name == "rclone":
            Raw(repository).post("?create=true", b"")
        p50, p99 = small_puts(repository, arguments.puts)
        steady = steady_puts(repository, arguments.rate, arguments.seconds)
        peak, rate = eight_clients(server, repository, arguments.each)
        before = idle[server.name]
        row = [p50, p99, *steady, before / MIB, peak / MIB, (peak - before) / MIB, rate]
        many = server.repository("liste")
        server.fill("liste", arguments.names)
        # The peer has no past: its present listing stands beside ours of a past moment.
        past = instant() if server.name == "souverain" else ""
        columns.append([*row, 1e3 * listing(many), 1e3 * listing(many, past)])
    titles = (
        "PUT of 4 KiB, p50 (ms)",
        "PUT of 4 KiB, p99 (ms)",
        f"PUT of 4 KiB at {arguments.rate}/s, p50 (ms)",
        f"PUT of 4 KiB at {arguments.rate}/s, p99 (ms)",
        "memory, idle (MiB)",
        "memory, 8 clients at once, highest (MiB)",
        "memory, 8 clients, above idle (MiB)",
        "8 clients at once, 16 MiB objects (MB/s)",
        f"listing of {arguments.names} names (ms)",
        f"listing of {arguments.names} names at a past moment (ms)",
    )
    return [(title, left, right) for title, left, right in zip(titles, *columns, strict=True)]


if __name__ == "__main__":
    main()
