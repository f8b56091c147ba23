"""`souverain vault repository …`: read a restic repository without restic, Django or a database."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.check import Fault, Report, check
from souverain.vault.engine.restic.files import Snapshot
from souverain.vault.engine.restic.repository import Repository, folder, reason
from souverain.vault.restoration import Restoration, Restored, Selection, shown, walk

SHOWN = 20
_repository = click.argument(
    "path", metavar="DÉPÔT", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
_password = click.option(
    "--password-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fichier qui contient le mot de passe du dépôt.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")


@click.group()
def cli() -> None:
    """Relire un dépôt restic (un dossier) sans restic."""


@cli.command("check")
@_repository
@_password
@_json
def check_command(path: Path, password_file: Path, as_json: bool) -> None:
    """Tout relire et tout vérifier, comme « restic check --read-data »."""
    with _faults_told():
        repository = Repository.open(folder(path), password_in(password_file))
        with _bar("Vérification", hidden=as_json) as progress:
            report = check(repository, _workers(), progress)
    if as_json:
        _print(_report_json(report))
    else:
        click.echo(_report_text(report))
    if not report.ok:
        sys.exit(1)


@cli.command("ls")
@_repository
@click.argument("snapshot", metavar="SAUVEGARDE", required=False)
@_password
@_json
def list_command(path: Path, snapshot: str | None, password_file: Path, as_json: bool) -> None:
    """Les sauvegardes ; ou les fichiers d'une (son numéro, ou « latest »)."""
    with _faults_told():
        repository = Repository.open(folder(path), password_in(password_file))
        if snapshot is None:
            _list_snapshots(repository.snapshots(), as_json)
            return
        chosen = repository.snapshot(snapshot)
        repository.load_index()
        _list_files(repository, chosen, as_json)


