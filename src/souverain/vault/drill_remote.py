"""Where a drill on a machine of the commune reads, and where it sends its report: the server, through
the address of one device. Needs no Django and no database."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson

from souverain.core import clock
from souverain.vault import audit
from souverain.vault.engine.drill import Limit
from souverain.vault.engine.restic import FormatError
from souverain.vault.engine.restic.repository import Source

_CACHE_BYTES = 32 << 20


class Remote:
    """A commune's deposit set as it is at this instant."""

    def __init__(self, address: str) -> None:
        """Raises AuditError."""
        self._server, self._address = audit.Server([address]), address.strip()
        self.code, (self.set_code,) = self._server.code, self._server.sets
        self.moment = str(self._offer()["moment"])
        self.source = remembering(Source(self._read, self._names))
        self.stopped = Limit.NONE

    def _offer(self) -> dict[str, Any]:
        answer = self._server.ask("GET", self.set_code, f"{self.set_code}/drills")
        if answer.status_code != 200:
            raise audit.AuditError("ce coffre-fort ne prend pas d'essais de restauration")
        with audit.understood():
            return dict(orjson.loads(audit.whole(answer)))

    def left_bytes(self) -> int | None:
        left = self._offer()["left_bytes"]
        return None if left is None else int(left)

    def passed_at(self) -> datetime | None:
        """When this site last received a drill that passed."""
        with audit.understood():
            told = self._offer()["passed_at"]
            return None if told is None else clock.parse_rfc3339(told)

    def repository(self) -> str:
        return f"{self._address.rstrip('/')}@{self.moment}/"

    def send(self, report: bytes) -> dict[str, Any]:
        """Send a report; says what the server made of it: `accepted`, and the sentence of its
        refusal, or `known_key`. Raises AuditError when it may be taken later."""
        path = f"{self.set_code}/drills"
        answer = self._server.ask("POST", self.set_code, path, data=report, known=(403,))
        if answer.status_code == 200:
            with audit.understood():
                return {"accepted": True, **orjson.loads(audit.whole(answer))}
        if answer.status_code == 409:  # it came before, and the answer was lost
            return {"accepted": True, "known_key": None}
        if answer.status_code in (400, 403, 413):
            return {"accepted": False, "said": f"{audit.sentence(answer)}."}
        raise audit.AuditError(f"le coffre-fort répond {answer.status_code}")

    # As a source.

    def _ask(self, path: str, **headers: str) -> bytes:
        """Raises OSError, FormatError."""
        where = f"{self.set_code}@{self.moment}/{path}"
        try:
            answer = self._server.ask("GET", self.set_code, where, headers=headers)
            content = audit.whole(answer)
        except audit.AuditError as error:
            status = error.status if isinstance(error, audit.Refused) else 0
            self.stopped = Limit.BUDGET if status == 403 else Limit.NETWORK
            raise OSError(0, str(error)) from error
        if answer.status_code == 404:
            raise FileNotFoundError(path)
        if answer.status_code not in (200, 206):
            raise FormatError("Le coffre-fort ne peut pas rendre ce fichier")
        return content

    def _read(self, kind: str, name: str, offset: int, length: int) -> bytes:
        asked = f"bytes={offset}-{offset + length - 1}" if offset >= 0 else f"bytes={offset}"
        found = self._ask(f"{kind}/{name}".rstrip("/"), range=asked)[:length]
        if len(found) != length:
            raise FormatError("Le fichier est trop court")
        return found

    def _names(self, kind: str) -> list[tuple[str, int]]:
        if kind == "config":
            with suppress(FileNotFoundError):
                return [("", len(self._ask("config")))]
            return []
        listed = orjson.loads(self._ask(f"{kind}/", accept=audit.V2))
        return sorted((item["name"], item["size"]) for item in listed)


def remembering(source: Source) -> Source:
    """The same, where a stretch that was read is not fetched again: directories are walked to draw
    the sample, and again to restore it."""
    known: dict[tuple[str, str, int, int], bytes] = {}
    room, lock = _CACHE_BYTES, threading.Lock()

    def read(kind: str, name: str, offset: int, length: int) -> bytes:
        nonlocal room
        asked = (kind, name, offset, length)
        found = known.get(asked)
        if found is None:
            found = source.read(*asked)
            with lock:
                if length <= room:
                    known[asked] = found
                    room -= length
        return found

    return Source(read, source.names)
