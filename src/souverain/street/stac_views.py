"""The STAC API in Panoramax's shape, under `/street/api/`: read only, but for upload sets.

What is published is for everybody; a token (or a session) with `street.desk` shows the rest.
Large pictures and tiles are addresses of the byte server: nothing here reads them whole.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

import orjson
from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.csrf import csrf_exempt

from souverain.core import access
from souverain.core.access import ANONYMOUS, Actor, requires
from souverain.core.api import authenticated, problem
from souverain.core.models import Organisation
from souverain.street import stac, stac_openapi, stac_pictures, stac_search
from souverain.street.models import Campaign, Panorama, PanoramaLink, Sequence
from souverain.street.stac import GEOJSON, JSON, Json, Summary
from souverain.street.stac_search import Refused

COLLECTIONS_DEFAULT, COLLECTIONS_MAX = 100, 1000
SAFE = ("GET", "HEAD", "OPTIONS")
_EXTENT_KEPT_S = 600
_OPEN = {"Access-Control-Allow-Origin": "*"}
"""Other sites' pages may read what is published; never with somebody's session."""


View = Callable[..., HttpResponse]


def operation(
    permission: str, *methods: str, of: Callable[..., dict[str, Any]] | None = None
) -> Callable[[View], View]:
    """One operation: its permission, its methods, and every refusal as a problem, whose `message`
    is where Panoramax's clients look."""

    def decorate(view: View) -> View:
        guarded = requires(permission, of)(view)

        @csrf_exempt
        @wraps(guarded)
        def answer(request: HttpRequest, **arguments: Any) -> HttpResponse:
            if request.method not in request_method_list:
                refused = problem(405)
                refused.headers["Allow"] = ", ".join(request_method_list)
                return refused
            try:
                if request.method not in SAFE:
                    authenticated(request)  # a session's write needs its CSRF token
                return guarded(request, **arguments)
            except Refused as refusal:
                return told(refusal.status, str(refusal))
            except FileNotFoundError:
                return told(404, "Le fichier de cette image n'est plus là.")
            except OSError:
                return told(503, "Les images ne répondent pas : réessayez.")
            except Http404:
                return told(404, "Rien n'est publié sous cet identifiant.")
            except PermissionDenied as refusal:
                if request.actor != ANONYMOUS:  # type: ignore[attr-defined]
                    return told(403, str(refusal))
                answered = problem(401)
                answered.headers["WWW-Authenticate"] = "Bearer"
                return answered

        request_method_list = list(methods)
        return answer

    return decorate


def told(status: int, message: str, **more: Any) -> HttpResponse:
    return problem(status, message, message=message, status_code=status, **more)


def written(said: Json, kind: str = JSON, status: int = 200) -> HttpResponse:
    return HttpResponse(orjson.dumps(said), content_type=kind, status=status, headers=_OPEN)


def json_of(request: HttpRequest) -> bytes:
    """The body of a request that must be JSON: a form's was read already. Raises Refused."""
    if request.content_type not in ("", "application/json", GEOJSON):
        raise Refused(400, "Le corps de la demande doit être du JSON (application/json).")
    return request.body


def root_of(request: HttpRequest) -> str:
    return request.build_absolute_uri("/street/api/")


def site_of(request: HttpRequest) -> str:
    return request.build_absolute_uri("/").rstrip("/")


def actor_of(request: HttpRequest) -> Actor:
    return request.actor  # type: ignore[attr-defined, no-any-return]


# What may be shown -------------------------------------------------------------------------------


def sees_everything(actor: Actor) -> bool:
    """As the byte server has it: the desk of the whole département."""
    return actor != ANONYMOUS and access.permits(actor, "street.desk", **access.of_departement())


def visible(actor: Actor, of: str = "") -> Q:
    """Ready panoramas of published campaigns; of every campaign for who works on them. `of` leads
    to the panorama from another record."""
    shown = Q(**{f"{of}state": Panorama.State.READY, f"{of}sequence__isnull": False})
    if not sees_everything(actor):
        shown &= Q(**{f"{of}campaign__state": Campaign.State.PUBLISHED})
    return shown


def visible_panoramas(actor: Actor) -> QuerySet[Panorama]:
    return Panorama.objects.filter(visible(actor)).select_related("campaign__organisation")


