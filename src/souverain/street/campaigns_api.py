"""Campaigns as data: opening one, sending its pictures, receiving, publishing, withdrawing."""

from typing import Annotated, Any, Self

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from souverain.core import clock
from souverain.core.access import of_departement, requires
from souverain.core.api import Moment, problem
from souverain.street import arrivals, campaigns, scale
from souverain.street.arrivals import ArrivalError, WrongOffset
from souverain.street.campaigns import CampaignError
from souverain.street.models import Campaign, Panorama

router = Router(tags=["street"])
_LISTED_MAX = 1000


class CampaignItem(Schema):
    """A campaign. `waiting`: whole files that were sent and not received yet; `job`: the
    reception under way."""

    name: str
    title: str
    state: str
    provenance: str
    originals: str
    licence: str
    panoramas: int
    sequences: int
    rejected: int
    waiting: int
    job: str | None
    created_at: Moment
    published_at: Moment | None

    @classmethod
    def of(cls, found: Campaign) -> Self:
        job = arrivals.under_way(found)
        return cls(
            name=found.name,
            title=found.title,
            state=found.state,
            provenance=found.provenance,
            originals=found.originals,
            licence=found.licence,
            panoramas=found.panoramas.filter(state=Panorama.State.READY).count(),
            sequences=found.sequences.count(),
            rejected=found.rejected.count(),
            waiting=arrivals.waiting(found)[0],
            job=str(job.pk) if job else None,
            created_at=clock.rfc3339(found.created_at),
            published_at=found.published_at and clock.rfc3339(found.published_at),
        )


class CampaignList(Schema):
    count: int
    items: list[CampaignItem]


Metres = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]
Degrees = Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)]


class NewCampaign(Schema):
    """What opens a campaign. Lever arm in metres (x right, y forward, z up), boresight in degrees
    (heading, pitch, roll): from the antenna to the camera."""

    name: str = Field(max_length=60)
    title: str = Field("", max_length=160)
    originals: Campaign.Originals = Campaign.Originals.KEPT
    lever_arm_m: list[Metres] = Field([], max_length=3)
    boresight_deg: list[Degrees] = Field([], max_length=3)


class RejectedItem(Schema):
    file: str
    reason: str
    at: Moment


class RejectedList(Schema):
    count: int
    items: list[RejectedItem]


class ArrivalItem(Schema):
    """How much of a file is there: send the next chunk from `received`."""

    file: str
    received: int
    complete: bool


class EstimateItem(Schema):
    """What a whole campaign takes: modelled from `measured_pictures` that were received here, by
    the megapixel; the energy from the processor time at `watts_a_core`, declared."""

    panoramas: int
    megapixels: float
    cpu_days: float
    blur_share: float
    wall_days: float
    bytes_kept: float
    objects: float
    energy_kwh: float
    watts_a_core: float
    measured_pictures: int
    measured_megapixels: float
    provenance: str = "modelled"


@router.get("/campaigns", response=CampaignList)
@requires("street.deliver", of=of_departement)
def list_campaigns(request: HttpRequest) -> CampaignList:
    """Every campaign, the newest first."""
    found = Campaign.objects.all()[:_LISTED_MAX]
    items = [CampaignItem.of(one) for one in found]
    return CampaignList(count=len(items), items=items)


@router.post("/campaigns", response={201: CampaignItem})
@requires("street.deliver", of=of_departement)
def create_campaign(request: HttpRequest, told: NewCampaign) -> Any:
    """Open a campaign."""
    for name, triple in (("lever_arm_m", told.lever_arm_m), ("boresight_deg", told.boresight_deg)):
        if len(triple) not in (0, 3):
            return problem(422, f"« {name} » a trois nombres, ou aucun.")
    try:
        made = campaigns.create(request.actor, **told.dict())  # type: ignore[attr-defined]
    except CampaignError as error:
        return problem(422, str(error))
    return 201, CampaignItem.of(made)


