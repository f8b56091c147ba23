"""What the daily walk over an S3 store's locks costs, per 10,000 objects, on a real SeaweedFS.

The first walk lengthens every lock, as one does about once a week for each object; the second only
looks at them, as every day. Beside: what the listing alone costs, which no way of doing it avoids.
One connection, requests one after the other; the CPU is ours, without the server's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HOME = tempfile.mkdtemp(prefix="souverain-bench-")
os.environ["SOUVERAIN_HOME"] = HOME
os.environ["DJANGO_SETTINGS_MODULE"] = "souverain.config.settings"

import django

django.setup()

from django.conf import settings
from django.core.management import call_command

from souverain.core import s3
from souverain.core.access import SYSTEM
from souverain.core.models import Organisation
from souverain.core.tests.seaweedfs import ACCESS_KEY, LOCKED_BUCKET, SECRET_KEY, SeaweedFS
from souverain.vault import object_lock, services
from souverain.vault.models import StoredObject

SIZE = 4096


def measured(name: str, objects: int, act: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    scale = 10_000 / objects
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}: {wall * scale:.1f} s, {cpu * scale:.1f} s of CPU per 10,000 objects")


def fill(objects: int) -> None:
    """Objects that records vouch for, put as the server puts them."""
    dijon = Organisation.objects.create(kind="commune", code="21231", name="Dijon")
    device, _ = services.add_device(SYSTEM, dijon, "poste", ["backup"])
    found = services.set_of(device)

    def put(number: int) -> str:
        content = number.to_bytes(SIZE, "big")
        name = hashlib.sha256(content).hexdigest()
        incoming = services.store().incoming()
        incoming.write(content)
        incoming.commit(services.object_key(found, "data", name), name)
        return name

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(put, range(objects)))
    at = services.next_instant(found, SYSTEM)
    StoredObject.objects.bulk_create(
        StoredObject(
            deposit_set=found, type="data", name=name, size=SIZE, received_at=at, device=device
        )
        for name in names
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    objects = parser.parse_args().objects
    folder = Path(HOME) / "seaweedfs"
    folder.mkdir()
    server = SeaweedFS(folder)
    os.environ |= {s3.ACCESS_KEY: ACCESS_KEY, s3.SECRET_KEY: SECRET_KEY}
    settings.OBJECTS_URL = server.address("coffre", LOCKED_BUCKET)
    call_command("migrate", verbosity=0)
    try:
        server.start()
        server.lock(LOCKED_BUCKET, days=1)
        fill(objects)

        def listing() -> None:
            with services.store().versions() as versions:
                assert versions is not None
                assert sum(1 for _ in versions.named("vault/")) == objects

        def walk(extended: int) -> None:
            found = object_lock.walk(SYSTEM, anew=True)
            assert found is not None and found.extended == extended and found.lost == 0

        print(f"{objects} objects of {SIZE} bytes")
        measured("listing the versions alone", objects, listing)
        measured("a walk that lengthens every lock", objects, lambda: walk(objects))
        measured("a walk that has nothing to lengthen", objects, lambda: walk(0))
    finally:
        server.stop()
        shutil.rmtree(HOME)


if __name__ == "__main__":
    main()
