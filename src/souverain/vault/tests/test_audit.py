"""A dishonest administrator against `souverain vault audit`: every change is found.

The administrator here owns the machine: the files, the database with its triggers dropped, and the
log's own signing key. The auditor has the commune's device, an older checkpoint and the log's key.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from souverain.vault import audit
from souverain.vault.engine import stamp
from souverain.vault.engine.tlog import note, tiles, tree
from souverain.vault.engine.tlog.leaves import Leaf
from souverain.vault.tests.conftest import Client, Server, named
from souverain.vault.tests.tsa import authority

CODE = "21231"
KEEP_UP = "from souverain.vault import log\nlog.keep_up()\n"
Undo = Callable[[], object]


class Vault:
    """A small deployment, with an auditor outside and root inside."""

    def __init__(self, server: Server) -> None:
        self.server, self.home = server, server.home
        self.address = server.device(CODE, "backup restore prune")
        self.client = Client(self.address)
        assert self.client.ask("POST", "?create=true")[0] == 200
        assert self.client.ask("POST", "config", b"a config")[0] == 200
        for number in range(4):
            self.put("data", b"early %d" % number * 20)
        gone = self.put("data", b"deleted by the commune")
        self.put("keys", b"a key")
        self.keep_up()
        key = server.python(f"from souverain.vault import log\nprint(log.public_key({CODE!r}))")
        self.key = note.Key.parse(key)
        self.old = self.keep(audit.Kept(self.key))
        self.folder_before = self.copy("before")
        self.put("data", b"late")
        self.put("snapshots", b"a snapshot")
        assert self.client.ask("DELETE", f"data/{gone}")[0] == 200
        self.keep_up()
        with self.database() as database:
            for (name,) in database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'vault_%'"
            ).fetchall():
                database.execute(f"DROP TRIGGER {name}")

    def put(self, kind: str, content: bytes) -> str:
        assert self.client.ask("POST", f"{kind}/{named(content)}", content)[0] == 200
        return named(content)

    def keep_up(self) -> None:
        self.server.python(KEEP_UP)

    def audit(self, kept: audit.Kept, *others: note.Note) -> audit.Report:
        return audit.audit(
            audit.Server([self.address]),
            kept,
            others,
            now=datetime.now(UTC),
            chosen=lambda living: living,
        )

    def keep(self, kept: audit.Kept) -> audit.Kept:
        report = self.audit(kept)
        assert report.findings == []
        return audit.Kept(kept.key, report.seen, datetime.now(UTC))

    def database(self) -> Any:
        connection = sqlite3.connect(self.home / "souverain.sqlite3", timeout=20)
        connection.isolation_level = None
        return closing(connection)

    def copy(self, name: str) -> Path:
        """All that root could put back later."""
        copy = self.home.with_name(f"{self.home.name}-{name}")
        shutil.copytree(self.home / "objects", copy / "objects")
        with self.database() as source, closing(sqlite3.connect(copy / "database")) as target:
            source.backup(target)
        return copy

    def put_back(self, copy: Path) -> None:
        shutil.rmtree(self.home / "objects")
        shutil.copytree(copy / "objects", self.home / "objects")
        with self.database() as target, closing(sqlite3.connect(copy / "database")) as source:
            source.backup(target)

    @property
    def log(self) -> Path:
        return self.home / "objects" / "log" / CODE

    def checkpoint(self) -> note.Checkpoint:
        return note.Checkpoint.parse(note.Note.parse((self.log / "checkpoint").read_bytes()).text)

    def leaves(self) -> list[Leaf]:
        size = self.checkpoint().size
        content = (self.log / f"tile/entries/000.p/{size}").read_bytes()
        return [Leaf.parse(entry) for entry in tiles.unpack_entries(content, size)]

    def fork(self, leaves: list[Leaf]) -> Undo:
        """Publish another history, signed with the log's real key; records say it too."""
        copy = self.log.with_name("log-copy")
        shutil.copytree(self.log, copy)
        hashes = [tree.leaf_hash(bytes(leaf)) for leaf in leaves]
        for level, content in (
            ("entries", tiles.pack_entries(map(bytes, leaves))),
            ("0", tiles.pack(hashes)),
        ):
            file = self.log / f"tile/{level}/000.p/{len(leaves)}"
            file.write_bytes(content)
        frontier = tree.Frontier()
        frontier.add(hashes)
        text = str(note.Checkpoint(self.key.name, len(leaves), frontier.root()))
        secret = Ed25519PrivateKey.from_private_bytes(
            bytes.fromhex((self.home / "log-key").read_text())
        )
        signed = note.Note(text, (note.sign(text, self.key.name, secret),))
        (self.log / "checkpoint").write_text(str(signed))

        def undo() -> None:
            shutil.rmtree(self.log)
            copy.rename(self.log)

        return undo


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    server = Server(tmp_path_factory.mktemp("audited") / "home")
    server.home.mkdir()
    server.prepare()
    server.start()
    try:
        yield Vault(server)
    finally:
        server.kill()


