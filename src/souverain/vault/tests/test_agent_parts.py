"""The agent's parts by themselves: its file of settings, what it keeps, what it says, when it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from souverain.vault.agent import AgentError, lock, schedule, sentence, settings, trial
from souverain.vault.agent import restore as restoring
from souverain.vault.agent import state as states
from souverain.vault.agent.backup import escaped, is_due
from souverain.vault.agent.place import Place, parse_address, shown
from souverain.vault.agent.restore import Snapshot, choose, folded, in_backup, parse_moment
from souverain.vault.agent.settings import Settings
from souverain.vault.agent.state import Check, Saved, State, Trial

SCHEMAS = Path(__file__).resolve().parents[4] / "docs/schemas"
NOW = datetime(2026, 11, 27, 18, 10, tzinfo=UTC)  # 19 h 10 in Paris
SAVED = Saved(NOW - timedelta(minutes=8), "ab" * 4, 3, 1245, 10**9, NOW - timedelta(minutes=8))
GOOD = State(
    started_at=NOW - timedelta(minutes=9),
    finished_at=NOW - timedelta(minutes=7),
    outcome="complete",
    saved=SAVED,
    check=Check(NOW, "verified", SAVED.snapshot),
)


def faults(name: str, instance: Any) -> list[str]:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return [error.message for error in Draft202012Validator(schema).iter_errors(instance)]


# agent.toml --------------------------------------------------------------------------------------

texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters=[chr(c) for c in range(32)])
).filter(lambda text: text.strip() and "\x7f" not in text)


@given(
    folders=st.lists(texts.map(lambda name: f"/{name}"), min_size=1, max_size=5),
    exclusions=st.lists(texts, max_size=5),
    hour=st.times().map(lambda at: time(at.hour, at.minute)),
)
def test_what_is_written_is_what_is_read(
    folders: list[str], exclusions: list[str], hour: time
) -> None:
    usual = [each for group in settings.EXCLUSIONS.values() for each in group]
    exclusions = [*usual, *(each for each in exclusions if each not in usual)]
    chosen = Settings(tuple(folders), tuple(exclusions), hour, "clé")
    text = settings.written(chosen)
    assert settings.parse(text) == chosen
    assert faults("vault-agent", tomllib.loads(text)) == []


def test_a_windows_path_is_written_as_windows_has_it() -> None:
    chosen = Settings((r"C:\Users\mairie\Documents",), (), time(20))
    assert r"'C:\Users\mairie\Documents'" in settings.written(chosen)
    assert settings.parse(settings.written(chosen)) == chosen


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("dossiers = ['/a']\nheure = 25:00\n", 2, "TOML"),
        ("dossiers = ['/a'\n", 1, "TOML"),
        ('\ndossiers = ["C:\\Users"]\n', 2, "apostrophes"),
        ("dossiers = ['/a']\nheures = '20:00'\n", 2, "heures"),
        ("dossiers = ['/a']\n\n\nheure = '20h'\n", 4, "20:00"),
        ("# rien\ndossiers = []\n", 2, "au moins un"),
        ("dossiers = '/a'\n", 1, "liste"),
        ("dossiers = [1]\n", 1, "liste"),
        ("dossiers = ['Documents']\n", 1, "chemin entier"),
        ("heure = '20:00'\n", 1, "au moins un"),
        ("dossiers = ['/a']\nexclusions = ['']\n", 2, "vide"),
        ("dossiers = ['/a']\nexclusions = [\"a\\nb\"]\n", 2, "illisible"),
        ("dossiers = ['/a']\ncle_du_registre = 3\n", 2, "texte"),
        ("dossiers = ['/a']\n[exclusions]\na = 1\n", 2, "liste"),
        ("dossiers = ['/a']\n\"\\u001b[31m\" = 1\n", 2, "n'existe pas"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(AgentError) as raised:
        settings.parse(text)
    told = str(raised.value)
    assert told.startswith(f"agent.toml, ligne {line} : ") and words in told
    assert told.isprintable()


@pytest.mark.parametrize("hour", ["20:00", "20h00", "8:05", "08 h 05"])
def test_an_hour_is_written_as_one_says_it(hour: str) -> None:
    assert settings.parse_hour(hour) in (time(20, 0), time(8, 5))


# etat.json ---------------------------------------------------------------------------------------


TRIED = Trial(NOW - timedelta(days=6), "passed", "", 50, sent=True)


@pytest.mark.parametrize(
    "state",
    [
        State(),
        GOOD,
        replace(GOOD, unreadable=("a\nb",)),
        replace(GOOD, trial=TRIED, restored_at=TRIED.at),
    ],
)
def test_the_state_is_read_as_it_was_written(state: State) -> None:
    assert states.parse(states.written(state)) == state
    assert faults("vault-agent-state", json.loads(states.written(state))) == []


def test_a_broken_state_is_no_crash(tmp_path: Path) -> None:
    whole = json.loads(states.written(GOOD))
    broken: list[Any] = [b"", b"{", b"[]", b"null", b"\xff", b"[" * 10_000]
    for name in whole:
        broken.append({key: value for key, value in whole.items() if key != name})
        broken.append({**whole, name: [{}]} if name != "unreadable" else {**whole, name: 3})
    broken += [{**whole, "started_at": "2026-11-27T18:10:00"}, {**whole, "extra": 1}]
    broken.append({**whole, "saved": {**whole["saved"], "files": "3"}})
    for each in broken:
        content = each if isinstance(each, bytes) else json.dumps(each).encode()
        with pytest.raises(AgentError):
            states.parse(content)
    assert states.read(tmp_path / "etat.json") is None


def test_a_full_disk_leaves_the_former_state(tmp_path: Path) -> None:
    file = tmp_path / "etat.json"
    states.keep(file, GOOD)
    code = (
        "import resource, sys; from pathlib import Path; from souverain.vault.agent import state\n"
        "file = Path(sys.argv[1]); found = state.read(file)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "state.keep(file, found, outcome='failed')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.returncode == 1 and "OSError" in done.stderr
    assert states.read(file) == GOOD and list(tmp_path.iterdir()) == [file]


# The sentence ------------------------------------------------------------------------------------


def tell(state: State | None, now: datetime = NOW, running: bool = False) -> sentence.Told:
    found = sentence.tell(state, now, running=running, exposed=[])
    return found._replace(text=found.text.replace("\xa0", " "))


@pytest.mark.parametrize(
    ("tried", "due"),
    [
        (None, True),
        (TRIED, False),
        (replace(TRIED, at=NOW - timedelta(days=7)), True),
        (replace(TRIED, at=NOW + timedelta(days=1)), True),
        (replace(TRIED, outcome="failed"), True),
        (replace(TRIED, outcome="unfinished"), True),
    ],
)
def test_a_drill_is_due_each_week_and_until_one_passes(tried: Trial | None, due: bool) -> None:
    assert trial.is_due(replace(GOOD, trial=tried), NOW) is due


def test_the_sentence_says_how_the_drill_went() -> None:
    passed = replace(GOOD, trial=TRIED, restored_at=TRIED.at)
    assert (
        tell(passed).ok
        and "Essai de restauration réussi le samedi 21 novembre" in tell(passed).text
    )
    failed = replace(TRIED, outcome="failed", message="Des fichiers n'ont pas été restaurés.")
    told = tell(replace(passed, trial=failed))
    assert not told.ok and told.text.startswith("ALERTE : l'essai de restauration a échoué")
    assert "Des fichiers n'ont pas été restaurés." in told.text
    old = replace(passed, restored_at=NOW - timedelta(days=36))
    assert not tell(old).ok and "Aucun essai de restauration réussi depuis" in tell(old).text


def test_all_is_well_in_one_sentence() -> None:
    assert tell(GOOD) == (
        True,
        "Protégé : 3 dossiers, 1 245 fichiers, dernière sauvegarde aujourd'hui à 19 h 02, "
        "reçue et vérifiée par le coffre-fort.",
    )
    assert "hier à 19 h 02" in tell(GOOD, NOW + timedelta(hours=20)).text
    received = replace(GOOD, check=Check(NOW, "received", SAVED.snapshot, "Sans clé."))
    assert tell(received).ok and tell(received).text.endswith("par le coffre-fort. Sans clé.")
    older = replace(GOOD, check=Check(NOW, "verified", "cd" * 4))
    assert "envoyée, pas encore vérifiée" in tell(older).text


CUT = replace(GOOD, finished_at=None, outcome=None)
WRONG: list[tuple[str, State | None, timedelta]] = [
    ("Rien n'est encore protégé", None, timedelta()),
    ("En retard : laissez ce poste allumé", GOOD, timedelta(hours=27)),
    ("Coupé : la sauvegarde commencée aujourd'hui à 19 h 01", CUT, timedelta()),
    ("Échec : ", replace(GOOD, outcome="failed", message="Pourquoi."), timedelta()),
    (
        "Incomplet : Un fichier.",
        replace(GOOD, outcome="incomplete", message="Un fichier."),
        timedelta(),
    ),
    ("Horloge fausse", GOOD, -timedelta(days=400)),
    (
        "Horloge fausse : le coffre-fort a reçu",
        replace(GOOD, saved=replace(SAVED, received_at=NOW - timedelta(days=365))),
        timedelta(),
    ),
    (
        "ALERTE : Manque. Appelez",
        replace(GOOD, check=Check(NOW, "failed", "x", "Manque.")),
        timedelta(),
    ),
    ("Non vérifié depuis le", replace(GOOD, unverified_since=NOW - timedelta(days=8)), timedelta()),
]


@pytest.mark.parametrize(("start", "state", "later"), WRONG)
def test_what_is_wrong_comes_first(start: str, state: State | None, later: timedelta) -> None:
    told = tell(state, NOW + later)
    assert not told.ok and told.text.startswith(start), told.text
    assert state is None or "Protégé : 3 dossiers" in told.text, "what there is stays told"


def test_the_worst_comes_first_and_hides_nothing() -> None:
    state = replace(
        GOOD,
        outcome="failed",
        message="Pourquoi.",
        check=Check(NOW, "failed", "x", "Manque."),
    )
    text = tell(state, NOW + timedelta(days=3)).text
    assert text.index("ALERTE") < text.index("Échec") < text.index("En retard")
    assert text.index("En retard") < text.index("Protégé")


def test_a_run_under_way_is_no_fault_until_it_lasts() -> None:
    assert tell(CUT, running=True).ok
    assert tell(CUT, running=True).text.endswith("Une sauvegarde est en cours.")
    long = tell(CUT, NOW + timedelta(hours=25), running=True)
    assert not long.ok and "en cours depuis hier à 19 h 01 : la première peut durer" in long.text
    first = State(started_at=NOW)
    assert not tell(first, running=True).ok, "nothing is protected yet"
    assert (
        tell(first, running=True).text == "Rien n'est encore protégé. Une sauvegarde est en cours."
    )


def test_a_fall_in_the_number_of_files_is_said() -> None:
    state = replace(GOOD, files_before=2_600)
    assert "il y avait 2 600 fichiers" in tell(state).text
    assert "il y avait" not in tell(replace(GOOD, files_before=2_400)).text


# Names, moments, backups -------------------------------------------------------------------------


def test_nothing_of_an_address_is_shown() -> None:
    address = parse_address("rest:https://d:s%C3%A9cret@h.fr:8/vault/21231/general/", "m0t")
    said = address.hide("rest:https://d:s%C3%A9cret@h.fr/ sécret m0t http://x:y@z/")
    assert said == "rest:https://d:***@h.fr/ *** *** http://x:***@z/"
    assert (address.url, address.host) == ("https://h.fr:8/vault/21231/general/", "h.fr:8")
    assert address.past("T") == "rest:https://d:s%C3%A9cret@h.fr:8/vault/21231/general@T/"


def test_what_would_drive_the_terminal_is_escaped() -> None:
    assert shown("a\nb\x1b[1m\u202e\x00é") == "a\\nb\\x1b[1m\\u202e\\x00é"
    assert len(shown("x" * 1000)) == 300


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("23/11/2026 18:00", "2026-11-23T17:00:00.000000Z"),
        ("23/11/2026 à 18h", "2026-11-23T17:00:00.000000Z"),
        ("23/7/2026 18 h 05", "2026-07-23T16:05:00.000000Z"),
        ("23/11/2026", "2026-11-23T22:59:59.000000Z"),
        ("2026-11-23", "2026-11-23T22:59:59.000000Z"),
        ("2026-11-23 18:00", "2026-11-23T17:00:00.000000Z"),
        ("2026-11-23T18:00:00Z", "2026-11-23T18:00:00.000000Z"),
        ("2026-11-23T18:00:00.5+01:00", "2026-11-23T17:00:00.500000Z"),
        ("27/11/2026", None),
    ],
)
def test_a_moment_is_typed_as_one_says_it(text: str, found: str | None) -> None:
    assert parse_moment(text, NOW) == found


@pytest.mark.parametrize(
    "text", ["", "hier", "32/11/2026", "23/11/2026 25:00", "1/12/2027", "9" * 50, "\x1b"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(AgentError) as raised:
        parse_moment(text, NOW)
    assert str(raised.value).replace("\xa0", " ").isprintable()


def snapshot(number: int, machine: str, days: int) -> Snapshot:
    return Snapshot(f"{number:064x}", NOW + timedelta(days=days), machine, ("/a",))


def test_the_backup_that_one_means() -> None:
    mine, other = snapshot(1, "mairie", -2), snapshot(2, "école", -1)
    future = snapshot(3, "mairie", 900)
    every = [mine, other, future]
    assert choose(every, None, "mairie", None, NOW) == mine, "a clock was wrong"
    assert choose(every, None, "neuf", None, NOW) == other, "a new machine takes the latest"
    assert choose(every, "ÉCOLE", "mairie", None, NOW) == other
    assert choose(every, None, "mairie", future.id[:64], NOW) == future
    assert choose(every, None, "mairie", "ff" * 4, NOW) == mine
    with pytest.raises(AgentError, match="mairie, école"):
        choose([mine, snapshot(2, "école", -1)], "absent", "mairie", None, NOW)
    with pytest.raises(AgentError):
        choose([], None, "mairie", None, NOW)


def test_names_are_found_without_case_or_accents() -> None:
    assert folded("DÉLIBÉRATION") == folded("de\u0301libe\u0301ration")
    assert in_backup(r"C:\Users\mairie") == "/C/Users/mairie"
    assert in_backup("/home/mairie/") == "/home/mairie"


@pytest.mark.parametrize(
    "name", ["[a]", "a*b", "a?b", "\\n", "**", "!x", "$HOME", "-x", "a[!b]", "{a,b}", "[", "é[^1]"]
)
def test_an_escaped_path_is_a_pattern_for_itself_alone(tmp_path: Path, name: str) -> None:
    """Restic is the judge: it leaves out that file, and no other."""
    (tmp_path / "d").mkdir()
    for each in (name, "aXb", "a", "HOME", "n", "x", "b"):
        (tmp_path / "d" / each).write_text(each)
    line = ["restic", "-r", str(tmp_path / "r"), "--no-cache", "--json"]
    environment = {**os.environ, "RESTIC_PASSWORD": "x", "HOME": str(tmp_path)}
    subprocess.run([*line, "init"], env=environment, check=True, capture_output=True)
    left_out = f"--iexclude={escaped(str(tmp_path / 'd' / name))}"
    done = subprocess.run(
        [*line, "backup", left_out, "--", str(tmp_path / "d")],
        env=environment,
        check=True,
        capture_output=True,
    )
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["total_files_processed"] == 6


# One at a time, each evening ---------------------------------------------------------------------


def test_one_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "verrou"
    assert not lock.is_held(file)
    with lock.alone(file):
        assert lock.is_held(file)
        with pytest.raises(lock.Busy), lock.alone(file, 0):
            pass
    assert not lock.is_held(file)


def test_a_run_is_due_once_the_hour_has_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Settings(("/a",), (), time(20))

    def due(saved: datetime | None, now: datetime) -> bool:
        state = State(saved=replace(SAVED, at=saved)) if saved else None
        return is_due(chosen, state, now)

    at = datetime(2026, 11, 27, 20, 0).astimezone()
    assert due(None, at)
    assert due(at - timedelta(hours=23), at + timedelta(minutes=1))
    assert not due(at + timedelta(minutes=1), at + timedelta(hours=2))
    assert not due(at - timedelta(hours=23, minutes=59), at - timedelta(minutes=1))
    assert due(at - timedelta(days=3), at - timedelta(hours=8)), "caught up in the morning"
    assert due(at + timedelta(days=300), at), "a clock that was set back"


def job(folder: Path = Path("/home/mairie/coffre-fort/general")) -> schedule.Job:
    return schedule.Job(
        "general", folder, time(20, 30), ("/opt/a b/souverain",), "/usr/bin:/bin", 37
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    odd = tmp_path / 'le dossier "50 %" $HOME'
    odd.mkdir()
    program = tmp_path / "sou verain"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = replace(job(odd), program=(str(program),))
    for end, text in (("service", schedule.service(made)), ("timer", schedule.timer(made))):
        (tmp_path / f"{made.name}.{end}").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", f"./{made.name}.timer", f"./{made.name}.service"],
        cwd=tmp_path,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and made.name not in done.stderr, done.stderr
    assert "Persistent=true" in schedule.timer(made)


def test_the_line_of_cron_starts_what_it_says(tmp_path: Path) -> None:
    odd = tmp_path / "l'été 50 % $HOME"
    odd.mkdir()
    told = tmp_path / "told"
    program = tmp_path / "sou verain"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$PATH" "$@" > {told}\n')
    program.chmod(0o755)
    line = schedule.cron_line(replace(job(odd), program=(str(program),)))
    assert line.startswith("37 * * * * ")
    command = line.removeprefix("37 * * * * ").replace("\\%", "%")  # as cron does
    subprocess.run(["sh", "-c", command], check=True)
    assert told.read_text().splitlines() == [
        "/usr/bin:/bin",
        *("vault", "agent", "run", "--home", str(odd), "--due"),
    ]


def test_windows_is_given_a_task_that_catches_up() -> None:
    text = schedule.task(job(Path('C:\\a & b\\"c"')))
    from xml.etree import ElementTree

    root = ElementTree.fromstring(text.partition("\n")[2])
    space = {"t": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
    assert root.findtext("t:Settings/t:StartWhenAvailable", namespaces=space) == "true"
    assert root.findtext("t:Actions/t:Exec/t:Command", namespaces=space) == "/opt/a b/souverain"
    assert "a & b" in (root.findtext("t:Actions/t:Exec/t:Arguments", namespaces=space) or "")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A machine whose schedulers write down what they are told."""
    programs = tmp_path / "bin"
    programs.mkdir()
    crontab = (
        f'#!/bin/sh\nif [ "$1" = -l ]; then cat {tmp_path}/cron; else cat > {tmp_path}/cron; fi\n'
    )
    systemctl = f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl\n'
    for name, script in (("crontab", crontab), ("systemctl", systemctl)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    folder = tmp_path / "coffre-fort" / "general"
    folder.mkdir(parents=True)
    (folder / "depot.txt").write_text("rest:http://ab:cd@localhost/vault/21231/general/")
    (folder / "agent.toml").write_text("dossiers = ['/a']\nheure = '20:30'\n")

    def run(*words: str, status: int = 0, given: str = "") -> str:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "souverain", "vault", "agent", "schedule"),
                *("--home", str(folder), *words),
            ],
            env={
                **os.environ,
                "PATH": f"{programs}:/usr/bin:/bin",
                "HOME": str(tmp_path),
            },
            input=given,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_cron_is_set_once_and_keeps_its_other_lines(
    machine: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "cron").write_text("0 1 * * * autre # coffre-fort-general-2\n")
    first = machine("--with", "cron")
    assert not (tmp_path / ".config").exists() and "autre" in (tmp_path / "cron").read_text()
    machine("--install", "--with", "cron")
    machine("--install", "--with", "cron")
    lines = (tmp_path / "cron").read_text().splitlines()
    assert lines == ["0 1 * * * autre # coffre-fort-general-2", first.strip()]
    assert "Interrompu" in machine("--remove", "--with", "cron", status=1, given="n\n")
    assert len((tmp_path / "cron").read_text().splitlines()) == 2
    machine("--remove", "--with", "cron", given="y\n")
    machine("--remove", "--yes", "--with", "cron")
    assert (tmp_path / "cron").read_text() == lines[0] + "\n"


