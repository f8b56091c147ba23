"""How long the bytes of a deposit set stay: locks that only lengthen, holds, and the reaper.

The reaper is the only way by which the bytes of a record leave the disk. Like a prune in two
phases, it marks records first and commits, then removes files that no record vouches for: a crash
at any point never leaves a record without its bytes, and the next pass goes on.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.urls import reverse

from souverain.core import access, clock, journal, notifications
from souverain.core.access import Actor
from souverain.core.format import datetime_fr
from souverain.core.models import Organisation, User
from souverain.core.roles import Role
from souverain.core.rooms import Health
from souverain.core.transactions import serialise_writers
from souverain.vault import parity, services
from souverain.vault.engine import retention as engine
from souverain.vault.engine.retention import (
    LOCK_DAYS,
    LOCK_DAYS_MAX,
    STEP_MAX,
    Doubt,
    Life,
    Seen,
)
from souverain.vault.learnt import Learnt
from souverain.vault.models import DepositSet, Hold, Lock, ReaperPass, StoredObject

_BATCH = 500
_PLACED = {Hold.Kind.LEGAL: "vault.hold_placed", Hold.Kind.FREEZE: "vault.frozen"}
_LIFTED = {Hold.Kind.LEGAL: "vault.hold_lifted", Hold.Kind.FREEZE: "vault.thawed"}
_WORDS = {
    Doubt.LEAPT: "l'horloge du serveur a sauté de plus de {days} jours depuis le dernier passage, "
    "ou le service a été arrêté aussi longtemps",
    Doubt.WENT_BACK: "l'horloge du serveur est revenue avant le dernier passage",
}


class ClockInDoubt(Exception):
    """The reaper does not believe the clock; the message is a French sentence."""

    def __init__(self, doubt: Doubt, last: datetime) -> None:
        why = _WORDS[doubt].format(days=STEP_MAX.days)
        super().__init__(
            f"Rien n'est retiré : {why} ({datetime_fr(last)}). Vérifiez l'heure du serveur, puis "
            "tapez : souverain vault reap --confirm-clock. Le temps que personne n'a vu passer "
            "n'est compté dans aucune conservation."
        )
        self.doubt = doubt


# Locks -------------------------------------------------------------------------------------------


def lock_days(deposit_set: DepositSet) -> int:
    """How many days the set's objects stay after their death: the longest that was ever asked."""
    asked = Lock.objects.filter(deposit_set=deposit_set).aggregate(longest=Max("days"))
    return max(LOCK_DAYS, asked["longest"] or 0)


@transaction.atomic
def lengthen(actor: Actor, deposit_set: DepositSet, days: int) -> None:
    """Keep a set's deleted objects for longer, those already dead included. There is no way back.
    Raises ValidationError for a shorter lock."""
    serialise_writers()
    present = lock_days(deposit_set)
    if not present < days <= LOCK_DAYS_MAX:
        raise ValidationError(
            f"La conservation est de {present} jours. Elle s'allonge, jusqu'à {LOCK_DAYS_MAX} "
            "jours ; personne ne peut la raccourcir."
        )
    Lock.objects.create(deposit_set=deposit_set, days=days, set_by=str(actor), set_at=clock.now())
    _journal(actor, "vault.lock_lengthened", deposit_set, days=days, before=present)


def _journal(
    actor: Actor, verb: str, deposit_set: DepositSet, *, reason: str = "", **data: object
) -> None:
    journal.append(
        actor,
        verb,
        organisation=deposit_set.organisation.code,
        object=deposit_set.code,
        data=data,
        detail={"reason": reason} if reason else None,
    )


# Holds and freezes -------------------------------------------------------------------------------


def holds(deposit_set: DepositSet) -> list[Hold]:
    """What keeps every byte of the set, locks aside."""
    return list(Hold.objects.filter(deposit_set=deposit_set, lifted_at=None))


@transaction.atomic
def hold(actor: Actor, deposit_set: DepositSet, reason: str, reference: str = "") -> Hold:
    """Keep every byte of a set until somebody else lifts the hold (an inquiry, a dispute)."""
    return _place(actor, deposit_set, Hold.Kind.LEGAL, reason, reference)


