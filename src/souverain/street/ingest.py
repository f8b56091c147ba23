"""A delivery becomes panoramas: each picture is read, placed, blurred, cut, and recorded.

One picture at a time, and in this order: its objects are written whole, under keys that its name
alone decides; then one transaction records it. Whatever stops the work, and wherever, what is
recorded is whole and what is not is written again: the same command resumes. A picture that
cannot be taken is listed with the reason, and the others go on; a full disk stops the whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from django.db import DatabaseError, transaction

from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.street import campaigns, derivation, privacy
from souverain.street.engine import pose, sequences, trajectory
from souverain.street.engine.crop import Crop
from souverain.street.engine.detection import DetectorUnavailable
from souverain.street.engine.jpeg_blocks import JpegError
from souverain.street.engine.picture import PictureError, segments
from souverain.street.engine.pose import Pose
from souverain.street.engine.trajectory import Mounting, Trajectory, TrajectoryError
from souverain.street.models import (
    BlurredBox,
    Campaign,
    Delivery,
    Panorama,
    RejectedPicture,
)
from souverain.street.models import (
    Sequence as Drive,
)
from souverain.street.privacy import Anonymised
from souverain.territory import roads
from souverain.territory.atlas import atlas
from souverain.territory.engine import projection

MAX_FILES = 2_000_000
_HEAD_BYTES = 1 << 20
_HEAD_MAX_BYTES = 64 << 20
_SAME_PLACE_M = 100.0
_BATCH = 500
_NAME_MAX = 255

Anonymise = Callable[[bytes], Anonymised]


class Progress(Protocol):
    def __call__(self, done: int, total: int | None = None, message: str = "") -> None: ...


class IngestError(ValueError):
    """The delivery cannot begin or go on; the message is a French sentence."""


class _Rejected(Exception):
    """This picture cannot be taken; the message is a French sentence."""


@dataclass(frozen=True)
class Received:
    """What one run did. `rejected`: name and reason of each picture that was not taken."""

    campaign: Campaign
    taken: int
    already: int
    rejected: list[tuple[str, str]]
    sequences: int
    rates: Rates


@dataclass
class Rates:
    """What the run took, as it was measured; the page extrapolates from it."""

    pictures: int = 0
    megapixels: float = 0.0
    cpu_s: float = 0.0
    blur_cpu_s: float = 0.0
    wall_s: float = 0.0
    bytes_received: int = 0
    bytes_kept: int = 0
    objects: int = 0


@dataclass
class _Placed:
    """A picture and its pose, before its pixels are looked at. Heading NaN: not known yet."""

    name: str
    path: Path
    taken_at: datetime
    longitude_deg: float
    latitude_deg: float
    x_m: float
    y_m: float
    z_m: float | None
    datum: str
    heading_deg: float | None
    pitch_deg: float
    roll_deg: float
    sigma_xy_m: float | None
    sigma_z_m: float | None
    sigma_heading_deg: float | None
    sigma_tilt_deg: float | None
    width: int
    height: int
    crop: Crop | None


@dataclass
class _Run:
    actor: Actor
    campaign: Campaign
    anonymise: Anonymise | None
    rates: Rates = field(default_factory=Rates)
    rejected: dict[str, str] = field(default_factory=dict)

    def reject(self, name: str, reason: str) -> None:
        name = name.encode(errors="backslashreplace").decode()  # bytes that are no UTF-8
        self.rejected[name] = reason
        RejectedPicture.objects.update_or_create(
            campaign=self.campaign,
            file_name=name[:_NAME_MAX],
            defaults={"reason": reason[:400], "at": clock.now()},
        )


def _silent(done: int, total: int | None = None, message: str = "") -> None:
    pass


def receive(
    actor: Actor,
    name: str,
    sources: Sequence[Path],
    trajectory_file: Path | None = None,
    *,
    append: bool = False,
    progress: Progress = _silent,
    anonymise: Anonymise | None = privacy.anonymise,
    **terms: Any,
) -> Received:
    """Receive pictures (files, or whole folders) into the campaign of that name, opened with
    `terms` when there is none. `anonymise=None` looks for nobody: such a campaign cannot be
    published unless it is synthetic. Raises IngestError, CampaignError, TrajectoryError."""
    files = _listed(sources, trajectory_file)
    path = trajectory.read(trajectory_file) if trajectory_file else None
    with _alone(name):
        campaign = _opened(actor, name, files, append=append, terms=terms)
        run = _Run(actor, campaign, anonymise)
        began = time.monotonic()
        placed = _placed(run, files, path, progress)
        taken, already = _take_all(run, placed, progress)
        run.rates.wall_s = time.monotonic() - began
        drives = _finish(campaign)
        received = Received(
            campaign, taken, already, sorted(run.rejected.items()), drives, run.rates
        )
        _record(run, received)
        return received


# The source --------------------------------------------------------------------------------------


def _listed(sources: Sequence[Path], beside: Path | None) -> dict[str, Path]:
    """Every file of the sources by its name in the campaign: relative to its folder."""
    found: dict[str, Path] = {}
    skipped = beside.resolve() if beside else None
    for source in sources:
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if not path.is_dir())
            named = [(path.relative_to(source).as_posix(), path) for path in inside]
            named = [
                pair for pair in named if not any(p.startswith(".") for p in pair[0].split("/"))
            ]
        elif source.exists():
            named = [(source.name, source)]
        else:
            raise IngestError(f"« {source} » n'existe pas.")
        for name, path in named:
            if skipped is not None and path.resolve() == skipped:
                continue
            if name in found and found[name].resolve() != path.resolve():
                raise IngestError(f"Deux images de cette livraison s'appellent « {name} ».")
            found[name] = path
            if len(found) > MAX_FILES:
                raise IngestError(f"Plus de {MAX_FILES} fichiers : livrez par parties.")
    if not found:
        raise IngestError("Il n'y a aucun fichier à recevoir.")
    return found


def _digest(files: dict[str, Path]) -> str:
    """Of the names and sizes: the same delivery, wherever its disk is mounted."""
    digest = hashlib.sha256()
    for name in sorted(files):
        try:
            size = files[name].stat().st_size
        except OSError:
            size = -1
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One reception of a campaign at a time; the kernel ends the hold with the process."""
    folder = settings.HOME / "street"
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(
        folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock",
        os.O_RDWR | os.O_CREAT,
        0o600,
    )
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise IngestError(f"La campagne « {name} » est déjà en cours de réception.") from None
    finally:
        os.close(held)


