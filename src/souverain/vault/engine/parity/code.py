"""The code: 8 data shards, 2 parity shards, byte by byte (Reed–Solomon over a Cauchy matrix).

In GF(2⁸) modulo x⁸+x⁴+x³+x²+1 (0x11d), parity r of eight bytes d is the sum of d[j] / ((8+r) ^ j):
the matrix of ISA-L's `gf_gen_cauchy1_matrix`, by which any two of the ten shards can be lost.
ISA-L computes it, through pyeclib and liberasurecode (`isa_l_rs_cauchy`); of their fragments only
the bytes are kept, never the header of 80 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from pyeclib.ec_iface import ECDriver

DATA, PARITY = 8, 2
SHARDS = DATA + PARITY
_HEADER = 80  # liberasurecode's fragment_header_t
_PLACES_MAX = 16 << 10  # beyond it a block is gone, not dotted with errors
_NOT_ZERO = re.compile(rb"[^\0]")

Shards = list[bytes]
"""Ten equal lengths of bytes: eight of data, then two of parity."""


@cache
def _driver() -> ECDriver:
    return ECDriver(k=DATA, m=PARITY, ec_type="isa_l_rs_cauchy")


def encode(data: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The two parities of eight equal, not empty, lengths of bytes."""
    fragments = _driver().encode(b"".join(data))
    return fragments[DATA][_HEADER:], fragments[DATA + 1][_HEADER:]


@cache
def _headers(width: int) -> list[bytes]:
    """The headers that the library wants to see before shards of that length: they depend on
    nothing else."""
    return [fragment[:_HEADER] for fragment in _driver().encode(bytes(DATA * width))]


def rebuild(shards: Shards, lost: Sequence[int]) -> dict[int, bytes]:
    """What the lost shards, two at most, must hold, by the others."""
    if not lost:
        return {}
    headers = _headers(len(shards[0]))
    kept = [headers[i] + shards[i] for i in range(SHARDS) if i not in lost]
    found = _driver().reconstruct(kept, list(lost))
    return {i: fragment[_HEADER:] for i, fragment in zip(lost, found, strict=True)}


def _powers() -> tuple[list[int], list[int]]:
    exponents, logarithms, value = [0] * 510, [0] * 256, 1
    for power in range(255):
        exponents[power] = exponents[power + 255] = value
        logarithms[value] = power
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return exponents, logarithms


_EXP, _LOG = _powers()


def _weighed(parity: int, shard: int, value: int) -> int:
    """What a byte that is not zero adds to a parity."""
    return _EXP[_LOG[value] + 255 - _LOG[(DATA + parity) ^ shard]]


@cache
def _by_syndrome() -> dict[tuple[int, int], tuple[int, int]]:
    """(shard, error) by the two differences that an error of one byte makes between the parities
    as stored and as computed: all 2,550 differ, since any two shards can be lost."""
    found = {(error, 0): (DATA, error) for error in range(1, 256)}
    found |= {(0, error): (DATA + 1, error) for error in range(1, 256)}
    for shard in range(DATA):
        for error in range(1, 256):
            found[_weighed(0, shard, error), _weighed(1, shard, error)] = shard, error
    return found


def correct(shards: Shards, doubtful: Iterable[int]) -> dict[int, bytes]:
    """The doubtful shards, however many, corrected wherever a single one of the ten is wrong at a
    byte's place. What it answers is a guess until its sums are checked."""
    computed = encode(shards[:DATA])
    first, second = (_difference(a, b) for a, b in zip(computed, shards[DATA:], strict=True))
    corrected = {shard: bytearray(shards[shard]) for shard in doubtful}
    places = {found.start() for each in (first, second) for found in _NOT_ZERO.finditer(each)}
    if len(places) > _PLACES_MAX:
        return {}
    for place in places:
        shard, error = _by_syndrome().get((first[place], second[place]), (-1, 0))
        if shard in corrected:
            corrected[shard][place] ^= error
    return {shard: bytes(content) for shard, content in corrected.items()}


def _difference(left: bytes, right: bytes) -> bytes:
    number = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return number.to_bytes(len(left), "little")
