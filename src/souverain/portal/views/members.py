"""The members of a commune."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from souverain.core.access import requires
from souverain.core.models import Organisation, RoleAssignment
from souverain.core.roles import Role
from souverain.core.services import invite, remove_role
from souverain.portal.forms import InvitationForm
from souverain.portal.views.communes import commune_of


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
