"""Each room's health."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from souverain.core import rooms
from souverain.core.access import of_departement, requires


@require_GET
@requires("core.supervise", of=of_departement)
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
