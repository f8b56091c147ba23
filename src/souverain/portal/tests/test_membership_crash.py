"""Real processes: stock restic reads the export, and an erasure killed anywhere is taken up again."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from souverain.vault.tests.conftest import PRELUDE, Server

INVARIANT = """
from souverain.vault import services as vault
from souverain.vault.models import StoredObject
for row in StoredObject.objects.select_related("deposit_set__organisation"):
    key = vault.object_key(row.deposit_set, row.type, row.name)
    assert vault.store().size(key) == row.size, f"{key} is promised and missing"
"""
ACTORS = """
from souverain.core.access import Actor, SYSTEM
from souverain.core import journal, queries
from souverain.core.models import Organisation
from souverain.portal import leaving, services
from souverain.portal.models import Departure
dijon = Organisation.objects.get(code="21231")
silent = lambda done, total=None, message="": None
def after_the_locks():
    from souverain.core import clock
    from souverain.vault import retention
    from souverain.vault.engine.retention import STEP_MAX
    clock._frozen.set(retention.seen().passes[-1] + STEP_MAX)
"""
KILL = """
import os, signal
def kill_at(owner, name, nth):
    original, calls = getattr(owner, name), [0]
    def counted(*arguments, **keywords):
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)
    setattr(owner, name, counted)
