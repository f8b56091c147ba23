"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import campaign_pages, map_tiles, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("campagnes/", campaign_pages.overview, name="campaigns"),
    path("campagnes/<slug:name>/", campaign_pages.campaign, name="campaign"),
    path("campagnes/<slug:name>/recevoir/", campaign_pages.receive, name="campaign_receive"),
    path("campagnes/<slug:name>/publier/", campaign_pages.publish, name="campaign_publish"),
    path("campagnes/<slug:name>/retirer/", campaign_pages.withdraw, name="campaign_withdraw"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
