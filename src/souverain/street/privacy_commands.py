"""`souverain street blur` and `souverain street erase`."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import orjson

from souverain.core.access import of_console
from souverain.faults import of_file
from souverain.street import blur_requests, privacy
from souverain.street.engine.boxes import Box
from souverain.street.engine.detection import DetectorUnavailable
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.engine.picture import MAX_BYTES, PictureError
from souverain.street.models import BlurRequest, Panorama
from souverain.street.privacy import PrivacyError

_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Où écrire l'image floutée.",
)  # fmt: skip
@_json
def blur(file: Path, output: Path, as_json: bool) -> None:
    """Floute les visages et les plaques d'une image JPEG ; le reste ne change pas."""
    try:
        if output.exists() and output.samefile(file):
            raise click.UsageError("-o : donnez un autre fichier que l'image elle-même.")
        if file.stat().st_size > MAX_BYTES:
            raise click.ClickException(f"{file} : plus de {MAX_BYTES >> 20} Mio.")
        found = privacy.anonymise(file.read_bytes())
        _write(output, found.jpeg)
    except (JpegError, DetectorUnavailable) as error:
        raise click.ClickException(f"{file} : {error}") from error
    except OSError as error:
        raise click.ClickException(of_file(error) or str(error)) from error
    told = {
        "file": str(file),
        "output": str(output),
        "detector": found.detector,
        "boxes": [asdict(box) for box in found.boxes],
    }
    count = len(found.boxes)
    plural = "s" if count > 1 else ""
    _say(told, f"{count} zone{plural} floutée{plural} : {output}", as_json)


def _write(output: Path, content: bytes) -> None:
    """Whole or not at all."""
    descriptor, partial = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(output)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


@click.command()
@click.option("--request", "code", help="Le code de suivi d'une demande.")
@click.option("--panorama", type=click.UUID, help="Le numéro d'une image.")
@click.option("--yaw", type=float, help="Direction, en degrés : 0 au milieu de l'image.")
@click.option("--elevation", type=float, help="Hauteur, en degrés : 0 à l'horizon.")
@click.option("--width", type=float, default=10.0, show_default=True, help="Largeur, en degrés.")
@click.option("--height", type=float, default=10.0, show_default=True, help="Hauteur, en degrés.")
@click.option("--box", "corners", help="Ou une zone en pixels de l'image : x,y,largeur,hauteur.")
@click.option("--dry-run", is_flag=True, help="Dire la zone, sans rien changer.")
@_json
def erase(
    code: str | None,
    panorama: UUID | None,
    yaw: float | None,
    elevation: float | None,
    width: float,
    height: float,
    corners: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Floute une zone dans toutes les copies d'une image, et dit chaque objet remplacé."""
    if bool(code) == bool(panorama):
        raise click.UsageError("Donnez --request, ou --panorama avec une zone.")
    try:
        if code:
            told = _erase_request(code, dry_run)
        else:
            assert panorama is not None
            found = Panorama.objects.filter(pk=panorama).first()
            if found is None:
                raise PrivacyError(f"Il n'y a pas d'image {panorama}.")
            told = _erase_box(found, _box(found, yaw, elevation, width, height, corners), dry_run)
    except (PrivacyError, JpegError, PictureError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(of_file(error) or str(error)) from error
    zones = ", ".join(f"{b['x']},{b['y']} ({b['width']} × {b['height']})" for b in told["boxes"])
    text = f"Zone {zones} de l'image {told['panorama']}"
    if dry_run:
        text += " : rien n'a été changé."
    else:
        text += f" : {len(told['objects'])} objets remplacés en {told['duration_s']} s."
    _say(told, text, as_json)


def _erase_request(code: str, dry_run: bool) -> dict[str, Any]:
    asked = (
        BlurRequest.objects.select_related("panorama", "panorama__campaign")
        .filter(code=blur_requests.read_code(code))
        .first()
    )
    if asked is None:
        raise PrivacyError(f"Aucune demande n'a le code « {code} ».")
    if dry_run:
        box = blur_requests.box_of(asked)
        assert asked.panorama is not None
        return _erase_box(asked.panorama, box, dry_run)
    return blur_requests.carry_out(of_console(), asked)


def _box(
    panorama: Panorama,
    yaw: float | None,
    elevation: float | None,
    width: float,
    height: float,
    corners: str | None,
) -> Box:
    if corners:
        try:
            x, y, across, down = (int(part) for part in corners.split(","))
        except ValueError:
            raise click.UsageError("--box : quatre entiers, x,y,largeur,hauteur.") from None
        if across < 1 or down < 1:
            raise click.UsageError("--box : la largeur et la hauteur font au moins 1 pixel.")
        return Box(x, y, across, down, "manual")
    if yaw is None or elevation is None:
        raise click.UsageError("Avec --panorama, donnez --yaw et --elevation, ou --box.")
    blur_requests.check_direction(yaw, elevation, width, height)
    return privacy.box_at(panorama, yaw, elevation, width, height, "manual")


def _erase_box(panorama: Panorama, box: Box, dry_run: bool) -> dict[str, Any]:
    started = time.monotonic()
    boxes = [{"x": box.x, "y": box.y, "width": box.width, "height": box.height}]
    objects = [] if dry_run else privacy.reblur(of_console(), panorama, [box])
    return {
        "panorama": str(panorama.pk),
        "dry_run": dry_run,
        "version": panorama.version,
        "duration_s": round(time.monotonic() - started, 3),
        "boxes": boxes,
        "objects": [asdict(each) for each in objects],
    }


def _say(told: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(orjson.dumps(told).decode() if as_json else text)
