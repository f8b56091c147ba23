"""A folder given to the archives, as a SIP or a bag: whole, or not at all, and never over anything.

It runs where the restored folder is; the département's server never holds plain files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from souverain.vault.engine.folder import FolderError

NOTE = "Copie de sécurité, pas un système d'archivage électronique agréé."


@contextmanager
def whole_file(output: Path) -> Iterator[BinaryIO]:
    """A file to write to, which becomes `output` at the end, or goes; its owner alone reads it."""
    partial = _partial(output)
    # The empty file holds the name meanwhile: nobody's file is replaced, not even in a race.
    os.close(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(output)
    except BaseException:
        partial.unlink(missing_ok=True)
        output.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """The same for a folder to fill."""
    partial = _partial(output)
    output.mkdir(mode=0o700)
    try:
        partial.mkdir(mode=0o700)
        yield partial
        partial.replace(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        output.rmdir()
        raise


def _partial(output: Path) -> Path:
    return output.with_name(f".{output.name}.{os.getpid()}.partiel")


def refuse_inside(source: Path, output: Path) -> None:
    """Raises FolderError for an output that would be part of what is exported."""
    if output.resolve().is_relative_to(source.resolve()):
        raise FolderError("La sortie serait dans le dossier exporté.")
