"""The vault's forms."""

from django import forms


class DeviceForm(forms.Form):
    name = forms.CharField(
        label="Nom de l'appareil", max_length=80, help_text="Par exemple : poste du secrétariat."
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
