"""Two real servers, the first and the one that copies it, each in a home of its own."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from souverain.vault.tests.conftest import Server

COMMAND = [sys.executable, "-c", "from souverain.cli import main; main()"]


class Site(Server):
    """A server, its console, and its part in the copy."""

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words], env=self.environment, capture_output=True, text=True, timeout=300
        )

    def ask(self, *words: str, fails: bool = False) -> dict[str, Any]:
        """A command's JSON; its problem when it `fails`."""
        done = self.run(*words, "--json")
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return dict(json.loads(done.stdout or done.stderr))

    def replica(self, *words: str, fails: bool = False) -> dict[str, Any]:
        return self.ask("vault", "replica", *words, fails=fails)

    def sign(self) -> None:
        """What the worker does each minute: the log goes on, and is signed."""
        self.python("from souverain.vault import log\nlog.keep_up()")

    def a_minute_later(self) -> None:
        """The worker's duty, once a minute went by."""
        self.python(
            "from souverain.vault import replica_promotion\n"
            "from souverain.vault.models import ReplicaSource\n"
            "ReplicaSource.objects.update(tried_at=None)\nreplica_promotion.keep_up()"
        )

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def rows(self) -> list[tuple[str, ...]]:
        """Every life of every object, as both sites must say it."""
        with closing(sqlite3.connect(self.home / "souverain.sqlite3", timeout=30)) as database:
            return database.execute(
                "SELECT organisation_id, code, type, name, size, received_at, died_at, device_id"
                " FROM vault_storedobject AS o JOIN vault_depositset AS s ON s.id = deposit_set_id"
                " ORDER BY received_at, died_at, type, name"
            ).fetchall()

    def objects(self) -> set[str]:
        """The files of the store that are objects."""
        root = self.home / "objects" / "vault"
        return {
            path.relative_to(root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and "/locks/" not in path.as_posix()
        }


def template(folder: Path) -> Path:
    """A home with a département and two communes, to be copied."""
    made = Server(folder)
    made.prepare()
    made.python(
        "from souverain.core.models import Organisation\n"
        "Organisation.objects.create(kind='departement', code='21', name='Cote-d Or')"
    )
    return folder


@contextmanager
def started(home: Path, like: Path) -> Iterator[Site]:
    if not home.exists():
        shutil.copytree(like, home)
    made = Site(home)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def link(first: Site, second: Site) -> str:
    """Make the second a copy of the first; returns the id of its credential."""
    made = first.replica("authorize", "--name", "Beaune")
    secret = second.home / "acces.txt"
    secret.write_text(made["secret"] + "\n")
    second.replica("add", "--from", first.address, "--secret-file", str(secret))
    return str(made["id"])


def elsewhere(repository: str, site: Server) -> str:
    """The same address, on another site: only the host changes."""
    head, _, tail = repository.rpartition("@")
    path = tail.partition("/")[2]
    return f"{head}@localhost:{site.port}/{path}"
