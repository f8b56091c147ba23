"""Seals: AES-256-CTR with a Poly1305-AES code, and the scrypt keys that open them.

Format: restic `doc/design.rst`, "Keys, Encryption and MAC". Poly1305-AES: D. J. Bernstein, "The
Poly1305-AES message-authentication code" (2005): the code is Poly1305 keyed by r || AES_k(nonce).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from souverain.vault.engine.restic import FormatError

NONCE = 16
MAC = 16
OVERHEAD = NONCE + MAC
# restic's own calibration stays below 60 MiB and half a second: these bounds leave room, and keep a
# hostile key file from taking the machine.
MAX_SCRYPT_MEMORY = 256 << 20
MAX_SCRYPT_WORK = 1 << 24


class WrongSeal(FormatError):
    """The authentication code is not that of the key."""


@dataclass(frozen=True, repr=False)
class Key:
    """`encrypt`: 32 bytes; `k` and `r`: 16 bytes each, `r` as stored (Poly1305 masks it)."""

    encrypt: bytes
    k: bytes
    r: bytes

    def __post_init__(self) -> None:
        if (len(self.encrypt), len(self.k), len(self.r)) != (32, 16, 16):
            raise FormatError("Clé de mauvaise longueur")


def derive(password: bytes, salt: bytes, n: int, r: int, p: int) -> Key:
    """The key of a password (scrypt, RFC 7914)."""
    if n < 2 or n & (n - 1) or r < 1 or p < 1:
        raise FormatError("Paramètres scrypt invalides")
    if 128 * n * r > MAX_SCRYPT_MEMORY or n * r * p > MAX_SCRYPT_WORK:
        raise FormatError("Paramètres scrypt démesurés")
    # OpenSSL counts the p blocks in its limit too.
    maxmem = 128 * r * (n + p + 2) + (1 << 20)
    try:
        raw = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=maxmem, dklen=64)
    except ValueError as error:
        raise FormatError("Paramètres scrypt invalides") from error
    return Key(raw[:32], raw[32:48], raw[48:])


class Opener:
    """Authenticates, then decrypts. One thread at a time: the cipher contexts are reused, because
    keying them again would cost more than a small blob."""

    def __init__(self, key: Key) -> None:
        self._r = key.r
        # AES_k(nonce) is the first block of the key stream that starts at the nonce.
        self._nonces = Cipher(algorithms.AES(key.k), modes.CTR(bytes(NONCE))).encryptor()
        self._stream = Cipher(algorithms.AES(key.encrypt), modes.CTR(bytes(NONCE))).decryptor()

    def open(self, sealed: bytes) -> bytes:
        """The plaintext of `nonce || ciphertext || code`."""
        if len(sealed) < OVERHEAD:
            raise FormatError("Contenu trop court pour être scellé")
        nonce, ciphertext = sealed[:NONCE], memoryview(sealed)[NONCE:-MAC]
        self._nonces.reset_nonce(nonce)
        authentication = Poly1305(self._r + self._nonces.update(bytes(NONCE)))
        authentication.update(ciphertext)
        try:
            authentication.verify(sealed[-MAC:])
        except InvalidSignature:
            raise WrongSeal("Sceau faux : contenu altéré, ou clé d'un autre dépôt") from None
        self._stream.reset_nonce(nonce)
        return self._stream.update(ciphertext)
