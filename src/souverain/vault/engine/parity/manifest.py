"""A stripe's manifest: what it holds, in which order, and a short sum of each block.

A file is one line of JSON, then the sums. Its name is its SHA-256; it is stored in `COPIES` copies,
of which a vote, byte by byte, gives the file back although each is damaged. With it and the two
parity shards a stripe is mended from a plain folder: no database is needed.

`{"bins":[[[kind,name,size],…],…],"length":L,"of":"vault/<INSEE>/<set>","v":1}`; a `config`, whose
name proves nothing, has its SHA-256 as fourth item. The sums follow column by column (a column is
`BLOCK` bytes of each bin, the last one what is left of `length`): ten of `SUM` bytes, each the
beginning of the SHA-256 of a block, zeros behind the end of a bin included.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from souverain.vault.engine.parity.code import DATA, SHARDS

BLOCK = 64 << 10
SUM = 16
COPIES = 3
KINDS = ("config", "keys", "index", "snapshots", "data")
MEMBERS_MAX = 4096
LENGTH_MAX = 512 << 20
MANIFEST_MAX = 4 << 20
_NAME = re.compile(r"[0-9a-f]{64}")
_OF = re.compile(r"[0-9A-Za-z/-]{1,80}")
_COLUMN = SHARDS * SUM
_ZEROS = bytes(BLOCK)


class ManifestError(ValueError):
    """Not a manifest that this program wrote. The message is in French."""


@dataclass(frozen=True)
class Member:
    """One object of a stripe; size in bytes. `sha256` is its name, but for a `config`."""

    kind: str
    name: str
    size: int
    sha256: str


Bins = Sequence[Sequence[Member]]
"""Eight bins, each its members in order."""


@dataclass(frozen=True)
class Manifest:
    """What a stripe holds; `sums` has one column after the other."""

    of: str
    bins: Bins
    sums: bytes

    @property
    def length(self) -> int:
        """Bytes of the longest bin, and so of a parity shard."""
        return longest(self.bins)

    @property
    def members(self) -> list[Member]:
        return [each for some in self.bins for each in some]

    def sums_of(self, column: int) -> list[bytes]:
        """The ten sums of a column."""
        start = column * _COLUMN
        return [self.sums[at : at + SUM] for at in range(start, start + _COLUMN, SUM)]

    def __bytes__(self) -> bytes:
        head = {
            "bins": [[_written(each) for each in some] for some in self.bins],
            "length": self.length,
            "of": self.of,
            "v": 1,
        }
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.sums

    @property
    def name(self) -> str:
        return hashlib.sha256(bytes(self)).hexdigest()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Raises ManifestError: nothing of what a file says is believed before it is checked."""
        if len(content) > MANIFEST_MAX:
            raise ManifestError("Ce fichier de parité est trop gros.")
        head, _, sums = content.partition(b"\n")
        try:
            said = json.loads(head)
        except (ValueError, RecursionError):
            raise ManifestError("Ce fichier de parité n'est pas lisible.") from None
        if not isinstance(said, dict) or said.get("v") != 1:
            raise ManifestError("Ce fichier de parité est d'une version inconnue.")
        of, bins, length = said.get("of"), said.get("bins"), said.get("length")
        if not isinstance(of, str) or not _OF.fullmatch(of):
            raise ManifestError("Ce fichier de parité ne dit pas de quel dépôt il est.")
        if not isinstance(bins, list) or len(bins) != DATA:
            raise ManifestError("Ce fichier de parité n'a pas huit bacs.")
        made = cls(of, [_bin(some) for some in bins], sums)
        members = made.members
        if len(members) > MEMBERS_MAX or len({(m.kind, m.name) for m in members}) != len(members):
            raise ManifestError("Ce fichier de parité nomme trop d'objets, ou deux fois le même.")
        if made.length != length or made.length > LENGTH_MAX:
            raise ManifestError("Ce fichier de parité annonce une fausse longueur.")
        if len(sums) != columns(made.length) * _COLUMN:
            raise ManifestError("Ce fichier de parité est coupé, ou trop long.")
        return made


def longest(bins: Bins) -> int:
    return max((sum(each.size for each in some) for some in bins), default=0)


def columns(length: int) -> int:
    """How many columns of blocks a stripe of that length has."""
    return -(-length // BLOCK)


def block_sum(block: bytes) -> bytes:
    """The sum of a block; that of zeros, the most frequent content, is not computed again."""
    if block == _ZEROS[: len(block)]:
        return _sum_of_zeros(len(block))
    return hashlib.sha256(block).digest()[:SUM]


@lru_cache(64)
def _sum_of_zeros(width: int) -> bytes:
    return hashlib.sha256(bytes(width)).digest()[:SUM]


def _written(member: Member) -> list[Any]:
    proof = [member.sha256] if member.sha256 != member.name else []
    return [member.kind, member.name, member.size, *proof]


def _bin(said: Any) -> list[Member]:
    if not isinstance(said, list):
        raise ManifestError("Ce fichier de parité a un bac illisible.")
    return [_member(each) for each in said]


def _member(said: Any) -> Member:
    wrong = ManifestError("Ce fichier de parité nomme mal un objet.")
    if not isinstance(said, list) or len(said) not in (3, 4):
        raise wrong
    kind, name, size, *proof = said
    sha256 = proof[0] if proof else name
    if kind not in KINDS or type(size) is not int or not 0 <= size <= LENGTH_MAX:
        raise wrong
    if not isinstance(sha256, str) or not _NAME.fullmatch(sha256):
        raise wrong
    if name != ("config" if kind == "config" else sha256):
        raise wrong
    return Member(kind, name, size, sha256)


def elect(copies: Sequence[bytes], name: str) -> Manifest:
    """The manifest of that name, by its copies, damaged or not. Raises ManifestError."""
    for content in (*copies, _vote(copies)):
        if hashlib.sha256(content).hexdigest() == name:
            return Manifest.parse(content)
    raise ManifestError("Toutes les copies de ce fichier de parité sont abîmées.")


def _vote(copies: Sequence[bytes]) -> bytes:
    """What most copies say, byte by byte, of those whose length most have."""
    lengths = Counter(map(len, copies)).most_common(1)
    if not lengths or not 0 < lengths[0][0] <= MANIFEST_MAX:
        return b""
    same = [copy for copy in copies if len(copy) == lengths[0][0]]
    if len(same) < 3:
        return b""
    a, b, c = (int.from_bytes(copy, "little") for copy in same[:3])
    return (a & b | a & c | b & c).to_bytes(lengths[0][0], "little")
