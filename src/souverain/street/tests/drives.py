"""Drives over a road network whose every panorama's true place on it is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from souverain.territory.engine.roads import RoadNetwork, link_lengths_m

LANE_M = 1.75
CAMERA_M = 2.5


@dataclass(frozen=True)
class Driven:
    """Panoramas in the order of their sequences, and the truth: link, metres along, direction."""

    xy_m: np.ndarray
    z_m: np.ndarray
    heading_deg: np.ndarray
    sequence: np.ndarray
    link: np.ndarray
    along_m: np.ndarray
    forward: np.ndarray


def drive(
    network: RoadNetwork, spacing_m: float = 5.0, sigma_m: float = 0.02, seed: int = 0
) -> Driven:
    """Every link driven in every allowed direction, straight on where one can, a panorama every
    `spacing_m`; a two-way road on its right half."""
    random = np.random.default_rng(seed)
    rows: list[tuple[float, ...]] = []
    for number, route in enumerate(_routes(network)):
        rows += _along(network, route, number, spacing_m)
    table = np.array(rows)
    xy = table[:, :2] + random.normal(0, sigma_m, (len(table), 2))
    return Driven(
        xy,
        table[:, 2] + CAMERA_M + random.normal(0, sigma_m, len(table)),
        (table[:, 3] + random.normal(0, 0.05, len(table))) % 360,
        table[:, 4].astype(int),
        table[:, 5].astype(int),
        table[:, 6],
        table[:, 7] == 1,
    )


def _routes(network: RoadNetwork) -> list[list[tuple[int, bool]]]:
    todo = [
        (link, forward)
        for link in range(len(network.starts) - 1)
        for forward in (True, False)
        if network.one_way[link] == 0 or (network.one_way[link] > 0) == forward
    ]
    left = dict.fromkeys(todo)
    leaving: dict[int, list[tuple[int, bool]]] = {}
    for link, forward in todo:
        leaving.setdefault(int(network.nodes[link, 0 if forward else 1]), []).append(
            (link, forward)
        )
    routes = []
    while left:
        at = next(iter(left))
        route = []
        while at is not None:
            del left[at]
            route.append(at)
            node = int(network.nodes[at[0], 1 if at[1] else 0])
            turns = [
                (abs((_bearing(network, *next_, 0) - _bearing(network, *at, -1) + 180) % 360 - 180), next_)
                for next_ in leaving.get(node, [])
                if next_ in left and next_[0] != at[0]
            ]  # fmt: skip
            at = min(turns)[1] if turns and min(turns)[0] < 100 else None
        routes.append(route)
    return routes


def _path(network: RoadNetwork, link: int, forward: bool) -> np.ndarray:
    vertices = network.vertices_m[network.starts[link] : network.starts[link + 1]]
    return vertices if forward else vertices[::-1]


def _bearing(network: RoadNetwork, link: int, forward: bool, segment: int) -> float:
    east, north = np.diff(_path(network, link, forward)[:, :2], axis=0)[segment]
    return float(np.degrees(np.arctan2(east, north)))


def _along(
    network: RoadNetwork, route: list[tuple[int, bool]], number: int, spacing_m: float
) -> list[tuple[float, ...]]:
    rows = []
    next_m = spacing_m / 2
    for link, forward in route:
        path = _path(network, link, forward)
        step = np.hypot(*np.diff(path[:, :2], axis=0).T)
        total = np.concatenate([[0.0], np.cumsum(step)])
        while next_m < total[-1]:
            segment = min(int(np.searchsorted(total, next_m, side="right")) - 1, len(step) - 1)
            share = (next_m - total[segment]) / step[segment]
            x, y, z = path[segment] + (path[segment + 1] - path[segment]) * share
            east, north = (path[segment + 1] - path[segment])[:2] / step[segment]
            lane = LANE_M if network.one_way[link] == 0 else 0.0
            along = next_m if forward else total[-1] - next_m
            rows.append(
                (
                    x + north * lane, y - east * lane, z, np.degrees(np.arctan2(east, north)),
                    number, link, along, float(forward),
                )
            )  # fmt: skip
            next_m += spacing_m
        next_m -= total[-1]
    return rows


class Truth:
    """Distances along the network between true places."""

    def __init__(self, network: RoadNetwork, driven: Driven) -> None:
        self.network, self.driven = network, driven
        self.lengths = link_lengths_m(network)
        count = int(network.nodes.max()) + 1
        graph = sparse.csr_matrix(
            (self.lengths, (network.nodes[:, 0], network.nodes[:, 1])), (count, count)
        )
        self.far = 150.0
        self.nodes = csgraph.dijkstra(graph, directed=False, limit=self.far)

    def distance_m(self, i: int, j: int) -> float:
        """Infinite beyond `far`."""
        a, b = self.driven.link[i], self.driven.link[j]
        best = abs(self.driven.along_m[i] - self.driven.along_m[j]) if a == b else float("inf")
        for end_a in (0, 1):
            to_a = (
                self.driven.along_m[i] if end_a == 0 else self.lengths[a] - self.driven.along_m[i]
            )
            for end_b in (0, 1):
                to_b = (
                    self.driven.along_m[j]
                    if end_b == 0
                    else self.lengths[b] - self.driven.along_m[j]
                )
                between = self.nodes[self.network.nodes[a, end_a], self.network.nodes[b, end_b]]
                best = min(best, to_a + between + to_b)
        return float(best)