@transaction.atomic
def _opened(
    actor: Actor, name: str, files: dict[str, Path], *, append: bool, terms: dict[str, Any]
) -> Campaign:
    digest = _digest(files)
    campaign = Campaign.objects.filter(name=name).first()
    if campaign is None:
        return campaigns.create(actor, name, source_sha256=digest, **terms)
    if campaign.source_sha256 not in ("", digest) and not append:
        raise IngestError(
            f"La campagne « {name} » existe déjà et vient d'une autre livraison. "
            "Donnez un autre nom, ou ajoutez-y ces images avec --append."
        )
    if campaign.state == Campaign.State.PUBLISHED:
        if campaign.source_sha256 == digest:
            return campaign  # nothing can be new but what was refused; `_take_all` says it
        raise IngestError(
            f"La campagne « {name} » est publiée : retirez-la avant d'y ajouter des images."
        )
    campaign.source_sha256 = campaign.source_sha256 or digest
    campaign.state = Campaign.State.RECEIVING
    campaign.save(update_fields=["source_sha256", "state"])
    return campaign


# Poses -------------------------------------------------------------------------------------------


def _placed(
    run: _Run, files: dict[str, Path], path: Trajectory | None, progress: Progress
) -> list[_Placed]:
    """Every picture that has a place and a heading, in order of time."""
    lever, bore = run.campaign.lever_arm_m, run.campaign.boresight_deg
    mounting = Mounting(
        (*lever, 0.0, 0.0, 0.0)[:3] if lever else (0.0, 0.0, 0.0),
        (*bore, 0.0, 0.0, 0.0)[:3] if bore else (0.0, 0.0, 0.0),
    )
    found = []
    for number, (name, file) in enumerate(sorted(files.items())):
        progress(number, len(files), "Lecture des positions")
        try:
            found.append(_place(name, file, path, mounting))
        except (_Rejected, PictureError, TrajectoryError) as error:
            run.reject(name, str(error))
        except OSError as error:
            run.reject(name, f"Ce fichier ne se lit pas ({os.strerror(error.errno or 0)}).")
    found = _without_same_instant(run, found)
    return _with_headings(run, found)


