"""The stroll: what everybody sees."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from souverain.core.access import requires
from souverain.street import viewing


@require_safe
@requires("street.stroll")
def view(request: HttpRequest, panorama: UUID) -> HttpResponse:
    """One panorama, to look around and walk on from."""
    among = viewing.visible(request.actor)  # type: ignore[attr-defined]
    found = get_object_or_404(among, pk=panorama)
    return render(request, "street/view.html", {"panorama": viewing.description(found, among)})