@transaction.atomic
def freeze(actor: Actor, deposit_set: DepositSet, reason: str) -> Hold:
    """Keep every byte of a set until an operator of the département looked at it."""
    return _place(actor, deposit_set, Hold.Kind.FREEZE, reason, "")


def _place(
    actor: Actor, deposit_set: DepositSet, kind: Hold.Kind, reason: str, reference: str
) -> Hold:
    reason, reference = " ".join(reason.split()), " ".join(reference.split())
    if not reason:
        raise ValidationError("Dites pourquoi.")
    if len(reason) > 300 or len(reference) > 120:
        raise ValidationError("Le motif tient en 300 caractères, la référence en 120.")
    serialise_writers()
    placed = Hold.objects.create(
        deposit_set=deposit_set,
        kind=kind,
        reason=reason,
        reference=reference,
        placed_by=str(actor),
        placed_at=clock.now(),
    )
    _journal(actor, _PLACED[kind], deposit_set, reason=reason, hold=placed.pk)
    return placed


@transaction.atomic
def lift(actor: Actor, hold: Hold) -> None:
    """Lift a legal hold: somebody else than who placed it. Raises ValidationError."""
    serialise_writers()
    hold.refresh_from_db()
    if hold.kind != Hold.Kind.LEGAL or hold.lifted_at is not None:
        raise ValidationError("Cette conservation exigée est déjà levée.")
    if _person(hold.placed_by) == _person(str(actor)):
        raise ValidationError("Vous l'avez posée : une autre personne doit la lever.")
    _lift(actor, hold)


def _person(name: str) -> str:
    """Who an actor is, when two people are needed: the console is one, whatever name it takes there
    (whoever is root has every Unix account)."""
    return "console" if name.startswith("console:") else name


@transaction.atomic
def thaw(actor: Actor, deposit_set: DepositSet) -> None:
    """End a freeze: an operator of the département alone. Raises ValidationError."""
    if not is_operator(actor):
        raise ValidationError("Seul un opérateur du Département lève un gel.")
    serialise_writers()
    for frozen in holds(deposit_set):
        if frozen.kind == Hold.Kind.FREEZE:
            _lift(actor, frozen)


def is_operator(actor: Actor) -> bool:
    return actor.is_trusted or access.operates_departement(actor)


def _lift(actor: Actor, hold: Hold) -> None:
    hold.lifted_by, hold.lifted_at = str(actor), clock.now()
    hold.save(update_fields=["lifted_by", "lifted_at"])
    _journal(actor, _LIFTED[Hold.Kind(hold.kind)], hold.deposit_set, hold=hold.pk)


# The clock ---------------------------------------------------------------------------------------


def seen() -> Seen:
    """The time that the reaper saw pass."""
    return Seen(tuple(ReaperPass.objects.order_by("pk").values_list("at", flat=True)))


def health() -> Health:
    """Whether the reaper believes the clock."""
    known = Seen(tuple(ReaperPass.objects.order_by("-pk").values_list("at", flat=True)[:1]))
    doubt = known.doubt(clock.now())
    if doubt is not None:
        return Health(False, str(ClockInDoubt(doubt, known.passes[-1])))
    if not known.passes:
        return Health(True, "Le premier passage se fera avec le processus des travaux.")
    return Health(True, f"Dernier passage : {datetime_fr(known.passes[-1])}.")


def _begin(actor: Actor, *, confirm_clock: bool) -> ReaperPass:
    """Note this pass. Raises ClockInDoubt, journalled, unless somebody vouches for the clock."""
    with transaction.atomic():
        serialise_writers()
        known, now = seen(), clock.now()
        doubt = known.doubt(now)
        if doubt is None or confirm_clock:
            by = str(actor) if doubt else ""
            made = ReaperPass.objects.create(at=now, confirmed_by=by)
            if doubt is not None:
                told = {"doubt": doubt.value, "last": clock.rfc3339(known.passes[-1])}
                journal.append(actor, "vault.clock_confirmed", data=told)
            return made
    journal.refuse(actor, "vault.clock_doubted", reason=doubt)
    raise ClockInDoubt(doubt, known.passes[-1])


