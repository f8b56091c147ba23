"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import desk, inventory_pages, map_tiles, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("", views.stroll, name="stroll"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
    path("inventaire/", inventory_pages.inventory_page, name="inventory"),
    path("inventaire/carte.geojson", inventory_pages.inventory_map, name="inventory_map"),
    path("inventaire/export.<slug:form>", inventory_pages.inventory_file, name="inventory_file"),
    path("inventaire/nouveau/", inventory_pages.new_item, name="new_item"),
    path("inventaire/<uuid:identifier>/", inventory_pages.item_page, name="item"),
    path("inventaire/<uuid:identifier>/etat/", inventory_pages.change_state, name="change_state"),
    path("inventaire/<uuid:identifier>/annuler/", inventory_pages.undo, name="undo"),
    path("inventaire/<uuid:identifier>/decrire/", inventory_pages.describe, name="describe"),
    path("inventaire/<uuid:identifier>/photos/", inventory_pages.add_photo, name="add_photo"),
    path(
        "inventaire/<uuid:identifier>/vues/<int:sighting>.jpg",
        inventory_pages.close_up,
        name="close_up",
    ),
    path("inventaire/<uuid:identifier>/photos/<int:line>.jpg", inventory_pages.photo, name="photo"),
    path("travaux/", inventory_pages.work_orders_page, name="work_orders"),
    path("travaux/<int:number>/", inventory_pages.work_order_page, name="work_order"),
    path("travaux/<int:number>/clore/", inventory_pages.close_work, name="close_work"),
    path("comparer/", inventory_pages.compare_page, name="compare"),
    path("promenades/<slug:slug>/", views.tour, name="tour"),
    path("embed/<slug:name>/", views.embed, name="embed"),
    path("bureau/", desk.desk, name="desk"),
    path("bureau/promenades/", desk.tour_list, name="tour_list"),
    path("bureau/promenades/<slug:slug>/", desk.tour_edit, name="tour_edit"),
    path("bureau/promenades/<slug:slug>/agir/", desk.tour_act, name="tour_act"),
    path("bureau/promenades/<slug:slug>/etapes/<int:pk>/", desk.stop_act, name="stop_act"),
]
