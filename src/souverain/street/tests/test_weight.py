"""A web process that nobody asks pictures of does not hold what works on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = ("numba", "onnxruntime", "pyvips", "scipy", "jpeglib")
LOADED = f"""
import sys
import souverain.config.asgi
from django.urls import get_resolver
assert get_resolver().url_patterns
import souverain.street.api
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
ABSENT = """
import importlib.util, logging
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else found(name, *rest)
from souverain.config.installed import installed
print(*installed(["territory", "street"]))
"""


def told(code: str, home: Path) -> list[str]:
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_the_web_process_holds_nothing_heavy(tmp_path: Path) -> None:
    assert told(LOADED, tmp_path) == []


def test_the_room_is_off_where_what_it_needs_is_missing(tmp_path: Path) -> None:
    assert told(ABSENT, tmp_path) == ["territory"]
