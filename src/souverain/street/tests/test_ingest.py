"""Receiving a delivery: whole or not at all, each refusal with its reason, and resumed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from souverain.core import access
from souverain.core.models import JournalEntry, Organisation
from souverain.street import campaigns, cli, derivation, ingest
from souverain.street.campaigns import CampaignError
from souverain.street.engine.boxes import Box
from souverain.street.engine.pyramid import HEAD_MAX, Pyramid
from souverain.street.ingest import IngestError, Received
from souverain.street.models import BlurredBox, Campaign, Panorama, RejectedPicture
from souverain.street.privacy import Anonymised
from souverain.street.tests.pictures import drive, panorama_jpeg

pytestmark = pytest.mark.django_db
START = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def departement(db: None, tmp_path: Path, settings: Any) -> Path:
    Organisation.objects.get_or_create(
        code="21", defaults={"kind": Organisation.Kind.DEPARTEMENT, "name": "Côte-d'Or"}
    )
    settings.OBJECTS_URL = f"file://{tmp_path}/objects"
    settings.HOME = tmp_path / "home"
    return tmp_path


def looked_at(jpeg: bytes) -> Anonymised:
    """One box, and the picture's own bytes: what blurs is tested by `privacy`."""
    return Anonymised(jpeg, [Box(8, 16, 24, 32, "face", 0.9)], "essai 1")


def receive(*sources: Path, name: str = "d971", **more: Any) -> Received:
    return ingest.receive(
        access.SYSTEM, name, sources, **{"anonymise": looked_at, **more}
    )  # fmt: skip


def objects(tmp_path: Path) -> set[str]:
    root = tmp_path / "objects"
    return {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and ".tmp" not in path.parts
    }


def test_a_delivery_becomes_panoramas_in_order(tmp_path: Path) -> None:
    drive(tmp_path / "in", START)
    received = receive(tmp_path / "in")
    assert (received.taken, received.already, received.rejected) == (5, 0, [])
    campaign = Campaign.objects.get()
    assert campaign.state == Campaign.State.READY and campaign.sequences.count() == 1
    rows = list(Panorama.objects.order_by("rank"))
    assert [row.file_name for row in rows] == [f"{n:06}.jpg" for n in range(5)]
    for number, row in enumerate(rows):
        assert (row.state, row.detector, row.heading_deg) == ("ready", "essai 1", 0.0)
        assert row.taken_at == START + timedelta(seconds=number * 0.225)
        assert BlurredBox.objects.get(panorama=row).kind == "face"
        root = tmp_path / "objects"
        assert (root / row.original_key).read_bytes() == (
            tmp_path / "in" / row.file_name
        ).read_bytes()
        packed = Pyramid.parse((root / row.pyramid_key).read_bytes()[:HEAD_MAX])
        assert (packed.levels[0].width, packed.levels[0].height) == (256, 128)
    apart = np.hypot(rows[1].x_m - rows[0].x_m, rows[1].y_m - rows[0].y_m)
    assert apart == pytest.approx(5, abs=0.02)
    assert len(objects(tmp_path)) == 15  # three objects a panorama
    assert received.rates.pictures == 5 and received.rates.cpu_s > 0
    assert JournalEntry.objects.filter(verb="street.pictures_received").count() == 1


