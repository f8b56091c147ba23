"""The vault's manifest."""

from __future__ import annotations

from datetime import timedelta

from souverain.core import queries
from souverain.core.access import Actor
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    Destination,
    EventKind,
    Health,
    HealthCheck,
    Holding,
    NavigationItem,
    Outlet,
    Periodic,
    Permission,
    Reach,
    Room,
    Setting,
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


def _end(code: str) -> int:
    from souverain.vault.departure import end

    return end(code)


def _erasable_on(code: str) -> queries.Kept | None:
    from souverain.vault.departure import erasable_on

    return erasable_on(code)


def _forget(code: str) -> queries.Forgotten:
    from souverain.vault.departure import forget

    return forget(code)


def _sweep(code: str) -> int:
    from souverain.vault.departure import sweep

    return sweep(code)


def _reaper_believes_the_clock() -> Health:
    from souverain.vault import retention

    return retention.health()


def _reap() -> None:
    from souverain.core import access
    from souverain.vault import retention

    retention.reap(access.SYSTEM)


def _keep_locks_ahead() -> None:
    from souverain.vault import object_lock

    object_lock.keep_up()


def _store_locks() -> Health:
    from souverain.vault import object_lock

    return object_lock.health()


def _tell_late_sets() -> None:
    from souverain.vault import services

    services.tell_late_sets()


def _keep_up_logs() -> None:
    from souverain.vault import log

    log.keep_up()


def _stamp_logs() -> None:
    from souverain.vault import stamps

    stamps.stamp_logs()


def _timestamps_go_to() -> Destination | None:
    from souverain.vault import stamps

    return stamps.goes_to()


def _logs_are_signed() -> Health:
    from souverain.vault import log

    late = log.unsigned()
    if late:
        return Health(False, f"Le registre des preuves ne se signe plus : {', '.join(late[:5])}.")
    return Health(True, "Les registres des preuves sont signés.")


def _parity_goes_to() -> Destination | None:
    from souverain.vault import parity

    return parity.goes_to()


def _scrub() -> None:
    from souverain.vault import scrub

    scrub.turn()


def _copies_are_whole() -> Health:
    from souverain.vault import scrub

    return scrub.health()


def _keep_up_copy() -> None:
    from souverain.vault import replica_promotion

    replica_promotion.keep_up()


def _copied_from() -> Destination | None:
    from souverain.vault import replica
    from souverain.vault.replica_client import destination

    found = replica.source()
    return None if found is None else destination(found.address)


