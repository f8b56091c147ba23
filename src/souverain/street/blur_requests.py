"""What a resident asks: « floutez-moi », « floutez ma maison ». Asked, followed by a code, answered
with a receipt; the contact is erased with the answer."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.urls import reverse

from souverain.core import clock, events, journal
from souverain.core.access import ANONYMOUS, Actor, of_departement, permits
from souverain.core.format import age_fr
from souverain.core.queries import Awaited
from souverain.street import privacy
from souverain.street.derivation import Replaced
from souverain.street.engine.boxes import Box
from souverain.street.models import BlurRequest, Campaign, Panorama
from souverain.street.privacy import PrivacyError

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no letter that reads as another sign."""
WAITING_MAX = 2000
"""Requests that wait at once: a flood fills no disk, and those that came before it stay."""
MAX_DEG = 90.0
PRESSING_AFTER = timedelta(days=21)
"""A month is allowed to answer (GDPR, article 12.3): said a week before."""


def new_code() -> str:
    """Twelve signs, 60 bits: nobody guesses somebody else's."""
    signs = "".join(secrets.choice(_LETTERS) for _ in range(12))
    return f"{signs[:4]}-{signs[4:8]}-{signs[8:]}"


def read_code(text: str) -> str:
    """A code as people type it, in its one form; anything else comes out as it cannot match."""
    signs = "".join(c for c in text.upper() if c.isalnum())
    signs = signs.translate(str.maketrans("OIL", "011"))
    return f"{signs[:4]}-{signs[4:8]}-{signs[8:12]}" if len(signs) == 12 else ""


def awaited(actor: Actor) -> tuple[Awaited, ...]:
    """How many requests wait, for those who answer them."""
    if not permits(actor, "street.privacy", **of_departement()):
        return ()
    waiting = BlurRequest.objects.filter(state=BlurRequest.State.RECEIVED)
    oldest, now = waiting.order_by("received_at").first(), clock.now()
    if oldest is None:
        return ()
    count = waiting.count()
    many = "demande de floutage attend" if count == 1 else "demandes de floutage attendent"
    links = (
        (
            f"La plus ancienne, reçue {age_fr(oldest.received_at, now)}",
            reverse("street:blur-request", args=[oldest.pk]),
        ),
        ("Voir les demandes", reverse("street:blur-requests")),
    )
    pressing = now - oldest.received_at >= PRESSING_AFTER
    return (Awaited("eye-slash", f"{count} {many}", links, "danger" if pressing else "warn"),)


@transaction.atomic
def ask(
    panorama: Panorama | None,
    subject: str,
    *,
    yaw_deg: float = 0.0,
    elevation_deg: float = 0.0,
    width_deg: float = 10.0,
    height_deg: float = 10.0,
    message: str = "",
    contact: str = "",
) -> BlurRequest:
    """Keep a request. Raises PrivacyError when too many wait, or when it names no place."""
    if BlurRequest.objects.filter(state=BlurRequest.State.RECEIVED).count() >= WAITING_MAX:
        raise PrivacyError("Trop de demandes attendent déjà : réessayez demain, ou écrivez-nous.")
    if panorama is None and not message.strip():
        raise PrivacyError("Dites où c'est : la commune, la route ou la rue, ce qu'on y voit.")
    if panorama is not None:
        check_direction(yaw_deg, elevation_deg, width_deg, height_deg)
    asked = BlurRequest.objects.create(
        code=new_code(),
        panorama=panorama,
        subject=subject,
        yaw_deg=yaw_deg,
        elevation_deg=elevation_deg,
        width_deg=width_deg,
        height_deg=height_deg,
        message=message,
        contact=contact,
    )
    journal.append(ANONYMOUS, "street.blur_requested", object=f"request:{asked.pk}")
    events.emit("street.blur_requested", payload={"request": str(asked.pk)})
    return asked


def check_direction(
    yaw_deg: float, elevation_deg: float, width_deg: float, height_deg: float
) -> None:
    """Raises PrivacyError; NaN passes no comparison."""
    if not (-360 <= yaw_deg <= 360 and -90 <= elevation_deg <= 90):
        raise PrivacyError("La direction est impossible : azimut ±360°, élévation ±90°.")
    if not (0 < width_deg <= MAX_DEG and 0 < height_deg <= MAX_DEG):
        raise PrivacyError(f"La zone doit faire plus de 0° et {MAX_DEG:.0f}° au plus.")


