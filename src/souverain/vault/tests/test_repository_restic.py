"""What the stock restic writes, in both versions of its format, we give back to the byte."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from souverain.vault.repository_commands import cli
from souverain.vault.tests.conftest import restic

FORMATS = (("1", "auto"), ("2", "off"), ("2", "auto"), ("2", "max"))


def ours(folder: Path, command: str, repository: str, *arguments: str) -> Result:
    """A command of ours, which must succeed."""
    password = folder / "motdepasse.txt"
    password.write_text("mot de passe\n")
    line = [command, str(folder / repository), *arguments, "--password-file", str(password)]
    done = CliRunner().invoke(cli, line)
    assert done.exit_code == 0, done.output
    return done


def identical(left: Path, right: Path) -> None:
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", left, right], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Type, rights, owner, date and names of everything below a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        times = about.st_mtime_ns if not path.is_symlink() else None
        found[os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")] = (
            about.st_mode,
            about.st_uid,
            about.st_gid,
            times,
            about.st_nlink if path.is_file() else None,
        )
    return found


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A town hall's folder, with what a file system can hold."""
    root = tmp_path / "mairie"
    (root / "État civil" / "1926 — naissances").mkdir(parents=True)
    (root / "État civil" / "acte n° 1 « é » 📜.txt").write_text("né à Dijon\n" * 1000)
    (root / 'a "quoted" \\ name').write_text("x")
    (root / "new\nline\ttab").write_text("y")
    (root / os.fsdecode(b"latin-1 \xe9\xff")).write_bytes(b"\x00\x01")
    (root / "vide").touch()
    (root / "dossier vide").mkdir()
    (root / "scan.jpg").write_bytes(os.urandom(3 << 20))
    os.link(root / "scan.jpg", root / "État civil" / "le même scan.jpg")
    (root / "lien").symlink_to("scan.jpg")
    (root / "lien cassé").symlink_to("/nulle/part")
    with (root / "image disque").open("wb") as file:
        file.seek(20 << 20)
        file.write(b"fin")
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o4750)
    (root / "lecture seule").mkdir()
    (root / "lecture seule" / "note").write_text("n")
    os.setxattr(root / "script", "user.auteur", b"maire\x00\xff")
    os.utime(root / "vide", ns=(10**18 + 1, 10**18 + 123456789))
    (root / "lecture seule").chmod(0o1555)
    return root


@pytest.mark.parametrize(("version", "compression"), FORMATS)
def test_what_the_stock_client_backs_up_comes_back(
    version: str, compression: str, town: Path, tmp_path: Path
) -> None:
    restic("repo", tmp_path, "init", "--repository-version", version)
    restic("repo", tmp_path, "backup", "--compression", compression, "mairie")
    ours(tmp_path, "check", "repo")
    ours(tmp_path, "restore", "repo", "--target", str(tmp_path / "rendu"))
    identical(town, tmp_path / "rendu" / "mairie")
    assert described(town) == described(tmp_path / "rendu" / "mairie")
    script = tmp_path / "rendu" / "mairie" / "script"
    assert os.getxattr(script, "user.auteur") == b"maire\x00\xff"


def test_a_large_database_edited_in_the_middle(tmp_path: Path) -> None:
    size = 60 << 20
    file = tmp_path / "mairie" / "registre.sqlite"
    file.parent.mkdir()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE acte (numero INTEGER PRIMARY KEY, scan BLOB)")
        for _ in range(size >> 16):
            database.execute("INSERT INTO acte (scan) VALUES (randomblob(65536))")
    restic("repo", tmp_path, "init", "--repository-version", "2")
    restic("repo", tmp_path, "backup", "mairie")
    first = file.read_bytes()
    with sqlite3.connect(file) as database:
        middle = (size >> 16) // 2
        database.execute("UPDATE acte SET scan = 'corrigé' WHERE numero = ?", (middle,))
        database.execute("DELETE FROM acte WHERE numero = ?", (middle + 7,))
        database.commit()
        database.execute("VACUUM")
    restic("repo", tmp_path, "backup", "mairie")

    listed = json.loads(ours(tmp_path, "ls", "repo", "--json").output)
    assert listed["count"] == 2
    oldest = listed["items"][0]["id"]
    ours(tmp_path, "restore", "repo", oldest[:10], "--target", str(tmp_path / "avant"))
    ours(tmp_path, "restore", "repo", "latest", "--target", str(tmp_path / "après"))
    assert (tmp_path / "avant/mairie/registre.sqlite").read_bytes() == first
    identical(tmp_path / "mairie", tmp_path / "après" / "mairie")


def test_one_folder_of_a_snapshot(town: Path, tmp_path: Path) -> None:
    restic("repo", tmp_path, "init", "--repository-version", "2")
    restic("repo", tmp_path, "backup", "mairie")
    target = tmp_path / "rendu"
    wanted = ("--include", "/mairie/État civil", "--include", "/mairie/vide")
    ours(tmp_path, "restore", "repo", "--target", str(target), *wanted)
    assert sorted(path.name for path in (target / "mairie").iterdir()) == ["vide", "État civil"]
    identical(town / "État civil", target / "mairie" / "État civil")


def test_listing_gives_what_the_stock_client_lists(town: Path, tmp_path: Path) -> None:
    restic("repo", tmp_path, "init", "--repository-version", "2")
    restic("repo", tmp_path, "backup", "mairie")
    theirs = [
        json.loads(line)
        for line in restic("repo", tmp_path, "ls", "--json", "latest").splitlines()[1:]
    ]
    found = json.loads(ours(tmp_path, "ls", "repo", "latest", "--json").output)
    assert found["count"] == len(theirs) > 15
    plain = {item["path"]: item["type"] for item in found["items"] if "latin-1" not in item["path"]}
    assert plain == {item["path"]: item["type"] for item in theirs if "latin-1" not in item["path"]}


def test_a_repository_cleaned_by_the_stock_client(town: Path, tmp_path: Path) -> None:
    restic("repo", tmp_path, "init", "--repository-version", "2")
    for number in range(3):
        (town / "vide").write_text(str(number))
        restic("repo", tmp_path, "backup", "mairie")
    restic("repo", tmp_path, "forget", "--keep-last", "1", "--prune")
    ours(tmp_path, "check", "repo")
    ours(tmp_path, "restore", "repo", "--target", str(tmp_path / "rendu"))
    identical(town, tmp_path / "rendu" / "mairie")
