"""The kernel's commands. They act as the Unix user at the console, and are journalled."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction

from souverain import faults
from souverain.core import clock, egress, jobs, journal, rooms
from souverain.core.access import of_console
from souverain.core.models import EgressRule, Job, Organisation, User, canonical_email
from souverain.core.roles import Role
from souverain.core.rooms import DataClass
from souverain.core.services import (
    invitation_link,
    invite,
    open_invitations,
    revoke_invitation,
    some_operator_can_sign_in,
)
from souverain.core.verification import read_head
from souverain.territory.engine.decoupage import DecoupageError
from souverain.territory.services import ensure_departement, require_same_departement

Command = Callable[..., Any]
FIRST_OPERATOR = f"operateur@{settings.NAMES.domain}"


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Un objet JSON sur la sortie.")(
        command
    )


def emit(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print the result for a person, or as one JSON object."""
    click.echo(json.dumps(result, ensure_ascii=False) if as_json else text)


def _invitation_link(email: str, role: Role, organisation: Organisation) -> str:
    """A new one-time link. The former one to the same role, if nobody used it, is dead."""
    actor = of_console()
    try:
        with transaction.atomic():
            waiting = open_invitations(organisation).filter(email=canonical_email(email))
            for former in waiting.filter(role=role, group=None):
                revoke_invitation(actor, former)
            _, token = invite(
                actor,
                email=email,
                role=role,
                organisation=organisation,
                life=timedelta(days=1),
            )
    except ValidationError as error:
        raise click.ClickException(" ".join(error.messages)) from error
    return invitation_link(token)


@click.command("init")
@json_option
def initialise(as_json: bool) -> None:
    """Migre, charge le département, invite le premier opérateur. Peut être relancé."""
    settings.HOME.chmod(0o700)  # it may have been there before us
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    try:
        loaded = ensure_departement(of_console(), settings.DEPARTEMENT, settings.DECOUPAGE)
    except DecoupageError as error:
        raise click.ClickException(str(error)) from error
    for offer in rooms.every("first_data"):
        offer(of_console())
    link = None
    if not some_operator_can_sign_in():
        departement = Organisation.objects.get(code=loaded.number)
        link = _invitation_link(FIRST_OPERATOR, Role.OPERATOR, departement)
    text = f"{settings.NAMES.cloud} : {loaded.communes} communes, {loaded.population} habitants."
    if link:
        text += f"\nLien de première connexion (une seule fois, 24 heures) :\n  {link}"
    emit(
        {
            "communes": loaded.communes,
            "epci": loaded.epcis,
            "population": loaded.population,
            "sign_in_link": link,
        },
        text,
        as_json,
    )


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=None)
@click.option("--tls-cert", type=click.Path(exists=True, path_type=Path))
@click.option("--tls-key", type=click.Path(exists=True, path_type=Path))
@click.option("--workers", type=click.IntRange(1, 32), default=1, show_default=True)
def serve(port: int | None, tls_cert: Path | None, tls_key: Path | None, workers: int) -> None:
    """Sert le portail et fait tourner les travaux."""
    from souverain.core import serve as supervisor

    _require_prepared()
    supervisor.serve(port or settings.PORT, tls_cert, tls_key, workers)


@click.command()
def worker() -> None:
    """Fait tourner les travaux, les évènements et les envois (lancé par serve)."""
    from souverain.core import worker as loop

    _require_prepared()
    loop.main()


def _require_prepared() -> None:
    """What runs on and on would fail on and on."""
    if not faults.is_prepared():
        raise click.ClickException(faults.NOT_PREPARED)
    try:
        require_same_departement(settings.DEPARTEMENT)
    except DecoupageError as error:
        raise click.ClickException(str(error)) from error


@click.group()
def user() -> None:
    """Les personnes."""


