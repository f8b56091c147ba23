"""The `souverain` command. Each room's commands are imported only when they are asked for, so
that those which need no Django start without it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
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
_ROOMS = {"territory": "territory", "vault": "vault", "membership": "portal"}


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
        _set_up(waits_for_the_database=name == "worker")
        command: click.Command
        if name in _KERNEL:
            command = getattr(importlib.import_module("souverain.console"), _KERNEL[name])
        else:
            command = importlib.import_module(f"souverain.{_ROOMS[name]}.cli").cli
        return french.of_command(command)


def _set_up(*, waits_for_the_database: bool) -> None:
    """Start Django. A command that somebody waits for opens its one connection by itself, and so
    says at once that the database is down, where the pool would try again for a while."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
    import django
    from django.apps import apps

    if apps.ready:
        return
    django.setup()
    if not waits_for_the_database:
        from django.db import connection

        connection.settings_dict["OPTIONS"].pop("pool", None)


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