# What root may do, one thing at a time: each returns what takes it back -----------------------------


def _file(vault: Vault, chance: random.Random, root: Path) -> Undo:
    """Delete, cut, lengthen or swap one file."""
    file = chance.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    content = file.read_bytes()
    at = chance.randrange(len(content))
    other = bytes([content[at] ^ (1 << chance.randrange(8))])
    changed = chance.choice(
        [None, content[:at], content + b"\0", content[:at] + other + content[at + 1 :]]
    )
    if changed is None:
        file.unlink()
    else:
        file.write_bytes(changed)
    return lambda: file.write_bytes(content)


def store_file(vault: Vault, chance: random.Random) -> Undo:
    return _file(vault, chance, vault.home / "objects" / "vault" / CODE)


def log_file(vault: Vault, chance: random.Random) -> Undo:
    """One of the files that the last checkpoint needs; former partial tiles are nobody's need."""
    size = vault.checkpoint().size
    needed = vault.home.with_name("needed")
    shutil.rmtree(needed, ignore_errors=True)
    name = chance.choice(["checkpoint", f"tile/0/000.p/{size}", f"tile/entries/000.p/{size}"])
    file = vault.log / name
    content = file.read_bytes()
    (needed / "one").mkdir(parents=True)
    (needed / "one" / "file").write_bytes(content)
    _file(vault, chance, needed)
    changed = needed / "one" / "file"
    if changed.exists():
        file.write_bytes(changed.read_bytes())
    else:
        file.unlink()
    return lambda: file.write_bytes(content)


_ROW = "id, deposit_set_id, type, name, size, received_at, died_at, device_id, session_id"


def record(vault: Vault, chance: random.Random) -> Undo:
    """Delete, change or add one row of the records."""
    with vault.database() as database:
        rows = database.execute(f"SELECT {_ROW} FROM vault_storedobject").fetchall()
        row = chance.choice(rows)
        columns = _ROW.split(", ")
        told = dict(zip(columns, row, strict=True))
        born = datetime.fromisoformat(told["received_at"])
        shifted = born + timedelta(seconds=chance.choice([-1, 1]) * chance.randrange(1, 10**7))
        change: dict[str, Any] = chance.choice(
            [
                {"name": hashlib.sha256(row[3].encode()).hexdigest()},
                {"size": told["size"] + 1},
                {"type": "index"},
                {"received_at": str(shifted)},
                {"died_at": None if told["died_at"] else str(born + timedelta(microseconds=1))},
                {"deposit_set_id": 10**6},
                {"gone": True},
                {"more": True},
            ]
        )
        database.execute("PRAGMA foreign_keys = OFF")
        if "gone" in change:
            database.execute("DELETE FROM vault_storedobject WHERE id = ?", [row[0]])
        elif "more" in change:
            other = told | {"id": 10**9, "name": named(b"slipped in"), "died_at": None}
            other["received_at"] = str(born - timedelta(days=1))
            database.execute(
                f"INSERT INTO vault_storedobject ({_ROW}) VALUES (?,?,?,?,?,?,?,?,?)",
                list(other.values()),
            )
        else:
            ((column, value),) = change.items()
            database.execute(
                f"UPDATE vault_storedobject SET {column} = ? WHERE id = ?", [value, row[0]]
            )

    def undo() -> None:
        with vault.database() as database:
            database.execute("DELETE FROM vault_storedobject WHERE id IN (?, ?)", [row[0], 10**9])
            database.execute(
                f"INSERT INTO vault_storedobject ({_ROW}) VALUES (?,?,?,?,?,?,?,?,?)", row
            )

    return undo


