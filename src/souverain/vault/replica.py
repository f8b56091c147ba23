"""The copy of another vault: pulled from it, so that it can delete nothing here.

A turn reads what the other site tells since the last place, set by set: bytes first, checked against
their name and durable, then the rows, in one transaction with the new place. Everything that it says
is doubted (`engine.replica`). Its deaths are soft here, as everywhere, and a lock runs from when they
were learnt; its reaper, its lifted holds and its departures change nothing here.
"""

from __future__ import annotations

import contextvars
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from souverain.core import access, clock, egress, journal
from souverain.core.access import Actor
from souverain.core.models import Organisation
from souverain.core.rooms import DataClass
from souverain.core.transactions import serialise_writers
from souverain.vault import log, replica_feed, site
from souverain.vault import replica_records as records
from souverain.vault.engine import replica as engine
from souverain.vault.engine.replica import (
    BIRTH,
    DEATH,
    DeclaredCommune,
    DeclaredSet,
    Disbelieved,
    Event,
    Greeting,
    LogPage,
)
from souverain.vault.engine.tlog import note, tree
from souverain.vault.engine.tlog.leaves import Leaf, LeafError
from souverain.vault.models import (
    Cosignature,
    Divergence,
    Log,
    Quota,
    ReplicaFault,
    ReplicaSet,
    ReplicaSource,
    ReplicaTurn,
    Site,
    StoredObject,
)
from souverain.vault.replica_client import (
    PURPOSE,
    Door,
    NotThere,
    Unreachable,
    checked,
    destination,
)

logger = logging.getLogger(__name__)
EVERY = timedelta(minutes=1)
TURN_S = 20.0  # the worker ends between two turns
GROUP_OBJECTS, GROUP_BYTES = 200, 64 << 20
FETCHERS = 4
TROUBLES_MAX = 50
KEPT_TURNS = timedelta(days=7)
_SECRET = "replica-secret"  # noqa: S105 - the name of a file
_LOCK = "replica-lock"
_ROW_MAX = 1 << 62


class Busy(Exception):
    """Another process pulls. The message is in French."""


# The source --------------------------------------------------------------------------------------


def source() -> ReplicaSource | None:
    """The site that is copied, or that was until this one was promoted."""
    return ReplicaSource.objects.filter(removed_at=None).order_by("-pk").first()


def _secret_path() -> Path:
    path: Path = settings.HOME / _SECRET
    return path


