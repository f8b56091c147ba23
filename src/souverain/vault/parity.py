"""The parity of the deposit sets: kept apart from the objects, and by which these are written again.

A stripe's files are `parity/<INSEE>/<set>/<name>/` in the parity store: two shards, and the
manifest in copies (`engine.parity`). A stripe is recorded under the writers' lock, once its files
are durable, only while the records vouch for each of its members: what the reaper took away, or a
departure, is in no parity that stays. An object's new stripe is recorded before its old one goes.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.conf import settings
from django.db import transaction

from souverain.core import clock, objects
from souverain.core.objects import FolderStore, Incoming, Store, StoreUnavailable
from souverain.core.rooms import Destination
from souverain.core.transactions import serialise_writers
from souverain.vault import services
from souverain.vault.engine.parity import packing, stripe
from souverain.vault.engine.parity.code import DATA, PARITY
from souverain.vault.engine.parity.manifest import (
    BLOCK,
    COPIES,
    MANIFEST_MAX,
    Bins,
    Manifest,
    ManifestError,
    Member,
    elect,
)
from souverain.vault.engine.parity.stripe import Damaged, Draft, ParityShard, Piece, Read
from souverain.vault.engine.tlog.leaves import BIRTH, Leaf
from souverain.vault.models import Damage, DepositSet, LogLeaf, StoredObject, Stripe, StripeMember

logger = logging.getLogger(__name__)
RATE_MB_S = 100
_LOCK = "parity-lock"
_BATCH = 500

Reading = Callable[[int], None]
"""Told of the bytes that were just read."""
Name = tuple[str, str]
"""An object's type and name."""


