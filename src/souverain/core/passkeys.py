"""allauth's passkey forms, for answers that no browser would give.

The libraries beneath read the answer's JSON, CBOR and signature as they come, and raise whatever a
missing key or a wrong byte leads to. Whatever it is, the answer is not one: the form refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn import forms
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from django.core.exceptions import ValidationError

_MALFORMED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    InvalidSignature,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    UnsupportedAlgorithm,
    ValueError,
)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except ValidationError:
        raise
    except _MALFORMED as error:
        raise get_adapter().validation_error("incorrect_code") from error


class Add(forms.AddWebAuthnForm):  # type: ignore[misc]
    def clean(self) -> dict[str, Any]:
        with _refusing():
            cleaned: dict[str, Any] = super().clean()
        return cleaned


class _Answer(forms.AuthenticateWebAuthnForm):  # type: ignore[misc]
    def clean_credential(self) -> Authenticator:
        with _refusing():
            return super().clean_credential()


class Authenticate(_Answer):
    """The second step of a sign-in."""


class Login(_Answer, forms.LoginWebAuthnForm):  # type: ignore[misc]
    """The passkey alone."""


class Reauthenticate(_Answer, forms.ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """Once more, before something that matters."""
