"""A street that does not exist, drawn as panoramas whose geometry is exact.

Nothing here is a photograph: the street is a few analytic surfaces (a bent road and a crossing one,
façades, roofs, posts, trees) on which rays are cast, one a pixel, in the frames of `sphere`. Its use
is to try the viewer, the links and measuring where no real campaign is there, and to prove them:
the *fiducials* are spheres of one flat colour whose centres are known. A sphere is seen as a circular
cone, so the mean of the directions in which it shows is that of its centre, without perspective bias.

World: metres, x east, y north from the start of the street, z up from the road. Along the street, s
is the way from its start, t the distance to the right of its middle; it bends to the right at the
radius `BEND_M`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, exp, floor, hypot, pi, sin, sqrt
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from souverain.street.engine import sphere

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

BEND_M = 150.0
CROSSING_M = 30.0
"""Where the crossing street meets the main one."""
_START_M, _END_M = -24.0, 84.0
_HALF_ROAD, _HALF_CROSSING = 3.5, 2.75
_WALL, _CROSSING_WALL = 8.0, 6.0
_CROSSING_END = 52.0
_FAR = 1e9
_CAP_M = 0.55

SPHERE, FOLIAGE, POST, PLATE, DISC = range(5)
_SUN = (0.48, -0.52, 0.71)


@dataclass(frozen=True)
class Solid:
    """Something that stands in the street. `place` is the centre (foot for a post); `size` is the
    radius, then the height (post) or half height (plate); `facing_deg` is where a plate looks, from
    north; `sign` is the row of `SIGNS` on a plate."""

    kind: int
    place: tuple[float, float, float]
    size: tuple[float, float]
    colour: tuple[int, int, int]
    facing_deg: float = 0.0
    sign: int = -1


@dataclass(frozen=True)
class Fiducial:
    """A mark whose centre is known: a sphere, or a disc that lies on the road."""

    name: str
    place: tuple[float, float, float]
    radius_m: float
    colour: tuple[int, int, int]
    on_road: bool = False


@dataclass(frozen=True)
class Stop:
    """A pose of the camera in the street. Heading from the street's north."""

    place: tuple[float, float, float]
    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0


@dataclass(frozen=True)
class Street:
    fiducials: tuple[Fiducial, ...]
    solids: tuple[Solid, ...]
    main: tuple[Stop, ...]
    crossing: tuple[Stop, ...]


def along(s: float, t: float, z: float = 0.0) -> tuple[float, float, float]:
    """Where (s, t, z) of the street is in the world."""
    turn = s / BEND_M
    return BEND_M - (BEND_M - t) * cos(turn), (BEND_M - t) * sin(turn), z


def along_crossing(u: float, v: float, z: float = 0.0) -> tuple[float, float, float]:
    """The same for the crossing street: u to the right of the main one, v ahead on it."""
    turn = CROSSING_M / BEND_M
    x, y, _ = along(CROSSING_M, u)
    return x + v * sin(turn), y + v * cos(turn), z


def heading_at(s: float) -> float:
    """Of the street there, degrees from its north."""
    return s / BEND_M * 180.0 / pi


MAGENTA = (255, 0, 255)
"""Of every fiducial: nothing else in the street has less green than red and blue."""
_STEEL, _BARK = (120, 124, 128), (92, 74, 58)


