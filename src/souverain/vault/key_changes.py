"""Keys added to a deposit set, or removed from it: told at once, shown until a person looked.

A key file is the way to every backup of the set. Restic draws the first one itself (`restic init`);
each later change is either somebody's decision (`restic key add`, a new password, a recovery key)
or the sign that somebody who should not has the address.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Max, QuerySet
from django.urls import reverse

from souverain.core import clock, events, journal, notifications
from souverain.core.access import Actor
from souverain.core.format import quote_fr
from souverain.core.models import Device, Organisation
from souverain.core.transactions import serialise_writers
from souverain.vault import alarm
from souverain.vault.models import DepositSet, KeyChange, StoredObject


def after_birth(current: DepositSet, stored: StoredObject) -> None:
    """Tell of a key that is not the repository's first; in the transaction that recorded it."""
    earlier = StoredObject.objects.filter(deposit_set=current, type="keys").exclude(pk=stored.pk)
    if earlier.exists():
        _tell(current, stored, stored.device, added=True)


def after_death(current: DepositSet, buried: StoredObject, device: Device) -> None:
    """Tell of a key that a device removed; in the transaction that buried it."""
    _tell(current, buried, device, added=False)


def not_seen() -> QuerySet[KeyChange]:
    """The changes of which nobody said that they were meant, newest first."""
    found = KeyChange.objects.filter(seen_at=None)
    return found.select_related("deposit_set__organisation", "device")


def what_to_do(change: KeyChange) -> str:
    """For somebody who did not ask for the change."""
    happened = (
        "a ajouté une clé : qui la connaît peut relire toutes les sauvegardes"
        if change.added
        else "a retiré une clé : son mot de passe n'ouvre plus que les moments d'avant"
    )
    return (
        f"L'appareil {quote_fr(change.device.name)} {happened}. Si personne de la mairie ne l'a voulu, "
        "révoquez cet appareil, puis appelez le service informatique du département."
    )


@transaction.atomic
def see(actor: Actor, deposit_set: DepositSet) -> int:
    """Say that the changes of a set's keys were meant; returns how many."""
    serialise_writers()
    seen = not_seen().filter(deposit_set=deposit_set).order_by()
    names = sorted(seen.values_list("name", flat=True)[:20])
    count = seen.update(seen_at=clock.now(), seen_by=str(actor))
    if count:
        journal.append(
            actor,
            "vault.key_changes_seen",
            organisation=deposit_set.organisation.code,
            object=deposit_set.code,
            data={"changes": count, "names": names},
        )
    return count


def _tell(current: DepositSet, key: StoredObject, device: Device, *, added: bool) -> None:
    at = key.received_at if added else key.died_at
    # A machine that adds a thousand keys is one message: the first that nobody has looked at.
    unseen = KeyChange.objects.filter(
        deposit_set=current, device=device, added=added, seen_at=None
    ).exists()
    change = KeyChange.objects.create(
        deposit_set=current, name=key.name, added=added, device=device, at=at
    )
    if unseen:
        return
    organisation = current.organisation
    payload = {"set": current.code, "key": key.name, "added": added, "device": device.pk}
    events.emit("vault.key_changed", organisation=organisation.code, payload=payload)
    notifications.notify(
        alarm.concerned(organisation),
        f"Clé {'ajoutée' if added else 'retirée'} : {current.title}, {organisation.name}",
        what_to_do(change),
        f"{reverse('vault:commune', args=[organisation.code])}#cles",
    )


def of_commune(organisation: Organisation) -> list[KeyChange]:
    """Of each set, device and sense, the latest change that nobody looked at."""
    unseen = not_seen().filter(deposit_set__organisation=organisation).order_by()
    kinds = unseen.values("deposit_set", "device", "added")
    return list(not_seen().filter(pk__in=kinds.annotate(latest=Max("pk")).values("latest")))