def visible_sequences(actor: Actor) -> QuerySet[Sequence]:
    sequences = Sequence.objects.select_related("campaign__organisation")
    if not sees_everything(actor):
        sequences = sequences.filter(campaign__state=Campaign.State.PUBLISHED)
    return sequences


def one_panorama(actor: Actor, pk: uuid.UUID, **more: Any) -> Panorama:
    found = visible_panoramas(actor).filter(pk=pk, **more).first()
    if found is None:
        raise Http404
    return found


_SUMMARY = {
    "count": Count("pk"),
    "west": Min("longitude_deg"),
    "south": Min("latitude_deg"),
    "east": Max("longitude_deg"),
    "north": Max("latitude_deg"),
    "first": Min("taken_at"),
    "last": Max("taken_at"),
}


def _summary(row: Json) -> Summary:
    bbox = (row["west"], row["south"], row["east"], row["north"])
    return Summary(row["count"], bbox, row["first"], row["last"])


def summaries(sequences: list[Sequence]) -> dict[uuid.UUID, Summary]:
    """What each sequence shows; one that shows nothing is absent."""
    rows = (
        Panorama.objects.filter(sequence__in=sequences, state=Panorama.State.READY)
        .order_by()
        .values("sequence")
        .annotate(**_SUMMARY)
    )
    return {row["sequence"]: _summary(row) for row in rows}


def _neighbours(page: list[Panorama]) -> dict[uuid.UUID, dict[str, Panorama]]:
    """The panoramas before and after each one on its sequence, hidden ones skipped."""
    ready = Panorama.objects.filter(sequence=OuterRef("sequence"), state=Panorama.State.READY)
    before = ready.filter(rank__lt=OuterRef("rank")).order_by("-rank").values("pk")[:1]
    after = ready.filter(rank__gt=OuterRef("rank")).order_by("rank").values("pk")[:1]
    pairs = list(
        Panorama.objects.filter(pk__in=[panorama.pk for panorama in page])
        .order_by()
        .annotate(prev=Subquery(before), next=Subquery(after))
        .values_list("pk", "prev", "next")
    )
    near = Panorama.objects.order_by().in_bulk([key for pair in pairs for key in pair[1:] if key])
    return {
        pk: {
            rel: near[key] for rel, key in (("prev", before_pk), ("next", after_pk)) if key in near
        }
        for pk, before_pk, after_pk in pairs
    }


def _related(actor: Actor, page: list[Panorama]) -> dict[uuid.UUID, list[Panorama]]:
    """Where one can turn from each panorama."""
    links = (
        PanoramaLink.objects.filter(visible(actor, "target__"), origin__in=page)
        .select_related("target")
        .only("origin_id", "target")
    )
    found: dict[uuid.UUID, list[Panorama]] = {}
    drives = {panorama.pk: panorama.sequence_id for panorama in page}
    for link in links:
        if link.target.sequence_id != drives[link.origin_id]:
            found.setdefault(link.origin_id, []).append(link.target)
    return found


def items(request: HttpRequest, page: list[Panorama]) -> list[Json]:
    near, related = _neighbours(page), _related(actor_of(request), page)
    root, site = root_of(request), site_of(request)
    return [
        stac.item(
            panorama,
            stac_pictures.tiling(panorama),
            near.get(panorama.pk, {}),
            related.get(panorama.pk, []),
            root,
            site,
        )
        for panorama in page
    ]


# Catalogue ---------------------------------------------------------------------------------------


@operation("street.stroll", "GET")
def landing(request: HttpRequest) -> HttpResponse:
    description = (
        "Les routes du département en images à 360°, visages et plaques floutés. "
        "Positions RGF93 ; les champs « souverain: » disent leur précision."
    )
    extent = cache.get_or_set("street.stac.extent", _public_extent, _EXTENT_KEPT_S)
    title = f"{settings.NAMES.cloud} - images des routes"
    return written(stac.landing(root_of(request), title, description, extent))


def _public_extent() -> Summary | None:
    row = visible_panoramas(ANONYMOUS).order_by().aggregate(**_SUMMARY)
    return _summary(row) if row["count"] else None


