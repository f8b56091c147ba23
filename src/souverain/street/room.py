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
from souverain.street import (
    arrivals,
    blur_requests,
    delivery_audit,
    demo,
    finding,
    inventory,
    links,
    remote_detector,
    uploads,
)

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
        "street.delivery_audited": "Livraison d'images contrôlée",
        "street.upload_completed": "Envoi d'images fini",
        "street.upload_opened": "Envoi d'images ouvert",
        "street.panoramas_linked": "Images d'une campagne reliées",
        "street.reblurred": "Image de route refloutée",
        "street.original_read": "Image d'origine lue",
        "street.blur_requested": "Floutage demandé par un habitant",
        "street.blur_answered": "Réponse à une demande de floutage",
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
        NavigationItem("Campagnes d'images", "street:campaigns", "camera", "street.deliver"),
        NavigationItem("Promenade", "street:stroll", "signpost-split", "street.stroll"),
        NavigationItem("Bureau des routes", "street:desk", "binoculars", "street.desk"),
        NavigationItem("Inventaire", "street:inventory", "card-checklist", "street.desk"),
    ),
    urls="souverain.street.urls",
    api="souverain.street.api:router",
    answers=(
        (queries.nearest_view, finding.nearest_view),
        (queries.asset_links, inventory.asset_links),
        (queries.awaited, blur_requests.awaited),
    ),
    jobs=(
        arrivals.receive_job,
        delivery_audit.audit_job,
        demo.demo_job,
        finding.build_job,
        links.link_job,
        uploads.receive_upload,
    ),
    first_data=(demo.offer,),
    periodic=(
        Periodic("street-index", timedelta(seconds=30), finding.keep_up),
        Periodic("street-uploads", timedelta(minutes=10), uploads.tidy),
        Periodic("street-arrivals", timedelta(minutes=10), arrivals.tidy),
    ),
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
