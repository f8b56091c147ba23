"""The vault's pages."""

from django.urls import path

from souverain.vault import alarm_pages, drill_pages, replica_views, retention_views, views

app_name = "vault"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("second-site/", replica_views.page, name="replica"),
    path("communes/<str:code>/", views.commune, name="commune"),
    path("communes/<str:code>/place/", views.set_quota, name="set_quota"),
    path("communes/<str:code>/depots/ajouter/", views.add_set, name="add_set"),
    path("communes/<str:code>/appareils/ajouter/", views.add_device, name="add_device"),
    path("communes/<str:code>/appareils/<str:pk>/", views.device, name="device"),
    path("communes/<str:code>/appareils/<str:pk>/attente/", views.waiting, name="waiting"),
    path("communes/<str:code>/appareils/<str:pk>/revoquer/", views.revoke, name="revoke"),
    path(
        "communes/<str:code>/conservations/<int:pk>/lever/", retention_views.lift, name="lift_hold"
    ),
    *(
        path(f"communes/<str:code>/depots/<slug:set_code>/{end}", view, name=name)
        for end, view, name in (
            ("conservation/", retention_views.page, "retention"),
            ("verrou/", retention_views.lengthen, "lengthen"),
            ("geler/", retention_views.freeze, "freeze"),
            ("degeler/", retention_views.thaw, "thaw"),
            ("exiger/", retention_views.hold, "hold"),
            ("destruction/demander/", retention_views.ask_destruction, "ask_destruction"),
            ("destruction/approuver/", retention_views.approve_destruction, "approve_destruction"),
            ("destruction/annuler/", retention_views.cancel_destruction, "cancel_destruction"),
            ("cles/vues/", alarm_pages.see_keys, "see_keys"),
        )
    ),
    path("communes/<str:code>/preuves/<path:path>", views.log_file, name="log_file"),
    path("communes/<str:code>/temoins/ajouter/", views.add_witness, name="add_witness"),
    path(
        "communes/<str:code>/temoins/<int:pk>/retirer/", views.remove_witness, name="remove_witness"
    ),
    path("communes/<str:code>/recuperer/", drill_pages.recoverable_page, name="recoverable"),
    path(
        "communes/<str:code>/depots/<slug:set_code>/24-heures/",
        drill_pages.receipts_page,
        name="receipts",
    ),
    path(
        "communes/<str:code>/depots/<slug:set_code>/24-heures.csv",
        drill_pages.receipts_csv,
        name="receipts_csv",
    ),
    path("communes/<str:code>/envois/annoncer/", alarm_pages.announce, name="announce"),
    path(
        "communes/<str:code>/alertes/<int:pk>/prendre/",
        alarm_pages.acknowledge,
        name="acknowledge",
    ),
    path("communes/<str:code>/alertes/<int:pk>/clore/", alarm_pages.close, name="close_alarm"),
]
