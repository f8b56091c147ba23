"""Compute the running figures of the deposit sets that were there before from their rows."""

from typing import Any

from django.db import migrations
from django.db.models import Max, Sum


def fill(apps: Any, schema_editor: Any) -> None:
    StoredObject = apps.get_model("vault", "StoredObject")
    for deposit_set in apps.get_model("vault", "DepositSet").objects.all():
        rows = StoredObject.objects.filter(deposit_set=deposit_set)
        living = rows.filter(died_at=None)
        instants = rows.aggregate(born=Max("received_at"), died=Max("died_at"))
        known = [instant for instant in instants.values() if instant is not None]
        deposit_set.last_instant = max(known, default=None)
        deposit_set.live_bytes = living.aggregate(total=Sum("size"))["total"] or 0
        snapshots = living.filter(type="snapshots")
        deposit_set.last_deposit_at = snapshots.aggregate(last=Max("received_at"))["last"]
        deposit_set.save()


class Migration(migrations.Migration):
    dependencies = [("vault", "0002_sessions_and_freshness")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