class Pace:
    """Bytes a second at most, over all threads that call it; 0: no bound."""

    def __init__(self, megabytes: float) -> None:
        self._rate, self._at = megabytes * 1e6, 0.0
        self._lock = threading.Lock()

    def __call__(self, read: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._at = max(self._at, now) + read / self._rate
            ahead = self._at - now
        if ahead > 0.02:
            time.sleep(ahead)


@cache
def store() -> Store:
    return objects.open_store(settings.PARITY_URL, "SOUVERAIN_PARITY")


def goes_to() -> Destination | None:
    """The S3 server of SOUVERAIN_PARITY, if it names one."""
    return objects.goes_to(settings.PARITY_URL)


def is_apart() -> bool:
    """Whether the parity is on another disk than the objects, as far as this machine knows. A wrong
    address is `/health`'s to tell."""
    try:
        mine, theirs = store(), services.store()
    except (OSError, ValueError):
        return True
    if not isinstance(mine, FolderStore) or not isinstance(theirs, FolderStore):
        return settings.PARITY_URL != settings.OBJECTS_URL
    devices = []
    for root in (mine.root, theirs.root):
        present = next(path for path in (root, *root.parents) if path.exists())
        devices.append(present.stat().st_dev)
    return devices[0] != devices[1]


@contextmanager
def _alone() -> Iterator[None]:
    """One stripe at a time is written, mended or dropped, among all processes and threads."""
    descriptor = os.open(settings.HOME / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# What is there -----------------------------------------------------------------------------------


def folder(found: Stripe) -> str:
    return f"{_folders(found.deposit_set)}/{found.name}"


def _folders(deposit_set: DepositSet) -> str:
    return f"parity/{deposit_set.organisation.code}/{deposit_set.code}"


def files(deposit_set: DepositSet) -> dict[Name, Member]:
    """Every file that the records vouch for, with what it must be."""
    rows = StoredObject.objects.filter(deposit_set=deposit_set, reaped_at=None).order_by("pk")
    found = {}
    for row in rows.iterator(2000):
        sha256 = config_sha256(deposit_set, row) if row.type == "config" else row.name
        if sha256:
            found[row.type, row.name] = Member(row.type, row.name, row.size, sha256)
    return found


def config_sha256(deposit_set: DepositSet, row: StoredObject) -> str:
    """What a `config` must be, which its name does not say: its leaf in the log does, then its
    parity; before both, the file itself. Empty when there is none of these."""
    leaves = LogLeaf.objects.filter(deposit_set=deposit_set, at=row.received_at)
    for data in leaves.values_list("data", flat=True):
        leaf = Leaf.parse(data.encode())
        if leaf.event == BIRTH and leaf.object.type == "config" and leaf.sha256:
            return leaf.sha256
    # Of this life: the parity of a former one may still be there, and all are of the same size.
    known = StripeMember.objects.filter(
        deposit_set=deposit_set, type="config", size=row.size, stripe__made_at__gte=row.received_at
    )
    sha256 = known.values_list("sha256", flat=True).first()
    if sha256:
        return sha256
    key = services.object_key(deposit_set, "config", row.name)
    try:
        return services.store().sha256(key) if services.store().size(key) == row.size else ""
    except FileNotFoundError:
        return ""


def read_file(source: Store, key: str, size: int, pace: Reading) -> Iterator[bytes]:
    """A file's bytes; it ends early when it is short or missing. What the disk cannot read is given
    as zeros; any other error (rights, a store that does not answer) says nothing of the file."""
    at = 0
    while True:
        try:
            for chunk in source.read(key, at):
                pace(len(chunk))
                at += len(chunk)
                yield chunk
            return
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if isinstance(error, StoreUnavailable) or error.errno != errno.EIO or at >= size:
                raise
            logger.error("the disk cannot read %s at %d", key, at)
            hole = min(BLOCK, size - at)
            at += hole
            yield bytes(hole)
            if at >= size:
                return


def _reader(deposit_set: DepositSet, pace: Reading, of: Stripe | None = None) -> Read:
    def read(piece: Piece) -> Iterator[bytes]:
        if isinstance(piece, ParityShard):
            assert of is not None
            return read_file(store(), _shard_key(of, piece), piece.size, pace)
        key = services.object_key(deposit_set, piece.kind, piece.name)
        return read_file(services.store(), key, piece.size, pace)

    return read


def _shard_key(found: Stripe, shard: ParityShard) -> str:
    return f"{folder(found)}/parity-{shard.number}"


def _copy_key(found: Stripe, number: int) -> str:
    return f"{folder(found)}/manifest-{number}"


def shards(found: Stripe) -> list[ParityShard]:
    return [ParityShard(number, found.length) for number in (0, 1)]


# Making ------------------------------------------------------------------------------------------


class Changed(Exception):
    """The records changed while the parity was computed: it is thrown away."""


def keep_up(deposit_set: DepositSet, pace: Reading, on_damage: Callable[[Member], bool]) -> bool:
    """Write the next stripe that is wanted; False when there is none. What stays of stripes whose
    members left is dropped then. `on_damage` is told of a member that is not what its name says,
    and answers whether it was mended."""
    with _alone():
        wanted = _plan(deposit_set)
        for bins in wanted.stripes:
            if _protect(deposit_set, bins, pace, on_damage):
                return True
        for stale in wanted.stale:
            _drop(stale)
        return False


@dataclass
class _Plan:
    stripes: list[Bins] = field(default_factory=list)
    stale: list[Stripe] = field(default_factory=list)


def _plan(deposit_set: DepositSet) -> _Plan:
    """The stripes to write: for objects that have none, for the others of stripes of which
    something left or is lost, and, when there are such objects, for those of stripes that are not
    full."""
    present = files(deposit_set)
    lost = Damage.objects.filter(deposit_set=deposit_set, mended_at=None, gone_at=None)
    out_of_reach = set(lost.exclude(lost_at=None).values_list("type", "name"))
    rows: dict[int, list[StripeMember]] = {}
    for row in StripeMember.objects.filter(deposit_set=deposit_set).iterator(2000):
        rows.setdefault(row.stripe_id, []).append(row)
    known = list(Stripe.objects.filter(deposit_set=deposit_set))
    plan, kept = _Plan(), []
    for found in known:
        found.deposit_set = deposit_set
        names = {(row.type, row.name) for row in rows.get(found.pk, []) if _is_right(row, present)}
        if len(names) == found.members and not names & out_of_reach:
            kept.append(found)
        elif not (names & out_of_reach and _holds_only(found, present)):
            plan.stale.append(found)
    covered = {(row.type, row.name) for found in kept for row in rows[found.pk]}
    pool = {name for name in present if name not in covered} - out_of_reach
    made: set[frozenset[Name]] = set()
    if pool:
        for found in kept:
            if found.bytes < packing.FULL * DATA * found.length:
                own = frozenset((row.type, row.name) for row in rows[found.pk])
                made.add(own)
                pool |= own
    stripes = packing.pack(present[name] for name in pool)
    plan.stripes = [bins for bins in stripes if _names(bins) not in made]
    return plan


def _holds_only(found: Stripe, present: dict[Name, Member]) -> bool:
    """Whether a stripe, which may yet give back what is lost, holds nothing that was reaped."""
    manifest, _ = manifest_of(found)
    return manifest is not None and all(name in present for name in _names(manifest.bins))


def _is_right(row: StripeMember, present: dict[Name, Member]) -> bool:
    found = present.get((row.type, row.name))
    return found is not None and (found.size, found.sha256) == (row.size, row.sha256)


def _names(bins: Bins) -> frozenset[Name]:
    return frozenset((each.kind, each.name) for some in bins for each in some)


def _protect(
    deposit_set: DepositSet, bins: Bins, pace: Reading, on_damage: Callable[[Member], bool]
) -> bool:
    """Write and record a stripe, without the members that stay damaged; False when none is left."""
    tried: set[Member] = set()
    while _names(bins):
        try:
            _write(deposit_set, bins, pace)
            return True
        except Damaged as found:
            if found.member in tried:
                raise  # mended, and damaged again: this disk is not to be worked on
            tried.add(found.member)
            if not on_damage(found.member):
                bins = [[each for each in some if each != found.member] for some in bins]
    return False


def _write(deposit_set: DepositSet, bins: Bins, pace: Reading) -> None:
    """Raises Damaged, Changed, OSError; nothing is recorded then."""
    incoming: list[Incoming] = []
    try:
        for _ in range(PARITY + COPIES):
            incoming.append(store().incoming())
        manifest = stripe.encode(
            deposit_set.prefix, bins, _reader(deposit_set, pace), lambda n, b: incoming[n].write(b)
        )
        for copy in incoming[PARITY:]:
            copy.write(bytes(manifest))
        for each in incoming:
            each.seal()
        with transaction.atomic():
            serialise_writers()
            emptied = _record(deposit_set, manifest, incoming)
    finally:
        for each in incoming:
            each.abort()
    for old in emptied:
        _remove_files(old)


def _record(
    deposit_set: DepositSet, manifest: Manifest, incoming: Collection[Incoming]
) -> list[Stripe]:
    """Name the files and write the rows; returns the stripes that hold nothing any more."""
    names, members = _names(manifest.bins), manifest.members
    if names - vouched_for(deposit_set, names):
        raise Changed
    made, _ = Stripe.objects.get_or_create(
        deposit_set=deposit_set,
        name=manifest.name,
        defaults={
            "members": len(members),
            "bytes": sum(each.size for each in members),
            "length": manifest.length,
            "made_at": clock.now(),
        },
    )
    made.deposit_set = deposit_set
    keys = [_shard_key(made, shard) for shard in shards(made)]
    keys += [_copy_key(made, number) for number in range(COPIES)]
    for each, key in zip(incoming, keys, strict=True):
        each.mend(key, each.sha256)
    before = set()
    for rows in _rows(deposit_set, names):
        before |= set(rows.exclude(stripe=made).values_list("stripe", flat=True))
        rows.delete()
    StripeMember.objects.bulk_create(
        (
            StripeMember(
                stripe=made,
                deposit_set=deposit_set,
                type=each.kind,
                name=each.name,
                size=each.size,
                sha256=each.sha256,
            )
            for each in members
        ),
        batch_size=_BATCH,
    )
    return _forget(Stripe.objects.filter(pk__in=before, rows=None), deposit_set)


def _forget(empty: Iterable[Stripe], deposit_set: DepositSet) -> list[Stripe]:
    found = list(empty)
    for each in found:
        each.deposit_set = deposit_set
    Stripe.objects.filter(pk__in=[each.pk for each in found]).delete()
    return found


def _rows(deposit_set: DepositSet, names: Iterable[Name]) -> Iterator[Any]:
    """The rows of those names, in several queries."""
    by_kind: dict[str, list[str]] = {}
    for kind, name in names:
        by_kind.setdefault(kind, []).append(name)
    for kind, some in by_kind.items():
        for start in range(0, len(some), _BATCH):
            yield StripeMember.objects.filter(
                deposit_set=deposit_set, type=kind, name__in=some[start : start + _BATCH]
            )


def vouched_for(deposit_set: DepositSet, names: Iterable[Name]) -> set[Name]:
    """Those of which the records want the bytes."""
    wanted = list(names)
    found: set[Name] = set()
    for start in range(0, len(wanted), _BATCH):
        some = wanted[start : start + _BATCH]
        rows = StoredObject.objects.filter(
            deposit_set=deposit_set, reaped_at=None, name__in=[name for _, name in some]
        )
        found |= set(rows.values_list("type", "name")) & set(some)
    return found


# Mending -----------------------------------------------------------------------------------------


@dataclass
class Mended:
    """What a stripe gave back, and what it could not."""

    mended: set[Piece] = field(default_factory=set)
    lost: set[Piece] = field(default_factory=set)


def manifest_of(found: Stripe) -> tuple[Manifest | None, list[int]]:
    """A stripe's manifest, by its copies, and the numbers of those that are damaged."""
    copies = []
    for number in range(COPIES):
        key = _copy_key(found, number)
        read = read_file(store(), key, MANIFEST_MAX, lambda _: None)
        copies.append(_bounded(read))
    try:
        manifest = elect(copies, found.name)
    except ManifestError:
        return None, list(range(COPIES))
    content = bytes(manifest)
    return manifest, [number for number, copy in enumerate(copies) if copy != content]


def _bounded(chunks: Iterator[bytes]) -> bytes:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > MANIFEST_MAX:
            return b""
    return content


@dataclass
class ParityDamage:
    """What is wrong with a stripe's own files; `unreadable` when no copy says what they were."""

    shards: set[ParityShard] = field(default_factory=set)
    copies: list[int] = field(default_factory=list)
    unreadable: bool = False

    def __bool__(self) -> bool:
        return bool(self.shards or self.copies)


def damaged_parity(found: Stripe, pace: Reading) -> ParityDamage:
    """Read a stripe's own files again."""
    manifest, copies = manifest_of(found)
    if manifest is None:
        return ParityDamage(set(shards(found)), copies, unreadable=True)
    wrong = stripe.damaged_parity(manifest, _reader(found.deposit_set, pace, found))
    for shard in shards(found):
        if store().size(_shard_key(found, shard)) != shard.size:
            wrong.add(shard)
    return ParityDamage(wrong, copies)


def repair(found: Stripe, wanted: Iterable[Piece], pace: Reading) -> Mended:
    """Write again what is damaged in a stripe: what is wanted, and what comes to light meanwhile."""
    with _alone():
        return _repair(found, set(wanted), pace)


def _repair(found: Stripe, wanted: set[Piece], pace: Reading) -> Mended:
    manifest, bad_copies = manifest_of(found)
    if manifest is None or not Stripe.objects.filter(pk=found.pk).exists():
        return Mended(lost=wanted)
    for number in bad_copies:
        _copy_again(found, number, bytes(manifest))
    deposit_set = found.deposit_set
    vouched = vouched_for(deposit_set, _names(manifest.bins))
    read = _reader(deposit_set, pace, found)
    while True:
        outcome = stripe.mend(manifest, read, wanted, lambda piece: _draft(found, piece))
        # A bad block is often the neighbour's fault: only what is damaged itself is written again.
        new = {
            each
            for each in outcome.damaged
            if _is_kept(each, vouched) and not is_whole(deposit_set, each)
        }
        if not new - wanted:
            break
        wanted |= new
    lost = {each for each in outcome.dropped if not is_whole(deposit_set, each)}
    return Mended(mended=wanted - lost, lost=lost)


def _is_kept(piece: Piece, vouched: set[Name]) -> bool:
    return isinstance(piece, ParityShard) or (piece.kind, piece.name) in vouched


def is_whole(deposit_set: DepositSet, piece: Piece) -> bool:
    """Whether an object's file has the content that it must have."""
    if isinstance(piece, ParityShard):
        return False
    key = services.object_key(deposit_set, piece.kind, piece.name)
    if services.store().size(key) != piece.size:
        return False
    try:
        return services.store().sha256(key) == piece.sha256
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False


class _Draft(Draft):
    """A file written again, under a temporary name until it is kept."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    @property
    def sha256(self) -> str:
        return self._incoming.sha256

    def write(self, chunk: bytes) -> None:
        self._incoming.write(chunk)

    def drop(self) -> None:
        self._incoming.abort()


class _ObjectDraft(_Draft):
    """An object: put in its place under the writers' lock, only if what is there is still damaged
    and the records still want it."""

    def __init__(self, deposit_set: DepositSet, member: Member) -> None:
        super().__init__(services.store().incoming())
        self._set, self._member = deposit_set, member

    def keep(self) -> None:
        member = self._member
        try:
            self._incoming.seal()
            with transaction.atomic():
                serialise_writers()
                wanted = vouched_for(self._set, [(member.kind, member.name)])
                if wanted and not is_whole(self._set, member):
                    key = services.object_key(self._set, member.kind, member.name)
                    self._incoming.mend(key, member.sha256)
        finally:
            self._incoming.abort()


class _ShardDraft(_Draft):
    """A parity shard."""

    def __init__(self, of: Stripe, shard: ParityShard) -> None:
        super().__init__(store().incoming())
        self._stripe, self._key = of, _shard_key(of, shard)

    def keep(self) -> None:
        _replace(self._stripe, self._key, self._incoming)


def _draft(found: Stripe, piece: Piece) -> Draft:
    if isinstance(piece, ParityShard):
        return _ShardDraft(found, piece)
    return _ObjectDraft(found.deposit_set, piece)


def _replace(found: Stripe, key: str, incoming: Incoming) -> None:
    """Put a file of the parity in its place, if its stripe is still recorded."""
    try:
        incoming.seal()
        with transaction.atomic():
            serialise_writers()
            if Stripe.objects.filter(pk=found.pk).exists():
                incoming.mend(key, incoming.sha256)
    finally:
        incoming.abort()


def _copy_again(found: Stripe, number: int, content: bytes) -> None:
    incoming = store().incoming()
    incoming.write(content)
    _replace(found, _copy_key(found, number), incoming)


# Leaving -----------------------------------------------------------------------------------------


def make_way(deposit_set: DepositSet, leaving: Collection[Name]) -> None:
    """Before the reaper takes these objects: those that stay in their stripes get others, then the
    parity that holds something of the leaving ones goes. What goes wrong is logged and holds up
    nothing: the next pass drops what stays of such a parity."""
    if not leaving:
        return
    try:
        with _alone():
            _make_way(deposit_set, set(leaving), Pace(RATE_MB_S))
    except Exception:
        logger.exception("the parity of %s does not make way", deposit_set.prefix)


def stripe_of(deposit_set: DepositSet, member: Member) -> Stripe | None:
    """The stripe that an object is in."""
    rows = StripeMember.objects.filter(deposit_set=deposit_set, type=member.kind, name=member.name)
    row = rows.select_related("stripe").first()
    if row is None:
        return None
    row.stripe.deposit_set = deposit_set
    return row.stripe


def _make_way(deposit_set: DepositSet, leaving: set[Name], pace: Reading) -> None:
    touched: set[int] = set()
    for rows in _rows(deposit_set, leaving):
        touched |= set(rows.values_list("stripe", flat=True))
    if not touched:
        return
    present = files(deposit_set)
    stays = {
        (row.type, row.name)
        for row in StripeMember.objects.filter(stripe__in=touched)
        if (row.type, row.name) not in leaving
    }
    staying = [present[name] for name in stays if name in present]
    held = {found.pk: found for found in Stripe.objects.filter(pk__in=touched)}
    for found in held.values():
        found.deposit_set = deposit_set

    def mend_first(member: Member) -> bool:
        found = stripe_of(deposit_set, member)
        return found is not None and member in _repair(found, {member}, pace).mended

    for bins in packing.pack(staying):
        _protect(deposit_set, bins, pace, mend_first)
    for found in held.values():
        _drop(found)


def drop(found: Stripe) -> None:
    """Forget a stripe; its objects have no parity until the next one is written."""
    with _alone():
        _drop(found)


def _drop(found: Stripe) -> None:
    with transaction.atomic():
        serialise_writers()
        StripeMember.objects.filter(stripe=found.pk).delete()
        Stripe.objects.filter(pk=found.pk).delete()
    _remove_files(found)


def _remove_files(found: Stripe) -> None:
    _discard_under(folder(found))


def discard(key: str) -> bool:
    """Remove a file of the parity that no record vouches for, under the writers' lock."""
    parts = key.split("/")
    assert parts[0] == "parity"
    if len(parts) == 5:
        _, code, set_code, name, _ = parts
        if Stripe.objects.filter(
            name=name, deposit_set__code=set_code, deposit_set__organisation__code=code
        ).exists():
            return False
    return store().remove(key)


def _discard_under(prefix: str) -> int:
    keys, removed = list(store().keys(prefix)), 0
    for start in range(0, len(keys), _BATCH):
        with transaction.atomic():
            serialise_writers()
            for key in keys[start : start + _BATCH]:
                removed += discard(key)
    store().tidy(prefix)
    return removed


def sweep(code: str, set_code: str = "") -> int:
    """Remove the parity of a commune, or of one of its sets, that no record vouches for (a crash
    between a record and its files, a departure); returns how many files."""
    return _discard_under(f"parity/{code}/{set_code}".rstrip("/"))
