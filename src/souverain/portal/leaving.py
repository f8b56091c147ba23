"""The two jobs of a departure: give the commune all that is held on it, then erase it and prove it.

Each room answers `queries.export_of_commune`, `forget_commune` and `sweep_commune`; this module
writes the archive, runs the erasure in an order that a crash cannot harm, and seals the proof:

1. one transaction forgets every record, here and in the rooms, and keeps what was forgotten;
2. files that no record vouches for are destroyed, as often as it takes;
3. one transaction writes the proof and its seal in the journal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db import models, transaction

from souverain.core import clock, events, journal, queries
from souverain.core.access import Actor
from souverain.core.format import bytes_fr
from souverain.core.jobs import Failed, Progress, Resources, job
from souverain.core.models import (
    Invitation,
    JournalDetail,
    JournalEntry,
    Message,
    Organisation,
    RoleAssignment,
    User,
)
from souverain.core.queries import Erased, Export, Forgotten, StillKept
from souverain.core.rooms import DataClass
from souverain.core.transactions import serialise_writers
from souverain.portal.engine.lifecycle import State, Step, follow
from souverain.portal.models import Departure, Membership

CHUNK = 1 << 20
RESERVE_BYTES = 1 << 30
"""Left free on the disk whatever the export: the vault goes on receiving."""
NAMELESS = "Appareil effacé"
EXPORT_FORMAT, PROOF_FORMAT = "souverain-export-1", "souverain-erasure-proof-1"
_README = """Export de {commune} ({code}), préparé le {day}.

