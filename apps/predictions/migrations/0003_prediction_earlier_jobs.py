from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0002_prediction_variant")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="earlier_jobs",
            field=models.JSONField(default=list),
        ),
    ]