# The reaper --------------------------------------------------------------------------------------


@dataclass
class Reaped:
    """What one pass took away, or would."""

    objects: int = 0
    bytes: int = 0
    sets: int = 0
    held_sets: int = 0
    locked: int = 0
    """Objects whose lock is over for the records, and that the store itself still locks."""


def reap(actor: Actor, *, dry_run: bool = False, confirm_clock: bool = False) -> Reaped:
    """One pass over every set: what died, and whose lock the reaper saw pass since, leaves the
    disk. Raises ClockInDoubt. `dry_run` counts, and writes nothing."""
    if dry_run:
        known, now = seen(), clock.now()
        doubt = known.doubt(now)
        if doubt is not None and not confirm_clock:
            raise ClockInDoubt(doubt, known.passes[-1])
        return _reap(actor, Seen((*known.passes, now)), now, dry_run=True)
    this = _begin(actor, confirm_clock=confirm_clock)
    cut = ReaperPass.objects.filter(ended_at=None, pk__lt=this.pk)
    for pk, at in list(cut.values_list("pk", "at")):
        _finish(StoredObject.objects.filter(reaped_at__gte=at))
        cut.filter(pk=pk).update(ended_at=clock.now())
    from souverain.vault import destruction  # which stands on this module

    destruction.execute_due(this.at)
    report = _reap(actor, seen(), this.at, dry_run=False)
    ReaperPass.objects.filter(pk=this.pk).update(ended_at=clock.now())
    return report


def _reap(actor: Actor, known: Seen, now: datetime, *, dry_run: bool) -> Reaped:
    report = Reaped()
    for found in DepositSet.objects.select_related("organisation"):
        if holds(found):
            report.held_sets += 1
            continue
        before = report.objects
        leaving = []
        for due in _due(found, now):
            # What stays keeps its parity: the clock alone does not say that it leaves.
            over = _past_their_lock(found, due, known, now)
            names = _let_go(found, [(lives[0].type, lives[0].name) for lives in over])
            report.locked += len(over) - len(names)
            leaving.append(names)
        if not dry_run:
            parity.make_way(found, [name for names in leaving for name in names])
        for names in leaving:
            with transaction.atomic():
                if not dry_run:
                    serialise_writers()
                gone = _past_their_lock(found, names, known, now)
                if gone and not dry_run:
                    _mark(actor, found, gone, now)
            report.objects += len(gone)
            report.bytes += sum(lives[0].size for lives in gone)
            if not dry_run:
                _finish(row for lives in gone for row in lives[:1])
        report.sets += report.objects > before
    return report


def _due(deposit_set: DepositSet, now: datetime) -> Iterator[list[tuple[str, str]]]:
    """The names, in batches, with a life that died a lock ago by the clock alone."""
    rows = StoredObject.objects.filter(
        deposit_set=deposit_set,
        reaped_at=None,
        died_at__lte=now - timedelta(days=lock_days(deposit_set)),
    )
    names = list(rows.order_by("type", "name").values_list("type", "name").distinct())
    for start in range(0, len(names), _BATCH):
        yield names[start : start + _BATCH]


