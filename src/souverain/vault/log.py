"""A commune's transparency log: births and deaths put in sequence, signed, and served as files.

The worker adds what the records say since the last time (`keep_up`, each minute): an upload costs
nothing more. The leaves are rows; tiles, bundles and the checkpoint are files of the object store,
under `log/<INSEE>/`, made from the rows and made again when one is damaged. The root that is signed
comes from the rows alone. Nothing is signed that the last published checkpoint does not begin.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery

from souverain.core import access, clock, devices, journal
from souverain.core.access import Actor
from souverain.core.models import Device, Organisation
from souverain.core.objects import AlreadyThere
from souverain.core.transactions import serialise_writers
from souverain.vault import services, site
from souverain.vault.engine.tlog import note, tiles, tree
from souverain.vault.engine.tlog.leaves import BIRTH, DEATH, REAPED, Leaf, Name
from souverain.vault.engine.tlog.tiles import WIDTH, Tile
from souverain.vault.models import Cosignature, DepositSet, Log, LogLeaf, StoredObject, Witness

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
STAMPS = "timestamps"
RECORDS = "records/"
UNSIGNED_AFTER = timedelta(minutes=15)
BATCH = 5000  # leaves added under one lock, and those of the last one's instant
KEY_FILE = "log-key"
_FILE = re.compile(
    rf"{CHECKPOINT}|tile/(?:entries|[0-9])/(?:x[0-9]{{3}}/){{0,4}}[0-9]{{3}}(?:\.p/[0-9]{{1,3}})?"
    rf"|{STAMPS}/[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}\.(?:tsr|checkpoint)"
)
_EVENTS = ((BIRTH, "received_at"), (DEATH, "died_at"), (REAPED, "reaped_at"))
"""What becomes a leaf, and the column with its instant."""


class LogForked(Exception):
    """The records do not continue what was published: nothing may be signed. French message."""


class UnknownWitness(Exception):
    """No registered witness signed the current checkpoint with this line."""


# The key -----------------------------------------------------------------------------------------


def signing_key() -> Ed25519PrivateKey:
    """The logs' one key, made once, readable by the program's account only."""
    path: Path = settings.HOME / KEY_FILE
    if not path.exists():
        descriptor, partial = tempfile.mkstemp(prefix=f".{KEY_FILE}-", dir=settings.HOME)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
        Path(partial).unlink()
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text()))


def own_public_key() -> str:
    """The public half of this site's key, in hexadecimal."""
    return signing_key().public_key().public_bytes_raw().hex()


def origin(code: str) -> str:
    """The log's name, in each checkpoint: it outlives a change of the portal's address."""
    return f"{settings.NAMES.domain}/vault/{code}"


def public_key(code: str) -> note.Key:
    """The key under which the log is signed: the first site's, on a copy."""
    copied = site.here().log_key
    if copied:
        return note.Key(origin(code), bytes.fromhex(copied))
    return note.Key.of(origin(code), signing_key())


# In sequence -------------------------------------------------------------------------------------


def keep_up() -> None:
    """Add to every log what its records say, and sign what was added. What goes wrong in one log
    never holds up another."""
    if site.is_read_only():  # the first site signs
        return
    forked = site.here().forked_logs
    for organisation in _behind():
        if organisation.code in forked:
            continue
        try:
            while sequence(organisation):
                publish(organisation)
            publish(organisation)
        except LogForked as fork:
            logger.error("log of %s: %s", organisation.code, fork)
        except Exception:
            logger.exception("the log of %s is behind", organisation.code)


def _sets() -> Iterator[DepositSet]:
    """The deposit sets whose records go further than their log, or whose log is not signed."""
    latest = LogLeaf.objects.filter(deposit_set=OuterRef("pk")).order_by("-at").values("at")[:1]
    known = DepositSet.objects.annotate(logged_at=Subquery(latest)).exclude(last_instant=None)
    behind = Q(logged_at=None) | Q(last_instant__gt=F("logged_at"))
    yield from known.filter(behind).select_related("organisation").order_by("pk")


def _behind() -> list[Organisation]:
    unsigned = Organisation.objects.filter(
        pk__in=Log.objects.exclude(size=F("signed_size")).values("pk")
    )
    found = {organisation.pk: organisation for organisation in unsigned}
    found.update((each.organisation.pk, each.organisation) for each in _sets())
    return list(found.values())


