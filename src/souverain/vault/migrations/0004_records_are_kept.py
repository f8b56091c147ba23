"""The ways round the guard of stored objects: a row put in the place of another, and TRUNCATE."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

SQLITE = [
    # INSERT OR REPLACE removes rows without firing the other triggers.
    """CREATE TRIGGER stored_object_takes_no_place BEFORE INSERT ON vault_storedobject
    WHEN EXISTS (SELECT 1 FROM vault_storedobject WHERE id = NEW.id)
      OR (NEW.died_at IS NULL AND EXISTS (
        SELECT 1 FROM vault_storedobject WHERE deposit_set_id = NEW.deposit_set_id
        AND type = NEW.type AND name = NEW.name AND died_at IS NULL))
    BEGIN SELECT RAISE(ABORT, 'a stored object takes no other''s place'); END""",
]
POSTGRESQL = [
    """CREATE TRIGGER stored_object_no_truncate BEFORE TRUNCATE ON vault_storedobject
    FOR EACH STATEMENT EXECUTE FUNCTION stored_object_only_dies()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("vault", "0003_running_figures")]
    operations: ClassVar = [migrations.RunPython(guard, migrations.RunPython.noop)]
