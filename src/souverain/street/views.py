"""The stroll: what everybody sees. It never shows more to those who work here."""

from __future__ import annotations

from html import escape
from typing import Any
from uuid import UUID

from csp.decorators import csp_replace
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from souverain.core.access import ANONYMOUS, requires
from souverain.street import finding, tours, viewing
from souverain.street.models import Panorama, Tour, TourStop
from souverain.territory.atlas import atlas


@require_safe
@requires("street.stroll")
def stroll(request: HttpRequest) -> HttpResponse:
    """Tours, the map of what was driven, and "see my commune"."""
    text = request.GET.get("q", "").strip()[:100]
    code = request.GET.get("commune", "")[:5] or _commune_code(text)
    if code:
        first = finding.of_commune(code, limit=1).items
        if first:
            return redirect("street:view", panorama=first[0].pk)
    shown = viewing.shown(everything=False)
    return render(
        request,
        "street/stroll.html",
        {
            "text": text,
            "missing": _missing(text, code),
            "tours": [_card(tour, stops) for tour, stops in tours.shown()],
            "shown": shown,
            "bounds": edges(shown),
        },
    )


def _commune_code(text: str) -> str:
    found = atlas().index.search(text, 1) if len(text) >= 2 else []
    return found[0].entry.code if found else ""


def _missing(text: str, code: str) -> str:
    """What to answer to a search that shows nothing."""
    if code:
        name = viewing.commune_name(code) or text
        return f"Aucune image publiée à {name} pour l'instant."
    return f"Aucune commune ne s'appelle « {text} »." if text else ""


def _card(tour: Tour, stops: list[TourStop]) -> dict[str, Any]:
    return {
        "tour": tour,
        "count": len(stops),
        "picture": viewing.small_picture(stops[0].panorama),
        "synthetic": any(stop.panorama.campaign.provenance == "synthetic" for stop in stops),
    }


def edges(shown: viewing.Shown) -> str:
    """`west,south,east,north` of what may be seen; empty when there is nothing."""
    return ",".join(f"{value:.5f}" for value in shown.bounds or ())


@require_safe
@requires("street.stroll")
def view(request: HttpRequest, panorama: UUID) -> HttpResponse:
    """One panorama, to look around and walk on from."""
    actor = request.actor  # type: ignore[attr-defined]
    found = get_object_or_404(viewing.visible(actor), pk=panorama)
    return render(request, "street/view.html", {"panorama": viewing.description(found, actor)})


@require_safe
@requires("street.stroll")
def tour(request: HttpRequest, slug: str) -> HttpResponse:
    """A tour, one stop after the other."""
    found = get_object_or_404(Tour, slug=slug, published=True)
    return render(
        request,
        "street/tour.html",
        {
            **_stop(found, request.GET.get("arret", "")),
            "tour": found,
            "embed": _frame(found.title, reverse("street:embed", args=[found.slug])),
        },
    )


def _stop(found: Tour, asked: str) -> dict[str, Any]:
    """The stop that was asked for (from 1), the first for anything else, and its neighbours."""
    stops = tours.public_stops(found)
    if not stops:
        raise Http404
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 5 else 1
    at = number - 1 if 1 <= number <= len(stops) else 0
    return {
        "stops": stops,
        "stop": stops[at],
        "number": at + 1,
        "previous": at or None,
        "next": at + 2 if at + 1 < len(stops) else None,
        "panorama": viewing.description(stops[at].panorama, ANONYMOUS),
    }


def _frame(title: str, path: str) -> str:
    """The code that shows a page of ours in somebody else's."""
    return (
        f'<iframe src="{settings.PUBLIC_URL}{path}" title="{escape(title)}" width="100%" '
        'height="480" loading="lazy" allow="fullscreen"></iframe>'
    )


@xframe_options_exempt
@csp_replace({"frame-ancestors": ["*"]})
@require_safe
@requires("street.stroll")
def embed(request: HttpRequest, name: str) -> HttpResponse:
    """The viewer alone, for any site's frame: a tour or a view, as anybody sees it."""
    found = Tour.objects.filter(slug=name, published=True).first()
    if found:
        context = {**_stop(found, request.GET.get("arret", "")), "tour": found}
    else:
        seen = _published(name)
        context = {"panorama": viewing.description(seen, ANONYMOUS)}
    context["credit"] = f"Images : Département {settings.NAMES.of}"
    return render(request, "street/embed.html", context)


def _published(name: str) -> Panorama:
    try:
        key = UUID(name)
    except ValueError:
        raise Http404 from None
    return get_object_or_404(finding.visible(), pk=key)
