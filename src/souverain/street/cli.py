"""`souverain street …`: one module for each part of the room."""

from __future__ import annotations

import click


@click.group()
def cli() -> None:
    """Les routes du département en images à 360°."""
