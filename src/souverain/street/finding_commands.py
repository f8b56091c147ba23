"""`souverain street locate`: what a place is called, and the panorama that shows it."""

from __future__ import annotations

from typing import Any

import click
import orjson

from souverain.core.format import datetime_fr, number_fr
from souverain.street import finding
from souverain.street.finding_api import NearestPanorama
from souverain.territory.engine.roads import RoadNameError, parse_place, parse_road


@click.command()
@click.option("--at", "place", help="Un lieu : longitude,latitude, en degrés.")
@click.option("--road", help="Une route : D971.")
@click.option("--pr", help="Sa position sur la route : 12+350.")
@click.option("--side", type=click.Choice(["G", "D", "C"]), help="Gauche, droite ou milieu.")
@click.option("--when", help="Une image prise à cet instant au plus tard : 2026-06-01T12:00:00Z.")
@click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
def locate(
    place: str | None,
    road: str | None,
    pr: str | None,
    side: str | None,
    when: str | None,
    as_json: bool,
) -> None:
    """L'image la plus proche d'un lieu, ou d'une position sur une route."""
    if bool(place) == bool(road):
        raise click.UsageError("Donnez --at LON,LAT, ou --road avec --pr.")
    if road and not pr:
        raise click.UsageError("Avec --road, donnez --pr, par exemple 12+350.")
    if place and (pr or side):
        raise click.UsageError("--pr et --side vont avec --road.")
    try:
        told = _at(place, when) if place else _on_road(road or "", pr or "", side or "", when)
    except (finding.PlaceError, finding.NotReady, RoadNameError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(orjson.dumps(told).decode() if as_json else _text(told))


def _at(place: str, when: str | None) -> dict[str, Any]:
    longitude, latitude = finding.read_place(place)
    finding.keep_up()
    found = finding.nearest(longitude, latitude, finding.read_instant(when), everything=True)
    return _told(*finding.metres(longitude, latitude), found)


def _on_road(road: str, pr: str, side: str, when: str | None) -> dict[str, Any]:
    post, abscissa_m = parse_place(pr)
    finding.keep_up()
    (x, y), found = finding.near_road(
        parse_road(road), post, abscissa_m, side, at=finding.read_instant(when), everything=True
    )
    return _told(x, y, found)


def _told(x_m: float, y_m: float, found: finding.Found | None) -> dict[str, Any]:
    return {
        **finding.described(x_m, y_m),
        "panorama": None if found is None else NearestPanorama.near(found, x_m, y_m).model_dump(),
    }


def _text(told: dict[str, Any]) -> str:
    place = f"{told['longitude_deg']:.6f}, {told['latitude_deg']:.6f}"
    where = f"{told['position']} ({place})" if told["position"] else place
    seen = told["panorama"]
    if seen is None:
        return f"{where} : aucune image."
    taken = datetime_fr(finding.read_instant(seen["taken_at"]))  # type: ignore[arg-type]
    return (
        f"{where} : image {seen['id']} (campagne {seen['campaign']}, {seen['file']}), "
        f"à {number_fr(seen['distance_m'], 2)} m, prise le {taken}."
    )