def street(spacing_m: float = 5.0) -> Street:
    """The street: twelve stops along it and six on the crossing one, the marks, signs and trees."""
    fiducials: list[Fiducial] = []
    for rank, s in enumerate((2.0, 9.0, 16.0, 22.5, 37.5, 44.0, 50.0, 57.0)):
        for side in (-1, 1):
            z = (1.2, 2.1, 3.2)[(rank + (side > 0)) % 3]
            name = f"R{len(fiducials) + 1:02}"
            fiducials.append(Fiducial(name, along(s, side * 4.7, z), 0.09, MAGENTA))
    for u in (-22.0, -13.0, 13.0, 22.0):
        name = f"R{len(fiducials) + 1:02}"
        z = 1.4 if u < 0 else 2.4
        fiducials.append(Fiducial(name, along_crossing(u, 3.9, z), 0.09, MAGENTA))
    for s, t in ((6.0, -1.7), (19.0, 1.7), (40.0, -1.7), (52.0, 1.7)):
        name = f"C{len(fiducials) + 1:02}"
        fiducials.append(Fiducial(name, along(s, t), 0.12, MAGENTA, on_road=True))

    solids = [
        Solid(POST, (f.place[0], f.place[1], 0.0), (0.03, f.place[2] - 0.09), _STEEL)
        for f in fiducials
        if not f.on_road
    ]
    for s, t, sign in (
        (-3.0, 4.3, 0),
        (20.0, 4.3, 1),
        (33.5, -4.3, 2),
        (46.5, 4.3, 3),
        (61.0, -4.3, 0),
    ):
        x, y, _ = along(s, t)
        facing = heading_at(s) + (180.0 if t > 0 else 0.0)
        solids.append(Solid(POST, (x, y, 0.0), (0.035, 2.9), _STEEL))
        wide = 0.62 if sign == 0 else 0.33
        forward = np.radians(facing)
        front = (x + 0.05 * sin(forward), y + 0.05 * cos(forward), 2.55)
        solids.append(Solid(PLATE, front, (wide, 0.33), (255, 255, 255), facing, sign))
    for s, t, tall in ((-40.0, -9.0, 6.5), (-33.0, 8.0, 5.5), (-52.0, 6.0, 7.0), (92.0, -9.0, 6.0),
                       (98.0, 9.0, 7.0), (110.0, -6.0, 6.5), (12.5, -6.4, 4.6), (47.0, -6.4, 4.6),
                       (64.0, 6.4, 4.4), (-8.0, 6.4, 4.8)):  # fmt: skip
        x, y, _ = along(s, t)
        crown = tall * 0.27
        solids.append(Solid(POST, (x, y, 0.0), (0.12, tall - crown), _BARK))
        green = (78 + int(3 * tall), 112 + int(2 * tall), 58)
        for east, north, up, part in ((0, 0, 0, 1.0), (0.7, 0.3, -0.35, 0.75), (-0.6, 0.5, -0.2, 0.7),
                                      (0.1, -0.7, -0.3, 0.72)):  # fmt: skip
            place = (x + east * crown, y + north * crown, tall - crown + up * crown)
            solids.append(Solid(FOLIAGE, place, (crown * part, 0.0), green))
    main = tuple(
        Stop(
            along(s, 1.4, 2.5),
            heading_at(s) + 1.5 * sin(0.7 * k),
            0.6 * sin(1.3 * k),
            0.8 * cos(0.9 * k),
        )
        for k, s in enumerate(np.arange(12) * spacing_m)
    )
    crossing = tuple(
        Stop(
            along_crossing(u, -1.2, 2.5),
            heading_at(CROSSING_M) + 90.0 + sin(1.1 * k),
            0.5 * cos(k),
            0.5 * sin(1.7 * k),
        )
        for k, u in enumerate((-12.5, -7.5, -2.5, 2.5, 7.5, 12.5))
    )
    return Street(tuple(fiducials), tuple(solids), main, crossing)


# The signs: small pictures, 96 x 192, written with letters of five by seven.
_LETTERS = {
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
    "N": "10001 11001 10101 10101 10011 10001 10001",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "0": "01110 10001 10011 10101 11001 10001 01110",
}
_VILLAGE, _LIMIT, _NO_ENTRY, _PARKING, _CAP = range(5)


def _write(picture: Floats, text: str, top: int, left: int, high: int, wide: int, ink: int) -> None:
    for place, letter in enumerate(text):
        rows = _LETTERS[letter].split()
        cells = np.array([[cell == "1" for cell in row] for row in rows])
        shape = np.kron(cells, np.ones((high, wide), bool))
        x = left + place * 6 * wide
        picture[top : top + 7 * high, x : x + 5 * wide][shape] = ink


def _signs() -> Bytes:
    """Shape (5, 96, 192, 3); black is where there is no sign."""
    rows, columns = np.mgrid[0:96, 0:192].astype(float)
    around = np.hypot((rows - 47.5) / 48, (columns - 95.5) / 96)
    red, blue = (200, 30, 40), (30, 80, 170)
    signs = np.full((5, 96, 192, 3), 250.0)
    signs[_VILLAGE][(rows < 9) | (rows > 86) | (columns < 9) | (columns > 182)] = red
    _write(signs[_VILLAGE], "SYNTHESE", 36, 26, 3, 3, 20)
    signs[_LIMIT][around > 0.74] = red
    _write(signs[_LIMIT], "30", 30, 40, 5, 10, 20)
    signs[_NO_ENTRY][:] = red
    signs[_NO_ENTRY][(np.abs(rows - 47.5) < 9) & (np.abs(columns - 95.5) < 70)] = 250.0
    signs[_PARKING][:] = blue
    _write(signs[_PARKING], "P", 16, 56, 9, 18, 250)
    signs[_CAP][:] = (88, 92, 96)
    _write(signs[_CAP], "SYNTHESE", 36, 26, 3, 3, 245)
    for sign in (_LIMIT, _NO_ENTRY):
        signs[sign][around > 1.0] = 0.0
    return signs.astype(np.uint8)


