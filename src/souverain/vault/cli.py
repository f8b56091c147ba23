"""`souverain vault …`: devices and state of the vault, from the département's own machine."""

from __future__ import annotations

from typing import Any, NoReturn

import click
import orjson
from django.core.exceptions import ValidationError

from souverain.core import access
from souverain.core.models import Device, Organisation
from souverain.vault import services
from souverain.vault.api import DepositSetItem, DeviceItem
from souverain.vault.models import DepositSet, State


def _fail(message: str) -> NoReturn:
    raise click.ClickException(message)


def _commune(code: str) -> Organisation:
    found = Organisation.objects.filter(code=code, kind=Organisation.Kind.COMMUNE).first()
    return found or _fail(f"La commune {code} n'existe pas.")


def _print(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content).decode())


def _device_json(device: Device) -> dict[str, Any]:
    return DeviceItem.of(device).model_dump()


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
    if found.revoked_at is not None:
        _fail(f"L'appareil {identity} est déjà révoqué.")
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


@cli.group("set")
def deposit_set() -> None:
    """Les dépôts : ce qu'ils contiennent, combien de temps, tous les combien."""


@deposit_set.command("add")
@click.option("--commune", required=True, help="Code INSEE de la commune.")
@click.option("--set", "code", required=True, help="Nom court : minuscules, chiffres, tirets.")
@click.option("--title", default="", help="Nom affiché.")
@click.option(
    "--kind",
    default=DepositSet.Kind.GENERAL.value,
    show_default=True,
    type=click.Choice(DepositSet.Kind.values),
    help="Ce qu'il contient.",
)
@click.option(
    "--retention",
    default="",
    type=click.Choice(["", *DepositSet.Retention.values]),
    help="Conservation ; sinon celle de son contenu.",
)
@click.option("--fresh-hours", type=int, help="Une sauvegarde au moins toutes les N heures.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def add_set(
    commune: str,
    code: str,
    title: str,
    kind: str,
    retention: str,
    fresh_hours: int | None,
    as_json: bool,
) -> None:
    """Ouvrir un dépôt."""
    try:
        made = services.create_set(
            access.of_console(),
            _commune(commune),
            code,
            title=title,
            kind=kind,
            retention_class=retention,
            fresh_within_hours=fresh_hours,
        )
    except ValidationError as error:
        _fail(" ".join(error.messages))
    if as_json:
        _print(_set_json(made))
    else:
        click.echo(f"Dépôt {commune}/{code} ouvert : {made.title}.")


@deposit_set.command("list")
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def list_sets(commune: str | None, as_json: bool) -> None:
    """Les dépôts ouverts."""
    items = _sets(commune)
    if as_json:
        _print({"count": len(items), "items": items})
        return
    for item in items:
        click.echo(
            f"{item['commune']}/{item['set']}  {item['kind']}  {item['retention']}  "
            f"toutes les {item['fresh_within_hours']} h  {item['state']}"
        )


@cli.command()
@click.option("--commune", required=True, help="Code INSEE de la commune.")
@click.option("--bytes", "limit_bytes", type=int, help="Nouvelle limite ; sinon, la lire.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def quota(commune: str, limit_bytes: int | None, as_json: bool) -> None:
    """La place accordée à une commune, en octets."""
    organisation = _commune(commune)
    if limit_bytes is not None:
        try:
            services.set_quota(access.of_console(), organisation, limit_bytes)
        except ValidationError as error:
            _fail(" ".join(error.messages))
    stored, limit = services.stored_bytes(organisation), services.quota_bytes(organisation)
    if as_json:
        _print({"commune": commune, "stored_bytes": stored, "quota_bytes": limit})
    else:
        click.echo(f"{commune} : {stored} octets gardés sur {limit}.")


@cli.command()
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def status(commune: str | None, as_json: bool) -> None:
    """Dernière sauvegarde et place prise, dépôt par dépôt."""
    items = _sets(commune)
    if as_json:
        _print({"count": len(items), "items": items})
        return
    for item in items:
        last = item["last_deposit_at"] or "aucune sauvegarde"
        state = "  en retard" if item["state"] == State.LATE else ""
        click.echo(f"{item['commune']}/{item['set']}  {last}  {item['stored_bytes']} octets{state}")


def _sets(commune: str | None) -> list[dict[str, Any]]:
    sets = DepositSet.objects.select_related("organisation")
    if commune is not None:
        sets = sets.filter(organisation=_commune(commune))
    return [_set_json(found) for found in sets]


def _set_json(found: DepositSet) -> dict[str, Any]:
    return DepositSetItem.of(found).model_dump()
