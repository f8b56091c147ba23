"""Jobs in real processes, on a home and a database of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError

from souverain.core import jobs
from souverain.core.access import SYSTEM
from souverain.core.format import bytes_fr
from souverain.core.models import Job, JournalEntry

PROGRAM = """
import json, os, signal, subprocess, sys, time
import django
django.setup()
from souverain.core import jobs, rooms
from souverain.core.access import SYSTEM
from souverain.core.models import Job, JournalEntry

@jobs.job("test.double", "Doubler")
def double(progress, number):
    for done in range(1, 1001):
        progress(done, 1000, "on double")
    print("bonjour")
    subprocess.run(["echo", "du petit-fils"])
    return {"double": number * 2}

@jobs.job("test.fail", "Échouer")
def fail(progress):
    raise RuntimeError("panne")

@jobs.job("test.chatter", "Bavarder")
def chatter(progress):
    print("x" * 300_000 + "fin")

@jobs.job("test.endless", "Durer", jobs.Resources(time_limit_s=3600))
def endless(progress):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    progress(child.pid)
    while True:
        time.sleep(1)

@jobs.job("test.brief", "Dépasser", jobs.Resources(time_limit_s=1))
def brief(progress):
    time.sleep(600)

@jobs.job("test.greedy", "Dévorer", jobs.Resources(memory_bytes=300_000_000))
def greedy(progress, bytes):
    return len(bytearray(bytes))

@jobs.job("test.greedy_child", "Dévorer par un autre", jobs.Resources(memory_bytes=300_000_000))
def greedy_child(progress):
    child = subprocess.run([sys.executable, "-c", "bytearray(10**9)"])
    if child.returncode:
        raise jobs.Failed("Le calcul n'a pas abouti.")

@jobs.job("test.full", "Remplir")
def full(progress):
    with open("/dev/full", "wb", buffering=0) as disk:
        disk.write(b"x")

declared = {"jobs": [double, fail, chatter, endless, brief, greedy, greedy_child, full]}
rooms.every = lambda attribute: iter(declared.get(attribute, ()))

def until(job, executor, states):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        jobs.step(jobs.FirstInFirstOut(cpu=1), executor)
        job.refresh_from_db()
        if job.state in states:
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job.state}")

if sys.argv[1] == "run":
    jobs.run(sys.argv[2])
    raise SystemExit
jobs.GRACE = jobs.timedelta(seconds=1)
executor = jobs.LocalProcesses([sys.executable, __file__, "run"])
ENDED = {"done", "failed", "cancelled", "interrupted"}
"""


@pytest.fixture
def scenario(tmp_path: Path):
    """Run the steps of a worker in a process whose database is its own."""
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(tmp_path / "home"),
        "DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }

    def run(steps: str) -> dict:
        program = tmp_path / "program.py"
        program.write_text(PROGRAM + steps)
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--verbosity=0", "core"],
            env=environment,
            check=True,
        )
        ran = subprocess.run(
            [sys.executable, program, "steps"], env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def test_a_job_gives_its_result_progress_and_bounded_log(scenario) -> None:
    seen = scenario("""
first = jobs.submit(SYSTEM, double, {"number": 21})
second = jobs.submit(SYSTEM, fail, {})
third = jobs.submit(SYSTEM, chatter, {})
until(third, executor, ENDED)
first.refresh_from_db(); second.refresh_from_db()
print(json.dumps({
    "first": [first.state, first.result, first.done, first.total, first.message, first.log],
    "order": first.finished_at < second.finished_at < third.finished_at,
    "second": [second.state, second.error, "Traceback" in second.log],
    "third": [len(third.log), third.log[-4:]],
    "verbs": sorted(JournalEntry.objects.values_list("verb", flat=True)),
}))
""")
    assert seen["first"][:5] == ["done", {"double": 42}, 1000, 1000, "on double"]
    assert {"bonjour", "du petit-fils"} <= set(seen["first"][5].split("\n"))
    assert seen["order"]
    assert seen["second"] == ["failed", "RuntimeError: panne", True]
    assert seen["third"] == [jobs.LOG_BYTES, "fin\n"]
    assert seen["verbs"] == ["job.done"] * 2 + ["job.failed"] + ["job.submitted"] * 3


def test_cancel_kills_the_whole_group_even_when_it_ignores_term(scenario) -> None:
    seen = scenario("""