def old_checkpoint(vault: Vault, chance: random.Random) -> Undo:
    """Serve again a checkpoint that the log did sign, with the files that it had."""
    file = vault.log / "checkpoint"
    content = file.read_bytes()
    size = chance.randrange(1, vault.old.checkpoint.size)  # type: ignore[union-attr]
    leaves = vault.leaves()[:size]
    undo = vault.fork(leaves)
    assert file.read_bytes() != content
    return undo


def fork(vault: Vault, chance: random.Random) -> Undo:
    """Rewrite one leaf of before the auditor's checkpoint, and all that the log made of it."""
    leaves = vault.leaves()
    index = chance.randrange(vault.old.checkpoint.size)  # type: ignore[union-attr]
    leaf = leaves[index]
    change: dict[str, Any] = chance.choice(
        [{"size": leaf.size + 1}, {"event": "death"}, {"object": leaf.object._replace(set="other")}]
    )
    leaves[index] = replace(leaf, **change)
    return vault.fork(leaves)


def clock(vault: Vault, chance: random.Random) -> Undo:
    """Date what came last a year away, in the records and in the log, with the real key."""
    leaves = vault.leaves()
    days = chance.choice([-365, 365])
    moved = leaves[-1].instant + timedelta(days=days, seconds=chance.randrange(1000))
    at = moved.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    before, leaves[-1] = leaves[-1], replace(leaves[-1], at=at)
    with vault.database() as database:
        (died,) = database.execute(
            "SELECT died_at FROM vault_storedobject WHERE name = ?", [before.object.name]
        ).fetchone()
        database.execute(
            "UPDATE vault_storedobject SET died_at = ? WHERE name = ?",
            [str(moved.replace(tzinfo=None)), before.object.name],
        )
    unfork = vault.fork(leaves)

    def undo() -> None:
        unfork()
        with vault.database() as database:
            database.execute(
                "UPDATE vault_storedobject SET died_at = ? WHERE name = ?",
                [died, before.object.name],
            )

    return undo


# With the log's key alone, an auditor finds these; the two others need an older checkpoint.
ALWAYS = (store_file, log_file, record, clock)
WITH_A_CHECKPOINT = (old_checkpoint, fork)
EXPECTED = {
    store_file: {"missing", "swapped"},
    log_file: {"log", "forged", "rewound"},
    record: {"missing", "swapped", "unlogged", "revived"},
    clock: {"clock", "log"},
    old_checkpoint: {"rewound"},
    fork: {"forked"},
}


def test_every_single_change_is_found(vault: Vault, proving: bool) -> None:
    count = 10_000 if proving else 300
    chance = random.Random(20261127)
    kinds = (*ALWAYS, *WITH_A_CHECKPOINT)
    missed = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        undo = kind(vault, chance)
        report = vault.audit(vault.old)
        if not EXPECTED[kind] & {found.kind for found in report.findings}:
            missed.append((number, kind.__name__, report.findings))
        undo()
        if number % 50 == 0:
            assert vault.audit(vault.old).findings == [], kind.__name__
    assert missed == []


@pytest.mark.parametrize("kind", ALWAYS)
def test_these_need_no_older_checkpoint(
    vault: Vault, kind: Callable[[Vault, random.Random], Undo]
) -> None:
    chance = random.Random(7)
    for _ in range(10):
        undo = kind(vault, chance)
        found = not vault.audit(audit.Kept(vault.key)).ok
        undo()
        assert found


def test_everything_put_back_as_it_was_is_a_rewind(vault: Vault) -> None:
    """Files, records and log of an earlier day: whole and true, but for who kept what came after."""
    now = vault.keep(vault.old)
    current = vault.copy("now")
    vault.put_back(vault.folder_before)
    try:
        assert vault.audit(audit.Kept(vault.key)).ok, "nothing shows to who kept nothing"
        assert [found.kind for found in vault.audit(now).findings] == ["rewound"]
    finally:
        vault.put_back(current)
    assert vault.audit(now).ok


