"""The portal's verbs on memberships. Callers have checked the rights.

Personal data (contacts) never goes to the journal; each verb is one transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet

from souverain.core import clock, devices, events, jobs, journal, queries, rooms
from souverain.core.access import Actor
from souverain.core.models import Job, Organisation
from souverain.core.transactions import serialise_writers
from souverain.portal.engine import agreement as wording
from souverain.portal.engine import members_file
from souverain.portal.engine.lifecycle import MEMBER, OPEN, ImpossibleStep, State, Step, follow
from souverain.portal.engine.members_file import Contact as ReadContact
from souverain.portal.engine.members_file import Reading, Row
from souverain.portal.models import Agreement, Contact, Departure, Membership
from souverain.territory.models import Commune, FormerCommune

DATA_CLASS_NAMES = {
    "public": "publiques",
    "internal": "internes",
    "personal": "personnelles",
    "social": "santé et aide sociale",
    "civil-status": "état civil",
    "security": "sécurité",
}


# What is known -----------------------------------------------------------------------------------


def current(organisation: Organisation) -> Membership | None:
    """The commune's open membership, otherwise the latest that ended, or None."""
    found = list(Membership.objects.filter(organisation=organisation).order_by("-pk"))
    return next((membership for membership in found if membership.is_open), next(iter(found), None))


def joined() -> QuerySet[Membership]:
    """The memberships of the communes that have joined."""
    return Membership.objects.filter(state__in=sorted(MEMBER))


def membership_of(code: str) -> queries.Membership | None:
    """Answers `queries.membership`."""
    found = joined().filter(organisation__code=code).first()
    return _told(found, code) if found else None


def members() -> dict[str, queries.Membership]:
    """Answers `queries.members`."""
    found = joined().select_related("organisation")
    return {m.organisation.code: _told(m, m.organisation.code) for m in found}


def _told(membership: Membership, code: str) -> queries.Membership:
    assert membership.joined_on is not None
    return queries.Membership(code, membership.joined_on, frozenset(membership.tools))


def todays_agreement() -> wording.Text:
    """Today's clauses, with the personal data that the rooms in service declare."""
    return wording.text(
        [
            wording.Processing(
                room.title,
                holding.title,
                tuple(sorted(DATA_CLASS_NAMES[name] for name in holding.data_classes)),
                holding.purpose,
                holding.retention,
                holding.recipients,
            )
            for room in rooms.load().values()
            for holding in room.holdings
            if holding.data_classes - {rooms.DataClass.PUBLIC, rooms.DataClass.INTERNAL}
        ],
        settings.NAMES.cloud,
    )


# Joining -----------------------------------------------------------------------------------------


@transaction.atomic
def ask(
    actor: Actor,
    organisation: Organisation,
    tools: Sequence[str],
    contacts: Sequence[ReadContact] = (),
) -> Membership:
    """Ask to join. The agreement to sign is the one of this day. Raises ValidationError when the
    commune is already in, or for an unknown tool or a bad contact."""
    if organisation.kind != Organisation.Kind.COMMUNE:
        raise ValidationError("Seule une commune peut rejoindre le Cloud.")
    if not tools:
        raise ValidationError("Choisissez au moins un outil.")
    serialise_writers()
    present = current(organisation)
    state = _step(State(present.state) if present else None, Step.ASK)
    text = todays_agreement()
    kept, _ = Agreement.objects.get_or_create(
        sha256=text.sha256, defaults={"version": text.version, "text": text.canonical}
    )
    membership = Membership.objects.create(
        organisation=organisation,
        state=state,
        tools=_known_tools(tools),
        agreement=kept,
        asked_by=str(actor),
    )
    _put_contacts(membership, contacts)
    _journal(actor, "membership.asked", membership, tools=membership.tools, agreement=kept.sha256)
    return membership


@transaction.atomic
def describe(
    actor: Actor, membership: Membership, tools: Sequence[str], contacts: Sequence[ReadContact]
) -> None:
    """Change the tools and the contacts of an open membership."""
    serialise_writers()
    membership.refresh_from_db()
    if membership.state not in (State.ASKED, State.JOINED):
        raise ValidationError("Cette adhésion ne peut plus être modifiée.")
    if not tools:
        raise ValidationError("Choisissez au moins un outil.")
    membership.tools = _known_tools(tools)
    membership.save(update_fields=["tools"])
    _put_contacts(membership, contacts)
    _journal(actor, "membership.described", membership, tools=membership.tools)


