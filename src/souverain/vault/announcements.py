"""Restoring and pruning are told: who has the key is not always who should.

Once a legal day for each device and act: an entry of the journal, an event, and a message to the
commune's members. What was read or deleted is in none of them.
"""

from __future__ import annotations

from datetime import date

from django.db import transaction
from django.urls import reverse

from souverain.core import access, clock, events, journal, notifications
from souverain.core.format import datetime_fr
from souverain.core.models import Device, User
from souverain.core.transactions import serialise_writers
from souverain.vault.models import Announcement, DepositSet

_TOLD = {
    "restored": (
        "Sauvegardes relues : {title}",
        "L'appareil « {device} » relit les sauvegardes depuis le {at}. Si personne de la mairie ne "
        "l'a demandé, révoquez-le tout de suite : il est coupé dans la seconde.",
    ),
    "pruned": (
        "Sauvegardes rangées : {title}",
        "L'appareil « {device} » efface d'anciennes sauvegardes depuis le {at}. Rien n'a quitté le "
        "disque : elles se reprennent sous « Revenir en arrière ». Si personne de la mairie ne l'a "
        "demandé, révoquez-le.",
    ),
}
_VERBS = {"restored": "vault.restored", "pruned": "vault.pruned"}
_known: set[tuple[str, str, date]] = set()
"""What this process knows to be told already: an object's read costs no question then."""


def announce(deposit_set: DepositSet, device: Device, act: str) -> None:
    """Tell that a device restored or pruned (`act`), unless it was told today."""
    key = (device.pk, act, clock.today())
    if key in _known:
        return
    with transaction.atomic():
        serialise_writers()
        _, first = Announcement.objects.get_or_create(device=device, act=act, day=key[2])
        if first:
            _tell(deposit_set, device, act)
        transaction.on_commit(lambda: _remember(key))


def _remember(key: tuple[str, str, date]) -> None:
    """Days gone by are let go of."""
    _known.difference_update([known for known in _known if known[2] != key[2]])
    _known.add(key)


def _tell(deposit_set: DepositSet, device: Device, act: str) -> None:
    organisation = deposit_set.organisation
    told = {"set": deposit_set.code, "device": device.pk}
    journal.append(
        access.of_device(device),
        _VERBS[act],
        organisation=organisation.code,
        object=deposit_set.code,
        data=told,
    )
    events.emit(_VERBS[act], organisation=organisation.code, payload=told)
    others = User.objects.filter(role_assignments__organisation=organisation, is_active=True)
    if device.holder_id is not None:
        others = others.exclude(pk=device.holder_id)
    words = {
        "title": deposit_set.title,
        "device": device.name,
        "at": datetime_fr(clock.now()),
    }
    title, body = (text.format(**words) for text in _TOLD[act])
    url = reverse("vault:commune", args=[organisation.code])
    notifications.notify(others.distinct(), title, body, url)
