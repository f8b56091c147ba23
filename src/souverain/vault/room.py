"""The vault's manifest."""

from __future__ import annotations

from datetime import timedelta

from souverain.core import queries
from souverain.core.access import Actor
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

    try:
        store().check()
    except (OSError, ValueError) as error:
        return Health(False, str(error))
    return Health(True, "L'espace des copies accepte les écritures.")


def _card(code: str) -> queries.Card:
    from souverain.vault.card import commune_card

    return commune_card(code)


def _awaited(actor: Actor) -> tuple[queries.Awaited, ...]:
    from souverain.vault.card import awaited

    return awaited(actor)


def _export(code: str) -> queries.Export | None:
    from souverain.vault.departure import export

    return export(code)


def _forget(code: str) -> queries.Forgotten:
    from souverain.vault.departure import forget

    return forget(code)


def _sweep(code: str) -> int:
    from souverain.vault.departure import sweep

    return sweep(code)


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
    verbs={
        "vault.alarm_acknowledged": "Alerte de rançongiciel prise en charge",
        "vault.alarm_closed": "Alerte de rançongiciel close",
        "vault.bulk_announced": "Gros envoi annoncé",
        "vault.clock_went_back": "L'horloge du serveur a reculé",
        "vault.deposit_late": "Sauvegarde en retard",
        "vault.deposit_received": "Sauvegarde reçue",
        "vault.device_added": "Appareil ajouté au coffre-fort",
        "vault.device_revoked": "Appareil révoqué",
        "vault.key_added": "Clé ajoutée à un dépôt",
        "vault.key_buried": "Clé supprimée par l'appareil (conservée)",
        "vault.object_mended": "Fichier abîmé réparé",
        "vault.quota_set": "Place accordée au coffre-fort",
        "vault.ransomware_suspected": "Rançongiciel possible",
        "vault.refused": "Demande d'un appareil refusée",
        "vault.repository_created": "Dépôt initialisé",
        "vault.set_created": "Dépôt ouvert",
        "vault.snapshot_buried": "Sauvegarde supprimée par l'appareil (conservée)",
    },
    urls="souverain.vault.urls",
    api="souverain.vault.api:router",
    answers=(
        (queries.commune_card, _card),
        (queries.awaited, _awaited),
        (queries.export_of_commune, _export),
        (queries.forget_commune, _forget),
        (queries.sweep_commune, _sweep),
    ),
    health=(HealthCheck("store", "Espace des copies", _store_takes_writes),),
    events=(
        EventKind("vault.deposit_received", "Une sauvegarde est arrivée au coffre-fort"),
        EventKind("vault.deposit_late", "Une sauvegarde attendue n'est pas arrivée"),
        EventKind("vault.ransomware_suspected", "Rançongiciel possible", safety=True),
        EventKind("vault.alarm_closed", "Une alerte de rançongiciel est close"),
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
