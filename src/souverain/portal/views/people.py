"""The people of the cloud, for operators."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from souverain.core import queries
from souverain.core.access import of_user, requires
from souverain.core.format import datetime_fr
from souverain.core.models import Device, JournalEntry, Organisation, User
from souverain.core.services import deactivate, reactivate, reset_second_factor

PAGE = 50


def everybody(request: HttpRequest, **_: Any) -> dict[str, Any]:
    """The access target: the département as a whole, since accounts reach across organisations."""
    return {"organisation": get_object_or_404(Organisation, code=settings.DEPARTEMENT)}


@require_GET
@requires("core.people", of=everybody)
def people(request: HttpRequest) -> HttpResponse:
    """Everybody who has an account, with a search by name or address."""
    sought = request.GET.get("q", "").strip()[:100]
    found = User.objects.prefetch_related(
        "role_assignments__organisation", "role_assignments__group"
    )
    if sought:
        found = found.filter(Q(full_name__icontains=sought) | Q(email__icontains=sought))
    page = Paginator(found.order_by("full_name", "email"), PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "sought": sought,
        "rows": [_row(user) for user in page],
        "columns": [
            {"title": "Personne"},
            {"title": "Adresse"},
            {"title": "Rôles"},
            {"title": "Dernière connexion"},
            {"title": "Compte"},
        ],
    }
    return render(request, "portal/people.html", context)


def _row(user: User) -> list[dict[str, Any]]:
    roles = [
        f"{role.get_role_display()}, {role.group or role.organisation}"
        for role in user.role_assignments.all()
    ]
    last = user.last_login
    return [
        {"text": user.display_name, "url": reverse("portal:person", args=[user.pk])},
        {"text": user.email},
        {"text": " ; ".join(roles) or "Aucun rôle"},
        {
            "text": datetime_fr(last) if last else "Jamais",
            "value": last.isoformat() if last else "",
        },
        {"text": "Actif", "state": "ok"}
        if user.is_active
        else {"text": "Désactivé", "state": "neutral"},
    ]


@require_GET
@requires("core.people", of=everybody)
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """One person: roles, last sign-in, devices, and closing the account."""
    found = get_object_or_404(User, pk=pk)
    tokens = found.api_tokens.filter(revoked_at=None).count()
    context = {
        "person": found,
        "tokens": tokens,
        "factors": Authenticator.objects.filter(user=found).exclude(
            type=Authenticator.Type.RECOVERY_CODES
        ),
        "is_self": found == request.user,
        "devices": _enrolled_by(found),
    }
    return render(request, "portal/person.html", context)


def _enrolled_by(person: User) -> list[dict[str, Any]]:
    """The live devices that this person added, as the journal says, and where to revoke each."""
    added = JournalEntry.objects.filter(actor=str(of_user(person)), verb__endswith=".device_added")
    ids = [entry.removeprefix("device:") for entry in added.values_list("object", flat=True)]
    devices = Device.objects.filter(pk__in=ids, revoked_at=None).select_related("organisation")
    pages = {
        (code, card.room): card.url
        for code in {device.organisation.code for device in devices}
        for card in queries.commune_card.ask_all(code)
    }
    return [
        {"device": device, "url": pages.get((device.organisation.code, device.room), "")}
        for device in devices
    ]


@require_POST
@requires("core.people", of=everybody)
def close(request: HttpRequest, pk: int) -> HttpResponse:
    """Close an account."""
    found = get_object_or_404(User, pk=pk)
    try:
        deactivate(request.actor, found)  # type: ignore[attr-defined]
        messages.success(request, f"Le compte de {found} est désactivé.")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect("portal:person", pk=pk)


@require_POST
@requires("core.people", of=everybody)
def reset_factor(request: HttpRequest, pk: int) -> HttpResponse:
    """Take somebody's second factors away."""
    found = get_object_or_404(User, pk=pk)
    reset_second_factor(request.actor, found)  # type: ignore[attr-defined]
    messages.success(request, f"La double vérification de {found} est retirée.")
    return redirect("portal:person", pk=pk)


@require_POST
@requires("core.people", of=everybody)
def reopen(request: HttpRequest, pk: int) -> HttpResponse:
    """Open a closed account again."""
    found = get_object_or_404(User, pk=pk)
    reactivate(request.actor, found)  # type: ignore[attr-defined]
    messages.success(request, f"Le compte de {found} est réactivé.")
    return redirect("portal:person", pk=pk)
