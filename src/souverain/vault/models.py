"""The vault's records, written only by `vault.services`, and by `vault.alarm` those of the alarm."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from django.db import models
from django.db.models import Q

from souverain.core import clock
from souverain.core.models import Device, Organisation

DEFAULT_QUOTA_BYTES = 50 * 10**9


class Quota(models.Model):
    """How many bytes an organisation may keep, when it is not the default."""

    organisation = models.OneToOneField(Organisation, models.PROTECT, primary_key=True)
    bytes = models.BigIntegerField(default=DEFAULT_QUOTA_BYTES)


class State(StrEnum):
    """Whether a deposit set is as fresh as it must be."""

    FRESH = "fresh"
    LATE = "late"
    NEVER = "never"


class DepositSet(models.Model):
    """One restic repository of an organisation: what it holds, how long, how fresh it must be.

    `stored_bytes` counts what is on disk, `live_bytes` what no client deleted; `last_instant` is
    the latest birth, death or moment shown, and the server's receipt times never go back before it.
    """

    class Kind(models.TextChoices):
        GENERAL = "general", "Dossiers courants"
        CIVIL_STATUS = "civil-status", "État civil"
        DELIBERATIONS = "deliberations", "Délibérations"
        ACCOUNTS = "accounts", "Comptes"

    class Retention(models.TextChoices):
        STANDARD = "standard", "Copie de sécurité courante"
        TEN_YEARS = "ten-years", "Dix ans"
        FOREVER = "forever", "Sans limite"

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="deposit_sets")
    code = models.SlugField(max_length=40, default="general")
    title = models.CharField(max_length=120)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.GENERAL)
    retention_class = models.CharField(max_length=20, choices=Retention, default=Retention.STANDARD)
    fresh_within_hours = models.PositiveIntegerField(default=26)
    stored_bytes = models.BigIntegerField(default=0)
    live_bytes = models.BigIntegerField(default=0)
    last_instant = models.DateTimeField(null=True)
    last_deposit_at = models.DateTimeField(null=True)
    late_told_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        ordering: ClassVar = ["organisation__name", "code"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organisation", "code"], name="deposit_set_code_once"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def prefix(self) -> str:
        """Where the set's folder is in the object store."""
        return f"vault/{self.organisation.code}/{self.code}"

    @property
    def due_at(self) -> datetime:
        """By when the next deposit must have arrived."""
        since = self.last_deposit_at or self.created_at
        return since + timedelta(hours=self.fresh_within_hours)

    def state(self, now: datetime) -> State:
        if self.last_deposit_at is None:
            return State.NEVER
        return State.LATE if now > self.due_at else State.FRESH


class Session(models.Model):
    """One run of a client: what a device sent, up to and with its snapshot."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="sessions")
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    last_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    objects_received = models.BigIntegerField(default=0)
    bytes_received = models.BigIntegerField(default=0)


class StoredObject(models.Model):
    """One life of one object: born at the server's receipt time, perhaps dead (deleted by the
    client) later; the bytes stay. The database refuses deletes, and any update but a death."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="objects_stored")
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=64)
    size = models.BigIntegerField()
    received_at = models.DateTimeField()
    died_at = models.DateTimeField(null=True)
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    session = models.ForeignKey(Session, models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set", "type", "name"],
                condition=Q(died_at__isnull=True),
                name="stored_object_lives_once",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["deposit_set", "type", "name"], name="stored_object_by_name"),
            models.Index(fields=["deposit_set", "-received_at"], name="stored_object_by_birth"),
            models.Index(fields=["deposit_set", "-died_at"], name="stored_object_by_death"),
        ]


class ReadDay(models.Model):
    """What a device without the restore role read of the data on one legal day."""

    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    day = models.DateField()
    read_bytes = models.BigIntegerField(default=0)
    limit_bytes = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["device", "day"], name="read_day_once"),
        ]


class Watch(models.Model):
    """What the alarm remembers of a deposit set: `engine.ransomware.State` after the night
    `closed_night`, an ordinal date. It can be computed anew from the rows of the objects."""

    deposit_set = models.OneToOneField(
        DepositSet, models.PROTECT, primary_key=True, related_name="watch"
    )
    closed_night = models.IntegerField()
    memory = models.JSONField(default=dict)


class Announcement(models.Model):
    """A large deposit, or a large deletion of old backups, that a person said would come."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="announcements")
    announced_at = models.DateTimeField()
    until = models.DateTimeField()
    bytes = models.BigIntegerField()
    deletions = models.BooleanField(default=False)
    reason = models.CharField(max_length=200)
    actor = models.CharField(max_length=80)

    class Meta:
        ordering: ClassVar = ["-announced_at"]


class Alarm(models.Model):
    """A deposit set receives, or loses, what looks like the work of a ransomware."""

    class State(models.TextChoices):
        OPEN = "open", "À traiter"
        ACKNOWLEDGED = "acknowledged", "Prise en charge"
        CLOSED = "closed", "Close"

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="alarms")
    state = models.CharField(max_length=12, choices=State, default=State.OPEN)
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    """The one whose deposit or deletion raised it."""
    raised_at = models.DateTimeField()
    since = models.DateTimeField()
    """From when what arrived is suspect."""
    safe_at = models.DateTimeField(null=True)
    """The last moment before."""
    cause = models.CharField(max_length=12)
    score = models.FloatField()
    raised_bytes = models.BigIntegerField()
    """What had arrived of the night."""
    new_bytes = models.BigIntegerField()
    """The most that a suspect night brought, looked at again while the alarm is not closed."""
    reason = models.CharField(max_length=300)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=80, default="")
    closed_at = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=80, default="")
    legitimate = models.BooleanField(null=True)
    closing_reason = models.CharField(max_length=200, default="")

    class Meta:
        ordering: ClassVar = ["-raised_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set"], condition=~Q(state="closed"), name="alarm_open_once"
            ),
        ]