def sequence(organisation: Organisation) -> int:
    """Add the events that have no leaf yet, about `BATCH` of them; returns how many. Under the
    writers' lock no earlier instant can still appear, and two sequencers never add one twice.
    An instant is never cut: a whole set may die at one, and the next turn begins after it."""
    with transaction.atomic():
        serialise_writers()
        found = [each for each in _sets() if each.organisation.pk == organisation.pk]
        events = sorted(
            (event for each in found for event in _events(each)), key=lambda event: event[0]
        )
        if not events:
            return 0
        last = events[:BATCH][-1][0]
        events = [event for event in events if event[0] <= last]
        log, _ = Log.objects.get_or_create(organisation=organisation)
        leaves = [
            LogLeaf(
                organisation=organisation,
                index=log.size + number,
                deposit_set=deposit_set,
                at=at,
                data=bytes(_leaf(deposit_set, row, at, event)).decode(),
            )
            for number, (at, event, deposit_set, row) in enumerate(events)
        ]
        LogLeaf.objects.bulk_create(leaves, batch_size=500)
        frontier = tree.Frontier(log.size, bytes(log.frontier))
        frontier.add(tree.leaf_hash(leaf.data.encode()) for leaf in leaves)
        log.size, log.frontier = frontier.size, bytes(frontier)
        log.save(update_fields=["size", "frontier"])
        return len(leaves)


def _events(found: DepositSet) -> Iterator[tuple[datetime, str, DepositSet, StoredObject]]:
    """The first events of a set that have no leaf yet. What happens to several objects at one
    instant is one act; the lives of a name leave the disk together, and that is one event."""
    logged = LogLeaf.objects.filter(deposit_set=found).order_by("-at").values_list("at", flat=True)
    since = logged.first()
    for event, column in _EVENTS:
        rows = StoredObject.objects.filter(deposit_set=found).exclude(**{column: None})
        if since is not None:
            rows = rows.filter(**{f"{column}__gt": since})
        for cut in rows.order_by(column).values_list(column, flat=True)[BATCH - 1 : BATCH]:
            rows = rows.filter(**{f"{column}__lte": cut})
        acts = {(getattr(row, column), row.type, row.name): row for row in rows.order_by("pk")}
        for (at, _, _), row in acts.items():
            yield at, event, found, row


def _leaf(found: DepositSet, row: StoredObject, at: datetime, event: str) -> Leaf:
    sha256 = ""
    if row.type == "config" and event == BIRTH:
        with suppress(FileNotFoundError):
            sha256 = services.store().sha256(services.object_key(found, row.type, row.name))
    return Leaf(Name(found.code, row.type, row.name), row.size, clock.rfc3339(at), event, sha256)


def unsigned() -> list[str]:
    """The communes whose log has had leaves for a quarter of an hour that no checkpoint signs."""
    first = LogLeaf.objects.filter(
        organisation=OuterRef("organisation"), index=OuterRef("signed_size")
    )
    late = Log.objects.exclude(size=F("signed_size")).annotate(since=Subquery(first.values("at")))
    found = late.filter(since__lt=clock.now() - UNSIGNED_AFTER)
    return list(found.values_list("organisation__code", flat=True).order_by("organisation__code"))


# Published ---------------------------------------------------------------------------------------


def adopt(organisation: Organisation, leaves: Sequence[str]) -> None:
    """Add leaves of the first site's log, in its order; the caller checked that a checkpoint signed
    with the first site's key covers them."""
    with transaction.atomic():
        serialise_writers()
        log, _ = Log.objects.get_or_create(organisation=organisation)
        sets = {found.code: found for found in DepositSet.objects.filter(organisation=organisation)}
        parsed = [Leaf.parse(leaf.encode()) for leaf in leaves]
        LogLeaf.objects.bulk_create(
            (
                LogLeaf(
                    organisation=organisation,
                    index=log.size + number,
                    deposit_set=sets[leaf.object.set],
                    at=leaf.instant,
                    data=bytes(leaf).decode(),
                )
                for number, leaf in enumerate(parsed)
            ),
            batch_size=500,
        )
        frontier = tree.Frontier(log.size, bytes(log.frontier))
        frontier.add(tree.leaf_hash(bytes(leaf)) for leaf in parsed)
        log.size, log.frontier = frontier.size, bytes(frontier)
        log.save(update_fields=["size", "frontier"])


