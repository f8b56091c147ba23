"""Default deny; a tenant never sees another tenant's records."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError

from souverain.core import access, clock, rooms, services
from souverain.core.models import JournalEntry, Organisation, RoleAssignment
from souverain.core.roles import Role
from souverain.core.tests.conftest import Cast

pytestmark = [pytest.mark.django_db, pytest.mark.db_both]


def test_a_commune_administrator_stops_at_the_commune(cast: Cast) -> None:
    actor = access.of_user(cast.people[Role.COMMUNE_ADMIN])
    assert access.permits(actor, "core.members", organisation=cast.dijon)
    assert not access.permits(actor, "core.members", organisation=cast.beaune)
    assert list(access.organisations_in_reach(actor, "core.members")) == [cast.dijon]


def test_an_operator_of_the_departement_reaches_everywhere(cast: Cast) -> None:
    actor = access.of_user(cast.people[Role.OPERATOR])
    assert access.permits(actor, "core.members", organisation=cast.beaune)
    assert access.organisations_in_reach(actor, "core.members").count() == 3


def test_a_commune_cannot_have_an_operator_of_everything(cast: Cast) -> None:
    user = cast.people[Role.COMMUNE_MEMBER]
    RoleAssignment.objects.create(user=user, role=Role.OPERATOR, organisation=cast.dijon)
    actor = access.of_user(user)
    assert access.permits(actor, "core.members", organisation=cast.dijon)
    assert not access.permits(actor, "core.members", organisation=cast.beaune)


def test_nobody_known_has_only_what_is_public(cast: Cast) -> None:
    for code, permission in rooms.permissions().items():
        assert access.permits(access.ANONYMOUS, code) is permission.public


def test_a_refusal_is_raised_and_journalled(cast: Cast) -> None:
    actor = access.of_user(cast.people[Role.COMMUNE_MEMBER])
    with pytest.raises(PermissionDenied):
        access.require(actor, "core.journal", organisation=cast.beaune)
    entry = JournalEntry.objects.get()
    assert (entry.verb, entry.organisation) == ("access.refused", "21054")


def test_a_token_narrows_its_owner_and_dies_at_once(cast: Cast) -> None:
    user = cast.people[Role.OPERATOR]
    owner = access.of_user(user)
    token, secret = services.create_token(
        owner, user, name="export", scopes=["core.journal"], life=timedelta(days=1)
    )
    holder = access.of_token(secret)
    assert holder is not None and secret not in repr(token.__dict__)
    assert access.permits(holder, "core.journal", organisation=cast.beaune)
    assert not access.permits(holder, "core.members", organisation=cast.beaune)
    with clock.frozen(clock.now() + timedelta(days=2)):
        assert access.of_token(secret) is None
    services.revoke_token(owner, token)
    assert access.of_token(secret) is None


@pytest.mark.parametrize("life", [timedelta(0), timedelta(days=400)])
def test_a_token_lives_between_a_day_and_a_year(cast: Cast, life: timedelta) -> None:
    user = cast.people[Role.OPERATOR]
    with pytest.raises(ValidationError):
        services.create_token(
            access.of_user(user), user, name="x", scopes=["core.journal"], life=life
        )


def test_an_invitation_works_once(cast: Cast) -> None:
    operator = access.of_user(cast.people[Role.OPERATOR])
    _, token = services.invite(
        operator, email="Mairie@Dijon.fr", role=Role.COMMUNE_ADMIN, organisation=cast.dijon
    )
    user = services.accept_invitation(token)
    assert user.email == "mairie@dijon.fr"
    assert access.permits(access.of_user(user), "core.members", organisation=cast.dijon)
    with pytest.raises(ValidationError):
        services.accept_invitation(token)


def test_an_expired_or_withdrawn_invitation_is_refused(cast: Cast) -> None:
    operator = access.of_user(cast.people[Role.OPERATOR])
    invitation, withdrawn = services.invite(
        operator, email="a@b.fr", role=Role.COMMUNE_MEMBER, organisation=cast.dijon
    )
    services.revoke_invitation(operator, invitation)
    _, old = services.invite(
        operator, email="c@d.fr", role=Role.COMMUNE_MEMBER, organisation=cast.dijon
    )
    with pytest.raises(ValidationError):
        services.accept_invitation(withdrawn)
    with clock.frozen(clock.now() + timedelta(days=8)), pytest.raises(ValidationError):
        services.accept_invitation(old)


def test_the_last_operator_cannot_be_removed(cast: Cast) -> None:
    operator = cast.people[Role.OPERATOR]
    with pytest.raises(ValidationError):
        services.remove_role(access.SYSTEM, operator.role_assignments.get())
    assert Organisation.objects.count() == 3
