"""The stock restic program is the judge."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Server

pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")


def restic(repository: str, tmp: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["restic", "--no-cache", *arguments],
        env={**os.environ, "RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "mot de passe"},
        cwd=tmp,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_tree(root: Path) -> None:
    for number in range(120):
        folder = root / f"dossier {number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"acte {number}.xml").write_text(f"<acte n='{number}'>é</acte>\n" * number)
    (root / "registre.bin").write_bytes(os.urandom(3 << 20))


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], capture_output=True).returncode == 0


def test_round_trip_then_ransomware_then_back_in_time(server: Server, tmp_path: Path) -> None:
    repository = server.device(roles="backup restore prune")
    tree, kept = tmp_path / "mairie", tmp_path / "gardé"
    write_tree(tree)
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    (tree / "dossier 1" / "acte 1.xml").write_text("modifié")
    restic(repository, tmp_path, "backup", "mairie")
    shutil.rmtree(tree / "dossier 2")
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


def test_a_plain_copy_of_the_folder_is_a_repository(server: Server, tmp_path: Path) -> None:
    repository = server.device(scope="copie")
    write_tree(tmp_path / "mairie")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    shutil.copytree(server.folder(scope="copie"), tmp_path / "copie")
    restic("copie", tmp_path, "check", "--read-data")
    restic("copie", tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tmp_path / "mairie", tmp_path / "rendu" / "mairie")