_SIGNS = _signs()
_jit = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_jit
def _hash(i: int, j: int) -> float:
    n = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@_jit
def _noise(x: float, y: float) -> float:
    """Smooth noise in [0, 1) whose grain is one unit."""
    i, j = floor(x), floor(y)
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = _hash(i, j) * (1 - u) + _hash(i + 1, j) * u
    high = _hash(i, j + 1) * (1 - u) + _hash(i + 1, j + 1) * u
    return low * (1 - v) + high * v


@_jit
def _band(off: float, half: float, blur: float) -> float:
    """How much of a pixel `blur` wide lies within `half` of a line's middle."""
    return min(1.0, max(0.0, (half - abs(off)) / blur + 0.5))


@_jit
def _mix(a: tuple[float, float, float], b: tuple[float, float, float], part: float) -> Any:
    return (
        a[0] + (b[0] - a[0]) * part,
        a[1] + (b[1] - a[1]) * part,
        a[2] + (b[2] - a[2]) * part,
    )


@_jit
def _shade(a: tuple[float, float, float], by: float) -> Any:
    return a[0] * by, a[1] * by, a[2] * by


@_jit
def _sky(dx: float, dy: float, dz: float) -> Any:
    up = max(dz, 0.0)
    colour = _mix((214.0, 226.0, 236.0), (92.0, 142.0, 204.0), 1.0 - exp(-3.2 * up))
    if dz > 0.02:
        x, y = dx / (dz + 0.12), dy / (dz + 0.12)
        cloud = 0.55 * _noise(1.1 * x + 7, 1.1 * y) + 0.3 * _noise(2.7 * x, 2.7 * y + 3)
        cloud += 0.15 * _noise(6.1 * x, 6.1 * y)
        part = min(1.0, max(0.0, (cloud - 0.52) * 4.0)) * min(1.0, dz * 9.0)
        colour = _mix(colour, (250.0, 250.0, 250.0), 0.85 * part)
    if dz < 0.09:
        azimuth = atan2(dx, dy)
        ridge = 0.045 + 0.018 * sin(3 * azimuth + 1) + 0.012 * sin(7 * azimuth)
        near = 0.022 + 0.01 * sin(5 * azimuth + 2) + 0.004 * sin(23 * azimuth)
        if dz < ridge + 0.006 * sin(17 * azimuth):
            colour = (134.0, 156.0, 158.0)
        if dz < near:
            vine = 10.0 * sin(160.0 * azimuth + 900.0 * dz)
            colour = (118.0 + vine, 142.0 + vine, 98.0)
    return colour


@_jit
def _asphalt(x: float, y: float, blur: float) -> Any:
    fine = exp(-blur / 0.05)
    grain = (_noise(2.3 * x, 2.3 * y) - 0.5) * 12
    if fine > 0.03:
        grain += (_noise(34 * x, 34 * y) - 0.5) * 26 * fine
    grain += (_noise(0.35 * x, 0.35 * y + 9) - 0.5) * 14
    return 98.0 + grain, 99.0 + grain, 102.0 + grain


