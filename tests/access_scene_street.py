"""What Côte-d'Or Street adds to the scene of the access matrix: records, arguments and bodies."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.db import models

from souverain.core.models import Organisation
from souverain.street import stac
from souverain.street.models import (
    BlurRequest,
    Campaign,
    Item,
    ItemEvent,
    Measurement,
    Panorama,
    Sequence,
    Sighting,
    Tour,
    TourStop,
    UploadSet,
    WorkOrder,
)

if TYPE_CHECKING:
    from tests.access_scene import Target

_numbers = itertools.count()
NOT_FILLED = {"street.tour", "street.tourstop"}


def _commune(marker: str) -> str:
    from tests.access_scene import MARKERS

    return next((code for code, own in MARKERS.items() if own == marker), "")


GIVEN: dict[str, Callable[[str], dict[str, Any]]] = {
    # What is published is everybody's: no marker in it.
    "street.campaign": lambda marker: {
        "name": f"campagne-{hashlib.sha256(marker.encode()).hexdigest()[:8]}-{next(_numbers)}",
        "title": "Campagne",
        "licence": "etalab-2.0",
        "state": "published",
    },
    "street.sequence": lambda marker: {"title": "Passage"},
    "street.panorama": lambda marker: {
        "file_name": "1.jpg",
        "state": "ready",
        "road": "",
        "commune": "",
        "side": "",
        "detector": "essai",
        "width": 512,
        "height": 256,
        "original_key": "",
        "picture_key": "",
        "pyramid_key": "street/essai/1.pyramid",
    },
    "street.measurement": lambda marker: {
        "kind": "point",
        "label": marker,
        "method": "hand",
        "datum": "unknown",
        "points": [
            {
                "x_m": 850000.0,
                "y_m": 6690000.0,
                "z_m": 250.0,
                "covariance_m2": [1e-4, 0, 0, 1e-4, 0, 1e-4],
            }
        ],
    },
    "street.blurrequest": lambda marker: {
        "code": f"ABCD-EFGH-{marker[2:6]}",
        "subject": "house",
        "state": "received",
    },
    "street.item": lambda marker: {
        "kind": "panneau",
        "commune": _commune(marker),
        "attributes": {"code": marker},
    },
}


def _campaign(_: Target) -> str:
    """The name of a campaign that is there: the département's, whatever the target."""
    owner = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    return Campaign.objects.get_or_create(
        name="essai", defaults={"title": "Essai", "organisation": owner}
    )[0].name


def _tour(target: Target) -> TourStop:
    """A published tour with one public stop."""
    tour, _ = Tour.objects.get_or_create(
        slug="promenade", defaults={"title": "Promenade", "published": True}
    )
    stop, _ = TourStop.objects.get_or_create(
        tour=tour, rank=0, defaults={"panorama": target.records[Panorama], "title": "Étape"}
    )
    return stop


