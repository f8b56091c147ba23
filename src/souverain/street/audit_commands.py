"""`souverain street audit`: check a delivery against its order."""

from __future__ import annotations

from typing import Any

import click
import orjson

from souverain.core import access
from souverain.core.format import number_fr, percent_fr
from souverain.street import campaigns, delivery_audit
from souverain.territory.engine.roads import RoadNameError

_SHOWN = 5


@click.command()
@click.argument("campaign")
@click.option("--road", "roads", multiple=True, help="Route commandée (plusieurs : répéter).")
@click.option(
    "--look",
    type=click.IntRange(0, delivery_audit.SAMPLE_MAX),
    default=0,
    show_default=True,
    help="Images à montrer de nouveau au détecteur.",
)
@click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")
def audit(campaign: str, roads: tuple[str, ...], look: int, as_json: bool) -> None:
    """Contrôle une livraison : écarts, doublons, caps, GPano, incertitudes, floutage, heures."""
    try:
        made = delivery_audit.run(access.of_console(), campaigns.find(campaign), roads, look)
    except (campaigns.CampaignError, delivery_audit.AuditError, RoadNameError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(orjson.dumps(_json(made)).decode() if as_json else _text(made))


def _json(made: delivery_audit.Audited) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in made.report.items()
        if name not in ("audit", "listed", "drawing", "csv_key")
    }
    return {**kept, "count": len(made.faults), "items": made.faults}


def _text(made: delivery_audit.Audited) -> str:
    report = made.report
    lines = [f"{number_fr(report['panoramas'])} images, {number_fr(report['drives'])} trajets."]
    if report["roads_known"]:
        share = (
            percent_fr(report["covered_m"] / report["ordered_m"], 2) if report["ordered_m"] else "—"
        )
        named = ", ".join(report["ordered_roads"]) or "routes parcourues"
        lines.append(
            f"{named} : {share} de {number_fr(report['ordered_m'] / 1000, 1)} km couverts."
        )
    else:
        lines.append("Aucune route connue : la couverture n'est pas contrôlée.")
    for kind, count in report["counts"].items():
        if not count:
            continue
        lines.append(f"{delivery_audit.KINDS[kind][0]} : {number_fr(count)}.")
        shown = [fault for fault in made.faults if fault["kind"] == kind][:_SHOWN]
        lines += [
            f"  {fault['file'] or fault['position'] or ''} : {fault['message']}" for fault in shown
        ]
        if count > _SHOWN:
            lines.append("  … (--json les donne tous).")
    if report["conform"]:
        lines.append("Aucun défaut.")
    return "\n".join(lines)
