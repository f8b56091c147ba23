"""Devices: machines with a credential of their own.

The credential is 256 random bits, shown once; its SHA-256 is stored. `live` re-reads a device at
most `STALE_S` after it was last read, so that a revocation holds in every process within one
second, open connections included (long transfers ask again while they run).
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from contextlib import suppress

from django.db import DatabaseError, connection

from souverain.core import clock
from souverain.core.models import Device, Organisation, User, new_device_id

STALE_S = 0.5
_KNOWN_MAX = 4096
_SEEN_EVERY_S = 60


class Revoked(Exception):
    """The device was revoked meanwhile."""


def digest(credential: str) -> str:
    return hashlib.sha256(credential.encode()).hexdigest()


def new_credential() -> str:
    """256 random bits, URL-safe."""
    return secrets.token_urlsafe(32)


def enrol(
    *,
    organisation: Organisation,
    room: str,
    kind: str,
    name: str,
    roles: list[str],
    scope: str = "",
    holder: User | None = None,
    device_id: str = "",
) -> tuple[Device, str]:
    """Create a device and its credential. The caller is a room's verb: it journals."""
    credential = new_credential()
    device = Device.objects.create(
        id=device_id or new_device_id(),
        organisation=organisation,
        room=room,
        kind=kind,
        name=name,
        roles=roles,
        scope=scope,
        holder=holder,
        credential_sha256=digest(credential),
    )
    return device, credential


def revoke(device: Device) -> None:
    """Refuse the device from now on. The caller is a room's verb: it journals."""
    device.revoked_at = clock.now()
    device.save(update_fields=["revoked_at"])
    _known.pop((device.pk, device.credential_sha256), None)


_known: OrderedDict[tuple[str, str], tuple[float, Device | None]] = OrderedDict()
_lock = threading.Lock()


def authenticate(device_id: str, credential: str, room: str) -> Device | None:
    """The live device with this id and credential in this room, or None."""
    device = live(device_id, digest(credential))
    return device if device is not None and device.room == room else None


def live(device_id: str, credential_sha256: str) -> Device | None:
    """The device unless it is unknown or revoked, at most `STALE_S` seconds out of date. It only
    reads: no writer makes it wait."""
    key = (device_id, credential_sha256)
    now = time.monotonic()
    read_at, device = _known.get(key, (-STALE_S, None))
    if now - read_at < STALE_S:
        return device
    device = (
        Device.objects.select_related("organisation")
        .filter(pk=device_id, credential_sha256=credential_sha256, revoked_at=None)
        .first()
    )
    with _lock:
        _known[key] = (now, device)
        _known.move_to_end(key)
        while len(_known) > _KNOWN_MAX:
            _known.popitem(last=False)
    return device


# Every write of a device asks it.
_STILL_LIVE = """SELECT 1 FROM core_device
WHERE id = %s AND credential_sha256 = %s AND revoked_at IS NULL"""


def require_live(device: Device) -> None:
    """Raise `Revoked` unless the device is live now. Under the writers' lock, nothing that the
    device sent can be recorded after its revocation."""
    with connection.cursor() as cursor:
        cursor.execute(_STILL_LIVE, [device.pk, device.credential_sha256])
        if cursor.fetchone() is None:
            raise Revoked(device.pk)


def seen_lately(device: Device) -> bool:
    """Whether the record says already that the device is there."""
    last = device.last_seen_at
    return last is not None and (clock.now() - last).total_seconds() <= _SEEN_EVERY_S


def note_seen(device: Device) -> None:
    """Write that the device is there. It waits for the other writers, so that a room calls it
    once the device has its answer, and unless `seen_lately`."""
    device.last_seen_at = clock.now()
    # A full disk must not keep a device from reading back what it deposited.
    with suppress(DatabaseError):
        Device.objects.filter(pk=device.pk).update(last_seen_at=device.last_seen_at)
