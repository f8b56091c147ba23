"""The second site: what it is, where it pulls from, how far, and what the database refuses itself."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

import souverain.core.clock

_LOCK_DAYS = 90  # what no lock row says otherwise: engine.retention.LOCK_DAYS
_DAYS = f"""(SELECT COALESCE(MAX(days), {_LOCK_DAYS}) FROM vault_lock
      WHERE deposit_set_id = NEW.deposit_set_id)"""  # noqa: S608
_END_SQLITE = f"date(r.learnt_at, '+' || {_DAYS} || ' days') || substr(r.learnt_at, 11)"
_END_POSTGRESQL = f"r.learnt_at + make_interval(hours => 24 * {_DAYS}::int)"


def _too_early(end: str) -> str:
    """A death that another site told of: the lock runs from when it was learnt here, too."""
    return f"""EXISTS (SELECT 1 FROM vault_replicated AS r
      WHERE r.deposit_set_id = NEW.deposit_set_id
      AND r.first_at <= OLD.died_at AND r.last_at >= OLD.died_at AND {end} > NEW.reaped_at)"""  # noqa: S608


_REFUSED = "BEGIN SELECT RAISE(ABORT, 'vault_replicated is never rewritten'); END"
_EARLY = "the lock runs from when this site learnt of the death"
SQLITE = [
    f"CREATE TRIGGER vault_replicated_no_delete BEFORE DELETE ON vault_replicated {_REFUSED}",
    f"CREATE TRIGGER vault_replicated_no_update BEFORE UPDATE ON vault_replicated {_REFUSED}",
    f"""CREATE TRIGGER vault_replicated_takes_no_place BEFORE INSERT ON vault_replicated
    WHEN EXISTS (SELECT 1 FROM vault_replicated WHERE id = NEW.id) {_REFUSED}""",  # noqa: S608
    f"""CREATE TRIGGER stored_object_learnt BEFORE UPDATE OF reaped_at ON vault_storedobject
    WHEN NEW.reaped_at IS NOT NULL AND {_too_early(_END_SQLITE)}
    BEGIN SELECT RAISE(ABORT, '{_EARLY}'); END""",
]
POSTGRESQL = [
    """CREATE FUNCTION vault_replicated_kept() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'vault_replicated is never rewritten'; END $$""",
    """CREATE TRIGGER vault_replicated_guard BEFORE UPDATE OR DELETE ON vault_replicated
    FOR EACH ROW EXECUTE FUNCTION vault_replicated_kept()""",
    """CREATE TRIGGER vault_replicated_no_truncate BEFORE TRUNCATE ON vault_replicated
    FOR EACH STATEMENT EXECUTE FUNCTION vault_replicated_kept()""",
    f"""CREATE FUNCTION stored_object_learnt() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
      IF NEW.reaped_at IS NOT NULL AND {_too_early(_END_POSTGRESQL)} THEN
        RAISE EXCEPTION '{_EARLY}';
      END IF;
      RETURN NEW;
    END $$""",
    """CREATE TRIGGER stored_object_learnt BEFORE UPDATE OF reaped_at ON vault_storedobject
    FOR EACH ROW EXECUTE FUNCTION stored_object_learnt()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("vault", "0010_drills"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReplicaHold",
            fields=[
                (
                    "hold",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="replica",
                        serialize=False,
                        to="vault.hold",
                    ),
                ),
                ("row", models.BigIntegerField()),
                ("lifted_there_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ReplicaReader",
            fields=[
                (
                    "device",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="core.device",
                    ),
                ),
                ("complete_to", models.DateTimeField()),
                ("said_at", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="ReplicaSet",
            fields=[
                (
                    "deposit_set",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="replica",
                        serialize=False,
                        to="vault.depositset",
                    ),
                ),
                ("site", models.CharField(max_length=16)),
                ("at", models.DateTimeField(null=True)),
                ("row", models.BigIntegerField(default=0)),
                ("head", models.DateTimeField(null=True)),
                ("lock_days", models.PositiveIntegerField(default=0)),
                ("destroyed_at", models.DateTimeField(null=True)),
                ("gone_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="ReplicaSource",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("address", models.CharField(max_length=200)),
                ("site", models.CharField(blank=True, max_length=16)),
                ("epoch", models.BigIntegerField(default=0)),
                ("added_at", models.DateTimeField(default=souverain.core.clock.now)),
                ("removed_at", models.DateTimeField(null=True)),
                ("tried_at", models.DateTimeField(null=True)),
                ("answered_at", models.DateTimeField(null=True)),
                ("heard_at", models.DateTimeField(null=True)),
                ("complete_at", models.DateTimeField(null=True)),
                ("complete_to", models.DateTimeField(null=True)),
                ("missing_objects", models.BigIntegerField(default=0)),
                ("missing_bytes", models.BigIntegerField(default=0)),
                ("troubles", models.JSONField(default=list)),
                ("promoted_at", models.DateTimeField(null=True)),
                ("fenced_at", models.DateTimeField(null=True)),
                ("only_there_objects", models.BigIntegerField(null=True)),
                ("only_there_deaths", models.BigIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Site",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=16)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("first", "Premier site"),
                            ("copy", "Copie"),
                            ("fenced", "En lecture seule : un autre site est le premier"),
                        ],
                        default="first",
                        max_length=8,
                    ),
                ),
                ("epoch", models.BigIntegerField(default=0)),
                ("changed_at", models.DateTimeField(default=souverain.core.clock.now)),
                ("log_key", models.CharField(blank=True, max_length=64)),
                ("forked_logs", models.JSONField(default=list)),
            ],
        ),
        migrations.CreateModel(
            name="Divergence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("event", models.CharField(max_length=8)),
                ("found_at", models.DateTimeField()),
                ("settled_at", models.DateTimeField(null=True)),
                (
                    "stored",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.storedobject",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ReplicaFault",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("event", models.JSONField()),
                ("died_at", models.DateTimeField(null=True)),
                ("reason", models.CharField(max_length=300)),
                ("first_at", models.DateTimeField()),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.depositset",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Replicated",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("learnt_at", models.DateTimeField()),
                ("births", models.PositiveIntegerField()),
                ("deaths", models.PositiveIntegerField()),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.depositset",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["deposit_set", "last_at"], name="replicated_by_set")
                ],
            },
        ),
        migrations.CreateModel(
            name="ReplicaTurn",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("lag_s", models.BigIntegerField(null=True)),
                ("missing_objects", models.BigIntegerField(default=0)),
                ("objects_received", models.BigIntegerField(default=0)),
                ("bytes_received", models.BigIntegerField(default=0)),
                ("ok", models.BooleanField(default=True)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="turns",
                        to="vault.replicasource",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["source", "-at"], name="replica_turns")],
            },
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
