"""Reads the administrative lists of one département from the npm package
`@etalab/decoupage-administratif` (INSEE's Code officiel géographique, DGCL, La Poste;
data under Licence Ouverte 2.0).

The package's `data/` folder holds JSON arrays: `communes.json` (current communes, communes
déléguées and associées), `epci.json`, `arrondissements.json`, `departements.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

MAX_FILE_BYTES = 64 * 1024 * 1024

FormerKind = Literal["deleguee", "associee", "ancienne"]

_NUMBER = re.compile(r"([0-9]{2}|2[AB]|9[78][0-9])")
_COMMUNE_CODE = re.compile(r"([0-9]{2}|2[AB])[0-9]{3}")
_SIREN = re.compile(r"[0-9]{9}")
_POSTCODE = re.compile(r"[0-9]{5}")
_FORMER_KINDS: dict[str, FormerKind] = {
    "commune-deleguee": "deleguee",
    "commune-associee": "associee",
}
# INSEE's TNCC: what the name of a commune starts with.
_LINKS = {1: "d'", 2: "du ", 4: "des ", 6: "aux "}


class DecoupageError(ValueError):
    """The lists cannot be read. The message, in French, names file, entry and key."""


@dataclass(frozen=True, slots=True)
class CommuneRecord:
    """A current commune. `population` is INSEE's legal municipal population."""

    code: str
    name: str
    name_link: int
    siren: str | None
    population: int | None
    postcodes: tuple[str, ...]
    arrondissement: str | None
    epci: str | None

    @property
    def of_name(self) -> str:
        """The name after "de": « de Dijon », « d'Agey », « du Val-Larrey ».

        >>> CommuneRecord("21272", "Le Val-Larrey", 2, None, 1, (), None, None).of_name
        'du Val-Larrey'
        """
        return of_name(self.name, self.name_link)


@dataclass(frozen=True, slots=True)
class FormerCommuneRecord:
    """A commune that was merged. `name` is None where the lists only keep its code."""

    code: str
    name: str | None
    kind: FormerKind
    successor: str


@dataclass(frozen=True, slots=True)
class EpciRecord:
    """An EPCI with its own taxation. `population` counts all its members, also those of other
    départements; `members` are the member codes within this département."""

    siren: str
    name: str
    kind: str
    population: int
    members: tuple[str, ...]
    member_count: int


@dataclass(frozen=True, slots=True)
class ArrondissementRecord:
    code: str
    name: str
    seat: str | None


@dataclass(frozen=True, slots=True)
class Departement:
    """One département with everything in it, each tuple in code order."""

    number: str
    name: str
    zone: str
    communes: tuple[CommuneRecord, ...]
    epcis: tuple[EpciRecord, ...]
    arrondissements: tuple[ArrondissementRecord, ...]
    former_communes: tuple[FormerCommuneRecord, ...]

    @property
    def successors(self) -> dict[str, str]:
        """Code of a merged commune → code of the current commune it became part of."""
        return {former.code: former.successor for former in self.former_communes}


def of_name(name: str, name_link: int) -> str:
    """A commune's name after "de", by INSEE's TNCC link code.

    >>> of_name("Agey", 1), of_name("Les Maillys", 4), of_name("La Motte-Ternant", 3)
    ("d'Agey", 'des Maillys', 'de La Motte-Ternant')
    """
    link = _LINKS.get(name_link)
    if link is None:
        return f"de {name}"
    if name_link == 1:
        return link + name
    return link + name.split(" ", 1)[-1]


def normalise_number(number: str) -> str:
    """`"1"` → `"01"`, `"2a"` → `"2A"`, `"971"`. Raises DecoupageError."""
    text = number.strip().upper().zfill(2)
    if not _NUMBER.fullmatch(text):
        raise DecoupageError(f"« {number[:20]} » n'est pas un numéro de département (21, 2A, 971…)")
    return text


def departement_of(code: str) -> str:
    """Number of the département of an INSEE commune code: `21231` → `21`, `97105` → `971`."""
    return code[:3] if code.startswith(("97", "98")) else code[:2]


LISTS = ("communes.json", "epci.json", "arrondissements.json", "departements.json")


def read_departement(folder: Path, number: str) -> Departement:
    """Read one département from the package's `data/` folder. Raises DecoupageError."""
    communes, epcis, arrondissements, departements = (_read_list(folder / name) for name in LISTS)
    return parse_departement(
        number,
        communes=communes,
        epcis=epcis,
        arrondissements=arrondissements,
        departements=departements,
    )


def parse_departement(
    number: str, *, communes: Any, epcis: Any, arrondissements: Any, departements: Any
) -> Departement:
    """Build one département from the four decoded JSON lists. Raises DecoupageError."""
    number = normalise_number(number)
    named = [e for e in _entries("departements.json", departements) if e.text("code") == number]
    if not named:
        raise DecoupageError(f"departements.json : le département {number} n'y figure pas")

    epci_of: dict[str, str] = {}
    epci_records = tuple(sorted(_epcis(number, epcis, epci_of), key=lambda record: record.siren))
    current: list[CommuneRecord] = []
    merged: dict[str, FormerCommuneRecord] = {}
    old_codes: dict[str, str] = {}
    for entry in _entries("communes.json", communes):
        if entry.text("departement") != number:
            continue
        kind = entry.text("type")
        if kind == "commune-actuelle":
            commune = _commune(entry, epci_of)
            current.append(commune)
            old_codes |= dict.fromkeys(entry.texts("anciensCodes", _COMMUNE_CODE), commune.code)
        elif kind in _FORMER_KINDS:
            code = entry.matching("code", _COMMUNE_CODE)
            merged[code] = FormerCommuneRecord(
                code,
                entry.text("nom"),
                _FORMER_KINDS[kind],
                entry.matching("chefLieu", _COMMUNE_CODE),
            )
    for code, successor in old_codes.items():
        merged.setdefault(code, FormerCommuneRecord(code, None, "ancienne", successor))

    _check_codes(number, current, merged)
    return Departement(
        number=number,
        name=named[0].text("nom"),
        zone=named[0].text("zone"),
        communes=tuple(sorted(current, key=lambda commune: commune.code)),
        epcis=epci_records,
        arrondissements=tuple(
            ArrondissementRecord(e.text("code"), e.text("nom"), e.optional("chefLieu"))
            for e in _entries("arrondissements.json", arrondissements)
            if e.text("departement") == number
        ),
        former_communes=tuple(merged[code] for code in sorted(merged)),
    )


