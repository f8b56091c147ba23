"""The page of how long a deposit set is kept, and what people decide there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from souverain.core.access import Actor, of_departement, permits, requires
from souverain.core.models import Organisation
from souverain.vault import destruction, retention
from souverain.vault.engine.retention import LOCK_DAYS_MAX
from souverain.vault.models import DepositSet, Hold


class LockForm(forms.Form):
    """A longer lock."""

    days = forms.IntegerField(
        label="Nombre de jours",
        max_value=LOCK_DAYS_MAX,
        help_text="Seulement plus long : personne ne pourra revenir en arrière.",
    )


class ReasonForm(forms.Form):
    """Why a set is frozen."""

    reason = forms.CharField(label="Motif", max_length=300)


class HoldForm(ReasonForm):
    """A legal hold."""

    reference = forms.CharField(label="Référence", max_length=120, required=False)


class TypedTitleForm(forms.Form):
    """The set's name, typed by hand before something that is felt."""

    def __init__(self, title: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = title
        self.fields["title"] = forms.CharField(
            label=f"Pour confirmer, écrivez le nom du dépôt : {title}", max_length=120
        )

    def clean_title(self) -> str:
        typed = " ".join(str(self.cleaned_data["title"]).split())
        if typed.casefold() != self.title.casefold():
            raise ValidationError(f"Ce n'est pas « {self.title} ».")
        return typed


class DestructionForm(TypedTitleForm):
    """A destruction to ask for."""

    reason = forms.CharField(label="Motif", max_length=300)
    reference = forms.CharField(label="Référence du visa d'élimination", max_length=120)


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    return {"organisation": get_object_or_404(Organisation, code=code)}


def _set(code: str, set_code: str) -> DepositSet:
    found = DepositSet.objects.select_related("organisation")
    return get_object_or_404(found, organisation__code=code, code=set_code)


def _actor(request: HttpRequest) -> Actor:
    actor: Actor = request.actor  # type: ignore[attr-defined]
    return actor


def summary(deposit_set: DepositSet) -> dict[str, Any]:
    """What a page says of how long a set is kept."""
    holds = retention.holds(deposit_set)
    request = destruction.pending(deposit_set)
    return {
        "lock_days": retention.lock_days(deposit_set),
        "term": destruction.TERMS[deposit_set.retention_class],
        "end": destruction.end_of(deposit_set),
        "legal_holds": [hold for hold in holds if hold.kind == Hold.Kind.LEGAL],
        "freezes": [hold for hold in holds if hold.kind == Hold.Kind.FREEZE],
        "destruction": request,
        "destruction_at": request and destruction.due_at(request),
    }


@require_GET
@requires("vault.view", of=_of_commune)
def page(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """How long a set is kept: its lock, its class, what holds it, and how it may end."""
    found = _set(code, set_code)
    return _page(request, found)


def _page(
    request: HttpRequest, found: DepositSet, status: int = 200, **forms_given: forms.Form
) -> HttpResponse:
    actor, organisation = _actor(request), found.organisation
    trail = [{"title": "Communes", "url": reverse("portal:communes")}]
    if permits(actor, "portal.commune", organisation=organisation):
        url = reverse("portal:commune", args=[organisation.code])
        trail.append({"title": organisation.name, "url": url})
    vault_url = f"{reverse('vault:commune', args=[organisation.code])}?depot={found.code}"
    trail.append({"title": "Coffre-fort", "url": vault_url})
    trail.append({"title": "Combien de temps", "url": ""})
    told = summary(found)
    asked = told["destruction"]
    content = {
        "commune": organisation,
        "deposit_set": found,
        "trail": trail,
        "may_manage": permits(actor, "vault.manage", organisation=organisation),
        "may_thaw": permits(actor, "vault.thaw", **of_departement()),
        "me": str(actor),
        "destruction_days": destruction.DELAY.days,
        "lock_form": LockForm(auto_id="verrou_%s"),
        "hold_form": HoldForm(auto_id="exiger_%s"),
        "freeze_form": ReasonForm(auto_id="geler_%s"),
        "destroy_form": DestructionForm(found.title, auto_id="detruire_%s"),
        "approve_form": TypedTitleForm(found.title, auto_id="approuver_%s"),
        "terms": _terms(found),
        "term_columns": [
            {"title": title} for title in ("Classe", "Durée", "Ensuite", "Qui décide")
        ],
        "approved": asked is not None and asked.approved_at is not None,
        **told,
        **forms_given,
    }
    return render(request, "vault/retention.html", content, status=status)


def _terms(found: DepositSet) -> list[list[dict[str, Any]]]:
    """The table of the classes, the set's own marked."""
    labels = dict(DepositSet.Retention.choices)
    return [
        [
            {
                "text": f"{labels[name]} (ce dépôt)"
                if name == found.retention_class
                else labels[name]
            },
            {"text": term.title},
            {"text": term.then},
            {"text": term.decides},
        ]
        for name, term in destruction.TERMS.items()
    ]


def _done(
    request: HttpRequest, code: str, set_code: str, verb: Callable[[], object], said: str
) -> HttpResponse:
    """Do a verb; say that it is done, or why it is refused; go back to the page."""
    try:
        verb()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, said)
    return redirect("vault:retention", code=code, set_code=set_code)


@requires("vault.manage", of=_of_commune)
@require_POST
def lengthen(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """Keep deleted data for longer."""
    found = _set(code, set_code)
    form = LockForm(request.POST, auto_id="verrou_%s")
    if not form.is_valid():
        return _page(request, found, 422, lock_form=form)
    days = form.cleaned_data["days"]
    return _done(
        request,
        code,
        set_code,
        lambda: retention.lengthen(_actor(request), found, days),
        f"Les données supprimées restent maintenant {days} jours.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def freeze(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """Keep every byte until an operator looked."""
    found = _set(code, set_code)
    form = ReasonForm(request.POST, auto_id="geler_%s")
    if not form.is_valid():
        return _page(request, found, 422, freeze_form=form)
    reason = form.cleaned_data["reason"]
    return _done(
        request,
        code,
        set_code,
        lambda: retention.freeze(_actor(request), found, reason),
        "Le dépôt est gelé : rien n'en partira. Il reçoit encore les sauvegardes.",
    )


@requires("vault.thaw", of=of_departement)
@require_POST
def thaw(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    found = _set(code, set_code)
    return _done(
        request,
        code,
        set_code,
        lambda: retention.thaw(_actor(request), found),
        "Le gel est levé.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def hold(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    """Place a legal hold."""
    found = _set(code, set_code)
    form = HoldForm(request.POST, auto_id="exiger_%s")
    if not form.is_valid():
        return _page(request, found, 422, hold_form=form)
    given = form.cleaned_data
    return _done(
        request,
        code,
        set_code,
        lambda: retention.hold(_actor(request), found, given["reason"], given["reference"]),
        "La conservation est exigée : rien ne partira avant qu'une autre personne la lève.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def lift(request: HttpRequest, code: str, pk: int) -> HttpResponse:
    """Lift a legal hold that somebody else placed."""
    found = get_object_or_404(
        Hold.objects.select_related("deposit_set__organisation"),
        pk=pk,
        deposit_set__organisation__code=code,
    )
    return _done(
        request,
        code,
        found.deposit_set.code,
        lambda: retention.lift(_actor(request), found),
        "La conservation exigée est levée.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def ask_destruction(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    found = _set(code, set_code)
    form = DestructionForm(found.title, request.POST, auto_id="detruire_%s")
    if not form.is_valid():
        return _page(request, found, 422, destroy_form=form)
    given = form.cleaned_data
    return _done(
        request,
        code,
        set_code,
        lambda: destruction.ask(_actor(request), found, given["reason"], given["reference"]),
        "La destruction est demandée. Une autre personne doit l'approuver.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def approve_destruction(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    found = _set(code, set_code)
    form = TypedTitleForm(found.title, request.POST, auto_id="approuver_%s")
    if not form.is_valid():
        return _page(request, found, 422, approve_form=form)
    return _done(
        request,
        code,
        set_code,
        lambda: destruction.approve(_actor(request), found),
        f"La destruction se fera dans {destruction.DELAY.days} jours, sauf annulation.",
    )


@requires("vault.manage", of=_of_commune)
@require_POST
def cancel_destruction(request: HttpRequest, code: str, set_code: str) -> HttpResponse:
    found = _set(code, set_code)
    return _done(
        request,
        code,
        set_code,
        lambda: destruction.cancel(_actor(request), found),
        "La destruction est annulée.",
    )
