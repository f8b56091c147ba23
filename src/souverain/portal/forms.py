"""The portal's forms."""

from datetime import date

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator

from souverain.core import rooms
from souverain.core.roles import Role


class InvitationForm(forms.Form):
    email = forms.EmailField(label="Adresse électronique")
    full_name = forms.CharField(label="Nom et prénom", max_length=160, required=False)
    role = forms.ChoiceField(
        label="Rôle",
        choices=[
            (Role.COMMUNE_MEMBER, Role.COMMUNE_MEMBER.label),
            (Role.COMMUNE_ADMIN, Role.COMMUNE_ADMIN.label),
        ],
    )


_SENSIBLE_DAYS = [MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2199, 12, 31))]


def _verbs() -> list[tuple[str, str]]:
    words = sorted((words, verb) for verb, words in rooms.verbs().items())
    return [("", "Tout"), *((verb, words) for words, verb in words)]


class JournalForm(forms.Form):
    """What somebody looks for in the journal."""

    organisation = forms.CharField(label="Organisation", max_length=40, required=False)
    fait = forms.ChoiceField(label="Fait", choices=_verbs, required=False)
    qui = forms.CharField(
        label="Par qui",
        max_length=254,
        required=False,
        help_text="Adresse électronique, ou user:12, console:root…",
    )
    du = forms.DateField(
        label="Du",
        required=False,
        validators=_SENSIBLE_DAYS,
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
    au = forms.DateField(
        label="Au",
        required=False,
        validators=_SENSIBLE_DAYS,
        widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"),
    )
