import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0006_sign_in_attempts"),
        ("vault", "0006_log"),
    ]

    operations = [
        migrations.CreateModel(
            name="Watch",
            fields=[
                (
                    "deposit_set",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="watch",
                        serialize=False,
                        to="vault.depositset",
                    ),
                ),
                ("closed_night", models.IntegerField()),
                ("memory", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="BulkAnnouncement",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("announced_at", models.DateTimeField()),
                ("until", models.DateTimeField()),
                ("bytes", models.BigIntegerField()),
                ("deletions", models.BooleanField(default=False)),
                ("reason", models.CharField(max_length=200)),
                ("actor", models.CharField(max_length=80)),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="announcements",
                        to="vault.depositset",
                    ),
                ),
            ],
            options={
                "ordering": ["-announced_at"],
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "À traiter"),
                            ("acknowledged", "Prise en charge"),
                            ("closed", "Close"),
                        ],
                        default="open",
                        max_length=12,
                    ),
                ),
                ("raised_at", models.DateTimeField()),
                ("since", models.DateTimeField()),
                ("safe_at", models.DateTimeField(null=True)),
                ("cause", models.CharField(max_length=12)),
                ("score", models.FloatField()),
                ("raised_bytes", models.BigIntegerField()),
                ("new_bytes", models.BigIntegerField()),
                ("reason", models.CharField(max_length=300)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(default="", max_length=80)),
                ("closed_at", models.DateTimeField(null=True)),
                ("closed_by", models.CharField(default="", max_length=80)),
                ("legitimate", models.BooleanField(null=True)),
                ("closing_reason", models.CharField(default="", max_length=200)),
                (
                    "deposit_set",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="alarms",
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
            options={
                "ordering": ["-raised_at"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "closed"), _negated=True),
                        fields=("deposit_set",),
                        name="alarm_open_once",
                    )
                ],
            },
        ),
    ]
