"""A town hall's machine from its first day, with the real server and the stock restic."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from souverain.vault import audit
from souverain.vault.agent import lock, receipts
from souverain.vault.agent.place import Place
from souverain.vault.agent.state import Check
from souverain.vault.site import STALE_S
from souverain.vault.tests.conftest import SOURCE, Client, Server, same

CODE = "21231"
KEEP_UP = "from souverain.vault import log\nlog.keep_up()\n"
# As a site that was promoted has them: the reports stay where they were received.
FORGET_DRILLS = (
    "from django.db import connection, transaction\n"
    "from souverain.vault import departure\n"
    "from souverain.vault.models import Drill\n"
    "with transaction.atomic(), departure._guards_lifted():\n"
    "    Drill.objects.all().delete()\n"
)
# The command as a town hall runs it: no settings, no database.
ALONE = (
    "import sys; from souverain.cli import main\n"
    "{prelude}\n"
    "try: main()\n"
    "finally: assert 'django' not in sys.modules, 'Django was started'"
)


class Town:
    """A machine with a deposit set's folder, and documents."""

    def __init__(self, home: Path, address: str) -> None:
        self.home = home
        self.documents = home / "Documents"
        self.folder = home / "coffre-fort" / "general"
        self.folder.mkdir(parents=True)
        (self.documents / "Conseil").mkdir(parents=True)
        (self.documents / "budget.ods").write_bytes(os.urandom(20_000))
        (self.documents / "Conseil" / "Délibération n°4 [été].odt").write_text("adoptée")
        self.address(address)

    def address(self, address: str) -> None:
        file = self.folder / "depot.txt"
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(address + "\n")

    def environment(self, **extra: str) -> dict[str, str]:
        python = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
        told = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "PYTHONPATH": python}
        return {**told, "LANG": "C.UTF-8", **extra}

    def start(self, *words: str | Path, prelude: str = "", **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", ALONE.format(prelude=prelude), "vault", "agent", *words],
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def agent(self, *words: str | Path, status: int = 0, prelude: str = "", **extra: str) -> str:
        """What it prints."""
        process = self.start(*words, prelude=prelude, **extra)
        told, _ = process.communicate(timeout=120)
        assert process.returncode == status, told
        return told

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "etat.json").read_text()))

    def restic(self, *words: str) -> str:
        files = ["--repository-file", "depot.txt", "--password-file", "motdepasse.txt"]
        done = subprocess.run(
            ["restic", *files, *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def secrets(self) -> list[str]:
        address = (self.folder / "depot.txt").read_text()
        found = [address.split("@")[0].rpartition(":")[2]]
        if (self.folder / "motdepasse.txt").exists():
            found.append((self.folder / "motdepasse.txt").read_text().strip())
        return found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that a test may stop, or damage."""
    server = Server(tmp_path_factory.mktemp("agent") / "home")
    server.home.mkdir()
    server.prepare()
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_the_first_day_of_a_machine(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="general"))
    key = own.python(
        f"from souverain.vault import log\nlog.keep_up()\nprint(log.public_key({CODE!r}))"
    )
    assert "Rien n'est encore protégé" in town.agent("status", status=1)
    told = town.agent("setup", "--key", key)
    assert "IMPORTANT" in told and str(town.documents) in told
    drawn = (town.folder / "motdepasse.txt").read_text()
    assert len(drawn.strip()) == 32 and drawn.strip() not in told
    assert {oct(file.stat().st_mode)[-3:] for file in town.folder.iterdir()} == {"600"}
    assert json.loads(town.agent("setup", "--json"))["drew_password"] is False, "typed twice"
    assert (town.folder / "motdepasse.txt").read_text() == drawn

    own.python(KEEP_UP)
    cut = (
        "import os; from souverain.vault.agent import trial; trial.attempt = lambda *_: os._exit(9)"
    )
    town.agent("run", status=9, prelude=cut)
    assert "Protégé" in town.agent("status"), "cut in the drill, the backup is made all the same"
    assert town.state()["finished_at"] and town.state()["trial"] is None
    told = town.agent("run")
    assert "Protégé : 1\xa0dossier, 2\xa0fichiers, dernière sauvegarde aujourd'hui" in told
    assert "reçue et vérifiée par le coffre-fort." in told
    assert town.agent("status") == told
    state = town.state()
    assert state["outcome"] == "complete" and state["check"]["outcome"] == "verified"
    assert state["saved"]["received_at"] and not state["check"]["cosigned"]
    assert "Essai de restauration réussi aujourd'hui" in told, "the first evening tries at once"
    assert state["trial"]["sent"] and state["trial"]["files"] == 2
    drilled = state["trial"]["at"]
    kept = (town.folder / "preuve.json").read_bytes()

    witness = json.loads(town.agent("setup", "--json"))["witness"]
    own.enter(
        *(sys.executable, "-m", "souverain", "vault", "witness", "add"),
        *("--commune", CODE, "--name", "Mairie", "--key", witness),
    )
    before = datetime.now(UTC)
    shutil.copytree(town.documents, tmp_path / "avant")
    (town.documents / "budget.ods").write_bytes(b"chiffre par un rancongiciel" * 100)
    (town.documents / "Conseil" / "2027.odt").write_text("nouveau")
    own.python(KEEP_UP)
    assert json.loads(town.agent("run", "--json"))["state"]["check"]["cosigned"]
    assert (town.folder / "preuve.json").read_bytes() != kept, "the checkpoint advances"
    assert town.state()["trial"]["at"] == drilled, "once a week"
    town.agent("drill")
    assert town.state()["trial"]["at"] > drilled, "or when somebody wants it"
    own.python(FORGET_DRILLS)
    drilled = town.state()["trial"]["at"]
    own.python(KEEP_UP)
    town.agent("run")
    assert town.state()["trial"]["at"] > drilled, (
        "or when this site has none: it took another's place"
    )

    os.utime(town.documents / "budget.ods", (at := 1_783_000_000, at))
    town.agent("run")
    assert "02/07/2026 15:46 " in town.agent("find", "budget"), "as --at takes it, in Paris"
    told = town.agent("find", "DELIBERATION")
    assert f"{town.documents}/Conseil/Délibération n°4 [été].odt" in told
    town.agent("restore", "délibération", "--to", tmp_path / "un")
    (one,) = (tmp_path / "un").iterdir()
    assert one.name == "Délibération n°4 [été].odt" and one.read_text() == "adoptée"
    town.agent("restore", "--to", tmp_path / "tout")
    assert same(town.documents, tmp_path / "tout" / "Documents")
    assert "existe déjà" in town.agent("restore", "--to", tmp_path / "tout", status=1)
    assert same(town.documents, tmp_path / "tout" / "Documents")
    at = before.isoformat()
    town.agent("restore", "--at", at, "--to", tmp_path / "hier")
    assert same(tmp_path / "avant", tmp_path / "hier" / "Documents")
    assert not list(town.folder.glob(".passe*")), "the address of the past does not stay"
    town.agent("restore", f"{town.documents}/Conseil", "budget.ods", "--to", tmp_path / "deux")
    assert {each.name for each in (tmp_path / "deux").iterdir()} == {"Conseil", "budget.ods"}
    early = before - timedelta(days=300)
    told = town.agent("find", "budget", "--at", early.isoformat(), status=1)
    assert "Rien n'était encore sauvegardé" in told
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    told = town.agent("find", "budget", "--at", tomorrow.isoformat(), status=1)
    assert "n'est pas encore arrivé" in told


def test_names_that_would_drive_the_terminal_or_a_pattern(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="noms"))
    odd = ["a\nb.txt", "fin\u202etxt.exe", "rouge\x1b[31m.txt", "[a]*?.txt", "\\.txt", " espace "]
    for number, name in enumerate(odd):
        (town.documents / name).write_text(str(number))
    latin = os.fsencode(town.documents) + b"/d\xe9c\xe8s.txt"
    Path(os.fsdecode(latin)).write_text("latin")
    town.agent("setup")
    town.agent("run")
    told = town.agent("find", ".")
    assert told.count("\n") == 9, "one line each"
    assert all(part in told for part in ("a\\nb.txt", "fin\\u202etxt.exe", "rouge\\x1b[31m.txt"))
    assert not any(each in told for each in ("\x1b", "\u202e"))
    for number, name in enumerate(odd):
        target = tmp_path / f"rendu{number}"
        town.agent("restore", f"{town.documents}/{name}", "--to", target)
        (one,) = target.iterdir()
        assert (one.name, one.read_text()) == (name, str(number))
    town.agent("restore", "d\ufffdc\ufffds.txt", "--to", tmp_path / "latin")
    (one,) = (tmp_path / "latin").iterdir()
    assert os.fsencode(one.name) == b"d\xe9c\xe8s.txt"
    told = town.agent("restore", ".txt", "--to", tmp_path / "rien", status=1)
    assert "plusieurs choses" in told and "\x1b" not in told and "a\\nb.txt" in told
    town.agent("restore", "--to", tmp_path / "tout")
    assert same(town.documents, tmp_path / "tout" / "Documents")


def test_a_full_disk_leaves_no_half_file_at_its_place(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="plein"))
    (town.documents / "scan.pdf").write_bytes(os.urandom(12 << 20))
    town.agent("setup")
    town.agent("run")
    small = tmp_path / "petit"
    small.mkdir()
    mount = f'mount -t tmpfs -o size=6m none {small} && "$@"; echo "code $?"; ls -A {small}'
    done = subprocess.run(
        [
            *("unshare", "--mount", "sh", "-c", mount, "sh"),
            *(sys.executable, "-c", ALONE.format(prelude=""), "vault", "agent"),
            *("restore", "--to", str(small)),
        ],
        env=town.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    told, _, listed = done.stdout.partition("code 1\n")
    assert "Non restauré" in told and "INCOMPLET-" in told, done.stdout + done.stderr
    (left,) = listed.split()
    assert left.startswith("INCOMPLET-")


# Secrets -----------------------------------------------------------------------------------------


def fake_restic(folder: Path, script: str) -> str:
    """A `restic` of a test's own in front of the real one; returns the PATH."""
    folder.mkdir()
    program = folder / "restic"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_secrets_are_on_no_command_line_and_in_no_output(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="secrets"))
    path = fake_restic(
        tmp_path / "bin", f'printf "%s\\n" "$@" >> {tmp_path}/dit; env >> {tmp_path}/dit; '
        'exec /usr/bin/restic "$@"'
    )  # fmt: skip
    extra = {"PATH": path, "RESTIC_PASSWORD": "autre", "RESTIC_REPOSITORY": "/ailleurs"}
    told = town.agent("setup", **extra) + town.agent("run", **extra) + town.agent("status")
    told += town.agent(
        "restore", "budget", "--to", tmp_path / "un", "--at", "today", status=1, **extra
    )
    now = datetime.now(UTC).isoformat()
    told += town.agent("restore", "budget", "--to", tmp_path / "un", "--at", now, **extra)
    told += town.agent("schedule", "--json", **extra)
    told += (tmp_path / "dit").read_text()
    for file in ("etat.json", "agent.toml"):
        told += (town.folder / file).read_text()
    secrets = town.secrets()
    assert len(secrets) == 2 and all(len(each) > 20 for each in secrets)
    assert not [each for each in secrets if each in told]
    assert "RESTIC_PASSWORD" not in told and "--repository-file" in told

    shutil.rmtree(tmp_path / "bin")
    path = fake_restic(
        tmp_path / "bin",
        'case "$*" in version) echo "restic 0.16.0";; *)\n'
        'echo "{\\"message_type\\":\\"error\\",\\"item\\":\\"/$(cat $2)\\"}"\n'
        'echo "Fatal: $(cat $2) $(cat $4)" >&2\necho "{\\"$(cat $4)" \nexit 1;; esac',
    )
    told = town.agent("run", status=1, PATH=path) + town.agent("status", status=1)
    told += town.agent("find", "budget", status=1, PATH=path)
    told += (town.folder / "etat.json").read_text()
    assert "Fatal: rest:http" in told and "***" in told
    assert not [each for each in secrets if each in told]


def test_what_other_accounts_can_read_is_said(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="lisible"))
    (town.folder / "depot.txt").chmod(0o644)
    assert "chmod 600 depot.txt" in town.agent("setup")
    town.agent("run")
    assert "depot.txt est lisible par d'autres comptes" in town.agent("status")
    (town.folder / "depot.txt").chmod(0o600)
    assert "lisible" not in town.agent("status")


