from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("datasets", "0004_restored_versions")]

    operations = [
        migrations.AddField(
            model_name="datasetversion",
            name="findings_key",
            field=models.CharField(blank=True, max_length=200),
        ),
    ]
