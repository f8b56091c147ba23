"""`souverain vault log …` and `souverain vault witness …`, on the département's machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from django.core.exceptions import ValidationError

from souverain.core import access, clock
from souverain.vault import log, log_export, stamps
from souverain.vault.console import commune_of, fail, print_json
from souverain.vault.models import DepositSet, Witness

_commune_option = click.option("--commune", required=True, help="Code INSEE de la commune.")
_json = click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")


@click.group("log")
def registry() -> None:
    """Le registre des preuves : chaque dépôt et chaque effacement."""


@registry.command("key")
@_commune_option
@_json
def key(commune: str, as_json: bool) -> None:
    """La clé publique du registre d'une commune, à lui remettre sur papier."""
    found = log.public_key(commune_of(commune).code)
    if as_json:
        print_json({"key": str(found), "fingerprint": found.fingerprint})
    else:
        click.echo(f"{found}\nEmpreinte : {found.fingerprint}")


@registry.command("proof")
@_commune_option
@click.option("--set", "set_code", default="general", show_default=True, help="Dépôt.")
@click.argument("name", metavar="TYPE/NOM")
@_json
def proof(commune: str, set_code: str, name: str, as_json: bool) -> None:
    """Prouver qu'un objet est au registre : une preuve par dépôt ou effacement."""
    found = DepositSet.objects.filter(organisation=commune_of(commune), code=set_code)
    deposit_set = found.select_related("organisation").first()
    if deposit_set is None:
        fail(f"Le dépôt {commune}/{set_code} n'existe pas.")
    kind, _, own = name.partition("/")
    proofs = log.proofs(deposit_set, kind, own or kind)
    if not proofs:
        fail(f"{name} n'est pas dans le dernier point de contrôle de {commune}/{set_code}.")
    if as_json:
        print_json({"count": len(proofs), "items": [str(each) for each in proofs]})
    else:
        click.echo("\n".join(map(str, proofs)), nl=False)


@registry.command("export")
@_commune_option
@click.argument("file", metavar="FICHIER", type=click.Path(path_type=Path))
@_json
def export(commune: str, file: Path, as_json: bool) -> None:
    """Exporter ce qui est nouveau, sous la forme des journaux sécurisés de VITAM (zip)."""
    try:
        made = log_export.export(access.of_console(), commune_of(commune), file)
    except ValidationError as error:
        fail(" ".join(error.messages))
    except stamps.NoStamp as error:
        fail(f"Rien n'a été exporté : {error}.")
    except FileExistsError:
        fail(f"{file} existe déjà ; rien n'est jamais écrit par-dessus.")
    except OSError as error:
        fail(f"{file} : écriture impossible ({error.strerror}).")
    if as_json:
        print_json({"file": str(file), **asdict(made)})
    else:
        click.echo(f"Lignes {made.first} à {made.size - 1} du registre de {commune} dans {file}.")
        if not made.stamped:
            click.echo("Sans horodatage : SOUVERAIN_TSA_URL ne nomme aucune autorité.")


@click.group()
def witness() -> None:
    """Les témoins, qui signent les points de contrôle d'une commune."""


@witness.command("add")
@_commune_option
@click.option("--name", required=True, help="Qui est ce témoin.")
@click.option("--key", required=True, help="Sa clé publique, dite par « vault audit --cosign ».")
@_json
def add(commune: str, name: str, key: str, as_json: bool) -> None:
    """Inscrire un témoin."""
    try:
        made = log.add_witness(access.of_console(), commune_of(commune), name, key)
    except ValidationError as error:
        fail(" ".join(error.messages))
    if as_json:
        print_json(_witness_json(made))
    else:
        click.echo(f"Témoin « {made.name} » inscrit pour {commune}.")


@witness.command("remove")
@_commune_option
@click.option("--name", required=True, help="Son nom.")
@_json
def remove(commune: str, name: str, as_json: bool) -> None:
    """Ne plus accepter la signature d'un témoin."""
    found = Witness.objects.filter(organisation=commune_of(commune), name=name, removed_at=None)
    gone = found.select_related("organisation").first()
    if gone is None:
        fail(f"{commune} n'a pas de témoin « {name} ».")
    log.remove_witness(access.of_console(), gone)
    if as_json:
        print_json(_witness_json(gone))
    else:
        click.echo(f"Témoin « {name} » retiré.")


@witness.command("list")
@_commune_option
@_json
def list_witnesses(commune: str, as_json: bool) -> None:
    """Les témoins d'une commune, et leur dernière signature."""
    found = Witness.objects.filter(organisation=commune_of(commune), removed_at=None)
    items = [_witness_json(each) for each in found]
    if as_json:
        print_json({"count": len(items), "items": items})
        return
    for item in items:
        click.echo(f"{item['name']}  {item['last_signed_at'] or 'jamais signé'}  {item['key']}")


def _witness_json(found: Witness) -> dict[str, Any]:
    last = found.cosignatures.order_by("-received_at").first()
    return {
        "commune": found.organisation.code,
        "name": found.name,
        "key": found.key,
        "last_signed_at": last and clock.rfc3339(last.received_at),
        "size": last and last.size,
    }
