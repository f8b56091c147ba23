"""The log's engine against published vectors, a naive tree, and forgers."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from souverain.vault.engine.tlog import note, tiles, tree
from souverain.vault.engine.tlog.leaves import Leaf, LeafError, Name, replay
from souverain.vault.engine.tlog.tiles import Tile

# Certificate Transparency's reference tree (google/certificate-transparency, merkle_tree_test).
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# The example of golang.org/x/mod/sumdb/note.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_SAYS = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def naive(hashes: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return tree.node_hash(naive(hashes[:k]), naive(hashes[k:]))


def node_of(hashes: list[bytes]) -> tree.Node:
    return lambda level, index: naive(hashes[index << level : (index + 1) << level])


def leaves_of(count: int) -> list[bytes]:
    return [tree.leaf_hash(b"%d" % number) for number in range(count)]


def test_roots_are_those_of_certificate_transparency() -> None:
    hashes = [tree.leaf_hash(data) for data in CT_LEAVES]
    frontier = tree.Frontier()
    for size, expected in enumerate(CT_ROOTS):
        assert tree.root(node_of(hashes), size).hex() == expected
        assert frontier.root().hex() == expected
        frontier.add(hashes[size : size + 1])


def test_every_proof_of_small_trees_holds_and_no_other() -> None:
    hashes = leaves_of(40)
    node = node_of(hashes)
    roots = [naive(hashes[:size]) for size in range(41)]
    for new in range(1, 41):
        for index in range(new):
            proof = tree.inclusion_proof(node, index, new)
            assert tree.includes(hashes[index], index, new, proof, roots[new])
            assert not tree.includes(hashes[index], index, new, proof, roots[new - 1])
            assert not tree.includes(hashes[index - 1], index, new, proof, roots[new]) or new == 1
            assert not tree.includes(hashes[index], index, new, [*proof, roots[0]], roots[new])
            if proof:
                assert not tree.includes(hashes[index], index, new, proof[:-1], roots[new])
        for old in range(new + 1):
            proof = tree.consistency_proof(node, old, new)
            assert tree.continues(old, new, proof, roots[old], roots[new])
            forked = tree.node_hash(roots[old], roots[old])
            assert not tree.continues(old, new, proof, forked, roots[new])
            if old:
                assert not tree.continues(old, new, proof, roots[old], forked)
                assert not tree.continues(old, new, [*proof, forked], roots[old], roots[new])


@given(st.integers(1, 3000), st.data())
@settings(max_examples=60, deadline=None)
def test_a_tree_read_from_its_tiles_is_the_naive_tree(size: int, data: st.DataObject) -> None:
    hashes = leaves_of(size)
    levels, files = [hashes], {}
    while len(levels[-1]) >= tiles.WIDTH:
        below = levels[-1]
        whole = len(below) // tiles.WIDTH
        levels.append([naive(below[n * 256 : n * 256 + 256]) for n in range(whole)])
    for tile in tiles.hash_tiles(size):
        content = levels[tile.level][tile.index * 256 : tile.index * 256 + tile.width]
        files[tile] = tiles.unpack(tiles.pack(content), tile.width)
    node = tiles.nodes(files.__getitem__, size)
    assert tree.root(node, size) == naive(hashes)
    old = data.draw(st.integers(0, size))
    proof = tree.consistency_proof(node, old, size)
    assert tree.continues(old, size, proof, naive(hashes[:old]), naive(hashes))
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(node, index, size)
    assert tree.includes(hashes[index], index, size, proof, naive(hashes))
    frontier = tree.Frontier()
    frontier.add(hashes[:old])
    again = tree.Frontier(old, bytes(frontier))
    again.add(hashes[old:])
    assert again.root() == naive(hashes)


def test_tiles_are_named_as_the_specification_says() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert Tile(1, 0, 12).path == "tile/1/000.p/12"
    assert Tile(tiles.ENTRIES, 7).path == "tile/entries/007"
    assert list(tiles.hash_tiles(70_000))[-3:] == [Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entries_come_back_as_they_were(entries: list[bytes]) -> None:
    content = tiles.pack_entries(entries)
    assert tiles.unpack_entries(content, len(entries)) == entries
    with pytest.raises(ValueError, match="bundle"):
        tiles.unpack_entries(content + b"\x00", len(entries))


def test_the_published_note_is_verified() -> None:
    key = note.Key.parse(NEUMANN)
    assert str(key) == NEUMANN
    found = note.Note.parse(NEUMANN_SAYS.encode())
    assert str(found) == NEUMANN_SAYS
    assert found.is_signed_by(key)
    assert not note.Note(found.text + ".", found.signatures).is_signed_by(key)
    assert not found.is_signed_by(note.Key("PeterNeumann", bytes(32)))


def test_a_checkpoint_is_signed_and_cosigned() -> None:
    log, witness = (Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in (1, 2))
    checkpoint = note.Checkpoint("cotedor.invalid/vault/21231", 7, naive(leaves_of(7)))
    text = str(checkpoint)
    cosignature = note.cosign(text, "mairie", witness, 1_700_000_000)
    signed = note.Note(text, (note.sign(text, checkpoint.origin, log), cosignature))
    found = note.Note.parse(str(signed).encode())
    assert note.Checkpoint.parse(found.text) == checkpoint
    assert found.is_signed_by(note.Key.of(checkpoint.origin, log))
    key = note.Key.parse(str(note.Key.of("mairie", witness, note.COSIGNATURE)))
    assert note.cosigned_at(found.text, found.signatures[1], key) == 1_700_000_000
    assert note.cosigned_at(found.text + "x\n", found.signatures[1], key) is None
    later = cosignature.content[:7] + b"\xff" + cosignature.content[8:]
    forged = note.Signature("mairie", key.id, later)
    assert note.cosigned_at(text, forged, key) is None


def test_a_note_has_one_writing() -> None:
    """The bits that base64's last character holds beside the signature cannot be changed either."""
    signed = NEUMANN_SAYS.encode()
    place = len(signed.rstrip(b"=\n")) - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for other in set(alphabet) - {signed[place]}:
        changed = signed[:place] + bytes([other]) + signed[place + 1 :]
        try:
            found = note.Note.parse(changed)
        except note.NoteError:
            continue
        assert not found.is_signed_by(note.Key.parse(NEUMANN)), chr(other)


