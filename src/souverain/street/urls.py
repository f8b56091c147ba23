"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import campaign_pages, map_tiles, privacy_pages, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("floutage/", privacy_pages.ask, name="blur-ask"),
    path("floutage/<str:code>/", privacy_pages.follow, name="blur-follow"),
    path("floutage/<str:code>/recu.<str:form>", privacy_pages.receipt, name="blur-receipt"),
    path("demandes/", privacy_pages.requests, name="blur-requests"),
    path("demandes/<uuid:pk>/", privacy_pages.one, name="blur-request"),
    path("demandes/<uuid:pk>/vue.jpg", privacy_pages.picture, name="blur-picture"),
    path("demandes/<uuid:pk>/placer/", privacy_pages.place, name="blur-place"),
    path("demandes/<uuid:pk>/flouter/", privacy_pages.carry_out, name="blur-carry-out"),
    path("demandes/<uuid:pk>/refuser/", privacy_pages.refuse, name="blur-refuse"),
    path("originaux/<uuid:panorama>.jpg", privacy_pages.original, name="original"),
    path("campagnes/", campaign_pages.overview, name="campaigns"),
    path("campagnes/<slug:name>/", campaign_pages.campaign, name="campaign"),
    path("campagnes/<slug:name>/recevoir/", campaign_pages.receive, name="campaign_receive"),
    path("campagnes/<slug:name>/publier/", campaign_pages.publish, name="campaign_publish"),
    path("campagnes/<slug:name>/retirer/", campaign_pages.withdraw, name="campaign_withdraw"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
