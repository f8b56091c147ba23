"""What every request passes: readable text, who acts, and default deny."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import render

from souverain.core import access
from souverain.core.access import ANONYMOUS, Actor
from souverain.core.api import problem

# Views of the libraries that carry their own access rules.
_GUARDED_ELSEWHERE = ("allauth.", "ninja.", "django.views.i18n")


_NUL_IN_JSON = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000|\x00")

_BYTES = "application/octet-stream"
"""What a PUT of it brings is a part of a file, never read as text."""
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def holds_nul(request: HttpRequest) -> bool:
    """Whether the body says the character that PostgreSQL refuses and no text needs. Files are
    bytes: only their names are looked at."""
    if request.method == "PUT" and request.content_type == _BYTES:
        return False
    if request.content_type not in _FORMS:
        return _NUL_IN_JSON.search(request.body) is not None
    said = [*request.POST, *(text for texts in request.POST.lists() for text in texts[1])]
    named = [str(file.name) for files in request.FILES.lists() for file in files[1]]
    return any("\0" in text for text in (*said, *named))


class NulMiddleware:
    """Answers 400 to a request whose path, question, form or JSON holds a NUL."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path or "\0" in unquote(request.META.get("QUERY_STRING", "")):
            return self._refused(request)
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        return self._refused(request) if holds_nul(request) else None

    def _refused(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith("/api/"):
            return problem(400, "Un caractère NUL est interdit.")
        return render(request, "400.html", status=400)


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
    """Sets `request.actor`, and refuses every view that names no permission. What somebody known
    was shown is kept by no browser and no proxy, unless the view says otherwise."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = actor_of(request)  # type: ignore[attr-defined]
        response = self.get_response(request)
        if request.actor != ANONYMOUS:  # type: ignore[attr-defined]
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

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
