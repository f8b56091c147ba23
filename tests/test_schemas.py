"""Our file formats are what `docs/schemas` says, and what is not is refused with line and key."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from souverain.core import journal, worker
from souverain.core.access import ANONYMOUS, SYSTEM, Actor
from souverain.core.verification import read_head

SCHEMAS = Path(__file__).resolve().parents[1] / "docs/schemas"
POSITIONS = Path(__file__).resolve().parents[1] / "src/souverain/territory/data"
HASH = "0" * 64


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def faults(name: str, instance: Any) -> list[str]:
    return [error.message for error in validator(name).iter_errors(instance)]


def test_every_schema_is_one_and_says_what_it_describes() -> None:
    paths = sorted(SCHEMAS.glob("*.schema.json"))
    assert paths
    for path in paths:
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        assert schema["title"] and schema["description"]
        assert schema["additionalProperties"] is False
        assert all(item["description"] for item in schema["properties"].values())


@pytest.mark.django_db
def test_every_exported_line_of_the_journal_follows_its_schema() -> None:
    journal.append(SYSTEM, "test.done")
    journal.append(
        Actor("user", "1"),
        "role.removed",
        organisation="21231",
        object="user:2",
        data={"role": "agent"},
        detail={"email": "a@exemple.fr"},
    )
    journal.refuse(ANONYMOUS, "access.refused", reason="permission")
    lines = list(journal.bodies())
    assert len(lines) == 3
    for line in lines:
        assert faults("journal-entry", json.loads(line)) == []
    assert faults("journal-entry", {**json.loads(lines[0]), "email": "a@exemple.fr"})
    assert faults("journal-entry", {**json.loads(lines[0]), "seq": 0})


@pytest.mark.django_db
def test_every_exported_head_follows_its_schema(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path
    journal.append(SYSTEM, "test.done")
    worker.export_journal_head()
    [path] = (tmp_path / worker.HEADS_FOLDER).iterdir()
    assert faults("journal-head", json.loads(path.read_text())) == []
    assert read_head(path) == journal.head()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "ligne 1"),
        ('{"seq": 1,\n"hash": }', "ligne 2"),
        ("[]", "ligne 1"),
        (f'{{"hash": "{HASH}"}}', "clé « seq »"),
        (f'{{"seq": "1", "hash": "{HASH}"}}', "clé « seq »"),
        (f'{{"seq": true, "hash": "{HASH}"}}', "clé « seq »"),
        (f'{{"seq": -1, "hash": "{HASH}"}}', "clé « seq »"),
        ('{"seq": 1}', "clé « hash »"),
        ('{"seq": 1, "hash": "abc"}', "clé « hash »"),
        (f'{{"seq": 1, "hash": "{HASH[1:]}G"}}', "clé « hash »"),
        ("é".encode("latin-1"), "pas du texte"),
    ],
)
def test_a_wrong_head_is_refused_with_its_line_or_key(
    tmp_path: Path, text: str | bytes, named: str
) -> None:
    path = tmp_path / "head.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"head\.json") as refused:
        read_head(path)
    assert named in str(refused.value)
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return
    assert faults("journal-head", content)


def test_every_position_follows_its_schema() -> None:
    with (POSITIONS / "communes-21.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 698
    for row in rows:
        figures = {key: float(value) for key, value in row.items() if key != "code"}
        assert faults("territory-position", {"code": row["code"], **figures}) == []
