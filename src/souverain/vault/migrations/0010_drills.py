"""The reports of restore drills, which the database only adds to."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

SQLITE = [
    """CREATE TRIGGER drill_no_delete BEFORE DELETE ON vault_drill
    BEGIN SELECT RAISE(ABORT, 'reports of drills are only added'); END""",
    """CREATE TRIGGER drill_no_update BEFORE UPDATE ON vault_drill
    BEGIN SELECT RAISE(ABORT, 'reports of drills are only added'); END""",
    # INSERT OR REPLACE removes rows without firing the other triggers.
    """CREATE TRIGGER drill_takes_no_place BEFORE INSERT ON vault_drill
    WHEN EXISTS (SELECT 1 FROM vault_drill WHERE id = NEW.id OR sha256 = NEW.sha256)
    BEGIN SELECT RAISE(ABORT, 'a report takes no other''s place'); END""",
]
POSTGRESQL = [
    """CREATE FUNCTION drill_stays() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'reports of drills are only added'; END $$""",
    """CREATE TRIGGER drill_guard BEFORE UPDATE OR DELETE ON vault_drill
    FOR EACH ROW EXECUTE FUNCTION drill_stays()""",
    """CREATE TRIGGER drill_no_truncate BEFORE TRUNCATE ON vault_drill
    FOR EACH STATEMENT EXECUTE FUNCTION drill_stays()""",
]


def guard(apps: Any, schema_editor: Any) -> None:
    vendor = schema_editor.connection.vendor
    for statement in POSTGRESQL if vendor == "postgresql" else SQLITE:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0006_sign_in_attempts"),
        ("vault", "0009_parity"),
    ]

    operations = [
        migrations.CreateModel(
            name="Drill",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("received_at", models.DateTimeField()),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("passed", "Réussi"),
                            ("failed", "Échoué"),
                            ("unfinished", "Inachevé"),
                        ],
                        max_length=12,
                    ),
                ),
                ("sha256", models.CharField(max_length=64, unique=True)),
                ("report", models.TextField()),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="drills",
                        to="vault.depositset",
                    ),
                ),
                (
                    "device",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="core.device",
                    ),
                ),
                (
                    "witness",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="vault.witness",
                    ),
                ),
            ],
            options={
                "ordering": ["-at", "-pk"],
                "indexes": [models.Index(fields=["deposit_set", "-at"], name="drill_by_set")],
            },
        ),
        migrations.RunPython(guard, migrations.RunPython.noop),
    ]
