"""A stripe encoded, and mended, as a stream: one column of ten blocks in memory at a time.

Nothing rebuilt is believed for having been computed: a block must have its sum, and an object the
SHA-256 that it is named by, before `keep` is called. An object that the stripe cannot give back is
dropped; those beside it are not.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from souverain.vault.engine.parity import code
from souverain.vault.engine.parity.code import DATA, PARITY, SHARDS, Shards
from souverain.vault.engine.parity.manifest import (
    BLOCK,
    Bins,
    Manifest,
    Member,
    block_sum,
    columns,
    longest,
)

_ZEROS = bytes(BLOCK)


@dataclass(frozen=True)
class ParityShard:
    """One of the two parity shards, as a piece of a stripe."""

    number: int
    size: int


Piece = Member | ParityShard
Read = Callable[[Piece], Iterator[bytes]]
"""The bytes that are stored for a piece, in chunks; it ends early where they cannot be read."""
Write = Callable[[int, bytes], None]
"""Take the next bytes of a parity shard."""


class Damaged(Exception):
    """This member's bytes do not have its SHA-256: no parity is made of them."""

    def __init__(self, member: Member) -> None:
        super().__init__(member.name)
        self.member = member


class Draft(Protocol):
    """Where a piece is written again. Ends with `keep` or `drop`."""

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal."""

    def write(self, chunk: bytes) -> None: ...

    def keep(self) -> None:
        """These bytes are right: put them in the place of what is there."""

    def drop(self) -> None:
        """Forget these bytes."""


class _Shard:
    """A shard's bytes, in blocks of the lengths asked for; zeros behind its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def take(self, width: int) -> bytes:
        if len(self._rest) >= width:
            block = bytes(self._rest[:width])
            self._rest = self._rest[width:]
            return block
        parts: list[bytes] = []
        left = width
        while left:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return b"".join(parts) + _ZEROS[:left] if parts else _ZEROS[:width]
                self._rest = memoryview(chunk)
            parts.append(bytes(self._rest[:left]))
            self._rest = self._rest[left:]
            left -= len(parts[-1])
        return b"".join(parts)


def _widths(length: int) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of each column."""
    for number in range(columns(length)):
        yield number * BLOCK, min(BLOCK, length - number * BLOCK)


# Encoding ----------------------------------------------------------------------------------------


def encode(of: str, bins: Bins, read: Read, write: Write) -> Manifest:
    """Write the parity of a stripe. Raises Damaged at the first member that is not what its name
    says: what was written then is worth nothing."""
    shards = [_Shard(_proven(some, read)) for some in bins]
    sums: list[bytes] = []
    for _, width in _widths(longest(bins)):
        data = [shard.take(width) for shard in shards]
        parity = code.encode(data)
        for number, block in enumerate(parity):
            write(number, block)
        sums += map(block_sum, (*data, *parity))
    for shard in shards:
        shard.take(1)  # the proof of the last members, and of empty ones
    return Manifest(of, bins, b"".join(sums))


def _proven(members: Iterable[Member], read: Read) -> Iterator[bytes]:
    for member in members:
        digest, size = hashlib.sha256(), 0
        for chunk in read(member):
            digest.update(chunk)
            size += len(chunk)
            if size > member.size:
                raise Damaged(member)
            yield chunk
        if digest.hexdigest() != member.sha256 or size != member.size:
            raise Damaged(member)


# Mending -----------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a mending found: `damaged` was not asked for, and wants another turn."""

    kept: list[Piece] = field(default_factory=list)
    dropped: list[Piece] = field(default_factory=list)
    damaged: list[Piece] = field(default_factory=list)


@dataclass
class _Span:
    """A piece that is written again, and where it stands in its shard."""

    piece: Piece
    start: int
    end: int
    draft: Draft
    is_lost: bool = False

    def take(self, offset: int, block: bytes) -> None:
        """Write what is the piece's own of a block that begins at `offset` of its shard."""
        part = block[max(0, self.start - offset) : max(0, self.end - offset)]
        if part and not self.is_lost:
            self.draft.write(part)

    def lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.draft.drop()


def mend(
    manifest: Manifest, read: Read, wanted: Iterable[Piece], draft: Callable[[Piece], Draft]
) -> Outcome:
    """Write the wanted pieces again, from the stripe's others and its parity. An empty `wanted`
    only checks every block."""
    return _Mending(manifest, read, set(wanted), draft).run()


def damaged_parity(manifest: Manifest, read: Read) -> set[ParityShard]:
    """The parity shards of which a block has not its sum."""
    shards = [ParityShard(number, manifest.length) for number in range(PARITY)]
    streams = [_Shard(_padded([shard], read)) for shard in shards]
    wrong = set()
    for number, (_, width) in enumerate(_widths(manifest.length)):
        expected = manifest.sums_of(number)[DATA:]
        for shard, stream, proof in zip(shards, streams, expected, strict=True):
            if block_sum(stream.take(width)) != proof:
                wrong.add(shard)
    return wrong


