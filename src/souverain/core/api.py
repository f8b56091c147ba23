"""The JSON API's shared part: who calls, and every error as a problem (RFC 9457), in French."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import NinjaAPI
from ninja.errors import HttpError
from ninja.errors import ValidationError as BadArguments
from ninja.utils import check_csrf
from pydantic import WithJsonSchema

from souverain.core.access import ANONYMOUS, Actor
from souverain.core.addresses import is_api

PROBLEM = "application/problem+json"
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""An instant in UTC, as `clock.rfc3339` writes it."""
Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date"})]
_TITLES = {
    400: "Demande mal formée",
    401: "Jeton nécessaire",
    403: "Refusé",
    404: "Introuvable",
    405: "Méthode refusée",
    413: "Demande trop longue",
    422: "Arguments refusés",
    429: "Trop de demandes",
    500: "Panne momentanée",
    503: "Indisponible pour le moment",
}
_DETAILS = {
    401: "Cette opération demande un jeton : Authorization: Bearer souv_…",
    404: "Cette adresse ne désigne rien.",
    405: "Cette adresse ne prend pas cette méthode.",
    500: "Le service n'a pas pu répondre. Recommencez ; si cela dure, prévenez le département.",
}
_SAFE = "GET, HEAD, OPTIONS"


def authenticated(request: HttpRequest) -> Actor | None:
    """The caller. Permissions decide (`access.requires` on each operation); here only a forged
    cross-site write on somebody's session is refused."""
    actor: Actor = request.actor  # type: ignore[attr-defined]
    if actor.user is not None and actor.scopes is None and check_csrf(request) is not None:
        raise PermissionDenied("Requête refusée : le jeton CSRF manque.")
    return actor


def problem_body(status: int, detail: str = "", **more: Any) -> dict[str, Any]:
    """What `problem` answers, for whoever writes it on another wire."""
    title = _TITLES.get(status, "Échec")
    said = detail or _DETAILS.get(status, f"{title}.")
    return {"type": "about:blank", "title": title, "status": status, "detail": said, **more}


def problem(status: int, detail: str = "", **more: Any) -> HttpResponse:
    """RFC 9457: what kind of error it is, and the sentence that says this one."""
    return JsonResponse(problem_body(status, detail, **more), status=status, content_type=PROBLEM)


def problem_handlers(api: NinjaAPI) -> None:
    """Answer every expected error as problem+json, in French."""
    api.add_exception_handler(PermissionDenied, _refused)
    api.add_exception_handler(Http404, lambda _, e: problem(404))
    api.add_exception_handler(
        ValidationError, lambda _, e: problem(422, " ".join(e.messages), errors=e.messages)
    )
    api.add_exception_handler(BadArguments, _bad_arguments)
    api.add_exception_handler(HttpError, lambda _, e: problem(e.status_code))


def _refused(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
    """401 for nobody known: with a good token the same call may pass."""
    if request.actor == ANONYMOUS:  # type: ignore[attr-defined]
        answer = problem(401)
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    return problem(403, str(error))


def _bad_arguments(request: HttpRequest, error: BadArguments) -> HttpResponse:
    errors = [{"where": ".".join(map(str, x["loc"])), "what": _what(x)} for x in error.errors]
    told = " ".join(f"{item['where'].rpartition('.')[2]} : {item['what']}." for item in errors)
    return problem(422, told, errors=errors)


def _what(fault: dict[str, Any]) -> str:
    """What pydantic found, in French."""
    limits = fault.get("ctx", {})
    sentences: dict[str, Callable[[], str]] = {
        "missing": lambda: "cet argument est nécessaire",
        "int_parsing": lambda: "un nombre entier est attendu",
        "greater_than_equal": lambda: f"un nombre d'au moins {limits['ge']} est attendu",
        "less_than_equal": lambda: f"un nombre d'au plus {limits['le']} est attendu",
        "string_too_long": lambda: f"{limits['max_length']} caractères au plus",
        "string_pattern_mismatch": lambda: f"la forme {limits['pattern']} est attendue",
    }
    return sentences.get(fault["type"], lambda: "cette valeur est refusée")()


class ApiMiddleware:
    """Where programs call, whatever refuses (Django, a library, a bug) is a problem; HEAD and OPTIONS
    answer what HTTP says."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not is_api(request.path):
            return self.get_response(request)
        asked = request.method
        if asked == "HEAD":
            request.method = "GET"
        answer = self.get_response(request)
        if answer.status_code == 405:
            if "GET" in answer.headers.get("Allow", ""):
                answer.headers["Allow"] = answer.headers["Allow"].replace("GET", _SAFE)
            if asked == "OPTIONS":
                return _rewritten(answer, 204, b"")
        if answer.status_code >= 400 and answer.headers.get("Content-Type") != PROBLEM:
            told = json.dumps(problem_body(answer.status_code)).encode()
            _rewritten(answer, answer.status_code, told)
        if asked == "HEAD":
            length = str(len(answer.content))
            answer.content = b""
            answer.headers["Content-Length"] = length
        return answer


def _rewritten(answer: HttpResponse, status: int, content: bytes) -> HttpResponse:
    """The same answer, with its protective headers, and another body."""
    answer.status_code, answer.content = status, content
    answer.headers["Content-Type"] = PROBLEM
    answer.headers["Content-Length"] = str(len(content))
    return answer
