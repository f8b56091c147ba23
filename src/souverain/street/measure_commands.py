"""`souverain street triangulate`: rays in a file, points out. Needs no panorama."""

from __future__ import annotations

import json
from pathlib import Path

import click

from souverain.street import rays_file

SHOWN_FAULTS = 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
def triangulate(file: Path, as_json: bool) -> None:
    """Situe des points à partir de visées (CSV), avec leur covariance."""
    try:
        rays = rays_file.read(file)
    except rays_file.RaysError as error:
        raise click.ClickException(str(error)) from error
    items = rays_file.triangulate(rays)
    if as_json:
        faults = [
            {"line": fault.line, "id": fault.id, "key": fault.key, "reason": fault.reason}
            for fault in rays.faults
        ]
        click.echo(
            json.dumps({"count": len(items), "items": items, "faults": faults}, ensure_ascii=False)
        )
    else:
        for line in rays_file.lines(items):
            click.echo(line)
    if rays.faults:
        told = " ; ".join(str(fault) for fault in rays.faults[:SHOWN_FAULTS])
        more = len(rays.faults) - SHOWN_FAULTS
        told += f" … et {more} autres" if more > 0 else ""
        raise click.ClickException(f"« {file.name} », {told}.")
