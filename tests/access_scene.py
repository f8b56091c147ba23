"""A département with two communes full of records, and everybody who may knock at a door.

Every text of a commune's records carries the commune's marker, so that a record seen by the wrong
person shows in the bytes of the answer. New models are filled by themselves (`_filled`); what they
need beside comes in `GIVEN`. A route with an argument other than `code` needs a line in `ARGUMENTS`.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, models, transaction
from django.http import HttpResponse
from django.test import Client

from souverain.core import access, clock, devices, journal, rooms, services
from souverain.core.jobs import Resources
from souverain.core.models import (
    ApiToken,
    Device,
    Group,
    Invitation,
    Job,
    JournalEntry,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.roles import Role
from souverain.portal.engine import agreement
from souverain.portal.models import Departure
from souverain.vault.engine.tlog import note
from souverain.vault.engine.tlog.leaves import BIRTH, Leaf, Name
from souverain.vault.models import Alarm, Hold, Witness
from tests import access_scene_street as street

DIJON, BEAUNE = "21231", "21054"
MARKERS = {DIJON: "ZQDIJON7", BEAUNE: "ZQBEAUNE9"}
CSRF = "a" * 32
CREDENTIAL = "un secret d'appareil"

# Models that are written otherwise below, or that belong to nobody.
_NOT_FILLED = {
    "core.organisation",
    "core.group",
    "core.user",
    "core.roleassignment",
    "core.journalentry",
    "core.journaldetail",
    "core.refusal",
    "core.eventcursor",
    "core.egressrule",
    *street.NOT_FILLED,
}

_PROOF: dict[str, Any] = {"erased": [], "export": {"bytes": 1}, "journal": {"seq": 1}}


def _leaf(marker: str) -> str:
    name = Name("general", "snapshots", marker)
    return bytes(Leaf(name, 1, clock.rfc3339(clock.now()), BIRTH)).decode()


# Values that make a record one that its pages show, by model.
GIVEN: dict[str, Callable[[str], dict[str, Any]]] = {
    "core.invitation": lambda marker: {
        "token_sha256": hashlib.sha256(f"jeton-{marker}".encode()).hexdigest(),
        "expires_at": clock.now() + timedelta(days=1),
        "email": f"invite-{marker}@exemple.fr",
        "role": Role.COMMUNE_MEMBER,
    },
    "core.apitoken": lambda marker: {
        "expires_at": clock.now() + timedelta(days=1),
        "scopes": ["core.own"],
    },
    "core.device": lambda marker: {
        "room": "vault",
        "scope": "general",
        "roles": ["backup", "restore"],
        "credential_sha256": devices.digest(f"{CREDENTIAL} {marker}"),
    },
    "core.event": lambda marker: {"name": "vault.deposit_received"},
    "core.job": lambda marker: {"state": Job.State.DONE, "resources": asdict(Resources())},
    "portal.agreement": lambda marker: {"text": agreement.text([], "Cloud Côte-d'Or").canonical},
    "portal.membership": lambda marker: {"tools": ["vault"]},
    "portal.departure": lambda marker: {"proof": _PROOF | {"note": marker}},
    **street.GIVEN,
    "vault.depositset": lambda marker: {"code": "general", "kind": "civil-status"},
    "vault.drill": lambda marker: {"sha256": hashlib.sha256(marker.encode()).hexdigest()},
    "vault.storedobject": lambda marker: {"type": "snapshots"},
    "vault.log": lambda marker: {"size": 1, "signed_size": 1},
    "vault.logexport": lambda marker: {"size": 0},
    "vault.logleaf": lambda marker: {"index": 0, "data": _leaf(marker)},
    "vault.replicafault": lambda marker: {"event": {"type": "data", "name": marker}},
    "vault.witness": lambda marker: {
        "name": marker,
        "key": str(note.Key(marker, bytes(32), note.COSIGNATURE)),
    },
}

# For (route name, argument): the model whose record of the target is named, or how to find it.
ARGUMENTS: dict[tuple[str, str], type[models.Model] | Callable[[Target], Any]] = {
    ("portal:remove", "pk"): RoleAssignment,
    ("portal:invited", "pk"): Invitation,
    ("portal:resend", "pk"): Invitation,
    ("portal:revoke", "pk"): Invitation,
    ("portal:group", "pk"): Group,
    ("portal:rename_group", "pk"): Group,
    ("portal:person", "pk"): lambda target: target.person.pk,
    ("portal:close_account", "pk"): lambda target: target.person.pk,
    ("portal:reopen_account", "pk"): lambda target: target.person.pk,
    ("portal:reset_factor", "pk"): lambda target: target.person.pk,
    ("portal:forget_token", "pk"): ApiToken,
    ("portal:journal_entry", "seq"): JournalEntry,
    ("portal:invitation", "token"): lambda target: f"jeton-{target.marker}",
    ("portal:proof", "pk"): Departure,
    ("portal:proof_json", "pk"): Departure,
    ("vault:device", "pk"): Device,
    ("vault:revoke", "pk"): Device,
    ("vault:waiting", "pk"): Device,
    ("vault:lift_hold", "pk"): Hold,
    **{
        (f"vault:{name}", "set_code"): lambda target: "general"
        for name in (
            *("receipts", "receipts_csv", "retention", "lengthen", "freeze", "thaw", "hold"),
            *("ask_destruction", "approve_destruction", "cancel_destruction"),
            "see_keys",
        )
    },
    ("vault:log_file", "path"): lambda target: "timestamps/",
    ("vault:remove_witness", "pk"): Witness,
    ("vault:acknowledge", "pk"): Alarm,
    ("vault:close_alarm", "pk"): Alarm,
    ("portal:job", "pk"): Job,
    ("portal:job_events", "pk"): Job,
    ("portal:cancel_job", "pk"): Job,
    **street.ARGUMENTS,
}

# Bodies that are accepted, where an empty form or `{}` would be refused before the permission is.
BODIES: dict[str, Callable[[Target], dict[str, Any]]] = {**street.BODIES}


@dataclass(repr=False)
class Target:
    """An organisation, or a person, and the records that belong to it."""

    organisation: Organisation
    marker: str
    person: User
    records: dict[type[models.Model], models.Model] = field(default_factory=dict)
    self_only: bool = False

    def value(self, route: str, argument: str) -> Any:
        """What stands for a route's argument."""
        if argument == "code" and (route, argument) not in ARGUMENTS:
            return self.organisation.code
        found = ARGUMENTS.get((route, argument))
        assert found is not None, (
            f"tests/access_scene.py: add to ARGUMENTS a line for ({route!r}, {argument!r})"
        )
        if isinstance(found, type):
            assert found in self.records, f"{found} is filled for nobody like {self.organisation}"
            return self.records[found].pk
        return found(self)