class _Mending:
    def __init__(
        self, manifest: Manifest, read: Read, wanted: set[Piece], draft: Callable[[Piece], Draft]
    ) -> None:
        self._manifest, self._wanted, self._new_draft = manifest, wanted, draft
        parity = [[ParityShard(number, manifest.length)] for number in range(PARITY)]
        self._pieces: list[Sequence[Piece]] = [*manifest.bins, *parity]
        self._shards = [_Shard(_padded(pieces, read)) for pieces in self._pieces]
        self._ahead = [deque(_placed(pieces)) for pieces in self._pieces]
        self._open: list[list[_Span]] = [[] for _ in range(SHARDS)]
        self._outcome = Outcome()
        self._damaged: set[Piece] = set()

    def run(self) -> Outcome:
        try:
            for number, (offset, width) in enumerate(_widths(self._manifest.length)):
                self._column(number, offset, width)
            self._advance(self._manifest.length, 1)
            self._close(self._manifest.length + 1)
        except BaseException:
            for span in (each for some in self._open for each in some):
                span.lose()
            raise
        self._outcome.damaged = [
            piece for pieces in self._pieces for piece in pieces if piece in self._damaged
        ]
        return self._outcome

    def _column(self, number: int, offset: int, width: int) -> None:
        shards = [shard.take(width) for shard in self._shards]
        under_way = self._advance(offset, width)
        expected = self._manifest.sums_of(number)
        bad = [i for i in range(SHARDS) if block_sum(shards[i]) != expected[i]]
        if bad:
            for i in bad:
                self._damaged |= {piece for piece in under_way[i] if piece not in self._wanted}
            for i in self._corrected(shards, expected, bad, offset):
                for span in self._open[i]:
                    if span.start < offset + width and span.end > offset:
                        span.lose()
        for i, spans in enumerate(self._open):
            for span in spans:
                span.take(offset, shards[i])
        self._close(offset + width)

    def _advance(self, offset: int, width: int) -> list[list[Piece]]:
        """The pieces that have bytes in a column; begins to write those that are wanted."""
        found: list[list[Piece]] = []
        for i, ahead in enumerate(self._ahead):
            here = []
            while ahead and ahead[0][1] < offset + width:
                piece, start, end = ahead[0]
                here.append(piece)
                if start >= offset and piece in self._wanted:
                    self._open[i].append(_Span(piece, start, end, self._new_draft(piece)))
                if end > offset + width:
                    break
                ahead.popleft()
            found.append(here)
        return found

    def _close(self, offset: int) -> None:
        """End the pieces that have no byte from `offset` on."""
        for spans in self._open:
            for span in [each for each in spans if each.end <= offset]:
                spans.remove(span)
                piece = span.piece
                if isinstance(piece, Member) and span.draft.sha256 != piece.sha256:
                    span.lose()
                if span.is_lost:
                    self._outcome.dropped.append(piece)
                else:
                    span.draft.keep()
                    self._outcome.kept.append(piece)

    def _corrected(
        self, shards: Shards, expected: list[bytes], bad: list[int], offset: int
    ) -> list[int]:
        """Correct a column's bad blocks in place; those that stay bad are answered."""
        for attempt in (self._whole, self._by_pieces, self._byte_by_byte, self._whole):
            for i, block in attempt(shards, bad, offset).items():
                # By all others' sums two rebuilt blocks are right, and an object has its SHA-256.
                is_proven = attempt == self._whole and i < DATA
                if is_proven or block_sum(block) == expected[i]:
                    shards[i] = block
                    bad = [each for each in bad if each != i]
            if not bad:
                break
        return bad

    def _whole(self, shards: Shards, bad: list[int], offset: int) -> dict[int, bytes]:
        return code.rebuild(shards, bad) if len(bad) <= PARITY else {}

    def _byte_by_byte(self, shards: Shards, bad: list[int], offset: int) -> dict[int, bytes]:
        return code.correct(shards, bad)

    def _by_pieces(self, shards: Shards, bad: list[int], offset: int) -> dict[int, bytes]:
        """Rebuild only where wanted pieces stand: small ones share a column and not a byte."""
        width = len(shards[0])
        found = {i: bytearray(shards[i]) for i in bad}
        spans = {i: self._open[i] for i in bad}
        edges = {0, width}
        for some in spans.values():
            edges |= {min(max(e - offset, 0), width) for s in some for e in (s.start, s.end)}
        cuts = sorted(edges)
        for start, end in pairwise(cuts):
            at = offset + start
            lost = [i for i in bad if any(s.start <= at < s.end for s in spans[i])]
            if 0 < len(lost) <= PARITY:
                parts = code.rebuild([shard[start:end] for shard in shards], lost)
                for i, part in parts.items():
                    found[i][start:end] = part
        return {i: bytes(block) for i, block in found.items()}


def _placed(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, int, int]]:
    """Each piece with where it begins and ends in its shard."""
    start = 0
    for piece in pieces:
        yield piece, start, start + piece.size
        start += piece.size


def _padded(pieces: Iterable[Piece], read: Read) -> Iterator[bytes]:
    """The pieces' bytes, each exactly as long as it must be: zeros where it cannot be read."""
    for piece in pieces:
        left = piece.size
        for chunk in read(piece):
            if left <= 0:
                break
            yield chunk[:left]
            left -= len(chunk[:left])
        while left > 0:
            yield _ZEROS[:left]
            left -= min(left, BLOCK)
