"""The weekly restore drill (`vault.drill`), where the password is: in the evening, after the check."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from souverain.vault.agent.place import Place, read_secret, shown
from souverain.vault.agent.state import UNKNOWN, State, Trial
from souverain.vault.audit import AuditError

EVERY = timedelta(days=7)
PASSED = "passed"


def is_due(last: State, now: datetime) -> bool:
    """A week after one that passed; the next evening after any other. Not on Windows, where the
    drill does not run."""
    tried = last.trial
    if os.name != "posix":
        return False
    if tried is None or tried.outcome != PASSED:
        return True
    return not tried.at <= now < tried.at + EVERY


def is_unknown_there(place: Place, now: datetime) -> bool:
    """Whether the vault has no drill of this week: another site took its place, or no report
    reached it. False when it does not say."""
    from souverain.vault.drill_remote import Remote

    try:
        at = Remote(read_secret(place.repository)).passed_at()
    except (AuditError, OSError):
        return False
    return os.name == "posix" and (at is None or now - at >= EVERY)


def attempt(place: Place, progress: Callable[[int, int], None]) -> Trial:
    """Restore a sample, compare it, send the signed report. What keeps it from being made is in
    the answer."""
    from souverain.vault import drill
    from souverain.vault.drill_folder import ended_by_signals
    from souverain.vault.engine.drill import FAULTS, LIMITS

    try:
        with ended_by_signals():
            done = drill.run(
                place.repository,
                read_secret(place.password).encode(),
                key_file=place.witness,
                checkpoint=place.checkpoint if place.checkpoint.exists() else None,
                progress=progress,
            )
    except (drill.DrillError, AuditError, OSError) as error:
        return Trial(datetime.now(UTC), UNKNOWN, shown(f"{error}."))
    report = done.report
    why = [FAULTS[kind] for kind, _ in report.faults]
    if report.limit and not why:
        why = [LIMITS[report.limit]]
    message = f"{why[0][:1].upper()}{', '.join(why)[1:]}." if why else ""
    return Trial(datetime.now(UTC), report.verdict, message, report.files_restored, done.sent)
