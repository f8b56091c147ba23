"""`souverain street items …` and `souverain street compare`."""

from __future__ import annotations

from pathlib import Path

import click

from souverain.core.access import SYSTEM, of_console
from souverain.street import campaigns, changes, detections, inventory, item_lists
from souverain.street.campaigns import CampaignError
from souverain.street.changes import Changes, Pair
from souverain.street.detections import DetectionsError
from souverain.street.inventory import InventoryError
from souverain.street.inventory_api import comparison_json, imported_json
from souverain.street.item_lists import FORMATS, Filter, position_words
from souverain.street.kinds import KINDS
from souverain.street.models import Item

_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
SHOWN = 20


@click.group()
def items() -> None:
    """L'inventaire de la route."""


@items.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_json
def import_(file: Path, as_json: bool) -> None:
    """Importe les détections d'un détecteur (JSON : détecteur et son F1, campagne, visées)."""
    try:
        if file.stat().st_size > detections.MAX_BYTES:
            raise DetectionsError(f"Ce fichier dépasse {detections.MAX_BYTES // 1_000_000} Mo.")
        done = detections.take(of_console(), detections.parse(file.read_bytes()))
    except DetectionsError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(imported_json(done).json())
        return
    click.echo(f"{len(done.items)} objets à vérifier.")
    if done.seen_again:
        click.echo(f"{len(done.seen_again)} détections d'objets déjà dans l'inventaire.")
    if done.unplaced:
        click.echo(
            f"{len(done.unplaced)} détections qui n'ont pas pu être situées (--json les nomme)."
        )
    for first, second in done.doubts[:SHOWN]:
        click.echo(f"Peut-être le même objet : {first.pk} et {second.pk}.")


@items.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--kind", default="", help="Sorte d'objet : panneau, nid-de-poule…")
@click.option("--state", default="", help="draft, confirmed, planned, repaired ou gone.")
@click.option("--road", default="", help="Route : D971.")
@click.option("--commune", default="", help="Code INSEE.")
@click.option("--campaign", default="", help="Nom d'une campagne.")
@_json
def export(
    file: Path, kind: str, state: str, road: str, commune: str, campaign: str, as_json: bool
) -> None:
    """Écrit l'inventaire dans un fichier .geojson, .gpkg ou .csv."""
    form = file.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise click.ClickException(f"{file.name} : .geojson, .gpkg ou .csv est attendu.")
    told = {"kind": kind, "state": state, "road": road, "commune": commune, "campaign": campaign}
    try:
        rows = item_lists.rows_of(Filter.read(told).of(Item.objects.all()))
    except InventoryError as error:
        raise click.ClickException(str(error)) from error
    content = FORMATS[form][1](rows)
    file.write_bytes(content)
    if as_json:
        click.echo(f'{{"file": "{file.name}", "count": {len(rows)}, "bytes": {len(content)}}}')
    else:
        click.echo(f"{len(rows)} objets dans {file.name}.")


@click.command()
@click.argument("before")
@click.argument("after")
@_json
def compare(before: str, after: str, as_json: bool) -> None:
    """Ce qui est apparu, a disparu ou a bougé d'une campagne à l'autre."""
    try:
        found = changes.between(
            campaigns.find(before), campaigns.find(after), inventory.visible(SYSTEM)
        )
    except (CampaignError, InventoryError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(comparison_json(found).json() if as_json else _words(found))


def _words(found: Changes) -> str:
    lines = [
        f"{len(found.appeared)} apparus, {len(found.vanished)} disparus, {len(found.moved)} déplacés, "
        f"{len(found.unchanged)} inchangés."
    ]
    unsaid = len(found.not_seen_before) + len(found.not_seen_after)
    if unsaid:
        lines.append(f"{unsaid} objets dont l'autre campagne ne dit rien.")
    if found.unlike:
        lines.append(f"{found.unlike} objets sans précision connue, laissés de côté.")
    lines += [f"Apparu : {_name(item)}" for item in found.appeared[:SHOWN]]
    lines += [f"Disparu : {_name(item)}" for item in found.vanished[:SHOWN]]
    lines += [_moved(pair) for pair in found.moved[:SHOWN]]
    return "\n".join(lines)


def _moved(pair: Pair) -> str:
    metres = f"{pair.distance_m:.2f} ± {pair.sigma_m:.2f}".replace(".", ",")
    return f"Déplacé de {metres} m : {_name(pair.after)}"


def _name(item: Item) -> str:
    where = position_words(item) or f"{item.longitude_deg:.6f}, {item.latitude_deg:.6f}"
    return f"{KINDS[item.kind].title}, {where} ({item.pk})"
