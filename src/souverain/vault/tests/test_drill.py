"""Restore drills against a real server, with the stock restic: what they find, what they leave."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from souverain.vault.drill_folder import PREFIX
from souverain.vault.tests.conftest import Server, restic

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
    assert os.umask(0o077) is not None
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
    town.use(town.server.device(roles="backup", scope=town.scope))
    seen = 0
    for _ in range(3):
        found = town.drill("--sample-bytes", str(12 << 20))
        assert found["verdict"] == "passed" and found["limit"] == ""
        seen += found["files_restored"]
    assert seen > 60
    assert town.server.refusals().count("reads") == 0
    for _ in range(12):
        found = town.drill("--sample-bytes", str(12 << 20), passes=None)
        if found["verdict"] != "passed":
            break
    assert found["verdict"] == "unfinished" and found["limit"] == "budget"
    assert found["sent"] and town.kept()[-1]["verdict"] == "unfinished"
