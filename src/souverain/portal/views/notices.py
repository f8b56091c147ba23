"""What the law and the API ask to publish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import resolve
from django.views.decorators.http import require_GET

from souverain.core import rooms
from souverain.core.access import requires
from souverain.core.models import Organisation
from souverain.portal.services import DATA_CLASS_NAMES

SCHEMA_URL = "/api/openapi.json"


@require_GET
@requires("core.public")
def api_docs(request: HttpRequest) -> HttpResponse:
    """Every operation of the OpenAPI description, by room, with its permission and an example."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for operation in _operations():
        groups.setdefault(operation["path"].split("/")[2], []).append(operation)
    known = rooms.load()
    context = {
        "groups": [
            {
                "name": name,
                "title": known[name if name in known else "core"].title,
                "operations": found,
            }
            for name, found in groups.items()
        ],
        "count": sum(map(len, groups.values())),
        "public_url": settings.PUBLIC_URL,
        "schema_url": SCHEMA_URL,
    }
    return render(request, "portal/api_docs.html", context)


def _operations() -> Iterator[dict[str, Any]]:
    """The operations as the published schema lists them. The API object belongs to `config`, a
    higher layer: it is reached through the route that serves the schema."""
    api = resolve(SCHEMA_URL).func.keywords["api"]
    permissions = {
        operation.operation_id or api.get_openapi_operation_id(operation): (
            rooms.permissions()[operation.view_func.permission]
        )
        for _, router in api._routers
        for view in router.path_operations.values()
        for operation in view.operations
    }
    for path, methods in api.get_openapi_schema(path_prefix="/api/")["paths"].items():
        for method, described in methods.items():
            permission = permissions[described["operationId"]]
            yield {
                "id": described["operationId"],
                "path": path,
                "method": method.upper(),
                "description": described.get("description", ""),
                "permission": permission,
                "title": f"Exemple : {method.upper()} {path}",
                "parameters": described.get("parameters", ()),
                "example": _example(method, path, permission.public, "requestBody" in described),
            }


def operations_by_permission() -> dict[str, list[str]]:
    """`GET /api/…` of each operation, by the code of the permission that it asks for."""
    found: dict[str, list[str]] = {}
    for operation in _operations():
        words = f"{operation['method']} {operation['path']}"
        found.setdefault(operation["permission"].code, []).append(words)
    return found


def _example(method: str, path: str, public: bool, body: bool) -> str:
    """A command to copy: a code of commune where the path asks for one."""
    parts = ["curl"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    if not public:
        parts.append('-H "Authorization: Bearer $JETON"')
    if body:
        parts.append("-H 'Content-Type: application/json' -d @demande.json")
    communes = Organisation.objects.filter(kind=Organisation.Kind.COMMUNE)
    code = communes.order_by("code").values_list("code", flat=True).first() or "21231"
    return " ".join([*parts, settings.PUBLIC_URL + path.replace("{code}", code)])


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
    holdings = [
        {
            "room": room,
            "holding": holding,
            "classes": [DATA_CLASS_NAMES[name] for name in sorted(holding.data_classes)],
        }
        for room in rooms.load().values()
        for holding in room.holdings
    ]
    return render(request, "portal/privacy.html", {"holdings": holdings})
