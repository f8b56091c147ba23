"""`souverain street …`: one module for each part of the room."""

from __future__ import annotations

import click

from souverain.street import (
    audit_commands,
    finding_commands,
    ingest_commands,
    link_commands,
    measure_commands,
    privacy_commands,
)
from souverain.street.inventory_commands import compare, items


@click.group()
def cli() -> None:
    """Les routes du département en images à 360°."""


cli.add_command(audit_commands.audit)
cli.add_command(finding_commands.locate)
cli.add_command(ingest_commands.ingest)
cli.add_command(ingest_commands.pose)
cli.add_command(link_commands.links)
cli.add_command(privacy_commands.blur)
cli.add_command(privacy_commands.erase)
cli.add_command(measure_commands.triangulate)
cli.add_command(measure_commands.demo)
cli.add_command(items)
cli.add_command(compare)
