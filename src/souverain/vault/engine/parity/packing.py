"""Which objects share a stripe, so that the two parity shards cost as little as they can.

A parity shard is as long as the longest bin: what the bins do not fill is paid for nothing. Bins
are filled by the largest object that still fits (best-fit decreasing), so that objects of nearly
one size, as a client's packs are, stand side by side. What is left at the end is as long as if it
were spread evenly (longest processing time first: Graham, 1969), and filled in the same way when it
can be: small objects then stand one after the other in one bin, and many of them may be lost at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from souverain.vault.engine.parity.code import DATA
from souverain.vault.engine.parity.manifest import MEMBERS_MAX, Bins, Member, longest

BIN_BYTES = 16 << 20
"""A bin's length, unless an object is longer: restic closes a pack at 16 MiB."""
FULL = 0.9
"""From which share of its eight bins a stripe is left as it is when other objects arrive."""


def pack(members: Iterable[Member]) -> list[Bins]:
    """Stripes of eight bins, with every member once. The same members give the same stripes."""
    left = sorted(members, key=lambda each: (each.size, each.kind, each.name))
    sizes = [each.size for each in left]
    total, stripes = sum(sizes), []
    while left:
        if len(left) <= MEMBERS_MAX and total <= DATA * max(BIN_BYTES, sizes[-1]) * FULL:
            stripes.append(_last(left, sizes))
            break
        bins = _fill(left, sizes, max(BIN_BYTES, sizes[-1]))
        total -= sum(each.size for some in bins for each in some)
        stripes.append(bins)
    return stripes


def _fill(left: list[Member], sizes: list[int], length: int) -> Bins:
    """Take from `left`, sorted by `sizes`, what eight bins hold."""
    bins: list[list[Member]] = [[] for _ in range(DATA)]
    taken = 0
    for some in bins:
        room = length
        while taken < MEMBERS_MAX:
            at = bisect_right(sizes, room) - 1
            if at < 0:
                break
            some.append(left.pop(at))
            room -= sizes.pop(at)
            taken += 1
    return bins


def _last(left: list[Member], sizes: list[int]) -> Bins:
    """All that is left, in one stripe."""
    spread, rest = _spread(left), list(left)
    filled = _fill(rest, list(sizes), longest(spread))
    return spread if rest else filled


def _spread(members: Sequence[Member]) -> Bins:
    bins: list[list[Member]] = [[] for _ in range(DATA)]
    loads = [0] * DATA
    for each in reversed(members):
        lightest = loads.index(min(loads))
        bins[lightest].append(each)
        loads[lightest] += each.size
    return bins