# What goes wrong ---------------------------------------------------------------------------------


def test_without_restic(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="sans"))
    (tmp_path / "vide").mkdir()
    told = town.agent("setup", status=1, PATH=str(tmp_path / "vide"))
    assert "Le programme restic manque" in told and "apt install restic" in told
    town.agent("setup")
    town.agent("run", status=1, PATH=str(tmp_path / "vide"))
    told = town.agent("status", status=1)
    assert told.startswith("Échec") and "Le programme restic manque" in told
    path = fake_restic(tmp_path / "vieux", "echo restic 0.9.6 compiled")
    assert "trop ancien" in town.agent("run", status=1, PATH=path)
    town.agent("run")
    assert town.agent("status").startswith("Protégé")


def test_a_setup_that_cannot_be_right_is_refused(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="regler"))
    assert "n'est pas un dossier" in town.agent("setup", tmp_path / "absent", status=1)
    assert not (town.folder / "motdepasse.txt").exists()
    address = (town.folder / "depot.txt").read_text()
    for wrong in ("", "https://exemple.fr", "/un/dossier", "rest:http://a:b@[x/vault/1/2/"):
        town.address(wrong)
        told = town.agent("setup", status=1)
        assert "depot.txt" in told and "Traceback" not in told
    town.address(
        address.replace(":", ":x", 3).replace("rest:x", "rest:").replace("http:x", "http:")
    )
    town.address(address.strip().replace("@", "x@"))
    assert "ne connaît pas cet appareil" in town.agent("setup", status=1)
    town.address(address.strip().replace(f":{own.port}", ":1"))
    assert "ne répond pas" in town.agent("setup", status=1)
    town.address(address.strip())
    assert "--key" in town.agent("setup", "--key", "pas une clé", status=1)
    town.agent("setup")
    (town.folder / "motdepasse.txt").write_text("un autre mot de passe\n")
    assert "n'ouvre pas ce dépôt" in town.agent("setup", status=1)
    assert "n'ouvre pas ce dépôt" in town.agent("run", status=1)
    (town.folder / "motdepasse.txt").unlink()
    assert "apportez son mot de passe" in town.agent("setup", status=1)
    toml = town.folder / "agent.toml"
    assert "--replace" in town.agent("setup", town.documents, status=1)
    toml.write_text(toml.read_text().replace('"20:00"', '"vingt heures"'))
    line = toml.read_text().splitlines().index('heure = "vingt heures"') + 1
    assert f"agent.toml, ligne {line}" in town.agent("run", status=1)
    assert f"agent.toml, ligne {line}" in town.agent("status", status=1)


