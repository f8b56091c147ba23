"""`{% load core_format %}`: French presentation in templates (see `core.format`).

An absent value (None, or a missing variable) is written « — ».
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from django import template

from souverain.core import clock, format

register = template.Library()


def _present(function: Callable[..., str]) -> Callable[..., str]:
    """A filter that writes a dash for what is absent."""

    @wraps(function)
    def shown(value: Any, *arguments: Any) -> str:
        return "—" if value is None or value == "" else function(value, *arguments)

    return shown


def age_fr(moment: datetime) -> str:
    """How long ago: « il y a 3 jours »."""
    return format.age_fr(moment, clock.now())


def since_fr(moment: datetime) -> str:
    """How long a state has held: « depuis 6 h 12 »."""
    return format.since_fr(moment, clock.now())


for function in (
    format.datetime_fr,
    format.time_fr,
    format.date_fr,
    format.day_short,
    format.duration_fr,
    format.number_fr,
    format.bytes_fr,
    format.percent_fr,
    format.commune_de,
    format.commune_a,
    age_fr,
    since_fr,
):
    register.filter(function.__name__, _present(function))
