"""A commune is found however people type it."""

from __future__ import annotations

import unicodedata
from functools import cache
from random import Random

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from souverain.territory.engine.decoupage import read_departement
from souverain.territory.engine.search import Entry, Index, Match, near_distances, within_one_edit


@cache
def index() -> Index:
    lists = read_departement(settings.DECOUPAGE, "21")
    weights = {commune.code: commune.population or 0 for commune in lists.communes}
    return Index(
        [
            *(
                Entry(c.code, c.name, c.postcodes, weights[c.code], c.siren or "")
                for c in lists.communes
            ),
            *(
                Entry(f.successor, f.name or "", (), weights[f.successor], "", f.code)
                for f in lists.former_communes
            ),
        ]
    )


def names() -> list[Entry]:
    return [entry for entry in index().entries if entry.name]


def mangled(name: str, random: Random) -> str:
    """The name as somebody in a hurry types it."""
    text = name
    if random.random() < 0.5:
        text = unicodedata.normalize("NFD", text)
        text = "".join(letter for letter in text if not unicodedata.combining(letter))
    if random.random() < 0.5:
        for long, short in (("Sainte-", "Ste-"), ("Saint-", "St-"), ("œ", "oe"), ("Œ", "Oe")):
            text = text.replace(long, short)
    if random.random() < 0.5:
        for article in ("Les ", "Le ", "La ", "L'"):
            text = text.removeprefix(article)
    text = text.replace("-", random.choice(["-", " ", "  ", "–"]))
    text = text.replace("'", random.choice(["'", "’", " ", ""]))
    return "".join(random.choice([letter.upper(), letter.lower()]) for letter in text)


@given(st.sampled_from(names()), st.integers())
def test_every_name_current_or_former_is_found_first_or_tied(entry: Entry, seed: int) -> None:
    found = index().search(mangled(entry.name, Random(seed)), limit=1000)
    mine = next(item for item in found if item.entry.code == entry.code)
    assert mine.match == Match.EXACT == found[0].match


@given(st.sampled_from(names()), st.integers(1, 40))
def test_a_name_is_found_before_it_is_finished(entry: Entry, length: int) -> None:
    found = index().search(entry.name[:length], limit=1000)
    assert entry.code in {item.entry.code for item in found}


@given(st.sampled_from(names()), st.integers())
def test_one_slip_in_a_long_word_is_forgiven(entry: Entry, seed: int) -> None:
    random = Random(seed)
    words = entry.name.split("-")
    long = [n for n, word in enumerate(words) if len(word) >= 6 and word.isalpha()]
    if not long:
        return
    chosen = random.choice(long)
    at = random.randrange(1, len(words[chosen]))
    word = words[chosen]
    words[chosen] = random.choice([word[:at] + word[at + 1 :], word[:at] + "k" + word[at:]])
    found = index().search("-".join(words), limit=1000)
    assert entry.code in {item.entry.code for item in found}


@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    assert len(index().search(text, 5)) <= 5


@pytest.mark.parametrize(
    ("typed", "first", "match"),
    [
        ("21000", "Dijon", Match.EXACT),
        ("21 000", "Dijon", Match.EXACT),
        ("21231", "Dijon", Match.EXACT),
        ("212102313", "Dijon", Match.EXACT),
        ("21200 beaune", "Beaune", Match.WORDS),
        ("dijno", "Dijon", Match.TYPO),
        ("st apo", "Saint-Apollinaire", Match.PREFIX),
        ("chatillon s/ seine", "Châtillon-sur-Seine", Match.EXACT),
        ("letang vergy", "L'Étang-Vergy", Match.EXACT),
    ],
)
def test_as_people_type(typed: str, first: str, match: Match) -> None:
    found = index().search(typed)[0]
    assert (found.entry.name, found.match) == (first, match)


@pytest.mark.parametrize("typed", ["Bierre-les-Semur", "21073"])
def test_a_merged_commune_gives_its_successor(typed: str) -> None:
    found = index().search(typed)[0].entry
    assert (found.code, found.former_code, found.name) == ("21272", "21073", "Bierre-lès-Semur")


def test_a_larger_commune_comes_first_among_equals() -> None:
    found = [item.entry for item in index().search("saint")]
    assert [entry.weight for entry in found] == sorted((e.weight for e in found), reverse=True)


@pytest.mark.parametrize("typed", ["", " ", "'", "🙂", "99999", "zzzzzz"])
def test_nothing_is_found_where_nothing_is(typed: str) -> None:
    assert index().search(typed) == []


def edits(one: str, other: str) -> int:
    """Optimal string alignment distance, by its textbook recurrence."""
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        rows.append([i])
        for j, b in enumerate(other, 1):
            least = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                least = min(least, rows[i - 2][j - 2] + 1)
            rows[i].append(least)
    return rows[-1][-1]


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_edit_is_what_the_textbook_says(one: str, other: str) -> None:
    assert within_one_edit(one, other) == (edits(one, other) <= 1)


def one_slip(text: str, random: Random) -> str:
    """A letter left out, added, replaced or swapped with its neighbour, after the first."""
    at = random.randrange(1, max(len(text) - 1, 2))
    letter = random.choice("abcdefghijklmnopqrstuvwxyz")
    return random.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + letter + text[at:],
            text[:at] + letter + text[at + 1 :],
            text[:at] + text[at : at + 2][::-1] + text[at + 2 :],
        ]
    )


@pytest.mark.parametrize(("slips", "at_least"), [(1, 0.96), (2, 0.80)])
def test_slips_anywhere_in_any_name_are_mostly_forgiven(slips: int, at_least: float) -> None:
    found = 0
    for entry in names():
        random = Random(entry.name)
        text = entry.name.lower()
        for _ in range(slips):
            text = one_slip(text, random)
        found += entry.code in [item.entry.code for item in index().search(text, 5)]
    assert found / len(names()) >= at_least


@pytest.mark.parametrize(
    ("typed", "first"),
    [("gevrey chanbertni", "Gevrey-Chambertin"), ("nuits saint jorge", "Nuits-Saint-Georges")],
)
def test_when_no_word_is_right_the_nearest_name_comes_first(typed: str, first: str) -> None:
    found = index().search(typed)[0]
    assert (found.entry.name, found.match) == (first, Match.NEAR)


@given(st.text("abcd", max_size=7), st.text("abcd", max_size=7))
def test_the_distance_is_what_the_textbook_says(typed: str, name: str) -> None:
    start, whole = near_distances(typed, name)
    assert whole == edits(typed, name)
    assert start == min(edits(typed, name[:length]) for length in range(len(name) + 1))
