"""`{% load core_components %}`: the parts of a page that a plain include cannot make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django import forms, template
from django.core.paginator import Paginator
from django.forms import BoundField
from django.template.context import Context
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.utils.formats import localize
from django.utils.html import conditional_escape, escape, format_html
from django.utils.safestring import SafeString, mark_safe

from souverain.core import charts, format
from souverain.core.access import ANONYMOUS, permits
from souverain.core.models import Organisation

register = template.Library()

UNITS = {
    "octets": lambda value: format.bytes_fr(round(value)),
    "%": lambda value: format.percent_fr(value / 100),
}
STATES = {
    "ok": "check-circle-fill",
    "warn": "exclamation-triangle-fill",
    "danger": "x-octagon-fill",
    "info": "info-circle-fill",
    "neutral": "dash-circle",
}


@register.simple_tag(takes_context=True)
def block_text(context: Context, name: str) -> str:
    """Write a block of the page a second time, so that the title is also the heading."""
    block = context.render_context[BLOCK_CONTEXT_KEY].get_block(name)
    return mark_safe(block.render(context).strip()) if block else ""  # noqa: S308 — rendered, escaped


@register.simple_tag(takes_context=True)
def permitted(context: Context, code: str, organisation: Organisation) -> bool:
    """Whether who reads the page has a permission on an organisation: whether a link is shown."""
    actor = getattr(context.get("request"), "actor", ANONYMOUS)
    return permits(actor, code, organisation=organisation)


@register.filter
def state_icon(kind: str) -> str:
    """The icon of a state: ok, warn, danger, info or neutral."""
    return STATES.get(kind, STATES["neutral"])


@register.simple_tag
def table_rows(rows: Sequence[Sequence[Mapping[str, Any]]]) -> SafeString:
    """The rows of a table, the first cell of each as its heading. Made here: an include for each
    cell took nine tenths of the time of a page of 698 communes."""
    lines = (
        "".join(_cell(cell, "td" if place else "th") for place, cell in enumerate(row))
        for row in rows
    )
    return mark_safe("".join(f"<tr>{line}</tr>" for line in lines))  # noqa: S308 — escaped cell by cell


def _cell(cell: Mapping[str, Any], tag: str) -> str:
    text = cell["text"]
    text = conditional_escape(text if isinstance(text, str) else localize(text))
    if cell.get("url"):
        text = f'<a href="{escape(cell["url"])}">{text}</a>'
    elif cell.get("state"):
        kind = cell["state"]
        text = f'<span class="state state-{escape(kind)}">{icon(state_icon(kind))}{text}</span>'
    kept = ' scope="row"' if tag == "th" else ""
    if cell.get("kind") == "number":
        kept += ' class="number"'
    if cell.get("value") is not None:
        kept += f' data-value="{escape(cell["value"])}"'
    return f"<{tag}{kept}>{text}</{tag}>"


@register.filter
def badge_kind(tags: Sequence[str]) -> str:
    """The state that stands for the tags of an allauth badge."""
    kinds = {"success": "ok", "warning": "warn", "danger": "danger", "primary": "info"}
    return next((kinds[tag] for tag in tags if tag in kinds), "neutral")


def _widget_class(widget: forms.Widget) -> str:
    if isinstance(widget, forms.CheckboxInput):
        return "form-check-input"
    if isinstance(widget, forms.Select):
        return "form-select"
    return "form-control"


@register.simple_tag
def widget(field: BoundField, **attributes: Any) -> SafeString:
    """The field's control in Bootstrap's classes; Django itself adds `aria-describedby`."""
    own = field.field.widget.attrs.get("class", "")
    classes = f"{_widget_class(field.field.widget)} {own}".strip()
    return field.as_widget(attrs={"class": classes, **attributes})


@register.filter
def is_single_checkbox(field: BoundField) -> bool:
    """Whether the label comes after the control."""
    return isinstance(field.field.widget, forms.CheckboxInput)


@register.filter
def is_choice_list(field: BoundField) -> bool:
    """Whether the control is a list of radio buttons or of boxes, named by a legend."""
    return isinstance(field.field.widget, (forms.RadioSelect, forms.CheckboxSelectMultiple))


@register.filter
def errors_in(form: forms.BaseForm) -> int:
    """How many things are to mend in a form."""
    return sum(len(errors) for errors in form.errors.values())


def _with_unit(value: float, unit: str) -> str:
    if unit in UNITS:
        return UNITS[unit](value)
    return f"{format.number_fr(value)}{format.NBSP}{unit}".rstrip()


@register.inclusion_tag("core/components/chart.html")
def area_chart(
    points: Sequence[tuple[datetime, float]],
    *,
    unit: str,
    title: str,
    source: str = "",
    chart_id: str = "courbe",
) -> dict[str, Any]:
    """A curve over time with its table, from (aware instant, value ≥ 0) points in `unit`.

    The units « octets » and « % » have their own writing; any other is written after the number.
    """
    series = sorted(points)
    distinct = len({moment for moment, _ in series}) > 1
    chart = charts.area_chart(series) if distinct else None
    return {
        "chart": chart,
        "chart_id": chart_id,
        "title": title,
        "source": source,
        "ticks": [_with_unit(tick, unit) for tick in reversed(chart.ticks)] if chart else [],
        "lines": [
            charts.HEIGHT * index / (len(chart.ticks) - 1) for index in range(len(chart.ticks))
        ]
        if chart
        else [],
        "rows": [(moment, _with_unit(value, unit)) for moment, value in series],
    }


@register.simple_tag
def icon(name: str) -> SafeString:
    """A Bootstrap icon, silent for screen readers: a word always stands beside it."""
    return format_html('<i class="bi bi-{}" aria-hidden="true"></i>', name)


@register.filter
def page_numbers(paginator: Paginator[Any], number: int) -> list[int]:
    """The page numbers to show around one of them; 0 stands for a gap."""
    shown = paginator.get_elided_page_range(number, on_each_side=1, on_ends=1)
    return [page if isinstance(page, int) else 0 for page in shown]


@register.simple_tag(takes_context=True)
def page_url(context: Context, number: int, parameter: str = "page") -> str:
    """The present address with another page number."""
    query = context["request"].GET.copy()
    query[parameter] = str(number)
    return f"?{query.urlencode()}"
