"""Roads: the graph that they make, and positions along them.

A *road* is known by its number (`D971`) and its département. Its *reference posts* (PR, points de
repère) are numbered along it; a position is a post and an *abscissa*, the metres from that post
in the direction of growing posts (`D971 PR 12+350`; it may be negative, or greater than the
distance to the next post: posts are rarely 1,000 m apart). *Side* is D (right) or G (left) when
one looks towards growing posts, C in the middle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RoadNetwork:
    """Road links as flat arrays; link `i` has the vertices `vertices_m[starts[i]:starts[i+1]]`.

    Links meet only where they share a node: a bridge and the road beneath it cross without one.
    """

    vertices_m: Floats
    """Shape (v, 3): Lambert-93 easting, northing, height (NaN where unknown)."""
    starts: Ints
    """Shape (n + 1,)."""
    nodes: Ints
    """Shape (n, 2): the node where each link begins and ends."""
    numbers: npt.NDArray[np.str_]
    """Shape (n,): `D971`, or empty."""
    levels: npt.NDArray[np.int8]
    """Shape (n,): 0 on the ground, above it positive (bridge), below it negative (tunnel)."""
    one_way: npt.NDArray[np.int8]
    """Shape (n,): 1 as drawn, -1 against it, 0 both ways."""
    identifiers: npt.NDArray[np.str_]
    """Shape (n,): the source's own id of the link."""


@dataclass(frozen=True)
class RoadPosition:
    """Where something is along a road. Metres; `distance_m` is from the axis, never negative."""

    road: str
    departement: str
    pr: int | None
    abscissa_m: float
    side: str
    distance_m: float
    x_m: float
    y_m: float

    def __str__(self) -> str:
        """`D971 PR 12+350`, or `D971 +350 m` on a road without posts."""
        if self.pr is None:
            return f"{self.road} +{round(self.abscissa_m)} m"
        return f"{self.road} PR {self.pr}{round(self.abscissa_m):+d}"


@dataclass(frozen=True)
class ReferencePosts:
    """Reference posts as flat arrays; `sides`: D or G where it stands on a separate carriageway,
    C otherwise."""

    roads: npt.NDArray[np.str_]
    """Shape (n,): `D971`."""
    prs: Ints
    """Shape (n,)."""
    sides: npt.NDArray[np.str_]
    """Shape (n,)."""
    xy_m: Floats
    """Shape (n, 2): Lambert-93."""


NO_POSTS = ReferencePosts(
    np.empty(0, "U24"), np.empty(0, np.int64), np.empty(0, "U1"), np.empty((0, 2))
)


class RoadNameError(ValueError):
    """A text names no road or no position; the message is French."""


@dataclass(frozen=True)
class RoadReference:
    """A position as somebody writes it: `D971 PR 12+350 D`. `side` empty: not said."""

    road: str
    pr: int | None
    abscissa_m: float
    side: str = ""


_NUMBER = re.compile(r"(?:R\.? ?)?(?P<class>VC|EV|CR|[ADNMCEVP])[ .°]*0*(?P<number>[0-9]{1,6}) ?"
                     r"(?P<suffix>(?:[A-Z]{1,4}[0-9]{0,2}|[.][0-9]{1,2})?)")  # fmt: skip
_SIDES = {"G": "G", "D": "D", "C": "C", "GAUCHE": "G", "DROITE": "D", "DROIT": "D"}
_PLACE = re.compile(
    r"(?:PR ?)?(?P<pr>[0-9]{1,4}) ?(?P<abscissa>[+-] ?[0-9]{1,6}(?:[.,][0-9]{1,4})?)?(?: ?M)?"
)
_METRES = re.compile(r"\+ ?(?P<abscissa>[0-9]{1,7}(?:[.,][0-9]{1,4})?)(?: ?M)?")
_PR_WORD = re.compile(r"[ ,]+(?=PR ?[0-9])|(?<=[0-9A-Z])(?=PR ?[0-9])|[ ,]+(?=\+ ?[0-9])")


def parse_road(text: str) -> str:
    """`RD 971`, `RD971`, `D 971`, `d0971` → `D971`; `D 51b` → `D51B`. Raises RoadNameError."""
    if found := _NUMBER.fullmatch(_plain(text)):
        return f"{found['class']}{found['number']}{found['suffix']}"
    raise RoadNameError(
        f"« {text.strip()[:40]} » n'est pas un numéro de route : écrivez par exemple « D971 »."
    )


def parse_reference(text: str) -> RoadReference:
    """`RD 971, PR 12+350`, `D971 PR12-30 G`, `D971 +350 m` → road, post, metres and side.
    Raises RoadNameError."""
    road, _, rest = _PR_WORD.sub("\n", _plain(text), count=1).partition("\n")
    name = parse_road(road)
    words = rest.replace(",PR", " PR").rsplit(None, 1)
    side = _SIDES.get(words[-1].strip(","), "") if len(words) > 1 else ""
    pr, abscissa_m = parse_place(words[0].rstrip(" ,") if side else rest)
    return RoadReference(name, pr, abscissa_m, side)


def parse_place(text: str) -> tuple[int | None, float]:
    """`PR 12+350`, `12+0350`, `PR 12`, `PR12-30`; `+350 m` on a road without posts → the post's
    number and the metres from it. Raises RoadNameError."""
    plain = _plain(text)
    if found := _PLACE.fullmatch(plain):
        return int(found["pr"]), _metres(found["abscissa"] or "0")
    if found := _METRES.fullmatch(plain):
        return None, _metres(found["abscissa"])
    raise RoadNameError(
        f"« {text.strip()[:40]} » n'est pas une position : écrivez par exemple « PR 12+350 »."
    )


def _plain(text: str) -> str:
    return " ".join(text[:80].upper().split())


def _metres(text: str) -> float:
    return float(text.replace(" ", "").replace(",", "."))


def link_lengths_m(network: RoadNetwork) -> Floats:
    """Plane length of each link, shape (n,)."""
    along_m = np.hypot(*np.diff(network.vertices_m[:, :2], axis=0).T)
    total_m = np.concatenate([[0.0], np.cumsum(along_m)])
    return np.asarray(total_m[network.starts[1:] - 1] - total_m[network.starts[:-1]])
