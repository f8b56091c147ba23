"""The vault's forms."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

import orjson
from django import forms

from souverain.core import clock
from souverain.core.models import Organisation, new_device_id
from souverain.vault import services
from souverain.vault.models import DepositSet

_GIGABYTE = 10**9


class DeviceForm(forms.Form):
    """A machine to enrol, for one of the commune's deposit sets."""

    name = forms.CharField(
        label="Nom de l'appareil", max_length=80, help_text="Par exemple : poste du secrétariat."
    )
    deposit_set = forms.ChoiceField(
        label="Dépôt", help_text="Où ses sauvegardes seront rangées. Un appareil, un dépôt."
    )
    roles = forms.MultipleChoiceField(
        label="Ce que l'appareil peut faire",
        widget=forms.CheckboxSelectMultiple,
        initial=["backup"],
        choices=[
            ("backup", "Sauvegarder"),
            ("restore", "Relire et restaurer"),
            ("prune", "Ranger les anciennes sauvegardes (rien n'est détruit)"),
        ],
    )
    page = forms.CharField(
        required=False, max_length=64, widget=forms.HiddenInput, initial=secrets.token_urlsafe
    )
    """The page that was sent: one page sent twice is one request."""

    @property
    def device_id(self) -> str:
        """The id of the device that this request adds: the same each time that it comes."""
        asked = self.cleaned_data
        if not asked["page"]:
            return new_device_id()
        said = [self.organisation.code, *(asked[name] for name in sorted(self.fields))]
        return hashlib.sha256(orjson.dumps(said)).hexdigest()[:16]

    def __init__(self, organisation: Organisation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.organisation = organisation
        sets = DepositSet.objects.filter(organisation=organisation)
        known = {found.code: found.title for found in sets}
        general = {services.GENERAL: services.TITLES[services.GENERAL]}
        field = self.fields["deposit_set"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = list({**general, **known}.items())


class SetForm(forms.Form):
    """A deposit set to open."""

    title = forms.CharField(
        label="Nom du dépôt", max_length=120, help_text="Par exemple : Registres d'état civil."
    )
    code = forms.RegexField(
        regex=r"^[a-z0-9][a-z0-9-]{0,39}$",
        label="Nom court",
        help_text="Il figure dans l'adresse : minuscules sans accent, chiffres et tirets.",
        error_messages={"invalid": "Minuscules sans accent, chiffres et tirets seulement."},
    )
    kind = forms.ChoiceField(label="Ce qu'il contient", choices=DepositSet.Kind.choices)
    retention_class = forms.ChoiceField(
        label="Combien de temps le garder",
        required=False,
        choices=[("", "Selon ce qu'il contient"), *DepositSet.Retention.choices],
    )
    fresh_within_hours = forms.IntegerField(
        label="Une sauvegarde au moins toutes les",
        required=False,
        min_value=1,
        max_value=services.FRESH_MAX_HOURS,
        help_text="En heures. Vide : 26 h, et 24 h pour l'état civil (décret 2017-890).",
    )


class MomentForm(forms.Form):
    """A past instant to go back to, in the time of Paris."""

    moment = forms.DateTimeField(
        label="Un autre moment",
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="L'état du dépôt à cette heure-là, même entre deux sauvegardes.",
        error_messages={
            "required": "Choisissez une date et une heure.",
            "invalid": "Choisissez une date et une heure.",
        },
    )

    def clean_moment(self) -> datetime:
        moment: datetime = self.cleaned_data["moment"]
        if moment > clock.now():
            raise forms.ValidationError("Ce moment n'est pas encore venu.")
        return moment


class QuotaForm(forms.Form):
    """How much a commune may keep."""

    gigabytes = forms.IntegerField(
        label="Place accordée, en Go",
        min_value=1,
        max_value=services.QUOTA_MAX_BYTES // _GIGABYTE,
    )

    @property
    def bytes(self) -> int:
        return int(self.cleaned_data["gigabytes"]) * _GIGABYTE


class WitnessForm(forms.Form):
    """A witness to register: its key comes from the machine that audits."""

    name = forms.CharField(
        label="Nom du témoin", max_length=80, help_text="Par exemple : poste du secrétariat."
    )
    key = forms.CharField(
        label="Sa clé",
        max_length=300,
        help_text="La ligne que « souverain vault audit --cosign » donne sur ce poste.",
    )
