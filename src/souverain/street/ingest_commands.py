"""`souverain street ingest` and `souverain street pose`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click
import orjson

from souverain.core.access import of_console
from souverain.street import ingest as reception
from souverain.street import privacy
from souverain.street.campaigns import CampaignError
from souverain.street.engine import pose as engine
from souverain.street.engine.picture import PictureError
from souverain.street.engine.trajectory import TrajectoryError
from souverain.street.ingest import IngestError
from souverain.street.models import Campaign, Datum

_SHOWN = 20
_LINE_S = 10
"""Between two lines of progress in a log, where no bar is drawn."""
_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command()
@_files
@click.option("--campaign", "name", required=True, help="Nom de la campagne : « d971-2026 ».")
@click.option("--trajectory", type=click.Path(path_type=Path), help="CSV ou GeoPackage.")
@click.option("--append", is_flag=True, help="Ajoute une autre livraison à la campagne.")
@click.option("--title", default="", help="Titre d'une campagne nouvelle.")
@click.option(
    "--originals", type=click.Choice(Campaign.Originals.values), help="D'une campagne nouvelle."
)
@click.option("--synthetic", is_flag=True, help="Images de synthèse : elles le disent partout.")
@click.option(
    "--no-blur", is_flag=True, help="Ne cherche personne : la campagne ne pourra être publiée."
)
@_json
def ingest(
    files: tuple[Path, ...],
    name: str,
    trajectory: Path | None,
    append: bool,
    title: str,
    originals: str | None,
    synthetic: bool,
    no_blur: bool,
    as_json: bool,
) -> None:
    """Reçoit des panoramas (dossiers ou fichiers) dans une campagne ; se reprend."""
    terms: dict[str, Any] = {"title": title} if title else {}
    if originals:
        terms["originals"] = originals
    if synthetic:
        terms["provenance"] = Campaign.Provenance.SYNTHETIC
    bar = click.progressbar(length=1, label="Images", file=sys.stderr, hidden=as_json)
    told = time.monotonic()

    def progress(done: int, total: int | None = None, message: str = "") -> None:
        nonlocal told
        bar.length = total or 1
        bar.update(done - bar.pos)
        if bar.hidden or sys.stderr.isatty() or time.monotonic() - told < _LINE_S:
            return
        told = time.monotonic()
        click.echo(f"{message or 'Images'} : {done} sur {total}", err=True)

    try:
        with bar:
            received = reception.receive(
                of_console(),
                name,
                files,
                trajectory,
                append=append,
                progress=progress,
                anonymise=None if no_blur else privacy.anonymise,
                **terms,
            )
    except (IngestError, CampaignError, TrajectoryError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(_received_json(received) if as_json else _received_text(received))


def _received_json(received: reception.Received) -> str:
    rejected = [{"file": name, "reason": reason} for name, reason in received.rejected]
    told = {
        "campaign": received.campaign.name,
        "state": received.campaign.state,
        "taken": received.taken,
        "already": received.already,
        "sequences": received.sequences,
        "rejected": {"count": len(rejected), "items": rejected},
        "rates": vars(received.rates),
    }
    return orjson.dumps(told).decode()


def _received_text(received: reception.Received) -> str:
    lines = [
        f"Campagne « {received.campaign.name} » : {received.taken} images prises, "
        f"{received.already} déjà là, {received.sequences} parcours."
    ]
    lines += [f"Refusée : {name} : {reason}" for name, reason in received.rejected[:_SHOWN]]
    if len(received.rejected) > _SHOWN:
        lines.append(f"… et {len(received.rejected) - _SHOWN} autres (--json les donne toutes).")
    return "\n".join(lines)


@click.command()
@_files
@_json
def pose(files: tuple[Path, ...], as_json: bool) -> None:
    """Dit ce qu'une image dit d'elle-même, ou pourquoi elle ne se lit pas."""
    items = [pose_of(file) for file in files]
    if as_json:
        click.echo(orjson.dumps({"count": len(items), "items": items}).decode())
    else:
        for item in items:
            click.echo(_pose_text(item))
    if all(item["width"] is None for item in items):
        raise click.exceptions.Exit(1)


def pose_of(file: Path) -> dict[str, Any]:
    """One answer of `street pose`: every key is there, null when it was not read."""
    item: dict[str, Any] = dict.fromkeys(
        ("file", "lon", "lat", "altitude_m", "datum", "heading_deg", "pitch_deg", "roll_deg",
         "time", "width", "height", "crop", "sigma_xy_m", "error")
    )  # fmt: skip
    item["file"] = str(file)
    try:
        read = engine.read(reception.head(file))
    except PictureError as error:
        return {**item, "error": str(error)}
    except OSError as error:
        return {**item, "error": f"Ce fichier ne se lit pas ({error.strerror or error})."}
    return {
        **item,
        "lon": read.longitude_deg,
        "lat": read.latitude_deg,
        "altitude_m": read.altitude_m,
        "datum": read.datum if read.altitude_m is not None else None,
        "heading_deg": read.heading_deg,
        "pitch_deg": read.pitch_deg,
        "roll_deg": read.roll_deg,
        "time": read.taken_at.isoformat() if read.taken_at else None,
        "width": read.width,
        "height": read.height,
        "crop": read.crop,
        "sigma_xy_m": read.sigma_xy_m,
        "error": read.missing or None,
    }


_POSE_WORDS = {
    "lon": "longitude {:.7f}°", "lat": "latitude {:.7f}°", "altitude_m": "altitude {:.2f} m",
    "datum": "{}", "heading_deg": "cap {:.3f}°", "pitch_deg": "tangage {:.3f}°",
    "roll_deg": "roulis {:.3f}°", "time": "le {}", "width": "{} pixels de large",
    "height": "{} de haut", "sigma_xy_m": "à {:.3f} m près",
}  # fmt: skip


def _pose_text(item: dict[str, Any]) -> str:
    if item["error"] and item["width"] is None:
        return f"{item['file']} : {item['error']}"
    item = {**item, "datum": item["datum"] and f"hauteur {Datum(item['datum']).label}"}
    told = [
        words.format(item[key]).replace(".", ",") if key != "time" else words.format(item[key])
        for key, words in _POSE_WORDS.items()
        if item[key] is not None
    ]
    if crop := item["crop"]:
        told.append(
            f"partie de la sphère depuis la colonne {crop['left']} et la ligne {crop['top']}"
        )
    return f"{item['file']} : {', '.join(told)}" + (f" ({item['error']})" if item["error"] else "")
