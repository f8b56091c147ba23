"""The lock that the store itself enforces, against whoever has its keys (S3, mode COMPLIANCE).

The bucket locks by itself each version that arrives. A daily walk over all versions then keeps what
must stay locked ahead (`engine.object_lock`), puts back on top what somebody hid under a marker or
under other bytes, and deletes, their lock over, the versions that nobody vouches for. It goes by
batches and for a few minutes at a time; cut anywhere, it goes on from the last batch. Whether bytes
may leave is asked of the store, at the store's own time.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import access, clock, events, journal, objects
from souverain.core.access import Actor
from souverain.core.format import datetime_fr
from souverain.core.rooms import Health
from souverain.core.transactions import serialise_writers
from souverain.vault import log, retention, services
from souverain.vault.engine.object_lock import AHEAD, BUCKET_DAYS, reach
from souverain.vault.engine.retention import LOCK_DAYS, LOCK_DAYS_MAX, Life, Seen
from souverain.vault.engine.tlog.leaves import BIRTH, Leaf
from souverain.vault.learnt import Learnt
from souverain.vault.models import (
    CheckedVersion,
    DepositSet,
    LockPass,
    Log,
    LogLeaf,
    StoredObject,
)

if TYPE_CHECKING:
    from souverain.core.s3_versions import BucketLock, Version, Versions

logger = logging.getLogger(__name__)
PASS_EVERY = timedelta(days=1)
SILENT_AFTER = timedelta(days=3)
TURN = timedelta(minutes=5)
FRESH = timedelta(days=1)
"""What no record vouches for is left alone for so long: its record may be on its way."""
_BATCH = 500
_PREPARE = f"souverain vault store lock --days {BUCKET_DAYS}"


# The bucket --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """What the store keeps and locks; `lock` is None when it cannot lock."""

    keeps_versions: bool
    lock: BucketLock | None = None

    @property
    def days(self) -> int | None:
        """For how long it locks by itself what arrives; None when it cannot lock."""
        if self.lock is None:
            return None
        return self.lock.days if self.lock.mode == "COMPLIANCE" else 0


def state() -> State:
    """Ask the store. Raises StoreUnavailable."""
    with services.store().versions() as versions:
        if versions is None:
            return State(False)
        return State(True, versions.bucket_lock())


def lock_bucket(actor: Actor, days: int) -> None:
    """Have the bucket lock by itself, for that long, what arrives from now on. Raises
    ValidationError for a bucket that cannot, or that would lock for less long than it does."""
    found = state()
    if found.days is None:
        raise ValidationError(
            "Ce stockage n'a pas de verrou d'objets : créez un compartiment S3 avec « object lock », "
            "qui ne s'ajoute pas partout après coup, et nommez-le dans SOUVERAIN_OBJECTS_URL."
        )
    shortest = max(LOCK_DAYS, found.days)
    if not shortest <= days <= LOCK_DAYS_MAX:
        raise ValidationError(f"Le verrou va de {shortest} à {LOCK_DAYS_MAX} jours.")
    with transaction.atomic(), services.store().versions() as versions:
        assert versions is not None
        journal.append(actor, "vault.bucket_locked", data={"days": days, "before": found.days})
        versions.lock_bucket(days)


def last_walk() -> LockPass | None:
    """The last walk of an S3 store, if the vault is on one."""
    return LockPass.objects.order_by("-pk").first() if objects.goes_to() is not None else None


def health() -> Health:
    """Whether the store keeps what the vault promises, as the last walk found it."""
    if objects.goes_to() is None:
        return Health(True, "Les copies sont dans un dossier, sans verrou d'objets S3.")
    last = last_walk()
    if last is None:
        return Health(True, "La première ronde des verrous se fera avec le processus des travaux.")
    if last.bucket_days is None:
        return Health(
            False,
            "Le compartiment S3 n'a pas de verrou d'objets : qui en a les clés peut tout effacer.",
        )
    if last.bucket_days < LOCK_DAYS:
        return Health(
            False,
            f"Le compartiment S3 verrouille ce qui arrive {last.bucket_days} jours seulement. "
            f"Tapez : {_PREPARE}",
        )
    ended = LockPass.objects.exclude(ended_at=None).order_by("-pk").first()
    since = ended.ended_at if ended and ended.ended_at else last.began_at
    if clock.now() - since > SILENT_AFTER:
        return Health(
            False, f"Les verrous du stockage S3 ne s'allongent plus ({datetime_fr(since)})."
        )
    if ended is not None and ended.lost:
        return Health(False, f"{ended.lost} fichiers n'ont plus de bonne version sur S3.")
    if ended is not None and ended.refused:
        return Health(False, f"Le stockage S3 refuse d'allonger {ended.refused} verrous.")
    return Health(True, "Le stockage S3 verrouille les copies.")


# The walk ----------------------------------------------------------------------------------------


def keep_up() -> None:
    """The duty: go on with the walk under way, or begin the day's, for a few minutes."""
    walk(access.SYSTEM, within=TURN)


