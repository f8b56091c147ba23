"""What the vault says on the portal's pages: of a commune, and to who oversees them all."""

from __future__ import annotations

from django.urls import reverse

from souverain.core import clock
from souverain.core.access import Actor, of_departement, permits
from souverain.core.queries import Awaited, Card
from souverain.vault import freshness
from souverain.vault.models import DepositSet, State

_SHOWN_MAX = 10


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


def awaited(actor: Actor) -> tuple[Awaited, ...]:
    """The communes whose backups are late, for who oversees the vaults."""
    if not permits(actor, "vault.oversee", **of_departement()):
        return ()
    now = clock.now()
    sets = DepositSet.objects.filter(last_deposit_at__isnull=False).select_related("organisation")
    late = list(
        dict.fromkeys(found.organisation for found in sets if found.state(now) is State.LATE)
    )
    if not late:
        return ()
    word = "commune" if len(late) == 1 else "communes"
    links = [
        (commune.name, reverse("vault:commune", args=[commune.code]))
        for commune in late[:_SHOWN_MAX]
    ]
    links.append(("Voir tous les coffres-forts", reverse("vault:overview")))
    sentence = f"{len(late)} {word} en retard de sauvegarde"
    return (Awaited("safe", sentence, tuple(links), "danger"),)
