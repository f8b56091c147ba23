"""The vault's pages: the operator's overview, and one page per commune."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.db.models import Max, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from souverain.core import clock
from souverain.core.access import of_departement, permits, requires
from souverain.core.format import bytes_fr, datetime_fr
from souverain.core.models import Device, Organisation
from souverain.vault import services
from souverain.vault.forms import DeviceForm
from souverain.vault.models import DepositSet, StoredObject

_MOMENTS = 20


def _of_commune(*, code: str, **_: Any) -> dict[str, Any]:
    return {"organisation": get_object_or_404(Organisation, code=code)}


def _snapshots(organisation: Organisation) -> list[datetime]:
    """Receipt times of the commune's latest deposits, deleted ones included, newest first."""
    rows = StoredObject.objects.filter(deposit_set__organisation=organisation, type="snapshots")
    return list(rows.order_by("-received_at").values_list("received_at", flat=True)[:_MOMENTS])


@require_GET
@requires("vault.oversee", of=of_departement)
def overview(request: HttpRequest) -> HttpResponse:
    rows = []
    received = Max("objects_stored__received_at", filter=Q(objects_stored__type="snapshots"))
    for found in DepositSet.objects.select_related("organisation").annotate(last=received):
        last = found.last
        url = reverse("vault:commune", kwargs={"code": found.organisation.code})
        rows.append(
            [
                {"text": found.organisation.name, "url": url},
                {"text": found.title},
                {"text": datetime_fr(last) if last else "Aucune"},
                {"text": bytes_fr(found.stored_bytes), "value": found.stored_bytes},
            ]
        )
    titles = ("Commune", "Dépôt", "Dernière sauvegarde", "Place prise")
    columns = [{"title": title} for title in titles]
    return render(request, "vault/overview.html", {"columns": columns, "rows": rows})


@require_GET
@requires("vault.view", of=_of_commune)
def commune(request: HttpRequest, code: str) -> HttpResponse:
    organisation = get_object_or_404(Organisation, code=code)
    moments = _snapshots(organisation)
    content = {
        "commune": organisation,
        "last": next(iter(moments), None),
        "moments": [{"at": at, "text": clock.rfc3339(at)} for at in moments],
        "stored_bytes": services.stored_bytes(organisation),
        "quota_bytes": services.quota_bytes(organisation),
        "devices": Device.objects.filter(room="vault", organisation=organisation),
        "may_manage": permits(request.actor, "vault.manage", organisation=organisation),  # type: ignore[attr-defined]
        "form": DeviceForm(),
    }
    return render(request, "vault/commune.html", content)


@requires("vault.manage", of=_of_commune)
@require_POST
def add_device(request: HttpRequest, code: str) -> HttpResponse:
    """Enrol a machine and show, once, the exact commands to type on it."""
    organisation = get_object_or_404(Organisation, code=code)
    form = DeviceForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Donnez un nom à l'appareil et choisissez au moins un droit.")
        return redirect("vault:commune", code=code)
    device, repository = services.add_device(
        request.actor,  # type: ignore[attr-defined]
        organisation,
        form.cleaned_data["name"],
        form.cleaned_data["roles"],
    )
    content = {"commune": organisation, "device": device, "repository": repository}
    return render(request, "vault/device_added.html", content)


@requires("vault.manage", of=_of_commune)
@require_POST
def revoke(request: HttpRequest, code: str, pk: str) -> HttpResponse:
    device = get_object_or_404(Device, pk=pk, room="vault", organisation__code=code)
    if device.revoked_at is None:
        services.revoke_device(request.actor, device)  # type: ignore[attr-defined]
    messages.success(request, f"L'appareil « {device.name} » est révoqué.")
    return redirect("vault:commune", code=code)
