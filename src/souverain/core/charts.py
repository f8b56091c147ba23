"""Geometry of the pages' charts: points in, SVG path data and tick values out.

The drawing is 1000 units wide and 100 high, the origin at the top left, and is stretched by the
page; labels are text beside it, at equal steps, so that a page needs no inline style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH = 1000
HEIGHT = 100


@dataclass(frozen=True)
class AreaChart:
    """What a page needs to draw one series over time."""

    curve: str
    """SVG path data of the line."""
    area: str
    """The same, closed on the axis."""
    ticks: tuple[float, ...]
    """Values of the horizontal lines, from the axis up, at equal steps."""
    moments: tuple[datetime, ...]
    """Instants of the labels under the axis, at equal steps."""


def nice_ticks(highest: float, steps: int = 4) -> tuple[float, ...]:
    """At most `steps` equal steps of 1, 2, 2.5 or 5 × 10ⁿ from 0 that reach `highest`.

    >>> nice_ticks(930), nice_ticks(7), nice_ticks(0)
    ((0.0, 250.0, 500.0, 750.0, 1000.0), (0.0, 2.0, 4.0, 6.0, 8.0), (0.0, 1.0))
    """
    if highest <= 0:
        return (0.0, 1.0)
    magnitude = 10.0 ** math.floor(math.log10(highest / steps))
    step = next(
        factor * magnitude
        for factor in (1, 2, 2.5, 5, 10, 20)
        if factor * magnitude * steps >= highest
    )
    return tuple(step * index for index in range(math.ceil(highest / step) + 1))


def area_chart(points: Sequence[tuple[datetime, float]], labels: int = 3) -> AreaChart:
    """Lay out a series of (instant, value ≥ 0). Raises ValueError below two distinct instants."""
    series = sorted(points)
    if len(series) < 2 or series[0][0] == series[-1][0]:
        raise ValueError("a chart needs two instants")
    first, last = series[0][0], series[-1][0]
    ticks = nice_ticks(max(value for _, value in series))
    span = (last - first).total_seconds()

    def place(moment: datetime, value: float) -> str:
        x = (moment - first).total_seconds() / span * WIDTH
        y = HEIGHT - max(value, 0) / ticks[-1] * HEIGHT
        return f"{x:.1f},{y:.2f}"

    curve = "M" + " L".join(place(moment, value) for moment, value in series)
    moments = tuple(first + (last - first) * index / (labels - 1) for index in range(labels))
    return AreaChart(curve, f"{curve} L{WIDTH},{HEIGHT} L0,{HEIGHT} Z", ticks, moments)
