"""Home, by role."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from souverain.core.access import organisations_in_reach, requires
from souverain.territory.models import Commune


@require_GET
@requires("core.public")
def home(request: HttpRequest) -> HttpResponse:
    """Home by role: one's own communes first, or the whole département for an operator."""
    actor = request.actor  # type: ignore[attr-defined]
    reach = organisations_in_reach(actor, "portal.commune")
    own = Commune.objects.filter(organisation__in=reach) if actor.user else Commune.objects.none()
    context = {"count": Commune.objects.count(), "own": own[:20], "own_count": own.count()}
    return render(request, "portal/home.html", context)
