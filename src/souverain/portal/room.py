"""The portal's manifest."""

from __future__ import annotations

from souverain.core.roles import Role
from souverain.core.rooms import NavigationItem, Permission, Reach, Room

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
    ),
    navigation=(
        NavigationItem("Accueil", "portal:home", "house", "core.public"),
        NavigationItem("Communes", "portal:communes", "map", "core.public"),
        NavigationItem("Personnes", "portal:people", "people", "core.people"),
        NavigationItem("Journal", "portal:journal", "journal-text", "core.journal"),
        NavigationItem("Supervision", "portal:supervision", "activity", "core.supervise"),
    ),
    urls="souverain.portal.urls",
    home=True,
)