@dataclass(repr=False)
class Persona:
    """Somebody who knocks: a person with one role given in one place, or nobody known."""

    name: str
    client: Client
    role: Role | None = None
    organisation: Organisation | None = None
    is_team: bool = False
    scopes: frozenset[str] | None = None
    bearer: str = ""
    own: Target | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def is_whole(self) -> bool:
        found = self.organisation
        return found is not None and found.kind == "departement" and not self.is_team

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, csrf: bool = True
    ) -> HttpResponse:
        """One request, whose effects are undone."""
        headers = {"authorization": self.bearer} if self.bearer else {}
        if csrf:
            self.client.cookies[settings.CSRF_COOKIE_NAME] = CSRF
            headers["x-csrftoken"] = CSRF
        arguments: dict[str, Any] = {"data": dict(body or {})}
        if path.startswith("/api/") and method != "GET":
            arguments["content_type"] = "application/json"
        elif method in ("PUT", "PATCH", "DELETE"):
            arguments = {}
        cookies = {name: morsel.value for name, morsel in self.client.cookies.items()}
        try:
            with undone():
                return getattr(self.client, method.lower())(path, headers=headers, **arguments)
        finally:
            self.client.cookies = SimpleCookie(cookies)


@contextmanager
def undone() -> Iterator[None]:
    before = transaction.savepoint()
    try:
        yield
    finally:
        transaction.savepoint_rollback(before)
        connection.set_rollback(False)


@dataclass(repr=False)
class Scene:
    departement: Organisation
    targets: dict[str, Target]
    personas: list[Persona]

    def who(self, name: str) -> Persona:
        return next(persona for persona in self.personas if persona.name == name)


