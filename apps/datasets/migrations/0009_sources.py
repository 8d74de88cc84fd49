"""Versions of several files, of files from addresses, and appended ones."""

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Two fields, one more origin."""

    dependencies: ClassVar = [("datasets", "0008_trash")]

    operations: ClassVar = [
        migrations.AddField("datasetversion", "sources", models.JSONField(default=list)),
        migrations.AddField("datasetversion", "options", models.JSONField(default=dict)),
        migrations.AlterField(
            "datasetversion",
            "origin",
            models.CharField(
                choices=[
                    ("import", "Import"),
                    ("correction", "Correction"),
                    ("repair", "Repair"),
                    ("restored", "Restored"),
                    ("append", "Append"),
                ],
                default="import",
                max_length=12,
            ),
        ),
    ]
