"""Every route names the permission that it needs, and an unknown visitor sees only the public."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from souverain.core import rooms
from souverain.core.models import Organisation

ARGUMENTS = {"code": "21231", "pk": 1, "token": "x"}


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, route)
        else:
            yield route, entry


def module_of(view: Any) -> str:
    return str(getattr(view, "func", view).__module__)


OURS = [
    (route, entry)
    for route, entry in routes(get_resolver())
    if module_of(entry.callback).startswith("souverain.")
]


@pytest.mark.parametrize(("route", "entry"), OURS, ids=[route for route, _ in OURS])
def test_a_route_names_a_permission_that_a_manifest_declares(route: str, entry: URLPattern) -> None:
    assert entry.callback.permission in rooms.permissions()  # type: ignore[attr-defined]


def test_api_operations_name_a_permission() -> None:
    from souverain.config.urls import api

    operations = [
        operation
        for _, router in api._routers
        for path_view in router.path_operations.values()
        for operation in path_view.operations
    ]
    assert operations
    for operation in operations:
        assert operation.view_func.permission in rooms.permissions()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/journal/", "/supervision/", "/profil/", "/notifications/"])
def test_an_unknown_visitor_is_asked_to_sign_in(path: str, client: Client) -> None:
    Organisation.objects.create(kind="departement", code=settings.DEPARTEMENT, name="21")
    answer = client.get(path, headers={"host": "localhost"})
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/compte/login/?next=")
