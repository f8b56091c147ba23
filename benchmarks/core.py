"""The kernel's figures: journal appends a second, and the check of a million entries.

Each runs in a home of its own, on SQLite, with the database's full durability.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time

os.environ["SOUVERAIN_HOME"] = tempfile.mkdtemp(prefix="souverain-bench-")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")

import django

django.setup()

from django.core.management import call_command
from django.db import transaction

from souverain.core import journal
from souverain.core.access import SYSTEM


def appends(count: int) -> float:
    """Appends a second, each in a transaction of its own (one fsync each)."""
    started = time.perf_counter()
    for n in range(count):
        journal.append(SYSTEM, "bench.done", object=f"thing:{n}")
    return count / (time.perf_counter() - started)


def fill(count: int) -> None:
    """Append in large transactions, to reach the size to verify."""
    while count > 0:
        with transaction.atomic():
            for _ in range(min(count, 20_000)):
                journal.append(SYSTEM, "bench.done", organisation="21231", object="thing:1")
        count -= 20_000


def verification() -> tuple[int, float, float]:
    """Entries, wall seconds and CPU seconds of a whole check."""
    wall, cpu = time.perf_counter(), time.process_time()
    outcome = journal.verify()
    if outcome.fault:
        raise SystemExit(outcome.fault)
    return outcome.entries, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    arguments = parser.parse_args()
    call_command("migrate", verbosity=0)
    print(f"Python {platform.python_version()}, Django {django.get_version()}, SQLite")
    print(f"journal appends, one transaction each: {appends(2_000):.0f}/s")
    fill(arguments.entries - 2_000)
    entries, wall, cpu = verification()
    print(f"verification of {entries} entries: {wall:.2f} s wall, {cpu:.2f} s CPU")


if __name__ == "__main__":
    main()
