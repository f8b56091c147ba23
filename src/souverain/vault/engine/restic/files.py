"""The small files of a repository: keys, config, snapshots, and the encoding they share.

Format: restic `doc/design.rst`, "Unpacked Data Format", "Keys", "Snapshots".
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import zstandard

from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.crypto import Key, Opener, WrongSeal, derive

VERSIONS = (1, 2)
MAX_UNPACKED = 256 << 20  # restic keeps an index below 8 MiB
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object."""
    found = parse_json(text)
    if not isinstance(found, dict):
        raise FormatError("Un objet JSON est attendu")
    return found


def parse_json(text: bytes | memoryview) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FormatError("Ce n'est pas du JSON") from error


def parse_name(text: object) -> bytes:
    """The 32 bytes of a hexadecimal digest."""
    if not isinstance(text, str) or len(text) != 64:
        raise FormatError("Une empreinte de 64 chiffres hexadécimaux est attendue")
    try:
        return binascii.unhexlify(text)
    except ValueError as error:
        raise FormatError("Une empreinte de 64 chiffres hexadécimaux est attendue") from error


def whole(value: object, below: int = 1 << 64) -> int:
    """A whole number from 0 to `below`, which is left out."""
    if type(value) is not int or not 0 <= value < below:
        raise FormatError("Un nombre entier est hors de ses bornes")
    return value


def text_of(value: object) -> str:
    if not isinstance(value, str):
        raise FormatError("Un texte est attendu")
    return value


def list_of(value: object) -> list[Any]:
    """A list; null is an empty one, as Go writes it."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise FormatError("Une liste est attendue")
    return value


def parse_base64(value: object) -> bytes:
    try:
        return base64.b64decode(text_of(value), validate=True)
    except ValueError as error:
        raise FormatError("Un texte en base 64 est attendu") from error


def parse_time(value: object) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time."""
    matched = _TIME.fullmatch(text_of(value))
    if not matched:
        raise FormatError("Une date est attendue (RFC 3339)")
    seconds, fraction, zone = matched.groups()
    try:
        since = datetime.fromisoformat(seconds + zone.replace("Z", "+00:00")) - _EPOCH
    except ValueError as error:
        raise FormatError("Une date est hors de ses bornes") from error
    return (since.days * 86400 + since.seconds) * 10**9 + int((fraction or "0").ljust(9, "0"))


def inflate(zstd: zstandard.ZstdDecompressor, data: bytes | memoryview, length: int) -> bytes:
    """Decompressed content of exactly `length` bytes, never more in memory than that."""
    try:
        declared = zstandard.frame_content_size(data)
        if declared not in (-1, length):
            raise FormatError("La longueur décompressée n'est pas celle annoncée")
        found = zstd.decompress(data, max_output_size=length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError("Compression illisible") from error
    if len(found) != length:
        raise FormatError("La longueur décompressée n'est pas celle annoncée")
    return found


def unpack(plain: bytes, version: int) -> bytes:
    """The JSON of an index or a snapshot: bare, or in version 2 compressed behind the byte 2."""
    if version < 2 or plain[:1] in (b"{", b"["):
        return plain
    if plain[:1] != b"\x02":
        raise FormatError("Codage inconnu")
    # No length is announced outside the frame: the content is read in steps, up to the bound.
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(plain[1:])
    try:
        found = reader.read(MAX_UNPACKED + 1)
    except zstandard.ZstdError as error:
        raise FormatError("Compression illisible") from error
    if len(found) > MAX_UNPACKED:
        raise FormatError("Le contenu décompressé est démesuré")
    return found


@dataclass(frozen=True)
class Config:
    """`id`: what identifies the repository, in hexadecimal."""

    version: int
    id: str


def parse_config(plain: bytes) -> Config:
    found = parse_object(plain)
    version = whole(found.get("version"))
    if version not in VERSIONS:
        raise FormatError(f"Version {version} du format inconnue")
    return Config(version, parse_name(found.get("id")).hex())


def open_key_file(content: bytes, password: bytes) -> Key | None:
    """The repository's key, from one of its key files; None when the password is not its own."""
    found = parse_object(content)
    if found.get("kdf") != "scrypt":
        raise FormatError("Dérivation de clé inconnue")
    n, r, p = (whole(found.get(name), 1 << 32) for name in ("N", "r", "p"))
    sealed = parse_base64(found.get("data"))
    try:
        plain = Opener(derive(password, parse_base64(found.get("salt")), n, r, p)).open(sealed)
    except WrongSeal:
        return None
    key = parse_object(plain)
    mac = key.get("mac")
    if not isinstance(mac, dict):
        raise FormatError("Clé incomplète")
    return Key(*map(parse_base64, (key.get("encrypt"), mac.get("k"), mac.get("r"))))


@dataclass(frozen=True)
class Snapshot:
    """`time_ns`: the client's own clock, nanoseconds since 1970; `time`: as it was written."""

    id: bytes
    time_ns: int
    time: str
    tree: bytes
    hostname: str
    username: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]


def parse_snapshot(name: bytes, plain: bytes) -> Snapshot:
    found = parse_object(plain)
    return Snapshot(
        id=name,
        time_ns=parse_time(found.get("time")),
        time=found["time"],
        tree=parse_name(found.get("tree")),
        hostname=text_of(found.get("hostname", "")),
        username=text_of(found.get("username", "")),
        paths=tuple(map(text_of, list_of(found.get("paths")))),
        tags=tuple(map(text_of, list_of(found.get("tags")))),
    )
