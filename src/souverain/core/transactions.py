"""One order for all writes that others read by cursor.

The journal is gap-free and its chain has one order; event ids must follow commit order. Both hold
when writers take this lock before they read the last number, and keep it until they commit.
SQLite's IMMEDIATE transactions already are that lock; PostgreSQL needs an advisory one.
"""

from __future__ import annotations

from django.db import connection

_LOCK_ID = 0x50_55_56_52


def serialise_writers() -> None:
    """Wait for the other writers; held until the current transaction ends."""
    if not connection.in_atomic_block:
        raise RuntimeError("serialise_writers needs a transaction")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_ID])
