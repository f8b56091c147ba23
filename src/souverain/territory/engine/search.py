"""Search of communes as people type them: accents, articles, hyphens, apostrophes, « st » and
« ste », case, postcodes, INSEE codes, SIREN, one slip of the keyboard in a word of five letters or
more, and words not finished yet.

One slip is a Damerau-Levenshtein distance of 1. Candidates come from the deletion neighbourhoods
of both words (Mor & Fraenkel 1982, as in SymSpell), each then verified. When no word is right as it
stands, the names that share most pairs of letters with the text (Ukkonen 1992) are compared whole,
and those within a slip for every four letters or so are given, the nearest first.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product

MAX_TEXT = 100
MAX_WORDS = 10
TYPO_LENGTH = 5
NEAR_CANDIDATES = 12
_ARTICLES = frozenset({"le", "la", "les", "l", "d", "de", "du", "des"})
_SHORT = {"st": "saint", "ste": "sainte", "sts": "saints", "stes": "saintes"}
_ELISION = re.compile(r"\b([ldLD])['’ʼ´`](?=\w)")
_CODE = re.compile(r"\d[\dab]?\d*")


class Match(IntEnum):
    """How well an entry answers; smaller is better."""

    EXACT = 0
    PREFIX = 1
    WORDS = 2
    CODE_PREFIX = 3
    TYPO = 4
    NEAR = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A name to be found. `code` is the commune of today; `former_code` is set when the name is
    that of a commune merged into it; `weight` (population) breaks ties."""

    code: str
    name: str
    postcodes: tuple[str, ...] = ()
    weight: int = 0
    siren: str = ""
    former_code: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    entry: Entry
    match: Match


def fold(text: str) -> tuple[str, ...]:
    """The words that count, without accents, articles and punctuation.

    >>> fold("L'Étang-Vergy"), fold("ST SEINE l'abbaye")
    (('etang', 'vergy'), ('saint', 'seine', 'abbaye'))
    """
    words = _words(text)
    return tuple(word for word in words if word not in _ARTICLES) or words


def _words(text: str) -> tuple[str, ...]:
    plain = text.casefold().replace("œ", "oe").replace("æ", "ae").replace("s/", " sur ")
    plain = unicodedata.normalize("NFKD", plain)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return tuple(_SHORT.get(word, word) for word in re.findall(r"[a-z0-9]+", plain))


def _spellings(name: str) -> set[tuple[str, ...]]:
    """The name's folded words, with each elided article apart or glued: « l etang », « letang »."""
    pieces = _ELISION.split(name)
    heads = pieces[1::2]
    spellings = set()
    for glued in product((False, True), repeat=min(len(heads), 3)):
        text = pieces[0]
        for index, head in enumerate(heads):
            joint = "" if index < len(glued) and glued[index] else " "
            text += f" {head}{joint}{pieces[2 * index + 2]}"
        spellings |= {fold(text), _words(text)}
    return spellings


