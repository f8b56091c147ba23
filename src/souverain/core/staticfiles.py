"""Static files: Django hashes the rooms' own files, and leaves those that Vite hashed alone.

Django would hash Vite's files a second time. Chunks that import each other by their first name
would then be fetched twice, and a module that is both entry and import would run twice.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from whitenoise.storage import (  # type: ignore[import-untyped]
    CompressedManifestStaticFilesStorage,
)

VITE_FOLDER = "web"
"""`build.assetsDir` of `web/vite.config.ts`."""

IMMUTABLE_URL = rf"^/static/({VITE_FOLDER}/.+-[\w-]{{8}}\.\w+|.+\.[0-9a-f]{{12}}\.\w+)$"
"""For `WHITENOISE_IMMUTABLE_FILE_TEST`: URLs whose content never changes, Vite's and Django's."""


def hashed_by_vite(name: str) -> bool:
    """Whether Vite named this static file.

    >>> hashed_by_vite("web/main-Dq8YYXzi.js"), hashed_by_vite("core/icon.svg")
    (True, False)
    """
    return PurePosixPath(name).parts[:1] == (VITE_FOLDER,)


class ViteAwareManifestStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Hashes, compresses and lists every static file, but for the names that Vite chose."""

    def hashed_name(self, name: str, content: Any = None, filename: str | None = None) -> str:
        """The name with its digest; Vite's names already hold one."""
        if hashed_by_vite(name):
            return name
        return str(super().hashed_name(name, content, filename))
