"""The manifest of Côte-d'Or Street."""

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
from souverain.street import demo, finding, inventory

_EVERYBODY_AT_WORK = {
    Role.OPERATOR: Reach.EVERYWHERE,
    Role.AGENT: Reach.EVERYWHERE,
    Role.SUPERVISOR: Reach.EVERYWHERE,
    Role.DUTY_OFFICER: Reach.EVERYWHERE,
    Role.AUDITOR: Reach.EVERYWHERE,
    Role.COMMUNE_ADMIN: Reach.ORGANISATION,
    Role.COMMUNE_MEMBER: Reach.ORGANISATION,
}
_ROADS = {
    Role.OPERATOR: Reach.EVERYWHERE,
    Role.AGENT: Reach.EVERYWHERE,
    Role.SUPERVISOR: Reach.EVERYWHERE,
}


ROOM = Room(
    name="street",
    title="Côte-d'Or Street",
    summary="Les routes du département en images à 360°.",
    icon="signpost-split",
    permissions=(
        Permission("street.stroll", "Se promener dans les images publiées", public=True),
        Permission("street.desk", "Mesurer et consulter l'inventaire", _EVERYBODY_AT_WORK),
        Permission("street.record", "Relever, confirmer et demander des travaux", _ROADS),
        Permission(
            "street.deliver",
            "Recevoir, contrôler et publier une campagne",
            {Role.OPERATOR: Reach.EVERYWHERE},
        ),
        Permission(
            "street.privacy",
            "Flouter, répondre aux demandes et voir les originaux",
            {Role.OPERATOR: Reach.EVERYWHERE},
        ),
    ),
    verbs={
        "street.campaign_created": "Campagne d'images ouverte",
        "street.campaign_published": "Campagne d'images publiée",
        "street.campaign_withdrawn": "Campagne d'images retirée",
        "street.measurement_saved": "Mesure enregistrée",
        "street.measurement_deleted": "Mesure effacée",
        "street.demo_made": "Rue de synthèse faite",
        "street.item_recorded": "Objet de la route relevé",
        "street.item_seen": "Objet de la route visé dans une autre vue",
        "street.item_described": "Objet de la route décrit",
        "street.item_photographed": "Photo jointe à un objet de la route",
        "street.item_judged": "État d'un objet de la route changé",
        "street.item_undone": "Changement d'état d'un objet de la route annulé",
        "street.detections_taken": "Détections importées dans l'inventaire",
        "street.work_ordered": "Travaux demandés",
        "street.work_done": "Travaux faits",
        "street.work_cancelled": "Travaux annulés",
        "street.tour_created": "Promenade préparée",
        "street.tour_changed": "Promenade modifiée",
        "street.tour_published": "Promenade publiée",
        "street.tour_withdrawn": "Promenade retirée",
        "street.tour_removed": "Promenade supprimée",
    },
    navigation=(
        NavigationItem("Promenade", "street:stroll", "signpost-split", "street.stroll"),
        NavigationItem("Bureau des routes", "street:desk", "binoculars", "street.desk"),
    ),
    urls="souverain.street.urls",
    api="souverain.street.api:router",
    answers=(
        (queries.nearest_view, finding.nearest_view),
        (queries.asset_links, inventory.asset_links),
    ),
    jobs=(finding.build_job, demo.demo_job),
    first_data=(demo.offer,),
    periodic=(Periodic("street-index", timedelta(seconds=30), finding.keep_up),),
    events=(
        EventKind("street.campaign_published", "Une campagne d'images est publiée"),
        EventKind("street.asset_confirmed", "Un équipement de la route est confirmé"),
    ),
    holdings=(
        Holding(
            "Images des routes, visages et plaques floutés",
            frozenset({DataClass.PUBLIC}),
            "Entretenir les routes et les faire visiter",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Tant que le département les publie",
            "Tout le monde, une fois la campagne publiée",
        ),
        Holding(
            "Images d'origine des routes, sans floutage",
            frozenset({DataClass.PERSONAL}),
            "Refaire le floutage quand un détecteur meilleur existe",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Au choix de chaque campagne : gardées sous accès restreint ou détruites",
            "Les opérateurs, chaque lecture étant inscrite au journal",
        ),
        Holding(
            "Inventaire de la route : objets, défauts, photos et ordres de travaux",
            frozenset({DataClass.INTERNAL, DataClass.PERSONAL}),
            "Entretenir les routes",
            "Mission d'intérêt public (RGPD, art. 6.1.e)",
            "Tant que la route est entretenue ; l'auteur d'un relevé, tant qu'il a un compte",
            "Les agents du département, et chaque commune pour ce qui est chez elle",
        ),
    ),
)