def test_two_histories_are_found_when_two_witnesses_compare(vault: Vault) -> None:
    """Each witness alone is shown a whole history that begins with its own checkpoint: only the
    checkpoint of the other shows that there are two."""
    truth = vault.keep(vault.old)
    leaves = vault.leaves()
    late = next(number for number, leaf in enumerate(leaves) if leaf.object.type == "snapshots")
    with vault.database() as database:
        (born,) = database.execute(
            "SELECT received_at FROM vault_storedobject WHERE type = 'snapshots'"
        ).fetchone()
        moved = datetime.fromisoformat(born) + timedelta(microseconds=1)
        database.execute(
            "UPDATE vault_storedobject SET received_at = ? WHERE type = 'snapshots'", [str(moved)]
        )
    at = moved.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    leaves[late] = replace(leaves[late], at=at)
    unfork = vault.fork(leaves)
    try:
        assert vault.audit(vault.old).findings == [], "a fork after the checkpoint, well made"
        assert truth.note is not None
        found = vault.audit(vault.old, truth.note).findings
        assert [finding.kind for finding in found] == ["forked"]
    finally:
        unfork()
        with vault.database() as database:
            database.execute(
                "UPDATE vault_storedobject SET received_at = ? WHERE type = 'snapshots'", [born]
            )
    assert vault.audit(vault.old).findings == []


def test_a_record_without_a_leaf_is_told_when_it_has_had_time(vault: Vault) -> None:
    vault.put("data", b"not in the log yet")
    assert vault.audit(vault.old).findings == []
    report = audit.audit(
        audit.Server([vault.address]),
        vault.old,
        now=datetime.now(UTC) + timedelta(minutes=11),
        chosen=lambda living: [],
    )
    assert [found.kind for found in report.findings] == ["unlogged"]
    vault.keep_up()
    assert vault.audit(vault.old).findings == []


def test_another_key_signs_nothing(vault: Vault) -> None:
    other = note.Key.of(vault.key.name, Ed25519PrivateKey.generate())
    assert [found.kind for found in vault.audit(audit.Kept(other)).findings] == ["forged"]


def test_the_log_is_for_the_commune_alone(vault: Vault) -> None:
    stranger = Client(vault.server.device("21054"))
    for path in ("checkpoint", "tile/0/000.p/1", "records/general", "timestamps/"):
        assert stranger.ask("GET", f"/vault/{CODE}/log/{path}")[0] == 403
        assert vault.client.ask("GET", f"/vault/{CODE}/log/{path}")[0] in (200, 404)
    backup = Client(vault.server.device(CODE, "backup", "etat-civil"))
    assert backup.ask("GET", f"/vault/{CODE}/log/checkpoint")[0] == 200
    for path in ("../../21054/log/checkpoint", "tile/0/../../checkpoint", "log-key", "%00"):
        assert backup.ask("GET", f"/vault/{CODE}/log/{path}")[0] in (400, 403, 404)
    assert backup.ask("DELETE", f"/vault/{CODE}/log/checkpoint")[0] == 405
    assert backup.ask("POST", f"/vault/{CODE}/log/checkpoint", b"x")[0] == 405


# The command -------------------------------------------------------------------------------------


