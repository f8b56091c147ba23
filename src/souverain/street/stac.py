"""Panoramas as Panoramax tells them: STAC 1.0.0 JSON made of the records. Nothing is read here.

A sequence is a collection, a panorama an item. What Panoramax rounds is given beside it, precise,
under `souverain:`. Sources: stac-spec 1.0.0; Panoramax API 2.15.1, `docs/dev/STAC_compatibility.md`.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from souverain.core import clock
from souverain.core.models import Organisation, User
from souverain.street.models import Campaign, Panorama, UploadSet
from souverain.street.models import Sequence as Drive
from souverain.street.uploads import FileState

Json = dict[str, Any]
GEOJSON, JSON, JPEG = "application/geo+json", "application/json", "image/jpeg"
MVT = "application/vnd.mapbox-vector-tile"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
VERSION = "1.0.0"
CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
_EXTENSIONS = (
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "https://stac-extensions.github.io/perspective-imagery/v1.0.0/schema.json",
    "https://stac-extensions.github.io/tiled-assets/v1.0.0/schema.json",
)
_LICENCES = {
    "etalab-2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
}
_NOWHERE: Json = {
    "spatial": {"bbox": [[-180.0, -90.0, 180.0, 90.0]]},
    "temporal": {"interval": [[None, None]]},
}
_RADIUS_95 = math.sqrt(-2 * math.log(0.05))
"""Of a circle that holds 95 % of a round Gaussian, in sigmas of one axis."""
_ACCOUNTS = uuid.UUID("5f2f9f3e-3b0e-5d5c-9c44-6f6f2d2a8a11")


@dataclass(frozen=True)
class Tiling:
    """How the largest level of a picture is cut: columns × rows of tiles, in pixels."""

    columns: int
    rows: int
    tile_width: int
    tile_height: int


@dataclass(frozen=True)
class Summary:
    """What a sequence holds that may be shown."""

    count: int
    bbox: tuple[float, float, float, float]
    """West, south, east, north in degrees."""
    first: datetime
    last: datetime


def organisation_id(organisation: Organisation) -> str:
    """The account that Panoramax's clients name: one for each producer."""
    return str(uuid.uuid5(_ACCOUNTS, f"organisation:{organisation.code}"))


def user_id(user: User) -> str:
    return str(uuid.uuid5(_ACCOUNTS, f"user:{user.pk}"))


def link(rel: str, href: str, kind: str = JSON, **more: Any) -> Json:
    return {"rel": rel, "type": kind, "href": href, **more}


def landing(root: str, title: str, description: str, extent: Summary | None) -> Json:
    """`root` is the address of the API, with its last slash."""
    return {
        "type": "Catalog",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": "souverain-street",
        "title": title,
        "description": description,
        "conformsTo": list(CONFORMANCE),
        **({"extent": _extent(extent)} if extent else {}),
        "links": [
            link("root", root, title=title),
            link("self", root),
            link("conformance", f"{root}conformance"),
            link("service-desc", f"{root}docs/specs.json", OPENAPI),
            link("data", f"{root}collections"),
            link("search", f"{root}search", GEOJSON, method="GET"),
            link("search", f"{root}search", GEOJSON, method="POST"),
            link("xyz", f"{root}map/{{z}}/{{x}}/{{y}}.mvt", MVT),
            link("xyz-style", f"{root}map/style.json"),
            link("user-search", f"{root}users/search"),
            link("collection-preview", f"{root}collections/{{id}}/thumb.jpg", JPEG),
            link("item-preview", f"{root}pictures/{{id}}/thumb.jpg", JPEG),
        ],
    }


def _extent(summary: Summary) -> Json:
    return {
        "spatial": {"bbox": [list(summary.bbox)]},
        "temporal": {"interval": [[clock.rfc3339(summary.first), clock.rfc3339(summary.last)]]},
    }


def providers(campaign: Campaign) -> list[Json]:
    organisation = campaign.organisation
    return [
        {
            "id": organisation_id(organisation),
            "name": organisation.name,
            "roles": ["producer", "host", "licensor"],
        }
    ]


