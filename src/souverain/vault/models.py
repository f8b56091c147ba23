"""The vault's records, written only by `vault.services`."""

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
    Of moments before `complete_since`, some bytes have left the disk.
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
    complete_since = models.DateTimeField(null=True)
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
    client) later, its bytes perhaps reaped once the lock is over. The database refuses deletes,
    and any update but a death and, not before the lock says so, a reaping."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="objects_stored")
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=64)
    size = models.BigIntegerField()
    received_at = models.DateTimeField()
    died_at = models.DateTimeField(null=True)
    reaped_at = models.DateTimeField(null=True)
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
            models.Index(
                fields=["deposit_set", "died_at"],
                condition=Q(died_at__isnull=False, reaped_at__isnull=True),
                name="stored_object_to_reap",
            ),
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


class Lock(models.Model):
    """How many days a set's objects stay after their death. Rows are only added, and the longest
    holds: there is nothing with which to shorten it."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="locks")
    days = models.PositiveIntegerField()
    set_by = models.CharField(max_length=80)
    set_at = models.DateTimeField()


class Hold(models.Model):
    """While one is not lifted, no byte of the set leaves: a legal hold, or a freeze (something is
    wrong, nothing moves until an operator looked)."""

    class Kind(models.TextChoices):
        LEGAL = "legal", "Conservation exigée"
        FREEZE = "freeze", "Gel"

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="holds")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.LEGAL)
    reason = models.CharField(max_length=300)
    reference = models.CharField(max_length=120, blank=True)
    placed_by = models.CharField(max_length=80)
    placed_at = models.DateTimeField()
    lifted_by = models.CharField(max_length=80, blank=True)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["pk"]


class ReaperPass(models.Model):
    """An instant at which the reaper looked at the clock: by these it knows what time it saw pass.
    `confirmed_by` says who vouched for a clock that had leapt."""

    at = models.DateTimeField()
    confirmed_by = models.CharField(max_length=80, blank=True)
    ended_at = models.DateTimeField(null=True)


class Destruction(models.Model):
    """A request to destroy what a set holds: asked on one side (commune, département), approved on
    the other, executed a week later unless somebody of either side cancels it."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="destructions")
    reason = models.CharField(max_length=300)
    reference = models.CharField(max_length=120)
    asked_by = models.CharField(max_length=80)
    asked_by_operator = models.BooleanField()
    asked_at = models.DateTimeField()
    approved_by = models.CharField(max_length=80, blank=True)
    approved_at = models.DateTimeField(null=True)
    cancelled_by = models.CharField(max_length=80, blank=True)
    cancelled_at = models.DateTimeField(null=True)
    executed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set"],
                condition=Q(cancelled_at__isnull=True, executed_at__isnull=True),
                name="destruction_pending_once",
            ),
        ]


class Announcement(models.Model):
    """That the members were told, once a legal day, that a device restored or pruned."""

    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    act = models.CharField(max_length=10)
    day = models.DateField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["device", "act", "day"], name="announced_once"),
        ]


# The alarm, written only by `vault.alarm` ----------------------------------------------------------


class Watch(models.Model):
    """What the alarm remembers of a deposit set: `engine.ransomware.State` after the night
    `closed_night`, an ordinal date. It can be computed anew from the rows of the objects."""

    deposit_set = models.OneToOneField(
        DepositSet, models.PROTECT, primary_key=True, related_name="watch"
    )
    closed_night = models.IntegerField()
    memory = models.JSONField(default=dict)


class BulkAnnouncement(models.Model):
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