def adopt_checkpoint(organisation: Organisation, text: str, signature: str) -> None:
    """Publish what the first site signed, once the rows have its leaves. Raises LogForked."""
    log = Log.objects.get(pk=organisation.pk)
    _write_tiles(log, organisation.code)
    with transaction.atomic():
        serialise_writers()
        current = Log.objects.get(pk=organisation.pk)
        current.checkpoint, current.signature = text, signature
        current.signed_size, current.signed_at = log.size, clock.now()
        _write_checkpoint(current, organisation.code)
        current.save(update_fields=["checkpoint", "signature", "signed_size", "signed_at"])


def adopt_cosignature(witness: Witness, size: int, line: str, received_at: datetime) -> None:
    """Keep what a witness of the first site signed there, below the checkpoint."""
    with transaction.atomic():
        serialise_writers()
        Cosignature.objects.get_or_create(
            witness=witness, size=size, defaults={"line": line, "received_at": received_at}
        )
        log = Log.objects.get(pk=witness.organisation.pk)
        if log.signed_size == size:
            _write_checkpoint(log, witness.organisation.code)


def _key(code: str, path: str) -> str:
    return f"log/{code}/{path}"


def publish(organisation: Organisation) -> None:
    """Write the tiles of what was added, then sign the new end. Raises LogForked."""
    log = Log.objects.get(pk=organisation.pk)
    if log.size == log.signed_size:
        return
    _refuse_a_fork(log, organisation.code)
    _write_tiles(log, organisation.code)
    root = tree.Frontier(log.size, bytes(log.frontier)).root()
    name = origin(organisation.code)
    text = str(note.Checkpoint(name, log.size, root))
    with transaction.atomic():
        serialise_writers()
        current = Log.objects.get(pk=organisation.pk)
        if current.signed_size >= log.size:
            return
        current.checkpoint, current.signature = text, str(note.sign(text, name, signing_key()))
        current.signed_size, current.signed_at = log.size, clock.now()
        _write_checkpoint(current, organisation.code)
        current.save(update_fields=["checkpoint", "signature", "signed_size", "signed_at"])


def _write_checkpoint(log: Log, code: str) -> None:
    """Put the checkpoint, with the cosignatures that it has, in the place of the former one."""
    lines = Cosignature.objects.filter(
        witness__organisation=log.organisation_id, size=log.signed_size, witness__removed_at=None
    ).order_by("pk")
    content = log.signed + "".join(each.line for each in lines).encode()
    _replace(_key(code, CHECKPOINT), content)


def _replace(key: str, content: bytes) -> None:
    incoming = services.store().incoming()
    try:
        incoming.write(content)
        incoming.mend(key, incoming.sha256)
    finally:
        incoming.abort()


def _put(key: str, content: bytes) -> None:
    """Write a file that never changes; one that was damaged is mended."""
    store = services.store()
    incoming = store.incoming()
    try:
        incoming.write(content)
        sha256 = incoming.sha256
        try:
            incoming.commit(key)
        except AlreadyThere:
            if store.sha256(key) != sha256:
                logger.error("the log's file %s was damaged: mended", key)
                incoming.mend(key, sha256)
    finally:
        incoming.abort()


def discard(key: str) -> bool:
    """Remove a file of a log that is no more, under the writers' lock. False while there is one,
    or when there was no file."""
    assert key.startswith("log/")
    is_kept = Log.objects.filter(organisation__code=key.split("/")[1]).exists()
    return not is_kept and services.store().remove(key)


def _refuse_a_fork(log: Log, code: str) -> None:
    """Raise LogForked when the records do not begin with the published checkpoint: an old copy of
    the database was put back, or rows were changed. A file that is gone or torn says nothing."""
    content = read(code, CHECKPOINT)
    try:
        published = note.Checkpoint.parse(note.Note.parse(content or b"").text)
    except note.NoteError:
        return
    if str(published) == log.checkpoint:
        return
    if published.size <= log.size:
        frontier = tree.Frontier()
        frontier.add(tree.leaf_hash(data) for data in rows(log, 0, published.size))
        if frontier.root() == published.root:
            return
    raise LogForked(
        f"le dernier point de contrôle publié a {published.size} feuilles que les "
        "enregistrements ne suivent plus : rien n'est signé."
    )


def rows(log: Log, start: int, end: int) -> Iterator[bytes]:
    """The leaves' bytes, in order."""
    rows = LogLeaf.objects.filter(
        organisation=log.organisation_id, index__gte=start, index__lt=end
    ).order_by("index")
    for data in rows.values_list("data", flat=True).iterator(BATCH):
        yield data.encode()