def _copy_is_up_to_date() -> Health:
    from souverain.vault import replica_status

    return replica_status.health()


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
            "vault.thaw",
            "Lever le gel d'un dépôt",
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
        "vault.clock_confirmed": "Heure du serveur confirmée",
        "vault.clock_doubted": "Heure du serveur mise en doute : rien n'est retiré",
        "vault.checkpoint_cosigned": "Point de contrôle signé par un témoin",
        "vault.alarm_acknowledged": "Alerte de rançongiciel prise en charge",
        "vault.alarm_closed": "Alerte de rançongiciel close",
        "vault.bulk_announced": "Gros envoi annoncé",
        "vault.bucket_locked": "Verrou du compartiment S3 réglé",
        "vault.copies_hidden": "Copies cachées dans le stockage S3, remises en place",
        "vault.locks_extended": "Ronde des verrous du stockage S3",
        "vault.clock_went_back": "L'horloge du serveur a reculé",
        "vault.deposit_late": "Sauvegarde en retard",
        "vault.deposit_received": "Sauvegarde reçue",
        "vault.destruction_approved": "Destruction d'un dépôt approuvée",
        "vault.destruction_asked": "Destruction d'un dépôt demandée",
        "vault.destruction_cancelled": "Destruction d'un dépôt annulée",
        "vault.destruction_executed": "Destruction d'un dépôt exécutée",
        "vault.device_added": "Appareil ajouté au coffre-fort",
        "vault.device_revoked": "Appareil révoqué",
        "vault.integrity_checked": "Contrôle d'intégrité fait",
        "vault.objects_lost": "Objets abîmés sans réparation possible",
        "vault.key_added": "Clé ajoutée à un dépôt",
        "vault.key_buried": "Clé supprimée par l'appareil (conservée)",
        "vault.key_changes_seen": "Changement de clé reconnu comme voulu",
        "vault.log_exported": "Registre des preuves exporté",
        "vault.object_mended": "Fichier abîmé réparé",
        "vault.drill_failed": "Essai de restauration échoué",
        "vault.drill_passed": "Essai de restauration réussi",
        "vault.drill_unfinished": "Essai de restauration inachevé",
        "vault.fenced": "Site mis en lecture seule : un autre a pris sa place",
        "vault.log_forked": "Registre des preuves différent de celui de l'autre site",
        "vault.promoted": "Copie promue premier site",
        "vault.replica_added": "Ce site copie un autre site",
        "vault.replica_authorized": "Accès fait pour un second site",
        "vault.replica_pulled": "Le coffre-fort est copié par un second site",
        "vault.replica_recovered": "Objets repris de l'ancien premier site",
        "vault.replica_removed": "L'autre site n'est plus suivi",
        "vault.replica_troubled": "La copie du premier site ne va pas bien",
        "vault.frozen": "Dépôt gelé",
        "vault.hold_lifted": "Conservation exigée levée",
        "vault.hold_placed": "Conservation exigée posée",
        "vault.lock_lengthened": "Conservation des données supprimées allongée",
        "vault.pruned": "Anciennes sauvegardes effacées par un appareil (conservées)",
        "vault.quota_set": "Place accordée au coffre-fort",
        "vault.reaped": "Données supprimées retirées du disque, conservation échue",
        "vault.ransomware_suspected": "Rançongiciel possible",
        "vault.refused": "Demande d'un appareil refusée",
        "vault.repository_created": "Dépôt initialisé",
        "vault.restored": "Sauvegardes relues par un appareil",
        "vault.set_created": "Dépôt ouvert",
        "vault.snapshot_buried": "Sauvegarde supprimée par l'appareil (conservée)",
        "vault.thawed": "Gel d'un dépôt levé",
        "vault.witness_added": "Témoin inscrit",
        "vault.witness_removed": "Témoin retiré",
    },
    urls="souverain.vault.urls",
    api="souverain.vault.api:router",
    answers=(
        (queries.commune_card, _card),
        (queries.awaited, _awaited),
        (queries.export_of_commune, _export),
        (queries.end_of_commune, _end),
        (queries.erasable_on, _erasable_on),
        (queries.forget_commune, _forget),
        (queries.sweep_commune, _sweep),
    ),
    health=(
        HealthCheck("store", "Espace des copies", _store_takes_writes),
        HealthCheck("reaper", "Horloge des conservations", _reaper_believes_the_clock),
        HealthCheck("object-lock", "Verrou du stockage", _store_locks),
        HealthCheck("log", "Registres des preuves", _logs_are_signed),
        HealthCheck("integrity", "Contrôle d'intégrité", _copies_are_whole),
        HealthCheck("replica", "Second site du coffre-fort", _copy_is_up_to_date),
    ),
    settings=(
        Setting("SOUVERAIN_TSA_URL", "L'autorité d'horodatage (RFC 3161) ; vide : aucune", ""),
        Setting(
            "SOUVERAIN_PARITY", "Où est la parité, sur un autre disque", "SOUVERAIN_HOME/parity"
        ),
    ),
    outlets=(
        Outlet("timestamp", "L'horodatage des registres du coffre-fort", _timestamps_go_to),
        Outlet("objects", "La parité du coffre-fort sur S3", _parity_goes_to),
        Outlet("replica", "La copie du coffre-fort d'un autre site", _copied_from),
    ),
    events=(
        EventKind("vault.deposit_received", "Une sauvegarde est arrivée au coffre-fort"),
        EventKind("vault.deposit_late", "Une sauvegarde attendue n'est pas arrivée"),
        EventKind("vault.restored", "Un appareil relit les sauvegardes d'une commune"),
        EventKind("vault.pruned", "Un appareil efface d'anciennes sauvegardes d'une commune"),
        EventKind("vault.drill_passed", "Un essai de restauration a réussi"),
        EventKind("vault.drill_failed", "Un essai de restauration a échoué"),
        EventKind("vault.drill_unfinished", "Un essai de restauration n'a pas abouti"),
        EventKind("vault.ransomware_suspected", "Rançongiciel possible", safety=True),
        EventKind("vault.key_changed", "Une clé d'un dépôt a été ajoutée ou retirée", safety=True),
        EventKind("vault.objects_lost", "Objets abîmés sans réparation possible", safety=True),
        EventKind(
            "vault.copies_hidden", "Des copies ont été cachées dans le stockage S3", safety=True
        ),
        EventKind("vault.alarm_closed", "Une alerte de rançongiciel est close"),
    ),
    periodic=(
        Periodic("vault-freshness", timedelta(minutes=5), _tell_late_sets),
        Periodic("vault-reaper", timedelta(days=1), _reap),
        Periodic("vault-object-lock", timedelta(minutes=10), _keep_locks_ahead),
        Periodic("vault-log", timedelta(minutes=1), _keep_up_logs),
        Periodic("vault-scrub", timedelta(seconds=5), _scrub),
        Periodic("vault-replica", timedelta(seconds=5), _keep_up_copy),
        Periodic("vault-stamps", timedelta(minutes=10), _stamp_logs),
    ),
    holdings=(
        Holding(
            "Copies chiffrées des dossiers des communes",
            frozenset({DataClass.PERSONAL, DataClass.SOCIAL, DataClass.CIVIL_STATUS}),
            "Rendre à la commune ses dossiers après une panne ou une attaque",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Selon la classe de conservation de chaque dépôt ; 90 jours au moins après un effacement",
            "La commune seule : le département n'a pas la clé de déchiffrement",
        ),
    ),
)
