"""Every route: each room's pages under its name, its API under /api/, accounts, health."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, include, path
from django.views.decorators.http import require_http_methods, require_safe
from ninja import NinjaAPI

from souverain import __version__
from souverain.core import rooms
from souverain.core.access import requires
from souverain.core.api import authenticated, problem_handlers

api = NinjaAPI(
    title=settings.NAMES.cloud,
    version=__version__,
    auth=authenticated,
    docs_url=None,
    openapi_url="/openapi.json",
)
problem_handlers(api)


@require_safe
@requires("core.public")
def health(request: HttpRequest) -> JsonResponse:
    """`{"status": "ok", "rooms": {…}}`; 503 when a check fails. Messages stay on the page."""
    states = {
        room.name: "ok" if all(_healthy(item.check) for item in room.health) else "failing"
        for room in rooms.load().values()
    }
    whole = all(state == "ok" for state in states.values())
    return JsonResponse(
        {"status": "ok" if whole else "failing", "rooms": states}, status=200 if whole else 503
    )


def _healthy(check: object) -> bool:
    try:
        return bool(check().ok)  # type: ignore[operator]
    except Exception:
        return False


@require_http_methods(["GET", "HEAD", "POST"])
@requires("core.own")
def email_is_fixed(request: HttpRequest) -> HttpResponse:
    """In the place of allauth's page: an address that nobody verified must never become an
    account's, or its owner would take up the invitations of somebody else."""
    return redirect("portal:profile")


handler429 = "souverain.core.accounts.too_many"
urlpatterns: list[URLPattern | URLResolver] = [
    path("health", health, name="health"),
    path("compte/email/", email_is_fixed, name="account_email"),
    path("compte/", include("allauth.urls")),
]
for _room in rooms.load().values():
    if _room.urls:
        urlpatterns.append(path("" if _room.home else f"{_room.name}/", include(_room.urls)))
    if _room.api:
        _module, _, _name = _room.api.partition(":")
        _prefix = "" if _room.name == "core" else f"/{_room.name}"
        api.add_router(_prefix, getattr(import_module(_module), _name))
urlpatterns.append(path("api/", api.urls))
