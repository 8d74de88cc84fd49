from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0006_suspects")]

    operations = [
        migrations.AddField("datasetversion", "repair", models.CharField(blank=True, default="", max_length=40), preserve_default=False),
        migrations.AddField("datasetversion", "lineage_key", models.CharField(blank=True, default="", max_length=200), preserve_default=False),
        migrations.AlterField(
            "datasetversion",
            "origin",
            models.CharField(
                choices=[
                    ("import", "Import"),
                    ("correction", "Correction"),
                    ("repair", "Repair"),
                    ("restored", "Restored"),
                ],
                default="import",
                max_length=12,
            ),
        ),
    ]