Ce dossier contient tout ce que le Cloud du département détient sur la commune.
- manifest.json : la liste des fichiers, leur taille et leur empreinte SHA-256.
- */*.jsonl : les enregistrements, un objet JSON par ligne.
- vault/<dépôt>/repository : le dépôt du coffre-fort, tel que le programme libre restic le lit
  (https://restic.net), sans le Cloud : restic -r vault/general/repository snapshots
  Le mot de passe est celui de la commune ; le Département ne l'a pas.
- vault/<dépôt>/deleted : ce que la commune avait supprimé. Recopié par-dessus repository, il rend
  les anciennes sauvegardes.
"""


# The portal's own answers, with those of the kernel beneath it -----------------------------------


def export_of(code: str) -> Export:
    """Members, invitations, devices, memberships and the journal's entries of a commune."""
    organisation = Organisation.objects.get(code=code)
    return Export(
        room="portal",
        title="Le portail",
        records={
            "members": (
                {
                    "user": role.user_id,
                    "name": role.user.full_name,
                    "email": role.user.email,
                    "role": role.role,
                    "given_at": clock.rfc3339(role.given_at),
                }
                for role in organisation.role_assignments.select_related("user").order_by("pk")
            ),
            "invitations": (
                {
                    "id": found.pk,
                    "name": found.full_name,
                    "email": found.email,
                    "role": found.role,
                    "created_at": clock.rfc3339(found.created_at),
                    "accepted_at": found.accepted_at and clock.rfc3339(found.accepted_at),
                    "revoked_at": found.revoked_at and clock.rfc3339(found.revoked_at),
                }
                for found in organisation.invitations.order_by("pk")
            ),
            "devices": (
                {
                    "id": device.pk,
                    "room": device.room,
                    "kind": device.kind,
                    "name": device.name,
                    "roles": device.roles,
                    "created_at": clock.rfc3339(device.created_at),
                    "last_seen_at": device.last_seen_at and clock.rfc3339(device.last_seen_at),
                    "revoked_at": device.revoked_at and clock.rfc3339(device.revoked_at),
                }
                for device in organisation.devices.order_by("pk")
            ),
            "memberships": map(_membership_json, organisation.memberships.order_by("pk")),
            "journal": _journal_of(code),
        },
    )


def _membership_json(membership: Membership) -> Mapping[str, Any]:
    agreement = membership.agreement
    return {
        "state": membership.state,
        "tools": membership.tools,
        "asked_at": clock.rfc3339(membership.asked_at),
        "signed_on": membership.signed_on and membership.signed_on.isoformat(),
        "joined_on": membership.joined_on and membership.joined_on.isoformat(),
        "agreement": agreement and {"sha256": agreement.sha256, "text": json.loads(agreement.text)},
        "contacts": [
            {"kind": c.kind, "name": c.name, "email": c.email, "phone": c.phone}
            for c in membership.contacts.all()
        ],
    }


def _journal_of(code: str) -> Iterator[Mapping[str, Any]]:
    entries = JournalEntry.objects.filter(organisation=code).order_by("seq")
    for entry in entries.select_related("detail").iterator(2000):
        detail = getattr(entry, "detail", None)
        yield {
            "entry": orjson.loads(bytes(entry.body)),
            "hash": bytes(entry.hash).hex(),
            "detail": detail and orjson.loads(detail.content),
        }


def forget(code: str) -> Forgotten:
    """Roles, invitations, groups, people left without a role, names of devices, contacts, and the personal
    detail of the journal's entries."""
    organisation = Organisation.objects.get(code=code)
    roles = RoleAssignment.objects.filter(organisation=organisation)
    people = list(User.objects.filter(role_assignments__in=roles).distinct())
    invited = Invitation.objects.filter(organisation=organisation)
    addresses = {user.email for user in people} | set(invited.values_list("email", flat=True))
    contacts = organisation.memberships.values_list("contacts", flat=True)
    contact_count = contacts.exclude(contacts=None).count()
    counts = {
        "Rôles de membres": roles.delete()[0],
        "Invitations": invited.delete()[0],
        "Groupes": organisation.groups.all().delete()[0],
        "Comptes de personnes": _forget_people(people),
        "Contacts": contact_count,
        "Noms d'appareils": organisation.devices.exclude(name=NAMELESS).update(
            name=NAMELESS, holder=None
        ),
        "Détails personnels du journal": _forget_details(code),
    }
    for membership in organisation.memberships.all():
        membership.contacts.all().delete()
    still_here = User.objects.filter(email__in=addresses).values_list("email", flat=True)
    Message.objects.filter(recipient__in=addresses - set(still_here)).delete()
    items = tuple(Erased(title, count) for title, count in counts.items())
    return Forgotten("portal", "Le portail", items)


def _forget_people(people: Iterable[User]) -> int:
    """Empty the accounts of those who have no role left anywhere; the journal keeps their number."""
    forgotten = 0
    for user in people:
        if user.role_assignments.exists():
            continue
        for relation in User._meta.related_objects:
            related = relation.related_model
            if relation.on_delete is models.CASCADE and isinstance(related, type):
                related._default_manager.filter(**{relation.field.name: user}).delete()
        user.email, user.full_name, user.is_active = (
            f"efface-{user.pk}@{settings.NAMES.domain}",
            "",
            False,
        )
        user.set_unusable_password()
        user.save()
        forgotten += 1
    return forgotten


def _forget_details(code: str) -> int:
    details = JournalDetail.objects.filter(entry__organisation=code)
    seqs = list(details.values_list("pk", flat=True))
    for seq in seqs:
        journal.erase_detail(Actor("system"), seq)
    return len(seqs)


# The export --------------------------------------------------------------------------------------


class DepartureError(Failed):
    """A job of a departure cannot go on; the message is a French sentence."""


def folder_of(departure: Departure) -> Path:
    return Path(settings.HOME) / "departures" / str(departure.pk)


def archive_of(departure: Departure) -> Path:
    return folder_of(departure) / f"export-{departure.membership.organisation.code}.zip"


def destroy_export(departure: Departure) -> None:
    """The archive holds all of the commune's personal data: it does not outlive its purpose."""
    shutil.rmtree(folder_of(departure), ignore_errors=True)


def remove_stale_exports() -> None:
    """Remove what a killed or cancelled job left: an archive is kept only for a departure under
    way, once it is ready or while it is being written."""
    root = Path(settings.HOME) / "departures"
    if not root.is_dir():
        return
    found = Departure.objects.filter(
        cancelled_at=None, membership__state__in=(State.LEAVING, State.ERASING)
    ).filter(
        models.Q(exported_at__isnull=False)
        | models.Q(export_job__isnull=False, export_job__finished_at=None)
    )
    kept = set(map(str, found.values_list("pk", flat=True)))
    for folder in root.iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def holdings_of(code: str) -> dict[str, dict[str, int]]:
    """How many files and bytes each room holds on a commune, by room."""
    return {
        export.room: {"files": export.file_count, "bytes": export.file_bytes}
        for export in queries.export_of_commune.ask_all(code)
    }


@dataclass
class _Archive:
    """The zip under construction, and the manifest of what it holds."""

    zip: zipfile.ZipFile
    advance: Callable[[int], None]
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, path: str, chunks: Iterable[bytes], size: int | None = None) -> None:
        """Stream one member. `size` when it is known: stored as it is (ciphertext does not
        shrink), and refused when the room gives another number of bytes."""
        information = zipfile.ZipInfo(path, time.localtime()[:6])
        information.external_attr = 0o600 << 16
        known = size is not None
        information.compress_type = zipfile.ZIP_STORED if known else zipfile.ZIP_DEFLATED
        information.file_size = size or 0
        digest, written = hashlib.sha256(), 0
        with self.zip.open(information, "w", force_zip64=not known) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
                written += len(chunk)
                if known:
                    self.advance(len(chunk))
        if known and written != size:
            raise DepartureError(f"{path} : {written} octets lus au lieu de {size}.")
        self.entries[path] = {"bytes": written, "sha256": digest.hexdigest()}


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    return (orjson.dumps(row) + b"\n" for row in rows)


@job(
    "portal.export_commune",
    "Préparer l'export d'une commune qui part",
    Resources(time_limit_s=24 * 3600, data_class=DataClass.PERSONAL),
)
def export_commune(progress: Progress, departure: int) -> dict[str, Any]:
    """Write the archive whole, or nothing: partial, fsync, rename."""
    found = Departure.objects.select_related("membership__organisation").get(pk=departure)
    archive = archive_of(found)
    destroy_export(found)
    archive.parent.mkdir(mode=0o700, parents=True)
    partial = archive.with_suffix(".partial")
    try:
        held = _write(found, partial, progress)
        size, sha256 = partial.stat().st_size, _durable_sha256(partial)
        partial.replace(archive)
    except BaseException:
        destroy_export(found)
        raise
    if not _publish(found, held, size, sha256):
        destroy_export(found)
        raise DepartureError("Ce départ a été annulé : l'export est détruit.")
    return {"bytes": size, "sha256": sha256}


def _write(departure: Departure, partial: Path, progress: Progress) -> dict[str, dict[str, int]]:
    organisation = departure.membership.organisation
    exports = queries.export_of_commune.ask_all(organisation.code)
    total = sum(export.file_bytes for export in exports)
    _require_free_room(partial.parent, total)
    done = 0

    def advance(length: int) -> None:
        nonlocal done
        done += length
        progress(done, max(total, 1), f"{bytes_fr(done)} sur {bytes_fr(total)}")

    now = clock.now()
    with (
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
        zipfile.ZipFile(file, "w", allowZip64=True) as archive,
    ):
        made = _Archive(archive, advance)
        for export in exports:
            progress(done, max(total, 1), export.title)
            for table, rows in export.records.items():
                made.add(f"{export.room}/{table}.jsonl", _lines(rows))
            for given in export.files:
                made.add(f"{export.room}/{given.path}", given.chunks(), given.size)
        readme = _README.format(
            commune=organisation.name,
            code=organisation.code,
            day=clock.today().strftime("%d/%m/%Y"),
        )
        made.add("LISEZ-MOI.txt", [readme.encode()])
        manifest = {
            "format": EXPORT_FORMAT,
            "commune": {"code": organisation.code, "name": organisation.name},
            "made_at": clock.rfc3339(now),
            "files": made.entries,
        }
        archive.writestr("manifest.json", json.dumps(manifest, ensure_ascii=False, indent=1))
    return {
        export.room: {"files": export.file_count, "bytes": export.file_bytes} for export in exports
    }


def _require_free_room(folder: Path, size: int) -> None:
    """Names and directory of the archive: 1 % and 64 MiB are plenty."""
    needed = size + size // 100 + (64 << 20) + RESERVE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DepartureError(
            f"L'export demande {bytes_fr(needed)} libres et le disque n'en a que {bytes_fr(free)}."
        )


def _durable_sha256(path: Path) -> str:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest


@transaction.atomic
def _publish(departure: Departure, held: dict[str, dict[str, int]], size: int, sha256: str) -> bool:
    """Offer the archive, unless the commune changed its mind meanwhile."""
    serialise_writers()
    departure.refresh_from_db()
    if departure.membership.state != State.LEAVING or departure.cancelled_at is not None:
        return False
    departure.exported_at = clock.now()
    departure.export_rooms, departure.export_bytes, departure.export_sha256 = held, size, sha256
    departure.save(update_fields=["exported_at", "export_rooms", "export_bytes", "export_sha256"])
    journal.append(
        Actor("system"),
        "membership.exported",
        organisation=departure.membership.organisation.code,
        object=f"membership:{departure.membership_id}",
        data={"departure": departure.pk, "bytes": size, "sha256": sha256},
    )
    return True


# The erasure -------------------------------------------------------------------------------------


@job(
    "portal.erase_commune",
    "Effacer les données d'une commune partie",
    Resources(time_limit_s=24 * 3600, data_class=DataClass.PERSONAL),
)
def erase_commune(progress: Progress, departure: int) -> dict[str, Any]:
    """Forget, destroy, prove. Killed anywhere, it goes on where it was when it is run again."""
    found = Departure.objects.select_related("membership__organisation").get(pk=departure)
    code = found.membership.organisation.code
    if found.membership.state != State.ERASING:
        raise DepartureError("L'effacement de cette commune n'a pas été décidé, ou il est fini.")
    progress(0, 3, "Effacement des enregistrements")
    _forget_once(found, code)
    # From here on nothing of these devices is recorded: `devices.require_live` is asked under the
    # writers' lock, and an upload under way leaves no file without a record.
    progress(1, 3, "Destruction des fichiers")
    for _ in queries.sweep_commune.ask_all(code):
        progress(2, 3, "Destruction des fichiers")
    destroy_export(found)
    return {"proof_sha256": _seal(found)["sha256"]}


@transaction.atomic
def _forget_once(departure: Departure, code: str) -> None:
    """All or nothing: either everything is remembered, or everything is forgotten and counted."""
    serialise_writers()
    departure.refresh_from_db()
    if departure.erased is not None:
        return
    try:
        forgotten = queries.forget_commune.ask_all(code)
    except StillKept as kept:
        raise DepartureError(f"Rien n'est effacé. {kept}") from None
    silent = sorted(set(departure.export_rooms) - {answer.room for answer in forgotten})
    if silent:
        raise DepartureError(
            f"Rien n'est effacé : {', '.join(silent)} ne répond plus. Remettez-le en service."
        )
    departure.erased = [asdict(answer) for answer in forgotten]
    departure.save(update_fields=["erased"])


@transaction.atomic
def _seal(departure: Departure) -> dict[str, Any]:
    """Write the proof, and its digest in the journal; the membership is over."""
    serialise_writers()
    departure.refresh_from_db()
    membership = departure.membership
    membership.state = follow(State(membership.state), Step.SEAL)
    now = clock.now()
    body = {
        "format": PROOF_FORMAT,
        "commune": {"code": membership.organisation.code, "name": membership.organisation.name},
        "departure": departure.pk,
        "joined_on": membership.joined_on and membership.joined_on.isoformat(),
        "asked_at": clock.rfc3339(departure.asked_at),
        "asked_by": departure.asked_by,
        "export": {
            "bytes": departure.export_bytes,
            "sha256": departure.export_sha256,
            "acknowledged_at": departure.acknowledged_at
            and clock.rfc3339(departure.acknowledged_at),
            "acknowledged_by": departure.acknowledged_by,
        },
        "erased": departure.erased,
        "erased_by": departure.erased_by,
        "erased_at": clock.rfc3339(now),
    }
    digest = _digest(body)
    kind, _, identity = departure.erased_by.partition(":")
    code = membership.organisation.code
    entry = journal.append(
        Actor(kind, identity),
        "membership.left",
        organisation=code,
        object=f"membership:{membership.pk}",
        data={"departure": departure.pk, "proof_sha256": digest},
    )
    departure.proof = {
        **body,
        "sha256": digest,
        "journal": {"seq": entry.seq, "hash": bytes(entry.hash).hex()},
    }
    departure.save(update_fields=["proof"])
    membership.ended_at = now
    membership.save(update_fields=["state", "ended_at"])
    events.emit("membership.left", organisation=code, payload={"proof_sha256": digest})
    return departure.proof


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(journal.canonical(body)).hexdigest()


def fault_in_proof(proof: Mapping[str, Any]) -> str | None:
    """What is wrong with a proof of erasure, in French, or None when the journal vouches for it."""
    try:
        body = {name: value for name, value in proof.items() if name not in ("sha256", "journal")}
        seq, sealed = int(proof["journal"]["seq"]), str(proof["journal"]["hash"])
        digest = _digest(body)
    except (KeyError, TypeError, ValueError):
        return "ce n'est pas une preuve d'effacement"
    if digest != proof.get("sha256"):
        return "son contenu a été modifié"
    entry = JournalEntry.objects.filter(seq=seq, verb="membership.left").first()
    if entry is None or bytes(entry.hash).hex() != sealed:
        return "le journal n'a pas cette entrée"
    if orjson.loads(bytes(entry.body))["data"].get("proof_sha256") != digest:
        return "l'entrée du journal scelle une autre preuve"
    return None
