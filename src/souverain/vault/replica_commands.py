"""`souverain vault replica …`: the second site, from the machine of either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from django.core.exceptions import ValidationError

from souverain.core import access, egress
from souverain.core.format import bytes_fr
from souverain.vault.console import fail, print_json
from souverain.vault.models import ReplicaSource

_json = click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")


@contextmanager
def _in_french() -> Iterator[None]:
    """What goes wrong, as one sentence."""
    from souverain.vault.engine.replica import Disbelieved
    from souverain.vault.replica import Busy
    from souverain.vault.replica_client import NotThere, Unreachable
    from souverain.vault.replica_promotion import NoKey

    try:
        yield
    except ValidationError as error:
        fail(" ".join(error.messages))
    except NotThere:
        fail("L'autre site n'a pas ce qu'on lui demande : mettez les deux à jour.")
    except (Busy, NoKey, Unreachable, Disbelieved) as error:
        fail(str(error))


def _source() -> ReplicaSource:
    from souverain.vault import replica

    return replica.source() or fail("Ce site n'en copie aucun autre.")


@click.group()
def replica() -> None:
    """Le second site : une copie du coffre-fort, qui peut prendre sa place."""


@replica.command("authorize")
@click.option("--name", required=True, help="Où est le second site.")
@click.option("--read-only", is_flag=True, help="Sans le droit de dire qu'il a été promu.")
@_json
def authorize(name: str, read_only: bool, as_json: bool) -> None:
    """Sur le premier site : faire l'accès du second ; son secret n'est montré qu'une fois."""
    from souverain.vault import replica_feed

    with _in_french():
        made, secret = replica_feed.authorize(access.of_console(), name, may_fence=not read_only)
    if as_json:
        print_json({"id": made.pk, "name": made.name, "roles": made.roles, "secret": secret})
    else:
        click.echo(
            f"Accès {made.pk} fait pour « {made.name} ». Son secret, montré une seule fois :"
        )
        click.echo(secret)


@replica.command("add")
@click.option("--from", "address", required=True, help="Adresse du premier site, https://…")
@click.option(
    "--secret-file",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Fichier avec le secret de l'accès.",
)
@_json
def add(address: str, secret_file: Path, as_json: bool) -> None:
    """Sur le second site : devenir la copie du premier."""
    from souverain.vault import replica as copying

    egress.install_hook()
    with _in_french():
        made = copying.add(access.of_console(), address, secret_file.read_text())
    if secret_file.stat().st_mode & 0o077:
        click.echo(
            f"Attention : d'autres comptes de cette machine lisent {secret_file}, qui ouvre tous les "
            f"dépôts du premier site : effacez-le (« shred -u {secret_file} »), le secret est gardé.",
            err=True,
        )
    if as_json:
        _status_json()
    else:
        click.echo(f"Ce site copie maintenant {made.address} (site {made.site}).")


@replica.command("remove")
@_json
def remove(as_json: bool) -> None:
    """Ne plus suivre l'autre site ; ce qui est copié reste."""
    from souverain.vault import replica as copying

    found = _source()
    with _in_french():
        copying.remove(access.of_console(), found)
    if as_json:
        _status_json()
    else:
        click.echo(f"{found.address} n'est plus suivi. Ce qui est copié reste, et se lit.")


@replica.command("pull")
@_json
def pull(as_json: bool) -> None:
    """Copier tout de suite, jusqu'au bout ; sinon, la copie se fait chaque minute."""
    from souverain.vault import replica as copying

    found = _source()
    if found.promoted_at is not None:
        fail("Ce site a été promu : il ne copie plus.")
    egress.install_hook()
    told = [0]

    def tell(turn: copying.Turn) -> None:
        if not as_json and turn.objects - told[0] >= 100:
            told[0] = turn.objects
            left = f"{turn.missing} à venir, {bytes_fr(turn.missing_bytes)}"
            click.echo(f"{turn.objects} objets, {bytes_fr(turn.bytes)} ; {left}", err=True)

    with _in_french():
        done = copying.pull(found, float("inf"), tell)
    if as_json:
        print_json(
            {
                "complete": done.complete,
                "objects": done.objects,
                "bytes": done.bytes,
                "deaths": done.deaths,
                "missing_objects": done.missing,
                "troubles": done.troubles,
            }
        )
    else:
        click.echo(f"{done.objects} objets reçus, {bytes_fr(done.bytes)}.")
        for what in done.troubles:
            click.echo(what, err=True)
    if not done.complete or done.troubles:
        raise SystemExit(1)


@replica.command("status")
@_json
def status(as_json: bool) -> None:
    """Quel site est celui-ci, et combien la copie est en retard."""
    from souverain.vault import replica_status

    if as_json:
        _status_json()
        return
    told = replica_status.status()
    click.echo(replica_status.sentence())
    source = told["source"]
    if source is not None:
        click.echo(f"Autre site : {source['address']}, {source['missing_objects']} objets à venir.")
        for what in source["troubles"]:
            click.echo(what)
    if told["divergent_births"]:
        click.echo(f"{told['divergent_births']} objets ne sont qu'ici : l'autre site les reprend.")
    for item in told["pending"]:
        click.echo(f"À décider : {item['commune']}/{item['set']}, {item['what']}.")


def _status_json() -> None:
    from souverain.vault import replica_status

    print_json(replica_status.status())


@replica.command("promote")
@click.option("--without-log-key", is_flag=True, help="Signer les registres d'une clé neuve.")
@click.option("--despite-fence", is_flag=True, help="Reprendre un site qu'un autre a remplacé.")
@_json
def promote(without_log_key: bool, despite_fence: bool, as_json: bool) -> None:
    """Prendre la place du premier site."""
    from souverain.vault import replica_promotion

    egress.install_hook()
    with _in_french():
        made = replica_promotion.promote(
            access.of_console(), without_log_key=without_log_key, despite_fence=despite_fence
        )
    if as_json:
        print_json(made.json())
        return
    click.echo(f"Ce site est le premier (époque {made.epoch}). Il prend les dépôts.")
    if made.complete:
        click.echo("Rien ne manque : le premier site a été mis en lecture seule, puis tout copié.")
    elif made.complete_to is not None:
        click.echo(
            f"Ce que le premier site a reçu jusqu'au {made.complete_to} est ici ; ce qu'il a pu "
            f"recevoir dans les {made.lag_s} s d'après, non. Connus et manquants : "
            f"{made.missing_objects} objets. Quand il répondra : souverain vault replica recover."
        )
    for what in made.troubles:
        click.echo(what, err=True)


@replica.command("recover")
@_json
def recover(as_json: bool) -> None:
    """Après une promotion : reprendre ce que l'ancien premier site a reçu seul."""
    from souverain.vault import replica_promotion

    egress.install_hook()
    with _in_french():
        done = replica_promotion.recover(access.of_console())
    if as_json:
        print_json({"objects": done.objects, "bytes": done.bytes, "failed": done.failed})
    else:
        click.echo(f"{done.objects} objets repris, {bytes_fr(done.bytes)}.")
        for what in done.failed:
            click.echo(what, err=True)
    if done.failed:
        raise SystemExit(1)