def new_client() -> Client:
    return Client(
        enforce_csrf_checks=True, raise_request_exception=False, headers={"host": "localhost"}
    )


# Records ----------------------------------------------------------------------------------------

_numbers = itertools.count(1000)


def _fillable() -> list[type[models.Model]]:
    """The rooms' models, public data left out."""
    return [
        model
        for room in rooms.load()
        if room != "territory"
        for model in apps.get_app_config(room).get_models()
        if model._meta.label_lower not in _NOT_FILLED
    ]


def _value(item: models.Field[Any, Any], marker: str) -> Any:
    """Something that fits a field; texts carry the marker."""
    match item:
        case models.EmailField():
            return f"{marker.lower()}-{next(_numbers)}@exemple.fr"
        case models.CharField() | models.TextField():
            text = f"{marker}-{next(_numbers)}" if item.unique else marker
            return text if item.max_length is None or len(text) <= item.max_length else ""
        case models.JSONField():
            return {"note": marker}
        case models.DateTimeField():
            return clock.now()
        case models.DateField():
            return clock.today()
        case models.BooleanField():
            return False
        case models.BinaryField():
            return marker.encode()
        case models.UUIDField():
            return uuid4()
        case models.DecimalField():
            return Decimal(1)
        case models.FloatField():
            return 1.0
        case models.IntegerField():
            return next(_numbers) if item.unique else 1
    raise AssertionError(f"tests/access_scene.py: say in GIVEN what {item} holds")


def _filled(model: type[models.Model], target: Target) -> models.Model | None:
    """A record of the target's; None when nothing ties this model to a target."""
    if model in target.records:
        return target.records[model]
    given = GIVEN.get(model._meta.label_lower, lambda marker: {})(target.marker)
    values: dict[str, Any] = {}
    tied = False
    for item in model._meta.fields:
        if item.is_relation:
            parent = _parent(item, target)
            tied = tied or parent is not None
            if parent is None and not item.null:
                return None  # it hangs on something that belongs to nobody
            if parent is not None:
                values[item.name] = parent
        elif item.name == "organisation" and isinstance(item, models.CharField):
            values[item.name], tied = target.organisation.code, True
        elif isinstance(item, models.AutoField) or item.name in given:
            continue
        elif item.choices:
            if not item.has_default():
                values[item.name] = item.choices[0][0]
        elif isinstance(item, models.CharField | models.TextField) or not (
            item.has_default() or item.null
        ):
            values[item.name] = _value(item, target.marker)
    if not tied:
        return None
    made = model(**values | given)
    made.save(force_insert=True)
    target.records[model] = made
    return made


def _parent(item: models.Field[Any, Any], target: Target) -> models.Model | None:
    kind = item.related_model
    if kind is Organisation:
        return None if target.self_only else target.organisation
    if kind is User:
        return target.person
    if kind in (Group, item.model):
        return None
    found = target.records.get(kind)
    return found if found is not None else _filled(kind, target)


def _fill(target: Target) -> None:
    for model in _fillable():
        if not target.self_only or _belongs_to_a_person(model):
            _filled(model, target)
    street.complete(target)
    if target.self_only:
        target.records[Job] = Job.objects.create(
            name="essai",
            actor=str(access.of_user(target.person)),
            **GIVEN["core.job"](target.marker),
        )


def _belongs_to_a_person(model: type[models.Model]) -> bool:
    related = [item.related_model for item in model._meta.fields if item.is_relation]
    return User in related and Organisation not in related and len(related) == 1


def _commune(code: str, name: str, longitude_deg: float) -> Target:
    from souverain.territory.models import Commune

    organisation = Organisation.objects.create(kind="commune", code=code, name=name)
    Commune.objects.create(
        organisation=organisation,
        code=code,
        name=name,
        population=1000,
        postcodes=["21000"],
        longitude_deg=longitude_deg,
        latitude_deg=47.3,
        area_km2=40.0,
    )
    marker = MARKERS[code]
    person = _person(f"voisine-{marker}@exemple.fr", f"Voisine {marker}")
    target = Target(organisation, marker, person)
    target.records[RoleAssignment] = RoleAssignment.objects.create(
        user=person, role=Role.COMMUNE_MEMBER, organisation=organisation
    )
    target.records[Group] = Group.objects.create(
        organisation=organisation, code="bureau", name=f"Bureau {marker}"
    )
    _fill(target)
    target.records[JournalEntry] = journal.append(
        access.of_user(person),
        "vault.quota_set",
        organisation=code,
        object=f"essai:{marker}",
        data={"note": marker},
        detail={"nom": marker},
    )
    return target


