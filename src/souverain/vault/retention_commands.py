"""`souverain vault lock|hold|destruction|store …`, on the département's machine.

The console is one actor, on the département's side: what takes two people takes somebody else for
the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from django.core.exceptions import ValidationError

from souverain.core import access, clock
from souverain.core.format import datetime_fr
from souverain.core.objects import StoreUnavailable
from souverain.vault import destruction, object_lock, retention
from souverain.vault.console import commune_of, fail, print_json
from souverain.vault.engine.object_lock import BUCKET_DAYS
from souverain.vault.models import DepositSet, Destruction, Hold, LockPass

_commune_option = click.option("--commune", required=True, help="Code INSEE de la commune.")
_every_commune = click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
_set_option = click.option("--set", "set_code", default="general", show_default=True, help="Dépôt.")
_json = click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")


@contextmanager
def _refusing() -> Iterator[None]:
    """A verb's refusal, said as it is."""
    try:
        yield
    except ValidationError as error:
        fail(" ".join(error.messages))
    except StoreUnavailable as error:
        fail(str(error))


def _set(commune: str, set_code: str) -> DepositSet:
    found = DepositSet.objects.filter(organisation=commune_of(commune), code=set_code)
    return found.select_related("organisation").first() or fail(
        f"Le dépôt {commune}/{set_code} n'existe pas."
    )


def _named(found: DepositSet) -> dict[str, Any]:
    return {"commune": found.organisation.code, "set": found.code}


# Locks -------------------------------------------------------------------------------------------


@click.group()
def lock() -> None:
    """Combien de temps restent les données supprimées."""


def _lock_json(found: DepositSet) -> dict[str, Any]:
    return {**_named(found), "days": retention.lock_days(found)}


@lock.command("show")
@_every_commune
@_json
def show_locks(commune: str | None, as_json: bool) -> None:
    """La conservation de chaque dépôt, en jours."""
    sets = DepositSet.objects.select_related("organisation")
    if commune is not None:
        sets = sets.filter(organisation=commune_of(commune))
    items = [_lock_json(found) for found in sets]
    if as_json:
        print_json({"count": len(items), "items": items})
        return
    for item in items:
        click.echo(f"{item['commune']}/{item['set']}  {item['days']} jours")
    if not items:
        click.echo("Aucun dépôt n'est ouvert.")


@lock.command("lengthen")
@_commune_option
@_set_option
@click.option("--days", required=True, type=int, help="Nouvelle durée, en jours.")
@_json
def lengthen(commune: str, set_code: str, days: int, as_json: bool) -> None:
    """Allonger la conservation d'un dépôt ; personne ne peut revenir en arrière."""
    found = _set(commune, set_code)
    with _refusing():
        retention.lengthen(access.of_console(), found, days)
    if as_json:
        print_json(_lock_json(found))
    else:
        click.echo(f"Les données supprimées de {commune}/{set_code} restent {days} jours.")


# Holds -------------------------------------------------------------------------------------------


@click.group()
def hold() -> None:
    """Les conservations exigées et les gels."""


def _hold_json(found: Hold) -> dict[str, Any]:
    return {
        "id": found.pk,
        **_named(found.deposit_set),
        "kind": found.kind,
        "reason": found.reason,
        "reference": found.reference,
        "placed_by": found.placed_by,
        "placed_at": clock.rfc3339(found.placed_at),
        "lifted_by": found.lifted_by or None,
        "lifted_at": found.lifted_at and clock.rfc3339(found.lifted_at),
    }


