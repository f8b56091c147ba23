"""The vault's manifest."""

from __future__ import annotations

import os
from datetime import timedelta

from souverain.core import queries
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    EventKind,
    Health,
    HealthCheck,
    Holding,
    NavigationItem,
    Periodic,
    Permission,
    Reach,
    Room,
)


def _store_takes_writes() -> Health:
    from souverain.vault.services import store

    root = store().root
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.access(root, os.W_OK | os.X_OK):
        return Health(True, "Le dossier des copies accepte les écritures.")
    return Health(False, "Le dossier des copies refuse les écritures.")


def _card(code: str) -> queries.Card:
    from souverain.vault.card import commune_card

    return commune_card(code)


def _tell_late_sets() -> None:
    from souverain.vault import services

    services.tell_late_sets()


ROOM = Room(
    name="vault",
    title="Le coffre-fort",
    summary="Copies chiffrées des dossiers sensibles des communes.",
    icon="safe",
    permissions=(
        Permission(
            "vault.view",
            "Voir le coffre-fort d'une commune",
            {
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.AUDITOR: Reach.EVERYWHERE,
                Role.COMMUNE_ADMIN: Reach.ORGANISATION,
                Role.COMMUNE_MEMBER: Reach.ORGANISATION,
            },
        ),
        Permission(
            "vault.manage",
            "Ajouter ou révoquer un appareil du coffre-fort",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.COMMUNE_ADMIN: Reach.ORGANISATION},
        ),
        Permission(
            "vault.set_quota",
            "Changer la place accordée à une commune",
            {Role.OPERATOR: Reach.EVERYWHERE},
        ),
        Permission(
            "vault.oversee",
            "Voir tous les coffres-forts",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.AUDITOR: Reach.EVERYWHERE},
        ),
    ),
    navigation=(NavigationItem("Coffre-fort", "vault:overview", "safe", "vault.oversee"),),
    urls="souverain.vault.urls",
    answers=((queries.commune_card, _card),),
    health=(HealthCheck("store", "Dossier des copies", _store_takes_writes),),
    events=(
        EventKind("vault.deposit_received", "Une sauvegarde est arrivée au coffre-fort"),
        EventKind("vault.deposit_late", "Une sauvegarde attendue n'est pas arrivée"),
    ),
    periodic=(Periodic("vault-freshness", timedelta(minutes=5), _tell_late_sets),),
    holdings=(
        Holding(
            "Copies chiffrées des dossiers des communes",
            frozenset({DataClass.PERSONAL, DataClass.SOCIAL, DataClass.CIVIL_STATUS}),
            "Rendre à la commune ses dossiers après une panne ou une attaque",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Selon la classe de conservation de chaque dépôt ; rien n'est encore détruit",
            "La commune seule : le département n'a pas la clé de déchiffrement",
        ),
    ),
)
