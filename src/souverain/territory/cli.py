"""`souverain territory …`: the communes' lists and outlines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from django.conf import settings

from souverain.core.access import of_console
from souverain.territory import services
from souverain.territory.engine.decoupage import DecoupageError
from souverain.territory.engine.outlines import OutlinesError

SHOWN_FAULTS = 20
_departement = click.option(
    "--departement", help="Numéro : 21, 2A, 971…", default=lambda: settings.DEPARTEMENT
)
_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")


@click.group()
def cli() -> None:
    """Les communes et leurs contours."""


@cli.command()
@_departement
@_json
def load(departement: str, as_json: bool) -> None:
    """Charge ou met à jour les communes et intercommunalités d'un département."""
    try:
        loaded = services.load_departement(of_console(), departement, settings.DECOUPAGE)
    except DecoupageError as error:
        raise click.ClickException(str(error)) from error
    _emit(
        {
            "communes": loaded.communes,
            "epci": loaded.epcis,
            "former_communes": loaded.former_communes,
            "population": loaded.population,
        },
        f"{loaded.communes} communes, {loaded.epcis} intercommunalités, "
        f"{loaded.population} habitants.",
        as_json,
    )


@cli.command()
@_departement
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), required=True, help="La graine.")
@_json
def synthesize(departement: str, seed: int, as_json: bool) -> None:
    """Trace des routes synthétiques, pour essayer avant d'importer les vraies."""
    try:
        made = services.synthesise_roads(of_console(), departement, seed)
    except (DecoupageError, services.RoadsError) as error:
        raise click.ClickException(str(error)) from error
    _emit(
        {
            "provenance": "synthetic",
            "seed": seed,
            "links": made.links,
            "length_km": round(made.length_m / 1000, 1),
            "reference_posts": made.posts,
            "bridges": made.bridges,
            "roundabouts": made.roundabouts,
        },
        f"Réseau synthétique (pour essai, ce ne sont pas de vraies routes) : {made.links} tronçons, "
        f"{made.length_m / 1000:.0f} km, {made.posts} points de repère, {made.bridges} ponts, "
        f"{made.roundabouts} ronds-points.",
        as_json,
    )


@cli.group("import")
def import_() -> None:
    """Importe un fichier de l'opérateur."""


@import_.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_departement
@click.option("--source", default="", help="Source à afficher : « IGN, Admin Express 2026 ».")
@_json
def outlines(file: Path, departement: str, source: str, as_json: bool) -> None:
    """Remplace les limites approximatives par les contours réels (.gpkg, .shp, .geojson)."""
    bar = click.progressbar(length=1, label="Contours", file=sys.stderr, hidden=as_json)

    def progress(done: int, total: int) -> None:
        bar.length = total
        bar.update(done - bar.pos)

    try:
        with bar:
            imported = services.import_outlines(of_console(), file, departement, source, progress)
    except (OutlinesError, OSError) as error:
        raise click.ClickException(str(error)) from error
    _emit(_imported_json(imported), _imported_text(imported), as_json)


def _imported_json(imported: services.Imported) -> dict[str, Any]:
    return {
        "outlines": imported.outlines,
        "merged": imported.merged,
        "elsewhere": imported.elsewhere,
        "layer": imported.layer,
        "crs": imported.crs,
        "missing": list(imported.missing),
        "faults": [
            {"row": fault.row, "code": fault.code, "reason": fault.reason}
            for fault in imported.faults
        ],
    }


def _imported_text(imported: services.Imported) -> str:
    lines = [
        f"{imported.outlines} contours importés (couche « {imported.layer} », {imported.crs})."
    ]
    if imported.merged:
        lines.append(f"{imported.merged} anciennes communes réunies à celles d'aujourd'hui.")
    if imported.elsewhere:
        lines.append(f"{imported.elsewhere} lignes d'autres départements laissées de côté.")
    lines += [
        f"Objet {fault.row} ({fault.code or 'sans code'}) : {fault.reason}."
        for fault in imported.faults[:SHOWN_FAULTS]
    ]
    if len(imported.faults) > SHOWN_FAULTS:
        lines.append(f"… et {len(imported.faults) - SHOWN_FAULTS} autres (--json les donne tous).")
    if imported.missing:
        shown = ", ".join(imported.missing[:SHOWN_FAULTS])
        more = " …" if len(imported.missing) > SHOWN_FAULTS else ""
        lines.append(f"Sans nouveau contour : {len(imported.missing)} communes ({shown}{more}).")
    return "\n".join(lines)


def _emit(result: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else text)
