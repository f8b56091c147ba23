"""The cheapest way through the candidates of `matching`, compiled."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_DETOUR_M = 2.0  # of route longer or shorter than the drive: one unit of cost
_JUMP = 8.0  # from a link to one that does not touch it


@numba.njit(cache=True)
def _way(
    p: int, from_m: float, c: int, to_m: float, length: Any, nodes: Any, at_node: Any, ends: Any
) -> float:
    """Metres from a place on link `p` to one on link `c`, when these are one link, touch, or touch
    the two ends of a third; -1 otherwise."""
    if p == c:
        return float(abs(to_m - from_m))
    best = -1.0
    for end_p in range(2):
        node = nodes[p, end_p]
        before = from_m if end_p == 0 else length[p] - from_m
        for end_c in range(2):
            after = to_m if end_c == 0 else length[c] - to_m
            if node == nodes[c, end_c]:
                way = before + after
                if best < 0 or way < best:
                    best = way
                continue
            for k in range(at_node[node], at_node[node + 1]):
                between, end = ends[k] // 2, ends[k] % 2
                if nodes[between, 1 - end] == nodes[c, end_c]:
                    way = before + length[between] + after
                    if best < 0 or way < best:
                        best = way
    return best


@numba.njit(cache=True)
def viterbi(
    begins: Any, link: Any, along: Any, cost: Any, length: Any, step: Any, chain: Any,
    nodes: Any, at_node: Any, ends: Any,
) -> Any:  # fmt: skip
    """The candidate of each point (-1 where there is none) on the cheapest way through."""
    count = len(begins) - 1
    total = np.zeros(len(link))
    back = np.full(len(link), -1)
    chosen = np.full(count, -1)
    for i in range(count):
        linked = i > 0 and chain[i - 1] and begins[i - 1] < begins[i]
        for c in range(begins[i], begins[i + 1]):
            best, of = 0.0, -1
            if linked:
                for p in range(begins[i - 1], begins[i]):
                    way = _way(link[p], along[p], link[c], along[c], length, nodes, at_node, ends)
                    move = _JUMP
                    if way >= 0:
                        move = min(abs(way - step[i - 1]) / _DETOUR_M, _JUMP)
                    value = total[p] + move
                    if of < 0 or value < best:
                        best, of = value, p
            total[c] = best + cost[c]
            back[c] = of
    i = count - 1
    while i >= 0:
        if begins[i] == begins[i + 1]:
            i -= 1
            continue
        c = begins[i] + np.argmin(total[begins[i] : begins[i + 1]])
        while c >= 0:
            chosen[i] = c
            c = back[c]
            i -= 1
    return chosen
