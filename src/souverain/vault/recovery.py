"""A recovery key for a deposit set: drawn, split among holders, and put together again.

It is a second password of the repository, added by the stock `restic key add`, so that it can be
revoked without touching the first. This runs where the password is: the département never sees it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from shamir_mnemonic import generate_mnemonics

from souverain.vault.engine.shares import (
    SECRET_BYTES,
    SHARE_WORDS,
    Share,
    ShareError,
    Sheet,
    combine,
    key_name,
    read_share,
    read_words,
    sheet_html,
)

PASSWORD_FILE = "motdepasse-secours.txt"  # noqa: S105


@dataclass(frozen=True)
class RecoveryKey:
    """A password that no one knows, and the shares that give it back."""

    password: str
    """The secret, in lower-case hexadecimal."""
    shares: tuple[Share, ...]

    @property
    def name(self) -> str:
        return key_name(self.shares[0].identifier)


def draw(threshold: int, count: int) -> RecoveryKey:
    """A new key of which `threshold` of `count` shares are needed, tried before it is given out."""
    secret = secrets.token_bytes(SECRET_BYTES)
    # No iterations: they slow the guessing of a passphrase down, and there is none.
    [mnemonics] = generate_mnemonics(1, [(threshold, count)], secret, iteration_exponent=0)
    shares = tuple(read_share(read_words(mnemonic)) for mnemonic in mnemonics)
    for first in range(count):
        some = [shares[(first + step) % count] for step in range(threshold)]
        if combine(some) != secret:
            raise ShareError("Le partage de la clé n'a pas pu être vérifié ; rien n'a été écrit.")
    return RecoveryKey(secret.hex(), shares)


def write(key: RecoveryKey, sheets: Sequence[Sheet], folder: Path) -> None:
    """The password file and the holders' sheets, in a new folder that only its owner can read."""
    folder.mkdir(mode=0o700)
    write_secret(folder / PASSWORD_FILE, f"{key.password}\n")
    for share, sheet in zip(key.shares, sheets, strict=True):
        name = f"feuille-{share.number:02}-sur-{sheet.count:02}.html"
        write_secret(folder / name, sheet_html(share, sheet))


def write_secret(path: Path, text: str) -> None:
    """A new file that only its owner can read; FileExistsError rather than overwriting."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def gather(ask: Callable[[str], str], tell: Callable[[str], None]) -> str:
    """The password, of as many sheets as it needs, asked one after another."""
    shares: list[Share] = []
    while not shares or len(shares) < shares[0].threshold:
        wanted = shares[0].threshold if shares else None
        tell(f"Feuille {len(shares) + 1}" + (f" sur {wanted}" if wanted else "") + " :")
        try:
            share = read_share(_read_sheet(ask, tell))
            _refuse_a_stranger(share, shares)
        except ShareError as error:
            tell(f"{error} Cette feuille est à retaper.")
            continue
        shares.append(share)
        tell(f"Part {share.number} de la clé {key_name(share.identifier)} : juste.")
    return combine(shares).hex()


def _read_sheet(ask: Callable[[str], str], tell: Callable[[str], None]) -> list[str]:
    """The words of one sheet; one that the checksum shows to be wrong is asked again."""
    words: list[str] = []
    while len(words) < SHARE_WORDS:
        label = f"Mots {len(words) + 1} à {SHARE_WORDS}"
        words += _listed_words(ask, tell, label, len(words) + 1)
    try:
        read_share(words)
    except ShareError as error:
        if error.places:
            tell(str(error))
        for place in error.places:
            words[place - 1 : place] = _listed_words(ask, tell, f"Mot {place}", place)
    return words


def _listed_words(
    ask: Callable[[str], str], tell: Callable[[str], None], label: str, first: int
) -> tuple[str, ...]:
    while True:
        try:
            return read_words(ask(label), first)
        except ShareError as error:
            tell(f"{error} Retapez cette ligne.")


def _refuse_a_stranger(share: Share, others: Sequence[Share]) -> None:
    if share.groups != 1 or len(share.words) != SHARE_WORDS:
        raise ShareError("Cette part n'a pas été faite par « souverain vault recovery split ».")
    for other in others:
        if other.identifier != share.identifier:
            raise ShareError(
                f"Cette feuille est de la clé {key_name(share.identifier)} et non "
                f"{key_name(other.identifier)}."
            )
        if other.number == share.number:
            raise ShareError(f"La part {share.number} a déjà été lue ; il en faut une autre.")