@_jit
def _ground(x: float, y: float, blur: float) -> Any:
    turn = atan2(y, BEND_M - x)
    s, t = turn * BEND_M, BEND_M - hypot(BEND_M - x, y)
    ahead = CROSSING_M / BEND_M
    cx, cy = BEND_M - BEND_M * cos(ahead), BEND_M * sin(ahead)
    u = (x - cx) * cos(ahead) - (y - cy) * sin(ahead)
    v = (x - cx) * sin(ahead) + (y - cy) * cos(ahead)
    white = (232.0, 232.0, 226.0)
    crossing = abs(v) < _CROSSING_WALL and abs(u) < _CROSSING_END + 6
    town = _START_M < s < _END_M
    on_main = abs(t) < _HALF_ROAD
    on_crossing = abs(v) < _HALF_CROSSING and abs(u) < 130.0
    if on_main or on_crossing:
        colour = _asphalt(x, y, blur)
        paint = 0.0
        if on_main and not (on_crossing and abs(u) < _HALF_ROAD):
            zebra = _band(abs(s - CROSSING_M) - 6.0, 1.25, blur)
            paint = zebra * _band((t + 100.25) % 1.0 - 0.5, 0.25, blur) * _band(t, 3.25, blur)
            if abs(s - CROSSING_M) > 8.2:
                dash = _band(((s + 600.0) % 6.0) - 3.0, 1.5, blur)
                paint = max(paint, dash * _band(t, 0.06, blur))
                paint = max(paint, _band(abs(t) - 3.2, 0.06, blur))
        elif on_crossing and not on_main:
            paint = _band(abs(u) - 5.2, 0.25, blur) * _band(v, 2.6, blur)
            if abs(u) > 6.5:
                dash = _band(((u + 600.0) % 4.0) - 2.0, 0.75, blur)
                paint = max(paint, dash * _band(v, 0.05, blur))
        worn = 0.75 + 0.25 * _noise(9 * x, 9 * y)
        colour = _mix(colour, white, paint * worn)
        if on_main and abs(t) > _HALF_ROAD - 0.35 and not on_crossing:
            colour = _shade(colour, 0.9)
        return colour
    paved = (town and abs(t) < _WALL + 0.1) or crossing
    if paved:
        kerb = abs(t) < _HALF_ROAD + 0.16 or abs(v) < _HALF_CROSSING + 0.16
        if kerb:
            joint = 1.0 - 0.25 * _band(((s + u + 900.0) % 1.0) - 0.5, 0.01, blur)
            return _shade((186.0, 182.0, 172.0), joint)
        slab = _hash(floor(s * 1.25), floor(t * 2.0) + 40)
        tone = 0.94 + 0.1 * slab * exp(-blur / 0.4)
        fine = exp(-blur / 0.2)
        seam = max(
            _band(((s + 800.0) % 0.8) - 0.4, 0.008, blur),
            _band(((t + 50.0) % 0.5) - 0.25, 0.008, blur),
        )
        tone *= 1.0 - 0.28 * seam * fine
        tone *= 0.82 + 0.18 * min(1.0, (_WALL - abs(t)) / 0.8 if abs(t) < _WALL else 1.0)
        return _shade((176.0, 166.0, 148.0), tone)
    far = exp(-blur / 0.6)
    patch = _noise(0.5 * x, 0.5 * y) * 0.6 + _noise(4 * x, 4 * y) * 0.4 * far
    return _mix((92.0, 124.0, 62.0), (140.0, 152.0, 84.0), patch)


@_jit
def _wall_height(house: int, side: int) -> float:
    return 5.9 + 2.9 * floor(2.2 * _hash(house + 11, side + 5)) / 2 + 0.5 * _hash(house, side + 77)


