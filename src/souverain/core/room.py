"""The kernel's manifest: its own permissions, health and holdings."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from souverain.core import notifications, objects, verification, worker
from souverain.core.openid import transport
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    Health,
    HealthCheck,
    Holding,
    Outlet,
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
            "core.journal_detail",
            "Lire le détail personnel du journal",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.COMMUNE_ADMIN: Reach.ORGANISATION},
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
        Setting("PORT", "Le port du portail", "8000"),
        Setting("SOUVERAIN_HOME", "Le dossier des données", "var/"),
        Setting("DATABASE_URL", "La base de données : SQLite ou PostgreSQL", "SQLite"),
        Setting("SOUVERAIN_PUBLIC_URL", "L'adresse que les gens tapent", "http://localhost:8000"),
        Setting("SOUVERAIN_BEHIND_PROXY", "1 derrière un serveur mandataire", ""),
        Setting("SOUVERAIN_SMTP_URL", "Le serveur de courrier ; vide : rien ne part", ""),
        Setting(
            "SOUVERAIN_MAIL_FROM", "L'expéditeur du courrier", f"cloud@{settings.NAMES.domain}"
        ),
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
    outlets=(
        Outlet(notifications.PURPOSE, "Le courrier", notifications.mail_goes_to),
        Outlet(transport.PURPOSE, "La connexion par un autre service", transport.goes_to),
        Outlet(objects.PURPOSE, "Les objets sur S3", objects.goes_to),
    ),
    verbs={
        "access.refused": "Accès refusé",
        "egress.allowed": "Destination extérieure permise",
        "egress.refused": "Destination extérieure refusée",
        "egress.removed": "Destination extérieure retirée",
        "group.created": "Groupe créé",
        "group.renamed": "Groupe renommé",
        "identity.linked": "Compte relié au service de connexion",
        "invitation.accepted": "Invitation acceptée",
        "invitation.resent": "Invitation renvoyée",
        "invitation.revoked": "Invitation retirée",
        "invitation.sent": "Personne invitée",
        "job.cancelled": "Travail annulé",
        "job.done": "Travail terminé",
        "job.failed": "Travail en échec",
        "job.interrupted": "Travail interrompu",
        "job.submitted": "Travail demandé",
        "journal.detail_erased": "Détail personnel effacé du journal",
        "journal.exported": "Journal exporté",
        "role.given": "Rôle donné",
        "role.removed": "Rôle retiré",
        "session.closed": "Déconnexion",
        "session.opened": "Connexion",
        "session.refused": "Connexion refusée",
        "token.created": "Jeton d'accès créé",
        "token.revoked": "Jeton d'accès révoqué",
        "user.deactivated": "Compte désactivé",
        "user.named": "Nom donné",
        "user.reactivated": "Compte réactivé",
        "user.renewed": "Compte remis à neuf",
        "user.second_factor_reset": "Second facteur remis à zéro",
    },
    api="souverain.core.journal_api:router",
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
