"""Everything that a person may type, set or await is documented: each test names what is missing."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from souverain.core import queries, rooms, worker
from tests import access_matrix

DOCS = Path(__file__).parents[1] / "docs"
# The matrix lists routes, permissions and commands: it documents what is allowed, not what they do.
TEXT = "\n".join(p.read_text() for p in sorted(DOCS.glob("*.md")) if p.name != "access.md")
COMMANDS = access_matrix.commands()


def _missing(names: list[str], kind: str) -> None:
    absent = [name for name in names if f"`{name}`" not in TEXT]
    assert not absent, f"document in docs/*.md, between backquotes, these {kind}: {absent}"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_option_is_documented(words: str) -> None:
    # `souverain vault device add` may be told as `device add` in the room's own guide.
    parts = words.split()
    forms = [" ".join(parts[start:]) for start in range(max(1, len(parts) - 1))]
    told = [form for form in forms if re.search(rf"\b{re.escape(form)}\b", TEXT)]
    assert told, f"document « souverain {words} » in docs/*.md"
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            option = max(parameter.opts, key=len)
            assert re.search(rf"(?<![\w-]){option}\b", TEXT), (
                f"document the option {option} of « souverain {words} » in docs/*.md"
            )
    assert COMMANDS[words].help, f"« souverain {words} » has no help"


def test_every_setting_is_documented() -> None:
    _missing([setting.name for setting in rooms.every("settings")], "settings")


def test_every_event_is_documented() -> None:
    _missing([kind.name for kind in rooms.every("events")], "events")


def test_every_query_is_documented() -> None:
    _missing([query.name for query in queries.ALL], "queries")


def test_every_permission_is_documented() -> None:
    _missing(list(rooms.permissions()), "permissions")


def test_every_duty_is_documented() -> None:
    _missing([duty.name for duty in worker.duties()], "periodic duties")


def test_every_health_check_is_documented() -> None:
    _missing([item.name for item in rooms.every("health")], "health checks")


def test_every_operation_of_the_api_is_documented() -> None:
    absent = [
        f"{method} {route}"
        for method, route, _ in access_matrix.operations()
        if f"{method} {route}" not in TEXT
    ]
    assert not absent, f"document in docs/*.md these operations: {absent}"


def test_every_query_declared_is_in_the_list_of_queries() -> None:
    declared = [value for value in vars(queries).values() if isinstance(value, queries.Query)]
    assert set(declared) == set(queries.ALL)


def test_docs_name_no_command_that_is_gone() -> None:
    groups = {words.rsplit(" ", 1)[0] for words in COMMANDS} | {"territory import"}
    for found in re.findall(r"souverain ((?:[a-z][a-z-]* ?)+)", TEXT):
        words = found.strip().split()
        known = any(" ".join(words[:n]) in COMMANDS for n in range(1, len(words) + 1))
        assert (
            known or " ".join(words) in groups or words[0] not in {c.split()[0] for c in COMMANDS}
        ), f"docs name « souverain {found.strip()} », which does not exist"
