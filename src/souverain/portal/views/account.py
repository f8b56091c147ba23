"""One's own account: invitation, profile, messages."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.services import accept_invitation, open_invitation


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
@requires("core.own")
def profile(request: HttpRequest) -> HttpResponse:
    """One's own account: roles, password, second factor."""
    return render(request, "portal/profile.html")


@requires("core.own")
@require_http_methods(["GET", "POST"])
def notifications(request: HttpRequest) -> HttpResponse:
    """One's messages; a POST marks them all as read."""
    mine = request.actor.user.notifications  # type: ignore[attr-defined]
    if request.method == "POST":
        mine.filter(read_at=None).update(read_at=clock.now())
        return redirect("portal:notifications")
    context = {"notifications": mine.order_by("-created_at")[:200]}
    return render(request, "portal/notifications.html", context)
