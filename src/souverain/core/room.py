"""The kernel's manifest: its own permissions, health and holdings."""

from __future__ import annotations

from django.db import connection

from souverain.core import verification, worker
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    Health,
    HealthCheck,
    Holding,
    Permission,
    Reach,
    Room,
    Setting,
)

EVERYBODY = dict.fromkeys(Role, Reach.SELF)


def _database_answers() -> Health:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return Health(True, "La base de données répond.")


ROOM = Room(
    name="core",
    title="Le socle",
    summary="Organisations, personnes, droits, journal, travaux et messages.",
    icon="building",
    permissions=(
        Permission("core.public", "Voir les pages publiques", public=True),
        Permission("core.own", "Gérer son propre compte", EVERYBODY),
        Permission(
            "core.members",
            "Inviter et retirer des membres",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.COMMUNE_ADMIN: Reach.ORGANISATION},
        ),
        Permission(
            "core.journal",
            "Lire le journal",
            {
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.AUDITOR: Reach.EVERYWHERE,
                Role.COMMUNE_ADMIN: Reach.ORGANISATION,
            },
        ),
        Permission(
            "core.supervise",
            "Voir la supervision",
            {
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.DUTY_OFFICER: Reach.EVERYWHERE,
            },
        ),
        Permission(
            "core.people",
            "Voir et désactiver les comptes du cloud",
            {Role.OPERATOR: Reach.EVERYWHERE},
        ),
        Permission(
            "core.jobs",
            "Suivre les travaux",
            {
                **EVERYBODY,
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.DUTY_OFFICER: Reach.EVERYWHERE,
                Role.COMMUNE_ADMIN: Reach.ORGANISATION,
            },
        ),
        Permission(
            "core.cancel_job",
            "Arrêter un travail",
            {**EVERYBODY, Role.OPERATOR: Reach.EVERYWHERE},
        ),
        Permission("core.operate", "Exploiter le cloud", {Role.OPERATOR: Reach.EVERYWHERE}),
    ),
    settings=(
        Setting(
            "SOUVERAIN_OIDC_DISCOVERY_URL", "Adresse de découverte du service de connexion", ""
        ),
        Setting("SOUVERAIN_OIDC_CLIENT_ID", "Identifiant donné par le service de connexion", ""),
        Setting("SOUVERAIN_OIDC_CLIENT_SECRET", "Secret donné par le service de connexion", ""),
        Setting("SOUVERAIN_OIDC_KIND", "Genre de service : proconnect ou oidc", "oidc"),
        Setting("SOUVERAIN_OIDC_NAME", "Nom du service sur le bouton", "mon organisation"),
        Setting("SOUVERAIN_OIDC_ACR", "Niveau exigé, par exemple eidas1 ou eidas2", ""),
        Setting("SOUVERAIN_DEPARTEMENT_SIREN", "SIREN du département et de ses directions", ""),
        Setting(
            "SOUVERAIN_OBJECTS_URL",
            "Où vivent les objets : file:///chemin, ou "
            "s3://compartiment/prefixe?endpoint=https://hote&region=nom",
            "file://$SOUVERAIN_HOME/objects",
        ),
        Setting("SOUVERAIN_S3_ACCESS_KEY", "Identifiant de la clé S3", ""),
        Setting("SOUVERAIN_S3_SECRET_KEY", "Secret de la clé S3", ""),
    ),
    health=(
        HealthCheck("database", "Base de données", _database_answers),
        HealthCheck("worker", "Travaux et envois", worker.health),
    ),
    jobs=(verification.verify_journal,),
    holdings=(
        Holding(
            "Comptes et journal",
            frozenset({DataClass.PERSONAL, DataClass.INTERNAL}),
            "Donner accès au service et prouver ce qui s'y fait",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Compte : tant que la personne a un rôle. Journal : sans nom ni adresse ; "
            "le détail personnel peut être effacé.",
            "Les opérateurs du département",
        ),
    ),
)