def walk(actor: Actor, *, within: timedelta | None = None, anew: bool = False) -> LockPass | None:
    """Go on with the walk under way, to its end or for that long. Without one, begin the day's, or
    one at once if `anew`. None when there is nothing to do, or when the store keeps no versions."""
    with services.store().versions() as versions:
        if versions is None:
            _note_no_lock()
            return None
        lock = versions.bucket_lock()
        days = State(True, lock).days
        this = _under_way(days, anew=anew)
        if this is not None and _go_on(versions, this, within):
            _end(actor, this)
        return this


def _note_no_lock() -> None:
    """Say once that an S3 bucket does not lock."""
    last = last_walk()
    if objects.goes_to() is not None and (last is None or last.bucket_days is not None):
        now = clock.now()
        LockPass.objects.create(began_at=now, ended_at=now)


def _under_way(days: int | None, *, anew: bool) -> LockPass | None:
    last = last_walk()
    if last is not None and last.ended_at is None:
        if not anew:
            last.bucket_days = days
            return last
        # What was hidden since is perhaps behind it: somebody who asks wants all of it looked at.
        last.delete()
    elif last is not None and not anew and last.bucket_days == days and _is_recent(last):
        return None
    return LockPass.objects.create(began_at=clock.now(), bucket_days=days)


def _is_recent(last: LockPass) -> bool:
    return clock.now() - last.began_at < PASS_EVERY


def _go_on(versions: Versions, this: LockPass, within: timedelta | None) -> bool:
    """Walk from where the pass was; whether it came to the end."""
    until = None if within is None else monotonic() + within.total_seconds()
    seen = retention.seen()
    names = versions.named(after=this.after)
    while batch := list(islice(names, _BATCH)):
        _Batch(versions, this, seen, batch).tend()
        this.after = batch[-1][0]
        this.save()
        if until is not None and monotonic() > until:
            return False
    return True


def _end(actor: Actor, this: LockPass) -> None:
    with transaction.atomic():
        this.ended_at = clock.now()
        this.save()
        journal.append(
            actor,
            "vault.locks_extended",
            data={
                "versions": this.versions,
                "extended": this.extended,
                "freed": this.freed,
                "freed_bytes": this.freed_bytes,
                "brought_back": this.brought_back,
                "lost": this.lost,
                "refused": this.refused,
            },
        )


@dataclass
class _Claim:
    """Who vouches for the bytes of a name, and for how long."""

    deposit_set: DepositSet
    lock: timedelta
    held: bool
    learnt: Learnt
    rows: list[StoredObject] = field(default_factory=list)

    @property
    def lives(self) -> list[Life]:
        return [
            Life(row.received_at, row.died_at and self.learnt.since(row.died_at))
            for row in self.rows
        ]


