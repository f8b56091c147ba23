"""The private folder in which a drill restores, and which goes with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".essai-restauration-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_folder(base: Path) -> Iterator[tuple[Path, int]]:
    """A folder that its owner alone opens, and the descriptor whose lock says that somebody works
    there: a program that is given it holds the lock too. Those that a kill left are wiped first;
    this one, at the end."""
    for left in base.glob(f"{PREFIX}*"):
        _wipe_if_left(left)
    folder, held = _make(base)
    try:
        yield folder, held
    finally:
        wipe(folder)
        os.close(held)


def _make(base: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        with suppress(FileNotFoundError):  # another drill may wipe it before it is held
            held = os.open(folder, _FOLDER)
            fcntl.flock(held, fcntl.LOCK_EX)
            if folder.exists():
                return folder, held
            os.close(held)


def _wipe_if_left(folder: Path) -> None:
    """Unless it is another account's, or somebody holds it."""
    with suppress(OSError):
        held = os.open(folder, _FOLDER)
        try:
            if os.fstat(held).st_uid == os.geteuid():
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                wipe(folder)
        finally:
            os.close(held)


def wipe(folder: Path) -> None:
    """Remove a folder and all that is below it, also where restored rights forbid it."""
    for root, folders, _ in os.walk(folder):
        for name in folders:
            inner = Path(root, name)
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A drill that is asked to end wipes what it restored: a machine that is switched off, a service
    that is stopped."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
