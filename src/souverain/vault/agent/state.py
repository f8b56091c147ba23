"""`etat.json`: what the last run did, and the last backup that there is. No secret goes in it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from souverain.vault.agent import AgentError
from souverain.vault.whole import write_whole

MAX_BYTES = 1 << 20
SHOWN_FILES = 20
COMPLETE, INCOMPLETE, FAILED = "complete", "incomplete", "failed"
VERIFIED, RECEIVED, UNKNOWN, FAULTY = "verified", "received", "unknown", "failed"


@dataclass(frozen=True)
class Saved:
    """A backup that is in the vault. `at`: by this machine's clock; `received_at`: by the
    server's, when it was asked."""

    at: datetime
    snapshot: str
    folders: int
    files: int
    bytes: int
    received_at: datetime | None = None


@dataclass(frozen=True)
class Check:
    """What the vault shows of a backup: `verified` (recorded, and the log holds), `received`
    (recorded; the log was not checked), `unknown` (could not be asked), `failed` (a fault)."""

    at: datetime
    outcome: str
    snapshot: str = ""
    message: str = ""
    cosigned: bool = False


@dataclass(frozen=True)
class Trial:
    """The last restore drill: `passed`, `failed`, `unfinished`, or `unknown` (not made). `sent`:
    whether the vault has its signed report."""

    at: datetime
    outcome: str
    message: str = ""
    files: int = 0
    sent: bool = False


@dataclass(frozen=True)
class State:
    """`outcome` is None from the start of a run to its end. `message`: why it is not complete."""

    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: str | None = None
    message: str = ""
    unreadable: tuple[str, ...] = ()
    unreadable_count: int = 0
    saved: Saved | None = None
    files_before: int = 0
    """Of the backup before `saved`: a fall says that something is protected no longer."""
    check: Check | None = None
    unverified_since: datetime | None = None
    """Since when no check could be made to its end; None when the last one was."""
    sampled_on: str = ""
    """The day on which the check last read data, of which a day allows little."""
    trial: Trial | None = None
    restored_at: datetime | None = None
    """When a drill last passed."""

    @property
    def was_cut(self) -> bool:
        """Whether a run began and never ended; true as well while it runs."""
        return self.started_at is not None and self.finished_at is None


def parse(content: bytes) -> State:
    """Raises AgentError."""
    try:
        told = orjson.loads(content)
        saved, check, trial = told.pop("saved"), told.pop("check"), told.pop("trial")
        return State(
            saved=Saved(**_typed(saved, Saved)) if saved else None,
            check=Check(**_typed(check, Check)) if check else None,
            trial=Trial(**_typed(trial, Trial)) if trial else None,
            **_typed(told, State),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        raise AgentError(
            "etat.json est illisible : lancez « souverain vault agent run », qui le refait."
        ) from None


_INSTANTS = ("at", "received_at", "started_at", "finished_at", "unverified_since", "restored_at")
_NUMBERS = ("folders", "files", "bytes", "unreadable_count", "files_before")


def _typed(told: dict[str, Any], kind: type[State | Saved | Check | Trial]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (each.name for each in fields(kind)):
        if name in ("saved", "check", "trial"):
            continue
        value = told.pop(name)
        if name in _INSTANTS:
            value = datetime.fromisoformat(value) if value is not None else None
            if value is not None and value.tzinfo is None:
                raise ValueError(name)
        elif name in _NUMBERS:
            if type(value) is not int:
                raise ValueError(name)
        elif name == "unreadable":
            value = tuple(map(str, value))
        elif name in ("cosigned", "sent"):
            value = bool(value)
        elif not (isinstance(value, str) or (name == "outcome" and value is None)):
            raise ValueError(name)
        found[name] = value
    if told:
        raise ValueError(*told)
    return found


def written(state: State) -> bytes:
    return orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)


def read(file: Path) -> State | None:
    """What is there; None when the agent has never run. Raises AgentError."""
    try:
        with file.open("rb") as opened:
            return parse(opened.read(MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgentError(f"{file} ne se lit pas ({error.strerror}) : vérifiez le compte.") from None


def keep(file: Path, state: State, **changes: Any) -> State:
    """Write what changed; returns it."""
    changed = replace(state, **changes)
    write_whole(file, written(changed))
    return changed
