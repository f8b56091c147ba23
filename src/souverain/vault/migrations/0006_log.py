"""The transparency log: its leaves, which the database only adds to, its ends, its witnesses."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

import souverain.core.clock

SQLITE = [
    """CREATE TRIGGER log_leaf_no_delete BEFORE DELETE ON vault_logleaf
    BEGIN SELECT RAISE(ABORT, 'a log only grows'); END""",
    """CREATE TRIGGER log_leaf_no_update BEFORE UPDATE ON vault_logleaf
    BEGIN SELECT RAISE(ABORT, 'a log only grows'); END""",
    # INSERT OR REPLACE removes rows without firing the other triggers.
    """CREATE TRIGGER log_leaf_takes_no_place BEFORE INSERT ON vault_logleaf
    WHEN EXISTS (SELECT 1 FROM vault_logleaf WHERE id = NEW.id
      OR (organisation_id = NEW.organisation_id AND "index" = NEW."index"))
    BEGIN SELECT RAISE(ABORT, 'a leaf takes no other''s place'); END""",
]
POSTGRESQL = [
    """CREATE FUNCTION log_leaf_stays() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'a log only grows'; END $$""",
    """CREATE TRIGGER log_leaf_guard BEFORE UPDATE OR DELETE ON vault_logleaf
    FOR EACH ROW EXECUTE FUNCTION log_leaf_stays()""",
    """CREATE TRIGGER log_leaf_no_truncate BEFORE TRUNCATE ON vault_logleaf
    FOR EACH STATEMENT EXECUTE FUNCTION log_leaf_stays()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0006_sign_in_attempts"),
        ("vault", "0005_retention"),
    ]

    operations = [
        migrations.CreateModel(
            name="Log",
            fields=[
                (
                    "organisation",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        serialize=False,
                        to="core.organisation",
                    ),
                ),
                ("size", models.BigIntegerField(default=0)),
                ("frontier", models.BinaryField(default=b"")),
                ("checkpoint", models.TextField(default="")),
                ("signature", models.TextField(default="")),
                ("signed_size", models.BigIntegerField(default=0)),
                ("signed_at", models.DateTimeField(null=True)),
                ("stamped_at", models.DateTimeField(null=True)),
                ("stamped_size", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="LogExport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("size", models.BigIntegerField()),
                ("token", models.BinaryField(default=b"")),
                ("made_at", models.DateTimeField()),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="core.organisation",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Witness",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("key", models.CharField(max_length=300)),
                ("added_at", models.DateTimeField(default=souverain.core.clock.now)),
                ("removed_at", models.DateTimeField(null=True)),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="witnesses",
                        to="core.organisation",
                    ),
                ),
            ],
            options={
                "ordering": ["name", "pk"],
            },
        ),
        migrations.CreateModel(
            name="Cosignature",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("size", models.BigIntegerField()),
                ("line", models.TextField()),
                ("received_at", models.DateTimeField()),
                (
                    "witness",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="cosignatures",
                        to="vault.witness",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="LogLeaf",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("index", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("data", models.TextField()),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.depositset",
                    ),
                ),
                (
                    "organisation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="core.organisation",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["deposit_set", "-at"], name="log_leaf_by_set")],
                "constraints": [
                    models.UniqueConstraint(fields=("organisation", "index"), name="log_leaf_once")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="witness",
            constraint=models.UniqueConstraint(
                condition=models.Q(("removed_at__isnull", True)),
                fields=("organisation", "name"),
                name="witness_name_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="cosignature",
            constraint=models.UniqueConstraint(fields=("witness", "size"), name="cosignature_once"),
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
