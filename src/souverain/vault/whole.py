"""A small file written whole or not at all, for its owner alone."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Whoever reads it meanwhile, or after a crash, finds the former one or this one."""
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        Path(partial).replace(file)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(partial).unlink()
        raise