def _write_tiles(log: Log, code: str) -> None:
    """Write what the log has more than its last checkpoint; all of it when that does not give the
    root that the rows give."""
    expected = tree.Frontier(log.size, bytes(log.frontier)).root()
    try:
        _extend(log, code, log.signed_size, log.size)
        if tree.root(nodes(code, log.size), log.size) == expected:
            return
    except (FileNotFoundError, ValueError):
        pass
    if log.signed_size:
        logger.error("the log's files of %s are damaged: all are written again", code)
    for start in range(0, log.size, BATCH):
        _extend(log, code, start, min(start + BATCH, log.size))
    if tree.root(nodes(code, log.size), log.size) != expected:
        raise LogForked("les feuilles ne donnent pas la racine attendue : rien n'est signé.")


def nodes(code: str, size: int) -> tree.Node:
    """A reader of the tree from its files."""
    known: dict[Tile, list[bytes]] = {}

    def hashes(tile: Tile) -> list[bytes]:
        if tile not in known:
            known[tile] = _tile(code, tile)
        return known[tile]

    return tiles.nodes(hashes, size)


def _tile(code: str, tile: Tile) -> list[bytes]:
    """A tile's hashes. Raises FileNotFoundError, ValueError."""
    content = b"".join(services.store().read(_key(code, tile.path)))
    return tiles.unpack(content, tile.width)


