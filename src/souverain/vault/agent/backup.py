"""One evening: back up, have the vault prove that it recorded it, write down what happened.

Every ending leaves `etat.json` saying it: what goes wrong before restic starts, a line that is cut,
a refusal. A run that is killed leaves a beginning without an end, and the next one goes on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from souverain.core.format import duration_fr
from souverain.vault.agent import AgentError, lock, settings, state, stock, trial
from souverain.vault.agent.place import Address, Place, shown
from souverain.vault.agent.receipts import Answer, Progress, ask, ask_to_write, check
from souverain.vault.agent.sentence import AGAIN, unreadable
from souverain.vault.agent.settings import Settings
from souverain.vault.agent.state import (
    COMPLETE,
    FAILED,
    FAULTY,
    INCOMPLETE,
    RECEIVED,
    VERIFIED,
    Saved,
    State,
)

WAITS_S = (60, 300)
"""Before the second try and the third: restic itself tries for 15 minutes each time."""
_SNAPSHOT = re.compile(r"[0-9a-f]{8,64}")
REFUSED = {
    401: "Le coffre-fort ne connaît pas cet appareil, ou il a été révoqué : ajoutez-en un sur la "
    "page « Coffre-fort » de la commune, et mettez son adresse dans depot.txt.",
    403: "Cet appareil n'a pas le droit de sauvegarder dans ce dépôt : sur la page « Coffre-fort » "
    "de la commune, ajoutez un appareil qui peut « Sauvegarder ».",
    507: "Le coffre-fort de la commune est plein : demandez plus de place au département. Rien n'est "
    "perdu.",
}


@dataclass(frozen=True)
class Screen:
    """Where a run tells what it does: a bar for each part of it, and sentences."""

    bar: Callable[[str], AbstractContextManager[Progress]]
    say: Callable[[str], None]


def load_settings(place: Place) -> Settings:
    """Raises AgentError."""
    try:
        with place.settings.open("rb") as file:
            content = file.read(settings.MAX_BYTES + 1)
    except FileNotFoundError:
        raise AgentError(
            "Ce poste n'est pas encore réglé : lancez « souverain vault agent setup »."
        ) from None
    except OSError as error:
        raise AgentError(f"agent.toml ne se lit pas ({error.strerror}).") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise AgentError("agent.toml n'est pas en UTF-8 : enregistrez-le ainsi.") from None
    if len(content) > settings.MAX_BYTES:
        raise AgentError("agent.toml est démesuré.")
    return settings.parse(text)


def run(place: Place, screen: Screen) -> State:
    """Back up and verify. Raises Busy; anything else is in the state that is returned."""
    with lock.alone(place.lock) as held:
        before = _before(place)
        now = state.keep(
            place.state,
            before,
            started_at=datetime.now(UTC),
            finished_at=None,
            outcome=None,
            message="",
            unreadable=(),
            unreadable_count=0,
        )
        try:
            address, chosen = place.address(), load_settings(place)
            with screen.bar("Sauvegarde") as sent:
                evening = _Evening(place, address, chosen, held, sent, screen.say)
                now = _backed_up(evening, now, before.was_cut)
        except AgentError as error:
            now = replace(now, outcome=FAILED, message=str(error))
        else:
            with screen.bar("Vérification") as read:
                now = _checked(evening, now, read)
            at = datetime.now(UTC)
            if trial.is_due(now, at) or trial.is_unknown_there(place, at):
                # Cut in the drill, the backup is made all the same.
                state.keep(place.state, now, finished_at=datetime.now(UTC))
                now = _tried(place, now, screen)
        return state.keep(place.state, now, finished_at=datetime.now(UTC))


def drill(place: Place, screen: Screen) -> State:
    """A restore drill, now. Raises Busy."""
    with lock.alone(place.lock):
        return state.keep(place.state, _tried(place, _before(place), screen))


def _tried(place: Place, now: State, screen: Screen) -> State:
    with screen.bar("Essai de restauration") as restored:
        found = trial.attempt(place, restored)
    passed_at = found.at if found.outcome == trial.PASSED else now.restored_at
    return replace(now, trial=found, restored_at=passed_at)


def _before(place: Place) -> State:
    try:
        return state.read(place.state) or State()
    except AgentError:
        return State()  # this run writes it again


@dataclass(frozen=True)
class _Evening:
    """What a run works with."""

    place: Place
    address: Address
    chosen: Settings
    lock: int
    sent: Progress
    say: Callable[[str], None]


# The backup --------------------------------------------------------------------------------------


def _backed_up(evening: _Evening, now: State, was_cut: bool) -> State:
    """Raises AgentError."""
    place, address = evening.place, evening.address
    program = stock.find()
    there = {each: folder for each in evening.chosen.folders if (folder := _there(each))}
    absent = [each for each in evening.chosen.folders if each not in there]
    if not there:
        raise AgentError(
            f"Aucun des dossiers à protéger n'est là ({', '.join(map(shown, absent))}) : branchez le "
            f"disque ou le réseau, ou corrigez agent.toml, puis {AGAIN}."
        )
    summary: dict[str, Any] = {}

    def heard(message: Any) -> None:
        kind = message.get("message_type") if isinstance(message, dict) else None
        if kind == "status":
            evening.sent(stock.number(message, "bytes_done"), stock.number(message, "total_bytes"))
        elif kind == "summary":
            summary.update(message)

    left_out = (*evening.chosen.exclusions, escaped(_there(str(place.folder)) or ""))
    options = [f"--iexclude={each}" for each in left_out]
    waits = list(WAITS_S)
    while True:
        _must_answer(answer := ask(address))
        if answer.status == 200:
            if was_cut:  # and its lock stayed in the vault
                stock.run(program, place, address, ["unlock"], lock=evening.lock)
            arguments = ["backup", *options, "--", *there.values()]
            done = stock.run(
                program, place, address, arguments, on_message=heard, lock=evening.lock
            )
            if done.status in (0, 3) and _SNAPSHOT.fullmatch(str(summary.get("snapshot_id"))):
                return _saved(now, summary, done, len(there), absent)
            if done.refused == 403 and done.reading and "--force" not in options:
                # Its memory of the last backup is gone, and a day allows little reading: every
                # file is read again here, and only what is new is sent.
                options.append("--force")
                continue
            if done.refused == 403:
                raise AgentError(_forbidden(ask_to_write(address)))
            if done.refused or (answer := ask(address)).status == 200:
                raise AgentError(explained(done))
        if not waits:
            raise AgentError(
                f"{silent(answer, address)} Vérifiez la connexion à Internet, puis {AGAIN} : la "
                "sauvegarde reprendra ce qui est déjà parti."
            )
        wait_s = waits.pop(0)
        evening.say(
            f"{silent(answer, address)} Nouvel essai dans {duration_fr(timedelta(seconds=wait_s))}."
        )
        time.sleep(wait_s)


def _must_answer(answer: Answer) -> None:
    """Raises AgentError for what another try does not change."""
    if answer.status in REFUSED:
        raise AgentError(REFUSED[answer.status])
    if answer.status == 404:
        raise AgentError("Ce dépôt n'est pas prêt : lancez « souverain vault agent setup ».")


def _forbidden(answer: Answer) -> str:
    """Restic does not show why: the device's rights, or a site that another replaced."""
    if answer.status != 403 or not answer.sentence:
        return REFUSED[403]
    return (
        f"Le coffre-fort refuse ce que ce poste envoie : « {answer.sentence} » Si c'est l'appareil, "
        "ajoutez-en un qui peut « Sauvegarder » sur la page « Coffre-fort » de la commune ; si c'est "
        "le site, demandez l'adresse de l'autre au département, et corrigez depot.txt."
    )


