"""A past moment, asked of the server, is what a copy made at that moment holds: names and bytes."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from souverain.vault.tests.conftest import Client, Server, named

pytestmark = pytest.mark.db_both
KINDS = ("data", "index", "snapshots", "keys")
Copy = dict[tuple[str, str], bytes]


class Tenant:
    """One deposit set, and copies of it made after each of its sessions."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.now: Copy = {}
        self.copies: list[tuple[str, Copy]] = [(instant(), {})]

    def session(self, dice: random.Random) -> None:
        """Some objects arrive, and now and then some leave, or one that left comes back."""
        for _ in range(dice.randint(1, 8)):
            kind, content = dice.choice(KINDS), dice.randbytes(dice.randint(1, 3000))
            assert self.client.ask("POST", f"{kind}/{named(content)}", content)[0] == 200
            self.now[kind, named(content)] = content
        gone = dice.sample(sorted(self.now), dice.randint(0, len(self.now) // 2))
        for kind, name in gone if dice.random() < 0.5 else ():
            assert self.client.ask("DELETE", f"{kind}/{name}")[0] == 200
            content = self.now.pop((kind, name))
            if dice.random() < 0.2:
                assert self.client.ask("POST", f"{kind}/{name}", content)[0] == 200
                self.now[kind, name] = content
        self.copies.append((instant(), dict(self.now)))

    def assert_view(self, moment: str, copy: Copy) -> None:
        path = f"{self.client.path.rstrip('/')}@{moment}/"
        for kind in KINDS:
            status, names = self.client.ask("GET", f"{path}{kind}/")
            assert status == 200
            assert sorted(json.loads(names)) == sorted(name for of, name in copy if of == kind)
        for (kind, name), content in copy.items():
            assert self.client.ask("GET", f"{path}{kind}/{name}") == (200, content)


def instant() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def test_any_past_moment_of_any_tenant_equals_the_copy_made_then(
    server: Server, proving: bool
) -> None:
    dice = random.Random(1854)
    codes = ("21166", "21617")  # of their own: other tests fill the quotas of the two others
    server.python(
        "from souverain.core.models import Organisation\n"
        f"for code in {codes!r}:\n"
        "    Organisation.objects.create(kind='commune', code=code, name=f'Commune {code}')"
    )
    tenants = [
        Tenant(Client(server.device(code, "backup restore prune", f"vues-{number}")))
        for number in range(10 if proving else 2)
        for code in codes
    ]
    for _ in range(200 if proving else 24):
        dice.choice(tenants).session(dice)
    for _ in range(1000 if proving else 30):
        tenant = dice.choice(tenants)
        tenant.assert_view(*dice.choice(tenant.copies))
