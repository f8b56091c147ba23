"""The portal's routes."""

from django.urls import path

from souverain.portal.views import (
    account,
    communes,
    home,
    jobs,
    journal,
    members,
    notices,
    supervision,
)

app_name = "portal"
urlpatterns = [
    path("", home.home, name="home"),
    path("invitation/<str:token>/", account.invitation, name="invitation"),
    path("communes/", communes.communes, name="communes"),
    path("communes/<str:code>/", communes.commune, name="commune"),
    path("communes/<str:code>/membres/inviter/", members.invite_member, name="invite"),
    path("communes/<str:code>/membres/<int:pk>/retirer/", members.remove_member, name="remove"),
    path("journal/", journal.journal_page, name="journal"),
    path("supervision/", supervision.supervision, name="supervision"),
    path("supervision/verifier/", supervision.verify_journal, name="verify_journal"),
    path("travaux/", jobs.job_list, name="jobs"),
    path("travaux/<uuid:pk>/", jobs.job_page, name="job"),
    path("travaux/<uuid:pk>/suivi/", jobs.job_events, name="job_events"),
    path("travaux/<uuid:pk>/arreter/", jobs.cancel_job, name="cancel_job"),
    path("profil/", account.profile, name="profile"),
    path("notifications/", account.notifications, name="notifications"),
    path("documentation-technique/", notices.api_docs, name="api_docs"),
    path("mentions-legales/", notices.legal, name="legal"),
    path("accessibilite/", notices.accessibility, name="accessibility"),
    path("donnees-personnelles/", notices.privacy, name="privacy"),
]
