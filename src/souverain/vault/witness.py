"""The key of a machine of the commune: it cosigns checkpoints, and signs restore drills."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from souverain.vault.audit import AuditError
from souverain.vault.engine.tlog.note import COSIGNATURE, Key
from souverain.vault.whole import write_whole


def secret_in(file: Path) -> Ed25519PrivateKey:
    """The key of a file, made when it is not there. Raises AuditError, OSError."""
    if not file.exists():
        write_whole(file, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode())
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text()))
    except ValueError:
        raise AuditError(f"{file} n'est pas la clé d'un témoin") from None


def key_of(code: str, secret: Ed25519PrivateKey) -> Key:
    """Its public half, as one registers it."""
    name = f"{code}-{secret.public_key().public_bytes_raw().hex()[:8]}"
    return Key.of(name, secret, COSIGNATURE)
