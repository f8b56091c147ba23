"""What the vault says of a commune on its page of the portal."""

from __future__ import annotations

from django.urls import reverse

from souverain.core import clock
from souverain.core.queries import Card
from souverain.vault import freshness
from souverain.vault.models import DepositSet


def commune_card(code: str) -> Card:
    """Whether a commune's deposits are as fresh as they must be."""
    now = clock.now()
    found = freshness.of_sets(list(DepositSet.objects.filter(organisation__code=code)), now)
    return Card(
        room="vault",
        title="Coffre-fort",
        state=freshness.KINDS[found.state],
        sentence=found.short_sentence(now),
        url=reverse("vault:commune", args=[code]),
        icon="safe",
    )
