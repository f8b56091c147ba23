"""Every evening by itself: what is written for systemd, cron or Windows, and how it is put there.

A missed evening is caught up: `Persistent=true`, `StartWhenAvailable`, and under cron an hourly
`run --due`, which does nothing when the evening's backup is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from shlex import quote
from xml.sax.saxutils import escape

from souverain.vault.agent import AgentError
from souverain.vault.agent.place import Address
from souverain.vault.whole import write_whole


@dataclass(frozen=True)
class Job:
    """What to start, and when. `program`: the words that start this program."""

    set: str
    folder: Path
    hour: time
    program: tuple[str, ...]
    path: str
    """Where programs are found: a scheduler has fewer folders than a terminal."""
    minute: int
    """Of its own, so that not every town hall calls at once."""

    @property
    def name(self) -> str:
        return f"coffre-fort-{self.set}"

    @property
    def command(self) -> tuple[str, ...]:
        return (*self.program, "vault", "agent", "run", "--home", str(self.folder))


def job(address: Address, folder: Path, hour: time, restic: str | None) -> Job:
    """For this very program, wherever it is installed."""
    beside = Path(sys.executable).with_name("souverain.exe" if os.name == "nt" else "souverain")
    program = (str(beside),) if beside.exists() else (sys.executable, "-m", "souverain")
    folders = [str(Path(restic).parent)] if restic else []
    folders += [each for each in ("/usr/local/bin", "/usr/bin", "/bin") if each not in folders]
    minute = zlib.crc32(address.device.encode()) % 60
    return Job(address.set, folder, hour, program, ":".join(folders), minute)


def kind() -> str:
    """What this machine schedules with: `windows`, `systemd` or `cron`. Raises AgentError."""
    if os.name == "nt":
        return "windows"
    if shutil.which("systemctl") and _run("systemctl", "--user", "show-environment")[0] == 0:
        return "systemd"
    if shutil.which("crontab"):
        return "cron"
    raise AgentError(
        "Ce poste n'a ni systemd pour ce compte, ni cron : faites lancer chaque soir, par le "
        "planificateur de tâches qu'il a, la commande que montre --print."
    )


# What is written ---------------------------------------------------------------------------------


def service(job: Job) -> str:
    command = " ".join(_systemd(each) for each in job.command)
    return f"""\
# {job.name}.service
[Unit]
Description=Sauvegarde de {job.set} au coffre-fort

[Service]
Type=oneshot
Environment={_systemd(f"PATH={job.path}")}
ExecStart={command}
"""


def timer(job: Job) -> str:
    return f"""\
# {job.name}.timer
[Unit]
Description=Sauvegarde de {job.set} au coffre-fort, chaque soir

[Timer]
OnCalendar=*-*-* {job.hour:%H:%M}:00
Persistent=true
RandomizedDelaySec=15min

[Install]
WantedBy=timers.target
"""


def _systemd(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def cron_line(job: Job) -> str:
    """Each hour: cron has no word for a missed start."""
    words = " ".join(map(quote, (*job.command, "--due")))
    line = f"PATH={quote(job.path)} {words} >/dev/null 2>&1 {_mark(job)}"
    return f"{job.minute} * * * * {line}".replace("%", "\\%")


def _mark(job: Job) -> str:
    """A comment for the shell, by which the line is found again."""
    return f"# {job.name}"


def task(job: Job) -> str:
    """Windows's own form of a task: its command line has no word for a missed start."""
    program, *words = job.command
    arguments = subprocess.list2cmdline(words)
    return f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Sauvegarde de {escape(job.set)} au coffre-fort</Description>
  </RegistrationInfo>
  <Triggers>
    <CalendarTrigger>
      <StartBoundary>2026-01-01T{job.hour:%H:%M}:00</StartBoundary>
      <Enabled>true</Enabled>
      <ScheduleByDay>
        <DaysInterval>1</DaysInterval>
      </ScheduleByDay>
    </CalendarTrigger>
  </Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions>
    <Exec>
      <Command>{escape(program)}</Command>
      <Arguments>{escape(arguments)}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


def printed(job: Job, kind: str) -> str:
    """What `install` puts there."""
    if kind == "windows":
        return f"{task(job)}\nschtasks /Create /F /TN {job.name} /XML tache.xml\n"
    if kind == "systemd":
        return f"{service(job)}\n{timer(job)}"
    return f"{cron_line(job)}\n"


# Putting it there --------------------------------------------------------------------------------


def install(job: Job, kind: str) -> str:
    """Put it there, in the place of a former one; returns what to know about it."""
    if kind == "windows":
        _windows(job)
        return "Le planificateur de tâches de Windows s'en charge, même après une absence."
    if kind == "cron":
        _set_crontab([*_other_lines(job), cron_line(job)])
        return "cron s'en charge : chaque heure, il regarde si la sauvegarde du jour est faite."
    units = _units()
    units.mkdir(parents=True, exist_ok=True)
    write_whole(units / f"{job.name}.service", service(job).encode())
    write_whole(units / f"{job.name}.timer", timer(job).encode())
    _must("systemctl", "--user", "daemon-reload")
    _must("systemctl", "--user", "enable", "--now", f"{job.name}.timer")
    return (
        "systemd s'en charge, même après une absence, quand ce compte a une session ouverte. Pour "
        "que cela marche aussi sans session : loginctl enable-linger"
    )


def remove(job: Job, kind: str) -> None:
    """Take it away; nothing happens when it is not there."""
    if kind == "windows":
        if _run("schtasks", "/Query", "/TN", job.name)[0] == 0:
            _must("schtasks", "/Delete", "/F", "/TN", job.name)
        return
    if kind == "cron":
        _set_crontab(_other_lines(job))
        return
    files = [_units() / f"{job.name}.{end}" for end in ("timer", "service")]
    if any(file.exists() for file in files):
        _must("systemctl", "--user", "disable", "--now", f"{job.name}.timer")
        for file in files:
            file.unlink(missing_ok=True)
        _must("systemctl", "--user", "daemon-reload")


def _units() -> Path:
    return Path.home() / ".config" / "systemd" / "user"


def _windows(job: Job) -> None:
    descriptor, name = tempfile.mkstemp(suffix=".xml")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(task(job).encode("utf-16"))
        _must("schtasks", "/Create", "/F", "/TN", job.name, "/XML", name)
    finally:
        Path(name).unlink()


def _other_lines(job: Job) -> list[str]:
    status, told = _run("crontab", "-l")
    if status:
        return []  # there is none yet
    return [line for line in told.splitlines() if not line.endswith(_mark(job))]


def _set_crontab(lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines)
    _must("crontab", "-", given=content)


def _must(*command: str, given: str = "") -> None:
    status, told = _run(*command, given=given)
    if status:
        last = (told.strip().splitlines() or ["rien"])[-1][:300]
        raise AgentError(f"« {' '.join(command[:3])} » a échoué en disant « {last} ».")


def _run(*command: str, given: str = "") -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, done.stdout
