"""Upload sets: what Panoramax's clients send becomes a campaign, received as any other.

A file is written beside the campaign's others under `street-uploads/<upload set>/` of the home and
named once it is whole and durable; its record comes with its name. When the sender says that all is
there, a job receives the folder. Whatever is cut, what was acknowledged stays and is not sent again.
"""

from __future__ import annotations

import os
import re
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.text import slugify

from souverain.core import access, clock, jobs, journal
from souverain.core.access import SYSTEM, Actor
from souverain.core.jobs import Failed, Progress, Resources, State, job
from souverain.core.models import Job
from souverain.core.rooms import DataClass
from souverain.street import campaigns, ingest
from souverain.street.models import Campaign, Panorama, RejectedPicture, UploadedFile, UploadSet

FILE_MAX_BYTES = 128 << 20
FILES_MAX = 20_000
TITLE_MAX = 120
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\.][^\x00-\x1f\x7f/\\]{0,250}\.jpe?g", re.IGNORECASE)
_UNDER_WAY = (State.QUEUED, State.HELD, State.STARTING, State.RUNNING)


class UploadRefused(Exception):
    """A file or a set that is not taken: HTTP status, French sentence, Panoramax's word for it."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Arrived:
    """A whole file on the disk that has no name yet."""

    part: Path
    size: int
    md5: str
    sha256: str
    is_jpeg: bool


def folder(upload_set: UploadSet) -> Path:
    return Path(settings.HOME, "street-uploads", str(upload_set.pk))


def part_of(upload_set: UploadSet) -> Path:
    """Where the next file is written until it is whole."""
    where = folder(upload_set)
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    return where / f".{secrets.token_hex(16)}.part"


@transaction.atomic
def open_set(actor: Actor, title: str, estimated_files: int | None) -> UploadSet:
    """Open a campaign that is received file by file. Raises UploadRefused."""
    title = " ".join(title.split())
    if not title or len(title) > TITLE_MAX or not title.isprintable():
        raise UploadRefused(400, f"Un titre de 1 à {TITLE_MAX} caractères est nécessaire.")
    if estimated_files is not None and not 0 <= estimated_files <= FILES_MAX:
        raise UploadRefused(413, f"Un envoi a {FILES_MAX} fichiers au plus : faites-en plusieurs.")
    name = f"{slugify(title)[:48].strip('-') or 'envoi'}-{secrets.token_hex(4)}"
    campaign = campaigns.create(actor, name.replace("_", "-"), title)
    opened = UploadSet.objects.create(
        campaign=campaign, user=actor.user, estimated_files=estimated_files
    )
    _journal(actor, "street.upload_opened", opened)
    return opened


def _journal(actor: Actor, verb: str, upload_set: UploadSet, **data: Any) -> None:
    journal.append(
        actor,
        verb,
        organisation=upload_set.campaign.organisation.code,
        object=f"campaign:{upload_set.campaign_id}",
        data=data,
    )


def require_open(upload_set: UploadSet) -> None:
    """Raise UploadRefused unless another file can be added now."""
    if upload_set.campaign.state == Campaign.State.PUBLISHED:
        raise UploadRefused(409, "Cette campagne est publiée : ouvrez un autre envoi.")
    if is_received(upload_set):
        raise UploadRefused(503, "Cet envoi est en cours de réception : recommencez ensuite.")


def is_received(upload_set: UploadSet) -> bool:
    """Whether a job works on it."""
    return upload_set.job is not None and upload_set.job.state in _UNDER_WAY


def keep(upload_set: UploadSet, name: str, arrived: Arrived) -> UploadedFile:
    """Give a whole file its name and its record, or refuse it; the part is gone either way. A
    refusal is recorded under the name. Raises UploadRefused."""
    try:
        with transaction.atomic():
            locked = UploadSet.objects.select_for_update().get(pk=upload_set.pk)
            require_open(locked)
            _require_free_name(locked, name, arrived)
            _require_room(locked, name)
            refusal = _refusal(locked, name, arrived)
            kept, _ = UploadedFile.objects.update_or_create(
                upload_set=locked,
                file_name=name,
                defaults={
                    "size": arrived.size,
                    "content_md5": arrived.md5,
                    "sha256": arrived.sha256,
                    "received_at": clock.now(),
                    "refused_as": refusal.reason if refusal else "",
                    "refusal": str(refusal)[:400] if refusal else "",
                },
            )
            if refusal is None:
                RejectedPicture.objects.filter(campaign=locked.campaign, file_name=name).delete()
                UploadSet.objects.filter(pk=locked.pk).update(completed_at=None)
                arrived.part.replace(folder(locked) / name)
                _make_durable(folder(locked))
        if refusal is not None:
            raise refusal
        return kept
    finally:
        arrived.part.unlink(missing_ok=True)


def _make_durable(where: Path) -> None:
    descriptor = os.open(where, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_name(name: str) -> None:
    """Raise UploadRefused for a name that a folder of pictures cannot hold."""
    if not _NAME.fullmatch(name) or len(name.encode()) > 255:
        raise UploadRefused(400, "Le nom du fichier doit finir par .jpg et tenir en 255 octets.")


def _require_free_name(upload_set: UploadSet, name: str, arrived: Arrived) -> None:
    """A name whose file was refused is free again."""
    holder = upload_set.files.filter(file_name=name).first()
    if holder is None or _was_refused(upload_set, holder):
        return
    if holder.sha256 == arrived.sha256:
        raise UploadRefused(409, "Ce fichier est déjà dans cet envoi.", "file_duplicate")
    raise UploadRefused(409, "Un autre fichier de cet envoi porte déjà ce nom.", "file_duplicate")


def _require_room(upload_set: UploadSet, name: str) -> None:
    if upload_set.files.exclude(file_name=name).count() >= FILES_MAX:
        raise UploadRefused(413, f"Un envoi a {FILES_MAX} fichiers au plus : faites-en plusieurs.")


def _refusal(upload_set: UploadSet, name: str, arrived: Arrived) -> UploadRefused | None:
    """Why a file whose name is free is not kept."""
    others = UploadedFile.objects.exclude(upload_set=upload_set, file_name=name)
    kept_elsewhere = others.filter(sha256=arrived.sha256, refused_as="")
    if kept_elsewhere.exists() or Panorama.objects.filter(sha256=arrived.sha256).exists():
        return UploadRefused(409, "Cette image a déjà été envoyée.", "file_duplicate")
    if not arrived.is_jpeg:
        return UploadRefused(415, "Ce fichier n'est pas une image JPEG.", "file_not_picture")
    return None


def _was_refused(upload_set: UploadSet, file: UploadedFile) -> bool:
    return (
        bool(file.refused_as)
        or RejectedPicture.objects.filter(
            campaign=upload_set.campaign, file_name=file.file_name
        ).exists()
    )


@transaction.atomic
def complete(actor: Actor, upload_set: UploadSet) -> None:
    """Say that all is there: a job receives the folder. Twice changes nothing. Raises
    UploadRefused."""
    locked = UploadSet.objects.select_for_update().get(pk=upload_set.pk)
    if is_received(locked) or (locked.completed_at and not left_to_receive(locked)):
        return
    require_open(locked)
    locked.completed_at = clock.now()
    if left_to_receive(locked):
        locked.job = jobs.submit(
            actor, receive_upload, {"upload_set": str(locked.pk)}, locked.campaign.organisation
        )
    locked.save(update_fields=["completed_at", "job"])
    _journal(actor, "street.upload_completed", locked, files=locked.files.count())


def left_to_receive(upload_set: UploadSet) -> bool:
    """Whether files are there that the reception has not looked at."""
    return any(state.word == "not_processed" for state in states(upload_set))


@job(
    "street.receive_upload",
    "Recevoir un envoi d'images",
    Resources(cpu=1, memory_bytes=2 << 30, time_limit_s=172_800, data_class=DataClass.PERSONAL),
)
def receive_upload(progress: Progress, upload_set: str) -> dict[str, Any]:
    """The ordinary reception, of an upload set's folder. What was received is then in the store:
    its file goes."""
    found = UploadSet.objects.select_related("campaign").get(pk=upload_set)
    for part in folder(found).glob(".*.part"):  # of an upload that a crash cut
        part.unlink(missing_ok=True)
    sender = access.of_user(found.user) if found.user else SYSTEM
    try:
        received = ingest.receive(
            sender, found.campaign.name, [folder(found)], append=True, progress=progress
        )
    except (ingest.IngestError, campaigns.CampaignError) as error:
        raise Failed(str(error)) from error
    _forget_received(found)
    rejected = len(received.rejected)
    return {
        "taken": received.taken,
        "rejected": rejected,
        "summary": f"{received.taken} images reçues, {rejected} refusées.",
    }


def _forget_received(upload_set: UploadSet) -> None:
    """Remove the files that the store, or the list of what was refused, answers for."""
    for state in states(upload_set):
        if state.word in ("prepared", "rejected"):
            (folder(upload_set) / state.file.file_name).unlink(missing_ok=True)
    with suppress(OSError):  # a file is left
        folder(upload_set).rmdir()


def tidy() -> None:
    """What a reception that was cut had received: no picture stays as it came beside its blurred
    one, though its sender never comes back."""
    for where in Path(settings.HOME, "street-uploads").glob("*-*-*-*-*"):
        with transaction.atomic():  # kept from `keep`, which may give a refused name a new file
            locked = UploadSet.objects.select_for_update().filter(pk=uuid.UUID(where.name)).first()
            if locked is not None and not is_received(locked):
                _forget_received(locked)


# Where each file stands --------------------------------------------------------------------------


@dataclass(frozen=True)
class FileState:
    """`word` is Panoramax's: prepared, preparing, broken, rejected or not_processed."""

    file: UploadedFile
    word: str
    reason: str = ""
    message: str = ""
    panorama: Panorama | None = None


def states(upload_set: UploadSet) -> list[FileState]:
    """Each file that came, and where it stands."""
    campaign = upload_set.campaign
    panoramas: Mapping[str, Panorama] = {
        panorama.file_name: panorama
        for panorama in campaign.panoramas.only("pk", "file_name", "state", "sequence_id")
    }
    rejected = dict(campaign.rejected.values_list("file_name", "reason"))
    return [
        _state(file, panoramas.get(file.file_name), rejected.get(file.file_name), upload_set.job)
        for file in upload_set.files.all()
    ]


def _state(
    file: UploadedFile, panorama: Panorama | None, rejected: str | None, work: Job | None
) -> FileState:
    if file.refused_as:
        return FileState(file, "rejected", file.refused_as, file.refusal)
    if panorama is not None and panorama.state != Panorama.State.PREPARING:
        return FileState(file, "prepared", panorama=panorama)
    if rejected is not None:
        return FileState(file, "rejected", "invalid_metadata", rejected)
    if work is None or work.created_at < file.received_at:
        return FileState(file, "not_processed")
    if work.state in _UNDER_WAY:
        return FileState(file, "preparing", panorama=panorama)
    return FileState(file, "broken", "other", work.error or "La réception n'a pas abouti.")
