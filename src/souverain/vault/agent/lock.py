"""One run at a time. The system itself lets go of the lock when its holder dies, killed or not, so
that no stale one exists and no number of process can be taken for another."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from souverain.vault.agent import AgentError

PATIENCE_S = 5.0
"""What restic takes to notice that the agent which started it was killed: it holds the lock too."""


class Busy(AgentError):
    """Somebody holds the lock."""


@contextmanager
def alone(file: Path, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """Hold the lock; gives its descriptor, which a child that inherits it holds as well."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience_s
        while not _take(descriptor):
            if time.monotonic() >= deadline:
                raise Busy("Une sauvegarde est déjà en cours sur ce poste : laissez-la finir.")
            time.sleep(0.1)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(file: Path) -> bool:
    try:
        with alone(file, 0):
            return False
    except Busy:
        return True


if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
