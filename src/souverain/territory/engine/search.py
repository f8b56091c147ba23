"""Search of communes that forgives accents, articles, hyphens, case and postcodes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ARTICLES = {"le", "la", "les", "l", "d", "de", "du", "des"}
_SHORT = {"st": "saint", "ste": "sainte", "sts": "saints"}


@dataclass(frozen=True)
class Entry:
    """A thing to be found: its code, one of its names, its postcodes, its weight (population)."""

    code: str
    name: str
    postcodes: tuple[str, ...] = ()
    weight: int = 0


def fold(text: str) -> tuple[str, ...]:
    """The words that count, without accents, articles and punctuation.

    >>> fold("L'Étang-Vergy"), fold("ST SEINE l'abbaye")
    (('etang', 'vergy'), ('saint', 'seine', 'abbaye'))
    """
    plain = text.casefold().replace("œ", "oe").replace("æ", "ae")
    plain = unicodedata.normalize("NFKD", plain)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = [_SHORT.get(word, word) for word in re.findall(r"[a-z0-9]+", plain)]
    kept = tuple(word for word in words if word not in _ARTICLES)
    return kept or tuple(words)


def search(entries: Sequence[Entry], text: str, limit: int = 20) -> list[Entry]:
    """The entries that match, best first: the same name, a name that starts so, one whose words
    start so, then postcodes and codes; ties by weight. An entry code comes once."""
    words = fold(text[:100])
    if not words:
        return []
    whole = " ".join(words)
    found: dict[str, tuple[int, int, Entry]] = {}
    for entry in entries:
        rank = _rank(entry, words, whole)
        if rank is None:
            continue
        candidate = (rank, -entry.weight, entry)
        known = found.get(entry.code)
        if known is None or candidate[:2] < known[:2]:
            found[entry.code] = candidate
    ordered = sorted(found.values(), key=lambda item: (item[0], item[1], item[2].code))
    return [entry for _, _, entry in ordered[:limit]]


def _rank(entry: Entry, words: tuple[str, ...], whole: str) -> int | None:
    if whole == entry.code.casefold():
        return 0
    own = fold(entry.name)
    if own == words:
        return 0
    if " ".join(own).startswith(whole):
        return 1
    if all(any(mine.startswith(word) for mine in own) for word in words):
        return 2
    if len(words) == 1 and any(code.startswith(whole) for code in entry.postcodes):
        return 3
    return None
