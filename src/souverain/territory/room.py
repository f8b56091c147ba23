"""The manifest of the shared ground."""

from __future__ import annotations

from souverain.core.rooms import DataClass, Health, HealthCheck, Holding, Permission, Room, Setting


def _communes_are_loaded() -> Health:
    from souverain.territory.models import Commune

    count = Commune.objects.count()
    return Health(count > 0, f"{count} communes chargées.")


ROOM = Room(
    name="territory",
    title="Le territoire",
    summary="Les communes et les intercommunalités du département.",
    icon="map",
    permissions=(Permission("territory.view", "Voir les communes", public=True),),
    settings=(Setting("SOUVERAIN_DEPARTEMENT", "Le numéro du département", "21"),),
    verbs={
        "territory.loaded": "Communes chargées",
        "territory.outlines_imported": "Contours des communes importés",
        "territory.outlines_refused": "Fichier de contours refusé",
        "territory.roads_imported": "Routes importées",
        "territory.roads_refused": "Fichier de routes ou de points de repère refusé",
        "territory.roads_synthesised": "Routes synthétiques tracées, pour essai",
        "territory.reference_posts_imported": "Points de repère importés",
        "territory.asset_recorded": "Équipement de la route enregistré",
        "territory.asset_retired": "Équipement de la route déposé",
    },
    health=(HealthCheck("communes", "Communes", _communes_are_loaded),),
    holdings=(
        Holding(
            "Communes et intercommunalités",
            frozenset({DataClass.PUBLIC}),
            "Situer les services du cloud",
            "Données publiques (INSEE, DGCL, IGN)",
            "Sans limite",
            "Tout le monde",
        ),
    ),
    api="souverain.territory.api:router",
)
