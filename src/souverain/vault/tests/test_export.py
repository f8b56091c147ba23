"""Folders given to the archives: Xerces, our own check and bagit-python are the judges."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bagit
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from souverain.cli import main
from souverain.core import clock
from souverain.vault.engine import bag, folder
from souverain.vault.engine.seda import VERSIONS
from souverain.vault.engine.seda.check import check_sip
from souverain.vault.engine.seda.write import Transfer, write_sip
from souverain.vault.tests.conftest import Server, restic, same
from souverain.vault.tests.xerces import Xerces

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOTE = "Copie de sécurité, pas un système d'archivage électronique agréé."


@pytest.fixture
def town_hall(tmp_path: Path) -> Path:
    """What a town hall has: accents in both forms, empty files and folders, odd names."""
    root = tmp_path / "Mairie de Saint-Apollinaire"
    files = {
        "Délibérations/2026/n° 12 <budget> & annexes.pdf": b"%PDF-1.4",
        "Délibérations/2026/décomposé e\u0301te\u0301.txt": "été".encode(),
        "État civil/Acte 100 %.xml": b"<acte/>",
        "État civil/vide.txt": b"",
        "a/b/c/d/e.tar.gz": os.urandom(300_000),
        "a.txt": b"avant a/",
        "sans extension": b"x",
        "\U0001f3db mairie.odt": b"odt",
        ".caché/liste": b"x",
        "Icon\r": b"x",
        " espace devant.txt": b"x",
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "vide" / "plus vide").mkdir(parents=True)
    (root / "zzz vide").mkdir()
    return root


def sip_of(source: Path, version: str = "2.2") -> bytes:
    made = io.BytesIO()
    transfer = Transfer(version, NOON, "Export & <test>", "Mairie", "AD21", "Contrat 1", NOTE)
    write_sip(folder.list_folder(source), made, transfer)
    return made.getvalue()


def bag_of(source: Path, target: Path) -> Path:
    target.mkdir()
    bag.write_bag(folder.list_folder(source), target, bag.About(NOON, "Titre", "Mairie", NOTE))
    return target


def paths_in(sip: bytes) -> dict[str, bytes | None]:
    """What the manifest's tree says: content by path from the root unit, None for folders."""
    with zipfile.ZipFile(io.BytesIO(sip)) as archive:
        root = etree.fromstring(archive.read("manifest.xml"))
        name = {"s": etree.QName(root).namespace}
        groups = {
            group.get("id"): group.findtext(".//s:Uri", namespaces=name)
            for group in root.iterfind(".//s:DataObjectGroup", name)
        }
        found: dict[str, bytes | None] = {}
        for unit in root.iterfind(".//s:ArchiveUnit", name):
            chain = [unit, *unit.iterancestors(f"{{{name['s']}}}ArchiveUnit")]
            titles = [one.findtext("s:Content/s:Title", namespaces=name) for one in chain]
            target = unit.findtext("s:DataObjectReference/*", namespaces=name)
            content = archive.read(groups[target]) if target else None
            found["/".join(reversed(titles[:-1]))] = content
    return found


def on_disk(source: Path) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {"": None}
    for path in source.rglob("*"):
        found[str(path.relative_to(source))] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sip_is_valid_and_holds_everything(
    town_hall: Path, version: str, xerces: Xerces, tmp_path: Path
) -> None:
    made = sip_of(town_hall, version)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        manifest = archive.read("manifest.xml")
        assert archive.testzip() is None
    assert xerces.faults(manifest, tmp_path) == ""
    found = check_sip(io.BytesIO(made))
    assert (found.verdict, found.reasons) == ("OK", [])
    assert paths_in(made) == on_disk(town_hall)
    assert NOTE.encode() in manifest


def test_the_order_is_that_of_the_names_and_nothing_else(town_hall: Path, tmp_path: Path) -> None:
    again = tmp_path / "autre" / town_hall.name
    for path in sorted(town_hall.rglob("*"), reverse=True):  # made the other way round
        copy = again / path.relative_to(town_hall)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        else:
            copy.mkdir(parents=True, exist_ok=True)
    assert sip_of(town_hall) == sip_of(again)
    names = [item.parts for item in folder.list_folder(town_hall).items]
    assert names == sorted(names)


