"""The routes by which another site copies this one: `/vault/<département>/replica/…`.

| page | answers |
|---|---|
| `state?after=INSTANT` | who speaks, its role, its epoch, its time; who asks has all up to there |
| `communes?after=CODE` | communes, deposit sets, locks, holds, devices with their verifiers |
| `events/<INSEE>/<set>?after=PLACE` | births and deaths, in order |
| `left/<INSEE>/<set>?after=PLACE` | how many of them follow |
| `objects/<INSEE>/<set>/<type>/<name>` | the bytes of an object |
| `log/<INSEE>?after=N` | leaves, checkpoint and cosignatures of the log |
| `POST fence` | another site was promoted |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from souverain.core import clock
from souverain.core.models import Organisation
from souverain.vault import replica_feed, services
from souverain.vault.engine.replica import PAGE_EVENTS, Disbelieved, Place
from souverain.vault.models import DepositSet

if TYPE_CHECKING:
    from souverain.vault.server import ReplicaRequest

_AT_ONCE = 8  # requests of one credential, in one process
_JSON = "application/json"
_noted: set[tuple[str, str]] = set()


async def serve(request: ReplicaRequest, receive: Any, answer: Any) -> None:
    """Answer one request of the site that copies this one."""
    from souverain.vault import server

    if server._under_way[request.device.pk] > _AT_ONCE:
        raise server.Refused(429, "Trop de demandes à la fois pour cet accès.")
    if (request.method, request.path) == ("POST", "fence"):
        if replica_feed.FENCE not in request.device.roles:
            raise server.Refused(403, "Cet accès lit seulement.", "role", request.device)
        content = await server._small_body(receive, request.device)
        try:
            told = await server._thread(
                replica_feed.fence, request.device, content, pool=server._writers
            )
        except (ValueError, KeyError, TypeError):
            raise server.Refused(400, "Promotion illisible.", "path", request.device) from None
        await answer.whole(200, orjson.dumps(told), _JSON)
        return
    if request.method not in ("GET", "HEAD"):
        raise server.Refused(405, "Cet accès lit seulement.", "method", request.device)
    if request.path.startswith("objects/"):
        await _object(request, answer)
        return
    try:
        page = await server._thread(_page, request)
    except Disbelieved as error:
        raise server.Refused(400, str(error), "path", request.device) from None
    if page is None:
        raise server.Refused(404, "Il n'y a rien à cette adresse.", device=request.device)
    await answer.whole(200, orjson.dumps(page), _JSON)
    await _note(request)


def _page(request: ReplicaRequest) -> dict[str, Any] | None:
    page, *inside = request.path.split("/")
    after = parse_qs(request.query.decode("latin-1")).get("after", [""])[-1][:100]
    match page, inside:
        case "state", []:
            if after:
                replica_feed.note_complete(request.device, after)
            return replica_feed.state()
        case "communes", []:
            return replica_feed.communes(after)
        case "log", [code]:
            organisation = Organisation.objects.filter(code=code).first()
            start = int(after) if after.isascii() and after.isdigit() and len(after) < 19 else 0
            return replica_feed.log_page(organisation, start) if organisation else None
        case (("events" | "left"), [code, set_code]):
            found = replica_feed.find_set(code, set_code)
            place = Place.parse(after) if after else None
            if found is None:
                return None
            if page == "left":
                return replica_feed.left(found, place)
            told = replica_feed.events(found, place, PAGE_EVENTS)
            return {"items": [event.told() for event in told]}
    return None


async def _object(request: ReplicaRequest, answer: Any) -> None:
    from souverain.vault import server

    size, chunks = await server._thread(_open, request.path)
    headers = {"content-type": "application/octet-stream", "content-length": str(size)}
    await answer.start(200, headers)
    left = size
    while request.method == "GET" and left:
        chunk = (await server._thread(next, chunks, b""))[:left]
        if not chunk:
            raise server.Gone("the file was cut short")
        left -= len(chunk)
        await answer.body(chunk, more=left > 0)
    if request.method == "HEAD" or not size:
        await answer.body(b"")


def _open(path: str) -> tuple[int, Iterator[bytes]]:
    """The size by the record, which the file has, and the bytes."""
    from souverain.vault.server import Refused

    found: DepositSet | None = None
    match path.split("/"):
        case ["objects", code, set_code, ("keys" | "snapshots" | "index" | "data") as kind, name]:
            found = replica_feed.find_set(code, set_code)
        case ["objects", code, set_code, "config" as kind]:
            found, name = replica_feed.find_set(code, set_code), "config"
        case _:
            raise Refused(404, "Il n'y a rien à cette adresse.")
    located = replica_feed.object_key(found, kind, name) if found else None
    if located is None or services.store().size(located[0]) != located[1]:
        raise Refused(404, "Cet objet n'est pas là.")
    return located[1], services.store().read(located[0])


async def _note(request: ReplicaRequest) -> None:
    """Say in the journal, once a day, that a site copies this one."""
    from souverain.vault import server

    key = (request.device.pk, clock.today().isoformat())
    if key not in _noted:
        await server._thread(replica_feed.note_pull, request.device, pool=server._writers)
        _noted.add(key)
