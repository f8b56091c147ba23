"""Restore drills against a real server, with the stock restic: what they find, what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from souverain.vault import drill, drill_remote, witness
from souverain.vault.audit import AuditError
from souverain.vault.drill_folder import PREFIX
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import Report
from souverain.vault.engine.restic.repository import Repository
from souverain.vault.tests.conftest import Client, Server, restic

SOURCE = str(Path(__file__).resolve().parents[3])
READ = "from souverain.vault.models import Drill\nfrom souverain.vault import drills\n"


class Town:
    """A machine of the town hall: its documents, its deposit set, its folder."""

    def __init__(self, server: Server, home: Path, scope: str) -> None:
        self.server, self.home, self.scope = server, home, scope
        self.documents = home / "mairie"
        self.folder = home / "coffre-fort"
        self.folder.mkdir(parents=True, mode=0o700)
        for number in range(30):
            path = self.documents / f"{1990 + number % 7}" / f"acte n° {number} [é*?].txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"acte {number}\n".encode() * (200 + 97 * number))
        (self.documents / "plan.bin").write_bytes(os.urandom(3 << 20))
        self.address = server.device(roles="backup restore", scope=scope)
        self.use(self.address)
        (self.folder / "motdepasse.txt").write_text("mot de passe\n")
        restic(self.address, home, "init")
        self.backup()

    def use(self, address: str) -> None:
        (self.folder / "depot.txt").write_text(address + "\n")

    def backup(self) -> None:
        restic(self.address, self.home, "backup", "mairie")

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "souverain", "vault", "drill"),
            *("--repository-file", str(self.folder / "depot.txt")),
            *("--password-file", str(self.folder / "motdepasse.txt"), "--json", *arguments),
        ]

    def drill(
        self, *arguments: str, passes: bool | None = True, **environment: str
    ) -> dict[str, Any]:
        done = subprocess.run(
            self.command(*arguments),
            env={**os.environ, "PYTHONPATH": SOURCE, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert passes is None or (done.returncode == 0) == passes, done.stdout + done.stderr
        assert "mot de passe\n" not in done.stdout + done.stderr
        assert not self.left()
        return dict(json.loads(done.stdout or done.stderr))

    def left(self) -> list[Path]:
        return sorted(self.folder.glob(f"{PREFIX}*"))

    def kept(self) -> list[dict[str, Any]]:
        """The reports that the server keeps of this set, oldest first."""
        return list(
            json.loads(
                self.server.python(
                    f"{READ}import json\n"
                    f"rows = Drill.objects.filter(deposit_set__code={self.scope!r}).order_by('pk')\n"
                    "print(json.dumps([{'verdict': row.verdict, 'known': row.witness_id is not None,"
                    " 'faults': dict(drills.kept(row, set()).report.faults)} for row in rows]))"
                )
            )
        )


@pytest.fixture
def town(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> Town:
    scope = f"essai-{abs(hash(request.node.name)) % 10**8}"
    return Town(server, tmp_path / "poste", scope)


def test_a_sound_backup_passes_and_the_server_keeps_a_signed_report(town: Town) -> None:
    first = town.drill()
    assert (first["verdict"], first["faults"], first["sent"]) == ("passed", {}, True)
    assert (first["files_restored"], first["files_in_snapshot"]) == (31, 31)
    assert first["bytes_restored"] == first["bytes_in_snapshot"] > 3 << 20
    assert first["restic_version"] and first["whole_listing"] and first["snapshots"] == 1
    # restic's host name is this machine's: every file here was compared too.
    assert (first["compared_with_disk"], first["changed_since"]) == (31, 0)
    assert first["known_key"] is False
    town.server.python(
        "from souverain.core import access\nfrom souverain.core.models import Organisation\n"
        "from souverain.vault import log\n"
        f"log.add_witness(access.SYSTEM, Organisation.objects.get(code='21231'), {town.scope!r},"
        f" {first['key']!r})"
    )
    (town.documents / "plan.bin").write_bytes(os.urandom(3 << 20))
    second = town.drill("--files", "400")
    assert (second["compared_with_disk"], second["changed_since"]) == (30, 1)
    assert second["verdict"] == "passed" and second["known_key"] is True
    assert [row["known"] for row in town.kept()] == [False, True]
    assert stat.S_IMODE((town.folder / "temoin.cle").stat().st_mode) == 0o600
    assert town.server.journal_is_whole()


def test_no_name_of_a_file_reaches_the_server(town: Town) -> None:
    town.drill()
    kept = town.server.python(f"{READ}print(Drill.objects.order_by('pk').last().report)")
    assert "acte" not in kept and "mairie" not in kept and "plan" not in kept


def _packs(town: Town) -> list[Path]:
    found = (town.server.folder(scope=town.scope) / "data").rglob("*")
    return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_size)


def test_a_corrupted_pack_fails_and_the_members_are_told(town: Town) -> None:
    town.server.python(
        "from souverain.core.models import Organisation, RoleAssignment, User\n"
        f"user = User.objects.create_user('{town.scope}@dijon.invalid')\n"
        "RoleAssignment.objects.create(user=user, role='commune-member',"
        " organisation=Organisation.objects.get(code='21231'))"
    )
    pack = _packs(town)[-1]
    content = bytearray(pack.read_bytes())
    for at in range(1000, len(content), 5000):
        content[at] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    found = town.drill(passes=False)
    assert found["verdict"] == "failed" and found["sent"]
    assert {"restic", "reader"} <= set(found["faults"]), found
    assert {"content", "missing"} & set(found["faults"])
    assert [row["verdict"] for row in town.kept()] == ["failed"]
    town.drill(passes=False)
    told = town.server.python(
        "from souverain.core.models import Notification\n"
        f"for found in Notification.objects.filter(user__email='{town.scope}@dijon.invalid'):\n"
        "    print(found.title)"
    )
    assert told.count("Essai de restauration échoué") == 1, "told once a day"


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("printf X | dd of={} conv=notrunc bs=1 seek=100 status=none", "content"),
        ("printf X >> {}", "content"),
        ("truncate -s 1000000 {}", "content"),
        ("rm {}", "missing"),
    ],
)
def test_a_restic_that_restores_other_bytes_and_says_nothing_is_found_out(
    town: Town, tmp_path: Path, harm: str, fault: str
) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    program = shutil.which("restic")
    there = '"$(find . -path "*restic/mairie/plan.bin")"'
    (slow / "restic").write_text(
        f'#!/bin/sh\n"{program}" "$@" || exit 1\ncd {town.folder}\n'
        f'case "$*" in *restore*) {harm.format(there)};; esac\n'
    )
    (slow / "restic").chmod(0o755)
    found = town.drill(passes=False, PATH=f"{slow}:{os.environ['PATH']}")
    assert (found["faults"], found["files_restored"]) == ({fault: 1}, 30)


def test_a_reader_of_ours_that_is_wrong_is_found_out(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Repository.data
    monkeypatch.setattr(
        Repository, "data", lambda repository, name: data(repository, name)[:-1] + b"?"
    )
    report = _run(town, files=3).report
    assert dict(report.faults) == {"reader": 3} and report.files_restored == 3


def test_a_missing_pack_fails_at_once(town: Town) -> None:
    _packs(town)[-1].unlink()
    found = town.drill(passes=False)
    assert found["verdict"] == "failed" and found["seconds"] < 60
    assert "reader" in found["faults"]


def test_a_wrong_password_is_a_failed_drill(town: Town) -> None:
    (town.folder / "motdepasse.txt").write_text("un autre\n")
    found = town.drill(passes=False)
    assert (found["verdict"], found["faults"]) == ("failed", {"password": 1})
    assert [row["faults"] for row in town.kept()] == [{"password": 1}]


def test_a_damaged_file_of_the_machine_is_found(town: Town) -> None:
    """Bytes that rotted: size and dates are those of the backup."""
    file = town.documents / "plan.bin"
    about = file.stat()
    code = (
        "import os, sys\nfrom souverain.vault import drill\n"
        "before = os.fstat\n"
        "class Old:\n"
        "    def __init__(self, about): self.about = about\n"
        "    def __getattr__(self, name):\n"
        "        return 0 if name == 'st_ctime_ns' else getattr(self.about, name)\n"
        "drill.os.fstat = lambda descriptor: Old(before(descriptor))\n"
        "from souverain.cli import main\nmain(sys.argv[1:])"
    )
    with file.open("r+b") as opened:
        opened.write(b"pourri")
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    # A change of now shows in the status date, which no program sets back: not a fault.
    assert town.drill()["changed_since"] == 1
    line = [sys.executable, "-c", code, *town.command()[3:]]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["faults"] == {"disk": 1}, done.stderr


def test_a_machine_that_only_backs_up_drills_within_its_budget(town: Town) -> None:
    (town.documents / "gros.bin").write_bytes(os.urandom(40 << 20))
    town.backup()
    address = town.server.device(roles="backup", scope=town.scope)
    town.use(address)
    for _ in range(2):
        found = town.drill("--sample-bytes", str(12 << 20))
        assert (found["verdict"], found["limit"]) == ("passed", "")
        assert found["files_restored"] >= 30
    assert town.server.refusals().count("reads") == 0
    town.server.python(
        "from souverain.vault.models import ReadDay\n"
        f"day = ReadDay.objects.get(device={Client(address).id!r})\n"
        "day.read_bytes = day.limit_bytes - 100\nday.save()"
    )
    found = town.drill(passes=False)
    assert (found["verdict"], found["limit"], found["faults"]) == ("unfinished", "budget", {})
    assert found["sent"] and town.kept()[-1]["verdict"] == "unfinished"
    assert town.server.refusals().count("reads") == 0, "what is left was asked, not tried"


def _run(town: Town, **options: Any) -> drill.Outcome:
    return drill.run(town.folder / "depot.txt", b"mot de passe", **options)


@pytest.mark.parametrize("lies", [0, 1, 2])
def test_a_budget_that_others_ate_meanwhile_is_no_fault(
    town: Town, monkeypatch: pytest.MonkeyPatch, lies: int
) -> None:
    """The allowance is gone between the look and the reading: of the directories, of our reader's
    files, of restic's. The refusal is understood, and said."""
    address = town.server.device(roles="backup", scope=town.scope)
    town.use(address)
    asked = 0
    true = drill_remote.Remote.left_bytes

    def left(vault: drill_remote.Remote) -> int | None:
        nonlocal asked
        asked += 1
        if asked == lies + 1:
            spend(16 << 20)
        return 1 << 40 if asked <= 2 else true(vault)

    def spend(size: int) -> None:
        town.server.python(
            "from souverain.core import clock\nfrom souverain.vault.models import ReadDay\n"
            f"ReadDay.objects.update_or_create(device_id={Client(address).id!r}, day=clock.today(),"
            f" defaults={{'read_bytes': {size}, 'limit_bytes': {16 << 20}}})"
        )

    def restored(*arguments: Any) -> None:
        restore(*arguments)
        spend(16 << 20)

    restore = drill._restore
    if lies == 2:
        monkeypatch.setattr(drill, "_restore", restored)
    monkeypatch.setattr(drill_remote.Remote, "left_bytes", left)
    report = _run(town).report
    assert (report.verdict, report.limit, report.faults) == ("unfinished", "budget", ())
    assert "reads" in town.server.refusals() and report.seconds < 60


