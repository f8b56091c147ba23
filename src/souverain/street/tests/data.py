"""The real panoramas that the tests read, where they are; never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.conf import settings


def street_file(name: str) -> Path:
    """A file of the street data; the test is skipped without it, and fails in CI."""
    folder = Path(os.environ.get("SOUVERAIN_TEST_DATA") or settings.PROJECT / "../shared/data")
    path = folder / "street" / name
    if not path.is_file():
        reason = f"{path} is missing (SOUVERAIN_TEST_DATA)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
