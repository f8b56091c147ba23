"""`souverain vault agent …`: a town hall's own machine backs up, verifies, restores. Starts without
Django; what is heavy is read by the command that needs it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from souverain import faults
from souverain.vault.agent import AgentError
from souverain.vault.agent.place import find as find_place
from souverain.vault.agent.place import shown

_home = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Dossier de depot.txt ; sinon celui-ci, ou le seul de ~/coffre-fort.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
_at = click.option("--at", "moment", help="Comme c'était alors : « 23/11/2026 18:00 ».")
_machine = click.option("--machine", help="La sauvegarde de ce poste-là.")


@click.group()
def cli() -> None:
    """Sauvegarder, vérifier et restaurer depuis un poste de la mairie."""
    for stream in (sys.stdout, sys.stderr):  # Windows's own encodings lack many letters
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextmanager
def _faults_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # `… | head`: click ends quietly
    except AgentError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        told = faults.of_file(error) or f"Lecture ou écriture impossible ({error.strerror})."
        raise click.ClickException(told) from error


@contextmanager
def _bar(label: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    """Nothing where nobody looks: the total is known late, and grows."""
    if hidden or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, done, 1)
            bar.update(done - bar.pos)

        yield progress
        bar.update((bar.length or 1) - bar.pos)  # restic says no end


def _print(content: dict[str, Any]) -> None:
    click.echo(json.dumps(content, ensure_ascii=False, default=str))


# Setting up --------------------------------------------------------------------------------------


@cli.command()
@click.argument("folders", metavar="[DOSSIER]...", nargs=-1, type=click.Path(path_type=Path))
@_home
@click.option("--key", "log_key", help="La clé du registre, donnée par le département.")
@click.option("--hour", help="L'heure de la sauvegarde ; 20:00 sinon.")
@click.option("--replace", "replaces", is_flag=True, help="Refaire agent.toml.")
@_json
def setup(
    folders: tuple[Path, ...],
    home: Path | None,
    log_key: str | None,
    hour: str | None,
    replaces: bool,
    as_json: bool,
) -> None:
    """Régler ce poste : quoi protéger ; tout est vérifié avant."""
    from souverain.vault.agent import installation, settings

    with _faults_told():
        place = find_place(home)
        at = settings.parse_hour(hour) if hour else None
        done = installation.set_up(place, folders, log_key, at, replaces)
        exposed = place.exposed()
    if as_json:
        _print(
            {
                "ok": True,
                "home": str(place.folder),
                "folders": done.settings.folders,
                "hour": f"{done.settings.hour:%H:%M}",
                "drew_password": done.drew_password,
                "made_repository": done.made_repository,
                "verifies": bool(done.settings.log_key),
                "witness": done.witness,
                "exposed": exposed,
            }
        )
        return
    click.echo("Ce poste est réglé. Sera protégé, avec tout ce qui est dedans :")
    for each in done.settings.folders:
        click.echo(f"  {shown(each)}")
    if done.drew_password:
        click.echo(
            f"IMPORTANT : le mot de passe du dépôt est dans {place.password}. Imprimez-le : un "
            "exemplaire au coffre de la mairie, un autre dans une enveloppe, ailleurs. Sans lui, "
            "personne ne peut relire vos sauvegardes, pas même le département."
        )
    if not done.settings.log_key:
        click.echo(
            "Pour que ce poste vérifie le coffre-fort chaque soir, demandez au département la clé "
            "du registre, puis : souverain vault agent setup --key CLÉ"
        )
    else:
        click.echo(
            "Ce poste vérifiera le coffre-fort. Pour qu'il soit aussi témoin, inscrivez cette ligne "
            f"sur la page de la commune :\n  {done.witness}"
        )
    if exposed:
        click.echo(
            f"ATTENTION : d'autres comptes de ce poste peuvent lire {', '.join(exposed)} : "
            f"chmod 600 {' '.join(exposed)}"
        )
    click.echo(
        "Ensuite : « souverain vault agent run » pour la première sauvegarde, puis « souverain vault "
        "agent schedule --install » pour chaque soir."
    )


# Every evening -----------------------------------------------------------------------------------


@cli.command()
@_home
@click.option("--due", is_flag=True, help="Seulement si la sauvegarde du jour n'est pas faite.")
@_json
def run(home: Path | None, due: bool, as_json: bool) -> None:
    """Sauvegarder maintenant, puis vérifier que le coffre-fort a tout reçu."""
    from souverain.vault.agent import backup, sentence
    from souverain.vault.agent import state as states

    with _faults_told():
        place = find_place(home)
        if due and not backup.is_due(backup.load_settings(place), _state(place), _now()):
            _tell_state(sentence.Told(True, "La sauvegarde du jour est faite."), None, as_json)
            return
        done = backup.run(place, _screen(as_json))
        told = sentence.tell(done, _now(), running=False, exposed=place.exposed())
    _tell_state(told, done, as_json)
    if not told.ok or done.outcome != states.COMPLETE:
        sys.exit(1)


@cli.command()
@_home
@_json
def drill(home: Path | None, as_json: bool) -> None:
    """Essayer maintenant de restaurer un échantillon ; chaque semaine, « run » le fait aussi."""
    from souverain.vault.agent import backup, sentence, trial

    if os.name != "posix":
        raise click.ClickException("L'essai de restauration ne se fait pas encore sous Windows.")
    with _faults_told():
        place = find_place(home)
        done = backup.drill(place, _screen(as_json))
        told = sentence.tell(done, _now(), running=False, exposed=place.exposed())
    _tell_state(told, done, as_json)
    if not done.trial or done.trial.outcome != trial.PASSED:
        sys.exit(1)


@cli.command()
@_home
@_json
def status(home: Path | None, as_json: bool) -> None:
    """Dire en une phrase ce qui est protégé, et depuis quand ; 0 : tout va bien."""
    from souverain.vault.agent import lock, sentence

    with _faults_told():
        place = find_place(home)
        found = _state(place)
        running = place.lock.exists() and lock.is_held(place.lock)
        told = sentence.tell(found, _now(), running=running, exposed=place.exposed())
    _tell_state(told, found, as_json)
    if not told.ok:
        sys.exit(1)


def _screen(as_json: bool) -> Any:
    from souverain.vault.agent.backup import Screen

    return Screen(
        lambda label: _bar(label, hidden=as_json), lambda text: click.echo(text, err=True)
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _state(place: Any) -> Any:
    from souverain.vault.agent import state

    return state.read(place.state)


def _tell_state(told: Any, state: Any, as_json: bool) -> None:
    from souverain.vault.agent.state import written

    if as_json:
        content = json.loads(written(state)) if state else None
        _print({"ok": told.ok, "sentence": told.text, "state": content})
    else:
        click.echo(told.text)


# Taking back -------------------------------------------------------------------------------------


@cli.command()
@click.argument("name", metavar="NOM")
@_at
@_machine
@_home
@_json
def find(
    name: str, moment: str | None, machine: str | None, home: Path | None, as_json: bool
) -> None:
    """Trouver des fichiers par un morceau de leur nom."""
    from souverain.core.format import bytes_fr
    from souverain.vault.agent import restore as restoring

    with _faults_told(), _reader(home, moment) as reader:
        snapshot = _snapshot(reader, machine)
        found, count = restoring.find(reader, snapshot, name)
    if as_json:
        items = [
            {"path": each.path, "type": each.kind, "size_bytes": each.size, "mtime": each.modified}
            for each in found
        ]
        _print({"snapshot": snapshot.id, "count": count, "items": items})
    else:
        click.echo(f"Sauvegarde du {_when(snapshot)}, poste {shown(snapshot.machine, 60)}.")
        for each in found:
            size = "dossier" if each.kind == "dir" else bytes_fr(each.size)
            click.echo(f"{_minute(each.modified):16}  {size:>9}  {shown(each.path, 1000)}")
        if count > len(found):
            click.echo(f"… et {count - len(found)} autres : donnez plus de lettres du nom.")
    if not found:
        raise click.ClickException(
            f"Rien dont le nom contienne « {shown(name, 60)} » dans la sauvegarde du {_when(snapshot)}."
        )


def _minute(instant: str) -> str:
    """Of a file, as `--at` takes one; a backup can bear any text there."""
    from souverain.core.clock import PARIS

    try:
        return f"{datetime.fromisoformat(instant).astimezone(PARIS):%d/%m/%Y %H:%M}"
    except (ValueError, OverflowError):
        return ""


@cli.command()
@click.argument("files", metavar="[FICHIER]...", nargs=-1)
@click.option(
    "--to",
    "target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Dossier où mettre ce qui est restauré ; créé s'il manque.",
)
@_at
@_machine
@_home
@_json
def restore(
    files: tuple[str, ...],
    target: Path,
    moment: str | None,
    machine: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Restaurer un fichier, un dossier, ou tout, sans rien écraser."""
    from souverain.vault.agent import restore as restoring

    with _faults_told(), _reader(home, moment) as reader:
        snapshot = _snapshot(reader, machine)
        wanted = restoring.select(reader, snapshot, files)
        with _bar("Restauration", hidden=as_json) as progress:
            done = restoring.restore(reader, snapshot, wanted, target, progress)
    if as_json:
        _print(
            {
                "ok": not done.faults,
                "snapshot": snapshot.id,
                "files": wanted.files,
                "bytes": wanted.bytes,
                "restored": done.places,
                "errors": done.faults,
                "left_in": done.left_in,
            }
        )
    else:
        click.echo(f"Sauvegarde du {_when(snapshot)}, poste {shown(snapshot.machine, 60)}.")
        for place in done.places:
            click.echo(f"Restauré : {shown(str(place), 1000)}")
        for fault in done.faults:
            click.echo(f"Non restauré : {fault}")
        if done.left_in:
            click.echo(
                f"Ce qui est venu, peut-être coupé, est dans {shown(str(done.left_in), 1000)}"
            )
    if done.faults:
        sys.exit(1)


