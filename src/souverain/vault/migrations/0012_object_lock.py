"""The walks over what an S3 store locks, and the versions that were read there."""

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models

_ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies: ClassVar = [("vault", "0011_replica")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="LockPass",
            fields=[
                ("id", _ID.clone()),
                ("began_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("after", models.TextField(blank=True)),
                ("bucket_days", models.PositiveIntegerField(null=True)),
                ("versions", models.BigIntegerField(default=0)),
                ("extended", models.BigIntegerField(default=0)),
                ("freed", models.BigIntegerField(default=0)),
                ("freed_bytes", models.BigIntegerField(default=0)),
                ("brought_back", models.BigIntegerField(default=0)),
                ("lost", models.BigIntegerField(default=0)),
                ("refused", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name="CheckedVersion",
            fields=[
                ("id", _ID.clone()),
                ("type", models.CharField(max_length=10)),
                ("name", models.CharField(max_length=64)),
                ("version", models.CharField(max_length=200)),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("deposit_set", "type", "name"), name="checked_version_once"
                    )
                ],
            },
        ),
    ]
