"""The one written access matrix, `docs/access.md`: read here, and compared with what exists.

`PYTHONPATH=src .venv/bin/python -m tests.access_matrix` prints the rows that are missing and those
that name nothing any more. A person copies them in, and reviews them: nothing is written for them.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[1] / "docs" / "access.md"
LIBRARIES = ("allauth.", "ninja.", "django.")
NOBODY, EVERYBODY = "—", "yes"
OR_SELF = ", self"


@dataclass(frozen=True)
class Row:
    """One line of the tables of pages and API operations. Each column holds the roles that get
    through; `checked` is what the permission is checked on."""

    methods: frozenset[str]
    route: str
    permission: str
    checked: str
    self: frozenset[str]
    own_group: frozenset[str]
    own_organisation: frozenset[str]
    other_organisation: frozenset[str]
    anonymous: bool

    def __str__(self) -> str:
        return f"{' '.join(sorted(self.methods))} {self.route}"


def table(title: str) -> list[list[str]]:
    """The cells of the table under a heading of the document, without its head."""
    section = DOCUMENT.read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _plain(cell: str) -> str:
    return cell.strip().strip("`")


def _roles(cell: str) -> frozenset[str]:
    from souverain.core.roles import Role

    if cell == NOBODY:
        return frozenset()
    if cell == EVERYBODY:
        return frozenset(Role.values)
    roles = frozenset(cell.split(", "))
    assert roles <= frozenset(Role.values), f"docs/access.md: unknown roles in « {cell} »"
    return roles


def rows(title: str) -> list[Row]:
    found = []
    for methods, route, permission, checked, *reach, anonymous in table(title):
        assert len(reach) == 4, f"docs/access.md: the line of {route} has not nine cells"
        found.append(
            Row(
                frozenset(_plain(methods).split()),
                _plain(route),
                _plain(permission),
                checked,
                *map(_roles, reach),
                anonymous == EVERYBODY,
            )
        )
    return found


# What exists -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A route of the program: its view, its name, and what it says of itself."""

    route: str
    name: str
    arguments: tuple[str, ...]
    view: Callable[..., Any]

    @property
    def is_of_a_library(self) -> bool:
        return getattr(self.view, "func", self.view).__module__.startswith(LIBRARIES)


def _walk(
    resolver: Any, route: str = "", namespace: str = "", outer: tuple[str, ...] = ()
) -> Iterator[Found]:
    for entry in resolver.url_patterns:
        path = route + str(entry.pattern)
        arguments = (*outer, *entry.pattern.regex.groupindex)
        if hasattr(entry, "url_patterns"):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from _walk(entry, path, inner, arguments)
        else:
            yield Found(f"/{path}", f"{namespace}{entry.name}", arguments, entry.callback)


def pages() -> list[Found]:
    """Our own pages."""
    from django.urls import get_resolver

    return [found for found in _walk(get_resolver()) if not found.is_of_a_library]


def library_routes() -> list[Found]:
    """The routes of allauth and ninja that are not operations of our API."""
    from django.urls import get_resolver

    return [
        found
        for found in _walk(get_resolver())
        if found.is_of_a_library and not found.route.startswith("/api/")
    ]


def operations() -> list[tuple[str, str, str]]:
    """(method, route, permission) of each operation of the API."""
    from souverain.config.urls import api

    return [
        (
            method,
            # A room's router may be made of several: ninja joins them with slashes of its own.
            re.sub("/+", "/", f"/api/{prefix}/{path}"),
            getattr(operation.view_func, "permission", "no permission named"),
        )
        for prefix, router in api._routers
        for path, view in router.path_operations.items()
        for operation in view.operations
        for method in operation.methods
    ]


def methods_of(view: Callable[..., Any]) -> frozenset[str]:
    """What `require_http_methods` says on the view or under its decorators; empty: nothing."""
    current: Any = view
    while current is not None:
        named = inspect.getclosurevars(current).nonlocals.get("request_method_list")
        if named:
            return frozenset(named)
        current = getattr(current, "__wrapped__", None)
    return frozenset()


