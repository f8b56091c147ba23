"""What the commands of the département's console share: whom they are about, and how they answer."""

from __future__ import annotations

from typing import Any, NoReturn

import click
import orjson

from souverain.core.models import Organisation


def fail(message: str) -> NoReturn:
    raise click.ClickException(message)


def commune_of(code: str) -> Organisation:
    found = Organisation.objects.filter(code=code, kind=Organisation.Kind.COMMUNE).first()
    return found or fail(f"La commune {code} n'existe pas.")


def print_json(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content).decode())