def test_a_file_that_cannot_be_read_and_a_folder_that_is_gone(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="illisible"))
    (town.home / "Bureau").mkdir()
    (town.home / "Bureau" / "note.txt").write_text("x")
    town.agent("setup")
    (town.documents / "paie\n.xls").write_text("secret")
    (town.documents / "paie\n.xls").chmod(0)
    # Root reads everything, unless it lost the right to.
    caps = "-dac_override,-dac_read_search"
    process = subprocess.run(
        [
            *("setpriv", f"--inh-caps={caps}", f"--bounding-set={caps}"),
            *(sys.executable, "-c", ALONE.format(prelude=""), "vault", "agent", "run"),
        ],
        env=town.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 1, process.stdout
    assert process.stdout.startswith("Incomplet : 1 fichier n'a pas pu être lu")
    assert "paie\\n.xls" in process.stdout and "2\xa0dossiers, 3\xa0fichiers" in process.stdout
    state = town.state()
    assert (state["outcome"], state["unreadable_count"]) == ("incomplete", 1)
    (town.documents / "paie\n.xls").chmod(0o600)
    town.agent("run")
    (town.home / "Bureau").rename(tmp_path / "ailleurs")
    told = town.agent("run", status=1)
    assert told.startswith("Incomplet") and "Bureau » n'est pas là" in told
    town.documents.rename(tmp_path / "ailleurs aussi")
    told = town.agent("run", status=1)
    assert told.startswith("Échec") and "Aucun des dossiers" in told
    assert "1\xa0dossier, 3\xa0fichiers" in told, "the last backup that there is stays told"


def test_a_link_to_a_folder_is_protected_with_what_is_in_it(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="lien"))
    (town.home / "Partage").symlink_to(town.documents)
    town.agent("setup", town.home / "Partage")
    assert "2\xa0fichiers" in town.agent("run")
    # The agent's own folder, with the secrets in it, is never among what is sent.
    town.agent("setup", town.home, "--replace")
    town.agent("run")
    assert "motdepasse" not in town.restic("ls", "latest")


