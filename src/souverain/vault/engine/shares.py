"""The shares of a recovery key: read as people type them, put together, printed for a holder.

Format: SLIP-0039 (https://github.com/satoshilabs/slips/blob/master/slip-0039.md), through its
reference implementation. A share is 20 words (128 bits) or 33 (256 bits) of a list of 1,024; the
last three are an RS1024 checksum, which notices any three wrong words and can place one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

from shamir_mnemonic import MnemonicError, combine_mnemonics
from shamir_mnemonic import Share as SlipShare
from shamir_mnemonic.constants import CUSTOMIZATION_STRING_EXTENDABLE
from shamir_mnemonic.rs1024 import create_checksum
from shamir_mnemonic.wordlist import WORD_INDEX_MAP, WORDLIST

SECRET_BYTES = 32
SHARE_WORDS = 33
"""Words of a share of a secret of SECRET_BYTES."""
_BY_START = {word[:4]: word for word in WORDLIST}
_WORD_BITS = 10


class ShareError(ValueError):
    """What is wrong, in one French sentence for who reads the sheets. `places` are the numbers,
    from 1, of the words to look at again; empty where nothing so precise is known."""

    def __init__(self, message: str, places: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.places = tuple(places)


@dataclass(frozen=True)
class Share:
    """One share whose checksum is right."""

    words: tuple[str, ...]
    identifier: int
    """15 bits, the same for all the shares of one secret."""
    number: int
    """From 1."""
    threshold: int
    """How many shares give the secret."""
    groups: int
    """1 for the shares made here; other programs also make groups of shares."""


def key_name(identifier: int) -> str:
    """What a recovery key is called on its sheets, and by `restic key list` as its user."""
    return f"secours-{identifier:04x}"


def read_words(text: str, first: int = 1) -> tuple[str, ...]:
    """The words of a typed text, whose first has the number `first`. Capitals, punctuation and the
    sheet's numbers do not matter, and the first four letters of a word are enough."""
    typed = re.findall(r"[^\W\d_]+", text.lower())
    return tuple(_word(word, number) for number, word in enumerate(typed, first))


def _word(typed: str, number: int) -> str:
    word = typed if typed in WORD_INDEX_MAP else _BY_START.get(typed, "")
    if not word:
        near = " ou ".join(difflib.get_close_matches(typed, WORDLIST, n=3))
        hint = f" ; serait-ce {near} ?" if near else "."
        raise ShareError(f"Mot {number} : « {typed} » n'est pas dans la liste{hint}", [number])
    return word


def read_share(words: Sequence[str]) -> Share:
    """The share that these words are. Raises ShareError, with the places to look at again."""
    try:
        share = SlipShare.from_mnemonic(" ".join(words))
    except MnemonicError as error:
        raise _diagnosis(words) from error
    return Share(
        tuple(words), share.identifier, share.index + 1, share.member_threshold, share.group_count
    )


def _diagnosis(words: Sequence[str]) -> ShareError:
    if len(words) not in (20, SHARE_WORDS):
        return ShareError(f"{len(words)} mots lus ; une feuille en compte {SHARE_WORDS}.")
    places = _wrong_word(words) or _swapped_words(words)
    if len(places) == 1:
        return ShareError(f"Le mot {places[0]} n'est pas celui de la feuille.", places)
    if places:
        return ShareError(f"Les mots {places[0]} et {places[1]} sont intervertis.", places)
    return ShareError("Des mots ne sont pas ceux de la feuille : relisez-les tous.")


def _remainder(values: Sequence[int]) -> int:
    """Checksum that the words should have, XOR the one they have: 0 when right, and linear (over
    bits) in what was mistyped."""
    expected = create_checksum(values[:-3], CUSTOMIZATION_STRING_EXTENDABLE)
    remainder = 0
    for right, typed in zip(expected, values[-3:], strict=True):
        remainder = remainder << _WORD_BITS | (right ^ typed)
    return remainder


def _wrong_word(words: Sequence[str]) -> list[int]:
    """The number of the one word whose replacement would make the checksum right. By what to
    replace it is not told, as BIP-0173 asks for such codes: the sheet has to be read again."""
    remainder = _remainder([WORD_INDEX_MAP[word] for word in words])
    zeros = [0] * len(words)
    for place in range(len(words)):
        changes = {0}
        for bit in range(_WORD_BITS):
            error = [*zeros[:place], 1 << bit, *zeros[place + 1 :]]
            change = _remainder(error) ^ _remainder(zeros)
            changes |= {change ^ known for known in changes}
        if remainder in changes:
            return [place + 1]
    return []


