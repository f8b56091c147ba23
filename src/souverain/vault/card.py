"""What the vault says on the portal's pages: of a commune, and to who oversees them all."""

from __future__ import annotations

from django.urls import reverse

from souverain.core import clock
from souverain.core.access import Actor, of_departement, organisations_in_reach, permits
from souverain.core.queries import Awaited, Card
from souverain.vault import alarm, freshness
from souverain.vault.models import DepositSet, State

_SHOWN_MAX = 10


def commune_card(code: str) -> Card:
    """Whether a commune's deposits are as fresh as they must be."""
    now = clock.now()
    url = reverse("vault:commune", args=[code])
    if alarm.not_closed().filter(deposit_set__organisation__code=code).exists():
        said = "Rançongiciel possible : suivez ce qui est dit sur la page."
        return Card("vault", "Coffre-fort", "danger", said, f"{url}#alerte", "safe")
    found = freshness.of_sets(list(DepositSet.objects.filter(organisation__code=code)), now)
    return Card(
        room="vault",
        title="Coffre-fort",
        state=freshness.KINDS[found.state],
        sentence=found.short_sentence(now),
        url=url,
        icon="safe",
    )


def awaited(actor: Actor) -> tuple[Awaited, ...]:
    """The alarms, for who ends them; the communes whose backups are late, for who oversees."""
    return (*_alarms(actor), *_late(actor))


def _alarms(actor: Actor) -> tuple[Awaited, ...]:
    within = organisations_in_reach(actor, "vault.manage")
    alarms = alarm.not_closed().filter(deposit_set__organisation__in=within)
    communes = list(dict.fromkeys(found.deposit_set.organisation for found in alarms))
    if not communes:
        return ()
    links = tuple(
        (commune.name, f"{reverse('vault:commune', args=[commune.code])}#alerte")
        for commune in communes[:_SHOWN_MAX]
    )
    word = "coffre-fort" if len(communes) == 1 else "coffres-forts"
    sentence = f"Rançongiciel possible dans {len(communes)} {word}"
    return (Awaited("exclamation-octagon", sentence, links, "danger"),)


def _late(actor: Actor) -> tuple[Awaited, ...]:
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
