"""Points from rays: where lines of sight from several panoramas meet, and how sure that is.

Frames and angles are those of `sphere`: world in metres (grid, z up), headings from grid north. All
sigmas are one standard deviation.

*Error model.* A ray starts at C along the unit direction d. Its camera was δ away from where it is
said to be, was turned by a small rotation ω (radians, world axes: heading, pitch, roll), and the
click by a small rotation κ of its own. To first order a true point X at the range ρ lies off the ray,
in the plane B (two unit columns across d), by

    e = Bᵀ(X - C) = -Bᵀδ + ρ Bᵀ[d]ₓ(ω + κ),    cov e = Bᵀ (Σδ + ρ² [d]ₓ Σ(ω+κ) [d]ₓᵀ) B.

*Estimate.* The X that minimises Σ eᵀ (cov e)⁻¹ e: linear but for ρ in the weights, so least squares
reweighted until X stands still, from the mid-point (all weights equal). Its covariance is N⁻¹,
N = Σ B (cov e)⁻¹ Bᵀ (Gauss-Markov; Hartley and Zisserman, *Multiple View Geometry*, 2nd ed., 5.2
and 12). With σδ equal and no angular sigma the estimate is the mid-point itself, which is where
OpenCV's `triangulatePoints` comes to rest.

*Shared errors.* An error of a camera moves every point seen from it in the same sense, so that a
distance between two of them is surer than each. Each point therefore keeps, for each source of
error, the matrix F that turns independent unit errors of that source into metres (`Point.errors`):
cov(X, Y) is the sum of F_X F_Yᵀ over the sources that both share.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from souverain.street.engine import sphere

Floats = npt.NDArray[np.float64]

THIN_DEG = 2.0
"""Below this angle between the two most different rays, a triangle is refused."""
UNSURE = 0.05
"""A point is refused when its worst sigma exceeds this part of its distance: beyond, an error is
no longer proportional to what caused it, and the stated sigma would be wrong."""
SIGNIFICANCE = 0.001
"""The probability that good rays are told to disagree."""
MAX_RAYS = 64
_ITERATIONS = 30
_STILL_M = 1e-8
_Z = np.array([0.0, 0.0, 1.0])


class Reason(StrEnum):
    """Why rays give no point."""

    ALONE = "alone"
    THIN = "thin"
    BEHIND = "behind"
    UNSURE = "unsure"
    DISAGREE = "disagree"
    SKY = "sky"
    SLANTED = "slanted"


_SENTENCES = {
    Reason.ALONE: "Il faut viser le point depuis deux vues au moins.",
    Reason.THIN: "Les visées sont presque parallèles : le point ne peut pas être situé.",
    Reason.BEHIND: "Les visées se croisent derrière une des vues : ce n'est pas le même point.",
    Reason.UNSURE: "Le point serait trop incertain vu d'ici.",
    Reason.DISAGREE: "Les visées ne se rejoignent pas : ce n'est pas le même point.",
    Reason.SKY: "La visée ne descend pas vers la chaussée.",
    Reason.SLANTED: "La visée rase la chaussée : le point serait trop incertain.",
}


class Refused(ValueError):
    """No point can be given honestly. `sentence` says why in French; `guess` (3,) is where the point
    may be, for choosing a better view, or None."""

    def __init__(self, reason: Reason, detail: str = "", guess: Floats | None = None) -> None:
        self.reason = reason
        self.guess = guess
        self.sentence = _SENTENCES[reason] + (f" {detail}" if detail else "")
        super().__init__(self.sentence)


@dataclass(frozen=True)
class Camera:
    """Where a panorama was taken and how sure that is. `key` tells one camera from another.
    `sigma_tilt_deg` is of pitch and of roll."""

    key: Hashable
    position_m: tuple[float, float, float]
    heading_deg: float
    pitch_deg: float
    roll_deg: float
    sigma_xy_m: float
    sigma_z_m: float
    sigma_heading_deg: float
    sigma_tilt_deg: float

    @property
    def position(self) -> Floats:
        return np.array(self.position_m)

    @property
    def position_factor(self) -> Floats:
        """L with L Lᵀ the covariance of the position, metres, shape (3, 3)."""
        return np.diag([self.sigma_xy_m, self.sigma_xy_m, self.sigma_z_m])

    @property
    def attitude_factor(self) -> Floats:
        """L with L Lᵀ the covariance of the small rotation, radians about world axes, (3, 3): the
        axes about which heading, pitch and roll turn, each as long as its sigma."""
        axes = np.stack(
            [
                -_Z,
                sphere.rotation(self.heading_deg)[:, 0],
                sphere.rotation(self.heading_deg, self.pitch_deg)[:, 1],
            ],
            -1,
        )
        sigmas = [self.sigma_heading_deg, self.sigma_tilt_deg, self.sigma_tilt_deg]
        factor: Floats = axes * np.radians(sigmas)
        return factor


@dataclass(frozen=True)
class Ray:
    """A click in a panorama: where, and how sure its yaw and elevation are."""

    camera: Camera
    yaw_deg: float
    elevation_deg: float
    sigma_click_deg: float

    @property
    def direction(self) -> Floats:
        """In the world, shape (3,)."""
        seen = sphere.angles_to_direction([self.yaw_deg], [self.elevation_deg])
        camera = self.camera
        angles = (camera.heading_deg, camera.pitch_deg, camera.roll_deg)
        direction: Floats = sphere.to_world(seen, *angles)[0]
        return direction

    @property
    def click_factor(self) -> Floats:
        """As `Camera.attitude_factor`, for the click alone: shape (3, 2)."""
        camera = self.camera
        turn = sphere.rotation(camera.heading_deg, camera.pitch_deg, camera.roll_deg)
        yaw = np.radians(self.yaw_deg)
        axes = np.stack([-_Z, [np.cos(yaw), -np.sin(yaw), 0.0]], -1)
        factor: Floats = turn @ axes * np.radians(self.sigma_click_deg)
        return factor


@dataclass(frozen=True)
class Bundles:
    """m sets of n rays each, in arrays. `rotation_rad2` is the whole of ω + κ."""

    positions_m: Floats  # (m, n, 3)
    directions: Floats  # (m, n, 3), unit
    position_m2: Floats  # (m, n, 3, 3)
    rotation_rad2: Floats  # (m, n, 3, 3)

    def __getitem__(self, chosen: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Bundles:
        return Bundles(
            self.positions_m[chosen],
            self.directions[chosen],
            self.position_m2[chosen],
            self.rotation_rad2[chosen],
        )

    def rays(self, kept: Sequence[int]) -> Bundles:
        """The same sets with these rays alone."""
        one = list(kept)
        return Bundles(
            self.positions_m[:, one],
            self.directions[:, one],
            self.position_m2[:, one],
            self.rotation_rad2[:, one],
        )


@dataclass(frozen=True)
class Intersections:
    """Where m sets of rays meet. Where `refused` holds a reason the figures are a guess, or NaN."""

    points_m: Floats  # (m, 3)
    covariance_m2: Floats  # (m, 3, 3)
    chi2: Floats  # (m,): with 2n - 3 degrees of freedom
    p_value: Floats  # (m,): the probability of a worse disagreement between good rays
    angle_deg: Floats  # (m,): between the two most different rays, at most 90
    depths_m: Floats  # (m, n): along each ray
    leverage: Floats  # (m, n, 3, 3): what a shift of each ray's start does to the point
    refused: list[Reason | None]

    def __getitem__(self, index: int) -> Intersections:
        """That set alone (m = 1)."""
        one = slice(index, index + 1)
        return Intersections(
            self.points_m[one],
            self.covariance_m2[one],
            self.chi2[one],
            self.p_value[one],
            self.angle_deg[one],
            self.depths_m[one],
            self.leverage[one],
            self.refused[one],
        )

    def refusal(self, index: int) -> Refused | None:
        """Why that set gives no point, with figures."""
        reason = self.refused[index]
        if reason is None:
            return None
        detail = ""
        if reason is Reason.THIN:
            detail = f"Elles ne font que {self.angle_deg[index]:.1f}° entre elles."
        elif reason is Reason.UNSURE:
            sigma = worst_sigma(self.covariance_m2[index])
            detail = f"À {sigma * 100:.0f} cm près, à {self.depths_m[index].max():.0f} m."
        return Refused(
            reason, detail.replace(".", ",", detail.count(".") - 1), self.points_m[index]
        )


@dataclass(frozen=True)
class Point:
    """A point of the world, metres, with its covariance (3, 3). `errors` gives for each source of
    error its F, shape (3, k); `disagreeing` are the indices of rays that were left out."""

    position: Floats
    covariance: Floats
    errors: Mapping[Hashable, Floats]
    chi2: float = 0.0
    freedom: int = 0
    p_value: float = 1.0
    angle_deg: float = 0.0
    distances_m: tuple[float, ...] = ()
    disagreeing: tuple[int, ...] = ()

    @property
    def sigma_m(self) -> float:
        """Along the direction in which the point is least sure."""
        return worst_sigma(self.covariance[None])[0]  # type: ignore[no-any-return]

    @property
    def consistent(self) -> bool:
        return self.p_value >= SIGNIFICANCE


def worst_sigma(covariance_m2: Floats) -> Floats:
    """Covariances, shape (m, 3, 3) → sigma along each one's longest axis, shape (m,)."""
    worst: Floats = np.sqrt(np.linalg.eigvalsh(covariance_m2)[..., -1].clip(0.0))
    return worst


