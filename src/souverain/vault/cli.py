"""`souverain vault …`: devices and state of the vault, from the département's own machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import Any

import click
from django.core.exceptions import ValidationError

from souverain.core import access, clock
from souverain.core.format import bytes_fr, datetime_fr
from souverain.core.models import Device
from souverain.vault import (
    freshness,
    log_commands,
    replica_commands,
    retention_commands,
    services,
)
from souverain.vault.api import DepositSetItem, DeviceItem
from souverain.vault.console import commune_of, fail, print_json
from souverain.vault.models import DepositSet, State


def _device_json(device: Device) -> dict[str, Any]:
    return DeviceItem.of(device).model_dump()


@click.group()
def cli() -> None:
    """Le coffre-fort des communes."""


cli.add_command(log_commands.registry)
cli.add_command(log_commands.witness)
cli.add_command(replica_commands.replica)
cli.add_command(retention_commands.lock)
cli.add_command(retention_commands.hold)
cli.add_command(retention_commands.destructions)
cli.add_command(retention_commands.store)


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
            access.of_console(), commune_of(commune), name, roles, set_code
        )
    except ValidationError as error:
        fail(" ".join(error.messages))
    if as_json:
        print_json({**_device_json(made), "repository": repository})
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
        fail(f"L'appareil {identity} n'existe pas.")
    if found.revoked_at is not None:
        fail(f"L'appareil {identity} est déjà révoqué.")
    services.revoke_device(access.of_console(), found)
    if as_json:
        print_json(_device_json(found))
    else:
        click.echo(f"Appareil {identity} révoqué.")


@device.command("list")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def list_devices(as_json: bool) -> None:
    """Les appareils du coffre-fort."""
    found = Device.objects.select_related("organisation").filter(room="vault")
    items = [_device_json(item) for item in found]
    if as_json:
        print_json({"count": len(items), "items": items})
        return
    for item in items:
        state = "révoqué" if item["revoked_at"] else ", ".join(item["roles"])
        click.echo(f"{item['id']}  {item['commune']}/{item['set']}  {item['name']}  {state}")
    if not items:
        click.echo("Aucun appareil : « souverain vault device add » en ajoute un.")


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
            commune_of(commune),
            code,
            title=title,
            kind=kind,
            retention_class=retention,
            fresh_within_hours=fresh_hours,
        )
    except ValidationError as error:
        fail(" ".join(error.messages))
    if as_json:
        print_json(_set_json(made))
    else:
        click.echo(f"Dépôt {commune}/{code} ouvert : {made.title}.")


@deposit_set.command("list")
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def list_sets(commune: str | None, as_json: bool) -> None:
    """Les dépôts ouverts."""
    items = _sets(commune)
    if as_json:
        print_json({"count": len(items), "items": items})
        return
    for item in items:
        click.echo(
            f"{item['commune']}/{item['set']}  {item['kind']}  {item['retention']}  "
            f"toutes les {item['fresh_within_hours']} h  {freshness.WORDS[State(item['state'])]}"
        )
    if not items:
        click.echo("Aucun dépôt n'est ouvert.")


@cli.command()
@click.option("--commune", required=True, help="Code INSEE de la commune.")
@click.option("--bytes", "limit_bytes", type=int, help="Nouvelle limite ; sinon, la lire.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def quota(commune: str, limit_bytes: int | None, as_json: bool) -> None:
    """La place accordée à une commune, en octets."""
    organisation = commune_of(commune)
    if limit_bytes is not None:
        try:
            services.set_quota(access.of_console(), organisation, limit_bytes)
        except ValidationError as error:
            fail(" ".join(error.messages))
    stored, limit = services.stored_bytes(organisation), services.quota_bytes(organisation)
    if as_json:
        print_json({"commune": commune, "stored_bytes": stored, "quota_bytes": limit})
    else:
        click.echo(f"{commune} : {bytes_fr(stored)} gardés sur {bytes_fr(limit)}.")


@cli.command()
@click.option("--commune", required=True, help="Code INSEE de la commune.")
@click.option("--set", "set_code", default="general", show_default=True, help="Dépôt.")
@click.option("--bytes", "expected", required=True, type=int, help="Octets attendus.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(1, 14), help="Jours.")
@click.option("--reason", required=True, help="Pourquoi.")
@click.option("--deletions", is_flag=True, help="Un grand ménage sera fait aussi.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def announce(
    commune: str,
    set_code: str,
    expected: int,
    days: int,
    reason: str,
    deletions: bool,
    as_json: bool,
) -> None:
    """Annoncer un gros envoi, pour qu'il ne donne pas l'alerte."""
    from souverain.vault import alarm

    found = DepositSet.objects.select_related("organisation").filter(
        organisation=commune_of(commune), code=set_code
    )
    into = found.first() or fail(f"Le dépôt {commune}/{set_code} n'existe pas.")
    until = clock.now() + timedelta(days=days)
    try:
        made = alarm.announce(
            access.of_console(), into, expected, until, reason, deletions=deletions
        )
    except ValidationError as error:
        fail(" ".join(error.messages))
    if as_json:
        told = {"bytes": made.bytes, "until": clock.rfc3339(made.until)}
        print_json({"commune": commune, "set": set_code, **told, "deletions": deletions})
    else:
        click.echo(f"Envoi annoncé jusqu'au {datetime_fr(made.until)}.")


@cli.command()
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def status(commune: str | None, as_json: bool) -> None:
    """Dernière sauvegarde et place prise, dépôt par dépôt."""
    items = _sets(commune)
    if as_json:
        print_json({"count": len(items), "items": items})
        return
    for item in items:
        last = item["last_deposit_at"]
        click.echo(
            f"{item['commune']}/{item['set']}  {freshness.WORDS[State(item['state'])]}  "
            f"{datetime_fr(datetime.fromisoformat(last)) if last else 'aucune sauvegarde'}  "
            f"{bytes_fr(item['stored_bytes'])}"
        )
    if not items:
        click.echo("Aucun dépôt n'est ouvert.")


@cli.command()
@click.option("--dry-run", is_flag=True, help="Compter seulement.")
@click.option(
    "--confirm-clock", is_flag=True, help="L'heure du serveur a sauté, et elle est juste."
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def reap(dry_run: bool, confirm_clock: bool, as_json: bool) -> None:
    """Retirer du disque ce qui est effacé depuis plus longtemps que sa conservation."""
    from souverain.vault import retention

    try:
        found = retention.reap(access.of_console(), dry_run=dry_run, confirm_clock=confirm_clock)
    except retention.ClockInDoubt as error:
        fail(str(error))
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    word = "à retirer" if dry_run else "retirés"
    click.echo(f"Objets {word} : {found.objects} ({bytes_fr(found.bytes)}). Dépôts : {found.sets}.")
    if found.held_sets:
        click.echo(f"Dépôts gelés ou sous conservation exigée : {found.held_sets}.")
    if found.locked:
        click.echo(f"{found.locked} objets sont encore verrouillés par le stockage S3 lui-même.")


@cli.command()
@click.option("--commune", help="Code INSEE ; toutes les communes sinon.")
@click.option("--set", "set_code", help="Un seul dépôt de la commune.")
@click.option("--repair", is_flag=True, help="Réparer, et refaire la parité.")
@click.option("--rate", type=click.FloatRange(0), help="Mo lus par seconde ; 0 : sans limite.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
@click.pass_context
def scrub(
    context: click.Context,
    commune: str | None,
    set_code: str | None,
    repair: bool,
    rate: float | None,
    as_json: bool,
) -> None:
    """Contrôle d'intégrité : relire chaque fichier gardé ; 1 : il reste un dommage."""
    from souverain.vault import integrity, scrub

    if set_code and not commune:
        raise click.UsageError("--set : dites aussi --commune.")
    sets = DepositSet.objects.select_related("organisation")
    if commune:
        sets = sets.filter(organisation=commune_of(commune))
        sets = sets.filter(code=set_code) if set_code else sets
        if set_code and not sets:
            fail(f"Le dépôt {commune}/{set_code} n'existe pas.")
    total = sum(found.stored_bytes for found in sets)
    done = 0
    with _bar("Contrôle", hidden=as_json) as show:

        def progress(read: int) -> None:
            nonlocal done
            done += read
            show(min(done, total), max(total, 1))

        try:
            bound = scrub.RATE_MB_S if rate is None else rate
            asked = {"repair": repair, "rate": bound, "progress": progress}
            passes = scrub.scrub(access.of_console(), list(sets), **asked)
        except (scrub.ScrubError, OSError) as error:
            fail(str(error))
    told = integrity.report(passes)
    if as_json:
        print_json(told)
    else:
        for line in integrity.lines(told):
            click.echo(line)
    context.exit(0 if told["ok"] else 1)


