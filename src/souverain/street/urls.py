"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import desk, map_tiles, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("", views.stroll, name="stroll"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
    path("promenades/<slug:slug>/", views.tour, name="tour"),
    path("embed/<slug:name>/", views.embed, name="embed"),
    path("bureau/", desk.desk, name="desk"),
    path("bureau/promenades/", desk.tour_list, name="tour_list"),
    path("bureau/promenades/<slug:slug>/", desk.tour_edit, name="tour_edit"),
    path("bureau/promenades/<slug:slug>/agir/", desk.tour_act, name="tour_act"),
    path("bureau/promenades/<slug:slug>/etapes/<int:pk>/", desk.stop_act, name="stop_act"),
]