class KeyChange(models.Model):
    """A key was added to, or removed from, a repository that had one: whoever knows a key reads
    every backup. It stays on the page until a person of the commune says that it was meant."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="key_changes")
    name = models.CharField(max_length=64)
    added = models.BooleanField()
    device = models.ForeignKey(Device, models.PROTECT, related_name="+")
    at = models.DateTimeField()
    seen_at = models.DateTimeField(null=True)
    seen_by = models.CharField(max_length=80, default="")

    class Meta:
        ordering: ClassVar = ["-at"]
        indexes: ClassVar = [
            models.Index(
                fields=["deposit_set"], condition=Q(seen_at=None), name="key_change_not_seen"
            ),
        ]


# Evidence, written only by `vault.log` --------------------------------------------------------------


class Log(models.Model):
    """The end of an organisation's transparency log: what is in sequence, and what was signed.

    `frontier` holds the hashes of the complete subtrees on the right edge, largest first.
    `checkpoint` is the text of the last one signed, `signed_size` its number of leaves.
    """

    organisation = models.OneToOneField(Organisation, models.PROTECT, primary_key=True)
    size = models.BigIntegerField(default=0)
    frontier = models.BinaryField(default=b"")
    checkpoint = models.TextField(default="")
    signature = models.TextField(default="")
    signed_size = models.BigIntegerField(default=0)
    signed_at = models.DateTimeField(null=True)
    stamped_at = models.DateTimeField(null=True)
    stamped_size = models.BigIntegerField(default=0)

    @property
    def signed(self) -> bytes:
        """The last checkpoint as the log signed it, without its witnesses."""
        return f"{self.checkpoint}\n{self.signature}".encode()


class LogLeaf(models.Model):
    """One leaf, as its bytes say it. The database refuses updates and deletes."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    index = models.BigIntegerField()
    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="+")
    at = models.DateTimeField()
    data = models.TextField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organisation", "index"], name="log_leaf_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["deposit_set", "-at"], name="log_leaf_by_set")]


class Witness(models.Model):
    """Who cosigns an organisation's checkpoints; `key` is its public key, as C2SP writes it."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="witnesses")
    name = models.CharField(max_length=80)
    key = models.CharField(max_length=300)
    added_at = models.DateTimeField(default=clock.now)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["name", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organisation", "name"],
                condition=Q(removed_at__isnull=True),
                name="witness_name_once",
            ),
        ]


class Cosignature(models.Model):
    """A witness's signature line below the checkpoint of `size` leaves, and when it came."""

    witness = models.ForeignKey(Witness, models.PROTECT, related_name="cosignatures")
    size = models.BigIntegerField()
    line = models.TextField()
    received_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["witness", "size"], name="cosignature_once"),
        ]


class LogExport(models.Model):
    """An export of the log for archivists: up to which leaf, and the token that the next one names."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="+")
    size = models.BigIntegerField()
    token = models.BinaryField(default=b"")
    made_at = models.DateTimeField()


# Parity and integrity, written only by `vault.parity` and `vault.scrub` -----------------------------


class Stripe(models.Model):
    """Objects of a set that share two parity shards; `name` is its manifest's. `members` counts the
    objects in the manifest, whether or not another stripe holds some of them since."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="stripes")
    name = models.CharField(max_length=64)
    members = models.IntegerField()
    bytes = models.BigIntegerField()
    length = models.BigIntegerField()
    made_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["deposit_set", "name"], name="stripe_once"),
        ]


class StripeMember(models.Model):
    """Which stripe an object's file is in."""

    stripe = models.ForeignKey(Stripe, models.PROTECT, related_name="rows")
    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="+")
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=64)
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set", "type", "name"], name="stripe_member_once"
            ),
        ]


class ScrubPass(models.Model):
    """One integrity pass over a set. `phase` and `after` say where it stands: it goes on from there
    after a crash. A pass that does not repair changes no file."""

    class Phase(models.TextChoices):
        OBJECTS = "objects"
        PARITY = "parity"
        STRIPES = "stripes"
        ENDED = "ended"

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="passes")
    repairs = models.BooleanField()
    by = models.CharField(max_length=80)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.OBJECTS)
    after = models.CharField(max_length=80, default="")
    objects_read = models.BigIntegerField(default=0)
    bytes_read = models.BigIntegerField(default=0)
    found = models.IntegerField(default=0)
    mended = models.IntegerField(default=0)
    lost = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set", "repairs"],
                condition=Q(ended_at__isnull=True),
                name="scrub_pass_open_once",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["deposit_set", "-id"], name="scrub_pass_last")]


