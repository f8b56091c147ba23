"""Events: delivered in order, at least once, and one failure stops only its own subscriber."""

from __future__ import annotations

import pytest
from django.db import transaction

from souverain.core import events, rooms
from souverain.core.models import Event, EventCursor
from souverain.core.rooms import EventKind, Subscription

pytestmark = pytest.mark.django_db


@pytest.fixture
def declared(monkeypatch) -> dict[str, list]:
    found: dict[str, list] = {
        "events": [EventKind("a.happened", "A"), EventKind("b.happened", "B")],
        "subscriptions": [],
    }
    monkeypatch.setattr(rooms, "every", lambda attribute: iter(found[attribute]))
    return found


def tell(name: str, **payload: int) -> Event:
    with transaction.atomic():
        return events.emit(name, payload=payload)


def test_an_event_that_no_manifest_declares_is_refused(declared) -> None:
    with pytest.raises(ValueError, match="no manifest declares"):
        tell("c.happened")


def test_each_subscriber_gets_its_events_once_in_order(declared) -> None:
    seen: list[int] = []
    declared["subscriptions"] = [
        Subscription("x", frozenset({"a.happened"}), lambda event: seen.append(event.id))
    ]
    told = [tell(name).id for name in ("a.happened", "b.happened", "a.happened")]
    assert events.deliver_pending() == 2
    assert events.deliver_pending() == 0
    assert seen == [told[0], told[2]]


def test_a_failing_subscriber_tries_again_and_does_not_hold_the_others(declared) -> None:
    broken = True
    seen: list[tuple[str, int]] = []

    def fragile(event: Event) -> None:
        if broken:
            raise RuntimeError("panne")
        seen.append(("fragile", event.id))

    declared["subscriptions"] = [
        Subscription("fragile", frozenset({"a.happened"}), fragile),
        Subscription("solid", frozenset({"a.happened"}), lambda e: seen.append(("solid", e.id))),
    ]
    told = tell("a.happened").id
    events.deliver_pending()
    assert seen == [("solid", told)]
    cursor = EventCursor.objects.get(pk="fragile")
    assert cursor.failing_since is not None and cursor.last_error == "RuntimeError: panne"

    broken = False
    events.deliver_pending()
    assert seen[1:] == [("fragile", told)]
    cursor.refresh_from_db()
    assert cursor.failing_since is None


def test_live_pages_read_what_came_after_their_cursor(declared) -> None:
    first, second = tell("a.happened", n=1), tell("a.happened", n=2)
    tell("b.happened")
    assert events.since(first.id, frozenset({"a.happened"})) == [second]
