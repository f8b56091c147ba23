"""The journal: append-only, hash-chained, gap-free.

hash(n) = SHA-256(hash(n-1) || body(n)), hash(0) = 32 zero bytes; `body` is canonical JSON (sorted
keys, no spaces, UTF-8) of every column. Bodies hold ids, verbs and digests only; personal detail
lives in a side row whose salted SHA-256 is in the body, and may be erased without breaking the
chain. The database itself refuses updates and deletes (migration 0002).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models import F

from souverain.core import clock
from souverain.core.access import Actor
from souverain.core.models import JournalDetail, JournalEntry, Refusal
from souverain.core.transactions import serialise_writers

GENESIS = bytes(32)
_PAGE = 20_000


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

    `data` takes ids, counts and digests; names, addresses and content go to `detail`.
    """
    with transaction.atomic():
        serialise_writers()
        last = JournalEntry.objects.order_by("-seq").values_list("seq", "hash").first()
        seq, previous = (last[0] + 1, bytes(last[1])) if last else (1, GENESIS)
        salt = secrets.token_bytes(16)
        content = canonical(detail) if detail else b""
        columns = {
            "seq": seq,
            "at": clock.rfc3339(clock.now()),
            "actor": str(actor),
            "verb": verb,
            "organisation": organisation,
            "object": object[:200],
        }
        body = canonical(
            {
                **columns,
                "data": dict(data or {}),
                "detail": hashlib.sha256(salt + content).hexdigest() if detail else None,
            }
        )
        entry = JournalEntry.objects.create(
            **columns, body=body, hash=hashlib.sha256(previous + body).digest()
        )
        if detail:
            JournalDetail.objects.create(entry=entry, salt=salt, content=content.decode())
        return entry


def refuse(
    actor: Actor, verb: str, *, organisation: str = "", object: str = "", reason: str = ""
) -> None:
    """Journal a refusal. Identical ones of the same actor and minute are counted and written as
    one more entry when the minute is over (`close_refusals`)."""
    minute = clock.now().replace(second=0, microsecond=0)
    with transaction.atomic():
        serialise_writers()
        tally, first = Refusal.objects.get_or_create(
            minute=minute,
            actor=str(actor),
            verb=verb,
            organisation=organisation,
            object=object[:200],
            reason=reason[:80],
        )
        if first:
            append(
                actor, verb, organisation=organisation, object=object, data={"reason": reason[:80]}
            )
        else:
            Refusal.objects.filter(pk=tally.pk).update(repeats=F("repeats") + 1)


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
    last = JournalEntry.objects.order_by("-seq").values_list("seq", "hash").first()
    return Head(last[0], bytes(last[1]).hex()) if last else Head(0, GENESIS.hex())


def _rows() -> Iterator[tuple[Any, ...]]:
    """Every stored entry in order of seq, a page at a time, at constant memory."""
    after = 0
    query = (
        "SELECT seq, at, actor, verb, organisation, object, body, hash"
        " FROM core_journalentry WHERE seq > %s ORDER BY seq LIMIT %s"
    )
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, [after, _PAGE])
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
    sha256, loads = hashlib.sha256, orjson.loads

    def broken(seq: int, sentence: str) -> Verification:
        return Verification(expected - 1, Head(expected - 1, previous.hex()), sentence % seq)

    for seq, at, actor, verb, organisation, obj, body, digest in _rows():
        if seq != expected:
            return broken(expected, "l'entrée %d manque ou a été déplacée")
        body = bytes(body)
        if sha256(previous + body).digest() != bytes(digest):
            return broken(seq, "l'entrée %d a été modifiée : son empreinte ne suit pas la chaîne")
        f = loads(body)
        if (f["seq"], f["at"], f["actor"], f["verb"], f["organisation"], f["object"]) != (
            seq,
            at,
            actor,
            verb,
            organisation,
            obj,
        ):
            return broken(seq, "l'entrée %d : une colonne ne dit pas ce que dit l'entrée scellée")
        previous = bytes(digest)
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
        if hashlib.sha256(bytes(detail.salt) + detail.content.encode()).hexdigest() != sealed:
            return f"le détail de l'entrée {detail.pk} a été modifié"
    return None


def bodies() -> Iterator[bytes]:
    """Every entry's canonical bytes, in order, for export."""
    return (bytes(row[6]) for row in _rows())
