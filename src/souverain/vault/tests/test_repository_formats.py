"""The parsers of the repository format: hostile bytes raise FormatError and nothing else, in bounded
memory; what can be encoded comes back."""

from __future__ import annotations

import json
import os
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import example, given
from hypothesis import strategies as st

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.check import check
from souverain.vault.engine.restic.crypto import Key, Opener, WrongSeal, derive
from souverain.vault.engine.restic.files import (
    inflate,
    open_key_file,
    parse_config,
    parse_snapshot,
    parse_time,
    unpack,
)
from souverain.vault.engine.restic.index import DATA, MAX_COPIES, TREE, Blob, Index, parse_index
from souverain.vault.engine.restic.packs import parse_header, sealed_header_size
from souverain.vault.engine.restic.repository import Repository, folder
from souverain.vault.engine.restic.trees import parse_tree, posix_mode, unquote
from souverain.vault.tests.restic_writer import (
    KEY,
    PASSWORD,
    WHEN,
    Writer,
    header,
    index_json,
    node,
    seal,
    to_json,
)

PARSERS: dict[str, Callable[[bytes], object]] = {
    "config": parse_config,
    "key": lambda raw: open_key_file(raw, b"mot de passe"),
    "snapshot": lambda raw: parse_snapshot(bytes(32), raw),
    "index": lambda raw: list(parse_index(raw)),
    "tree": lambda raw: list(parse_tree(raw)),
    "header": lambda raw: list(parse_header(raw, bytes(32))),
    "header size": lambda raw: sealed_header_size(raw[:4], len(raw)),
    "unpacked": lambda raw: unpack(raw, 2),
    "compressed": lambda raw: inflate(zstandard.ZstdDecompressor(), raw, 100),
    "sealed": lambda raw: Opener(KEY).open(raw),
}
WORDS = st.sampled_from(
    [
        "nodes",
        "name",
        "type",
        "file",
        "dir",
        "mode",
        "mtime",
        "uid",
        "size",
        "content",
        "subtree",
        "linktarget",
        "links",
        "inode",
        "data",
        "tree",
        "packs",
        "blobs",
        "id",
        "offset",
        "length",
        "uncompressed_length",
        "supersedes",
        "version",
        "chunker_polynomial",
        "kdf",
        "scrypt",
        "N",
        "r",
        "p",
        "salt",
        "time",
        "paths",
        "hostname",
        "tags",
        "extended_attributes",
        "value",
    ]
)
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | WORDS
    | st.sampled_from(["0" * 64, "é" * 64, WHEN, "0000-00-00T00:00:00Z", "\\x", "\\uD800", "AAAA"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=25,
)
NAMES = st.binary(min_size=32, max_size=32)


def only_format_errors(parser: Callable[[bytes], object], raw: bytes) -> None:
    try:
        parser(raw)
    except FormatError as error:
        assert str(error) and not str(error).endswith(".")


@pytest.mark.parametrize("parser", PARSERS)
@given(raw=st.binary(max_size=300))
@example(raw=b"")
def test_any_bytes_give_a_value_or_a_format_error(parser: str, raw: bytes) -> None:
    only_format_errors(PARSERS[parser], raw)


@pytest.mark.parametrize("parser", ["config", "key", "snapshot", "index", "tree"])
@given(value=ANY)
def test_any_json_gives_a_value_or_a_format_error(parser: str, value: Any) -> None:
    only_format_errors(PARSERS[parser], json.dumps(value).encode())


@pytest.mark.parametrize("parser", ["index", "tree"])
@given(value=ANY, key=WORDS)
def test_any_entry_gives_a_value_or_a_format_error(parser: str, value: Any, key: str) -> None:
    valid: dict[str, Any] = (
        {"packs": [{"id": "0" * 64, "blobs": [{"id": "0" * 64, "type": "data", key: value}]}]}
        if parser == "index"
        else {"nodes": [node("a", content=[]) | {key: value}]}
    )
    only_format_errors(PARSERS[parser], json.dumps(valid).encode())


@given(raw=st.binary(max_size=200), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_seal_opens_whole_or_not_at_all(raw: bytes, at: int, bit: int) -> None:
    sealed = seal(KEY, raw)
    assert Opener(KEY).open(sealed) == raw
    altered = bytearray(sealed)
    altered[at % len(sealed)] ^= 1 << bit
    with pytest.raises(WrongSeal):
        Opener(KEY).open(bytes(altered))


def test_an_opener_serves_again_after_a_wrong_seal() -> None:
    opener = Opener(KEY)
    with pytest.raises(WrongSeal):
        opener.open(bytes(100))
    assert [opener.open(seal(KEY, text)) for text in (b"un", b"deux")] == [b"un", b"deux"]


def test_poly1305_aes_as_its_author_gives_it() -> None:
    """D. J. Bernstein, "The Poly1305-AES message-authentication code" (2005), appendix B: the fourth
    example, whose `r` is already masked."""
    k = bytes.fromhex("6acb5f61a7176dd320c5c1eb2edcdc74")
    r = bytes.fromhex("48443d0bb0d21109c89a100b5ce2c208")
    nonce = bytes.fromhex("ae212a55399729595dea458bc621ff0e")
    message = bytes.fromhex("663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136")
    code = bytes.fromhex("0ee1c16bb73f0f4fd19881753c01cdbe")
    sealed = nonce + message + code
    plain = Cipher(algorithms.AES(b"e" * 32), modes.CTR(nonce)).decryptor().update(message)
    assert Opener(Key(b"e" * 32, k, r)).open(sealed) == plain
    assert (
        Poly1305.generate_tag(
            r + Cipher(algorithms.AES(k), modes.CTR(nonce)).encryptor().update(bytes(16)), message
        )
        == code
    )


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [
        (1 << 40, 8, 1),
        (1 << 15, 1 << 20, 1),
        (1 << 15, 8, 1 << 20),
        (0, 8, 1),
        (3, 8, 1),
        (2, 0, 1),
    ],
)
def test_hostile_scrypt_parameters_are_refused_at_once(n: int, r: int, p: int) -> None:
    with pytest.raises(FormatError):
        derive(b"mot de passe", b"sel", n, r, p)


def test_what_restic_calibrates_on_a_fast_machine_is_accepted() -> None:
    assert derive(b"mot de passe", b"sel", 1 << 15, 8, 5).k


def test_a_hostile_key_file_does_not_hide_the_others(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "repo")
    writer.key_file("autre", n=1 << 40)
    writer.named("keys", b"junk")
    assert Repository.open(folder(writer.root), PASSWORD.encode()).config.version == 2


@st.composite
def blobs(draw: st.DrawFn) -> list[Blob]:
    """The blobs of a pack, side by side."""
    found, offset = [], 0
    for name in draw(st.lists(NAMES, max_size=8)):
        length, size = (
            draw(st.integers(0, 1 << 20)),
            draw(st.just(0) | st.integers(1, (1 << 32) - 1)),
        )
        kind = draw(st.sampled_from([DATA, TREE]))
        found.append(Blob(name, kind, b"p" * 32, offset, length, size))
        offset += length
    return found


@given(blobs())
def test_a_header_comes_back(found: list[Blob]) -> None:
    assert list(parse_header(header(found), b"p" * 32)) == found


@given(st.dictionaries(NAMES, blobs(), max_size=5))
def test_an_index_comes_back(packs: dict[bytes, list[Blob]]) -> None:
    named = {
        pack: [blob._replace(pack=pack) for blob in dict.fromkeys(found)]
        for pack, found in packs.items()
    }
    parsed = list(parse_index(to_json(index_json(named))))
    assert dict(parsed) == named
    index = Index()
    for _ in range(2):  # what is there already is not added again
        for pack, found in parsed:
            index.add(pack, found)
    assert len(index) == sum(map(len, named.values())) and set(index.packs) == set(named)
    for pack, found in named.items():
        assert sorted(index.blobs_of(pack)) == sorted(found)
        for blob in found:
            assert blob in index.find(blob.type, blob.id)
            assert blob not in index.find(1 - blob.type, blob.id)
    assert index.find(DATA, b"absent" + bytes(26)) == []


def test_an_index_of_many_blobs_is_compact() -> None:
    index, count = Index(), 40_000
    tracemalloc.start()
    for number in range(0, count, 100):
        pack = number.to_bytes(32, "big")
        index.add(
            pack,
            (
                Blob((number + each).to_bytes(32, "little"), DATA, pack, each * 9, 9, 0)
                for each in range(100)
            ),
        )
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 80 * count
    wanted = (23_456).to_bytes(32, "little")
    assert [blob.offset for blob in index.find(DATA, wanted)] == [56 * 9]


def test_a_blob_with_too_many_copies_is_refused() -> None:
    index = Index()
    copies = [Blob(b"b" * 32, DATA, b"p" * 32, offset, 40, 0) for offset in range(MAX_COPIES + 1)]
    with pytest.raises(FormatError):
        index.add(b"p" * 32, copies)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(0, 999_999_999),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_time_comes_back(moment: datetime, nanoseconds: int, zone: int) -> None:
    seconds = moment.replace(microsecond=0, tzinfo=UTC)
    local = seconds + timedelta(minutes=zone)
    sign, (hours, minutes) = "-" if zone < 0 else "+", divmod(abs(zone), 60)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    text = f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{sign}{hours:02}:{minutes:02}"
    since = seconds - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_time(text) == (since.days * 86400 + since.seconds) * 10**9 + nanoseconds


def quoted(name: bytes) -> str:
    """As Go's strconv.Quote: what is no text in \\x, control characters escaped."""
    found = ""
    for part in name.decode(errors="surrogateescape"):
        if 0xDC80 <= ord(part) <= 0xDCFF:
            found += f"\\x{ord(part) - 0xDC00:02x}"
        elif part in '"\\':
            found += "\\" + part
        elif part.isprintable():
            found += part
        else:
            found += f"\\u{ord(part):04x}" if ord(part) < 0x10000 else f"\\U{ord(part):08x}"
    return found


@given(st.binary(max_size=30) | st.text(max_size=20).map(lambda text: text.encode(errors="ignore")))
def test_a_quoted_name_comes_back(name: bytes) -> None:
    assert unquote(quoted(name)) == name


@pytest.mark.parametrize(
    "text", ['"', "\\", "\\q", "\n", "\\x4", "\\ud800", "\\U00110000", "\\777"]
)
def test_a_badly_quoted_name_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        unquote(text)


def test_letters_of_go() -> None:
    assert unquote(r"\a\b\f\n\r\t\v\\\"\101") == b'\a\b\f\n\r\t\v\\"A'


def test_modes_of_go() -> None:
    assert posix_mode(1 << 31 | 1 << 23 | 1 << 22 | 1 << 20 | 0o755) == 0o7755


@given(st.lists(st.text(max_size=10), max_size=5))
def test_a_long_tree_gives_what_a_short_one_gives(names: list[str]) -> None:
    nodes = [
        node(
            quoted(("},{" + name).encode(errors="ignore")),
            content=["0" * 64],
            extended_attributes=[{"name": "user.},{", "value": "AAAA"}] * 3,
        )
        for name in names
    ]
    short = list(parse_tree(to_json({"nodes": nodes})))
    filler = node("filler", "symlink", linktarget="x" * 1_100_000)
    long = list(parse_tree(to_json({"nodes": [*nodes, filler]}) + b"\n"))
    assert long[:-1] == short and len(long[-1].link_target) == 1_100_000


@pytest.mark.parametrize("damage", ["cut", "no end", "extra comma", "endless node"])
def test_a_damaged_long_tree_is_refused(damage: str) -> None:
    text = to_json({"nodes": [node("a", linktarget="x" * 1_100_000)] * 2})
    raw = {
        "cut": text[:-100],
        "no end": text[:-1],
        "extra comma": text[:-2] + b",]}",
        "endless node": b'{"nodes":[{"name":"' + b"},{" * 400_000 + b"]}",
    }[damage]
    with pytest.raises(FormatError):
        list(parse_tree(raw))


def big_tree(count: int) -> bytes:
    """A directory of many files, as JSON."""
    entry = to_json(node("%07d", content=["0" * 64]))
    return b'{"nodes":[' + b",".join(entry % number for number in range(count)) + b"]}\n"


def test_a_folder_of_a_million_files_is_read_entry_by_entry(proving: bool) -> None:
    count = 1_000_000 if proving else 100_000
    text = big_tree(count)
    tracemalloc.start()
    last = None
    for number, found in enumerate(parse_tree(text)):
        assert found.name == b"%07d" % number
        last = number
        if number == 1000:
            break
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert last == 1000 and peak < 2 << 20
    assert sum(1 for _ in parse_tree(text)) == count


@contextmanager
def address_space(limit: int) -> Iterator[None]:
    """No more memory than that may be taken meanwhile."""
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def bomb(size: int, *, declared: bool) -> bytes:
    """Zeros, some ten thousand times smaller."""
    compressor = zstandard.ZstdCompressor(write_content_size=declared)
    stream = compressor.compressobj(size if declared else -1)
    step = bytes(1 << 20)
    return b"".join([*(stream.compress(step) for _ in range(size >> 20)), stream.flush()])


@pytest.mark.parametrize("declared", [True, False])
def test_a_zstandard_bomb_takes_no_more_than_the_announced_length(declared: bool) -> None:
    raw = bomb(512 << 20, declared=declared)
    with address_space(64 << 20), pytest.raises(FormatError):
        inflate(zstandard.ZstdDecompressor(), raw, 1000)


def test_a_bomb_as_an_index_is_refused() -> None:
    raw = b"\x02" + bomb(512 << 20, declared=False)
    with address_space(600 << 20), pytest.raises(FormatError, match="démesuré"):
        unpack(raw, 2)


@pytest.mark.parametrize("field", ["offset", "length", "uncompressed_length"])
def test_an_index_with_numbers_without_measure_is_refused(field: str) -> None:
    entry = {"id": "0" * 64, "type": "data", "offset": 0, "length": 50, field: 1 << 60}
    with pytest.raises(FormatError):
        list(parse_index(to_json({"packs": [{"id": "0" * 64, "blobs": [entry]}]})))


@pytest.mark.parametrize(
    "change", [{"length": 1 << 31}, {"offset": 1 << 31}, {"uncompressed": 1 << 31}]
)
def test_lengths_beyond_the_pack_take_no_memory(change: dict[str, int], tmp_path: Path) -> None:
    writer = Writer(tmp_path / "repo")
    name = writer.add(b"acte " * 100, compress=True)
    pack = bytes.fromhex(writer.pack().name)
    tree = writer.tree(node("a", content=[name]))
    writer.packs[pack][0] = writer.packs[pack][0]._replace(**change)
    writer.index()
    writer.snapshot(tree)
    repository = Repository.open(folder(writer.root), PASSWORD.encode())
    with address_space(256 << 20):
        report = check(repository, workers=1)
        assert not report.ok
        with pytest.raises(FormatError):
            repository.data(bytes.fromhex(name))


def test_a_pipe_in_a_repository_is_not_waited_for(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "repo")
    name = writer.add(b"acte")
    pack = writer.pack()
    writer.index()
    pack.unlink()
    os.mkfifo(pack)
    repository = Repository.open(folder(writer.root), PASSWORD.encode())
    repository.load_index()
    with pytest.raises(FormatError):
        repository.data(bytes.fromhex(name))
    assert not check(Repository.open(folder(writer.root), PASSWORD.encode()), workers=1).ok