@contextmanager
def _reader(home: Path | None, moment: str | None) -> Iterator[Any]:
    from souverain.vault.agent import restore as restoring

    place = find_place(home)
    at = restoring.parse_moment(moment, _now()) if moment else None
    with restoring.reading(place, at) as reader:
        yield reader


def _snapshot(reader: Any, machine: str | None) -> Any:
    from souverain.vault.agent import restore as restoring

    try:
        state = _state(reader.place)
    except AgentError:
        state = None
    own = state.saved.snapshot if state and state.saved else None
    return restoring.choose(reader.snapshots(), machine, socket.gethostname(), own, _now())


def _when(snapshot: Any) -> str:
    from souverain.core.format import datetime_fr

    return datetime_fr(snapshot.at)


# By itself ---------------------------------------------------------------------------------------


@cli.command()
@click.option("--print", "action", flag_value="print", default="print", help="Montrer seulement.")
@click.option("--install", "action", flag_value="install", help="Mettre en place, ou refaire.")
@click.option("--remove", "action", flag_value="remove", help="Enlever.")
@click.option(
    "--with", "kind", type=click.Choice(("systemd", "cron", "windows")), help="Avec quoi."
)
@click.option("--yes", is_flag=True, help="Enlever sans demander.")
@_home
@_json
def schedule(action: str, kind: str | None, yes: bool, home: Path | None, as_json: bool) -> None:
    """La sauvegarde de chaque soir : la montrer, la mettre en place, l'enlever."""
    import shutil

    from souverain.vault.agent import backup
    from souverain.vault.agent import schedule as schedules

    with _faults_told():
        place = find_place(home)
        chosen = backup.load_settings(place)
        restic = shutil.which("restic")
        job = schedules.job(place.address(), place.folder, chosen.hour, restic)
        kind = kind or _kind(action)
        said = ""
        if action == "remove":
            if not yes:
                click.confirm("Plus rien ne sera sauvegardé chaque soir. Enlever ?", abort=True)
            schedules.remove(job, kind)
            said = "Enlevé : ce poste ne sauvegarde plus de lui-même."
        elif action == "install":
            said = schedules.install(job, kind)
            said = f"Chaque jour à {chosen.hour:%H:%M}. {said}"
        else:
            said = schedules.printed(job, kind)
    if as_json:
        _print({"action": action, "with": kind, "name": job.name, "text": said})
    else:
        click.echo(said)


def _kind(action: str) -> str:
    from souverain.vault.agent import schedule as schedules

    try:
        return schedules.kind()
    except AgentError:
        if action != "print":
            raise
        return "windows" if os.name == "nt" else "cron"
