"""The stock restic program is the judge."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Server, restic, same

pytestmark = pytest.mark.db_both


def test_round_trip_then_ransomware_then_back_in_time(
    server: Server, tree: Path, tmp_path: Path
) -> None:
    repository = server.device(roles="backup restore prune", scope="aller-retour")
    kept = tmp_path / "gardé"
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    files[0].write_text("modifié")
    (tree / "registre.bin").write_bytes(os.urandom(3 << 20))
    restic(repository, tmp_path, "backup", "mairie")
    shutil.rmtree(files[-1].parent)
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
    assert restic(past, tmp_path, "snapshots", "--json").count('"short_id"') == 3
    restic(past, tmp_path, "check", "--read-data")
    restic(past, tmp_path, "restore", "latest", "--target", "sauvé")
    assert same(kept, tmp_path / "sauvé" / "mairie")
    assert not same(tree, tmp_path / "sauvé" / "mairie")


def test_a_plain_copy_of_the_folder_is_a_repository(
    server: Server, tree: Path, tmp_path: Path
) -> None:
    repository = server.device(scope="copie")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    shutil.copytree(server.folder(scope="copie"), tmp_path / "copie")
    restic("copie", tmp_path, "check", "--read-data")
    restic("copie", tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tree, tmp_path / "rendu" / "mairie")
