"""`souverain vault …`: devices and state of the vault, from the département's own machine."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click
import orjson
from django.core.exceptions import ValidationError

from souverain.core import access, clock
from souverain.core.models import Device, Organisation
from souverain.vault import services
from souverain.vault.models import DepositSet


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)


def _commune(code: str) -> Organisation:
    found = Organisation.objects.filter(code=code, kind=Organisation.Kind.COMMUNE).first()
    return found or _fail(f"La commune {code} n'existe pas.")


def _print(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content).decode())


def _device_json(device: Device) -> dict[str, Any]:
    return {
        "id": device.pk,
        "commune": device.organisation.code,
        "set": device.scope,
        "name": device.name,
        "roles": device.roles,
        "created_at": clock.rfc3339(device.created_at),
        "last_seen_at": device.last_seen_at and clock.rfc3339(device.last_seen_at),
        "revoked_at": device.revoked_at and clock.rfc3339(device.revoked_at),
    }


@click.group()
def cli() -> None:
    """Le coffre-fort des communes."""


@cli.group()
def device() -> None:
    """Les appareils qui déposent et relisent."""


@device.command("add")
@click.option("--commune", required=True, help="Code INSEE de la commune.")
@click.option("--name", required=True, help="Nom de l'appareil.")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(services.ROLES))
@click.option("--set", "set_code", default="general", show_default=True, help="Dépôt.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def add(commune: str, name: str, roles: tuple[str, ...], set_code: str, as_json: bool) -> None:
    """Ajouter un appareil ; son adresse secrète n'est montrée qu'une fois."""
    try:
        made, repository = services.add_device(
            access.of_console(), _commune(commune), name, roles, set_code
        )
    except ValidationError as error:
        _fail(" ".join(error.messages))
    if as_json:
        _print({**_device_json(made), "repository": repository})
    else:
        click.echo(
            f"Appareil {made.pk} ajouté. Adresse à donner à restic, montrée une seule fois :"
        )
        click.echo(repository)


@device.command("revoke")
@click.argument("identity", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def revoke(identity: str, as_json: bool) -> None:
    """Révoquer un appareil, transferts en cours compris."""
    found = Device.objects.select_related("organisation").filter(pk=identity, room="vault").first()
    if found is None:
        _fail(f"L'appareil {identity} n'existe pas.")
    if found.revoked_at is None:
        services.revoke_device(access.of_console(), found)
    if as_json:
        _print(_device_json(found))
    else:
        click.echo(f"Appareil {identity} révoqué.")


@device.command("list")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def list_devices(as_json: bool) -> None:
    """Les appareils du coffre-fort."""
    found = Device.objects.select_related("organisation").filter(room="vault")
    items = [_device_json(item) for item in found]
    if as_json:
        _print({"count": len(items), "items": items})
        return
    for item in items:
        state = "révoqué" if item["revoked_at"] else ", ".join(item["roles"])
        click.echo(f"{item['id']}  {item['commune']}/{item['set']}  {item['name']}  {state}")


@cli.command()
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def status(commune: str | None, as_json: bool) -> None:
    """Dernière sauvegarde et place prise, dépôt par dépôt."""
    sets = DepositSet.objects.select_related("organisation")
    if commune is not None:
        sets = sets.filter(organisation=_commune(commune))
    items = [_set_json(found) for found in sets]
    if as_json:
        _print({"count": len(items), "items": items})
        return
    for item in items:
        last = item["last_deposit_at"] or "aucune sauvegarde"
        click.echo(f"{item['commune']}/{item['set']}  {last}  {item['stored_bytes']} octets")


def _set_json(found: DepositSet) -> dict[str, Any]:
    snapshots = services.alive(found).filter(type="snapshots")
    last = snapshots.order_by("-received_at").values_list("received_at", flat=True).first()
    return {
        "commune": found.organisation.code,
        "set": found.code,
        "kind": found.kind,
        "snapshots": snapshots.count(),
        "last_deposit_at": last and clock.rfc3339(last),
        "stored_bytes": found.stored_bytes,
        "quota_bytes": services.quota_bytes(found.organisation),
    }
