"""Jobs: heavy or slow work, in a process of its own, with progress, a log, a result and cancel.

`submit` queues; the worker calls `step`, which lets the scheduler choose and an executor start
`souverain job run ID`; that process calls `run`. Every state is in the record, so a worker that
restarts goes on with the jobs that live, and says which were interrupted.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import connection, transaction

from souverain.core import clock, egress, journal, rooms
from souverain.core.access import SYSTEM, Actor
from souverain.core.format import bytes_fr, duration_fr
from souverain.core.models import Job, Organisation
from souverain.core.rooms import DataClass

LOG_BYTES = 64 * 1024
ARGUMENTS_BYTES = RESULT_BYTES = 1024 * 1024
GRACE = timedelta(seconds=5)
REPORT_EVERY_S = 0.25
State = Job.State
ACTIVE = (State.STARTING, State.RUNNING)
WAITING = (State.QUEUED, State.HELD)


@dataclass(frozen=True)
class Resources:
    """What a job needs: cores, bytes of memory, graphics cards, seconds at most."""

    cpu: int = 1
    memory_bytes: int = 1 << 30
    gpu: int = 0
    time_limit_s: int = 3600
    preemptible: bool = False
    data_class: DataClass = DataClass.INTERNAL


class Failed(Exception):
    """The work found that it cannot be done; the message is a French sentence for people."""


class Progress(Protocol):
    """Says how far the work is. Cheap: call it as often as you like."""

    def __call__(self, done: int, total: int | None = None, message: str = "") -> None: ...


@dataclass(frozen=True)
class JobFunction:
    """A named function that can be a job: `function(progress, **arguments)`, JSON in and out.
    A result that is an object may have a `summary`: the sentence in French that pages show first.
    """

    name: str
    title: str
    resources: Resources
    function: Callable[..., Any]

    def __call__(self, progress: Progress, **arguments: Any) -> Any:
        return self.function(progress, **arguments)


def job(
    name: str, title: str, resources: Resources | None = None
) -> Callable[[Callable[..., Any]], JobFunction]:
    """Declare a job function; the room's manifest lists it in `jobs`."""
    return lambda function: JobFunction(name, title, resources or Resources(), function)


def find(name: str) -> JobFunction:
    """The declared function of that name; raises LookupError when its room is switched off."""
    for function in rooms.every("jobs"):
        if function.name == name:
            return function  # type: ignore[no-any-return]
    raise LookupError(f"aucune salle en service ne déclare le travail {name}")


