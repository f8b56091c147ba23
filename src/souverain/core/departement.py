"""The département whose cloud this is: the names that pages, letters and agreements give it.
Nothing here needs Django."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from pathlib import Path

_NAMES = Path(__file__).parent / "data" / "departements.csv"
"""INSEE, Code officiel géographique: number, name, and the name after « Département »."""
_SEATS = {"21": ("53 bis rue de la Préfecture, 21000 Dijon", "Dijon")}


@dataclass(frozen=True)
class Departement:
    """`of`: « de la Côte-d'Or ». `address` and `town` of its seat are empty where we do not know
    them: what is printed then leaves them out."""

    number: str
    name: str
    of: str
    address: str = ""
    town: str = ""

    @property
    def cloud(self) -> str:
        return f"Cloud {self.name}"

    @property
    def domain(self) -> str:
        """`cotedor.invalid`: for addresses that no mail reaches (RFC 2606)."""
        plain = unicodedata.normalize("NFKD", self.name).lower()
        return "".join(c for c in plain if c.isascii() and c.isalnum()) + ".invalid"


def named(number: str) -> Departement:
    """The département of a number, `1` and `2a` as well as `01` and `2A`. Ends the program with a
    French sentence when there is none."""
    spelt = number.strip().upper().zfill(2)
    with _NAMES.open(newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            if row["number"] == spelt:
                return Departement(spelt, row["name"], row["of"], *_SEATS.get(spelt, ()))
    raise SystemExit(
        f"SOUVERAIN_DEPARTEMENT={number} : ce n'est pas un département (21, 2A, 971…)."
    )
