"""`souverain vault audit`: a commune checks its vault from its own machine, without Django."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import orjson

from souverain.core.format import bytes_fr
from souverain.vault import witness
from souverain.vault.audit import (
    AuditError,
    Folder,
    Kept,
    Report,
    Server,
    Source,
    audit,
)
from souverain.vault.engine.tlog import note
from souverain.vault.engine.tlog.leaves import Leaf
from souverain.vault.whole import write_whole

SHOWN = 50
SAMPLE_BYTES = 8 << 20  # of data: half of what a device that only backs up may read in a day
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("audit")
@click.option(
    "--checkpoint",
    "kept_in",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Fichier où le dernier point de contrôle trouvé juste est gardé ; créé la première fois.",
)
@click.option("--key", help="La première fois : la clé du registre, donnée avec la fiche.")
@click.option(
    "--repository-file",
    "repositories",
    multiple=True,
    type=_file,
    help="Fichier de l'adresse du dépôt (depot.txt) ; un par dépôt.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Au lieu du serveur : une copie du dossier des objets du département.",
)
@click.option(
    "--against", multiple=True, type=_file, help="Point de contrôle gardé par un autre témoin."
)
@click.option("--read-data", is_flag=True, help="Relire tous les octets, pas un échantillon.")
@click.option(
    "--cosign",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Si tout est juste, signer comme témoin avec cette clé ; créée si elle manque.",
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def cli(
    kept_in: Path,
    key: str | None,
    repositories: tuple[Path, ...],
    folder: Path | None,
    against: tuple[Path, ...],
    read_data: bool,
    cosign: Path | None,
    as_json: bool,
) -> None:
    """Vérifier que le coffre-fort n'a rien perdu, changé ni réécrit ; 0 : tout est juste."""
    if bool(repositories) == bool(folder):
        raise click.UsageError("Donnez --repository-file, ou --folder.")
    if cosign and folder:
        raise click.UsageError("--cosign : un témoin signe auprès du serveur.")
    try:
        kept = _kept(kept_in, key)
        others = [found for file in against if (found := Kept.parse(file.read_bytes()).note)]
        source = _source(repositories, folder, kept)
        chosen = (lambda living: living) if read_data else sample
        with bar("Relecture", hidden=as_json) as progress:
            done = run(source, kept_in, kept, others, chosen, cosign, progress)
    except (AuditError, note.NoteError, OSError) as error:
        raise click.ClickException(f"L'audit n'a pas pu se faire : {error}.") from error
    _tell(done.report, kept_in, done.witness, done.cosigned, as_json)
    if not done.report.ok or (cosign and not done.cosigned):
        sys.exit(1)


class Done(NamedTuple):
    """An audit that was made: what it found, and the witness's key when it signed or tried to."""

    report: Report
    witness: note.Key | None
    cosigned: bool


def run(
    source: Source,
    kept_in: Path,
    kept: Kept,
    others: Sequence[note.Note],
    chosen: Callable[[list[Leaf]], Iterable[Leaf]],
    cosign: Path | None,
    progress: Callable[[int, int], None],
) -> Done:
    """Audit; when nothing is found, keep the new checkpoint and sign it as a witness."""
    report = audit(source, kept, others, now=datetime.now(UTC), chosen=chosen, progress=progress)
    signer, cosigned = None, False
    if report.ok and report.seen is not None:
        write_whole(kept_in, bytes(Kept(kept.key, report.seen, datetime.now(UTC))))
        if cosign and isinstance(source, Server):
            signer, cosigned = _cosign(source, report.seen, cosign)
    return Done(report, signer, cosigned)


def _kept(file: Path, key: str | None) -> Kept:
    if file.exists():
        kept = Kept.parse(file.read_bytes())
        if key and note.Key.parse(key) != kept.key:
            raise AuditError("--key n'est pas la clé gardée avec le dernier point de contrôle")
        return kept
    if key is None:
        raise click.UsageError(
            "Premier audit : donnez --key, que « souverain vault log key » imprime au département."
        )
    try:
        return Kept(note.Key.parse(key))
    except note.NoteError:
        raise click.UsageError("--key : ce n'est pas la clé d'un registre.") from None


def _source(repositories: tuple[Path, ...], folder: Path | None, kept: Kept) -> Source:
    code = kept.key.name.rpartition("/")[2]
    if folder:
        return Folder(folder, code)
    server = Server([file.read_text() for file in repositories])
    if server.code != code:
        raise AuditError(f"le dépôt est de {server.code}, la clé est du registre de {code}")
    return server


def sample(living: list[Leaf], room: int = SAMPLE_BYTES) -> list[Leaf]:
    """All that is not data, and data drawn at random."""
    drawn = []
    for leaf in random.SystemRandom().sample(living, len(living)):
        if leaf.object.type != "data":
            drawn.append(leaf)
        elif leaf.size <= room:
            drawn.append(leaf)
            room -= leaf.size
    return drawn


def _cosign(server: Server, seen: note.Note, file: Path) -> tuple[note.Key, bool]:
    secret = witness.secret_in(file)
    key = witness.key_of(server.code, secret)
    line = note.cosign(seen.text, key.name, secret, int(datetime.now(UTC).timestamp()))
    return key, server.cosign(str(line))


@contextmanager
def bar(label: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=hidden) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield progress


def _tell(report: Report, file: Path, key: note.Key | None, cosigned: bool, as_json: bool) -> None:
    if as_json:
        told = {
            "ok": report.ok,
            "findings": [finding._asdict() for finding in report.findings],
            "size": report.size,
            "living": report.living,
            "read_bytes": report.read_bytes,
            "timestamps": report.stamps,
            "witness": str(key) if key else None,
            "cosigned": cosigned,
        }
        click.echo(orjson.dumps(told).decode())
        return
    for finding in report.findings[:SHOWN]:
        click.echo(f"Défaut : {finding.message}")
    if len(report.findings) > SHOWN:
        click.echo(f"… et {len(report.findings) - SHOWN} autres (--json les donne tous).")
    if not report.ok:
        click.echo(
            f"Le coffre-fort n'est pas comme il doit être. {file} n'a pas changé : gardez-le."
        )
        return
    click.echo(
        f"Tout est juste : {report.size} lignes au registre, {report.living} objets présents, "
        f"{bytes_fr(report.read_bytes)} relus. Point de contrôle gardé dans {file}."
    )
    if cosigned:
        click.echo("Le témoin a signé.")
    elif key:
        click.echo(
            "Le témoin n'a pas signé : sa clé n'est pas inscrite, ou le registre vient d'avancer. "
            f"Faites inscrire cette clé sur la page de la commune, puis recommencez :\n{key}"
        )
