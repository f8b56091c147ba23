"""The room's pages, under `/street/`."""

from __future__ import annotations

from django.urls import path

from souverain.street import audit_pages, map_tiles, views

app_name = "street"
urlpatterns = [
    path("campagnes/<slug:name>/controle/", audit_pages.control, name="control"),
    path("campagnes/<slug:name>/controle.csv", audit_pages.control_csv, name="control-csv"),
    path("campagnes/<slug:name>/controle.pdf", audit_pages.control_pdf, name="control-pdf"),
    path("map/<int:z>/<int:x>/<int:y>.mvt", map_tiles.tile, name="map-tile"),
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
