"""A passkey's answer that is none is refused like a wrong one: never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from souverain.core.roles import Role
from souverain.core.tests import conftest
from souverain.core.tests.conftest import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
cast = conftest.cast
PASSWORD = "un mot de passe long"
WHOLE: dict[str, Any] = {
    "id": "AAAA",
    "rawId": "AAAA",
    "type": "public-key",
    "clientExtensionResults": {},
    "response": {
        "clientDataJSON": "e30",
        "authenticatorData": "A" * 60,
        "attestationObject": "oA",
        "signature": "AAAA",
        "userHandle": "MQ",
    },
}


def less(path: str) -> dict[str, Any]:
    """A whole answer without one of its keys."""
    answer = json.loads(json.dumps(WHOLE))
    holder, _, key = path.rpartition(".")
    del (answer[holder] if holder else answer)[key]
    return answer


def other(path: str, value: Any) -> dict[str, Any]:
    """A whole answer with something else under one of its keys."""
    answer = json.loads(json.dumps(WHOLE))
    holder, _, key = path.rpartition(".")
    (answer[holder] if holder else answer)[key] = value
    return answer


KEYS = [*WHOLE, *(f"response.{key}" for key in WHOLE["response"])]
BAD: list[Any] = [
    *({}, [], "x", 1, None, True, WHOLE, {"response": None}, {"response": []}),
    *map(less, KEYS),
    *(other(key, value) for key in KEYS for value in (None, 1, [], {}, "é", "!", "oA" * 50)),
    other("response.userHandle", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"),  # a number too big
]


@pytest.fixture
def visitor() -> Client:
    client = Client(headers={"host": "localhost"})
    client.raise_request_exception = False
    return client


def post(client: Client, name: str, answer: Any) -> int:
    """Ask for a challenge first, so that there is one to answer to."""
    cache.clear()  # of the limits on requests
    client.get(reverse(name), headers={"x-requested-with": "XMLHttpRequest"})
    return client.post(reverse(name), {"credential": json.dumps(answer)}).status_code


def test_a_malformed_answer_signs_nobody_in(visitor: Client) -> None:
    for answer in BAD:
        assert post(visitor, "mfa_login_webauthn", answer) == 302, answer
        assert "_auth_user_id" not in visitor.session


def test_a_malformed_answer_adds_no_key(visitor: Client, cast: Cast) -> None:
    user = cast.people[Role.OPERATOR]
    visitor.post("/compte/login/", {"login": user.email, "password": PASSWORD})
    visitor.post("/compte/reauthenticate/", {"password": PASSWORD})
    assert visitor.get(reverse("mfa_add_webauthn")).status_code == 200
    for answer in BAD:
        assert post(visitor, "mfa_add_webauthn", answer) == 200, answer
    assert not Authenticator.objects.filter(user=user).exists()
