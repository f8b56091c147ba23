"""The room's pages, under `/street/`, and the protocols of others that it speaks."""

from __future__ import annotations

from django.urls import include, path

from souverain.street import (
    audit_pages,
    campaign_pages,
    desk,
    inventory_pages,
    map_tiles,
    privacy_pages,
    stac_urls,
    stac_views,
    views,
)
from souverain.street import campaign_pages, map_tiles, privacy_pages, views
>>>>>>>>> Temporary merge branch 2
=======

app_name = "street"
urlpatterns = [
    path("campagnes/<slug:name>/controle/", audit_pages.control, name="control"),
    path("campagnes/<slug:name>/controle.csv", audit_pages.control_csv, name="control-csv"),
    path("campagnes/<slug:name>/controle.pdf", audit_pages.control_pdf, name="control-pdf"),
    path("api", stac_views.landing, name="stac_bare"),
    path("api/", include(stac_urls)),
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("campagnes/", campaign_pages.overview, name="campaigns"),
    path("campagnes/<slug:name>/", campaign_pages.campaign, name="campaign"),
    path("campagnes/<slug:name>/recevoir/", campaign_pages.receive, name="campaign_receive"),
    path("campagnes/<slug:name>/publier/", campaign_pages.publish, name="campaign_publish"),
    path("campagnes/<slug:name>/retirer/", campaign_pages.withdraw, name="campaign_withdraw"),
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
    path("", views.stroll, name="stroll"),
    path("campagnes/", campaign_pages.overview, name="campaigns"),
    path("campagnes/<slug:name>/", campaign_pages.campaign, name="campaign"),
    path("campagnes/<slug:name>/recevoir/", campaign_pages.receive, name="campaign_receive"),
    path("campagnes/<slug:name>/publier/", campaign_pages.publish, name="campaign_publish"),
    path("campagnes/<slug:name>/retirer/", campaign_pages.withdraw, name="campaign_withdraw"),
>>>>>>>>> Temporary merge branch 2
=======
    path("vue/<uuid:panorama>/", views.view, name="view"),
    path("promenades/<slug:slug>/", views.tour, name="tour"),
    path("embed/<slug:name>/", views.embed, name="embed"),
    path("bureau/", desk.desk, name="desk"),
    path("bureau/promenades/", desk.tour_list, name="tour_list"),
    path("bureau/promenades/<slug:slug>/", desk.tour_edit, name="tour_edit"),
    path("bureau/promenades/<slug:slug>/agir/", desk.tour_act, name="tour_act"),
    path("bureau/promenades/<slug:slug>/etapes/<int:pk>/", desk.stop_act, name="stop_act"),
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
    path("travaux/demander/", inventory_pages.order_work, name="order_work"),
    path("travaux/<int:number>/", inventory_pages.work_order_page, name="work_order"),
    path("travaux/<int:number>/clore/", inventory_pages.close_work, name="close_work"),
    path("comparer/", inventory_pages.compare_page, name="compare"),
]
