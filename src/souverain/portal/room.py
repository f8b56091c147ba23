"""The portal's manifest."""

from __future__ import annotations

from datetime import timedelta

from souverain.core import queries
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    EventKind,
    Holding,
    NavigationItem,
    Periodic,
    Permission,
    Reach,
    Room,
)
from souverain.portal import leaving, services

ROOM = Room(
    name="portal",
    title="Le portail",
    summary="L'accueil, la page de chaque commune, le journal et la supervision.",
    icon="house",
    permissions=(
        Permission(
            "portal.commune",
            "Voir la page de la commune",
            {
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.COMMUNE_ADMIN: Reach.ORGANISATION,
                Role.COMMUNE_MEMBER: Reach.ORGANISATION,
            },
        ),
        Permission(
            "portal.membership",
            "Voir l'adhésion d'une commune",
            {
                Role.OPERATOR: Reach.EVERYWHERE,
                Role.AUDITOR: Reach.EVERYWHERE,
                Role.COMMUNE_ADMIN: Reach.ORGANISATION,
                Role.COMMUNE_MEMBER: Reach.ORGANISATION,
            },
        ),
        Permission(
            "portal.join",
            "Demander à rejoindre le Cloud",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.COMMUNE_ADMIN: Reach.ORGANISATION},
        ),
        Permission(
            "portal.leave",
            "Faire partir une commune et prendre son export",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.COMMUNE_ADMIN: Reach.ORGANISATION},
        ),
        Permission(
            "portal.memberships",
            "Voir les adhésions de toutes les communes",
            {Role.OPERATOR: Reach.EVERYWHERE, Role.AUDITOR: Reach.EVERYWHERE},
        ),
        Permission(
            "portal.enrol",
            "Enregistrer les adhésions, et effacer les communes parties",
            {Role.OPERATOR: Reach.EVERYWHERE},
        ),
    ),
    navigation=(
        NavigationItem("Accueil", "portal:home", "house", "core.public"),
        NavigationItem("Communes", "portal:communes", "map", "core.public"),
        NavigationItem("Adhésions", "portal:memberships", "building-check", "portal.memberships"),
        NavigationItem("Personnes", "portal:people", "people", "core.people"),
        NavigationItem("Journal", "portal:journal", "journal-text", "core.journal"),
        NavigationItem("Travaux", "portal:jobs", "hourglass-split", "core.jobs"),
        NavigationItem("Supervision", "portal:supervision", "activity", "core.supervise"),
    ),
    events=(
        EventKind("membership.joined", "Une commune a rejoint le Cloud"),
        EventKind("membership.left", "Une commune est partie et ses données sont effacées"),
    ),
    answers=(
        (queries.membership, services.membership_of),
        (queries.members, services.members),
        (queries.export_of_commune, leaving.export_of),
        (queries.forget_commune, leaving.forget),
    ),
    jobs=(leaving.export_commune, leaving.erase_commune),
    periodic=(Periodic("stale-exports", timedelta(hours=1), leaving.remove_stale_exports),),
    verbs={
        "membership.asked": "Adhésion demandée",
        "membership.described": "Outils et contacts de l'adhésion modifiés",
        "membership.erasure_begun": "Effacement d'une commune lancé",
        "membership.export_acknowledged": "Réception de l'export confirmée",
        "membership.export_taken": "Export d'une commune téléchargé",
        "membership.exported": "Export d'une commune préparé",
        "membership.file_imported": "Fichier d'adhésions importé",
        "membership.import_refused": "Fichier d'adhésions refusé",
        "membership.imported": "Adhésion importée d'un fichier",
        "membership.joined": "Commune entrée dans le Cloud",
        "membership.leaving_asked": "Départ demandé",
        "membership.leaving_cancelled": "Départ annulé",
        "membership.left": "Commune partie, données effacées",
        "membership.list_taken": "Liste des communes adhérentes téléchargée",
        "membership.withdrawn": "Demande d'adhésion retirée",
    },
    holdings=(
        Holding(
            "Contacts des communes qui rejoignent le Cloud",
            frozenset({DataClass.PERSONAL}),
            "Joindre la mairie au sujet de ses outils et de sa convention",
            "Exécution de la convention (RGPD, art. 6.1.b et 6.1.e)",
            "Tant que la commune adhère ; effacés à son départ ou si elle retire sa demande",
            "Les opérateurs du département et les membres de la commune",
        ),
    ),
    urls="souverain.portal.urls",
    api="souverain.portal.api:router",
    home=True,
)
