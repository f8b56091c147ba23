"""`souverain vault drill`: try a restore, from a commune's machine without Django, or at the console."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from souverain.core.format import bytes_fr
from souverain.vault import drill
from souverain.vault.audit import AuditError
from souverain.vault.drill_folder import ended_by_signals
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import FAULTS, LIMITS, Report, Verdict
from souverain.vault.repository_commands import password_in

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_VERDICTS = {
    Verdict.PASSED: "Essai réussi",
    Verdict.FAILED: "Essai échoué",
    Verdict.UNFINISHED: "Essai inachevé : il ne prouve rien",
}


@click.command("drill")
@click.option(
    "--repository-file", type=_file, help="Sur un poste : l'adresse du dépôt (depot.txt)."
)
@click.option("--commune", help="À la console du département : code INSEE de la commune.")
@click.option("--set", "set_code", default="general", show_default=True, help="Dépôt.")
@click.option(
    "--password-file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path, allow_dash=False),
    help="Le mot de passe du dépôt ; lu une fois, gardé nulle part.",
)
@click.option(
    "--sample-bytes",
    default=drill.SAMPLE_BYTES,
    show_default=True,
    type=click.IntRange(1, 1 << 40),
    help="Octets à restaurer, au plus.",
)
@click.option(
    "--files",
    default=drill.FILES,
    show_default=True,
    type=click.IntRange(1, 500),
    help="Fichiers à restaurer, au plus.",
)
@click.option(
    "--key",
    "key_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="La clé qui signe ; temoin.cle, à côté de depot.txt, sinon. Créée si elle manque.",
)
@click.option(
    "--checkpoint", type=_file, help="Le point de contrôle du dernier audit, à citer au rapport."
)
@click.option("--json", "as_json", is_flag=True, help="Répondre en JSON.")
def cli(
    repository_file: Path | None,
    commune: str | None,
    set_code: str,
    password_file: Path,
    sample_bytes: int,
    files: int,
    key_file: Path | None,
    checkpoint: Path | None,
    as_json: bool,
) -> None:
    """Restaurer un échantillon de la dernière sauvegarde, le comparer, envoyer un rapport signé."""
    if bool(repository_file) == bool(commune):
        raise click.UsageError("Donnez --repository-file, ou --commune.")
    if commune and (key_file or checkpoint):
        raise click.UsageError("--key et --checkpoint sont d'un poste, non de la console.")
    sample: dict[str, Any] = {"sample_bytes": sample_bytes, "files": files}
    try:
        with _bar(hidden=as_json or not sys.stderr.isatty()) as progress, ended_by_signals():
            password = password_in(password_file)
            if commune:
                report, sent = _at_the_console(commune, set_code, password, progress, sample), None
            else:
                assert repository_file is not None
                sent = drill.run(
                    repository_file,
                    password,
                    key_file=key_file,
                    checkpoint=checkpoint,
                    progress=progress,
                    **sample,
                )
                report = sent.report
    except (drill.DrillError, AuditError) as error:
        raise click.ClickException(f"L'essai n'a pas pu se faire : {error}.") from error
    _tell(report, sent, as_json)
    if report.verdict != Verdict.PASSED or (sent and not sent.sent):
        sys.exit(1)


def _at_the_console(
    commune: str,
    set_code: str,
    password: bytes,
    progress: drill.Progress | None,
    sample: dict[str, Any],
) -> Report:
    from souverain.cli import with_django

    console = with_django("souverain.vault.drill_console")
    from souverain.core import access
    from souverain.vault.models import DepositSet

    found = DepositSet.objects.select_related("organisation").filter(
        organisation__code=commune, code=set_code
    )
    into = found.first()
    if into is None:
        raise click.ClickException(f"Le dépôt {commune}/{set_code} n'existe pas.")
    report: Report = console.run(access.of_console(), into, password, progress=progress, **sample)
    return report


@contextmanager
def _bar(*, hidden: bool) -> Iterator[drill.Progress | None]:
    if hidden:
        yield None
        return
    with click.progressbar(length=1, label="Essai de restauration", file=sys.stderr) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, done, 1)
            bar.update(done - bar.pos)

        yield progress


def _tell(report: Report, sent: drill.Outcome | None, as_json: bool) -> None:
    if as_json:
        told = {**reports.as_json(report), "faults": dict(report.faults)}
        if sent:
            told |= {"sent": sent.sent, "known_key": sent.known_key, "waiting": sent.waiting}
        click.echo(orjson.dumps({"ok": report.verdict == Verdict.PASSED, **told}).decode())
        return
    click.echo(
        f"{_VERDICTS[Verdict(report.verdict)]} : {report.files_restored} fichiers restaurés et "
        f"comparés ({bytes_fr(report.bytes_restored)}) sur {report.files_in_snapshot}"
        f"{'' if report.whole_listing else ' vus'}, en {report.seconds} s."
    )
    if not report.restic_version:
        click.echo("Le programme restic n'est pas là : seul notre lecteur a restauré.")
    if report.compared_with_disk or report.changed_since:
        click.echo(
            f"Sur ce poste : {report.compared_with_disk} fichiers comparés, "
            f"{report.changed_since} changés depuis la sauvegarde."
        )
    for kind, count in report.faults:
        click.echo(f"Défaut : {FAULTS[kind]} ({count}).")
    if report.limit:
        click.echo(f"Arrêté : {LIMITS[report.limit]}.")
    if sent:
        _tell_sending(report, sent)


def _tell_sending(report: Report, sent: drill.Outcome) -> None:
    if sent.sent:
        click.echo("Le rapport signé est au coffre-fort.")
    elif sent.waiting:
        click.echo(
            "Le rapport signé n'a pas pu partir : il attend à côté de depot.txt, l'essai suivant "
            "l'enverra.",
            err=True,
        )
    for said in sent.refused:
        click.echo(f"Un rapport a été refusé, et mis de côté : {said}", err=True)
    if sent.known_key is False:
        click.echo(
            "La clé de ce poste n'est pas inscrite. Faites-la inscrire comme témoin sur la page de "
            f"la commune :\n{report.key}"
        )
