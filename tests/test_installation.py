"""`deploy/install` cut at the wrong moment, on a project without dependencies (no network)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(PROJECT / "deploy/install", tmp_path / "deploy/install")
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    return tmp_path


def install(project: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["./deploy/install", "requirements.txt"],
        cwd=project,
        env={**os.environ, "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_whole(project: Path) -> None:
    done = install(project)
    assert done.returncode == 0, done.stderr
    assert "Mo sur le disque" in done.stdout
    subprocess.run([project / ".venv/bin/python", "-m", "pip", "--version"], check=True)
    assert (project / ".venv/.installed").exists()
    assert not (project / ".venv/.unfinished").exists()
    assert not list((project / "build").glob("aside*")) if (project / "build").exists() else True


def test_killed_while_the_environment_is_made_it_begins_again(project: Path) -> None:
    cut = subprocess.Popen(
        ["./deploy/install", "requirements.txt"],
        cwd=project,
        env={**os.environ, "PYTHON": sys.executable},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (project / ".venv/bin/python").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    assert not (project / ".venv/.installed").exists()
    assert_whole(project)


def test_what_pip_left_half_written_is_not_kept(project: Path) -> None:
    assert_whole(project)
    [packages] = (project / ".venv/lib").glob("python3*/site-packages")
    (packages / "half").mkdir()
    (project / ".venv/.unfinished").touch()
    shutil.rmtree(packages / "pip")
    assert_whole(project)
    assert not (packages / "half").exists()
    kept = project / ".venv/kept"
    kept.touch()
    assert_whole(project)
    assert kept.exists()  # what is whole is left alone


def test_an_old_python_is_refused_in_french(project: Path) -> None:
    old = project / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    for python, named in ((str(old), "3.9.2"), ("python-absent", "python-absent")):
        refused = install(project, python)
        assert refused.returncode == 1 and not (project / ".venv").exists()
        assert "Il faut Python 3.11 ou plus récent" in refused.stderr and named in refused.stderr


def test_a_shared_environment_is_never_removed(project: Path) -> None:
    shared = project / "shared"
    shared.mkdir()
    (shared / "mine").touch()
    (project / ".venv").symlink_to(shared)
    assert install(project).returncode != 0  # it holds no Python
    assert (shared / "mine").exists()