def _let_go(deposit_set: DepositSet, names: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the names whose bytes the store itself would let go."""
    from souverain.vault import object_lock  # which stands on this module

    keys = {name: services.object_key(deposit_set, *name) for name in names}
    free = object_lock.let_go(keys.values())
    return [name for name, key in keys.items() if key in free]


def _past_their_lock(
    deposit_set: DepositSet, names: Iterable[tuple[str, str]], known: Seen, now: datetime
) -> list[list[StoredObject]]:
    """The lives, name by name, whose bytes may leave now. Under the writers' lock it stays true."""
    wanted, held, learnt = set(names), bool(holds(deposit_set)), Learnt(deposit_set)
    lock = timedelta(days=lock_days(deposit_set))
    lives: dict[tuple[str, str], list[StoredObject]] = defaultdict(list)
    for row in StoredObject.objects.filter(
        deposit_set=deposit_set, name__in={name for _, name in wanted}, reaped_at=None
    ):
        if (row.type, row.name) in wanted:
            row.deposit_set = deposit_set
            lives[row.type, row.name].append(row)
    return [
        rows
        for rows in lives.values()
        if engine.removable(
            [Life(row.received_at, row.died_at and learnt.since(row.died_at)) for row in rows],
            lock,
            known,
            now,
            held=held,
        )
    ]


def _mark(
    actor: Actor, deposit_set: DepositSet, gone: list[list[StoredObject]], now: datetime
) -> None:
    """Write that these bytes leave, before they do, at an instant of the set's own: its log puts
    what happens in sequence by it."""
    rows = [row for lives in gone for row in lives]
    current = DepositSet.objects.select_related("organisation").get(pk=deposit_set.pk)
    current.last_instant = max(now, services.next_instant(current, actor))
    StoredObject.objects.filter(pk__in=[row.pk for row in rows]).update(
        reaped_at=current.last_instant
    )
    size = sum(lives[0].size for lives in gone)
    current.stored_bytes -= size
    deaths = [row.died_at for row in rows if row.died_at is not None]
    current.complete_since = max([*deaths, current.complete_since or deaths[0]])
    current.save(update_fields=["last_instant", "stored_bytes", "complete_since"])
    names = "\n".join(sorted(f"{lives[0].type}/{lives[0].name}" for lives in gone))
    _journal(
        actor,
        "vault.reaped",
        deposit_set,
        objects=len(gone),
        bytes=size,
        names_sha256=hashlib.sha256(names.encode()).hexdigest(),
        complete_since=clock.rfc3339(current.complete_since),
    )


def _finish(rows: Iterable[StoredObject]) -> None:
    """Remove the files of records that say so already; a name that lives again keeps its own."""
    keys = [services.object_key(row.deposit_set, row.type, row.name) for row in rows]
    for start in range(0, len(keys), _BATCH):
        with transaction.atomic():
            serialise_writers()
            for key in keys[start : start + _BATCH]:
                services.discard(key)


# For others --------------------------------------------------------------------------------------


@transaction.atomic
def bury_all(deposit_set: DepositSet) -> int:
    """End the life of every object of a set at one instant; the locks run from there."""
    serialise_writers()
    return services.bury_everything(deposit_set)


def free_from(deposit_set: DepositSet) -> datetime | None:
    """From when no byte of the set is kept by its lock: None while something lives, a hold is on,
    or the clock is in doubt. The instant of its creation when nothing is kept."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set, reaped_at=None)
    if not rows.exists():
        return None if holds(deposit_set) else deposit_set.created_at
    known = seen()
    if rows.filter(died_at=None).exists() or holds(deposit_set) or known.doubt(clock.now()):
        return None
    # The end grows with the death, but for the leaps that a later death no longer has behind it.
    first = rows.order_by("died_at").values_list("died_at", flat=True).first()
    latest = [rows.aggregate(last=Max("died_at"))["last"]]
    latest += Learnt(deposit_set).all_since(first) if first else []
    latest += [
        rows.filter(died_at__lt=to).aggregate(last=Max("died_at"))["last"] for _, to in known.leaps
    ]
    lives = [Life(died, died) for died in latest if died is not None]
    end = engine.free_from(lives, timedelta(days=lock_days(deposit_set)), known)
    from souverain.vault import object_lock  # which stands on this module

    return None if end is None else end + object_lock.ahead()


def admins(organisation: Organisation) -> Iterable[User]:
    """Who administers a commune."""
    return User.objects.filter(
        role_assignments__organisation=organisation,
        role_assignments__role=Role.COMMUNE_ADMIN,
        role_assignments__group=None,
        is_active=True,
    ).distinct()


def tell_admins(deposit_set: DepositSet, title: str, body: str) -> None:
    """Tell those who administer the set's commune."""
    url = reverse("vault:commune", args=[deposit_set.organisation.code])
    notifications.notify(admins(deposit_set.organisation), title, body, url)