def _extend(log: Log, code: str, old: int, new: int) -> None:
    """Write the tiles and bundles that a log of `new` leaves has and one of `old` has not."""
    start = old // WIDTH * WIDTH
    entries = list(rows(log, start, new))
    if len(entries) != new - start:
        raise LogForked("des feuilles manquent dans la base : rien n'est signé.")
    hashes = [tree.leaf_hash(entry) for entry in entries]
    _write_level(code, tiles.ENTRIES, start, entries, old, tiles.pack_entries)
    level = 0
    while True:
        _write_level(code, level, start, hashes, old, tiles.pack)
        level, old, new = level + 1, old // WIDTH, new // WIDTH
        if old == new:
            return
        start = old // WIDTH * WIDTH
        before = _tile(code, Tile(level, start // WIDTH, old - start)) if old > start else []
        whole = range(0, (new - old) * WIDTH, WIDTH)
        hashes = [*before, *(tiles.subtree(hashes[at : at + WIDTH]) for at in whole)]


def _write_level(
    code: str,
    level: int,
    start: int,
    items: Sequence[bytes],
    old: int,
    pack: Callable[[Sequence[bytes]], bytes],
) -> None:
    """Write one level's items, from number `start` on; partial files give way to the whole one."""
    for at in range(0, len(items), WIDTH):
        part = items[at : at + WIDTH]
        tile = Tile(level, (start + at) // WIDTH, len(part))
        _put(_key(code, tile.path), pack(part))
        if tile.width == WIDTH and start + at < old:
            folder = _key(code, f"{tile.path}.p")
            for width in services.store().names(folder):
                services.store().remove(f"{folder}/{width}")


def read(code: str, path: str) -> bytes | None:
    """One of the log's files, the names of its timestamps, one a line, or the records that it is
    compared with; None when there is none."""
    if path.startswith(RECORDS):
        return records(code, path.removeprefix(RECORDS))
    if path == f"{STAMPS}/":
        names = services.store().names(_key(code, STAMPS))
        return "".join(f"{name}\n" for name in names).encode()
    if not _FILE.fullmatch(path):
        return None
    try:
        return b"".join(services.store().read(_key(code, path)))
    except (FileNotFoundError, NotADirectoryError):
        return None


def has_stamp(code: str, day: str) -> bool:
    return services.store().exists(_key(code, f"{STAMPS}/{day}.tsr"))


def keep_stamp(log: Log, day: str, signed: bytes, token: bytes) -> None:
    """Keep an authority's answer beside what it stamped."""
    code = log.organisation.code
    _replace(_key(code, f"{STAMPS}/{day}.checkpoint"), signed)
    _put(_key(code, f"{STAMPS}/{day}.tsr"), token)
    log.stamped_at, log.stamped_size = clock.now(), log.signed_size
    log.save(update_fields=["stamped_at", "stamped_size"])


def records(code: str, set_code: str) -> bytes | None:
    """Every life of a set's objects, as JSON: type, name, size in bytes, birth, death and
    destruction, the two last empty when they did not happen."""
    found = DepositSet.objects.filter(organisation__code=code, code=set_code).first()
    if found is None:
        return None
    columns = [column for _, column in _EVENTS]
    rows = StoredObject.objects.filter(deposit_set=found).order_by("pk")
    told = [
        (*row[:3], *((instant and clock.rfc3339(instant)) or "" for instant in row[3:]))
        for row in rows.values_list("type", "name", "size", *columns)
    ]
    return orjson.dumps(told)


def content_type(path: str) -> str:
    return "application/octet-stream" if path.startswith("tile/") else "text/plain; charset=utf-8"


# Proofs ------------------------------------------------------------------------------------------


def proofs(deposit_set: DepositSet, kind: str, name: str) -> list[note.Proof]:
    """A proof for each leaf of an object, in the last checkpoint signed."""
    log = Log.objects.filter(pk=deposit_set.organisation.pk).first()
    if log is None or not log.signed_size:
        return []
    code, size = deposit_set.organisation.code, log.signed_size
    signed = note.Note.parse(read(code, CHECKPOINT) or b"")
    if signed.text != log.checkpoint:
        return []
    node = nodes(code, size)
    object = Name(deposit_set.code, kind, name)
    rows = LogLeaf.objects.filter(deposit_set=deposit_set, index__lt=size).order_by("index")
    return [
        note.Proof(
            row.data.encode(), row.index, tree.inclusion_proof(node, row.index, size), signed
        )
        for row in rows.filter(data__contains=name)
        if Leaf.parse(row.data.encode()).object == object
    ]


# Witnesses ---------------------------------------------------------------------------------------


@transaction.atomic
def add_witness(actor: Actor, organisation: Organisation, name: str, key: str) -> Witness:
    """Register who cosigns the commune's checkpoints. Raises ValidationError."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise ValidationError("Donnez au témoin un nom de 1 à 80 caractères.")
    try:
        parsed = note.Key.parse(key)
    except note.NoteError:
        parsed = None
    if parsed is None or parsed.kind != note.COSIGNATURE or len(str(parsed)) > 300:
        raise ValidationError(
            "Ce n'est pas la clé publique d'un témoin : « souverain vault audit --cosign » la donne."
        )
    serialise_writers()
    site.refuse_a_copy()
    known = Witness.objects.filter(organisation=organisation, removed_at=None)
    if known.filter(Q(name=name) | Q(key=str(parsed))).exists():
        raise ValidationError("Ce témoin est déjà inscrit.")
    made = Witness.objects.create(organisation=organisation, name=name, key=str(parsed))
    journal.append(
        actor,
        "vault.witness_added",
        organisation=organisation.code,
        object=f"witness:{made.pk}",
        data={"key": str(parsed)},
    )
    return made


@transaction.atomic
def remove_witness(actor: Actor, witness: Witness) -> None:
    """Take no more cosignatures from a witness; those that it gave are kept."""
    serialise_writers()
    witness.removed_at = clock.now()
    witness.save(update_fields=["removed_at"])
    journal.append(
        actor,
        "vault.witness_removed",
        organisation=witness.organisation.code,
        object=f"witness:{witness.pk}",
    )


@transaction.atomic
def take_cosignature(device: Device, content: bytes) -> None:
    """Keep and serve a witness's signature of the current checkpoint; the time in it is the
    witness's own, and says nothing of ours. Raises UnknownWitness, devices.Revoked."""
    serialise_writers()
    devices.require_live(device)
    organisation = device.organisation
    log = Log.objects.filter(pk=organisation.pk).first()
    try:
        line = note.Signature.parse(content.decode())
    except (note.NoteError, UnicodeDecodeError):
        raise UnknownWitness from None
    for witness in Witness.objects.filter(organisation=organisation, removed_at=None):
        key = note.Key.parse(witness.key)
        if log is not None and note.cosigned_at(log.checkpoint, line, key) is not None:
            break
    else:
        raise UnknownWitness
    _, new = Cosignature.objects.get_or_create(
        witness=witness,
        size=log.signed_size,
        defaults={"line": str(line), "received_at": clock.now()},
    )
    if new:
        _write_checkpoint(log, organisation.code)
        journal.append(
            access.of_device(device),
            "vault.checkpoint_cosigned",
            organisation=organisation.code,
            object=f"witness:{witness.pk}",
            data={"size": log.signed_size},
        )
