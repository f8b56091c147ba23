"""The stock restic program is the judge."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Server, restic

pytestmark = pytest.mark.db_both
DEBIAN = ("/usr/share/doc", "/usr/lib/python3", "/usr/share/perl", "/usr/include", "/usr/lib/gcc")
FEW_MB, MANY_MB = 4, 520


@pytest.fixture
def tree(proving: bool, tmp_path: Path) -> Path:
    """Debian's own documentation and sources, copied: thousands of files when proving."""
    root = tmp_path / "mairie"
    left = (MANY_MB if proving else FEW_MB) << 20
    for source in map(Path, (*DEBIAN, "/usr/share", "/usr/lib")):
        for number, file in enumerate(sorted(source.rglob("*")) if left > 0 else ()):
            if left <= 0 or file.is_symlink() or not file.is_file():
                continue
            copy = root / source.name / str(number % 50) / f"{number} {file.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            left -= copy.stat().st_size
    assert left <= 0
    assert sum(1 for _ in root.rglob("*")) > (2000 if proving else 50)
    return root


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], capture_output=True).returncode == 0


def test_round_trip_then_ransomware_then_back_in_time(
    server: Server, tree: Path, tmp_path: Path
) -> None:
    repository = server.device(roles="backup restore prune")
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
