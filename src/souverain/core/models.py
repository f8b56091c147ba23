"""The kernel's records. Only `services` and the modules named on each record write them."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property

from souverain.core import clock
from souverain.core.roles import Role


class Organisation(models.Model):
    """A tenant: the département, one of its directions, a commune, an EPCI."""

    class Kind(models.TextChoices):
        DEPARTEMENT = "departement", "Département"
        DIRECTION = "direction", "Direction"
        COMMUNE = "commune", "Commune"
        EPCI = "epci", "Intercommunalité"

    kind = models.CharField(max_length=16, choices=Kind)
    code = models.CharField(max_length=40, unique=True)
    name = models.CharField(max_length=160)
    siren = models.CharField(max_length=9, blank=True, db_index=True)

    class Meta:
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """A team inside an organisation (a maintenance centre, a service)."""

    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="groups")
    code = models.SlugField(max_length=60)
    name = models.CharField(max_length=160)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organisation", "code"], name="group_code_once"),
        ]

    def __str__(self) -> str:
        return self.name


def canonical_email(address: str) -> str:
    """The one spelling under which an address is kept: two people never differ by case, spaces or
    look-alike letters only. Empty when it is not an address that we take."""
    local, at, domain = address.strip().lower().rpartition("@")
    try:
        spelt = f"{local}{at}{domain.encode('idna').decode()}"
        validate_email(spelt)
    except (UnicodeError, ValidationError):
        return ""
    return spelt if local.isascii() else ""


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, full_name: str = "") -> User:
        spelt = canonical_email(email)
        if not spelt:
            raise ValidationError("Cette adresse électronique n'est pas valable.")
        user = self.model(email=spelt, full_name=full_name)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=canonical_email(username or ""))


class User(AbstractBaseUser):
    """A person. Signs in with an e-mail address; never deleted while the journal names it."""

    email = models.EmailField(unique=True)
    full_name = models.CharField(max_length=160, blank=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=clock.now)
    session_generation = models.PositiveIntegerField(default=0)
    """Raised to end every open session of this person, for good."""
    address_proven_at = models.DateTimeField(null=True)
    """When its owner showed that the address is theirs: by a link that was mailed to it and shown
    to nobody, or by a provider that vouches for it. Nothing made before then opens the account."""

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        return self.full_name or self.email

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """What a session must match: the password and the generation of sessions."""
        sealed = f"{self.session_generation}:{self.password}"
        return salted_hmac(
            "souverain.core.User.session", sealed, secret=secret, algorithm="sha256"
        ).hexdigest()

    @cached_property
    def assignments(self) -> list[RoleAssignment]:
        """The roles this person holds, with their organisations, read once per request."""
        return list(self.role_assignments.select_related("organisation", "group"))


class RoleAssignment(models.Model):
    """A role held by a person on an organisation, or on one of its groups."""

    user = models.ForeignKey(User, models.CASCADE, related_name="role_assignments")
    role = models.CharField(max_length=20, choices=Role.choices)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="role_assignments")
    group = models.ForeignKey(Group, models.PROTECT, null=True, blank=True)
    given_at = models.DateTimeField(default=clock.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user", "role", "organisation", "group"],
                name="role_given_once",
                nulls_distinct=None,
            ),
        ]


class Invitation(models.Model):
    """A one-time link by which a person takes up a role. Only the token's SHA-256 is kept."""

    class Voucher(models.TextChoices):
        """Who answers for the holder of the link being the person meant."""

        MAIL = "mail", "Le message, que seule l'adresse a reçu"
        CONSOLE = "console", "La console, qui a vu le lien"
        DEPARTEMENT = "departement", "Un opérateur du département, qui a vu le lien"
        ORGANISATION = "organisation", "Un administrateur de l'organisation, qui a vu le lien"

    email = models.EmailField()
    full_name = models.CharField(max_length=160, blank=True)
    role = models.CharField(max_length=20, choices=Role.choices)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="invitations")
    group = models.ForeignKey(Group, models.PROTECT, null=True, blank=True)
    token_sha256 = models.CharField(max_length=64, unique=True)
    voucher = models.CharField(max_length=12, choices=Voucher, default=Voucher.ORGANISATION)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    message = models.ForeignKey("Message", models.SET_NULL, null=True)
    """The letter that carries the link; its body is emptied once it left or was given up."""

    @property
    def is_open(self) -> bool:
        return (
            self.accepted_at is None and self.revoked_at is None and clock.now() < self.expires_at
        )


class SignInAttempt(models.Model):
    """A password that somebody tried, wrong until it is known to be right. Written by `guesses`."""

    account = models.CharField(max_length=64)
    network = models.CharField(max_length=64)
    at = models.DateTimeField(default=clock.now, db_index=True)
    succeeded = models.BooleanField(default=False)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["account", "at"], name="attempts_by_account"),
            models.Index(fields=["network", "at"], name="attempts_by_network"),
        ]


