"""The vault's pages."""

from django.urls import path

from souverain.vault import alarm_pages, views

app_name = "vault"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("communes/<str:code>/", views.commune, name="commune"),
    path("communes/<str:code>/place/", views.set_quota, name="set_quota"),
    path("communes/<str:code>/depots/ajouter/", views.add_set, name="add_set"),
    path("communes/<str:code>/appareils/ajouter/", views.add_device, name="add_device"),
    path("communes/<str:code>/appareils/<str:pk>/", views.device, name="device"),
    path("communes/<str:code>/appareils/<str:pk>/attente/", views.waiting, name="waiting"),
    path("communes/<str:code>/appareils/<str:pk>/revoquer/", views.revoke, name="revoke"),
    path("communes/<str:code>/envois/annoncer/", alarm_pages.announce, name="announce"),
    path(
        "communes/<str:code>/alertes/<int:pk>/prendre/",
        alarm_pages.acknowledge,
        name="acknowledge",
    ),
    path("communes/<str:code>/alertes/<int:pk>/clore/", alarm_pages.close, name="close_alarm"),
]
