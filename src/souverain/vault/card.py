"""What the vault says of a commune on its page of the portal."""

from __future__ import annotations

from django.urls import reverse

from souverain.core import clock
from souverain.core.format import since_fr
from souverain.core.queries import Card
from souverain.vault.models import StoredObject


def commune_card(code: str) -> Card:
    """The last deposit of a commune, whatever the set."""
    rows = StoredObject.objects.filter(
        deposit_set__organisation__code=code, type="snapshots", died_at=None
    )
    last = rows.order_by("-received_at").values_list("received_at", flat=True).first()
    return Card(
        room="vault",
        title="Coffre-fort",
        state="ok" if last else "neutral",
        sentence=f"Dernière sauvegarde reçue {since_fr(last, clock.now())}."
        if last
        else "Aucune sauvegarde n'est encore arrivée. Ajoutez l'appareil de la mairie.",
        url=reverse("vault:commune", args=[code]),
        icon="safe",
    )
