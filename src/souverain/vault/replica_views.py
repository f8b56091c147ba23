"""The operator's page of the second site: which site this is, how late the copy, what to do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from souverain.core import clock
from souverain.core.access import of_departement, requires
from souverain.core.format import bytes_fr, datetime_fr, duration_fr, number_fr
from souverain.vault import replica, replica_status, site
from souverain.vault.models import ReplicaReader, ReplicaSource, Site

_STATES = {
    Site.Role.FIRST: ("ok", "Premier site"),
    Site.Role.COPY: ("info", "Copie"),
    Site.Role.FENCED: ("danger", "Remplacé"),
}
_AUTHORIZE = 'souverain vault replica authorize --name "Lieu du second site"'
_ADD = "souverain vault replica add --from https://ADRESSE-DU-PREMIER-SITE --secret-file acces.txt"


@require_GET
@requires("vault.oversee", of=of_departement)
def page(request: HttpRequest) -> HttpResponse:
    """State, lag in time and in objects, errors in words, and the command of what to do."""
    here, found = site.here(), replica.source()
    kind, word = _STATES[Site.Role(here.role)]
    health = replica_status.health()
    content: dict[str, Any] = {
        "trail": [
            {"title": "Coffre-fort", "url": reverse("vault:overview")},
            {"title": "Second site", "url": ""},
        ],
        "sentence": replica_status.sentence(),
        "kind": kind,
        "word": word,
        "here": here,
        "troubles": [] if health.ok else list(dict.fromkeys([health.message, *_troubles(found)])),
        "is_copy": here.role == Site.Role.COPY,
        "source": found,
        "readers": [_reader(device) for device in replica_status.readers()],
        "only_here": replica_status.open_divergence("birth"),
        "pending": replica_status.pending(),
        "faults": replica_status.faults()[:20],
        "commands": _commands(here, found),
        **(_figures(found) if found else {}),
    }
    return render(request, "vault/replica.html", content)


def _troubles(found: ReplicaSource | None) -> list[str]:
    return found.troubles if found else []


def _reader(device: Any) -> dict[str, Any]:
    said = ReplicaReader.objects.filter(device=device).first()
    return {"device": device, "complete_to": said and said.complete_to}


def _figures(found: ReplicaSource) -> dict[str, Any]:
    lag, worst = replica_status.lag_s(found), replica_status.worst_lag_s(found)
    return {
        "lag": "—" if lag is None else duration_fr(timedelta(seconds=lag)),
        "worst": "—" if worst is None else duration_fr(timedelta(seconds=worst)),
        "missing": number_fr(found.missing_objects),
        "missing_bytes": bytes_fr(found.missing_bytes),
        "lags": [(at, lag / 60) for at, lag in replica_status.lags_of_a_day(found)],
        "skew": _skew(found),
    }


def _skew(found: ReplicaSource) -> str:
    """That the two clocks differ, when they do by more than 5 seconds."""
    if found.heard_at is None or found.answered_at is None:
        return ""
    apart = found.heard_at - found.answered_at
    if abs(apart) <= timedelta(seconds=5):
        return ""
    way = "avance" if apart > timedelta() else "retarde"
    return f"L'horloge de l'autre site {way} de {duration_fr(abs(apart))}."


def _commands(here: Site, found: ReplicaSource | None) -> list[dict[str, str]]:
    """What may be typed now, and when."""
    if here.role == Site.Role.COPY:
        return [
            {
                "id": "promouvoir",
                "label": "Si le premier site est perdu",
                "note": "Sur la machine d'ici. La clé « log-key » du premier site doit y être.",
                "text": "souverain vault replica promote",
            },
            {
                "id": "copier",
                "label": "Copier tout de suite",
                "note": "Sinon, la copie se fait chaque minute.",
                "text": "souverain vault replica pull",
            },
        ]
    if here.role == Site.Role.FENCED:
        return [
            {
                "id": "ajouter",
                "label": "Devenir la copie de l'autre site",
                "note": "Avec un accès fait là-bas par « replica authorize ».",
                "text": _ADD,
            }
        ]
    if found is not None and found.only_there_objects:
        return [
            {
                "id": "reprendre",
                "label": "Reprendre ce que l'ancien premier site a reçu seul",
                "note": f"Il a répondu le {datetime_fr(found.answered_at or clock.now())}.",
                "text": "souverain vault replica recover",
            }
        ]
    return [
        {
            "id": "autoriser",
            "label": "1. Sur la machine d'ici : faire l'accès du second site",
            "note": "Le secret n'est montré qu'une fois.",
            "text": _AUTHORIZE,
        },
        {
            "id": "suivre",
            "label": "2. Sur la machine du second site : copier celui-ci",
            "note": "Mettez le secret dans acces.txt, lisible par le programme seul.",
            "text": _ADD,
        },
    ]
