"""The recovery key: the official vectors, mistakes people make, and the stock restic as judge."""

from __future__ import annotations

import itertools
import json
import os
import stat
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright
from shamir_mnemonic.wordlist import WORDLIST

from souverain.cli import main
from souverain.vault import recovery
from souverain.vault.engine import shares
from souverain.vault.engine.shares import Share, ShareError, Sheet
from souverain.vault.tests.conftest import Server

KEY = recovery.draw(3, 5)
few = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="session")
def vectors(vault_data: Path) -> list[list[Any]]:
    """Each is a description, the words of each share, and the secret in hexadecimal or ""."""
    found: list[list[Any]] = json.loads((vault_data / "slip39-vectors.json").read_bytes())
    return found


def test_the_official_vectors(vectors: list[list[Any]]) -> None:
    assert len(vectors) >= 20
    for description, mnemonics, secret, _ in vectors:
        try:
            read = [shares.read_share(shares.read_words(text)) for text in mnemonics]
            found = shares.combine(read, b"TREZOR").hex()
        except ShareError:
            found = ""
        assert found == secret, description


@given(st.data())
@few
def test_any_threshold_of_the_shares_gives_the_password(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 16))
    threshold = data.draw(st.integers(2, count))
    key = recovery.draw(threshold, count)
    some = data.draw(st.permutations(key.shares))[:threshold]
    assert shares.combine(some).hex() == key.password
    with pytest.raises(ShareError):
        shares.combine(some[:-1])


def test_two_keys_are_never_the_same() -> None:
    assert recovery.draw(2, 3).password != recovery.draw(2, 3).password


@given(st.integers(0, 32), st.sampled_from(WORDLIST))
@few
def test_one_wrong_word_is_placed(place: int, wrong: str) -> None:
    words = list(KEY.shares[0].words)
    if words[place] == wrong:
        return
    words[place] = wrong
    with pytest.raises(ShareError, match=f"Le mot {place + 1} n'est pas") as caught:
        shares.read_share(words)
    assert caught.value.places == (place + 1,)
    assert KEY.shares[0].words[place] not in str(caught.value)


@given(st.integers(0, 31))
@few
def test_two_swapped_words_are_placed(place: int) -> None:
    words = list(KEY.shares[1].words)
    if words[place] == words[place + 1]:
        return
    words[place], words[place + 1] = words[place + 1], words[place]
    with pytest.raises(ShareError, match="intervertis") as caught:
        shares.read_share(words)
    assert caught.value.places == (place + 1, place + 2)


@given(st.sets(st.integers(0, 32), min_size=2, max_size=3), st.randoms(use_true_random=False))
@few
def test_up_to_three_wrong_words_never_pass(places: set[int], random: Any) -> None:
    words = list(KEY.shares[2].words)
    for place in places:
        words[place] = random.choice([word for word in WORDLIST if word != words[place]])
    with pytest.raises(ShareError):
        shares.read_share(words)


@given(st.text(max_size=300))
@few
def test_whatever_is_typed_is_refused_in_french_or_read(text: str) -> None:
    try:
        shares.read_share(shares.read_words(text))
    except ShareError as error:
        assert "mots lus" in str(error) or "Mot " in str(error)


@pytest.mark.parametrize(
    "typed",
    [
        lambda words: " ".join(words).upper(),
        lambda words: " ".join(word[:4] for word in words),
        lambda words: "\n".join(f"{n}. {word}," for n, word in enumerate(words, 1)),
    ],
)
def test_words_as_people_type_them(typed: Any) -> None:
    words = KEY.shares[0].words
    assert shares.read_words(typed(words)) == words


def test_a_word_that_is_not_listed_is_shown_with_its_neighbours() -> None:
    with pytest.raises(ShareError, match=r"Mot 12 : « academik » .* serait-ce academic"):
        shares.read_words("duckling academik", first=11)


# The command ------------------------------------------------------------------------------------


def split(folder: Path, *more: str) -> Result:
    words = ["vault", "recovery", "split", "--threshold", "3", "--shares", "5"]
    return CliRunner().invoke(main, [*words, "--commune", "Dijon", str(folder), *more])


def combine(output: Path, *lines: str) -> Result:
    words = ["vault", "recovery", "combine", "--output", str(output)]
    return CliRunner().invoke(main, words, input="\n".join(lines) + "\n")


def typed(share: Share) -> str:
    return " ".join(share.words)


def words_of(sheet: Path) -> str:
    words = sheet.read_text().split('<ol class="words">')[1].split("</ol>")[0]
    return words.replace("<li>", " ").replace("</li>", " ")


def test_split_writes_sheets_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "secours"
    names = ["Mme Éloïse <Maire>", "M. B", "M. C", "M. D", "M. E"]
    holders = [word for name in names for word in ("--holder", name)]
    outcome = split(folder, "--set", "etat-civil", *holders)
    assert outcome.exit_code == 0, outcome.output
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [
        *(f"feuille-0{number}-sur-05.html" for number in range(1, 6)),
        "motdepasse-secours.txt",
    ]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    password = files[-1].read_text().strip()
    sheet = files[0].read_text()
    for said in ("Dijon", "etat-civil", "Mme Éloïse &lt;Maire&gt;", "1 sur 5 ; 3 suffisent"):
        assert said in sheet
    assert password not in outcome.output
    assert not any(password in file.read_text() for file in files[:-1])
    words = words_of(files[0]).split()
    assert not any(f"{one} {two}" in outcome.output for one, two in itertools.pairwise(words))

    before = {file: file.read_bytes() for file in files}
    again = split(folder)
    assert again.exit_code == 1 and "existe déjà" in again.output
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


