"""The command speaks French also where click speaks, whatever the account's locale."""

from __future__ import annotations

import ast
import importlib
import json
import string
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from souverain import french
from souverain.cli import main

MODULES = ("core", "decorators", "exceptions", "formatting", "parser", "types")
# What a mistake in our own source would say, and what we never ask for (prompts, --version).
NEVER_SAID = (
    "DeprecationWarning",
    "Could not determine name",
    "No options defined",
    "Arguments take exactly one",
    "Name '{name}' defined",
    "Boolean option",
    "Invalid start character",
    "Aborted!",
    "deprecated",
    "Do you want to continue?",
    "Confirm the action",
    "%(prog)s",
    "Show the version",
    "Choice(",
)


def sentences() -> list[str]:
    """What click gives to gettext."""
    found = []
    for name in MODULES:
        module = importlib.import_module(f"click.{name}")
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                first = node.args[0] if node.args else None
                if node.func.id in ("_", "ngettext") and isinstance(first, ast.Constant):
                    found.append(str(first.value))
    return found


def fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_sentence_of_click_has_its_french() -> None:
    known = {**french.SENTENCES, **french.PLURALS}
    said = [text for text in sentences() if not text.startswith(NEVER_SAID)]
    assert len(said) > 30
    assert [text for text in said if text not in known] == []


def test_a_sentence_keeps_what_it_names() -> None:
    for english, words in french.SENTENCES.items():
        assert fields(english) == fields(words), english
    for english, (one, many) in french.PLURALS.items():
        assert fields(one) <= fields(many) | {"possibility", "choice", "format"}, english


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tout", "La commande 'tout' n'existe pas."),
        ("user", "Usage : main user [OPTIONS] COMMANDE [ARGUMENTS]..."),
        ("user create", "Il manque l'option '--email'."),
        ("user create --mail x", "L'option '--mail' n'existe pas."),
        ("user create --email", "L'option '--email' demande une valeur."),
        ("user create --email a --role roi", "Valeur refusée pour '--role' : 'roi' n'est pas"),
        ("egress remove x", "'x' n'est pas un entier."),
        ("egress remove", "Il manque l'argument 'IDENTITY'."),
        ("egress allow h 0 --purpose smtp", "0 n'est pas dans l'intervalle 1<=x<=65535."),
        ("journal verify --head /nulle-part", "Fichier '/nulle-part' : introuvable."),
        ("init de trop", "Arguments de trop (de trop)"),
    ],
)
def test_wrong_usage_is_told_in_french(words: str, said: str) -> None:
    done = CliRunner().invoke(main, words.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    for english in ("Error", "Try ", "for help", "Usage:", "Invalid", "Missing"):
        assert english not in done.stderr
    told = json.loads(CliRunner().invoke(main, [*words.split(), "--json"]).stderr)
    assert told["status"] == 400 and told["title"] == "Commande mal écrite"


def every_command(group: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(group, click.Group):
        return [words]
    found = [words]
    context = click.Context(group)
    for name in group.list_commands(context):
        inner = group.get_command(context, name)
        assert inner is not None
        found += every_command(inner, (*words, name))
    return found


def test_every_help_is_in_french() -> None:
    for words in every_command(main):
        shown = CliRunner().invoke(main, [*words, "--help"]).stdout
        assert shown.startswith("Usage :") and "Montre cette aide." in shown, words
        for english in (
            "Commands",
            "INTEGER",
            "TEXT ",
            "[required]",
            "[default",
            "PATH",
            "COMMAND ",
        ):
            assert english not in shown, (words, shown)