@transaction.atomic
def join(actor: Actor, membership: Membership, signed_on: date) -> None:
    """The agreement came back signed: the commune has joined.
    Raises ValidationError for a day to come or before the request."""
    if signed_on > clock.today():
        raise ValidationError("La date de signature n'est pas encore venue.")
    if signed_on < membership.asked_at.astimezone(clock.PARIS).date():
        raise ValidationError("La date de signature est avant celle de la demande.")
    _move(membership, Step.JOIN, signed_on=signed_on, joined_on=signed_on, joined_by=str(actor))
    data = {"tools": membership.tools, "joined_on": signed_on.isoformat()}
    sealed = membership.agreement_id or ""
    _journal(actor, "membership.joined", membership, agreement=sealed, **data)
    events.emit("membership.joined", organisation=membership.organisation.code, payload=data)


@transaction.atomic
def withdraw(actor: Actor, membership: Membership) -> None:
    """Take back a request that was not signed; its contacts are erased."""
    _move(membership, Step.WITHDRAW, ended_at=clock.now())
    membership.contacts.all().delete()
    _journal(actor, "membership.withdrawn", membership)


def _step(state: State | None, step: Step) -> State:
    try:
        return follow(state, step)
    except ImpossibleStep as error:
        raise ValidationError(str(error)) from error


def _move(membership: Membership, step: Step, **fields: object) -> None:
    """Take a step from the state that the database holds, under the writers' lock."""
    serialise_writers()
    membership.refresh_from_db()
    membership.state = _step(State(membership.state), step)
    for name, value in fields.items():
        setattr(membership, name, value)
    membership.save(update_fields=["state", *fields])


def _journal(actor: Actor, verb: str, membership: Membership, **data: object) -> None:
    journal.append(
        actor,
        verb,
        organisation=membership.organisation.code,
        object=f"membership:{membership.pk}",
        data=data,
    )


def _known_tools(tools: Sequence[str]) -> list[str]:
    unknown = sorted(set(tools) - set(Membership.Tool.values))
    if unknown:
        raise ValidationError(f"Outil inconnu : {', '.join(unknown)}.")
    return [tool for tool in members_file.TOOLS if tool in tools]


def _put_contacts(membership: Membership, contacts: Sequence[ReadContact]) -> None:
    for contact in contacts:
        if contact.email:
            validate_email(contact.email)
    membership.contacts.all().delete()
    Contact.objects.bulk_create(
        [
            Contact(
                membership=membership,
                kind=contact.kind,
                name=contact.name,
                email=contact.email,
                phone=contact.phone,
            )
            for contact in contacts
        ]
    )


# The communes that have joined, from a file ------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """What a file of members did, or would do. `faults` are the lines that were left out."""

    created: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    faults: tuple[members_file.Fault, ...]
    reading: Reading


def read_members_file(content: bytes) -> Reading:
    """Read a file of members against today's communes. Raises `UnreadableFile`, in French."""
    return members_file.read(
        content,
        dict(Commune.objects.values_list("code", "name")),
        dict(FormerCommune.objects.values_list("code", "successor__code")),
        clock.today(),
    )


def import_members(actor: Actor, content: bytes, *, dry_run: bool = False) -> Imported:
    """Record the communes that have joined, from a CSV; good lines are kept beside bad ones, and
    the same file again changes nothing. `dry_run` only says what would be done.
    Raises `UnreadableFile`; the refusal is in the journal."""
    try:
        reading = read_members_file(content)
    except members_file.UnreadableFile:
        journal.refuse(actor, "membership.import_refused", reason="unusable file")
        raise
    return _import(actor, content, reading, dry_run=dry_run)


