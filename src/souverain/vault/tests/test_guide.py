"""The guide's own commands, typed as the page shows them, by the stock restic."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from souverain.vault import guide
from souverain.vault.tests.conftest import Server

pytestmark = pytest.mark.db_both
_SHIM = """#!/bin/sh
case "$(basename "$0")" in
  nano|vi) cat "$HOME/tapé-$1" > "$1" ;;
  crontab)
    # As the real one: what is read becomes the table when all of it has come.
    if [ "$1" = "-l" ]; then cat "$HOME/crontab"
    else cat > "$HOME/crontab.new" && mv "$HOME/crontab.new" "$HOME/crontab"; fi ;;
esac
"""


class Machine:
    """A computer of the town hall: a home of its own, and programs that stand for the keyboard
    (the editor types what `types_into` says; sudo and apt have nothing to do)."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "Documents").mkdir(parents=True)
        (home / "Documents/acte.txt").write_text("acte 1\n" * 500)
        (home / "bin").mkdir()
        for name in ("nano", "vi", "crontab", "sudo"):
            shim = home / "bin" / name
            shim.write_text(_SHIM)
            shim.chmod(0o755)

    def types_into(self, file: str, text: str) -> None:
        (self.home / f"tapé-{file}").write_text(text)

    def types(self, commands: str, *, fails: bool = False) -> str:
        """Each step in a terminal of its own, which opens in the home; returns what it says."""
        done = subprocess.run(
            ["bash", "-c", commands],
            cwd=self.home,
            env={
                **os.environ,
                "HOME": str(self.home),
                "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
                "XDG_CACHE_HOME": str(self.home / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr


def steps(code: str, *, first: bool) -> list[str]:
    return [step.commands for step in guide.systems(code, first)[0].steps]


def test_the_first_machine_s_steps_can_be_typed_twice(server: Server, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "secretaire")
    machine.types_into("depot.txt", server.device(scope="etat-civil") + "\n")
    prepare, draw, init, backup, evening = steps("etat-civil", first=True)
    for step in (prepare, draw, init, backup, evening):
        machine.types(step)
    folder = machine.home / "coffre-fort/etat-civil"
    password = (folder / "motdepasse.txt").read_text()
    assert len(password.strip()) == 32 and password.endswith("\n")
    for path in (folder, folder / "motdepasse.txt", folder / "depot.txt"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    for step in (prepare, backup, evening):
        machine.types(step)
    assert "gardé tel quel" in machine.types(draw) and password in machine.types(draw)
    assert "config file already exists" in machine.types(init, fails=True)
    assert (folder / "motdepasse.txt").read_text() == password
    assert (machine.home / "crontab").read_text().count("coffre-fort/etat-civil") == 1
    machine.types((machine.home / "crontab").read_text().removeprefix("0 20 * * * "))
    # The steps write in their folder alone, whatever the terminal was showing.
    assert not (machine.home / "motdepasse.txt").exists()


def test_a_second_machine_brings_the_password_and_makes_nothing(
    server: Server, tmp_path: Path
) -> None:
    first, second = Machine(tmp_path / "poste"), Machine(tmp_path / "portable")
    first.types_into("depot.txt", server.device(scope="seconde"))
    for step in steps("seconde", first=True)[:4]:
        first.types(step)
    told = first.types(steps("seconde", first=True)[1]).split()[-1]

    second.types_into("depot.txt", server.device(scope="seconde"))
    prepare, bring, check, backup, evening = steps("seconde", first=False)
    assert not any("init" in step or "urandom" in step for step in (bring, check, backup, evening))
    second.types(prepare)
    second.types_into("motdepasse.txt", told[:-1])  # a slip of the finger
    second.types(bring)
    assert "wrong password" in second.types(check, fails=True)
    second.types_into("motdepasse.txt", told)
    second.types(bring)
    assert "1 snapshots" in second.types(check)
    for step in (backup, evening):
        second.types(step)
    assert "2 snapshots" in second.types(check)


def test_two_sets_of_one_machine_keep_their_address_and_their_password_apart(
    server: Server, tmp_path: Path
) -> None:
    machine = Machine(tmp_path / "secretaire")
    for code in ("general", "general-2"):
        machine.types_into("depot.txt", server.device(scope=code))
        for step in steps(code, first=True):
            machine.types(step)
    folders = [machine.home / "coffre-fort" / code for code in ("general", "general-2")]
    for file in ("depot.txt", "motdepasse.txt"):
        assert (folders[0] / file).read_text() != (folders[1] / file).read_text()
    machine.types(steps("general", first=True)[4])
    assert len((machine.home / "crontab").read_text().splitlines()) == 2


def test_no_step_writes_where_its_folder_is_not(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "secretaire")
    before = sorted(machine.home.iterdir())
    for first in (True, False):
        for step in steps("general", first=first)[1:4]:
            machine.types(step, fails=True)
    assert sorted(machine.home.iterdir()) == before


def test_the_password_of_a_nas_is_drawn_once_by_a_plain_shell(tmp_path: Path) -> None:
    draw = guide.systems("general", True)[2].steps[1].commands
    draw = draw.replace("/volume1/coffre-fort/general", str(tmp_path))
    typed = ["sh", "-c", draw]
    said = [subprocess.run(typed, capture_output=True, text=True).stdout for _ in range(2)]
    assert len(said[0].strip()) == 32 and said[1].endswith(said[0])


def test_only_a_first_machine_draws_a_password_on_any_system() -> None:
    for first in (True, False):
        for system in guide.systems("general", first):
            text = "\n".join(step.commands for step in system.steps)
            assert len(system.steps) == 5
            assert ("init" in text, "random" in text.lower()) == (first, first)
    windows = guide.systems("general", True)[1].steps[1].commands
    assert windows.index("Test-Path motdepasse.txt") < windows.index("Set-Content motdepasse.txt")