@hold.command("list")
@_every_commune
@click.option("--all", "everything", is_flag=True, help="Celles qui sont levées aussi.")
@_json
def list_holds(commune: str | None, everything: bool, as_json: bool) -> None:
    """Ce qui retient les dépôts."""
    found = Hold.objects.select_related("deposit_set__organisation")
    if commune is not None:
        found = found.filter(deposit_set__organisation=commune_of(commune))
    if not everything:
        found = found.filter(lifted_at=None)
    if as_json:
        items = [_hold_json(each) for each in found]
        print_json({"count": len(items), "items": items})
        return
    for each in found:
        place = f"{each.deposit_set.organisation.code}/{each.deposit_set.code}"
        state = f"levée par {each.lifted_by}" if each.lifted_at else "en cours"
        click.echo(
            f"{each.pk}  {place}  {Hold.Kind(each.kind).label}  {each.placed_by}  "
            f"{datetime_fr(each.placed_at)}  {state}  {each.reason}"
        )
    if not found:
        click.echo("Rien n'est gelé ni sous conservation exigée.")


@hold.command("place")
@_commune_option
@_set_option
@click.option("--reason", required=True, help="Pourquoi.")
@click.option("--reference", default="", help="Référence.")
@_json
def place(commune: str, set_code: str, reason: str, reference: str, as_json: bool) -> None:
    """Exiger la conservation : rien ne part avant qu'une autre personne la lève."""
    with _refusing():
        made = retention.hold(access.of_console(), _set(commune, set_code), reason, reference)
    if as_json:
        print_json(_hold_json(made))
    else:
        click.echo(f"Conservation exigée {made.pk} posée sur {commune}/{set_code}.")


@hold.command("lift")
@click.argument("identity", metavar="ID", type=int)
@_json
def lift(identity: int, as_json: bool) -> None:
    """Lever une conservation exigée qu'une autre personne a posée."""
    found = Hold.objects.select_related("deposit_set__organisation").filter(pk=identity).first()
    if found is None:
        fail(f"La conservation exigée {identity} n'existe pas.")
    with _refusing():
        retention.lift(access.of_console(), found)
    if as_json:
        print_json(_hold_json(found))
    else:
        click.echo(f"Conservation exigée {identity} levée.")


# Destructions ------------------------------------------------------------------------------------


@click.group("destruction")
def destructions() -> None:
    """La destruction d'un dépôt : deux personnes, la commune et le Département."""


def _destruction_json(found: Destruction) -> dict[str, Any]:
    due = destruction.due_at(found)
    return {
        "id": found.pk,
        **_named(found.deposit_set),
        "reason": found.reason,
        "reference": found.reference,
        "asked_by": found.asked_by,
        "asked_at": clock.rfc3339(found.asked_at),
        "approved_by": found.approved_by or None,
        "approved_at": found.approved_at and clock.rfc3339(found.approved_at),
        "due_at": due and clock.rfc3339(due),
        "cancelled_by": found.cancelled_by or None,
        "cancelled_at": found.cancelled_at and clock.rfc3339(found.cancelled_at),
        "executed_at": found.executed_at and clock.rfc3339(found.executed_at),
    }


def _state(found: Destruction) -> str:
    if found.executed_at is not None:
        return f"exécutée le {datetime_fr(found.executed_at)}"
    if found.cancelled_at is not None:
        return f"annulée par {found.cancelled_by}"
    due = destruction.due_at(found)
    return "à approuver" if due is None else f"approuvée, pour le {datetime_fr(due)}"


@destructions.command("list")
@_every_commune
@_json
def list_destructions(commune: str | None, as_json: bool) -> None:
    """Les demandes de destruction, et où elles en sont."""
    found = Destruction.objects.select_related("deposit_set__organisation").order_by("pk")
    if commune is not None:
        found = found.filter(deposit_set__organisation=commune_of(commune))
    if as_json:
        items = [_destruction_json(each) for each in found]
        print_json({"count": len(items), "items": items})
        return
    for each in found:
        place = f"{each.deposit_set.organisation.code}/{each.deposit_set.code}"
        click.echo(f"{each.pk}  {place}  {each.asked_by}  {_state(each)}  {each.reason}")
    if not found:
        click.echo("Aucune destruction n'a été demandée.")


def _done(found: Destruction, as_json: bool) -> None:
    found.refresh_from_db()
    if as_json:
        print_json(_destruction_json(found))
    else:
        place = f"{found.deposit_set.organisation.code}/{found.deposit_set.code}"
        click.echo(f"Destruction de {place} : {_state(found)}.")


