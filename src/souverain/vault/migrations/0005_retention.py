"""Retention: locks, holds, the reaper's passes, destructions; and what the database refuses itself."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

_LOCK_DAYS = 90  # what no lock row says otherwise: engine.retention.LOCK_DAYS
_KEPT = ("id", "deposit_set_id", "type", "name", "size", "received_at", "device_id")
_SAME = " AND ".join(
    [
        *(f"NEW.{column} = OLD.{column}" for column in _KEPT),
        "(NEW.session_id = OLD.session_id OR (NEW.session_id IS NULL AND OLD.session_id IS NULL))",
        "OLD.reaped_at IS NULL",
    ]
)
_DIES = (
    "OLD.died_at IS NULL AND NEW.died_at IS NOT NULL AND NEW.died_at >= OLD.received_at"
    " AND NEW.reaped_at IS NULL"
)
_DAYS = f"""(SELECT COALESCE(MAX(days), {_LOCK_DAYS}) FROM vault_lock
      WHERE deposit_set_id = NEW.deposit_set_id)"""  # noqa: S608
# A day added to an instant in UTC leaves its time of day as it is.
_END_SQLITE = f"date(other.died_at, '+' || {_DAYS} || ' days') || substr(other.died_at, 11)"
_END_POSTGRESQL = f"other.died_at + make_interval(hours => 24 * {_DAYS}::int)"


def _is_reaped(end: str) -> str:
    """The bytes go with every life of the name: all are dead, each past its lock, in no held set."""
    return f"""OLD.died_at IS NOT NULL AND NEW.died_at = OLD.died_at AND NEW.reaped_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM vault_hold
        WHERE deposit_set_id = NEW.deposit_set_id AND lifted_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM vault_storedobject AS other
        WHERE other.deposit_set_id = NEW.deposit_set_id AND other.type = NEW.type
        AND other.name = NEW.name AND other.reaped_at IS NULL
        AND (other.died_at IS NULL OR {end} > NEW.reaped_at))"""  # noqa: S608


_MESSAGE = "a stored object can only die, once, and be reaped, once, after its lock"
# For each table, what an update may be; what is not named may not be changed at all.
_GUARDED = {
    "vault_lock": "1 = 0",
    "vault_hold": (
        "OLD.lifted_at IS NULL AND NEW.lifted_at IS NOT NULL AND NEW.lifted_by <> ''"
        " AND (OLD.kind = 'freeze' OR NEW.lifted_by <> OLD.placed_by) AND "
        + " AND ".join(
            f"NEW.{column} = OLD.{column}"
            for column in (
                *("id", "deposit_set_id", "kind", "reason", "reference"),
                *("placed_by", "placed_at"),
            )
        )
    ),
    "vault_reaperpass": (
        "OLD.ended_at IS NULL AND NEW.id = OLD.id AND NEW.at = OLD.at"
        " AND NEW.confirmed_by = OLD.confirmed_by"
    ),
}
SQLITE = [
    "DROP TRIGGER stored_object_only_dies",
    f"""CREATE TRIGGER stored_object_only_dies BEFORE UPDATE ON vault_storedobject
    WHEN NOT ({_SAME} AND (({_DIES}) OR ({_is_reaped(_END_SQLITE)})))
    BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END""",
]
POSTGRESQL = [
    f"""CREATE OR REPLACE FUNCTION stored_object_only_dies() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
      IF TG_OP = 'UPDATE' THEN
        IF {_SAME} AND (({_DIES}) OR ({_is_reaped(_END_POSTGRESQL)})) THEN RETURN NEW; END IF;
      END IF;
      RAISE EXCEPTION '{_MESSAGE}';
    END $$""",
]
for _table, _allowed in _GUARDED.items():
    _refused = f"BEGIN SELECT RAISE(ABORT, '{_table} is never rewritten'); END"
    SQLITE += [
        f"CREATE TRIGGER {_table}_no_delete BEFORE DELETE ON {_table} {_refused}",
        f"""CREATE TRIGGER {_table}_no_rewrite BEFORE UPDATE ON {_table}
        WHEN NOT ({_allowed}) {_refused}""",
        f"""CREATE TRIGGER {_table}_takes_no_place BEFORE INSERT ON {_table}
        WHEN EXISTS (SELECT 1 FROM {_table} WHERE id = NEW.id) {_refused}""",  # noqa: S608
    ]
    POSTGRESQL += [
        f"""CREATE FUNCTION {_table}_kept() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
          IF TG_OP = 'UPDATE' THEN
            IF {_allowed} THEN RETURN NEW; END IF;
          END IF;
          RAISE EXCEPTION '{_table} is never rewritten';
        END $$""",
        f"""CREATE TRIGGER {_table}_guard BEFORE UPDATE OR DELETE ON {_table}
        FOR EACH ROW EXECUTE FUNCTION {_table}_kept()""",
        f"""CREATE TRIGGER {_table}_no_truncate BEFORE TRUNCATE ON {_table}
        FOR EACH STATEMENT EXECUTE FUNCTION {_table}_kept()""",
    ]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0006_sign_in_attempts"),
        ("vault", "0004_records_are_kept"),
    ]

    operations = [
        migrations.CreateModel(
            name="Announcement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("act", models.CharField(max_length=10)),
                ("day", models.DateField()),
            ],
        ),
        migrations.CreateModel(
            name="Destruction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("reason", models.CharField(max_length=300)),
                ("reference", models.CharField(max_length=120)),
                ("asked_by", models.CharField(max_length=80)),
                ("asked_by_operator", models.BooleanField()),
                ("asked_at", models.DateTimeField()),
                ("approved_by", models.CharField(blank=True, max_length=80)),
                ("approved_at", models.DateTimeField(null=True)),
                ("cancelled_by", models.CharField(blank=True, max_length=80)),
                ("cancelled_at", models.DateTimeField(null=True)),
                ("executed_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Hold",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("legal", "Conservation exigée"), ("freeze", "Gel")],
                        default="legal",
                        max_length=10,
                    ),
                ),
                ("reason", models.CharField(max_length=300)),
                ("reference", models.CharField(blank=True, max_length=120)),
                ("placed_by", models.CharField(max_length=80)),
                ("placed_at", models.DateTimeField()),
                ("lifted_by", models.CharField(blank=True, max_length=80)),
                ("lifted_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["pk"],
            },
        ),
        migrations.CreateModel(
            name="Lock",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("days", models.PositiveIntegerField()),
                ("set_by", models.CharField(max_length=80)),
                ("set_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="ReaperPass",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("confirmed_by", models.CharField(blank=True, max_length=80)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddField(
            model_name="depositset",
            name="complete_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="storedobject",
            name="reaped_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="storedobject",
            index=models.Index(
                condition=models.Q(("died_at__isnull", False), ("reaped_at__isnull", True)),
                fields=["deposit_set", "died_at"],
                name="stored_object_to_reap",
            ),
        ),
        migrations.AddField(
            model_name="announcement",
            name="device",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="core.device"
            ),
        ),
        migrations.AddField(
            model_name="destruction",
            name="deposit_set",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="destructions",
                to="vault.depositset",
            ),
        ),
        migrations.AddField(
            model_name="hold",
            name="deposit_set",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="holds",
                to="vault.depositset",
            ),
        ),
        migrations.AddField(
            model_name="lock",
            name="deposit_set",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="locks",
                to="vault.depositset",
            ),
        ),
        migrations.AddConstraint(
            model_name="announcement",
            constraint=models.UniqueConstraint(
                fields=("device", "act", "day"), name="announced_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="destruction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("cancelled_at__isnull", True), ("executed_at__isnull", True)),
                fields=("deposit_set",),
                name="destruction_pending_once",
            ),
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
