"""`souverain membership …`: the communes that have joined, from the département's own machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from souverain.core.access import of_console
from souverain.core.models import Organisation
from souverain.portal import leaving, services
from souverain.portal.api import MembershipItem
from souverain.portal.engine.lifecycle import State
from souverain.portal.engine.members_file import BYTES_MAX, UnreadableFile
from souverain.portal.models import Membership

SHOWN_FAULTS = 20
_json = click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")


@click.group()
def cli() -> None:
    """Les adhésions des communes au Cloud."""


def _emit(result: dict[str, Any], text: str, as_json: bool) -> None:
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else text)


def _described(membership: Membership) -> dict[str, Any]:
    return MembershipItem.of(membership).model_dump()


@cli.command("list")
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Un seul état.")
@_json
def list_memberships(state: str | None, as_json: bool) -> None:
    """Les adhésions, dans l'ordre des noms."""
    found = Membership.objects.select_related("organisation")
    items = [_described(m) for m in (found.filter(state=state) if state else found.all())]
    lines = [
        f"{i['code']}  {i['state']:<10} {i['joined_on'] or '—':<11} {i['name']}" for i in items
    ]
    text = "\n".join(lines) or "Aucune adhésion."
    _emit({"count": len(items), "items": items}, text, as_json)


@cli.command()
@click.argument("code")
@_json
def show(code: str, as_json: bool) -> None:
    """L'adhésion d'une commune, par son code INSEE. Les contacts ne se lisent que sur la page."""
    organisation = Organisation.objects.filter(code=code, kind=Organisation.Kind.COMMUNE).first()
    if organisation is None:
        raise click.ClickException(f"La commune {code} n'existe pas.")
    found = services.current(organisation)
    if found is None:
        raise click.ClickException(f"La commune {code} n'a jamais demandé à rejoindre le Cloud.")
    departure = found.departure
    item = {**_described(found), "erasure_proof": departure and departure.proof}
    _emit(item, "\n".join(f"{key}: {value}" for key, value in item.items()), as_json)


@cli.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Dire ce qui serait fait, sans rien écrire.")
@_json
def import_file(file: Path, dry_run: bool, as_json: bool) -> None:
    """Enregistre les communes qui ont rejoint le Cloud, d'après un CSV.

    Les lignes fautives sont dites et laissées de côté ; le code de sortie est alors 1."""
    with file.open("rb") as opened:
        content = opened.read(BYTES_MAX + 1)
    try:
        done = services.import_members(of_console(), content, dry_run=dry_run)
    except UnreadableFile as error:
        raise click.ClickException(f"{file} : {error}") from error
    result = {
        "dry_run": dry_run,
        "created": list(done.created),
        "updated": list(done.updated),
        "unchanged": list(done.unchanged),
        "ignored_columns": list(done.reading.ignored),
        "faults": [
            {"line": fault.line, "column": fault.column or None, "message": fault.message}
            for fault in done.faults
        ],
    }
    done_or_not = "Rien n'est écrit. " if dry_run else ""
    lines = [
        f"{done_or_not}Ajoutées : {len(done.created)}. Corrigées : {len(done.updated)}. "
        f"Inchangées : {len(done.unchanged)}. Lignes laissées de côté : {len(done.faults)}."
    ]
    lines += [
        f"Ligne {fault.line}{f', colonne {fault.column}' if fault.column else ''} : {fault.message}"
        for fault in done.faults[:SHOWN_FAULTS]
    ]
    if len(done.faults) > SHOWN_FAULTS:
        lines.append(f"… et {len(done.faults) - SHOWN_FAULTS} autres (--json les donne toutes).")
    _emit(result, "\n".join(lines), as_json)
    if done.faults:
        raise SystemExit(1)


@cli.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_json
def verify_proof(file: Path, as_json: bool) -> None:
    """Compare une preuve d'effacement (JSON) à l'entrée du journal qui la scelle."""
    try:
        with file.open("rb") as opened:
            proof = json.loads(opened.read(BYTES_MAX))
    except ValueError as error:
        raise click.ClickException(f"{file} : ce n'est pas du JSON.") from error
    fault = leaving.fault_in_proof(proof if isinstance(proof, dict) else {})
    if fault:
        raise click.ClickException(f"Preuve refusée : {fault}.")
    commune = proof["commune"]
    _emit(
        {"holds": True, "code": commune["code"], "sha256": proof["sha256"]},
        f"Preuve conforme au journal : {commune['name']}, effacée le {proof['erased_at']}.",
        as_json,
    )
