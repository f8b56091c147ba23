"""The integrity pass (contrôle d'intégrité): every stored file re-hashed against its name, no key.

One pass a legal day over each deposit set, in three phases: the objects, the parity, then parity
for what has none. Each step leaves where it stands in the pass's row: killed anywhere, it goes on.
What is damaged is recorded before it is mended, and mended only by bytes that are what the name
says; what cannot be is *lost*, and told.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.urls import reverse

from souverain.core import access, clock, events, journal, notifications
from souverain.core.access import Actor
from souverain.core.objects import FolderStore
from souverain.core.rooms import Health
from souverain.core.transactions import serialise_writers
from souverain.vault import alarm, parity, services
from souverain.vault.engine.parity.manifest import Member
from souverain.vault.engine.parity.stripe import Piece
from souverain.vault.models import (
    Damage,
    DepositSet,
    ScrubPass,
    StoredObject,
    Stripe,
)
from souverain.vault.parity import RATE_MB_S, Pace

TURN_S = 10.0
SILENT_AFTER = timedelta(days=3)
PARITY = "parity"
_LOCK = "scrub-lock"
_BATCH = 200
_BATCH_BYTES = 256 << 20
_SWEPT_AFTER = timedelta(days=1)
_NAMED = 20
_AWAY = "Les copies ne sont plus là : le disque du coffre-fort est-il monté ?"
_PARITY_AWAY = (
    "La parité n'est plus là : son disque est-il monté ? S'il est perdu, elle se refait par : "
    "souverain vault scrub --repair"
)


class ScrubError(Exception):
    """No pass can be made now; the message is a French sentence."""


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether no other process or thread makes a pass."""
    descriptor = os.open(settings.HOME / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


# When --------------------------------------------------------------------------------------------


def turn() -> None:
    """The worker's: some seconds of the pass under way, or of the one that is due today."""
    with _alone() as is_mine:
        if not is_mine:
            return
        end, pace = time.monotonic() + TURN_S, Pace(RATE_MB_S)
        while time.monotonic() < end:
            due = _due()
            if due is None:
                return
            missing = missing_store()
            if missing:
                raise ScrubError(missing)
            this = due if isinstance(due, ScrubPass) else _begin(due, repairs=True)
            _Pass(access.SYSTEM, this, pace).run(lambda: time.monotonic() >= end)


def _due() -> ScrubPass | DepositSet | None:
    """The oldest pass that was not ended, or a set that had none today. A pass dated after today,
    the clock having been set back since, counts for none. It is asked every few seconds: one look
    in an index for each set, however many passes were made."""
    waiting = ScrubPass.objects.filter(repairs=True, ended_at=None).order_by("pk")
    found = waiting.select_related("deposit_set__organisation").first()
    if found is not None:
        return found
    last = ScrubPass.objects.filter(deposit_set=OuterRef("pk"), repairs=True).order_by("-pk")
    sets = DepositSet.objects.filter(stored_bytes__gt=0).annotate(
        last=Subquery(last.values("started_at")[:1])
    )
    start, following = clock.day_bounds(clock.today())
    today = Q(last__gte=start, last__lt=following)
    due = sets.exclude(today & Q(last__isnull=False)).select_related("organisation")
    return due.order_by("pk").first()


def _begin(deposit_set: DepositSet, *, repairs: bool, actor: Actor = access.SYSTEM) -> ScrubPass:
    """A pass over a set: the worker goes on with any that was cut, a person with their own."""
    with transaction.atomic():
        serialise_writers()
        found, is_new = ScrubPass.objects.get_or_create(
            deposit_set=deposit_set,
            repairs=repairs,
            ended_at=None,
            defaults={"started_at": clock.now(), "by": str(actor)},
        )
        if not is_new and found.by != str(actor):
            anew = ScrubPass(deposit_set=deposit_set, repairs=repairs, by=str(actor))
            anew.pk, anew.started_at = found.pk, clock.now()
            anew.save()
            found = anew
    found.deposit_set = deposit_set
    return found


def missing_store() -> str:
    """Whether a disk that should be there is not mounted: nothing is found or written then."""
    if not _copies_are_there(StoredObject.objects.all()):
        return _AWAY
    if Stripe.objects.exists() and not parity.store().names("parity"):
        return _PARITY_AWAY
    return ""


def _copies_are_there(rows: QuerySet[StoredObject]) -> bool:
    return not rows.filter(reaped_at=None).exists() or bool(services.store().names("vault"))


def scrub(
    actor: Actor,
    sets: Sequence[DepositSet],
    *,
    repair: bool,
    rate: float = RATE_MB_S,
    progress: Callable[[int], None] = lambda _: None,
) -> list[ScrubPass]:
    """A whole pass over these sets, now. Raises ScrubError."""
    if not _copies_are_there(StoredObject.objects.filter(deposit_set__in=sets)):
        raise ScrubError(_AWAY)
    bound = Pace(rate)

    def pace(read: int) -> None:
        bound(read)
        progress(read)

    with _alone() as is_mine:
        if not is_mine:
            raise ScrubError("Un contrôle d'intégrité est en cours : réessayez dans une minute.")
        passes = [_begin(found, repairs=repair, actor=actor) for found in sets]
        for each in passes:
            _Pass(actor, each, pace).run(lambda: False)
        return passes


# One pass ----------------------------------------------------------------------------------------


class _Pass:
    """One pass over one set, from where its row says that it stands."""

    def __init__(self, actor: Actor, row: ScrubPass, pace: parity.Reading) -> None:
        self._actor, self._row, self._pace = actor, row, pace
        self._set = row.deposit_set

    def run(self, is_over: Callable[[], bool]) -> None:
        """Go on until the end of the pass, or until `is_over`."""
        steps = {
            ScrubPass.Phase.OBJECTS: (self._read_objects, ScrubPass.Phase.PARITY),
            ScrubPass.Phase.PARITY: (self._read_parity, ScrubPass.Phase.STRIPES),
            ScrubPass.Phase.STRIPES: (self._protect, ScrubPass.Phase.ENDED),
        }
        while self._row.phase != ScrubPass.Phase.ENDED:
            step, following = steps[ScrubPass.Phase(self._row.phase)]
            while step():
                if is_over():
                    return
            self._row.phase, self._row.after = following, ""
            self._save()
        self._end()

    # Steps: each answers False when nothing is left

    def _read_objects(self) -> bool:
        """Hash some objects, and mend what is damaged."""
        members = self._next_objects()
        if not members:
            return False
        whole = dict(zip(members, _each(self._is_whole, members), strict=True))
        bad = self._still_kept(member for member in members if not whole[member])
        self._close((each.kind, each.name) for each in members if whole[each])
        self._find((each.kind, each.name) for each in bad)
        if self._row.repairs:
            for found, some in self._by_stripe(bad).items():
                self._mend(found, some)
        self._row.objects_read += len(members)
        self._row.bytes_read += sum(each.size for each in members)
        self._row.after = f"{members[-1].kind}/{members[-1].name}"
        self._save()
        return True

    def _next_objects(self) -> list[Member]:
        """The next objects by type and name, a bounded number of bytes of them."""
        rows = StoredObject.objects.filter(deposit_set=self._set, reaped_at=None)
        if self._row.after:
            kind, _, after = self._row.after.partition("/")
            rows = rows.filter(Q(type__gt=kind) | Q(type=kind, name__gt=after))
        found: dict[parity.Name, Member] = {}
        for row in rows.order_by("type", "name", "pk")[: 2 * _BATCH]:
            name = row.type, row.name
            taken = sum(each.size for each in found.values())
            if name not in found and (len(found) == _BATCH or taken > _BATCH_BYTES):
                break
            is_config = row.type == "config"
            sha256 = parity.config_sha256(self._set, row) if is_config else row.name
            found[name] = Member(row.type, row.name, row.size, sha256)
        return list(found.values())

    def _is_whole(self, member: Member) -> bool:
        key = services.object_key(self._set, member.kind, member.name)
        digest, size = hashlib.sha256(), 0
        for chunk in parity.read_file(services.store(), key, member.size, self._pace):
            digest.update(chunk)
            size += len(chunk)
            if size > member.size:
                return False
        return size == member.size and digest.hexdigest() == member.sha256

    def _still_kept(self, members: Iterable[Member]) -> list[Member]:
        """Without those that the reaper took away meanwhile."""
        suspects = list(members)
        kept = parity.vouched_for(self._set, [(each.kind, each.name) for each in suspects])
        return [each for each in suspects if (each.kind, each.name) in kept]

    def _read_parity(self) -> bool:
        """Check the files of one stripe, and write again what is damaged."""
        after = int(self._row.after or 0)
        found = Stripe.objects.filter(deposit_set=self._set, pk__gt=after).order_by("pk").first()
        if found is None:
            return False
        found.deposit_set = self._set
        wrong = parity.damaged_parity(found, self._pace)
        name = (PARITY, found.name)
        if not wrong:
            self._close([name])
        elif Stripe.objects.filter(pk=found.pk).exists():
            self._find([name])
            if self._row.repairs and wrong.unreadable:
                parity.drop(found)  # its objects get another one before this pass ends
                self._close([name])
            elif self._row.repairs:
                self._mend(found, wrong.shards)
        self._row.after = str(found.pk)
        self._save()
        return True

    def _protect(self) -> bool:
        """Write one stripe for what has none; at the end, sweep what crashes left."""
        if not self._row.repairs:
            return False
        if parity.keep_up(self._set, self._pace, self._mend_member):
            return True
        parity.sweep(self._set.organisation.code, self._set.code)
        parity.store().sweep(clock.now() - _SWEPT_AFTER)
        return False

    # Mending

    def _by_stripe(self, members: Iterable[Member]) -> dict[Stripe | None, set[Piece]]:
        found: dict[Stripe | None, set[Piece]] = {}
        for member in members:
            stripe = parity.stripe_of(self._set, member)
            found.setdefault(stripe, set()).add(member)
        return found

    def _mend(self, found: Stripe | None, pieces: Iterable[Piece]) -> parity.Mended:
        """Have a stripe give back what is wanted; without a stripe, that is lost."""
        wanted = set(pieces)
        if found is None:
            outcome = parity.Mended(lost=wanted)
        else:
            outcome = parity.repair(found, wanted, self._pace)
        names = {piece: _named(piece, found) for piece in outcome.mended | outcome.lost}
        lost = {names[piece] for piece in outcome.lost}
        self._find(names.values())
        self._close(set(names.values()) - lost)
        self._lose(lost)
        return outcome

    def _mend_member(self, member: Member) -> bool:
        """Of an object that turns out to be damaged while parity is made of it."""
        if not self._still_kept([member]):
            return False
        self._find([(member.kind, member.name)])
        return member in self._mend(parity.stripe_of(self._set, member), {member}).mended

    # Records

    def _open(self, names: Iterable[parity.Name]) -> list[Damage]:
        """The damages of these names that are not closed."""
        wanted = set(names)
        found = Damage.objects.filter(deposit_set=self._set, mended_at=None, gone_at=None)
        return [each for each in found if (each.type, each.name) in wanted]

    def _find(self, names: Iterable[parity.Name]) -> None:
        wanted = set(names)
        if not wanted:
            return
        with transaction.atomic():
            serialise_writers()
            known = {(each.type, each.name): each for each in self._open(wanted)}
            Damage.objects.filter(pk__in=[each.pk for each in known.values()]).update(
                seen_in=self._row
            )
            Damage.objects.bulk_create(
                Damage(
                    deposit_set=self._set,
                    seen_in=self._row,
                    type=kind,
                    name=name,
                    found_at=clock.now(),
                )
                for kind, name in sorted(wanted - set(known))
            )

    def _close(self, names: Iterable[parity.Name]) -> None:
        self._date(names, "mended_at")

    def _lose(self, names: Iterable[parity.Name]) -> None:
        self._date(names, "lost_at")

    def _date(self, names: Iterable[parity.Name], column: str) -> None:
        found = [each.pk for each in self._open(names)]
        Damage.objects.filter(pk__in=found, **{column: None}).update(**{column: clock.now()})

    def _save(self) -> None:
        """Leave where the pass stands, with what it found."""
        seen = Damage.objects.filter(seen_in=self._row)
        self._row.found = seen.count()
        self._row.mended = seen.exclude(mended_at=None).count()
        self._row.lost = seen.filter(mended_at=None, gone_at=None).exclude(lost_at=None).count()
        self._row.save()

    def _end(self) -> None:
        with transaction.atomic():
            serialise_writers()
            self._let_go()
            self._save()
            self._row.ended_at = clock.now()
            self._row.save(update_fields=["ended_at"])
            _tell(self._actor, self._row)

    def _let_go(self) -> None:
        """Close what is no more kept: objects that were reaped, stripes that others replaced."""
        left = Damage.objects.filter(deposit_set=self._set, mended_at=None, gone_at=None)
        kept = parity.vouched_for(self._set, [(each.type, each.name) for each in left])
        stripes = Stripe.objects.filter(deposit_set=self._set).values_list("name", flat=True)
        kept |= {(PARITY, name) for name in stripes}
        for each in left:
            if (each.type, each.name) not in kept:
                column = "mended_at" if each.type == PARITY else "gone_at"
                setattr(each, column, clock.now())
                each.save(update_fields=[column])


def _each(check: Callable[[Member], bool], members: Sequence[Member]) -> Iterable[bool]:
    """On two cores; one for S3, whose requests ask the database for leave to go out."""
    if len(members) == 1 or not isinstance(services.store(), FolderStore):
        return map(check, members)
    with ThreadPoolExecutor(max_workers=2) as threads:
        return list(threads.map(check, members))


def _named(piece: Piece, found: Stripe | None) -> parity.Name:
    if isinstance(piece, Member):
        return piece.kind, piece.name
    assert found is not None
    return PARITY, found.name


def _tell(actor: Actor, row: ScrubPass) -> None:
    """Say what a pass found: in the journal, and to people when something is lost."""
    deposit_set = row.deposit_set
    organisation = deposit_set.organisation
    if row.found or actor != access.SYSTEM:
        figures = ("objects_read", "bytes_read", "found", "mended", "lost")
        journal.append(
            actor,
            "vault.integrity_checked",
            organisation=organisation.code,
            object=deposit_set.code,
            data={name: getattr(row, name) for name in figures},
        )
    untold = lost(deposit_set).filter(told_at=None)
    names = sorted(f"{each.type}/{each.name}" for each in untold)
    if not names:
        return
    untold.update(told_at=clock.now())
    told = {
        "set": deposit_set.code,
        "objects": len(names),
        "names": names[:_NAMED],
        "names_sha256": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }
    journal.append(
        actor,
        "vault.objects_lost",
        organisation=organisation.code,
        object=deposit_set.code,
        data=told,
    )
    events.emit("vault.objects_lost", organisation=organisation.code, payload=told)
    notifications.notify(
        alarm.concerned(organisation),
        f"Objets abîmés sans réparation : {deposit_set.title}, {organisation.name}",
        f"{len(names)} objet{'s' if len(names) > 1 else ''} du dépôt ne {'sont' if len(names) > 1 else 'est'} "
        "plus lisible, et la parité ne suffit pas à le réparer. Lancez une sauvegarde depuis les "
        "machines de la mairie : ce qu'elles ont encore remplace ce qui manque. Puis appelez le "
        "service informatique du département.",
        f"{reverse('vault:commune', args=[organisation.code])}#integrite",
    )


# What is known -----------------------------------------------------------------------------------


def lost(*sets: DepositSet) -> QuerySet[Damage]:
    """What is damaged and could not be mended; of every set when none is named."""
    found = Damage.objects.filter(mended_at=None, gone_at=None).exclude(lost_at=None)
    found = found.exclude(type=PARITY)
    return found.filter(deposit_set__in=sets) if sets else found


def health() -> Health:
    """Whether every stored object was read lately, and nothing is lost."""
    try:
        parity.store().check()
        missing = missing_store()
    except (OSError, ValueError) as error:
        return Health(False, f"L'espace de parité n'est pas en état : {error}")
    if missing:
        return Health(False, missing)
    codes = set(lost().values_list("deposit_set__organisation__code", flat=True))
    if codes:
        named = ", ".join(sorted(codes)[:5])
        return Health(False, f"Des objets sont abîmés sans réparation possible : {named}.")
    before = clock.now() - SILENT_AFTER
    silent = DepositSet.objects.filter(stored_bytes__gt=0, created_at__lt=before).exclude(
        passes__ended_at__gte=before
    )
    count = silent.count()
    if count:
        return Health(
            False,
            f"Le contrôle d'intégrité n'est pas allé au bout depuis 3 jours : {count} dépôts.",
        )
    return Health(True, "Les copies sont relues chaque jour, et aucune n'est perdue.")