@operation("street.stroll", "GET")
def conformance(request: HttpRequest) -> HttpResponse:
    return written({"conformsTo": list(stac.CONFORMANCE)})


@operation("street.stroll", "GET")
def description(request: HttpRequest) -> HttpResponse:
    return written(stac_openapi.document(root_of(request)), stac.OPENAPI)


@operation("street.stroll", "GET")
def configuration(request: HttpRequest) -> HttpResponse:
    """What Panoramax's clients ask before they sign in."""
    names = settings.NAMES
    return written(
        {
            "name": {"label": names.cloud, "langs": {"fr": names.cloud}},
            "description": {"label": "Les routes du département en images à 360°", "langs": {}},
            "geo_coverage": {"label": "Les routes du département", "langs": {}},
            "logo": request.build_absolute_uri("/static/core/favicon.svg"),
            "auth": {"enabled": True, "registration_is_open": False},
            "license": {"id": "etalab-2.0", "url": stac.licence_address("etalab-2.0")},
            "defaults": {
                "split_distance": 100,
                "split_time": 300,
                "duplicate_distance": 1.0,
                "duplicate_rotation": 60,
                "default_visibility": "logged-only",
                "collaborative_metadata": False,
            },
            "pages": [],
        }
    )


@operation("street.stroll", "GET")
def collections(request: HttpRequest) -> HttpResponse:
    return written(_collections(request, visible_sequences(actor_of(request))))


def _collections(request: HttpRequest, sequences: QuerySet[Sequence]) -> Json:
    """A page of collections, in the order of their ids."""
    asked = request.GET
    limit = stac_search.limit_of(asked.get("limit") or COLLECTIONS_DEFAULT, COLLECTIONS_MAX)
    if token := asked.get("token", ""):
        sequences = sequences.filter(pk__gt=_uuid(token))
    shown = sequences.filter(
        pk__in=Panorama.objects.filter(
            sequence__isnull=False, state=Panorama.State.READY
        ).order_by().values("sequence")
    )  # fmt: skip
    found = list(shown.order_by("pk")[: limit + 1])
    page, told_of = found[:limit], summaries(found[:limit])
    root = root_of(request)
    links = [stac.link("root", root), stac.link("parent", root),
             stac.link("self", request.build_absolute_uri())]  # fmt: skip
    if len(found) > limit:
        following = urlencode({"limit": limit, "token": str(page[-1].pk)})
        links.append(stac.link("next", f"{request.build_absolute_uri(request.path)}?{following}"))
    return {
        "collections": [
            stac.collection(one, told_of[one.pk], root) for one in page if one.pk in told_of
        ],
        "links": links,
    }


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Refused(400, "token : prenez celui du lien « next ».") from None


def _sequence(actor: Actor, pk: uuid.UUID) -> tuple[Sequence, Summary]:
    found = visible_sequences(actor).filter(pk=pk).first()
    told_of = summaries([found]) if found else {}
    if found is None or found.pk not in told_of:
        raise Http404
    return found, told_of[found.pk]


