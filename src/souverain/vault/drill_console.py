"""A drill at the département's console, with the commune's holder present: the same, straight on the
object store. The stock restic reads it through a server of this process, on the loopback alone."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
from django.conf import settings

from souverain.core import clock
from souverain.core.access import Actor
from souverain.vault import drill, drills, log, services
from souverain.vault.audit import V2
from souverain.vault.drill_remote import remembering
from souverain.vault.engine import drill as reports
from souverain.vault.engine.drill import Limit, Place, Report
from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.repository import Source
from souverain.vault.models import DepositSet

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own there is private, and on no disk
_PIECE = 1 << 20
_KINDS = ("config", "keys", "snapshots", "index", "data")
_ROUTE = re.compile(r"/(?P<token>[0-9a-f]{32})/(?P<kind>[a-z]+)(?:/(?P<name>[0-9a-f]*))?")
_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{1,18})?")

Sizes = Mapping[str, Mapping[str, int]]


class Moment:
    """A deposit set as it is at this instant, in the store."""

    def __init__(self, deposit_set: DepositSet) -> None:
        self.code, self.set_code = deposit_set.organisation.code, deposit_set.code
        now = max(clock.now(), deposit_set.last_instant or clock.now())
        services.settle(deposit_set, now)
        self.moment = clock.rfc3339(now)
        self.stopped = Limit.NONE
        self.sizes: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
        rows = services.alive(deposit_set, now).values_list("type", "name", "size")
        for kind, name, size in rows.iterator():
            self.sizes[kind]["" if kind == "config" else name] = size
        self._set = deposit_set
        self.source = remembering(Source(self.read, lambda kind: sorted(self.sizes[kind].items())))
        self.address = ""

    def left_bytes(self) -> None:
        return None

    def repository(self) -> str:
        return self.address

    def read(self, kind: str, name: str, offset: int, length: int) -> bytes:
        """As `Source.read`."""
        size = self.sizes[kind].get(name)
        if size is None:
            raise FileNotFoundError(name)
        start = offset if offset >= 0 else size + offset
        key = services.object_key(self._set, kind, name)
        found = b"".join(services.store().read(key, start, length)) if length else b""
        if len(found) != length:
            raise FormatError("Le fichier est trop court")
        return found


def run(
    actor: Actor,
    deposit_set: DepositSet,
    password: bytes,
    *,
    sample_bytes: int = drill.SAMPLE_BYTES,
    files: int = drill.FILES,
    progress: drill.Progress | None = None,
) -> Report:
    """Drill a set and keep the report, signed by the key of the logs. The password is in this
    process's memory, and in a pipe to restic, alone. Raises DrillError, OSError."""
    secret, vault = log.signing_key(), Moment(deposit_set)
    with _served(vault):
        report = drill.drill(
            vault,
            password,
            where=Place.DEPARTEMENT,
            key=log.public_key(vault.code),
            base=_base(sample_bytes),
            sample_bytes=sample_bytes,
            files=files,
            progress=progress,
        )
    drills.take_from_console(actor, deposit_set, str(reports.sign(report, secret)).encode())
    return report


def _base(sample_bytes: int) -> Path:
    """In memory, where two copies of the sample fit; on the département's disk otherwise."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 * sample_bytes + drill.SPARE_BYTES:
        return _MEMORY
    home: Path = settings.HOME
    return home


# For the stock program ------------------------------------------------------------------------------


@contextmanager
def _served(vault: Moment) -> Iterator[None]:
    """Restic's REST protocol, read-only, below a path that nobody can guess."""
    token = secrets.token_hex(16)

    class Handler(_Handler):
        source, secret = vault, token

    server = _Loopback(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    vault.address = f"rest:http://127.0.0.1:{server.server_port}/{token}/"
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """restic hung up: it was ended, and why is told."""


class _Handler(BaseHTTPRequestHandler):
    source: Moment
    secret: str
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """The path holds the secret: it is written nowhere."""

    def do_GET(self) -> None:
        route = _ROUTE.fullmatch(self.path)
        if not route or not secrets.compare_digest(route["token"], self.secret):
            return self._answer(404)
        kind, name = route["kind"], route["name"]
        sizes = self.source.sizes.get(kind)
        if sizes is not None and name == "":
            listed = [{"name": each, "size": size} for each, size in sorted(sizes.items())]
            return self._answer(200, orjson.dumps(listed), V2)
        size = None if sizes is None else sizes.get(name or "")
        if size is None:
            return self._answer(404)
        asked = _RANGE.fullmatch(self.headers.get("range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        if asked and start > end:
            return self._answer(416)
        if self.command == "HEAD":
            return self._answer(200, length=size)
        try:
            content = self.source.read(kind, name or "", start, end - start + 1)
        except (FormatError, OSError):
            return self._answer(500)
        return self._answer(206 if asked else 200, content)

    do_HEAD = do_GET

    def _answer(
        self,
        status: int,
        content: bytes = b"",
        kind: str = "application/octet-stream",
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)