def souverain(*arguments: str | Path, status: int = 0) -> str:
    """The command as a commune runs it: no settings, no database, no home."""
    environment = {
        name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LANG")
    }
    script = (
        "import sys; from souverain.cli import main\n"
        "try: main()\n"
        "finally: assert 'django' not in sys.modules, 'Django was started'"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "vault", "audit", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_command_keeps_what_it_found_right_and_a_witness_signs(
    vault: Vault, tmp_path: Path
) -> None:
    kept, repository, key = tmp_path / "kept", tmp_path / "depot.txt", tmp_path / "temoin"
    repository.write_text(vault.address + "\n")
    command = ("--checkpoint", kept, "--repository-file", repository)
    assert "--key" in souverain(*command, status=2)
    told = json.loads(souverain(*command, "--key", str(vault.key), "--read-data", "--json"))
    assert told["ok"] and told["living"] >= 8 and told["read_bytes"] > 0
    text = souverain(*command, "--cosign", key, status=1)
    (witness,) = re.findall(r"\S+\+[0-9a-f]{8}\+\S+", text)
    assert note.Key.parse(witness).kind == note.COSIGNATURE
    assert oct(key.stat().st_mode)[-3:] == "600"
    vault.server.enter(
        *(sys.executable, "-m", "souverain", "vault", "witness", "add"),
        *("--commune", CODE, "--name", "Mairie", "--key", witness),
    )
    assert "Le témoin a signé" in souverain(*command, "--cosign", key)
    served = note.Note.parse((vault.log / "checkpoint").read_bytes())
    (line,) = [each for each in served.signatures if each.name.startswith(CODE)]
    assert note.cosigned_at(served.text, line, note.Key.parse(witness))
    assert "a signé" in souverain(*command, "--cosign", key), "twice is once"
    content = kept.read_bytes()
    snapshot = next((vault.home / "objects/vault" / CODE / "general/snapshots").iterdir())
    bytes_ = snapshot.read_bytes()
    snapshot.write_bytes(b"x" * len(bytes_))
    assert "n'a plus les octets" in souverain(*command, "--cosign", key, status=1)
    snapshot.write_bytes(bytes_)
    assert kept.read_bytes() == content
    vault.put("data", b"a month later")
    vault.keep_up()
    fresh = note.Note.parse((vault.log / "checkpoint").read_bytes())
    assert len(fresh.signatures) == 1, "a cosignature is of one checkpoint"
    assert "Tout est juste" in souverain(*command, "--cosign", key, "--against", kept)


def test_a_copy_of_the_folder_is_audited_too(vault: Vault, tmp_path: Path) -> None:
    copy, kept = tmp_path / "copy", tmp_path / "kept"
    shutil.copytree(vault.home / "objects", copy)
    command = ("--checkpoint", kept, "--folder", copy, "--read-data")
    assert "Tout est juste" in souverain(*command, "--key", str(vault.key))
    stray = copy / "vault" / CODE / "general" / "keys" / named(b"a key nobody deposited")
    stray.write_bytes(b"a key nobody deposited")
    assert "sans être dans le registre" in souverain(*command, status=1)
    stray.unlink()
    next((copy / "vault" / CODE / "general/keys").iterdir()).unlink()
    assert "manque" in souverain(*command, status=1)


@pytest.mark.parametrize("content", ["", "{}", '{"key": 1}', "[]"])
def test_a_checkpoint_file_that_is_none_is_refused(
    vault: Vault, tmp_path: Path, content: str
) -> None:
    kept, repository = tmp_path / "kept", tmp_path / "depot.txt"
    kept.write_text(content)
    repository.write_text(vault.address)
    assert "point de contrôle" in souverain(
        "--checkpoint", kept, "--repository-file", repository, status=1
    )


# Timestamps, months, departures ------------------------------------------------------------------


def test_what_an_authority_stamped_binds_the_log_and_its_dates(
    vault: Vault, tmp_path: Path
) -> None:
    folder = vault.log / "timestamps"
    signed = (vault.log / "checkpoint").read_text().split("\n\n")
    content = (signed[0] + "\n\n" + signed[1].splitlines()[0] + "\n").encode()
    headers = {"content-type": "application/timestamp-query"}
    with authority(tmp_path / "tsa") as tsa:
        query = stamp.request(content, 1)
        answer = requests.post(tsa.url, query, headers=headers, timeout=10).content
    folder.mkdir()
    try:
        for day in ("2026-01-01", "2026-01-02"):
            (folder / f"{day}.checkpoint").write_bytes(content)
            (folder / f"{day}.tsr").write_bytes(answer)
        report = vault.audit(vault.old)
        assert (report.findings, report.stamps) == ([], 2)
        token = folder / "2026-01-01.tsr"
        for bad in (b"", answer[:-1], answer[:-20] + bytes(20)):
            token.write_bytes(bad)
            assert [found.kind for found in vault.audit(vault.old).findings] == ["stamp"]
        token.unlink()
        assert [found.kind for found in vault.audit(vault.old).findings] == ["stamp"]
        token.write_bytes(answer)
        # Root moves the clock of the last leaf by three hours, well within the auditor's tolerance
        # of its own past, but the authority had seen the log before.
        leaves = vault.leaves()
        at = leaves[-1].instant + timedelta(hours=3)
        leaves[-1] = replace(leaves[-1], at=at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        undo = vault.fork(leaves)
        shutil.copytree(vault.log.with_name("log-copy") / "timestamps", folder, dirs_exist_ok=True)
        kinds = {found.kind for found in vault.audit(audit.Kept(vault.key)).findings}
        undo()
        assert kinds >= {"forked", "clock"}
    finally:
        shutil.rmtree(folder)


def test_a_witness_away_for_a_month_goes_on_from_where_it_was(vault: Vault) -> None:
    """Hundreds of leaves later, the partial tiles that it knew have given way to whole ones."""
    away = vault.keep(vault.old)
    for number in range(3):
        name = vault.put("data", b"night %d" % number)
        for _ in range(50):
            assert vault.client.ask("DELETE", f"data/{name}")[0] == 200
            vault.put("data", b"night %d" % number)
        vault.keep_up()
    assert vault.checkpoint().size > 300
    assert not list((vault.log / "tile/0/000.p").glob("*"))
    assert vault.keep(away).checkpoint != away.checkpoint


REAP = """
from datetime import timedelta
from souverain.core import access, clock
from souverain.vault import retention
start = clock.now()
retention.reap(access.SYSTEM)
for days in range(3, 3 * {passes} + 1, 3):
    with clock.frozen(start + timedelta(days=days)):
        retention.reap(access.SYSTEM)
"""


def test_an_honest_reaping_is_no_finding_and_a_silent_one_is(tmp_path: Path) -> None:
    """What was deleted leaves after its lock; another that was deleted later, and was there before,
    is still read. The bytes of that one then leave without a leaf."""
    server = Server(tmp_path / "home")
    server.home.mkdir()
    server.prepare()
    server.start()
    try:
        vault = Vault(server)
        young = vault.put("data", b"deleted a month later")
        server.python(
            "from datetime import timedelta\nfrom souverain.core import clock\n"
            "from souverain.core.models import Device\nfrom souverain.vault import services\n"
            "device = Device.objects.get()\n"
            "with clock.frozen(clock.now() + timedelta(days=40)):\n"
            f"    assert services.bury_object(services.set_of(device), 'data', {young!r}, device)"
        )
        vault.keep_up()

        def at(days: int) -> audit.Report:
            now = datetime.now(UTC) + timedelta(days=days)
            return audit.audit(
                audit.Server([vault.address]),
                vault.old,
                now=now,
                chosen=lambda living: living if days % 2 else [],
            )

        assert at(41).findings == []
        folder = server.home / "objects" / "vault" / CODE
        gone = folder / "general" / "data"
        before = {path.name for path in gone.rglob("*") if path.is_file()}
        server.python(REAP.format(passes=31))
        left = before - {path.name for path in gone.rglob("*") if path.is_file()}
        assert len(left) == 1 and young not in left
        assert at(93).findings == [], "reaped a moment ago: the leaf is to come"
        vault.keep_up()
        assert [leaf.event for leaf in vault.leaves()].count("reaped") == 1
        assert at(93).findings == [] and at(94).findings == []
        (young_file,) = gone.rglob(young)
        young_file.unlink()
        assert [found.kind for found in at(93).findings] == ["missing"]
        assert [found.kind for found in at(94).findings] == ["missing"]
        with vault.database() as database:
            at_ = database.execute("SELECT MAX(reaped_at) FROM vault_storedobject").fetchone()[0]
            later = str(datetime.fromisoformat(at_) + timedelta(microseconds=5))
            database.execute(
                "UPDATE vault_storedobject SET reaped_at = ? WHERE name = ?", [later, young]
            )
        assert "unlogged" in {found.kind for found in at(94).findings}, "a record without its leaf"
    finally:
        server.kill()


def test_the_log_leaves_with_the_commune(vault: Vault) -> None:
    """Last: it takes the deployment apart."""
    told = vault.server.python(
        "from souverain.vault import departure\nfrom django.db import transaction\n"
        f"found = departure.export({CODE!r})\n"
        "files = list(found.files)\n"
        "assert len(files) == found.file_count\n"
        "for file in files:\n"
        "    assert sum(map(len, file.chunks())) == file.size, file\n"
        "assert sum(file.size for file in files) == found.file_bytes\n"
        "print([file.path for file in files if file.path.startswith('log/')])\n"
        f"with transaction.atomic(): departure.end({CODE!r})\n"
        + REAP.format(passes=31)
        + f"with clock.frozen(start + timedelta(days=93)), transaction.atomic():\n"
        f"    departure.forget({CODE!r})\n"
        f"departure.sweep({CODE!r})"
    )
    assert "log/checkpoint" in told
    assert not vault.log.exists()
