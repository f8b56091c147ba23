"""Tests never touch anybody's data: each run has a home of its own, made before Django starts."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import hypothesis
import psycopg
import pytest

from souverain.core.tests.ceph import Ceph
from souverain.core.tests.seaweedfs import BUCKET, LOCKED_BUCKET, S3Server, SeaweedFS

HOME = tempfile.mkdtemp(prefix="souverain-test-")
os.environ["SOUVERAIN_HOME"] = HOME
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER and os.environ.get("DATABASE_URL", "").startswith("postgresql"):
    # Real servers write to the database itself: one for each worker.
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {WORKER}")
    os.environ["DATABASE_URL"] = os.environ["DATABASE_URL"].rpartition("/")[0] + f"/{WORKER}"
PROVING = os.environ.get("SOUVERAIN_PROVE") == "1"
# Here and not in pyproject.toml: pytest-django would read the settings before this file.
os.environ["DJANGO_SETTINGS_MODULE"] = "souverain.config.settings"
django.setup()
# A shell makes what it runs in the background deaf to Ctrl-C, and so what the tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine is no fault of the code: properties have no time limit of their own.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def static_files() -> Iterator[None]:
    """The pages' files, gathered as `souverain init` does; the home goes with the run."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)
    yield
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server, private to the run."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session", params=["seaweedfs", "ceph"] if PROVING else ["seaweedfs"])
def locked_s3(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """A real S3 server with a plain bucket and one that locks what arrives; the strict peer too
    when proving."""
    if request.param == "seaweedfs":
        server: S3Server = request.getfixturevalue("seaweedfs")
        server.lock(LOCKED_BUCKET)
        yield server
        return
    folder = Path(tempfile.mkdtemp(prefix="ceph-"))  # pytest's own are too long for its sockets
    server = Ceph(folder)
    try:
        server.start()
        server.judge().create_bucket(Bucket=BUCKET)
        server.lock(LOCKED_BUCKET)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def proving() -> bool:
    """Whether this run takes the full counts (`make prove`) rather than the smaller ones."""
    return PROVING