def _place(name: str, file: Path, path: Trajectory | None, mounting: Mounting) -> _Placed:
    if len(name) > _NAME_MAX or "\0" in name or not name.isprintable():
        raise _Rejected("Ce nom de fichier est trop long, ou porte des caractères interdits.")
    if not file.is_file():
        raise _Rejected("Ce n'est pas un fichier ordinaire.")
    if not file.stat().st_size:
        raise _Rejected("Ce fichier est vide.")
    read = pose.read(head(file))
    _check_sphere(read)
    if path is not None:
        fix = path.at_file(name, mounting)
        if fix is None:
            if read.taken_at is None:
                raise _Rejected("Cette image n'a pas d'heure, et la trajectoire ne la nomme pas.")
            fix = path.at(read.taken_at, mounting)
        return _of_fix(name, file, read, fix)
    if read.longitude_deg is None or read.latitude_deg is None:
        raise _Rejected(read.missing)
    if read.taken_at is None:
        raise _Rejected("Cette image n'a pas d'heure.")
    x, y = projection.lonlat_to_metres([read.longitude_deg], [read.latitude_deg])[0].tolist()
    _check_metres(x, y)
    return _Placed(
        name, file, read.taken_at, read.longitude_deg, read.latitude_deg, x, y, read.altitude_m,
        read.datum, read.heading_deg, read.pitch_deg or 0.0, read.roll_deg or 0.0,
        read.sigma_xy_m, None, None, None, read.width, read.height, read.crop,
    )  # fmt: skip


def _of_fix(name: str, file: Path, read: Pose, fix: trajectory.Fix) -> _Placed:
    taken_at = read.taken_at or fix.taken_at
    if taken_at is None:
        raise _Rejected("Ni cette image ni la trajectoire ne disent l'heure.")
    longitude, latitude = projection.metres_to_lonlat(np.array([[fix.x_m, fix.y_m]]))[0].tolist()
    return _Placed(
        name, file, fix.taken_at or taken_at, longitude, latitude, fix.x_m, fix.y_m, fix.z_m,
        fix.datum, fix.heading_deg, fix.pitch_deg, fix.roll_deg, fix.sigma_xy_m, fix.sigma_z_m,
        fix.sigma_heading_deg, fix.sigma_tilt_deg, read.width, read.height, read.crop,
    )  # fmt: skip


def head(file: Path) -> bytes:
    """The bytes before the scan: EXIF and XMP may be long, pixels are not read."""
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
        while head[:2] == b"\xff\xd8" and len(head) < _HEAD_MAX_BYTES:
            try:
                for _ in segments(head):
                    pass
                break
            except PictureError:
                more = opened.read(_HEAD_BYTES)
                if not more:
                    break
                head += more
    return head


def _check_sphere(read: Pose) -> None:
    if read.orientation != 1:
        raise _Rejected(
            f"Cette image est marquée comme tournée (EXIF, orientation {read.orientation}) : un "
            "panorama se livre droit."
        )
    if not read.is_sphere or abs(read.width - 2 * read.height) > 1:
        raise _Rejected(
            f"Ce n'est pas un panorama équirectangulaire ({read.width} × {read.height} pixels"
            f"{', projection ' + read.projection[:40] if read.projection else ''})."
        )


def _check_metres(x_m: float, y_m: float) -> None:
    if not (np.isfinite(x_m) and np.isfinite(y_m)):
        raise _Rejected("La position est hors de la projection du département.")


def _without_same_instant(run: _Run, found: list[_Placed]) -> list[_Placed]:
    """One vehicle is not at two places at once: their order would be made up."""
    kept: list[_Placed] = []
    for one in sorted(found, key=lambda placed: (placed.taken_at, placed.name)):
        twin = _twin(kept, one)
        if twin is None:
            kept.append(one)
            continue
        run.reject(
            one.name,
            f"Elle est prise au même instant que « {twin.name} » : il manque les fractions de "
            "seconde, ou l'image est en double.",
        )
    return kept


