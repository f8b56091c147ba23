"""Home, by role: where one stands, and what awaits one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from souverain.core import clock, queries, rooms
from souverain.core.access import (
    Actor,
    of_departement,
    organisations_in_reach,
    permits,
    requires,
)
from souverain.core.models import Organisation
from souverain.core.queries import Awaited
from souverain.portal import services
from souverain.portal.engine.lifecycle import State
from souverain.portal.membership_state import STATES
from souverain.portal.models import Departure, Membership
from souverain.portal.views.supervision import outbox
from souverain.territory.models import Commune

CHECKED_EVERY_S = 15
OWN_MAX = 20
SHOWN_MAX = 10


@require_GET
@requires("core.public")
def home(request: HttpRequest) -> HttpResponse:
    """What this is, how many have joined; then one's own communes, or one's own work."""
    actor: Actor = request.actor  # type: ignore[attr-defined]
    joined, count = services.joined().count(), Commune.objects.count()
    context: dict[str, Any] = {
        "joined": joined,
        "count": count,
        "population": _population(),
        "in_service": set(rooms.load()),
    }
    if actor.user is not None:
        own = _own_communes(actor)
        context |= {
            "own": [_standing(organisation) for organisation in own[:OWN_MAX]],
            "awaited": _awaited(actor) if permits(actor, "portal.enrol") else None,
            "doors": _doors(actor),
        }
    return render(request, "portal/home.html", context)


def _population() -> int:
    """Inhabitants of the communes that have joined (INSEE, municipal population)."""
    codes = services.joined().values("organisation")
    found = Commune.objects.filter(organisation__in=codes, population__isnull=False)
    return sum(found.values_list("population", flat=True))


def _own_communes(actor: Actor) -> list[Organisation]:
    """The communes on which the person holds a role of her own."""
    held = {
        assignment.organisation_id: assignment.organisation
        for assignment in actor.assignments
        if assignment.organisation.kind == Organisation.Kind.COMMUNE
    }
    return sorted(held.values(), key=lambda organisation: organisation.name)


def _standing(organisation: Organisation) -> dict[str, Any]:
    found = services.current(organisation)
    return {
        "commune": organisation,
        "membership": found,
        "state": STATES[State(found.state)] if found else ("neutral", "N'a pas rejoint le Cloud"),
    }


def _awaited(actor: Actor) -> list[Awaited]:
    """What an operator has to do, the most pressing first."""
    rooms_say = [item for said in queries.awaited.ask_all(actor) for item in said]
    found = [*_supervised(actor), *rooms_say, *_enrolment(actor)]
    return sorted(found, key=lambda item: item.kind != "danger")


def _supervised(actor: Actor) -> list[Awaited]:
    """What fails, and the mail that cannot leave."""
    if not permits(actor, "core.supervise", **of_departement()):
        return []
    waiting = []
    links = (("Voir la supervision", reverse("portal:supervision")),)
    failing = _failing_checks(int(clock.now().timestamp()) // CHECKED_EVERY_S)
    if failing:
        sentence = _many(failing, "contrôle en échec", "contrôles en échec")
        waiting.append(Awaited("activity", sentence, links, "danger"))
    mail = outbox()
    if mail.kind != "ok":
        sentence = f"Messages à envoyer\u00a0: {mail.message.rstrip('.')}"
        waiting.append(Awaited("envelope", sentence, links, mail.kind))
    return waiting


def _enrolment(actor: Actor) -> list[Awaited]:
    """Agreements to sign, exports and erasures."""
    waiting = []
    reach = organisations_in_reach(actor, "portal.enrol")
    found = list(
        Membership.objects.filter(
            organisation__in=reach, state__in=(State.ASKED, State.LEAVING, State.ERASING)
        )
        .select_related("organisation")
        .order_by("asked_at")
    )
    departures = {
        departure.membership_id: departure
        for departure in Departure.objects.filter(membership__in=found, cancelled_at=None).order_by(
            "pk"
        )
    }
    groups: dict[str, list[Membership]] = {}
    for membership in found:
        groups.setdefault(_duty(membership, departures.get(membership.pk)), []).append(membership)
    for duty, (icon, one, many, page) in _DUTIES.items():
        some = groups.get(duty, [])
        if some:
            links = tuple(
                (m.organisation.name, reverse(page, args=[m.organisation.code]))
                for m in some[:SHOWN_MAX]
            )
            waiting.append(Awaited(icon, _many(len(some), one, many), links))
    return waiting


_DUTIES = {
    "erasing": (
        "trash",
        "effacement à mener au bout",
        "effacements à mener au bout",
        "portal:departure",
    ),
    "erase": ("trash", "effacement à exécuter", "effacements à exécuter", "portal:departure"),
    "sign": ("pen", "convention à signer", "conventions à signer", "portal:membership"),
    "acknowledge": (
        "box-seam",
        "export prêt, que la commune n'a pas encore reçu",
        "exports prêts, que les communes n'ont pas encore reçus",
        "portal:departure",
    ),
    "export": (
        "hourglass-split",
        "export en préparation",
        "exports en préparation",
        "portal:departure",
    ),
}


def _duty(membership: Membership, departure: Departure | None) -> str:
    if membership.state == State.ASKED:
        return "sign"
    if membership.state == State.ERASING:
        kept = queries.erasable_on.ask(membership.organisation.code)
        waits = kept is not None and (departure is None or departure.erased is None)
        return "waits" if waits else "erasing"
    if departure is None or departure.exported_at is None:
        return "export"
    return "erase" if departure.acknowledged_at else "acknowledge"


@lru_cache(maxsize=1)
def _failing_checks(_: int) -> int:
    """How many checks fail, looked at once in a while: home has to open at once."""
    return sum(not _passes(item) for room in rooms.load().values() for item in room.health)


def _passes(item: rooms.HealthCheck) -> bool:
    try:
        return item.check().ok
    except Exception:
        return False


def _many(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _doors(actor: Actor) -> list[dict[str, str]]:
    """What the menu offers this person, said in a sentence each."""
    said = {
        "portal:communes": "Chercher une commune et voir ce qui sert dans chacune.",
        "portal:memberships": "Suivre les communes qui rejoignent ou quittent le Cloud.",
        "portal:journal": "Lire qui a fait quoi, et quand.",
        "portal:supervision": "Voir si chaque système fonctionne.",
        "vault:overview": "Voir les dernières sauvegardes des communes.",
        "street:stroll": "Se promener sur les routes du département, en images.",
        "street:desk": "Regarder une route, la mesurer, relever ce qui s'y trouve.",
        "street:inventory": "Suivre les panneaux, les défauts et les travaux des routes.",
        "street:campaigns": "Recevoir, contrôler et publier les images des routes.",
    }
    return [
        {"title": item.title, "icon": item.icon, "url": reverse(item.url), "said": said[item.url]}
        for item in rooms.every("navigation")
        if item.url in said and permits(actor, item.permission)
    ]
