"""The portal's routes."""

from django.urls import path

from souverain.portal.views import (
    account,
    communes,
    home,
    journal,
    members,
    notices,
    people,
    supervision,
)

app_name = "portal"
urlpatterns = [
    path("", home.home, name="home"),
    path("invitation/<str:token>/", account.invitation, name="invitation"),
    path("communes/", communes.communes, name="communes"),
    path("communes/<str:code>/", communes.commune, name="commune"),
    path("administration/personnes/", people.people, name="people"),
    path("administration/personnes/<int:pk>/", people.person, name="person"),
    path("administration/personnes/<int:pk>/desactiver/", people.close, name="close_account"),
    path(
        "administration/personnes/<int:pk>/second-facteur/",
        people.reset_factor,
        name="reset_factor",
    ),
    path("administration/personnes/<int:pk>/reactiver/", people.reopen, name="reopen_account"),
    path("administration/groupes/<int:pk>/", members.group, name="group"),
    path("administration/groupes/<int:pk>/renommer/", members.rename, name="rename_group"),
    path("administration/<str:code>/membres/", members.members, name="members"),
    path("administration/<str:code>/membres/inviter/", members.invite_member, name="invite"),
    path(
        "administration/<str:code>/membres/<int:pk>/retirer/", members.remove_member, name="remove"
    ),
    path("administration/<str:code>/invitations/<int:pk>/renvoyer/", members.resend, name="resend"),
    path("administration/<str:code>/invitations/<int:pk>/annuler/", members.revoke, name="revoke"),
    path("administration/<str:code>/groupes/", members.add_group, name="add_group"),
    path("journal/", journal.journal_page, name="journal"),
    path("supervision/", supervision.supervision, name="supervision"),
    path("profil/", account.profile, name="profile"),
    path("profil/jetons/", account.tokens, name="tokens"),
    path("profil/jetons/<int:pk>/revoquer/", account.forget_token, name="forget_token"),
    path("notifications/", account.notifications, name="notifications"),
    path("documentation-technique/", notices.api_docs, name="api_docs"),
    path("mentions-legales/", notices.legal, name="legal"),
    path("accessibilite/", notices.accessibility, name="accessibility"),
    path("donnees-personnelles/", notices.privacy, name="privacy"),
]