class ApiToken(models.Model):
    """A person's key to the API: scoped, expiring, shown once, revocable. SHA-256 is kept."""

    user = models.ForeignKey(User, models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    token_sha256 = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    @property
    def is_live(self) -> bool:
        return self.revoked_at is None and clock.now() < self.expires_at


def new_device_id() -> str:
    return uuid.uuid4().hex[:16]


class Device(models.Model):
    """A machine that speaks to one room with a credential of its own (256 random bits)."""

    id = models.CharField(primary_key=True, max_length=16, default=new_device_id)
    organisation = models.ForeignKey(Organisation, models.PROTECT, related_name="devices")
    room = models.CharField(max_length=20)
    kind = models.CharField(max_length=40)
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=60, blank=True)
    holder = models.ForeignKey(User, models.SET_NULL, null=True, blank=True)
    roles = models.JSONField(default=list)
    credential_sha256 = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=clock.now)
    last_seen_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class JournalEntry(models.Model):
    """One line of the journal. `body` holds the canonical bytes that the chain covers; the other
    columns repeat it for queries and are compared with it by `journal.verify`. Append-only: the
    database refuses updates and deletes. Written by `journal` alone."""

    # On SQLite an auto field is the row's own number: entries lie and are read in order.
    seq = models.BigAutoField(primary_key=True)
    at = models.CharField(max_length=27)
    actor = models.CharField(max_length=80)
    verb = models.CharField(max_length=60)
    organisation = models.CharField(max_length=40, blank=True)
    object = models.CharField(max_length=200, blank=True)
    body = models.BinaryField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["organisation", "-seq"], name="journal_by_organisation"),
            models.Index(fields=["verb", "-seq"], name="journal_by_verb"),
            models.Index(fields=["actor", "-seq"], name="journal_by_actor"),
        ]

    @property
    def happened_at(self) -> datetime:
        return clock.parse_rfc3339(self.at)


class JournalDetail(models.Model):
    """Personal detail of an entry, erasable: the chain holds only its salted digest."""

    entry = models.OneToOneField(
        JournalEntry, models.DO_NOTHING, primary_key=True, related_name="detail"
    )
    salt = models.BinaryField(max_length=16)
    content = models.TextField()


class Refusal(models.Model):
    """Identical refusals of one actor within one minute, counted until the minute is closed."""

    minute = models.DateTimeField()
    actor = models.CharField(max_length=80)
    verb = models.CharField(max_length=60)
    organisation = models.CharField(max_length=40, blank=True)
    object = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=80, blank=True)
    repeats = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["minute", "actor", "verb", "organisation", "object", "reason"],
                name="refusal_once_a_minute",
            ),
        ]


class Event(models.Model):
    """Something that happened, told in the verb's own transaction (transactional outbox).
    Ids follow commit order, so that a cursor never passes over a row."""

    id = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(default=clock.now)
    name = models.CharField(max_length=60)
    organisation = models.CharField(max_length=40, blank=True)
    payload = models.JSONField(default=dict)


class EventCursor(models.Model):
    """How far one subscriber has read. Written by `events`."""

    subscriber = models.CharField(primary_key=True, max_length=120)
    last_id = models.BigIntegerField(default=0)
    failing_since = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=400, blank=True)


class Job(models.Model):
    """Heavy or slow work. Written by `jobs`."""

    class State(models.TextChoices):
        QUEUED = "queued", "En file"
        HELD = "held", "Retenu"
        STARTING = "starting", "Démarre"
        RUNNING = "running", "En cours"
        DONE = "done", "Terminé"
        FAILED = "failed", "En échec"
        CANCELLED = "cancelled", "Annulé"
        INTERRUPTED = "interrupted", "Interrompu"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=80)
    arguments = models.JSONField(default=dict)
    resources = models.JSONField(default=dict)
    actor = models.CharField(max_length=80)
    organisation = models.ForeignKey(Organisation, models.PROTECT, null=True)
    state = models.CharField(max_length=12, choices=State, default=State.QUEUED, db_index=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    message = models.CharField(max_length=200, blank=True)
    result = models.JSONField(null=True)
    error = models.CharField(max_length=400, blank=True)
    log = models.TextField(blank=True)
    created_at = models.DateTimeField(default=clock.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    executor = models.CharField(max_length=40, blank=True)
    handle = models.CharField(max_length=120, blank=True)


class Notification(models.Model):
    """A message to a person, shown on the page and sent by e-mail. Written by `notifications`."""

    user = models.ForeignKey(User, models.CASCADE, related_name="notifications")
    title = models.CharField(max_length=160)
    body = models.TextField(blank=True)
    url = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=clock.now)
    read_at = models.DateTimeField(null=True)


class Message(models.Model):
    """A message waiting to leave by one channel (e-mail; SMS and voice when a channel is
    registered). Kept until the channel took it or it expired. Written by `notifications`."""

    channel = models.CharField(max_length=16)
    recipient = models.CharField(max_length=254)
    subject = models.CharField(max_length=160)
    body = models.TextField()
    created_at = models.DateTimeField(default=clock.now)
    next_attempt_at = models.DateTimeField(default=clock.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    given_up_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=400, blank=True)


class EgressRule(models.Model):
    """One destination that the program may reach, for one purpose and some data classes."""

    host = models.CharField(max_length=253)
    port = models.PositiveIntegerField()
    purpose = models.CharField(max_length=40)
    data_classes = models.JSONField(default=list)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["host", "port", "purpose"], name="egress_rule_once"),
        ]
