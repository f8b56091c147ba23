"""`souverain street links`: say which panorama leads to which."""

from __future__ import annotations

from typing import Any

import click
import orjson

from souverain.core import access
from souverain.core.format import number_fr
from souverain.street import campaigns
from souverain.street import links as linking
from souverain.street.links import Linked

_BASES = {
    linking.ROADS: "par le réseau routier",
    linking.GEOMETRY: "sans réseau routier : aux croisements de même altitude seulement",
}


@click.command()
@click.argument("campaign")
@click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
def links(campaign: str, as_json: bool) -> None:
    """Relie les images d'une campagne, le long des routes et aux carrefours."""
    try:
        made = linking.relink(access.of_console(), campaigns.find(campaign))
    except campaigns.CampaignError as error:
        raise click.ClickException(str(error)) from error
    click.echo(orjson.dumps(_json(made)).decode() if as_json else _text(made))


def _json(made: Linked) -> dict[str, Any]:
    key, files = made.survey.key, made.survey.columns["file_name"]
    items = [
        {
            "origin": str(key(i)),
            "target": str(key(j)),
            "origin_file": files[i],
            "target_file": files[j],
            "along": along,
        }
        for i, j, along in zip(
            made.links.origin.tolist(),
            made.links.target.tolist(),
            made.links.along.tolist(),
            strict=True,
        )
    ]
    return {
        "campaign": made.survey.campaign.name,
        "basis": made.basis,
        "panoramas": len(made.survey),
        "on_roads": made.matched,
        "count": len(items),
        "items": items,
    }


def _text(made: Linked) -> str:
    turns = int((~made.links.along).sum())
    return (
        f"{number_fr(len(made.links))} liens entre {number_fr(len(made.survey))} images, dont "
        f"{number_fr(turns)} à des carrefours ({_BASES[made.basis]})."
    )
