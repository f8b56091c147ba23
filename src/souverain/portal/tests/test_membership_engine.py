"""The pure parts: the life of a membership, the members' file, the agreement."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from souverain.portal.engine import agreement, lifecycle
from souverain.portal.engine.lifecycle import MEMBER, OPEN, ImpossibleStep, State, Step, follow
from souverain.portal.engine.members_file import (
    BYTES_MAX,
    COLUMNS,
    LINES_MAX,
    Contact,
    Reading,
    UnreadableFile,
    read,
    read_date,
    safe_cell,
)

COMMUNES = {"21231": "Dijon", "21054": "Beaune", "21003": "Agencourt", "21603": "L'Étang-Vergy"}
FORMER = {"21999": "21054"}
TODAY = date(2026, 11, 25)
# A machine that is busy with something else is not a fault of what is tested.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(st.lists(st.sampled_from(Step)))
def test_whatever_people_try_a_membership_keeps_to_its_rules(steps: list[Step]) -> None:
    state: State | None = None
    went_through: list[State] = []
    for step in steps:
        try:
            state = follow(state, step)
        except ImpossibleStep as refusal:
            assert str(refusal).startswith("Impossible maintenant")
            continue
        went_through.append(state)
    for before, after in pairwise(went_through):
        if after is State.LEFT:
            assert before is State.ERASING, "nobody has left before the erasure"
        if after is State.ERASING:
            assert before is State.LEAVING, "nothing is erased that nobody asked to erase"
        if before is State.ERASING:
            assert after is State.LEFT, "an erasure is never undone"
        if after is State.JOINED:
            assert before in (State.ASKED, State.LEAVING)
    if state in MEMBER:
        assert state in OPEN


def test_every_state_can_be_reached() -> None:
    reached: set[State | None] = {None}
    while True:
        further = set(reached)
        for state in reached:
            for step in Step:
                try:
                    further.add(follow(state, step))
                except ImpossibleStep:
                    continue
        if further == reached:
            break
        reached = further
    assert reached == {None, *lifecycle.State}


def parse(text: str | bytes) -> Reading:
    content = text if isinstance(text, bytes) else text.encode()
    return read(content, COMMUNES, FORMER, TODAY)


TITLES = "Code INSEE;Commune;Date adhésion;Outils;Élu_nom;Élu_courriel"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_a_file_from_any_spreadsheet_is_read(encoding: str, separator: str) -> None:
    text = f"{TITLES}\r\n21603;l'etang vergy;1er décembre 2025;coffre-fort + adresse mail;Élise Noël;Elise@Vergy.fr\r\n"
    found = parse(text.replace(";", separator).encode(encoding))
    assert found.faults == ()
    (row,) = found.rows
    assert (row.line, row.code, row.joined_on) == (2, "21603", date(2025, 12, 1))
    assert row.tools == ("vault", "mail")
    assert row.contacts == (Contact("elected", "Élise Noël", "elise@vergy.fr", ""),)


@pytest.mark.parametrize(
    ("line", "column", "hint"),
    [
        ("abc;Dijon;01/01/2026", "Code INSEE", "cinq caractères"),
        ("75056;Paris;01/01/2026", "Code INSEE", "75056"),
        ("21999;Ancienne;01/01/2026", "Code INSEE", "21054"),
        ("21231;Beaune;01/01/2026", "Commune", "Dijon"),
        ("21231;Dijon;31/02/2026", "Date adhésion", "23/11/2026"),
        ("21231;Dijon;", "Date adhésion", "23/11/2026"),
        ("21231;Dijon;01/01/2027", "Date adhésion", "pas encore"),
        ("21231;Dijon;01/01/0026", "Date adhésion", "vérifiez l'année"),
        ("21231;Dijon;01/01/2026;fax", "Outils", "coffre-fort, adresse mail ou boîtier"),
        ("21231;Dijon;01/01/2026;;Élu;pas une adresse", "Élu_courriel", "nom@domaine.fr"),
        ("21231;Dijon;01/01/2026;;;e@x.fr", "Élu_nom", "le nom"),
        ("21231;Dijon;01/01/2026;;;;en trop", "", "de trop"),
        ("21231;Dij\x01on;01/01/2026", "Commune", "illisible"),
        ("21231;" + "x" * 300 + ";01/01/2026", "Commune", "254"),
    ],
)
def test_a_bad_line_is_told_and_its_neighbours_are_kept(line: str, column: str, hint: str) -> None:
    found = parse(f"{TITLES}\n21054;Beaune;01/02/2026\n{line}\n21003;Agencourt;01/02/2026\n")
    assert [row.code for row in found.rows] == ["21054", "21003"]
    (fault,) = found.faults
    assert fault.line == 3
    assert fault.column == column
    assert hint in fault.message


def test_the_line_told_is_the_line_of_the_file() -> None:
    quoted = '21054;Beaune;01/02/2026;;"Jean\nPaul"\n'
    found = parse(f"{TITLES}\n\n{quoted}\n;;\nfaux;Dijon;01/01/2026\n")
    assert [fault.line for fault in found.faults] == [7]


def test_a_commune_written_twice_is_told_once() -> None:
    found = parse(f"{TITLES}\n21231;DIJON;01/01/2026\n21231;Dijon;02/01/2026\n")
    assert [row.joined_on for row in found.rows] == [date(2026, 1, 1)]
    assert "déjà à la ligne 2" in found.faults[0].message


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (f"{TITLES}{';' * 900_000}\n", "colonnes : gardez-en 100"),
        (";".join(f"c{number}" for number in range(100_000)), "colonnes : gardez-en 100"),
        (f"{TITLES}\n21231;{'x' * 900_000};01/01/2026\n", "démesurée"),
        ("x" * 900_000, "démesurée"),
    ],
    ids=["empty titles", "titles", "cell", "title"],
)
def test_an_endless_line_or_cell_is_refused_at_once(content: str, hint: str) -> None:
    started = process_time()
    with pytest.raises(UnreadableFile, match=hint):
        parse(content)
    assert process_time() - started < 1


def test_a_leading_zero_eaten_by_a_spreadsheet_is_given_back() -> None:
    found = read(
        b"code_insee,commune,date_adhesion\n1004,Amberieu,2026-01-01\n",
        {"01004": "Ambérieu"},
        {},
        TODAY,
    )
    assert [row.code for row in found.rows] == ["01004"]


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "vide"),
        (b"\n\n", "vide"),
        (b"commune;date_adhesion\nDijon;01/01/2026\n", "code_insee"),
        (b"code_insee;commune;date_adhesion;commune\n", "deux fois"),
        (b"PK\x03\x04rest of a workbook", "classeur"),
        (b"\x00\x01\x02", "pas du texte"),
        (b"x" * (BYTES_MAX + 1), "1 Mio"),
        (("code_insee;commune;date_adhesion\n" + "x;y;z\n" * (LINES_MAX + 1)).encode(), "2000"),
        (b'code_insee;commune;date_adhesion\n"' + b"x" * 200_000, "guillemet"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_plain_words(content: bytes, hint: str) -> None:
    with pytest.raises(UnreadableFile, match=hint):
        parse(content)


def test_unknown_columns_are_named_and_left_alone() -> None:
    found = parse("code_insee;commune;date_adhesion;Budget\n21231;Dijon;01/01/2026;12\n")
    assert found.ignored == ("Budget",)
    assert len(found.rows) == 1


@unhurried
@given(st.binary(max_size=400))
def test_no_bytes_at_all_make_the_reader_fail(content: bytes) -> None:
    head = b"code_insee;commune;date_adhesion;outils;elu_nom;elu_courriel\n21231;Dijon;01/01/2026\n"
    try:
        found = parse(head + content)
    except UnreadableFile as refusal:
        assert str(refusal)
        return
    assert all(row.code in COMMUNES for row in found.rows)
    assert len({row.code for row in found.rows}) == len(found.rows)


cells = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters='"\x85\u2028\u2029'),
    max_size=60,
)


@unhurried
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(COMMUNES)), cells), max_size=8, unique_by=lambda x: x[0]
    )
)
def test_good_lines_always_come_back_whole(lines: list[tuple[str, str]]) -> None:
    text = "code_insee;commune;date_adhesion;elu_nom\n" + "".join(
        f'{code};{COMMUNES[code]};2026-01-31;"{safe_cell(name)}"\n' for code, name in lines
    )
    found = parse("\ufeff" + text)
    assert [(row.code, row.line) for row in found.rows] == [
        (code, number) for number, (code, _) in enumerate(lines, start=2)
    ]


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+33 3 80", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_taken_for_a_formula(cell: str) -> None:
    assert safe_cell(cell)[0] == "'"


def test_a_protected_cell_is_read_back_as_it_was() -> None:
    phone = safe_cell("+33 3 80 00 00 00")
    found = parse(
        f"code_insee;commune;date_adhesion;elu_nom;elu_telephone\n21231;Dijon;2026-01-31;Eva;{phone}\n"
    )
    assert found.rows[0].contacts[0].phone == "+33 3 80 00 00 00"


@unhurried
@given(st.dates(min_value=date(1000, 1, 1), max_value=date(9999, 12, 31)))
def test_every_day_is_read_in_every_french_spelling(day: date) -> None:
    for text in (f"{day:%d/%m/%Y}", f"{day:%d-%m-%Y}", f"{day:%d.%m.%Y}", day.isoformat()):
        assert read_date(text) == day


CLOUD = "Cloud Côte-d'Or"
PROCESSINGS = [
    agreement.Processing(
        "Le coffre-fort",
        "Copies",
        ("personnelles", "état civil"),
        "Rendre ses dossiers.",
        "Dix ans",
        "La commune",
    )
]


def test_the_agreement_says_what_article_28_asks() -> None:
    text = agreement.text(PROCESSINGS, CLOUD)
    whole = text.canonical
    for asked in (
        "instruction documentée",  # 28(3)(a)
        "tenues au secret",  # (b)
        "article 32",  # (c)
        "Aucun. Les données restent",  # (d)
        "demandes des personnes",  # (e)
        "articles 32 à 36",  # (f)
        "preuve d'effacement",  # (g)
        "audits",  # (h)
        "48 heures",
        "Rendre ses dossiers"[1:],
        "état civil",
    ):
        assert asked in whole
    assert agreement.read(whole) == text


def test_another_wording_has_another_digest() -> None:
    one, other = agreement.text(PROCESSINGS, CLOUD), agreement.text([], CLOUD)
    assert one.sha256 != other.sha256
    assert one.sha256 == agreement.read(one.canonical).sha256


def test_the_documented_columns_are_the_ones_that_are_read() -> None:
    assert COLUMNS[:4] == ("code_insee", "commune", "date_adhesion", "outils")
    assert len(COLUMNS) == len(set(COLUMNS)) == 16