def test_a_cut_line_is_tried_again_and_told(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="coupe"))
    town.agent("setup")
    own.kill()
    quick = "from souverain.vault.agent import backup; backup.WAITS_S = (0.1, 0.1)"
    told = town.agent("run", prelude=quick, status=1)
    assert told.count("Nouvel essai") == 2 and "Vérifiez la connexion" in told
    assert town.agent("status", status=1).startswith("Échec")
    slow = "from souverain.vault.agent import backup; backup.WAITS_S = (1,) * 60"
    process = town.start("run", prelude=slow)
    assert process.stdout
    assert "Nouvel essai" in process.stdout.readline()
    own.start()
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "reçue par le coffre-fort" in told
    assert town.agent("status").startswith("Protégé")


class Line:
    """The line between a machine and the vault, which a test may hold or cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.hold_after: int | None = None
        self.held, self.released = threading.Event(), threading.Event()
        self._sent = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            near = self._listening.accept()[0]
            far = socket.create_connection(("127.0.0.1", self._to))
            self._open += [near, far]
            for source, sink, sends in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=(source, sink, sends), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, sends: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                self._sent += len(chunk) if sends else 0
                if self.hold_after is not None and self._sent > self.hold_after:
                    self.held.set()
                    self.released.wait(100)
                sink.sendall(chunk)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def hold(self, megabytes: int) -> None:
        self.held.clear()
        self.released.clear()
        self._sent, self.hold_after = 0, megabytes << 20

    def release(self) -> None:
        self.hold_after = None
        self.released.set()

    def cut(self) -> None:
        """What is on its way is lost, and the line is there again at once."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.release()


