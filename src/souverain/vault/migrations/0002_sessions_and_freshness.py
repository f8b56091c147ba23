"""Sessions, freshness, and the running figures of a deposit set."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

_KEPT = ("id", "deposit_set_id", "type", "name", "size", "received_at", "device_id")
_ONLY_DIES = " AND ".join(
    [
        "OLD.died_at IS NULL",
        "NEW.died_at IS NOT NULL",
        *(f"NEW.{column} = OLD.{column}" for column in _KEPT),
        "(NEW.session_id = OLD.session_id OR (NEW.session_id IS NULL AND OLD.session_id IS NULL))",
    ]
)
SQLITE = [
    "DROP TRIGGER stored_object_only_dies",
    f"""CREATE TRIGGER stored_object_only_dies BEFORE UPDATE ON vault_storedobject
    WHEN NOT ({_ONLY_DIES})
    BEGIN SELECT RAISE(ABORT, 'a stored object can only die, once'); END""",
]
POSTGRESQL = [
    f"""CREATE OR REPLACE FUNCTION stored_object_only_dies() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
      IF TG_OP = 'UPDATE' AND {_ONLY_DIES} THEN RETURN NEW; END IF;
      RAISE EXCEPTION 'stored objects are never deleted, and only die, once';
    END $$""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0002_journal_append_only"),
        ("vault", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="depositset",
            name="last_deposit_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="depositset",
            name="last_instant",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="depositset",
            name="late_told_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="depositset",
            name="live_bytes",
            field=models.BigIntegerField(default=0),
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("objects_received", models.BigIntegerField(default=0)),
                ("bytes_received", models.BigIntegerField(default=0)),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sessions",
                        to="vault.depositset",
                    ),
                ),
                (
                    "device",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="core.device",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="storedobject",
            name="session",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="vault.session",
            ),
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
