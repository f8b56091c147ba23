"""The forms by which a commune joins, is described, signs, leaves."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator

from souverain.core import clock, rooms
from souverain.portal.engine import members_file
from souverain.portal.engine.members_file import Contact as ReadContact
from souverain.portal.models import Contact, Membership
from souverain.territory.engine.search import fold

# What the list of communes can hold, so that it is imported again as it was exported.
_PRINTABLE = RegexValidator(
    members_file.CONTROL, "Ce nom contient un caractère illisible.", inverse_match=True
)
_ORDINARY_EMAIL = RegexValidator(
    rf"^{members_file.EMAIL.pattern}\Z", "Écrivez l'adresse comme nom@domaine.fr."
)


class ToolsForm(forms.Form):
    """Which tools, and whom to call: asked when joining, and changed later."""

    tools = forms.MultipleChoiceField(
        label="Les outils que la commune veut",
        choices=Membership.Tool.choices,
        widget=forms.CheckboxSelectMultiple,
        initial=[Membership.Tool.VAULT],
        error_messages={"required": "Choisissez au moins un outil."},
    )

    REQUIRED = ("elected", "secretary")
    HELP = {
        "elected": "Le maire ou l'élu qui signe la convention.",
        "secretary": "La personne que nous appelons au quotidien.",
        "data-protection": "Si la commune en a désigné un.",
        "technical": "Le prestataire informatique de la mairie, par exemple.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        closed = [label for name, label in Membership.Tool.choices if name not in rooms.load()]
        if closed:
            self.fields["tools"].help_text = (
                f"Pas encore en service : {', '.join(closed).lower()}. Nous notons votre souhait, "
                "et nous préviendrons la mairie."
            )
        for kind in Contact.Kind.values:
            needed = kind in self.REQUIRED
            self.fields[f"{kind}-name"] = forms.CharField(
                label="Nom et prénom",
                max_length=160,
                required=needed,
                validators=[_PRINTABLE],
            )
            self.fields[f"{kind}-email"] = forms.EmailField(
                label="Adresse électronique",
                max_length=254,
                required=kind == "secretary",
                validators=[_ORDINARY_EMAIL],
            )
            self.fields[f"{kind}-phone"] = forms.RegexField(
                r"^\+?[0-9][0-9 .()-]{5,20}$",
                label="Téléphone",
                required=False,
                strip=True,
                error_messages={"invalid": "Écrivez le numéro comme 03 80 00 00 00."},
            )

    @property
    def people(self) -> list[dict[str, Any]]:
        """The contacts' fields, a group for each, as the page shows them."""
        return [
            {
                "title": Contact.Kind(kind).label,
                "help": self.HELP[kind],
                "fields": [self[f"{kind}-{part}"] for part in ("name", "email", "phone")],
            }
            for kind in Contact.Kind.values
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for kind in Contact.Kind.values:
            reachable = cleaned.get(f"{kind}-email") or cleaned.get(f"{kind}-phone")
            if reachable and not cleaned.get(f"{kind}-name") and f"{kind}-name" not in self.errors:
                self.add_error(f"{kind}-name", "Donnez aussi le nom de la personne.")
        return cleaned

    @property
    def contacts(self) -> list[ReadContact]:
        read = self.cleaned_data
        return [
            ReadContact(
                kind, read[f"{kind}-name"], read[f"{kind}-email"].lower(), read[f"{kind}-phone"]
            )
            for kind in Contact.Kind.values
            if read[f"{kind}-name"]
        ]

    @staticmethod
    def values_of(membership: Membership) -> dict[str, Any]:
        """What a membership already says, as the form's first values."""
        values: dict[str, Any] = {"tools": membership.tools}
        for contact in membership.contacts.all():
            for part in ("name", "email", "phone"):
                values[f"{contact.kind}-{part}"] = getattr(contact, part)
        return values


class SignatureForm(forms.Form):
    signed_on = forms.DateField(
        label="Date de la dernière signature",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        initial=clock.today,
    )


class MembersFileForm(forms.Form):
    file = forms.FileField(
        label="Fichier CSV",
        help_text="1 Mio et 2 000 lignes au plus. Rien n'est enregistré avant votre accord.",
        widget=forms.FileInput(attrs={"accept": ".csv,text/csv"}),
        error_messages={"required": "Choisissez un fichier.", "empty": "Ce fichier est vide."},
    )

    def clean_file(self) -> bytes:
        given = self.cleaned_data["file"]
        content: bytes = given.read(members_file.BYTES_MAX + 1)
        return content


class TypedNameForm(forms.Form):
    """The commune's name, typed by hand before something that is felt."""

    name = forms.CharField(max_length=160)

    def __init__(self, commune: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commune = commune
        self.fields["name"].label = f"Pour confirmer, écrivez le nom de la commune : {commune}"

    def clean_name(self) -> str:
        typed: str = self.cleaned_data["name"]
        if fold(typed) != fold(self.commune):
            raise ValidationError(f"Ce n'est pas « {self.commune} ».")
        return typed