def test_directories_beyond_the_budget_are_never_read(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are listed, drawn at random; what comes after, the bar included, reads no other."""
    town.use(town.server.device(roles="backup", scope=town.scope))
    monkeypatch.setattr(drill, "_LISTING_SHARE", 2500 / (16 << 20))
    read: list[set[bytes]] = [set()]
    tree, choose = Repository.tree, drill._choose

    def spied(repository: Repository, name: bytes) -> Any:
        read[-1].add(name)
        return tree(repository, name)

    def then(*given: Any) -> Any:
        read.append(set())
        return choose(*given)

    monkeypatch.setattr(Repository, "tree", spied)
    monkeypatch.setattr(drill, "_choose", then)
    report = _run(town, progress=lambda done, total: None).report
    assert report.verdict == "passed" and not report.whole_listing
    assert 0 < report.files_in_snapshot < 31
    listed, later = read
    assert later and later <= listed


def test_the_machine_s_drill_starts_without_django(town: Town) -> None:
    code = (
        "import sys\nfrom souverain.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n    print('django' in sys.modules, file=sys.stderr)"
    )
    line = [sys.executable, "-c", code, *town.command()[3:]]
    done = subprocess.run(
        line, env={**os.environ, "PYTHONPATH": SOURCE}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False")


def test_a_report_that_cannot_leave_stays_and_the_next_drill_sends_it(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = drill_remote.Remote.send
    monkeypatch.setattr(drill_remote.Remote, "send", _cut)
    outcome = _run(town)
    assert (outcome.report.verdict, outcome.sent, outcome.waiting) == ("passed", False, 1)
    assert [file.name[:15] for file in town.folder.glob("essai-*")] == ["essai-a-envoyer"]
    assert town.kept() == []
    # The answer is lost once the server took it: it is sent again, and kept once.
    monkeypatch.setattr(drill_remote.Remote, "send", lambda *given: (send(*given), _cut()))
    assert _run(town).waiting == 2
    assert len(town.kept()) == 1
    monkeypatch.setattr(drill_remote.Remote, "send", send)
    outcome = _run(town)
    assert (outcome.sent, outcome.waiting, outcome.refused) == (True, 0, ())
    assert [row["verdict"] for row in town.kept()] == ["passed"] * 3
    assert list(town.folder.glob("essai-*")) == []


def _cut(*_: Any) -> None:
    raise AuditError("le coffre-fort ne répond pas")


@pytest.mark.parametrize("step", ["_draw", "_restore", "_restore_with_restic"])
def test_a_server_that_dies_meanwhile_is_no_fault_of_the_backup(
    town: Town, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    then = getattr(drill, step)

    def dies(*given: Any) -> Any:
        town.server.kill()
        return then(*given)

    monkeypatch.setattr(drill, step, dies)
    monkeypatch.setattr(drill, "_START_S", 5)  # restic would try for a quarter of an hour
    try:
        outcome = _run(town)
    finally:
        town.server.start()
    report = outcome.report
    assert (report.verdict, report.limit, report.faults) == ("unfinished", "network", ())
    assert (outcome.sent, outcome.waiting) == (False, 1)
    monkeypatch.undo()
    assert _run(town).waiting == 0
    assert [row["verdict"] for row in town.kept()] == ["unfinished", "passed"]


def test_a_full_disk_here_is_no_fault_of_the_backup(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "SPARE_BYTES", 1 << 60)
    with pytest.raises(drill.DrillError, match="Mo libres"):
        _run(town)
    assert town.left() == [] and town.kept() == []


def test_what_a_kill_left_is_wiped_by_the_next_drill(town: Town, tmp_path: Path) -> None:
    """SIGKILL while restic works: what was restored is private, and gone with the next drill."""
    slow = tmp_path / "bin"
    slow.mkdir()
    program = shutil.which("restic")
    # The stock program, that says when it is done, and waits until it is let go.
    pipe, go = tmp_path / "fin", tmp_path / "suite"
    os.mkfifo(pipe)
    os.mkfifo(go)
    (slow / "restic").write_text(
        f'#!/bin/sh\n"{program}" "$@"\n'
        f'case "$*" in *restore*) echo fini > "{pipe}"; read x < "{go}";; esac\n'
    )
    (slow / "restic").chmod(0o755)
    process = subprocess.Popen(
        town.command(),
        env={**os.environ, "PYTHONPATH": SOURCE, "PATH": f"{slow}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert pipe.read_text() == "fini\n"
    [left] = town.left()
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert any(path.is_file() for path in (left / "restic").rglob("*"))
    # Another drill at the same time leaves it alone.
    assert _run(town).report.verdict == "passed" and left.exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # restic outlives its parent by a moment; as long as it holds the folder, it stays.
    _run(town, files=1)
    assert left.exists()
    go.write_text("\n")
    deadline = time.monotonic() + 30
    while left.exists():
        _run(town, files=1)
        assert time.monotonic() < deadline, "the folder of the killed drill stays"


def test_a_drill_that_is_interrupted_wipes_its_folder(town: Town, tmp_path: Path) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    pipe = tmp_path / "debut"
    os.mkfifo(pipe)
    (slow / "restic").write_text(
        f'#!/bin/sh\ncase "$*" in version) echo restic 0.14.0;; *) echo > "{pipe}"; exec sleep 600;; esac\n'
    )
    (slow / "restic").chmod(0o755)
    process = subprocess.Popen(
        town.command(),
        env={**os.environ, "PYTHONPATH": SOURCE, "PATH": f"{slow}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with pipe.open() as waiting:
        waiting.read()
    assert town.left()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1
    assert town.left() == []


def test_without_restic_our_own_reader_restores_alone(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill.shutil, "which", lambda program: None)
    report = _run(town).report
    assert (report.verdict, report.restic_version) == ("passed", "")
    assert report.files_restored == 31


def test_names_that_are_patterns_and_rights_that_forbid(town: Town) -> None:
    odd = town.documents / "a[1]*?" / "b\\c"
    odd.mkdir(parents=True)
    (odd / "nom\nétrange ! {x}.txt").write_bytes(b"x" * 1000)
    (odd / "lien").symlink_to("/etc/passwd")
    (town.documents / os.fsdecode(b"latin-\xe9")).write_bytes(b"y")
    locked = town.documents / "fermé"
    locked.mkdir()
    (locked / "secret.txt").write_bytes(b"z")
    (locked / "secret.txt").chmod(0o000)
    locked.chmod(0o500)
    town.backup()
    found = town.drill()
    assert (found["verdict"], found["files_restored"]) == ("passed", 34), found


def test_a_set_without_a_backup_has_nothing_to_drill(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "coffre-fort"
    folder.mkdir()
    (folder / "depot.txt").write_text(server.device(scope="essai-vide"))
    with pytest.raises(drill.DrillError, match="initialisé"):
        drill.run(folder / "depot.txt", b"mot de passe")
    restic((folder / "depot.txt").read_text(), tmp_path, "init")
    with pytest.raises(drill.DrillError, match="aucune sauvegarde"):
        drill.run(folder / "depot.txt", b"mot de passe")
    empty = tmp_path / "vide"
    empty.mkdir()
    restic((folder / "depot.txt").read_text(), tmp_path, "backup", "vide")
    assert dict(drill.run(folder / "depot.txt", b"mot de passe").report.faults) == {"empty": 1}


# What the server refuses ----------------------------------------------------------------------------


def _signed(client: Client, secret: Ed25519PrivateKey, **changes: Any) -> bytes:
    code, scope = client.path.strip("/").split("/")[1:]
    now = reports.instant(datetime.now(UTC))
    made = Report(
        **{
            **{"commune": code, "set": scope, "where": "machine", "at": now, "moment": now},
            **{"key": str(witness.key_of(code, secret)), "files_in_snapshot": 9},
            **{"files_restored": 9, "verdict": "passed", "restic_version": "0.14.0"},
            **changes,
        }
    )
    return str(reports.sign(made, secret)).encode()


def test_the_server_takes_a_report_once_and_refuses_what_is_not_one(server: Server) -> None:
    client = Client(server.device(scope="essai-refus"))
    secret, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    sound = _signed(client, secret)

    def post(content: bytes, who: Client = client, path: str = "drills") -> int:
        return who.ask("POST", path, content)[0]

    assert post(sound) == 200
    assert post(sound) == 409
    flipped = bytearray(sound)
    flipped[sound.index(b"passed") + 1] ^= 1
    forged = _signed(client, secret, key=str(witness.key_of("21231", other)))
    body = sound.split(b"\n")[1]
    for bad in (
        b"",
        b"{}",
        bytes(flipped),
        forged,
        sound + b"\n",
        sound.replace(b"souverain-drill/v1", b"souverain-drill/v2"),
        sound.replace(body, body.replace(b'","', b'", "', 1)),
        sound.replace(b"9,", b"9.0,", 1),
        _signed(client, secret, where="departement"),
        _signed(client, secret, commune="21054"),
        _signed(client, secret, set="general"),
        _signed(client, secret, verdict="failed"),
        _signed(client, secret, files_restored=0),
        _signed(client, secret, seconds=-1),
        _signed(client, secret, faults=(("nom", 1),), verdict="failed"),
        _signed(client, secret, restic_version="acte de naissance"),
        _signed(client, secret, at=reports.instant(datetime.now(UTC) + timedelta(days=2))),
    ):
        assert post(bad) == 400, bad
    assert post(b"x" * (17 << 10)) == 413
    elsewhere, set_beside = (
        Client(server.device("21054")),
        Client(server.device(scope="essai-autre")),
    )
    for stranger in (elsewhere, set_beside):
        assert post(sound, stranger, f"{client.path}drills") == 403
        assert stranger.ask("GET", f"{client.path}drills")[0] == 403
    assert post(sound, set_beside) == 400, "a report of another set"
    assert client.ask("DELETE", "drills")[0] == 405
    for number in range(40):
        if post(_signed(client, secret, seconds=number)) == 429:
            break
    assert 10 < number < 30, "a device fills neither the disk nor the journal"
    told = {"replay", "report", "size", "foreign"}
    assert told <= set(server.refusals())
    assert server.journal_is_whole()


# At the département's console -----------------------------------------------------------------------


def _console(town: Town, *arguments: str, password: str = "mot de passe\n") -> tuple[int, str, str]:
    line = [sys.executable, "-m", "souverain", "vault", "drill", "--commune", "21231"]
    line += ["--set", town.scope, "--password-file", "/dev/stdin", *arguments]
    done = subprocess.run(
        line, env=town.server.environment, input=password, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_the_console_drills_the_store_and_keeps_no_password(town: Town) -> None:
    town.server.kill()
    try:
        status, said, _ = _console(town, "--json")
    finally:
        town.server.start()
    found = json.loads(said)
    assert (status, found["verdict"], found["where"]) == (0, "passed", "departement")
    assert found["restic_version"] and found["files_restored"] == 31
    assert found["compared_with_disk"] == found["changed_since"] == 0
    assert [row["verdict"] for row in town.kept()] == ["passed"]
    status, said, told = _console(town, password="un autre secret\n")
    assert status == 1 and "n'ouvre pas le dépôt" in said
    assert "secret" not in said + told
    for kept in town.server.home.rglob("*"):
        if kept.is_file():
            content = kept.read_bytes()
            assert b"mot de passe\n" not in content and b"un autre secret" not in content, kept
    assert not list(Path("/dev/shm").glob(f"{PREFIX}*"))
    status, _, told = _console(town, "--set", "nulle-part")
    assert status == 1 and "n'existe pas" in told


def test_the_console_finds_a_corrupted_pack(town: Town) -> None:
    pack = _packs(town)[-1]
    content = bytearray(pack.read_bytes())
    for at in range(1000, len(content), 5000):
        content[at] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    status, said, _ = _console(town, "--json")
    assert status == 1
    assert {"restic", "reader"} <= set(json.loads(said)["faults"])
