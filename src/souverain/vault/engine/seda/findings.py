"""What a check found: a verdict, and its reasons in French, each with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MAX_REASONS = 500
MAX_CHARACTERS = 400
"""Of a place or a reason: they quote what a stranger wrote."""


class Verdict(StrEnum):
    OK = "OK"
    WARNING = "WARNING"
    KO = "KO"


@dataclass(frozen=True)
class Reason:
    level: Verdict
    place: str
    reason: str


@dataclass
class Findings:
    verdict: Verdict = Verdict.OK
    reasons: list[Reason] = field(default_factory=list)
    left_out: int = 0
    """Reasons beyond MAX_REASONS: a hostile file has as many as it likes."""
    not_checked: list[str] = field(default_factory=list)
    """What only the archives that receive the SIP can say."""

    def refuse(self, place: str, reason: str) -> None:
        self.verdict = Verdict.KO
        self._keep(Verdict.KO, place, reason)

    def warn(self, place: str, reason: str) -> None:
        if self.verdict == Verdict.OK:
            self.verdict = Verdict.WARNING
        self._keep(Verdict.WARNING, place, reason)

    def _keep(self, level: Verdict, place: str, reason: str) -> None:
        if len(self.reasons) < MAX_REASONS:
            self.reasons.append(Reason(level, _line(place), _line(reason)))
        else:
            self.left_out += 1


def _line(text: str) -> str:
    """One short line, whatever is in it."""
    shown = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown)
