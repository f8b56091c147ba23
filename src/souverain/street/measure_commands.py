"""`souverain street triangulate`: rays in a file, points out, without any panorama; and `souverain
street demo`: the street that is drawn, to try everything on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from souverain.core import jobs
from souverain.core.access import of_console
from souverain.street import demo as drawn
from souverain.street import rays_file
from souverain.street.campaigns import CampaignError

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


@contextmanager
def _bar(hidden: bool) -> Iterator[jobs.Progress]:
    with click.progressbar(length=1, label="Images", file=sys.stderr, hidden=hidden) as bar:

        def progress(done: int, total: int | None = None, message: str = "") -> None:
            bar.length = total or done
            bar.update(done - bar.pos)

        yield progress


_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")


@click.group(invoke_without_command=True)
@_json
@click.pass_context
def demo(context: click.Context, as_json: bool) -> None:
    """Fait la rue de synthèse : une petite campagne d'images calculées, pour essayer."""
    if context.invoked_subcommand is not None:
        return
    try:
        with _bar(as_json) as progress:
            campaign, made = drawn.make(of_console(), progress)
    except (CampaignError, OSError) as error:
        raise click.ClickException(str(error)) from error
    told = {
        "campaign": campaign.name,
        "provenance": campaign.provenance,
        "panoramas": campaign.panoramas.count(),
        "drawn": made,
    }
    text = (
        f"Campagne « {campaign.name} » : {told['panoramas']} images de synthèse, {made} calculées."
    )
    click.echo(json.dumps(told, ensure_ascii=False) if as_json else text)


@demo.command()
@_json
def fiducials(as_json: bool) -> None:
    """Les repères de la rue de synthèse : leurs vraies positions, et où chaque vue les voit."""
    items = drawn.fiducials()
    if as_json:
        click.echo(json.dumps({"count": len(items), "items": items}, ensure_ascii=False))
        return
    for item in items:
        click.echo(f"{item['name']} : {item['x_m']:.3f} {item['y_m']:.3f} {item['z_m']:.3f}")


@demo.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@_json
def pictures(folder: Path, as_json: bool) -> None:
    """Écrit les images de la rue de synthèse et leur trajectoire dans un dossier, à ingérer."""
    with _bar(as_json) as progress:
        count = drawn.write(folder, progress=progress)
    told = {"folder": str(folder), "panoramas": count}
    click.echo(
        json.dumps(told, ensure_ascii=False) if as_json else f"{count} images dans {folder}."
    )
