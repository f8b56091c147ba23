"""What its owner sees once.

The POST that makes a secret seals it in the session and leads to a page, which opens it: a reload
of that page makes nothing again, and shows nothing again. Whoever reads the database alone cannot
open it, and after a few minutes nobody can.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from souverain.core import clock

LIFE_S = 300


def _box() -> Fernet:
    """Sealed with a key that is in the home, not in the database."""
    return Fernet(urlsafe_b64encode(salted_hmac(__name__, "", algorithm="sha256").digest()))


def _now() -> int:
    return int(clock.now().timestamp())


def keep(request: HttpRequest, name: str, secret: str) -> None:
    """Seal a secret for the page that comes next. Written at once, in the caller's transaction:
    the secret is there as soon as what it opens."""
    sealed = _box().encrypt_at_time(secret.encode(), _now())
    request.session[f"{__name__}:{name}"] = sealed.decode()
    request.session.save()
    # Written a second time, later, it would come back after it was shown.
    request.session.modified = False


def take(request: HttpRequest, name: str) -> str | None:
    """The secret, the first time; None ever after."""
    sealed = request.session.pop(f"{__name__}:{name}", None)
    if sealed is None:
        return None
    try:
        return _box().decrypt_at_time(sealed.encode(), LIFE_S, _now()).decode()
    except InvalidToken:
        return None
