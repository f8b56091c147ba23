"""Who acts, and default deny: the two things that every request passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden

from souverain.core import access
from souverain.core.access import ANONYMOUS, Actor

# Views of the libraries that carry their own access rules.
_GUARDED_ELSEWHERE = ("allauth.", "ninja.", "django.views.i18n")


def actor_of(request: HttpRequest) -> Actor:
    """The person behind a bearer token or a session; a wrong token is nobody, never the session.
    A token opens the API only: pages give rights and make tokens, which a token must never do."""
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith("Bearer "):
        if not request.path.startswith("/api/"):
            return ANONYMOUS
        return access.of_token(authorization.removeprefix("Bearer ")) or ANONYMOUS
    user = request.user
    if user.is_authenticated and user.is_active:
        return access.of_user(user)  # type: ignore[arg-type]
    return ANONYMOUS


class AccessMiddleware:
    """Sets `request.actor`, and refuses every view that names no permission."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = actor_of(request)  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        module = getattr(view, "func", view).__module__
        if hasattr(view, "permission") or module.startswith(_GUARDED_ELSEWHERE):
            return None
        return HttpResponseForbidden("Cette page ne nomme pas le droit qu'elle demande.")

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Somebody unknown who asks for a page is asked to sign in, then brought back to it."""
        unknown = request.actor == ANONYMOUS  # type: ignore[attr-defined]
        page = request.method == "GET" and not request.path.startswith("/api/")
        if isinstance(exception, PermissionDenied) and unknown and page:
            return redirect_to_login(request.get_full_path())
        return None
