"""Writes small restic repositories, sound or not, for the tests of the reader: what the stock client
would never write. The stock client judges the sound ones."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from souverain.vault.engine.restic.crypto import Key, derive
from souverain.vault.engine.restic.index import DATA, TREE, Blob

PASSWORD = "mot de passe"
KEY = Key(b"e" * 32, b"k" * 16, b"r" * 16)
OTHER_KEY = Key(b"x" * 32, b"y" * 16, b"z" * 16)
WORDS = {DATA: "data", TREE: "tree"}
SALT = b"sel de mer" + b"." * 54  # restic wants 64 bytes
WHEN = "2026-11-27T18:00:00.123456789+01:00"


def seal(key: Key, plain: bytes) -> bytes:
    nonce = sha256(plain).digest()[:16]
    one_time = key.r + Cipher(algorithms.AES(key.k), modes.CTR(nonce)).encryptor().update(bytes(16))
    ciphertext = Cipher(algorithms.AES(key.encrypt), modes.CTR(nonce)).encryptor().update(plain)
    return nonce + ciphertext + Poly1305.generate_tag(one_time, ciphertext)


def to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def node(name: str, kind: str = "file", **more: Any) -> dict[str, Any]:
    dates = dict.fromkeys(("mtime", "atime", "ctime"), WHEN)
    return {"name": name, "type": kind, "mode": 0o644, **dates, "uid": 0, "gid": 0, **more}


def header(blobs: list[Blob]) -> bytes:
    """A pack's header, before its seal."""
    found = b""
    for blob in blobs:
        found += bytes([blob.type | 2 * bool(blob.uncompressed)]) + blob.length.to_bytes(
            4, "little"
        )
        found += blob.uncompressed.to_bytes(4, "little") if blob.uncompressed else b""
        found += blob.id
    return found


def index_json(packs: dict[bytes, list[Blob]]) -> dict[str, Any]:
    return {
        "packs": [
            {
                "id": pack.hex(),
                "blobs": [
                    {
                        "id": blob.id.hex(),
                        "type": WORDS[blob.type],
                        "offset": blob.offset,
                        "length": blob.length,
                        **({"uncompressed_length": blob.uncompressed} if blob.uncompressed else {}),
                    }
                    for blob in blobs
                ],
            }
            for pack, blobs in packs.items()
        ]
    }


@dataclass
class Writer:
    """A repository under way. `pack` what was added with `add`, then `index`, then `snapshot`."""

    root: Path
    version: int = 2
    packs: dict[bytes, list[Blob]] = field(default_factory=dict)
    _pending: list[tuple[Blob, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for kind in ("data", "index", "keys", "locks", "snapshots"):
            (self.root / kind).mkdir(parents=True)
        config = {"version": self.version, "id": "1" * 64, "chunker_polynomial": "25b468838dcb75"}
        (self.root / "config").write_bytes(seal(KEY, to_json(config)))
        self.key_file(PASSWORD)

    def key_file(self, password: str, n: int = 1024, r: int = 8, p: int = 1) -> Path:
        def text(raw: bytes) -> str:
            return base64.b64encode(raw).decode()

        content = {
            "mac": {"k": text(KEY.k), "r": text(KEY.r)},
            "encrypt": text(KEY.encrypt),
        }
        usable = n <= 1024
        sealed = seal(derive(password.encode(), SALT, n, r, p), to_json(content)) if usable else b""
        key = {"created": WHEN, "username": "", "hostname": "", "kdf": "scrypt"}
        return self.named(
            "keys",
            to_json({**key, "N": n, "r": r, "p": p, "salt": text(SALT), "data": text(sealed)}),
        )

    def named(self, kind: str, content: bytes) -> Path:
        """A file under its own SHA-256."""
        name = sha256(content).hexdigest()
        file = self.root / kind / (name[:2] if kind == "data" else "") / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        return file

    def add(
        self,
        content: bytes,
        kind: int = DATA,
        *,
        compress: bool = False,
        key: Key = KEY,
        name: bytes | None = None,
        uncompressed: int | None = None,
    ) -> str:
        """A blob for the next pack; what is given by name is not what the content is worth."""
        stored = zstandard.compress(content) if compress else content
        sealed = seal(key, stored)
        size = (len(content) if uncompressed is None else uncompressed) if compress else 0
        offset = sum(len(each) for _, each in self._pending)
        name = name or sha256(content).digest()
        self._pending.append((Blob(name, kind, b"", offset, len(sealed), size), sealed))
        return name.hex()

    def pack(self, trailer: bytes = b"") -> Path:
        """Write the blobs that wait as a pack."""
        blobs = [blob for blob, _ in self._pending]
        sealed_header = seal(KEY, header(blobs))
        body = b"".join(sealed for _, sealed in self._pending) + trailer
        file = self.named("data", body + sealed_header + len(sealed_header).to_bytes(4, "little"))
        name = bytes.fromhex(file.name)
        self.packs[name] = [blob._replace(pack=name) for blob in blobs]
        self._pending = []
        return file

    def tree(self, *nodes: dict[str, Any], compress: bool = False) -> str:
        """A directory, in a pack of its own."""
        name = self.add(to_json({"nodes": nodes}) + b"\n", TREE, compress=compress)
        self.pack()
        return name

    def index(self, content: Any = None, *, compress: bool = False) -> Path:
        plain = to_json(index_json(self.packs) if content is None else content)
        if compress:
            plain = b"\x02" + zstandard.compress(plain)
        return self.named("index", seal(KEY, plain))

    def snapshot(self, tree: str | None, when: str = WHEN) -> Path:
        content = {"time": when, "tree": tree, "paths": ["/mairie"], "hostname": "poste"}
        return self.named("snapshots", seal(KEY, to_json(content)))
