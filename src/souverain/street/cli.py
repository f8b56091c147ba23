"""`souverain street …`: one module for each part of the room."""

from __future__ import annotations

import click

from souverain.street import finding_commands, ingest_commands, link_commands, privacy_commands


@click.group()
def cli() -> None:
    """Les routes du département en images à 360°."""


cli.add_command(finding_commands.locate)
cli.add_command(privacy_commands.blur)
cli.add_command(privacy_commands.erase)
cli.add_command(ingest_commands.ingest)
cli.add_command(ingest_commands.pose)
cli.add_command(link_commands.links)
