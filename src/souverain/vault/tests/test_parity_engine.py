"""The parity by itself: whatever is lost or changed, what is given back is right, or is not given."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.vault.engine.parity import code, packing
from souverain.vault.engine.parity.manifest import (
    BLOCK,
    COPIES,
    KINDS,
    MANIFEST_MAX,
    Bins,
    Manifest,
    ManifestError,
    Member,
    elect,
    longest,
)
from souverain.vault.engine.parity.stripe import (
    Damaged,
    Draft,
    Outcome,
    ParityShard,
    Piece,
    encode,
    mend,
)

OF = "vault/21231/general"


def named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Folder:
    """Pieces in memory, which may be damaged."""

    files: dict[Piece, bytes] = field(default_factory=dict)

    def read(self, piece: Piece) -> Iterator[bytes]:
        content = self.files.get(piece, b"")
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    def draft(self, piece: Piece) -> Draft:
        return _Draft(self, piece)


@dataclass
class _Draft:
    folder: Folder
    piece: Piece
    content: bytes = b""

    @property
    def sha256(self) -> str:
        return named(self.content)

    def write(self, chunk: bytes) -> None:
        self.content += chunk

    def keep(self) -> None:
        self.folder.files[self.piece] = self.content

    def drop(self) -> None:
        self.content = b""


def member(kind: str, content: bytes) -> Member:
    proof = named(content)
    return Member(kind, "config" if kind == "config" else proof, len(content), proof)


def stripes(contents: list[tuple[str, bytes]]) -> tuple[Folder, list[Manifest]]:
    """Objects with the parity of all of them, one folder of pieces for each stripe in turn."""
    folder = Folder({member(kind, content): content for kind, content in contents})
    made = []
    for bins in packing.pack([piece for piece in folder.files if isinstance(piece, Member)]):
        made.append(protect(folder, bins))
    return folder, made


def protect(folder: Folder, bins: Bins) -> Manifest:
    parity = [bytearray(), bytearray()]
    manifest = encode(OF, bins, folder.read, lambda number, block: parity[number].extend(block))
    for number, content in enumerate(parity):
        folder.files[ParityShard(number, manifest.length)] = bytes(content)
    return manifest


def one_stripe(sizes: list[int], seed: int = 21) -> tuple[Folder, Manifest]:
    dice = random.Random(seed)
    contents = [(dice.choice(KINDS[1:]), dice.randbytes(size)) for size in sizes]
    folder, made = stripes(list({named(c): (k, c) for k, c in contents}.values()))
    assert len(made) == 1
    return folder, made[0]


def mend_all(folder: Folder, manifest: Manifest, wanted: set[Piece]) -> Outcome:
    """Until a turn finds nothing new."""
    while True:
        found = mend(manifest, folder.read, wanted, folder.draft)
        if set(found.damaged) <= wanted:
            return found
        wanted |= set(found.damaged)


sizes = st.lists(
    st.one_of(st.integers(0, 700), st.integers(BLOCK - 2, BLOCK + 2), st.integers(0, 300_000)),
    min_size=1,
    max_size=40,
)


# The code ----------------------------------------------------------------------------------------


def product(a: int, b: int) -> int:
    """In GF(2⁸) modulo 0x11d, bit by bit."""
    total = 0
    while b:
        total ^= a if b & 1 else 0
        a, b = a << 1 ^ (0x11D if a & 0x80 else 0), b >> 1
    return total


def test_the_parity_is_the_one_that_is_written_down() -> None:
    """Anybody can compute it again without our library."""
    inverse = {a: next(b for b in range(1, 256) if product(a, b) == 1) for a in range(1, 16)}
    data = [random.Random(j).randbytes(40) for j in range(8)]
    for parity, computed in enumerate(code.encode(data)):
        for place in range(40):
            total = 0
            for j in range(8):
                total ^= product(data[j][place], inverse[(8 + parity) ^ j])
            assert total == computed[place]


@given(st.integers(1, 3000), st.sets(st.integers(0, 9), max_size=2), st.randoms())
def test_any_two_shards_are_rebuilt(width: int, lost: set[int], dice: random.Random) -> None:
    data = [dice.randbytes(width) for _ in range(8)]
    shards = [*data, *code.encode(data)]
    damaged = [bytes(width) if i in lost else shard for i, shard in enumerate(shards)]
    assert code.rebuild(damaged, sorted(lost)) == {i: shards[i] for i in lost}


# Packing -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 40 << 20), max_size=300))
def test_every_object_is_in_one_bin(lengths: list[int]) -> None:
    members = [Member("data", f"{i:064x}", size, f"{i:064x}") for i, size in enumerate(lengths)]
    packed = packing.pack(members)
    held = [each for bins in packed for some in bins for each in some]
    assert sorted(held, key=str) == sorted(members, key=str)
    assert all(len(bins) == 8 for bins in packed)
    assert packed == packing.pack(reversed(members))


def test_packs_of_a_client_cost_a_quarter() -> None:
    dice = random.Random(3)
    members = [
        Member("data", f"{i:064x}", (16 << 20) + dice.randrange(2 << 20), f"{i:064x}")
        for i in range(400)
    ]
    packed = packing.pack(members)
    parity = sum(2 * longest(bins) for bins in packed)
    assert 0.25 <= parity / sum(each.size for each in members) < 0.2525


def test_small_objects_stand_one_after_the_other() -> None:
    """So that all of them can be lost at once, and a pack beside."""
    sizes = [5 << 20, 4 << 20, 3 << 20, *[400] * 12]
    members = [Member("keys", f"{i:064x}", size, f"{i:064x}") for i, size in enumerate(sizes)]
    (bins,) = packing.pack(members)
    assert longest(bins) == 5 << 20
    assert sum(any(each.size == 400 for each in some) for some in bins) == 1


# Mending -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(sizes, st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
def test_two_whole_bins_come_back(lengths: list[int], one: int, two: int, seed: int) -> None:
    folder, manifest = one_stripe(lengths, seed)
    whole = dict(folder.files)
    shards: list[list[Piece]] = [
        *(list(some) for some in manifest.bins),
        [ParityShard(0, manifest.length)],
        [ParityShard(1, manifest.length)],
    ]
    lost = {*shards[one], *shards[two]}
    for piece in lost:
        folder.files.pop(piece, None)
    found = mend(manifest, folder.read, lost, folder.draft)
    assert set(found.kept) == lost and not found.dropped and not found.damaged
    assert folder.files == whole


def flip(folder: Folder, piece: Piece, at: int, bit: int) -> None:
    content = bytearray(folder.files[piece])
    content[at] ^= 1 << bit
    folder.files[piece] = bytes(content)


def test_a_thousand_flips_come_back(proving: bool) -> None:
    """Also in the parity, and many in one column: no sum says where in a block a byte is wrong."""
    dice = random.Random(7)
    megabytes, flips = (64, 1000) if proving else (6, 200)
    lengths = [dice.randrange(1, megabytes << 17) for _ in range(8)]
    lengths += [dice.randrange(100, 3000) for _ in range(60)]
    folder, manifest = one_stripe(lengths)
    whole = dict(folder.files)
    pieces = list(folder.files)
    for _ in range(flips):
        (piece,) = dice.choices(pieces, weights=[len(folder.files[p]) for p in pieces])
        flip(folder, piece, dice.randrange(len(folder.files[piece])), dice.randrange(8))
    found = mend_all(folder, manifest, set())
    assert folder.files == whole
    assert not found.dropped


@settings(deadline=None, max_examples=60)
@given(sizes, st.integers(0, 40), st.integers(0, 99))
def test_what_is_given_back_is_right_or_is_not_given(
    lengths: list[int], losses: int, seed: int
) -> None:
    """However much is lost: files gone, cut, lengthened, full of zeros or dotted with errors."""
    folder, manifest = one_stripe(lengths, seed)
    whole, dice = dict(folder.files), random.Random(seed)
    for _ in range(losses):
        piece = dice.choice(list(whole))
        content = folder.files.get(piece, b"")
        at, end = sorted(dice.randrange(len(content) + 1) for _ in range(2))
        folder.files[piece] = dice.choice(
            (b"", content[:at], content + b"x", content[:at] + bytes(end - at) + content[end:])
        )
        if content and dice.random() < 0.5:
            folder.files[piece] = content
            flip(folder, piece, dice.randrange(len(content)), dice.randrange(8))
    hurt = {piece for piece in whole if folder.files[piece] != whole[piece]}
    damaged = dict(folder.files)
    found = mend_all(folder, manifest, set(hurt))
    for piece in whole:
        given_back = folder.files[piece] == whole[piece]
        assert given_back or (folder.files[piece] == damaged[piece] and piece in found.dropped)
    bins = [set(some) & hurt for some in manifest.bins]
    bins += [{ParityShard(n, manifest.length)} & hurt for n in (0, 1)]
    if sum(map(bool, bins)) <= 2:
        assert folder.files == whole


def test_small_objects_that_share_a_column_and_no_byte() -> None:
    folder, manifest = one_stripe([500] * 64)
    whole = dict(folder.files)
    # Three bins are hurt, at three different heights, and another has a wrong byte elsewhere.
    lost = {manifest.bins[0][0], manifest.bins[1][1], manifest.bins[2][2], manifest.bins[3][3]}
    for piece in lost:
        del folder.files[piece]
    found = mend(manifest, folder.read, set(lost), folder.draft)
    assert set(found.kept) == lost and folder.files == whole


def test_three_bins_lost_are_said_lost_and_the_rest_comes_back() -> None:
    folder, manifest = one_stripe([3 * BLOCK] * 8 + [BLOCK] * 8)
    whole = dict(folder.files)
    lost = {some[0] for some in manifest.bins[:3]}
    after = manifest.bins[0][1]
    for piece in {*lost, after}:
        folder.files.pop(piece)
    found = mend(manifest, folder.read, {*lost, after}, folder.draft)
    assert set(found.dropped) == lost and found.kept == [after]
    assert folder.files == {p: c for p, c in whole.items() if p not in lost}


def test_parity_is_never_made_of_what_is_not_its_name() -> None:
    folder, manifest = one_stripe([1000, 2000, 300_000])
    for piece in manifest.members:
        content = folder.files[piece]
        for wrong in (content[:-1], content + b"x", content[:-1] + bytes([content[-1] ^ 1]), b""):
            folder.files[piece] = wrong
            with pytest.raises(Damaged) as refused:
                encode(OF, manifest.bins, folder.read, lambda *_: None)
            assert refused.value.member == piece
        folder.files[piece] = content


def test_a_stripe_that_gives_other_bytes_than_the_name_is_not_believed() -> None:
    """Its sums agree with its parity; the SHA-256 alone says that this is another object."""
    folder, manifest = one_stripe([300_000, 200_000, 1000])
    true = next(piece for piece in manifest.members if piece.size == 200_000)
    other = named(b"un autre")
    false = Member(true.kind, other, true.size, other)
    bins = [[false if each == true else each for each in some] for some in manifest.bins]
    lying = Manifest(OF, bins, manifest.sums)
    found = mend(lying, folder.read, {false}, folder.draft)
    assert found.dropped == [false] and not found.kept and false not in folder.files


def test_a_cut_in_the_middle_forgets_what_was_written() -> None:
    folder, manifest = one_stripe([300_000] * 8)
    ended: list[str] = []

    class Disk(_Draft):
        def write(self, chunk: bytes) -> None:
            if len(self.content) > 100_000:
                raise OSError(28, "No space left on device")
            super().write(chunk)

        def keep(self) -> None:
            ended.append("kept")

        def drop(self) -> None:
            ended.append("dropped")

    wanted = {manifest.bins[0][0], manifest.bins[1][0]}
    with pytest.raises(OSError):
        mend(manifest, folder.read, set(wanted), lambda piece: Disk(folder, piece))
    assert ended == ["dropped", "dropped"]


# The manifest ------------------------------------------------------------------------------------


def test_a_manifest_is_found_again_from_damaged_copies() -> None:
    manifest = one_stripe([200, 3000, 90_000])[1]
    content, dice = bytes(manifest), random.Random(5)
    assert Manifest.parse(content) == manifest
    assert elect([b"", b"", content], manifest.name) == manifest
    for _ in range(50):
        copies = [bytearray(content) for _ in range(COPIES)]
        for number, place in enumerate(dice.sample(range(len(content)), COPIES)):
            copies[number][place] ^= 1 << dice.randrange(8)
        assert elect(list(map(bytes, copies)), manifest.name) == manifest
    with pytest.raises(ManifestError, match="abîmées"):
        elect([content[:-1], b"", content[1:]], manifest.name)


HOSTILE = {
    "lisible": [b"", b"\0\1\2", b"[" * 100_000, b"{" * 10, b"\xff\xfe\n"],
    "version": [b"[]\n", b"3\n", b'{"v":2}\n', b'{"v":"1"}\n', b"null\n"],
}


def test_hostile_manifests_are_refused() -> None:
    for word, contents in HOSTILE.items():
        for content in contents:
            with pytest.raises(ManifestError, match=word):
                Manifest.parse(content)
    with pytest.raises(ManifestError, match="gros"):
        Manifest.parse(bytes(MANIFEST_MAX + 1))
    manifest = one_stripe([200, 3000])[1]
    head, _, sums = bytes(manifest).partition(b"\n")
    good = json.loads(head)
    member = next(some[0] for some in good["bins"] if some)
    name = member[1]
    wrong: list[tuple[str, object]] = [
        ("of", "../../etc"),
        ("of", None),
        ("bins", good["bins"][:7]),
        ("bins", [*good["bins"][:7], None]),
        ("bins", [*good["bins"][:7], [[]]]),
        ("bins", [*good["bins"][:7], [member]]),
        ("bins", [[["locks", name, 3]], *good["bins"][1:]]),
        ("bins", [[["data", "../../etc/passwd", 3]], *good["bins"][1:]]),
        ("bins", [[["data", name, -1]], *good["bins"][1:]]),
        ("bins", [[["data", name, True]], *good["bins"][1:]]),
        ("bins", [[["data", name, 1 << 60]], *good["bins"][1:]]),
        ("bins", [[["data", name, 1e9]], *good["bins"][1:]]),
        ("bins", [[["data", name, 3, "0" * 64]], *good["bins"][1:]]),
        ("bins", [[["config", name, 3]], *good["bins"][1:]]),
        ("bins", [[["data", f"{i:064x}", 0] for i in range(5000)], *good["bins"][1:]]),
        ("length", good["length"] + 1),
        ("length", "3000"),
    ]
    for key, value in wrong:
        with pytest.raises(ManifestError):
            Manifest.parse(json.dumps({**good, key: value}).encode() + b"\n" + sums)
    for other in (sums[:-1], sums + b"x", b""):
        with pytest.raises(ManifestError, match="coupé"):
            Manifest.parse(head + b"\n" + other)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_refused(content: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(content)