class _Batch:
    """Some names of the store, with their versions."""

    def __init__(
        self,
        versions: Versions,
        this: LockPass,
        seen: Seen,
        named: list[tuple[str, list[Version]]],
    ) -> None:
        self.versions, self.this, self.seen = versions, this, seen
        self.named = named
        self.claims = _claims(name for name, _ in named)
        self.logs = set(Log.objects.values_list("organisation__code", flat=True))
        self.back: dict[DepositSet, list[str]] = defaultdict(list)

    def tend(self) -> None:
        for name, found in self.named:
            self.this.versions += sum(not each.is_marker for each in found)
            claim = self.claims.get(name)
            if claim is not None and claim.rows:
                self._tend_object(claim, name, found)
            elif claim is not None:
                self._tend_loose(found)
            elif name.startswith("log/") and name.split("/")[1] in self.logs:
                self._tend_log(name, found)
            elif name.startswith(("vault/", "log/")) and _is_ours(name):
                self._tend_orphan(name, found)
            else:
                self._tend_loose(found)
        self._tell()

    def _tend_object(self, claim: _Claim, name: str, found: list[Version]) -> None:
        """An object that records vouch for: its right bytes on top, and locked."""
        right = self._right(claim, found)
        if right is None:
            self.this.lost += 1
            logger.error("no version of %s has its bytes", name)
            return
        if not right.is_latest:
            self._bring_back(right, found)
            self.this.brought_back += 1
            self.back[claim.deposit_set].append(name)
        self._extend(right, claim.lives, claim.lock, held=claim.held)
        self._free(each for each in found if each is not right and not each.is_marker)

    def _tend_log(self, name: str, found: list[Version]) -> None:
        """A file of a transparency log: the newest version, and locked as long as it is there."""
        newest = _newest(found)
        if newest is None or ".p/" in name:  # a partial tile gives way to the whole one
            self._tend_loose(found)
            return
        if not newest.is_latest:
            self._bring_back(newest, found)
            self.this.brought_back += 1
            logger.error("%s was hidden in the store", name)
        self._extend(newest, [Life(newest.modified, None)], timedelta(days=LOCK_DAYS), held=False)
        self._free(each for each in found if each is not newest and not each.is_marker)

    def _tend_loose(self, found: list[Version]) -> None:
        """What is ephemeral (restic's locks, probes), or not ours: only what is hidden goes."""
        hidden = [each for each in found if not each.is_latest and not each.is_marker]
        self._free(hidden)
        if all(each.is_marker for each in found):
            self._drop_markers(found)

    def _tend_orphan(self, name: str, found: list[Version]) -> None:
        """What no record vouches for: it goes as its lock ends, under the writers' lock."""
        data = [each for each in found if not each.is_marker]
        if not data:
            self._drop_markers(found)
            return
        due = [each for each in data if self._lets_go(each)]
        if not due:
            return
        with transaction.atomic():
            serialise_writers()
            gone = log.discard(name) if name.startswith("log/") else services.discard(name)
        if gone:
            self.this.freed += len(due)
            self.this.freed_bytes += sum(each.size for each in due)

    def _right(self, claim: _Claim, found: list[Version]) -> Version | None:
        """The version that has the bytes of the name. One alone is not read: nobody can have put
        other bytes in its place while the store locks it, and the scrub reads them all."""
        data = [each for each in found if not each.is_marker]
        row = claim.rows[0]
        candidates = [each for each in data if each.size == row.size]
        if len(data) == 1:
            return candidates[0] if candidates else None
        if not candidates:
            return None
        # Dates are in whole seconds, and S3 lists the newest first.
        oldest = min(reversed(candidates), key=lambda each: each.modified)
        candidates.sort(key=lambda each: (each.is_latest, each.modified), reverse=True)
        identity: dict[str, Any] = {
            "deposit_set": claim.deposit_set,
            "type": row.type,
            "name": row.name,
        }
        known = CheckedVersion.objects.filter(**identity).first()
        if known is not None and candidates[0].id == known.version:
            return candidates[0]
        # A config that no log names yet has the bytes that arrived first.
        expected = _sha256_of(row) or self.versions.sha256(oldest)
        for each in candidates:
            if self.versions.sha256(each) == expected:
                CheckedVersion.objects.update_or_create(**identity, defaults={"version": each.id})
                return each
        return None

    def _bring_back(self, right: Version, found: list[Version]) -> None:
        """Take the markers off, then copy over what else is on top."""
        for _ in found:
            latest = next((each for each in self.versions.of(right.key) if each.is_latest), None)
            if latest is None or latest.id == right.id:
                return
            if not latest.is_marker or not self.versions.delete(latest):
                break
        self.versions.put_on_top(right)

    def _extend(self, version: Version, lives: list[Life], lock: timedelta, *, held: bool) -> None:
        if self.this.bucket_days is None:
            return
        kept = self.versions.kept(version)
        needed = reach(lives, lock, self.seen, kept.now, held=held)
        if needed.aim <= kept.now or (kept.sure_until and kept.sure_until >= needed.least):
            return
        if self.versions.keep(version, needed.aim):
            self.this.extended += 1
        else:
            self.this.refused += 1

    def _free(self, found: Iterable[Version]) -> None:
        for each in found:
            if self._lets_go(each) and self.versions.delete(each):
                self.this.freed += 1
                self.this.freed_bytes += each.size

    def _lets_go(self, version: Version) -> bool:
        kept = self.versions.kept(version)
        return kept.lets_go and kept.now - version.modified > FRESH

    def _drop_markers(self, found: list[Version]) -> None:
        for each in found:
            self.versions.delete(each)

    def _tell(self) -> None:
        for deposit_set, names in self.back.items():
            told = {
                "set": deposit_set.code,
                "objects": len(names),
                "names_sha256": hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest(),
            }
            code = deposit_set.organisation.code
            with transaction.atomic():
                journal.append(
                    access.SYSTEM,
                    "vault.copies_hidden",
                    organisation=code,
                    object=deposit_set.code,
                    data=told,
                )
                events.emit("vault.copies_hidden", organisation=code, payload=told)