@pytest.fixture
def line(own: Server) -> Iterator[Line]:
    made = Line(own.port)
    yield made
    made.cut()


def on(line: Line, own: Server, tmp_path: Path, scope: str) -> Town:
    """A machine at the end of a line, with 24 MB to send."""
    address = own.device(scope=scope).replace(f":{own.port}/", f":{line.port}/")
    town = Town(tmp_path / "mairie", address)
    (town.documents / "scan.pdf").write_bytes(os.urandom(24 << 20))
    town.agent("setup")
    line.hold(6)
    return town


def test_a_line_that_is_cut_loses_nothing(own: Server, line: Line, tmp_path: Path) -> None:
    town = on(line, own, tmp_path, "coupe-net")
    process = town.start("run")
    assert line.held.wait(60)
    line.cut()
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and told.startswith("Protégé"), told
    town.agent("restore", "--to", tmp_path / "tout")
    assert same(town.documents, tmp_path / "tout" / "Documents")


def test_two_runs_never_overlap(own: Server, line: Line, tmp_path: Path) -> None:
    town = on(line, own, tmp_path, "deux")
    first = town.start("run")
    assert line.held.wait(60)
    assert "déjà en cours" in town.agent("run", status=1)
    assert "Une sauvegarde est en cours" in town.agent("status", status=1)
    line.release()
    assert first.wait(120) == 0
    assert town.restic("snapshots", "--json").count('"short_id"') == 1


