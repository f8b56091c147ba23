"""Two real servers, the stock restic as the judge: copy, loss of the first site, promotion, return."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import Client, named, restic, same
from souverain.vault.tests.two_sites import COMMAND, Site, elsewhere, link, started, template


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


def test_killed_at_many_points_a_copy_goes_on_and_is_whole(
    first: Site, second: Site, proving: bool
) -> None:
    repository = first.device(roles="backup restore prune")
    sent = Client(repository)
    contents = [os.urandom(200_000 + 1000 * number) for number in range(40)]
    for content in contents:
        assert sent.put(content) == 200
    link(first, second)
    points = range(1, 40) if proving else (1, 9, 20, 33)
    for point in points:
        pulling = subprocess.Popen(
            [*COMMAND, "vault", "replica", "pull"],
            env=second.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(second.objects()) < point and pulling.poll() is None:
            time.sleep(0.001)
        pulling.kill()
        pulling.wait()
        # A row never stands without its bytes.
        there = Client(elsewhere(repository, second)) if second.rows() else None
        for row in second.rows():
            assert there is not None and there.ask("GET", f"data/{row[3]}")[0] == 200
    assert second.replica("pull")["complete"]
    assert second.rows() == first.rows() and second.objects() == first.objects()
    Client(elsewhere(repository, second)).assert_whole(contents)
    assert second.replica("pull")["objects"] == 0


def test_the_first_site_killed_while_it_receives_loses_nothing_that_was_copied(
    first: Site, second: Site, proving: bool
) -> None:
    repository = first.device(roles="backup restore")
    link(first, second)
    acknowledged: list[bytes] = []
    for number in range(20 if proving else 3):
        ready, stop = threading.Event(), threading.Event()

        def send(
            taken: list[bytes] = acknowledged,
            ready: threading.Event = ready,
            stop: threading.Event = stop,
        ) -> None:
            sent = Client(repository)
            while not stop.is_set():
                content = os.urandom(50_000)
                try:
                    status = sent.put(content)
                except (OSError, HTTPException):
                    return
                if status == 200:
                    taken.append(content)
                    ready.set()

        senders = [threading.Thread(target=send) for _ in range(3)]
        for sender in senders:
            sender.start()
        assert ready.wait(30)
        if number % 2:
            second.run("vault", "replica", "pull")
        first.kill()
        stop.set()
        for sender in senders:
            sender.join()
        copied = {row[3] for row in second.rows()}
        there = Client(elsewhere(repository, second)) if copied else None
        for name in copied:
            assert there is not None and named(there.ask("GET", f"data/{name}")[1]) == name
        first.start()
    assert second.replica("pull")["complete"]
    Client(repository).assert_whole(acknowledged)
    Client(elsewhere(repository, second)).assert_whole(acknowledged)


def test_a_revoked_credential_and_a_planned_change_of_sites(first: Site, second: Site) -> None:
    repository = first.device(roles="backup restore")
    sent = Client(repository)
    assert sent.put(b"avant") == 200
    identity = link(first, second)
    assert second.replica("pull")["complete"]
    # The credential opens nothing else, and nobody else's opens the feed.
    key = (second.home / "acces.txt").read_text().strip()
    thief = Client(f"rest:http://{key}@localhost:{first.port}/vault/21231/general/")
    assert thief.ask("GET", "data/")[0] == 403
    assert thief.ask("POST", f"data/{named(b'z')}", b"z")[0] == 403
    assert sent.ask("GET", "/vault/21/replica/state")[0] == 403
    assert "credential_sha256" not in thief.ask("GET", "/vault/21/replica/communes")[1].decode()
    assert (second.home / "replica-secret").stat().st_mode & 0o777 == 0o600

    first.ask("vault", "device", "revoke", identity)
    assert sent.put(b"pendant") == 200
    refused = second.run("vault", "replica", "pull")
    assert refused.returncode == 1 and "refuse notre accès" in refused.stderr
    assert len(second.rows()) == 1

    # Another credential, then both sites change places: nothing is lost.
    made = first.replica("authorize", "--name", "Beaune")
    (second.home / "acces.txt").write_text(made["secret"])
    second.replica("remove")
    assert Client(elsewhere(repository, second)).put(b"entre deux") == 403
    secret = str(second.home / "acces.txt")
    second.replica("add", "--from", first.address, "--secret-file", secret)
    key_missing = second.replica("promote", fails=True)
    assert "log-key" in key_missing["detail"]
    shutil.copy(first.home / "log-key", second.home / "log-key")
    done = second.replica("promote")
    assert done["fenced"] and done["complete"] and done["missing_objects"] == 0
    assert done["lag_s"] == 0
    assert sent.put(b"trop tard") == 403
    there = Client(elsewhere(repository, second))
    assert there.put(b"ici") == 200
    there.assert_whole([b"avant", b"pendant", b"ici"])
    # The second is lost for ever: the first takes its place back, knowingly.
    assert "--despite-fence" in first.replica("promote", fails=True)["detail"]
    assert first.replica("promote", "--despite-fence")["epoch"] == 2
    assert sent.put(b"de nouveau") == 200
    verbs = first.python(
        "from souverain.core.models import JournalEntry\n"
        "print(*JournalEntry.objects.values_list('verb', flat=True))"
    ).split()
    for verb in ("authorized", "pulled"):
        assert f"vault.replica_{verb}" in verbs
    assert "vault.fenced" in verbs and "vault.promoted" in verbs


def test_what_was_revoked_there_is_revoked_here_and_the_key_may_be_renounced(
    first: Site, second: Site
) -> None:
    repository = first.device(roles="backup restore")
    assert Client(repository).put(b"acte") == 200
    first.sign()
    link(first, second)
    second.replica("pull")
    there = Client(elsewhere(repository, second))
    assert there.ask("GET", f"data/{named(b'acte')}") == (200, b"acte")
    key = second.ask("vault", "log", "key", "--commune", "21231")
    assert key == first.ask("vault", "log", "key", "--commune", "21231")
    first.ask("vault", "device", "revoke", str(there.id))
    second.replica("pull")
    deadline = time.monotonic() + 5
    while there.ask("GET", f"data/{named(b'acte')}")[0] != 401:
        assert time.monotonic() < deadline
    first.kill()
    second.replica("promote", "--without-log-key")
    assert second.ask("vault", "log", "key", "--commune", "21231") != key
    other = Client(second.device(roles="backup"))
    assert other.put(b"la suite") == 200
    second.sign()
    assert b"\n2\n" in other.ask("GET", "/vault/21231/log/checkpoint")[1]
