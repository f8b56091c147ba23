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
    Outlet,
    Periodic,
    Permission,
    Reach,
    Room,
    Setting,
)
from souverain.street import arrivals, finding, links, remote_detector

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
    settings=(
        Setting(
            "SOUVERAIN_STREET_DETECTOR_URL",
            "Un service qui trouve visages et plaques (celui de sgblur) ; vide : cette machine",
            "",
        ),
    ),
    outlets=(
        Outlet(
            remote_detector.PURPOSE,
            "Le service qui trouve visages et plaques",
            remote_detector.goes_to,
        ),
    ),
    verbs={
        "street.campaign_created": "Campagne d'images ouverte",
        "street.campaign_published": "Campagne d'images publiée",
        "street.pictures_received": "Images reçues dans une campagne",
        "street.campaign_withdrawn": "Campagne d'images retirée",
        "street.reblurred": "Image de route refloutée",
        "street.original_read": "Image d'origine lue",
        "street.blur_requested": "Floutage demandé par un habitant",
        "street.blur_answered": "Réponse à une demande de floutage",
        "street.panoramas_linked": "Images d'une campagne reliées",
    },
    navigation=(
        NavigationItem("Campagnes d'images", "street:campaigns", "camera", "street.deliver"),
    ),
    urls="souverain.street.urls",
    api="souverain.street.api:router",
    answers=((queries.nearest_view, finding.nearest_view),),
    jobs=(arrivals.receive_job, finding.build_job, links.link_job),
    periodic=(Periodic("street-index", timedelta(seconds=30), finding.keep_up),),
    events=(
        EventKind("street.campaign_published", "Une campagne d'images est publiée"),
        EventKind("street.blur_requested", "Un habitant demande un floutage"),
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
            "Demandes de floutage des habitants",
            frozenset({DataClass.PERSONAL}),
            "Flouter ce qu'une personne ne veut pas voir publié, et le lui prouver",
            "Obligation légale (RGPD, art. 6.1.c et 17)",
            "Le contact et le message : jusqu'à la réponse. Le reçu : avec l'image",
            "Les opérateurs ; le demandeur, par son code",
        ),
    ),
)