def _twin(kept: list[_Placed], one: _Placed) -> _Placed | None:
    """A picture of the same instant by the same vehicle; `kept` is in order of time."""
    for other in reversed(kept):
        if other.taken_at != one.taken_at:
            return None
        if np.hypot(other.x_m - one.x_m, other.y_m - one.y_m) < _SAME_PLACE_M:
            return other
    return None


def _with_headings(run: _Run, found: list[_Placed]) -> list[_Placed]:
    """Headings that nobody gave, from the course along the drive, with the sigma of such a one."""
    if all(one.heading_deg is not None for one in found):
        return found
    xy = np.array([[one.x_m, one.y_m] for one in found], float).reshape(-1, 2)
    times = np.array([one.taken_at.timestamp() for one in found], float)
    sigma = np.array([np.nan if one.sigma_xy_m is None else one.sigma_xy_m for one in found])
    for drive in sequences.cut(times, xy):
        course, spread = sequences.courses(xy[drive], sigma[drive])
        for index, grid, vague in zip(
            drive.tolist(), course.tolist(), spread.tolist(), strict=True
        ):
            one = found[index]
            if one.heading_deg is None and not np.isnan(grid):
                turn = projection.convergence_deg(one.longitude_deg, one.latitude_deg)
                one.heading_deg, one.sigma_heading_deg = (grid + turn) % 360.0, vague
    for one in found:
        if one.heading_deg is None:
            run.reject(
                one.name, "Cette image ne dit pas son cap, et aucune voisine ne permet d'en juger."
            )
    return [one for one in found if one.heading_deg is not None]


# Pixels ------------------------------------------------------------------------------------------


