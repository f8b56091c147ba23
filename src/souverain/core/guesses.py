"""Wrong passwords, counted so that a guesser is stopped and the account's owner is not.

Each attempt is written before the password is looked at, under the writers' lock: guesses made
together, in any process, count each other, and nothing that others do makes a count be forgotten.
Addresses and networks are kept as keyed digests only.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from django.db import transaction
from django.utils.crypto import salted_hmac

from souverain.core import clock
from souverain.core.models import SignInAttempt, canonical_email
from souverain.core.transactions import serialise_writers

FROM_ONE_NETWORK = (5, timedelta(minutes=5))
"""Wrong passwords for one address from one network."""
OF_ONE_NETWORK = (10, timedelta(minutes=1))
"""Wrong passwords from one network, whatever the addresses."""
FROM_ANYWHERE = (30, timedelta(hours=1))
"""Wrong passwords for one address from networks where it never signed in."""
KNOWN_FOR = timedelta(days=90)
FAILURES_KEPT = timedelta(days=1)


class TooMany(Exception):
    """No more attempts for now; `wait` says how long."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__()
        self.wait = wait


def _digest(text: str) -> str:
    return salted_hmac("souverain.core.guesses", text, algorithm="sha256").hexdigest()


def _account(address: str) -> str:
    """One account is one count, however its address is written."""
    return _digest(canonical_email(address) or address.strip().casefold())


def _network(ip: str) -> str:
    """An IPv4 address, or the /64 that one IPv6 subscriber has at least."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return _digest(str(address))
    if address.ipv4_mapped is not None:
        return _digest(str(address.ipv4_mapped))
    return _digest(str(ipaddress.IPv6Network((address, 64), strict=False)))


@transaction.atomic
def begin(address: str, ip: str) -> SignInAttempt:
    """Count an attempt as wrong until `succeeded`. Raises `TooMany`."""
    serialise_writers()
    account, network = _account(address), _network(ip)
    attempts = SignInAttempt.objects
    here = attempts.filter(account=account, network=network)
    known = here.filter(succeeded=True, at__gt=clock.now() - KNOWN_FOR).exists()
    elsewhere = attempts.none() if known else attempts.filter(account=account)
    for found, (most, within) in (
        (here, FROM_ONE_NETWORK),
        (attempts.filter(network=network), OF_ONE_NETWORK),
        (elsewhere, FROM_ANYWHERE),
    ):
        if found.filter(succeeded=False, at__gt=clock.now() - within).count() >= most:
            raise TooMany(within)
    return attempts.create(account=account, network=network)


@transaction.atomic
def succeeded(attempt: SignInAttempt) -> None:
    """The password was right: the account knows this network from now on."""
    SignInAttempt.objects.filter(
        account=attempt.account, network=attempt.network, succeeded=True
    ).delete()
    attempt.succeeded = True
    attempt.save(update_fields=["succeeded"])


def forget(address: str) -> None:
    """The owner chose another password by mail: wrong ones of before no longer count."""
    SignInAttempt.objects.filter(account=_account(address), succeeded=False).delete()


def clear_old() -> None:
    """Keep neither failures nor networks longer than they serve."""
    now = clock.now()
    SignInAttempt.objects.filter(succeeded=False, at__lt=now - FAILURES_KEPT).delete()
    SignInAttempt.objects.filter(at__lt=now - KNOWN_FOR).delete()
