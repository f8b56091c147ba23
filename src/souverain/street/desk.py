"""The agent's desk: every campaign, a search by road, and the panels of the other parts; and the
operators' editor of tours."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from souverain.core.access import Actor, of_departement, permits, requires
from souverain.street import finding, tours, viewing
from souverain.street.models import Panorama, Tour, TourStop
from souverain.street.views import edges
from souverain.territory.engine.roads import RoadNameError, parse_place, parse_road

_PANELS = ("measure", "inventory")
_SIDES = [("", "Indifférent"), ("D", "Droite"), ("G", "Gauche")]


class RoadForm(forms.Form):
    """A position along a road."""

    road = forms.CharField(label="Route", max_length=24, help_text="Par exemple D971.")
    pr = forms.CharField(
        label="PR + abscisse", max_length=20, required=False, help_text="Par exemple 12+350."
    )
    side = forms.ChoiceField(label="Côté", choices=_SIDES, required=False)


@require_safe
@requires("street.desk")
def desk(request: HttpRequest) -> HttpResponse:
    """The viewer, the map, the search and the panels."""
    actor = request.actor  # type: ignore[attr-defined]
    form = RoadForm(request.GET if "road" in request.GET else None)
    found = _asked(request, actor, form)
    if isinstance(found, HttpResponse):
        return found
    everything = viewing.works_here(actor)
    return render(
        request,
        "street/desk.html",
        {
            "form": form,
            "panorama": viewing.description(found, actor) if found else None,
            "panels": [name for name in map(_panel, _PANELS) if name],
            "everything": everything,
            "may_record": permits(actor, "street.record", **of_departement()),
            "may_guide": permits(actor, "street.deliver", **of_departement()),
            "may_blur": permits(actor, "street.privacy", **of_departement()),
            "bounds": edges(viewing.shown(everything)),
        },
    )


def _asked(request: HttpRequest, actor: Actor, form: RoadForm) -> Panorama | HttpResponse | None:
    """The panorama to show, or where to go to show it; None when there is none at all."""
    everything = viewing.works_here(actor)
    if form.is_bound:
        nearest = _on_road(form, everything)
        return _at(nearest) if nearest else _last(everything)
    code = request.GET.get("commune", "")[:5]
    if code:
        items = finding.of_commune(code, everything=everything, limit=1).items
        if items:
            return _at(items[0])
        name = viewing.commune_name(code) or code
        messages.warning(request, f"Aucune image à {name}.")
    try:
        key = UUID(request.GET.get("panorama", ""))
    except ValueError:
        return _last(everything)
    return get_object_or_404(viewing.visible(actor), pk=key)


def _last(everything: bool) -> Panorama | None:
    return viewing.shown(everything).latest


def _at(panorama: Panorama) -> HttpResponse:
    response = redirect("street:desk")
    response.headers["Location"] += f"?panorama={panorama.pk}"
    return response


def _on_road(form: RoadForm, everything: bool) -> Panorama | None:
    """The panorama of a road position; None, with the reason on the form."""
    if not form.is_valid():
        return None
    asked = form.cleaned_data
    try:
        pr, abscissa_m = parse_place(asked["pr"] or "0")
        _, found = finding.near_road(
            parse_road(asked["road"]), pr, abscissa_m, asked["side"], everything=everything
        )
    except (finding.PlaceError, finding.NotReady, RoadNameError) as error:
        form.add_error(None, str(error))
        return None
    if found is None:
        form.add_error(None, "Aucune image ne montre cet endroit de la route.")
        return None
    return found.panorama


def _panel(name: str) -> str:
    """The template of another part's panel; empty when that part is not there."""
    template = f"street/desk/{name}.html"
    try:
        get_template(template)
    except TemplateDoesNotExist:
        return ""
    return template


# Tours --------------------------------------------------------------------------------------------


class TourForm(forms.Form):
    title = forms.CharField(
        label="Titre", max_length=160, help_text="Par exemple : Le canal de Bourgogne à Dijon."
    )
    summary = forms.CharField(
        label="En une phrase", max_length=400, required=False, widget=forms.Textarea({"rows": 2})
    )