def test_systemd_is_set_once_and_taken_away(machine: Callable[..., str], tmp_path: Path) -> None:
    told = json.loads(machine("--install", "--json"))
    assert told["with"] == "systemd" and "20:30" in told["text"]
    units = tmp_path / ".config/systemd/user"
    before = {file.name: file.read_text() for file in units.iterdir()}
    assert sorted(before) == ["coffre-fort-general.service", "coffre-fort-general.timer"]
    assert "OnCalendar=*-*-* 20:30:00" in before["coffre-fort-general.timer"]
    machine("--install")
    assert {file.name: file.read_text() for file in units.iterdir()} == before
    assert "enable --now coffre-fort-general.timer" in (tmp_path / "systemctl").read_text()
    machine("--remove", "--yes")
    machine("--remove", "--yes")
    assert list(units.iterdir()) == []
    assert (tmp_path / "systemctl").read_text().count("disable --now") == 1


# Taking a place ----------------------------------------------------------------------------------


def test_what_comes_back_never_replaces_what_came_meanwhile(tmp_path: Path) -> None:
    staging, target = tmp_path / "staging", tmp_path / "target"
    (staging / "d").mkdir(parents=True)
    (staging / "d" / "a").write_text("rendu")
    (staging / "f").write_text("rendu")
    target.mkdir()
    (target / "f").write_text("ici")
    (target / "d").mkdir()
    (target / "d" / "b").write_text("ici")
    for name in ("d", "f"):
        assert restoring._moved(staging / name, target / name) is None
    assert (target / "f").read_text() == "ici" and not (target / "d" / "a").exists()
    assert restoring._moved(staging / "d", target / "e") == target / "e"
    assert (target / "e" / "a").read_text() == "rendu"


