"""A blur killed anywhere leaves whole pictures, and done again leaves no copy of before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_START = """
import hashlib, json, os, signal, sys
import django
django.setup()
import simplejpeg
from django.core.cache import cache
from django.core.management import call_command
from souverain.core import access, clock
from souverain.core.models import Organisation
from souverain.core.objects import FolderStore
from souverain.street import campaigns, derivation, privacy
from souverain.street.engine.boxes import Box
from souverain.street.models import BlurredBox, Panorama
box = Box(100, 100, 50, 50, "manual")
def digests(panorama):
    store = derivation.store()
    return [store.sha256(key) for key in store.keys(derivation.folder(panorama))]
"""
_MAKE = """
from souverain.street.tests.test_jpeg_blocks import scene
call_command("migrate", verbosity=0)
call_command("createcachetable")
Organisation.objects.get_or_create(code="21", kind="departement", defaults={"name": "Côte-d'Or"})
campaign = campaigns.create(access.SYSTEM, "essai")
made = []
for number in range(int(sys.argv[1])):
    panorama = Panorama(campaign=campaign, file_name=f"{number}.jpg", sha256="0", width=512,
        taken_at=clock.now(), height=256, longitude_deg=5, latitude_deg=47, x_m=0, y_m=0, heading_deg=0)
    jpeg = simplejpeg.encode_jpeg(scene(512, 256, number), 90)
    derivation.keep_original(panorama, jpeg)
    panorama.save()
    derivation.derive(panorama, jpeg)
    made.append(str(panorama.pk))
print(json.dumps(made))
"""
_KILL = """
def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)
owner = {"remove": FolderStore, "replace": derivation, "remove_older": derivation, "append": privacy.journal}
setattr(owner[sys.argv[2]], sys.argv[2], die)
panorama = Panorama.objects.get(pk=sys.argv[1])
print(json.dumps(digests(panorama)), flush=True)
privacy.reblur(access.SYSTEM, panorama, [box])
"""
_AGAIN = """
panorama = Panorama.objects.get(pk=sys.argv[1])
for key in (panorama.picture_key, panorama.original_key):
    simplejpeg.decode_jpeg(b"".join(derivation.store().read(key)))
cache.clear()  # as the lock's own end does ten minutes later
privacy.reblur(access.SYSTEM, panorama, [box])
print(json.dumps([digests(panorama), BlurredBox.objects.filter(panorama=panorama).count()]))
"""
STEPS = ("remove", "replace", "remove_older", "append")


class Home:
    """A cloud of its own, whose processes may be killed."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "SOUVERAIN_HOME": str(folder)}
        for name in ("DATABASE_URL", "SOUVERAIN_OBJECTS_URL"):
            self.environment.pop(name, None)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _START + script, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def told(self, script: str, *arguments: str) -> Any:
        done = self.run(script, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[str]]:
    made = Home(tmp_path_factory.mktemp("blur-home"))
    return made, made.told(_MAKE, str(len(STEPS)))


@pytest.mark.parametrize("step", STEPS)
def test_killed_on_the_way_it_shows_whole_pictures_and_can_be_done_again(
    home: tuple[Home, list[str]], step: str
) -> None:
    cloud, panoramas = home
    panorama = panoramas[STEPS.index(step)]
    killed = cloud.run(_KILL, panorama, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = set(json.loads(killed.stdout.splitlines()[-1]))
    after, boxes = cloud.told(_AGAIN, panorama)
    assert not before & set(after), "a copy of before is left"
    assert boxes == 1