def _keep_secret(secret: str) -> None:
    """Whole or not at all, readable by the program's account only."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{_SECRET}-", dir=settings.HOME)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    Path(partial).replace(_secret_path())


@contextmanager
def alone() -> Iterator[None]:
    """One puller at a time on this machine. Raises Busy."""
    descriptor = os.open(settings.HOME / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + TURN_S * 3
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy("Une copie est déjà en cours : réessayez dans une minute.") from None
                time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def door_to(found: ReplicaSource) -> Iterator[Door]:
    """The way to the other site, once egress lets it. Raises Unreachable."""
    there = destination(found.address)
    try:
        credential = _secret_path().read_text().strip()
    except FileNotFoundError:
        raise Unreachable(f"Le secret de l'accès n'est plus dans {_secret_path()}.") from None
    with ExitStack() as stack:
        try:
            stack.enter_context(
                egress.permitted(there.host, there.port, PURPOSE, DataClass.INTERNAL)
            )
        except egress.EgressRefused as error:
            raise Unreachable(str(error)) from None
        except OSError as error:
            raise Unreachable(f"« {there.host} » n'a pas d'adresse ({error.strerror}).") from error
        door = Door(found.address, credential)
        stack.callback(door.close)
        yield door


def add(actor: Actor, address: str, secret: str) -> ReplicaSource:
    """Become a copy of the site at `address`. Raises ValidationError."""
    address, secret = checked(address), secret.strip()
    if ":" not in secret or len(secret) > 200 or not secret.isascii() or "\n" in secret:
        raise ValidationError("Le secret est la ligne que « replica authorize » a montrée.")
    with alone():
        if site.here().role == Site.Role.COPY and source() is not None:
            raise ValidationError("Ce site copie déjà un autre site : retirez-le d'abord.")
        if site.here().role == Site.Role.FIRST and StoredObject.objects.exists():
            raise ValidationError(
                "Ce site prend des dépôts : il ne devient une copie qu'après la promotion de l'autre."
            )
        candidate = ReplicaSource(address=address)
        _keep_secret(secret)
        try:
            with door_to(candidate) as door:
                told = greet(candidate, door)
                declared = list(communes(door))
        except (Unreachable, NotThere, Disbelieved) as error:
            _secret_path().unlink(missing_ok=True)
            raise ValidationError(f"{address} : {error}") from None
        if told.role == Site.Role.COPY:
            _secret_path().unlink(missing_ok=True)
            raise ValidationError("L'autre site est lui-même une copie : copiez le premier.")
        return _begin(actor, candidate, told, declared)


@transaction.atomic
def _begin(
    actor: Actor, found: ReplicaSource, told: Greeting, declared: list[DeclaredCommune]
) -> ReplicaSource:
    serialise_writers()
    ReplicaSource.objects.filter(removed_at=None).update(removed_at=clock.now())
    found.save()
    here = site.become(Site.Role.COPY, max(told.epoch, site.here().epoch))
    here.log_key = told.log_key
    here.save(update_fields=["log_key"])
    for commune in declared:
        for item in commune.sets:
            _fork(here, told.site, commune.code, item)
    journal.append(actor, "vault.replica_added", object=found.address, data={"site": told.site})
    return found


def _fork(here: Site, other: str, code: str, item: DeclaredSet) -> None:
    """A set that the other site copied from here, up to a place: what this one has after it, the
    other never had. It is listed and kept; the copy goes on from that place."""
    own = replica_feed.find_set(code, item.code)
    if own is None:
        return
    if item.copied_from != here.name:
        known = ReplicaSet.objects.filter(pk=own.pk, site=other).exists()
        if not known and StoredObject.objects.filter(deposit_set=own).exists():
            raise ValidationError(
                f"Le dépôt {code}/{item.code} est ici et là sans que l'un soit la copie de l'autre."
            )
        return
    now = clock.now()
    for event in replica_feed.events(own, item.copied_to, _ROW_MAX):
        Divergence.objects.get_or_create(
            stored_id=event.place.row, event=event.event, defaults={"found_at": now}
        )
    records.unforget(
        Divergence.objects.filter(
            stored__deposit_set=own, event=DEATH, settled_at=None, found_at=now
        ).select_related("stored__deposit_set__organisation")
    )
    ReplicaSet.objects.update_or_create(
        deposit_set=own,
        defaults={
            "site": other,
            "at": item.copied_to and item.copied_to.at,
            "row": _ROW_MAX,
            "head": None,
            "gone_at": None,
        },
    )


@transaction.atomic
def remove(actor: Actor, found: ReplicaSource) -> None:
    """Pull from the other site no more, and forget the credential. What was copied stays; this site
    goes on reading only until it is promoted, unless nothing was ever copied."""
    serialise_writers()
    found.removed_at = clock.now()
    found.save(update_fields=["removed_at"])
    if site.here().role == Site.Role.COPY and not ReplicaSet.objects.exists():
        here = site.become(Site.Role.FIRST, site.here().epoch)
        here.log_key = ""
        here.save(update_fields=["log_key"])
    journal.append(actor, "vault.replica_removed", object=found.address)
    transaction.on_commit(lambda: _secret_path().unlink(missing_ok=True))


# A turn ------------------------------------------------------------------------------------------


@dataclass
class Turn:
    """What one turn did and found."""

    objects: int = 0
    bytes: int = 0
    deaths: int = 0
    missing: int = 0
    missing_bytes: int = 0
    complete: bool = False
    troubles: list[str] = field(default_factory=list)

    def trouble(self, what: str) -> None:
        if len(self.troubles) < TROUBLES_MAX:
            self.troubles.append(what)


Tell = Callable[[Turn], None]


def is_due(found: ReplicaSource, now: datetime) -> bool:
    """Whether it is time for a turn: at once while a catch-up goes well, else each minute."""
    if found.tried_at is None or found.tried_at > now:
        return True
    return (bool(found.missing_objects) and not found.troubles) or now - found.tried_at >= EVERY


def pull(found: ReplicaSource, within_s: float, tell: Tell | None = None) -> Turn:
    """One turn, ended after about `within_s` seconds: it goes on at the next. Raises Busy."""
    with alone():
        return turn(found, within_s, tell)


def turn(found: ReplicaSource, within_s: float, tell: Tell | None = None) -> Turn:
    """The same, for who is `alone` already."""
    done, began = Turn(), clock.now()
    deadline = time.monotonic() + within_s
    found.tried_at = began
    told: Greeting | None = None
    try:
        with door_to(found) as door:
            told = greet(found, door)
            found.answered_at, found.heard_at = clock.now(), told.now
            done.complete = _Puller(found, door, done, deadline, tell).run()
    except (Unreachable, NotThere, Disbelieved, records.NoLonger) as error:
        done.trouble(str(error))
    except OSError as error:
        done.trouble(f"Le disque d'ici refuse : {error.strerror or error}.")
    if told is not None and done.complete:
        found.complete_at, found.complete_to = began, told.now
    if told is not None:
        found.missing_objects, found.missing_bytes = done.missing, done.missing_bytes
    _note_turn(found, done)
    return done


@transaction.atomic
def _note_turn(found: ReplicaSource, turn: Turn) -> None:
    now = clock.now()
    before = found.troubles
    found.troubles = turn.troubles
    found.save()
    ReplicaTurn.objects.create(
        source=found,
        at=now,
        lag_s=None if found.complete_at is None else seconds(now - found.complete_at),
        missing_objects=found.missing_objects,
        objects_received=turn.objects,
        bytes_received=turn.bytes,
        ok=turn.complete and not turn.troubles,
    )
    ReplicaTurn.objects.filter(source=found, at__lt=now - KEPT_TURNS).delete()
    if turn.troubles and turn.troubles != before:
        journal.append(
            access.SYSTEM,
            "vault.replica_troubled",
            object=found.address,
            data={"troubles": len(turn.troubles)},
            detail={"troubles": turn.troubles},
        )


def seconds(span: timedelta) -> int:
    return max(0, int(span.total_seconds()))


def greet(found: ReplicaSource, door: Door) -> Greeting:
    """Who answers: the same site as ever, with the same key, no earlier epoch."""
    complete = found.complete_to and engine.instant_text(found.complete_to)
    told = engine.greeting(door.page("state", complete or ""), clock.now())
    if told.site == site.named().name:
        raise Disbelieved("Cette adresse mène à ce site-ci.")
    if found.site and told.site != found.site:
        raise Disbelieved(
            "Ce n'est plus le même site qui répond. Si c'est voulu, retirez-le et ajoutez-le."
        )
    if told.epoch < found.epoch:
        raise Disbelieved("L'autre site est revenu à un état d'avant une promotion.")
    pinned = site.here().log_key
    if found.site and pinned and told.log_key != pinned:
        raise Disbelieved("La clé des registres de preuves de l'autre site a changé.")
    found.site, found.epoch = told.site, told.epoch
    return told


def communes(door: Door) -> Iterator[DeclaredCommune]:
    after, more = "", True
    while more:
        items, more = engine.communes(door.page("communes", after), after, clock.now())
        yield from items
        after = items[-1].code if items else after


class _Puller:
    """One turn's work."""

    def __init__(
        self, found: ReplicaSource, door: Door, turn: Turn, deadline: float, tell: Tell | None
    ) -> None:
        self.source, self.door, self.turn = found, door, turn
        self.deadline, self.tell = deadline, tell or (lambda turn: None)

    def run(self) -> bool:
        """Whether all that the other site had when asked is here."""
        behind: list[tuple[ReplicaSet, datetime]] = []
        logs: list[tuple[Organisation, DeclaredCommune]] = []
        named: set[str] = set()
        whole = True
        for commune in communes(self.door):
            organisation = Organisation.objects.filter(
                code=commune.code, kind=Organisation.Kind.COMMUNE
            ).first()
            if organisation is None:
                self.turn.trouble(f"La commune {commune.code} n'est pas chargée ici.")
                whole = False
                continue
            sets, well = self._declare(organisation, commune)
            whole = whole and well
            named.update(f"{commune.code}/{item.code}" for item in commune.sets)
            behind += [(found, head) for found, head in sets if head and head != found.head]
            logs.append((organisation, commune))
        records.note_gone(self.source, named)
        whole = self._sets(behind) and whole
        for organisation, commune in logs:
            try:
                self._log(organisation, commune)
            except (Disbelieved, LeafError, note.NoteError, log.LogForked, KeyError) as error:
                self.turn.trouble(f"Registre de {commune.code} : {error}.")
        self._faults()
        return whole

    # What is declared ----------------------------------------------------------------------------

    def _declare(
        self, organisation: Organisation, commune: DeclaredCommune
    ) -> tuple[list[tuple[ReplicaSet, datetime | None]], bool]:
        """Take the sets, machines, locks and holds of a commune; what is refused is told."""
        found: list[tuple[ReplicaSet, datetime | None]] = []
        well = True
        with transaction.atomic():
            serialise_writers()
            records.require_copy(self.source)
            if commune.quota_bytes is not None:
                Quota.objects.update_or_create(
                    organisation=organisation, defaults={"bytes": max(1, commune.quota_bytes)}
                )
            for item in commune.sets:
                try:
                    kept, said = records.declare_set(self.source, organisation, item)
                except Disbelieved as error:
                    said, well = [str(error)], False
                else:
                    found.append((kept, item.head))
                for what in said:
                    self.turn.trouble(f"Dépôt {commune.code}/{item.code} : {what}.")
            for machine in commune.devices:
                try:
                    records.declare_device(organisation, machine)
                except Disbelieved as error:
                    self.turn.trouble(f"Appareil {machine.id} de {commune.code} : {error}.")
                    well = False
        return found, well

    # Events --------------------------------------------------------------------------------------

    def _sets(self, behind: list[tuple[ReplicaSet, datetime]]) -> bool:
        left: dict[int, tuple[int, int]] = {}
        for found, _ in behind:
            with suppress(NotThere):
                told = self.door.page(f"left/{records.path(found)}", records.place_text(found))
                left[found.pk] = engine.left(told)
        self._count(left)
        whole = True
        for found, head in behind:
            try:
                done = self._set(found, head, left)
            except Disbelieved as error:
                self.turn.trouble(f"Dépôt {records.path(found)} : {error}.")
                done = False
            except NotThere:
                self.turn.trouble(f"Dépôt {records.path(found)} : l'autre site ne l'a plus.")
                done = False
            whole = whole and done
        return whole

    def _count(self, left: dict[int, tuple[int, int]]) -> None:
        self.turn.missing = sum(events for events, _ in left.values())
        self.turn.missing_bytes = sum(size for _, size in left.values())
        self.tell(self.turn)

    def _set(self, found: ReplicaSet, head: datetime, left: dict[int, tuple[int, int]]) -> bool:
        """Take what is new in a set up to what was declared: a set that is written without a pause
        holds up no other. False when time ran out before."""
        while time.monotonic() < self.deadline:
            after = records.place(found)
            told = self.door.page(f"events/{records.path(found)}", records.place_text(found))
            page = engine.events(told, after, clock.now())
            for group in _groups(page):
                self._group(found, group)
                events, size = left.get(found.pk, (0, 0))
                came = sum(event.size for event in group if event.event == BIRTH)
                left[found.pk] = (max(0, events - len(group)), max(0, size - came))
                self._count(left)
                if time.monotonic() > self.deadline:
                    return False
            if not page or page[-1].place.at >= head:
                left.pop(found.pk, None)
                self._count(left)
                ReplicaSet.objects.filter(pk=found.pk).update(head=head)
                return True
        return False

    def _group(self, found: ReplicaSet, group: list[Event]) -> None:
        """Bytes, then rows and the new place."""
        deposit_set = found.deposit_set
        wanted = [event for event in group if event.event == BIRTH and not event.reaped]
        failed = self._fetch(found, records.missing_here(deposit_set, wanted))
        born, size, died = records.apply(self.source, found, group, failed)
        self.turn.objects += born
        self.turn.bytes += size
        self.turn.deaths += died
        for event, why in failed.items():
            self.turn.trouble(f"Objet {records.path(found)}/{event[0]}/{event[1][:12]}… : {why}.")

    def _fetch(self, found: ReplicaSet, wanted: list[Event]) -> dict[tuple[str, str], str]:
        """Put the objects on our disk, durable and checked; what failed, by type and name, and why.
        Raises Unreachable: nothing more comes then."""
        failed: dict[tuple[str, str], str] = {}
        if not wanted:
            return failed
        context = contextvars.copy_context()
        folder, deposit_set = records.path(found), found.deposit_set

        def work(event: Event) -> str:
            return context.copy().run(records.fetch, self.door, folder, deposit_set, event)

        with ThreadPoolExecutor(FETCHERS, thread_name_prefix="vault-replica") as pool:
            futures = [pool.submit(work, event) for event in wanted]
            try:
                for event, future in zip(wanted, futures, strict=True):
                    why = future.result()
                    if why:
                        failed[event.type, event.name] = why
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
            finally:
                for _ in range(FETCHERS):
                    pool.submit(self.door.close)
        return failed

    def _faults(self) -> None:
        """Ask again for the objects that did not come as they must."""
        for fault in ReplicaFault.objects.select_related("deposit_set__organisation").filter(
            deposit_set__replica__site=self.source.site
        ):
            if time.monotonic() > self.deadline:
                break
            try:
                event = engine.event_again(fault.event)
                records.missing_here(fault.deposit_set, [event])
                folder = f"{fault.deposit_set.organisation.code}/{fault.deposit_set.code}"
                why = records.fetch(self.door, folder, fault.deposit_set, event)
            except Disbelieved as error:
                why = str(error)
            if why:
                ReplicaFault.objects.filter(pk=fault.pk).update(reason=why[:300])
            else:
                records.mend(fault, event)
                self.turn.objects += 1
                self.turn.bytes += event.size
        left = ReplicaFault.objects.filter(deposit_set__replica__site=self.source.site).count()
        if left:
            self.turn.missing += left
            self.turn.trouble(
                f"{left} objet(s) que l'autre site ne donne pas comme il faut : ils sont redemandés."
            )

    # The log -------------------------------------------------------------------------------------

    def _log(self, organisation: Organisation, commune: DeclaredCommune) -> None:
        """Take the commune's log up to its last checkpoint, once its signature and root hold."""
        own = Log.objects.filter(pk=organisation.pk).first() or Log(organisation=organisation)
        cosigned = Cosignature.objects.filter(
            witness__organisation=organisation, size=own.signed_size, witness__removed_at=None
        ).count()
        if not commune.log_size or (own.signed_size, cosigned) == (
            commune.log_size,
            commune.log_cosigned,
        ):
            return
        if organisation.code in site.here().forked_logs:
            return
        path, size = f"log/{commune.code}", own.size
        with tempfile.TemporaryFile(dir=settings.HOME) as spool:
            frontier = tree.Frontier(own.size, bytes(own.frontier))
            while True:
                told = engine.log_page(self.door.page(path, str(size)), clock.now())
                if told.size < own.size:
                    records.mark_forked(organisation)
                    raise Disbelieved("il a moins de lignes là-bas qu'ici : gardé tel quel")
                lines = [leaf.encode() for leaf in told.leaves]
                for leaf in lines:
                    Leaf.parse(leaf)
                    spool.write(leaf + b"\n")
                frontier.add(tree.leaf_hash(leaf) for leaf in lines)
                size += len(lines)
                if size >= told.size or not lines:
                    break
            self._check(organisation, told, frontier)
            spool.seek(0)
            for batch in _batches(spool):
                log.adopt(organisation, batch)
        if own.checkpoint != told.checkpoint:
            log.adopt_checkpoint(organisation, told.checkpoint, told.signature)
        records.take_witnesses(organisation, told)

    def _check(self, organisation: Organisation, told: LogPage, frontier: tree.Frontier) -> None:
        parsed = note.Checkpoint.parse(told.checkpoint)
        line = note.Signature.parse(told.signature)
        key = log.public_key(organisation.code)
        if not line.is_by(key) or not key.signed(told.checkpoint.encode(), line.content):
            raise Disbelieved("le point de contrôle n'est pas signé de la clé connue")
        if (parsed.size, parsed.root) != (frontier.size, frontier.root()):
            records.mark_forked(organisation)
            raise Disbelieved("ses lignes ne continuent pas celles d'ici : gardé tel quel")


def _groups(page: list[Event]) -> Iterator[list[Event]]:
    """Events in parts that one transaction takes."""
    group: list[Event] = []
    size = 0
    for event in page:
        came = event.size if event.event == BIRTH else 0
        if group and (len(group) >= GROUP_OBJECTS or size + came > GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(event)
        size += came
    if group:
        yield group


def _batches(spool: Iterable[bytes]) -> Iterator[list[str]]:
    batch: list[str] = []
    for line in spool:
        batch.append(line.decode().rstrip("\n"))
        if len(batch) >= log.BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
