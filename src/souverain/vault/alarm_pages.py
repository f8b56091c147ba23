"""What people say on the ransomware alarm: announce a large deposit, take an alarm in hand, end it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.models import Organisation
from souverain.vault import alarm, key_changes
from souverain.vault.alarm_banner import ClosingForm
from souverain.vault.models import Alarm, DepositSet
from souverain.vault.views import _of_commune, _trail

_GIGABYTE = 10**9


class AnnouncementForm(forms.Form):
    """A large deposit that will come."""

    deposit_set = forms.ModelChoiceField(
        label="Dépôt", queryset=DepositSet.objects.none(), empty_label=None
    )
    gigabytes = forms.IntegerField(
        label="Combien, en Go",
        min_value=1,
        max_value=10**6,
        help_text="Arrondissez au-dessus. Au-delà, l'alerte veille de nouveau.",
    )
    until = forms.DateField(
        label="Jusqu'au",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text=f"Ce jour compris ; {alarm.ANNOUNCED_MAX.days} jours au plus.",
    )
    deletions = forms.BooleanField(
        label="Un grand ménage des anciennes sauvegardes sera fait aussi",
        required=False,
        help_text="La première fois que « forget --prune » est lancé, par exemple.",
    )
    reason = forms.CharField(
        label="Pourquoi", max_length=200, help_text="Par exemple : numérisation des registres."
    )

    def __init__(self, organisation: Organisation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["deposit_set"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = DepositSet.objects.filter(organisation=organisation).select_related(
            "organisation"
        )


@requires("vault.manage", of=_of_commune)
@require_http_methods(["GET", "POST"])
def announce(request: HttpRequest, code: str) -> HttpResponse:
    """Say that a large deposit will come, so that it raises no alarm."""
    organisation = get_object_or_404(Organisation, code=code)
    form = AnnouncementForm(organisation, request.POST or None)
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        # The whole of the last day, but no longer than may be.
        end = clock.day_bounds(asked["until"])[1] - timedelta(seconds=1)
        if asked["until"] == (clock.now() + alarm.ANNOUNCED_MAX).astimezone(clock.PARIS).date():
            end = min(end, clock.now() + alarm.ANNOUNCED_MAX)
        try:
            alarm.announce(
                request.actor,  # type: ignore[attr-defined]
                asked["deposit_set"],
                asked["gigabytes"] * _GIGABYTE,
                end,
                asked["reason"],
                deletions=asked["deletions"],
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, "L'envoi est annoncé : il ne donnera pas l'alerte.")
            return redirect("vault:commune", code=code)
    content = {
        "commune": organisation,
        "trail": _trail(request.actor, organisation, "Annoncer un gros envoi"),  # type: ignore[attr-defined]
        "form": form,
    }
    return render(request, "vault/announce.html", content, status=422 if form.is_bound else 200)


@requires("vault.manage", of=_of_commune)
@require_POST
def acknowledge(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Take an alarm in hand."""
    alarm.acknowledge(request.actor, _alarm(code, pk))  # type: ignore[attr-defined]
    messages.success(
        request, "L'alerte est prise en charge : vous la clorez quand tout sera réglé."
    )
    return _back(code)


@requires("vault.manage", of=_of_commune)
@require_POST
def close(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """End an alarm, and say what it was."""
    found = _alarm(code, pk)
    form = ClosingForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Dites ce qu'était l'alerte et ce qui s'est passé.")
        return _back(code)
    legitimate = form.cleaned_data["legitimate"] == "yes"
    actor = request.actor  # type: ignore[attr-defined]
    alarm.close(actor, found, legitimate=legitimate, reason=form.cleaned_data["reason"])
    messages.success(
        request,
        "L'alerte est close. Seul un opérateur du Département lève le gel du dépôt.",
    )
    return _back(code)


@requires("vault.manage", of=_of_commune)
@require_POST
def see_keys(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """Say that the changes of a set's keys were meant."""
    found = get_object_or_404(DepositSet, organisation__code=code, code=set_code)
    key_changes.see(request.actor, found)  # type: ignore[attr-defined]
    messages.success(request, "C'est noté dans le journal.")
    return _back(code)


def _alarm(code: str, pk: int) -> Alarm:
    return get_object_or_404(Alarm, pk=pk, deposit_set__organisation__code=code)


def _back(code: str) -> HttpResponse:
    return redirect(reverse("vault:commune", args=[code]))
