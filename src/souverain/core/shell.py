"""What the shell of every page shows: the menu that this person may use, and the bell."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from souverain.core import rooms
from souverain.core.access import ANONYMOUS, permits
from souverain.core.accounts import lacks_second_factor
from souverain.core.notifications import unread_count
from souverain.core.rooms import NavigationItem


@cache
def _menu() -> list[tuple[NavigationItem, str]]:
    """Every line of the menu with its address: neither changes while the program runs."""
    return [(item, reverse(item.url)) for item in rooms.menu()]


def context(request: HttpRequest) -> dict[str, Any]:
    """The template variables that `core/base.html` reads."""
    actor = getattr(request, "actor", ANONYMOUS)
    return {
        "navigation": [
            {
                "title": item.title,
                "url": url,
                "icon": item.icon,
                "active": request.path == url,
            }
            for item, url in _menu()
            if permits(actor, item.permission)
        ],
        "unread_notifications": unread_count(actor.user) if actor.user else 0,
        "departement": settings.NAMES,
        "version": settings.VERSION,
        # Called by the few pages that show it.
        "lacks_second_factor": lambda: bool(actor.user and lacks_second_factor(actor.user)),
        "openid_name": settings.OPENID.name if settings.OPENID else "",
    }
