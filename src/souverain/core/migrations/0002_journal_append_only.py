"""The database itself refuses to change or remove a journal entry."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

SQLITE = [
    f"""CREATE TRIGGER journal_no_{action.lower()} BEFORE {action} ON core_journalentry
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"""
    for action in ("UPDATE", "DELETE")
] + [
    # INSERT OR REPLACE removes rows without firing the trigger above.
    """CREATE TRIGGER journal_no_replace BEFORE INSERT ON core_journalentry
    WHEN EXISTS (SELECT 1 FROM core_journalentry WHERE seq >= NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
]
POSTGRESQL = [
    """CREATE FUNCTION journal_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the journal is append-only'; END $$""",
    """CREATE TRIGGER journal_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON core_journalentry
    FOR EACH STATEMENT EXECUTE FUNCTION journal_append_only()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("core", "0001_initial")]
    operations: ClassVar = [migrations.RunPython(guard, migrations.RunPython.noop)]
