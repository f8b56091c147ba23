"""Timestamps of RFC 3161: what to ask an authority, and what its token says.

The token's own signature is checked against the certificate that it carries; whether that certificate
is an authority's is for who holds the authority's root (`openssl ts -verify`). ASN.1 by asn1crypto:
stricter readers refuse the tokens of OpenSSL's authorities, whose certificates are in no order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asn1crypto import cms, tsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class StampError(ValueError):
    """What was read is no valid timestamp of this content."""


@dataclass(frozen=True)
class Stamp:
    """When the authority saw the content, and the number that the asker drew."""

    at: datetime
    nonce: int | None


def request(content: bytes, nonce: int) -> bytes:
    """The query for a content, by its SHA-256; the answer carries the authority's certificate."""
    imprint = {
        "hash_algorithm": {"algorithm": "sha256"},
        "hashed_message": hashlib.sha256(content).digest(),
    }
    query = {"version": "v1", "message_imprint": imprint, "nonce": nonce, "cert_req": True}
    return bytes(tsp.TimeStampReq(query).dump())


def read(answer: bytes, content: bytes) -> Stamp:
    """What the authority's answer says of a content. Raises StampError."""
    try:
        response = tsp.TimeStampResp.load(answer, strict=True)
        if response["status"]["status"].native not in ("granted", "granted_with_mods"):
            raise StampError("the authority refused")
        signed = response["time_stamp_token"]["content"]
        told = signed["encap_content_info"]["content"].parsed
        imprint = told["message_imprint"]
        algorithm = _HASHES[imprint["hash_algorithm"]["algorithm"].native]
        if imprint["hashed_message"].native != _digest(algorithm, content):
            raise StampError("the timestamp of something else")
        _check_signature(signed, told.dump())
        at: datetime = told["gen_time"].native
        return Stamp(at.astimezone(UTC), told["nonce"].native)
    except StampError:
        raise
    except Exception as error:  # the readers of ASN.1 and of certificates raise all kinds
        raise StampError("not a timestamp") from error


def _digest(algorithm: type[hashes.HashAlgorithm], content: bytes) -> bytes:
    digest = hashes.Hash(algorithm())
    digest.update(content)
    return digest.finalize()


def _check_signature(signed: Any, told: bytes) -> None:
    """RFC 5652, 5.4: the attributes are signed, and one of them is the content's digest."""
    (signer,) = signed["signer_infos"]
    attributes = {each["type"].native: each["values"][0].native for each in signer["signed_attrs"]}
    algorithm = _HASHES[signer["digest_algorithm"]["algorithm"].native]
    if attributes["message_digest"] != _digest(algorithm, told):
        raise StampError("the token was changed")
    key = _certificate(signed, signer["sid"]).public_key()
    signature, message = signer["signature"].native, signer["signed_attrs"].untag().dump()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), algorithm())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(algorithm()))
        else:
            raise StampError("a kind of signature that we do not read")
    except (InvalidSignature, UnsupportedAlgorithm):
        raise StampError("the token's signature does not hold") from None


def _certificate(signed: Any, signer: cms.SignerIdentifier) -> x509.Certificate:
    """The signer's certificate, which the token carries."""
    for choice in signed["certificates"]:
        found = choice.chosen
        named = signer.chosen
        if signer.name == "issuer_and_serial_number" and (
            found.serial_number == named["serial_number"].native and found.issuer == named["issuer"]
        ):
            return x509.load_der_x509_certificate(found.dump())
    raise StampError("the token does not carry its signer's certificate")
