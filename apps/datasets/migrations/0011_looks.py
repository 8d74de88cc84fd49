from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0010_fetched_uploads")]

    operations = [
        migrations.AddField("datasetversion", "looks_key", models.CharField(blank=True, default="", max_length=200), preserve_default=False),
    ]