@pytest.mark.parametrize(
    "content",
    [b"", b"text\n", b"text\n\n", b"text\n\n\xe2\x80\x94 name ***\n", b"\xff\n\n", b"a" * 70_000],
)
def test_what_is_no_note_is_refused(content: bytes) -> None:
    with pytest.raises(note.NoteError):
        note.Note.parse(content)


def test_a_proof_in_a_log_of_a_million_leaves_is_below_two_kilobytes() -> None:
    size = 1_000_000
    leaf = Leaf(Name("general", "data", "a" * 64), 1 << 24, "2026-11-27T12:00:00.000000Z", "birth")
    name = "departement-au-nom-fort-long.invalid/vault/21231"
    secret = Ed25519PrivateKey.from_private_bytes(bytes(32))

    def node(level: int, index: int) -> bytes:
        """A tree whose other leaves are all alike."""
        found = tree.leaf_hash(b"other")
        for _ in range(level):
            found = tree.node_hash(found, found)
        return found

    hashes = tree.inclusion_proof(node, 424_242, size)
    frontier = tree.leaf_hash(bytes(leaf))
    assert len(hashes) == 20
    text = str(note.Checkpoint(name, size, frontier))
    signatures = (note.sign(text, name, secret), note.cosign(text, "mairie", secret, 1))
    proof = note.Proof(bytes(leaf), 424_242, hashes, note.Note(text, signatures))
    written = str(proof).encode()
    assert len(written) <= 2048
    assert str(note.Proof.parse(written)) == str(proof)


def test_leaves_have_one_writing_and_are_replayed() -> None:
    def leaf(event: str, at: int, name: str = "a") -> Leaf:
        return Leaf(
            Name("general", "data", name * 64), 5, f"2026-01-01T00:00:{at:02}.000000Z", event
        )

    born, died = leaf("birth", 1), leaf("death", 2)
    assert Leaf.parse(bytes(born)) == born
    for other in (
        b"{}",
        b"[]",
        b"\xff",
        bytes(born).replace(b'"size":5', b'"size": 5'),
        bytes(born).replace(b'"size":5', b'"size":-5'),
        bytes(born).replace(b'"size":5', b'"size":true'),
        bytes(born).replace(b"birth", b"spawn"),
        bytes(born).replace(b"2026-01-01", b"2026-13-01"),
    ):
        with pytest.raises(LeafError):
            Leaf.parse(other)
    assert replay([born, died, leaf("birth", 3, "b")]).living.keys() == {
        leaf("birth", 3, "b").object
    }
    assert [odd.why for odd in replay([born, leaf("birth", 2)]).odd] == ["born-twice"]
    assert [odd.why for odd in replay([died]).odd] == ["never-born"]
    assert [odd.why for odd in replay([leaf("birth", 9), leaf("birth", 1, "b")]).odd] == ["earlier"]
    assert replay([born, died]).deleted.keys() == {born.object}
    gone = replay([born, died, leaf("reaped", 3)])
    assert (gone.living, gone.deleted, gone.odd) == ({}, {}, [])
    assert [odd.why for odd in replay([born, leaf("reaped", 3)]).odd] == ["never-born"]
