"""What the law and the API ask to publish."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from souverain.core import rooms
from souverain.core.access import requires


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
