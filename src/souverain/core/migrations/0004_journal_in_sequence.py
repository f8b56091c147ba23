"""The database itself numbers the journal: an entry is the next one, or is refused."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

_NEXT = "(SELECT COALESCE(MAX(seq), 0) + 1 FROM core_journalentry)"
SQLITE = [
    f"""CREATE TRIGGER journal_in_sequence BEFORE INSERT ON core_journalentry
    WHEN NEW.seq IS NOT {_NEXT}
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: not the next entry'); END""",
]
POSTGRESQL = [
    f"""CREATE FUNCTION journal_in_sequence() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
      IF NEW.seq = {_NEXT} THEN RETURN NEW; END IF;
      RAISE EXCEPTION 'the journal is append-only: not the next entry';
    END $$""",
    """CREATE TRIGGER journal_in_sequence BEFORE INSERT ON core_journalentry
    FOR EACH ROW EXECUTE FUNCTION journal_in_sequence()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("core", "0003_accounts")]
    operations: ClassVar = [migrations.RunPython(guard, migrations.RunPython.noop)]
