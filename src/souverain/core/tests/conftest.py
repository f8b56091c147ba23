"""A département with two communes and one person for each role."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import pytest
from django.contrib.auth.hashers import make_password

from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.roles import Role


@dataclass
class Cast:
    departement: Organisation
    dijon: Organisation
    beaune: Organisation
    people: dict[Role, User] = field(default_factory=dict)


@cache
def hashed_once() -> str:
    """The same password for all: hashing is slow on purpose."""
    return make_password("un mot de passe long")


@pytest.fixture
def cast(db: None) -> Cast:
    kinds = Organisation.Kind
    departement = Organisation.objects.create(kind=kinds.DEPARTEMENT, code="21", name="Côte-d'Or")
    dijon = Organisation.objects.create(kind=kinds.COMMUNE, code="21231", name="Dijon")
    beaune = Organisation.objects.create(kind=kinds.COMMUNE, code="21054", name="Beaune")
    cast = Cast(departement, dijon, beaune)
    password = hashed_once()
    for role in Role:
        held = dijon if role.startswith("commune") else departement
        user = User.objects.create(email=f"{role}@exemple.fr", password=password)
        RoleAssignment.objects.create(user=user, role=role, organisation=held)
        cast.people[role] = user
    return cast