_STAC = {
    **dict.fromkeys(
        ("collection", "collection_thumb", "collection_status", "items", "item"), Sequence
    ),
    **dict.fromkeys(("picture_item", "hd", "sd", "thumb", "picture_tile"), Panorama),
    **dict.fromkeys(("upload_set", "upload_files", "upload_complete"), UploadSet),
}
_PAGES = (
    "campaign",
    "campaign_receive",
    "campaign_publish",
    "campaign_withdraw",
    "control",
    "control-csv",
    "control-pdf",
)
_CAMPAIGN_CALLS = ("", "/rejected", "/pictures/{file}", "/receive", "/publish", "/withdraw")
_ITEM_CALLS = ("history", "sightings", "state", "undo", "attributes", "photos")
ARGUMENTS: dict[tuple[str, str], type[models.Model] | Callable[[Target], Any]] = {
    **{(f"street:{name}", "name"): _campaign for name in _PAGES},
    **{
        (f"{method} /api/street/campaigns/{{name}}{end}", "name"): _campaign
        for method in ("GET", "PUT", "POST")
        for end in _CAMPAIGN_CALLS
    },
    **{
        (f"{method} /api/street/campaigns/{{name}}/pictures/{{file}}", "file"): lambda _: "a.jpg"
        for method in ("GET", "PUT")
    },
    **{(f"street:stac_{name}", "pk"): model for name, model in _STAC.items()},
    ("street:stac_item", "item"): Panorama,
    **{("street:stac_picture_tile", name): lambda target: 0 for name in ("column", "row")},
    **{("street:stac_map_tile", name): lambda target: 0 for name in ("z", "x", "y")},
    **{("street:map-tile", name): lambda target: 0 for name in ("z", "x", "y")},
    **{
        (f"street:stac_{name}", "pk"): lambda target: stac.organisation_id(target.organisation)
        for name in ("user", "user_collection", "user_catalog")
    },
    ("street:stac_not_served", "rest"): lambda target: "reports",
    **{
        (f"street:{name}", "identifier"): Item
        for name in ("item", "change_state", "undo", "describe", "add_photo", "photo", "close_up")
    },
    ("street:photo", "line"): ItemEvent,
    ("street:close_up", "sighting"): Sighting,
    ("street:inventory_file", "form"): lambda target: "csv",
    **{
        (f"street:{name}", "number"): lambda target: target.records[WorkOrder].pk
        for name in ("work_order", "close_work")
    },
    ("GET /api/street/items.{form}", "form"): lambda target: "csv",
    **{
        (f"{method} /api/street/items/{{identifier}}{end}", "identifier"): Item
        for method in ("GET", "POST", "PUT")
        for end in ("", *(f"/{call}" for call in _ITEM_CALLS))
    },
    **{
        (f"{method} /api/street/work-orders/{{number}}{end}", "number"): WorkOrder
        for method, end in (("GET", ""), ("POST", "/state"))
    },
    **{
        (f"street:blur-{name}", "pk"): BlurRequest
        for name in ("request", "picture", "place", "carry-out", "refuse")
    },
    **{
        (f"street:blur-{name}", "code"): lambda target: target.records[BlurRequest].code
        for name in ("follow", "receipt")
    },
    ("street:blur-receipt", "form"): lambda target: "json",
    ("GET /api/street/measurements.{form}", "form"): lambda target: "csv",
    ("DELETE /api/street/measurements/{identifier}", "identifier"): Measurement,
    ("street:view", "panorama"): Panorama,
    ("street:original", "panorama"): Panorama,
    ("GET /api/street/panoramas/{panorama}", "panorama"): Panorama,
    ("street:embed", "name"): lambda target: str(target.records[Panorama].pk),
    **{
        (f"street:{name}", "slug"): lambda target: _tour(target).tour.slug
        for name in ("tour", "tour_edit", "tour_act", "stop_act")
    },
    ("street:stop_act", "pk"): lambda target: _tour(target).pk,
}

# Bodies that are accepted, where an empty form or `{}` would be refused before the permission is.
BODIES: dict[str, Callable[[Target], dict[str, Any]]] = {
    "/api/street/items": lambda target: {"kind": "panneau"},
    "/api/street/items/{identifier}/sightings": lambda target: {
        "panorama": str(target.records[Panorama].pk),
        "yaw_deg": 0,
        "elevation_deg": 0,
    },
    "/api/street/items/{identifier}/state": lambda target: {"state": "gone"},
    "/api/street/items/{identifier}/attributes": lambda target: {"attributes": {}},
    "/api/street/work-orders": lambda target: {
        "title": "Essai",
        "items": [str(target.records[Item].pk)],
    },
    "/api/street/work-orders/{number}/state": lambda target: {"state": "done"},
    "/api/street/comparison": lambda target: {"before": "a", "after": "b"},
}


def complete(target: Target) -> None:
    """A work order on the target's own item."""
    if WorkOrder in target.records and Item in target.records:
        target.records[WorkOrder].items.set([target.records[Item]])  # type: ignore[attr-defined]