@cli.command("restore")
@_repository
@click.argument("snapshot", metavar="SAUVEGARDE", default="latest")
@_password
@click.option(
    "--target",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Dossier où écrire ; créé s'il manque.",
)
@click.option("--include", "includes", multiple=True, help="Ce chemin seulement ; répétable.")
@click.option("--overwrite", is_flag=True, help="Remplacer les fichiers qui existent.")
@_json
def restore_command(
    path: Path,
    snapshot: str,
    password_file: Path,
    target: Path,
    includes: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Restaurer une sauvegarde (la dernière par défaut), ou une partie."""
    _raise_open_file_limit()
    with _faults_told():
        repository = Repository.open(folder(path), password_in(password_file))
        chosen = repository.snapshot(snapshot)
        repository.load_index()
        with _bar("Restauration", hidden=as_json or not sys.stderr.isatty()) as progress:
            restoration = Restoration(
                repository,
                token=secrets.token_hex(6),
                overwrite=overwrite,
                workers=_workers(),
                progress=progress,
            )
            with _stopped_by_signals(restoration.stop):
                done = restoration.run(chosen.tree, target, _selection(includes))
    if as_json:
        _print({"ok": done.ok, "snapshot": chosen.id.hex(), **vars(done)})
    else:
        click.echo(_restored_text(done, target))
    if not done.ok:
        sys.exit(1)


def _workers() -> int:
    return min(len(os.sched_getaffinity(0)), 8)


def password_in(file: Path) -> bytes:
    """As restic reads it: blanks around are no part of it, a byte order mark neither."""
    raw = file.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return raw.decode(encoding, "surrogateescape").strip().encode(errors="surrogateescape")


def _selection(includes: tuple[str, ...]) -> Selection:
    paths = [b"/" + os.fsencode(each).strip(b"/") for each in includes]
    return Selection([] if b"/" in paths else paths)


def _raise_open_file_limit() -> None:
    """A directory stays open while what is below it is restored."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _faults_told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # `… | head`: click ends quietly
    except (FormatError, OSError) as error:
        raise click.ClickException(f"{reason(error)}.") from error


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C waits for the pieces under way, so that no half file stays."""
    before = {
        number: signal.signal(number, lambda *_: stop())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(label: str, *, hidden: bool) -> Iterator[Callable[[int, int], None] | None]:
    if hidden:
        yield None
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, done, 1)
            bar.update(done - bar.pos)

        yield progress


def _print(content: dict[str, Any]) -> None:
    click.echo(orjson.dumps(content).decode())


def _fault_json(fault: Fault) -> dict[str, str]:
    return {"file": fault.file, "message": fault.message}


def _report_json(report: Report) -> dict[str, Any]:
    return {
        **vars(report),
        "ok": report.ok,
        "errors": [_fault_json(fault) for fault in report.errors],
        "notes": [_fault_json(fault) for fault in report.notes],
    }


def _report_text(report: Report) -> str:
    lines = [f"Remarque : {note.file} : {note.message}." for note in report.notes[:SHOWN]]
    lines += [f"Défaut : {fault.file} : {fault.message}." for fault in report.errors[:SHOWN]]
    for count, what in ((report.note_count, "remarques"), (report.error_count, "défauts")):
        if count > SHOWN:
            lines.append(f"… et {count - SHOWN} autres {what} (--json en donne plus).")
    verdict = "Dépôt sain" if report.ok else f"Dépôt abîmé, {report.error_count} défauts"
    lines.append(
        f"{verdict} : {report.snapshots} sauvegardes, {report.packs} paquets, "
        f"{report.read_bytes} octets relus."
    )
    return "\n".join(lines)


def _snapshot_json(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id.hex(),
        "time": snapshot.time,
        "hostname": snapshot.hostname,
        "username": snapshot.username,
        "paths": snapshot.paths,
        "tags": snapshot.tags,
    }


def _list_snapshots(found: list[Snapshot], as_json: bool) -> None:
    if as_json:
        items = [_snapshot_json(snapshot) for snapshot in found]
        _print({"count": len(items), "items": items})
        return
    for snapshot in found:
        paths = " ".join(shown(path.encode()) for path in snapshot.paths)
        hostname = shown(snapshot.hostname.encode())
        click.echo(f"{snapshot.id.hex()[:8]}  {snapshot.time}  {hostname}  {paths}")


def _list_files(repository: Repository, snapshot: Snapshot, as_json: bool) -> None:
    """Entry by entry: a snapshot of millions of files is not held in memory."""
    faults: list[str] = []

    def tell(path: bytes, message: str) -> None:
        faults.append(f"{shown(path)} : {message}.")

    write, count = sys.stdout.write, 0
    if as_json:
        write('{"items":[')
    for _, path, node in walk(repository, snapshot.tree, tell):
        if as_json:
            item = {
                "path": path.decode(errors="backslashreplace"),
                "type": node.type,
                "mode": node.mode,
                "size_bytes": node.size,
                "mtime_ns": node.mtime_ns,
            }
            write("," * bool(count) + orjson.dumps(item).decode())
        else:
            write(f"{node.type:8} {node.mode:04o} {node.size:>14}  {shown(path)}\n")
        count += 1
    if as_json:
        write(f'],"count":{count}}}\n')
    if faults:
        raise click.ClickException(" ".join(faults[:SHOWN]))


def _restored_text(done: Restored, target: Path) -> str:
    lines = [f"Laissé de côté : {each}." for each in done.skipped[:SHOWN]]
    lines += [f"Non restauré : {each}." for each in done.errors[:SHOWN]]
    for count, what in ((done.skipped_count, "laissés de côté"), (done.error_count, "manqués")):
        if count > SHOWN:
            lines.append(f"… et {count - SHOWN} autres {what} (--json en donne plus).")
    lines.append(
        f"{done.files} fichiers, {done.directories} répertoires, {done.symlinks} liens, "
        f"{done.hard_links} liens durs, {done.written_bytes} octets écrits dans {target}."
    )
    return "\n".join(lines)