def _there(folder: str) -> str | None:
    """A folder as restic is given it: of a link it would keep the link alone."""
    if not Path(folder).is_dir():
        return None
    return os.path.realpath(folder) if os.name == "posix" else folder


def escaped(path: str) -> str:
    """A path as a pattern of restic's that is nothing else; in classes, which also Windows has."""
    special = {"*": "[*]", "?": "[?]", "[": "[[]"}
    if os.name == "posix":
        special["\\"] = "[\\\\]"
    return "".join(special.get(each, each) for each in path)


def silent(answer: Answer, address: Address) -> str:
    said = f" (« {answer.sentence} »)" if answer.sentence else ""
    if answer.status is None:
        return f"Le coffre-fort ({address.host}) ne répond pas{said}."
    return f"Le coffre-fort ({address.host}) a répondu {answer.status}{said}."


def _saved(
    now: State, summary: dict[str, Any], done: stock.Done, folders: int, absent: list[str]
) -> State:
    saved = Saved(
        at=datetime.now(UTC),
        snapshot=summary["snapshot_id"],
        folders=folders,
        files=stock.number(summary, "total_files_processed"),
        bytes=stock.number(summary, "total_bytes_processed"),
    )
    said = []
    if absent:
        named = ", ".join(f"« {shown(each, 120)} »" for each in absent[:3])
        said.append(
            f"{named} n'est pas là : branchez le disque ou le réseau, ou corrigez agent.toml, puis "
            f"{AGAIN}."
        )
    if done.unreadable_count or done.status == 3:
        said.append(unreadable(tuple(done.unreadable), max(done.unreadable_count, 1)))
    return replace(
        now,
        outcome=INCOMPLETE if said else COMPLETE,
        message=" ".join(said),
        unreadable=tuple(done.unreadable),
        unreadable_count=done.unreadable_count,
        saved=saved,
        files_before=now.saved.files if now.saved else 0,
    )