def place(
    asked: BlurRequest,
    panorama: Panorama,
    yaw_deg: float,
    elevation_deg: float,
    width_deg: float,
    height_deg: float,
) -> None:
    """Say, or mend, where the request is about. Raises PrivacyError."""
    if asked.state != BlurRequest.State.RECEIVED:
        raise PrivacyError("Cette demande a déjà sa réponse.")
    check_direction(yaw_deg, elevation_deg, width_deg, height_deg)
    asked.panorama = panorama
    asked.yaw_deg, asked.elevation_deg = yaw_deg, elevation_deg
    asked.width_deg, asked.height_deg = width_deg, height_deg
    asked.save(update_fields=["panorama", "yaw_deg", "elevation_deg", "width_deg", "height_deg"])


def box_of(asked: BlurRequest) -> Box:
    """Raises PrivacyError when the request does not say where."""
    if asked.panorama is None:
        raise PrivacyError("Dites d'abord sur quelle image, et à quel endroit.")
    return privacy.box_at(
        asked.panorama,
        asked.yaw_deg,
        asked.elevation_deg,
        asked.width_deg,
        asked.height_deg,
        "request",
    )


def carry_out(actor: Actor, asked: BlurRequest, answer: str = "") -> dict[str, Any]:
    """Replace the box in every copy and answer with the receipt. Killed on the way, it can be
    asked again: the box is then replaced again, and the receipt tells that. Raises PrivacyError,
    JpegError, PictureError, OSError."""
    if asked.state != BlurRequest.State.RECEIVED:
        raise PrivacyError("Cette demande a déjà sa réponse.")
    box = box_of(asked)
    assert asked.panorama is not None
    started = time.monotonic()
    replaced = privacy.reblur(actor, asked.panorama, [box], request=asked)
    receipt = _receipt(asked, replaced, time.monotonic() - started)
    _answer(actor, asked, BlurRequest.State.DONE, answer, receipt)
    return receipt


def refuse(actor: Actor, asked: BlurRequest, answer: str) -> None:
    """Raises PrivacyError without a reason."""
    if not answer.strip():
        raise PrivacyError("Un refus dit pourquoi.")
    if asked.state != BlurRequest.State.RECEIVED:
        raise PrivacyError("Cette demande a déjà sa réponse.")
    _answer(actor, asked, BlurRequest.State.REFUSED, answer, None)


@transaction.atomic
def _answer(
    actor: Actor, asked: BlurRequest, state: str, answer: str, receipt: dict[str, Any] | None
) -> None:
    # Somebody else may have answered during the seconds that a blur takes.
    still = BlurRequest.objects.select_for_update().filter(pk=asked.pk)
    if not still.filter(state=BlurRequest.State.RECEIVED).exists():
        raise PrivacyError("Cette demande a déjà sa réponse.")
    asked.state, asked.answer, asked.receipt = state, answer, receipt
    asked.answered_at = clock.now()
    asked.contact = ""
    asked.message = ""
    asked.save(update_fields=["state", "answer", "receipt", "answered_at", "contact", "message"])
    journal.append(
        actor, "street.blur_answered", object=f"request:{asked.pk}", data={"state": state}
    )


def _receipt(asked: BlurRequest, replaced: list[Replaced], seconds: float) -> dict[str, Any]:
    panorama = asked.panorama
    assert panorama is not None
    kept_original = panorama.campaign.originals == Campaign.Originals.KEPT
    return {
        "code": asked.code,
        "panorama": str(panorama.pk),
        "version": panorama.version,
        "at": clock.rfc3339(clock.now()),
        "duration_s": round(seconds, 3),
        "original": "replaced" if kept_original and panorama.original_key else "not kept",
        "boxes": [
            {"x": b.x, "y": b.y, "width": b.width, "height": b.height}
            for b in asked.boxes.order_by("pk")
        ],
        "objects": [
            {
                "key": each.key,
                "sha256_before": each.sha256_before,
                "sha256_after": each.sha256_after,
            }
            for each in replaced
        ],
    }
