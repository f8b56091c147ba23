"""The portal's forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator

from souverain.core import rooms
from souverain.core.models import Group, Organisation, User
from souverain.core.rooms import Permission
from souverain.core.services import roles_for


class InvitationForm(forms.Form):
    email = forms.EmailField(label="Adresse électronique", max_length=254)
    full_name = forms.CharField(label="Nom et prénom", max_length=160, required=False)
    role = forms.ChoiceField(label="Rôle")

    def __init__(self, organisation: Organisation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].choices = [  # type: ignore[attr-defined]
            (role, role.label) for role in roles_for(organisation)
        ]


class RemovalForm(forms.Form):
    """Asked only when nobody else administers the commune."""

    knowingly = forms.BooleanField(
        label="Je sais que plus personne n'invitera de membres pour cette commune"
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

    def clean_au(self) -> date | None:
        first, last = self.cleaned_data.get("du"), self.cleaned_data["au"]
        if first and last and last < first:
            raise forms.ValidationError("Le dernier jour précède le premier.")
        return last


class TokenForm(forms.Form):
    LIVES = ((30, "30 jours"), (90, "3 mois"), (365, "1 an"))

    name = forms.CharField(
        label="À quoi sert ce jeton", max_length=80, help_text="Par exemple : export du vendredi."
    )
    scopes = forms.MultipleChoiceField(
        label="Ce qu'il a le droit de faire", widget=forms.CheckboxSelectMultiple
    )
    days = forms.TypedChoiceField(label="Il dure", choices=LIVES, coerce=int, initial=90)

    def __init__(
        self,
        held: Sequence[Permission],
        opened: Mapping[str, Sequence[str]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """`opened`: the operations of the API that ask for each right; a right that opens none is of
        no use to a token."""
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [  # type: ignore[attr-defined]
            (item.code, f"{item.title} ({', '.join(opened[item.code])})")
            for item in held
            if item.code in opened
        ]

    @property
    def life(self) -> timedelta:
        return timedelta(days=self.cleaned_data["days"])


class GroupForm(forms.Form):
    name = forms.CharField(label="Nom du groupe", max_length=160)


class GroupMemberForm(forms.Form):
    user = forms.ModelChoiceField(User.objects.none(), label="Personne")
    role = forms.ChoiceField(label="Rôle dans le groupe")

    def __init__(self, group: Group, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        members = User.objects.filter(
            is_active=True, role_assignments__organisation=group.organisation
        )
        self.fields["user"].queryset = members.distinct().order_by("full_name", "email")  # type: ignore[attr-defined]
        self.fields["role"].choices = [  # type: ignore[attr-defined]
            (role, role.label) for role in roles_for(group.organisation)
        ]
