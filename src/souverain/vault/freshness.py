"""Whether a commune is backed up as it must be, in one state and one French sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from souverain.core.format import age_fr, datetime_fr, since_fr
from souverain.vault.models import DepositSet, State

WORDS = {State.FRESH: "À jour", State.LATE: "En retard", State.NEVER: "Jamais sauvegardé"}
KINDS = {State.FRESH: "ok", State.LATE: "danger", State.NEVER: "neutral"}
"""The shell's state of each: what the `state` component and a card take."""


@dataclass(frozen=True)
class Freshness:
    """A commune's state: late when one set is, never when nothing ever came."""

    state: State
    last: datetime | None
    """The oldest of its sets' last deposits: the commune is as safe as its weakest set."""
    late: tuple[DepositSet, ...]
    waiting: tuple[DepositSet, ...]
    """Sets that never received anything."""

    def sentence(self, now: datetime, whose: str = "La commune") -> str:
        if self.last is None:
            return "Aucune sauvegarde n'est encore arrivée."
        if not self.late and now - self.last < timedelta(minutes=1):
            said = f"{whose} vient d'être sauvegardée."
        elif not self.late:
            said = f"{whose} est sauvegardée {since_fr(self.last, now)}."
        elif len(self.late) == 1:
            one = self.late[0]
            assert one.last_deposit_at is not None
            said = (
                f"La sauvegarde « {one.title} » est en retard : la dernière date du "
                f"{datetime_fr(one.last_deposit_at)}, il en faut une toutes les "
                f"{one.fresh_within_hours} h."
            )
        else:
            said = f"{len(self.late)} dépôts sont en retard : {_titles(self.late)}."
        if self.waiting:
            said += f" Rien n'est encore arrivé pour {_titles(self.waiting)}."
        return said

    def short_sentence(self, now: datetime) -> str:
        """For a card, where room is scarce."""
        if self.last is None:
            return "Aucune sauvegarde n'est encore arrivée. Ajoutez l'appareil de la mairie."
        said = f"Dernière sauvegarde reçue {age_fr(self.last, now)}."
        return f"En retard. {said}" if self.late else said


def _titles(sets: Sequence[DepositSet]) -> str:
    return ", ".join(f"« {found.title} »" for found in sets)


def of_sets(sets: Sequence[DepositSet], now: datetime) -> Freshness:
    """The freshness of one commune, from all its deposit sets."""
    late = tuple(found for found in sets if found.state(now) is State.LATE)
    deposits = [found.last_deposit_at for found in sets if found.last_deposit_at is not None]
    state = State.LATE if late else State.FRESH if deposits else State.NEVER
    waiting = tuple(found for found in sets if found.last_deposit_at is None)
    return Freshness(state, min(deposits, default=None), late, waiting)