# Who vouches -------------------------------------------------------------------------------------


def _claims(names: Iterable[str]) -> dict[str, _Claim]:
    """The names that a record, or a lock of a set that exists, vouches for."""
    inside: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for name in names:
        parts = name.split("/")
        if parts[0] == "vault" and len(parts) >= 4:
            inside[parts[1], parts[2]].append((name, parts[3], parts[-1]))
    found: dict[str, _Claim] = {}
    for (code, set_code), items in inside.items():
        sets = DepositSet.objects.select_related("organisation")
        deposit_set = sets.filter(organisation__code=code, code=set_code).first()
        if deposit_set is not None:
            found |= _claims_of(deposit_set, items)
    return found


def _claims_of(deposit_set: DepositSet, items: list[tuple[str, str, str]]) -> dict[str, _Claim]:
    lock = timedelta(days=retention.lock_days(deposit_set))
    held = bool(retention.holds(deposit_set))
    learnt = Learnt(deposit_set)

    def claim() -> _Claim:
        return _Claim(deposit_set, lock, held, learnt)

    found = {name: claim() for name, kind, _ in items if kind == "locks"}
    wanted = {
        (kind, own): name
        for name, kind, own in items
        if services.object_key(deposit_set, kind, own) == name
    }
    for row in StoredObject.objects.filter(
        deposit_set=deposit_set, name__in={own for _, own in wanted}, reaped_at=None
    ).order_by("pk"):
        name = wanted.get((row.type, row.name))
        if name is not None:
            found.setdefault(name, claim()).rows.append(row)
    return found


def _is_ours(name: str) -> bool:
    """Whether the store could have given that name."""
    try:
        return len(objects.safe_parts(name)) > 2
    except ValueError:
        return False


def _newest(found: list[Version]) -> Version | None:
    data = [each for each in found if not each.is_marker]
    return max(data, key=lambda each: (each.is_latest, each.modified), default=None)


def _sha256_of(row: StoredObject) -> str:
    """What the bytes of an object must be: its name; for a config, what its leaf in the log says."""
    if row.type != "config":
        return row.name
    leaves = LogLeaf.objects.filter(deposit_set=row.deposit_set_id, at=row.received_at)
    for data in leaves.values_list("data", flat=True):
        leaf = Leaf.parse(data.encode())
        if leaf.object.type == "config" and leaf.event == BIRTH:
            return leaf.sha256
    return ""


# For the reaper ----------------------------------------------------------------------------------


def let_go(keys: Iterable[str]) -> set[str]:
    """Those of the names whose every version the store would let go now."""
    names = set(keys)
    with services.store().versions() as versions:
        if versions is None:
            return names
        return {
            name
            for name in names
            if all(versions.kept(each).lets_go for each in versions.of(name) if not each.is_marker)
        }


def ahead() -> timedelta:
    """How much longer than its lock the store may keep what is dead."""
    last = last_walk()
    return AHEAD if last is not None and last.bucket_days is not None else timedelta()