@operation("street.stroll", "GET")
def collection(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    return written(stac.collection(*_sequence(actor_of(request), pk), root_of(request)))


@operation("street.stroll", "GET")
def collection_thumbnail(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    first = visible_panoramas(actor_of(request)).filter(sequence=pk).order_by("rank").first()
    if first is None:
        raise Http404
    return HttpResponseRedirect(f"{root_of(request)}pictures/{first.pk}/thumb.jpg")


@operation("street.stroll", "GET")
def collection_status(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Each picture of a sequence and where it stands."""
    drive, _ = _sequence(actor_of(request), pk)
    rows = visible_panoramas(actor_of(request)).filter(sequence=drive).order_by("rank")
    return written(
        {
            "status": "ready",
            "items": [
                {"id": str(key), "rank": rank + 1, "status": "ready"}
                for key, rank in rows.values_list("pk", "rank")[:10_000]
            ],
        }
    )


@operation("street.stroll", "GET")
def collection_items(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """A page of a sequence, in its order. `startAfterRank`, `withPicture`: Panoramax's paging;
    `bbox` and `datetime`: OGC API Features'."""
    drive, _ = _sequence(actor_of(request), pk)
    asked = {name: request.GET[name] for name in ("bbox", "datetime") if name in request.GET}
    limit = stac_search.limit_of(request.GET.get("limit") or 100)
    within = stac_search.filtered(visible_panoramas(actor_of(request)), stac_search.of_query(asked))
    rows = within.filter(sequence=drive).order_by("rank")
    after = request.GET.get("startAfterRank", "")
    if after and not (after.isascii() and after.isdigit() and len(after) < 10):
        raise Refused(400, "startAfterRank : un nombre entier est attendu.")
    if wanted := request.GET.get("withPicture", ""):
        rank = one_panorama(actor_of(request), _uuid(wanted), sequence=drive).rank
        after = str(rank // limit * limit)
    if after:
        rows = rows.filter(rank__gte=int(after))
    found = list(rows[: limit + 1])
    page = found[:limit]
    here = f"{root_of(request)}collections/{drive.pk}"
    links = [
        stac.link("root", root_of(request)),
        stac.link("parent", here),
        stac.link("self", request.build_absolute_uri(), GEOJSON),
        stac.link("collection", here),
    ]
    if len(found) > limit:
        following = urlencode({**asked, "limit": limit, "startAfterRank": page[-1].rank + 1})
        links.append(stac.link("next", f"{here}/items?{following}", GEOJSON))
    return written(stac.features(items(request, page), links), GEOJSON)


@operation("street.stroll", "GET")
def collection_item(request: HttpRequest, pk: uuid.UUID, item: uuid.UUID) -> HttpResponse:
    return written(items(request, [one_panorama(actor_of(request), item, sequence=pk)])[0], GEOJSON)


@operation("street.stroll", "GET")
def picture_item(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    return written(items(request, [one_panorama(actor_of(request), pk)])[0], GEOJSON)


@operation("street.stroll", "GET", "POST")
def search(request: HttpRequest) -> HttpResponse:
    """STAC's item search. A POST writes nothing: it only asks at length."""
    posted = request.method == "POST"
    asked = (
        stac_search.of_body(json_of(request))
        if posted
        else stac_search.of_query(request.GET.dict())
    )
    page = stac_search.run(visible_panoramas(actor_of(request)), asked)
    here = request.build_absolute_uri(request.path)
    links = [stac.link("root", root_of(request)), stac.link("self", here, GEOJSON)]
    if page.next_token:
        links.append(_next(here, asked.asked, page.next_token, posted))
    return written(stac.features(items(request, page.panoramas), links), GEOJSON)


def _next(here: str, asked: Any, token: str, posted: bool) -> Json:
    following = {**asked, "token": token}
    if posted:
        return stac.link("next", here, GEOJSON, method="POST", body=following)
    flat = {
        name: orjson.dumps(value).decode()
        if isinstance(value, dict)
        else ",".join(map(str, value))
        if isinstance(value, list)
        else value
        for name, value in following.items()
    }
    return stac.link("next", f"{here}?{urlencode(flat)}", GEOJSON, method="GET")


# Pictures ----------------------------------------------------------------------------------------


@operation("street.stroll", "GET")
def picture(request: HttpRequest, pk: uuid.UUID, size: str) -> HttpResponse:
    """The whole picture is the byte server's; reduced ones are made of a few tiles."""
    panorama = one_panorama(actor_of(request), pk)
    if size == "hd":
        return HttpResponseRedirect(stac_pictures.whole_address(panorama))
    answer = HttpResponse(
        stac_pictures.reduced(panorama, size), content_type=stac.JPEG, headers=_OPEN
    )
    if panorama.campaign.state == Campaign.State.PUBLISHED:
        lasting = request.GET.get("v") == str(panorama.version)
        answer.headers["Cache-Control"] = (
            "public, max-age=86400, immutable" if lasting else "public, max-age=60"
        )
    return answer


@operation("street.stroll", "GET")
def tile(request: HttpRequest, pk: uuid.UUID, column: int, row: int) -> HttpResponse:
    panorama = one_panorama(actor_of(request), pk)
    cut = stac_pictures.tiling(panorama)
    if panorama.crop or column >= cut.columns or row >= cut.rows:
        raise Refused(404, "Cette image n'a pas cette tuile.")
    return HttpResponseRedirect(stac_pictures.tile_address(panorama, column, row))


@operation("street.stroll", "GET")
def map_tile(request: HttpRequest, z: int, x: int, y: int) -> HttpResponse:
    if z > 22 or x >= 1 << z or y >= 1 << z:
        raise Refused(404, "Il n'y a pas de tuile à cette adresse.")
    return HttpResponseRedirect(f"/street/map/{z}/{x}/{y}.mvt")


@operation("street.stroll", "GET")
def map_style(request: HttpRequest) -> HttpResponse:
    """A MapLibre style of the published panoramas alone, without any other host's map."""
    source = "geovisio"
    return written(
        {
            "version": 8,
            "name": "Images des routes",
            "sources": {
                source: {
                    "type": "vector",
                    "tiles": [f"{root_of(request)}map/{{z}}/{{x}}/{{y}}.mvt"],
                    "minzoom": 0,
                    "maxzoom": 15,
                }
            },
            "layers": [
                {
                    "id": "geovisio_sequences",
                    "type": "line",
                    "source": source,
                    "source-layer": "sequences",
                    "paint": {"line-color": "#ff6f00", "line-width": 3},
                },
                {
                    "id": "geovisio_pictures",
                    "type": "circle",
                    "source": source,
                    "source-layer": "pictures",
                    "minzoom": 15,
                    "paint": {"circle-color": "#ff6f00", "circle-radius": 4},
                },
            ],
        }
    )


# Accounts ----------------------------------------------------------------------------------------
# Panoramax's accounts are the organisations that publish; people are named to themselves alone.


def _producers() -> QuerySet[Organisation]:
    published = Campaign.objects.filter(state=Campaign.State.PUBLISHED)
    return Organisation.objects.filter(pk__in=published.order_by().values("organisation"))


def _account(root: str, key: str, name: str) -> Json:
    here = f"{root}users/{key}"
    return {
        "id": key,
        "name": name,
        "links": [stac.link("self", here), stac.link("collection", f"{here}/collection")],
    }


def _producer(pk: uuid.UUID) -> Organisation:
    for organisation in _producers():
        if stac.organisation_id(organisation) == str(pk):
            return organisation
    raise Http404


@operation("street.stroll", "GET")
def users(request: HttpRequest) -> HttpResponse:
    root = root_of(request)
    accounts = [_account(root, stac.organisation_id(one), one.name) for one in _producers()]
    return written({"users": accounts, "links": [stac.link("self", f"{root}users/")]})


@operation("street.stroll", "GET")
def users_search(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("q", "")[:100].casefold()
    found = [one for one in _producers() if asked and asked in one.name.casefold()]
    return written(
        {"features": [{"id": stac.organisation_id(one), "label": one.name} for one in found]}
    )


@operation("street.stroll", "GET")
def user(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    organisation = _producer(pk)
    return written(_account(root_of(request), str(pk), organisation.name))


@operation("street.stroll", "GET")
def user_collection(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    organisation = _producer(pk)
    drives = visible_sequences(ANONYMOUS).filter(campaign__organisation=organisation)
    return written(collection_of_collections(request, str(pk), organisation.name, drives))


@operation("street.stroll", "GET")
def user_catalog(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    return HttpResponseRedirect(f"{root_of(request)}users/{pk}/collection")


def collection_of_collections(
    request: HttpRequest, key: str, name: str, drives: QuerySet[Sequence]
) -> Json:
    """Panoramax's list of an account's collections, as a collection whose children they are."""
    told_of = _collections(request, drives)
    root, here = root_of(request), request.build_absolute_uri(request.path)
    pictures = Panorama.objects.filter(sequence__in=drives.order_by(), state=Panorama.State.READY)
    row = pictures.order_by().aggregate(**_SUMMARY)
    extent = _summary(row) if row["count"] else None
    following = [link for link in told_of["links"] if link["rel"] == "next"]
    return stac.account_collection(key, name, here, root, extent, told_of["collections"], following)


# What is not here --------------------------------------------------------------------------------


@operation("street.stroll", "GET", "POST", "PUT", "PATCH", "DELETE")
def not_served(request: HttpRequest, rest: str) -> HttpResponse:
    """What Panoramax has and this API has not, each with its reason."""
    return told(404, stac_openapi.reason_for(rest))