def _take_all(run: _Run, placed: list[_Placed], progress: Progress) -> tuple[int, int]:
    """Returns how many were taken, and how many were there already."""
    present = dict(
        Panorama.objects.filter(campaign=run.campaign).values_list("file_name", "sha256")
    )
    taken = already = 0
    for number, one in enumerate(placed):
        progress(number, len(placed), one.name)
        try:
            jpeg = one.path.read_bytes()
            if one.name in present:
                if hashlib.sha256(jpeg).hexdigest() != present[one.name]:
                    raise _Rejected("Une autre image de la campagne porte déjà ce nom.")
                already += 1
                continue
            if run.campaign.state == Campaign.State.PUBLISHED:
                raise _Rejected("La campagne est publiée : retirez-la avant d'ajouter cette image.")
            _take(run, one, jpeg)
            taken += 1
        except (_Rejected, PictureError, JpegError) as error:
            run.reject(one.name, str(error))
        except DetectorUnavailable as error:
            raise IngestError(str(error)) from error
        except DatabaseError as error:
            raise IngestError(
                f"La base de données refuse d'écrire ({error}) après {taken} images prises ; "
                "relancez la même commande pour reprendre."
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise IngestError(
                    f"Le disque est plein : {taken} images prises, rien d'entamé n'est gardé. "
                    "Faites de la place, puis relancez la même commande."
                ) from error
            run.reject(one.name, f"Ce fichier ne se lit pas ({error.strerror or error}).")
    progress(len(placed), len(placed), "")
    return taken, already


def _take(run: _Run, one: _Placed, jpeg: bytes) -> None:
    """Write the objects, then record the picture; nothing stays of one that cannot be taken."""
    panorama = _record_of(run, one, jpeg)
    began = time.process_time()
    try:
        boxes: list[Any] = []
        blurred = jpeg
        if run.anonymise is not None:
            answer = run.anonymise(jpeg)
            blurred, boxes, panorama.detector = answer.jpeg, answer.boxes, answer.detector
            run.rates.blur_cpu_s += time.process_time() - began
        derivation.derive(panorama, blurred)
        if run.campaign.originals == Campaign.Originals.KEPT:
            derivation.keep_original(panorama, jpeg)
        with transaction.atomic():
            panorama.state = Panorama.State.READY
            panorama.save(force_insert=True)
            BlurredBox.objects.bulk_create(
                BlurredBox(panorama=panorama, **asdict(box)) for box in boxes
            )
            RejectedPicture.objects.filter(campaign=run.campaign, file_name=one.name).delete()
    except BaseException:
        derivation.forget(panorama)
        raise
    rates = run.rates
    rates.pictures += 1
    rates.megapixels += (
        one.crop["width"] * one.crop["height"] if one.crop else one.width * one.height
    ) / 1e6
    rates.cpu_s += time.process_time() - began
    rates.bytes_received += len(jpeg)
    rates.bytes_kept += panorama.derived_bytes + panorama.original_bytes
    rates.objects += 3 if panorama.original_key else 2


def _record_of(run: _Run, one: _Placed, jpeg: bytes) -> Panorama:
    told = {key: value for key, value in vars(one).items() if key not in ("name", "path")}
    return Panorama(
        # The same picture of the same campaign has the same id: what a crash left is written over.
        id=uuid.uuid5(run.campaign.pk, one.name),
        campaign=run.campaign,
        file_name=one.name,
        sha256=hashlib.sha256(jpeg).hexdigest(),
        **told,
    )


# The whole campaign ------------------------------------------------------------------------------


@transaction.atomic
def _finish(campaign: Campaign) -> int:
    """Order the drives and name the places; returns how many drives the campaign has."""
    _fill_places(campaign)
    drives = _order(campaign)
    if campaign.state == Campaign.State.RECEIVING and campaign.panoramas.exists():
        campaign.state = Campaign.State.READY
        campaign.save(update_fields=["state"])
    return drives


def _order(campaign: Campaign) -> int:
    """Cut the campaign into drives. A drive keeps the record of the one that its first picture
    belonged to, so that addresses last."""
    rows = list(campaign.panoramas.order_by("taken_at", "file_name"))
    xy = np.array([[row.x_m, row.y_m] for row in rows], float).reshape(-1, 2)
    times = np.array([row.taken_at.timestamp() for row in rows], float)
    known = {drive.pk: drive for drive in campaign.sequences.all()}
    next_ordinal = max((drive.ordinal for drive in known.values()), default=0) + 1
    used: set[uuid.UUID] = set()
    changed = []
    for group in sequences.cut(times, xy):
        members = [rows[index] for index in group.tolist()]
        kept = next(
            (m.sequence_id for m in members if m.sequence_id and m.sequence_id not in used), None
        )
        if kept is None:
            kept = Drive.objects.create(campaign=campaign, ordinal=next_ordinal).pk
            next_ordinal += 1
        used.add(kept)
        for rank, member in enumerate(members):
            if (member.sequence_id, member.rank) != (kept, rank):
                member.sequence_id, member.rank = kept, rank
                changed.append(member)
    Panorama.objects.bulk_update(changed, ["sequence", "rank"], batch_size=_BATCH)
    campaign.sequences.exclude(pk__in=used).delete()
    return len(used)


def _fill_places(campaign: Campaign) -> None:
    """Commune and road position of the pictures that have none."""
    rows = list(campaign.panoramas.filter(commune="", road=""))
    known = atlas()
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        found = roads.positions_of(np.array([[row.x_m, row.y_m] for row in some], float))
        for row, position in zip(some, found, strict=True):
            located = known.commune_at(row.longitude_deg, row.latitude_deg)
            row.commune = located.code if located else ""
            if position is not None:
                row.road, row.pr, row.side = position.road[:24], position.pr, position.side
                row.abscissa_m = position.abscissa_m
        Panorama.objects.bulk_update(some, ["commune", "road", "pr", "abscissa_m", "side"])


@transaction.atomic
def _record(run: _Run, received: Received) -> None:
    """The run's measured rates, and its line in the journal."""
    if received.taken:
        Delivery.objects.create(campaign=run.campaign, report={"rates": asdict(run.rates)})
    journal.append(
        run.actor,
        "street.pictures_received",
        organisation=run.campaign.organisation.code,
        object=f"campaign:{run.campaign.pk}",
        data={
            "taken": received.taken,
            "already": received.already,
            "rejected": len(received.rejected),
        },
    )