class Damage(models.Model):
    """A file that was found damaged or missing: `type` is the object's, or `parity` with the name
    of a stripe. `lost_at` says that it could not be mended; `mended_at`, that it is whole since;
    `gone_at`, that it is no more kept."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="damages")
    seen_in = models.ForeignKey(ScrubPass, models.PROTECT, related_name="damages")
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=64)
    found_at = models.DateTimeField()
    lost_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    mended_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set", "type", "name"],
                condition=Q(mended_at__isnull=True, gone_at__isnull=True),
                name="damage_open_once",
            ),
        ]


# Restore drills, written only by `vault.drills` -----------------------------------------------------


class Drill(models.Model):
    """The report of a restore drill, as its machine signed it; `witness` is the registered one whose
    key that is. Rows are only added: the database refuses updates and deletes."""

    class Verdict(models.TextChoices):
        PASSED = "passed", "Réussi"
        FAILED = "failed", "Échoué"
        UNFINISHED = "unfinished", "Inachevé"

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="drills")
    device = models.ForeignKey(Device, models.PROTECT, null=True, related_name="+")
    """None for one that ran at the département's console."""
    witness = models.ForeignKey(Witness, models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField()
    """When it ended, by the clock of where it ran; never after it was received."""
    received_at = models.DateTimeField()
    verdict = models.CharField(max_length=12, choices=Verdict)
    sha256 = models.CharField(max_length=64, unique=True)
    report = models.TextField()

    class Meta:
        ordering: ClassVar = ["-at", "-pk"]
        indexes: ClassVar = [models.Index(fields=["deposit_set", "-at"], name="drill_by_set")]


# The second site, written only by `vault.site` and `vault.replica` ------------------------------------


class Site(models.Model):
    """Which site this vault is, one row; absent, it is a first site that never met another.

    `epoch` grows with each promotion: of two sites that say they are first, the higher one is right.
    `log_key` is the public key, in hexadecimal, under which the copied logs are signed.
    """

    class Role(models.TextChoices):
        FIRST = "first", "Premier site"
        COPY = "copy", "Copie"
        FENCED = "fenced", "En lecture seule : un autre site est le premier"

    name = models.CharField(max_length=16)
    role = models.CharField(max_length=8, choices=Role, default=Role.FIRST)
    epoch = models.BigIntegerField(default=0)
    changed_at = models.DateTimeField(default=clock.now)
    log_key = models.CharField(max_length=64, blank=True)
    forked_logs = models.JSONField(default=list)
    """Codes of the communes whose log here says what the first site's does not."""


class ReplicaSource(models.Model):
    """The other site, from which this one pulls, or pulled until its promotion. `heard_at` and
    `complete_to` are of the other site's clock, the other instants of ours."""

    address = models.CharField(max_length=200)
    site = models.CharField(max_length=16, blank=True)
    epoch = models.BigIntegerField(default=0)
    added_at = models.DateTimeField(default=clock.now)
    removed_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    heard_at = models.DateTimeField(null=True)
    complete_at = models.DateTimeField(null=True)
    complete_to = models.DateTimeField(null=True)
    missing_objects = models.BigIntegerField(default=0)
    missing_bytes = models.BigIntegerField(default=0)
    troubles = models.JSONField(default=list)
    promoted_at = models.DateTimeField(null=True)
    fenced_at = models.DateTimeField(null=True)
    only_there_objects = models.BigIntegerField(null=True)
    """Births there after the last one pulled, once it is read-only; None while it is not known."""
    only_there_deaths = models.BigIntegerField(null=True)


class ReplicaReader(models.Model):
    """What the site that copies this one says that it has: everything up to an instant of ours."""

    device = models.OneToOneField(Device, models.PROTECT, primary_key=True, related_name="+")
    complete_to = models.DateTimeField()
    said_at = models.DateTimeField()


class ReplicaSet(models.Model):
    """How far a deposit set was copied: the instant and the row of the last event, in the words of
    the site `site`. `head` is the instant up to which that site had nothing more."""

    deposit_set = models.OneToOneField(
        DepositSet, models.PROTECT, primary_key=True, related_name="replica"
    )
    site = models.CharField(max_length=16)
    at = models.DateTimeField(null=True)
    row = models.BigIntegerField(default=0)
    head = models.DateTimeField(null=True)
    lock_days = models.PositiveIntegerField(default=0)
    """The longest that the other site ever said."""
    destroyed_at = models.DateTimeField(null=True)
    gone_at = models.DateTimeField(null=True)
    """Since when the other site does not name the set any more."""


class Replicated(models.Model):
    """Events of a set that this site learnt at one instant of its own clock. A lock runs from what
    is later, the death or this instant. The database refuses updates and deletes."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="+")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    learnt_at = models.DateTimeField()
    births = models.PositiveIntegerField()
    deaths = models.PositiveIntegerField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["deposit_set", "last_at"], name="replicated_by_set"),
        ]


class ReplicaHold(models.Model):
    """A hold that was placed on the other site first. Lifted there, it stays here."""

    hold = models.OneToOneField(Hold, models.PROTECT, primary_key=True, related_name="replica")
    row = models.BigIntegerField()
    lifted_there_at = models.DateTimeField(null=True)


class ReplicaFault(models.Model):
    """An object whose bytes the other site does not give as it must: asked again at each turn."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="+")
    event = models.JSONField()
    """The birth, as the other site tells it."""
    died_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=300)
    first_at = models.DateTimeField()


