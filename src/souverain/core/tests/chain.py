"""A long journal made at once, each entry as `journal.append` would have written it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction

from souverain.core import clock, journal

_BATCH = 20_000


def fill(
    count: int,
    *,
    since: datetime,
    step: timedelta = timedelta(seconds=20),
    organisations: Sequence[str] = ("21231",),
    actors: int = 2_000,
    verbs: Sequence[str] = ("vault.deposit_received", "session.opened", "vault.snapshot_buried"),
) -> None:
    """Add `count` entries, one every `step` from `since`, in large transactions."""
    head = journal.head()
    seq, previous = head.seq, bytes.fromhex(head.hash)
    while count > 0:
        rows = []
        for _ in range(min(count, _BATCH)):
            seq += 1
            columns = {
                "seq": seq,
                "at": clock.rfc3339(since + seq * step),
                "actor": f"user:{seq * 7919 % actors + 1}",
                "verb": verbs[seq % len(verbs)],
                "organisation": organisations[seq * 31 % len(organisations)],
                "object": f"device:{seq % 997}",
            }
            body = journal.canonical({**columns, "data": {"objects": seq % 50}, "detail": None})
            previous = hashlib.sha256(previous + body).digest()
            rows.append((*columns.values(), body, previous))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(journal.INSERT, rows)
        count -= len(rows)
