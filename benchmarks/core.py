"""The kernel's and the portal's figures: pages, search, journal, on SQLite and on PostgreSQL.

A real granian server on one core, a real sign-in, one keep-alive client on another core; 698
communes, 2,000 people, 10⁶ journal entries unless told otherwise. PostgreSQL is a private copy in a
temporary folder, with full durability. `--cold-run` instead clones the repository, empties the
caches, and times `make run` until /health answers.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import quote, urlencode

PROJECT = Path(__file__).resolve().parents[1]
EMAIL, PASSWORD = "operateur@exemple.fr", "vignes-et-climats-2026"
AIM_P95_MS, AIM_VERIFY_S = 50, 5

PREPARE = """
import sys
import django; django.setup()
from datetime import timedelta
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from souverain.core import clock
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.core.tests import chain

email, password, people, entries = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
communes = list(Organisation.objects.filter(kind="commune").order_by("code"))
departement = Organisation.objects.get(kind="departement")
operator = User.objects.create_user(email, password, full_name="Opératrice")
RoleAssignment.objects.create(user=operator, role=Role.OPERATOR, organisation=departement)
locked = make_password(None)
made = User.objects.bulk_create(
    User(email=f"personne-{n}@exemple.fr", full_name=f"Personne {n}", password=locked)
    for n in range(people - 1)
)
RoleAssignment.objects.bulk_create(
    RoleAssignment(
        user=user,
        role=Role.COMMUNE_ADMIN if n % 3 else Role.COMMUNE_MEMBER,
        organisation=communes[n % len(communes)],
    )
    for n, user in enumerate(made)
)
chain.fill(
    entries,
    since=clock.now() - timedelta(seconds=20 * entries),
    organisations=[found.code for found in communes] + [departement.code, ""],
    actors=people,
)
"""
APPENDS = """
import sys, time
import django; django.setup()
from souverain.core import journal
from souverain.core.access import SYSTEM
count = int(sys.argv[1])
started = time.perf_counter()
for n in range(count):
    journal.append(SYSTEM, "bench.done", organisation="21231", object=f"thing:{n}", data={"n": n})
print(count / (time.perf_counter() - started))
"""
GROUPED = """
import sys, time
import django; django.setup()
from django.db import transaction
from souverain.core import journal
from souverain.core.access import SYSTEM
count = int(sys.argv[1])
started = time.perf_counter()
with transaction.atomic():
    for n in range(count):
        journal.append(SYSTEM, "bench.done", organisation="21231", object=f"thing:{n}")
