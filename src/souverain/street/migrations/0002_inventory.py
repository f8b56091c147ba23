"""What a line of an item's history undoes."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("street", "0002_find")]

    operations = [
        migrations.AddField(
            model_name="itemevent",
            name="undoes",
            field=models.OneToOneField(
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="undone_by",
                to="street.itemevent",
            ),
        ),
    ]
