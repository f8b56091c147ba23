"""The vehicle's trajectory beside its pictures: where each was taken, and how sure that is.

A CSV (comma or semicolon) or a GeoPackage of points, one row an instant or a picture;
`docs/schemas/street-trajectory.schema.json` names the columns. Everything is carried to
Lambert-93 metres. Between two rows a position is interpolated linearly and an angle along its
shorter arc; across a hole nothing is made up. A trajectory is an instrument's output: one wrong
row refuses the whole file, with the line and the key.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError

from souverain.street.engine import sphere
from souverain.street.engine.pose import ELLIPSOID, NGF, UNKNOWN
from souverain.territory.engine import projection

Floats = npt.NDArray[np.float64]

MAX_ROWS = 10_000_000
MAX_BYTES = 4 << 30
MAX_HOLE_S = 2.0
MAX_HOLE_M = 50.0
DATUMS = {"NGF-IGN69": NGF, "IGN69": NGF, "ellipsoid": ELLIPSOID, "": UNKNOWN, "unknown": UNKNOWN}
FRAMES = ("RGF93", "Lambert-93")
_FINE_M = 0.5  # what claims better than this must say its terrestrial frame exactly
_NUMBERS = (
    "lon", "lat", "x_m", "y_m", "altitude_m", "heading_deg", "heading_grid_deg", "pitch_deg",
    "roll_deg", "sigma_xy_m", "sigma_z_m", "sigma_heading_deg", "sigma_tilt_deg",
)  # fmt: skip
_COLUMNS = frozenset({"file", "time", "datum", "frame", *_NUMBERS})
_SAME = {"longitude": "lon", "latitude": "lat", "x": "x_m", "y": "y_m", "z": "altitude_m",
         "z_m": "altitude_m", "altitude": "altitude_m", "heading": "heading_deg",
         "pitch": "pitch_deg", "roll": "roll_deg", "file_name": "file", "filename": "file"}  # fmt: skip
_RANGES = {"lon": (-180, 180), "lat": (-90, 90), "pitch_deg": (-90, 90), "roll_deg": (-180, 180)}
_LAMBERT_93_M = (0.0, 1_300_000.0, 6_000_000.0, 7_200_000.0)
_SHOWN = 20


class TrajectoryError(ValueError):
    """The file is refused, or has nothing for a picture; the message is a French sentence."""


@dataclass(frozen=True)
class Fix:
    """A camera's pose at one instant. Heading from true north, None when the file has none;
    sigmas are one standard deviation, None when the file has none."""

    x_m: float
    y_m: float
    z_m: float | None
    datum: str
    heading_deg: float | None
    pitch_deg: float
    roll_deg: float
    sigma_xy_m: float | None
    sigma_z_m: float | None
    sigma_heading_deg: float | None
    sigma_tilt_deg: float | None
    taken_at: datetime | None


@dataclass(frozen=True)
class Mounting:
    """From the antenna to the camera (x right, y forward, z up), and the camera's angles in the
    vehicle: heading, pitch, roll."""

    lever_arm_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    boresight_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Trajectory:
    """Rows in order of time; NaN where the file has nothing. `values[name]` has shape (n,)."""

    time_s: Floats
    values: Mapping[str, Floats]
    datum: str
    lines: tuple[int, ...]
    files: Mapping[str, int] = field(default_factory=dict)

    def at_file(self, name: str, mounting: Mounting = Mounting()) -> Fix | None:
        """The pose of a picture that the file names; None when it does not."""
        row = self.files.get(name, self.files.get(name.rpartition("/")[2]))
        if row is None:
            return None
        picked = {key: float(column[row]) for key, column in self.values.items()}
        return self._fix(picked, float(self.time_s[row]), mounting)

    def at(self, moment: datetime, mounting: Mounting = Mounting()) -> Fix:
        """The pose at an instant. Raises TrajectoryError in a hole and outside the file."""
        wanted = moment.timestamp()
        known = self.time_s
        if not len(known) or math.isnan(known[0]):
            raise TrajectoryError("La trajectoire n'a pas d'heures, et ne nomme pas cette image.")
        if not known[0] <= wanted <= known[-1]:
            side = "avant le début" if wanted < known[0] else "après la fin"
            raise TrajectoryError(f"L'image est prise {side} de la trajectoire.")
        after = min(bisect_right(known, wanted), len(known) - 1)
        before = after - 1
        if before < 0 or wanted == known[after]:
            before = after
        gap_s = known[after] - known[before]
        steps = [self.values[key][after] - self.values[key][before] for key in ("x_m", "y_m")]
        if gap_s > MAX_HOLE_S or math.hypot(*steps) > MAX_HOLE_M:
            raise TrajectoryError(
                f"L'image tombe dans un trou de la trajectoire : {gap_s:.1f} s et "
                f"{math.hypot(*steps):.0f} m entre les lignes {self.lines[before]} et "
                f"{self.lines[after]} ({MAX_HOLE_S:.0f} s et {MAX_HOLE_M:.0f} m au plus)."
            )
        share = (wanted - known[before]) / gap_s if gap_s else 0.0
        picked = {
            key: _between(key, float(column[before]), float(column[after]), float(share))
            for key, column in self.values.items()
        }
        return self._fix(picked, wanted, mounting)

    def _fix(self, picked: dict[str, float], time_s: float, mounting: Mounting) -> Fix:
        some = {key: None if math.isnan(value) else value for key, value in picked.items()}
        longitude, latitude = projection.metres_to_lonlat(
            np.array([[picked["x_m"], picked["y_m"]]])
        )[0]
        turn = projection.convergence_deg(float(longitude), float(latitude))
        grid = some["heading_grid_deg"]
        if some["heading_deg"] is not None:
            grid = some["heading_deg"] - turn
        tilt = (some["pitch_deg"] or 0.0, some["roll_deg"] or 0.0)
        place = np.array([picked["x_m"], picked["y_m"], some["altitude_m"] or 0.0])
        if grid is None and (any(mounting.lever_arm_m) or any(mounting.boresight_deg)):
            raise TrajectoryError(
                "La campagne a un bras de levier ou un calage : la trajectoire doit dire le cap."
            )
        if grid is not None:
            place, grid, *tilt_ = carried(place, (grid, *tilt), mounting)
            tilt = (tilt_[0], tilt_[1])
        return Fix(
            x_m=float(place[0]),
            y_m=float(place[1]),
            z_m=None if some["altitude_m"] is None else float(place[2]),
            datum=self.datum if some["altitude_m"] is not None else UNKNOWN,
            heading_deg=None if grid is None else (grid + turn) % 360.0,
            pitch_deg=tilt[0],
            roll_deg=tilt[1],
            sigma_xy_m=some["sigma_xy_m"],
            sigma_z_m=some["sigma_z_m"],
            sigma_heading_deg=some["sigma_heading_deg"],
            sigma_tilt_deg=some["sigma_tilt_deg"],
            taken_at=None if math.isnan(time_s) else datetime.fromtimestamp(time_s, UTC),
        )


def carried(
    place_m: Floats, attitude_deg: tuple[float, float, float], mounting: Mounting
) -> tuple[Floats, float, float, float]:
    """From the antenna and the vehicle's attitude (grid heading, pitch, roll) to the camera's:
    position + R·lever arm, and R·boresight read back as angles."""
    vehicle = sphere.rotation(*attitude_deg)
    camera = vehicle @ sphere.rotation(*mounting.boresight_deg)
    heading = math.degrees(math.atan2(camera[0, 1], camera[1, 1])) % 360.0
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, float(camera[2, 1])))))
    roll = math.degrees(math.atan2(-camera[2, 0], camera[2, 2]))
    return place_m + vehicle @ np.array(mounting.lever_arm_m), heading, pitch, roll


def _between(key: str, before: float, after: float, share: float) -> float:
    if key in ("heading_deg", "heading_grid_deg", "roll_deg"):
        return before + share * ((after - before + 180.0) % 360.0 - 180.0)
    if key.startswith("sigma"):
        return max(before, after)
    return before + share * (after - before)


# Reading -----------------------------------------------------------------------------------------

Row = Mapping[str, str]


def read(path: Path) -> Trajectory:
    """Read a `.csv` or `.gpkg` file. Raises TrajectoryError, OSError."""
    if path.stat().st_size > MAX_BYTES:
        raise TrajectoryError(f"{path.name} dépasse {MAX_BYTES >> 30} Gio.")
    match path.suffix.lower():
        case ".csv":
            return of_rows(_csv_rows(path), path.name)
        case ".gpkg":
            return of_rows(_geopackage_rows(path), path.name)
    raise TrajectoryError(f"{path.name} : une trajectoire est un fichier .csv ou .gpkg.")


def of_rows(rows: Iterable[tuple[int, Row]], name: str = "trajectoire") -> Trajectory:
    """Rows with their line numbers → a trajectory. Raises TrajectoryError with what is wrong in
    the first lines that are."""
    faults: list[str] = []
    kept: list[tuple[int, float, str, str, list[float]]] = []
    for line, row in rows:
        try:
            kept.append((line, *_parsed(row)))
        except TrajectoryError as error:
            faults.append(f"ligne {line} : {error}")
            if len(faults) == _SHOWN:
                break
        if len(kept) > MAX_ROWS:
            raise TrajectoryError(f"{name} a plus de {MAX_ROWS} lignes.")
    if not faults:
        faults = list(_duplicates(kept))
    if faults:
        raise TrajectoryError(f"{name} : " + " ; ".join(faults[:_SHOWN]) + ".")
    if not kept:
        raise TrajectoryError(f"{name} ne contient aucune ligne.")
    timed = [math.isnan(row[1]) for row in kept]
    if any(timed) and not all(timed):
        line = kept[timed.index(True)][0]
        raise TrajectoryError(f"{name} : ligne {line} : time manque, alors que d'autres l'ont.")
    datums = {row[2] for row in kept}
    if len(datums) > 1:
        raise TrajectoryError(f"{name} mêle des datums d'altitude : {', '.join(sorted(datums))}.")
    kept.sort(key=lambda row: (row[1], row[0]))
    columns = np.array([row[4] for row in kept], float).reshape(len(kept), len(_NUMBERS))
    values = {key: columns[:, index] for index, key in enumerate(_NUMBERS)}
    unplaced = np.isnan(values["x_m"])
    if unplaced.any():
        metres = projection.lonlat_to_metres(values["lon"][unplaced], values["lat"][unplaced])
        values["x_m"][unplaced], values["y_m"][unplaced] = metres[:, 0], metres[:, 1]
        west, east, south, north = _LAMBERT_93_M
        far = ~((west <= values["x_m"]) & (values["x_m"] <= east))
        far |= ~((south <= values["y_m"]) & (values["y_m"] <= north))
        if far.any():  # latitude and longitude exchanged, for the most part
            line = kept[int(np.argmax(far))][0]
            raise TrajectoryError(f"{name} : ligne {line} : lon et lat sont hors de la métropole.")
    del values["lon"], values["lat"]
    return Trajectory(
        time_s=np.array([row[1] for row in kept], float),
        values=values,
        datum=datums.pop(),
        lines=tuple(row[0] for row in kept),
        files={row[3]: index for index, row in enumerate(kept) if row[3]},
    )


def _duplicates(kept: list[tuple[int, float, str, str, list[float]]]) -> Iterator[str]:
    times: dict[float, int] = {}
    files: dict[str, int] = {}
    for line, time_s, _, file, _ in kept:
        if not math.isnan(time_s):
            first = times.setdefault(time_s, line)
            if first != line:
                yield f"ligne {line} : time est le même qu'à la ligne {first}"
        if file:
            first = files.setdefault(file, line)
            if first != line:
                yield f"ligne {line} : file « {file} » est déjà à la ligne {first}"


def _parsed(row: Row) -> tuple[float, str, str, list[float]]:
    """Time, datum, file and numbers of a row. Raises TrajectoryError naming the key."""
    numbers = [_number(row, key) for key in _NUMBERS]
    by = dict(zip(_NUMBERS, numbers, strict=True))
    time_s = _seconds(row.get("time", ""))
    file = row.get("file", "").strip()
    if math.isnan(time_s) and not file:
        raise TrajectoryError("time manque, et file ne nomme pas d'image")
    degrees = not (math.isnan(by["lon"]) or math.isnan(by["lat"]))
    metres = not (math.isnan(by["x_m"]) or math.isnan(by["y_m"]))
    if degrees == metres:
        raise TrajectoryError("il faut lon et lat, ou x_m et y_m")
    west, east, south, north = _LAMBERT_93_M
    if metres and not (west <= by["x_m"] <= east and south <= by["y_m"] <= north):
        raise TrajectoryError("x_m et y_m ne sont pas en Lambert-93")
    said = row.get("datum", "").strip()
    datum = {key.casefold(): value for key, value in DATUMS.items()}.get(said.casefold())
    if datum is None:
        raise TrajectoryError(f"datum « {said[:40]} » inconnu : NGF-IGN69 ou ellipsoid")
    if not math.isnan(by["altitude_m"]) and datum == UNKNOWN and not said:
        raise TrajectoryError("altitude_m sans datum : NGF-IGN69 ou ellipsoid")
    frame = row.get("frame", "").strip()
    if frame and frame.casefold() not in [known.casefold() for known in FRAMES]:
        if by["sigma_xy_m"] < _FINE_M:
            raise TrajectoryError(
                f"frame « {frame[:40]} » : une position à moins de {_FINE_M:.1f} m près doit être "
                "en RGF93 ou Lambert-93 (WGS 84 s'en écarte de plusieurs décimètres)"
            )
        if not frame.upper().replace(" ", "").replace("-", "").startswith(("WGS84", "ETRS89")):
            raise TrajectoryError(f"frame « {frame[:40]} » inconnu : RGF93 ou Lambert-93")
    if not (math.isnan(by["heading_deg"]) or math.isnan(by["heading_grid_deg"])):
        raise TrajectoryError("heading_deg (nord vrai) et heading_grid_deg (carte) à la fois")
    return time_s, datum, file, numbers


def _number(row: Row, key: str) -> float:
    text = (row.get(key) or "").strip()
    if not text:
        return math.nan
    try:
        number = math.nan if "_" in text else float(text)  # Python reads 4_7.3 as 47.3
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise TrajectoryError(f"{key} « {text[:40]} » n'est pas un nombre")
    low, high = _RANGES.get(key, (-math.inf, math.inf))
    if key.startswith("sigma") and number <= 0.0:
        # No instrument has none: it would make every measure on the picture look sure.
        raise TrajectoryError(f"{key} vaut {text[:40]} : un écart-type inconnu reste vide")
    if not low <= number <= high:
        raise TrajectoryError(f"{key} vaut {text[:40]}")
    return number


def _seconds(text: str) -> float:
    if not text.strip():
        return math.nan
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TrajectoryError(
            f"time « {text[:40]} » ne se lit pas : 2026-06-01T12:00:00.225Z"
        ) from None
    if moment.tzinfo is None:
        raise TrajectoryError(f"time « {text[:40]} » ne dit pas son décalage : finir par Z")
    try:
        return moment.astimezone(UTC).timestamp()
    except OverflowError:
        raise TrajectoryError(f"time « {text[:40]} » est hors du calendrier") from None


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            delimiter = ";" if head.count(";") > head.count(",") else ","
            names = _named(next(csv.reader([head], delimiter=delimiter), []), path.name)
            for number, cells in enumerate(csv.reader(file, delimiter=delimiter), start=2):
                if not any(cells):
                    continue
                if any(cells[len(names) :]):  # 5,04 for 5.04 would move the others along
                    raise TrajectoryError(
                        f"{path.name} : ligne {number} : {len(cells)} valeurs au lieu de "
                        f"{len(names)} ; le séparateur décimal est le point."
                    )
                if delimiter == ";":
                    cells = [
                        cell.replace(",", ".") if name in _NUMBERS else cell
                        for name, cell in zip(names, cells, strict=False)
                    ]
                yield number, dict(zip(names, cells, strict=False))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TrajectoryError(f"{path.name} n'est pas un CSV en UTF-8.") from error


def _named(heads: Iterable[str], name: str) -> list[str]:
    names = [_SAME.get(head.strip().casefold(), head.strip().casefold()) for head in heads]
    known = [head for head in names if head in _COLUMNS]
    if len(set(known)) != len(known):
        raise TrajectoryError(f"{name} a deux fois la même colonne.")
    if not {"time", "file"} & set(known):
        raise TrajectoryError(f"{name} n'a ni colonne time ni colonne file.")
    return names


def _geopackage_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        meta, fids, shapes, columns = pyogrio.raw.read(
            path, return_fids=True, datetime_as_string=True
        )
    except (DataSourceError, DataLayerError, FieldError, ValueError) as error:
        raise TrajectoryError(f"{path.name} n'est pas un GeoPackage lisible.") from error
    points = shapely.from_wkb(shapes) if shapes is not None else np.array([None] * len(fids))
    keys = {"EPSG:2154": ("x_m", "y_m"), "EPSG:4171": ("lon", "lat"), "EPSG:4326": ("lon", "lat")}
    if str(meta["crs"]) not in keys:
        raise TrajectoryError(
            f"{path.name} est en {meta['crs'] or 'projection non déclarée'} : il faut Lambert-93 "
            "(EPSG:2154) ou RGF93 (EPSG:4171)."
        )
    across, up = keys[str(meta["crs"])]
    names = _named([str(head) for head in meta["fields"]], path.name)
    for index, (fid, point) in enumerate(zip(fids, points, strict=True)):
        row = {name: _cell(column[index]) for name, column in zip(names, columns, strict=True)}
        if point is None or point.is_empty or point.geom_type != "Point":
            raise TrajectoryError(f"{path.name} : ligne {fid} : la géométrie n'est pas un point.")
        row |= {across: repr(point.x), up: repr(point.y)}
        if str(meta["crs"]) == "EPSG:4326":
            row.setdefault("frame", "WGS84")
        if point.has_z and not row.get("altitude_m"):
            row["altitude_m"] = repr(point.z)
        yield int(fid), row


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    return str(value)
