"""Tests never touch anybody's data: each run has a home of its own, made before Django starts."""

from __future__ import annotations

import os
import tempfile

os.environ["SOUVERAIN_HOME"] = tempfile.mkdtemp(prefix="souverain-test-")
