"""Driving the stock restic. Whatever it prints is bounded, and loses its secrets before anything
else is done with it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from souverain.vault.agent import AgentError
from souverain.vault.agent.place import Address, Place, shown
from souverain.vault.agent.state import SHOWN_FILES

OLDEST = (0, 14)  # the first that reads version 2 of the format
_LINE_MAX_BYTES = 64 << 20  # `snapshots --json` is one line
_ENDING_S = 30
# What the server will not answer otherwise, however often restic asks: it would for 15 minutes.
_FINAL = (400, 401, 403, 410, 507)
_STATUS = re.compile(r"\((\d{3})\)")
_VERSION = re.compile(r"restic (\d+)\.(\d+)")
_KEPT_ENVIRONMENT = ("RESTIC_CACHE_DIR",)


@dataclass
class Done:
    """A run of restic. `refused`: the HTTP status that stopped it; `reading`: while it read."""

    status: int = 0
    said: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    refused: int | None = None
    reading: bool = False
    unreadable: list[str] = field(default_factory=list)
    unreadable_count: int = 0

    def note_unreadable(self, name: str) -> None:
        self.unreadable_count += 1
        if len(self.unreadable) < SHOWN_FILES:
            self.unreadable.append(shown(name))

    def says(self, *words: str) -> bool:
        return any(word in line for line in self.said for word in words)


def find() -> str:
    """The program, of a version that one knows. Raises AgentError."""
    program = shutil.which("restic")
    if program is None:
        raise AgentError(
            "Le programme restic manque sur ce poste : « sudo apt install restic » sous Debian ou "
            "Ubuntu, « winget install --exact --id restic.restic » sous Windows."
        )
    try:
        told = subprocess.run(
            [program, "version"], capture_output=True, timeout=60, env=_environment()
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        told = b""
    found = _VERSION.match(told[:200].decode(errors="replace"))
    if found is None:
        raise AgentError(f"{program} n'est pas le programme restic, ou ne démarre pas.")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise AgentError(
            f"restic {found[1]}.{found[2]} est trop ancien : installez la version "
            f"{OLDEST[0]}.{OLDEST[1]} ou une plus récente."
        )
    return program


def _environment() -> dict[str, str]:
    """Nothing that would name another repository or password than the files do."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RESTIC_") or name in _KEPT_ENVIRONMENT
    }
    # One line a second, by which restic notices that whoever started it is gone.
    return {**kept, "RESTIC_PROGRESS_FPS": "1"}


def run(
    program: str,
    place: Place,
    address: Address,
    arguments: Sequence[str],
    *,
    repository: Path | None = None,
    on_message: Callable[[Any], None] = lambda message: None,
    lock: int | None = None,
) -> Done:
    """Run restic to its end; `on_message` takes each line of JSON, which may be anything. Ended by
    Ctrl-C, it lets restic remove its lock in the vault."""
    command = [program, "--repository-file", str(repository or place.repository)]
    command += ["--password-file", str(place.password), "--json", *arguments]
    done = Done()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        pass_fds=(lock,) if lock is not None and os.name == "posix" else (),
    )
    assert process.stdout and process.stderr
    hearing = threading.Thread(target=_hear, args=(process, process.stderr, address, done))
    hearing.start()
    try:
        for line in _lines(process.stdout):
            message = _parsed(line)
            if message is None:
                done.said.append(shown(address.hide(line.decode(errors="replace").strip())))
            elif not _is_error(message, address, done):
                on_message(message)
        done.status = process.wait()
    finally:
        if process.poll() is None:
            _end(process)
            process.wait()
        hearing.join()
        process.stdout.close()
        process.stderr.close()
    return done


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Each line; one that is too long is no line."""
    while line := stream.readline(_LINE_MAX_BYTES):
        if len(line) < _LINE_MAX_BYTES or line.endswith(b"\n"):
            yield line
        else:
            while (rest := stream.readline(_LINE_MAX_BYTES)) and not rest.endswith(b"\n"):
                pass


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _hear(
    process: subprocess.Popen[bytes], stream: IO[bytes], address: Address, done: Done
) -> None:
    """What restic complains of; what the server refuses for good ends it."""
    for line in _lines(stream):
        message = _parsed(line)
        if message is not None and _is_error(message, address, done):
            continue
        text = shown(address.hide(line.decode(errors="replace").strip()))
        if not text:
            continue
        done.said.append(text)
        status = _refusal(text)
        if status is not None and done.refused is None:
            done.refused, done.reading = status, text.startswith("Load(<data/")
            _end(process, gently=status != 401)


def _end(process: subprocess.Popen[bytes], *, gently: bool = True) -> None:
    """As Ctrl-C does, upon which restic removes its lock in the vault, if it still may."""
    if not gently or os.name != "posix":
        process.terminate()
        return
    process.send_signal(signal.SIGINT)
    last = threading.Timer(_ENDING_S, process.kill)
    last.daemon = True
    last.start()


def _refusal(text: str) -> int | None:
    if not ("returned error, retrying" in text or text.startswith("Fatal:")):
        return None
    found = [int(each) for each in _STATUS.findall(text)]
    return next((each for each in found if each in _FINAL), None)


def _is_error(message: Any, address: Address, done: Done) -> bool:
    """Take a message that tells an error: of a file, or of the whole."""
    kind = message.get("message_type") if isinstance(message, dict) else None
    if kind not in ("error", "exit_error"):
        return False
    item = message.get("item")
    if kind == "error" and isinstance(item, str) and item:
        done.note_unreadable(address.hide(item))
        return True
    done.said.append(shown(address.hide(str(message.get("message") or message.get("error")))))
    return True


def number(message: Any, name: str) -> int:
    """A count that restic gives; 0 for what is none."""
    value = message.get(name) if isinstance(message, dict) else None
    return value if type(value) is int and 0 <= value < 1 << 63 else 0