def licence_address(licence: str) -> str:
    return _LICENCES.get(licence, "")


def _licence_links(campaign: Campaign) -> list[Json]:
    href = licence_address(campaign.licence)
    return [link("license", href, "text/html", title=campaign.licence)] if href else []


def title_of(drive: Drive) -> str:
    """Told apart from the campaign's other sequences: clients name folders after it."""
    return drive.title or f"{drive.campaign.title} - passage {drive.ordinal + 1}"


def collection(drive: Drive, summary: Summary, root: str) -> Json:
    """A sequence, with its campaign and organisation already read."""
    campaign = drive.campaign
    here = f"{root}collections/{drive.pk}"
    synthetic = campaign.provenance == Campaign.Provenance.SYNTHETIC
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": ["https://stac-extensions.github.io/stats/v0.2.0/schema.json"],
        "id": str(drive.pk),
        "title": title_of(drive),
        "description": f"{campaign.title} : images {campaign.get_provenance_display()}",
        "keywords": ["pictures", title_of(drive)] + (["synthetic"] if synthetic else []),
        "license": campaign.licence,
        "created": clock.rfc3339(campaign.created_at),
        "updated": clock.rfc3339(campaign.published_at or campaign.created_at),
        "providers": providers(campaign),
        "extent": _extent(summary),
        "summaries": {},
        "stats:items": {"count": summary.count},
        "geovisio:status": "ready",
        "geovisio:sorted-by": "+datetime",
        "geovisio:visibility": visibility(campaign),
        "souverain:campaign": campaign.name,
        "souverain:provenance": campaign.provenance,
        "links": [
            link("root", root),
            link("parent", root),
            link("self", here),
            link("items", f"{here}/items", GEOJSON),
            *_licence_links(campaign),
        ],
    }


def account_collection(
    key: str,
    name: str,
    here: str,
    root: str,
    extent: Summary | None,
    collections: Sequence[Json],
    following: Sequence[Json],
) -> Json:
    """What an account sent, as a collection: one `child` link for each of its collections."""
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": f"user:{key}",
        "title": f"Images de {name}",
        "description": f"Les séquences de {name}",
        "keywords": ["pictures"],
        "license": "other" if not collections else collections[0]["license"],
        "providers": [{"id": key, "name": name, "roles": ["producer"]}],
        "extent": _extent(extent) if extent else _NOWHERE,
        "stats:items": {"count": extent.count if extent else 0},
        "stats:collections": {"count": len(collections)},
        "links": [
            link("root", root),
            link("parent", root),
            link("self", here),
            *following,
            *(_child(one) for one in collections),
        ],
    }


def _child(collection: Json) -> Json:
    href = next(one["href"] for one in collection["links"] if one["rel"] == "self")
    kept = ("id", "title", "stats:items", "extent", "geovisio:status", "created", "updated")
    return link("child", href, **{name: collection[name] for name in kept})


def visibility(campaign: Campaign) -> str:
    """In Panoramax's words: everybody's, or of those who work on it."""
    return "anyone" if campaign.state == Campaign.State.PUBLISHED else "logged-only"


