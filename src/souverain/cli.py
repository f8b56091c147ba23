"""The `souverain` command. Each room's commands are imported only when they are asked for, so
that those which need no Django start without it."""

from __future__ import annotations

import importlib
import os

import click

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
    """The kernel's commands, and one group for each room."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*_KERNEL, *_ROOMS])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(context):
            return None
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")
        import django

        django.setup()
        command: click.Command
        if name in _KERNEL:
            command = getattr(importlib.import_module("souverain.console"), _KERNEL[name])
        else:
            command = importlib.import_module(f"souverain.{_ROOMS[name]}.cli").cli
        return command


@click.command(cls=Commands)
def main() -> None:
    """Le cloud souverain du département."""
