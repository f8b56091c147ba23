"""Upload sets: what is kept of a file until its picture is in the store, and no longer."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from souverain.core import clock
from souverain.core.access import SYSTEM
from souverain.core.jobs import State
from souverain.core.models import Job
from souverain.street import ingest, uploads
from souverain.street.models import Campaign, Panorama, UploadSet
from souverain.street.privacy import Anonymised
from souverain.street.tests.pictures import panorama_jpeg
from souverain.street.uploads import Arrived

pytestmark = pytest.mark.django_db


@pytest.fixture
def opened(campaign: Campaign, tmp_path: Path, settings: Any) -> UploadSet:
    settings.OBJECTS_URL = f"file://{tmp_path}/objects"
    settings.HOME = tmp_path / "home"
    return uploads.open_set(SYSTEM, "Tournée", None)


def send(upload_set: UploadSet, name: str, content: bytes) -> Path:
    part = uploads.part_of(upload_set)
    part.write_bytes(content)
    sums = [hashlib.new(kind, content).hexdigest() for kind in ("md5", "sha256")]
    uploads.keep(upload_set, name, Arrived(part, len(content), *sums, True))
    return uploads.folder(upload_set) / name


@pytest.mark.parametrize("title", ["", " \n", "a\x00", "\ud800", "x" * 121])
def test_a_title_that_cannot_be_written_is_refused(campaign: Campaign, title: str) -> None:
    with pytest.raises(uploads.UploadRefused, match="titre"):
        uploads.open_set(SYSTEM, title, None)
    uploads.open_set(SYSTEM, "Tournée : l'été\u202f!", None)


def test_a_reception_that_was_killed_leaves_no_picture_as_it_came(opened: UploadSet) -> None:
    """Killed after the last picture was recorded and before the files were removed."""
    taken = send(opened, "1.jpg", panorama_jpeg(taken_at=clock.now(), heading=0.0))
    flat = send(opened, "2.jpg", panorama_jpeg(size=(128, 128)))
    ingest.receive(
        SYSTEM,
        opened.campaign.name,
        [uploads.folder(opened)],
        append=True,
        anonymise=lambda jpeg: Anonymised(jpeg, [], "essai 1"),
    )
    opened.job = Job.objects.create(name="street.receive_upload", state=State.RUNNING)
    opened.save()
    uploads.tidy()
    assert taken.exists() and flat.exists()  # its job still works on them
    Job.objects.update(state=State.INTERRUPTED, created_at=clock.now() - timedelta(hours=1))
    opened.refresh_from_db()
    came_after = send(opened, "3.jpg", panorama_jpeg(taken_at=clock.now(), heading=1.0))
    uploads.tidy()
    assert Panorama.objects.count() == 1
    assert (taken.exists(), flat.exists(), came_after.exists()) == (False, False, True)
