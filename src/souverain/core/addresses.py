"""Which addresses programs call, and people do not open."""

from __future__ import annotations

import re

_API = re.compile(r"/(?:api/|[a-z]+/api(?:/|$))")


def is_api(path: str) -> bool:
    """Whether programs call it: our API, or one of another's form that a room speaks
    (`/street/api/…`). There tokens open, and what refuses is a problem, not a page."""
    return _API.match(path) is not None