def cross_matrix(vectors: Floats) -> Floats:
    """[v]ₓ with [v]ₓ w = v x w; shape (…, 3) → (…, 3, 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def across(directions: Floats) -> Floats:
    """Two unit columns at right angles to each unit direction; shape (…, 3) → (…, 3, 2)."""
    least = np.argmin(np.abs(directions), -1)
    first = np.cross(directions, np.eye(3)[least])
    first /= np.linalg.norm(first, axis=-1, keepdims=True)
    return np.stack([first, np.cross(directions, first)], -1)


def crossing_angles(directions: Floats) -> Floats:
    """Largest angle between any two lines of each set, degrees in [0, 90]; (m, n, 3) → (m,)."""
    widest = np.zeros(directions.shape[0])
    for shift in range(1, directions.shape[1] // 2 + 1):
        other = np.roll(directions, shift, axis=1)
        sines = np.linalg.norm(np.cross(directions, other), axis=-1)
        widest = np.maximum(widest, sines.max(-1))
    angles: Floats = np.degrees(np.arcsin(widest.clip(0.0, 1.0)))
    return angles


def _off_ray(bundles: Bundles, depths_m: Floats, planes: Floats) -> Floats:
    """cov e of each ray, shape (m, n, 2, 2)."""
    turned = cross_matrix(bundles.directions) * depths_m[..., None, None]
    full = bundles.position_m2 + turned @ bundles.rotation_rad2 @ np.swapaxes(turned, -1, -2)
    flat: Floats = np.swapaxes(planes, -1, -2) @ full @ planes
    return flat


def intersect(bundles: Bundles) -> Intersections:
    """Where each set of n ≥ 2 rays meets (see the module). Nothing here depends on where the origin
    is, to 1e-9 m in Lambert-93."""
    from scipy.special import chdtrc

    count, rays, _ = bundles.positions_m.shape
    if rays < 2:
        raise ValueError("intersect: two rays at least")
    angle = crossing_angles(bundles.directions)
    thin = angle < THIN_DEG
    origin = bundles.positions_m.mean(1, keepdims=True)
    starts = bundles.positions_m - origin
    planes = across(bundles.directions)
    flat = np.swapaxes(planes, -1, -2)
    weights: Floats = np.broadcast_to(np.eye(2), (count, rays, 2, 2))
    point, normal = _weighted(starts, planes, weights, thin)
    for _ in range(_ITERATIONS):
        depths = np.linalg.norm(point[:, None] - starts, axis=-1)
        weights = np.linalg.inv(_off_ray(bundles, depths, planes)).astype(float, copy=False)
        before = point
        point, normal = _weighted(starts, planes, weights, thin)
        if np.abs(point - before)[~thin].max(initial=0.0) < _STILL_M:
            break
    covariance = np.linalg.inv(normal).astype(float, copy=False)
    off = np.einsum("mnij,mnj->mni", flat, point[:, None] - starts)
    chi2 = np.einsum("mni,mnij,mnj->m", off, weights, off)
    along = np.einsum("mnj,mnj->mn", bundles.directions, point[:, None] - starts)
    leverage = covariance[:, None] @ (planes @ weights @ flat)
    behind = (along <= 0.0).any(-1)
    unsure = worst_sigma(covariance) > UNSURE * np.abs(along).max(-1)
    reasons = np.select([thin, behind, unsure], [0, 1, 2], -1)
    kinds = (Reason.THIN, Reason.BEHIND, Reason.UNSURE)
    return Intersections(
        point + origin[:, 0],
        covariance,
        chi2,
        chdtrc(2 * rays - 3, chi2),
        angle,
        along,
        leverage,
        [kinds[reason] if reason >= 0 else None for reason in reasons],
    )


def _weighted(
    starts: Floats, planes: Floats, weights: Floats, thin: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """The X that minimises Σ eᵀ W e, shape (m, 3), and N. A thin set, whose N may be singular, is
    held to its cameras by a hair: its point is a guess."""
    each = planes @ weights @ np.swapaxes(planes, -1, -2)
    normal = each.sum(1)
    scale = np.trace(normal, axis1=-2, axis2=-1)[:, None, None] * np.eye(3)
    normal = normal + np.where(thin[:, None, None], 1e-9 * scale, 0.0)
    right = np.einsum("mnij,mnj->mi", each, starts)
    return np.linalg.solve(normal, right[..., None])[..., 0], normal


def bundle_of(rays: Sequence[Ray]) -> Bundles:
    """One set, of these rays."""
    cameras = [ray.camera for ray in rays]
    places = np.stack([camera.position_factor for camera in cameras])
    turns = np.stack([np.hstack([ray.camera.attitude_factor, ray.click_factor]) for ray in rays])
    return Bundles(
        np.stack([camera.position for camera in cameras])[None],
        np.stack([ray.direction for ray in rays])[None],
        (places @ np.swapaxes(places, -1, -2))[None],
        (turns @ np.swapaxes(turns, -1, -2))[None],
    )


def disagreeing(bundles: Bundles, first: Intersections) -> tuple[tuple[int, ...], Intersections]:
    """Rays to leave out of one set (m = 1) so that the others agree, worst first, and where those
    meet. Each time the ray is left out without which the chi-square falls most, while the whole
    is refused by the test and three rays remain to judge by (Baarda's data snooping)."""
    kept = list(range(bundles.positions_m.shape[1]))
    left_out: list[int] = []
    found = first
    while found.p_value[0] < SIGNIFICANCE and len(kept) > 2:
        trials = [[k for k in kept if k != ray] for ray in kept]
        outcomes = [intersect(bundles.rays(trial)) for trial in trials]
        best = int(np.argmax([o.p_value[0] if o.refused[0] is None else -1.0 for o in outcomes]))
        if outcomes[best].refused[0] is not None:
            break
        left_out.append(kept[best])
        kept, found = trials[best], outcomes[best]
    return tuple(left_out), found


def triangulate(rays: Sequence[Ray]) -> Point:
    """The point at which rays from different cameras meet. A ray that disagrees with two or more
    that agree is left out and named. Raises `Refused`."""
    if len({ray.camera.key for ray in rays}) < len(rays):
        raise ValueError("triangulate: one ray for each camera")
    if len(rays) < 2:
        raise Refused(Reason.ALONE)
    whole = bundle_of(rays)
    left_out, found = disagreeing(whole, intersect(whole))
    refusal, guess = found.refusal(0), found.points_m[0]
    if refusal is not None:
        raise refusal
    if found.p_value[0] < SIGNIFICANCE:
        raise Refused(Reason.DISAGREE, "Visez-le de nouveau dans chaque vue.", guess)
    kept = [index for index in range(len(rays)) if index not in left_out]
    errors: dict[Hashable, Floats] = {}
    for place, index in enumerate(kept):
        ray, lever, depth = rays[index], found.leverage[0, place], found.depths_m[0, place]
        turn = -lever @ cross_matrix(ray.direction) * depth
        pose = np.hstack([lever @ ray.camera.position_factor, turn @ ray.camera.attitude_factor])
        errors["pose", ray.camera.key] = pose
        errors["click", ray.camera.key, ray.yaw_deg, ray.elevation_deg] = turn @ ray.click_factor
    return Point(
        guess,
        found.covariance_m2[0],
        errors,
        float(found.chi2[0]),
        2 * len(kept) - 3,
        float(found.p_value[0]),
        float(found.angle_deg[0]),
        tuple(float(depth) for depth in found.depths_m[0]),
        left_out,
    )


@dataclass(frozen=True)
class Road:
    """The road's surface near a camera, as a plane: `height_m` is the camera's height over it, at
    right angles; `slope` the plane's rise for one metre east and north; sigmas of the height and of
    each slope. `key` tells which points share its errors."""

    key: Hashable
    height_m: float
    sigma_height_m: float
    slope: tuple[float, float] = (0.0, 0.0)
    slope_m2: Floats = field(default_factory=lambda: np.zeros((2, 2)))

    @property
    def normal(self) -> Floats:
        up = np.array([-self.slope[0], -self.slope[1], 1.0])
        upright: Floats = up / np.linalg.norm(up)
        return upright


def on_road(ray: Ray, road: Road) -> Point:
    """Where one ray meets the road's surface: X = C + t d, t = h / (-n·d). To first order

        dX = δ + Q t (ω + κ) x d - d (dh - n_z s·q) / (n·d),    Q = I - d nᵀ / (n·d),

    q being the way from the camera's foot to X east and north, s the error of the slopes. Raises
    `Refused` when the ray does not come down, or grazes the surface."""
    camera, direction, normal = ray.camera, ray.direction, road.normal
    descent = float(normal @ direction)
    if descent >= 0.0:
        raise Refused(Reason.SKY)
    range_m = road.height_m / -descent
    way = range_m * direction
    slide = np.eye(3) - np.outer(direction, normal) / descent
    turn = -slide @ cross_matrix(direction) * range_m
    fall = -direction / descent
    spread = np.linalg.cholesky(road.slope_m2 + 1e-18 * np.eye(2))
    errors: dict[Hashable, Floats] = {
        ("pose", camera.key): np.hstack([camera.position_factor, turn @ camera.attitude_factor]),
        ("click", camera.key, ray.yaw_deg, ray.elevation_deg): turn @ ray.click_factor,
        ("road", road.key): np.column_stack(
            [fall * road.sigma_height_m, np.outer(fall, -normal[2] * way[:2] @ spread)]
        ),
    }
    covariance = sum(factor @ factor.T for factor in errors.values())
    point = Point(camera.position + way, np.asarray(covariance), errors, distances_m=(range_m,))
    if point.sigma_m > 2 * UNSURE * range_m:
        detail = f"À {point.sigma_m * 100:.0f} cm près, à {range_m:.0f} m."
        raise Refused(Reason.SLANTED, detail, point.position)
    return point


@dataclass(frozen=True)
class Prospect:
    """What a second view would give: its camera, its distance to the first one and to the point, the
    angle between the rays, the sigma expected along the least sure axis, and where the point would
    be seen from there."""

    camera: Camera
    base_m: float
    distance_m: float
    angle_deg: float
    sigma_m: float
    yaw_deg: float
    elevation_deg: float


def better_views(
    ray: Ray, guess: Floats, candidates: Sequence[Camera], limit: int = 3
) -> list[Prospect]:
    """Of the candidates, those from which a second ray would situate the point near `guess` (3,), by
    the sigma that the error model expects, best first; none that would be refused."""
    first = ray.camera
    others = [camera for camera in candidates if camera.key != first.key]
    if not others:
        return []
    toward = guess - first.position
    here = Ray(first, *_seen(first, toward), ray.sigma_click_deg)
    pairs = [
        bundle_of([here, Ray(c, *_seen(c, guess - c.position), ray.sigma_click_deg)])
        for c in others
    ]
    found = intersect(
        Bundles(
            *(
                np.concatenate([getattr(pair, name) for pair in pairs])
                for name in ("positions_m", "directions", "position_m2", "rotation_rad2")
            )
        )
    )
    sigmas = worst_sigma(found.covariance_m2)
    prospects = [
        Prospect(
            camera,
            float(np.linalg.norm(camera.position - first.position)),
            float(found.depths_m[index, 1]),
            float(found.angle_deg[index]),
            float(sigmas[index]),
            *_seen(camera, guess - camera.position),
        )
        for index, camera in enumerate(others)
        if found.refused[index] is None
    ]
    return sorted(prospects, key=lambda prospect: prospect.sigma_m)[:limit]


def _seen(camera: Camera, toward: Floats) -> tuple[float, float]:
    """Yaw and elevation at which a camera sees what lies that way in the world."""
    yaw, elevation = sphere.direction_to_angles(
        sphere.to_camera(toward[None], camera.heading_deg, camera.pitch_deg, camera.roll_deg)
    )
    return float(yaw[0]), float(elevation[0])


def joint_covariance(points: Sequence[Point]) -> Floats:
    """Of the coordinates of k points one after the other, shape (3k, 3k), shared errors counted."""
    sources = list(dict.fromkeys(source for point in points for source in point.errors))
    blocks = []
    for source in sources:
        width = next(p.errors[source].shape[1] for p in points if source in p.errors)
        blocks.append(
            np.vstack([point.errors.get(source, np.zeros((3, width))) for point in points])
        )
    factor = np.hstack(blocks)
    covariance: Floats = factor @ factor.T
    return covariance