def _swapped_words(words: Sequence[str]) -> list[int]:
    """The numbers of the two neighbours that would make the checksum right the other way round."""
    values = [WORD_INDEX_MAP[word] for word in words]
    for place in range(len(values) - 1):
        pair = [values[place + 1], values[place]]
        if _remainder([*values[:place], *pair, *values[place + 2 :]]) == 0:
            return [place + 1, place + 2]
    return []


def combine(shares: Sequence[Share], passphrase: bytes = b"") -> bytes:
    """The secret of exactly as many shares as it needs; those made here have no passphrase.
    Raises ShareError when they do not go together."""
    try:
        return bytes(combine_mnemonics([" ".join(share.words) for share in shares], passphrase))
    except MnemonicError as error:
        raise ShareError("Ces parts ne donnent pas de clé ensemble.") from error


@dataclass(frozen=True)
class Sheet:
    """What a holder's sheet says beside the words."""

    commune: str
    deposit_set: str
    holder: str
    """Empty: a line to fill in by hand."""
    count: int
    """How many shares were made."""
    made_on: date


def sheet_html(share: Share, sheet: Sheet) -> str:
    """One A4 page for a holder: complete HTML that asks nothing of any other file or host."""
    words = "".join(f"<li>{word}</li>" for word in share.words)
    facts = {
        "Commune": sheet.commune,
        "Dépôt": sheet.deposit_set,
        "Titulaire": sheet.holder,
        "Part": f"{share.number} sur {sheet.count} ; {share.threshold} suffisent, moins ne disent rien",
        "Nom de la clé": key_name(share.identifier),
        "Date": sheet.made_on.strftime("%d/%m/%Y"),
    }
    rows = "".join(
        f"<tr><th scope=row>{name}</th><td>{escape(fact)}</td></tr>" for name, fact in facts.items()
    )
    title = f"Clé de secours {sheet.commune} – part {share.number}"
    return _PAGE.format(
        title=escape(title), rows=rows, words=words, others=share.threshold - 1, length=SHARE_WORDS
    )


_PAGE = """\
<!doctype html>
<html lang="fr">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 18mm }}
body {{ font: 11pt/1.4 sans-serif; max-width: 174mm; margin: auto; color: #000; background: #fff }}
h1 {{ font-size: 18pt; margin: 0 0 4mm }}
h2 {{ font-size: 13pt; margin: 6mm 0 2mm }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border: 0.3mm solid #000; padding: 1mm 2mm; text-align: left; overflow-wrap: anywhere }}
th {{ width: 32mm; font-weight: normal }}
ol.words {{ columns: 3; font: bold 13pt/1.5 monospace; padding-left: 12mm; border: 0.5mm solid #000;
  padding-top: 2mm; padding-bottom: 2mm }}
ol.words li {{ break-inside: avoid; padding-left: 1mm }}
p, .todo li {{ margin: 1mm 0 }}
</style>
</head>
<body>
<h1>Clé de secours du coffre-fort</h1>
<table>{rows}</table>
<h2>Vos {length} mots, dans l'ordre</h2>
<ol class="words">{words}</ol>
<h2>À garder</h2>
<p>Rangez cette feuille sous clé, hors de la mairie si possible. Ne la photographiez pas, ne la
recopiez dans aucun ordinateur, ne l'envoyez à personne. Perdue ou vue par quelqu'un : prévenez la
mairie, qui annule la clé et en fait une autre.</p>
<h2>Le jour où le mot de passe des sauvegardes est perdu</h2>
<ol class="todo">
<li>Réunissez cette feuille et {others} autre(s) du même nom de clé.</li>
<li>Sur une machine sûre : <code>souverain vault recovery combine --output motdepasse.txt</code>,
puis tapez les mots de chaque feuille (les quatre premières lettres suffisent).</li>
<li><code>restic --repository-file depot.txt --password-file motdepasse.txt snapshots</code></li>
</ol>
<p>Sans ce programme : la norme est SLIP-39. Tout outil qui la suit rend 32 octets ; écrits en
hexadécimal minuscule, ils sont le mot de passe.</p>
</body>
</html>
"""
