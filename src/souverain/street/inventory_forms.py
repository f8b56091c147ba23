"""The inventory's forms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

from souverain.street.inventory import NOTE_LENGTH
from souverain.street.item_lists import position_words
from souverain.street.kinds import DEFECT, EQUIPMENT, KINDS, Kind
from souverain.street.models import Campaign, Datum, Item, WorkOrder


def kind_choices() -> list[tuple[str, list[tuple[str, str]]]]:
    """The kinds by family, in alphabetical order."""
    return [
        (
            family,
            sorted(
                ((code, kind.title) for code, kind in KINDS.items() if kind.family == family),
                key=lambda choice: choice[1],
            ),
        )
        for family in (EQUIPMENT, DEFECT)
    ]


class FilterForm(forms.Form):
    """What a list shows. Its fields are those of `item_lists.Filter`."""

    kind = forms.ChoiceField(label="Sorte", required=False)
    state = forms.ChoiceField(
        label="État", required=False, choices=[("", "Tous"), *Item.State.choices]
    )
    road = forms.CharField(label="Route", required=False, max_length=24)
    pr_from = forms.IntegerField(label="Du PR", required=False, min_value=0, max_value=999)
    pr_to = forms.IntegerField(label="Au PR", required=False, min_value=0, max_value=999)
    commune = forms.CharField(label="Commune (code INSEE)", required=False, max_length=5)
    campaign = forms.ChoiceField(label="Campagne", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["kind"].choices = [("", "Toutes"), *kind_choices()]  # type: ignore[attr-defined]
        self.fields["campaign"].choices = [("", "Toutes"), *campaign_choices()]  # type: ignore[attr-defined]


def campaign_choices() -> list[tuple[str, str]]:
    return [(one.name, one.title) for one in Campaign.objects.order_by("-created_at")]


class NewItemForm(forms.Form):
    """An item that is placed by hand."""

    kind = forms.ChoiceField(label="Sorte d'objet", choices=kind_choices)
    longitude_deg = forms.FloatField(label="Longitude (degrés)", min_value=-180, max_value=180)
    latitude_deg = forms.FloatField(label="Latitude (degrés)", min_value=-90, max_value=90)
    sigma_xy_m = forms.FloatField(
        label="Précision (m)",
        min_value=0.005,
        max_value=100,
        initial=3,
        help_text="Un écart-type : 3 m pour un téléphone, 0,02 m pour un récepteur centimétrique.",
    )
    z_m = forms.FloatField(label="Altitude (m)", required=False, min_value=-500, max_value=5000)
    sigma_z_m = forms.FloatField(
        label="Précision de l'altitude (m)", required=False, min_value=0.005, max_value=100
    )
    datum = forms.ChoiceField(
        label="Référence de l'altitude", choices=Datum.choices, initial=Datum.UNKNOWN
    )
    campaign = forms.ChoiceField(label="Campagne", required=False)
    note = forms.CharField(
        label="Remarque", required=False, max_length=NOTE_LENGTH, widget=forms.Textarea({"rows": 2})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["campaign"].choices = [("", "Aucune"), *campaign_choices()]  # type: ignore[attr-defined]


class NoteForm(forms.Form):
    note = forms.CharField(
        label="Remarque", required=False, max_length=NOTE_LENGTH, widget=forms.Textarea({"rows": 2})
    )


class PhotoForm(forms.Form):
    photo = forms.FileField(
        label="Photo",
        help_text="JPEG ou PNG, 20 Mo au plus. Le lieu et l'appareil inscrits dans le fichier sont "
        "effacés.",
        widget=forms.ClearableFileInput({"accept": "image/jpeg,image/png"}),
    )
    note = forms.CharField(label="Remarque", required=False, max_length=NOTE_LENGTH)


class AttributesForm(forms.Form):
    """The attributes of one kind."""

    def __init__(self, kind: Kind, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for attribute in kind.attributes:
            label = f"{attribute.title} ({attribute.unit})" if attribute.unit else attribute.title
            if attribute.choices:
                choices = [("", "—"), *((choice, choice) for choice in attribute.choices)]
                field: forms.Field = forms.ChoiceField(label=label, required=False, choices=choices)
            elif attribute.is_number:
                field = forms.FloatField(
                    label=label,
                    required=False,
                    min_value=attribute.low,
                    max_value=attribute.high,
                )
            else:
                field = forms.CharField(label=label, required=False, max_length=200)
            self.fields[attribute.name] = field


class WorkOrderForm(forms.Form):
    """Work asked on some of the items of a list."""

    title = forms.CharField(
        label="Travaux demandés", max_length=160, help_text="Par exemple : boucher les trous."
    )
    assignee = forms.CharField(label="Confiés à", required=False, max_length=160)
    due_on = forms.DateField(
        label="Échéance", required=False, widget=forms.DateInput({"type": "date"})
    )
    items = forms.MultipleChoiceField(label="Sur quels objets", widget=forms.CheckboxSelectMultiple)

    def __init__(self, offered: Iterable[Item], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["items"].choices = [  # type: ignore[attr-defined]
            (str(item.pk), f"{title_of(item)} — {position_words(item) or 'hors des routes'}")
            for item in offered
        ]


class CloseForm(forms.Form):
    state = forms.ChoiceField(
        choices=[choice for choice in WorkOrder.State.choices if choice[0] != "open"]
    )


class CompareForm(forms.Form):
    before = forms.ChoiceField(label="Campagne ancienne", choices=campaign_choices)
    after = forms.ChoiceField(label="Campagne récente", choices=campaign_choices)


def title_of(item: Item) -> str:
    """« Panneau AB4 », or the kind alone."""
    title = KINDS[item.kind].title if item.kind in KINDS else item.kind
    code = item.attributes.get("code")
    return f"{title} {code}" if code else title