def lives(process: str) -> bool:
    """Whether a process does anything still; its parent may be slow to bury it."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_killed_in_the_middle_the_next_run_goes_on(own: Server, line: Line, tmp_path: Path) -> None:
    town = on(line, own, tmp_path, "tue")
    process = town.start("run")
    assert line.held.wait(60)
    (restic,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    # Restic, which the agent had started, notices by itself, and holds the agent's lock until then.
    with lock.alone(town.folder / "verrou", 30):
        assert not lives(restic)
    line.release()
    assert town.agent("status", status=1).startswith("Coupé")
    deadline = time.monotonic() + 60
    while Path(f"/proc/{restic}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = town.agent("run")
    assert told.startswith("Protégé : 1\xa0dossier, 3\xa0fichiers"), told
    assert town.restic("snapshots", "--json").count('"short_id"') == 1
    left = [town.restic("cat", "lock", each) for each in town.restic("list", "locks").split()]
    assert left == [], "no lock stays in the vault"
    town.restic("check", "--read-data")
    town.agent("restore", "--to", tmp_path / "tout")
    assert same(town.documents, tmp_path / "tout" / "Documents")


def test_a_revoked_machine_is_told_so(own: Server, line: Line, tmp_path: Path) -> None:
    town = on(line, own, tmp_path, "revoque")
    process = town.start("run")
    assert line.held.wait(60)
    device = Client((town.folder / "depot.txt").read_text().strip()).id
    own.python(
        "from souverain.core import devices\nfrom souverain.core.models import Device\n"
        f"devices.revoke(Device.objects.get(pk={device!r}))"
    )
    line.release()
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "a été révoqué" in told, told
    assert "a été révoqué" in town.agent("run", status=1)
    assert town.agent("status", status=1).startswith("Échec")
    assert "révoqué" in town.agent("find", "budget", status=1)


def test_a_machine_that_only_backs_up(own: Server, tmp_path: Path) -> None:
    address = own.device(roles="backup", scope="seul")
    town = Town(tmp_path / "mairie", address)
    (town.documents / "scan.pdf").write_bytes(os.urandom(30 << 20))
    town.agent("setup")
    town.agent("run")
    town.agent("restore", "délibération", "--to", tmp_path / "petit")
    told = town.agent("restore", "--to", tmp_path / "tout", status=1)
    assert "ne fait que sauvegarder" in told and "Relire et restaurer" in told
    assert list((tmp_path / "tout").iterdir()) == []
    # The day's allowance is spent, and what restic remembered of the last backup is lost.
    client = Client(address)
    while client.ask("GET", f"data/{client.names()[0]}")[0] == 200:
        pass
    shutil.rmtree(town.home / ".cache")
    (town.documents / "budget.ods").write_text("2027")
    assert town.agent("run").startswith("Protégé")
    restoring = own.device(roles="restore", scope="seul")
    town.address(restoring)
    town.agent("restore", "--to", tmp_path / "rendu")
    assert same(town.documents, tmp_path / "rendu" / "Documents")
    told = town.agent("run", status=1)
    assert "n'a pas le droit de faire ceci" in told and "« Sauvegarder »" in told


def test_a_site_that_another_replaced_says_so(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="replaced"))
    town.agent("setup")
    become = "from django.db import transaction\nfrom souverain.vault import site\n"
    become += "with transaction.atomic(): site.become({!r}, 1)"
    own.python(become.format("fenced"))
    try:
        time.sleep(STALE_S)  # what the server knows of its role is as old as that
        told = town.agent("run", status=1)
    finally:
        own.python(become.format("first"))
    assert "Un autre site a remplacé celui-ci" in told and "corrigez depot.txt" in told


def test_a_machine_switched_off_during_the_weekly_drill_keeps_nothing_restored(
    own: Server, tmp_path: Path
) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="eteint"))
    town.agent("setup")
    pipe = tmp_path / "debut"
    os.mkfifo(pipe)
    program = shutil.which("restic")
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "restic").write_text(
        f'#!/bin/sh\ncase "$*" in *restore*) echo > "{pipe}"; exec sleep 600;; esac\n'
        f'exec "{program}" "$@"\n'
    )
    (slow / "restic").chmod(0o755)
    process = town.start("run", PATH=f"{slow}:/usr/bin:/bin")
    with pipe.open() as waiting:
        waiting.read()
    (left,) = town.folder.glob(".essai-restauration-*")
    assert any(file.is_file() for file in left.rglob("*")), "our own reader restored already"
    process.terminate()
    process.communicate(timeout=60)
    assert not left.exists()
    assert town.agent("run").startswith("Protégé")


# The proof ---------------------------------------------------------------------------------------


def test_an_object_that_the_vault_lost_is_said_loudly(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="perdu"))
    key = own.python(f"from souverain.vault import log\nprint(log.public_key({CODE!r}))")
    town.agent("setup", "--key", key)
    town.agent("run")
    own.python(KEEP_UP)
    (lost,) = [
        file for file in own.folder(scope="perdu").glob("data/*/*") if file.stat().st_size > 9000
    ]
    lost.rename(tmp_path / "lost")
    told = town.agent("run", status=1)
    assert told.startswith("ALERTE") and f"data/{lost.name}" in told
    assert "l'essai de restauration a échoué" in town.agent("drill", status=1)
    assert "Protégé : 1\xa0dossier" in told, "the backup's own result is not hidden"
    assert town.state()["outcome"] == "complete"
    assert town.agent("status", status=1).startswith("ALERTE")
    (tmp_path / "lost").rename(lost)
    own.python(KEEP_UP)
    assert town.agent("run").startswith("Protégé")


def test_what_the_records_never_had_is_no_receipt(own: Server, tmp_path: Path) -> None:
    town = Town(tmp_path / "mairie", own.device(scope="recu"))
    town.agent("setup")
    town.agent("run")
    place = Place(town.folder)
    snapshot = town.state()["saved"]["snapshot"]

    def check() -> tuple[str, str]:
        found, _ = receipts.check(
            place, place.address(), "", snapshot, reads_data=False, progress=lambda *_: None
        )
        return found.outcome, found.message

    assert check()[0] == "received"
    with closing(sqlite3.connect(own.home / "souverain.sqlite3", timeout=20)) as records:
        records.isolation_level = None
        for (name,) in records.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name LIKE 'vault_stored%'"
        ).fetchall():
            records.execute(f"DROP TRIGGER {name}")
        for kind in ("data", "index", "snapshots"):
            ((row,),) = records.execute(
                "SELECT max(o.id) FROM vault_storedobject o JOIN vault_depositset s "
                "ON s.id = o.deposit_set_id WHERE s.code = 'recu' AND o.type = ?",
                [kind],
            ).fetchall()
            records.execute("UPDATE vault_storedobject SET type = 'gone' WHERE id = ?", [row])
            outcome, message = check()
            assert outcome == "failed" and "il manque" in message, kind
            records.execute("UPDATE vault_storedobject SET type = ? WHERE id = ?", [kind, row])
    assert check()[0] == "received"


class Hostile(BaseHTTPRequestHandler):
    """Answers whatever the test wants, as the address of a deposit set of nobody's."""

    answer, status, pause, endless = b"", 200, "", False

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("retry-after", self.pause)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.answer)
            while self.endless:
                self.wfile.write(b" " * (1 << 20))

    do_HEAD = do_POST = do_GET

    def log_message(self, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def hostile(tmp_path: Path, **does: Any) -> Iterator[Town]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("One", (Hostile,), does))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"rest:http://a:b@127.0.0.1:{server.server_port}/vault/{CODE}/general/"
        town = Town(tmp_path / "mairie", address)
        (town.folder / "motdepasse.txt").write_text("x")
        yield town
    finally:
        server.shutdown()
        server.server_close()