@transaction.atomic
def _import(actor: Actor, content: bytes, reading: Reading, *, dry_run: bool) -> Imported:
    serialise_writers()
    open_ones = {
        found.organisation.code: found
        for found in Membership.objects.filter(state__in=sorted(OPEN))
        .select_related("organisation")
        .prefetch_related("contacts")
    }
    organisations = Organisation.objects.filter(kind=Organisation.Kind.COMMUNE)
    by_code = {found.code: found for found in organisations}
    done: dict[str, list[str]] = {"created": [], "updated": [], "unchanged": []}
    faults = list(reading.faults)
    for row in reading.rows:
        present = open_ones.get(row.code)
        if present is not None and present.state in (State.LEAVING, State.ERASING):
            faults.append(
                members_file.Fault(row.line, "", "cette commune part : réglez d'abord son départ.")
            )
            continue
        outcome = _difference(present, row)
        done[outcome].append(row.code)
        if outcome != "unchanged" and not dry_run:
            _record(actor, by_code[row.code], present, row)
    if not dry_run:
        journal.append(
            actor,
            "membership.file_imported",
            data={
                "file_sha256": hashlib.sha256(content).hexdigest(),
                "left_out": len(faults),
                **{name: len(codes) for name, codes in done.items()},
            },
        )
    faults.sort(key=lambda fault: fault.line)
    return Imported(
        tuple(done["created"]),
        tuple(done["updated"]),
        tuple(done["unchanged"]),
        tuple(faults),
        reading,
    )


def _difference(present: Membership | None, row: Row) -> str:
    if present is None:
        return "created"
    contacts = tuple(ReadContact(c.kind, c.name, c.email, c.phone) for c in present.contacts.all())
    same = (
        present.state == State.JOINED
        and present.joined_on == row.joined_on
        and _merged_tools(present, row) == present.tools
        and _merged_contacts(contacts, row) == _by_kind(contacts)
    )
    return "unchanged" if same else "updated"


def _merged_tools(present: Membership | None, row: Row) -> list[str]:
    """An empty cell leaves what is known as it is."""
    return list(row.tools) or (list(present.tools) if present else [])


def _by_kind(contacts: Sequence[ReadContact]) -> dict[str, ReadContact]:
    return {contact.kind: contact for contact in contacts}


def _merged_contacts(known: Sequence[ReadContact], row: Row) -> dict[str, ReadContact]:
    return _by_kind(known) | _by_kind(row.contacts)


def _record(actor: Actor, organisation: Organisation, present: Membership | None, row: Row) -> None:
    """Bring one commune to what its line says."""
    known = (
        [ReadContact(c.kind, c.name, c.email, c.phone) for c in present.contacts.all()]
        if present
        else []
    )
    newly = present is None or present.state == State.ASKED
    fields: Mapping[str, object] = {
        "state": State.JOINED,
        "tools": _merged_tools(present, row),
        "joined_on": row.joined_on,
        "joined_by": str(actor),
    }
    if present is None:
        present = Membership.objects.create(
            organisation=organisation, asked_by=str(actor), **fields
        )
    else:
        for name, value in fields.items():
            setattr(present, name, value)
        present.save(update_fields=list(fields))
    merged = _merged_contacts(known, row)
    _put_contacts(present, [merged[kind] for kind in members_file.CONTACTS if kind in merged])
    data = {"tools": present.tools, "joined_on": row.joined_on.isoformat()}
    _journal(actor, "membership.imported", present, **data)
    if newly:
        events.emit("membership.joined", organisation=organisation.code, payload=data)


# Leaving -----------------------------------------------------------------------------------------


@transaction.atomic
def leave(actor: Actor, membership: Membership) -> Departure:
    """Ask to leave: what the commune has is exported at once; nothing is erased yet."""
    _move(membership, Step.LEAVE)
    departure = Departure.objects.create(membership=membership, asked_by=str(actor))
    _journal(actor, "membership.leaving_asked", membership, departure=departure.pk)
    export(actor, departure)
    return departure


@transaction.atomic
def export(actor: Actor, departure: Departure) -> Job:
    """Build the export, again if need be. An acknowledgement was of the former export: it falls."""
    from souverain.portal.leaving import export_commune

    serialise_writers()
    departure.refresh_from_db()
    if departure.membership.state != State.LEAVING:
        raise ValidationError("L'export se prépare tant que la commune n'est pas effacée.")
    if departure.export_job is not None and departure.export_job.state in _UNDER_WAY:
        raise ValidationError("L'export est déjà en préparation.")
    departure.export_job = jobs.submit(
        actor, export_commune, {"departure": departure.pk}, departure.membership.organisation
    )
    departure.exported_at, departure.export_bytes, departure.export_sha256 = None, None, ""
    departure.acknowledged_at, departure.acknowledged_by = None, ""
    departure.save()
    return departure.export_job


