"""The room's pages."""

from django.urls import path

from souverain.street import views

app_name = "street"
urlpatterns = [
    path("vue/<uuid:panorama>/", views.view, name="view"),
]
