"""The portal's forms."""

from django import forms

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
