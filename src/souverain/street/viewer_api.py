"""What the viewer asks: one panorama, as JSON.

Annotations are evaluated: ninja does not find `UUID` behind `requires` when they are words."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Router, Schema

from souverain.core.access import requires
from souverain.core.api import Moment
from souverain.street import viewing

router = Router(tags=["street"])


class Level(Schema):
    """A level of the pyramid: column `c` of `columns` begins at pixel `c * width // columns`."""

    width: int
    height: int
    columns: int
    rows: int


class Link(Schema):
    """A panorama that one can walk to; `label_fr` says towards where and by which road; `rise_m`
    is null when the heights cannot be compared."""

    id: str
    along: bool
    label_fr: str
    grid_heading_deg: float
    distance_m: float
    rise_m: float | None
    road: str | None
    page: str


class OtherDate(Schema):
    """The same place in another campaign."""

    id: str
    campaign: str
    campaign_title: str
    provenance: str
    taken_at: Moment
    taken_at_fr: str
    distance_m: float
    page: str


class PanoramaView(Schema):
    """A panorama. Longitude and latitude: RGF93; x and y: Lambert-93; z in `datum`; headings from
    true north but for those named `grid`."""

    id: str
    campaign: str
    campaign_title: str
    published: bool
    provenance: str
    provenance_fr: str
    licence: str
    taken_at: Moment
    taken_at_fr: str
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    datum: str
    heading_deg: float
    grid_heading_deg: float
    pitch_deg: float
    roll_deg: float
    convergence_deg: float
    sigma_xy_m: float | None
    sigma_z_m: float | None
    sigma_heading_deg: float | None
    sigma_tilt_deg: float | None
    road: str | None
    pr: int | None
    abscissa_m: float | None
    side: str | None
    place_fr: str
    commune: str | None
    width: int
    height: int
    crop: dict[str, int] | None
    version: int
    tiles: str
    levels: list[Level]
    page: str
    links: list[Link]
    dates: list[OtherDate]


@router.get("/panoramas/{panorama}", response=PanoramaView)
@requires("street.stroll")
def panorama(request: HttpRequest, panorama: UUID) -> dict[str, Any]:
    """A panorama of a published campaign; whoever has `street.desk` sees every campaign's."""
    actor = request.actor  # type: ignore[attr-defined]
    return viewing.description(get_object_or_404(viewing.visible(actor), pk=panorama), actor)
