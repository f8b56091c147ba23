"""What is protected and since when, in one French sentence; what is wrong comes first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from souverain.core.format import NBSP, PARIS, THIN, date_fr, number_fr, time_fr
from souverain.vault.agent.place import shown
from souverain.vault.agent.state import (
    FAILED,
    FAULTY,
    INCOMPLETE,
    RECEIVED,
    VERIFIED,
    State,
)

LATE = timedelta(hours=26)
LONG = timedelta(hours=24)
UNVERIFIED = timedelta(days=7)
UNTRIED = timedelta(days=35)
SKEW = timedelta(minutes=10)  # what a machine's clock may be off
AGAIN = "lancez « souverain vault agent run »"


class Told(NamedTuple):
    ok: bool
    text: str


def tell(state: State | None, now: datetime, *, running: bool, exposed: list[str]) -> Told:
    """`running`: whether a run is under way; `exposed`: the secrets that others can read."""
    wrong = list(_wrong(state, now, running))
    text = " ".join([*wrong, _protected(state, now)] if state else wrong).strip()
    if state and running and not wrong:
        text += " Une sauvegarde est en cours."
    if exposed:
        text += (
            f" Attention : {' et '.join(exposed)} {'sont lisibles' if exposed[1:] else 'est lisible'} "
            f"par d'autres comptes de ce poste ; réglez-le par « chmod 600 {' '.join(exposed)} »."
        )
    is_protected = state is not None and state.saved is not None
    return Told(is_protected and not wrong, text.replace(THIN, NBSP))


def _wrong(state: State | None, now: datetime, running: bool) -> list[str]:
    """Everything that asks for somebody, the worst first."""
    if state is None:
        return [f"Rien n'est encore protégé : {AGAIN}."]
    said = []
    if state.check and state.check.outcome == FAULTY:
        said.append(
            f"ALERTE : {state.check.message} Appelez le département, et gardez le fichier "
            "preuve.json tel quel."
        )
    if state.trial and state.trial.outcome == "failed":
        said.append(
            f"ALERTE : l'essai de restauration a échoué {when(state.trial.at, now)}. "
            f"{state.trial.message} Appelez le département."
        )
    if state.was_cut and running and state.started_at and now - state.started_at > LONG:
        said.append(
            f"Une sauvegarde est en cours depuis {when(state.started_at, now)} : la première peut "
            "durer des jours, laissez ce poste allumé ; si ce n'est pas elle, redémarrez-le."
        )
    elif state.was_cut and not running and state.started_at:
        said.append(
            f"Coupé : la sauvegarde commencée {when(state.started_at, now)} n'a pas fini ; {AGAIN}, "
            "elle reprendra ce qui est déjà parti."
        )
    elif state.outcome == FAILED and state.finished_at:
        said.append(
            f"Échec : la sauvegarde n'a pas pu se faire {when(state.finished_at, now)}. "
            f"{state.message}"
        )
    saved = state.saved
    if saved and saved.at > now + SKEW:
        said.append(
            "Horloge fausse : d'après ce poste, la dernière sauvegarde serait dans l'avenir ; "
            "remettez-le à l'heure."
        )
    elif saved and now - saved.at > LATE and not running:
        said.append(
            "En retard : laissez ce poste allumé à l'heure de la sauvegarde, ou "
            f"{AGAIN} maintenant."
        )
    if saved and saved.received_at and abs(saved.received_at - saved.at) > timedelta(hours=1):
        said.append(
            f"Horloge fausse : le coffre-fort a reçu la dernière sauvegarde {when(saved.received_at, now)}, "
            "ce n'est pas l'heure de ce poste ; remettez-le à l'heure."
        )
    if state.outcome == INCOMPLETE:
        said.append(f"Incomplet : {state.message}")
    if state.unverified_since and now - state.unverified_since > UNVERIFIED:
        said.append(
            f"Non vérifié depuis le {date_fr(state.unverified_since)} : appelez le département, qui "
            "doit laisser vérifier le coffre-fort."
        )
    if state.restored_at and now - state.restored_at > UNTRIED:
        said.append(
            f"Aucun essai de restauration réussi depuis le {date_fr(state.restored_at)}. "
            f"{state.trial.message if state.trial else ''}".strip()
        )
    return said


def _protected(state: State, now: datetime) -> str:
    saved = state.saved
    if saved is None:
        return "Rien n'est encore protégé."
    received = {
        VERIFIED: "reçue et vérifiée par le coffre-fort",
        RECEIVED: "reçue par le coffre-fort",
    }
    check = state.check
    known = check and check.snapshot == saved.snapshot
    end = received.get(check.outcome, "") if check and known else ""
    if not end and not (check and check.outcome == FAULTY):
        end = "envoyée, pas encore vérifiée"
    text = (
        f"Protégé : {_count(saved.folders, 'dossier')}, {_count(saved.files, 'fichier')}, "
        f"dernière sauvegarde {when(saved.at, now)}{', ' if end else ''}{end}."
    )
    if check and known and check.outcome not in (VERIFIED, FAULTY) and check.message:
        text += f" {check.message}"
    if state.restored_at:
        text += f" Essai de restauration réussi {when(state.restored_at, now)}."
    elif state.trial and state.trial.outcome != "failed":
        text += f" Essai de restauration pas encore réussi : {state.trial.message}"
    if saved.files * 2 < state.files_before:
        text += (
            f" Attention : il y avait {_count(state.files_before, 'fichier')} la fois d'avant ; un "
            "disque ou un dossier du réseau manque peut-être."
        )
    return text


def _count(count: int, word: str) -> str:
    return f"{number_fr(count)}{NBSP}{word}{'s' if count > 1 else ''}"


def when(moment: datetime, now: datetime) -> str:
    """« aujourd'hui à 19 h 02 », « hier à … », « lundi 23 novembre 2026 à … »."""
    day, today = moment.astimezone(PARIS).date(), now.astimezone(PARIS).date()
    named = {0: "aujourd'hui", 1: "hier"}.get((today - day).days) or f"le {date_fr(day)}"
    return f"{named} à {time_fr(moment)}"


def unreadable(files: tuple[str, ...], count: int) -> str:
    """Files that could not be read, named."""
    named = ", ".join(f"« {shown(each, 120)} »" for each in files[:3])
    more = f" et {number_fr(count - 3)} autres" if count > 3 else ""
    what = (
        "1 fichier n'a pas pu être lu"
        if count == 1
        else f"{number_fr(count)} fichiers n'ont pas pu être lus"
    )
    return f"{what} ({named}{more}) : fermez le programme qui s'en sert, ou vérifiez leurs droits, puis {AGAIN}."
