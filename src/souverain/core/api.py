"""The JSON API's shared part: who calls, and errors as problem+json."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError
from ninja.errors import ValidationError as BadArguments
from ninja.utils import check_csrf

from souverain.core.access import Actor


def authenticated(request: HttpRequest) -> Actor | None:
    """The caller. Permissions decide (`access.requires` on each operation); here only a forged
    cross-site write on somebody's session is refused."""
    actor: Actor = request.actor  # type: ignore[attr-defined]
    if actor.user is not None and actor.scopes is None and check_csrf(request) is not None:
        raise PermissionDenied("Requête refusée : le jeton CSRF manque.")
    return actor


def problem(status: int, title: str, **more: Any) -> HttpResponse:
    """RFC 9457."""
    return JsonResponse(
        {"type": "about:blank", "title": title, "status": status, **more},
        status=status,
        content_type="application/problem+json",
    )


def problem_handlers(api: NinjaAPI) -> None:
    """Answer every expected error as problem+json, in French."""
    api.add_exception_handler(PermissionDenied, lambda _, e: problem(403, str(e) or "Refusé."))
    api.add_exception_handler(Http404, lambda _, e: problem(404, "Introuvable."))
    api.add_exception_handler(
        ValidationError, lambda _, e: problem(422, " ".join(e.messages), errors=e.messages)
    )
    api.add_exception_handler(
        BadArguments,
        lambda _, e: problem(
            422,
            "Arguments refusés.",
            errors=[{"where": ".".join(map(str, x["loc"])), "what": x["msg"]} for x in e.errors],
        ),
    )
    api.add_exception_handler(HttpError, lambda _, e: problem(e.status_code, str(e)))
