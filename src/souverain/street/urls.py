"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import inventory_pages as pages
from souverain.street import map_tiles, views

app_name = "street"
urlpatterns = [
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
    path("inventaire/", pages.inventory_page, name="inventory"),
    path("inventaire/nouveau/", pages.new_item, name="new_item"),
    path("inventaire/<uuid:identifier>/", pages.item_page, name="item"),
    path("inventaire/<uuid:identifier>/etat/", pages.change_state, name="change_state"),
    path("inventaire/<uuid:identifier>/annuler/", pages.undo, name="undo"),
    path("inventaire/<uuid:identifier>/decrire/", pages.describe, name="describe"),
    path("inventaire/<uuid:identifier>/photos/", pages.add_photo, name="add_photo"),
    path("inventaire/<uuid:identifier>/photos/<int:line>.jpg", pages.photo, name="photo"),
    path("travaux/", pages.work_orders_page, name="work_orders"),
    path("travaux/<int:number>/", pages.work_order_page, name="work_order"),
    path("travaux/<int:number>/clore/", pages.close_work, name="close_work"),
    path("comparer/", pages.compare_page, name="compare"),
]