def item(
    panorama: Panorama, tiling: Tiling, neighbours: Mapping[str, Panorama],
    related: Iterable[Panorama], root: str, site: str,
) -> Json:  # fmt: skip
    """A panorama with its campaign and organisation already read. `neighbours` has `prev` and
    `next` on the same sequence, `related` where one turns. `site` is the address before `/street`.
    """
    campaign, here = panorama.campaign, f"{root}collections/{panorama.sequence_id}"
    pictures = f"{root}pictures/{panorama.pk}"
    whole = f"{site}/street/pictures/{panorama.pk}/{panorama.version}.jpg"
    thumbnail = f"{pictures}/thumb.jpg?v={panorama.version}"
    position = [panorama.longitude_deg, panorama.latitude_deg]
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(_EXTENSIONS),
        "id": str(panorama.pk),
        "collection": str(panorama.sequence_id),
        "geometry": {"type": "Point", "coordinates": position},
        "bbox": [*position, *position],
        "providers": providers(campaign),
        "properties": {
            "datetime": clock.rfc3339(panorama.taken_at),
            "datetimetz": panorama.taken_at.astimezone(clock.PARIS).isoformat(),
            "created": clock.rfc3339(campaign.created_at),
            "updated": clock.rfc3339(campaign.published_at or campaign.created_at),
            "license": campaign.licence,
            "view:azimuth": panorama.heading_deg % 360.0,
            "pers:pitch": panorama.pitch_deg,
            "pers:roll": panorama.roll_deg,
            "pers:yaw": 0.0,
            "pers:interior_orientation": _interior_orientation(panorama),
            **_accuracy(panorama),
            "panoramax:horizontal_pixel_density": round(panorama.width / 360),
            "geovisio:status": "ready",
            "geovisio:visibility": visibility(campaign),
            "geovisio:producer": campaign.organisation.name,
            "geovisio:rank_in_collection": panorama.rank + 1,
            "geovisio:image": whole,
            "geovisio:thumbnail": thumbnail,
            "original_file:name": panorama.file_name,
            "original_file:size": panorama.original_bytes,
            "exif": {},
            "semantics": [],
            "annotations": [],
            **_tile_matrix_sets(panorama, tiling),
            **_precise(panorama),
        },
        "assets": {
            "hd": _asset(whole, "data", "Image entière, floutée"),
            "sd": _asset(f"{pictures}/sd.jpg?v={panorama.version}", "visual", "Image réduite"),
            "thumb": _asset(thumbnail, "thumbnail", "Vignette"),
        },
        **_asset_templates(panorama, site),
        "links": [
            link("root", root),
            link("parent", here),
            link("self", f"{here}/items/{panorama.pk}", GEOJSON),
            link("collection", here),
            *_licence_links(campaign),
            *(_to(rel, near, root) for rel, near in neighbours.items()),
            *(_to("related", near, root) for near in related),
        ],
    }  # fmt: skip


def _asset(href: str, role: str, title: str) -> Json:
    return {"href": href, "type": JPEG, "roles": [role], "title": title}


def _to(rel: str, near: Panorama, root: str) -> Json:
    return link(
        rel,
        f"{root}collections/{near.sequence_id}/items/{near.pk}",
        GEOJSON,
        id=str(near.pk),
        datetime=clock.rfc3339(near.taken_at),
        geometry={"type": "Point", "coordinates": [near.longitude_deg, near.latitude_deg]},
    )


def _interior_orientation(panorama: Panorama) -> Json:
    """`visible_area` are the margins that a crop leaves: left, top, right, bottom in pixels."""
    said: Json = {
        "field_of_view": 360,
        "sensor_array_dimensions": [panorama.width, panorama.height],
    }
    if crop := panorama.crop:
        said["visible_area"] = [
            crop["left"],
            crop["top"],
            panorama.width - crop["left"] - crop["width"],
            panorama.height - crop["top"] - crop["height"],
        ]
    return said


def _accuracy(panorama: Panorama) -> Json:
    """Panoramax's accuracy is the radius that holds 95 %; nothing where nobody said."""
    if panorama.sigma_xy_m is None:
        return {}
    return {"quality:horizontal_accuracy": round(_RADIUS_95 * panorama.sigma_xy_m, 4)}


def _precise(panorama: Panorama) -> Json:
    """What the département knows and Panoramax has no field for; null rather than absent."""
    return {
        "souverain:campaign": panorama.campaign.name,
        "souverain:provenance": panorama.campaign.provenance,
        "souverain:x_m": panorama.x_m,
        "souverain:y_m": panorama.y_m,
        "souverain:z_m": panorama.z_m,
        "souverain:datum": panorama.datum,
        "souverain:sigma_xy_m": panorama.sigma_xy_m,
        "souverain:sigma_z_m": panorama.sigma_z_m,
        "souverain:sigma_heading_deg": panorama.sigma_heading_deg,
        "souverain:sigma_tilt_deg": panorama.sigma_tilt_deg,
        "souverain:road": panorama.road or None,
        "souverain:pr": panorama.pr,
        "souverain:abscissa_m": panorama.abscissa_m,
        "souverain:side": panorama.side or None,
        "souverain:commune": panorama.commune or None,
        "souverain:detector": panorama.detector or None,
        "souverain:version": panorama.version,
    }