"""


class Town(Server):
    """A cloud with two communes that deposit with stock restic."""

    def restic(self, repository: str, *arguments: str, folder: Path | None = None) -> str:
        environment = {
            **os.environ,
            "RESTIC_REPOSITORY": repository,
            "RESTIC_PASSWORD": "mairie",
            "RESTIC_CACHE_DIR": str(self.home / "restic-cache"),
        }
        done = subprocess.run(
            ["restic", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def deposit(self, code: str, folder: Path) -> str:
        repository = self.device(code, "backup restore prune")
        self.restic(repository, "init")
        for number in range(3):
            (folder / f"registre-{number}.txt").write_bytes(os.urandom(200_000))
            self.restic(repository, "backup", ".", folder=folder)
        return repository

    def interrupted(self, code: str) -> None:
        """Run code in a process of its own that must be killed on its way."""
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + KILL + ACTORS + code],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr

    def fingerprints(self, code: str) -> dict[str, str]:
        root = self.home / "objects" / "vault" / code
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file() and "locks" not in path.parts
        }


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    home = tmp_path / "home"
    home.mkdir()
    made = Town(home)
    made.python(
        "from django.core.management import call_command\n"
        "call_command('migrate', verbosity=0)\n"
        "call_command('createcachetable', verbosity=0)\n"
        "from souverain.portal.tests.conftest import make_town\n"
        "from souverain.portal import services\n"
        "from souverain.core import clock\n"
        "from souverain.core.access import SYSTEM\n"
        "town = make_town()\n"
        "for commune in (town.dijon, town.beaune):\n"
        "    membership = services.ask(SYSTEM, commune, ['vault'])\n"
        "    services.join(SYSTEM, membership, clock.today())\n"
    )
    made.start()
    yield made
    made.kill()


EXPORT = """
departure = services.leave(SYSTEM, services.current(dijon))
leaving.export_commune(silent, departure=departure.pk)
departure.refresh_from_db()
print(leaving.archive_of(departure))
"""
BEGIN = """
from souverain.core.models import Job
departure = Departure.objects.get()
Job.objects.all().update(state="done")
services.acknowledge(SYSTEM, departure)
assert services.erase(Actor("user", "999"), departure) is None
from souverain.portal.tests.conftest import let_the_locks_run
let_the_locks_run()
"""
ERASE = "after_the_locks()\nleaving.erase_commune(silent, departure=Departure.objects.get().pk)\n"
# A job killed by the machine is told interrupted by the worker; the page offers to go on.
RESUME = """
from souverain.core.models import Job
Job.objects.all().update(state="interrupted")
after_the_locks()
services.erase(Actor("user", "999"), Departure.objects.get())
"""
PROVED = """
import json
departure = Departure.objects.select_related("membership").get()
assert departure.membership.state == "left"
assert leaving.fault_in_proof(departure.proof) is None
assert journal.verify().whole
items = {i["title"]: i for answer in departure.proof["erased"] for i in answer["items"]}
print(json.dumps(items["Objets chiffrés"]))
"""
KILLED_AT = {
    "in the export": "kill_at(leaving._Archive, 'add', 12)",
    "while records are forgotten": "kill_at(leaving.User, 'save', 1)",
    "just before the records are committed": "kill_at(leaving, 'asdict', 2)",
    "before the first file": "kill_at(store.files, 'unlink', 1)",
    "among the files": "kill_at(store.files, 'unlink', 9)",
    "before the export goes": "kill_at(leaving, 'destroy_export', 1)",
    "before the seal": "kill_at(leaving, '_seal', 1)",
    "inside the seal": "kill_at(leaving.events, 'emit', 1)",
}


def test_stock_restic_reads_the_export_without_us(town: Town, tmp_path: Path) -> None:
    source = tmp_path / "mairie"
    source.mkdir()
    repository = town.deposit("21231", source)
    town.restic(repository, "forget", "--keep-last", "1", "--prune", folder=source)
    archive = Path(town.python(ACTORS + EXPORT))
    town.kill()
    unpacked = tmp_path / "rendu"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(unpacked)
    plain = str(unpacked / "vault/general/repository")
    checked = town.restic(plain, "check", "--read-data")
    assert "no errors were found" in checked
    assert len(json.loads(town.restic(plain, "snapshots", "--json"))) == 1
    back = tmp_path / "retour"
    town.restic(plain, "restore", "latest", "--target", str(back))
    subprocess.run(["diff", "-r", str(source), str(back)], check=True)
    # What the commune had deleted is beside: laid over, it gives the older deposits back.
    subprocess.run(["cp", "-rn", f"{unpacked}/vault/general/deleted/.", plain], check=True)
    assert len(json.loads(town.restic(plain, "snapshots", "--json"))) == 3
    assert "no errors were found" in town.restic(plain, "check", "--read-data")


def test_an_erasure_killed_anywhere_is_taken_up_again(town: Town, tmp_path: Path) -> None:
    """One erasure, killed in turn at each point; then it ends, and its proof counts everything."""
    for code in ("21231", "21054"):
        (tmp_path / code).mkdir()
    town.deposit("21231", tmp_path / "21231")
    beaunes = town.deposit("21054", tmp_path / "21054")
    beaune = town.fingerprints("21054")
    dijon = town.fingerprints("21231")
    points = {name: f"{code}\n" for name, code in KILLED_AT.items()}

    town.python(ACTORS + "services.leave(SYSTEM, services.current(dijon))")
    export = "leaving.export_commune(silent, departure=Departure.objects.get().pk)\n"
    town.interrupted(points.pop("in the export") + export)
    town.python(INVARIANT + ACTORS + export + BEGIN)

    before_commit = {"while records are forgotten", "just before the records are committed"}
    for name, code in points.items():
        stored = "from souverain.vault.services import store as open_\nstore = open_()\n"
        town.interrupted(stored + code + ERASE)
        town.python(INVARIANT + ACTORS + RESUME)
        if name in before_commit:
            assert town.fingerprints("21231") == dijon, name
        assert town.fingerprints("21054") == beaune, name

    proved = json.loads(town.python(ACTORS + ERASE + PROVED))
    names = sorted(f"vault/21231/{name}" for name in dijon)
    assert proved["count"] == len(dijon)
    assert proved["sha256"] == hashlib.sha256("\n".join(names).encode()).hexdigest()
    assert town.fingerprints("21231") == {}
    assert town.fingerprints("21054") == beaune
    assert not (town.home / "departures" / "1").exists()
    assert "no errors were found" in town.restic(beaunes, "check", "--read-data")