@user.command("create")
@click.option("--email", required=True)
@click.option(
    "--organisation", "code", required=True, help="Code INSEE, SIREN, ou numéro du département."
)
@click.option("--role", type=click.Choice(Role.values), required=True)
@json_option
def user_create(email: str, code: str, role: str, as_json: bool) -> None:
    """Invite une personne et donne son lien de première connexion."""
    place = _organisation(code)
    account = User.objects.filter(email=canonical_email(email)).first()
    if account is not None and not account.is_active:
        raise click.ClickException(
            f"Le compte {account.email} est désactivé : un opérateur le réactive d'abord, page "
            "« Personnes »."
        )
    held = account is not None and account.role_assignments.filter(
        role=role, organisation=place, group=None
    )
    link = _invitation_link(email, Role(role), place)
    text = f"Lien à transmettre à {email} (une seule fois, 24 heures) :\n  {link}"
    if held:
        text = f"{email} a déjà ce rôle pour {place} : ses droits ne changent pas.\n{text}"
    emit(
        {"email": email, "organisation": code, "role": role, "sign_in_link": link},
        text,
        as_json,
    )


def _organisation(code: str) -> Organisation:
    found = Organisation.objects.filter(code=code).first()
    if found is None:
        raise click.ClickException(f"Aucune organisation n'a le code {code}.")
    return found


@click.group()
def organisation() -> None:
    """Les communes, intercommunalités et directions."""


def _described(found: Organisation) -> dict[str, Any]:
    return {
        "code": found.code,
        "kind": found.kind,
        "name": found.name,
        "siren": found.siren or None,
    }


@organisation.command("list")
@json_option
def organisation_list(as_json: bool) -> None:
    """Toutes les organisations."""
    items = [_described(found) for found in Organisation.objects.order_by("code")]
    lines = [f"{item['code']:>10}  {item['name']}" for item in items]
    emit({"count": len(items), "items": items}, "\n".join(lines), as_json)


@organisation.command("show")
@click.argument("code")
@json_option
def organisation_show(code: str, as_json: bool) -> None:
    """Une organisation, par son code."""
    item = _described(_organisation(code))
    emit(item, "\n".join(f"{key}: {value}" for key, value in item.items()), as_json)


@click.group("journal")
def journal_commands() -> None:
    """Le journal scellé."""


@journal_commands.command("head")
@json_option
def journal_head(as_json: bool) -> None:
    """La dernière empreinte, à conserver ailleurs."""
    head = journal.head()
    emit({"seq": head.seq, "hash": head.hash}, f"{head.seq} {head.hash}", as_json)


