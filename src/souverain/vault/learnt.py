"""When this site learnt of a death that another site told: its lock runs from then, not before."""

from __future__ import annotations

from bisect import bisect_left
from datetime import datetime

from souverain.vault.models import DepositSet, Replicated


class Learnt:
    """The instants, of our clock, at which the deaths of one set were learnt."""

    def __init__(self, deposit_set: DepositSet) -> None:
        rows = Replicated.objects.filter(deposit_set=deposit_set, deaths__gt=0)
        self._spans = sorted(rows.values_list("last_at", "first_at", "learnt_at"))
        self._lasts = [last for last, _, _ in self._spans]

    def since(self, died_at: datetime) -> datetime:
        """From when the lock of a death runs: the death, or the instant it was learnt if later."""
        found = died_at
        for _, first, learnt in self._spans[bisect_left(self._lasts, died_at) :]:
            if first > died_at:
                break
            found = max(found, learnt)
        return found

    def all_since(self, died_at: datetime) -> list[datetime]:
        """When the deaths at that instant or later were learnt."""
        return [learnt for last, _, learnt in self._spans if last >= died_at]
