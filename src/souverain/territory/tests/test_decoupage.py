"""The administrative lists, from the real package, and damaged."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from souverain.territory.engine.decoupage import (
    DecoupageError,
    Departement,
    departement_of,
    parse_departement,
    read_departement,
)

LISTS: dict[str, Any] = {
    "departements": [{"code": "21", "nom": "Côte-d'Or", "zone": "metro"}],
    "arrondissements": [{"code": "212", "departement": "21", "nom": "Dijon", "chefLieu": "21231"}],
    "epcis": [
        {
            "code": "242100410",
            "nom": "Dijon Métropole",
            "type": "METRO",
            "populationMunicipale": 258630,
            "membres": [{"code": "21231"}, {"code": "71073"}],
        }
    ],
    "communes": [
        {
            "code": "21231",
            "nom": "Dijon",
            "type": "commune-actuelle",
            "typeLiaison": 0,
            "departement": "21",
            "arrondissement": "212",
            "siren": "212102313",
            "codesPostaux": ["21000"],
            "population": 159346,
            "anciensCodes": ["21999"],
        },
        {
            "code": "21998",
            "nom": "Larrey",
            "type": "commune-associee",
            "departement": "21",
            "chefLieu": "21231",
        },
    ],
}


def parsed(**changed: Any) -> Departement:
    return parse_departement("21", **{**deepcopy(LISTS), **changed})


def test_the_cote_d_or_is_whole(lists: Departement) -> None:
    assert (lists.name, len(lists.communes), len(lists.epcis)) == ("Côte-d'Or", 698, 19)
    assert sum(commune.population or 0 for commune in lists.communes) == 540_100
    assert all(c.siren and c.postcodes and c.epci and c.arrondissement for c in lists.communes)
    assert len(lists.arrondissements) == 3
    assert {code: lists.successors[code] for code in ("21073", "21213", "21486")} == {
        "21073": "21272",
        "21213": "21452",
        "21486": "21352",
    }


@pytest.mark.parametrize(
    ("number", "name", "communes"),
    [
        ("1", "Ain", 391),
        ("2a", "Corse-du-Sud", 124),
        ("69", "Rhône", 266),
        ("75", "Paris", 1),
        ("971", "Guadeloupe", 32),
    ],
)
def test_another_departement_by_its_number(number: str, name: str, communes: int) -> None:
    read = read_departement(settings.DECOUPAGE, number)
    assert (read.name, len(read.communes)) == (name, communes)
    assert all(departement_of(commune.code) == read.number for commune in read.communes)


@pytest.mark.parametrize("number", ["", "0", "00", "20", "abc", "96", "2C", "21'; --", "9999"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(DecoupageError, match=r"département|numéro"):
        read_departement(settings.DECOUPAGE, number)


def test_merged_communes_with_and_without_a_name() -> None:
    former = {record.code: (record.name, record.kind) for record in parsed().former_communes}
    assert former == {"21998": ("Larrey", "associee"), "21999": (None, "ancienne")}


@pytest.mark.parametrize(
    ("code", "of"), [("21272", "du Val-Larrey"), ("21002", "d'Agey"), ("21231", "de Dijon")]
)
def test_the_name_after_de(lists: Departement, code: str, of: str) -> None:
    assert next(c for c in lists.communes if c.code == code).of_name == of


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("nom", None),
        ("nom", ""),
        ("nom", "x" * 161),
        ("code", "2123"),
        ("code", 21231),
        ("siren", "12"),
        ("population", -1),
        ("population", "159346"),
        ("population", True),
        ("codesPostaux", "21000"),
        ("codesPostaux", [21000]),
        ("anciensCodes", ["x"]),
        ("typeLiaison", 1.5),
    ],
)
def test_a_bad_value_is_named_with_its_place(key: str, value: Any) -> None:
    communes = deepcopy(LISTS["communes"])
    communes[0][key] = value
    with pytest.raises(DecoupageError, match=f"communes.json, entrée 1.*« {key} »"):
        parsed(communes=communes)


@pytest.mark.parametrize("list_name", ["communes", "epcis", "arrondissements", "departements"])
@pytest.mark.parametrize("value", [None, {}, "x", ["x"], [None]])
def test_another_shape_is_refused(list_name: str, value: Any) -> None:
    with pytest.raises(DecoupageError, match="attendu"):
        parsed(**{list_name: value})


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(DecoupageError, match="21231 figure deux fois"):
        parsed(communes=[LISTS["communes"][0]] * 2)
    with pytest.raises(DecoupageError, match="21231 figure dans deux EPCI"):
        parsed(epcis=LISTS["epcis"] * 2)
    orphan = {**LISTS["communes"][1], "chefLieu": "21500"}
    with pytest.raises(DecoupageError, match="21998 renvoie à 21500"):
        parsed(communes=[LISTS["communes"][0], orphan])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    for name, content in LISTS.items():
        (tmp_path / f"{name.replace('epcis', 'epci')}.json").write_text(json.dumps(content))
    assert len(read_departement(tmp_path, "21").communes) == 1
    path = tmp_path / "communes.json"
    for content, message in (
        (b'[\n{"code": ', "communes.json, ligne 2, colonne 10"),
        (b'["\xff"]', "octet 2"),
        (b"[" * 200_000, "imbriqué"),
    ):
        path.write_bytes(content)
        with pytest.raises(DecoupageError, match=message):
            read_departement(tmp_path, "21")
    path.unlink()
    with pytest.raises(DecoupageError, match=r"communes.json : fichier absent"):
        read_departement(tmp_path, "21")
