"""What the vault says on the portal's pages: of a commune, and to who oversees them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from souverain.core import clock
from souverain.core.access import Actor, of_departement, organisations_in_reach, permits
from souverain.core.queries import Awaited, Card
from souverain.vault import alarm, drills, freshness, key_changes, scrub
from souverain.vault.models import DepositSet, State

_SHOWN_MAX = 10


@dataclass(frozen=True)
class _Trouble:
    """Something that asks for a person of the commune, and where she finds what to do."""

    found: Callable[[], QuerySet[Any]]
    """Records of deposit sets where it is so."""
    on_card: str
    at_home: str
    icon: str
    anchor: str

    def codes(self) -> QuerySet[Any]:
        """The communes where it is so."""
        return self.found().order_by().values("deposit_set__organisation__code")

    def url(self, code: str) -> str:
        return reverse("vault:commune", args=[code]) + self.anchor


_TROUBLES = (
    _Trouble(
        alarm.not_closed,
        "Rançongiciel possible : suivez ce qui est dit sur la page.",
        "Rançongiciel possible",
        "exclamation-octagon",
        "#alerte",
    ),
    _Trouble(
        scrub.lost,
        "Des données gardées sont perdues : lancez une sauvegarde.",
        "Données perdues",
        "file-earmark-x",
        "#integrite",
    ),
    _Trouble(
        key_changes.not_seen,
        "Une clé a changé : dites si c'était voulu.",
        "Clé à vérifier",
        "key",
        "#cles",
    ),
    _Trouble(
        drills.failed,
        "Le dernier essai de restauration a échoué : suivez ce qui est dit sur la page.",
        "Essai de restauration échoué",
        "arrow-counterclockwise",
        "#recuperer",
    ),
)
"""The gravest first: a card has room for one."""


def commune_card(code: str) -> Card:
    """Whether all is well in a commune's vault, and its deposits are as fresh as they must be."""
    now = clock.now()
    for trouble in _TROUBLES:
        if trouble.codes().filter(deposit_set__organisation__code=code).exists():
            url = trouble.url(code)
            return Card("vault", "Coffre-fort", "danger", trouble.on_card, url, "safe")
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
    """The troubles, for who ends them; the communes whose backups are late, for who oversees."""
    return (*_troubles(actor), *_late(actor))


def _troubles(actor: Actor) -> Iterator[Awaited]:
    within = organisations_in_reach(actor, "vault.manage")
    for trouble in _TROUBLES:
        communes = within.filter(code__in=trouble.codes())
        count = communes.count()
        if count:
            links = tuple(
                (commune.name, trouble.url(commune.code)) for commune in communes[:_SHOWN_MAX]
            )
            word = "coffre-fort" if count == 1 else "coffres-forts"
            sentence = f"{trouble.at_home} dans {count} {word}"
            yield Awaited(trouble.icon, sentence, links, "danger")


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
