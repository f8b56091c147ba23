"""The ASGI application: byte-heavy protocols go straight to their rooms, the rest to Django."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "souverain.config.settings")

from django.core.asgi import get_asgi_application

application = get_asgi_application()