# People ------------------------------------------------------------------------------------------

_PASSWORD = make_password("un mot de passe long", hasher="pbkdf2_sha256")


def _person(email: str, name: str = "") -> User:
    return User.objects.create(email=email, full_name=name, password=_PASSWORD)


def _signed_in(user: User) -> Client:
    client = new_client()
    client.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
    return client


def _personas(departement: Organisation, dijon: Organisation) -> Iterator[Persona]:
    direction = Organisation.objects.create(kind="direction", code="21-routes", name="Routes")
    places = {
        "the département": (departement, None),
        "a direction": (direction, None),
        "a commune": (dijon, None),
        "a team of the département": (departement, "equipe"),
        "a team of a commune": (dijon, "equipe"),
    }
    for place, (organisation, team) in places.items():
        group = team and Group.objects.create(organisation=organisation, code=team, name=team)
        for role in Role:
            user = _person(f"{role}-{next(_numbers)}@exemple.fr")
            RoleAssignment.objects.create(
                user=user, role=role, organisation=organisation, group=group or None
            )
            own = Target(organisation, "ZQMOI", user, self_only=True)
            _fill(own)
            yield Persona(
                f"{role} of {place}",
                _signed_in(user),
                role,
                organisation,
                is_team=team is not None,
                own=own,
            )


def _token(user: User, scopes: list[str]) -> str:
    actor = access.of_user(user)
    _, secret = services.create_token(
        actor, user, name="essai", scopes=scopes, life=timedelta(days=1)
    )
    return f"Bearer {secret}"


def _unusual(departement: Organisation, dijon: Target) -> Iterator[Persona]:
    """Nobody known, somebody deactivated, a device at the wrong door, and API tokens."""
    yield Persona("somebody unknown", new_client())
    left = _person("partie@exemple.fr")
    RoleAssignment.objects.create(user=left, role=Role.OPERATOR, organisation=departement)
    client = _signed_in(left)
    User.objects.filter(pk=left.pk).update(is_active=False)
    yield Persona("a deactivated operator", client)
    yield Persona("a wrong token", new_client(), bearer="Bearer souv_inconnu")
    secret = f"{dijon.records[Device].pk}:{CREDENTIAL} {dijon.marker}"
    basic = "Basic " + base64.b64encode(secret.encode()).decode()
    yield Persona("a device", new_client(), bearer=basic)
    operator = _person("jetons@exemple.fr")
    RoleAssignment.objects.create(user=operator, role=Role.OPERATOR, organisation=departement)
    for name, scopes in (
        ("a token of everything", [right.code for right in services.scopes_of(operator)]),
        ("a token of one right", ["core.journal"]),
    ):
        own = Target(departement, "ZQMOI", operator, self_only=True)
        _fill(own)
        yield Persona(
            name,
            new_client(),
            Role.OPERATOR,
            departement,
            scopes=frozenset(scopes),
            bearer=_token(operator, scopes),
            own=own,
        )


def content_of(answer: HttpResponse) -> bytes:
    if answer.headers["Content-Type"].startswith("text/event-stream"):
        return b""  # a live page reads outside this test's transaction; who gets it is above
    return b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]


def build() -> Scene:
    """Everything, in the caller's transaction."""
    departement = Organisation.objects.create(
        kind="departement", code=settings.DEPARTEMENT, name="Côte-d'Or"
    )
    targets = {DIJON: _commune(DIJON, "Dijon", 5.04), BEAUNE: _commune(BEAUNE, "Beaune", 4.84)}
    dijon = targets[DIJON]
    personas = [
        *_personas(departement, dijon.organisation),
        *_unusual(departement, dijon),
    ]
    return Scene(departement, targets, personas)