@_jit
def _facade(run: float, z: float, side: int, lit: float, blur: float) -> Any:
    """The colour of a wall, `run` metres along it and z up; also its house."""
    house = floor(run / 9.0)
    high = _wall_height(house, side)
    tone = _hash(house, side)
    plaster = _mix((214.0, 196.0, 160.0), (228.0, 214.0, 190.0), tone)
    if tone > 0.7:
        plaster = _mix(plaster, (206.0, 164.0, 132.0), 0.6)
    rough = (_noise(7 * run, 7 * z) - 0.5) * 0.07 * exp(-blur / 0.15) + (
        _noise(run, z) - 0.5
    ) * 0.06
    colour = _shade(plaster, 1.0 + rough)
    edge = run - house * 9.0
    quoin = 0.34 + 0.14 * (floor(z / 0.42) % 2)
    stone = max(_band(edge, quoin, blur), _band(9.0 - edge, quoin, blur))
    stone = max(stone, _band(high - 0.12 - z, 0.14, blur), _band(z, 0.55, blur))
    colour = _mix(colour, (196.0, 184.0, 158.0), 0.8 * stone)
    bay = (edge % 3.0) - 1.5
    number = floor(run / 3.0)
    pick = _hash(number, side + 31)
    glass = (58.0 + 30 * pick, 70.0 + 30 * pick, 84.0 + 26 * pick)
    trim = (222.0, 214.0, 196.0)
    leaf = _hash(house + 3, side + 9)
    shutter = (70.0, 96.0, 120.0)
    if leaf > 0.33:
        shutter = (112.0, 48.0, 44.0)
    if leaf > 0.66:
        shutter = (86.0, 110.0, 84.0)
    if z < 3.2:
        if pick < 0.4:
            frame = _band(bay, 0.66, blur) * _band(z - 1.1, 1.26, blur)
            door = _band(bay, 0.52, blur) * _band(z - 1.05, 1.15, blur)
            panel = _band(abs(bay) - 0.26, 0.17, blur) * _band(abs(z - 1.1) - 0.5, 0.36, blur)
            colour = _mix(colour, trim, frame)
            colour = _mix(colour, _shade(shutter, 1.0 - 0.2 * panel), door)
        else:
            frame = _band(bay, 1.2, blur) * _band(z - 1.55, 1.12, blur)
            pane = _band(abs(bay) - 0.54, 0.5, blur) * _band(z - 1.55, 0.98, blur)
            colour = _mix(colour, trim, frame)
            colour = _mix(colour, _shade(glass, 0.9 + 0.35 * (z - 0.5) / 2.2), pane)
    elif z < high - 0.4:
        rise = ((z - 3.2) % 2.9) - 1.45
        if z - rise + 0.9 < high - 0.3:
            frame = _band(bay, 0.62, blur) * _band(rise, 0.92, blur)
            pane = _band(abs(bay) - 0.26, 0.22, blur) * _band(rise, 0.78, blur)
            slat = 1.0 - 0.14 * _band((z % 0.1) - 0.05, 0.012, blur) * exp(-blur / 0.03)
            colour = _mix(colour, trim, frame)
            colour = _mix(colour, _shade(glass, 1.0 + 0.2 * rise), pane)
            colour = _mix(
                colour,
                _shade(shutter, slat),
                _band(abs(bay) - 0.88, 0.25, blur) * _band(rise, 0.84, blur),
            )
    return _shade(colour, lit * (0.86 + 0.14 * min(1.0, z / 0.7)))


@_jit
def _tiles(run: float, up: float, house: int, side: int, lit: float, blur: float) -> Any:
    """A roof, `up` metres from its eave along the slope; some have the glazed tiles of Burgundy."""
    base = _mix((152.0, 84.0, 58.0), (122.0, 84.0, 70.0), _hash(house + 5, side))
    row = floor(up / 0.22)
    if _hash(house + 23, side + 2) > 0.72:
        a, b = floor((run + up) / 0.9), floor((run - up) / 0.9)
        base = (188.0, 148.0, 60.0) if (a + b) % 2 == 0 else (96.0, 44.0, 40.0)
        if (a % 3 == 0) != (b % 3 == 0):
            base = (44.0, 66.0, 56.0)
    tone = 0.92 + 0.14 * _hash(floor(run / 0.2), row) * exp(-blur / 0.15)
    tone -= 0.2 * _band((up % 0.22) - 0.02, 0.02, blur) * exp(-blur / 0.12)
    return _shade(base, tone * lit)


