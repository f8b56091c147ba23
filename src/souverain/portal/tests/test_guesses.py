"""Wrong passwords: a guesser is stopped, the account's owner is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from souverain.core import clock, guesses, worker
from souverain.core.models import Message, SignInAttempt
from souverain.core.roles import Role
from souverain.core.tests import conftest
from souverain.core.tests.conftest import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]
cast = conftest.cast
PASSWORD = "un mot de passe long"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture(autouse=True)
def other_limits_are_new() -> Iterator[None]:
    yield
    cache.clear()


@pytest.fixture
def mayor(cast: Cast) -> str:
    return cast.people[Role.COMMUNE_ADMIN].email


def attempt(address: str, password: str = "x", ip: str = HERE) -> Any:
    """The status of the answer, and whether it signed in."""
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR=ip)
    answer = client.post("/compte/login/", {"login": address, "password": password})
    return answer.status_code, "_auth_user_id" in client.session


def network(number: int) -> str:
    return f"203.0.113.{number}"


def test_a_guesser_is_stopped_and_the_owner_comes_in_from_elsewhere(mayor: str) -> None:
    for _ in range(5):
        assert attempt(mayor) == (200, False)
    assert attempt(mayor, PASSWORD) == (429, False)
    assert attempt(mayor, PASSWORD, ELSEWHERE) == (302, True)
    with clock.frozen(clock.now() + timedelta(minutes=5)):
        assert attempt(mayor, PASSWORD) == (302, True)


def test_the_page_says_when_to_come_back(mayor: str) -> None:
    for _ in range(5):
        attempt(mayor)
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR=HERE)
    answer = client.post("/compte/login/", {"login": mayor, "password": PASSWORD})
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "300"
    assert "Réessayez dans 5 minutes" in answer.content.decode()


@pytest.mark.parametrize("spelt", [str.upper, "  {}".format, "{} ".format, str.title])
def test_one_address_is_one_count_however_it_is_written(mayor: str, spelt: Any) -> None:
    for _ in range(5):
        attempt(spelt(mayor))
    assert attempt(mayor) == (429, False)


def test_the_domain_in_unicode_is_the_same_address() -> None:
    for _ in range(5):
        guesses.begin("maire@ｅxemple.fr", HERE)
    with pytest.raises(guesses.TooMany):
        guesses.begin("maire@exemple.fr", HERE)


def test_a_thousand_machines_are_stopped_and_the_owner_is_not(mayor: str) -> None:
    assert attempt(mayor, PASSWORD) == (302, True)
    for number in range(30):
        guesses.begin(mayor, network(number))
    assert attempt(mayor, PASSWORD, network(99)) == (429, False)
    assert attempt(mayor, PASSWORD, HERE) == (302, True), "from where the mayor always comes"
    with clock.frozen(clock.now() + timedelta(hours=1)):
        assert attempt(mayor, PASSWORD, network(99)) == (302, True)


def test_another_password_chosen_by_mail_opens_at_once(mayor: str, settings: Any) -> None:
    settings.EMAIL_BACKEND = "souverain.core.notifications.OutboxBackend"
    for number in range(30):
        guesses.begin(mayor, network(number))
    client = Client(headers={"host": "localhost"})
    client.post("/compte/password/reset/", {"email": mayor})
    link = re.search(
        r"http://localhost:8000(/compte/password/reset/key/\S+)", Message.objects.get().body
    )
    assert link is not None
    page = client.get(link[1], follow=True)
    new = "encore un long secret"
    client.post(page.redirect_chain[-1][0], {"password1": new, "password2": new})
    assert attempt(mayor, new, network(99)) == (302, True)


def test_many_addresses_from_one_network_end_in_a_429(cast: Cast) -> None:
    answers = [attempt(f"p{number}@exemple.fr")[0] for number in range(11)]
    assert answers == [200] * 10 + [429]


def test_a_right_password_is_no_guess(mayor: str) -> None:
    for _ in range(8):
        assert attempt(mayor, PASSWORD) == (302, True)
        cache.clear()
    assert SignInAttempt.objects.count() == 1


def test_a_flood_of_other_keys_pushes_no_count_out(mayor: str) -> None:
    for _ in range(5):
        attempt(mayor)
    cache.set("allauth:count", 1, 300)
    for number in range(400):
        cache.set(f"flood-{number}", 1, 300)
    for number in range(40):
        guesses.begin(f"flood{number}@exemple.fr", network(number))
    assert attempt(mayor, PASSWORD) == (429, False)
    assert cache.get("allauth:count") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_one_subscriber_is_one_network(one: str, other: str, mayor: str) -> None:
    for _ in range(5):
        guesses.begin(mayor, one)
    with pytest.raises(guesses.TooMany):
        guesses.begin(mayor, other)


GUESSER = """
import django; django.setup()
import sys
from souverain.core import guesses
sys.stdin.readline()
allowed = 0
for _ in range(8):
    try:
        guesses.begin("maire@dijon.fr", "192.0.2.1")
        allowed += 1
    except guesses.TooMany:
        pass
print(allowed)
"""


def test_guesses_made_together_in_several_processes_count_each_other(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "SOUVERAIN_HOME": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    environ.pop("DATABASE_URL", None)
    migrate = [sys.executable, "-m", "django", "migrate", "-v0"]
    subprocess.run(migrate, env=environ, check=True)
    guessers = [
        subprocess.Popen(
            [sys.executable, "-c", GUESSER],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for guesser in guessers:
        assert guesser.stdin is not None
        guesser.stdin.write("go\n")
        guesser.stdin.flush()
    assert sum(int(guesser.communicate()[0]) for guesser in guessers) == 5


def test_no_address_is_kept_and_nothing_for_long(mayor: str) -> None:
    attempt(mayor)
    attempt(mayor, PASSWORD)
    assert mayor not in str(list(SignInAttempt.objects.values()))
    with clock.frozen(clock.now() + timedelta(days=2)):
        worker.clear_expired()
        assert SignInAttempt.objects.get().succeeded
    with clock.frozen(clock.now() + timedelta(days=91)):
        worker.clear_expired()
        assert not SignInAttempt.objects.exists()