@destructions.command("ask")
@_commune_option
@_set_option
@click.option("--reason", required=True, help="Pourquoi.")
@click.option("--reference", required=True, help="Référence du visa d'élimination.")
@_json
def ask(commune: str, set_code: str, reason: str, reference: str, as_json: bool) -> None:
    """Demander la destruction, pour le Département ; la commune l'approuve sur sa page."""
    with _refusing():
        made = destruction.ask(access.of_console(), _set(commune, set_code), reason, reference)
    _done(made, as_json)


@destructions.command("approve")
@_commune_option
@_set_option
@_json
def approve(commune: str, set_code: str, as_json: bool) -> None:
    """Approuver, pour le Département, ce que la commune a demandé sur sa page."""
    with _refusing():
        found = destruction.approve(access.of_console(), _set(commune, set_code))
    _done(found, as_json)


@destructions.command("cancel")
@_commune_option
@_set_option
@_json
def cancel(commune: str, set_code: str, as_json: bool) -> None:
    """Annuler une demande, tant qu'elle n'est pas exécutée."""
    deposit_set = _set(commune, set_code)
    found = destruction.pending(deposit_set)
    with _refusing():
        destruction.cancel(access.of_console(), deposit_set)
    assert found is not None
    _done(found, as_json)


# The store's own lock ----------------------------------------------------------------------------


@click.group()
def store() -> None:
    """Le verrou que le stockage S3 impose lui-même."""


def _store_json() -> dict[str, Any]:
    found, last = object_lock.state(), object_lock.last_walk()
    return {
        "keeps_versions": found.keeps_versions,
        "lock_days": found.days,
        "ok": object_lock.health().ok,
        "last": last and _walk_json(last),
    }


def _walk_json(found: LockPass) -> dict[str, Any]:
    return {
        "began_at": clock.rfc3339(found.began_at),
        "ended_at": found.ended_at and clock.rfc3339(found.ended_at),
        "versions": found.versions,
        "extended": found.extended,
        "freed": found.freed,
        "freed_bytes": found.freed_bytes,
        "brought_back": found.brought_back,
        "lost": found.lost,
        "refused": found.refused,
    }


def _say_walk(found: LockPass) -> None:
    click.echo(
        f"{found.versions} versions : {found.extended} verrous allongés, {found.brought_back} "
        f"copies remises en place, {found.freed} versions retirées ({found.freed_bytes} octets)."
    )
    if found.lost or found.refused:
        click.echo(
            f"{found.lost} fichiers sans bonne version ; {found.refused} verrous refusés.", err=True
        )


@store.command("show")
@_json
def show_store(as_json: bool) -> None:
    """Ce que le stockage verrouille, et la dernière ronde."""
    with _refusing():
        found = _store_json()
    if as_json:
        print_json(found)
        return
    click.echo(object_lock.health().message)
    last = object_lock.last_walk()
    if last is not None and last.ended_at is not None:
        _say_walk(last)


@store.command("lock")
@click.option("--days", default=BUCKET_DAYS, show_default=True, type=int, help="Durée, en jours.")
@_json
def lock_store(days: int, as_json: bool) -> None:
    """Faire verrouiller par le compartiment S3 ce qui arrive (mode COMPLIANCE)."""
    with _refusing():
        object_lock.lock_bucket(access.of_console(), days)
        found = _store_json()
    if as_json:
        print_json(found)
    else:
        click.echo(f"Le compartiment verrouille {days} jours tout ce qui arrive.")


@store.command("keep")
@_json
@click.pass_context
def keep(context: click.Context, as_json: bool) -> None:
    """Faire la ronde : allonger les verrous, remettre en place ce qui a été caché."""
    with _refusing():
        found = object_lock.walk(access.of_console(), anew=True)
    if found is None:
        fail(object_lock.health().message)
    if as_json:
        print_json(_walk_json(found))
    else:
        _say_walk(found)
    context.exit(1 if found.lost or found.refused else 0)
