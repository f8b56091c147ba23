"""Our reader beside the stock `restic`: same repository, restore then check, in turns.

Files like a town hall's: scans that do not compress, texts that do, a database of tens of megabytes,
many small files. Each round runs both programs, the first one in turn, as processes of their own:
wall, CPU and the largest memory are the kernel's figures for that process. `--keep DIR` keeps the
data. Needs Debian's restic; restored folders are compared with `diff -r`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
MIB = 1 << 20
PASSWORD = "mot de passe"
SHARE = {"scans": 0.55, "textes": 0.1, "petits": 0.1, "base": 0.25}


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float
    rss_bytes: int


def make_files(root: Path, size: int) -> None:
    """`size` bytes of files, the same ones each time."""
    chance = random.Random(21)
    for kind in ("scans", "textes", "petits"):
        (root / kind).mkdir(parents=True)
    words = [chance.randbytes(chance.randrange(2, 6)).hex() for _ in range(5000)]
    left, number = size * SHARE["scans"], 0
    while left > 0:
        content = chance.randbytes(chance.randrange(100_000, 900_000))
        (root / "scans" / f"acte {number}.jpg").write_bytes(content)
        left, number = left - len(content), number + 1
    for kind, length in (("textes", 50_000), ("petits", 500)):
        left, number = size * SHARE[kind], 0
        while left > 0:
            content = " ".join(chance.choices(words, k=length // 10)).encode()
            folder = root / kind / f"{number % 40}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.xml").write_bytes(content)
            # A small file costs its own time, not its bytes: it counts for a block.
            left, number = left - max(len(content), 8192), number + 1
    with sqlite3.connect(root / "registre.sqlite") as database:
        database.execute("CREATE TABLE acte (numero INTEGER PRIMARY KEY, texte TEXT, scan BLOB)")
        for _ in range(int(size * SHARE["base"]) // 20_000):
            text = " ".join(chance.choices(words, k=1000))
            row = (text, chance.randbytes(10_000))
            database.execute("INSERT INTO acte (texte, scan) VALUES (?, ?)", row)


def run(command: list[str], environment: dict[str, str]) -> Cost:
    """A program to its end; what it cost is what the kernel says of that one process."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def show(title: str, costs: dict[str, list[Cost]]) -> None:
    print(f"\n{title}")
    for name, found in costs.items():
        walls = " / ".join(f"{cost.wall_s:.2f}" for cost in found)
        cpu = statistics.median(cost.cpu_s for cost in found)
        rss = max(cost.rss_bytes for cost in found) / MIB
        print(f"  {name:7} wall {walls} s, CPU {cpu:.2f} s, RSS {rss:.0f} MiB")
    ours, stock = costs["ours"], costs["restic"]
    for what in ("wall_s", "cpu_s", "rss_bytes"):
        left, right = (statistics.median(getattr(c, what) for c in each) for each in (ours, stock))
        print(f"  ours / restic, {what}: {left / right:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=300, help="size of the files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the data, kept")
    asked = parser.parse_args()
    if shutil.which("restic") is None:
        raise SystemExit("restic is missing (apt-get install restic)")
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="souverain-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measure(folder, asked.mib * MIB, asked.rounds)
    finally:
        if not asked.keep:
            shutil.rmtree(folder)


def measure(folder: Path, size: int, rounds: int) -> None:
    files, repository, password = folder / "mairie", folder / "depot", folder / "motdepasse.txt"
    password.write_text(PASSWORD)
    environment = {
        **os.environ,
        "RESTIC_PASSWORD_FILE": str(password),
        "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")]),
    }
    stock = ["restic", "--no-cache", "--quiet", "--repo", str(repository)]
    ours = [sys.executable, "-m", "souverain", "vault", "repository"]
    here = [str(repository), "--password-file", str(password)]
    if not repository.exists():
        make_files(files, size)
        run([*stock, "init"], environment)
        subprocess.run([*stock, "backup", files.name], env=environment, cwd=folder, check=True)
    count = sum(path.is_file() for path in files.rglob("*"))
    version = subprocess.run(["restic", "version"], capture_output=True, text=True).stdout.strip()
    print(f"{version}; Python {platform.python_version()}; {os.cpu_count()} CPU; ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; {count} files, {size // MIB} MiB")

    targets = {name: folder / f"rendu-{name}" for name in ("ours", "restic")}
    works = {
        "restore": {
            "ours": [*ours, "restore", *here, "--target", str(targets["ours"])],
            "restic": [*stock, "restore", "latest", "--target", str(targets["restic"])],
        },
        "check, all data read": {
            "ours": [*ours, "check", *here],
            "restic": [*stock, "check", "--read-data"],
        },
    }
    for title, commands in works.items():
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for turn in range(rounds):
            for name in sorted(commands, reverse=bool(turn % 2)):
                shutil.rmtree(targets[name], ignore_errors=True)
                costs[name].append(run(commands[name], environment))
            if title == "restore" and turn == 0:
                for target in targets.values():
                    subprocess.run(["diff", "-r", files, target / files.name], check=True)
        show(title, costs)
    for target in targets.values():
        shutil.rmtree(target, ignore_errors=True)


if __name__ == "__main__":
    main()