@_jit
def _walls(px: float, py: float, pz: float, dx: float, dy: float, dz: float, pixel: float) -> Any:
    """The nearest wall or roof on a ray: range (or _FAR) and colour."""
    best = _FAR
    colour = (0.0, 0.0, 0.0)
    flat = hypot(dx, dy)
    if flat < 0.2:
        return best, colour  # too steep for a wall
    for side in range(4):
        # 0 and 1: the bent street's left and right walls; 2 and 3: the crossing's near and far ones.
        if side < 2:
            radius = BEND_M + _WALL if side == 0 else BEND_M - _WALL
            ox, oy = px - BEND_M, py
            b = (ox * dx + oy * dy) / (flat * flat)
            c = (ox * ox + oy * oy - radius * radius) / (flat * flat)
            disc = b * b - c
            if disc <= 0.0:
                continue
            root = sqrt(disc)
            reach = -b + root if side == 0 else -b - root
            if reach <= 0.0 or reach >= best:
                continue
            x, y = px + reach * dx, py + reach * dy
            run = atan2(y, BEND_M - x) * BEND_M
            gap = abs(run - CROSSING_M) < _CROSSING_WALL
            if run < _START_M or run > _END_M or gap:
                continue
            nx, ny = (BEND_M - x) / radius, -y / radius
            if side == 1:
                nx, ny = -nx, -ny
        else:
            ahead = CROSSING_M / BEND_M
            nx, ny = sin(ahead), cos(ahead)
            cx, cy = BEND_M - BEND_M * cos(ahead), BEND_M * sin(ahead)
            v = (px - cx) * nx + (py - cy) * ny
            speed = dx * nx + dy * ny
            if abs(speed) < 1e-9:
                continue
            target = -_CROSSING_WALL if side == 2 else _CROSSING_WALL
            # Only the face that looks at the crossing street is a wall.
            if (side == 2 and speed > 0) or (side == 3 and speed < 0):
                continue
            reach = (target - v) / speed
            if reach <= 0.0 or reach >= best:
                continue
            x, y = px + reach * dx, py + reach * dy
            run = (x - cx) * ny - (y - cy) * nx
            if abs(run) < _WALL or abs(run) > _CROSSING_END:
                continue
            if side == 3:
                nx, ny = -nx, -ny
        z = pz + reach * dz
        house = floor(run / 9.0)
        high = _wall_height(house, side)
        lit = 0.74 + 0.3 * max(0.0, nx * _SUN[0] + ny * _SUN[1])
        facing = max(0.15, abs(dx * nx + dy * ny))
        blur = max(1e-4, reach * pixel / sqrt(facing))
        if 0.0 <= z <= high:
            best, colour = reach, _facade(run, z, side, lit, blur)
        elif z > high:
            # Beyond the eave the roof climbs at 40 degrees for four metres.
            inward = -(dx * nx + dy * ny)
            climb = 0.84 * inward - dz
            if inward > 0.0 and climb > 1e-6:
                more = (z - high) / climb
                deep = more * inward
                if deep < 4.0 and reach + more < best:
                    best = reach + more
                    colour = _tiles(run, deep / 0.77, house, side, lit * 0.98, best * pixel)
    return best, colour


@_jit
def _surroundings(
    picture: Bytes, depth: Any, turn: Floats, px: float, py: float, pz: float
) -> None:
    """Cast one ray a pixel on all but the solids."""
    height, width, _ = picture.shape
    pixel = 2 * pi / width
    sines, cosines = np.empty(width), np.empty(width)
    for column in range(width):
        yaw = (column + 0.5) * pixel - pi
        sines[column], cosines[column] = sin(yaw), cos(yaw)
    for row in range(height):
        elevation = pi / 2 - (row + 0.5) * pixel
        ce, se = cos(elevation), sin(elevation)
        for column in range(width):
            cx, cy = ce * sines[column], ce * cosines[column]
            dx = turn[0, 0] * cx + turn[0, 1] * cy + turn[0, 2] * se
            dy = turn[1, 0] * cx + turn[1, 1] * cy + turn[1, 2] * se
            dz = turn[2, 0] * cx + turn[2, 1] * cy + turn[2, 2] * se
            reach, colour = _walls(px, py, pz, dx, dy, dz, pixel)
            if dz < -1e-4:
                down = -pz / dz
                if down < reach:
                    x, y = px + down * dx, py + down * dy
                    if down > 400.0:
                        colour = (118.0, 142.0, 98.0)
                    else:
                        blur = max(1e-4, down * pixel / sqrt(-dz))
                        colour = _ground(x, y, blur)
                    reach = down
            if reach >= _FAR:
                colour = _sky(dx, dy, dz)
            else:
                colour = _mix(colour, (206.0, 218.0, 228.0), 0.75 * (1.0 - exp(-reach / 420.0)))
            depth[row, column] = reach
            for band in range(3):
                picture[row, column, band] = int(min(255.0, max(0.0, colour[band] + 0.5)))


