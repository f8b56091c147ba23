"""What stops a command, in one French sentence that says what to do."""

from __future__ import annotations

import errno

import click

NOT_PREPARED = "La base de données n'est pas prête : lancez d'abord « souverain init »."
_OF_SQLITE = {
    "SQLITE_BUSY": "La base de données est occupée par un autre programme : recommencez.",
    "SQLITE_FULL": "Le disque est plein : faites de la place, puis recommencez.",
    "SQLITE_CORRUPT": "La base de données {file} est abîmée : remettez-en une copie saine.",
    "SQLITE_NOTADB": "{file} n'est pas une base de données : remettez-en une copie saine.",
    "SQLITE_CANTOPEN": "La base de données {file} ne s'ouvre pas : vérifiez les droits du dossier.",
    "SQLITE_PERM": "La base de données {file} ne s'ouvre pas : vérifiez les droits du dossier.",
    "SQLITE_READONLY": "La base de données {file} ne peut pas être modifiée : vérifiez les droits "
    "du dossier, et que le disque n'est pas en lecture seule.",
    "SQLITE_IOERR": "Le disque de la base de données {file} ne répond pas bien : vérifiez-le.",
}
_OF_FILES = {
    errno.EACCES: "accès refusé ; vérifiez les droits, et sous quel compte vous êtes",
    errno.EPERM: "accès refusé ; vérifiez les droits, et sous quel compte vous êtes",
    errno.EROFS: "le disque est en lecture seule",
    errno.ENOSPC: "le disque est plein ; faites de la place, puis recommencez",
    errno.EDQUOT: "la place accordée à ce compte est prise ; faites de la place",
    errno.ENOENT: "ce fichier ou ce dossier n'existe pas",
    errno.EISDIR: "c'est un dossier, un fichier est attendu",
    errno.ENOTDIR: "un dossier est attendu",
    errno.EEXIST: "un fichier est déjà là",
    errno.EIO: "le disque ne répond pas bien ; vérifiez-le",
}


def as_click(error: BaseException) -> click.ClickException | None:
    """The fault to tell; None for what is not one: a plain exit, or a mistake of the program."""
    if isinstance(error, click.FileError) and isinstance(error.__cause__, OSError):
        # What was asked for, and not the file that is written beside it first.
        error = OSError(error.__cause__.errno, error.message, error.filename)
    if isinstance(error, click.ClickException):
        return error
    if isinstance(error, click.Abort):
        return click.ClickException("Interrompu.")
    said = _sentence(error)
    return click.ClickException(said) if said else None


def _sentence(error: BaseException) -> str | None:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, str) else None
    from django.core.exceptions import ValidationError
    from django.db import Error

    if isinstance(error, ValidationError):
        return " ".join(error.messages)
    if isinstance(error, Error):
        return _of_database(error)
    return of_file(error) if isinstance(error, OSError) else None


def of_file(error: OSError) -> str | None:
    """`/folder/file : accès refusé…`; None for what is not about a file."""
    reason = _OF_FILES.get(error.errno or 0)
    return f"{error.filename or 'Écriture impossible'} : {reason}." if reason else None


def _of_database(error: Exception) -> str | None:
    from django.db import connection

    cause = error.__cause__
    name = "_".join(str(getattr(cause, "sqlite_errorname", "")).split("_")[:2])
    if name in _OF_SQLITE:
        return _OF_SQLITE[name].format(file=connection.settings_dict["NAME"])
    if connection.vendor == "postgresql" and not getattr(cause, "sqlstate", None):
        said = (str(error).splitlines() or [""])[0]
        return f"La base de données ne répond pas (« {said} ») : démarrez-la, ou corrigez DATABASE_URL."
    return None if is_prepared() else NOT_PREPARED


def is_prepared() -> bool:
    """Whether the database has every table and column that this version of the program needs."""
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())
