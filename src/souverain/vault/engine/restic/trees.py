"""What a directory holds.

Format: restic `doc/design.rst`, "Trees and Data". Names are quoted as Go's `strconv.Quote` does,
modes are Go's `fs.FileMode`.
"""

from __future__ import annotations

import binascii
import re
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.files import (
    list_of,
    parse_base64,
    parse_json,
    parse_name,
    parse_object,
    parse_time,
    text_of,
    whole,
)

ID = 32
SPECIAL = frozenset({"socket", "dev", "chardev", "fifo"})
# A tree below this size becomes Python objects at once; a larger one, node by node.
_AT_ONCE = 1 << 20
_START, _BETWEEN, _END = b'{"nodes":[', b"},{", b"]}"
_MAX_PIECES = 10_000  # of one node: as many extended attributes, or names with `},{` in them
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|[\\\"\n]",
    re.ASCII,
)
_LETTERS = dict(zip('abfnrtv\\"', b'\a\b\f\n\r\t\v\\"', strict=True))


class Node(NamedTuple):
    """An entry of a directory. `mode`: POSIX, without the type; `content`: the ids of the data
    blobs, one after the other, None when absent; `mtime_ns`: since 1970."""

    name: bytes
    type: str
    mode: int
    mtime_ns: int | None
    uid: int
    gid: int
    size: int
    links: int
    inode: int
    device: int
    content: bytes | None
    subtree: bytes | None
    link_target: bytes
    attributes: tuple[tuple[str, bytes], ...]

    @property
    def blobs(self) -> Iterator[bytes]:
        content = self.content or b""
        return (content[at : at + ID] for at in range(0, len(content), ID))

    @property
    def has_plain_name(self) -> bool:
        """Whether the name is one of a file, and no path that leads elsewhere."""
        return self.name not in (b"", b".", b"..") and not set(self.name) & set(b"/\0")


def parse_tree(plain: bytes) -> Iterator[Node]:
    """The entries of a directory, in its order. However many they are, they are never all in
    memory beside the text."""
    if len(plain) <= _AT_ONCE:
        return map(_parse_node, list_of(parse_object(plain).get("nodes")))
    return _parse_long_tree(plain)


def _parse_long_tree(plain: bytes) -> Iterator[Node]:
    """Cut at `},{`, and further on as long as the piece is no JSON: a whole object is never the
    beginning of another, so that the first piece that parses is the node."""
    end = plain.rfind(_END)
    if not plain.startswith(_START) or end < 0 or plain[end + len(_END) :].strip():
        raise FormatError("Ce n'est pas un répertoire")
    view, at = memoryview(plain), len(_START)
    while at < end:
        cut = at
        for _ in range(_MAX_PIECES):
            cut = plain.find(_BETWEEN, cut, end) + 1 or end
            try:
                entry = parse_json(view[at:cut])
                break
            except FormatError:
                if cut == end:
                    raise
        else:
            raise FormatError("Une entrée de répertoire est démesurée")
        yield _parse_node(entry)
        at = cut + 1


def _parse_node(entry: Any) -> Node:
    if not isinstance(entry, dict):
        raise FormatError("Une entrée de répertoire n'est pas un objet")
    get = entry.get
    subtree, mtime, content = get("subtree"), get("mtime"), get("content")
    raw_target = get("linktarget_raw")
    return Node(
        unquote(text_of(get("name", ""))),
        text_of(get("type", "")),
        posix_mode(whole(get("mode", 0), 1 << 32)),
        None if mtime is None else parse_time(mtime),
        whole(get("uid", 0), 1 << 32),
        whole(get("gid", 0), 1 << 32),
        whole(get("size", 0)),
        whole(get("links", 0)),
        whole(get("inode", 0)),
        whole(get("device_id", 0)),
        None if content is None else _parse_content(content),
        None if subtree is None else parse_name(subtree),
        parse_base64(raw_target) if raw_target else text_of(get("linktarget", "")).encode(),
        tuple(map(_parse_attribute, list_of(get("extended_attributes")))),
    )


def _parse_content(names: object) -> bytes:
    found = list_of(names)
    if not all(isinstance(name, str) and len(name) == 2 * ID for name in found):
        raise FormatError("Le contenu d'un fichier n'est pas une liste d'empreintes")
    try:
        return binascii.unhexlify("".join(found))
    except ValueError as error:
        raise FormatError("Le contenu d'un fichier n'est pas une liste d'empreintes") from error


def _parse_attribute(entry: object) -> tuple[str, bytes]:
    if not isinstance(entry, dict):
        raise FormatError("Un attribut étendu n'est pas un objet")
    value = entry.get("value")
    return text_of(entry.get("name")), b"" if value is None else parse_base64(value)


def posix_mode(mode: int) -> int:
    """Permission, set-id and sticky bits of a Go `fs.FileMode`."""
    special = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))
    return mode & 0o777 | sum(posix for go, posix in special if mode & go)


def unquote(text: str) -> bytes:
    """What Go's `strconv.Unquote` gives for a text between double quotes."""
    if "\\" not in text and '"' not in text and "\n" not in text:
        return text.encode()
    found, at = bytearray(), 0
    for escape in _ESCAPE.finditer(text):
        found += text[at : escape.start()].encode()
        found += _unescape(escape)
        at = escape.end()
    return bytes(found + text[at:].encode())


def _unescape(escape: re.Match[str]) -> bytes:
    letter, hexadecimal, octal, short, long = escape.groups()
    try:
        if letter:
            return bytes([_LETTERS[letter]])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        if octal:
            return bytes([int(octal, 8)])
        if short or long:
            return chr(int(short or long, 16)).encode()
    except (ValueError, OverflowError) as error:
        raise FormatError("Un nom est mal échappé") from error
    raise FormatError("Un nom est mal échappé")
