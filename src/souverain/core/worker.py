"""The worker: jobs, events, messages and what rooms do at steady intervals.

Each duty has a thread of its own and waits on one stop event: a duty that fails or is slow never
holds up the others. SIGTERM ends the turn under way, then the process; jobs go on without it.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.db import close_old_connections, connections

from souverain.core import (
    clock,
    egress,
    events,
    guesses,
    jobs,
    journal,
    notifications,
    objects,
    rooms,
)
from souverain.core.rooms import Health

logger = logging.getLogger(__name__)
SILENT_AFTER = timedelta(seconds=30)
HEADS_FOLDER = "journal-heads"
SWEPT_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Duty:
    """Something done again and again; `every` is the wait between two turns."""

    name: str
    every: timedelta
    run: Callable[[], Any]


def duties() -> list[Duty]:
    """The kernel's own, and every manifest's."""
    scheduler, executor = jobs.FirstInFirstOut(), jobs.LocalProcesses()
    return [
        Duty("heartbeat", timedelta(seconds=5), beat),
        Duty("events", timedelta(seconds=0.5), events.deliver_pending),
        Duty("messages", timedelta(seconds=2), notifications.send_pending),
        Duty("jobs", timedelta(seconds=0.5), lambda: jobs.step(scheduler, executor)),
        Duty("refusals", timedelta(minutes=1), journal.close_refusals),
        Duty("journal-head", timedelta(minutes=10), export_journal_head),
        Duty("objects", timedelta(hours=1), sweep_objects),
        Duty("expired", timedelta(days=1), clear_expired),
        *(Duty(item.name, item.every, item.run) for item in rooms.every("periodic")),
    ]


def perform(duty: Duty, stop: threading.Event) -> None:
    """Do one duty until `stop`; a failure is logged and tried again at the next turn."""
    while not stop.is_set():
        close_old_connections()
        try:
            duty.run()
        except Exception:
            logger.exception("duty %s failed", duty.name)
        stop.wait(duty.every.total_seconds())
    connections.close_all()


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    egress.install_hook()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=perform, args=[duty, stop], name=duty.name) for duty in duties()
    ]
    logger.info("worker started: %d duties", len(threads))
    for thread in threads:
        thread.start()
    for thread in threads:
        # With a timeout: a signal that another thread received is seen at the next turn.
        while thread.is_alive():
            thread.join(1)
    logger.info("worker stopped")


def _write(path: Path, content: str) -> None:
    """Whole or not at all, also across a power cut."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _heartbeat() -> Path:
    return settings.HOME / "worker-heartbeat"


def beat() -> None:
    """Leave a sign of life for `health`."""
    _heartbeat().touch(mode=0o600)


def health() -> Health:
    """Whether a worker gave a sign of life within the last 30 seconds."""
    try:
        seen = datetime.fromtimestamp(_heartbeat().stat().st_mtime, UTC)
    except FileNotFoundError:
        return Health(False, "Le processus des travaux n'a jamais démarré.")
    if clock.now() - seen > SILENT_AFTER:
        return Health(False, "Le processus des travaux ne répond plus.")
    return Health(True, "Le processus des travaux répond.")


def export_journal_head() -> None:
    """Once a legal day, write the journal's head where backups take it: `journal-heads/DATE.json`.
    `souverain journal verify --head FILE` reads it."""
    day = clock.today().isoformat()
    path = settings.HOME / HEADS_FOLDER / f"{day}.json"
    if not path.exists():
        head = journal.head()
        _write(path, json.dumps({"date": day, "seq": head.seq, "hash": head.hash}) + "\n")


def clear_expired() -> None:
    """Delete the sessions that have ended and the sign-in attempts that no longer count."""
    call_command("clearsessions")
    guesses.clear_old()


def sweep_objects() -> None:
    """Forget what puts cut short by a crash left in the store more than a day ago."""
    swept = objects.open_store(settings.OBJECTS_URL).sweep(clock.now() - SWEPT_AFTER)
    if swept:
        logger.info("%d unfinished objects swept", swept)
