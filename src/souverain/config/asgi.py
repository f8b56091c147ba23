"""The ASGI application: byte-heavy protocols go straight to their rooms, the rest to Django."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application

from souverain.core.request_body import bounded
from souverain.core.request_threads import kept

_pages = bounded(kept(get_asgi_application()))

from souverain.core import egress  # noqa: E402 - Django must be set up first
from souverain.vault import server as vault  # noqa: E402 - Django must be set up first

street: Any = None
if "street" in settings.ROOMS:
    from souverain.street import server as street
    from souverain.street import upload_server as street_uploads

egress.install_hook()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and vault.matches(scope["path"]):
        await vault.application(scope, receive, send)
    elif street and scope["type"] == "http" and street.matches(scope["path"]):
        await street.application(scope, receive, send)
    elif street and scope["type"] == "http" and street_uploads.brings_picture(scope):
        await street_uploads.application(scope, receive, send)
    else:
        await _pages(scope, receive, send)
