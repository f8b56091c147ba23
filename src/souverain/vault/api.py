"""A commune's vault as data: the same objects for programs and for the command line."""

from __future__ import annotations

from typing import Any, Self

from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from ninja import Path, Router, Schema

from souverain.core import clock
from souverain.core.access import requires
from souverain.core.api import Moment
from souverain.core.models import Device, Organisation
from souverain.vault import services
from souverain.vault.models import DepositSet

router = Router(tags=["vault"])


class DepositSetItem(Schema):
    """A deposit set: what it is, and how its backups are. `state`: never, fresh or late."""

    commune: str
    set: str
    title: str
    kind: str
    retention: str
    fresh_within_hours: int
    state: str
    snapshots: int
    last_deposit_at: Moment | None
    stored_bytes: int
    live_bytes: int
    quota_bytes: int

    @classmethod
    def of(cls, found: DepositSet) -> Self:
        return cls(
            commune=found.organisation.code,
            set=found.code,
            title=found.title,
            kind=found.kind,
            retention=found.retention_class,
            fresh_within_hours=found.fresh_within_hours,
            state=found.state(clock.now()),
            snapshots=services.alive(found).filter(type="snapshots").count(),
            last_deposit_at=found.last_deposit_at and clock.rfc3339(found.last_deposit_at),
            stored_bytes=found.stored_bytes,
            live_bytes=found.live_bytes,
            quota_bytes=services.quota_bytes(found.organisation),
        )


class DeviceItem(Schema):
    """A device, without its credential. Revoked ones stay in the list."""

    id: str
    commune: str
    set: str
    name: str
    roles: list[str]
    created_at: Moment
    last_seen_at: Moment | None
    revoked_at: Moment | None

    @classmethod
    def of(cls, device: Device) -> Self:
        return cls(
            id=device.pk,
            commune=device.organisation.code,
            set=device.scope,
            name=device.name,
            roles=device.roles,
            created_at=clock.rfc3339(device.created_at),
            last_seen_at=device.last_seen_at and clock.rfc3339(device.last_seen_at),
            revoked_at=device.revoked_at and clock.rfc3339(device.revoked_at),
        )


class VaultItem(Schema):
    """A commune's vault. `last_deposit_at`: the last backup of any of its deposit sets."""

    commune: str
    name: str
    stored_bytes: int
    quota_bytes: int
    last_deposit_at: Moment | None
    sets: list[DepositSetItem]
    devices: list[DeviceItem]


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    kind = Organisation.Kind.COMMUNE
    return {"organisation": get_object_or_404(Organisation, code=code, kind=kind)}


@router.get("/communes/{code}", response=VaultItem)
@requires("vault.view", of=_of_commune)
def vault(request: HttpRequest, code: str = Path(..., pattern="^[0-9AB]{5}$")) -> VaultItem:
    """A commune's vault: its deposit sets with their last backup, its devices, the room it has."""
    commune = _of_commune(code=code)["organisation"]
    sets = DepositSet.objects.select_related("organisation").filter(organisation=commune)
    devices = Device.objects.select_related("organisation").filter(
        organisation=commune, room="vault"
    )
    items = [DepositSetItem.of(found) for found in sets]
    return VaultItem(
        commune=commune.code,
        name=commune.name,
        stored_bytes=services.stored_bytes(commune),
        quota_bytes=services.quota_bytes(commune),
        last_deposit_at=max((s.last_deposit_at for s in items if s.last_deposit_at), default=None),
        sets=items,
        devices=[DeviceItem.of(device) for device in devices],
    )
