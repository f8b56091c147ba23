"""Imports that are killed, that meet, and that are read while they write: on a real home, with
processes of their own, on the database that the run is for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

pytestmark = pytest.mark.db_both


@dataclass
class Home:
    """A home of its own, with its own database."""

    environment: dict[str, str]

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def souverain(self, *arguments: str | Path) -> tuple[int, str, str]:
        return self.run("-m", "souverain", *arguments)

    def records(self) -> dict[str, int]:
        """What another process sees now."""
        code, out, err = self.run("-c", SCRIPT + COUNT)
        assert code == 0, err
        found: dict[str, int] = json.loads(out)
        return found


SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import django
django.setup()
from souverain.core import journal
from souverain.core.access import SYSTEM
from souverain.core.models import JournalEntry
from souverain.territory import services
from souverain.territory.models import Commune, CommuneOutline
"""
COUNT = """
verbs = JournalEntry.objects.values_list("verb", flat=True)
print(json.dumps({
    "communes": Commune.objects.count(),
    "dijon": Commune.objects.get(code="21231").name,
    "outlines": CommuneOutline.objects.count(),
    "sources": CommuneOutline.objects.values("source").distinct().count(),
    "imports": list(verbs).count("territory.outlines_imported"),
    "whole": int(journal.verify().whole),
}))
"""
DIE_WHILE_READING = """
def die(done, total):
    if done == 300:
        os.kill(os.getpid(), signal.SIGKILL)
services.import_outlines(SYSTEM, Path(sys.argv[1]), "21", "", die)
"""
DIE_WHILE_WRITING = """
services.journal.append = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
services.import_outlines(SYSTEM, Path(sys.argv[1]), "21")
"""
DIE_WHILE_LOADING = """
from django.conf import settings
services._put_former = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Commune.objects.filter(code="21231").update(name="Ailleurs")
services.load_departement(SYSTEM, "21", settings.DECOUPAGE)
"""
READ_UNTIL_TOLD = """
from souverain.territory.atlas import atlas
print("ready", flush=True)
seen = set()
while not Path(sys.argv[1]).exists():
    areas = atlas().areas
    real = sum(not area.approximate for area in areas)
    seen.add((len(areas), real, len({area.source for area in areas})))
print(json.dumps(sorted(seen)))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    url = os.environ.get("DATABASE_URL", "")
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(tmp_path / "home"),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    if not url.startswith("postgresql"):
        made = Home({**environment, "DATABASE_URL": ""})
        assert made.souverain("init")[0] == 0
        yield made
        return
    name = f"territory_{uuid4().hex}"
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        made = Home(
            {**environment, "DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
        )
        assert made.souverain("init")[0] == 0
        yield made
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize(
    "death", [DIE_WHILE_READING, DIE_WHILE_WRITING], ids=["reading", "writing"]
)
def test_a_killed_import_leaves_nothing_and_can_be_run_again(
    home: Home, real: Any, death: str
) -> None:
    code, _, _ = home.run("-c", SCRIPT + death, real.path)
    assert code == -signal.SIGKILL
    seen = home.records()
    assert (seen["outlines"], seen["imports"], seen["whole"]) == (0, 0, 1)
    assert home.souverain("territory", "import", "outlines", real.path)[0] == 0
    assert home.records()["outlines"] == 698


def test_a_killed_load_leaves_nothing(home: Home) -> None:
    code, _, _ = home.run("-c", SCRIPT + DIE_WHILE_LOADING)
    assert code == -signal.SIGKILL
    records = home.records()
    assert (records["communes"], records["dijon"], records["whole"]) == (698, "Ailleurs", 1)
    assert home.souverain("territory", "load")[0] == 0
    assert home.records()["dijon"] == "Dijon"


def test_imports_that_meet_are_one_after_the_other_for_every_reader(
    home: Home, real: Any, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    reader = home.start("-c", SCRIPT + READ_UNTIL_TOLD, stop)
    assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    command = ("-m", "souverain", "territory", "import", "outlines", real.path, "--source")
    both = [home.start(*command, source) for source in ("premier", "second")]
    outcomes = [(*process.communicate(timeout=120), process.returncode) for process in both]
    stop.touch()
    seen, error = reader.communicate(timeout=60)
    assert [code for _, _, code in outcomes] == [0, 0], outcomes
    end = home.records()
    assert (end["outlines"], end["sources"], end["imports"], end["whole"]) == (698, 1, 2, 1)
    # Never a map of which a part is of one import and the rest of another state.
    assert reader.returncode == 0, error
    assert {tuple(one) for one in json.loads(seen)} <= {(698, 0, 1), (698, 698, 1)}


@pytest.mark.parametrize(
    ("number", "communes"), [("2a", 124), ("971", 32), ("69", 266), ("75", 1), ("1", 391)]
)
def test_another_departement_from_the_first_command(
    tmp_path: Path, number: str, communes: int
) -> None:
    other = Home(
        {
            **os.environ,
            "DATABASE_URL": "",
            "SOUVERAIN_HOME": str(tmp_path),
            "SOUVERAIN_DEPARTEMENT": number,
        }
    )
    for _ in range(2):
        code, out, err = other.souverain("init", "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["communes"] == communes
        assert told["sign_in_link"], "until somebody has used it"
        assert other.souverain("organisation", "show", number.upper().zfill(2))[0] == 0


def test_a_departement_that_is_none_stops_the_first_command(tmp_path: Path) -> None:
    wrong = Home(
        {
            **os.environ,
            "DATABASE_URL": "",
            "SOUVERAIN_HOME": str(tmp_path),
            "SOUVERAIN_DEPARTEMENT": "20",
        }
    )
    code, _, err = wrong.souverain("init")
    assert code == 1
    assert "Traceback" not in err and "SOUVERAIN_DEPARTEMENT=20" in err
