"""The communes' memberships as data: the same objects for programs and for the command line."""

from __future__ import annotations

from typing import Any, Self

from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Path, Router, Schema

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.api import Day, Moment
from souverain.core.models import Organisation
from souverain.portal import services
from souverain.portal.models import Membership

router = Router(tags=["portal"])


class MembershipItem(Schema):
    """A commune's stay in the cloud. Its contacts are read on its page alone."""

    code: str
    name: str
    state: str
    tools: list[str]
    asked_at: Moment
    signed_on: Day | None
    joined_on: Day | None
    ended_at: Moment | None
    agreement_sha256: str | None

    @classmethod
    def of(cls, membership: Membership) -> Self:
        return cls(
            code=membership.organisation.code,
            name=membership.organisation.name,
            state=membership.state,
            tools=membership.tools,
            asked_at=clock.rfc3339(membership.asked_at),
            signed_on=membership.signed_on and membership.signed_on.isoformat(),
            joined_on=membership.joined_on and membership.joined_on.isoformat(),
            ended_at=membership.ended_at and clock.rfc3339(membership.ended_at),
            agreement_sha256=membership.agreement_id,
        )


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    kind = Organisation.Kind.COMMUNE
    return {"organisation": get_object_or_404(Organisation, code=code, kind=kind)}


@router.get("/communes/{code}/membership", response=MembershipItem)
@requires("portal.membership", of=_of_commune)
def membership(
    request: HttpRequest, code: str = Path(..., pattern="^[0-9AB]{5}$")
) -> MembershipItem:
    """A commune's present or last membership; 404 when it never asked for one."""
    found = services.current(_of_commune(code=code)["organisation"])
    if found is None:
        raise Http404
    return MembershipItem.of(found)
