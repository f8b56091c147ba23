"""The operator's pages of campaigns: opening one, sending pictures, what was refused, publishing."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core.access import of_departement, requires
from souverain.core.format import bytes_fr, date_fr, number_fr, percent_fr, quote_fr
from souverain.street import arrivals, campaigns, scale
from souverain.street.campaigns import CampaignError
from souverain.street.models import Campaign, Panorama

_KINDS = {
    Campaign.State.RECEIVING: "info",
    Campaign.State.READY: "warn",
    Campaign.State.PUBLISHED: "ok",
    Campaign.State.WITHDRAWN: "neutral",
}
_REFUSED_A_PAGE = 100
_DAYS_A_YEAR = 365.25


class CampaignForm(forms.Form):
    """A campaign to open."""

    name = forms.CharField(
        label="Nom",
        max_length=60,
        help_text="Lettres minuscules sans accent, chiffres et tirets : d971-2026.",
    )
    title = forms.CharField(label="Titre", max_length=160, required=False)
    originals = forms.ChoiceField(
        label="Images d'origine, avant le floutage", choices=Campaign.Originals.choices
    )
    provenance = forms.ChoiceField(
        label="Ce que sont les images", choices=Campaign.Provenance.choices
    )


@require_http_methods(["GET", "POST"])
@requires("street.deliver", of=of_departement)
def overview(request: HttpRequest) -> HttpResponse:
    """Every campaign, and what the whole network would take."""
    form = CampaignForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = campaigns.create(request.actor, **form.cleaned_data)  # type: ignore[attr-defined]
        except CampaignError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"La campagne {quote_fr(made.title)} est ouverte.")
            return redirect("street:campaign", made.name)
    rows = [_row(found) for found in Campaign.objects.all()]
    columns = [
        {"title": "Campagne"},
        {"title": "État"},
        {"title": "Images", "kind": "number"},
        {"title": "Refusées", "kind": "number"},
        {"title": "Ouverte le"},
    ]
    context = {"form": form, "columns": columns, "rows": rows, "estimate": _estimate()}
    return render(request, "street/campaigns.html", context)


def _row(found: Campaign) -> list[dict[str, Any]]:
    pictures, refused = found.panoramas.count(), found.rejected.count()
    return [
        {"text": found.title, "url": reverse("street:campaign", args=[found.name])},
        {"text": found.get_state_display(), "state": _KINDS[Campaign.State(found.state)]},
        {"text": number_fr(pictures), "value": pictures, "kind": "number"},
        {"text": number_fr(refused), "value": refused, "kind": "number"},
        {"text": date_fr(found.created_at), "value": int(found.created_at.timestamp())},
    ]


def _estimate() -> dict[str, str] | None:
    """What every road would take, in words."""
    found = scale.estimate()
    if found is None:
        return None
    return {
        "panoramas": number_fr(found.panoramas),
        "megapixels": number_fr(found.megapixels, 1),
        "space": bytes_fr(int(found.bytes_kept)),
        "objects": number_fr(round(found.objects)),
        "time": _days(found.wall_days),
        "cpu": _days(found.cpu_days),
        "blur": percent_fr(found.blur_share),
        "energy": number_fr(round(found.energy_kwh)),
        "watts": number_fr(scale.WATTS_A_CORE),
        "source": f"{number_fr(found.measured_pictures)} images reçues ici, "
        f"{number_fr(found.measured_megapixels, 1)} mégapixels",
    }


def _days(days: float) -> str:
    if days >= 2 * _DAYS_A_YEAR:
        return f"{number_fr(days / _DAYS_A_YEAR, 1)} ans"
    if days >= 2:
        return f"{number_fr(round(days))} jours"
    return f"{number_fr(days * 24, 1)} heures"


def _found(name: str) -> Campaign:
    found = Campaign.objects.filter(name=name).first()
    if found is None:
        raise Http404
    return found


@require_GET
@requires("street.deliver", of=of_departement)
def campaign(request: HttpRequest, name: str) -> HttpResponse:
    """One campaign: its state, what is under way, and each refused picture with its reason."""
    found = _found(name)
    ready = found.panoramas.filter(state=Panorama.State.READY)
    job = arrivals.under_way(found)
    refused = Paginator(found.rejected.order_by("file_name"), _REFUSED_A_PAGE).get_page(
        request.GET.get("page")
    )
    rows = [[{"text": row.file_name}, {"text": row.reason}] for row in refused]
    whole, parts = arrivals.waiting(found)
    context = {
        "campaign": found,
        "state_kind": _KINDS[Campaign.State(found.state)],
        "ready": ready.count(),
        "bare": ready.filter(detector="").count(),
        "drives": found.sequences.count(),
        "kept_bytes": _kept_bytes(found),
        "job": job,
        "job_value": job.done / job.total if job and job.total else None,
        "waiting": whole,
        "parts": parts,
        "page": refused,
        "refused_columns": [{"title": "Fichier"}, {"title": "Pourquoi"}],
        "refused_rows": rows,
        "trail": [
            {"title": "Campagnes d'images", "url": reverse("street:campaigns")},
            {"title": found.title, "url": ""},
        ],
        "synthetic": found.provenance == Campaign.Provenance.SYNTHETIC,
        "may_send": found.state != Campaign.State.PUBLISHED,
        "may_publish": found.state in (Campaign.State.READY, Campaign.State.WITHDRAWN),
    }
    return render(request, "street/campaign.html", context)


def _kept_bytes(found: Campaign) -> int:
    total = found.panoramas.aggregate(originals=Sum("original_bytes"), derived=Sum("derived_bytes"))
    return (total["originals"] or 0) + (total["derived"] or 0)


@require_POST
@requires("street.deliver", of=of_departement)
def receive(request: HttpRequest, name: str) -> HttpResponse:
    return _act(request, name, arrivals.submit, "La réception commence.")


@require_POST
@requires("street.deliver", of=of_departement)
def publish(request: HttpRequest, name: str) -> HttpResponse:
    return _act(
        request, name, campaigns.publish, "La campagne est publiée : tout le monde la voit."
    )


@require_POST
@requires("street.deliver", of=of_departement)
def withdraw(request: HttpRequest, name: str) -> HttpResponse:
    return _act(
        request, name, campaigns.withdraw, "La campagne est retirée : le public n'y voit plus rien."
    )


def _act(request: HttpRequest, name: str, action: Any, done: str) -> HttpResponse:
    try:
        action(request.actor, _found(name))  # type: ignore[attr-defined]
    except CampaignError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("street:campaign", name)
