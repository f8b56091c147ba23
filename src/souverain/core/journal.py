"""The journal: append-only, hash-chained, gap-free.

hash(n) = SHA-256(hash(n-1) || body(n)), hash(0) = 32 zero bytes; `body` is canonical JSON (sorted
keys, no spaces, UTF-8) of every column. Bodies hold ids, verbs and digests only; personal detail
lives in a side row whose salted SHA-256 is in the body, and may be erased without breaking the
chain. The database itself refuses updates and deletes (migration 0002), and any entry but the next (0004).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models import F

from souverain.core import clock
from souverain.core.access import Actor
from souverain.core.models import JournalDetail, JournalEntry, Refusal
from souverain.core.transactions import serialise_writers

GENESIS = bytes(32)
BODY_BYTES = 16 * 1024
DETAIL_BYTES = 64 * 1024
_PAGE = 20_000
_BEFORE_ALL = -(1 << 63)
_REPEATED = ("seq", "at", "actor", "verb", "organisation", "object")
_COLUMNS = f"{', '.join(_REPEATED)}, body, hash"
_LAST = "SELECT seq, hash FROM core_journalentry ORDER BY seq DESC LIMIT 1"
INSERT = f"INSERT INTO core_journalentry ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_READ = f"SELECT {_COLUMNS} FROM core_journalentry WHERE seq > %s ORDER BY seq LIMIT %s"  # noqa: S608


@dataclass(frozen=True)
class Head:
    """The end of the chain at some moment: keep it elsewhere, and no cut tail goes unseen."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Verification:
    """The outcome of a check of the whole chain. `fault` is a French sentence, or None."""

    entries: int
    head: Head
    fault: str | None = None

    @property
    def whole(self) -> bool:
        return self.fault is None


def canonical(fields: Mapping[str, Any]) -> bytes:
    """Sorted keys, no spaces, UTF-8. Raises TypeError for what JSON or 64 bits cannot hold."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def append(
    actor: Actor,
    verb: str,
    *,
    organisation: str = "",
    object: str = "",
    data: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> JournalEntry:
    """Write one entry at the end of the chain, in the caller's transaction or one of its own.

    `data` takes ids, counts and digests (no fraction: ValueError); names, addresses and content
    go to `detail`. Raises ValueError also for a body over 16 KiB or a detail over 64 KiB.
    """
    salt = secrets.token_bytes(16)
    content = canonical(detail) if detail else b""
    if len(content) > DETAIL_BYTES:
        raise ValueError("journal: a detail over 64 KiB")
    told = {
        "actor": str(actor),
        "verb": verb,
        "organisation": organisation,
        "object": _storable(object, 200),
        "data": _whole(dict(data or {})),
        "detail": hashlib.sha256(salt + content).hexdigest() if detail else None,
    }
    if len(canonical(told)) > BODY_BYTES:
        raise ValueError("journal: an entry over 16 KiB")
    # No savepoint: an entry that cannot be written takes the whole verb back with it.
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        serialise_writers()
        cursor.execute(_LAST)
        seq, previous = cursor.fetchone() or (0, GENESIS)
        sealed = {"seq": seq + 1, "at": clock.rfc3339(clock.now()), **told}
        body = canonical(sealed)
        digest = hashlib.sha256(bytes(previous) + body).digest()
        columns = {name: sealed[name] for name in _REPEATED}
        cursor.execute(INSERT, [*columns.values(), body, digest])
        entry = JournalEntry(**columns, body=body, hash=digest)
        if detail:
            JournalDetail.objects.create(entry=entry, salt=salt, content=content.decode())
    return entry


def _storable(text: str, length: int) -> str:
    """What both databases and UTF-8 can hold of a text that may come from outside."""
    return (
        text[:length]
        .encode("utf-8", "replace")
        .decode()
        .replace("\x00", "\N{REPLACEMENT CHARACTER}")
    )


def _whole(value: Any) -> Any:
    """`value` as it is; ValueError when it holds anything but texts, whole numbers, booleans,
    nulls, lists and objects of them: a fraction has no one canonical writing."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        for item in value.values():
            _whole(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _whole(item)
    else:
        raise ValueError(f"journal: {type(value).__name__} is not for the sealed bytes")
    return value


def refuse(
    actor: Actor, verb: str, *, organisation: str = "", object: str = "", reason: str = ""
) -> None:
    """Journal a refusal. Identical ones of the same actor and minute are counted and written as
    one more entry when the minute is over (`close_refusals`)."""
    told = {
        "actor": str(actor),
        "verb": verb,
        "organisation": organisation,
        "object": _storable(object, 200),
        "reason": _storable(reason, 80),
    }
    minute = clock.now().replace(second=0, microsecond=0)
    with transaction.atomic():
        serialise_writers()
        again = Refusal.objects.filter(minute=minute, **told)
        if not again.update(repeats=F("repeats") + 1):
            Refusal.objects.create(minute=minute, **told)
            append(
                actor,
                verb,
                organisation=organisation,
                object=object,
                data={"reason": told["reason"]},
            )


def close_refusals() -> None:
    """Write the counts of the minutes that are over, and forget them."""
    over = clock.now() - timedelta(minutes=1)
    with transaction.atomic():
        serialise_writers()
        for tally in Refusal.objects.filter(minute__lte=over):
            if tally.repeats:
                kind, _, identity = tally.actor.partition(":")
                append(
                    Actor(kind, identity),
                    tally.verb,
                    organisation=tally.organisation,
                    object=tally.object,
                    data={
                        "reason": tally.reason,
                        "repeats": tally.repeats,
                        "minute": clock.rfc3339(tally.minute),
                    },
                )
            tally.delete()


def erase_detail(actor: Actor, seq: int) -> None:
    """Erase the personal detail of one entry; the chain stays whole, and the erasure is in it."""
    with transaction.atomic():
        erased, _ = JournalDetail.objects.filter(pk=seq).delete()
        if erased:
            append(actor, "journal.detail_erased", object=str(seq))


def head() -> Head:
    with connection.cursor() as cursor:
        cursor.execute(_LAST)
        seq, digest = cursor.fetchone() or (0, GENESIS)
    return Head(seq, bytes(digest).hex())


def _rows() -> Iterator[tuple[Any, ...]]:
    """Every stored entry in order of seq, a page at a time, at constant memory."""
    after = _BEFORE_ALL  # an entry slipped in before the first is read, and found
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_READ, [after, _PAGE])
            page = cursor.fetchall()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]