print(count / (time.perf_counter() - started))
"""
VERIFY = """
import json, time
import django; django.setup()
from souverain.core import journal
wall, cpu = time.perf_counter(), time.process_time()
outcome = journal.verify()
assert outcome.whole, outcome.fault
print(json.dumps([outcome.entries, time.perf_counter() - wall, time.process_time() - cpu]))
"""
PAGES = {
    "home": "/",
    "commune": "/communes/21231/",
    "communes": "/communes/",
    "search, API": f"/api/territory/communes?{urlencode({'q': 'saint julien', 'limit': 8})}",
    "search, a slip": f"/api/territory/communes?{urlencode({'q': 'chatilon sur sene'})}",
    "journal": "/journal/",
    "journal, deep page": "/journal/?avant={middle}",
    "journal, one commune": "/journal/?organisation=21231",
    "journal, one verb and a week": "/journal/?fait=vault.deposit_received&du={week}&au={day}",
}


@contextmanager
def postgresql() -> Iterator[str]:
    """A private server with full durability; yields its DATABASE_URL."""
    folder = Path(tempfile.mkdtemp(prefix="souverain-bench-pg-"))
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if account:
        shutil.chown(folder, "postgres")
    data = folder / "data"

    def run(*arguments: object) -> None:
        command = [*account, *map(str, arguments)]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    run(
        binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"
    )
    options = f"-k {folder} -c listen_addresses='' -c shared_buffers=256MB"
    run(binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://postgres@{quote(str(folder), safe='')}/postgres"
    finally:
        run(binaries / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


class House:
    """A home of its own, its database, and its server."""

    def __init__(self, database_url: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="souverain-bench-"))
        self.port = free_port()
        self.environment = {
            **os.environ,
            "SOUVERAIN_HOME": str(self.home),
            "DATABASE_URL": database_url,
            "PORT": str(self.port),
            "PYTHONPATH": str(PROJECT / "src"),
            "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
        }

    def python(self, code: str, *arguments: object) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    @contextmanager
    def served(self) -> Iterator[None]:
        """One granian worker, pinned to one core."""
        command = [sys.executable, "-m", "granian", "--interface", "asginl", "--no-access-log"]
        command += ["--port", str(self.port), "souverain.config.asgi:application"]
        cores = sorted(os.sched_getaffinity(0))
        log = (self.home / "server.log").open("wb")
        server = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        try:
            wait_until_listening(self.port, server)
            subprocess.run(["taskset", "-acp", str(cores[0]), str(server.pid)], capture_output=True)
            for child in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split():
                subprocess.run(["taskset", "-acp", str(cores[0]), child], capture_output=True)
            yield
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


class Client:
    """One keep-alive connection with a session."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookies: SimpleCookie = SimpleCookie()

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> tuple[int, bytes]:
        headers = {
            "Host": "localhost",
            "Cookie": "; ".join(f"{name}={m.value}" for name, m in self.cookies.items()),
        }
        body = urlencode(form) if form else None
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                self.cookies.load(value)
        return answer.status, answer.read()

    def sign_in(self) -> None:
        _, page = self.ask("GET", "/compte/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.decode())
        assert token
        form = {"login": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        status, _ = self.ask("POST", "/compte/login/", form)
        if status != 302 or self.ask("GET", "/journal/")[0] != 200:
            raise SystemExit(f"the sign-in was refused ({status})")


def timings(client: Client, path: str, rounds: int) -> list[float]:
    """Milliseconds of each request, after five that warm up."""
    taken = []
    for turn in range(rounds + 5):
        started = time.perf_counter()
        status, _ = client.ask("GET", path)
        elapsed = (time.perf_counter() - started) * 1000
        if status != 200:
            raise SystemExit(f"{path} answers {status}")
        if turn >= 5:
            taken.append(elapsed)
    return taken


def pages(house: House, entries: int, rounds: int) -> None:
    week = time.strftime("%Y-%m-%d", time.localtime(time.time() - 30 * 86400))
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 23 * 86400))
    with house.served():
        client = Client(house.port)
        client.sign_in()
        print(f"  {'page':<32}{'p50':>8}{'p95':>8}  ms   p95/aim")
        for name, pattern in PAGES.items():
            path = pattern.format(middle=entries // 2, week=week, day=day)
            taken = sorted(timings(client, path, rounds))
            p95 = taken[int(len(taken) * 0.95)]
            p50 = statistics.median(taken)
            print(f"  {name:<32}{p50:>8.1f}{p95:>8.1f}       {p95 / AIM_P95_MS:.2f}")


def measure(name: str, database_url: str, arguments: argparse.Namespace) -> None:
    house = House(database_url)
    try:
        print(f"{name}, {arguments.people} people, {arguments.entries} journal entries")
        init = [sys.executable, "-m", "souverain", "init", "--json"]
        subprocess.run(init, env=house.environment, check=True, capture_output=True)
        house.python(PREPARE, EMAIL, PASSWORD, arguments.people, arguments.entries)
        pages(house, arguments.entries, arguments.rounds)
        print(
            f"  journal appends, one transaction each: {float(house.python(APPENDS, 2000)):.0f}/s"
        )
        print(
            f"  journal appends, one transaction in all: {float(house.python(GROUPED, 5000)):.0f}/s"
        )
        count, wall, cpu = json.loads(house.python(VERIFY))
        ratio = wall / count * 1_000_000 / AIM_VERIFY_S
        print(
            f"  verification of {count} entries: {wall:.2f} s wall, {cpu:.2f} s CPU; "
            f"a million in {ratio:.2f} of the aim"
        )
    finally:
        shutil.rmtree(house.home, ignore_errors=True)


# A cold `make run` -------------------------------------------------------------------------------


def received_bytes() -> int:
    """Bytes that this machine's real interfaces received, from /proc/net/dev (proc(5))."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    counts = {
        name.strip(): int(rest.split()[0]) for name, rest in (line.split(":", 1) for line in lines)
    }
    return sum(count for name, count in counts.items() if name != "lo")


def disk_bytes(folder: Path) -> int:
    output = subprocess.run(
        ["du", "-sb", folder], capture_output=True, text=True, check=True
    ).stdout
    return int(output.split()[0])


def cold_run() -> None:
    """`make run` in a fresh clone with empty caches, until /health answers; then a second run."""
    folder = Path(tempfile.mkdtemp(prefix="souverain-cold-"))
    clone = folder / "souverain"
    subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("SOUVERAIN", "VIRTUAL_ENV"))},
        "PORT": str(free_port()),
        "HOME": str(folder),
        "PIP_NO_CACHE_DIR": "1",
        "NPM_CONFIG_CACHE": str(folder / "npm-cache"),
    }
    try:
        for turn in ("cold", "again"):
            before, started = received_bytes(), time.monotonic()
            run = subprocess.Popen(
                ["make", "run"],
                cwd=clone,
                env=environment,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=(folder / "log").open("ab"),
            )
            try:
                while not healthy(int(environment["PORT"])):
                    if run.poll() is not None or time.monotonic() - started > 1800:
                        raise SystemExit((folder / "log").read_text()[-3000:])
                    time.sleep(0.05)
                print(
                    f"make run, {turn}: {time.monotonic() - started:.1f} s until /health answers, "
                    f"{(received_bytes() - before) / 1e6:.0f} MB received"
                )
            finally:
                os.killpg(run.pid, signal.SIGTERM)
                run.wait(60)
        for part in (".venv", "web/node_modules", "build", "var"):
            print(f"  {part}: {disk_bytes(clone / part) / 1e6:.0f} MB")
        print(f"  in all: {disk_bytes(clone) / 1e6:.0f} MB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def healthy(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health", headers={"Host": "localhost"})
        return connection.getresponse().status == 200
    except OSError:
        return False


def machine() -> str:
    import django

    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (
        f"{time.strftime('%Y-%m-%d')}, {processor[1] if processor else platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        f"Django {django.get_version()}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", choices=["both", "sqlite", "postgresql"], default="both")
    parser.add_argument("--cold-run", action="store_true")
    arguments = parser.parse_args()
    print(machine())
    print(f"aims: p95 ≤ {AIM_P95_MS} ms on one core, 10⁶ entries verified in ≤ {AIM_VERIFY_S} s")
    if arguments.cold_run:
        cold_run()
        return
    if arguments.database != "postgresql":
        measure("SQLite", "", arguments)
    if arguments.database != "sqlite":
        with postgresql() as url:
            measure("PostgreSQL", url, arguments)


if __name__ == "__main__":
    main()
