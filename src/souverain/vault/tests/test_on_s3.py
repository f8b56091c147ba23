"""The vault on a real S3 with object lock: the stock restic program is the judge, also when S3
stops, and when somebody has its keys."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from souverain.core import s3
from souverain.core.tests.seaweedfs import (
    ACCESS_KEY,
    LOCKED_BUCKET,
    SECRET_KEY,
    S3Server,
)
from souverain.core.tests.test_s3_versions import until
from souverain.vault.tests.conftest import Client, Server, restic, same


@pytest.fixture(scope="module")
def on_s3(locked_s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one commune, whose objects are on SeaweedFS."""
    server = Server(tmp_path_factory.mktemp("home"))
    server.environment |= {
        "SOUVERAIN_OBJECTS_URL": locked_s3.address("coffre", LOCKED_BUCKET),
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


def test_back_up_prune_and_go_back_in_time_on_s3(on_s3: Server, tree: Path, tmp_path: Path) -> None:
    repository = on_s3.device(roles="backup restore prune")
    kept = tmp_path / "gardé"
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
    on_s3: Server, locked_s3: S3Server
) -> None:
    client = Client(on_s3.device(scope="panne"))
    small, large = os.urandom(1000), os.urandom(3 << 20)
    paths = {f"data/{hashlib.sha256(content).hexdigest()}": content for content in (small, large)}
    locked_s3.stop()
    try:
        for path, content in paths.items():
            status, message = client.ask("POST", path, content)
            assert status == 503 and "Le stockage S3" in message.decode()
        assert b'"vault": "failing"' in client.ask("GET", "/health")[1]
    finally:
        locked_s3.start()
    assert client.ask("GET", "data/") == (200, b"[]")
    for path, content in paths.items():
        assert client.ask("POST", path, content)[0] == 200
        assert client.ask("GET", path) == (200, content)
    assert b'"vault": "ok"' in client.ask("GET", "/health")[1]


def test_what_a_thief_of_the_keys_hides_comes_back_for_the_stock_client(
    on_s3: Server, locked_s3: S3Server, tree: Path, tmp_path: Path
) -> None:
    repository = on_s3.device(roles="backup restore", scope="vole")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    config = Client(repository).ask("GET", "config")
    assert config[0] == 200
    judge, place = locked_s3.judge(), {"Bucket": LOCKED_BUCKET}
    pages = judge.get_paginator("list_object_versions").paginate(**place, Prefix="coffre/vault/")
    found = [item for page in pages for item in page.get("Versions", [])]
    found = [item for item in found if "/vole/" in item["Key"] and "/locks/" not in item["Key"]]
    assert len(found) > 3
    for number, item in enumerate(found):
        with pytest.raises(ClientError, match="AccessDenied"):
            judge.delete_object(**place, Key=item["Key"], VersionId=item["VersionId"])
        if number % 3 == 0 or item["Key"].endswith("/config"):
            judge.put_object(**place, Key=item["Key"], Body=os.urandom(item["Size"]))
        if number % 3 != 0:
            judge.delete_object(**place, Key=item["Key"])
    assert Client(repository).ask("GET", "config") != config

    command = (sys.executable, "-m", "souverain", "vault", "store", "keep", "--json")
    cut = subprocess.Popen(command, env=on_s3.environment, stdout=subprocess.DEVNULL)
    until(lambda: Client(repository).ask("GET", "config") == config)
    cut.kill()
    cut.wait()
    walked = json.loads(on_s3.enter(*command))
    assert walked["lost"] == 0 and walked["brought_back"] < len(found)
    restic(repository, tmp_path, "check", "--read-data")
    restic(repository, tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tree, tmp_path / "rendu" / "mairie")