def _tile_matrix_sets(panorama: Panorama, tiling: Tiling) -> Json:
    """None for a cropped picture: Panoramax's viewer shows those from their base picture."""
    if panorama.crop:
        return {}
    name = f"souverain-{panorama.pk}"
    return {
        "tiles:tile_matrix_sets": {
            # The name under which Panoramax's viewer looks for it.
            "geovisio": {
                "type": "TileMatrixSetType",
                "identifier": name,
                "title": name,
                "tileMatrix": [
                    {
                        "type": "TileMatrixType",
                        "identifier": "0",
                        "scaleDenominator": 1,
                        "topLeftCorner": [0, 0],
                        "tileWidth": tiling.tile_width,
                        "tileHeight": tiling.tile_height,
                        "matrixWidth": tiling.columns,
                        "matrixHeight": tiling.rows,
                    }
                ],
            }
        }
    }


def _asset_templates(panorama: Panorama, site: str) -> Json:
    if panorama.crop:
        return {}
    tiles = f"{site}/street/tiles/{panorama.pk}/{panorama.version}/0/{{TileCol}}_{{TileRow}}.jpg"
    return {"asset_templates": {"tiles": _asset(tiles, "data", "Image entière, en tuiles")}}


def features(items: Sequence[Json], links: Sequence[Json]) -> Json:
    return {
        "type": "FeatureCollection",
        "features": list(items),
        "links": list(links),
        "numberReturned": len(items),
    }


# Upload sets -------------------------------------------------------------------------------------

_WORDS = ("prepared", "preparing", "broken", "rejected", "not_processed")


def upload_set(
    sent: UploadSet, files: Sequence[FileState], collections: Sequence[Json], root: str
) -> Json:
    """Where an upload set stands. `collections` are those of its sequences that may be shown."""
    counts = Counter(state.word for state in files)
    waits = bool(counts["not_processed"] or counts["preparing"])
    over = sent.completed_at is not None and not waits
    here = f"{root}upload_sets/{sent.pk}"
    return {
        "id": str(sent.pk),
        "title": sent.campaign.title,
        "created_at": clock.rfc3339(sent.created_at),
        "completed": sent.completed_at is not None,
        "dispatched": over,
        "ready": over,
        "account_id": user_id(sent.user) if sent.user else None,
        "estimated_nb_files": sent.estimated_files,
        "sort_method": "time-asc",
        "no_split": False,
        "no_deduplication": True,
        "metadata": {},
        "semantics": [],
        "visibility": visibility(sent.campaign),
        "nb_items": len(files) - counts["rejected"],
        "items_status": {word: counts[word] for word in _WORDS},
        "associated_collections": [
            {
                "id": one["id"],
                "title": one["title"],
                "nb_items": one["stats:items"]["count"],
                "extent": {"temporal": one["extent"]["temporal"]},
                "ready": True,
                "links": [link("self", f"{root}collections/{one['id']}")],
            }
            for one in collections
        ],
        "souverain:campaign": sent.campaign.name,
        "links": [link("self", here), link("files", f"{here}/files")],
    }


def uploaded_file(state: FileState) -> Json:
    """A file of an upload set; `rejected` is there only when it is (clients look for the name)."""
    file = state.file
    said: Json = {
        "picture_id": str(state.panorama.pk) if state.panorama else None,
        "file_name": file.file_name,
        "content_md5": file.content_md5,
        "inserted_at": clock.rfc3339(file.received_at),
        "file_type": "picture",
        "size": file.size,
        "status": state.word,
        "links": [],
    }
    if state.word in ("rejected", "broken"):
        duplicate = state.reason == "file_duplicate"
        said["rejected"] = {
            "reason": state.reason,
            "severity": "info" if duplicate else "error",
            "message": state.message,
            "details": None,
        }
    return said
