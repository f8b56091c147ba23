"""Signed notes, checkpoints and cosignatures, all Ed25519.

Sources: C2SP signed-note (key IDs and signature lines), tlog-checkpoint (the three first lines of
the text), tlog-cosignature (`cosignature/v1`: a time and what it is said of), tlog-proof.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

ED25519, COSIGNATURE = 0x01, 0x04
_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_PROOF = "c2sp.org/tlog-proof@v1"
NOTE_MAX_BYTES = 64 << 10


class NoteError(ValueError):
    """What was read is not what the format says."""


def _base64(text: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise NoteError("not base64") from None
    # The last character may hold bits that nothing reads: one text alone stands for the bytes.
    if base64.b64encode(content).decode() != text:
        raise NoteError("base64 with stray bits")
    return content


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Key:
    """A public key with its name; `kind` is what it signs: notes, or cosignatures."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def id(self) -> bytes:
        told = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(told).digest()[:4]

    def __str__(self) -> str:
        """As one writes it: `name+id+base64`."""
        return f"{self.name}+{self.id.hex()}+{_text(bytes([self.kind]) + self.public)}"

    @property
    def fingerprint(self) -> str:
        """Ten groups of four hexadecimal digits of its SHA-256, to compare with a printed sheet."""
        digits = hashlib.sha256(bytes([self.kind]) + self.public).hexdigest()[:40]
        return " ".join(digits[at : at + 4] for at in range(0, 40, 4))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises NoteError."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
            raise NoteError("not a verifier key")
        content = _base64(parts[2])
        if len(content) != 33 or content[0] not in (ED25519, COSIGNATURE):
            raise NoteError("not an Ed25519 key")
        key = cls(parts[0], content[1:], content[0])
        if key.id.hex() != parts[1]:
            raise NoteError("the key is not the one of its number")
        return key

    @classmethod
    def of(cls, name: str, secret: Ed25519PrivateKey, kind: int = ED25519) -> Self:
        if not _NAME.fullmatch(name):
            raise NoteError("not the name of a key")
        return cls(name, secret.public_key().public_bytes_raw(), kind)

    def signed(self, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signature:
    """One line below a note."""

    name: str
    key_id: bytes
    content: bytes

    def __str__(self) -> str:
        return f"— {self.name} {_text(self.key_id + self.content)}\n"

    @classmethod
    def parse(cls, line: str) -> Self:
        """Raises NoteError."""
        parts = line.removesuffix("\n").split(" ")
        if len(parts) != 3 or parts[0] != "—" or not _NAME.fullmatch(parts[1]):
            raise NoteError("not a signature line")
        content = _base64(parts[2])
        if len(content) < 5:
            raise NoteError("a signature too short")
        return cls(parts[1], content[:4], content[4:])

    def is_by(self, key: Key) -> bool:
        return (self.name, self.key_id) == (key.name, key.id)


@dataclass(frozen=True)
class Note:
    """A text that ends with a newline, and its signatures."""

    text: str
    signatures: Sequence[Signature] = field(default_factory=tuple)

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises NoteError."""
        if len(content) > NOTE_MAX_BYTES:
            raise NoteError("a note too long")
        try:
            whole = content.decode()
        except UnicodeDecodeError:
            raise NoteError("a note that is not UTF-8") from None
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise NoteError("a note without a signature")
        signatures = [Signature.parse(line) for line in lines.splitlines()]
        return cls(f"{text}\n", tuple(signatures))

    def is_signed_by(self, key: Key) -> bool:
        """Whether a signature by the key is there and holds, and none of its own does not."""
        own = [found for found in self.signatures if found.is_by(key)]
        return bool(own) and all(key.signed(self.text.encode(), found.content) for found in own)


def sign(text: str, name: str, secret: Ed25519PrivateKey) -> Signature:
    return Signature(name, Key.of(name, secret).id, secret.sign(text.encode()))


@dataclass(frozen=True)
class Checkpoint:
    """What a log signs: how many leaves it has, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_text(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a note; further lines are let be. Raises NoteError."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise NoteError("not a checkpoint")
        root = _base64(lines[2])
        if len(root) != 32:
            raise NoteError("not a checkpoint")
        return cls(lines[0], int(lines[1]), root)


# Cosignatures ------------------------------------------------------------------------------------


def _cosigned(text: str, at: int) -> bytes:
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def cosign(text: str, name: str, secret: Ed25519PrivateKey, at: int) -> Signature:
    """A witness's word, at an instant in POSIX seconds, that the log it saw continues."""
    key = Key.of(name, secret, COSIGNATURE)
    return Signature(name, key.id, struct.pack(">Q", at) + secret.sign(_cosigned(text, at)))


def cosigned_at(text: str, signature: Signature, key: Key) -> int | None:
    """When the witness says it saw the checkpoint, POSIX seconds; None unless its signature holds."""
    if key.kind != COSIGNATURE or not signature.is_by(key) or len(signature.content) != 72:
        return None
    (at,) = struct.unpack(">Q", signature.content[:8])
    return int(at) if key.signed(_cosigned(text, at), signature.content[8:]) else None


# Proofs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proof:
    """That a leaf is in a log: enough by itself, with the log's key. `extra` is the leaf."""

    extra: bytes
    index: int
    hashes: Sequence[bytes]
    checkpoint: Note

    def __str__(self) -> str:
        lines = [_PROOF, f"extra {_text(self.extra)}", f"index {self.index}"]
        return "\n".join([*lines, *map(_text, self.hashes), "", str(self.checkpoint)])

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Raises NoteError."""
        head, _, note = content.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        if len(lines) < 3 or lines[0] != _PROOF or not lines[1].startswith("extra "):
            raise NoteError("not a proof")
        index = lines[2].removeprefix("index ")
        if not _SIZE.fullmatch(index):
            raise NoteError("not a proof")
        extra, hashes = _base64(lines[1].removeprefix("extra ")), map(_base64, lines[3:])
        return cls(extra, int(index), list(hashes), Note.parse(note))