@journal_commands.command("verify")
@click.option("--head", "known", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def journal_verify(known: Path | None, as_json: bool) -> None:
    """Vérifie toute la chaîne, et qu'aucune fin n'a été coupée depuis une empreinte conservée."""
    head = _read_head(known) if known else None
    last = journal.head().seq
    bar = click.progressbar(length=last, label="Vérification", file=sys.stderr, hidden=as_json)
    with bar:
        outcome = journal.verify(head, lambda seq: bar.update(seq - bar.pos))
        bar.update(last - bar.pos)
    if outcome.fault:
        raise click.ClickException(f"Journal atteint : {outcome.fault}.")
    emit(
        {"whole": True, "entries": outcome.entries, "hash": outcome.head.hash},
        f"Journal entier : {outcome.entries} entrées, empreinte {outcome.head.hash}.",
        as_json,
    )


def _read_head(path: Path) -> journal.Head:
    """A file written by `journal head --json` or by the nightly export."""
    try:
        return read_head(path)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@journal_commands.command("export")
@click.argument("file", type=click.File("wb", atomic=True))
@json_option
def journal_export(file: Any, as_json: bool) -> None:
    """Écrit toutes les entrées scellées, une par ligne (JSON)."""
    count = 0
    file.write(b"")  # opens it, also when the journal is empty
    for body in journal.bodies():
        file.write(body + b"\n")
        count += 1
    emit({"entries": count}, f"{count} entrées écrites.", as_json)


@click.group()
def job() -> None:
    """Les travaux."""


def _job_described(found: Job) -> dict[str, Any]:
    return {
        "id": str(found.pk),
        "name": found.name,
        "state": found.state,
        "done": found.done,
        "total": found.total,
        "message": found.message,
        "error": found.error or None,
        "created_at": clock.rfc3339(found.created_at),
    }


def _job(identity: str) -> Job:
    try:
        return Job.objects.get(pk=identity)
    except (Job.DoesNotExist, ValidationError) as error:
        raise click.ClickException(f"Aucun travail n'a l'identifiant {identity}.") from error


@job.command("list")
@json_option
def job_list(as_json: bool) -> None:
    """Les travaux, le plus récent d'abord (200 au plus)."""
    items = [_job_described(found) for found in Job.objects.order_by("-created_at")[:200]]
    lines = [f"{item['id']}  {item['state']:<12} {item['name']}" for item in items]
    text = "\n".join(lines) or "Aucun travail."
    emit({"count": len(items), "items": items}, text, as_json)


@job.command("show")
@click.argument("identity")
@json_option
def job_show(identity: str, as_json: bool) -> None:
    """Un travail et la fin de son journal d'exécution."""
    found = _job(identity)
    item = {**_job_described(found), "log": found.log, "result": found.result}
    emit(item, "\n".join(f"{key}: {value}" for key, value in item.items()), as_json)


@job.command("cancel")
@click.argument("identity")
@json_option
def job_cancel(identity: str, as_json: bool) -> None:
    """Demande l'arrêt d'un travail."""
    found = _job(identity)
    was_over = found.finished_at is not None
    jobs.cancel(of_console(), found)
    found.refresh_from_db()
    if was_over or found.cancel_requested_at is None:
        state = Job.State(found.state).label.lower()
        raise click.ClickException(f"Le travail {found.pk} est déjà fini : {state}.")
    emit(_job_described(found), f"Travail {found.pk} : arrêt demandé.", as_json)


@job.command("run", hidden=True)
@click.argument("identity")
def job_run(identity: str) -> None:
    """Exécute un travail dans ce processus (lancé par worker)."""
    try:
        jobs.run(identity)
    except LookupError as error:
        raise click.ClickException(f"Refusé : {error}.") from error


@click.group("egress")
def egress_commands() -> None:
    """Les destinations que le cloud a le droit de joindre."""


@egress_commands.command("list")
@json_option
def egress_list(as_json: bool) -> None:
    """Les destinations permises, et celles que les réglages demandent encore."""
    items = list(EgressRule.objects.values("id", "host", "port", "purpose", "data_classes"))
    lines = [f"{item['id']}  {item['host']}:{item['port']}  {item['purpose']}" for item in items]
    lines = lines or ["Aucune : rien ne sort de cette machine."]
    missing = [
        {
            "purpose": need.outlet.purpose,
            "host": need.host,
            "port": need.port,
            "data_classes": need.data_classes,
            "command": need.command,
        }
        for need in egress.missing()
    ]
    for need in missing:
        lines += [f"Pas encore permise : {need['host']}:{need['port']}. Tapez :"]
        lines += [f"  {need['command']}"]
    emit({"count": len(items), "items": items, "missing": missing}, "\n".join(lines), as_json)


@egress_commands.command("allow")
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option(
    "--purpose",
    required=True,
    type=click.Choice(egress.purposes()),
    help="smtp : le courrier ; oidc : la connexion ; objects : S3.",
)
@click.option(
    "--data-class",
    "data_classes",
    multiple=True,
    required=True,
    type=click.Choice([str(known) for known in DataClass]),
)
@json_option
def egress_allow(
    host: str, port: int, purpose: str, data_classes: tuple[str, ...], as_json: bool
) -> None:
    """Permet une destination, pour un usage et des classes de données."""
    classes = [DataClass(known) for known in data_classes]
    try:
        rule = egress.allow(of_console(), host, port, purpose, classes)
    except ValidationError as error:
        raise click.ClickException(" ".join(error.messages)) from error
    emit({"id": rule.pk}, f"Destination {rule.pk} permise : {rule.host}:{port}.", as_json)


@egress_commands.command("remove")
@click.argument("identity", type=int)
@json_option
def egress_remove(identity: int, as_json: bool) -> None:
    """Retire une destination."""
    rule = EgressRule.objects.filter(pk=identity).first()
    if rule is None:
        raise click.ClickException(f"Aucune destination n'a le numéro {identity}.")
    egress.remove(of_console(), rule)
    emit({"id": identity}, f"Destination {identity} retirée.", as_json)
