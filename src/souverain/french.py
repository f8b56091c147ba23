"""What click says by itself, in French. Click takes its sentences from gettext, whose catalogues
follow the account's locale: a server's is often C, and its operators still read French."""

from __future__ import annotations

from typing import Any

import click
from click import core, decorators, exceptions, formatting, parser, termui, types

SENTENCES = {
    # formatting, help
    "Usage:": "Usage :",
    "Options": "Options",
    "Commands": "Commandes",
    "Positional arguments": "Arguments",
    "Show this message and exit.": "Montre cette aide.",
    "default: {default}": "par défaut : {default}",
    "(dynamic)": "(selon les réglages)",
    "env var: {var}": "variable : {var}",
    "required": "nécessaire",
    # what is badly asked
    "Error: {message}": "Erreur : {message}",
    "Try '{command} {option}' for help.": "Aide : {command} {option}",
    "Missing command.": "Il manque la commande.",
    "Missing argument": "Il manque l'argument",
    "Missing option": "Il manque l'option",
    "Missing parameter": "Il manque le paramètre",
    "Missing {param_type}": "Il manque {param_type}",
    "Missing parameter: {param_name}": "Il manque le paramètre {param_name}",
    "No such option {name!r}.": "L'option {name!r} n'existe pas.",
    "No such command {name!r}.": "La commande {name!r} n'existe pas.",
    "Invalid value: {message}": "Valeur refusée : {message}",
    "Invalid value for {param_hint}: {message}": "Valeur refusée pour {param_hint} : {message}",
    "Option {name!r} does not take a value.": "L'option {name!r} ne prend pas de valeur.",
    "Argument {name!r} takes {nargs} values.": "L'argument {name!r} prend {nargs} valeurs.",
    "Value must be an iterable.": "Plusieurs valeurs sont attendues.",
    "Choose from:\n\t{choices}": "Au choix :\n\t{choices}",
    "Could not open file {filename!r}: {message}": "{filename} ne s'ouvre pas : {message}",
    "unknown error": "erreur inconnue",
    # types
    "file": "fichier",
    "directory": "dossier",
    "path": "chemin",
    "{value} is not in the range {range}.": "{value} n'est pas dans l'intervalle {range}.",
    "{value!r} is not a valid {number_type}.": "{value!r} n'est pas un {number_type}.",
    "{value!r} is not a valid boolean. Recognized values: {states}": (
        "{value!r} n'est pas un choix. Valeurs reconnues : {states}"
    ),
    "{value!r} is not a valid UUID.": "{value!r} n'est pas un identifiant.",
    "{name} {filename!r} does not exist.": "{name} {filename!r} : introuvable.",
    "{name} {filename!r} is a file.": "{name} {filename!r} : c'est un fichier.",
    "{name} {filename!r} is a directory.": "{name} {filename!r} : c'est un dossier.",
    "{name} {filename!r} is not readable.": "{name} {filename!r} : lecture refusée.",
    "{name} {filename!r} is not writable.": "{name} {filename!r} : écriture refusée.",
    "{name} {filename!r} is not executable.": "{name} {filename!r} : exécution refusée.",
}
# By the English singular: French singular and plural.
PLURALS = {
    "Got unexpected extra argument ({args})": (
        "Argument de trop ({args})",
        "Arguments de trop ({args})",
    ),
    "Takes {nargs} values but 1 was given.": (
        "{nargs} valeurs sont attendues, 1 est donnée.",
        "{nargs} valeurs sont attendues, {len} sont données.",
    ),
    "Did you mean {possibility}?": (
        "Vouliez-vous dire {possibility} ?",
        "(Vouliez-vous dire : {possibilities} ?)",
    ),
    "Option {name!r} requires an argument.": (
        "L'option {name!r} demande une valeur.",
        "L'option {name!r} demande {nargs} valeurs.",
    ),
    "{value!r} is not {choice}.": (
        "{value!r} n'est pas {choice}.",
        "{value!r} n'est pas l'un de : {choices}.",
    ),
    "{value!r} does not match the format {format}.": (
        "{value!r} n'a pas la forme {format}.",
        "{value!r} n'a aucune des formes {formats}.",
    ),
    "{len_type} values are required, but {len_value} was given.": (
        "{len_type} valeurs sont attendues, {len_value} est donnée.",
        "{len_type} valeurs sont attendues, {len_value} sont données.",
    ),
}


def _one(message: str) -> str:
    return SENTENCES.get(message, message)


def _many(singular: str, plural: str, count: int) -> str:
    return PLURALS.get(singular, (singular, plural))[count > 1]


def speak() -> None:
    """Make click speak French in this process."""
    for module in (core, decorators, exceptions, formatting, parser, termui, types):
        for name, said in (("_", _one), ("ngettext", _many)):
            if hasattr(module, name):
                setattr(module, name, said)
    names: dict[Any, str] = {
        types.StringParamType: "texte",
        types.IntParamType: "entier",
        types.IntRange: "entier",
        types.File: "fichier",
    }
    for kind, name in names.items():
        kind.name = name


def of_command(command: click.Command) -> click.Command:
    """The same command, whose usage line names its commands in French."""
    if isinstance(command, click.Group):
        command.subcommand_metavar = "COMMANDE [ARGUMENTS]..."
        for inner in command.commands.values():
            of_command(inner)
    return command