def written(permission_code: str, checked: str) -> list[str]:
    """The five last cells that the manifest's permission implies."""
    from souverain.core import rooms
    from souverain.core.roles import Role
    from souverain.core.rooms import Reach

    permission = rooms.permissions()[permission_code]
    if permission.public:
        return [EVERYBODY] * 5

    def cell(*reaches: Reach) -> str:
        roles = [str(role) for role in Role if permission.grants.get(role) in reaches]
        if len(roles) == len(Role):
            return EVERYBODY
        return ", ".join(roles) or NOBODY

    anywhere = (Reach.GROUP, Reach.ORGANISATION, Reach.EVERYWHERE)
    if checked.endswith(OR_SELF):
        return [cell(*Reach), *written(permission_code, checked.removesuffix(OR_SELF))[1:]]
    return {
        "self": [cell(*Reach), *[NOBODY] * 4],
        "group": [NOBODY, cell(*anywhere), cell(*anywhere[1:]), cell(Reach.EVERYWHERE), NOBODY],
        "list": [NOBODY, cell(*anywhere), cell(*anywhere[1:]), cell(Reach.EVERYWHERE), NOBODY],
        "organisation": [
            *[NOBODY] * 2,
            cell(*anywhere[1:]),
            cell(Reach.EVERYWHERE),
            NOBODY,
        ],
        "département": [*[NOBODY] * 2, cell(*anywhere[1:]), NOBODY, NOBODY],
    }[checked]


def likely_check(permission_code: str, has_target: bool) -> str:
    """What a new route most likely checks its permission on; the person who reviews decides."""
    from souverain.core import rooms
    from souverain.core.rooms import Reach

    permission = rooms.permissions()[permission_code]
    if permission.public:
        return NOBODY
    if set(permission.grants.values()) == {Reach.SELF}:
        return "self"
    return "organisation" if has_target else "list"


def line(methods: frozenset[str] | set[str], route: str, permission: str, checked: str) -> str:
    cells = written(permission, checked)
    methods_cell = f"`{' '.join(sorted(methods))}`"
    return (
        "| " + " | ".join([methods_cell, f"`{route}`", f"`{permission}`", checked, *cells]) + " |"
    )


def missing_pages() -> list[str]:
    known = {row.route for row in rows("Pages")}
    return [
        line(
            methods_of(found.view) or {"GET"},
            found.route,
            found.view.permission,  # type: ignore[attr-defined]
            likely_check(found.view.permission, bool(found.arguments)),  # type: ignore[attr-defined]
        )
        for found in pages()
        if found.route not in known
    ]


def missing_operations() -> list[str]:
    known = {(method, row.route) for row in rows("API") for method in row.methods}
    return [
        line({method}, route, permission, likely_check(permission, "{" in route))
        for method, route, permission in operations()
        if (method, route) not in known
    ]


def missing_library_routes() -> list[str]:
    known = {_plain(cells[0]) for cells in table("Account pages")}
    return [
        f"| `{found.route}` | {NOBODY} | {EVERYBODY} |"
        for found in library_routes()
        if found.route not in known
    ]


def superfluous() -> list[str]:
    """Written routes that nothing serves any more."""
    real = {found.route for found in pages()}
    calls = {(method, route) for method, route, _ in operations()}
    accounts = {found.route for found in library_routes()}
    return [
        *(row.route for row in rows("Pages") if row.route not in real),
        *(
            f"{method} {row.route}"
            for row in rows("API")
            for method in row.methods
            if (method, row.route) not in calls
        ),
        *(_plain(c[0]) for c in table("Account pages") if _plain(c[0]) not in accounts),
    ]


# Commands ----------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command of the click tree by its words, groups that do nothing by themselves left out, hidden ones included."""
    import click

    from souverain.cli import main

    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join(words), command
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*words, name))
        else:
            yield " ".join(words), command

    return dict(walk(main, ()))


def missing_commands() -> list[str]:
    known = {re.sub("^souverain ", "", _plain(cells[0])) for cells in table("Commands")}
    return [
        f"| `souverain {words}` | console | the verbs that it writes, or {NOBODY} |"
        for words in commands()
        if words not in known
    ]


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
    import django

    django.setup()
    for title, missing in (
        ("Pages", missing_pages()),
        ("API", missing_operations()),
        ("Account pages", missing_library_routes()),
        ("Commands", missing_commands()),
    ):
        if missing:
            print(f"docs/access.md, ## {title}, missing:", *missing, sep="\n")  # noqa: T201
    for route in superfluous():
        print(f"docs/access.md names what does not exist: {route}")  # noqa: T201


if __name__ == "__main__":
    main()
