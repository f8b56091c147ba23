"""Restoring trusts nothing of what the snapshot says, and leaves nothing half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from souverain.vault.engine.restic.index import TREE
from souverain.vault.engine.restic.repository import Repository, Source, folder
from souverain.vault.repository_commands import cli
from souverain.vault.restoration import MAX_DEPTH, Restoration, Restored, Selection
from souverain.vault.tests.conftest import SOURCE
from souverain.vault.tests.restic_writer import PASSWORD, Writer, node, to_json


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path / "repo")


def finish(writer: Writer, *nodes: dict[str, Any]) -> None:
    """A snapshot of these entries."""
    tree = writer.tree(*nodes)
    writer.index()
    writer.snapshot(tree)


def run(writer: Writer, *arguments: str) -> Result:
    password = writer.root.parent / "motdepasse.txt"
    password.write_text(PASSWORD)
    command, *rest = arguments
    line = [command, str(writer.root), *rest, "--password-file", str(password), "--json"]
    return CliRunner().invoke(cli, line)


def restore(writer: Writer, *arguments: str, ok: bool = True) -> dict[str, Any]:
    target = writer.root.parent / "rendu"
    done = run(writer, "restore", "--target", str(target), *arguments)
    assert done.exit_code == (0 if ok else 1), done.output
    answer: dict[str, Any] = json.loads(done.output)
    assert answer["ok"] == ok
    return answer


def everything(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("name", ["..", ".", "../dehors", "/dehors", "a/b", "nul\\x00", "a\\x2fb"])
@pytest.mark.parametrize("kind", ["file", "dir", "symlink"])
def test_a_name_that_is_a_path_is_refused(
    name: str, kind: str, writer: Writer, tmp_path: Path
) -> None:
    content = writer.add(b"evil")
    writer.pack()
    inner = writer.tree(node("dedans", content=[content]))
    finish(
        writer,
        node(name, kind, content=[content], subtree=inner, linktarget="/tmp"),
        node("honnete", content=[content]),
    )
    answer = restore(writer, ok=False)
    assert "piégé" in answer["errors"][0] and answer["error_count"] == 1
    assert everything(tmp_path / "rendu") == {"honnete": b"evil"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["motdepasse.txt", "rendu", "repo"]


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_link_is_never_followed(
    overwrite: tuple[str, ...], writer: Writer, tmp_path: Path
) -> None:
    outside = tmp_path / "dehors"
    outside.mkdir()
    content = writer.add(b"evil")
    writer.pack()
    inner = writer.tree(node("cle", content=[content]))
    finish(
        writer,
        node("lien", "symlink", linktarget=str(outside)),
        node("lien", "dir", subtree=inner),
        node("fichier", "symlink", linktarget=str(outside / "fichier")),
        node("fichier", content=[content]),
    )
    answer = restore(writer, *overwrite, ok=False)
    assert any("/lien" in error for error in answer["errors"])
    assert everything(outside) == {}


def test_a_link_that_waits_in_the_target_is_not_followed(writer: Writer, tmp_path: Path) -> None:
    outside, target = tmp_path / "dehors", tmp_path / "rendu"
    outside.mkdir()
    target.mkdir()
    (target / "dossier").symlink_to(outside)
    (target / "fichier").symlink_to(outside / "fichier")
    content = writer.add(b"neuf")
    writer.pack()
    inner = writer.tree(node("cle", content=[content]))
    finish(writer, node("dossier", "dir", subtree=inner), node("fichier", content=[content]))
    restore(writer, "--overwrite", ok=False)
    assert everything(outside) == {}
    assert not (target / "fichier").is_symlink()
    assert (target / "fichier").read_bytes() == b"neuf"


def test_nothing_is_replaced_unless_asked(writer: Writer, tmp_path: Path) -> None:
    content = writer.add(b"neuf")
    writer.pack()
    finish(writer, node("a", content=[content]), node("b", "symlink", linktarget="x"))
    target = tmp_path / "rendu"
    target.mkdir()
    (target / "a").write_bytes(b"ancien")
    (target / "b").write_bytes(b"ancien")
    answer = restore(writer, ok=False)
    assert answer["error_count"] == 2 and "--overwrite" in answer["errors"][0]
    assert everything(target) == {"a": b"ancien", "b": b"ancien"}
    restore(writer, "--overwrite")
    assert (target / "a").read_bytes() == b"neuf" and (target / "b").readlink() == Path("x")
    assert len(list(target.iterdir())) == 2


def test_an_entry_that_comes_twice_keeps_its_first_content(writer: Writer, tmp_path: Path) -> None:
    first, second = writer.add(b"premier"), writer.add(b"second")
    writer.pack()
    finish(writer, node("a", content=[first]), node("a", content=[second]))
    restore(writer, ok=False)
    content = everything(tmp_path / "rendu")
    assert len(content) == 1 and content["a"] in (b"premier", b"second")


def test_special_files_are_left_out_and_told(writer: Writer, tmp_path: Path) -> None:
    finish(writer, *(node(kind, kind, device=259) for kind in ("fifo", "dev", "chardev", "socket")))
    answer = restore(writer)
    assert answer["skipped_count"] == 4
    assert everything(tmp_path / "rendu") == {}


def test_hard_links_only_join_what_is_the_same(writer: Writer, tmp_path: Path) -> None:
    one, two = writer.add(b"un"), writer.add(b"deux")
    writer.pack()
    same = {"links": 3, "inode": 7, "device_id": 1}
    finish(
        writer,
        node("a", content=[one], **same),
        node("b", content=[one], **same),
        node("c", content=[two], **same),
    )
    answer = restore(writer)
    target = tmp_path / "rendu"
    assert (target / "a").samefile(target / "b") and not (target / "a").samefile(target / "c")
    assert (target / "c").read_bytes() == b"deux"
    assert (answer["files"], answer["hard_links"]) == (2, 1)


def test_a_hard_link_to_a_file_that_could_not_be_restored(writer: Writer, tmp_path: Path) -> None:
    one = writer.add(b"un")
    writer.pack()
    same = {"links": 2, "inode": 7, "device_id": 1}
    (tmp_path / "rendu").mkdir()
    (tmp_path / "rendu" / "a").write_bytes(b"autre")
    finish(writer, node("a", content=[one], **same), node("b", content=[one], **same))
    restore(writer, ok=False)
    assert everything(tmp_path / "rendu") == {"a": b"autre", "b": b"un"}


def test_a_file_that_lost_a_blob_is_not_there_at_all(writer: Writer, tmp_path: Path) -> None:
    kept, lost = writer.add(b"kept" * 1000), writer.add(b"lost" * 1000)
    pack = writer.pack()
    finish(
        writer,
        node("abime", content=[kept, lost]),
        node("absent", content=[kept, "0" * 64]),
        node("bon", content=[kept, kept]),
    )
    content = bytearray(pack.read_bytes())
    content[5000] ^= 1
    pack.write_bytes(content)
    answer = restore(writer, ok=False)
    assert answer["error_count"] == 2 and answer["files"] == 1
    assert everything(tmp_path / "rendu") == {"bon": b"kept" * 2000}


def test_a_file_whose_content_is_unknown_is_not_restored_as_empty(
    writer: Writer, tmp_path: Path
) -> None:
    finish(writer, node("perdu", content=None), node("vide", content=[]))
    answer = restore(writer, ok=False)
    assert "/perdu" in answer["errors"][0]
    assert everything(tmp_path / "rendu") == {"vide": b""}


@pytest.mark.parametrize(("user", "mode"), [(0, 0o6755), (1000, 0o0755)])
def test_without_its_owner_a_file_lends_no_rights(
    user: int, mode: int, writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0 and user == 0:
        pytest.skip("only root gives files to others")
    finish(writer, node("prog", content=[], uid=7, gid=8) | {"mode": 3 << 22 | 0o755})
    monkeypatch.setattr(os, "geteuid", lambda: user)
    restore(writer)
    about = (tmp_path / "rendu" / "prog").stat()
    assert about.st_mode & 0o7777 == mode
    assert (about.st_uid, about.st_gid) == ((7, 8) if user == 0 else (os.getuid(), os.getgid()))


def test_another_copy_of_a_blob_serves_when_one_is_damaged(writer: Writer, tmp_path: Path) -> None:
    name = writer.add(b"acte" * 100)
    first = writer.pack()
    writer.add(b"acte" * 100, compress=True)
    writer.pack()
    finish(writer, node("a", content=[name]))
    first.write_bytes(bytes(first.stat().st_size))
    restore(writer)
    assert everything(tmp_path / "rendu") == {"a": b"acte" * 100}


def test_names_that_drive_the_terminal_are_escaped(writer: Writer) -> None:
    finish(writer, node("\\x1b[2Jfifo", "fifo"))
    done = CliRunner().invoke(
        cli,
        ["ls", str(writer.root), "latest", "--password-file", str(_password(writer))],
    )
    assert done.exit_code == 0 and "\x1b" not in done.output and "\\x1b[2Jfifo" in done.output


def _password(writer: Writer) -> Path:
    file = writer.root.parent / "motdepasse.txt"
    file.write_bytes(b"\xef\xbb\xbf" + PASSWORD.encode() + b" \r\n")
    return file


def test_an_include_that_is_nowhere_is_told(writer: Writer) -> None:
    finish(writer, node("a", content=[]))
    answer = restore(writer, "--include", "/a", "--include", "b", ok=False)
    assert answer["files"] == 1 and answer["errors"] == ["/b : N'est pas dans cette sauvegarde"]


@pytest.mark.parametrize("snapshot", ["0000", "latest"])
def test_a_snapshot_that_does_not_exist(snapshot: str, writer: Writer) -> None:
    if snapshot != "latest":
        finish(writer, node("a", content=[]))
    done = run(writer, "restore", snapshot, "--target", str(writer.root.parent / "rendu"))
    assert done.exit_code == 1 and not (writer.root.parent / "rendu").exists()


def test_the_latest_snapshot_is_that_of_the_latest_moment(writer: Writer, tmp_path: Path) -> None:
    old, new = writer.add(b"old"), writer.add(b"new")
    writer.pack()
    # In text the first of these two comes last.
    writer.snapshot(writer.tree(node("a", content=[old])), "2026-11-27T10:59:00+02:00")
    writer.snapshot(writer.tree(node("a", content=[new])), "2026-11-27T09:00:00Z")
    writer.index()
    restore(writer)
    assert everything(tmp_path / "rendu") == {"a": b"new"}


def test_folders_nested_without_end_are_refused(writer: Writer, tmp_path: Path) -> None:
    tree = writer.add(to_json({"nodes": []}), TREE)
    for _ in range(MAX_DEPTH + 5):
        tree = writer.add(to_json({"nodes": [node("d", "dir", subtree=tree)]}), TREE)
    writer.pack()
    writer.index()
    writer.snapshot(tree)
    answer = restore(writer, ok=False)
    assert answer["error_count"] == 1 and "profondément" in answer["errors"][0]
    subprocess.run(["rm", "-rf", tmp_path / "rendu"], check=True)


def _slow(source: Source, reached: Callable[[str], None]) -> Source:
    def read(kind: str, name: str, offset: int, length: int) -> bytes:
        reached(kind)
        return source.read(kind, name, offset, length)

    return Source(read, source.names)


def test_stopped_in_the_middle_it_leaves_whole_files_only(writer: Writer, tmp_path: Path) -> None:
    names = [writer.add(bytes([number]) * 100_000) for number in range(40)]
    writer.pack()
    finish(writer, *(node(f"f{number}", content=names) for number in range(20)))
    reads = 0
    restoration: Restoration

    def reached(kind: str) -> None:
        nonlocal reads
        reads += kind == "data"
        if reads == 100:
            restoration.stop()

    repository = Repository.open(_slow(folder(writer.root), reached), PASSWORD.encode())
    snapshot = repository.snapshot("latest")
    repository.load_index()
    restoration = Restoration(repository, token="t")
    with pytest.raises(KeyboardInterrupt):
        restoration.run(snapshot.tree, tmp_path / "rendu")
    whole = b"".join(bytes([number]) * 100_000 for number in range(40))
    found = everything(tmp_path / "rendu")
    assert 0 < len(found) < 20
    assert all(content == whole for content in found.values())


def test_a_file_for_which_memory_is_short_is_not_there_at_all(
    writer: Writer, tmp_path: Path
) -> None:
    small, large = writer.add(b"petit"), writer.add(b"grand")
    pack = bytes.fromhex(writer.pack().name)
    finish(writer, node("a", content=[small, large]), node("b", content=[small]))
    offset = writer.packs[pack][1].offset
    whole = folder(writer.root)

    def read(kind: str, name: str, at: int, length: int) -> bytes:
        if kind == "data" and at == offset:
            raise MemoryError
        return whole.read(kind, name, at, length)

    repository = Repository.open(Source(read, whole.names), PASSWORD.encode())
    snapshot = repository.snapshot("latest")
    repository.load_index()
    done = Restoration(repository, token="t").run(snapshot.tree, tmp_path / "rendu")
    assert done.error_count == 1 and everything(tmp_path / "rendu") == {"b": b"petit"}


def test_ctrl_c_ends_the_command(writer: Writer, tmp_path: Path) -> None:
    """A real process, with a real signal, while the first file is being written."""
    names = [writer.add(os.urandom(1 << 20)) for number in range(8)]
    writer.pack()
    finish(writer, *(node(f"f{number}", content=names * 40) for number in range(5)))
    target = tmp_path / "rendu"
    command = [sys.executable, "-m", "souverain", "vault", "repository", "restore"]
    command += [str(writer.root), "--password-file", str(_password(writer))]
    process = subprocess.Popen(
        [*command, "--target", str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and not (target.exists() and any(target.iterdir())):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert all(path.stat().st_size == 320 << 20 for path in target.iterdir())
    assert len(list(target.iterdir())) < 5


def test_the_commands_start_without_django(writer: Writer) -> None:
    finish(writer, node("a", content=[]))
    code = (
        "import sys\nfrom souverain.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    assert 'django' not in sys.modules\n"
    )
    line = ["vault", "repository", "check", str(writer.root), "--password-file"]
    done = subprocess.run(
        [sys.executable, "-c", code, *line, str(_password(writer))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Dépôt sain")


def test_progress_ends_at_the_whole(writer: Writer, tmp_path: Path) -> None:
    name = writer.add(b"x" * 1000)
    writer.pack()
    finish(writer, *(node(f"f{each}", content=[name], size=1000) for each in range(10)))
    repository = Repository.open(folder(writer.root), PASSWORD.encode())
    snapshot = repository.snapshot("latest")
    repository.load_index()
    seen: list[tuple[int, int]] = []
    done: Restored = Restoration(
        repository, token="t", progress=lambda *step: seen.append(step)
    ).run(snapshot.tree, tmp_path / "rendu", Selection(()))
    assert done.ok and seen[-1] == (10_000, 10_000) and seen == sorted(seen)
