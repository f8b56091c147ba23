"""What the pages show of the ransomware alarms that nobody closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.urls import reverse

from souverain.core import clock
from souverain.core.format import datetime_fr
from souverain.core.models import Organisation
from souverain.vault import alarm, key_changes, retention
from souverain.vault.models import Alarm, BulkAnnouncement, Hold


class ClosingForm(forms.Form):
    """What an alarm was."""

    legitimate = forms.ChoiceField(
        label="Qu'était-ce ?",
        choices=[
            ("yes", "Un envoi légitime : le même ne donnera plus l'alerte"),
            ("no", "Une attaque, traitée"),
        ],
    )
    reason = forms.CharField(label="Ce qui s'est passé", max_length=200)


@dataclass(frozen=True)
class Shown:
    """An alarm that is not closed, as a page shows it."""

    alarm: Alarm
    what_to_do: str
    form: ClosingForm
    is_frozen: bool

    @property
    def key(self) -> str:
        return str(self.alarm.pk)


def of_commune(organisation: Organisation) -> dict[str, Any]:
    """What a commune's page says of its alarms and of what it announced."""
    alarms = alarm.not_closed().filter(deposit_set__organisation=organisation)
    announced = BulkAnnouncement.objects.filter(
        deposit_set__organisation=organisation, until__gte=clock.now()
    )
    return {
        "alarms": [_shown(found) for found in alarms],
        "key_changes": [
            (change, key_changes.what_to_do(change))
            for change in key_changes.of_commune(organisation)
        ],
        "announced": announced.select_related("deposit_set"),
    }


def _shown(found: Alarm) -> Shown:
    kinds = {hold.kind for hold in retention.holds(found.deposit_set)}
    form, is_frozen = _closing_form(found), Hold.Kind.FREEZE in kinds
    return Shown(found, alarm.what_to_do(found), form, is_frozen)


def _closing_form(found: Alarm) -> ClosingForm:
    return ClosingForm(auto_id=f"alerte-{found.pk}-%s")


def of_all() -> dict[str, Any]:
    """What the operator's list says of them."""
    rows = [
        [
            {
                "text": found.deposit_set.organisation.name,
                "url": reverse("vault:commune", args=[found.deposit_set.organisation.code]),
            },
            {"text": found.deposit_set.title},
            {
                "text": found.get_state_display(),
                "state": "danger" if found.state == Alarm.State.OPEN else "warn",
            },
            {"text": datetime_fr(found.raised_at), "value": found.raised_at.timestamp()},
            {"text": found.reason},
        ]
        for found in alarm.not_closed()
    ]
    titles = ("Commune", "Dépôt", "Alerte", "Depuis", "Ce qui est vu")
    return {"alarm_rows": rows, "alarm_columns": [{"title": title} for title in titles]}
