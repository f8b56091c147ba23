"""The byte server: who gets which bytes, and what a replaced picture leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import simplejpeg
from django.db import connections
from django.test import Client

from souverain.core import access
from souverain.core.models import Organisation, RoleAssignment, User
from souverain.core.roles import Role
from souverain.street import campaigns, derivation, server
from souverain.street.models import Campaign, Panorama
from souverain.street.tests.test_pyramid import jpeg, smooth

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def shared_connection(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The server's thread reads in the test's own transaction, as Django's live server does."""
    connection = connections["default"]
    connection.inc_thread_sharing()
    monkeypatch.setattr(server, "close_old_connections", lambda: _share(connection))
    with ThreadPoolExecutor(1) as threads:
        monkeypatch.setattr(server, "_readers", threads)
        yield
    connection.dec_thread_sharing()


def _share(connection: Any) -> None:
    connections["default"] = connection


@pytest.fixture
def objects(tmp_path: Path, settings: Any) -> Path:
    settings.OBJECTS_URL = f"file://{tmp_path}/objects"
    return tmp_path / "objects"


@pytest.fixture
def ready(objects: Path, panorama: Callable[..., Panorama]) -> Panorama:
    made = panorama(width=512, height=256)
    derivation.derive(made, jpeg(smooth(512, 256)))
    return made


def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "method": method, "path": path, "headers": pairs, "query_string": b"",
    }  # fmt: skip
    assert server.matches(path)
    asyncio.run(server.application(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(part["body"] for part in sent[1:])


def publish(panorama: Panorama) -> None:
    Campaign.objects.filter(pk=panorama.campaign_id).update(state=Campaign.State.READY)
    panorama.campaign.refresh_from_db()
    campaigns.publish(access.SYSTEM, panorama.campaign)


def test_a_published_tile_is_anybodys_and_caches_keep_it_a_day(ready: Panorama) -> None:
    """No longer: a face that is blurred anew would stay a year in the caches on the way."""
    publish(ready)
    status, told, body = ask(f"/street/tiles/{ready.pk}/1/0/3_1.jpg")
    assert (status, told["cache-control"]) == (200, "public, max-age=86400, immutable")
    assert simplejpeg.decode_jpeg(body).shape == (128, 128, 3)
    assert ask(f"/street/tiles/{ready.pk}/1/0/4_1.jpg")[0] == 404
    assert ask(f"/street/tiles/{ready.pk}/2/0/0_0.jpg")[0] == 404
    assert ask(f"/street/tiles/{ready.pk}/1/0/3_1.jpg", "POST")[0] == 405
    assert ask("/street/tiles/../../etc")[0] == 404


def test_what_is_not_published_asks_for_the_desk(ready: Panorama) -> None:
    path = f"/street/tiles/{ready.pk}/1/0/0_0.jpg"
    assert ask(path)[0] == 403
    agent = User.objects.create(email="agent@example.fr")
    departement = Organisation.objects.get(kind=Organisation.Kind.DEPARTEMENT)
    RoleAssignment.objects.create(user=agent, role=Role.AGENT, organisation=departement)
    browser = Client()
    browser.force_login(agent)
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    status, told, _ = ask(path, cookie=cookie)
    assert status == 200 and told["cache-control"].startswith("private")
    assert ask(path, cookie="sessionid=forged")[0] == 403
    assert ask(path, authorization="Bearer souv_forged", cookie=cookie)[0] == 403
    publish(ready)
    assert ask(path)[0] == 200
    campaigns.withdraw(access.SYSTEM, ready.campaign)
    assert ask(path)[0] == 403
    publish(ready)
    Panorama.objects.filter(pk=ready.pk).update(state=Panorama.State.HIDDEN)
    assert ask(path)[0] == 403


def test_ranges_of_a_picture_make_the_picture(ready: Panorama) -> None:
    publish(ready)
    path = f"/street/pictures/{ready.pk}/1.jpg"
    status, told, whole = ask(path)
    assert status == 200 and whole == jpeg(smooth(512, 256))
    parts = [ask(path, range=f"bytes={at}-{at + 999}") for at in range(0, len(whole), 1000)]
    assert {part[0] for part in parts} == {206}
    assert b"".join(part[2] for part in parts) == whole
    assert ask(path, range="bytes=-10")[2] == whole[-10:]
    assert ask(path, range=f"bytes={len(whole)}-")[0] == 416
    status, told, body = ask(path, "HEAD")
    assert (status, body, int(told["content-length"])) == (200, b"", len(whole))


def test_a_new_blur_leaves_nothing_of_the_old(ready: Panorama, objects: Path) -> None:
    """Not even what a crash of an earlier blur left."""
    publish(ready)
    stray = objects / derivation.folder(ready) / "7.pyramid"
    stray.write_bytes(b"left by a crash")
    kept = derivation.store()
    before = {key: kept.sha256(key) for key in (ready.picture_key, ready.pyramid_key)}
    darker = jpeg(smooth(512, 256) // 2)
    replaced = derivation.replace(ready, darker)
    assert {r.key: r.sha256_before for r in replaced if not r.key.endswith("7.pyramid")} == before
    assert {r.sha256_after for r in replaced} == {
        kept.sha256(ready.picture_key), kept.sha256(ready.pyramid_key)
    }  # fmt: skip
    names = {path.name for path in stray.parent.iterdir()}
    assert names == {"2.jpg", "2.pyramid"}
    assert ask(f"/street/pictures/{ready.pk}/1.jpg")[0] == 404
    assert ask(f"/street/pictures/{ready.pk}/2.jpg")[2] == darker


def test_deriving_again_after_a_crash_mends_what_it_left(ready: Panorama, objects: Path) -> None:
    (objects / ready.picture_key).write_bytes(b"half")
    derivation.derive(ready, jpeg(smooth(512, 256)))
    assert (objects / ready.picture_key).read_bytes() == jpeg(smooth(512, 256))
