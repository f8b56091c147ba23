"""The portal's routes."""

from django.urls import path

from souverain.portal.views import (
    account,
    communes,
    home,
    jobs,
    journal,
    members,
    membership,
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
    path("adhesions/", membership.memberships, name="memberships"),
    path("adhesions/communes.csv", membership.members_csv, name="members_csv"),
    path("adhesions/importer/", membership.import_file, name="import_members"),
    path("communes/<str:code>/adhesion/", membership.membership, name="membership"),
    path("communes/<str:code>/adhesion/demander/", membership.ask, name="membership_ask"),
    path("communes/<str:code>/adhesion/modifier/", membership.describe, name="membership_edit"),
    path("communes/<str:code>/adhesion/convention/", membership.agreement, name="agreement"),
    path("communes/<str:code>/adhesion/signer/", membership.sign, name="membership_sign"),
    path("communes/<str:code>/adhesion/retirer/", membership.withdraw, name="membership_withdraw"),
    path("communes/<str:code>/depart/", membership.departure, name="departure"),
    path("communes/<str:code>/depart/demander/", membership.leave, name="departure_ask"),
    path("communes/<str:code>/depart/annuler/", membership.stay, name="departure_cancel"),
    path("communes/<str:code>/depart/exporter/", membership.export, name="departure_export"),
    path("communes/<str:code>/depart/export.zip", membership.download, name="departure_download"),
    path("communes/<str:code>/depart/recu/", membership.acknowledge, name="departure_acknowledge"),
    path("communes/<str:code>/depart/effacer/", membership.erase, name="departure_erase"),
    path("communes/<str:code>/depart/<int:pk>/preuve/", membership.proof, name="proof"),
    path(
        "communes/<str:code>/depart/<int:pk>/preuve.json", membership.proof_json, name="proof_json"
    ),
    path("journal/", journal.journal_page, name="journal"),
    path("journal/export/", journal.export, name="journal_export"),
    path("journal/<int:seq>/", journal.journal_entry, name="journal_entry"),
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
