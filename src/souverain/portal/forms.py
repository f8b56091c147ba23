"""The portal's forms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms

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


class TokenForm(forms.Form):
    LIVES = ((30, "30 jours"), (90, "3 mois"), (365, "1 an"))

    name = forms.CharField(
        label="À quoi sert ce jeton", max_length=80, help_text="Par exemple : export du vendredi."
    )
    scopes = forms.MultipleChoiceField(
        label="Ce qu'il a le droit de faire", widget=forms.CheckboxSelectMultiple
    )
    days = forms.TypedChoiceField(label="Il dure", choices=LIVES, coerce=int, initial=90)

    def __init__(self, held: Sequence[Permission], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scopes"].choices = [  # type: ignore[attr-defined]
            (permission.code, permission.title) for permission in held
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
