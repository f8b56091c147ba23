"""Events: something happened, and other rooms may care.

An event is a row written in the verb's own transaction. The worker hands it to each subscriber at
least once, in id order; subscribers are idempotent. Live pages read the same rows by cursor.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import Max

from souverain.core import clock, rooms
from souverain.core.models import Event, EventCursor
from souverain.core.rooms import Subscription
from souverain.core.transactions import serialise_writers

logger = logging.getLogger(__name__)
BATCH = 100


def emit(name: str, *, organisation: str = "", payload: Mapping[str, Any] | None = None) -> Event:
    """Tell an event that a manifest declares, inside the verb's transaction."""
    if name not in {kind.name for kind in rooms.every("events")}:
        raise ValueError(f"no manifest declares the event {name}")
    serialise_writers()
    last: int = Event.objects.aggregate(last=Max("id"))["last"] or 0
    return Event.objects.create(
        id=last + 1, name=name, organisation=organisation, payload=dict(payload or {})
    )


def deliver_pending() -> int:
    """Hand every subscriber what it has not seen; returns how many deliveries were made."""
    return sum(_deliver(subscription) for subscription in rooms.every("subscriptions"))


def _deliver(subscription: Subscription) -> int:
    """One subscriber's turn. A failure keeps the cursor where it is, so that order holds and the
    event is tried again; the other subscribers go on."""
    cursor, _ = EventCursor.objects.get_or_create(subscriber=subscription.name)
    delivered = 0
    pending = Event.objects.filter(id__gt=cursor.last_id).order_by("id")[:BATCH]
    for event in pending:
        if event.name in subscription.events:
            try:
                with transaction.atomic():
                    subscription.deliver(event)
                    EventCursor.objects.filter(pk=cursor.pk).update(
                        last_id=event.id, failing_since=None, last_error=""
                    )
            except Exception as error:
                logger.exception("event %s failed in %s", event.id, subscription.name)
                EventCursor.objects.filter(pk=cursor.pk).update(
                    failing_since=cursor.failing_since or clock.now(),
                    last_error=f"{type(error).__name__}: {error}"[:400],
                )
                return delivered
            delivered += 1
        else:
            EventCursor.objects.filter(pk=cursor.pk).update(last_id=event.id)
    return delivered


def since(cursor: int, names: frozenset[str], limit: int = BATCH) -> list[Event]:
    """What happened after a cursor, for live pages."""
    return list(Event.objects.filter(id__gt=cursor, name__in=names).order_by("id")[:limit])