@transaction.atomic
def submit(
    actor: Actor,
    function: JobFunction,
    arguments: Mapping[str, Any],
    organisation: Organisation | None = None,
) -> Job:
    """Queue a job; the caller checked the right. Raises ValidationError for arguments that the
    function does not take, that are not JSON, or over 1 MiB."""
    try:
        inspect.signature(function.function).bind(None, **arguments)
        size = len(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValidationError(f"Travail {function.name} : arguments refusés ({error}).") from error
    if size > ARGUMENTS_BYTES:
        raise ValidationError(f"Travail {function.name} : plus de 1 Mio d'arguments.")
    job = Job.objects.create(
        name=function.name,
        arguments=dict(arguments),
        resources=asdict(function.resources),
        actor=str(actor),
        organisation=organisation,
    )
    _journal(actor, "job.submitted", job)
    return job


@transaction.atomic
def cancel(actor: Actor, job: Job) -> None:
    """Withdraw a job that waits, or ask the worker to stop one that runs."""
    mine = Job.objects.filter(pk=job.pk)
    now = clock.now()
    if mine.filter(state__in=WAITING).update(
        state=State.CANCELLED, cancel_requested_at=now, finished_at=now
    ) or mine.filter(state__in=ACTIVE, cancel_requested_at=None).update(cancel_requested_at=now):
        _journal(actor, "job.cancelled", job)


def _journal(actor: Actor, verb: str, job: Job) -> None:
    code = job.organisation.code if job.organisation else ""
    journal.append(actor, verb, organisation=code, object=f"job:{job.pk}", data={"name": job.name})


def _finish(job: Job, state: State, **fields: Any) -> None:
    """Write how an active job ended, once: whoever comes second changes nothing."""
    with transaction.atomic():
        if Job.objects.filter(pk=job.pk, state__in=ACTIVE).update(
            state=state, finished_at=clock.now(), **fields
        ):
            _journal(SYSTEM, f"job.{state}", job)


# In the job's own process ------------------------------------------------------------------------


class _Report:
    """What the job says about itself, written by a thread at most four times a second."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.fields: dict[str, Any] = {}
        self.tail = b""
        self.changed = False
        self.lock = threading.Lock()
        self.over = threading.Event()

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        with self.lock:
            self.fields = {"done": done, "total": total, "message": message[:200]}
            self.changed = True

    def read(self, descriptor: int) -> None:
        while chunk := os.read(descriptor, LOG_BYTES):
            with self.lock:
                self.tail = (self.tail + chunk)[-LOG_BYTES:]
                self.changed = True
        os.close(descriptor)

    def write(self) -> None:
        with self.lock:
            if not self.changed:
                return
            fields, self.changed = {**self.fields, "log": _text(self.tail)}, False
        Job.objects.filter(pk=self.job.pk).update(**fields)

    def keep_writing(self) -> None:
        while not self.over.wait(REPORT_EVERY_S):
            with suppress(Exception):  # a busy database must not stop the job
                self.write()
        connection.close()


def _text(tail: bytes) -> str:
    """A log as text; PostgreSQL takes no NUL."""
    return tail.decode("utf-8", "replace").replace("\x00", "\N{REPLACEMENT CHARACTER}")


@contextmanager
def _captured(report: _Report) -> Iterator[None]:
    """Send file descriptors 1 and 2 (native code and grandchildren included) to the report."""
    source, sink = os.pipe()
    kept = os.dup(1), os.dup(2)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    reader = threading.Thread(target=report.read, args=[source], daemon=True)
    writer = threading.Thread(target=report.keep_writing, daemon=True)
    reader.start()
    writer.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for standard, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, standard)
            os.close(saved)
        reader.join(1)  # a grandchild may hold the other end
        report.over.set()
        writer.join()
        report.write()


def run(job_id: UUID | str) -> None:
    """Do one job, in this process, which is given to it whole: output and egress are guarded until
    it ends. Only a job that an executor is starting runs, and only once."""
    if not Job.objects.filter(pk=job_id, state=State.STARTING).update(state=State.RUNNING):
        raise LookupError(f"le travail {job_id} n'attend pas d'être exécuté")
    egress.install_hook()
    job = Job.objects.get(pk=job_id)
    report = _Report(job)
    outcome: dict[str, Any]
    memory_bytes = int(job.resources["memory_bytes"])
    with _captured(report):
        try:
            _limit_memory(memory_bytes)
            result = find(job.name)(report.progress, **job.arguments)
            if len(json.dumps(result, allow_nan=False)) > RESULT_BYTES:
                raise ValueError("le résultat dépasse 1 Mio")
            state, outcome = State.DONE, {"result": result}
        except Exception as error:
            _limit_memory(None)  # saying what happened takes some
            traceback.print_exc()
            state, outcome = State.FAILED, {"error": _sentence(error, memory_bytes)[:400]}
        _limit_memory(None)
    _finish(job, state, **outcome)


def _limit_memory(limit_bytes: int | None) -> None:
    """Bound what this process, and each one that it starts, may allocate (RLIMIT_DATA: private
    writable memory; files read through mmap do not count). None lifts the bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard if limit_bytes is None else limit_bytes
    if limit_bytes is not None and hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _sentence(error: Exception, memory_bytes: int) -> str:
    """Why a job failed, in French when we know what it means."""
    match error:
        case MemoryError():
            return f"Arrêté : il lui fallait plus de {bytes_fr(memory_bytes)} de mémoire."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "Arrêté : le disque est plein. Faites de la place, puis relancez-le."
        case Failed() | egress.EgressRefused():
            return str(error)
        case ValidationError():
            return " ".join(error.messages)
    return f"{type(error).__name__}: {error}"


# In the worker -----------------------------------------------------------------------------------


class Scheduler(Protocol):
    """Chooses which jobs start now."""

    def choose(self, queued: Sequence[Job], active: Sequence[Job]) -> Sequence[Job]: ...


class Executor(Protocol):
    """Starts and stops jobs somewhere. `handle` is the executor's own name for a started job."""

    name: str

    def start(self, job: Job) -> str: ...

    def is_alive(self, handle: str) -> bool: ...

    def stop(self, handle: str, *, kill: bool) -> None: ...


@dataclass(frozen=True)
class FirstInFirstOut:
    """In order of arrival, within the machine's cores; a job that wants more runs alone."""

    cpu: int = os.cpu_count() or 1

    def choose(self, queued: Sequence[Job], active: Sequence[Job]) -> Sequence[Job]:
        used = sum(job.resources["cpu"] for job in active)
        chosen: list[Job] = []
        for job in queued:
            if used and used + job.resources["cpu"] > self.cpu:
                break
            used += job.resources["cpu"]
            chosen.append(job)
        return chosen


def _process_state(pid: int) -> tuple[str, str] | None:
    """State letter and start time of a process, from /proc (proc(5)); None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]


class LocalProcesses:
    """One session, and so one process group, per job. A handle is `pid:start time`, so that a
    pid given again to another process is never taken for ours."""

    name = "local"

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "souverain", "job", "run")):
        self.command = tuple(command)
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: Job) -> str:
        for ended in list(self.children):
            self.is_alive(ended)
        child = subprocess.Popen(
            [*self.command, str(job.pk)], stdin=subprocess.DEVNULL, start_new_session=True
        )
        found = _process_state(child.pid)
        handle = f"{child.pid}:{found[1] if found else ''}"
        self.children[handle] = child
        return handle

    def is_alive(self, handle: str) -> bool:
        pid, _, started = handle.partition(":")
        found = _process_state(int(pid)) if pid else None
        if found is not None and found[1] == started and found[0] not in "ZX":
            return True
        child = self.children.pop(handle, None)
        if child is not None:
            # Until it is reaped the pid is still its group's: nothing of the job outlives it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return False

    def stop(self, handle: str, *, kill: bool) -> None:
        if self.is_alive(handle):
            with suppress(ProcessLookupError):
                os.killpg(int(handle.partition(":")[0]), signal.SIGKILL if kill else signal.SIGTERM)


def must_stop_since(job: Job) -> datetime | None:
    """Since when an active job has to be stopped: asked, or its time is over."""
    limits = [job.cancel_requested_at] if job.cancel_requested_at else []
    if job.started_at:
        limits.append(job.started_at + timedelta(seconds=job.resources["time_limit_s"]))
    past = [limit for limit in limits if limit <= clock.now()]
    return min(past) if past else None


def step(scheduler: Scheduler, executor: Executor) -> None:
    """Follow the active jobs, then start those that the scheduler chooses."""
    active = list(Job.objects.filter(state__in=ACTIVE).select_related("organisation"))
    for job in active:
        _follow(job, executor)
    active = [job for job in active if job.state in ACTIVE]
    queued = Job.objects.filter(state=State.QUEUED).order_by("created_at", "id")[:1000]
    for job in scheduler.choose(list(queued), active):
        _start(job, executor)


def _follow(job: Job, executor: Executor) -> None:
    since = must_stop_since(job)
    if executor.is_alive(job.handle):
        if since is not None:
            executor.stop(job.handle, kill=clock.now() - since >= GRACE)
        return
    if job.cancel_requested_at:
        _finish(job, State.CANCELLED)
    elif since is not None:
        limit = duration_fr(timedelta(seconds=job.resources["time_limit_s"]))
        _finish(job, State.FAILED, error=f"Arrêté : il a duré plus de {limit}.")
    else:
        _finish(
            job,
            State.INTERRUPTED,
            error="Le travail s'est arrêté sans rendre de résultat : son processus a été tué, "
            "ou la machine a redémarré. Relancez-le.",
        )
    job.refresh_from_db()


def _start(job: Job, executor: Executor) -> None:
    taken = Job.objects.filter(pk=job.pk, state=State.QUEUED).update(
        state=State.STARTING, executor=executor.name, started_at=clock.now()
    )
    if not taken:
        return
    try:
        handle = executor.start(job)
    except OSError as error:
        _finish(job, State.FAILED, error=f"Le travail n'a pas pu démarrer : {error}"[:400])
    else:
        Job.objects.filter(pk=job.pk).update(handle=handle)
