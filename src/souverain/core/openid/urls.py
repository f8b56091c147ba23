"""The provider's routes, gathered by allauth under /compte/."""

from django.urls import path

from souverain.core.openid import views

urlpatterns = [
    path("openid/", views.sign_in, name="openid_login"),
    path("openid/retour/", views.callback, name="openid_callback"),
    path("openid/quitter/", views.leave, name="openid_leave"),
    path("openid/deconnecte/", views.left, name="openid_left"),
]
