"""The journal's verification as a job, against the last head that was exported."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

from souverain.core import journal, worker
from souverain.core.format import date_fr, number_fr
from souverain.core.jobs import Failed, Progress, Resources, job
from souverain.core.models import Job


class KeptHead(NamedTuple):
    """A head of the journal that the worker exported, and its day."""

    day: date
    head: journal.Head


def read_head(path: Path) -> journal.Head:
    """The head in a file of `journal head --json` or of the daily export (its schema:
    docs/schemas/journal-head.schema.json). Raises ValueError, in French, naming line and key."""
    text = path.read_bytes()[:10_000]
    try:
        content = json.loads(text)
    except UnicodeDecodeError:
        raise ValueError(f"{path.name} : ce n'est pas du texte.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}, ligne {error.lineno} : ce n'est pas du JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}, ligne 1 : un objet JSON est attendu.")
    seq, digest = content.get("seq"), content.get("hash")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
        raise ValueError(f"{path.name}, clé « seq » : un nombre entier est attendu.")
    if not isinstance(digest, str) or not _is_sha256(digest):
        raise ValueError(f"{path.name}, clé « hash » : 64 chiffres hexadécimaux sont attendus.")
    return journal.Head(seq, digest)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not set(text) - set("0123456789abcdef")


def last_head() -> KeptHead | None:
    """The last head that the worker exported. Raises ValueError when its file is damaged."""
    folder = settings.HOME / worker.HEADS_FOLDER
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            day = date.fromisoformat(path.stem)
        except ValueError:
            continue  # not one of ours
        return KeptHead(day, read_head(path))
    return None


@job(
    "core.verify_journal",
    "Vérifier le journal",
    Resources(memory_bytes=1 << 30, time_limit_s=6 * 3600),
)
def verify_journal(progress: Progress) -> dict[str, Any]:
    total = journal.head().seq
    try:
        kept = last_head()
    except ValueError as error:
        raise Failed(f"L'empreinte exportée est abîmée : {error}") from None
    progress(0, total, "Vérification de la chaîne")
    outcome = journal.verify(
        kept.head if kept else None,
        lambda seq: progress(seq, max(seq, total), "Vérification de la chaîne"),
    )
    if outcome.fault:
        raise Failed(f"Journal atteint : {outcome.fault}.")
    day = f", et comparé à l'empreinte du {date_fr(kept.day)}" if kept else ""
    read = "entrée relue" if outcome.entries < 2 else "entrées relues"
    return {
        "summary": f"Le journal est entier\u00a0: {number_fr(outcome.entries)} {read}{day}.",
        "entries": outcome.entries,
        "hash": outcome.head.hash,
        "compared_with": kept.day.isoformat() if kept else None,
    }


def last_verification() -> Job | None:
    """The last verification that was asked for, whatever its state."""
    return Job.objects.filter(name=verify_journal.name).order_by("-created_at", "id").first()
