"""How long a start takes: later starts of `souverain init` and `serve`, and a cold `make run`.

`--cold` copies the project to a temporary folder and needs the package registries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(home: Path, port: int) -> dict[str, str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SOUVERAIN_", "MAKE", "MFLAGS")) and name != "DATABASE_URL"
    }
    return {**inherited, "SOUVERAIN_HOME": str(home), "PORT": str(port)}


def until_it_answers(command: Sequence[str], folder: Path, env: dict[str, str], log: Path) -> float:
    """Seconds from the command's start to the first page; the command is then stopped."""
    begun = time.perf_counter()
    with log.open("ab") as output:
        run = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://localhost:{env['PORT']}/health", timeout=5).close()
                return time.perf_counter() - begun
            except OSError:
                if run.poll() is not None:
                    raise SystemExit(log.read_text()) from None
                time.sleep(0.01)
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        run.wait()


def later_starts(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = environment(Path(folder), free_port())
        program = [sys.executable, "-m", "souverain"]
        subprocess.run([*program, "init"], env=env, check=True, capture_output=True)
        script = f"{sys.executable} -m souverain init && exec {sys.executable} -m souverain serve"
        log = Path(folder) / "log"
        times = [until_it_answers(["sh", "-c", script], PROJECT, env, log) for _ in range(rounds)]
        spread = ", ".join(f"{value:.2f}" for value in times)
        print(f"later start (init and serve): median {statistics.median(times):.2f} s ({spread})")


def received_bytes() -> int:
    """Bytes that this machine received since it started, loopback apart (/proc/net/dev)."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sum(int(line.split(":")[1].split()[0]) for line in lines if "lo:" not in line)


def megabytes(path: Path) -> int:
    done = subprocess.run(["du", "-sm", path], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def cold_run() -> None:
    folder = Path(tempfile.mkdtemp(prefix="souverain-cold-"))
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            capture_output=True,
            check=True,
        )
        for name in listed.stdout.decode().split("\0")[:-1]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
        env = {
            **environment(folder / "var", free_port()),
            "PIP_NO_CACHE_DIR": "1",
            "npm_config_cache": str(folder / "npm-cache"),
        }
        before = received_bytes()
        seconds = until_it_answers(["make", "run"], folder, env, folder / "log")
        received = (received_bytes() - before) / 1e6
        print(f"cold make run: {seconds:.0f} s, {received:.0f} MB received")
        for part in (".venv", "web/node_modules", "build", "var"):
            print(f"  {part}: {megabytes(folder / part)} MiB")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    later_starts(arguments.rounds)
    if arguments.cold:
        cold_run()


if __name__ == "__main__":
    main()
