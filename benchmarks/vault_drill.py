"""Restore drills: how many communes can be tried in one night on two cores, each with a signed report?

A number of small repositories of their own, made by the stock restic through a real server, are
drilled one after the other, and then two at once; CPU is that of the drill, of restic and of the
server. What is printed for 700 communes is these figures multiplied, not a run of 700. There is no
peer: no other vault tries a restore where the password is.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / "src"), str(PROJECT)]

from benchmarks.vault import Server as Measured
from souverain.vault.tests.conftest import Server

COMMUNES, NIGHT_H = 700, 8
MIB = 1 << 20


def make(server: Server, folder: Path, number: int, size: int) -> Path:
    """A machine's folder, with a backup of files of 1 KiB to 1 MiB."""
    home = folder / str(number)
    home.mkdir()
    left, count = size, 0
    (home / "mairie").mkdir()
    while left > 0:
        length = min(left, 1024 << (count % 11))
        (home / "mairie" / f"{count}.bin").write_bytes(os.urandom(length))
        left, count = left - length, count + 1
    address = server.device(roles="backup restore", scope=f"mesure-{number}")
    (home / "depot.txt").write_text(address)
    (home / "motdepasse.txt").write_text("mot de passe\n")
    for action in (["init"], ["backup", "mairie"]):
        line = ["restic", "--repository-file", "depot.txt", "--password-file", "motdepasse.txt"]
        subprocess.run([*line, "--no-cache", *action], cwd=home, check=True, capture_output=True)
    return home


def drill(home: Path) -> float:
    """Seconds of one drill, as its command."""
    began = time.perf_counter()
    line = [sys.executable, "-m", "souverain", "vault", "drill", "--repository-file", "depot.txt"]
    done = subprocess.run(
        [*line, "--password-file", "motdepasse.txt"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - began


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repositories", type=int, default=8)
    options.add_argument("--mib", type=int, default=16, help="of each")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="vault-drill-") as made:
        folder = Path(made)
        server = Server(folder / "home")
        server.home.mkdir()
        server.prepare()
        server.start()
        try:
            measure(server, folder, asked.repositories, asked.mib)
        finally:
            server.kill()


def measure(server: Server, folder: Path, repositories: int, mib: int) -> None:
    homes = [make(server, folder, number, mib * MIB) for number in range(repositories)]
    assert server.process is not None
    web = Measured("souverain", server.process, lambda name: "", lambda name, count: None)
    cpu, web_cpu = children_cpu_s(), web.cpu_s()
    walls = [drill(home) for home in homes]
    own = (children_cpu_s() - cpu) / repositories
    ours = (web.cpu_s() - web_cpu) / repositories
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(drill, homes))
    together = (time.perf_counter() - began) / repositories
    print(f"{repositories} repositories of {mib} MiB; at most 50 files and 64 MiB restored of each")
    print(f"one drill, wall, median (s)                      {statistics.median(walls):8.2f}")
    print(f"CPU of the drill and of restic (s)               {own:8.2f}")
    print(f"CPU of the server (s)                            {ours:8.2f}")
    print(f"two at once, wall a drill (s)                    {together:8.2f}")
    minutes = COMMUNES * together / 60
    print(f"{COMMUNES} communes, two at once, multiplied (min)         {minutes:8.1f}")
    print(f"aim: one night of {NIGHT_H} h                              {NIGHT_H * 60:8.1f}")


if __name__ == "__main__":
    main()