def test_entries_beyond_four_gibibytes(town_hall: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the limit brought down to 200 kB: sizes and offsets then take zip64's wider fields."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 200_000)
    made = sip_of(town_hall)
    monkeypatch.undo()
    assert b"PK\6\6" in made
    assert check_sip(io.BytesIO(made)).verdict == "OK"
    assert paths_in(made) == on_disk(town_hall)


def test_a_really_large_file(proving: bool, tmp_path: Path) -> None:
    if not proving:
        pytest.skip("4 GiB: only when proving")
    (tmp_path / "grand").mkdir()
    with (tmp_path / "grand" / "registre.bin").open("wb") as file:
        file.truncate((4 << 30) + 5)
    listing = folder.list_folder(tmp_path / "grand")
    with (tmp_path / "grand.zip").open("w+b") as output:
        write_sip(listing, output, Transfer("2.3", NOON, "t", "Mairie", "AD21", "", NOTE))
        assert check_sip(output).verdict == "OK"


def test_nothing_in_memory_at_once(tmp_path: Path) -> None:
    """No piece of a file is larger than the buffer, whatever its size."""
    (tmp_path / "grand").mkdir()
    (tmp_path / "grand" / "f").write_bytes(bytes(5 << 20))
    listing = folder.list_folder(tmp_path / "grand")
    sizes = [len(piece) for piece in folder.read_file(listing, listing.items[1])]
    assert sizes == [folder.CHUNK] * 5


def test_a_bag_is_valid_and_holds_everything(town_hall: Path, tmp_path: Path) -> None:
    made = bag_of(town_hall, tmp_path / "sac")
    judged = bagit.Bag(str(made))
    judged.validate()
    assert judged.info["Source-Organization"] == "Mairie"
    assert judged.info["Internal-Sender-Description"] == NOTE
    assert list(judged.algorithms) == ["sha256"]
    expected = on_disk(town_hall)
    expected |= {"vide/plus vide/.keep": b"", "zzz vide/.keep": b""}
    assert on_disk(made / "data") == expected
    kept = town_hall / "a.txt"
    assert int((made / "data" / "a.txt").stat().st_mtime) == int(kept.stat().st_mtime)


def test_an_empty_folder_makes_a_valid_package(xerces: Xerces, tmp_path: Path) -> None:
    (tmp_path / "vide").mkdir()
    made = sip_of(tmp_path / "vide")
    assert check_sip(io.BytesIO(made)).verdict == "OK"
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert xerces.faults(archive.read("manifest.xml"), tmp_path) == ""
    bagit.Bag(str(bag_of(tmp_path / "vide", tmp_path / "sac"))).validate()


@given(
    names=st.sets(
        st.text(
            st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
            min_size=1,
            max_size=20,
        ).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_name_is_packed_or_refused(
    names: set[str], xerces: Xerces, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("noms")
    source = root / "source"
    source.mkdir()
    for name in names:
        (source / name).write_bytes(name.encode())
    made = sip_of(source)
    assert check_sip(io.BytesIO(made)).verdict == "OK"
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert xerces.faults(archive.read("manifest.xml"), root) == ""
    try:
        packed = bag_of(source, root / "sac")
    except folder.FolderError as error:
        assert ("BagIt" in str(error) or "accents" in str(error)) and not list(
            (root / "sac").iterdir()
        )
    else:
        bagit.Bag(str(packed)).validate()
    shutil.rmtree(root)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    Path(os.fsdecode(os.fsencode(source) + b"/acte\xe9.txt")).write_bytes(b"x")
    made = sip_of(source)
    assert check_sip(io.BytesIO(made)).verdict == "OK"
    assert "acte\ufffd.txt" in paths_in(made)
    with pytest.raises(folder.FolderError, match="UTF-8"):
        bag_of(source, tmp_path / "sac")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/mairie\xe9"))
    odd.mkdir()
    Path(os.fsdecode(os.fsencode(odd) + b"/lien\xe9")).symlink_to("x")
    outcome = export(str(odd), str(tmp_path / "autre"), "--bagit", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["left_out"] == ["lien\ufffd"]
    assert bagit.Bag(str(tmp_path / "autre")).info["External-Description"] == "mairie\ufffd"


def test_names_that_only_accents_tell_apart(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("e\u0301tat", "\u00e9tat"):
        (source / name).write_bytes(name.encode())
    assert len(paths_in(sip_of(source))) == 3
    with pytest.raises(folder.FolderError, match="accents"):
        bag_of(source, tmp_path / "sac")


def test_links_are_left_out_and_said(town_hall: Path) -> None:
    (town_hall / "lien").symlink_to("/etc/passwd")
    (town_hall / "dossier lié").symlink_to("/etc")
    os.mkfifo(town_hall / "a" / "tube")
    listing = folder.list_folder(town_hall)
    assert sorted(listing.left_out) == ["a/tube", "dossier lié", "lien"]
    assert "lien" not in paths_in(sip_of(town_hall))


def test_a_file_that_changes_meanwhile_stops_the_export(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(b"avant")
    listing = folder.list_folder(tmp_path / "source")
    (tmp_path / "source" / "f").write_bytes(b"bien plus long")
    with pytest.raises(folder.FolderError, match="f a changé pendant"):
        list(folder.read_file(listing, listing.items[1]))


def test_too_deep_is_refused(tmp_path: Path) -> None:
    deep = tmp_path.joinpath("source", *"a" * 101)
    deep.mkdir(parents=True)
    with pytest.raises(folder.FolderError, match="100 dossiers"):
        folder.list_folder(tmp_path / "source")
    deep.rmdir()
    made = sip_of(tmp_path / "source")
    assert check_sip(io.BytesIO(made)).verdict == "OK"


# The command --------------------------------------------------------------------------------------


def export(*words: str) -> Result:
    return CliRunner().invoke(main, ["vault", "export", *words])


FORMS = {"sip": ["--sip", "--producer", "Mairie"], "bagit": ["--bagit"]}


@pytest.mark.parametrize("form", FORMS)
def test_the_command(town_hall: Path, tmp_path: Path, form: str) -> None:
    (town_hall / "lien").symlink_to("/etc/passwd")
    words = FORMS[form]
    made = tmp_path / "sortie"
    with clock.frozen(NOON):
        outcome = export(str(town_hall), str(made), *words, "--json")
    assert outcome.exit_code == 0, outcome.output
    told = json.loads(outcome.stdout)
    assert (told["files"], told["left_out"]) == (11, ["lien"])
    if form == "sip":
        with made.open("rb") as file:
            assert check_sip(file).verdict == "OK"
    else:
        bagit.Bag(str(made)).validate()
    assert stat.S_IMODE(made.stat().st_mode) == (0o600 if form == "sip" else 0o700)
    assert {path.name for path in tmp_path.iterdir()} == {"sortie", town_hall.name}

    again = export(str(town_hall), str(made), *words)
    assert again.exit_code == 1 and "existe déjà" in again.output
    inside = export(str(town_hall), str(town_hall / "sortie"), *words)
    assert inside.exit_code == 1 and "dans le dossier exporté" in inside.output
    assert not (town_hall / "sortie").exists()


@pytest.mark.parametrize("form", FORMS)
def test_what_fails_leaves_nothing(
    town_hall: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def unreadable(path: str, *arguments: int, **more: Any) -> int:
        if str(path).endswith("vide.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", unreadable)
    outcome = export(str(town_hall), str(tmp_path / "sortie"), *FORMS[form])
    assert outcome.exit_code == 1 and "vide.txt" in outcome.output
    assert [path.name for path in tmp_path.iterdir()] == [town_hall.name]


def test_the_command_says_the_form_and_the_producer(town_hall: Path, tmp_path: Path) -> None:
    for words in ([], ["--sip"], ["--sip", "--producer", "M", "--version", "2.0"]):
        assert export(str(town_hall), str(tmp_path / "sortie"), *words).exit_code == 2
    outcome = export(str(town_hall), str(tmp_path / "sortie"), *FORMS["bagit"])
    assert "pas un système d'archivage électronique agréé" in outcome.stdout


def test_a_restored_moment_becomes_a_sip(server: Server, town_hall: Path, tmp_path: Path) -> None:
    repository = server.device(scope="archives")
    restic(repository, tmp_path, "init")
    restic(repository, tmp_path, "backup", town_hall.name)
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    (town_hall / "a.txt").unlink()
    restic(repository, tmp_path, "backup", town_hall.name)
    past = f"{repository.removesuffix('/')}@{moment}/"
    restic(past, tmp_path, "restore", "latest", "--target", "RETOUR")
    restored = tmp_path / "RETOUR" / town_hall.name
    assert not same(restored, town_hall)
    outcome = export(str(restored), str(tmp_path / "versement.zip"), *FORMS["sip"])
    assert outcome.exit_code == 0, outcome.output
    assert paths_in((tmp_path / "versement.zip").read_bytes())["a.txt"] == b"avant a/"
