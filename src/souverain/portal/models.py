"""The portal's records, written only by `portal.services` and `portal.leaving`."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from souverain.core import clock
from souverain.core.models import Job, Organisation
from souverain.portal.engine.lifecycle import MEMBER, OPEN, State


class Agreement(models.Model):
    """A text that communes sign, kept once and for ever under its SHA-256."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    version = models.CharField(max_length=20)
    text = models.TextField()
    created_at = models.DateTimeField(default=clock.now)


class Membership(models.Model):
    """One stay of a commune in Cloud Côte-d'Or. A commune that comes back begins another one.
    Who acted is told as in the journal (`user:3`), never by name."""

    class Phase(models.TextChoices):
        ASKED = State.ASKED.value, "Demande en cours"
        JOINED = State.JOINED.value, "A rejoint le Cloud"
        LEAVING = State.LEAVING.value, "Départ demandé"
        ERASING = State.ERASING.value, "Effacement en cours"
        LEFT = State.LEFT.value, "Partie"
        WITHDRAWN = State.WITHDRAWN.value, "Demande retirée"

    class Tool(models.TextChoices):
        VAULT = "vault", "Le coffre-fort"
        MAIL = "mail", "L'adresse mail conforme"
        BOX = "box", "Le boîtier de protection"

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="memberships")
    state = models.CharField(max_length=10, choices=Phase, default=Phase.ASKED)
    tools = models.JSONField(default=list)
    agreement = models.ForeignKey(Agreement, models.PROTECT, null=True)
    asked_at = models.DateTimeField(default=clock.now)
    asked_by = models.CharField(max_length=80)
    signed_on = models.DateField(null=True)
    joined_on = models.DateField(null=True)
    joined_by = models.CharField(max_length=80, blank=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["organisation__name", "-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organisation"],
                condition=Q(state__in=sorted(state.value for state in OPEN)),
                name="membership_open_once",
            ),
        ]

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def is_member(self) -> bool:
        return self.state in MEMBER

    @property
    def departure(self) -> Departure | None:
        """The departure under way, or the one that ended this membership."""
        return self.departures.filter(cancelled_at=None).order_by("-pk").first()


class Contact(models.Model):
    """Somebody at the town hall: personal data, erased when the commune leaves."""

    class Kind(models.TextChoices):
        ELECTED = "elected", "Élu référent"
        SECRETARY = "secretary", "Secrétariat"
        DATA_PROTECTION = "data-protection", "Délégué à la protection des données"
        TECHNICAL = "technical", "Contact technique"

    membership = models.ForeignKey(Membership, models.CASCADE, related_name="contacts")
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=160)
    email = models.EmailField(blank=True)
    phone = models.CharField(max_length=24, blank=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["membership", "kind"], name="contact_kind_once"),
        ]


class Departure(models.Model):
    """A commune leaves: asked, exported, acknowledged, erased; or cancelled before the erasure.
    `export_rooms` holds how many files and bytes each room gave; `erased` what the rooms forgot,
    from the transaction that forgot it; `proof` the sealed proof of erasure."""

    membership = models.ForeignKey(Membership, models.PROTECT, related_name="departures")
    asked_at = models.DateTimeField(default=clock.now)
    asked_by = models.CharField(max_length=80)
    cancelled_at = models.DateTimeField(null=True)
    export_job = models.ForeignKey(Job, models.SET_NULL, null=True, related_name="+")
    exported_at = models.DateTimeField(null=True)
    export_bytes = models.BigIntegerField(null=True)
    export_rooms = models.JSONField(default=dict)
    export_sha256 = models.CharField(max_length=64, blank=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=80, blank=True)
    erase_job = models.ForeignKey(Job, models.SET_NULL, null=True, related_name="+")
    erased_by = models.CharField(max_length=80, blank=True)
    erased = models.JSONField(null=True)
    proof = models.JSONField(null=True)
