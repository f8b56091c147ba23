"""A small real server that speaks a first site's feed: honest until a test changes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from souverain.core import clock
from souverain.vault.engine.replica import PAGE_EVENTS, instant_text
from souverain.vault.tests.conftest import named

DEVICE, SITE = "0123456789abcdef", "fedcba9876543210"
CONFIG = b"un config"


class Liar:
    """What the other site answers: honest until a test changes it."""

    def __init__(self) -> None:
        self.url = ""
        self.start = clock.now() - timedelta(days=10)
        self.objects: dict[str, bytes] = {}
        self.events: list[dict[str, Any]] = []
        self.set: dict[str, Any] = {
            "code": "general",
            "title": "Dossiers",
            "kind": "general",
            "retention": "standard",
            "fresh_hours": 26,
            "created_at": instant_text(self.start),
            "head": None,
            "lock_days": 90,
            "destroyed_at": None,
            "holds": [],
            "copied": None,
        }
        self.device: dict[str, Any] = {
            "id": DEVICE,
            "name": "poste",
            "set": "general",
            "roles": ["backup", "restore"],
            "verifier": "a" * 64,
            "created_at": instant_text(self.start),
            "revoked": False,
        }
        self.state: dict[str, Any] = {
            "version": 1,
            "site": SITE,
            "role": "first",
            "epoch": 3,
            "log_key": bytes(32).hex(),
        }
        self.commune: dict[str, Any] = {"code": "21231", "name": "Dijon", "quota_bytes": 10**10}
        self.log: dict[str, Any] = {"size": 0, "cosigned": 0}
        self.log_page: dict[str, Any] = {}
        self.instead: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        """Answers that replace those of a path."""

    def serve(self) -> ThreadingHTTPServer:
        """Answer from now on, at `url`."""
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        return server

    def event(self, what: str, kind: str, content: bytes, **changed: Any) -> dict[str, Any]:
        """Add an event, a second after the last one."""
        name = "config" if kind == "config" else named(content)
        at = self.start + timedelta(seconds=len(self.events) + 1)
        told = {
            "at": instant_text(at),
            "row": len(self.events) + 1,
            "event": what,
            "type": kind,
            "name": name,
            "size": len(content),
            "device": DEVICE,
            "sha256": named(content),
            "reaped": False,
        } | changed
        self.events.append(told)
        self.set["head"] = told["at"]
        if what == "birth":
            inside = "config" if kind == "config" else f"{kind}/{name}"
            self.objects[f"objects/21231/general/{inside}"] = content
        return told

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix("/vault/21/replica/")
        after = parse_qs(parts.query).get("after", [""])[0]
        if path in self.instead:
            self.instead[path](handler)
        elif path in self.objects:
            send(handler, self.objects[path])
        elif path == "state":
            send(handler, self.state | {"now": clock.rfc3339(clock.now())})
        elif path == "communes":
            item = self.commune | {"sets": [self.set], "devices": [self.device], "log": self.log}
            send(handler, {"items": [] if after else [item], "more": False})
        elif path == "left/21231/general":
            send(handler, {"left": len(self.events), "left_bytes": 0})
        elif path == "events/21231/general":
            at, _, row = after.partition("/")
            place = (at, int(row or 0))
            rest = [item for item in self.events if (item["at"], item["row"]) > place]
            send(handler, {"items": rest[:PAGE_EVENTS]})
        elif path == "log/21231":
            send(handler, self.log_page)
        else:
            handler.send_error(404)


def send(handler: BaseHTTPRequestHandler, content: Any, status: int = 200) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
