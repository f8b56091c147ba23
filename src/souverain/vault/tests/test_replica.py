"""Two real servers, the stock restic as the judge: copy, loss of the first site, promotion, return."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Client, named, restic, same
from souverain.vault.tests.two_sites import Site, elsewhere, link, started, template


@pytest.fixture(scope="module")
def like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("modele") / "home")


@pytest.fixture
def first(tmp_path: Path, like: Path) -> Iterator[Site]:
    with started(tmp_path / "premier", like) as made:
        yield made


@pytest.fixture
def second(tmp_path: Path, like: Path) -> Iterator[Site]:
    with started(tmp_path / "second", like) as made:
        yield made


def now_text() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def test_stock_restic_on_the_copy_then_the_first_site_prunes_then_loses_all(
    first: Site, second: Site, tree: Path, tmp_path: Path
) -> None:
    repository = first.device(roles="backup restore prune")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    first.sign()
    link(first, second)
    pulled = second.replica("pull")
    assert pulled["complete"] and pulled["objects"] == len(first.objects())
    assert second.objects() == first.objects() and second.rows() == first.rows()
    there = elsewhere(repository, second)
    restic(there, tmp_path, "check", "--read-data")
    restic(there, tmp_path, "restore", "latest", "--target", "rendu")
    assert same(tree, tmp_path / "rendu" / "mairie")
    status, message = Client(there).ask("POST", f"data/{named(b'x')}", b"x")
    assert status == 403 and "copie" in message.decode()
    assert "copy" in second.refusals()

    before = now_text()
    for file in (path for path in tree.rglob("*") if path.is_file()):
        file.write_bytes(os.urandom(file.stat().st_size + 16))
    restic(repository, tmp_path, "backup", "mairie")
    restic(repository, tmp_path, "forget", "--keep-last", "1", "--prune")
    first.sign()
    assert second.replica("pull")["deaths"] > 0
    assert second.rows() == first.rows()
    past = f"{there.removesuffix('/')}@{before}/"
    restic(past, tmp_path, "check", "--read-data")
    shutil.rmtree(tmp_path / "rendu")
    restic(past, tmp_path, "restore", "latest", "--target", "rendu")
    assert not same(tree, tmp_path / "rendu" / "mairie")
    for kept in ("checkpoint", "tile/0/000.p"):
        found = Client(there).ask("GET", f"/vault/21231/log/{kept}")
        assert found == Client(repository).ask("GET", f"/vault/21231/log/{kept}"), kept

    held, rows = second.objects(), second.rows()
    shutil.rmtree(first.home / "objects" / "vault")
    with closing(sqlite3.connect(first.home / "souverain.sqlite3")) as database:
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        for (name,) in database.execute(triggers).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM vault_storedobject")
        database.execute("UPDATE vault_depositset SET last_instant = NULL")
        database.commit()
    second.replica("pull", fails=True)
    assert "a perdu" in " ".join(second.replica("status")["source"]["troubles"])
    assert second.objects() == held and second.rows() == rows
    restic(past, tmp_path, "check", "--read-data")


def test_promotion_then_the_client_goes_on_with_only_the_host_changed(
    first: Site, second: Site, tree: Path, tmp_path: Path
) -> None:
    repository = first.device(roles="backup restore prune")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", "mairie")
    first.sign()
    link(first, second)
    second.replica("pull")
    # What the first site takes after the last turn, and alone.
    (tree / "arrêté.txt").write_text("pris avant la panne")
    restic(repository, tmp_path, "backup", "mairie")
    lost = len(first.objects()) - len(second.objects())
    assert lost > 0
    first.kill()

    assert "log-key" in second.replica("promote", fails=True)["detail"]
    shutil.copy(first.home / "log-key", second.home / "log-key")
    began = time.monotonic()
    made = second.replica("promote")
    there = elsewhere(repository, second)
    content = os.urandom(4096)
    while Client(there).put(content) != 200:
        assert time.monotonic() - began < 60
    rto_s = time.monotonic() - began
    assert rto_s < 60 and not made["fenced"] and not made["complete"] and made["epoch"] == 1
    assert made["complete_to"] and made["lag_s"] >= 0
    (tree / "après.txt").write_text("pris après la panne")
    restic(there, tmp_path, "backup", "mairie")
    restic(there, tmp_path, "check", "--read-data")
    second.sign()
    assert second.journal_is_whole()

    # The first comes back, and still takes what clients send: nobody could tell it.
    first.start()
    alone = os.urandom(5000)
    assert Client(repository).put(alone) == 200
    second.a_minute_later()
    told = second.replica("status")["source"]
    assert told["fenced_at"] and told["only_there_objects"] == lost + 1
    refused, message = Client(repository).ask("POST", f"data/{named(b'y')}", b"y")
    assert refused == 403 and "remplacé" in message.decode()
    assert Client(repository).ask("GET", f"data/{named(alone)}") == (200, alone)
    assert first.replica("status")["role"] == "fenced"

    done = second.replica("recover")
    assert done == {"objects": lost + 1, "bytes": done["bytes"], "failed": []}
    assert second.replica("status")["source"]["only_there_objects"] == 0
    assert Client(there).ask("GET", f"data/{named(alone)}") == (200, alone)
    restic(there, tmp_path, "check", "--read-data")
    assert restic(there, tmp_path, "snapshots", "--json").count('"short_id"') == 3

    # And it becomes the copy of the other, with what it has.
    key = second.replica("authorize", "--name", "Dijon")
    (first.home / "acces.txt").write_text(key["secret"])
    secret = str(first.home / "acces.txt")
    found = first.replica("add", "--from", second.address, "--secret-file", secret)
    assert found["role"] == "copy" and found["divergent_births"] == lost + 1
    assert first.replica("pull")["complete"]
    assert first.replica("status")["divergent_births"] == 0
    assert first.objects() == second.objects()
    restic(repository, tmp_path, "check", "--read-data")
    kinds = ("data", "keys", "snapshots", "index")
    ours, theirs = Client(repository), Client(there)
    assert [sorted(ours.names(kind)) for kind in kinds] == [
        sorted(theirs.names(kind)) for kind in kinds
    ]