def test_originals_are_dropped_where_the_campaign_says_so(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    receive(tmp_path / "in", originals=Campaign.Originals.DROPPED)
    assert not any(key.endswith("original.jpg") for key in objects(tmp_path))
    assert set(Panorama.objects.values_list("original_key", "original_bytes")) == {("", 0)}


def test_the_same_source_resumes_and_another_is_refused(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 3)
    receive(tmp_path / "in")
    before = sorted(Panorama.objects.values_list("pk", "sequence_id"))
    again = receive(tmp_path / "in")
    assert (again.taken, again.already) == (0, 3)
    (tmp_path / "in").rename(tmp_path / "moved")
    assert receive(tmp_path / "moved").already == 3
    drive(tmp_path / "other", START + timedelta(hours=1), 4)
    with pytest.raises(IngestError, match="vient d'une autre livraison"):
        receive(tmp_path / "other")
    assert sorted(Panorama.objects.values_list("pk", "sequence_id")) == before
    # The names are those of the first delivery: other pictures do not take their place.
    added = receive(tmp_path / "other", append=True)
    assert added.taken == 1 and {reason for _, reason in added.rejected} == {
        "Une autre image de la campagne porte déjà ce nom."
    }
    assert Campaign.objects.get().sequences.count() == 2
    assert set(before) < set(Panorama.objects.values_list("pk", "sequence_id"))


def test_a_published_campaign_takes_nothing(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    receive(tmp_path / "in")
    campaigns.publish(access.SYSTEM, Campaign.objects.get())
    drive(tmp_path / "more", START + timedelta(hours=1), 3)
    with pytest.raises(IngestError, match="retirez-la"):
        receive(tmp_path / "more", append=True)
    assert receive(tmp_path / "in").already == 2
    assert Campaign.objects.get().state == Campaign.State.PUBLISHED


def test_nobody_looked_means_not_published(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    receive(tmp_path / "in", anonymise=None)
    with pytest.raises(CampaignError, match="pas été contrôlées"):
        campaigns.publish(access.SYSTEM, Campaign.objects.get())


def bad_pictures(folder: Path) -> dict[str, str]:
    """Each kind of picture that cannot be taken, and a part of what is said of it."""
    folder.mkdir()
    good = panorama_jpeg(taken_at=START, heading=1.0)
    big = bytearray(good)
    frame = big.index(b"\xff\xc0")
    big[frame + 5 : frame + 9] = (10_000).to_bytes(2, "big") + (20_000).to_bytes(2, "big")
    scan = good.index(b"\xff\xda") + 60
    contents = {
        "cmyk.jpg": (panorama_jpeg(taken_at=START, mode="CMYK"), "CMJN"),
        "corrupt.jpg": (good[:scan] + b"\xff\xd9\x12" * 40 + good[scan + 120 :], "abîmé|coupé"),
        "empty.jpg": (b"", "vide"),
        "exif.jpg": (good.replace(b"Exif\0\0MM", b"Exif\0\0ZZ").replace(b"Exif\0\0II", b"Exif\0\0ZZ"), "EXIF"),
        "flat.jpg": (panorama_jpeg(taken_at=START, size=(300, 200)), "équirectangulaire"),
        "huge.jpg": (bytes(big), "200 mégapixels"),
        "no-gps.jpg": (panorama_jpeg(None, taken_at=START), "position GPS"),
        "no-heading.jpg": (panorama_jpeg(6.0, taken_at=START + timedelta(hours=3)), "cap"),
        "no-time.jpg": (panorama_jpeg(heading=1.0), "heure"),
        "not-a-jpeg.jpg": (b"\x89PNG\r\n\x1a\n" + bytes(100), "pas un JPEG"),
        "one-pixel.jpg": (panorama_jpeg(taken_at=START, size=(1, 1)), "trop petite"),
        "rotated.jpg": (panorama_jpeg(taken_at=START, orientation=6, heading=1.0), "tournée"),
        "same-instant.jpg": (good, "même instant que « 000000.jpg »"),
        "truncated.jpg": (good[:-400], "coupé"),
        "wrong-datum.jpg": (panorama_jpeg(taken_at=START, datum="NTF"), "NTF"),
        "zero.jpg": (panorama_jpeg(0.0, 0.0, START, 1.0), "0°, 0°"),
    }  # fmt: skip
    late = START + timedelta(minutes=30)
    for number, name in enumerate(("corrupt.jpg", "truncated.jpg")):
        moved = panorama_jpeg(5.05 + number / 100, taken_at=late, heading=1.0)
        cut = (
            moved[:-400]
            if name == "truncated.jpg"
            else moved[:scan] + b"\xff\xd9\x12" * 40 + moved[scan + 120 :]
        )
        contents[name] = (cut, contents[name][1])
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: said for name, (_, said) in contents.items()}


def test_each_bad_picture_is_listed_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    expected = bad_pictures(tmp_path / "in")
    drive(tmp_path / "in", START, 3)
    received = receive(tmp_path / "in")
    assert received.taken == 3
    told = dict(received.rejected)
    assert set(told) == set(expected)
    import re

    for name, said in expected.items():
        assert re.search(said, told[name]), (name, told[name])
        assert told[name].endswith(".")
    assert dict(RejectedPicture.objects.values_list("file_name", "reason")) == told
    assert len(objects(tmp_path)) == 9  # nothing of the refused ones
    # Mended, it is taken, and no longer listed.
    (tmp_path / "in" / "no-time.jpg").write_bytes(
        panorama_jpeg(taken_at=START + timedelta(hours=5), heading=1.0)
    )
    assert receive(tmp_path / "in", append=True).taken == 1
    assert not RejectedPicture.objects.filter(file_name="no-time.jpg").exists()


def test_a_heading_nobody_gave_comes_from_the_course_and_says_how_sure(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        at, east = START + timedelta(seconds=number), 5.04 + number * 20 / 75_500
        (tmp_path / "in" / f"{number}.jpg").write_bytes(panorama_jpeg(east, taken_at=at))
    assert receive(tmp_path / "in").taken == 3
    for row in Panorama.objects.all():
        assert row.heading_deg == pytest.approx(90, abs=0.1)  # from true north
        assert row.sigma_heading_deg is not None and row.sigma_heading_deg >= 10


def test_a_trajectory_gives_place_heading_and_sigmas(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        at = START + timedelta(seconds=0.225 * number)
        (tmp_path / "in" / f"{number}.jpg").write_bytes(panorama_jpeg(None, taken_at=at))
    (tmp_path / "in" / "late.jpg").write_bytes(
        panorama_jpeg(None, taken_at=START + timedelta(seconds=30))
    )
    rows = [
        f"{(START + timedelta(seconds=s)).isoformat()},854000,{6692000 + 22.2 * s},245,NGF-IGN69,0,0.02"
        for s in range(3)
    ]
    path = tmp_path / "in" / "t.csv"
    path.write_text("time,x_m,y_m,altitude_m,datum,heading_grid_deg,sigma_xy_m\n" + "\n".join(rows))
    received = receive(tmp_path / "in", trajectory_file=path)
    assert received.taken == 3
    assert [name for name, _ in received.rejected] == ["late.jpg"]
    assert "après la fin de la trajectoire" in received.rejected[0][1]
    found = list(Panorama.objects.order_by("rank"))
    assert [row.y_m for row in found] == pytest.approx([6692000, 6692004.995, 6692009.99], abs=1e-3)
    assert {(row.z_m, row.datum, row.sigma_xy_m) for row in found} == {(245.0, "NGF-IGN69", 0.02)}
    assert found[0].heading_deg == pytest.approx(1.41, abs=0.1)  # true, where the grid says 0


def test_a_full_disk_stops_the_whole_and_half_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(tmp_path / "in", START, 4)
    calls = 0
    real = derivation.put

    def put(*args: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 5:  # the second picture's pyramid
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(derivation, "put", put)
    with pytest.raises(IngestError, match="disque est plein : 1 images prises"):
        receive(tmp_path / "in")
    assert Panorama.objects.count() == 1 and len(objects(tmp_path)) == 3
    assert Campaign.objects.get().state == Campaign.State.RECEIVING
    assert not RejectedPicture.objects.exists()  # it is not the picture's fault
    assert receive(tmp_path / "in").taken == 3
    assert len(objects(tmp_path)) == 12


def test_two_receptions_of_one_campaign_do_not_run_together(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    seen = []

    def meanwhile(jpeg: bytes) -> Anonymised:
        with pytest.raises(IngestError, match="déjà en cours"):
            receive(tmp_path / "in", append=True)
        seen.append(1)
        return looked_at(jpeg)

    receive(tmp_path / "in", anonymise=meanwhile)
    assert len(seen) == 2


def test_the_real_panoramas_go_through(tmp_path: Path, street_data: Path) -> None:
    """The five consecutive ones, reduced to keep the test quick, and the edge cases."""
    (tmp_path / "in").mkdir()
    for file in sorted(street_data.glob("*.jpg")):
        if "seq" in file.name:
            with Image.open(file) as whole:
                exif, xmp = whole.getexif(), whole.info["xmp"]
                whole.resize((720, 360)).save(tmp_path / "in" / file.name, exif=exif, xmp=xmp)
        elif "blurred" not in file.name:
            (tmp_path / "in" / file.name).write_bytes(file.read_bytes())
    received = receive(tmp_path / "in")
    told = dict(received.rejected)
    assert set(told) == {
        "exif_corrupt_mapillary.jpg", "faces_city_deface.jpg", "flat_sony_e1.jpg",
        "flat_sony_e2.jpg", "pano_dji_xpcomment.jpg",
    }  # fmt: skip
    assert "cap" in told["pano_dji_xpcomment.jpg"]  # alone, and without a heading
    assert "équirectangulaire" in told["flat_sony_e1.jpg"]
    gopro = Panorama.objects.filter(file_name__contains="gopro").order_by("rank")
    assert [row.file_name[-5] for row in gopro] == ["1", "2", "3", "4", "5"]
    assert len({row.sequence_id for row in gopro}) == 1
    assert [round(row.heading_deg) for row in gopro] == [349, 11, 1, 350, 356]
    cropped = Panorama.objects.get(file_name__contains="cropped")
    assert cropped.crop == {"left": 0, "top": 20, "width": 128, "height": 21}


# The commands ------------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.cli, [*arguments])


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    (tmp_path / "in" / "x.jpg").write_bytes(b"no")
    done = run("ingest", str(tmp_path / "in"), "--campaign", "d971", "--no-blur", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["taken"], told["rejected"]["count"]) == (2, 1)
    assert told["rejected"]["items"][0]["file"] == "x.jpg"
    drive(tmp_path / "b", START, 1)
    refused = run("ingest", str(tmp_path / "b"), "--campaign", "d971", "--no-blur")
    assert refused.exit_code == 1 and "autre livraison" in refused.output
    assert run("ingest", str(tmp_path / "none"), "--campaign", "d").exit_code == 1
    bad = run("ingest", str(tmp_path / "b"), "--campaign", "Ma Campagne", "--no-blur")
    assert bad.exit_code == 1 and "ne peut pas nommer" in bad.output


def test_pose_answers_for_each_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(panorama_jpeg(5.0, 47.0, START, 0.0))
    (tmp_path / "b.jpg").write_bytes(b"hello")
    files = [str(tmp_path / name) for name in ("a.jpg", "b.jpg", "none.jpg")]
    done = run("pose", *files, "--json")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["count"] == 3
    first, second, third = told["items"]
    for item in told["items"]:
        assert {"file", "lon", "lat", "altitude_m", "heading_deg", "pitch_deg", "roll_deg",
                "time", "crop", "error"} <= set(item)  # fmt: skip
    assert (first["lon"], first["lat"], first["heading_deg"]) == (5.0, 47.0, 0.0)
    assert first["error"] is None and first["altitude_m"] is None
    assert datetime.fromisoformat(first["time"]) == START
    assert "pas un JPEG" in second["error"] and third["error"] and third["lon"] is None


# Faults ------------------------------------------------------------------------------------------

_KILLED_AT = """
import os, signal, sys
import django; django.setup()
from pathlib import Path
from souverain.core import access
from souverain.core.models import Organisation
from souverain.street import derivation, ingest
from django.db import transaction
Organisation.objects.get_or_create(
    code="21", defaults={"kind": "departement", "name": "Côte-d'Or"})
step = int(sys.argv[2])
calls = 0
def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
for module, name in ((derivation, "put"), (derivation, "_write"), (ingest, "_finish"),
                     (ingest, "_order"), (ingest, "_record")):
    setattr(module, name, counted(getattr(module, name)))
from souverain.core.objects import FolderIncoming
FolderIncoming.commit = counted(FolderIncoming.commit)
from souverain.street.models import Panorama
Panorama.save = counted(Panorama.save)
done = ingest.receive(access.SYSTEM, "d971", [Path(sys.argv[1])], anonymise=None)
print(done.taken + done.already)
"""


def test_killed_anywhere_the_same_command_ends_the_same(tmp_path: Path) -> None:
    """kill -9 at each step in turn, in one home: every run goes further, nothing is doubled."""
    drive(tmp_path / "in", START, 2)
    home = tmp_path / "killed"
    environment = {
        **os.environ,
        "SOUVERAIN_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "souverain.config.settings",
    }
    for inherited in ("DATABASE_URL", "SOUVERAIN_OBJECTS_URL"):
        environment.pop(inherited, None)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", *arguments], env=environment, capture_output=True, text=True
        )

    made = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "-v0"], env=environment, capture_output=True
    )
    assert made.returncode == 0, made.stderr
    killed = 0
    for step in range(1, 20):
        ended = python(_KILLED_AT, str(tmp_path / "in"), str(step))
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        killed += 1
    assert killed >= 5 and ended.stdout.split() == ["2"]
    state = python(
        "import django; django.setup()\n"
        "from souverain.street.models import *\n"
        "from souverain.street import derivation\n"
        "kept = derivation.store()\n"
        "for p in Panorama.objects.all():\n"
        "    assert kept.sha256(p.original_key) == p.sha256\n"
        "    assert kept.size(p.picture_key) + kept.size(p.pyramid_key) == p.derived_bytes\n"
        "print(Panorama.objects.count(), Campaign.objects.get().state, Sequence.objects.count(),\n"
        "      len(list(kept.keys('street'))), RejectedPicture.objects.count())\n"
    )
    assert state.stdout.split() == ["2", "ready", "1", "6", "0"], state.stderr


def test_a_name_that_is_no_text_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    drive(tmp_path / "in", START, 2)
    strange = os.fsencode(tmp_path / "in") + b"/\xe9t\xe9.jpg"
    Path(os.fsdecode(strange)).write_bytes(panorama_jpeg())
    received = receive(tmp_path / "in")
    assert received.taken == 2
    assert [name for name, _ in received.rejected] == ["\\udce9t\\udce9.jpg"]
    assert RejectedPicture.objects.get().file_name == "\\udce9t\\udce9.jpg"
