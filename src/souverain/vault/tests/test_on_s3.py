"""The vault on a real S3: the stock restic program is the judge, also when S3 stops."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from souverain.core import s3
from souverain.core.tests.seaweedfs import ACCESS_KEY, SECRET_KEY, SeaweedFS
from souverain.vault.tests.conftest import Server


def restic(repository: str, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["restic", "--no-cache", *arguments],
        env={**os.environ, "RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "mot de passe"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def write_tree(root: Path) -> None:
    """Small files and one that fills packs of its own."""
    for number in range(60):
        folder = root / f"dossier {number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"acte {number}.xml").write_text(f"<acte n='{number}'>é</acte>\n" * number)
    (root / "registre.bin").write_bytes(os.urandom(20 << 20))


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], capture_output=True).returncode == 0


def ask(
    server: Server, repository: str, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """Plain HTTP with the credential of one repository address."""
    parts = urlsplit(repository.removeprefix("rest:"))
    secret = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    target = path if path.startswith("/") else parts.path + path
    connection.request(method, target, body, {"Authorization": f"Basic {secret}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.fixture(scope="module")
def on_s3(seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one commune, whose objects are on SeaweedFS."""
    server = Server(tmp_path_factory.mktemp("home"))
    server.environment |= {
        "SOUVERAIN_OBJECTS_URL": seaweedfs.address("coffre"),
        s3.ACCESS_KEY: ACCESS_KEY,
        s3.SECRET_KEY: SECRET_KEY,
    }
    server.python(
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "call_command('createcachetable', verbosity=0)\n"
        "from souverain.core.models import Organisation\n"
        "Organisation.objects.create(kind='commune', code='21231', name='Dijon')\n"
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_back_up_prune_and_go_back_in_time_on_s3(on_s3: Server, tmp_path: Path) -> None:
    repository = on_s3.device(roles="backup restore prune")
    tree, kept = tmp_path / "mairie", tmp_path / "gardé"
    write_tree(tree)
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    restic(repository, tmp_path, "check", "--read-data")
    restic(repository, tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tree, tmp_path / "rendu" / "mairie")

    shutil.copytree(tree, kept)
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for file in (path for path in tree.rglob("*") if path.is_file()):
        file.write_bytes(os.urandom(file.stat().st_size + 16))
    restic(repository, tmp_path, "backup", "mairie")
    restic(repository, tmp_path, "forget", "--keep-last", "1", "--prune")
    past = f"{repository.removesuffix('/')}@{before}/"
    restic(past, tmp_path, "restore", "latest", "--target", "sauvé")
    assert same(kept, tmp_path / "sauvé" / "mairie")
    assert not (on_s3.home / "objects").exists()


def test_s3_that_stops_is_said_records_nothing_and_a_retry_works(
    on_s3: Server, seaweedfs: SeaweedFS
) -> None:
    repository = on_s3.device(scope="panne")
    small, large = os.urandom(1000), os.urandom(3 << 20)
    paths = {f"data/{hashlib.sha256(content).hexdigest()}": content for content in (small, large)}
    seaweedfs.stop()
    try:
        for path, content in paths.items():
            status, message = ask(on_s3, repository, "POST", path, content)
            assert status == 503 and "Le stockage S3" in message.decode()
        assert b'"vault": "failing"' in ask(on_s3, repository, "GET", "/health")[1]
    finally:
        seaweedfs.start()
    assert ask(on_s3, repository, "GET", "data/") == (200, b"[]")
    for path, content in paths.items():
        assert ask(on_s3, repository, "POST", path, content)[0] == 200
        assert ask(on_s3, repository, "GET", path) == (200, content)
    assert b'"vault": "ok"' in ask(on_s3, repository, "GET", "/health")[1]
