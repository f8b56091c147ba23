"""What the provider signed, checked: OpenID Connect Core 1.0, 3.1.3.7 (ID token) and 5.3.2
(userinfo as a signed JWT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt
import orjson

ALGORITHMS = ("RS256", "ES256")
LEEWAY_S = 30
_FAMILIES = {"RS256": "RSA", "ES256": "EC"}


class Unsound(Exception):
    """A token that proves nothing. The message is for the log, never holds the token."""


def _key(token: str, jwks: Mapping[str, Any]) -> tuple[str, Any]:
    """The algorithm and the provider's key that the token names; never a symmetric one."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise Unsound("not a JWT") from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise Unsound("signature algorithm refused")
    keys = jwks.get("keys")
    fitting = [
        key
        for key in (keys if isinstance(keys, list) else [])
        if isinstance(key, dict)
        and key.get("kty") == _FAMILIES[algorithm]
        and key.get("use", "sig") == "sig"
        and kid in (None, key.get("kid"))
    ]
    if len(fitting) != 1:
        raise Unsound("no single key of the provider fits")
    try:
        return algorithm, jwt.PyJWK(fitting[0], algorithm).key
    except jwt.PyJWTError as error:
        raise Unsound("a key of the provider cannot be read") from error


def verified(
    token: str,
    jwks: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    required: tuple[str, ...],
) -> dict[str, Any]:
    """The claims of a token signed by the issuer for this client; raises `Unsound`."""
    algorithm, key = _key(token, jwks)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_S,
            options={"require": ["iss", "aud", "sub", *required]},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unsound(f"{type(error).__name__}") from error
    return claims


def id_token(
    token: str, jwks: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """The claims of an ID token made for this very sign-in; raises `Unsound`."""
    claims = verified(
        token, jwks, issuer=issuer, client_id=client_id, required=("exp", "iat", "nonce")
    )
    if not nonce or claims["nonce"] != nonce:
        raise Unsound("nonce of another sign-in")
    if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
        raise Unsound("several audiences and no authorised party")
    if claims.get("azp", client_id) != client_id:
        raise Unsound("authorised party is another client")
    return claims


def userinfo(
    content: bytes,
    content_type: str,
    jwks: Mapping[str, Any],
    *,
    issuer: str,
    client_id: str,
    subject: str,
    signed: bool,
) -> dict[str, Any]:
    """The claims of a userinfo answer about `subject`: a signed JWT or, unless `signed` is
    demanded, plain JSON. Raises `Unsound`."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/jwt":
        token = content.decode("ascii", "replace").strip()
        claims = verified(token, jwks, issuer=issuer, client_id=client_id, required=())
    elif kind == "application/json" and not signed:
        claims = _object(content)
    else:
        raise Unsound("userinfo is not signed")
    if claims.get("sub") != subject:
        raise Unsound("userinfo is about somebody else")
    return claims


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unsound("not JSON") from error
    if not isinstance(found, dict):
        raise Unsound("not a JSON object")
    return found