def _commune(entry: _Entry, epci_of: dict[str, str]) -> CommuneRecord:
    code = entry.matching("code", _COMMUNE_CODE)
    return CommuneRecord(
        code=code,
        name=entry.text("nom"),
        name_link=entry.whole("typeLiaison", missing=0),
        siren=entry.matching("siren", _SIREN) if "siren" in entry.fields else None,
        population=entry.whole("population") if "population" in entry.fields else None,
        postcodes=tuple(entry.texts("codesPostaux", _POSTCODE)),
        arrondissement=entry.optional("arrondissement"),
        epci=epci_of.get(code),
    )


def _epcis(number: str, epcis: Any, epci_of: dict[str, str]) -> Iterator[EpciRecord]:
    """The EPCI with a member in the département; fills `epci_of` (commune code → SIREN)."""
    for entry in _entries("epci.json", epcis):
        members = entry.entries("membres")
        here = tuple(
            sorted(
                code
                for member in members
                if departement_of(code := member.matching("code", _COMMUNE_CODE)) == number
            )
        )
        if not here:
            continue
        siren = entry.matching("code", _SIREN)
        for code in here:
            if code in epci_of:
                raise DecoupageError(
                    f"epci.json : la commune {code} figure dans deux EPCI, {epci_of[code]} et {siren}"
                )
            epci_of[code] = siren
        yield EpciRecord(
            siren=siren,
            name=entry.text("nom"),
            kind=entry.text("type"),
            population=entry.whole("populationMunicipale"),
            members=here,
            member_count=len(members),
        )


def _check_codes(
    number: str, current: list[CommuneRecord], merged: dict[str, FormerCommuneRecord]
) -> None:
    codes = {commune.code for commune in current}
    if not codes:
        raise DecoupageError(f"communes.json : aucune commune pour le département {number}")
    if len(codes) != len(current):
        seen: set[str] = set()
        twice = next(c.code for c in current if c.code in seen or seen.add(c.code))  # type: ignore[func-returns-value]
        raise DecoupageError(f"communes.json : la commune {twice} figure deux fois")
    for former in merged.values():
        if former.successor not in codes:
            raise DecoupageError(
                f"communes.json : l'ancienne commune {former.code} renvoie à {former.successor}, "
                "qui n'est pas une commune actuelle du département"
            )


def _read_list(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DecoupageError(f"{path.name} : fichier de plus de 64 Mo, refusé")
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DecoupageError(f"{path.name} : fichier absent de {path.parent}") from None
    except OSError as error:
        raise DecoupageError(f"{path.name} : lecture impossible ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DecoupageError(f"{path.name} : l'octet {error.start} n'est pas de l'UTF-8") from error
    except json.JSONDecodeError as error:
        raise DecoupageError(
            f"{path.name}, ligne {error.lineno}, colonne {error.colno} : JSON invalide"
        ) from error
    except RecursionError:
        raise DecoupageError(f"{path.name} : JSON imbriqué trop profondément") from None


def _entries(place: str, value: Any) -> Iterator[_Entry]:
    if not isinstance(value, list):
        raise DecoupageError(f"{place} : une liste est attendue")
    for index, fields in enumerate(value, start=1):
        yield _Entry(f"{place}, entrée {index}", fields)


class _Entry:
    """One JSON object, with its place for error messages."""

    __slots__ = ("fields", "place")

    def __init__(self, place: str, fields: Any) -> None:
        if not isinstance(fields, dict):
            raise DecoupageError(f"{place} : un objet est attendu")
        self.place = place
        self.fields: dict[str, Any] = fields

    def _error(self, key: str, expected: str) -> DecoupageError:
        code = self.fields.get("code")
        named = f" ({code[:9]})" if isinstance(code, str) else ""
        found = "absente" if key not in self.fields else f"invalide, {expected} attendu"
        return DecoupageError(f"{self.place}{named} : clé « {key} » {found}")

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        if not isinstance(value, str) or not value.strip() or len(value) > 160:
            raise self._error(key, "texte")
        return value

    def optional(self, key: str) -> str | None:
        return self.text(key) if self.fields.get(key) is not None else None

    def matching(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise self._error(key, "code")
        return value

    def whole(self, key: str, missing: int | None = None) -> int:
        value = self.fields.get(key, missing)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
            raise self._error(key, "entier positif")
        return value

    def texts(self, key: str, pattern: re.Pattern[str]) -> list[str]:
        values = self.fields.get(key, [])
        if not isinstance(values, list) or not all(
            isinstance(value, str) and pattern.fullmatch(value) for value in values
        ):
            raise self._error(key, "liste de codes")
        return values

    def entries(self, key: str) -> list[_Entry]:
        if not isinstance(self.fields.get(key), list):
            raise self._error(key, "liste")
        return list(_entries(f"{self.place}, {key}", self.fields[key]))
