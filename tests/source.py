"""What the source says, read from its syntax: verbs, events, environment variables."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "souverain"
_DOTTED = re.compile(r"[a-z]+\.[a-z_]+")
_WRITERS = {"append", "refuse", "_journal"}


@cache
def modules() -> dict[Path, ast.Module]:
    """Every module of the program, its tests and migrations left out."""
    return {
        path: ast.parse(path.read_text())
        for path in ROOT.rglob("*.py")
        if not {"tests", "migrations"} & set(path.parts)
    }


def _called(call: ast.Call) -> str:
    """`journal.append` for `journal.append(…)`, `refuse` for `refuse(…)`."""
    function = call.func
    if isinstance(function, ast.Attribute):
        owner = function.value.id if isinstance(function.value, ast.Name) else ""
        return f"{owner}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def _constants(node: ast.AST, tree: ast.Module) -> Iterator[str]:
    """The texts that an expression may be: its own, and those of the module's tables it names."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value
        elif isinstance(inner, ast.Name):
            for statement in tree.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else []
                if any(isinstance(t, ast.Name) and t.id == inner.id for t in targets):
                    yield from _constants(statement.value, tree)  # type: ignore[attr-defined]


def journal_verbs() -> dict[str, Path]:
    """Verbs that the source writes in the journal, and where. A verb made with an f-string is left
    to the test that knows its values."""
    found = {}
    for path, tree in modules().items():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or len(call.args) < 2:
                continue
            owner, _, name = _called(call).rpartition(".")
            if name in _WRITERS and owner in ("", "journal"):
                for text in _constants(call.args[1], tree):
                    if _DOTTED.fullmatch(text):
                        found[text] = path
    return found


def emitted_events() -> dict[str, Path]:
    """Events that the source tells, and where."""
    return {
        text: path
        for path, tree in modules().items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _called(call) == "events.emit" and call.args
        for text in _constants(call.args[0], tree)
        if _DOTTED.fullmatch(text)
    }


def environment_variables() -> dict[str, Path]:
    """Environment variables that the source reads, and where."""
    read = re.compile(
        r'(?:environ(?:\.get\(|\[)|getenv\()\s*"([A-Z][A-Z_0-9]+)"|"(SOUVERAIN_[A-Z_0-9]+)"'
    )
    found = {}
    for path in modules():
        if path.name != "room.py":
            for plain, ours in read.findall(path.read_text()):
                found[plain or ours] = path
    return found
