"""The upload sets of Panoramax's API, and who sends them; `upload_server` takes the pictures."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect

from souverain.core import access
from souverain.street import stac, stac_search, uploads
from souverain.street.models import UploadSet
from souverain.street.stac import Json
from souverain.street.stac_search import Refused
from souverain.street.stac_views import (
    actor_of,
    collection_of_collections,
    json_of,
    operation,
    root_of,
    summaries,
    visible_sequences,
    written,
)
from souverain.street.uploads import UploadRefused

_SETS_MAX = 100


def _found(pk: uuid.UUID) -> UploadSet:
    found = UploadSet.objects.select_related("campaign__organisation", "user", "job")
    one = found.filter(pk=pk).first()
    if one is None:
        raise Http404
    return one


def _told(request: HttpRequest, sent: UploadSet) -> Json:
    root = root_of(request)
    drives = list(visible_sequences(actor_of(request)).filter(campaign=sent.campaign))
    shown = summaries(drives)
    collections = [
        stac.collection(drive, shown[drive.pk], root) for drive in drives if drive.pk in shown
    ]
    return stac.upload_set(sent, uploads.states(sent), collections, root)


@operation("street.desk", "GET")
def me(request: HttpRequest) -> HttpResponse:
    """The bearer of the token, to themselves."""
    user = actor_of(request).user
    if user is None:
        raise Http404
    here = f"{root_of(request)}users/me"
    return written(
        {
            "id": stac.user_id(user),
            "name": user.display_name,
            "collaborative_metadata": False,
            "links": [stac.link("self", here), stac.link("collection", f"{here}/collection")],
        }
    )


@operation("street.desk", "GET")
def my_collection(request: HttpRequest) -> HttpResponse:
    """What the bearer of the token sent."""
    user = actor_of(request).user
    if user is None:
        raise Http404
    drives = visible_sequences(actor_of(request)).filter(campaign__upload_set__user=user)
    return written(
        collection_of_collections(request, stac.user_id(user), user.display_name, drives)
    )


@operation("street.desk", "GET")
def my_catalog(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(f"{root_of(request)}users/me/collection")


@operation("street.deliver", "GET", of=access.of_departement)
def my_upload_sets(request: HttpRequest) -> HttpResponse:
    """The last ones that the bearer of the token opened."""
    limit = stac_search.limit_of(request.GET.get("limit") or _SETS_MAX, _SETS_MAX)
    sets = UploadSet.objects.select_related("campaign__organisation", "user", "job")
    mine = sets.filter(user=actor_of(request).user).order_by("-created_at")[:limit]
    return written({"upload_sets": [_told(request, sent) for sent in mine], "links": []})


@operation("street.deliver", "POST", of=access.of_departement)
def open_set(request: HttpRequest) -> HttpResponse:
    said = _body(request)
    title, estimated = said.get("title"), said.get("estimated_nb_files")
    if not isinstance(title, str):
        raise Refused(400, "title : le nom de l'envoi est nécessaire.")
    if estimated is not None and (isinstance(estimated, bool) or not isinstance(estimated, int)):
        raise Refused(400, "estimated_nb_files : un nombre entier est attendu.")
    if said.get("relative_heading") is not None:
        raise Refused(
            400, "relative_heading : le cap vient des images ou d'une trajectoire, jamais supposé."
        )
    try:
        sent = uploads.open_set(actor_of(request), title, estimated)
    except UploadRefused as refusal:
        raise Refused(refusal.status, str(refusal)) from None
    return written(_told(request, sent))


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        said = json.loads(json_of(request) or b"{}")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Refused(400, "Le corps de la demande doit être un objet JSON.")
    return said


@operation("street.deliver", "GET", of=access.of_departement)
def upload_set(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    return written(_told(request, _found(pk)))


@operation("street.deliver", "GET", of=access.of_departement)
def files(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    sent = _found(pk)
    here = f"{root_of(request)}upload_sets/{pk}"
    return written(
        {
            "files": [stac.uploaded_file(state) for state in uploads.states(sent)],
            "links": [stac.link("self", f"{here}/files"), stac.link("parent", here)],
        }
    )


@operation("street.deliver", "POST", of=access.of_departement)
def complete(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    sent = _found(pk)
    try:
        uploads.complete(actor_of(request), sent)
    except UploadRefused as refusal:
        raise Refused(refusal.status, str(refusal)) from None
    return written(_told(request, _found(pk)))