def explained(done: stock.Done) -> str:
    """Why restic stopped, in French."""
    if done.refused in REFUSED:
        return REFUSED[done.refused]
    if done.status == 12 or done.says("wrong password"):
        return (
            "Le mot de passe (motdepasse.txt) n'ouvre pas ce dépôt : remettez celui de l'enveloppe "
            "gardée au coffre de la mairie."
        )
    if done.status == 11 or done.says("already locked"):
        return f"Un autre poste range ce dépôt en ce moment : {AGAIN} plus tard."
    if done.says("no space left on device"):
        return f"Le disque de ce poste est plein : faites de la place, puis {AGAIN}."
    last = next((each for each in reversed(done.said) if each.startswith("Fatal")), "")
    last = last or (done.said[-1] if done.said else "rien")
    return f"restic s'est arrêté (code {done.status}) en disant « {last} »."


# The proof ---------------------------------------------------------------------------------------


def _checked(evening: _Evening, now: State, read: Progress) -> State:
    """A fault that was found stays until a check finds everything right."""
    assert now.saved
    today = datetime.now().astimezone().date().isoformat()
    found, received = check(
        evening.place,
        evening.address,
        log_key := evening.chosen.log_key,
        now.saved.snapshot,
        reads_data=now.sampled_on != today,
        progress=read,
    )
    proven = found.outcome == VERIFIED or (found.outcome == RECEIVED and not log_key)
    if now.check and now.check.outcome == FAULTY and found.outcome != FAULTY and not proven:
        found = replace(now.check, snapshot=found.snapshot)
    return replace(
        now,
        check=found,
        saved=replace(now.saved, received_at=received),
        unverified_since=None if proven else now.unverified_since or found.at,
        sampled_on=today,
    )


def is_due(chosen: Settings, last: State | None, now: datetime) -> bool:
    """Whether the hour has struck since the last backup that was made."""
    local = now.astimezone()
    struck = local.replace(
        hour=chosen.hour.hour, minute=chosen.hour.minute, second=0, microsecond=0
    )
    if struck > local:
        struck -= timedelta(days=1)
    saved = last.saved if last else None
    return saved is None or saved.at < struck or saved.at > now
