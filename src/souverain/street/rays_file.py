"""The file of `souverain street triangulate`: rays in CSV in, points with their covariance out.

One row a ray, `docs/schemas/street-ray.schema.json` says what each key holds; rows of one `id` are
the rays of one point, wherever they are in the file. Each ray's errors are its own: `sigma_xyz_m` on
each axis of its start, `sigma_deg` on its heading and on its pitch.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from souverain.street.engine import sphere
from souverain.street.engine import triangulation as tri

COLUMNS = (
    "id", "x_m", "y_m", "z_m", "heading_deg", "pitch_deg", "sigma_xyz_m", "sigma_deg",
)  # fmt: skip
MAX_BYTES = 256 << 20
MAX_ROWS = 2_000_000
_ID_LENGTH = 200
_RANGES = {
    "x_m": (-1e8, 1e8),
    "y_m": (-1e8, 1e8),
    "z_m": (-1e5, 1e5),
    "heading_deg": (-360.0, 360.0),
    "pitch_deg": (-90.0, 90.0),
    "sigma_xyz_m": (0.0, 1e3),
    "sigma_deg": (0.0, 45.0),
}


class RaysError(ValueError):
    """The file cannot be read at all; the message is a French sentence."""


@dataclass(frozen=True)
class Fault:
    """A row that is no ray: its line in the file, the point that it names, the key at fault, why."""

    line: int
    id: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"ligne {self.line}, clé « {self.key} » : {self.reason}"


@dataclass(frozen=True)
class Row:
    """A ray as the file gives it; `values` in the order of the columns after `id`."""

    line: int
    id: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class RaysFile:
    rows: list[Row]
    faults: list[Fault]
    ids: dict[str, None]
    """Every point that is named, in order."""


def read(path: Path) -> RaysFile:
    """Raises RaysError for what is not a CSV of rays; a wrong row is told in `faults`."""
    if path.stat().st_size > MAX_BYTES:
        raise RaysError(f"« {path.name} » dépasse {MAX_BYTES >> 20} Mio.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RaysError(f"« {path.name} » n'est pas du texte UTF-8.") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    found = RaysFile([], [], {})
    try:
        head = [name.strip() for name in next(lines, [])]
        missing = [name for name in COLUMNS if name not in head]
        if missing or len(set(head)) < len(head):
            key = missing[0] if missing else next(n for n in head if head.count(n) > 1)
            why = "manque" if missing else "est donnée deux fois"
            raise RaysError(
                f"« {path.name} », ligne 1 : la clé « {key} » {why} (attendu : {','.join(COLUMNS)})."
            )
        places = [head.index(name) for name in COLUMNS]
        for count, cells in enumerate(lines):
            if count >= MAX_ROWS:
                raise RaysError(f"« {path.name} » a plus de {MAX_ROWS} lignes.")
            if cells:
                _take(found, lines.line_num, cells, places, len(head))
    except csv.Error as error:
        raise RaysError(f"« {path.name} », ligne {lines.line_num} : CSV mal formé.") from error
    return found


def _take(found: RaysFile, line: int, cells: list[str], places: list[int], width: int) -> None:
    named = cells[places[0]].strip() if places[0] < len(cells) else ""
    found.ids.setdefault(named)
    if len(cells) != width:
        found.faults.append(Fault(line, named, "id", f"{len(cells)} valeurs au lieu de {width}"))
        return
    faults = (
        []
        if named and len(named) <= _ID_LENGTH
        else [Fault(line, named, "id", "vide ou trop long")]
    )
    values = []
    for key, place in zip(COLUMNS[1:], places[1:], strict=True):
        low, high = _RANGES[key]
        try:
            value = float(cells[place])
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            text = cells[place].strip()[:40]
            faults.append(
                Fault(line, named, key, f"« {text} » n'est pas un nombre de {low:g} à {high:g}")
            )
        values.append(value)
    if not faults and values[5] == values[6] == 0.0:
        faults.append(
            Fault(line, named, "sigma_deg", "une visée sans aucune incertitude n'existe pas")
        )
    if faults:
        found.faults.extend(faults)
    else:
        found.rows.append(Row(line, named, tuple(values)))


def triangulate(file: RaysFile) -> list[dict[str, Any]]:
    """For each id, in the order of the file, the point and its covariance, or why there is none: a
    point is not computed without those of its rows that are at fault."""
    groups: dict[str, list[Row]] = {name: [] for name in file.ids}
    for row in file.rows:
        groups[row.id].append(row)
    spoilt = {fault.id: fault for fault in reversed(file.faults)}
    answers: dict[str, dict[str, Any]] = {}
    by_count: dict[int, list[str]] = {}
    for name, rows in groups.items():
        if name in spoilt:
            answers[name] = _answer(name, rows, error=f"Visée refusée : {spoilt[name]}.")
        elif len(rows) > tri.MAX_RAYS:
            reason = f"Plus de {tri.MAX_RAYS} visées pour un point."
            answers[name] = _answer(name, rows, error=reason)
        elif len(rows) < 2:
            answers[name] = _answer(name, rows, error=str(tri.Refused(tri.Reason.ALONE)))
        else:
            by_count.setdefault(len(rows), []).append(name)
    for names in by_count.values():
        answers |= _computed({name: groups[name] for name in names})
    return [answers[name] for name in groups]


def _bundles(groups: Sequence[list[Row]]) -> tri.Bundles:
    """Groups of as many rows each → arrays, shape (m, n, …)."""
    values = np.array([[row.values for row in rows] for rows in groups])
    heading, pitch = values[..., 3], values[..., 4]
    turn = sphere.rotation(heading, pitch)
    down = np.broadcast_to([0.0, 0.0, -1.0], (*heading.shape, 3))
    axes = np.stack([down, turn[..., :, 0]], -1)
    return tri.Bundles(
        values[..., :3],
        turn[..., :, 1],
        np.eye(3) * values[..., 5, None, None] ** 2,
        axes @ np.swapaxes(axes, -1, -2) * np.radians(values[..., 6, None, None]) ** 2,
    )


def _computed(groups: dict[str, list[Row]]) -> dict[str, dict[str, Any]]:
    bundles = _bundles(list(groups.values()))
    found = tri.intersect(bundles)
    answers = {}
    for index, (name, rows) in enumerate(groups.items()):
        one, left_out = found[index], ()
        if found.p_value[index] < tri.SIGNIFICANCE and len(rows) > 2:
            left_out, one = tri.disagreeing(bundles[index : index + 1], one)
        answers[name] = _answer(name, rows, one, left_out)
    return answers


def _answer(
    name: str,
    rows: list[Row],
    found: tri.Intersections | None = None,
    left_out: tuple[int, ...] = (),
    error: str | None = None,
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": name, "rays": len(rows), "x_m": None, "y_m": None, "z_m": None,
        "covariance_m2": None, "sigma_x_m": None, "sigma_y_m": None, "sigma_z_m": None,
        "sigma_m": None, "angle_deg": None, "chi2": None, "degrees_of_freedom": None,
        "p_value": None, "consistent": None, "rejected_lines": [rows[k].line for k in left_out],
        "error": error,
    }  # fmt: skip
    if found is None:
        return answer
    answer["angle_deg"] = float(found.angle_deg[0])
    refusal = found.refusal(0)
    if refusal is not None:
        return {**answer, "error": refusal.sentence}
    x, y, z = found.points_m[0]
    covariance = found.covariance_m2[0]
    sigmas = np.sqrt(np.diag(covariance))
    return {
        **answer,
        "x_m": float(x), "y_m": float(y), "z_m": float(z),
        "covariance_m2": covariance.tolist(),
        "sigma_x_m": float(sigmas[0]), "sigma_y_m": float(sigmas[1]), "sigma_z_m": float(sigmas[2]),
        "sigma_m": float(tri.worst_sigma(found.covariance_m2)[0]),
        "chi2": float(found.chi2[0]),
        "degrees_of_freedom": 2 * (len(rows) - len(left_out)) - 3,
        "p_value": float(found.p_value[0]),
        "consistent": bool(found.p_value[0] >= tri.SIGNIFICANCE),
    }  # fmt: skip


def lines(answers: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For a person: one line a point."""
    for answer in answers:
        if answer["error"]:
            yield f"{answer['id']} : {answer['error']}"
            continue
        doubt = "" if answer["consistent"] else "  les visées ne se rejoignent pas"
        left = "".join(f"  ligne {line} écartée" for line in answer["rejected_lines"])
        yield (
            f"{answer['id']} : {answer['x_m']:.3f} {answer['y_m']:.3f} {answer['z_m']:.3f}"
            f" ± {answer['sigma_m'] * 100:.1f} cm{doubt}{left}"
        )