def verify(
    known: Head | None = None, progress: Callable[[int], None] | None = None
) -> Verification:
    """Check every byte of the chain, its numbering, its columns and its details; and against a
    head kept elsewhere, that no tail was cut or rewritten."""
    previous, expected = GENESIS, 1
    known_hash = GENESIS.hex() if known and known.seq == 0 else None
    sha256, loads, repeated = hashlib.sha256, orjson.loads, itemgetter(*_REPEATED)

    def broken(seq: int, sentence: str) -> Verification:
        return Verification(expected - 1, Head(expected - 1, previous.hex()), sentence % seq)

    for row in _rows():
        seq, body, digest = row[0], row[6], row[7]
        if seq != expected:
            return broken(expected, "l'entrée %d manque ou a été déplacée")
        try:
            if sha256(previous + body).digest() != digest:
                return broken(
                    seq, "l'entrée %d a été modifiée : son empreinte ne suit pas la chaîne"
                )
            if repeated(loads(body)) != row[:6]:
                return broken(
                    seq, "l'entrée %d : une colonne ne dit pas ce que dit l'entrée scellée"
                )
        except (TypeError, ValueError, KeyError):
            return broken(seq, "l'entrée %d est illisible")
        previous = digest
        if known and seq == known.seq:
            known_hash = previous.hex()
        if progress and seq % _PAGE == 0:
            progress(seq)
        expected += 1
    end = Head(expected - 1, previous.hex())
    if known and known_hash is None:
        return Verification(
            end.seq,
            end,
            f"la fin du journal a été coupée : l'entrée {known.seq} connue n'existe plus",
        )
    if known and known_hash != known.hash:
        return Verification(
            end.seq, end, f"l'entrée {known.seq} n'est plus celle de l'empreinte conservée"
        )
    return Verification(end.seq, end, _fault_in_details())


def _fault_in_details() -> str | None:
    """Every side row that still exists must be the one that its entry sealed."""
    details = JournalDetail.objects.select_related("entry").iterator(2000)
    for detail in details:
        sealed = orjson.loads(bytes(detail.entry.body))["detail"]
        try:
            found = hashlib.sha256(bytes(detail.salt) + detail.content.encode()).hexdigest()
        except (TypeError, AttributeError):  # SQLite holds any type in any column
            found = ""
        if found != sealed:
            return f"le détail de l'entrée {detail.pk} a été modifié"
    return None


def bodies() -> Iterator[bytes]:
    """Every entry's canonical bytes, in order, for export."""
    return (bytes(row[6]) for row in _rows())