class StopForm(forms.Form):
    """A stop: the address of the view, as the viewer's link gives it, and its words."""

    address = forms.CharField(
        label="Adresse de la vue",
        max_length=400,
        help_text="Celle du bouton « Lien vers cette vue » : elle garde la direction regardée.",
    )
    title = forms.CharField(label="Titre de l'étape", max_length=160)
    text = forms.CharField(
        label="Texte", max_length=1000, required=False, widget=forms.Textarea({"rows": 3})
    )

    def clean_address(self) -> dict[str, Any]:
        try:
            return viewing.read_address(self.cleaned_data["address"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


@require_http_methods(["GET", "HEAD", "POST"])
@requires("street.deliver", of_departement)
def tour_list(request: HttpRequest) -> HttpResponse:
    """Every tour, and a form for a new one."""
    form = TourForm(request.POST or None)
    if form.is_valid():
        try:
            made = tours.create(request.actor, **form.cleaned_data)  # type: ignore[attr-defined]
        except tours.TourError as error:
            form.add_error("title", str(error))
        else:
            return redirect("street:tour_edit", slug=made.slug)
    found = Tour.objects.prefetch_related("stops")
    return render(request, "street/tours.html", {"tours": found, "form": form})


@require_http_methods(["GET", "HEAD", "POST"])
@requires("street.deliver", of_departement)
def tour_edit(request: HttpRequest, slug: str) -> HttpResponse:
    """A tour's words and stops; posting adds a stop."""
    tour = get_object_or_404(Tour, slug=slug)
    form = StopForm(request.POST or None)
    if form.is_valid():
        asked = form.cleaned_data
        try:
            tours.add_stop(
                request.actor,  # type: ignore[attr-defined]
                tour,
                title=asked["title"],
                text=asked["text"],
                **asked["address"],
            )
        except tours.TourError as error:
            form.add_error("address", str(error))
        else:
            messages.success(request, f"L'étape « {asked['title']} » est ajoutée.")
            return redirect("street:tour_edit", slug=slug)
    stops = tour.stops.select_related("panorama__campaign")
    return render(
        request,
        "street/tour_edit.html",
        {
            "tour": tour,
            "stops": stops,
            "form": form,
            "words": TourForm({"title": tour.title, "summary": tour.summary}),
        },
    )


@require_POST
@requires("street.deliver", of_departement)
def tour_act(request: HttpRequest, slug: str) -> HttpResponse:
    """Describe, publish, withdraw or remove a tour."""
    tour = get_object_or_404(Tour, slug=slug)
    actor = request.actor  # type: ignore[attr-defined]
    act = request.POST.get("act", "")
    try:
        if act == "publish":
            tours.publish(actor, tour)
            messages.success(request, "La promenade est publiée.")
        elif act == "withdraw":
            tours.withdraw(actor, tour)
            messages.success(request, "La promenade n'est plus montrée.")
        elif act == "describe":
            words = TourForm(request.POST)
            if words.is_valid():
                tours.describe(actor, tour, **words.cleaned_data)
                messages.success(request, "Les mots de la promenade sont changés.")
            else:
                messages.error(request, "Donnez un titre à la promenade.")
        elif act == "remove":
            tours.remove(actor, tour)
            messages.success(request, f"La promenade « {tour.title} » est supprimée.")
            return redirect("street:tour_list")
    except tours.TourError as error:
        messages.error(request, str(error))
    return redirect("street:tour_edit", slug=slug)


@require_POST
@requires("street.deliver", of_departement)
def stop_act(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Move a stop up or down, or remove it."""
    stop = get_object_or_404(TourStop.objects.select_related("tour"), pk=pk, tour__slug=slug)
    actor = request.actor  # type: ignore[attr-defined]
    act = request.POST.get("act", "")
    if act in ("up", "down"):
        tours.move_stop(actor, stop, up=act == "up")
    elif act == "remove":
        tours.remove_stop(actor, stop)
    return redirect("street:tour_edit", slug=slug)