_UNDER_WAY = (Job.State.QUEUED, Job.State.HELD, Job.State.STARTING, Job.State.RUNNING)


@transaction.atomic
def stay(actor: Actor, departure: Departure) -> None:
    """Cancel a departure, as long as the erasure has not begun; the export is destroyed."""
    from souverain.portal.leaving import destroy_export

    _move(departure.membership, Step.STAY)
    departure.cancelled_at = clock.now()
    departure.save(update_fields=["cancelled_at"])
    if departure.export_job is not None:
        jobs.cancel(actor, departure.export_job)
    _journal(actor, "membership.leaving_cancelled", departure.membership, departure=departure.pk)
    transaction.on_commit(lambda: destroy_export(departure))


def note_export_taken(actor: Actor, departure: Departure) -> None:
    """Somebody takes all that a commune has: it is written down."""
    _journal(
        actor,
        "membership.export_taken",
        departure.membership,
        departure=departure.pk,
        export_sha256=departure.export_sha256,
    )


def note_list_taken(actor: Actor) -> None:
    """Somebody takes the list of the communes' contacts: it is written down."""
    journal.append(actor, "membership.list_taken", data={"count": joined().count()})


@transaction.atomic
def acknowledge(actor: Actor, departure: Departure) -> None:
    """The commune has its export and could read it."""
    serialise_writers()
    departure.refresh_from_db()
    if departure.membership.state != State.LEAVING or departure.exported_at is None:
        raise ValidationError("L'export n'est pas prêt.")
    if departure.acknowledged_at is not None:
        return
    departure.acknowledged_at, departure.acknowledged_by = clock.now(), str(actor)
    departure.save(update_fields=["acknowledged_at", "acknowledged_by"])
    _journal(
        actor,
        "membership.export_acknowledged",
        departure.membership,
        departure=departure.pk,
        export_sha256=departure.export_sha256,
    )


@transaction.atomic
def erase(actor: Actor, departure: Departure) -> Job | None:
    """Begin the erasure, for good; or go on with it, after an interruption or a wait.

    Two people are needed: nobody erases a commune by one mistake, or one stolen session. All that
    the commune deposited ends at once; None when a room must keep it for longer, and the job that
    erases it is asked for again when `queries.erasable_on` says nothing more.
    Raises ValidationError when a condition is missing."""
    from souverain.portal.leaving import erase_commune, holdings_of

    serialise_writers()
    departure.refresh_from_db()
    membership = departure.membership
    if membership.state != State.ERASING:
        if departure.exported_at is None:
            raise ValidationError("L'export n'est pas prêt.")
        if departure.acknowledged_at is None:
            raise ValidationError("La commune n'a pas encore accusé réception de son export.")
        if departure.asked_by == str(actor):
            raise ValidationError(
                "Vous avez demandé ce départ : une autre personne doit exécuter l'effacement."
            )
        if holdings_of(membership.organisation.code) != departure.export_rooms:
            raise ValidationError(
                "Des données sont arrivées après l'export : préparez-le à nouveau, pour que la "
                "commune ait tout."
            )
        _move(membership, Step.ERASE)
        departure.erased_by = str(actor)
        revoked = _end(membership.organisation)
        _journal(
            actor,
            "membership.erasure_begun",
            membership,
            departure=departure.pk,
            revoked_devices=revoked,
        )
    elif departure.erase_job is not None and departure.erase_job.state in _UNDER_WAY:
        raise ValidationError("L'effacement est déjà en cours.")
    else:
        _end(membership.organisation)  # a machine may have been added since
    departure.erase_job = None
    if departure.erased is not None or not queries.erasable_on.ask(membership.organisation.code):
        departure.erase_job = jobs.submit(
            actor, erase_commune, {"departure": departure.pk}, membership.organisation
        )
    departure.save(update_fields=["erased_by", "erase_job"])
    return departure.erase_job


def _end(organisation: Organisation) -> int:
    """From here on the commune's machines deposit and read nothing more, and what they deposited
    waits for its end; returns how many machines were revoked."""
    live = list(organisation.devices.filter(revoked_at=None))
    for device in live:
        devices.revoke(device)
    queries.end_of_commune.ask_all(organisation.code)
    return len(live)
