"""Two communes of the département, and one person for each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from souverain.core import clock
from souverain.core.access import SYSTEM
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.territory.models import Commune
from souverain.vault import retention
from souverain.vault.engine.retention import LOCK_DAYS, STEP_MAX


@dataclass
class Town:
    """The département, Dijon and Beaune, and who holds which role (communal ones at Dijon)."""

    departement: Organisation
    dijon: Organisation
    beaune: Organisation
    people: dict[str, User] = field(default_factory=dict)

    def person(self, name: str, role: Role, organisation: Organisation) -> User:
        user = User.objects.create_user(f"{name}@exemple.fr", full_name=name)
        RoleAssignment.objects.create(user=user, role=role, organisation=organisation)
        self.people[name] = user
        return user


def make_town() -> Town:
    kinds = Organisation.Kind
    made = []
    for code, name in (("21231", "Dijon"), ("21054", "Beaune")):
        organisation = Organisation.objects.create(kind=kinds.COMMUNE, code=code, name=name)
        Commune.objects.create(organisation=organisation, code=code, name=name, population=1000)
        made.append(organisation)
    departement = Organisation.objects.create(kind=kinds.DEPARTEMENT, code="21", name="Côte-d'Or")
    town = Town(departement, *made)
    for role in Role:
        held = town.dijon if role.startswith("commune") else departement
        town.person(str(role), role, held)
    return town


def let_the_locks_run() -> datetime:
    """The reaper's daily passes from now on, seen every third day; returns the instant at which
    the lock of what is dead now is over, before the pass that would take it away."""
    start = clock.now()
    end = start + timedelta(days=LOCK_DAYS)
    while start < end:
        with clock.frozen(start):
            retention.reap(SYSTEM)
        start += STEP_MAX
    return end


@pytest.fixture
def town(db: None) -> Town:
    return make_town()