def within_one_edit(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours at most parts them.

    >>> within_one_edit("dijon", "dijno"), within_one_edit("dijon", "dion")
    (True, True)
    >>> within_one_edit("beaune", "beuane"), within_one_edit("semur", "saumur")
    (True, False)
    """
    if len(one) > len(other):
        one, other = other, one
    start = 0
    while start < len(one) and one[start] == other[start]:
        start += 1
    if len(one) + 1 == len(other):
        return one[start:] == other[start + 1 :]
    if len(one) != len(other):
        return False
    swapped = one[start : start + 2] == other[start : start + 2][::-1]
    return one[start + 1 :] == other[start + 1 :] or (
        swapped and one[start + 2 :] == other[start + 2 :]
    )


def _deletions(word: str) -> set[str]:
    return {word[:index] + word[index + 1 :] for index in range(len(word))} | {word}


def near_distances(typed: str, name: str) -> tuple[int, int]:
    """Edits (as `within_one_edit` counts them, optimal string alignment) from what was typed to the
    nearest start of the name, and to the whole name.

    >>> near_distances("chatilonsu", "chatillonsurseine"), near_distances("dijno", "dijon")
    ((1, 7), (1, 1))
    """
    before: list[int] = []
    row = list(range(len(name) + 1))
    for i, letter in enumerate(typed, 1):
        above, row = row, [i]
        for j, other in enumerate(name, 1):
            least = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == name[j - 2] and typed[i - 2] == other:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before = above
    return min(row), row[-1]


def _slips_forgiven(typed: str) -> int:
    """4 to 6 letters: 1; 7 to 11: 2; more: 3."""
    return sum(len(typed) >= length for length in (4, 7, 12))


def _pairs(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(len(text) - 1)]


class Index:
    """An immutable index in memory: built once, asked by many threads."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: tuple[Entry, ...] = tuple(entries)
        self._wholes: list[frozenset[str]] = []
        by_whole: dict[str, set[int]] = defaultdict(set)
        by_word: dict[str, set[int]] = defaultdict(set)
        by_code: dict[str, set[int]] = defaultdict(set)
        for number, entry in enumerate(self.entries):
            spellings = _spellings(entry.name)
            self._wholes.append(frozenset("".join(words) for words in spellings if words))
            for whole in self._wholes[-1]:
                by_whole[whole].add(number)
            for word in {word for words in spellings for word in words}:
                by_word[word].add(number)
            codes = (entry.former_code,) if entry.former_code else (entry.code, entry.siren)
            for code in (*codes, *entry.postcodes):
                by_code[code.casefold()].add(number)
        by_code.pop("", None)
        self._by_word, self._by_code = dict(by_word), dict(by_code)
        self._sorted_words, self._sorted_codes = sorted(by_word), sorted(by_code)
        self._by_whole, self._sorted_wholes = dict(by_whole), sorted(by_whole)
        self._by_pair: dict[str, list[str]] = defaultdict(list)
        for whole in self._sorted_wholes:
            for pair in set(_pairs(whole)):
                self._by_pair[pair].append(whole)
        near: dict[str, list[str]] = defaultdict(list)
        for word in self._sorted_words:
            if len(word) >= TYPO_LENGTH - 1:
                for shorter in _deletions(word):
                    near[shorter].append(word)
        self._near = dict(near)

    def search(self, text: str, limit: int = 20) -> list[Found]:
        """The best matches first, ties by weight then code; a commune comes once, under the
        name that answers best (its own rather than a former one)."""
        words = self._asked(text)
        if not words:
            return []
        best: dict[str, tuple[Match, tuple[int, int], bool, int, str, int]] = {}
        for number, match, away in self._matches(words):
            entry = self.entries[number]
            key = (match, away, bool(entry.former_code), -entry.weight, entry.code, number)
            if entry.code not in best or key < best[entry.code]:
                best[entry.code] = key
        return [Found(self.entries[key[-1]], key[0]) for key in sorted(best.values())[:limit]]

    def _asked(self, text: str) -> tuple[str, ...]:
        words = fold(text[:MAX_TEXT])[:MAX_WORDS]
        joined = "".join(words)
        return (joined,) if joined.isdecimal() else words

    def _matches(self, words: Sequence[str]) -> Iterable[tuple[int, Match, tuple[int, int]]]:
        """Entries, how well they answer, and for the nearest ones by how many edits."""
        sure = self._all(self._starting(word) for word in words)
        if len(words) == 1 and _CODE.fullmatch(words[0]):
            exact = self._by_code.get(words[0], set())
            return [(n, Match.EXACT if n in exact else Match.CODE_PREFIX, (0, 0)) for n in sure]
        whole = "".join(words)
        sure |= _starting(whole, self._sorted_wholes, self._by_whole)
        found = [(number, self._of_name(number, whole), (0, 0)) for number in sure]
        slips = self._all(self._starting(word) | self._misspelt(word) for word in words) - sure
        found += [(number, Match.TYPO, (0, 0)) for number in slips]
        return found if sure else [*found, *self._nearest(whole)]

    def _nearest(self, whole: str) -> Iterable[tuple[int, Match, tuple[int, int]]]:
        """The names most alike, when no word is right as it stands."""
        shared = Counter(
            name for pair in set(_pairs(whole)) for name in self._by_pair.get(pair, ())
        )
        for name, _ in shared.most_common(NEAR_CANDIDATES):
            away = near_distances(whole, name)
            if away[0] <= _slips_forgiven(whole):
                for number in self._by_whole[name]:
                    yield number, Match.NEAR, away

    def _of_name(self, number: int, whole: str) -> Match:
        if whole in self._wholes[number]:
            return Match.EXACT
        if any(own.startswith(whole) for own in self._wholes[number]):
            return Match.PREFIX
        return Match.WORDS

    def _starting(self, word: str) -> set[int]:
        found = _starting(word, self._sorted_words, self._by_word)
        if word[0].isdecimal():
            found |= _starting(word, self._sorted_codes, self._by_code)
        return found

    def _misspelt(self, word: str) -> set[int]:
        if len(word) < TYPO_LENGTH or not word.isalpha():
            return set()
        near = {known for shorter in _deletions(word) for known in self._near.get(shorter, ())}
        return {n for known in near if within_one_edit(word, known) for n in self._by_word[known]}

    @staticmethod
    def _all(sets: Iterable[set[int]]) -> set[int]:
        return set.intersection(*sets)


def _starting(start: str, ordered: Sequence[str], numbers: dict[str, set[int]]) -> set[int]:
    found: set[int] = set()
    for index in range(bisect_left(ordered, start), len(ordered)):
        if not ordered[index].startswith(start):
            break
        found |= numbers[ordered[index]]
    return found
