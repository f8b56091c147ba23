"""Files on their way in, chunk after chunk: an upload that is cut goes on where it stopped.

A file grows as `<name>.part` beside the others of its campaign, under the home; whole, it takes its
name. Nothing of it is looked at here: the job `street.receive` hands the folder to `ingest`, which
refuses what is not a panorama, then the folder is emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from souverain.core import jobs
from souverain.core.access import SYSTEM, Actor
from souverain.core.jobs import Resources
from souverain.core.models import Job, Organisation
from souverain.core.rooms import DataClass
from souverain.street import campaigns, ingest
from souverain.street.campaigns import CampaignError
from souverain.street.engine.picture import MAX_BYTES
from souverain.street.engine.trajectory import TrajectoryError
from souverain.street.ingest import IngestError
from souverain.street.models import Campaign, Delivery

CHUNK_MAX_BYTES = 4 << 20
FILES_MAX = 100_000
_SPARE_BYTES = 1 << 30  # of the disk, which the rest of the service writes to
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.()+-]{0,150}\.(?:jpe?g|csv|gpkg)", re.IGNORECASE)
_TRAJECTORIES = (".csv", ".gpkg")


class ArrivalError(ValueError):
    """A chunk is refused; the message is a French sentence."""


class WrongOffset(ArrivalError):
    """The chunk does not begin where the file ends: `received` says where that is."""

    def __init__(self, received: int) -> None:
        super().__init__(f"Ce fichier en est à l'octet {received} : reprenez de là.")
        self.received = received


@dataclass(frozen=True)
class Arrival:
    """How much of a file is there."""

    file: str
    received: int
    complete: bool


def folder(campaign: Campaign) -> Path:
    return Path(settings.HOME, "street", "arrivals", str(campaign.pk))


def state(campaign: Campaign, name: str) -> Arrival:
    """Raises ArrivalError for a name that cannot be."""
    whole, part = _paths(campaign, name)
    if whole.exists():
        return Arrival(name, whole.stat().st_size, True)
    return Arrival(name, part.stat().st_size if part.exists() else 0, False)


def take(campaign: Campaign, name: str, offset: int, total: int, chunk: bytes) -> Arrival:
    """Add a chunk at the end of a file of `total` bytes. Raises ArrivalError, WrongOffset,
    OSError."""
    whole, part = _paths(campaign, name)
    if campaign.state == Campaign.State.PUBLISHED:
        raise ArrivalError("Cette campagne est publiée : retirez-la avant d'y ajouter des images.")
    limit = MAX_BYTES if whole.suffix.lower() not in _TRAJECTORIES else 1 << 30
    if not 0 < total <= limit:
        raise ArrivalError(f"Un fichier a de 1 octet à {limit >> 20} Mio.")
    if not chunk or len(chunk) > CHUNK_MAX_BYTES or offset + len(chunk) > total:
        raise ArrivalError(
            f"Un morceau a de 1 octet à {CHUNK_MAX_BYTES >> 20} Mio, et ne dépasse pas la fin."
        )
    if whole.exists():
        raise WrongOffset(whole.stat().st_size)
    part.parent.mkdir(parents=True, exist_ok=True)
    if not part.exists():
        if shutil.disk_usage(part.parent).free < total + _SPARE_BYTES:
            raise ArrivalError("Le disque est presque plein : faites de la place, puis reprenez.")
        if sum(1 for _ in os.scandir(part.parent)) >= FILES_MAX:
            raise ArrivalError(f"Plus de {FILES_MAX} fichiers en attente : recevez-les d'abord.")
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size != offset:
            raise WrongOffset(size)
        try:
            _write_all(descriptor, chunk, offset)
        except OSError:
            os.ftruncate(descriptor, offset)  # what was taken stays; half a chunk does not
            raise
        if offset + len(chunk) == total:
            os.fsync(descriptor)
            part.replace(whole)
    finally:
        os.close(descriptor)
    return Arrival(name, offset + len(chunk), offset + len(chunk) == total)


def _write_all(descriptor: int, chunk: bytes, offset: int) -> None:
    rest = memoryview(chunk)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        offset, rest = offset + written, rest[written:]


def _paths(campaign: Campaign, name: str) -> tuple[Path, Path]:
    if not _NAME.fullmatch(name):
        raise ArrivalError(
            f"« {name[:60]} » ne peut pas nommer un fichier : lettres sans accent, chiffres, "
            "espaces, « . _ - + ( ) », et finir par .jpg, .csv ou .gpkg."
        )
    whole = folder(campaign) / name
    return whole, whole.with_name(f"{name}.part")


def waiting(campaign: Campaign) -> tuple[int, int]:
    """How many whole files wait, and how many are under way."""
    names = (
        [entry.name for entry in os.scandir(folder(campaign))] if folder(campaign).is_dir() else []
    )
    parts = sum(name.endswith(".part") for name in names)
    return len(names) - parts, parts


@transaction.atomic
def submit(actor: Actor, campaign: Campaign) -> Job:
    """Queue the reception of what waits. Raises CampaignError when nothing does."""
    if not waiting(campaign)[0]:
        raise CampaignError("Aucune image entière n'attend : envoyez-les d'abord.")
    if under_way(campaign) is not None:
        raise CampaignError("La réception de cette campagne est déjà en cours.")
    departement = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    job = jobs.submit(actor, receive_job, {"campaign": campaign.name}, departement)
    Delivery.objects.create(campaign=campaign, job=job)
    return job


def tidy() -> None:
    """Remove what a reception that was cut had taken: no picture stays as it came beside its
    blurred one, though nobody asks for another reception."""
    for where in Path(settings.HOME, "street", "arrivals").glob("*-*-*-*-*"):
        found = Campaign.objects.filter(pk=uuid.UUID(where.name)).first()
        if found is None or under_way(found) is not None:
            continue
        names = [entry.name for entry in os.scandir(where) if not entry.name.endswith(".part")]
        for name, digest in found.panoramas.filter(file_name__in=names).values_list(
            "file_name", "sha256"
        ):
            with suppress(FileNotFoundError), (where / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                    (where / name).unlink()


def under_way(campaign: Campaign) -> Job | None:
    """The job that receives this campaign, if one waits or runs."""
    found = campaign.deliveries.filter(job__state__in=(*jobs.WAITING, *jobs.ACTIVE)).first()
    return found.job if found else None


@jobs.job(
    "street.receive",
    "Réception d'images des routes",
    Resources(cpu=1, memory_bytes=2 << 30, time_limit_s=7 * 86400, data_class=DataClass.PERSONAL),
)
def receive_job(progress: jobs.Progress, campaign: str) -> dict[str, Any]:
    """Receive the whole files that wait, then forget them: what was taken is in the store, what
    was refused is listed."""
    found = campaigns.find(campaign)
    files = sorted(path for path in folder(found).iterdir() if path.suffix != ".part")
    paths = [path for path in files if path.suffix.lower() in _TRAJECTORIES]
    pictures = [path for path in files if path not in paths]
    if len(paths) > 1:
        raise jobs.Failed("Plusieurs trajectoires attendent : une seule par réception.")
    try:
        received = ingest.receive(
            SYSTEM,
            campaign,
            pictures,
            paths[0] if paths else None,
            append=True,
            progress=progress,
        )
    except (IngestError, CampaignError, TrajectoryError) as error:
        raise jobs.Failed(str(error)) from error
    for path in files:
        with suppress(FileNotFoundError):
            path.unlink()
    refused = len(received.rejected)
    return {
        "summary": f"{received.taken} images prises, {received.already} déjà là, "
        f"{refused} refusées.",
        "taken": received.taken,
        "already": received.already,
        "rejected": refused,
    }
