"""The room's pages, and the protocols of others that it speaks."""

from django.urls import include, path

from souverain.street import stac_urls, stac_views

app_name = "street"
urlpatterns = [
    path("api", stac_views.landing, name="stac_bare"),
    path("api/", include(stac_urls)),
]
