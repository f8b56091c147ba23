"""The manifest of Côte-d'Or Street."""

from __future__ import annotations

from datetime import timedelta

from souverain.core import queries
from souverain.core.roles import Role
from souverain.core.rooms import (
    DataClass,
    EventKind,
    Holding,
    Periodic,
    Permission,
    Reach,
    Room,
)
from souverain.street import finding, links, uploads

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
        "street.pictures_received": "Images reçues dans une campagne",
        "street.campaign_withdrawn": "Campagne d'images retirée",
        "street.upload_completed": "Envoi d'images fini",
        "street.upload_opened": "Envoi d'images ouvert",
        "street.panoramas_linked": "Images d'une campagne reliées",
    },
    urls="souverain.street.urls",
    api="souverain.street.api:router",
    answers=((queries.nearest_view, finding.nearest_view),),
    jobs=(finding.build_job, links.link_job, uploads.receive_upload),
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
    ),
)