@_jit
def _meet(
    kind: int, at: Floats, size: Floats, facing: float, px: float, py: float, pz: float,
    dx: float, dy: float, dz: float,
) -> Any:  # fmt: skip
    """Range at which a ray meets a solid (or _FAR), how much it is lit, and where on a plate."""
    ox, oy, oz = px - at[0], py - at[1], pz - at[2]
    if kind <= FOLIAGE:
        b = ox * dx + oy * dy + oz * dz
        # The distance across, not |o|² - b², which would lose the small sphere's digits.
        ax, ay, az = ox - b * dx, oy - b * dy, oz - b * dz
        off = size[0] * size[0] - (ax * ax + ay * ay + az * az)
        if off <= 0.0 or b >= 0.0:
            return _FAR, 0.0, 0.0, 0.0
        reach = -b - sqrt(off)
        nx, ny, nz = (
            (ox + reach * dx) / size[0],
            (oy + reach * dy) / size[0],
            (oz + reach * dz) / size[0],
        )
        light = 0.62 + 0.42 * max(0.0, nx * _SUN[0] + ny * _SUN[1] + nz * _SUN[2])
        return reach, light, at[0] + nx + ny, at[2] + nz - nx
    if kind == POST:
        flat = dx * dx + dy * dy
        b = (ox * dx + oy * dy) / flat
        ax, ay = ox - b * dx, oy - b * dy
        off = size[0] * size[0] - (ax * ax + ay * ay)
        if off <= 0.0 or b >= 0.0:
            return _FAR, 0.0, 0.0, 0.0
        reach = -b - sqrt(off / flat)
        z = oz + reach * dz
        if z < 0.0 or z > size[1]:
            return _FAR, 0.0, 0.0, 0.0
        nx, ny = (ox + reach * dx) / size[0], (oy + reach * dy) / size[0]
        return reach, 0.7 + 0.36 * max(0.0, nx * _SUN[0] + ny * _SUN[1]), 0.0, 0.0
    if kind == PLATE:
        nx, ny = sin(facing), cos(facing)
        speed = dx * nx + dy * ny
        if abs(speed) < 1e-9:
            return _FAR, 0.0, 0.0, 0.0
        reach = -(ox * nx + oy * ny) / speed
        if reach <= 0.0:
            return _FAR, 0.0, 0.0, 0.0
        # Seen from the front, the plate's right is to the west of where it looks.
        u = -(ox + reach * dx) * ny + (oy + reach * dy) * nx
        v = oz + reach * dz
        if abs(u) > size[0] or abs(v) > size[1]:
            return _FAR, 0.0, 0.0, 0.0
        return reach, -1.0 if speed > 0.0 else 1.0, u / size[0], v / size[1]
    if dz >= -1e-9:
        return _FAR, 0.0, 0.0, 0.0
    reach = -oz / dz
    if hypot(ox + reach * dx, oy + reach * dy) > size[0]:
        return _FAR, 0.0, 0.0, 0.0
    return reach, 1.0, (ox + reach * dx) / size[0], (oy + reach * dy) / size[0]


