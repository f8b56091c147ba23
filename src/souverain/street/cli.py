"""`souverain street …`: one module for each part of the room."""

from __future__ import annotations

import click

from souverain.street import ingest_commands


@click.group()
def cli() -> None:
    """Les routes du département en images à 360°."""


cli.add_command(ingest_commands.ingest)
cli.add_command(ingest_commands.pose)
