"""What the inventory knows: the kinds of items, and the attributes of each, in one table.

The words of pavement defects (fissures, faïençage, nid-de-poule, pelade…) and their three degrees
of severity are those of the VIZIR method (LCPC, *VIZIR: méthode assistée par ordinateur pour
l'estimation des besoins en entretien d'un réseau routier*, 1991).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from souverain.core.format import number_fr

TEXT_LENGTH = 200


class KindError(ValueError):
    """A kind or an attribute that the table does not have; the message is a French sentence."""


@dataclass(frozen=True)
class Attribute:
    """One thing to say of an item: a number in `unit` between `low` and `high`, one of `choices`,
    or a short text."""

    name: str
    title: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        return self.high is not None

    def read(self, value: Any) -> str | float:
        """The value as it is kept. Raises KindError."""
        if self.is_number:
            return self._number(value)
        text = " ".join(str(value).split())
        if self.choices and text not in self.choices:
            known = ", ".join(self.choices)
            raise KindError(f"{self.title} : « {text[:60]} » n'est pas prévu ({known}).")
        if len(text) > TEXT_LENGTH:
            raise KindError(f"{self.title} : {TEXT_LENGTH} caractères au plus.")
        return text

    def _number(self, value: Any) -> float:
        assert self.low is not None and self.high is not None
        try:
            number = float(str(value).replace(",", "."))
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high:
            raise KindError(
                f"{self.title} : un nombre de {number_fr(self.low)} à {number_fr(self.high)} "
                f"{self.unit} est attendu."
            )
        return number


@dataclass(frozen=True)
class Kind:
    """A kind of item. `movable`: it may stand elsewhere in the next campaign. `on_road`: it lies on
    the road's surface, so that one ray places it."""

    code: str
    title: str
    family: str
    attributes: tuple[Attribute, ...] = ()
    movable: bool = False
    on_road: bool = False

    def read_attributes(self, given: Mapping[str, Any]) -> dict[str, str | float]:
        """The attributes as they are kept, without the empty ones. Raises KindError."""
        known = {attribute.name: attribute for attribute in self.attributes}
        for name in given:
            if name not in known:
                raise KindError(f"{self.title} : l'attribut « {name[:60]} » n'est pas prévu.")
        return {
            name: attribute.read(given[name])
            for name, attribute in known.items()
            if given.get(name) not in (None, "")
        }


EQUIPMENT, DEFECT = "Équipement", "Défaut de chaussée"

_STATE = Attribute("etat", "État", choices=("bon", "moyen", "mauvais"))
_SEVERITY = Attribute("gravite", "Gravité", choices=("1", "2", "3"))
_LENGTH = Attribute("longueur", "Longueur", "m", 0, 100_000)
_WIDTH = Attribute("largeur", "Largeur", "m", 0, 100)
_HEIGHT = Attribute("hauteur", "Hauteur", "m", 0, 50)
_AREA = Attribute("surface", "Surface", "m²", 0, 1_000_000)
_DEPTH = Attribute("profondeur", "Profondeur", "cm", 0, 200)
_DIAMETER = Attribute("diametre", "Diamètre", "mm", 0, 10_000)
_NOTE = Attribute("remarque", "Remarque")


def _defect(code: str, title: str, *measures: Attribute) -> Kind:
    return Kind(code, title, DEFECT, (_SEVERITY, *measures, _NOTE), on_road=True)


KINDS: Mapping[str, Kind] = {
    kind.code: kind
    for kind in (
        Kind(
            "panneau",
            "Panneau",
            EQUIPMENT,
            (
                Attribute("code", "Code (AB4, B14, D21…)"),
                Attribute("inscription", "Inscription"),
                Attribute("support", "Support", choices=("mât", "potence", "portique", "mur")),
                _HEIGHT,
                _STATE,
                _NOTE,
            ),
            movable=True,
        ),
        Kind("balise", "Balise", EQUIPMENT, (Attribute("code", "Code"), _STATE, _NOTE), True),
        Kind("borne-pr", "Borne de point de repère", EQUIPMENT, (_STATE, _NOTE), movable=True),
        Kind(
            "glissiere",
            "Glissière de sécurité",
            EQUIPMENT,
            (
                Attribute("matiere", "Matière", choices=("métal", "béton", "bois et métal")),
                _LENGTH,
                _HEIGHT,
                _STATE,
                _NOTE,
            ),
        ),
        Kind(
            "arbre",
            "Arbre",
            EQUIPMENT,
            (
                Attribute("essence", "Essence"),
                Attribute("circonference", "Circonférence", "cm", 0, 2_000),
                _HEIGHT,
                _STATE,
                _NOTE,
            ),
        ),
        Kind("aqueduc", "Aqueduc", EQUIPMENT, (_DIAMETER, _LENGTH, _STATE, _NOTE)),
        Kind("avaloir", "Avaloir", EQUIPMENT, (_STATE, _NOTE), on_road=True),
        Kind("candelabre", "Candélabre", EQUIPMENT, (_HEIGHT, _STATE, _NOTE)),
        Kind("feu", "Feu de circulation", EQUIPMENT, (_STATE, _NOTE)),
        Kind(
            "passage-pieton",
            "Passage piéton",
            EQUIPMENT,
            (_WIDTH, _LENGTH, _STATE, _NOTE),
            on_road=True,
        ),
        Kind("marquage", "Marquage au sol", EQUIPMENT, (_LENGTH, _STATE, _NOTE), on_road=True),
        Kind("ralentisseur", "Ralentisseur", EQUIPMENT, (_LENGTH, _STATE, _NOTE), on_road=True),
        _defect("nid-de-poule", "Nid-de-poule", _AREA, _DEPTH),
        _defect("faiencage", "Faïençage", _LENGTH, _WIDTH, _AREA),
        _defect("fissure-longitudinale", "Fissure longitudinale", _LENGTH, _WIDTH),
        _defect("fissure-transversale", "Fissure transversale", _LENGTH, _WIDTH),
        _defect("ornierage", "Orniérage", _LENGTH, _DEPTH),
        _defect("affaissement", "Affaissement", _AREA, _DEPTH),
        _defect("pelade", "Pelade", _AREA),
        _defect("arrachement", "Arrachement", _AREA),
        _defect("ressuage", "Ressuage", _AREA),
        _defect("reparation", "Réparation dégradée", _AREA),
    )
}
MOVABLE = frozenset(code for code, kind in KINDS.items() if kind.movable)


def kind_of(code: str) -> Kind:
    """Raises KindError."""
    found = KINDS.get(code)
    if found is None:
        raise KindError(f"« {code[:60]} » n'est pas une sorte d'objet connue.")
    return found