@router.get("/campaigns/estimate", response=EstimateItem)
@requires("street.deliver", of=of_departement)
def campaign_estimate(
    request: HttpRequest,
    panoramas: int = Query(scale.NETWORK_PANORAMAS, ge=1, le=10**9),
    megapixels: float = Query(scale.NETWORK_MEGAPIXELS, gt=0, le=1000),
) -> Any:
    """What so many panoramas would take, from what receptions took; by default, every road."""
    found = scale.estimate(panoramas, megapixels)
    if found is None:
        return problem(404, "Aucune réception d'images assez grandes n'a encore été mesurée.")
    return EstimateItem(**vars(found), watts_a_core=scale.WATTS_A_CORE)


@router.get("/campaigns/{name}", response=CampaignItem)
@requires("street.deliver", of=of_departement)
def one_campaign(request: HttpRequest, name: str) -> Any:
    """One campaign."""
    found = Campaign.objects.filter(name=name).first()
    return CampaignItem.of(found) if found else problem(404)


@router.get("/campaigns/{name}/rejected", response=RejectedList)
@requires("street.deliver", of=of_departement)
def rejected_pictures(request: HttpRequest, name: str) -> Any:
    """The pictures that were not taken, with the reason; 1,000 at most, `count` says how many."""
    found = Campaign.objects.filter(name=name).first()
    if found is None:
        return problem(404)
    rows = found.rejected.order_by("file_name")
    items = [
        RejectedItem(file=row.file_name, reason=row.reason, at=clock.rfc3339(row.at))
        for row in rows[:_LISTED_MAX]
    ]
    return RejectedList(count=rows.count(), items=items)


@router.get("/campaigns/{name}/pictures/{file}", response=ArrivalItem)
@requires("street.deliver", of=of_departement)
def arrival_state(request: HttpRequest, name: str, file: str) -> Any:
    """How much of a file was received: where to go on after a cut."""
    try:
        return ArrivalItem(**vars(arrivals.state(campaigns.find(name), file)))
    except CampaignError as error:
        return problem(404, str(error))
    except ArrivalError as error:
        return problem(422, str(error))


@router.put("/campaigns/{name}/pictures/{file}", response=ArrivalItem)
@requires("street.deliver", of=of_departement)
def send_chunk(
    request: HttpRequest,
    name: str,
    file: str,
    offset: int = Query(..., ge=0),
    total: int = Query(..., ge=1),
) -> Any:
    """Add a chunk (the body, 4 MiB at most) at `offset` of a file of `total` bytes. 409 with
    `received` when the file does not end there. A picture, or one trajectory (.csv, .gpkg)."""
    chunk = request.read(arrivals.CHUNK_MAX_BYTES + 1)
    try:
        taken = arrivals.take(campaigns.find(name), file, offset, total, chunk)
    except CampaignError as error:
        return problem(404, str(error))
    except WrongOffset as error:
        return problem(409, str(error), received=error.received)
    except ArrivalError as error:
        return problem(422, str(error))
    except OSError:
        return problem(507, "Le disque n'a pas pris ce morceau : réessayez quand il a de la place.")
    return ArrivalItem(**vars(taken))


@router.post("/campaigns/{name}/receive", response={202: CampaignItem})
@requires("street.deliver", of=of_departement)
def receive(request: HttpRequest, name: str) -> Any:
    """Receive what was sent, as a job."""
    return _acted(request, name, arrivals.submit, 202)


@router.post("/campaigns/{name}/publish", response=CampaignItem)
@requires("street.deliver", of=of_departement)
def publish(request: HttpRequest, name: str) -> Any:
    """Show the campaign to everybody. 409 when it cannot be."""
    return _acted(request, name, campaigns.publish)


@router.post("/campaigns/{name}/withdraw", response=CampaignItem)
@requires("street.deliver", of=of_departement)
def withdraw(request: HttpRequest, name: str) -> Any:
    """Show it to nobody but those who work on it."""
    return _acted(request, name, campaigns.withdraw)


def _acted(request: HttpRequest, name: str, action: Any, status: int = 200) -> Any:
    found = Campaign.objects.filter(name=name).first()
    if found is None:
        return problem(404)
    try:
        action(request.actor, found)  # type: ignore[attr-defined]
    except CampaignError as error:
        return problem(409, str(error))
    return status, CampaignItem.of(found)