@_jit
def _draw(
    picture: Bytes, depth: Any, owner: Any, index: int, fine: int, turn: Floats, place: Floats,
    top: int, bottom: int, left: int, right: int, kind: int, at: Floats, size: Floats,
    colour: Floats, facing: float, sign: Bytes,
) -> None:  # fmt: skip
    """Draw one solid over what is there, fine x fine rays a pixel; columns may pass the seam."""
    width = picture.shape[1]
    pixel = 2 * pi / width
    for row in range(top, bottom):
        for wide in range(left, right):
            column = wide % width
            hits, near = 0, _FAR
            red, green, blue = 0.0, 0.0, 0.0
            for part in range(fine * fine):
                elevation = pi / 2 - (row + (part // fine + 0.5) / fine) * pixel
                yaw = (column + (part % fine + 0.5) / fine) * pixel - pi
                ce = cos(elevation)
                cx, cy, cz = ce * sin(yaw), ce * cos(yaw), sin(elevation)
                dx = turn[0, 0] * cx + turn[0, 1] * cy + turn[0, 2] * cz
                dy = turn[1, 0] * cx + turn[1, 1] * cy + turn[1, 2] * cz
                dz = turn[2, 0] * cx + turn[2, 1] * cy + turn[2, 2] * cz
                reach, light, u, v = _meet(
                    kind, at, size, facing, place[0], place[1], place[2], dx, dy, dz
                )
                if reach >= _FAR or reach > depth[row, column] + 0.02:
                    continue
                r, g, b = colour[0], colour[1], colour[2]
                if kind == FOLIAGE:
                    leaf = 0.5 * _noise(3 * u, 3 * v) + 0.5 * _noise(11 * u, 11 * v)
                    light *= 0.62 + 0.7 * leaf
                elif kind == PLATE or (kind == DISC and sign.shape[0] > 1):
                    line = min(sign.shape[0] - 1, int((1 - v) / 2 * sign.shape[0]))
                    dot = min(sign.shape[1] - 1, int((1 + u) / 2 * sign.shape[1]))
                    if sign[line, dot].sum() == 0:
                        continue
                    if light > 0:
                        r, g, b = sign[line, dot, 0], sign[line, dot, 1], sign[line, dot, 2]
                    else:
                        r, g, b, light = 128.0, 130.0, 134.0, 1.0
                if kind in (SPHERE, DISC):
                    light = 1.0
                hits += 1
                near = min(near, reach)
                red, green, blue = red + r * light, green + g * light, blue + b * light
            if hits == 0:
                continue
            kept = 1.0 - hits / (fine * fine)
            for band, total in enumerate((red, green, blue)):
                value = picture[row, column, band] * kept + total / (fine * fine)
                picture[row, column, band] = int(min(255.0, value + 0.5))
            if 2 * hits >= fine * fine:
                depth[row, column] = near
                owner[row, column] = index


@dataclass(frozen=True)
class Picture:
    """A drawn panorama, shape (height, width, 3), and for each fiducial the share of its pixels that
    nothing hides (0 when it is nowhere near enough to be seen)."""

    pixels: Bytes
    shown: Floats


def fiducial_solid(fiducial: Fiducial) -> Solid:
    kind = DISC if fiducial.on_road else SPHERE
    return Solid(kind, fiducial.place, (fiducial.radius_m, 0.0), fiducial.colour)


def render(scene: Street, stop: Stop, width: int) -> Picture:
    """Cast the street as it is seen from a stop; `width` = 2 height."""
    height = width // 2
    picture = np.empty((height, width, 3), np.uint8)
    depth = np.empty((height, width), np.float32)
    owner = np.full((height, width), -1, np.int16)
    turn = np.ascontiguousarray(sphere.rotation(stop.heading_deg, stop.pitch_deg, stop.roll_deg))
    place = np.array(stop.place)
    _surroundings(picture, depth, turn, *place)
    cap = Solid(DISC, (place[0], place[1], 0.005), (_CAP_M, 0.0), (0, 0, 0), 0.0, _CAP)
    solids = [*map(fiducial_solid, scene.fiducials), *scene.solids, cap]
    views = [_view(solid, stop, width) for solid in solids]
    for index in sorted(range(len(solids)), key=lambda k: -views[k].distance_m):
        solid, view = solids[index], views[index]
        sign = _SIGNS[solid.sign] if solid.sign >= 0 else np.zeros((1, 1, 3), np.uint8)
        _draw(
            picture, depth, owner, index, 4 if index < len(scene.fiducials) else 2, turn, place,
            *view.window, solid.kind, np.array(solid.place), np.array(solid.size),
            np.array(solid.colour, float), np.radians(solid.facing_deg), sign,
        )  # fmt: skip
    shown = np.array(
        [
            min(1.0, np.count_nonzero(owner == index) / view.pixels) if view.pixels >= 8 else 0.0
            for index, view in enumerate(views[: len(scene.fiducials)])
        ]
    )
    return Picture(picture, shown)


@dataclass(frozen=True)
class _View:
    """A solid as a stop sees it: rows and columns (top, bottom, left, right) that hold it, and how
    many pixels a fiducial covers if nothing hides it."""

    distance_m: float
    window: tuple[int, int, int, int]
    pixels: float


def _view(solid: Solid, stop: Stop, width: int) -> _View:
    height = width // 2
    pixel = 2 * pi / width
    middle = np.array(solid.place)
    radius = solid.size[0]
    if solid.kind == POST:
        middle[2] += solid.size[1] / 2
        radius = hypot(solid.size[0], solid.size[1] / 2)
    elif solid.kind == PLATE:
        radius = hypot(*solid.size)
    way = middle - stop.place
    distance = float(np.linalg.norm(way))
    yaws, elevations = sphere.direction_to_angles(
        sphere.to_camera(way[None], stop.heading_deg, stop.pitch_deg, stop.roll_deg)
    )
    yaw, elevation = np.radians(yaws[0]), np.radians(elevations[0])
    if distance <= radius:
        return _View(distance, (0, height, 0, width), 0.0)
    spread = np.arcsin(radius / distance)
    top = max(0, floor((pi / 2 - elevation - spread) / pixel) - 1)
    bottom = min(height, floor((pi / 2 - elevation + spread) / pixel) + 2)
    if abs(elevation) + spread > 1.55:
        left, right = 0, width
    else:
        aside = np.arcsin(sin(spread) / cos(elevation))
        left = floor((yaw + pi - aside) / pixel) - 1
        right = min(floor((yaw + pi + aside) / pixel) + 2, left + width)
    area = pi * (spread / pixel) ** 2 / cos(elevation)
    if solid.kind == DISC:
        area *= abs(way[2]) / distance
    return _View(distance, (top, bottom, left, right), float(area))