def asked(town: Town) -> Check:
    place = Place(town.folder)
    return receipts.check(
        place, place.address(), "", "ab" * 4, reads_data=True, progress=lambda *_: None
    )[0]


@pytest.mark.parametrize(
    "answer", [b"null", b"[1,2]", b"[" * 100_000, b'{"a":1}', b"\xff\x00", b'[["data"]]']
)
def test_a_server_that_answers_anything(tmp_path: Path, answer: bytes) -> None:
    with hostile(tmp_path, answer=answer) as town:
        found = asked(town)
        assert found.outcome == "unknown" and "n'a pas pu se faire" in found.message
        server = audit.Server([(town.folder / "depot.txt").read_text()])
        with pytest.raises(audit.AuditError):
            server.records("general")


def test_a_server_that_never_ends_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("souverain.vault.audit._ANSWER_MAX_BYTES", 8 << 20)
    with hostile(tmp_path, endless=True) as town:
        assert receipts.ask(Place(town.folder).address()).status == 200
        found = asked(town)
        assert found.outcome == "unknown" and "démesurée" in found.message


@pytest.mark.parametrize("pause", ["1000000000", "nan", "-1", "\u00b2", ""])
def test_a_server_that_wants_one_to_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: str
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("souverain.vault.audit.time.sleep", waited.append)
    with hostile(tmp_path, status=503, pause=pause, answer=b"\x1b[31moccup\xe9") as town:
        found = asked(town)
    assert found.outcome == "unknown" and "\x1b" not in found.message
    assert waited and max(waited) <= 30 and min(waited) >= 0
