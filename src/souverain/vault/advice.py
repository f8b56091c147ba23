"""What a commune has to do next about its vault: one sentence, and the button for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from souverain.core.format import quote_fr
from souverain.core.models import Device, Organisation
from souverain.vault.freshness import Freshness
from souverain.vault.models import DepositSet


@dataclass(frozen=True)
class Advice:
    """What to do, and where."""

    sentence: str
    action: str
    url: str


def advice(
    organisation: Organisation, fresh: Freshness, devices: Sequence[Device]
) -> Advice | None:
    """The most pressing thing; None when the backups arrive as they must."""
    senders = [device for device in devices if not device.revoked_at and "backup" in device.roles]
    if not senders:
        return _add(organisation, _nobody_sends(devices))
    for late in fresh.late:
        sender = _sender(senders, late)
        if sender is None:
            said = f"Plus aucun appareil ne sauvegarde {quote_fr(late.title)} : ajoutez-en un."
            return _add(organisation, said, late)
        said = (
            f"Vérifiez que {quote_fr(sender.name)} est allumé et relié à Internet, puis tapez de nouveau "
            "l'étape «\u00a0Sauvegarder\u00a0» de son guide : la réponse dira ce qui manque."
        )
        return _open(organisation, said, sender)
    for waiting in fresh.waiting:
        sender = _sender(senders, waiting)
        if sender is None:
            said = f"Aucun appareil ne sauvegarde encore {quote_fr(waiting.title)} : ajoutez-en un."
            return _add(organisation, said, waiting)
        said = f"{quote_fr(sender.name)} n'a encore rien envoyé : suivez les étapes de son guide."
        return _open(organisation, said, sender)
    return None


def _nobody_sends(devices: Sequence[Device]) -> str:
    if not devices:
        return "Ajoutez l'appareil qui garde les dossiers de la mairie : son guide suivra."
    if all(device.revoked_at for device in devices):
        return (
            "Tous les appareils sont révoqués : plus rien n'est sauvegardé. Ce qui l'a été reste "
            "gardé. Ajoutez un appareil."
        )
    return "Aucun appareil n'a le droit de sauvegarder : ajoutez-en un."


def _sender(senders: Sequence[Device], deposit_set: DepositSet) -> Device | None:
    """The machine of a set that was there last."""
    own = [device for device in senders if device.scope == deposit_set.code]
    return max(own, key=lambda device: device.last_seen_at or device.created_at, default=None)


def _add(
    organisation: Organisation, sentence: str, deposit_set: DepositSet | None = None
) -> Advice:
    url = reverse("vault:commune", args=[organisation.code])
    chosen = f"?depot={deposit_set.code}" if deposit_set else ""
    return Advice(sentence, "Ajouter un appareil", f"{url}{chosen}#ajouter")


def _open(organisation: Organisation, sentence: str, device: Device) -> Advice:
    url = reverse("vault:device", args=[organisation.code, device.pk])
    return Advice(sentence, f"Ouvrir le guide de {quote_fr(device.name)}", url)
