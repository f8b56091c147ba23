"""The portal's pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core import clock, queries, rooms
from souverain.core.access import organisations_in_reach, permits, requires
from souverain.core.format import datetime_fr
from souverain.core.models import JournalEntry, Organisation, RoleAssignment
from souverain.core.roles import Role
from souverain.core.services import accept_invitation, invite, open_invitation, remove_role
from souverain.portal.forms import InvitationForm
from souverain.territory.models import Commune


def commune_of(request: HttpRequest, code: str, **_: Any) -> dict[str, Any]:
    """The access target of a commune's pages."""
    commune = get_object_or_404(Commune.objects.select_related("organisation"), code=code)
    return {"organisation": commune.organisation}


@require_GET
@requires("core.public")
def home(request: HttpRequest) -> HttpResponse:
    """Home by role: one's own communes first, or the whole département for an operator."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = organisations_in_reach(actor, "portal.commune")
    own = Commune.objects.filter(organisation__in=reach) if actor.user else Commune.objects.none()
    context = {"count": Commune.objects.count(), "own": own[:20], "own_count": own.count()}
    return render(request, "portal/home.html", context)


@requires("core.public")
@require_http_methods(["GET", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """A one-time link. Opening it changes nothing (mail scanners open links); the button does."""
    if request.method == "GET":
        return render(request, "portal/invitation.html", {"invitation": open_invitation(token)})
    try:
        user = accept_invitation(token)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("account_login")
    if user.has_usable_password():
        # A link never stands in for the password and second factor of an account in use.
        messages.success(request, "Votre nouveau rôle est enregistré : connectez-vous.")
        return redirect("account_login")
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    messages.info(request, "Choisissez maintenant votre mot de passe.")
    return redirect("account_set_password")


@require_GET
@requires("core.public")
def communes(request: HttpRequest) -> HttpResponse:
    """All the communes, sortable and exportable."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = set(organisations_in_reach(actor, "portal.commune").values_list("code", flat=True))
    rows = []
    for commune in Commune.objects.select_related("epci__organisation").order_by("name"):
        link = reverse("portal:commune", args=[commune.code]) if commune.code in reach else ""
        rows.append(
            [
                {"text": commune.name, "url": link},
                {"text": commune.code},
                {"text": commune.population, "value": commune.population, "kind": "number"},
                {"text": commune.epci.organisation.name if commune.epci else "—"},
            ]
        )
    columns = [
        {"title": "Commune"},
        {"title": "Code INSEE"},
        {"title": "Habitants", "kind": "number"},
        {"title": "Intercommunalité"},
    ]
    return render(request, "portal/communes.html", {"rows": rows, "columns": columns})


@require_GET
@requires("portal.commune", of=commune_of)
def commune(request: HttpRequest, code: str) -> HttpResponse:
    """One commune: what each room does for it, and who its members are."""
    found = Commune.objects.select_related("organisation", "epci__organisation").get(code=code)
    actor = request.actor  # type: ignore[attr-defined]
    context = {
        "commune": found,
        "cards": queries.commune_card.ask_all(code),
        "members": found.organisation.role_assignments.select_related("user"),
        "may_manage": permits(actor, "core.members", organisation=found.organisation),
        "form": InvitationForm(),
    }
    return render(request, "portal/commune.html", context)


@require_POST
@requires("core.members", of=commune_of)
def invite_member(request: HttpRequest, code: str) -> HttpResponse:
    """Invite a person to the commune; the link is shown once."""
    organisation = Organisation.objects.get(code=code)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Cette adresse n'est pas valable : vérifiez-la, puis recommencez.")
        return redirect("portal:commune", code=code)
    _, token = invite(
        request.actor,  # type: ignore[attr-defined]
        email=form.cleaned_data["email"],
        full_name=form.cleaned_data["full_name"],
        role=Role(form.cleaned_data["role"]),
        organisation=organisation,
    )
    link = settings.PUBLIC_URL + reverse("portal:invitation", args=[token])
    context = {"organisation": organisation, "email": form.cleaned_data["email"], "link": link}
    return render(request, "portal/invited.html", context)


@require_POST
@requires("core.members", of=commune_of)
def remove_member(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Take a person's role on the commune away."""
    assignment = get_object_or_404(RoleAssignment, pk=pk, organisation__code=code)
    remove_role(request.actor, assignment)  # type: ignore[attr-defined]
    messages.success(request, f"{assignment.user} n'a plus accès à cette commune.")
    return redirect("portal:commune", code=code)


@require_GET
@requires("core.journal")
def journal_page(request: HttpRequest) -> HttpResponse:
    """The journal of the organisations in reach, newest first."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = organisations_in_reach(actor, "core.journal")
    entries = JournalEntry.objects.order_by("-seq").defer("body", "hash")
    if not permits(actor, "core.journal", organisation=_departement()):
        entries = entries.filter(organisation__in=reach.values_list("code", flat=True))
    page = Paginator(entries, 50).get_page(request.GET.get("page"))
    rows = [
        [
            {"text": entry.seq, "value": entry.seq, "kind": "number"},
            {"text": datetime_fr(entry.happened_at), "value": entry.at},
            {"text": entry.actor},
            {"text": entry.verb},
            {"text": entry.organisation or "—"},
            {"text": entry.object or "—"},
        ]
        for entry in page
    ]
    columns = [
        {"title": "N°", "kind": "number"},
        {"title": "Quand"},
        {"title": "Qui"},
        {"title": "Fait"},
        {"title": "Organisation"},
        {"title": "Objet"},
    ]
    return render(request, "portal/journal.html", {"page": page, "rows": rows, "columns": columns})


def _departement() -> Organisation:
    return Organisation.objects.get(code=settings.DEPARTEMENT)


@require_GET
@requires("core.supervise")
def supervision(request: HttpRequest) -> HttpResponse:
    """Each room's health, now."""
    checks = [
        {"room": room, "check": item, "health": _health(item)}
        for room in rooms.load().values()
        for item in room.health
    ]
    failing = sum(not found["health"].ok for found in checks)
    return render(request, "portal/supervision.html", {"checks": checks, "failing": failing})


def _health(item: rooms.HealthCheck) -> rooms.Health:
    try:
        return item.check()
    except Exception as error:
        return rooms.Health(False, f"Le contrôle n'a pas abouti ({type(error).__name__}).")


@require_GET
@requires("core.own")
def profile(request: HttpRequest) -> HttpResponse:
    """One's own account: roles, password, second factor."""
    return render(request, "portal/profile.html")


@requires("core.own")
@require_http_methods(["GET", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """One's messages; a POST marks them all as read."""
    mine = request.user.notifications  # type: ignore[union-attr]
    if request.method == "POST":
        mine.filter(read_at=None).update(read_at=clock.now())
        return redirect("portal:notifications")
    context = {"notifications": mine.order_by("-created_at")[:200]}
    return render(request, "portal/notifications.html", context)


@require_GET
@requires("core.public")
def api_docs(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/api_docs.html", {"rooms": rooms.load().values()})


@require_GET
@requires("core.public")
def legal(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/legal.html")


@require_GET
@requires("core.public")
def accessibility(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/accessibility.html")


@require_GET
@requires("core.public")
def privacy(request: HttpRequest) -> HttpResponse:
    """The privacy notice, drawn from what the manifests say the rooms hold."""
    return render(request, "portal/privacy.html", {"rooms": rooms.load().values()})
