"""The vault's pages."""

from django.urls import path

from souverain.vault import views

app_name = "vault"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("communes/<str:code>/", views.commune, name="commune"),
    path("communes/<str:code>/appareils/ajouter/", views.add_device, name="add_device"),
    path("communes/<str:code>/appareils/<str:pk>/revoquer/", views.revoke, name="revoke"),
]