def _sets(commune: str | None) -> list[dict[str, Any]]:
    sets = DepositSet.objects.select_related("organisation")
    if commune is not None:
        sets = sets.filter(organisation=commune_of(commune))
    return [_set_json(found) for found in sets]


def _set_json(found: DepositSet) -> dict[str, Any]:
    return DepositSetItem.of(found).model_dump()


# What runs where the password is: no record, no journal; nothing is ever written over ------------


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        fail(f"{path} existe déjà ; rien n'est jamais écrit par-dessus.")
    except OSError as error:
        fail(f"{error.filename or path} : lecture ou écriture impossible ({error.strerror}).")


@contextmanager
def _bar(label: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """What an engine calls with the bytes done and their total."""
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield progress


@cli.group()
def sip() -> None:
    """Les versements aux archives (SIP, norme SEDA)."""


@sip.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Profil d'archivage (RELAX NG) du service d'archives.",
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
@click.pass_context
def check_sip(context: click.Context, file: Path, profile: Path | None, as_json: bool) -> None:
    """Vérifier un versement ; 0 : accepté, avec ou sans réserve, 1 : refusé."""
    from souverain.vault.engine.seda import check
    from souverain.vault.engine.seda.findings import Verdict

    schema = profile.read_bytes() if profile else None
    try:
        with file.open("rb") as opened, _bar("Vérification", hidden=as_json) as progress:
            found = check.check_sip(opened, progress, schema)
    except check.ProfileError as error:
        fail(str(error))
    if as_json:
        print_json(asdict(found))
    else:
        click.echo(f"{found.verdict} : {file}")
        for item in found.reasons:
            click.echo(f"{item.level}  {item.place} : {item.reason}")
        if found.left_out:
            click.echo(f"… et {found.left_out} autres raisons.")
        for left in found.not_checked:
            click.echo(f"Non vérifié : {left}")
    context.exit(1 if found.verdict == Verdict.KO else 0)


@cli.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--sip", "form", flag_value="sip", help="Un versement SEDA : un fichier zip.")
@click.option("--bagit", "form", flag_value="bagit", help="Un dossier BagIt.")
@click.option("--title", default="", help="Titre ; sinon le nom du dossier.")
@click.option("--producer", default="", help="Identifiant du service producteur.")
@click.option("--archives", default="Archives", help="Identifiant du service d'archives.")
@click.option("--agreement", default="", help="Identifiant du contrat d'entrée.")
@click.option(
    "--version", default="2.2", show_default=True, type=click.Choice(("2.1", "2.2", "2.3"))
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def export(
    source: Path,
    output: Path,
    form: str | None,
    title: str,
    producer: str,
    archives: str,
    agreement: str,
    version: str,
    as_json: bool,
) -> None:
    """Mettre un dossier restauré en SIP (SEDA) ou en BagIt, pour les archives."""
    from souverain.vault import export
    from souverain.vault.engine import bag, folder
    from souverain.vault.engine.seda import write

    if form is None or (form == "sip" and not (producer.strip() and archives.strip())):
        raise click.UsageError(
            "Choisissez --sip ou --bagit." if form is None else "--sip : dites --producer."
        )
    title, moment = title.strip() or folder.shown(source.resolve().name), clock.now()
    try:
        with _writing(output), _bar("Export", hidden=as_json) as progress:
            export.refuse_inside(source, output)
            listing = folder.list_folder(source)
            if form == "sip":
                transfer = write.Transfer(
                    version, moment, title, producer, archives, agreement, export.NOTE
                )
                with export.whole_file(output) as file:
                    write.write_sip(listing, file, transfer, progress)
            else:
                about = bag.About(moment, title, producer, export.NOTE)
                with export.whole_folder(output) as partial:
                    bag.write_bag(listing, partial, about, progress)
    except folder.FolderError as error:
        fail(str(error))
    files = sum(not item.is_folder for item in listing.items)
    if as_json:
        told = {"output": str(output), "files": files, "bytes": listing.bytes}
        print_json({**told, "left_out": listing.left_out})
    else:
        click.echo(f"{files} fichiers, {listing.bytes} octets dans {output}. {export.NOTE}")
        for name in listing.left_out:
            click.echo(f"Laissé de côté (lien ou fichier spécial) : {name}", err=True)


@cli.group()
def recovery() -> None:
    """La clé de secours, partagée entre plusieurs personnes."""


@recovery.command("split")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--threshold", required=True, type=click.IntRange(2, 16), help="Parts qui suffisent.")
@click.option("--shares", "count", required=True, type=click.IntRange(2, 16), help="Parts à faire.")
@click.option("--commune", required=True, help="Nom de la commune, à imprimer.")
@click.option("--set", "set_code", default="general", show_default=True, help="Dépôt, à imprimer.")
@click.option("--holder", "holders", multiple=True, help="Titulaire ; une fois par part, ou aucun.")
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def split(
    output: Path,
    threshold: int,
    count: int,
    commune: str,
    set_code: str,
    holders: tuple[str, ...],
    as_json: bool,
) -> None:
    """Tirer une clé de secours ; ses feuilles et son mot de passe vont dans un nouveau dossier."""
    from souverain.vault import recovery
    from souverain.vault.engine.shares import Sheet

    if threshold > count:
        raise click.UsageError(f"--threshold {threshold} : il n'y a que {count} parts.")
    if holders and len(holders) != count:
        raise click.UsageError(f"--holder : {len(holders)} titulaires pour {count} parts.")
    key = recovery.draw(threshold, count)
    sheets = [
        Sheet(commune, set_code, holder, count, clock.today()) for holder in holders or [""] * count
    ]
    with _writing(output):
        recovery.write(key, sheets, output)
    password, folder = output / recovery.PASSWORD_FILE, quote(str(output))
    if as_json:
        print_json(
            {"key": key.name, "threshold": threshold, "shares": count, "folder": str(output)}
        )
    else:
        click.echo(
            f"Clé {key.name} : {threshold} parts sur {count} suffisent. À faire maintenant :\n"
            f"1. restic --repository-file depot.txt --password-file motdepasse.txt key add "
            f"--user {key.name} --host partage --new-password-file {quote(str(password))}\n"
            f"2. Imprimez les {count} feuilles de {output}, remettez chacune à son titulaire.\n"
            f"3. Effacez le dossier : find {folder} -type f -exec shred -u {{}} + && rmdir {folder}"
        )


@recovery.command("combine")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Fichier à créer, pour restic --password-file.",
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def combine(output: Path, as_json: bool) -> None:
    """Demander les feuilles l'une après l'autre, et écrire le mot de passe qu'elles donnent."""
    from souverain.vault import recovery
    from souverain.vault.engine.shares import ShareError

    def ask(label: str) -> str:
        return str(click.prompt(label, err=True))

    def tell(message: str) -> None:
        click.echo(message, err=True)

    if output.exists():
        fail(f"{output} existe déjà ; rien n'est jamais écrit par-dessus.")
    try:
        password = recovery.gather(ask, tell)
    except ShareError as error:
        fail(str(error))
    with _writing(output):
        recovery.write_secret(output, f"{password}\n")
    if as_json:
        print_json({"output": str(output)})
    else:
        click.echo(f"Le mot de passe est dans {output}, que vous seul pouvez lire.")
