"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import map_tiles, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
