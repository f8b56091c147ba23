"""The room's pages, under `/street/`, and the protocols of others that it speaks."""

from __future__ import annotations

from django.urls import include, path

from souverain.street import map_tiles, stac_urls, stac_views, views

app_name = "street"
urlpatterns = [
    path("api", stac_views.landing, name="stac_bare"),
    path("api/", include(stac_urls)),
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
