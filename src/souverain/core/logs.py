"""What the program writes about itself on stderr."""

from __future__ import annotations

import logging
import re

_SECRET = re.compile(r"((?:/|%2F)(?:invitation|reset/key)(?:/|%2F)|souv_)[\w-]+", re.IGNORECASE)


class WithoutSecrets(logging.Formatter):
    """Hides the one-time links and tokens that the path of a request can hold."""

    def format(self, record: logging.LogRecord) -> str:
        return _SECRET.sub(r"\1…", super().format(record))
