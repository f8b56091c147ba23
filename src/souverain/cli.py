"""The `souverain` command. Each room's commands are imported only when they are asked for, so
that those which need no Django start without it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import click

from souverain import faults, french

french.speak()
_KERNEL = {
    "init": "initialise",
    "serve": "serve",
    "worker": "worker",
    "user": "user",
    "organisation": "organisation",
    "journal": "journal_commands",
    "job": "job",
    "egress": "egress_commands",
}
_ROOMS = {"territory": "territory", "vault": "vault", "street": "street", "membership": "portal"}
# What starts without Django or a database, by the words of the command.
_ALONE = {
    "vault": {
        "agent": "souverain.vault.agent_commands",
        "audit": "souverain.vault.audit_commands",
        "drill": "souverain.vault.drill_commands",
        "repository": "souverain.vault.repository_commands",
    }
}


class Commands(click.Group):
    """The kernel's commands, and one group for each room. What goes wrong is one French sentence
    on stderr; with `--json`, a problem (RFC 9457) there. Exit 1: it failed; 2: it was badly asked."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(given, *rest, **{**extra, "standalone_mode": False})
        except (Exception, SystemExit) as error:
            fault = faults.as_click(error)
            if fault is None:
                raise
            _tell(fault, as_json="--json" in given)
            sys.exit(fault.exit_code)
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*_KERNEL, *_ROOMS])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        if name in _ALONE:
            return french.of_command(Room(name))
        if name in _KERNEL:
            module = with_django("souverain.console", waits_for_the_database=name == "worker")
            return french.of_command(getattr(module, _KERNEL[name]))
        return french.of_command(with_django(f"souverain.{_ROOMS[name]}.cli").cli)


class Room(click.Group):
    """A room's commands, some of which start alone: the others are read when one is asked for."""

    def _others(self) -> click.Group:
        others: click.Group = with_django(f"souverain.{_ROOMS[str(self.name)]}.cli").cli
        french.of_command(others)
        return others

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*_ALONE[str(self.name)], *self._others().list_commands(context)])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        alone = _ALONE[str(self.name)].get(name)
        if alone is None:
            return self._others().get_command(context, name)
        return french.of_command(importlib.import_module(alone).cli)

    def format_help_text(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        self._others().format_help_text(context, formatter)

    def get_short_help_str(self, limit: int = 45) -> str:
        return self._others().get_short_help_str(limit)


def with_django(module: str, *, waits_for_the_database: bool = False) -> ModuleType:
    """Start Django, then import. A command that somebody waits for opens its one connection by
    itself, and so says at once that the database is down, where the pool would try again for a
    while."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
    import django
    from django.apps import apps

    if not apps.ready:
        django.setup()
        if not waits_for_the_database:
            from django.db import connection

            connection.settings_dict["OPTIONS"].pop("pool", None)
    return importlib.import_module(module)


def _tell(error: click.ClickException, *, as_json: bool) -> None:
    badly_asked = isinstance(error, click.UsageError)
    problem = {
        "type": "about:blank",
        "title": "Commande mal écrite" if badly_asked else "Échec",
        "status": 400 if badly_asked else 422,
        "detail": error.format_message(),
    }
    if as_json:
        click.echo(json.dumps(problem, ensure_ascii=False), err=True)
    elif badly_asked:
        error.show()
    else:
        click.echo(f"Erreur : {problem['detail']}", err=True)


@click.command(cls=Commands, subcommand_metavar="COMMANDE [ARGUMENTS]...")
def main() -> None:
    """Le cloud souverain du département."""
