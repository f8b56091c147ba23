"""The pages for people lead where they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def test_every_link_between_pages_leads_somewhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "docs/build.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "README.html").read_text()
    assert 'href="docs/features.html"' in home and (tmp_path / "docs/features.html").exists()
