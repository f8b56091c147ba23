"""The resident's request, its follow-up by code, and the operators' answers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
from allauth.core.internal import ratelimit
from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from souverain.core.access import Actor, of_departement, requires
from souverain.core.accounts import too_many
from souverain.core.format import datetime_fr
from souverain.street import blur_requests, privacy, receipt_pdf, viewing
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.engine.picture import PictureError
from souverain.street.models import BlurRequest, Panorama
from souverain.street.privacy import PrivacyError

_RATE = {"blur": "6/h/ip"}
_RATE_S = 3600
_PAGE = 50
_SIZES = [
    (4.0, "Petite : un visage, une plaque"),
    (12.0, "Moyenne : une personne, une voiture"),
    (30.0, "Grande : une façade, un jardin"),
    (60.0, "Très grande : toute une maison, de près"),
]


class DirectionForm(forms.Form):
    """Where in a panorama."""

    yaw_deg = forms.FloatField(
        label="Direction (degrés)",
        min_value=-360,
        max_value=360,
        help_text="0 au milieu de l'image, positive vers la droite.",
    )
    elevation_deg = forms.FloatField(
        label="Hauteur (degrés)",
        min_value=-90,
        max_value=90,
        help_text="0 à l'horizon, positive vers le haut.",
    )


class AskForm(forms.Form):
    """A resident's request."""

    subject = forms.ChoiceField(label="Que faut-il flouter ?", choices=BlurRequest.Subject.choices)
    message = forms.CharField(
        label="Précisions",
        max_length=1000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    contact = forms.EmailField(
        label="Votre adresse électronique",
        required=False,
        help_text="Facultative, pour une question de notre part. Elle est effacée avec la réponse.",
    )


class AskHereForm(AskForm, DirectionForm):
    """The same, in a panorama."""

    size = forms.TypedChoiceField(label="Grandeur de la zone", coerce=float, choices=_SIZES)
    field_order = ("subject", "size", "yaw_deg", "elevation_deg", "message", "contact")


class PlaceForm(DirectionForm):
    """The operator's box."""

    panorama = forms.UUIDField(
        label="Image", help_text="Son numéro : la fin de l'adresse /street/vue/…/."
    )
    width_deg = forms.FloatField(label="Largeur (degrés)", min_value=0.1, max_value=90)
    height_deg = forms.FloatField(label="Hauteur de la zone (degrés)", min_value=0.1, max_value=90)
    field_order = ("panorama", "yaw_deg", "elevation_deg", "width_deg", "height_deg")


class AnswerForm(forms.Form):
    answer = forms.CharField(label="Mot au demandeur", max_length=1000, required=False)


class RefusalForm(forms.Form):
    answer = forms.CharField(
        label="Pourquoi", max_length=1000, widget=forms.Textarea(attrs={"rows": 3})
    )


class CodeForm(forms.Form):
    code = forms.CharField(label="Code de suivi", max_length=40)


def _actor(request: HttpRequest) -> Actor:
    actor: Actor = request.actor  # type: ignore[attr-defined]
    return actor


# --------------------------------------------------------------------------------- the resident


@require_http_methods(["GET", "POST"])
@requires("street.stroll")
def ask(request: HttpRequest) -> HttpResponse:
    """The form; with `?panorama=…` (and `yaw`, `elevation`), on that picture. `?code=…` leads to the follow-up."""
    if "code" in request.GET:
        return _to_follow_up(request)
    panorama = _shown(request)
    kind = AskHereForm if panorama else AskForm
    told = {f"{name}_deg": request.GET.get(name, 0) for name in ("yaw", "elevation")}
    form = kind(request.POST or None, initial=told)
    if request.method == "POST" and form.is_valid():
        if not ratelimit.consume(request, app="street", action="blur", config=_RATE):
            return too_many(request, _RATE_S)
        fields = dict(form.cleaned_data)
        size = fields.pop("size", 10.0)
        try:
            asked = blur_requests.ask(
                panorama, fields.pop("subject"), width_deg=size, height_deg=size, **fields
            )
        except PrivacyError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Votre demande est enregistrée. Gardez son code.")
            return redirect("street:blur-follow", code=asked.code)
    shown = viewing.description(panorama, _actor(request)) if panorama else None
    context = {"form": form, "panorama": shown, "code_form": CodeForm()}
    return render(request, "street/blur_ask.html", context)


def _shown(request: HttpRequest) -> Panorama | None:
    """The panorama that the address names, among those that the caller may see."""
    asked = request.GET.get("panorama")
    if not asked:
        return None
    try:
        pk = UUID(asked)
    except ValueError:
        raise Http404 from None
    return get_object_or_404(viewing.visible(_actor(request)), pk=pk)


def _to_follow_up(request: HttpRequest) -> HttpResponse:
    code = blur_requests.read_code(request.GET["code"])
    if BlurRequest.objects.filter(code=code).exists():
        return redirect("street:blur-follow", code=code)
    form = CodeForm(request.GET)
    form.is_valid()
    form.add_error("code", "Aucune demande n'a ce code : vérifiez ses douze signes.")
    context = {"form": AskForm(), "panorama": None, "code_form": form}
    return render(request, "street/blur_ask.html", context, status=404)


@never_cache
@require_GET
@requires("street.stroll")
def follow(request: HttpRequest, code: str) -> HttpResponse:
    """What became of a request; its code is the key."""
    asked = get_object_or_404(BlurRequest.objects.select_related("panorama"), code=code)
    return render(request, "street/blur_follow.html", {"asked": asked})


@never_cache
@require_GET
@requires("street.stroll")
def receipt(request: HttpRequest, code: str, form: str) -> HttpResponse:
    """The receipt as JSON or PDF."""
    asked = get_object_or_404(BlurRequest, code=code, state=BlurRequest.State.DONE)
    if form == "json":
        content, kind = orjson.dumps(asked.receipt, option=orjson.OPT_INDENT_2), "application/json"
    elif form == "pdf":
        content, kind = receipt_pdf.drawn(asked), "application/pdf"
    else:
        raise Http404
    name = f"floutage-{asked.code}.{form}"
    answer = HttpResponse(content, content_type=kind)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


# -------------------------------------------------------------------------------- the operators


@never_cache
@require_GET
@requires("street.privacy", of_departement)
def requests(request: HttpRequest) -> HttpResponse:
    """Those that wait, oldest first, then those answered, latest first."""
    waiting = BlurRequest.objects.filter(state=BlurRequest.State.RECEIVED).order_by("received_at")
    answered = BlurRequest.objects.exclude(state=BlurRequest.State.RECEIVED).order_by(
        "-answered_at"
    )
    page = Paginator(waiting, _PAGE).get_page(request.GET.get("page"))
    return render(
        request,
        "street/blur_requests.html",
        {
            "page": page,
            "waiting": _table("Demandes qui attendent", list(page)),
            "answered": _table("Dernières réponses", list(answered[:_PAGE])),
        },
    )


def _table(caption: str, found: list[BlurRequest]) -> dict[str, Any]:
    return {
        "caption": caption,
        "columns": [{"title": t} for t in ("Code", "Reçue", "Objet", "Image", "État")],
        "rows": [
            [
                {"text": each.code, "url": reverse("street:blur-request", args=[each.pk])},
                {"text": datetime_fr(each.received_at)},
                {"text": each.get_subject_display()},
                {"text": "désignée" if each.panorama_id else "à trouver"},
                {"text": each.get_state_display()},
            ]
            for each in found
        ],
    }


def _request(pk: UUID) -> BlurRequest:
    found = BlurRequest.objects.select_related("panorama", "panorama__campaign")
    return get_object_or_404(found, pk=pk)


@never_cache
@require_GET
@requires("street.privacy", of_departement)
def one(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _one(request, _request(pk))


def _one(request: HttpRequest, asked: BlurRequest, **bound: forms.Form) -> HttpResponse:
    context = {
        "asked": asked,
        "place_form": bound.get("place")
        or PlaceForm(
            initial={
                "panorama": asked.panorama_id,
                "yaw_deg": asked.yaw_deg,
                "elevation_deg": asked.elevation_deg,
                "width_deg": asked.width_deg,
                "height_deg": asked.height_deg,
            }
        ),
        "answer_form": bound.get("answer") or AnswerForm(prefix="faite"),
        "refusal_form": bound.get("refusal") or RefusalForm(prefix="refus"),
        "is_waiting": asked.state == BlurRequest.State.RECEIVED,
    }
    status = 422 if bound else 200
    return render(request, "street/blur_request.html", context, status=status)


@never_cache
@require_GET
@requires("street.privacy", of_departement)
def picture(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What is published today around the box, with the box drawn."""
    asked = _request(pk)
    try:
        assert asked.panorama is not None
        content = privacy.outlined(asked.panorama, blur_requests.box_of(asked))
    except (AssertionError, PrivacyError, FileNotFoundError):
        raise Http404 from None
    return HttpResponse(content, content_type="image/jpeg")


@require_POST
@requires("street.privacy", of_departement)
def place(request: HttpRequest, pk: UUID) -> HttpResponse:
    asked = _request(pk)
    form = PlaceForm(request.POST)
    if form.is_valid():
        fields = dict(form.cleaned_data)
        panorama = Panorama.objects.filter(pk=fields.pop("panorama")).first()
        try:
            if panorama is None:
                raise PrivacyError("Aucune image n'a ce numéro.")
            blur_requests.place(asked, panorama, **fields)
        except PrivacyError as error:
            form.add_error(None, str(error))
        else:
            return redirect("street:blur-request", pk=pk)
    return _one(request, asked, place=form)


@require_POST
@requires("street.privacy", of_departement)
def carry_out(request: HttpRequest, pk: UUID) -> HttpResponse:
    asked = _request(pk)
    form = AnswerForm(request.POST, prefix="faite")
    if form.is_valid():
        try:
            told = blur_requests.carry_out(_actor(request), asked, form.cleaned_data["answer"])
        except (PrivacyError, JpegError, PictureError) as error:
            form.add_error(None, str(error))
        except OSError:
            form.add_error(None, "Les images ne répondent pas : rien n'est perdu, réessayez.")
        else:
            messages.success(request, f"C'est flouté : {len(told['objects'])} objets remplacés.")
            return redirect("street:blur-request", pk=pk)
    return _one(request, asked, answer=form)


@require_POST
@requires("street.privacy", of_departement)
def refuse(request: HttpRequest, pk: UUID) -> HttpResponse:
    asked = _request(pk)
    form = RefusalForm(request.POST, prefix="refus")
    if form.is_valid():
        try:
            blur_requests.refuse(_actor(request), asked, form.cleaned_data["answer"])
        except PrivacyError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Le refus est enregistré.")
            return redirect("street:blur-request", pk=pk)
    return _one(request, asked, refusal=form)


@never_cache
@require_GET
@requires("street.privacy", of_departement)
def original(request: HttpRequest, panorama: UUID) -> HttpResponse | StreamingHttpResponse:
    """The picture as it was received; each reading is in the journal."""
    found = get_object_or_404(Panorama, pk=panorama)
    try:
        chunks = privacy.read_original(_actor(request), found)
    except PrivacyError:
        raise Http404 from None
    answer = StreamingHttpResponse(chunks, content_type="image/jpeg")
    answer["Content-Disposition"] = f'attachment; filename="{found.pk}.jpg"'
    return answer
