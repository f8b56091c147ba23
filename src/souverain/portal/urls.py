"""The portal's routes."""

from django.urls import path

from souverain.portal import views

app_name = "portal"
urlpatterns = [
    path("", views.home, name="home"),
    path("invitation/<str:token>/", views.invitation, name="invitation"),
    path("communes/", views.communes, name="communes"),
    path("communes/<str:code>/", views.commune, name="commune"),
    path("communes/<str:code>/membres/inviter/", views.invite_member, name="invite"),
    path("communes/<str:code>/membres/<int:pk>/retirer/", views.remove_member, name="remove"),
    path("journal/", views.journal_page, name="journal"),
    path("supervision/", views.supervision, name="supervision"),
    path("profil/", views.profile, name="profile"),
    path("notifications/", views.notifications, name="notifications"),
    path("documentation-technique/", views.api_docs, name="api_docs"),
    path("mentions-legales/", views.legal, name="legal"),
    path("accessibilite/", views.accessibility, name="accessibility"),
    path("donnees-personnelles/", views.privacy, name="privacy"),
]