class ReplicaTurn(models.Model):
    """One turn of pulling, kept a week: how late the copy was, in seconds and in objects."""

    source = models.ForeignKey(ReplicaSource, models.PROTECT, related_name="turns")
    at = models.DateTimeField()
    lag_s = models.BigIntegerField(null=True)
    missing_objects = models.BigIntegerField(default=0)
    objects_received = models.BigIntegerField(default=0)
    bytes_received = models.BigIntegerField(default=0)
    ok = models.BooleanField(default=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["source", "-at"], name="replica_turns")]


class Divergence(models.Model):
    """An object that this site received and the one promoted meanwhile never had (`birth`), or
    whose deletion it never heard of (`death`). `settled_at`: since when both say the same."""

    stored = models.ForeignKey(StoredObject, models.PROTECT, related_name="+")
    event = models.CharField(max_length=8)
    found_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)


# The store's own lock, written only by `vault.object_lock` -----------------------------------------


class LockPass(models.Model):
    """One walk over every version of an S3 store: up to which name it went, and what it did."""

    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    after = models.TextField(blank=True)
    bucket_days = models.PositiveIntegerField(null=True)
    """For how long the bucket locks by itself what arrives; null when it has no lock at all."""
    versions = models.BigIntegerField(default=0)
    extended = models.BigIntegerField(default=0)
    freed = models.BigIntegerField(default=0)
    freed_bytes = models.BigIntegerField(default=0)
    brought_back = models.BigIntegerField(default=0)
    lost = models.BigIntegerField(default=0)
    """Names of which no version has the right bytes."""
    refused = models.BigIntegerField(default=0)
    """Versions that the store did not want to lock for longer."""


class CheckedVersion(models.Model):
    """The version that was read and found right, of a name that has several."""

    deposit_set = models.ForeignKey(DepositSet, models.PROTECT, related_name="+")
    type = models.CharField(max_length=10)
    name = models.CharField(max_length=64)
    version = models.CharField(max_length=200)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["deposit_set", "type", "name"], name="checked_version_once"
            ),
        ]
