"""What the `souverain` command says when it cannot work: one French sentence, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from souverain.cli import main
from souverain.core import access, clock
from souverain.core.models import Job, JournalEntry, Organisation

COMMANDS = [
    "egress list",
    "job list",
    "journal head",
    "journal verify",
    "membership list",
    "organisation list",
    "serve --port 1",
    "user create --email a@b.fr --organisation 21 --role operator",
    "vault device revoke x",
    "vault status",
    "worker",
]
SOUVERAIN = (sys.executable, "-m", "souverain")


def run(words: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SOUVERAIN, *words.split()],
        env={**os.environ, "SOUVERAIN_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def start(words: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*SOUVERAIN, *words.split()],
        env={**os.environ, "SOUVERAIN_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_one_sentence(ran: subprocess.CompletedProcess[str], *said: str) -> None:
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    assert ran.stderr.startswith("Erreur : ") and len(ran.stderr.splitlines()) == 1, ran.stderr
    for words in said:
        assert words in ran.stderr


@pytest.mark.parametrize("words", COMMANDS)
def test_before_init_a_command_says_to_run_init(words: str, tmp_path: Path) -> None:
    assert_one_sentence(run(words, tmp_path), "souverain init")


def test_before_init_a_fault_is_a_problem_with_json(tmp_path: Path) -> None:
    ran = run("journal head --json", tmp_path)
    problem = json.loads(ran.stderr)
    assert (ran.returncode, ran.stdout, problem["status"]) == (1, "", 422)
    assert "souverain init" in problem["detail"]


@pytest.mark.parametrize("words", ["journal head", "init", "serve"])
def test_a_database_server_that_is_down_is_named(words: str, tmp_path: Path) -> None:
    nowhere = "postgresql://quelquun:secret@127.0.0.1:1/souverain"
    ran = run(words, tmp_path, DATABASE_URL=nowhere)
    assert_one_sentence(ran, "La base de données ne répond pas", "DATABASE_URL")
    assert "secret" not in ran.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "nimporte"),
        ("DATABASE_URL", "postgresql://u@hote:port/base"),
        ("PORT", "abc"),
        ("PORT", "70000"),
        ("SOUVERAIN_HOME", "/proc/nulle-part"),
        ("SOUVERAIN_HOME", __file__),
        ("SOUVERAIN_PUBLIC_URL", "http://cloud.example.fr"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str, tmp_path: Path) -> None:
    assert_one_sentence(run("journal head", tmp_path, **{variable: value}), variable)


def test_a_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "souverain.sqlite3").write_text("ceci n'est pas une base de données\n" * 100)
    assert_one_sentence(run("journal head", tmp_path), "souverain.sqlite3")


def test_ctrl_c_ends_in_one_sentence(tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    os.mkfifo(head)
    started = start(f"journal verify --head {head}", tmp_path)
    with head.open("wb"):  # once the command has opened it too, and waits for what it says
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=30)
    assert (started.returncode, out, err.strip()) == (1, "", "Erreur : Interrompu.")


def test_a_closed_pipe_ends_without_a_word(tmp_path: Path) -> None:
    started = start("--help", tmp_path)
    assert started.stdout is not None and started.stderr is not None
    started.stdout.close()
    assert (started.stderr.read(), started.wait(30)) == ("", 1)


def test_an_account_without_a_name_acts_under_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    assert str(access.of_console()) == f"console:{os.getuid()}"


# 0 only when the command did what it says ---------------------------------------------------------


def outcome(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def assert_failed(done: Result, said: str) -> None:
    assert (done.exit_code, done.stdout) == (1, "") and said in done.stderr, done.output


@pytest.fixture
def dijon(db: None) -> Organisation:
    return Organisation.objects.create(kind="commune", code="21231", name="Dijon")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "interrupted"])
def test_a_job_that_is_over_cannot_be_cancelled(state: str) -> None:
    now = clock.now()
    asked = now if state == "cancelled" else None
    job = Job.objects.create(
        name="essai", actor="system", state=state, finished_at=now, cancel_requested_at=asked
    )
    assert_failed(outcome("job", "cancel", str(job.pk)), "est déjà fini")
    assert not JournalEntry.objects.exists()


@pytest.mark.django_db
def test_a_job_that_runs_is_cancelled_and_asking_twice_is_no_fault() -> None:
    job = Job.objects.create(name="essai", actor="system", state="running")
    assert outcome("job", "cancel", str(job.pk)).exit_code == 0
    assert outcome("job", "cancel", str(job.pk)).exit_code == 0


def test_a_device_is_revoked_once(dijon: Organisation) -> None:
    words = (
        "vault",
        "device",
        "add",
        "--commune",
        "21231",
        "--name",
        "Serveur",
        "--role",
        "backup",
    )
    made = json.loads(outcome(*words, "--json").stdout)
    assert outcome("vault", "device", "revoke", made["id"]).exit_code == 0
    assert_failed(outcome("vault", "device", "revoke", made["id"]), "est déjà révoqué")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("job show x", "Aucun travail"),
        ("job run 00000000-0000-0000-0000-000000000000", "n'attend pas d'être exécuté"),
        ("egress remove 99", "Aucune destination"),
        ("vault device revoke x", "n'existe pas"),
        ("vault status --commune 99999", "n'existe pas"),
        ("membership show 99999", "n'existe pas"),
        ("membership show 21231", "n'a jamais demandé"),
        ("organisation show 99999", "Aucune organisation"),
        ("territory load --departement 99", "99"),
        ("journal export /proc/nulle-part", "/proc/nulle-part"),
    ],
)
def test_what_is_not_there_is_a_failure(dijon: Organisation, words: str, said: str) -> None:
    assert_failed(outcome(*words.split()), said)
