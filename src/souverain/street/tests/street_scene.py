"""A simulated road with furniture and defects, driven twice, whose truth is known.

Between the two drives some objects vanish, some appear, some signs are moved; the second drive
covers only a part of the road, at other places along it. Each panorama that comes near enough to an
object points at it, most of the time, with a noisy pose and a noisy click; now and then at nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from souverain.street.engine import comparison, merging, sphere
from souverain.street.engine.comparison import Looks
from souverain.street.engine.merging import Merged, Placed, Sighted
from souverain.street.engine.triangulation import Camera, Ray

Floats = npt.NDArray[np.float64]
KINDS = ("panneau", "arbre", "nid-de-poule")
MOVABLE = frozenset({"panneau"})
ORIGIN = np.array([855_000.0, 6_694_000.0, 250.0])
SEEN_M = 14.0


@dataclass(frozen=True)
class Noise:
    """One sigma of what a drive gets wrong."""

    position_m: float = 0.02
    attitude_deg: float = 0.05
    click_deg: float = 0.03


@dataclass(frozen=True, eq=False)
class Object:
    name: str
    kind: str
    position_m: Floats


@dataclass(frozen=True, eq=False)
class Scene:
    before: dict[str, Object]
    after: dict[str, Object]
    stations_before: Floats
    stations_after: Floats
    truth: frozenset[tuple[str, str]]
    """(`appeared` | `vanished` | `moved`, name) of what both drives went by."""


def _place(station_m: Floats, aside_m: Floats, up_m: Floats) -> Floats:
    """Along a road that bends, shape (n, 3)."""
    north = 40.0 * np.sin(station_m / 180.0)
    return ORIGIN + np.column_stack([station_m, north + aside_m, up_m])


def scene(rng: np.random.Generator, length_m: float = 600.0, per_km: float = 120.0) -> Scene:
    count = int(length_m * per_km / 1000)
    spacing = length_m / count
    stations = (np.arange(count) + rng.uniform(0.1, 0.9, count)) * spacing
    before, after, truth = {}, {}, set()
    first, second = np.arange(-10.0, length_m + 10, 5.0), np.arange(-7.6, length_m * 0.85, 5.0)
    for i, station in enumerate(stations):
        kind = KINDS[int(rng.integers(len(KINDS)))]
        on_road = kind == "nid-de-poule"
        aside = rng.uniform(-2, 2) if on_road else rng.choice([-1, 1]) * rng.uniform(3, 6)
        up = 0.0 if on_road else rng.uniform(1.0, 2.8)
        place = _place(np.array([station]), np.array([aside]), np.array([up]))[0]
        thing = Object(f"{kind}-{i:04}", kind, place)
        fate = rng.uniform()
        change = ""
        if fate < 0.12:
            after[thing.name], change = thing, "appeared"
        elif fate < 0.24:
            before[thing.name], change = thing, "vanished"
        elif fate < 0.40 and kind in MOVABLE:
            shift = np.array([rng.choice([-1, 1]) * rng.uniform(1.5, 3.0), 0.0, 0.0])
            before[thing.name] = thing
            after[thing.name], change = Object(thing.name, kind, place + shift), "moved"
        else:
            before[thing.name] = after[thing.name] = thing
        # What too few panoramas of the second drive come near is not for it to tell.
        if change and (np.abs(second - station) < SEEN_M - 4).sum() >= 2:
            truth.add((change, thing.name))
    return Scene(before, after, first, second, frozenset(truth))


def drive(
    stations_m: Floats,
    objects: dict[str, Object],
    rng: np.random.Generator,
    noise: Noise,
    found: float = 0.85,
    clutter: float = 0.02,
) -> tuple[list[Sighted], Looks]:
    """The rays of one drive, named by view and object (`000012/panneau-0003`), and its looks."""
    true = _place(stations_m, np.zeros(len(stations_m)), np.full(len(stations_m), 2.5))
    told = true + rng.normal(0, noise.position_m, true.shape)
    rays = []

    def sighted(name: str, kind: str, camera: Camera, unit: Floats) -> None:
        yaw, elevation = sphere.direction_to_angles(unit[None])
        ray = Ray(camera, float(yaw[0]), float(elevation[0]), noise.click_deg)
        rays.append(Sighted(f"{camera.key}/{name}", kind, ray))

    for view, (where, said) in enumerate(zip(true, told, strict=True)):
        sigmas = (noise.position_m, noise.position_m, noise.attitude_deg, noise.attitude_deg)
        camera = Camera(f"{view:06}", tuple(said.tolist()), 0.0, 0.0, 0.0, *sigmas)
        turn = Rotation.from_rotvec(rng.normal(0, np.radians(noise.attitude_deg), 3))
        for thing in objects.values():
            towards = thing.position_m - where
            if np.linalg.norm(towards) > SEEN_M or rng.uniform() > found:
                continue
            unit = turn.apply(towards / np.linalg.norm(towards))
            unit = unit + rng.normal(0, np.radians(noise.click_deg), 3)
            sighted(thing.name, thing.kind, camera, unit)
        if rng.uniform() < clutter:
            unit = rng.normal(0, 1, 3) * np.array([1, 1, 0.1])
            sighted("clutter", KINDS[int(rng.integers(len(KINDS)))], camera, unit)
    poses = np.zeros((len(true), 3))
    windows = np.tile([0.0, 0.0, 1.0, 1.0], (len(true), 1))
    return rays, Looks(told, poses, windows)


def placed(merged: Merged) -> list[Placed]:
    return [
        Placed(f"{i:06}", item.kind, item.position_m, item.covariance_m2, item.views)
        for i, item in enumerate(merged.items)
    ]


def name_of(members: tuple[str, ...]) -> str:
    """The object that most of an item's rays were pointed at."""
    names = [member.partition("/")[2] for member in members]
    return max(sorted(set(names)), key=names.count)


@dataclass(frozen=True)
class Score:
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def score(said: set[tuple[str, str]], truth: frozenset[tuple[str, str]]) -> Score:
    right = len(said & truth)
    return Score(right / max(len(said), 1), right / max(len(truth), 1))


def changes(road: Scene, rng: np.random.Generator, noise: Noise) -> set[tuple[str, str]]:
    """From rays to changes, as the program does it."""
    rays_before, looks_before = drive(road.stations_before, road.before, rng, noise)
    rays_after, looks_after = drive(road.stations_after, road.after, rng, noise)
    before, after = merging.merge_rays(rays_before), merging.merge_rays(rays_after)
    found = comparison.compare(
        placed(before), placed(after), looks_before, looks_after, movable=MOVABLE
    )
    old = [name_of(item.members) for item in before.items]
    new = [name_of(item.members) for item in after.items]
    return (
        {("appeared", new[row]) for row in found.appeared}
        | {("vanished", old[row]) for row in found.vanished}
        | {("moved", old[pair.before]) for pair in found.moved}
    )
