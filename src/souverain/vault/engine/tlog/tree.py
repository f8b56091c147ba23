"""The Merkle tree of RFC 6962, section 2: hashes, roots, and both proofs.

Proofs are made from a `Node` reader, which gives the hash of a complete subtree: level 0 is the
leaves, and node `index` of `level` covers the leaves from `index << level` on, `1 << level` of them.
Verification follows RFC 9162, 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

Node = Callable[[int, int], bytes]
HASH_BYTES = 32
EMPTY = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below a number above 1."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(node: Node, start: int, end: int) -> bytes:
    """The hash over the leaves [start, end), a subtree of some tree."""
    count = end - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range(node, start, middle), _range(node, middle, end))


def root(node: Node, size: int) -> bytes:
    """The root of the tree of the first `size` leaves."""
    return _range(node, 0, size) if size else EMPTY


def inclusion_proof(node: Node, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf (PATH). Raises ValueError for a leaf that is not in the tree."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")

    def path(start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*path(start, middle), _range(node, middle, end)]
        return [*path(middle, end), _range(node, start, middle)]

    return path(0, size)


def consistency_proof(node: Node, old: int, new: int) -> list[bytes]:
    """That the tree of `old` leaves is the beginning of the one of `new` (PROOF). Raises
    ValueError when it cannot be."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} is not the beginning of one of {new}")
    if old in (0, new):
        return []

    def proof(start: int, end: int, *, whole: bool) -> list[bytes]:
        if end == old:
            return [] if whole else [_range(node, start, end)]
        middle = start + _split(end - start)
        if old <= middle:
            return [*proof(start, middle, whole=whole), _range(node, middle, end)]
        return [*proof(middle, end, whole=False), _range(node, start, middle)]

    return proof(0, new, whole=True)


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that `leaf`, a hash, is at `index` of the tree with this root."""
    if not 0 <= index < size:
        return False
    here, last, found = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if here & 1 or here == last:
            found = node_hash(other, found)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            found = node_hash(found, other)
        here, last = here >> 1, last >> 1
    return last == 0 and found == root


def continues(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether the proof shows that the tree with `new_root` begins with the one of `old_root`."""
    if not 0 <= old <= new:
        return False
    if old == 0:
        return not proof and old_root == EMPTY
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    before = after = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            after = node_hash(after, other)
        here, last = here >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


class Frontier:
    """The right edge of a tree: the hashes of its complete subtrees, largest first. It is all
    that one needs to add leaves and to know the root."""

    def __init__(self, size: int = 0, hashes: bytes = b"") -> None:
        self.size = size
        self._hashes = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
        if len(self._hashes) != size.bit_count() or len(hashes) % HASH_BYTES:
            raise ValueError(f"not the frontier of a tree of {size}")

    def add(self, leaves: Iterable[bytes]) -> None:
        """Add leaves, given by their hashes."""
        for found in leaves:
            bits = self.size
            while bits & 1:
                found, bits = node_hash(self._hashes.pop(), found), bits >> 1
            self._hashes.append(found)
            self.size += 1

    def root(self) -> bytes:
        if not self._hashes:
            return EMPTY
        *before, found = self._hashes
        for left in reversed(before):
            found = node_hash(left, found)
        return found

    def __bytes__(self) -> bytes:
        return b"".join(self._hashes)
