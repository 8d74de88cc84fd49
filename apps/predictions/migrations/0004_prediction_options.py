from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("predictions", "0003_prediction_earlier_jobs")]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="options",
            field=models.JSONField(default=dict),
        ),
    ]
