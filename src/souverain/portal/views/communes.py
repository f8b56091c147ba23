"""The communes: the list, and one page each."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_GET

from souverain.core import queries
from souverain.core.access import organisations_in_reach, permits, requires
from souverain.portal.forms import InvitationForm
from souverain.territory.models import Commune


def commune_of(request: HttpRequest, code: str, **_: Any) -> dict[str, Any]:
    """The access target of a commune's pages."""
    commune = get_object_or_404(Commune.objects.select_related("organisation"), code=code)
    return {"organisation": commune.organisation}


@require_GET
@requires("core.public")
def communes(request: HttpRequest) -> HttpResponse:
    """All the communes, sortable and exportable."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = set(organisations_in_reach(actor, "portal.commune").values_list("code", flat=True))
    address = reverse("portal:commune", args=["00000"])
    rows = []
    for commune in Commune.objects.select_related("epci__organisation").order_by("name"):
        link = address.replace("00000", commune.code) if commune.code in reach else ""
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