job = jobs.submit(SYSTEM, endless, {})
while not job.done:
    until(job, executor, {"running"})
    time.sleep(0.05)
jobs.cancel(SYSTEM, job)
until(job, executor, ENDED)
stat = jobs._process_state(job.done)
print(json.dumps({"state": job.state, "child": stat is not None and stat[0] not in "ZX"}))
""")
    assert seen == {"state": "cancelled", "child": False}


def test_a_job_over_its_time_limit_is_stopped_and_says_so(scenario) -> None:
    seen = scenario("""
job = until(jobs.submit(SYSTEM, brief, {}), executor, ENDED)
print(json.dumps([job.state, job.error]))
""")
    assert seen == ["failed", "Arrêté : il a duré plus de 1\u00a0s."]


def test_a_job_over_its_memory_fails_in_french_and_the_worker_lives(scenario) -> None:
    seen = scenario("""
over = jobs.submit(SYSTEM, greedy, {"bytes": 10**9})
within = jobs.submit(SYSTEM, greedy, {"bytes": 10**7})
child = jobs.submit(SYSTEM, greedy_child, {})
disk = jobs.submit(SYSTEM, full, {})
until(disk, executor, ENDED)
jobs_ended = [until(job, executor, ENDED) for job in (over, within, child, disk)]
print(json.dumps([[job.state, job.error or job.result] for job in jobs_ended]))
""")
    assert seen == [
        ["failed", f"Arrêté : il lui fallait plus de {bytes_fr(300_000_000)} de mémoire."],
        ["done", 10**7],
        ["failed", "Le calcul n'a pas abouti."],
        ["failed", "Arrêté : le disque est plein. Faites de la place, puis relancez-le."],
    ]


def test_a_restarted_worker_keeps_live_jobs_and_interrupts_dead_ones(scenario) -> None:
    seen = scenario("""
job = jobs.submit(SYSTEM, endless, {})
until(job, executor, {"running"})
restarted = jobs.LocalProcesses([sys.executable, __file__, "run"])
jobs.step(jobs.FirstInFirstOut(), restarted)
job.refresh_from_db()
kept = job.state
pid = int(job.handle.split(":")[0])
reused = restarted.is_alive(f"{pid}:1")
os.killpg(pid, signal.SIGKILL)
executor.children[job.handle].wait()
until(job, restarted, ENDED)
print(json.dumps([kept, reused, job.state, job.error[:48]]))
""")
    assert seen == [
        "running",
        False,
        "interrupted",
        "Le travail s'est arrêté sans rendre de résultat ",
    ]


@jobs.job("test.sum", "Additionner")
def add(progress, left, right):
    return left + right


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments", [{"left": 1}, {"left": 1, "right": object()}, {"left": 1, "right": float("nan")}]
)
def test_arguments_that_do_not_fit_are_refused_at_submission(arguments) -> None:
    with pytest.raises(ValidationError):
        jobs.submit(SYSTEM, add, arguments)
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_a_waiting_job_is_cancelled_at_once_and_never_runs() -> None:
    job = jobs.submit(SYSTEM, add, {"left": 1, "right": 2})
    jobs.cancel(SYSTEM, job)
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert JournalEntry.objects.filter(verb="job.cancelled", object=f"job:{job.pk}").exists()
    with pytest.raises(LookupError):
        jobs.run(job.pk)


def test_first_in_first_out_fills_the_cores_and_lets_a_big_job_run_alone() -> None:
    one, big = Job(resources={"cpu": 1}), Job(resources={"cpu": 8})
    scheduler = jobs.FirstInFirstOut(cpu=2)
    assert scheduler.choose([one, one, one], []) == [one, one]
    assert scheduler.choose([big, one], []) == [big]
    assert scheduler.choose([big, one], [one]) == []
