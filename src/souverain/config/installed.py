"""Which rooms can be switched on: those whose Python dependencies are there."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence

logger = logging.getLogger(__name__)


def installed(names: Sequence[str]) -> list[str]:
    """The rooms among `names` whose `dependencies` module, if any, can be imported."""
    usable = []
    for name in names:
        module = f"souverain.{name}.dependencies"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                logger.warning("room %s is off: %s", name, error)
                continue
        usable.append(name)
    return usable
