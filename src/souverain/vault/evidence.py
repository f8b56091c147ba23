"""What a commune's page says of its log: signed when, kept by whom, stamped when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Max

from souverain.core import clock
from souverain.core.models import Organisation
from souverain.vault import log
from souverain.vault.models import Log, Witness

SILENT_AFTER = timedelta(days=7)


@dataclass(frozen=True)
class WitnessSeen:
    """A witness, and the days since it signed when that is too long."""

    pk: int
    name: str
    signed_at: datetime | None
    silent_days: int

    @property
    def dialog(self) -> str:
        return f"temoin-{self.pk}"


@dataclass(frozen=True)
class Evidence:
    size: int
    signed_at: datetime | None
    stamped_at: datetime | None
    key: str
    fingerprint: str
    witnesses: list[WitnessSeen]


def of(organisation: Organisation) -> Evidence:
    found = Log.objects.filter(pk=organisation.pk).first() or Log(organisation=organisation)
    key = log.public_key(organisation.code)
    return Evidence(
        size=found.signed_size,
        signed_at=found.signed_at,
        stamped_at=found.stamped_at,
        key=str(key),
        fingerprint=key.fingerprint,
        witnesses=_witnesses(organisation),
    )


def _witnesses(organisation: Organisation) -> list[WitnessSeen]:
    found = Witness.objects.filter(organisation=organisation, removed_at=None)
    seen = []
    for each in found.annotate(signed_at=Max("cosignatures__received_at")):
        silence = clock.now() - (each.signed_at or each.added_at)
        days = silence.days if silence >= SILENT_AFTER else 0
        seen.append(WitnessSeen(each.pk, each.name, each.signed_at, days))
    return seen
