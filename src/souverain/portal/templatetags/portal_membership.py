"""`{% load portal_membership %}{% membership_block commune %}`: a commune's membership, in brief."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context

from souverain.core.access import ANONYMOUS, permits
from souverain.portal import services
from souverain.portal.engine.lifecycle import State
from souverain.portal.membership_state import STATES
from souverain.territory.models import Commune

register = template.Library()


@register.inclusion_tag("portal/_membership.html", takes_context=True)
def membership_block(context: Context, commune: Commune) -> dict[str, Any]:
    """Nothing for those who may not see it."""
    actor = getattr(context.get("request"), "actor", ANONYMOUS)
    organisation = commune.organisation
    found = services.current(organisation)
    return {
        "visible": permits(actor, "portal.membership", organisation=organisation),
        "may_ask": permits(actor, "portal.join", organisation=organisation),
        "commune": commune,
        "departement": context["departement"],
        "membership": found,
        "state": STATES[State(found.state)] if found else ("neutral", "N'a pas rejoint le Cloud"),
    }