def test_split_refuses_what_cannot_be(tmp_path: Path) -> None:
    words = ["vault", "recovery", "split", "--commune", "Dijon", str(tmp_path / "secours")]
    for wrong in (
        ["--threshold", "4", "--shares", "3"],
        ["--threshold", "1", "--shares", "3"],
        ["--threshold", "2", "--shares", "17"],
        ["--threshold", "2", "--shares", "3", "--holder", "une seule personne"],
    ):
        assert CliRunner().invoke(main, [*words, *wrong]).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_combine_asks_until_it_has_enough(tmp_path: Path) -> None:
    output = tmp_path / "motdepasse.txt"
    outcome = combine(output, *map(typed, KEY.shares[:3]))
    assert outcome.exit_code == 0, outcome.output
    assert output.read_text() == f"{KEY.password}\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert KEY.password not in outcome.output


def test_two_sheets_of_three_give_nothing(tmp_path: Path) -> None:
    outcome = combine(tmp_path / "motdepasse.txt", *map(typed, KEY.shares[:2]))
    assert outcome.exit_code == 1 and not list(tmp_path.iterdir())


def test_combine_says_what_is_wrong_and_goes_on(tmp_path: Path) -> None:
    first, second, third, *_ = KEY.shares
    slip = list(first.words)
    slip[6] = "academic" if slip[6] != "academic" else "acid"
    stranger = recovery.draw(2, 2).shares[0]
    output = tmp_path / "motdepasse.txt"
    outcome = combine(
        output,
        " ".join(first.words[:5]) + " zzzz",
        " ".join(slip[:11]),
        " ".join(slip[11:]),
        first.words[6],  # the one word asked again
        typed(first),
        typed(stranger),
        typed(second),
        " ".join(reversed(third.words)),
        typed(third),
    )
    assert outcome.exit_code == 0, outcome.output
    for said in (
        "Mot 6 : « zzzz »",
        "Le mot 7 n'est pas celui de la feuille",
        "La part 1 a déjà été lue",
        f"et non {KEY.name}",
        "relisez-les tous",
    ):
        assert said in outcome.output
    assert output.read_text() == f"{KEY.password}\n"


def test_combine_never_writes_over(tmp_path: Path) -> None:
    output = tmp_path / "motdepasse.txt"
    output.write_text("à garder")
    outcome = combine(output, *map(typed, KEY.shares[:3]))
    assert outcome.exit_code == 1 and "existe déjà" in outcome.output
    assert "Feuille" not in outcome.output, "nobody types 99 words for nothing"
    assert output.read_text() == "à garder"


@pytest.mark.browser
def test_a_sheet_is_one_a4_page(tmp_path: Path) -> None:
    sheet = Sheet(
        "Saint-Romain " * 4, "etat-civil", "Mme la secrétaire " * 4, 16, date(2026, 12, 1)
    )
    longest = sorted(WORDLIST, key=len)[-33:]
    share = Share(tuple(longest), KEY.shares[0].identifier, 16, 16, 1)
    file = tmp_path / "feuille.html"
    file.write_text(shares.sheet_html(share, sheet))
    asked: list[str] = []
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path="/usr/bin/chromium").new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.pdf(path=str(tmp_path / "feuille.pdf"), prefer_css_page_size=True)
    assert asked == [file.as_uri()]
    told = subprocess.run(
        ["pdfinfo", str(tmp_path / "feuille.pdf")], capture_output=True, text=True, check=True
    ).stdout
    assert "Pages:           1\n" in told and "A4" in told
    printed = subprocess.run(
        ["pdftotext", "-layout", str(tmp_path / "feuille.pdf"), "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for number, word in enumerate(longest, 1):
        assert f"{number}. {word}" in printed


def stock(repository: str, password: Path, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        ["restic", "--no-cache", "--password-file", password, *arguments],
        env={**os.environ, "RESTIC_REPOSITORY": repository},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_with_the_stock_restic(server: Server, tmp_path: Path) -> None:
    repository = server.device(roles="backup restore prune", scope="secours")
    first = tmp_path / "motdepasse.txt"
    first.write_text("mot de passe")
    (tmp_path / "acte.txt").write_text("né à Dijon")
    stock(repository, first, "init")
    stock(repository, first, "backup", str(tmp_path / "acte.txt"))

    folder = tmp_path / "secours"
    key = json.loads(split(folder, "--json").stdout)["key"]
    new = ["--user", key, "--host", "partage"]
    new += ["--new-password-file", str(folder / recovery.PASSWORD_FILE)]
    stock(repository, first, "key", "add", *new)
    sheets = [words_of(sheet) for sheet in sorted(folder.glob("feuille-*.html"))]
    found = set()
    for number, some in enumerate(itertools.combinations(sheets, 3)):
        output = tmp_path / f"{number}.txt"
        assert combine(output, *some).exit_code == 0
        found.add(output.read_text())
    assert found == {(folder / recovery.PASSWORD_FILE).read_text()}

    recovered = tmp_path / "0.txt"
    assert "acte.txt" in stock(repository, recovered, "snapshots")
    keys = json.loads(stock(repository, first, "key", "list", "--json"))
    [identity] = [item["id"] for item in keys if item["userName"] == key]
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    stock(repository, first, "key", "remove", identity)
    assert "wrong password" in stock(repository, recovered, "snapshots", fails=True)
    assert "acte.txt" in stock(repository, first, "snapshots")
    # A moment never changes, keys included: docs/vault-archives.md says so.
    past = f"{repository.removesuffix('/')}@{before}/"
    assert "acte.txt" in stock(past, recovered, "snapshots")
