"""Work asked on items: ordered, done, cancelled. The items follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from souverain.core import clock, journal
from souverain.core.access import Actor
from souverain.core.transactions import serialise_writers
from souverain.street import inventory
from souverain.street.inventory import InventoryError
from souverain.street.models import Item, WorkOrder

MAX_ITEMS = 500


def visible(actor: Actor) -> QuerySet[WorkOrder]:
    """The orders that hold an item which the actor may see."""
    return WorkOrder.objects.filter(items__in=inventory.visible(actor)).distinct()


def late(orders: QuerySet[WorkOrder]) -> QuerySet[WorkOrder]:
    """Those that should have been done by now."""
    return orders.filter(state=WorkOrder.State.OPEN, due_on__lt=clock.today())


@transaction.atomic
def order(
    actor: Actor,
    title: str,
    items: Sequence[Item],
    *,
    assignee: str = "",
    due_on: date | None = None,
) -> WorkOrder:
    """Ask for work on confirmed items. Raises InventoryError."""
    serialise_writers()
    title, assignee = title.strip(), assignee.strip()
    if not title or len(title) > 160 or len(assignee) > 160:
        raise InventoryError("Un ordre de travaux a un titre, de 160 caractères au plus.")
    if not items or len(items) > MAX_ITEMS:
        raise InventoryError(f"Un ordre de travaux porte sur 1 à {MAX_ITEMS} objets.")
    if due_on is not None and due_on < clock.today():
        raise InventoryError("L'échéance est déjà passée.")
    asked = WorkOrder.objects.create(
        title=title, assignee=assignee, due_on=due_on, created_by=actor.user
    )
    for item in items:
        inventory.change_state(actor, item, Item.State.PLANNED, f"Ordre de travaux {asked.number}.")
    asked.items.set(items)
    _journal(actor, "street.work_ordered", asked)
    return asked


@transaction.atomic
def close(actor: Actor, asked: WorkOrder, state: WorkOrder.State) -> WorkOrder:
    """Say that the work is done (its items are repaired) or cancelled (they are confirmed again).
    Raises InventoryError when it was closed before."""
    serialise_writers()
    asked = WorkOrder.objects.select_for_update().get(pk=asked.pk)
    if asked.state != WorkOrder.State.OPEN or state == WorkOrder.State.OPEN:
        raise InventoryError(f"L'ordre {asked.number} est déjà clos ({asked.get_state_display()}).")
    done = state == WorkOrder.State.DONE
    becomes = Item.State.REPAIRED if done else Item.State.CONFIRMED
    note = f"Ordre de travaux {asked.number} : {'fait' if done else 'annulé'}."
    for item in asked.items.filter(state=Item.State.PLANNED):
        inventory.change_state(actor, item, becomes, note)
    asked.state, asked.closed_at = state, clock.now()
    asked.save(update_fields=["state", "closed_at"])
    _journal(actor, "street.work_done" if done else "street.work_cancelled", asked)
    return asked


def _journal(actor: Actor, verb: str, asked: WorkOrder) -> None:
    journal.append(
        actor,
        verb,
        organisation=settings.DEPARTEMENT,
        object=f"work-order:{asked.number}",
        data={"items": asked.items.count()},
    )