def test_the_agent_is_read_without_what_is_heavy() -> None:
    code = (
        "import sys, souverain.cli, souverain.vault.agent_commands\n"
        "print([each for each in ('django', 'requests', 'cryptography', 'zstandard') "
        "if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_address_of_a_past_moment_goes_with_its_use(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "depot.txt").write_text("rest:http://ab:cd@localhost/vault/21231/general/")
    (tmp_path / ".passe-left").write_text("of a program that was killed")
    os.utime(tmp_path / ".passe-left", (0, 0))
    with place.at(place.address(), "2026-11-23T17:00:00Z") as file:
        assert file.read_text().endswith("general@2026-11-23T17:00:00Z/")
        assert file.stat().st_mode & 0o077 == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["depot.txt"]


def test_a_drill_that_passed_has_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from souverain.vault import drill
    from souverain.vault.engine.drill import Limit, Verdict

    (tmp_path / "motdepasse.txt").write_text("mot de passe\n")
    report = SimpleNamespace(faults=(), limit=Limit.NONE, verdict=Verdict.PASSED, files_restored=2)
    monkeypatch.setattr(drill, "run", lambda *_, **__: SimpleNamespace(report=report, sent=True))
    made = trial.attempt(Place(tmp_path), lambda done, total: None)
    assert (made.outcome, made.message, made.files, made.sent) == (trial.PASSED, "", 2, True)
